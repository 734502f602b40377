"""Which edges the Graph page leaves out, and the search for a concept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_filter import (
    ANY,
    CONCEPTS,
    EDGE_ORIGINS,
    EDGES,
    EVIDENCE,
    FOUND_AGAIN,
    EdgeFilter,
)
from cgraph.edge_index import BOTH, LOWERS, RAISES
from cgraph.errors import ConfigError
from cgraph.study_graph import StudyGraph
from cgraph.truth_tables import CARRIED, COMPUTED, SPECIFIC, SUPPORTED
from cgraph.ui import graph_query, words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.graph_facts import Shown, filter_words

MOST_FOUND = 24

_SIGNS = {BOTH: "all", RAISES: "that raise", LOWERS: "that lower"}
_FIND = "graph.find"
_FOUND = "graph.found"
_WRONG = "graph.filter-wrong"

# Key of the widget, label, field of the filter, greatest value, step, and what one unit is.
_NUMBERS = (
    ("graph.weight", "Weight at least", "min_weight", None, 0.1, 1.0),
    ("graph.auc", "AUC of the child at least", "min_auc", 1.0, 0.05, 1.0),
    ("graph.rarest", "Active in at least, % of images", "min_prevalence", 100.0, 1.0, 0.01),
    ("graph.commonest", "Active in at most, % of images", "max_prevalence", 100.0, 1.0, 0.01),
    ("graph.rate", "Selection rate at least, %", "min_selection_rate", 100.0, 1.0, 0.01),
)
_SIGN = "graph.sign"

_EVIDENCE_WORDS = {ANY: "any", SUPPORTED: "supported or better", SPECIFIC: "specific only"}
_ORIGIN_WORDS = {ANY: "any", CARRIED: "carried", COMPUTED: "computed"}
_AGAIN_WORDS = {ANY: "any", CONCEPTS: "both concepts", EDGES: "the edge"}

# Key of the widget, label, field of the filter, what can be chosen, and the words for it.
_CHOICES = (
    ("graph.evidence", "Evidence, measured", "evidence", EVIDENCE, _EVIDENCE_WORDS),
    ("graph.origin", "Effect, measured", "origin", EDGE_ORIGINS, _ORIGIN_WORDS),
    ("graph.again", "Found again by another seed", "found_again", FOUND_AGAIN, _AGAIN_WORDS),
)


def filters(shown: Shown) -> None:
    """Show the filters, and what they leave out in a few words."""
    wanted = shown.query.wanted
    said = filter_words(wanted)
    problem = st.session_state.pop(_WRONG, None)
    label = f"Filters ({len(said)})" if said else "Filters"
    with st.popover(label, key="graph.filters"):
        st.session_state[_SIGN] = wanted.sign
        st.segmented_control(
            "Edges", list(_SIGNS), format_func=_SIGNS.__getitem__, key=_SIGN, required=True,
            on_change=_changed,
        )  # fmt: skip
        for key, name, field, greatest, step, unit in _NUMBERS:
            st.session_state[key] = round(getattr(wanted, field) / unit, 6)
            st.number_input(
                name, 0.0, greatest, step=step, format="%g", key=key, on_change=_changed
            )
        _measured_filters(shown)
        st.caption(
            "With an AUC above 0, children without one (too rare or too common to be scored) are "
            "left out as well. “Active in” is asked of both parent and child."
        )
        if problem:
            st.error(words.plain(problem))
        st.button(
            "Clear all", on_click=_set, args=(EdgeFilter(),), disabled=not said, width="stretch"
        )
    if said:
        st.html(f"<span class='cg-quiet'>{escape(' · '.join(said))}</span>", width="content")
        st.button("Clear", on_click=_set, args=(EdgeFilter(),), type="tertiary")


def _measured_filters(shown: Shown) -> None:
    """Show the choices among what was measured of edges, as far as it was."""
    for key, name, field, allowed, called in _CHOICES:
        if not can_ask(shown.of, field):
            continue
        st.session_state[key] = getattr(shown.query.wanted, field)
        st.selectbox(
            name,
            allowed,
            format_func=partial(_called, called),
            key=key,
            on_change=_changed,
        )


def _called(names: Mapping[str, str], choice: str) -> str:
    return names.get(choice, choice)


def can_ask(of: StudyGraph, field: str) -> bool:
    """Return whether a study has what a field of the filter asks for."""
    allowed = next(allowed for _, _, name, allowed, _ in _CHOICES if name == field)
    asked: list[dict[str, Any]] = [{field: choice} for choice in allowed]
    return not any(EdgeFilter(**choice).missing(of.facts, of.concepts) for choice in asked)


def _changed() -> None:
    values = {field: st.session_state[key] * unit for key, _, field, _, _, unit in _NUMBERS}
    values |= {
        field: st.session_state[key]
        for key, _, field, _, _ in _CHOICES
        if st.session_state.get(key) is not None
    }
    try:
        _set(EdgeFilter(sign=st.session_state[_SIGN], **values))
    except ConfigError as error:
        st.session_state[_WRONG] = str(error)


def _set(wanted: EdgeFilter) -> None:
    graph_query.change(wanted=wanted, cell=None)


def search_box(shown: Shown) -> None:
    """Show the field in which people search."""
    st.session_state[_FIND] = shown.query.find
    st.text_input(
        "Find a concept",
        key=_FIND,
        on_change=lambda: graph_query.change(find=st.session_state[_FIND].strip()),
        placeholder="purple, colour=purple, L7/609, L7",
        type="search",
        max_chars=graph_query.LONGEST_SET,
        width=280,
    )


def search_results(shown: Shown, *, on_concept: Callable[[str | None], None]) -> None:
    """Show what was found."""
    text = shown.query.find
    found = shown.named.search(text)
    st.html(f"<h3 class='cg-section cg-first cg-found'>Found for “{escape(text)}”</h3>")
    if found:
        number = f"{MOST_FOUND} of {len(found):,}" if len(found) > MOST_FOUND else str(len(found))
        st.html(f"<p class='cg-quiet'>{number} {'concept' if len(found) == 1 else 'concepts'}</p>")
        concept_list(
            [_row(shown, concept) for concept in found[:MOST_FOUND]],
            label=f"Concepts found for {text}",
            key=_FOUND,
            on_pick=lambda: on_concept(st.session_state[_FOUND]["picked"]),
        )
    else:
        named = len(shown.named.names) + len(shown.named.others)
        only = "" if named else " No concept of this study has a name."
        st.html(
            f"<p class='cg-sentence'>Nothing fits.{only} Search for a part of a name, an "
            "attribute such as colour=purple, an id such as L7/609, a layer such as L7 or an "
            "index such as 609.</p>"
        )
    st.button("Close the search", on_click=lambda: graph_query.change(find=""), type="tertiary")


def _row(shown: Shown, concept: ConceptId) -> ConceptRow:
    name = shown.of.names.get(concept)
    row = shown.of.graph.concept_row(concept)
    note = f"active in {words.percent(shown.of.prevalence[row])}"
    if name is not None:
        note += f" · {name.attribute} ‘{name.value}’, correlation {words.fraction(name.strength)}"
    return ConceptRow(
        id=str(concept),
        name=shown.looks.name_of(concept),
        image=shown.looks.image_of(concept),
        note=note,
        weight=0.0,
        text="",
        share=None,
        active=True,
    )
