"""Paths through the graph as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.graph_paths import GraphPath
from cgraph.trace_export import cell_text


def paths_csv(
    paths: Sequence[GraphPath],
    name: Callable[[ConceptId], str],
    facts: EdgeFacts | None = None,
) -> bytes:
    """Return paths as CSV: one row an edge, with the path that it is on.

    Parameters
    ----------
    paths : sequence of GraphPath
    name : callable
        What people call a concept; empty for one without a name.
    facts : EdgeFacts, optional
        What was measured of the edges.
    """
    fields = facts.fields if facts else ()
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    ends = ("parent", "parent_name", "child", "child_name")
    writer.writerow(["path", "strength", "min_weight", *ends, "weight", "share", *fields])
    for number, path in enumerate(paths, start=1):
        for edge in path.edges:
            called = [text for end in edge.ends for text in (end, cell_text(name(end)))]
            found = facts.of(*edge.ends) if facts else None
            measured = found.known() if found else {}
            writer.writerow(
                [number, path.strength, path.min_weight, *called, edge.weight, edge.share]
                + [measured.get(field) for field in fields]
            )
    return buffer.getvalue().encode()
