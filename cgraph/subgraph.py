"""A part of the graph: some concepts, and edges among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edge_index import BOTH
from cgraph.graph import ConceptGraph


@dataclass(frozen=True)
class GraphEdge:
    """One edge.

    Attributes
    ----------
    parent, child : ConceptId
    weight : float
        Log-odds of the child per unit of the parent's input.
    selection_rate : float
        Share of the bags in which the weight was not zero.
    share : float
        Absolute weight over the sum of those of all edges into the child that are followed with
        it (`cgraph.edge_index`).
    """

    parent: ConceptId
    child: ConceptId
    weight: float
    selection_rate: float
    share: float

    @property
    def ends(self) -> tuple[ConceptId, ConceptId]:
        """Parent and child."""
        return self.parent, self.child


@dataclass(frozen=True)
class Subgraph:
    """Some concepts of a graph and some edges among them.

    Attributes
    ----------
    concepts : tuple of ConceptId
        Each once, rising.
    edges : tuple of GraphEdge
        Each once, by (child layer, child, parent); both ends are among the concepts.
    """

    concepts: tuple[ConceptId, ...]
    edges: tuple[GraphEdge, ...]


def edges_at(
    graph: ConceptGraph, child_layer: int, entries: np.ndarray, sign: str = BOTH
) -> list[GraphEdge]:
    """Return some of the edges into a layer.

    Parameters
    ----------
    graph : ConceptGraph
    child_layer : int
        2..L.
    entries : ndarray of int
        Their places among the edges into that layer.
    sign : str
        Which edges shares are of.
    """
    edges = graph.layer_edges(child_layer)
    shares = edges.shares(sign)[entries]
    columns = (edges.parents, edges.children, edges.weights, edges.selection_rates)
    rows = zip(*(column[entries].tolist() for column in columns), shares.tolist(), strict=True)
    return [
        GraphEdge(
            graph.concept(child_layer - 1, parent), graph.concept(child_layer, child), *figures
        )
        for parent, child, *figures in rows
    ]


def induced(graph: ConceptGraph, concepts: Iterable[ConceptId], sign: str = BOTH) -> Subgraph:
    """Return some concepts with every edge among them.

    Parameters
    ----------
    graph : ConceptGraph
    concepts : iterable of ConceptId
    sign : str
        Which edges are followed.

    Raises
    ------
    ConfigError
        If there is no such concept or sign.
    """
    wanted = sorted(set(concepts))
    by_layer: dict[int, list[int]] = {}
    for concept in wanted:
        graph.concept_row(concept)
        by_layer.setdefault(concept.layer, []).append(concept.index)
    found: list[GraphEdge] = []
    for layer, indices in sorted(by_layer.items()):
        if layer - 1 not in by_layer:
            continue
        edges = graph.layer_edges(layer)
        _, entries = edges.into(np.array(indices))
        among = np.zeros(edges.n_parents, dtype=bool)
        among[by_layer[layer - 1]] = True
        entries = entries[among[edges.parents[entries]]]
        found += [edge for edge in edges_at(graph, layer, entries, sign) if edge.share > 0]
    return Subgraph(tuple(wanted), tuple(found))
