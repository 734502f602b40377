"""Two edits of the same image side by side."""

from __future__ import annotations

import dataclasses

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.ui import gallery, words
from cgraph.ui.answers import Measured, Question
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.edit_link import EditView
from cgraph.ui.views.agreement_table import MEASURED, PREDICTED
from cgraph.ui.views.change_tables import SHARED, called, changed, pick, row_of

_TWO = "cf.table.two"


def two_edits_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show the edit beside the one that was kept."""
    if view.other is None:
        st.html(
            "<p class='cg-quiet'>No second edit is kept. Open “Save, load, compare” above and keep "
            "this edit; then change it, and both stand here side by side.</p>"
        )
        return
    # The layer that is looked at is where nothing starts: only a start that was chosen counts.
    asking = dataclasses.replace(asking, settings=view.settings)
    try:
        this, kept = asking.beside(view.other)
        this.graph, kept.graph  # noqa: B018
    except CgraphError as error:
        st.error(words.plain(str(error)))
        return
    columns: list[tuple[TableHead, Measured]] = [
        (TableHead(f"{PREDICTED} This edit: {_edit_text(this)}"), Measured(this.graph)),
        (TableHead(f"{PREDICTED} Kept edit: {_edit_text(kept)}"), Measured(kept.graph)),
    ]
    if this.network.answer is not None and kept.network.answer is not None:
        columns.append((TableHead(f"{MEASURED} This edit in the network"), this.network))
        columns.append((TableHead(f"{MEASURED} Kept edit in the network"), kept.network))
    answers = [found.answer for _, found in columns]
    first = min([*asking.edit.layers, *view.other.layers], default=this.start)
    rows = []
    n_shared = n_either = 0
    for layer in range(first, asking.study.n_layers + 1):
        one, two = ({(c.concept, c.kind) for c in changed(a, layer)} for a in answers[:2])
        n_shared += len(one & two)
        n_either += len(one | two)
        whole = row_of(asking, layer, answers)
        rows.append(
            TableRow(
                lead=whole.lead,
                note=f"{len(one & two)} of {len(one | two)} predicted changes shared"
                if one | two else "no change",
                share=len(one & two) / len(one | two) if one | two else None,
                cells=whole.cells,
                cell_notes=whole.cell_notes,
                cell_labels=whole.cell_labels,
            )
        )  # fmt: skip
    st.html(
        f"<p class='cg-sentence'>The two edits share <b>{n_shared}</b> of {n_either} predicted "
        f"changes, both from the labels of layer {this.start}; {SHARED} marks what the first "
        "column has too.</p>"
    )
    concept_table(
        [head for head, _ in columns],
        rows,
        gallery.looks(asking.study),
        label="Changes of two edits, a row for each layer",
        key=_TWO,
        on_pick=lambda: pick(asking, _TWO),
        selected=selected,
        roomy=True,
    )


def _edit_text(asking: Question) -> str:
    edit = asking.edit
    parts = [f"{called(asking, c)} {'on' if edit.label(c) else 'off'}" for c in edit]
    return ", ".join(parts) or "nothing set"
