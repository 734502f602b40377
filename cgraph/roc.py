"""ROC curves for drawing: of every concept on one grid, and the paper's model of a typical one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaln, hyp2f1

from cgraph.errors import DataError
from cgraph.metrics import Figures, Labels, ranked_columns

# Place of a positive's two corners in its ROC curve, and the side that counts samples above it or
# from it on.
_CORNERS: tuple[tuple[int, Literal["left", "right"]], ...] = ((1, "right"), (2, "left"))
# Exponents between which the area of the virtual curve is solved; their areas are about 1 and 0.
_VIRTUAL_EXPONENTS = (0.03, 1000.0)


def roc_on_grid(scores: NDArray[Any], labels: Labels, grid: ArrayLike) -> Figures:
    """Return the ROC curve of each concept on shared false-positive rates.

    The curve joins the points (FPR, TPR) of all thresholds by straight lines, as scikit-learn's
    `roc_curve` does; where it rises vertically the upper end is taken. Rates lie in [0, 1]. The
    area under the returned points is only as exact as the grid is fine: use `auc` for figures.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
    grid : array_like of float, shape (n_points,)
        False-positive rates in [0, 1].

    Returns
    -------
    ndarray of float64, shape (n_concepts, n_points)
        True-positive rates; NaN where a concept has no positive or no negative.

    Raises
    ------
    DataError
        If the shapes differ, a score is not finite, dense labels are not Boolean or a rate lies
        outside [0, 1].
    """
    rates = _checked_rates(grid)
    curves = np.full((scores.shape[1], len(rates)), np.nan)
    for column, ranked, positives in ranked_columns(scores, labels):
        n_pos = len(positives)
        n_neg = len(ranked) - n_pos
        if not (n_pos and n_neg):
            continue
        # Between two scores of positives the curve is level, so its corners are the points just
        # above and at each of them.
        levels = np.unique(positives)[::-1]
        points = np.zeros((2, 2 * len(levels) + 2))
        points[:, -1] = 1
        for first, side in _CORNERS:
            true = n_pos - np.searchsorted(positives, levels, side)
            called = len(ranked) - np.searchsorted(ranked, levels, side)
            points[:, first:-1:2] = (called - true) / n_neg, true / n_pos
        curves[column] = np.interp(rates, *points)
    return curves


def average_precision_balanced(scores: NDArray[Any], labels: Labels) -> Figures:
    """Return the average precision of each concept in a world where half the samples have it.

    With both classes weighing the same, precision at a threshold is TPR / (TPR + FPR), so the
    figure follows from the ROC curve alone: its mean over the positives, samples of equal score
    entering together. Guessing gives 1/2. `average_precision` is the same at the true prevalence.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)

    Returns
    -------
    ndarray of float64, shape (n_concepts,)
        NaN where a concept has no positive or no negative.

    Raises
    ------
    DataError
        If the shapes differ, a score is not finite or dense labels are not Boolean.
    """
    precisions = np.full(scores.shape[1], np.nan)
    for column, ranked, positives in ranked_columns(scores, labels):
        n_pos = len(positives)
        n_neg = len(ranked) - n_pos
        if n_pos and n_neg:
            true = n_pos - np.searchsorted(positives, positives, "left")
            false = len(ranked) - np.searchsorted(ranked, positives, "left") - true
            tpr, fpr = true / n_pos, false / n_neg
            precisions[column] = (tpr / (tpr + fpr)).mean()
    return precisions


def curve_density(curves: Figures) -> NDArray[np.int64]:
    """Count how many curves pass through each pixel of a square picture.

    Between two neighbouring rates a curve is taken as the upright stroke from one value to the
    next, so that steep parts are drawn without gaps.

    Parameters
    ----------
    curves : ndarray of float, shape (n_curves, n_pixels + 1)
        True-positive rates at false-positive rates 0, 1 / n_pixels, …, 1; curves with NaN are
        left out.

    Returns
    -------
    ndarray of int64, shape (n_pixels, n_pixels)
        Rows by rising true-positive rate, columns by rising false-positive rate.
    """
    known = curves[np.isfinite(curves).all(axis=1)]
    n = curves.shape[1] - 1
    pixels = np.minimum((known * n).astype(np.int64), n - 1)
    low, high = pixels[:, :-1], pixels[:, 1:]
    # Curves never fall, so each covers the rows from the one to the other: +1 where it begins, -1
    # above where it ends, and a running sum.
    columns = np.broadcast_to(np.arange(n), low.shape)
    size = (n + 1) * n
    begins = np.bincount((low * n + columns).ravel(), minlength=size)
    ends = np.bincount(((high + 1) * n + columns).ravel(), minlength=size)
    return np.cumsum((begins - ends).reshape(n + 1, n), axis=0)[:n]


def virtual_roc(fpr: ArrayLike, exponent: float) -> Figures:
    """Return the paper's model of an ROC curve, for drawing one curve with a typical area.

    f_k(x) = 1 − ((1 − x^k) / (1 + x^k))^(1/k), with values in [0, 1] (paper, section 4.3, note 4).
    It is symmetric in the two kinds of error; measured curves need not be.

    Parameters
    ----------
    fpr : array_like of float
        False-positive rates in [0, 1].
    exponent : float
        k, above 0; smaller is nearer to the upper left corner.

    Returns
    -------
    ndarray of float64
        True-positive rates, in the shape of `fpr`.

    Raises
    ------
    DataError
        If a rate lies outside [0, 1] or the exponent is not above 0.
    """
    _check_exponent(exponent)
    powers = _checked_rates(fpr) ** exponent
    return 1 - ((1 - powers) / (1 + powers)) ** (1 / exponent)


def virtual_roc_area(exponent: float) -> float:
    """Return the area under `virtual_roc`, between 0 and 1.

    With a = 1/k the integral is 1 − a · B(a, a + 1) · ₂F₁(a, a; 2a + 1; −1).

    Raises
    ------
    DataError
        If the exponent is not above 0.
    """
    _check_exponent(exponent)
    a = 1 / exponent
    return float(1 - a * np.exp(betaln(a, a + 1)) * hyp2f1(a, a, 2 * a + 1, -1))


def virtual_roc_exponent(area: float) -> float:
    """Return the exponent k for which `virtual_roc` has the given area; .914 gives .492.

    Raises
    ------
    DataError
        If no curve of the family has that area: it must lie above 0 and below 1.
    """
    low, high = _VIRTUAL_EXPONENTS
    if not virtual_roc_area(high) < area < virtual_roc_area(low):
        raise DataError(
            f"No virtual ROC curve has the area {area}: it must lie above 0 and below 1. Draw the "
            "measured curves alone."
        )
    solution = brentq(
        lambda log: virtual_roc_area(np.exp(log)) - area, np.log(low), np.log(high), xtol=1e-12
    )
    return float(np.exp(solution))


def _checked_rates(values: ArrayLike) -> Figures:
    rates = np.asarray(values, dtype=np.float64)
    if not ((rates >= 0) & (rates <= 1)).all():
        raise DataError("A false-positive rate lies outside 0 to 1. Use rates only.")
    return rates


def _check_exponent(exponent: float) -> None:
    if not 0 < exponent < np.inf:
        raise DataError(f"The exponent is {exponent}: it must be a number above 0.")
