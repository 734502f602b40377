"""Figures on the page, drawn by the browser from plain data."""

from __future__ import annotations

import json
from collections.abc import Callable

import streamlit as st

from cgraph.ui.charts.figure import Figure
from cgraph.ui.components import revision_of, static_text

_SCRIPTS = ("figure_export.js", "figure_drawing.js", "figure_view.js")

_engine = st.components.v2.component(
    "cgraph_figure_engine",
    html="<i hidden></i>",
    js=f"const FIGURE_CSS = {json.dumps(static_text('figure.css'))};\n"
    + "".join(map(static_text, _SCRIPTS)),
)

_figure = st.components.v2.component(
    "cgraph_figure", html=static_text("figure.html"), js=static_text("figure.js")
)


def figure_engine() -> None:
    """Send what draws figures; once on every page that shows some, before the first."""
    _engine(key="figure.engine")


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
    _figure(
        key=key,
        data={"revision": revision_of(text), "figure": text},
        on_picked_change=on_pick or (lambda: None),
    )
