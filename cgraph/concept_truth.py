"""What was measured of concepts: stability, and what the graph cannot see of them.

A concept is *found again* when another seed of the dictionary has an atom of nearly its direction.
What the graph cannot see of it is the gap between the AUC of its parents and that of a logistic
model on the raw token of the layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.graph import ConceptGraph
from cgraph.store import as_array

_NUMBERS = {
    "stable-concepts": ("match", "cosine", "found_again"),
    "leakage-concepts": ("auc_graph", "auc_token", "lost_from_class", "lost_from_patches"),
}


@dataclass(frozen=True)
class ConceptTruth:
    """What was measured of one concept.

    Attributes
    ----------
    found_again : bool or None
        Whether another seed has it; None where that was not measured, or of a dead concept.
    cosine : float
        With its match in the other seed; NaN likewise.
    auc_graph, auc_token : float
        On held-out images, by its parents and by the raw token of the layer before; NaN where it
        was not measured.
    lost_from_patches : float
        Share of its images in which its label is lost when the patch tokens before are their mean.
    """

    found_again: bool | None
    cosine: float
    auc_graph: float
    auc_token: float
    lost_from_patches: float

    @property
    def gap(self) -> float:
        """What the raw token says beyond the parents, in AUC; NaN where it was not measured."""
        return self.auc_token - self.auc_graph


class MeasuredConcepts:
    """What was measured of every concept of a graph, by row of its table; immutable."""

    def __init__(self, graph: ConceptGraph, columns: Mapping[str, np.ndarray]) -> None:
        self._graph = graph
        self._columns = columns

    @classmethod
    def read(cls, graph: ConceptGraph, table: Callable[[str], pa.Table | None]) -> MeasuredConcepts:
        """Read what was measured; see `EdgeFacts.read`. Rows may come in any order."""
        layers = range(1, graph.n_layers + 1)
        first = np.cumsum([0, *(graph.n_concepts(layer) for layer in layers)])
        columns: dict[str, np.ndarray] = {}
        for source, names in _NUMBERS.items():
            found = table(source)
            if found is None:
                continue
            layer, index, *values = (
                as_array(found.column(name).combine_chunks()) for name in ("layer", "index", *names)
            )
            rows = first[layer.astype(np.int64) - 1] + index
            for name, column in zip(names, values, strict=True):
                columns[name] = np.full(graph.n_concepts(), np.nan)
                columns[name][rows] = column
        return cls(graph, columns)

    def __bool__(self) -> bool:
        return bool(self._columns)

    @property
    def has_stability(self) -> bool:
        """Whether another seed was compared."""
        return "found_again" in self._columns

    def found_again(self, layer: int) -> np.ndarray:
        """Return which concepts of a layer another seed has, as Booleans by index.

        Only of a study with `has_stability`.
        """
        start = self._graph.concept_row(ConceptId(layer, 0)) if self._graph.n_concepts(layer) else 0
        rows = slice(start, start + self._graph.n_concepts(layer))
        return np.asarray(self._columns["found_again"][rows] == 1)

    def of(self, concept: ConceptId) -> ConceptTruth | None:
        """Return what was measured of a concept; None if nothing was, of any."""
        if not self._columns:
            return None
        row = self._graph.concept_row(concept)

        def value(name: str) -> float:
            return float(self._columns[name][row]) if name in self._columns else np.nan

        again = value("found_again") if value("match") >= 0 else np.nan
        return ConceptTruth(
            found_again=bool(again) if np.isfinite(again) else None,
            cosine=value("cosine"),
            auc_graph=value("auc_graph"),
            auc_token=value("auc_token"),
            lost_from_patches=value("lost_from_patches"),
        )
