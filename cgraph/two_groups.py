"""A threshold that parts numbers in two groups, as Otsu (1979) parts the grey values of a picture.

Of all cuts the one is taken that leaves the largest variance between the means of the two sides,
and so the smallest within them. It is exact: every gap between two different numbers is tried.
"""

from __future__ import annotations

import numpy as np

from cgraph.errors import DataError


def two_groups(values: np.ndarray) -> tuple[float, float]:
    """Return the threshold between two groups of numbers, and how far they are apart.

    Parameters
    ----------
    values : ndarray of float, shape (n,)

    Returns
    -------
    threshold : float
        Midway between the largest number of the lower group and the smallest of the upper one. Of
        equally good cuts the lowest.
    separation : float
        Share of the variance that lies between the groups, in (0, 1]; of evenly spread numbers ¾,
        of a bell curve 0.64.

    Raises
    ------
    DataError
        If there are no two different numbers, or one is not finite.
    """
    rising = np.sort(np.asarray(values, dtype=np.float64))
    if not np.isfinite(rising).all():
        raise DataError("A number that is to be parted in two groups is not finite.")
    cuts = np.flatnonzero(rising[:-1] < rising[1:]) + 1
    if not len(cuts):
        raise DataError("All numbers are the same: there are no two groups.")
    centred = rising - rising.mean()
    n = len(rising)
    # Sums of the lower group; those of the upper one are their opposite.
    sums = np.cumsum(centred)[cuts - 1]
    between = sums**2 / (cuts * (n - cuts))  # n times the variance between the means, over n
    best = int(between.argmax())
    cut = int(cuts[best])
    threshold = (rising[cut - 1] + rising[cut]) / 2
    return float(threshold), float(between[best] * n / (centred**2).sum())
