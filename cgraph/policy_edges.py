"""Which edges of a graph count in a rule that asks for weight or evidence.

Evidence is known of edges between layers of concepts. Edges into outputs have none and always
count: leaving them out would let every rule about outputs hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.graph import ConceptGraph
from cgraph.policy_rules import DIRECTION, Rule
from cgraph.policy_subject import Subject
from cgraph.truth_tables import (
    BOTH_ORIGINS,
    COMPUTED,
    NOT_MEASURED,
    ORIGINS,
    SPECIFIC,
    SUPPORTED,
    VERDICTS,
)

_VERDICTS = {SUPPORTED: (SUPPORTED, SPECIFIC), SPECIFIC: (SPECIFIC,)}


@dataclass(frozen=True)
class CountedEdges:
    """Edges of a rule.

    Attributes
    ----------
    counted : ConceptGraph
        Those that count.
    possible : ConceptGraph
        With those of which the evidence is missing: more edges than the others if any are.
    lacks_evidence : bool
        Whether the study has no evidence at all, and the rule asks for it.
    """

    counted: ConceptGraph
    possible: ConceptGraph
    lacks_evidence: bool


def counted_edges(subject: Subject, rule: Rule) -> CountedEdges:
    """Return the edges that count in a rule. Shares of edges stay those of the whole graph."""
    graph, facts = subject.graph, subject.facts
    wanted = [one for one in rule.evidence if one != DIRECTION]
    counted, possible = [], []
    for layer in range(2, graph.n_layers + 1):
        edges = graph.layer_edges(layer)
        keep = (edges.weights != 0) & (np.abs(edges.weights) >= np.float32(rule.min_weight))
        sure, maybe = keep.copy(), keep.copy()
        if wanted and layer <= subject.n_layers:
            if facts is None:
                sure[:] = False
            else:
                verdicts = facts.into(layer, "verdict")
                fits = np.ones(len(keep), dtype=bool)
                for one in wanted:
                    if one == COMPUTED:
                        codes = [ORIGINS.index(origin) for origin in (COMPUTED, BOTH_ORIGINS)]
                        fits &= np.isin(facts.into(layer, "origin"), codes)
                    else:
                        codes = [VERDICTS.index(verdict) for verdict in _VERDICTS[one]]
                        fits &= np.isin(verdicts, codes)
                sure &= fits
                maybe &= fits | (verdicts == VERDICTS.index(NOT_MEASURED))
        counted.append(edges.select(sure))
        possible.append(edges.select(maybe))
    return CountedEdges(
        graph.with_edges(counted), graph.with_edges(possible), bool(wanted) and facts is None
    )


def without(graph: ConceptGraph, concepts: tuple[ConceptId, ...]) -> ConceptGraph:
    """Return a graph without the edges from and to some concepts."""
    if not concepts:
        return graph
    gone = {
        layer: np.zeros(graph.n_concepts(layer), dtype=bool)
        for layer in range(1, graph.n_layers + 1)
    }
    for concept in concepts:
        gone[concept.layer][concept.index] = True
    layers = []
    for layer in range(2, graph.n_layers + 1):
        edges = graph.layer_edges(layer)
        layers.append(edges.select(~gone[layer - 1][edges.parents] & ~gone[layer][edges.children]))
    return graph.with_edges(layers)


def arrivals(
    graph: ConceptGraph,
    sources: dict[int, np.ndarray],
    max_length: int | None = None,
    blocked: dict[int, np.ndarray] | None = None,
) -> dict[int, np.ndarray]:
    """Return the strength of the strongest path from sets of sources to every concept.

    Parameters
    ----------
    graph : ConceptGraph
    sources : dict of int to ndarray of bool, shape (n_concepts, n_sets)
        By layer; layers without sources may be absent.
    max_length : int, optional
        Most edges of a path.
    blocked : dict of int to ndarray of bool, shape (n_concepts, n_sets), optional
        Concepts that no path may touch.

    Returns
    -------
    dict of int to ndarray of float64, shape (n_concepts, n_sets)
        By layer, from the one after the first source on; 0 where no path arrives.
    """
    blocked = blocked or {}
    first = min(sources)
    found: dict[int, np.ndarray] = {}
    if max_length is None:
        value = sources[first].astype(float)
        for layer in range(first + 1, graph.n_layers + 1):
            value = _step(graph, layer, value, blocked)
            found[layer] = value
            if layer in sources:
                value = np.where(sources[layer], 1.0, value)
        return found
    for last in range(first + 1, graph.n_layers + 1):
        n_sets = sources[first].shape[1]
        value = np.zeros((graph.n_concepts(max(first, last - max_length)), n_sets))
        for layer in range(max(first, last - max_length), last):
            if layer in sources:
                value = np.where(sources[layer], 1.0, value)
            value = _step(graph, layer + 1, value, blocked)
        found[last] = value
    return found


def _step(
    graph: ConceptGraph, layer: int, value: np.ndarray, blocked: dict[int, np.ndarray]
) -> np.ndarray:
    """Take every path one edge further, into a layer."""
    if layer - 1 in blocked:
        value = np.where(blocked[layer - 1], 0.0, value)
    edges = graph.layer_edges(layer)
    arriving = np.zeros((edges.n_children, value.shape[1]))
    has_any = np.diff(edges.starts) > 0
    if has_any.any():
        along = value[edges.parents] * edges.shares()[:, None]
        arriving[has_any] = np.maximum.reduceat(along, edges.starts[:-1][has_any], axis=0)
    if layer in blocked:
        arriving[blocked[layer]] = 0.0
    return arriving
