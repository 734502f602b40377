"""What can be taken away: the trace as files, and a link that opens the same view."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

import streamlit as st

from cgraph import trace_export
from cgraph.ui import state, uploads
from cgraph.ui.traced import TracedImage


def downloads(images: Sequence[TracedImage]) -> None:
    """Offer traces as JSON and CSV.

    Parameters
    ----------
    images : sequence of TracedImage
        The image on show, and those beside it.
    """
    first = images[0]
    traces = [image.trace for image in images]
    with st.popover("Download", key="take.downloads"):
        # Files are made when they are asked for: one kept ready would be gone, and complained
        # about by the browser, as soon as another image is on show.
        st.download_button(
            "Trace as JSON",
            lambda: first.json,
            file_name=f"trace-{first.file_stem}.json",
            mime="application/json",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            "Concepts as CSV",
            lambda: trace_export.concepts_csv(traces, first.name).encode(),
            file_name=f"concepts-{first.file_stem}.csv",
            mime="text/csv",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            "Edges as CSV",
            lambda: trace_export.edges_csv(traces, first.name, first.edges).encode(),
            file_name=f"edges-{first.file_stem}.csv",
            mime="text/csv",
            on_click="ignore",
            width="stretch",
        )
        note = "The figure is saved as SVG or PNG above the graph."
        if len(images) > 1:
            note += " The CSV files hold the images side by side, too."
        st.caption(note)


def csv_button(label: str, make: Callable[[], bytes], name: str, *, key: str) -> None:
    """Offer a table as CSV, made when it is asked for.

    Parameters
    ----------
    label : str
    make : callable
        Returns the file.
    name : str
        Its name without the ending.
    key : str
        Key of the button in the session.
    """
    st.download_button(
        label,
        make,
        file_name=f"{name}.csv",
        mime="text/csv",
        on_click="ignore",
        type="tertiary",
        key=key,
    )


def link(selection: state.Selection, more: Mapping[str, str] | None = None) -> None:
    """Show the link that opens this view on any server that has the study.

    Parameters
    ----------
    selection : Selection
        Everything that is on show.
    more : mapping of str to str, optional
        Query parameters of this page alone.
    """
    stored = [image for image in selection.beside if not _is_upload(image)]
    image = None if _is_upload(selection.image) else selection.image
    shared = dataclasses.replace(selection, image=image, beside=tuple(stored))
    address = (st.context.url or "").split("?")[0]
    with st.popover("Link to this view", key="take.link", type="tertiary"):
        st.code(
            f"{address}?{urlencode({**shared.to_query(), **(more or {})})}",
            language=None,
            wrap_lines=True,
        )
        if image != selection.image or len(stored) < len(selection.beside):
            st.caption(
                "Uploaded images stay on this machine and are no part of the link: whoever opens "
                "it sees the study's first example in their place."
            )
        else:
            st.caption("It opens study, image, layer and concept as they are shown here.")


def _is_upload(image_id: str | None) -> bool:
    return image_id is not None and image_id.startswith(uploads.PREFIX)
