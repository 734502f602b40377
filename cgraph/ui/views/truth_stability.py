"""What another seed finds again, layer by layer."""

from __future__ import annotations

import numpy as np
import streamlit as st

from cgraph.ui import words
from cgraph.ui.charts.stability import cosine_figure, found_again_figure
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.measured import stability_of_layers
from cgraph.ui.pair_table import csv_text
from cgraph.ui.views.take_away import csv_button


def stability(opened: OpenStudy) -> None:
    """Show which shares of concepts and edges are found again.

    Parameters
    ----------
    opened : OpenStudy
    """
    name = opened.study.name
    columns, totals = stability_of_layers(opened.entry)
    if not columns["n_concepts"].sum():
        st.info("No concept of this study is alive, so none can be found again.")
        return
    left, right = st.columns(2, gap="medium")
    with left:
        show_figure(found_again_figure(name, columns, totals), key="truth.found-again")
    with right:
        show_figure(cosine_figure(name, columns), key="truth.matched")
    lines = []
    for place, layer in enumerate(columns["layer"]):
        cells = [
            f"{columns['n_concepts'][place]:,.0f}",
            _share(columns["concepts"][place]),
            _fraction(columns["cosine"][place]),
            _fraction(columns["jaccard"][place]),
            f"{columns['n_edges'][place]:,.0f}",
            _share(columns["edges"][place]),
            _share(columns["edges_bags"][place]),
        ]
        lines.append(
            f"<tr><th scope='row'>layer {layer:.0f}</th>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    st.html(
        "<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of stability'>"
        "<table class='cg-table'><thead><tr><td></td><th scope='col'>concepts alive</th>"
        "<th scope='col'>found again</th><th scope='col'>median cosine</th>"
        "<th scope='col'>median Jaccard of labels</th><th scope='col'>edges into it</th>"
        "<th scope='col'>found again</th><th scope='col'>with other bags alone</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    csv_button(
        "Table as CSV",
        lambda: csv_text(list(columns), np.column_stack(list(columns.values())).tolist()).encode(),
        f"{name}-stability",
        key="truth.stability.csv",
    )


def _share(value: float) -> str:
    return words.percent(float(value)) if words.known(value) else "–"


def _fraction(value: float) -> str:
    return words.fraction(float(value)) if words.known(value) else "–"
