"""Whether probabilities hold: groups of images, what was foretold of them and what was found.

In a reliability diagram (DeGroot and Fienberg 1983) the mean probability of each group stands
against the share of it that has the concept. Both are of the natural world: images as they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError

_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class Reliability:
    """Groups of samples by rising probability; none is empty.

    Attributes
    ----------
    predicted : ndarray of float64, shape (n_groups,)
        Mean probability of each group.
    observed : ndarray of float64, shape (n_groups,)
        Share of the group that is positive.
    low, high : ndarray of float64, shape (n_groups,)
        95 % interval of that share (Wilson 1927).
    n, n_positive : ndarray of int64, shape (n_groups,)
        Samples of each group, and positives among them.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    n_positive: NDArray[np.int64]


def even_edges(probabilities: NDArray[Any], n_groups: int) -> NDArray[np.float64]:
    """Return inner edges of groups that are expected to hold about as many positives each.

    Groups of equal size would put nearly all positives of a rare concept into the last. Here the
    sum of probabilities is about the same in each, and samples of equal probability stay together.

    Parameters
    ----------
    probabilities : ndarray of float, shape (n_samples,)
    n_groups : int
        At least 1.

    Returns
    -------
    ndarray of float64, shape (at most n_groups - 1,)
        Rising and distinct. A sample belongs above an edge when its probability is at least that.
    """
    ranked = np.sort(np.asarray(probabilities, dtype=np.float64))
    sums = np.cumsum(ranked)
    if not len(ranked) or sums[-1] <= 0:
        return np.empty(0)
    wanted = sums[-1] * np.arange(1, n_groups) / n_groups
    return np.unique(ranked[np.minimum(np.searchsorted(sums, wanted), len(ranked) - 1)])


def reliability(
    probabilities: NDArray[Any], positive: NDArray[np.bool_], edges: ArrayLike
) -> Reliability:
    """Compare probabilities with what was found, in groups.

    Parameters
    ----------
    probabilities : ndarray of float, shape (n_samples,)
        In [0, 1].
    positive : ndarray of bool, shape (n_samples,)
    edges : array_like of float
        Rising inner edges, as `even_edges` returns them; groups without a sample are left out.

    Returns
    -------
    Reliability

    Raises
    ------
    DataError
        If the shapes differ or a probability lies outside [0, 1].
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != positive.shape:
        raise DataError(
            f"There are {len(values)} probabilities and {len(positive)} labels. Give both for the "
            "same images."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("A probability lies outside 0 to 1. Calibrate the scores first.")
    limits = np.asarray(edges, dtype=np.float64)
    group = np.searchsorted(limits, values, side="right")
    n = np.bincount(group, minlength=len(limits) + 1)
    kept = n > 0
    n_positive = np.bincount(group, weights=positive, minlength=len(n)).astype(np.int64)[kept]
    sums = np.bincount(group, weights=values, minlength=len(n))[kept]
    n = n[kept]
    low, high = wilson_interval(n_positive, n)
    return Reliability(sums / n, n_positive / n, low, high, n, n_positive)


def wilson_interval(
    n_positive: NDArray[np.int64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of a share by Wilson's score method.

    Parameters
    ----------
    n_positive, n : ndarray of int
        Positives, and all samples (at least 1).

    Returns
    -------
    low, high : ndarray of float64
        Within [0, 1].
    """
    share = n_positive / n
    centre = share + _Z**2 / (2 * n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    # At a share of exactly 0 or 1 the interval ends there; rounding would leave a rest.
    low = np.where(n_positive == 0, 0.0, (centre - half) / scale)
    high = np.where(n_positive == n, 1.0, (centre + half) / scale)
    return low, high
