"""Probabilities from scores, and the threshold at which a label is predicted.

Pure functions of one concept's scores and labels on the tune images.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

PRIOR_SD = 0.3
"""Standard deviation of the Gaussian prior of the slope and of the offset, in log-odds."""

_MAX_ITER = 100
_GRADIENT_TOLERANCE = 1e-8


def platt_pair(score: np.ndarray, positive: np.ndarray, prior_offset: float) -> tuple[float, float]:
    """Fit p = σ(slope · score + offset) by penalised likelihood (after Platt 1999).

    The slope has a Gaussian prior about 1 and the offset one about `prior_offset`, both of
    standard deviation `PRIOR_SD`: a balanced fit with its intercept moved to the training
    prevalence is nearly right already, and a concept may have ten positives to correct it by. The
    prior weighs as much as some eleven positives in the offset, so data outweigh it from a few
    dozen on. It stands in for Platt's smoothed targets, which shrink towards no particular
    slope, and gives a finite pair for separable scores, for constant ones and without a positive.

    A slope is never negative, which would call a concept likelier the more its parents speak
    against it: where the best slope is, it is 0 and the offset is fitted alone.

    Parameters
    ----------
    score : ndarray of float, shape (n_samples,)
        Balanced log-odds.
    positive : ndarray of bool, shape (n_samples,)
    prior_offset : float
        Log-odds of the prevalence in the training images.

    Returns
    -------
    slope, offset : float
    """
    score = np.asarray(score, dtype=np.float64)
    slope, offset = _maximise(score, positive, prior_offset)
    if slope < 0:
        slope, offset = 0.0, _maximise(np.zeros_like(score), positive, prior_offset)[1]
    return slope, offset


def _maximise(score: np.ndarray, positive: np.ndarray, prior_offset: float) -> tuple[float, float]:
    """Return the pair of the highest posterior density, by Newton steps with halving."""
    design = np.column_stack([score, np.ones_like(score)])
    centre = np.array([1.0, prior_offset])
    precision = PRIOR_SD**-2
    sign = np.where(positive, -1.0, 1.0)

    def loss(pair: np.ndarray) -> float:
        margin = sign * (design @ pair)
        cross_entropy = (np.maximum(margin, 0) + np.log1p(np.exp(-np.abs(margin)))).sum()
        return float(cross_entropy + 0.5 * precision * ((pair - centre) ** 2).sum())

    pair, reached = centre, loss(centre)
    for _ in range(_MAX_ITER):
        probability = expit(design @ pair)
        gradient = design.T @ (probability - positive) + precision * (pair - centre)
        if np.abs(gradient).max() <= _GRADIENT_TOLERANCE * (1 + len(score)):
            break
        curvature = probability * (1 - probability)
        hessian = (design * curvature[:, None]).T @ design + precision * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while loss(pair - share * step) > reached and share > 1e-10:
            share /= 2
        pair = pair - share * step
        reached = loss(pair)
    return float(pair[0]), float(pair[1])


def matched_threshold(probability: np.ndarray, n_wanted: float) -> float:
    """Return τ such that ``probability >= τ`` holds for nearly `n_wanted` samples.

    Samples of equal probability are predicted together, so only some counts can be had; the
    nearest one is taken, and of two equally near the smaller. τ lies midway between the last
    sample that is predicted and the first that is not, so that rounding does not move a sample
    across.

    Parameters
    ----------
    probability : ndarray of float32, shape (n_samples,)
    n_wanted : float
        Between 0 and ``n_samples``.

    Returns
    -------
    float
        A value of single precision.
    """
    falling = np.sort(probability)[::-1]
    cuts = np.flatnonzero(falling[:-1] > falling[1:]) + 1
    counts = np.concatenate([[0], cuts, [len(falling)]])
    count = counts[np.abs(counts - n_wanted).argmin()]
    if count == len(falling):
        return 0.0
    below = falling[count]
    above = falling[count - 1] if count else np.float32(1)
    middle = np.float32((np.float64(above) + np.float64(below)) / 2)
    return float(max(middle, np.nextafter(below, np.float32(np.inf))))
