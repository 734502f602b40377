"""What is set by hand: pills of a layer, rule, picture; undo, reset, save, load, compare."""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import Any

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.counterfactual import Kind, default_rule
from cgraph.edits import (
    MOST_DRAWS,
    PLAIN_RULES,
    PROBABILITIES,
    REFITTED_RULE,
    RULES,
    Edit,
)
from cgraph.errors import CgraphError
from cgraph.rollout import usual_number
from cgraph.study import Study
from cgraph.study_graph import StudyGraph
from cgraph.ui import edit_link, state, words
from cgraph.ui.answers import Question
from cgraph.ui.changed_drawing import nearly_on
from cgraph.ui.edit_link import EditView
from cgraph.ui.terms import term
from cgraph.ui.views.edit_files import PROBLEM, called, edit_files
from cgraph.ui.views.picture_controls import picture_controls

N_NEAR = 6
N_FOUND = 10
"""Silent concepts of a layer that are offered, and most that a search finds."""

AUTOMATIC = 0
"""Stands for no start layer in the box; a box that holds None shows nothing as chosen."""

RULE_NAMES = {
    "max": "max: each concept's own threshold",
    "top-k": "top-k: the k most probable",
    "sample": "sample: drawn at random, many times",
    "probabilities": "probabilities passed on",
    REFITTED_RULE: "refitted: probabilities passed on, by predictors fitted on them",
}

PROBABILITY_NAMES = {
    "calibrated": "calibrated on the tune images",
    "prior": "balanced fit, intercept moved to the prevalence",
    "balanced": "balanced fit as it is: lights up hundreds",
}

_SET = "cf.set"
_LAYER = "cf.layer"
_PILLS = "cf.pills"
_FIND = "cf.find"


def edit_controls(asking: Question, view: EditView, layer: int) -> None:
    """Show what can be set.

    Parameters
    ----------
    asking : Question
    view : EditView
        Resolved: its edit is there.
    layer : int
        The layer whose concepts are offered.
    """
    if problem := st.session_state.pop(PROBLEM, None):
        st.error(words.plain(problem))
    with st.container(key="cf-controls", border=True):
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key="cf-set-row"
        ):
            _what_is_set(asking, view)
            with st.container(horizontal=True, gap="small", key="cf-tools", width="content"):
                _tools(asking, view)
        with st.container(
            horizontal=True, vertical_alignment="top", gap="small", key="cf-layer-row"
        ):
            _layer_box(asking.study, layer)
            _pills_of_layer(asking, view, layer)
        picture_controls(asking, view, layer)


# ---- what is set


def _what_is_set(asking: Question, view: EditView) -> None:
    edit = asking.edit
    st.html(f"<p class='cf-label'>{term('set_by_hand', 'Set by hand')}</p>", width="content")
    if not len(edit):
        st.html("<p class='cg-quiet'>nothing yet</p>", width="content")
        return
    listed = [str(concept) for concept in edit]
    st.session_state[_SET] = listed
    st.pills(
        "Set by hand; choose one to leave it alone again",
        listed,
        selection_mode="multi",
        format_func=lambda text: _set_label(asking.study, edit, ConceptId.parse(text)),
        key=_SET,
        on_change=_unset,
        args=(asking.study, view),
        label_visibility="collapsed",
        width="content",
    )


def _set_label(study: Study, edit: Edit, concept: ConceptId) -> str:
    label = "on" if edit.label(concept) else "off"
    return f"{words.plain(called(study, concept))} **{label}** ✕"


def _unset(study: Study, view: EditView) -> None:
    kept = {ConceptId.parse(text) for text in st.session_state[_SET]}
    edit = view.edit or Edit()
    for concept in edit:
        if concept not in kept:
            edit = edit.with_label(concept, None)
    _set_edit(study, view, edit)


def _set_edit(study: Study, view: EditView, edit: Edit) -> None:
    settings = view.settings
    if settings.start is not None and edit.layers and edit.layers[0] < settings.start:
        settings = dataclasses.replace(settings, start=None)
    edit_link.write(study, dataclasses.replace(view, edit=edit, settings=settings))


def flip(asking: Question, view: EditView, concept: ConceptId) -> None:
    """Switch a concept to what it is not, or leave it alone if it was set by hand; a callback."""
    edit = view.edit or Edit()
    wanted = None if edit.label(concept) is not None else not is_on(asking, concept)
    try:
        changed = edit.with_label(concept, wanted)
    except CgraphError as error:
        st.session_state[PROBLEM] = str(error)
        return
    _set_edit(asking.study, view, changed)


def is_on(asking: Question, concept: ConceptId) -> bool:
    """Return whether a concept is active after the edit, or as the image has it."""
    if asking.graph.states.has_layer(concept.layer):
        return asking.graph.change(concept).kind in ("appeared", "unchanged")
    return concept in asking.given[concept.layer - 1]


# ---- the concepts of one layer


def _layer_box(study: Study, layer: int) -> None:
    st.session_state[_LAYER] = layer
    st.selectbox(
        "Layer",
        list(range(1, study.n_layers + 1)),
        format_func=lambda number: f"Layer {number}",
        key=_LAYER,
        on_change=_layer_chosen,
        args=(study,),
        width=118,
        label_visibility="collapsed",
    )


def _layer_chosen(study: Study) -> None:
    state.change(study, layer=st.session_state[_LAYER], concept=None)


def _pills_of_layer(asking: Question, view: EditView, layer: int) -> None:
    options, on = _offered(asking, layer)
    with st.container(key="cf-pills", gap="small"):
        if options:
            key = f"{_PILLS}.{layer}"
            st.session_state[key] = [str(concept) for concept in options if concept in on]
            st.pills(
                f"Concepts of layer {layer}; chosen ones are active after the edit",
                [str(concept) for concept in options],
                selection_mode="multi",
                format_func=lambda text: words.plain(called(asking.study, ConceptId.parse(text))),
                key=key,
                on_change=_pills_changed,
                args=(asking, view, key, options, on),
                label_visibility="collapsed",
            )
    st.text_input(
        "Find a concept of the layer",
        key=_FIND,
        placeholder="Find by name or id",
        label_visibility="collapsed",
        width=170,
    )


def _offered(asking: Question, layer: int) -> tuple[list[ConceptId], set[ConceptId]]:
    """Return the concepts that pills are shown for, and those of them that are on."""
    answer = asking.graph
    if answer.states.has_layer(layer):
        kinds: tuple[Kind, ...] = ("unchanged", "appeared")
        active = [c.concept for kind in kinds for c in answer.changes(layer, kind)]
        gone = [c.concept for c in answer.changes(layer, "vanished")]
    else:
        active, gone = list(asking.given[layer - 1]), []
    if layer > answer.states.first:
        near = [change.concept for change in nearly_on(answer, layer, N_NEAR)]
    else:
        near = _most_frequent(asking.study, layer, {*active, *gone})
    by_hand = list(asking.edit.of_layer(layer))
    found = _search(asking.study, layer, st.session_state.get(_FIND, ""))
    options = list(dict.fromkeys([*sorted(active), *by_hand, *gone, *found, *near]))
    return options, set(active)


def _most_frequent(study: Study, layer: int, others: set[ConceptId]) -> list[ConceptId]:
    """Return the most frequent concepts of a layer but some."""
    order = np.argsort(-study.graph.column(layer, "n_train"), kind="stable")
    ranked = (ConceptId(layer, int(index)) for index in order)
    return list(islice((concept for concept in ranked if concept not in others), N_NEAR))


def _search(study: Study, layer: int, text: str) -> list[ConceptId]:
    """Return the concepts of a layer that fit a text best, as the Graph page finds them."""
    if not text.strip():
        return []
    found = StudyGraph(study).named.search(f"L{layer} {text}")
    return [concept for concept in found if concept.layer == layer][:N_FOUND]


def _pills_changed(
    asking: Question, view: EditView, key: str, options: list[ConceptId], on: set[ConceptId]
) -> None:
    chosen = {ConceptId.parse(text) for text in st.session_state[key]}
    for concept in options:
        if (concept in chosen) != (concept in on):
            flip(asking, view, concept)
            return


# ---- tools


def _tools(asking: Question, view: EditView) -> None:
    study = asking.study
    st.button(
        "Undo",
        on_click=edit_link.undo,
        args=(study,),
        disabled=not edit_link.can_undo(study),
        key="cf.undo",
    )
    st.button(
        "Reset",
        on_click=_reset,
        args=(study, view),
        disabled=not len(asking.edit) and view.redraw is None,
        key="cf.reset",
        help="Set nothing by hand",
    )
    with st.popover(f"Rule: {asking.settings.rule}", key="cf.rule-box"):
        _rule(asking, view)
    with st.popover("Save, load, compare", key="cf.files"):
        edit_files(asking, view)


def _reset(study: Study, view: EditView) -> None:
    edit_link.write(
        study,
        dataclasses.replace(
            view, edit=Edit(), redraw=None, settings=dataclasses.replace(view.settings, start=None)
        ),
    )


def _rule(asking: Question, view: EditView) -> None:
    study, settings = asking.study, asking.settings
    st.html(
        f"<p class='cg-quiet'>The {term('rule')} says how labels of a layer follow from "
        "probabilities, layer after layer. <i>Before</i> runs by the same rule, from the same "
        f"labels, with the same draws. The best rule is {term('refitted')}, where a study was "
        "measured.</p>"
    )
    rules = RULES if default_rule(study) == REFITTED_RULE else PLAIN_RULES
    # What the link leaves open is shown as it was decided.
    named = dataclasses.replace(view, settings=settings)
    _setting(study, named, "rule", st.radio, "Rule", list(rules), format_func=RULE_NAMES.get)
    if REFITTED_RULE not in rules:
        st.caption(
            "The rule refitted is there once this study was measured: "
            "`cgraph evaluate STUDY --only rollout`."
        )
    latest = asking.edit.layers[0] if asking.edit.layers else study.n_layers
    _setting(
        study,
        view,
        "start",
        st.selectbox,
        "Start layer: its labels are those of the image",
        [AUTOMATIC, *range(1, latest + 1)],
        format_func=lambda n: str(n) if n else f"the first edited layer ({asking.start})",
    )
    if settings.rule == "top-k":
        usual = usual_number(study.graph, study.n_layers)
        _number(study, view, "k", f"k (usual in the last layer: {usual})", 1,
                study.graph.n_concepts(study.n_layers), settings.k or usual)  # fmt: skip
    if settings.rule == "sample":
        _number(study, view, "n_draws", "Draws", 1, MOST_DRAWS, settings.n_draws)
        _number(study, view, "seed", "Seed", 0, 10**9, settings.seed)
    if settings.rule != REFITTED_RULE:  # which passes calibrated ones on
        _setting(
            study,
            view,
            "probability",
            st.radio,
            "Probabilities",
            list(PROBABILITIES),
            format_func=PROBABILITY_NAMES.get,
        )


def _setting(
    study: Study, view: EditView, name: str, widget: Any, label: str, options: list[Any],
    **more: Any,
) -> None:  # fmt: skip
    key = f"cf.setting.{name}"
    st.session_state[key] = getattr(view.settings, name) or AUTOMATIC
    widget(label, options, key=key, on_change=_changed, args=(study, view, name, key), **more)


def _number(
    study: Study, view: EditView, name: str, label: str, least: int, most: int, value: int
) -> None:
    key = f"cf.setting.{name}"
    st.session_state[key] = value
    st.number_input(label, least, most, key=key, on_change=_changed, args=(study, view, name, key))


def _changed(study: Study, view: EditView, name: str, key: str) -> None:
    value = st.session_state[key]
    if value is None:
        return
    if name == "start" and value == AUTOMATIC:
        value = None
    chosen = {name: value}
    if value == REFITTED_RULE:
        chosen["probability"] = "calibrated"
    try:
        settings = dataclasses.replace(view.settings, **chosen)
        settings.start_of(view.edit or Edit(), study.n_layers)
    except CgraphError as error:
        st.session_state[PROBLEM] = str(error)
        return
    edit_link.write(study, dataclasses.replace(view, settings=settings))
