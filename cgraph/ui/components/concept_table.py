"""A table whose cells hold concepts as small pictures: paths in rows, or images side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.ui.components import revision_of, static_text
from cgraph.ui.drawing import Looks


@dataclass(frozen=True)
class TableHead:
    """The head of a column: words, and the data URI of a picture or nothing."""

    text: str
    image: str = ""


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes
    ----------
    lead : str
        What the row is about.
    note : str
        A few words beneath it.
    share : float or None
        Length of a bar beneath both, 0 to 1; ``None`` for no bar.
    cells : sequence of sequence of ConceptId
        One entry for each column.
    notes : mapping of ConceptId to str
        A few words beneath some of them.
    lowering : collection of int
        Columns whose concept is lowered by the one before: the line to it is blue and dashed.
    cell_notes : sequence of mapping of ConceptId to str, optional
        The same for each cell, where a concept stands in several.
    cell_labels : sequence of mapping of ConceptId to str, optional
        What a screen reader says in place of these words, where they hold signs.
    """

    lead: str
    note: str
    share: float | None
    cells: Sequence[Sequence[ConceptId]]
    notes: Mapping[ConceptId, str] = field(default_factory=dict)
    lowering: Collection[int] = ()
    cell_notes: Sequence[Mapping[ConceptId, str]] = ()
    cell_labels: Sequence[Mapping[ConceptId, str]] = ()


_component = st.components.v2.component(
    "cgraph_concept_table",
    html=static_text("concept_table.html"),
    css=static_text("concept_table.css"),
    js=static_text("concept_table.js"),
)


def concept_table(
    heads: Sequence[TableHead],
    rows: Sequence[TableRow],
    looks: Looks,
    *,
    label: str,
    key: str,
    on_pick: Callable[[], None],
    selected: ConceptId | None = None,
    joined: bool = False,
    wide: bool = False,
    roomy: bool = False,
) -> None:
    """Show a table of concepts.

    Parameters
    ----------
    heads : sequence of TableHead
        Of the columns, without that of the rows' own words.
    rows : sequence of TableRow
    looks : Looks
        How concepts look.
    label : str
        What the table shows, for screen readers.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the concept that was chosen.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    selected : ConceptId, optional
        The concept that is marked.
    joined : bool
        Whether concepts of neighbouring cells are joined by a line.
    wide : bool
        Whether there is room for longer names, in a table of few columns.
    roomy : bool
        Whether there is room for longer words beneath each concept.
    """
    shown = {concept for row in rows for cell in row.cells for concept in cell}
    # Tuples all the way: of a list or a dictionary Streamlit asks pandas what it is, and loads it.
    concepts = tuple(
        (str(concept), looks.name_of(concept), looks.image_of(concept)) for concept in sorted(shown)
    )
    cells = [_cells(row) for row in rows]
    lines = [(row.lead, row.note, row.share, tuple(sorted(row.lowering))) for row in rows]
    _component(
        key=key,
        data={
            "revision": revision_of(label, *map(repr, (heads, concepts, cells, lines, wide))),
            "label": label,
            "heads": tuple(asdict(head) for head in heads),
            "concepts": concepts,
            "rows": tuple(
                {
                    "lead": lead,
                    "note": note,
                    "share": share,
                    "lowering": lowering,
                    "cells": tuple(of_row),
                }
                for (lead, note, share, lowering), of_row in zip(lines, cells, strict=True)
            ),
            "selected": str(selected) if selected else None,
            "joined": joined,
            "wide": wide,
            "roomy": roomy,
        },
        on_picked_change=on_pick,
    )


def _cells(row: TableRow) -> list[tuple[tuple[str, ...], ...]]:
    """Return concept, words and, if they differ, spoken words of everything in a row."""
    notes = row.cell_notes or [row.notes] * len(row.cells)
    if not row.cell_labels:
        return [
            tuple((str(concept), written.get(concept, "")) for concept in cell)
            for cell, written in zip(row.cells, notes, strict=True)
        ]
    return [
        tuple((str(c), written.get(c, ""), spoken.get(c, "")) for c in cell)
        for cell, written, spoken in zip(row.cells, notes, row.cell_labels, strict=True)
    ]
