"""A histogram as plain SVG, with marks below its bars, that can be saved as picture and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from cgraph.ui.components import revision_of, static_text


@dataclass(frozen=True)
class BarMark:
    """Places on the axis that belong together: what they are, and where."""

    name: str
    places: tuple[float, ...]


_component = st.components.v2.component(
    "cgraph_bar_chart",
    html=static_text("bar_chart.html"),
    css=static_text("bar_chart.css"),
    js=static_text("figure_export.js") + static_text("bar_chart.js"),
)


def bar_chart(
    edges: Sequence[float],
    counts: Sequence[int],
    marks: Sequence[BarMark],
    *,
    title: str,
    across: str,
    up: str,
    note: str,
    csv: str,
    file_name: str,
    key: str,
) -> None:
    """Show a histogram.

    Parameters
    ----------
    edges : sequence of float
        Borders of the bars, rising.
    counts : sequence of int
        Height of each bar; one fewer than edges.
    marks : sequence of BarMark
    title, across, up, note : str
        What it shows, what the two axes are, and what stands beneath a saved figure.
    csv, file_name : str
        Its data as a file, and the name of saved files without the ending.
    key : str
    """
    _component(
        key=key,
        data={
            "revision": revision_of(*map(repr, (edges, counts, marks, title, note))),
            "edges": tuple(edges),
            "counts": tuple(counts),
            "marks": tuple(asdict(mark) for mark in marks),
            "title": title,
            "across": across,
            "up": up,
            "note": note,
            "csv": csv,
            "file": file_name,
        },
    )
