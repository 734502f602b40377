"""The same idea at two layers, and pairs of ideas that go together, by labels alone.

A concept is *followed* to a deeper layer where it and a concept there are each other's best match
by the correlation of their labels. Two followed concepts go together when each of them, at the
lower layer, is correlated with the other at the upper one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.codes import Codes
from cgraph.metrics import matthews

SAME = 0.3
"""Correlation from which two concepts that match each other best are the same idea."""

TOGETHER = 0.1
"""Correlation from which two ideas go together."""

MIN_LABELS = 20
"""Images that must have a concept, at either layer, before it is followed."""


@dataclass(frozen=True)
class Followed:
    """Concepts found again at a deeper layer.

    Attributes
    ----------
    at_lower, at_upper : ndarray of int, shape (n,)
        The same idea at both layers, rising at the lower one.
    across : ndarray of float, shape (n_lower_concepts, n_upper_concepts)
        Correlation of all labels.
    """

    at_lower: NDArray[np.intp]
    at_upper: NDArray[np.intp]
    across: NDArray[np.float64]

    def pairs(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return ideas that go together, the closest first.

        Returns
        -------
        places : ndarray of int, shape (n_pairs, 2)
            Of the two ideas in `at_lower`, the first below the second.
        association : ndarray of float, shape (n_pairs,)
            The smaller correlation of one at the lower with the other at the upper layer.
        """
        between = self.across[np.ix_(self.at_lower, self.at_upper)]
        smaller = np.minimum(between, between.T)
        one, other = np.triu_indices(len(smaller), 1)
        kept = smaller[one, other] >= TOGETHER
        places, found = np.stack([one[kept], other[kept]], axis=1), smaller[one, other][kept]
        order = np.argsort(-found, kind="stable")
        return places[order], found[order]


def follow(lower: Codes, upper: Codes) -> Followed:
    """Find concepts of one layer again at a deeper one.

    Parameters
    ----------
    lower, upper : Codes
        Of the same images.
    """
    across = matthews(lower, upper)
    across[lower.counts() < MIN_LABELS] = 0
    across[:, upper.counts() < MIN_LABELS] = 0
    best = across.argmax(axis=1)
    every = np.arange(len(best))
    kept = (across[every, best] >= SAME) & (across.argmax(axis=0)[best] == every)
    return Followed(every[kept], best[kept], across)


def layer_pairs(n_layers: int) -> list[tuple[int, int]]:
    """Return the pairs of layers that are compared: a quarter of the network apart.

    Of 12 layers 3 and 6, 6 and 9, 9 and 12; of few layers, each with the next.
    """
    gap = max(1, round(n_layers / 4))
    return [(lower, lower + gap) for lower in range(gap, n_layers - gap + 1, gap)]
