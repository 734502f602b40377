"""The strongest paths from some concepts to others, and a proof where there is none.

A path follows edges from a source to a deeper target; between its ends lies neither a source nor a
target, so that sets are answered without repeating what is beside the point. Its *strength* is the
product of the shares of its edges (`cgraph.edge_index`): along edges that raise, the weight over
the sum of the positive weights into the child. Paths into one concept from one layer then add up to
at most 1. An image has shares of its own (`cgraph.trace`), with contributions in place of weights.

The search is exact. One pass over the layers, backwards, finds the strongest way on from every
concept; with that as its guide a best-first search (A*; Hart, Nilsson and Raphael 1968) takes up
paths in the order of their strength, and so touches hardly more edges than those on the answer.
Whether there is any path is settled apart, by following every edge.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edge_index import RAISES, check_sign
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.subgraph import GraphEdge, Subgraph

MOST_PATHS = 50
"""Most paths that are asked for at once."""


@dataclass(frozen=True)
class GraphPath:
    """Edges from a source to a target, each beginning where the one before ends.

    Attributes
    ----------
    edges : tuple of GraphEdge
        At least one.
    strength : float
        Product of their shares, 0 to 1.
    """

    edges: tuple[GraphEdge, ...]
    strength: float

    @property
    def concepts(self) -> tuple[ConceptId, ...]:
        """The concepts on the path, from source to target."""
        return (self.edges[0].parent, *(edge.child for edge in self.edges))

    @property
    def min_weight(self) -> float:
        """Smallest absolute weight of its edges: its weakest link."""
        return min(abs(edge.weight) for edge in self.edges)

    @property
    def raises(self) -> bool:
        """Whether it speaks for the target: the number of its edges that lower is even."""
        return sum(edge.weight < 0 for edge in self.edges) % 2 == 0


@dataclass(frozen=True)
class PathAnswer:
    """The strongest paths, and how far one comes at all.

    Attributes
    ----------
    paths : tuple of GraphPath
        Strongest first; empty if and only if there is none.
    reached : tuple of (int, int)
        For each layer from the first source to the last target: the layer, and how many of its
        concepts can be reached from a source (sources count themselves).
    leading : tuple of (int, int)
        Likewise how many lead to a target (targets count themselves).
    """

    paths: tuple[GraphPath, ...]
    reached: tuple[tuple[int, int], ...]
    leading: tuple[tuple[int, int], ...]

    @property
    def part(self) -> Subgraph:
        """All concepts and edges of the paths."""
        edges = {edge.ends: edge for path in self.paths for edge in path.edges}
        concepts = sorted({concept for ends in edges for concept in ends})
        order = sorted(edges, key=lambda ends: (ends[1], ends[0]))
        return Subgraph(tuple(concepts), tuple(edges[ends] for ends in order))


def strongest_paths(
    graph: ConceptGraph,
    sources: Collection[ConceptId],
    targets: Collection[ConceptId],
    *,
    n: int = 6,
    sign: str = RAISES,
) -> PathAnswer:
    """Find the strongest paths from any of the sources to any of the targets.

    Parameters
    ----------
    graph : ConceptGraph
    sources, targets : collection of ConceptId
        Of any layers, and not empty.
    n : int
        Most paths returned.
    sign : str
        Which edges are followed: ``raises``, ``lowers`` or ``both``.

    Returns
    -------
    PathAnswer

    Raises
    ------
    ConfigError
        If there is no such concept or sign, a set is empty, or `n` is out of range.
    """
    check_sign(sign)
    if not 1 <= n <= MOST_PATHS:
        raise ConfigError(f"{n} paths are asked for: between 1 and {MOST_PATHS} can be found.")
    is_source = _marked(graph, sources, "to start from")
    is_target = _marked(graph, targets, "to end at")
    first = min(concept.layer for concept in sources)
    last = max(concept.layer for concept in targets)
    layers = range(first, last + 1)
    shares = {layer: graph.layer_edges(layer).shares(sign) for layer in layers[1:]}
    reached = _reached(graph, is_source, layers, shares)
    leading = _leading(graph, is_target, layers, shares)
    paths: tuple[GraphPath, ...] = ()
    if any(_arrives(graph, reached, is_target, layer, shares) for layer in layers[1:]):
        found = itertools.islice(_search(graph, is_source, is_target, layers, shares), n)
        paths = tuple(sorted(found, key=lambda path: (-path.strength, path.concepts)))
    return PathAnswer(
        paths,
        tuple((layer, int(reached[layer].sum())) for layer in layers),
        tuple((layer, int(leading[layer].sum())) for layer in layers),
    )


_Marks = dict[int, np.ndarray]


def _marked(graph: ConceptGraph, concepts: Collection[ConceptId], what: str) -> _Marks:
    if not concepts:
        raise ConfigError(f"There is no concept {what}. Name one, such as L7/609.")
    marks = {
        layer: np.zeros(graph.n_concepts(layer), dtype=bool)
        for layer in range(1, graph.n_layers + 1)
    }
    for concept in concepts:
        graph.concept_row(concept)
        marks[concept.layer][concept.index] = True
    return marks


def _reached(graph: ConceptGraph, is_source: _Marks, layers: range, shares: _Marks) -> _Marks:
    """Follow every edge forwards."""
    reached = {layer: is_source[layer].copy() for layer in layers}
    for layer in layers[1:]:
        edges = graph.layer_edges(layer)
        reached[layer][edges.children[reached[layer - 1][edges.parents] & (shares[layer] > 0)]] = (
            True
        )
    return reached


def _leading(graph: ConceptGraph, is_target: _Marks, layers: range, shares: _Marks) -> _Marks:
    """Follow every edge backwards."""
    leading = {layer: is_target[layer].copy() for layer in layers}
    for layer in reversed(layers[1:]):
        edges = graph.layer_edges(layer)
        followed = leading[layer][edges.children] & (shares[layer] > 0)
        leading[layer - 1][edges.parents[followed]] = True
    return leading


def _arrives(
    graph: ConceptGraph, reached: _Marks, is_target: _Marks, layer: int, shares: _Marks
) -> bool:
    """Return whether an edge leads from a concept that is reached to a target of a layer."""
    edges = graph.layer_edges(layer)
    arriving = reached[layer - 1][edges.parents] & is_target[layer][edges.children]
    return bool((arriving & (shares[layer] > 0)).any())


def _costs_onward(
    graph: ConceptGraph, is_source: _Marks, is_target: _Marks, layers: range, shares: _Marks
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Return -log of the strongest way on: of each concept itself, and of entering it by an edge.

    A path that enters a target ends there; none enters a source, since one from there is stronger.
    """
    onward: dict[int, np.ndarray] = {}
    enter: dict[int, np.ndarray] = {}
    for layer in reversed(layers):
        cost = np.full(graph.n_concepts(layer), np.inf)
        if layer < layers[-1]:
            edges = graph.layer_edges(layer + 1)
            with np.errstate(divide="ignore"):
                steps = enter[layer + 1][edges.children] - np.log(shares[layer + 1])
            starts = edges.by_parent_starts
            has_any = starts[1:] > starts[:-1]
            if has_any.any():
                by_parent = steps[edges.by_parent_entries]
                cost[has_any] = np.minimum.reduceat(by_parent, starts[:-1][has_any])
        onward[layer] = cost
        enter[layer] = np.where(is_target[layer], 0.0, np.where(is_source[layer], np.inf, cost))
    return onward, enter


def _search(
    graph: ConceptGraph, is_source: _Marks, is_target: _Marks, layers: range, shares: _Marks
) -> Iterator[GraphPath]:
    """Yield paths, strongest first."""
    onward, enter = _costs_onward(graph, is_source, is_target, layers, shares)
    number = itertools.count()  # of equal paths the one found first
    heap: list[tuple[float, int, int, float, tuple[int, ...], tuple[int, ...]]] = []
    for layer in layers[:-1]:
        for index in np.flatnonzero(is_source[layer] & np.isfinite(onward[layer])).tolist():
            total = float(onward[layer][index])
            heap.append((total, -layer, next(number), 0.0, (layer, index), ()))
    heapq.heapify(heap)
    while heap:
        _, _, _, cost, (layer, index), entries = heapq.heappop(heap)
        if entries and is_target[layer][index]:
            yield _path(graph, layer, entries, shares)
            continue
        edges = graph.layer_edges(layer + 1)
        span = slice(*edges.by_parent_starts[index : index + 2])
        children, places = edges.by_parent_children[span], edges.by_parent_entries[span]
        rest = enter[layer + 1][children]
        share = shares[layer + 1][places]
        useful = np.isfinite(rest) & (share > 0)
        steps = cost - np.log(share[useful])
        for child, entry, so_far, ahead in zip(
            children[useful].tolist(),
            places[useful].tolist(),
            steps.tolist(),
            rest[useful].tolist(),
            strict=True,
        ):
            place = layer + 1, child
            heapq.heappush(
                heap,
                (so_far + ahead, -layer - 1, next(number), so_far, place, (*entries, entry)),
            )


def _path(graph: ConceptGraph, last: int, entries: tuple[int, ...], shares: _Marks) -> GraphPath:
    steps = []
    for layer, entry in enumerate(entries, start=last - len(entries) + 1):
        edges = graph.layer_edges(layer)
        steps.append(
            GraphEdge(
                graph.concept(layer - 1, int(edges.parents[entry])),
                graph.concept(layer, int(edges.children[entry])),
                float(edges.weights[entry]),
                float(edges.selection_rates[entry]),
                float(shares[layer][entry]),
            )
        )
    return GraphPath(tuple(steps), math.prod(step.share for step in steps))
