"""Which of two concepts that go together moves the other, and what the drawing says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.truth_tables import A_TO_B, B_TO_A, BOTH_WAYS, DIRECTIONS, NEITHER
from cgraph.ui import frame, gallery, state, words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link, keep, pills
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.views.take_away import csv_button

Row = dict[str, Any]

PAGE_LENGTH = 20

_ALL = "all"
_LAYERS = "truth.layers"
_TABLE = "truth.pairs"
_MEANINGS = {
    A_TO_B: "A moves B",
    B_TO_A: "B moves A",
    BOTH_WAYS: "each moves the other",
    NEITHER: "neither does: a common cause",
}


def direction(opened: OpenStudy) -> None:
    """Show pairs of concepts by which moves which.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    rows = measured_rows(opened.entry, "direction")
    if not rows:
        st.info("No two concepts of this study go together in two layers, so none were compared.")
        return
    st.html(f"<p class='cg-sentence'>{escape(_told(rows))}</p>")
    with st.container(key="cg-truth-controls", horizontal=True, gap="medium"):
        counts = Counter(row["verdict"] for row in rows)
        verdict = pills(
            study,
            "Which moves which",
            "verdict",
            [_ALL, *DIRECTIONS],
            key="truth.verdict",
            says=lambda word: f"{word} ({len(rows) if word == _ALL else counts[word]:,})",
        )
        layers = _layers(opened, rows)
    kept = [
        row for row in rows if verdict in (_ALL, row["verdict"]) and layers in (_ALL, _between(row))
    ]
    if not kept:
        st.info("No pair is like that. Choose another answer, or all layers.")
        return
    kept.sort(key=lambda row: -abs(row["association"]))
    with st.container(width=900):
        _table(opened, kept[:PAGE_LENGTH])
    more = f"The {PAGE_LENGTH} that go together most of {len(kept):,}; the file has all. "
    st.html(
        f"<p class='cg-quiet'>{more if len(kept) > PAGE_LENGTH else ''}<i>Together</i> is "
        "the correlation of their labels. Beneath a concept of the lower layer stands what taking "
        "it out does to the other one in the upper layer, beyond controls, in standard deviations, "
        "with the 95 % interval.</p>"
    )
    csv_button(
        "These pairs as CSV",
        lambda: rows_csv(kept),
        f"{study.name}-direction",
        key="truth.direction.csv",
    )
    _chosen(opened)


def _layers(opened: OpenStudy, rows: Sequence[Row]) -> str:
    between = sorted({(row["lower"], row["upper"]) for row in rows})
    allowed = [_ALL, *(f"{lower} → {upper}" for lower, upper in between)]
    layers = in_link("layers", allowed, _ALL)
    st.session_state[_LAYERS] = layers
    st.selectbox(
        "Layers",
        allowed,
        key=_LAYERS,
        on_change=keep,
        args=(opened.study, _LAYERS, "layers"),
        width=160,
    )
    return layers


def _between(row: Row) -> str:
    return f"{row['lower']} → {row['upper']}"


def _told(rows: Sequence[Row]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    said = ", ".join(f"in {counts[verdict]:,} {_MEANINGS[verdict]}" for verdict in DIRECTIONS)
    text = f"Of {words.count(len(rows), 'pair')} of concepts that go together, {said}."
    drawn = [row for row in rows if row["drawn"]]
    if drawn:
        agree = sum(row["drawn"] == row["verdict"] for row in drawn)
        text += (
            f" The drawing of the scenes says what causes what in {len(drawn):,} of them; the "
            f"network agrees in {agree:,}."
        )
    return text


def _table(opened: OpenStudy, rows: Sequence[Row]) -> None:
    concept = state.check(state.read()[0], opened.study)[0].concept
    concept_table(
        [TableHead("A, lower and upper layer"), TableHead("B, lower and upper layer")],
        [_line(row) for row in rows],
        gallery.looks(opened.study),
        label="Pairs of concepts, a row each, with what moves what",
        key=_TABLE,
        on_pick=lambda: _pick(opened),
        selected=concept,
        wide=True,
    )


def _line(row: Row) -> TableRow:
    a, b = (
        [
            ConceptId(row["lower"], row[f"{word}_lower"]),
            ConceptId(row["upper"], row[f"{word}_upper"]),
        ]
        for word in ("a", "b")
    )
    drawn = f" · drawn: {row['drawn']}" if row["drawn"] else ""
    return TableRow(
        lead=row["verdict"],
        note=f"layers {_between(row)} · together {words.signed(row['association'])}{drawn}",
        share=None,
        cells=[a, b],
        cell_notes=[{a[0]: _effect(row, "a_to_b", "B")}, {b[0]: _effect(row, "b_to_a", "A")}],
        cell_labels=[
            {a[0]: f"moves B by {_effect(row, 'a_to_b', '')}"},
            {b[0]: f"moves A by {_effect(row, 'b_to_a', '')}"},
        ],
    )


def _effect(row: Row, name: str, other: str) -> str:
    if not words.known(row[name]):
        return f"{other} unknown".strip()
    low, high = (words.signed(row[f"{name}_{end}"]) for end in ("low", "high"))
    lead = f"on {other} " if other else ""
    return f"{lead}{words.signed(row[name])} ({low}, {high})"


def _pick(opened: OpenStudy) -> None:
    if picked := st.session_state[_TABLE].get("picked"):
        state.change(opened.study, concept=ConceptId.parse(picked))


def _chosen(opened: OpenStudy) -> None:
    """Lead on to the pages about the concept that was chosen."""
    selection = state.check(state.read()[0], opened.study)[0]
    if selection.concept is None:
        st.html("<p class='cg-quiet'>Choose a concept to see it on another page.</p>")
        return
    name = gallery.concept_name(opened.study, selection.concept)
    called = f"{name} ({selection.concept})" if name else str(selection.concept)
    st.html(f"<p class='cg-sentence'><b>{escape(called)}</b></p>")
    with st.container(key="cg-onward", horizontal=True, gap="small"):
        frame.onward_links(selection, here="Evaluation")
