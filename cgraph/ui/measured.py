"""Tables that `cgraph evaluate` wrote, read once for everybody, as the views need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from cgraph.errors import StudyError
from cgraph.manifest import BUILD_RECORD
from cgraph.store import read_json
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


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV; what could not be measured is empty."""
    lines = [["" if value != value else value for value in row.values()] for row in rows]
    return csv_text(list(rows[0]), lines).encode()
