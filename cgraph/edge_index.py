"""Edges of one pair of layers, found by child and by parent.

Edge order: by (child, parent), as in the table on disk. An edge's *share* is its absolute weight
over the sum of the absolute weights of all edges into its child that are followed with it: those
that raise, those that lower, or both. Shares into one child add up to 1, and shares along a path
multiply to the strength of the path, so that all paths into one concept from one layer add up to at
most 1. An image's own shares (`cgraph.trace`) are the same with contributions in place of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cgraph.codes import stable_order
from cgraph.errors import ConfigError

BOTH, RAISES, LOWERS = "both", "raises", "lowers"
SIGNS = (BOTH, RAISES, LOWERS)
"""Which edges are followed: all, those of positive weight, or those of negative weight."""


def check_sign(sign: str) -> str:
    """Return a choice of sign.

    Raises
    ------
    ConfigError
        If it is none of `SIGNS`.
    """
    if sign not in SIGNS:
        raise ConfigError(f"The sign is {sign!r}: choose one of {', '.join(SIGNS)}.")
    return sign


def has_sign(weights: np.ndarray, sign: str) -> np.ndarray:
    """Return which edges are followed, as Booleans."""
    if check_sign(sign) == BOTH:
        return weights != 0
    return weights > 0 if sign == RAISES else weights < 0


@dataclass(frozen=True)
class EdgeList:
    """All parents, or all children, of one concept, by falling absolute weight, then index.

    Attributes
    ----------
    layer : int
        Layer of the other ends.
    indices : ndarray of int32, shape (n_edges,)
        Index of the other end of each edge in that layer.
    weights : ndarray of float32, shape (n_edges,)
        Log-odds of the child per unit of the parent's input.
    selection_rates : ndarray of float32, shape (n_edges,)
        Share of the bags in which the weight was not zero.
    """

    layer: int
    indices: np.ndarray
    weights: np.ndarray
    selection_rates: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class LayerEdges:
    """Edges into one child layer: compressed sparse rows by child, and an index by parent.

    Attributes
    ----------
    starts : ndarray of int64, shape (n_children + 1,)
        First entry of each child.
    parents : ndarray of int32, shape (n_edges,)
    weights, selection_rates : ndarray of float32, shape (n_edges,)
    by_parent_starts : ndarray of int64, shape (n_parents + 1,)
        First place of each parent in the two below.
    by_parent_children : ndarray of int32, shape (n_edges,)
    by_parent_entries : ndarray of int64, shape (n_edges,)
        Entry of that edge in `weights`.
    whole : LayerEdges or None
        The edges that these were chosen from; shares are of all of them.
    """

    starts: np.ndarray
    parents: np.ndarray
    weights: np.ndarray
    selection_rates: np.ndarray
    by_parent_starts: np.ndarray
    by_parent_children: np.ndarray
    by_parent_entries: np.ndarray
    whole: LayerEdges | None = None

    @classmethod
    def index(
        cls, columns: dict[str, np.ndarray], starts: np.ndarray, n_parents: int
    ) -> LayerEdges:
        """Index the edges ``starts[0]:starts[-1]`` of the sorted edge columns."""
        entries = slice(starts[0], starts[-1])
        return cls._of(
            starts - starts[0],
            columns["parent"][entries],
            columns["weight"][entries],
            columns["selection_rate"][entries],
            n_parents,
        )

    @classmethod
    def _of(
        cls,
        starts: np.ndarray,
        parents: np.ndarray,
        weights: np.ndarray,
        rates: np.ndarray,
        n_parents: int,
        whole: LayerEdges | None = None,
    ) -> LayerEdges:
        by_parent = stable_order(parents, n_parents)
        children = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
        counts = np.bincount(parents, minlength=n_parents)
        return cls(
            starts=starts,
            parents=parents,
            weights=weights,
            selection_rates=rates,
            by_parent_starts=np.concatenate([[0], np.cumsum(counts)]),
            by_parent_children=children[by_parent],
            by_parent_entries=by_parent,
            whole=whole,
        )

    @property
    def n_parents(self) -> int:
        """Number of concepts of the parents' layer."""
        return len(self.by_parent_starts) - 1

    @property
    def n_children(self) -> int:
        """Number of concepts of the children's layer."""
        return len(self.starts) - 1

    @cached_property
    def children(self) -> np.ndarray:
        """Child of each edge, rising, shape ``(n_edges,)``."""
        return np.repeat(np.arange(self.n_children, dtype=np.int32), np.diff(self.starts))

    def select(self, keep: np.ndarray) -> LayerEdges:
        """Return some of the edges, whose shares stay what they are among all.

        Parameters
        ----------
        keep : ndarray of bool, shape (n_edges,)
        """
        if keep.all():
            return self
        counts = np.bincount(self.children[keep], minlength=self.n_children)
        return self._of(
            np.concatenate([[0], np.cumsum(counts)]),
            self.parents[keep],
            self.weights[keep],
            self.selection_rates[keep],
            self.n_parents,
            self.whole or self,
        )

    @cached_property
    def _sums(self) -> dict[str, np.ndarray]:
        """Sum of the absolute weights into each child, by the edges that are followed."""
        sums = {}
        for sign in SIGNS:
            sizes = np.where(has_sign(self.weights, sign), np.abs(self.weights), 0)
            sums[sign] = np.bincount(self.children, sizes, self.n_children)
        return sums

    @cached_property
    def _shares(self) -> dict[str, np.ndarray]:
        return {}

    def shares(self, sign: str = BOTH) -> np.ndarray:
        """Return the share of each edge, 0 where it is not followed; not to be changed.

        Parameters
        ----------
        sign : str
            One of `SIGNS`.

        Returns
        -------
        ndarray of float64, shape (n_edges,)
        """
        if sign not in self._shares:
            followed = has_sign(self.weights, sign)
            sums = (self.whole or self)._sums[sign][self.children]
            sizes = np.abs(self.weights, dtype=np.float64)
            # Of a child without a followed edge the sum is 0, and so is every share.
            self._shares[sign] = np.divide(
                sizes, sums, out=np.zeros(len(sizes)), where=followed & (sums > 0)
            )
        return self._shares[sign]

    def from_parents(self, parents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the children of some parents, and the entry of each of these edges."""
        first = self.by_parent_starts[parents]
        counts = self.by_parent_starts[parents + 1] - first
        ends = np.cumsum(counts)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
        return self.by_parent_children[places], self.by_parent_entries[places]

    def into(self, children: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for every edge into some children, its place in `children` and its entry."""
        first = self.starts[children]
        lengths = self.starts[children + 1] - first
        place = np.repeat(np.arange(len(children)), lengths)
        entries = np.arange(len(place)) + (first - (np.cumsum(lengths) - lengths))[place]
        return place, entries


def no_edges(layer: int) -> EdgeList:
    """Return an empty list of edges."""
    nothing = np.zeros(0, dtype=np.float32)
    return EdgeList(layer, nothing.astype(np.int32), nothing, nothing)


def strongest_first(
    layer: int, indices: np.ndarray, weights: np.ndarray, rates: np.ndarray
) -> EdgeList:
    """Return a list of edges, sorted by falling absolute weight."""
    order = np.argsort(-np.abs(weights), kind="stable")
    return EdgeList(layer, indices[order], weights[order], rates[order])
