"""Whether what images are made of has concepts of its own: the paper's hypothesis, tested."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.ui import gallery, state, words
from cgraph.ui.charts.factors import Row, own_figure, scores_figure
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.views.take_away import csv_button

PAGE_LENGTH = 30

_LAYER = "truth.factor-layer"
_TABLE = "truth.factor-table"


def factors(opened: OpenStudy) -> None:
    """Show which factors have a concept of their own.

    Parameters
    ----------
    opened : OpenStudy
    """
    name = opened.study.name
    rows = measured_rows(opened.entry, "factors")
    of_layers = [row for row in measured_rows(opened.entry, "factor-layers") if row["n_factors"]]
    if not rows or not of_layers:
        st.info(
            "Nothing is known of what this study's images show that enough of them share, so it "
            "cannot be asked here. A study of images with attributes, such as the drawn scenes, "
            "can answer."
        )
        return
    st.html(
        "<p class='cg-sentence'>The paper assumes that images are made of few factors, each with a "
        "concept of its own. A factor here is one value of an attribute that is known of the "
        "images.</p>"
    )
    left, right = st.columns(2, gap="medium")
    with left:
        show_figure(own_figure(name, of_layers), key="truth.factors-own")
    with right:
        show_figure(scores_figure(name, of_layers), key="truth.factors-scores")
    with st.container(key="cg-truth-controls", horizontal=True, gap="medium"):
        layer = _layer(opened, sorted({row["layer"] for row in rows}))
    here = [row for row in rows if row["layer"] == layer]
    here.sort(key=lambda row: -row["auc"] if words.known(row["auc"]) else 0.0)
    with st.container(width=760):
        _table(opened, here[:PAGE_LENGTH])
    if len(here) > PAGE_LENGTH:
        st.html(
            f"<p class='cg-quiet'>The best {PAGE_LENGTH} of {len(here):,} factors; the file has "
            "all.</p>"
        )
    for label, table in (("Every factor as CSV", rows), ("Every layer as CSV", of_layers)):
        file = f"{name}-{label.split()[1]}-of-factors"
        csv_button(label, partial(rows_csv, table), file, key=f"truth.{file}.csv")


def _layer(opened: OpenStudy, layers: Sequence[int]) -> int:
    asked = state.check(state.read()[0], opened.study)[0].layer
    layer = asked if asked is not None and asked in layers else layers[-1]
    st.session_state[_LAYER] = layer
    st.selectbox(
        "Layer",
        layers,
        key=_LAYER,
        on_change=lambda: state.change(opened.study, layer=st.session_state[_LAYER], concept=None),
        width=120,
    )
    return layer


def _table(opened: OpenStudy, rows: Sequence[Row]) -> None:
    concept_table(
        [TableHead("best concept"), TableHead("second")],
        [_line(row) for row in rows],
        gallery.looks(opened.study),
        label="Factors, a row each, with the concepts that are signs of them",
        key=_TABLE,
        on_pick=lambda: _pick(opened),
        selected=state.check(state.read()[0], opened.study)[0].concept,
        wide=True,
    )


def _line(row: Row) -> TableRow:
    own = "has a concept of its own" if row["own"] else "no concept of its own"
    cells, notes = [], []
    for index, area in (("concept", "auc"), ("runner_up", "runner_up_auc")):
        there = row[index] >= 0
        concept = ConceptId(row["layer"], row[index]) if there else None
        cells.append([concept] if concept else [])
        notes.append({concept: f"AUC {words.thousandths(row[area])}"} if concept else {})
    return TableRow(
        lead=f"{row['attribute']}: {row['value']}",
        note=f"{own} · {words.count(row['n_images'], 'image')}",
        share=None,
        cells=cells,
        cell_notes=notes,
    )


def _pick(opened: OpenStudy) -> None:
    if picked := st.session_state[_TABLE].get("picked"):
        state.change(opened.study, concept=ConceptId.parse(picked))
