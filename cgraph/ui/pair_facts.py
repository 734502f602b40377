"""What is stored of the concepts that one layer predicts in the next, as the figures need it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.concept import ConceptId
from cgraph.errors import StudyError
from cgraph.manifest import evaluation_file, rebuild_advice
from cgraph.store import as_array
from cgraph.study import Study


@dataclass(frozen=True)
class PairFacts:
    """The concepts of a layer that are predicted from the layer before.

    Attributes
    ----------
    study : str
        Slug of the study.
    left, right : int
        The two layers.
    n_concepts, n_alive : int
        Concepts of the right layer, and those active in a training image.
    scored : ndarray of int
        Indices of the concepts with enough positives to be judged, rising: all figures are of
        these.
    columns : dict of str to ndarray
        Columns of ``evaluation/concepts.arrow`` for the scored concepts.
    """

    study: str
    left: int
    right: int
    n_concepts: int
    n_alive: int
    scored: NDArray[np.intp]
    columns: dict[str, NDArray[Any]]

    @property
    def about(self) -> str:
        """Study and pair as people write them."""
        return f"{self.study}, layers {self.left} → {self.right}"

    @property
    def file(self) -> str:
        """Beginning of the names of saved figures."""
        return f"{self.study}-layers-{self.left}-{self.right}"

    @property
    def ids(self) -> list[str]:
        """The scored concepts as people write them."""
        return [str(ConceptId(self.right, int(index))) for index in self.scored]

    def typical(self) -> int | None:
        """Return the concept whose AUC is nearest to the median; ``None`` without one."""
        areas = self.columns["auc"]
        known = np.flatnonzero(np.isfinite(areas))
        if not len(known):
            return None
        distance = np.abs(areas[known] - np.median(areas[known]))
        return int(self.scored[known[distance.argmin()]])


@lru_cache(maxsize=8)
def _stored(study: Study) -> dict[str, NDArray[Any]]:
    table = study.evaluation("concepts")
    columns = {}
    for name in table.column_names:
        if name != "kind":
            column = table.column(name)
            chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            columns[name] = as_array(chunk.fill_null(np.nan) if chunk.null_count else chunk)
    return columns


@lru_cache(maxsize=128)
def pair_facts(study: Study, right: int) -> PairFacts:
    """Collect what is stored of a pair of layers.

    Parameters
    ----------
    study : Study
    right : int
        Layer of the predicted concepts, 2 … n_layers.

    Raises
    ------
    StudyError
        If the study has no such table, or it does not fit the graph.
    """
    stored = _stored(study)
    rows = np.flatnonzero(stored["layer"] == right)
    scored = np.flatnonzero(study.graph.column(right, "scored"))
    index = stored["index"][rows]
    n_concepts = study.graph.n_concepts(right)
    if not np.array_equal(np.sort(index), np.arange(n_concepts)):
        raise StudyError(
            f"{study.path / evaluation_file('concepts')} has {len(index):,} rows of layer {right}, "
            f"not one for each of its {n_concepts:,} concepts. "
            f"{rebuild_advice(study.path, study.manifest.origin)}"
        )
    of_scored = rows[np.argsort(index)][scored]
    columns = {name: values[of_scored] for name, values in stored.items()}
    return PairFacts(
        study=study.name,
        left=right - 1,
        right=right,
        n_concepts=study.graph.n_concepts(right),
        n_alive=int(study.graph.column(right, "alive").sum()),
        scored=scored,
        columns=columns,
    )


@lru_cache(maxsize=8)
def layer_rows(study: Study) -> list[dict[str, Any]]:
    """Return the rows of ``evaluation/layers.arrow`` by rising layer."""
    return sorted(study.evaluation("layers").to_pylist(), key=lambda row: row["layer"])
