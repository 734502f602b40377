"""Traces as tables for spreadsheets: one row per concept, one row per edge."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.trace import Absence, ActiveConcept, Trace

CONCEPT_COLUMNS = (
    "image_id",
    "layer",
    "concept",
    "name",
    "state",
    "coefficient",
    "probability",
    "prevalence",
    "lift",
    "surprise",
    "parents_active",
    "parents",
)
"""Columns of `concepts_csv`; ``state`` is ``active``, or ``absent`` for an `Absence`."""

EDGE_COLUMNS = (
    "image_id",
    "parent",
    "parent_name",
    "child",
    "child_name",
    "weight",
    "contribution",
    "share",
)
"""Columns of `edges_csv`; the fields of `EdgeFacts` that were measured follow."""

NameOf = Callable[[ConceptId], str]

# A cell that begins like this is taken for a formula by spreadsheet programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def concepts_csv(traces: Iterable[Trace], name_of: NameOf) -> str:
    """Return the active and the expected but absent concepts of some images.

    Parameters
    ----------
    traces : iterable of Trace
    name_of : callable
        What people call a concept; empty for one without a name.

    Returns
    -------
    str
        CSV with a head of `CONCEPT_COLUMNS`; a cell without a value is empty.
    """
    rows: list[Sequence[object]] = []
    for trace in traces:
        for active in (active for layer in trace.layers for active in layer):
            rows.append(_active_row(trace, active, name_of))
        for absent in (absent for layer in trace.absences for absent in layer):
            rows.append(_absent_row(trace, absent, name_of))
    return _csv(CONCEPT_COLUMNS, rows)


def edges_csv(traces: Iterable[Trace], name_of: NameOf, facts: EdgeFacts | None = None) -> str:
    """Return the edges among the active concepts of some images; see `concepts_csv`.

    With `facts` columns say what was measured of the edges.
    """
    fields = facts.fields if facts else ()
    rows: list[Sequence[object]] = []
    for trace in traces:
        for edge in trace.edges:
            found = facts.of(edge.parent, edge.child) if facts else None
            measured = found.known() if found else {}
            rows.append(
                (
                    cell_text(trace.image_id),
                    edge.parent,
                    cell_text(name_of(edge.parent)),
                    edge.child,
                    cell_text(name_of(edge.child)),
                    edge.weight,
                    edge.contribution,
                    edge.share,
                    *(measured.get(field) for field in fields),
                )
            )
    return _csv((*EDGE_COLUMNS, *fields), rows)


def trace_values(trace: Trace, facts: EdgeFacts | None = None) -> dict[str, Any]:
    """Return a trace as plain JSON values; see `Trace.to_dict`.

    With `facts` every edge has what was measured of it under ``measured``, ``null`` where a value
    is not known. `Trace.from_dict` passes over that.
    """
    values = trace.to_dict()
    if facts:
        for edge, written in zip(trace.edges, values["edges"], strict=True):
            found = facts.of(edge.parent, edge.child)
            written["measured"] = found.known() if found else None
    return values


def _active_row(trace: Trace, active: ActiveConcept, name_of: NameOf) -> Sequence[object]:
    return (
        cell_text(trace.image_id),
        active.concept.layer,
        active.concept,
        cell_text(name_of(active.concept)),
        "active",
        active.coefficient,
        active.probability,
        active.prevalence,
        active.lift,
        active.is_surprise if active.probability is not None else None,
        active.n_parents_active,
        active.n_parents,
    )


def _absent_row(trace: Trace, absent: Absence, name_of: NameOf) -> Sequence[object]:
    return (
        cell_text(trace.image_id),
        absent.concept.layer,
        absent.concept,
        cell_text(name_of(absent.concept)),
        "absent",
        0.0,
        absent.probability,
        absent.prevalence,
        absent.lift,
        None,
        None,
        None,
    )


def cell_text(value: str) -> str:
    """Return words for a cell that no spreadsheet program takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()
