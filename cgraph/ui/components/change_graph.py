"""The graph in which concepts are switched by hand: before and after in one drawing."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cgraph.ui.components import static_text
from cgraph.ui.components.trace_graph import GRAPH_JS
from cgraph.ui.drawing import GraphPicture

_graph = st.components.v2.component(
    "cgraph_change_graph",
    html=static_text("change_graph.html"),
    css=static_text("term.css") + static_text("trace_graph.css"),
    js=GRAPH_JS,
)

_selection = st.components.v2.component(
    "cgraph_change_selection", html="<i hidden></i>", js=static_text("trace_selection.js")
)


def change_graph(
    picture: GraphPicture, selected: str, *, key: str, on_pick: Callable[[], None]
) -> None:
    """Show the graph.

    Parameters
    ----------
    picture : GraphPicture
    selected : str
        The concept that is lit, with the edges along which the edit reached it; or nothing.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the concept or layer that was
        chosen, or an empty text when the selection was cleared.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    """
    _graph(
        key=key,
        data={"revision": picture.revision, "picture": picture.text},
        on_picked_change=on_pick,
    )
    _selection(
        key=f"{key}.selection",
        data={
            "revision": picture.revision,
            "selected": selected,
            "ghosts": (),
            "edges": (),
        },
    )
