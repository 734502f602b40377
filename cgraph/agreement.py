"""How far two answers to the same question agree, in named figures.

A *change* is a concept of a layer that appeared or vanished. Two answers share a change if the same
concept did the same in both. Figures of one layer, over all images:

- *confirmed*: the share of the first answer's changes that the second shares (precision),
- *foreseen*: the share of the second answer's changes that the first shares (recall),
- *overlap*: shared changes over those that either has (Jaccard),
- *rank correlation*: Spearman's, between how far each concept moved in the two answers, over all
  concepts that a number is known of; it also sees moves too small to change a label,
- *by chance*: the overlap that is expected if the second answer's changes fell on the concepts of
  the layer at random, or, over many images, the overlap with another image's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LayerStates:
    """Before and after of one layer, for some images; arrays ``(n_images, n_concepts)``.

    Attributes
    ----------
    before, after : ndarray of bool
        Whether each concept is active.
    value_before, value_after : ndarray of float32
        Probability, or pre-activation.
    moves : ndarray of float32
        How far each concept moved, in log-odds or as pre-activation; NaN where it is not known.
    from_fixed_number : ndarray of bool or None
        Changes that only a fixed number of active concepts made.
    """

    before: np.ndarray
    after: np.ndarray
    value_before: np.ndarray
    value_after: np.ndarray
    moves: np.ndarray
    from_fixed_number: np.ndarray | None = None

    @property
    def flips(self) -> np.ndarray:
        """1 where a concept appeared, -1 where it vanished, else 0; int8."""
        return self.after.astype(np.int8) - self.before.astype(np.int8)


@dataclass(frozen=True)
class States:
    """Before and after of layer `first` and those that follow it."""

    first: int
    layers: tuple[LayerStates, ...]

    def of_layer(self, layer: int) -> LayerStates:
        """Return the states of one layer."""
        return self.layers[layer - self.first]

    def has_layer(self, layer: int) -> bool:
        """Return whether a layer is among them."""
        return self.first <= layer < self.first + len(self.layers)


@dataclass(frozen=True)
class Agreement:
    """How far two answers agree in one layer.

    Attributes
    ----------
    layer : int
    n_images, n_concepts : int
    n_first, n_second : int
        Changes of each answer, over all images.
    n_shared : int
        Changes that both have, in the same direction.
    n_opposed : int
        Concepts that appeared in one and vanished in the other.
    rank_correlation : float or None
        Mean over the images in which both answers moved anything; None if there is none.
    by_chance : float or None
        Overlap to be expected by chance; None if neither answer has a change.
    """

    layer: int
    n_images: int
    n_concepts: int
    n_first: int
    n_second: int
    n_shared: int
    n_opposed: int
    rank_correlation: float | None
    by_chance: float | None

    @property
    def confirmed(self) -> float | None:
        """Share of the first answer's changes that the second has too."""
        return self.n_shared / self.n_first if self.n_first else None

    @property
    def foreseen(self) -> float | None:
        """Share of the second answer's changes that the first has too."""
        return self.n_shared / self.n_second if self.n_second else None

    @property
    def overlap(self) -> float | None:
        """Shared changes over those of either answer."""
        either = self.n_first + self.n_second - self.n_shared
        return self.n_shared / either if either else None


def agreement(
    first: States,
    second: States,
    layer: int,
    *,
    left_out: np.ndarray | None = None,
) -> Agreement:
    """Compare two answers about the same images in one layer.

    Parameters
    ----------
    first, second : States
    layer : int
        A layer of both.
    left_out : ndarray of bool, shape (n_images, n_concepts), optional
        Concepts that do not count, such as those set by hand.
    """
    one, other = first.of_layer(layer), second.of_layer(layer)
    counted = np.ones(one.before.shape, dtype=bool) if left_out is None else ~left_out
    a, b = np.where(counted, one.flips, 0), np.where(counted, other.flips, 0)
    n_shared = int(((a == b) & (a != 0)).sum())
    correlations = [
        found
        for row in range(len(a))
        if (found := rank_correlation(one.moves[row], other.moves[row], counted[row])) is not None
    ]
    return Agreement(
        layer=layer,
        n_images=len(a),
        n_concepts=a.shape[1],
        n_first=int((a != 0).sum()),
        n_second=int((b != 0).sum()),
        n_shared=n_shared,
        n_opposed=int((a * b == -1).sum()),
        rank_correlation=float(np.mean(correlations)) if correlations else None,
        by_chance=_by_chance(a, b, counted),
    )


def _by_chance(a: np.ndarray, b: np.ndarray, counted: np.ndarray) -> float | None:
    """Return the overlap to be expected of answers that have nothing to do with each other.

    Of several images: the overlap of each image's first answer with the second answer of another,
    over every other image in turn. Of one: both directions drawn at random among the concepts of
    the layer, as the ratio of the expected numbers.
    """
    n_first, n_second = int((a != 0).sum()), int((b != 0).sum())
    if n_first + n_second == 0:
        return None
    if len(a) > 1:
        shared = 0.0
        for step in range(1, len(a)):
            moved = np.roll(b, step, axis=0)
            shared += float(((a == moved) & (a != 0)).sum())
        shared /= len(a) - 1
    else:
        n = max(1, int(counted.sum()))
        shared = sum(float((a == sign).sum() * (b == sign).sum()) / n for sign in (1, -1))
    return shared / (n_first + n_second - shared)


def rank_correlation(
    one: np.ndarray, other: np.ndarray, counted: np.ndarray | None = None
) -> float | None:
    """Return Spearman's correlation of two lists of numbers; None if one of them is constant.

    Parameters
    ----------
    one, other : ndarray of float, shape (n,)
        Where either is NaN, the pair is left out.
    counted : ndarray of bool, optional
        Pairs that count.
    """
    known = np.isfinite(one) & np.isfinite(other)
    if counted is not None:
        known &= counted
    if known.sum() < 3:
        return None
    x, y = _ranks(one[known]), _ranks(other[known])
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def total(parts: Sequence[Agreement]) -> Agreement:
    """Return the agreement over several sets of images, of one layer.

    Numbers of changes are added; the rank correlation and what is expected by chance are means over
    the sets, weighted by their images.
    """

    def mean(name: str) -> float | None:
        known = [(getattr(p, name), p.n_images) for p in parts if getattr(p, name) is not None]
        weight = sum(n for _, n in known)
        return sum(value * n for value, n in known) / weight if weight else None

    counts = ("n_images", "n_first", "n_second", "n_shared", "n_opposed")
    return Agreement(
        layer=parts[0].layer,
        n_concepts=parts[0].n_concepts,
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
        rank_correlation=mean("rank_correlation"),
        by_chance=mean("by_chance"),
    )
