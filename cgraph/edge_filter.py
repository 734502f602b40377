"""Leaving edges out of a graph: by weight, sign, AUC, prevalence, selection rate, evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from cgraph.concept_truth import MeasuredConcepts
from cgraph.edge_facts import EdgeFacts
from cgraph.edge_index import BOTH, LayerEdges, check_sign, has_sign
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.truth_tables import (
    BOTH_ORIGINS,
    CARRIED,
    COMPUTED,
    CONTRADICTED,
    NO_EFFECT,
    NOT_MEASURED,
    ORIGINS,
    SPECIFIC,
    SUPPORTED,
    VERDICTS,
)

ANY = "any"

_KEPT_VERDICTS = {
    SUPPORTED: (SUPPORTED, SPECIFIC),
    SPECIFIC: (SPECIFIC,),
    NO_EFFECT: (NO_EFFECT,),
    CONTRADICTED: (CONTRADICTED,),
    NOT_MEASURED: (NOT_MEASURED,),
}
_KEPT_ORIGINS = {CARRIED: (CARRIED, BOTH_ORIGINS), COMPUTED: (COMPUTED, BOTH_ORIGINS)}

EVIDENCE = (ANY, *_KEPT_VERDICTS)
"""What evidence is asked for; supported edges are those that are specific, too."""

EDGE_ORIGINS = (ANY, *_KEPT_ORIGINS)
"""Where the effect shall come from; edges with both origins are of each."""

EDGES, CONCEPTS = "edges", "concepts"
FOUND_AGAIN = (ANY, CONCEPTS, EDGES)
"""What another seed shall have: both ends of the edge, or the edge itself."""


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
    evidence, origin, found_again : str
        One of `EVIDENCE`, `EDGE_ORIGINS` and `FOUND_AGAIN`; what is asked for other than ``any``
        must have been measured.

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
    evidence: str = ANY
    origin: str = ANY
    found_again: str = ANY

    def __post_init__(self) -> None:
        check_sign(self.sign)
        for name, (what, allowed) in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"The {what} is {value!r}: choose one of {', '.join(allowed)}.")
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

    def missing(self, facts: EdgeFacts, concepts: MeasuredConcepts) -> tuple[str, ...]:
        """Return the measurements that this asks for and a study lacks."""
        there = {
            "evidence": facts.has("verdict") or (self.evidence == self.origin == ANY),
            "stability": self.found_again == ANY
            or (facts.has("found_again") if self.found_again == EDGES else concepts.has_stability),
        }
        return tuple(name for name, is_there in there.items() if not is_there)


_CHOICES: dict[str, tuple[str, Sequence[str]]] = {
    "evidence": ("evidence", EVIDENCE),
    "origin": ("origin", EDGE_ORIGINS),
    "found_again": ("wish for what is found again", FOUND_AGAIN),
}

_SHARES = {
    "min_auc": "least AUC",
    "min_prevalence": "least share of images",
    "max_prevalence": "greatest share of images",
    "min_selection_rate": "least selection rate",
}

EVERYTHING = EdgeFilter()
"""The filter that keeps all edges."""


def filter_graph(
    graph: ConceptGraph,
    wanted: EdgeFilter,
    auc: np.ndarray,
    facts: EdgeFacts | None = None,
    concepts: MeasuredConcepts | None = None,
) -> ConceptGraph:
    """Return the graph with the edges that a filter keeps.

    Parameters
    ----------
    graph : ConceptGraph
        The whole graph.
    wanted : EdgeFilter
    auc : ndarray of float, shape (n_concepts,)
        Held-out AUC of every concept, by its row; NaN where there is none.
    facts : EdgeFacts, optional
        What was measured of its edges.
    concepts : MeasuredConcepts, optional
        What was measured of its concepts.

    Returns
    -------
    ConceptGraph
        With all concepts; shares of edges stay those of the whole graph.

    Raises
    ------
    ConfigError
        If the filter asks for what was not measured; the message says how it is.
    """
    if not wanted.changed:
        return graph
    facts = facts or EdgeFacts(graph, {})
    concepts = concepts or MeasuredConcepts(graph, {})
    check_measured(wanted, facts, concepts)
    first = np.cumsum([0] + [graph.n_concepts(layer) for layer in range(1, graph.n_layers + 1)])
    common = [_is_between(graph, layer, wanted) for layer in range(1, graph.n_layers + 1)]
    kept = []
    for child_layer in range(2, graph.n_layers + 1):
        edges = graph.layer_edges(child_layer)
        keep = _of_edges(edges, wanted) & _by_facts(child_layer, len(edges.weights), wanted, facts)
        if wanted.found_again == CONCEPTS:
            keep &= concepts.found_again(child_layer - 1)[edges.parents]
            keep &= concepts.found_again(child_layer)[edges.children]
        keep &= common[child_layer - 2][edges.parents] & common[child_layer - 1][edges.children]
        if wanted.min_auc > 0:
            of_child = auc[first[child_layer - 1] : first[child_layer]]
            keep &= (of_child >= wanted.min_auc)[edges.children]  # NaN is never enough
        kept.append(edges.select(keep))
    return graph.with_edges(kept)


def check_measured(wanted: EdgeFilter, facts: EdgeFacts, concepts: MeasuredConcepts) -> None:
    """Refuse a filter that asks for what was not measured.

    Raises
    ------
    ConfigError
        Naming the command that measures it.
    """
    missing = wanted.missing(facts, concepts)
    if missing:
        what = {
            "evidence": "evidence on edges",
            "stability": "what another seed finds again",
        }[missing[0]]
        raise ConfigError(
            f"The filter asks for {what}, which was not measured in this study. Run `cgraph "
            f"evaluate STUDY --only {missing[0]}`, or ask for any."
        )


def _by_facts(child_layer: int, n_edges: int, wanted: EdgeFilter, facts: EdgeFacts) -> np.ndarray:
    keep = np.ones(n_edges, dtype=bool)
    if wanted.evidence != ANY:
        codes = [VERDICTS.index(verdict) for verdict in _KEPT_VERDICTS[wanted.evidence]]
        keep &= np.isin(facts.into(child_layer, "verdict"), codes)
    if wanted.origin != ANY:
        codes = [ORIGINS.index(origin) for origin in _KEPT_ORIGINS[wanted.origin]]
        keep &= np.isin(facts.into(child_layer, "origin"), codes)
    if wanted.found_again == EDGES:
        keep &= facts.into(child_layer, "found_again")
    return keep


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
