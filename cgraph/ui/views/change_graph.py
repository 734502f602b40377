"""The graph with the edit in it: what appears, what vanishes, and concepts to switch by a click."""

from __future__ import annotations

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.study_graph import edge_facts
from cgraph.ui import gallery, state, words
from cgraph.ui.answers import Question
from cgraph.ui.changed_drawing import draw_changes
from cgraph.ui.components.change_graph import change_graph
from cgraph.ui.edit_link import EditView
from cgraph.ui.views.edit_controls import flip

_GRAPH = "cf.graph"
_LAYER = "layer-"


def graph_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show the graph; choosing a concept switches it."""
    title = "Empty slate" if asking.traced is None else asking.traced.title
    picture = draw_changes(
        asking.study.graph,
        asking.graph,
        asking.given,
        gallery.looks(asking.study),
        facts=edge_facts(asking.study),
        caption=f"{title} · {asking.edit.to_text() or 'nothing set by hand'} · study "
        f"{asking.study.name}",
        file_name=f"counterfactual-{asking.study.name}",
    )
    hidden = ""
    if picture.n_hidden_nodes:
        hidden = f" {words.count(picture.n_hidden_nodes, 'concept')} not drawn."
    if picture.n_hidden_edges:
        n_edges = picture.n_edges + picture.n_hidden_edges
        hidden += f" The {picture.n_edges} strongest of {n_edges:,} edges."
    st.html(
        "<p class='cg-quiet'><b>Click a concept to switch it</b>, or focus it and press Enter; "
        "once more to leave it alone. Everything after layer "
        f"{asking.start} is predicted by the graph.{hidden}</p>"
    )
    change_graph(
        picture,
        str(selected or next(iter(asking.edit), "")),
        key=_GRAPH,
        on_pick=lambda: _picked(asking, view),
    )


def _picked(asking: Question, view: EditView) -> None:
    text = st.session_state[_GRAPH]["picked"]
    if not text:
        return
    if text.startswith(_LAYER):
        state.change(asking.study, concept=None, layer=int(text.removeprefix(_LAYER)))
        return
    concept = ConceptId.parse(text)
    flip(asking, view, concept)
    state.change(asking.study, concept=concept)
