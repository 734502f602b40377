"""How far predictions carry: rollouts over depth, and what they mean for the model."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import streamlit as st

from cgraph.truth_tables import MEAN_TOKEN, TRUE_LABELS
from cgraph.ui import state, words
from cgraph.ui.charts.rollout_depth import (
    QUANTITIES,
    RULES,
    Row,
    at_start,
    ordered_rules,
    rollout_figure,
)
from cgraph.ui.components.figure import show_figure
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link, keep, pills
from cgraph.ui.measured import measured_rows, rows_csv
from cgraph.ui.terms import MEASURED
from cgraph.ui.views.take_away import csv_button

_START = "truth.start"
_FORCED = "truth.forced"
_PROBABILITIES = ("calibrated", "prior", "balanced")
_BOUNDS = {TRUE_LABELS: "the true labels, decoded", MEAN_TOKEN: "the mean token"}


def rollout(opened: OpenStudy) -> None:
    """Show rollouts from a start layer by every rule.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    rows = measured_rows(opened.entry, "rollout")
    if not rows:
        st.info("No rollout was measured: this study has no pair of layers with scored concepts.")
        return
    with st.container(key="cg-truth-controls", horizontal=True, gap="medium"):
        start = _start(opened, sorted({row["start"] for row in rows}))
        quantity = pills(
            study,
            "Figure",
            "figure",
            list(QUANTITIES),
            key="truth.figure",
            says=lambda name: QUANTITIES[name].word,
        )
        kinds = {row["probability"] for row in rows}
        probability = pills(
            study,
            "Probabilities",
            "probability",
            [
                kind
                for kind in (*_PROBABILITIES, *sorted(kinds - {*_PROBABILITIES}))
                if kind in kinds
            ],
            key="truth.probability",
        )
        forced = in_link("forced", ("yes", "no"), "yes") == "yes"
        st.session_state[_FORCED] = forced
        st.checkbox(
            "Teacher-forced, too",
            key=_FORCED,
            on_change=lambda: _forced_chosen(opened),
            help="Each layer is given the true labels of the one before, so that errors do not "
            "add up.",
        )
    figure = rollout_figure(
        study.name,
        rows,
        measured_rows(opened.entry, "references"),
        start=start,
        quantity=quantity,
        probability=probability,
        forced=forced,
    )
    show_figure(figure, key="truth.rollout")
    csv_button(
        "Every rollout as CSV",
        lambda: rows_csv(rows),
        f"{study.name}-rollouts",
        key="truth.rollouts.csv",
    )
    _decoded(opened, start, probability)


def _start(opened: OpenStudy, starts: list[int]) -> int:
    allowed = [str(start) for start in starts]
    start = int(in_link("start", allowed, allowed[0]))
    if len(starts) > 1:
        st.session_state[_START] = start
        st.select_slider(
            "Start layer",
            starts,
            key=_START,
            on_change=keep,
            args=(opened.study, _START, "start"),
            help="Its true labels are given; everything behind it is predicted.",
            width=220,
        )
    return start


def _forced_chosen(opened: OpenStudy) -> None:
    value = None if st.session_state[_FORCED] else "no"
    state.write(state.changed(opened.study), {"forced": value})


def _decoded(opened: OpenStudy, start: int, probability: str) -> None:
    """Show what the labels of the last layer mean for the model when they are decoded."""
    every = measured_rows(opened.entry, "decoded")
    rows = at_start(every, start, probability)
    if not rows:
        st.html(
            "<p class='cg-quiet'>What the predicted labels mean for the model was not measured: "
            "pictures or model could not be had.</p>"
        )
        return
    rows += [row for row in every if row["rule"] in _BOUNDS and row not in rows]
    by_rule = {row["rule"]: row for row in rows}
    order = [rule for rule in ordered_rules(rows) if rule not in _BOUNDS]
    order += [rule for rule in _BOUNDS if rule in by_rule]
    n = max(row["n_images"] for row in rows)
    st.html(
        "<h3 class='cg-section'>What that means for the model</h3><p class='cg-quiet'>The labels "
        f"predicted for layer {opened.study.n_layers} from layer {start} are decoded into a class "
        f"token, which is held against the real one in {words.count(n, 'held-out image')} · "
        f"{MEASURED}</p>"
    )
    lines = "".join(_line(rule, by_rule[rule]) for rule in order)
    st.html(
        "<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of decoded tokens'>"
        "<table class='cg-table'><thead><tr><td></td><th scope='col'>probabilities</th>"
        "<th scope='col'>cosine to the real token</th><th scope='col'>explained variance</th>"
        f"<th scope='col'>same top class</th></tr></thead><tbody>{lines}</tbody></table></div>"
        f"<p class='cg-sentence'>{escape(_told(by_rule, order))}</p>"
    )
    csv_button(
        "Table as CSV",
        lambda: rows_csv(rows),
        f"{opened.study.name}-decoded-from-layer-{start}",
        key="truth.decoded.csv",
    )


def _line(rule: str, row: Row) -> str:
    bound = rule in _BOUNDS
    word = _BOUNDS.get(rule) or RULES.get(rule, (rule,))[0]
    top = words.percent(row["same_top"]) if words.known(row["same_top"]) else "no head"
    cells = (
        "" if bound else row["probability"],
        _number(row["cosine"]),
        _number(row["explained_variance"]),
        top,
    )
    return (
        f"<tr class='{'cg-paper' if rule == next(iter(_BOUNDS)) else ''}'><th scope='row'>"
        f"{escape(word)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    )


def _number(value: float) -> str:
    if not words.known(value):
        return "–"
    # Adding 0 takes the sign from what is rounded to nothing.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _told(by_rule: Mapping[str, Row], order: list[str]) -> str:
    first = by_rule[order[0]]
    text = (
        f"A token decoded from {RULES.get(order[0], (order[0],))[0]} has a cosine of "
        f"{words.fraction(first['cosine'])} to the real one"
    )
    best = by_rule.get(TRUE_LABELS)
    if best is not None:
        text += f", where the true labels reach {words.fraction(best['cosine'])}"
    if words.known(first["same_top"]):
        text += f"; the model's top class stays the same in {words.percent(first['same_top'])}"
        if best is not None:
            text += f" of the images, with the true labels in {words.percent(best['same_top'])}"
        else:
            text += " of the images"
    return f"{text}."
