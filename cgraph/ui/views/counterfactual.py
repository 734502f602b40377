"""The Counterfactual page: concepts switched by hand, and what follows."""

from __future__ import annotations

import dataclasses
from html import escape

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.rollout import usual_number
from cgraph.study_graph import study_leakage
from cgraph.ui import edit_link, frame, state, words
from cgraph.ui.answers import MODEL_PROBLEM, Question, question
from cgraph.ui.components import static_text
from cgraph.ui.edit_link import VIEWS, EditView
from cgraph.ui.edit_proposal import first_layer, proposed
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.outside_words import rollout_sentence
from cgraph.ui.terms import MEASURED, term
from cgraph.ui.traced import TracedImage
from cgraph.ui.views.change_graph import graph_view
from cgraph.ui.views.change_panel import change_panel
from cgraph.ui.views.change_tables import changes_view, states_view
from cgraph.ui.views.edit_controls import edit_controls, flip
from cgraph.ui.views.image_choice import image_choice
from cgraph.ui.views.many_scenes import many_scenes_view
from cgraph.ui.views.output_change import output_view
from cgraph.ui.views.take_away import link
from cgraph.ui.views.trace import image_on_show
from cgraph.ui.views.two_edits import two_edits_view
from cgraph.ui.views.unlike import unlike_notice

_VIEW = "cf.view"

DRIFTED = 1.7
"""Times the usual number of active concepts from which it is said that the graph drifts."""

_SHOWN = {
    "changes": changes_view,
    "states": states_view,
    "graph": graph_view,
    "output": output_view,
    "two": two_edits_view,
    "often": many_scenes_view,
}


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    st.html(f"<style>{static_text('counterfactual.css')}</style>")
    view, remarks = edit_link.read(opened.study)
    if remarks:
        st.warning("\n\n".join(map(words.plain, remarks)))
    image = state.read()[0].image
    try:
        traced = image_on_show(opened)
    except CgraphError as error:
        st.error(words.plain(f"The image cannot be traced. {error}"))
        return
    if view.slate and state.read()[0].image != image:  # somebody brought a picture of their own
        view = dataclasses.replace(view, slate=False)
        edit_link.write(opened.study, view)
    if not view.slate:
        unlike_notice(opened, traced)
    with st.container(key="cg-top", horizontal=True, gap="medium"):
        if view.slate:
            st.html("<div class='cf-slate' role='img' aria-label='An empty slate'>∅</div>",
                    width="content")  # fmt: skip
        else:
            alternative = escape(f"The image as it is: {traced.title}", quote=True)
            kind = "cg-picture" if traced.has_large_picture else "cg-picture cg-small"
            st.html(f"<img class='{kind}' src='{traced.picture}' alt='{alternative}'>",
                    width="content")  # fmt: skip
        with st.container(key="cg-about"):
            _about(opened, traced, view)
            image_choice(opened.study, traced, on_image=lambda chosen: _go(opened, chosen))
    _explore(opened, traced)
    if shelf.find(opened.entry) is None and not _has_no_model(opened):
        _wait_for_model(opened)
    shelf.prepare(opened.entry, opened.study)


def _about(opened: OpenStudy, traced: TracedImage, view: EditView) -> None:
    title = "Empty slate" if view.slate else traced.title
    details = ("nothing is active unless you switch it on",) if view.slate else traced.details
    about = " · ".join(escape(text) for text in (f"study {opened.study.name}", *details))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="cf-heading"):
        st.html(
            f"<p class='cg-eyebrow'>{about}</p>"
            f"<h2 class='cg-title' title='{escape(title, quote=True)}'>{escape(title)}</h2>"
            f"<p class='cg-facts'>Switch {term('concept', 'concepts')} on or off and see what "
            "follows in later layers.</p>"
        )
        st.button(
            "Back to the image" if view.slate else "Start from an empty slate",
            on_click=_set_slate,
            args=(opened, not view.slate),
            type="tertiary",
            key="cf.slate",
        )


def _set_slate(opened: OpenStudy, slate: bool) -> None:
    view, _ = edit_link.read(opened.study)
    changes = {"slate": slate, "redraw": None} if slate else {"slate": slate}
    edit_link.write(opened.study, dataclasses.replace(view, **changes))


def _go(opened: OpenStudy, image_id: str) -> None:
    view, _ = edit_link.read(opened.study)
    if view.slate:
        edit_link.write(opened.study, dataclasses.replace(view, slate=False))
    state.change(opened.study, image=image_id, concept=None)


# ---- what runs again when something is switched


@st.fragment
def _explore(opened: OpenStudy, traced: TracedImage) -> None:
    shelf.note_request()
    asked, _ = state.check(state.read()[0], opened.study)
    view, _ = edit_link.read(opened.study)
    if asked.image is not None and asked.image != traced.image_id:
        st.rerun()
    if view.edit is None:
        view = proposed(opened.study, None if view.slate else traced, view)
    layer = asked.layer or first_layer(opened.study, view)
    asking = question(opened, None if view.slate else traced, view, layer)
    selection = dataclasses.replace(asked, image=None if view.slate else traced.image_id)
    edit_controls(asking, view, layer)
    try:
        asking.graph  # noqa: B018
    except CgraphError as error:
        st.error(words.plain(f"The graph cannot answer. {error}"))
        return
    st.html(
        f"<p class='cf-summary' role='status'>{_summary(asking, view)}</p>{_drift(asking)}"
        f"{_outside(asking)}"
    )
    _choose_view(opened, view)
    left, right = st.columns([0.74, 0.26], gap="medium")
    with left, st.container(key="cf-main"):
        _SHOWN[view.view](asking, view, selection.concept)
    with right, st.container(key="cg-panel"):
        change_panel(
            asking,
            selection.concept,
            on_flip=lambda concept: flip(asking, view, concept),
            on_concept=lambda chosen: _choose(opened, chosen),
        )
        with st.container(key="cg-onward", horizontal=True, gap="small"):
            frame.onward_links(selection, "Counterfactual")
            link(selection, view.to_query(opened.study.name))


def _choose_view(opened: OpenStudy, view: EditView) -> None:
    st.session_state[_VIEW] = view.view
    st.segmented_control(
        "What to look at",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        key=_VIEW,
        on_change=_view_chosen,
        args=(opened, view),
        label_visibility="collapsed",
    )


def _view_chosen(opened: OpenStudy, view: EditView) -> None:
    chosen = st.session_state[_VIEW] or view.view
    written, _ = edit_link.read(opened.study)  # without what the page proposes by itself
    edit_link.write(opened.study, dataclasses.replace(written, view=chosen), remember=False)


def _choose(opened: OpenStudy, text: str | None) -> None:
    """Select a concept for the panel; a callback."""
    if text:
        state.change(opened.study, concept=ConceptId.parse(text))


def _summary(asking: Question, view: EditView) -> str:
    """Say in a sentence what follows from the edit."""
    if not len(asking.edit):
        return (
            "Nothing is set by hand, so before and after are the same. Switch a concept off or on "
            "above, or click one in the graph."
        )
    answer, n_layers = asking.graph, asking.study.n_layers
    later = range(min(asking.edit.layers) + 1, n_layers + 1)
    if not later:
        return "The edit is made in the last layer: nothing comes after it."
    n_new, n_gone = (
        sum(not c.by_hand for layer in later for c in answer.changes(layer, kind))
        for kind in ("appeared", "vanished")
    )
    where = f"layers {later[0]} to {n_layers}" if len(later) > 1 else f"layer {n_layers}"
    if n_new + n_gone:
        text = (
            f"The graph {term('predicted', 'predicts')} that in {where} <b>{n_new}</b> "
            f"{'appears' if n_new == 1 else 'appear'} and <b>{n_gone}</b> "
            f"{'vanishes' if n_gone == 1 else 'vanish'}."
        )
    else:
        text = (
            f"The graph {term('predicted', 'predicts')} that in {where} nothing appears or "
            "vanishes: probabilities move, and no label with them."
        )
    measured = asking.network
    if measured.answer is None:
        return text
    found = [asking.agreement(answer, measured.answer, layer) for layer in later]
    n_second, n_shared = sum(a.n_second for a in found), sum(a.n_shared for a in found)
    both = f"; the graph has <b>{n_shared}</b> of these" if n_second else ""
    return f"{text} In the network <b>{n_second}</b> such changes were {term('measured')}{both}."


def _outside(asking: Question) -> str:
    """Say how far what the graph predicts depends on what it cannot see, where that is known."""
    said = rollout_sentence(study_leakage(asking.study), asking.start)
    return f"<p class='cg-quiet'>{said} {MEASURED}</p>" if said and len(asking.edit) else ""


def _drift(asking: Question) -> str:
    """Say so when the graph, running freely, puts on many more concepts than an image has."""
    study = asking.study
    before = asking.graph.states.of_layer(study.n_layers).before[0]
    usual = usual_number(study.graph, study.n_layers)
    if before.sum() < DRIFTED * usual:
        return ""
    other = "" if asking.settings.rule == "top-k" else " The rule top-k keeps their number."
    return (
        f"<p class='cg-quiet'>Read it with care: without the edit, too, this {term('rule')} makes "
        f"{before.sum()} concepts active in layer {study.n_layers}, where {usual} are usual, "
        f"because the graph runs on its own predictions from layer {asking.start}.{other}</p>"
    )


# ---- the model, which loads while nobody clicks


def _has_no_model(opened: OpenStudy) -> bool:
    """Return whether waiting is in vain: the model is not there, or could not be loaded."""
    from cgraph import tracing

    if opened.entry in st.session_state.get(MODEL_PROBLEM, {}):
        return True
    try:
        tracing.model_folder(opened.study)
    except CgraphError:
        return True
    return False


@st.fragment(run_every=1.0)
def _wait_for_model(opened: OpenStudy) -> None:
    """Draw the page again when the model is there; say nothing meanwhile.

    A run of the whole page returns at once, so that the page shows without a model.
    """
    context = get_script_run_ctx()
    if context is None or not context.fragment_ids_this_run or shelf.is_preparing:
        return
    if shelf.find(opened.entry) is None:
        try:
            shelf.get(opened.entry, opened.study)
        except CgraphError as error:
            st.session_state.setdefault(MODEL_PROBLEM, {})[opened.entry] = str(error)
    st.rerun()
