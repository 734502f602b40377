"""The Graph page: the whole graph by layer pairs, neighbourhoods, paths and pinned concepts."""

from __future__ import annotations

import dataclasses
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.study_graph import StudyGraph
from cgraph.ui import frame, graph_query, resources, state, words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.graph_facts import Exported, Shown, filter_words
from cgraph.ui.graph_query import AROUND, PAIR, PATHS, PINNED, VIEWS
from cgraph.ui.resources import StudyEntry
from cgraph.ui.terms import term
from cgraph.ui.views.around import around, neighbourhood_of
from cgraph.ui.views.graph_filters import filters, search_box, search_results
from cgraph.ui.views.graph_panel import graph_panel
from cgraph.ui.views.graph_take_away import graph_downloads, graph_link
from cgraph.ui.views.layer_pair import layer_pair
from cgraph.ui.views.path_finder import path_finder
from cgraph.ui.views.scratch import scratch

_VIEW = "graph.view"
_TRACE = "graph.trace"
_PROBLEM = "graph.problem"
_LAYER = "layer-"

_INTRODUCTIONS = {
    PAIR: "How the concepts of one layer predict those of the next: each cell sums the weights of "
    "some {parents} and their {children}. Choose a cell to list its edges.",
    AROUND: "What leads to a concept and where it leads on. A {beam} keeps the concepts with the "
    "strongest paths in each layer; choose one to read about it, a layer to see its matrix.",
    PATHS: "The strongest paths from some concepts to others, by the {path_strength}. Every edge "
    "is followed, so that “no path” is an answer.",
    PINNED: "The concepts you have {pinned}, with the edges among them. They stay in the link and "
    "on every page.",
}


@st.cache_resource(max_entries=8, show_spinner=False)
def study_graph(entry: StudyEntry) -> StudyGraph:
    """Return the graph of a study, with its names and figures, once for everybody."""
    return StudyGraph(resources.open_study(entry))


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    if image := st.session_state.pop(_TRACE, None):
        chosen = dataclasses.replace(opened.selection, image=image)
        st.switch_page("app.py", query_params=chosen.to_query())
    asked, remarks = graph_query.read()
    try:
        of = study_graph(opened.entry)
        asked, more = graph_query.check(asked, of.graph)
        asked, not_measured = graph_query.check_wanted(asked, of)
        more += not_measured
        shown = Shown(of, opened.selection, asked, of.filtered(asked.wanted))
    except CgraphError as error:
        st.error(words.plain(f"The graph cannot be shown. {error}"))
        return
    if remarks + more:
        st.warning("\n\n".join(map(words.plain, remarks + more)))
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(words.plain(problem))
    if of.graph.n_layers < 2:
        st.info("This study has one layer, so there are no edges to look at.")
        return
    with st.container(key="cg-graph-head", horizontal=True, gap="medium"):
        _about(shown)
        tools = st.container(
            key="cg-graph-tools", horizontal=True, vertical_alignment="bottom", gap="small",
            width="content",
        )  # fmt: skip
    with st.container(
        key="cg-graph-bar", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        _view_switch(shown)
        filters(shown)
    left, right = st.columns([0.74, 0.26], gap="medium")
    with left, st.container(key="cg-graph-view"):
        exported = _view(shown)
    with right, st.container(key="cg-panel"):
        if shown.query.find:
            search_results(shown, on_concept=lambda chosen: _choose(shown, chosen, found=True))
        else:
            graph_panel(
                shown,
                on_concept=lambda chosen: _choose(shown, chosen),
                on_image=_trace,
                on_change=lambda changes: _change(shown, changes),
            )
            with st.container(key="cg-onward", horizontal=True, gap="small"):
                frame.onward_links(
                    dataclasses.replace(opened.selection, concept=shown.concept), here="Graph"
                )
                graph_link(shown)
    with tools:
        search_box(shown)
        graph_downloads(shown, exported)


def _about(shown: Shown) -> None:
    graph, kept = shown.of.graph, shown.graph
    facts = [
        term("layer", words.count(graph.n_layers, "layer")),
        f"{graph.n_concepts():,} {term('concept', 'concepts')}",
        f"{graph.n_edges:,} edges",
    ]
    if said := filter_words(shown.query.wanted):
        facts.append(f"<b>{kept.n_edges:,} kept</b> by the filters: {escape(', '.join(said))}")
    model = str(shown.study.manifest.model["id"])
    st.html(
        f"<p class='cg-eyebrow'>study {escape(shown.study.name)} · model {escape(model)}</p>"
        f"<h2 class='cg-title'>Which concepts lead to which</h2>"
        f"<p class='cg-facts'>{' · '.join(facts)}</p>"
    )


def _view_switch(shown: Shown) -> None:
    n_pinned = len(shown.selection.pins)
    st.session_state[_VIEW] = shown.view
    st.segmented_control(
        "View",
        list(VIEWS),
        format_func=lambda view: (
            f"{VIEWS[view]} ({n_pinned})" if view == PINNED and n_pinned else VIEWS[view]
        ),
        key=_VIEW,
        required=True,
        wrap=True,
        on_change=lambda: _change(shown, {"view": st.session_state[_VIEW]}),
        label_visibility="collapsed",
    )


def _view(shown: Shown) -> Exported | None:
    """Draw the view on show; return what it holds, if anything."""
    named = {key: term(key) for key in ("beam", "path_strength", "pinned")}
    named |= {"parents": term("parent", "parents"), "children": term("child", "children")}
    st.html(f"<p class='cg-quiet'>{_INTRODUCTIONS[shown.view].format(**named)}</p>")

    def choose(chosen: str | None) -> None:
        _choose(shown, chosen)

    def change(changes: dict[str, object]) -> None:
        _change(shown, changes)

    if shown.view == PAIR:
        return layer_pair(shown, on_concept=choose, on_change=change)
    if shown.view == AROUND:
        return around(shown, on_concept=choose, on_change=change)
    if shown.view == PATHS:
        return path_finder(shown, on_concept=choose, on_change=change)
    return scratch(shown, on_concept=choose, on_change=change)


def _choose(shown: Shown, text: str | None, *, found: bool = False) -> None:
    """Select a concept, open the matrix of a layer such as ``layer-7``, or clear; a callback."""
    if text is None:
        return
    if text.startswith(_LAYER):
        layer = max(2, int(text.removeprefix(_LAYER)))
        graph_query.change(view=PAIR, pair=layer, cell=None)
        return
    concept = ConceptId.parse(text) if text else None
    # What the page chose by itself until now is written down, so that it stays as it is.
    changes: dict[str, Any] = {"view": shown.view}
    if shown.view == PAIR:
        changes["pair"] = shown.pair
        if found and concept is not None and concept.layer not in (shown.pair - 1, shown.pair):
            changes |= {"pair": max(2, concept.layer), "cell": None}
    if shown.view == AROUND:
        drawn = neighbourhood_of(shown)
        inside = drawn is not None and (concept is None or concept in drawn.strength)
        changes["centre"] = drawn.centre if drawn and inside and not found else None
        concept = concept or changes["centre"]
    if shown.view == PATHS:
        changes |= {"sources": shown.endpoints[0], "targets": shown.endpoints[1]}
    if found:
        changes["find"] = ""
    graph_query.change(state.changed(shown.study, concept=concept), **changes)


def _change(shown: Shown, changes: dict[str, Any]) -> None:
    """Change what is shown, pins included; a callback."""
    wanted = dict(changes)
    selected: dict[str, Any] = {}
    pins = shown.selection.pins
    try:
        if "pin" in wanted:
            pins = pins.pin(*wanted.pop("pin"))
        if "unpin" in wanted:
            pins = pins.unpin(wanted.pop("unpin"))
        if pins != shown.selection.pins:
            selected["pins"] = pins
            wanted.setdefault("view", shown.view)
        if "concept" in wanted:
            selected["concept"] = wanted.pop("concept")
        graph_query.change(state.changed(shown.study, **selected), **wanted)
    except CgraphError as error:
        st.session_state[_PROBLEM] = str(error)


def _trace(image_id: str | None) -> None:
    """Go to the Trace page with an image; a callback, so the page changes in the run after it."""
    if image_id:
        st.session_state[_TRACE] = image_id
