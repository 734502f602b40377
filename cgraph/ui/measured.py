"""Tables that `cgraph evaluate` wrote, read once for everybody, as the views need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st
from numpy.typing import NDArray

from cgraph.errors import StudyError
from cgraph.manifest import BUILD_RECORD
from cgraph.store import as_array, read_json
from cgraph.ui import resources
from cgraph.ui.pair_table import csv_text
from cgraph.ui.resources import StudyEntry


@st.cache_resource(max_entries=64, show_spinner=False)
def measured_rows(entry: StudyEntry, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table that is there; for tables of layers and pairs, not of edges.

    Raises
    ------
    StudyError
        If its file was altered.
    """
    found = resources.open_study(entry).measured(table)
    return [] if found is None else found.to_pylist()


@st.cache_resource(max_entries=8, show_spinner=False)
def truth(entry: StudyEntry) -> dict[str, float | int]:
    """Return the few figures that stand for all."""
    return resources.open_study(entry).truth


@st.cache_resource(max_entries=8, show_spinner=False)
def seconds_taken(entry: StudyEntry) -> dict[str, float]:
    """Return how long each measurement took, of those of which it was noted."""
    record: Any = {}
    with suppress(StudyError):
        # It tells how figures were made, and none depends on it.
        record = read_json(resources.open_study(entry).path / BUILD_RECORD)
    found = record.get("measurements") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}


@st.cache_resource(max_entries=8, show_spinner=False)
def stability_of_layers(
    entry: StudyEntry,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Return what is found again of each layer, and of all; see `found_again_figure`."""
    study = resources.open_study(entry)
    concepts = _columns(study.measured("stable-concepts"))
    edges = _columns(study.measured("stable-edges"))
    alive = concepts["match"] >= 0
    layers = np.arange(1, study.n_layers + 1)
    of_concept = [alive & (concepts["layer"] == layer) for layer in layers]
    of_edge = [edges["child_layer"] == layer for layer in layers]
    again, bags = edges["found_again"], edges["found_again_bags"]
    columns = {
        "layer": layers.astype(np.float64),
        "concepts": np.array([_mean(concepts["found_again"][of]) for of in of_concept]),
        "cosine": np.array([_median(concepts["cosine"][of]) for of in of_concept]),
        "jaccard": np.array([_median(concepts["label_jaccard"][of]) for of in of_concept]),
        "n_concepts": np.array([float(of.sum()) for of in of_concept]),
        "edges": np.array([_mean(again[of]) for of in of_edge]),
        "edges_bags": np.array([_mean(bags[of]) for of in of_edge]),
        "n_edges": np.array([float(of.sum()) for of in of_edge]),
    }
    totals = {
        "concepts": _mean(concepts["found_again"][alive]),
        "edges": _mean(again),
        "edges_bags": _mean(bags),
    }
    return columns, totals


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV; what could not be measured is empty."""
    lines = [["" if value != value else value for value in row.values()] for row in rows]
    return csv_text(list(rows[0]), lines).encode()


def _columns(table: pa.Table | None) -> dict[str, np.ndarray]:
    if table is None:
        return {}
    return {name: as_array(table.column(name).combine_chunks()) for name in table.column_names}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
