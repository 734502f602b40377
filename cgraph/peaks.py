"""Peaks of a histogram of whole numbers, such as the numbers of parents of many concepts.

The paper sees two peaks in its histogram, at 24 and at 66 parents (section 4.2), by eye. Here a
peak is found by a rule without any random step:

1. The counts are smoothed by a Gaussian kernel on the whole numbers from 0 on, reflected at its
   lower end. Every count is foretold from all the others (leave-one-out likelihood, Habbema et al.
   1974; 1 % of the mass is spread evenly, so that a far value does not decide alone); the width is
   the largest that foretells them as well as the best one does, within one standard error of the
   difference.
2. A local maximum is a peak if it rises above the deepest point on the way to higher ground by
   more than `MIN_RISE` standard errors of that difference, and if at least `MIN_SHARE` of all
   counts lie nearer to it than to other peaks, as the valleys divide them. The highest is one
   always.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError

MIN_RISE = 3.5
"""Standard errors by which a second peak rises above the valley before it.

Of 60 even histograms (0 to 50) of 1,000 counts, which have no peak, one shows two at 3.5 and five
do at 3.
"""

MIN_SHARE = 0.05
"""Least share of the counts that belongs to a peak."""

_SPREAD = 0.01
_NARROWEST = 0.6
_STEP = 1.1  # ratio of neighbouring widths that are tried

Density = NDArray[np.float64]


@dataclass(frozen=True)
class Peaks:
    """A smoothed histogram and its peaks.

    Attributes
    ----------
    density : ndarray of float64, shape (n_values,)
        Smoothed share of each whole number from 0 on.
    width : float
        Standard deviation of the kernel.
    at : tuple of int
        Where the peaks are, rising; at least one.
    valleys : tuple of int
        The lowest point between each two neighbouring peaks.
    shares : tuple of float
        Share of the counts that belongs to each peak: those above one valley and up to the next.
    n : int
        Number of counts.
    """

    density: Density
    width: float
    at: tuple[int, ...]
    valleys: tuple[int, ...]
    shares: tuple[float, ...]
    n: int

    def group(self, counts: ArrayLike) -> NDArray[np.intp]:
        """Return to which peak, from 0, each of some counts belongs."""
        return np.searchsorted(np.array(self.valleys), np.asarray(counts), side="left")


def find_peaks(counts: ArrayLike) -> Peaks:
    """Smooth a histogram of counts and find its peaks, by the rule of this module.

    Parameters
    ----------
    counts : array_like of int, shape (n,)
        One whole number from 0 on for each concept.

    Returns
    -------
    Peaks

    Raises
    ------
    DataError
        If there are no counts, or one is negative or no whole number.
    """
    values = np.asarray(counts)
    if not values.size:
        raise DataError("There are no counts to find peaks in. Give at least one.")
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise DataError("A count is negative or no whole number. Count from 0 on.")
    numbers = np.bincount(values).astype(np.float64)
    widest = max(2 * _NARROWEST, len(numbers) / 3)
    n_steps = int(np.ceil(np.log(widest / _NARROWEST) / np.log(_STEP)))
    widths = _NARROWEST * _STEP ** np.arange(n_steps + 1)
    width = float(widths[_chosen(numbers, [_foretold(numbers, tried) for tried in widths])])
    kernel = _kernel(_length(numbers, width), width)[:, : len(numbers)]
    density = kernel @ numbers / numbers.sum()
    at = [p for p in _local_maxima(density) if _rises(density, kernel, numbers, p)]
    while True:
        valleys = [left + int(density[left : right + 1].argmin()) for left, right in pairwise(at)]
        parts = np.split(numbers, [min(v + 1, len(numbers)) for v in valleys])
        shares = [float(part.sum() / numbers.sum()) for part in parts]
        small = [i for i, share in enumerate(shares) if share < MIN_SHARE]
        if not small or len(at) == 1:
            break
        # The lowest of the small ones goes first; what it held is shared out anew.
        at.remove(min((at[i] for i in small), key=lambda place: density[place]))
    return Peaks(density, width, tuple(at), tuple(valleys), tuple(shares), int(numbers.sum()))


def _length(numbers: Density, width: float) -> int:
    """Return how many whole numbers the smoothed histogram reaches."""
    return len(numbers) + int(np.ceil(3 * width))


def _kernel(length: int, width: float) -> Density:
    """Return the kernel between whole numbers 0 … length - 1, reflected below 0.

    What would fall on -1, -2, … falls on 0, 1, …, so that the shares of every column add up to 1.
    """
    reach = np.arange(2 * length + int(np.ceil(8 * width)) + 2)
    weights = np.exp(-0.5 * (reach / width) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    place = np.arange(length)
    return weights[np.abs(place[:, None] - place)] + weights[place[:, None] + place + 1]


def _foretold(numbers: Density, width: float) -> Density:
    """Return the log-likelihood of a count of each number, foretold from all other counts."""
    length = len(numbers)
    kernel = _kernel(length, width)
    others = (kernel @ numbers - np.diag(kernel)) / max(1.0, numbers.sum() - 1)
    return np.log((1 - _SPREAD) * np.maximum(others, 0) + _SPREAD / length)


def _chosen(numbers: Density, foretold: list[Density]) -> int:
    """Return the place of the largest width that is as good as the best within its error."""
    n = numbers.sum()
    best = foretold[int(np.argmax([(numbers * logs).sum() for logs in foretold]))]
    for place in reversed(range(len(foretold))):
        loss = best - foretold[place]
        mean = (numbers * loss).sum() / n
        variance = (numbers * (loss - mean) ** 2).sum() / n
        if mean <= np.sqrt(variance / n):
            return place
    return 0


def _local_maxima(density: Density) -> list[int]:
    padded = np.concatenate([[-1.0], density, [-1.0]])
    rising, falling = padded[1:-1] > padded[:-2], padded[1:-1] >= padded[2:]
    return np.flatnonzero(rising & falling).tolist()


def _rises(density: Density, kernel: Density, numbers: Density, peak: int) -> bool:
    """Return whether a maximum is the highest, or stands out from the way to higher ground."""
    lows = []
    # Of two that are equally high the first is the highest; a plateau is no higher than itself.
    left = np.flatnonzero(density[:peak] >= density[peak])
    right = np.flatnonzero(density[peak + 1 :] > density[peak]) + peak + 1
    if len(left):
        lows.append(left[-1] + int(density[left[-1] : peak].argmin()))
    if len(right):
        lows.append(peak + 1 + int(density[peak + 1 : right[0] + 1].argmin()))
    if not lows:
        return True
    low = max(lows, key=lambda place: density[place])
    rise = density[peak] - density[low]
    # The density is a mean over the counts, and so is its difference between two places.
    difference = kernel[peak] - kernel[low]
    n = numbers.sum()
    variance = ((difference**2 * numbers).sum() / n - rise**2) / n
    return bool(rise > MIN_RISE * np.sqrt(max(variance, 0.0)))
