"""Leaving edges out of a graph: by weight, sign, AUC, how often active, selection rate."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from cgraph.edge_index import BOTH, LayerEdges, check_sign, has_sign
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph


@dataclass(frozen=True)
class EdgeFilter:
    """Which edges are kept; as it comes, all of them.

    Attributes
    ----------
    sign : str
        ``both``, ``raises`` (positive weight) or ``lowers`` (negative weight).
    min_weight : float
        Least absolute weight, in log-odds.
    min_auc : float
        Least AUC of the child on held-out images, 0 to 1. Above 0, children without one (too rare
        or too common to be judged) are left out with the rest.
    min_prevalence, max_prevalence : float
        Bounds of the share of training images, 0 to 1, in which parent and child are active.
    min_selection_rate : float
        Least share of the bags, 0 to 1, in which the weight was not zero.

    Raises
    ------
    ConfigError
        If a value is out of its range, or the bounds of the prevalence leave nothing between them.
    """

    sign: str = BOTH
    min_weight: float = 0.0
    min_auc: float = 0.0
    min_prevalence: float = 0.0
    max_prevalence: float = 1.0
    min_selection_rate: float = 0.0

    def __post_init__(self) -> None:
        check_sign(self.sign)
        if not 0 <= self.min_weight < np.inf:
            raise ConfigError(f"The least weight is {self.min_weight}: it must be 0 or more.")
        for name, what in _SHARES.items():
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"The {what} is {value}: it must be between 0 and 1.")
        if self.min_prevalence > self.max_prevalence:
            raise ConfigError(
                f"Concepts shall be active in at least {self.min_prevalence:g} and at most "
                f"{self.max_prevalence:g} of the images, which none is. Lower the first or raise "
                "the second."
            )

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the settings that leave something out."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)


_SHARES = {
    "min_auc": "least AUC",
    "min_prevalence": "least share of images",
    "max_prevalence": "greatest share of images",
    "min_selection_rate": "least selection rate",
}

EVERYTHING = EdgeFilter()
"""The filter that keeps all edges."""


def filter_graph(graph: ConceptGraph, wanted: EdgeFilter, auc: np.ndarray) -> ConceptGraph:
    """Return the graph with the edges that a filter keeps.

    Parameters
    ----------
    graph : ConceptGraph
    wanted : EdgeFilter
    auc : ndarray of float, shape (n_concepts,)
        Held-out AUC of every concept, by its row; NaN where there is none.

    Returns
    -------
    ConceptGraph
        With all concepts; shares of edges stay those of the whole graph.
    """
    if not wanted.changed:
        return graph
    first = np.cumsum([0] + [graph.n_concepts(layer) for layer in range(1, graph.n_layers + 1)])
    common = [_is_between(graph, layer, wanted) for layer in range(1, graph.n_layers + 1)]
    kept = []
    for child_layer in range(2, graph.n_layers + 1):
        edges = graph.layer_edges(child_layer)
        keep = _of_edges(edges, wanted)
        keep &= common[child_layer - 2][edges.parents] & common[child_layer - 1][edges.children]
        if wanted.min_auc > 0:
            of_child = auc[first[child_layer - 1] : first[child_layer]]
            keep &= (of_child >= wanted.min_auc)[edges.children]  # NaN is never enough
        kept.append(edges.select(keep))
    return graph.with_edges(kept)


def _is_between(graph: ConceptGraph, layer: int, wanted: EdgeFilter) -> np.ndarray:
    if wanted.min_prevalence == 0 and wanted.max_prevalence == 1:
        return np.ones(graph.n_concepts(layer), dtype=bool)  # also where it is not known
    share = graph.prevalence(layer)
    return (share >= wanted.min_prevalence) & (share <= wanted.max_prevalence)


def _of_edges(edges: LayerEdges, wanted: EdgeFilter) -> np.ndarray:
    keep = np.ones(len(edges.weights), dtype=bool)
    if wanted.sign != BOTH:
        keep &= has_sign(edges.weights, wanted.sign)
    if wanted.min_weight > 0:
        keep &= np.abs(edges.weights) >= np.float32(wanted.min_weight)
    if wanted.min_selection_rate > 0:
        keep &= edges.selection_rates >= np.float32(wanted.min_selection_rate)
    return keep
