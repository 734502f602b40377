"""What another seed finds again, layer by layer."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cgraph.ui import words
from cgraph.ui.charts import stability as charts
from cgraph.ui.charts.stability import Row, share
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.views.take_away import csv_button

_HEADS = (
    *("concepts alive", "found again", "median cosine", "median Jaccard of labels"),
    *("edges into it", "both ends found again", "edges there, too", "with other bags alone"),
)


def stability(opened: OpenStudy) -> None:
    """Show which shares of concepts and edges are found again.

    Parameters
    ----------
    opened : OpenStudy
    """
    name = opened.study.name
    rows = measured_rows(opened.entry, "stable-layers")
    if not any(row["n_alive"] for row in rows):
        st.info("No concept of this study is alive, so none can be found again.")
        return
    makers = (charts.concepts_figure, charts.likeness_figure, charts.edges_figure)
    with st.container(key="cg-row-stability"):
        columns = st.columns(len(makers), gap="medium")
    for column, make in zip(columns, makers, strict=True):
        figure = make(name, rows)
        with column:
            show_figure(figure, key=f"truth{figure.file.removeprefix(name)}")
    head = "".join(f"<th scope='col'>{text}</th>" for text in _HEADS)
    st.html(
        "<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of stability'>"
        f"<table class='cg-table'><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(map(_line, rows))}</tbody></table></div>"
    )
    csv_button(
        "Table as CSV", partial(rows_csv, rows), f"{name}-stability", key="truth.stability.csv"
    )


def _line(row: Row) -> str:
    n, matched = row["n_edges"], row["n_edges_matched"]
    cells = [
        f"{row['n_alive']:,}",
        words.percent(share(row["n_found_again"], row["n_alive"])),
        words.fraction(row["cosine"]),
        words.fraction(row["jaccard"]),
        f"{n:,}",
        words.percent(share(matched, n)),
        words.percent(share(row["n_edges_found_again"], matched)),
        words.percent(share(row["n_edges_found_bags"], n)),
    ]
    return (
        f"<tr><th scope='row'>layer {row['layer']}</th>"
        + "".join(f"<td>{'–' if cell == 'unknown' else cell}</td>" for cell in cells)
        + "</tr>"
    )
