"""Concepts of one layer that are active in the same images, more or less often than by chance.

For a concept a and another b of its layer, over some images::

    share(b | a) = images with both / images with a
    lift(a, b)   = share(b | a) / (images with b / all images)

A lift of 1 is chance. Rare concepts reach a large lift by a few images, so others are ranked by
the Matthews correlation, which counts how many images speak for it. They are ranked on one set of
images and measured on another, or the best of thousands would look better than they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.codes import Codes


@dataclass(frozen=True)
class CoActive:
    """Another concept of the layer, and how it goes with the one that was asked about.

    Attributes
    ----------
    index : int
    n_both : int
        Images of the second set in which both are active.
    share : float
        Of the images with the concept asked about, the part that has this one too; NaN if the
        second set has no image with it.
    lift : float
        That share over the part of all images that has this one; NaN likewise.
    correlation : float
        Matthews correlation on the second set, in [-1, 1].
    """

    index: int
    n_both: int
    share: float
    lift: float
    correlation: float


def joint_counts(codes: Codes, atom: int) -> NDArray[np.int64]:
    """Return in how many images each concept is active together with `atom`."""
    return codes.take(codes.positives(atom)).counts()


def phi(codes: Codes, atom: int) -> NDArray[np.float64]:
    """Return the Matthews correlation of a concept with every concept of its layer.

    Returns
    -------
    ndarray of float64, shape (n_atoms,)
        0 where one of the two is active in no image, or in all.
    """
    n = float(codes.n_samples)
    counts = codes.counts().astype(np.float64)
    own = counts[atom]
    spread = own * (n - own) * counts * (n - counts)
    covariance = n * joint_counts(codes, atom) - own * counts
    found = np.zeros(codes.n_atoms)
    return np.divide(covariance, np.sqrt(spread), out=found, where=spread > 0)


def co_active(
    chosen_on: Codes, measured_on: Codes, atom: int, n: int
) -> tuple[list[CoActive], list[CoActive]]:
    """Return the concepts that go with another, and those that avoid it.

    Parameters
    ----------
    chosen_on : Codes
        Of the images by which others are ranked.
    measured_on : Codes
        Of the images on which they are measured, at the same layer.
    atom : int
        The concept asked about.
    n : int
        Most concepts of either kind.

    Returns
    -------
    together, apart : list of CoActive
        Correlated above, and below, 0 on the first set, the strongest first.
    """
    ranks = phi(chosen_on, atom)
    ranks[atom] = 0
    order = np.argsort(-ranks, kind="stable")
    together = [int(index) for index in order[:n] if ranks[index] > 0]
    apart = [int(index) for index in order[::-1][:n] if ranks[index] < 0]
    joint, measured = joint_counts(measured_on, atom), phi(measured_on, atom)
    counts, own = measured_on.counts(), int(measured_on.counts()[atom])

    def figures(index: int) -> CoActive:
        share = joint[index] / own if own else np.nan
        usual = counts[index] / max(1, measured_on.n_samples)
        lift = share / usual if usual else np.nan
        return CoActive(index, int(joint[index]), float(share), float(lift), float(measured[index]))

    return [figures(index) for index in together], [figures(index) for index in apart]
