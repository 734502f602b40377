"""Images that show a concept: where it is strongest, in the middle, and where it is weakest.

The strongest images alone flatter a concept: they may all show a purple star while half of the
images that activate it do not. So images are taken from three places of the activations, sorted by
size: the top, around the median, and the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.codes import Codes
from cgraph.errors import ConfigError

BANDS = ("high", "middle", "low")


@dataclass(frozen=True)
class Band:
    """Some images of one part of a concept's activations.

    Attributes
    ----------
    name : str
        One of `BANDS`.
    rows : ndarray of int
        Rows of the codes, the strongest first.
    coefficients : ndarray of float32
        The concept's coefficient in each.
    """

    name: str
    rows: NDArray[np.integer]
    coefficients: NDArray[np.float32]


def bands(codes: Codes, atom: int, n: int) -> tuple[Band, Band, Band]:
    """Return images from high, middle and low activation of a concept.

    Parameters
    ----------
    codes : Codes
        Of the images to choose from, at the concept's layer.
    atom : int
    n : int
        Images of each band.

    Returns
    -------
    tuple of Band
        High, middle, low. No image is in two of them: of fewer than ``3 n`` images the high band
        is filled first, then the low, then the middle. Signed coefficients are ranked by their
        absolute value; ties go to the earlier row.

    Raises
    ------
    ConfigError
        If `n` is below 1.
    """
    if n < 1:
        raise ConfigError(f"n is {n}: ask for at least 1 image of each band.")
    rows, values = codes.exemplars(atom, codes.n_samples)
    high = min(n, len(rows))
    low = min(n, len(rows) - high)
    middle = min(n, len(rows) - high - low)
    first = (len(rows) - middle) // 2
    # Around the median, but never into the other two.
    first = min(max(first, high), len(rows) - low - middle)
    cuts = (slice(0, high), slice(first, first + middle), slice(len(rows) - low, len(rows)))
    found = [Band(name, rows[cut], values[cut]) for name, cut in zip(BANDS, cuts, strict=True)]
    return found[0], found[1], found[2]


@dataclass(frozen=True)
class ActivationHistogram:
    """How often a concept has which strength.

    Attributes
    ----------
    edges : ndarray of float64, shape (n_bins + 1,)
        In the unit of the coefficients.
    counts : ndarray of int64, shape (n_bins,)
        Images in which the concept is active, by its coefficient; the last bin has both edges.
    n_silent : int
        Images in which it is not active.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_silent: int


def activation_histogram(codes: Codes, atom: int, n_bins: int = 24) -> ActivationHistogram:
    """Count the coefficients of one concept.

    Parameters
    ----------
    codes : Codes
    atom : int
    n_bins : int

    Returns
    -------
    ActivationHistogram
        From 0 to the largest coefficient, or from the smallest where some are negative. Without
        an active image it has no bins.
    """
    _, values = codes.exemplars(atom, codes.n_samples)
    n_silent = codes.n_samples - len(values)
    if not len(values):
        empty = np.empty(0)
        return ActivationHistogram(empty, empty.astype(np.int64), n_silent)
    span = min(0.0, float(values.min())), max(0.0, float(values.max()))
    counts, edges = np.histogram(values.astype(np.float64), bins=n_bins, range=span)
    return ActivationHistogram(edges, counts.astype(np.int64), n_silent)
