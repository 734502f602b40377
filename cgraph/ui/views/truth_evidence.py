"""Whether the edges hold in the network: verdicts, controls and origins, pair by pair."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from cgraph.truth_tables import CONTRADICTED, NO_EFFECT, NOT_MEASURED, SPECIFIC, SUPPORTED
from cgraph.ui import words
from cgraph.ui.charts import edge_evidence
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.views.take_away import csv_button

_MEANINGS = {
    SPECIFIC: "the effect goes beyond that of non-parents with the same overlap",
    SUPPORTED: "beyond other active atoms and random directions, but not beyond geometry",
    NO_EFFECT: "correlation only: taking the parent out does not move the child",
    CONTRADICTED: "the child moves against the sign of the weight",
    NOT_MEASURED: "too few images in which the parent is active",
}


def evidence(opened: OpenStudy) -> None:
    """Show what interventions found of every pair of layers.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    rows = measured_rows(opened.entry, "evidence-pairs")
    if not any(row["n_edges"] for row in rows):
        st.info("The graph of this study has no edges, so there is nothing to test.")
        return
    left, right = st.columns([0.6, 0.4], gap="medium")
    with left:
        show_figure(edge_evidence.verdict_figure(study.name, rows), key="truth.verdicts")
    with right:
        lines = "".join(
            f"<div><dt><b>{escape(verdict)}</b></dt><dd>{escape(meaning)}</dd></div>"
            for verdict, meaning in _MEANINGS.items()
        )
        st.html(f"<dl class='cg-verdicts'>{lines}</dl>")
    figures = (
        edge_evidence.controls_figure(study.name, rows),
        edge_evidence.origin_figure(study.name, rows),
        edge_evidence.order_figure(study.name, rows),
        edge_evidence.joint_figure(study.name, rows),
    )
    with st.container(key="cg-row-evidence"):
        columns = st.columns(len(figures), gap="medium")
    for column, figure in zip(columns, figures, strict=True):
        with column:
            show_figure(figure, key=f"truth{figure.file.removeprefix(study.name)}")
    _table(rows)
    csv_button(
        "Table as CSV",
        lambda: rows_csv(rows),
        f"{study.name}-evidence",
        key="truth.evidence.csv",
    )


def _table(rows: list[dict[str, Any]]) -> None:
    heads = (
        *("edges", *_MEANINGS),
        *("supported of positive", "of controls", "carried", "computed", "both"),
        *("weight–effect", "shuffled", "lost, all parents out", "lost, control"),
    )
    lines = []
    for row in rows:
        n = row["n_edges"]
        found = edge_evidence.verdict_counts(row)
        supported = row["n_specific"] + row["n_supported"]
        positive = row["n_positive_specific"] + row["n_positive_supported"]
        cells = [
            f"{n:,}",
            *(words.percent(edge_evidence.share(found[verdict], n)) for verdict in _MEANINGS),
            words.percent(edge_evidence.share(positive, row["n_positive"])),
            words.percent(edge_evidence.share(row["n_controls_supported"], row["n_controls"])),
            words.percent(edge_evidence.share(row["n_carried"], supported)),
            words.percent(edge_evidence.share(row["n_computed"], supported)),
            words.percent(edge_evidence.share(row["n_both"], supported)),
            _signed(row["weight_effect"]),
            _signed(row["weight_effect_shuffled"]),
            words.percent(row["joint_lost"]),
            words.percent(row["joint_control_lost"]),
        ]
        lines.append(
            f"<tr><th scope='row'>{row['left']} → {row['right']}</th>"
            + "".join(f"<td>{'–' if cell == 'unknown' else cell}</td>" for cell in cells)
            + "</tr>"
        )
    head = "".join(f"<th scope='col'>{escape(text)}</th>" for text in heads)
    st.html(
        "<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of evidence'>"
        f"<table class='cg-table'><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _signed(value: float) -> str:
    # Adding 0 takes the sign from what is rounded to nothing.
    return words.signed(round(value, 2) + 0.0) if words.known(value) else "–"
