"""What the graph cannot see: the patches, and what codes leave out of tokens."""

from __future__ import annotations

from functools import partial
from html import escape

import streamlit as st

from cgraph.ui import words
from cgraph.ui.charts import outside as charts
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.views.take_away import csv_button

_FILES = {"Every layer as CSV": "leakage", "Every concept as CSV": "leakage-concepts"}


def outside(opened: OpenStudy) -> None:
    """Show what reaches each layer from outside the graph.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    rows = measured_rows(opened.entry, "leakage")
    if not rows:
        st.info("No layer of this study was measured.")
        return
    makers = [charts.left_out_figure, charts.gap_figure]
    if any(words.known(row["from_class"]) or words.known(row["from_patches"]) for row in rows):
        makers = [charts.sources_figure, charts.labels_figure, *makers]
    else:
        st.html(
            f"<p class='cg-sentence'>This study reads {escape(study.manifest.token_words)}, so "
            "class token and patches are not told apart.</p>"
        )
    with st.container(key="cg-row-outside"):
        columns = st.columns(len(makers), gap="medium")
    for column, make in zip(columns, makers, strict=True):
        figure = make(study.name, rows)
        with column:
            show_figure(figure, key=f"truth{figure.file.removeprefix(study.name)}")
    for label, table in _FILES.items():
        found = measured_rows(opened.entry, table)
        if found:
            csv_button(
                label, partial(rows_csv, found), f"{study.name}-{table}", key=f"truth.{table}.csv"
            )
