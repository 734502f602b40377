"""Rank correlations with their uncertainty, and the comparison of two groups by ranks.

Ranks, because numbers of parents, prevalences and areas are skewed and their relations need not be
straight lines. Everything is about concepts of one pair of layers as if they were drawn
independently; they are not quite, since they share images and parents, so intervals are somewhat
too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError

MIN_PAIRS = 10
"""Fewest concepts for which a correlation is told."""

_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class RankCorrelation:
    """How one figure goes with another over some concepts.

    Attributes
    ----------
    rho : float
        Spearman's correlation in [-1, 1].
    low, high : float
        Its 95 % interval.
    p_value : float
        How often unrelated figures give one at least as far from 0.
    n : int
        Concepts for which both figures are known.
    """

    rho: float
    low: float
    high: float
    p_value: float
    n: int


@dataclass(frozen=True)
class GroupComparison:
    """A figure in two groups of concepts.

    Attributes
    ----------
    medians : tuple of float
        Of the first and of the second group.
    superiority : float
        How often a concept of the second group has the larger figure, ties counted half; .5 is no
        difference.
    p_value : float
        Of no difference (Mann and Whitney 1947, normal approximation with ties).
    sizes : tuple of int
    """

    medians: tuple[float, float]
    superiority: float
    p_value: float
    sizes: tuple[int, int]


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[place]


def rank_correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike | None = None) -> RankCorrelation:
    """Return Spearman's correlation of two figures, or what is left of it with a third held fixed.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Concepts for which one of them is NaN are left out.
    given : array_like of float, shape (n,), optional
        A third figure, held fixed: the partial correlation of the ranks.

    Returns
    -------
    RankCorrelation
        The p-value is that of Student's t with n - 2 degrees of freedom (one less with `given`),
        the interval Fisher's with the variance of Bonett and Wright (2000).

    Raises
    ------
    DataError
        If fewer than `MIN_PAIRS` concepts are left, or one of the figures is the same for all.
    """
    figures = [
        np.asarray(v, dtype=np.float64) for v in (x, y, *(() if given is None else (given,)))
    ]
    kept = np.logical_and.reduce([np.isfinite(values) for values in figures])
    n = int(kept.sum())
    if n < MIN_PAIRS:
        raise DataError(
            f"Both figures are known of {n} concepts: a correlation needs at least {MIN_PAIRS}."
        )
    columns = [ranks(values[kept]) for values in figures]
    if any(np.ptp(column) == 0 for column in columns):
        raise DataError("One of the figures is the same for all concepts: nothing goes with it.")
    matrix = np.asarray(np.corrcoef(columns))
    rho = float(matrix[0, 1])
    if given is not None:
        with_x, with_y = matrix[0, 2], matrix[1, 2]
        rest = np.sqrt((1 - with_x**2) * (1 - with_y**2))
        if rest < 1e-9:
            raise DataError("The figure held fixed decides one of the others: nothing is left.")
        rho = float((rho - with_x * with_y) / rest)
    rho = min(1.0, max(-1.0, rho))
    n_left = n - (given is not None)
    return RankCorrelation(rho, *_interval(rho, n_left), _p_of_correlation(rho, n_left - 2), n)


def compare_groups(first: ArrayLike, second: ArrayLike) -> GroupComparison:
    """Compare a figure in two groups; unknown values (NaN) are left out.

    Raises
    ------
    DataError
        If a group has no known value.
    """
    groups = [np.asarray(v, dtype=np.float64) for v in (first, second)]
    a, b = (values[np.isfinite(values)] for values in groups)
    if not (len(a) and len(b)):
        raise DataError("One of the two groups has no known figure: there is nothing to compare.")
    joined = ranks(np.concatenate([a, b]))
    n, m = len(a), len(b)
    larger = joined[n:].sum() - m * (m + 1) / 2
    _, counts = np.unique(joined, return_counts=True)
    total = n + m
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    spread = np.sqrt(n * m / 12 * ((total + 1) - ties / max(1, total * (total - 1))))
    distance = max(0.0, abs(larger - n * m / 2) - 0.5)
    p_value = 1.0 if spread == 0 else 2 * _normal_tail(distance / spread)
    medians = (float(np.median(a)), float(np.median(b)))
    return GroupComparison(medians, float(larger / (n * m)), min(1.0, p_value), (n, m))


def _interval(rho: float, n: int) -> tuple[float, float]:
    if abs(rho) == 1.0:
        return rho, rho
    half = _Z * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return float(low), float(high)


def _p_of_correlation(rho: float, freedom: int) -> float:
    from scipy.special import stdtr

    if abs(rho) == 1.0:
        return 0.0
    t = rho * np.sqrt(freedom / (1 - rho**2))
    return float(2 * stdtr(freedom, -abs(t)))


def _normal_tail(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-z))
