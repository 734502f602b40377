"""What can be taken away from the Graph page: the view or the whole graph, and a link."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

from cgraph.graph_export import FORMATS, export, part_tables, whole_tables
from cgraph.ui import graph_query, words
from cgraph.ui.graph_facts import Exported, Shown

LARGE = 300_000
"""From so many edges on, the command line is recommended for the whole graph."""

_WHAT = "graph.export-what"
_FORMAT = "graph.export-format"
_VIEW, _WHOLE = "this view", "the whole graph"


def graph_downloads(shown: Shown, exported: Exported | None) -> None:
    """Offer the view, or the whole graph, in every format.

    Parameters
    ----------
    shown : Shown
    exported : Exported or None
        What the view holds.
    """
    with st.popover("Download", key="graph.downloads"):
        choices = [_VIEW, _WHOLE] if exported else [_WHOLE]
        what = st.radio("What", choices, key=_WHAT, horizontal=True)
        kind = st.selectbox(
            "Format", list(FORMATS), format_func=lambda key: FORMATS[key].label, key=_FORMAT
        )
        chosen = FORMATS[kind]
        groups = shown.selection.pins.labels
        view = exported if what == _VIEW else None

        def file() -> bytes:
            if view is not None:
                return b"".join(export(part_tables(shown.of, view.part(), groups), kind))
            return b"".join(export(whole_tables(shown.of, shown.graph), kind))

        # Files are made when they are asked for, as on the Trace page.
        st.download_button(
            f"Save as {chosen.label}",
            file,
            file_name=(view.name if view else shown.file_name("whole")) + chosen.suffix,
            mime=chosen.mime,
            on_click="ignore",
            width="stretch",
        )
        st.caption(words.plain(_about(shown, view)))


def _about(shown: Shown, exported: Exported | None) -> str:
    if exported is not None:
        return f"It holds {exported.what}. The figure is saved above it, as SVG or PNG."
    kept = " that the filters keep" if shown.query.wanted.changed else ""
    text = (
        f"It holds all {shown.graph.n_concepts():,} concepts and {shown.graph.n_edges:,} edges"
        f"{kept}."
    )
    if shown.graph.n_edges >= LARGE:
        text += (
            " That is a large file, and takes some seconds to make; `cgraph graph "
            f"{shown.study.path.name} --format parquet --out graph.parquet` writes it without a "
            "browser."
        )
    return text


def graph_link(shown: Shown) -> None:
    """Show the link that opens this view on any server that has the study."""
    query = shown.selection.to_query() | graph_query.to_query(shown.query)
    query["view"] = shown.view
    if query.get("image", "").startswith("upload:"):
        del query["image"]  # an upload stays on this machine
    address = (st.context.url or "").split("?")[0]
    with st.popover("Link to this view", key="graph.link", type="tertiary"):
        st.code(f"{address}?{urlencode(query)}", language=None, wrap_lines=True)
        st.caption("It opens view, filters, selection and pins as they are shown here.")
