"""The layered graph of one image, or a part of the whole graph, and what is selected in it.

The picture is large and the same for every click; what is selected is small and changes. So they
are two components: Streamlit keeps the message of the first in the browser and sends the second.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cgraph.ui.components import static_text
from cgraph.ui.drawing import GraphPicture, GraphSelection

_CSS = static_text("term.css") + static_text("trace_graph.css")
GRAPH_JS = "".join(
    static_text(f"{name}.js")
    for name in ("figure_export", "edge_evidence", "outside_nodes", "graph_drawing", "trace_graph")
)
"""Script of every layered graph."""

_graph = st.components.v2.component(
    "cgraph_trace_graph", html=static_text("trace_graph.html"), css=_CSS, js=GRAPH_JS
)

_part = st.components.v2.component(
    "cgraph_part_graph", html=static_text("part_graph.html"), css=_CSS, js=GRAPH_JS
)

_selection = st.components.v2.component(
    "cgraph_trace_selection", html="<i hidden></i>", js=static_text("trace_selection.js")
)


def trace_graph(
    picture: GraphPicture, selection: GraphSelection, *, key: str, on_pick: Callable[[], None]
) -> None:
    """Show the graph.

    Parameters
    ----------
    picture : GraphPicture
    selection : GraphSelection
        What is lit.
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
    _select(picture, selection, key)


def part_graph(
    picture: GraphPicture, selection: GraphSelection, *, key: str, on_pick: Callable[[], None]
) -> None:
    """Show a part of the graph that no image stands behind; see `trace_graph`."""
    _part(
        key=key,
        data={"revision": picture.revision, "picture": picture.text},
        on_picked_change=on_pick,
    )
    _select(picture, selection, key)


def _select(picture: GraphPicture, selection: GraphSelection, key: str) -> None:
    _selection(
        key=f"{key}.selection",
        data={
            "revision": picture.revision,
            "selected": selection.id,
            "ghosts": tuple(selection.ghosts),
            "edges": tuple(selection.edges),
        },
    )
