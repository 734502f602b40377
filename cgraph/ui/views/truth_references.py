"""What the graph's figures are worth: the AUC of other predictors beside it, pair by pair."""

from __future__ import annotations

from html import escape

import streamlit as st

from cgraph.truth_tables import DENSE, DIRECT, REFERENCES, REFITTED, TOKEN
from cgraph.ui import words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link, keep
from cgraph.ui.measured import measured_rows
from cgraph.ui.pair_facts import pair_facts
from cgraph.ui.pair_table import Spread, csv_text
from cgraph.ui.views.take_away import csv_button

_SORT = "truth.sort"
_GRAPH = "the graph"
_PAIR = "pair of layers"

Row = tuple[str, dict[str, float]]


def references(opened: OpenStudy) -> None:
    """Show the references of every pair, and of every start layer to the last.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    found = measured_rows(opened.entry, "references")
    by_pair: dict[tuple[int, int], dict[str, float]] = {}
    for row in found:
        by_pair.setdefault((row["start"], row["layer"]), {})[row["reference"]] = row["auc"]
    pairs: list[Row] = []
    for right in range(2, study.n_layers + 1):
        others = by_pair.get((right - 1, right), {})
        graph = Spread.of(pair_facts(study, right).columns["auc"]).mean
        pairs.append((f"{right - 1} → {right}", {_GRAPH: graph} | others))
    columns = [_GRAPH, *_columns(pairs, leave_out=DIRECT)]
    allowed = [_PAIR, *columns]
    st.html(
        f"<p class='cg-sentence'>{escape(_told(pairs, columns))}</p><p class='cg-quiet'>Mean AUC "
        "over the scored concepts of the right layer, 0.5 by chance. Bold: better than the graph."
        "</p>"
    )
    sort = in_link("sort", allowed, _PAIR)
    st.session_state[_SORT] = sort
    st.selectbox(
        "Sort by",
        allowed,
        key=_SORT,
        on_change=keep,
        args=(study, _SORT, "sort"),
        width=260,
    )
    if sort != _PAIR:
        pairs = sorted(pairs, key=lambda row: _falling(row[1].get(sort)))
    _table(pairs, columns, "Table of references")
    csv_button(
        "Table as CSV",
        lambda: _csv(pairs, columns),
        f"{study.name}-references",
        key="truth.references.csv",
    )
    _from_every_start(opened, by_pair)


def _from_every_start(opened: OpenStudy, by_pair: dict[tuple[int, int], dict[str, float]]) -> None:
    """Show references from every start layer to the last, beside the rollout where it is there."""
    last = opened.study.n_layers
    ours = {
        row["start"]: row["auc"]
        for row in measured_rows(opened.entry, "rollout")
        if row["layer"] == last and row["rule"] == REFITTED and not row["forced"]
    }
    rows: list[Row] = []
    for start in range(1, last):
        others = by_pair.get((start, last), {})
        kept = {name: others[name] for name in (DIRECT, DENSE, TOKEN) if name in others}
        if kept:
            rows.append(
                (f"{start} → {last}", ({_GRAPH: ours[start]} if start in ours else {}) | kept)
            )
    if not rows:
        return
    columns = _columns(rows)
    graph = (
        f"The graph's column is the free-running rollout on {REFITTED} probabilities."
        if ours
        else "The graph's column is missing until rollouts are measured."
    )
    st.html(
        f"<h3 class='cg-section'>From every layer straight to layer {last}</h3><p class='cg-quiet'>"
        f"{graph} <i>Direct</i> is a fit on the labels of the start layer, with nothing between."
        "</p>"
    )
    _table(rows, columns, "Table of references to the last layer")
    csv_button(
        "Table as CSV",
        lambda: _csv(rows, columns),
        f"{opened.study.name}-references-to-the-last-layer",
        key="truth.references.last.csv",
    )


def _columns(rows: list[Row], leave_out: str = "") -> list[str]:
    """Return the columns that some row has, in the order of the references."""
    there = {name for _, values in rows for name in values}
    known = [_GRAPH, *REFERENCES] if not leave_out else list(REFERENCES)
    return [name for name in known if name in there and name != leave_out]


def _told(pairs: list[Row], columns: list[str]) -> str:
    """Say which references are better than the graph, and in how many pairs."""
    said = []
    for name in columns[1:]:
        both = [
            (row[_GRAPH], row[name])
            for _, row in pairs
            if words.known(row.get(_GRAPH)) and words.known(row.get(name))
        ]
        if not both:
            continue
        better = sum(other > graph for graph, other in both)
        mean = sum(other - graph for graph, other in both) / len(both)
        lead = f"{mean:+.3f}".replace("-", "−")
        said.append(f"{name} in {better} of {len(both)} ({lead} on average)")
    if not said:
        return "No reference of a pair is known."
    return f"References that predict better than the graph, by pairs: {'; '.join(said)}."


def _falling(value: float | None) -> float:
    return -value if value is not None and words.known(value) else float("inf")


def _table(rows: list[Row], columns: list[str], label: str) -> None:
    heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in columns)
    lines = []
    for lead, values in rows:
        graph = values.get(_GRAPH)
        cells = ""
        for name in columns:
            value = values.get(name)
            text = words.thousandths(value) if value is not None and words.known(value) else "–"
            better = (
                name != _GRAPH
                and value is not None
                and graph is not None
                and words.known(graph)
                and value > graph
            )
            cells += f"<td>{f'<b>{text}</b>' if better else text}</td>"
        lines.append(f"<tr><th scope='row'>{escape(lead)}</th>{cells}</tr>")
    st.html(
        f"<div class='cg-scroll' tabindex='0' role='group' aria-label='{escape(label)}'>"
        f"<table class='cg-table'><thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _csv(rows: list[Row], columns: list[str]) -> bytes:
    cells = [
        (lead, *(value if words.known(value := values.get(name)) else "" for name in columns))
        for lead, values in rows
    ]
    return csv_text(("layers", *columns), cells).encode()
