"""The paper's question: what goes with having many parents."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from cgraph.concept import ConceptId
from cgraph.parent_question import PREVALENCE, ParentAnswer
from cgraph.ui import gallery, words
from cgraph.ui.charts.figure import World
from cgraph.ui.charts.relations import p_value, reading, relation_figure
from cgraph.ui.components.figure import show_figure
from cgraph.ui.evaluated import AUC, MATCH, attribute_match, parent_answer
from cgraph.ui.frame import OpenStudy
from cgraph.ui.pair_facts import PairFacts
from cgraph.ui.pair_table import csv_text
from cgraph.ui.views.concept_evaluation import choose_concept
from cgraph.ui.views.take_away import csv_button

_LABELS: dict[str, tuple[str, World]] = {
    PREVALENCE: ("prevalence", "natural"),
    AUC: ("AUC", "both"),
    MATCH: ("match with best attribute", "natural"),
}

_GROUP_COLUMNS = (
    *("figure", "median_at_lowest_peak", "median_at_highest_peak", "n_lowest", "n_highest"),
    *("share_larger_at_highest", "p_value"),
)


def parent_question(opened: OpenStudy, facts: PairFacts) -> Callable[[], None]:
    """Keep a place for the answer, and return what fills it.

    Parameters
    ----------
    opened : OpenStudy
    facts : PairFacts
    """
    if not len(facts.scored):
        return lambda: None
    st.html(
        "<h3 class='cg-section'>What goes with having many parents?</h3>"
        "<p class='cg-sentence'>The paper sees two peaks and offers two explanations: (I) there "
        "are simple and complex concepts, (II) there are well and poorly disentangled ones. Under "
        "(II) concepts with many parents should match what is known of the images worse. Neither "
        "correlations nor peaks can prove either.</p>"
    )
    place = st.empty()
    with place:
        st.html("<p class='cg-quiet cg-wait'>Holding parents against three figures …</p>")

    def fill() -> None:
        with place.container(key="cg-question"):
            _answer(opened, facts)

    return fill


def _answer(opened: OpenStudy, facts: PairFacts) -> None:
    study = opened.study
    match = attribute_match(opened.entry, facts.right)
    answer, figures = parent_answer(study, facts.right, match)
    names = {
        str(concept): name
        for concept in (ConceptId(facts.right, int(index)) for index in facts.scored)
        if (name := gallery.concept_name(study, concept))
    }
    with st.container(key="cg-row-relations"):
        columns = st.columns(len(_LABELS), gap="medium")
    relations = {relation.name: relation for relation in answer.relations}
    for column, (name, (label, world)) in zip(columns, _LABELS.items(), strict=True):
        with column:
            if name not in relations:
                st.html(
                    "<p class='cg-sentence'><b>Match with attributes: cannot be asked.</b> Nothing "
                    "is known of these images that enough of them share and enough lack, so "
                    "explanation (II) stays open here. A study of images with attributes, such as "
                    "the drawn scenes, can answer.</p>"
                )
                continue
            key = f"evaluation.relation.{name}"
            figure = relation_figure(
                facts, figures[name], relations[name], label=label, world=world, names=names
            )
            show_figure(figure, key=key, on_pick=partial(_choose, opened, key))
    st.html(_verdict(answer))
    if len(answer.peaks.at) > 1:
        csv_button(
            "Groups as CSV",
            lambda: csv_text(_GROUP_COLUMNS, _groups(answer)).encode(),
            f"{facts.file}-peaks",
            key="evaluation.groups.csv",
        )
    csv_button(
        "Every concept as CSV",
        lambda: _concepts_csv(facts, figures, names),
        f"{facts.file}-parents-and-figures",
        key="evaluation.relations.csv",
    )


def _groups(answer: ParentAnswer) -> list[tuple[str | float, ...]]:
    """Return a row for each figure that differs, or not, between the outer peaks."""
    return [
        (relation.name, *found.medians, *found.sizes, found.superiority, found.p_value)
        for relation in answer.relations
        if (found := relation.groups) is not None
    ]


def _concepts_csv(
    facts: PairFacts, figures: dict[str, NDArray[np.float64]], names: dict[str, str]
) -> bytes:
    """Return number of parents and figures of every scored concept."""
    parents = facts.columns["n_parents"].tolist()
    values = [["" if np.isnan(v) else v for v in column.tolist()] for column in figures.values()]
    rows = [
        (concept, names.get(concept, ""), n, *row)
        for concept, n, *row in zip(facts.ids, parents, *values, strict=True)
    ]
    return csv_text(("concept", "name", "parents", *figures), rows).encode()


def _choose(opened: OpenStudy, key: str) -> None:
    if picked := st.session_state[key].get("picked"):
        choose_concept(opened.study, picked)


def _verdict(answer: ParentAnswer) -> str:
    """Say what peaks and relations add up to, and what they leave open."""
    peaks = answer.peaks
    relations = {relation.name: relation for relation in answer.relations}
    meant = escape(reading(relations.get(MATCH)))
    if len(peaks.at) < 2:
        return (
            f"<p class='cg-sentence'>There is one peak only, at {peaks.at[0]} parents, so there "
            f"are no two groups to explain; what varies, varies by degrees. {meant}</p>"
        )
    low, high = peaks.at[0], peaks.at[-1]
    lines = []
    for relation in answer.relations:
        groups = relation.groups
        if groups is None:
            continue
        label = _LABELS[relation.name][0]
        lines.append(
            f"<tr><th scope='row'>{escape(label)}</th><td>{groups.medians[0]:.3f}</td>"
            f"<td>{groups.medians[1]:.3f}</td><td>{words.percent(groups.superiority)}</td>"
            f"<td>{p_value(groups.p_value)}</td></tr>"
        )
    sizes = " and ".join(f"{share * peaks.n:,.0f}" for share in (peaks.shares[0], peaks.shares[-1]))
    return (
        f"<p class='cg-sentence'>The two peaks, at {low} and {high} parents, divide the concepts "
        f"at {', '.join(map(str, peaks.valleys))} into groups of {sizes}. {meant}</p>"
        "<div class='cg-scroll'><table class='cg-table'><thead><tr><td></td>"
        f"<th scope='col'>median at {low}</th><th scope='col'>median at {high}</th>"
        f"<th scope='col'>larger at {high} (50 %: no difference)</th>"
        "<th scope='col'>Mann–Whitney</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
