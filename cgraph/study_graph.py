"""The graph of a study with what is known of its concepts: names, and held-out figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from cgraph.concept import ConceptId
from cgraph.concept_search import Named
from cgraph.concept_truth import MeasuredConcepts
from cgraph.edge_facts import EdgeFacts
from cgraph.edge_filter import EdgeFilter, filter_graph
from cgraph.edge_index import LayerEdges
from cgraph.errors import StudyError
from cgraph.graph import ConceptGraph
from cgraph.naming import ConceptName
from cgraph.outside import Outside, outside
from cgraph.pair_matrix import Seriation, seriate
from cgraph.store import as_array
from cgraph.study import Study

_KEPT_FILTERS = 4  # at the paper's size each takes about 60 MB


@lru_cache(maxsize=8)
def edge_facts(study: Study) -> EdgeFacts:
    """Return what was measured of the edges of a study, read once."""
    return EdgeFacts.read(study.graph, study.measured)


@lru_cache(maxsize=8)
def measured_concepts(study: Study) -> MeasuredConcepts:
    """Return what was measured of the concepts of a study, read once."""
    return MeasuredConcepts.read(study.graph, study.measured)


@lru_cache(maxsize=8)
def study_leakage(study: Study) -> dict[int, Outside]:
    """Return what the graph of a study cannot see, by layer; empty if it was not measured.

    Layer 1 has no layer before it, and so nothing lies outside there.
    """
    return {
        layer.layer: layer
        for layer in outside(study) or ()
        if layer.layer > 1 and np.isfinite(layer.from_patches)
    }


@dataclass(frozen=True, eq=False)
class StudyGraph:
    """The graph of a study, the same for everybody who looks at it.

    Attributes
    ----------
    study : Study
    """

    study: Study

    @property
    def graph(self) -> ConceptGraph:
        """All concepts and edges."""
        return self.study.graph

    @property
    def names(self) -> Mapping[ConceptId, ConceptName]:
        """Names by attribute, of the concepts that have one."""
        return self.study.names

    @property
    def named(self) -> Named:
        """The concepts by all of their names, those given by hand as they are now."""
        naming = self.study.naming
        by_text = {c: name.text for c, name in naming.by_text.items() if name.text}
        by_hand = {c: name.text for c, name in naming.by_hand.items()}
        return Named(self.graph, self.names, {**by_text, **by_hand})

    def name(self, concept: ConceptId) -> str:
        """Return what people call a concept; nothing if it has no name."""
        name = self.study.name_of(concept)
        return "" if name is None else name.text

    def called(self, concept: ConceptId) -> str:
        """Return name and id, or the id alone."""
        name = self.name(concept)
        return f"{name} ({concept})" if name else str(concept)

    @cached_property
    def _figures(self) -> dict[str, np.ndarray]:
        """Held-out figures by row of the table of concepts; NaN where it was not scored."""
        names = ("auc", "ap", "prevalence")
        figures = {name: np.full(self.graph.n_concepts(), np.nan) for name in names}
        try:
            table = self.study.evaluation("concepts")
        except StudyError:
            return figures  # a study without an evaluation can still be looked at
        if table.num_rows == 0:
            return figures
        layer, index, *columns = (
            as_array(table.column(name).combine_chunks()) for name in ("layer", "index", *names)
        )
        sizes = [self.graph.n_concepts(layer) for layer in range(1, self.graph.n_layers + 1)]
        rows = np.cumsum([0, *sizes])[layer.astype(np.int64) - 1] + index
        scored = np.concatenate(
            [self.graph.column(place, "scored") for place in range(1, len(sizes) + 1)]
        )
        for name, column in zip(names, columns, strict=True):
            figures[name][rows] = column
            figures[name][~scored] = np.nan
        return figures

    @property
    def auc(self) -> np.ndarray:
        """AUC on held-out images, by row of the table of concepts; NaN where it was not scored."""
        return self._figures["auc"]

    def figure(self, name: str, concept: ConceptId) -> float:
        """Return one held-out figure: ``auc``, ``ap`` or ``prevalence``; NaN if there is none."""
        return float(self._figures[name][self.graph.concept_row(concept)])

    @cached_property
    def prevalence(self) -> np.ndarray:
        """Share of the training images in which each concept is active, by row; NaN if unknown."""
        layers = range(1, self.graph.n_layers + 1)
        return np.concatenate([self.graph.prevalence(layer) for layer in layers])

    @cached_property
    def facts(self) -> EdgeFacts:
        """What was measured of the edges."""
        return edge_facts(self.study)

    @cached_property
    def concepts(self) -> MeasuredConcepts:
        """What was measured of the concepts."""
        return measured_concepts(self.study)

    @cached_property
    def _filtered(self) -> dict[EdgeFilter, ConceptGraph]:
        return {}

    def filtered(self, wanted: EdgeFilter) -> ConceptGraph:
        """Return the graph with the edges that a filter keeps; the latest few are remembered.

        Raises
        ------
        ConfigError
            If the filter asks for what was not measured.
        """
        found = self._filtered.get(wanted)
        if found is None:
            found = filter_graph(self.graph, wanted, self.auc, self.facts, self.concepts)
            for old in list(self._filtered)[: 1 - _KEPT_FILTERS]:
                self._filtered.pop(old, None)  # of several people at once one is the first
            self._filtered[wanted] = found
        return found

    @cached_property
    def _seriations(self) -> dict[int, Seriation]:
        return {}

    def seriation(self, child_layer: int) -> Seriation:
        """Return the order of the concepts of a pair of layers, over all of its edges.

        A filter hides edges and moves nothing, so that two filters can be compared.
        """
        if child_layer not in self._seriations:
            edges: LayerEdges = self.graph.layer_edges(child_layer)
            self._seriations[child_layer] = seriate(edges)
        return self._seriations[child_layer]
