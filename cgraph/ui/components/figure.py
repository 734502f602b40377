"""A figure on the page, drawn by the browser from plain data."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cgraph.ui.charts.figure import Figure
from cgraph.ui.components import revision_of, static_text

_component = st.components.v2.component(
    "cgraph_figure",
    html=static_text("figure.html"),
    css=static_text("figure.css"),
    js="".join(map(static_text, ("figure_export.js", "figure_drawing.js", "figure.js"))),
)


def show_figure(figure: Figure, *, key: str, on_pick: Callable[[], None] | None = None) -> None:
    """Show a figure with its downloads.

    Parameters
    ----------
    figure : Figure
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the id of the point that was
        chosen.
    on_pick : callable, optional
        Called after a choice, before the page or fragment runs again.
    """
    text = figure.to_json()
    _component(
        key=key,
        data={"revision": revision_of(text), "figure": text},
        on_picked_change=on_pick or (lambda: None),
    )
