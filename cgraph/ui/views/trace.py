"""The Trace page: one image, its active concepts in every layer, and the paths between them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from html import escape

import streamlit as st
from PIL.Image import Image

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.decoding import load_image
from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import resources, state, words
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.components.trace_graph import trace_graph
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.thumbnails import picture_uri, thumbnail_uri
from cgraph.ui.traced import TracedImage, held_out_explained, image_title
from cgraph.ui.views.concept_panel import concept_panel

_STRIP_LENGTH = 14
_STRIP_PX = 80
_PICTURE_PX = 480

_INTRODUCTION = (
    "Each picture is a concept (a direction in the class token) at its strongest in training. "
    "Lines lead to concepts that it helps to predict."
)

_PART_NAMES = {TRAIN: "training", TUNE: "tuning", HELD_OUT: "held-out"}

_GRAPH = "trace.graph"
_STRIP = "trace.strip"
_PAGE = "trace.page"
_UPLOADER = "trace.uploader"
_PENDING = "trace.pending"
_UPLOAD = "trace.upload"
_PROBLEM = "trace.problem"
_CLEARED = "trace.cleared"
_N_UPLOADS = "trace.n_uploads"


@dataclass(frozen=True)
class Upload:
    """An image that somebody brought, and the study that it was traced in."""

    study: str
    name: str
    digest: str
    image: Image


@st.cache_resource(max_entries=64, show_spinner=False)
def _stored_image(entry: StudyEntry, row: int) -> TracedImage:
    from cgraph import tracing

    study = resources.open_study(entry)
    title, details = image_title(study, row)
    details = (f"{_PART_NAMES[str(study.split[row])]} image", *details)
    trace = tracing.trace_row(study, row)
    return TracedImage(study, trace, title, details, thumbnail_uri(study, row), row)


@st.cache_resource(
    max_entries=32, show_spinner="Tracing the image … The first one waits for the model to load."
)
def _uploaded_image(entry: StudyEntry, name: str, digest: str, _image: Image) -> TracedImage:
    from cgraph import tracing

    study = resources.open_study(entry)
    trace = tracing.trace_image(study, shelf.get(entry, study), _image, name)
    size = f"{_image.width} × {_image.height} pixels"
    picture = picture_uri(_image, _PICTURE_PX)
    return TracedImage(study, trace, name, ("uploaded image", size), picture, None)


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    try:
        traced = _traced(opened)
    except CgraphError as error:
        st.error(words.plain(f"The image cannot be traced. {error}"))
        return
    with st.container(key="cg-top", horizontal=True, gap="medium"):
        alternative = escape(f"The traced image: {traced.title}", quote=True)
        # A stored thumbnail is small; enlarged to the size of an upload it would look broken.
        kind = "cg-picture" if traced.row is None else "cg-picture cg-small"
        st.html(f"<img class='{kind}' src='{traced.picture}' alt='{alternative}'>", width="content")
        with st.container(key="cg-about"):
            _about(opened.study, traced)
            _choices(opened.study, traced)
    _explore(opened.study, traced)
    shelf.prepare(opened.entry, opened.study)


# ---- which image


def _traced(opened: OpenStudy) -> TracedImage:
    """Trace what was just uploaded, or what the link asks for."""
    problem = st.session_state.pop(_PROBLEM, None)
    if problem is not None:
        st.error(words.plain(problem))
    pending: Upload | None = st.session_state.pop(_PENDING, None)
    if pending is not None:
        try:
            traced = _uploaded_image(opened.entry, pending.name, pending.digest, pending.image)
        except CgraphError as error:
            st.error(words.plain(f"The image {pending.name!r} was not traced. {error}"))
        else:
            st.session_state[_UPLOAD] = replace(pending, study=opened.study.name)
            st.session_state[_CLEARED] = False
            st.session_state[_N_UPLOADS] = st.session_state.get(_N_UPLOADS, 0) + 1
            state.change(opened.study, image=None, concept=None)
            return traced
    upload = _upload_in(opened.study)
    wanted = opened.selection.image
    if wanted is None and upload is not None:
        try:
            return _uploaded_image(opened.entry, upload.name, upload.digest, upload.image)
        except CgraphError as error:  # the study was built anew, or the model has gone
            del st.session_state[_UPLOAD]
            st.error(words.plain(f"The image {upload.name!r} was not traced again. {error}"))
    rows = _browsable(opened.study)
    row = opened.study.row(wanted) if wanted is not None else rows[0]
    return _stored_image(opened.entry, row)


def _upload_in(study: Study) -> Upload | None:
    """Return the image that was last uploaded and traced in a study."""
    upload: Upload | None = st.session_state.get(_UPLOAD)
    return upload if upload is not None and upload.study == study.name else None


def _browsable(study: Study) -> list[int]:
    """Return the held-out images, or all of a study that keeps none apart."""
    return study.rows(HELD_OUT).tolist() or list(range(len(study.image_ids)))


def _uploaded() -> None:
    file = st.session_state[_UPLOADER]
    if file is None:
        return
    data = file.getvalue()
    try:
        image = load_image(data, file.name)
    except CgraphError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    digest = hashlib.sha256(data).hexdigest()
    st.session_state[_PENDING] = Upload("", file.name, digest, image)


# ---- what is said of it, and which others there are


def _about(study: Study, traced: TracedImage) -> None:
    trace, graph = traced.trace, traced.graph
    concepts = words.count(graph.n_nodes + graph.n_hidden_nodes, "active concept")
    if graph.n_hidden_nodes:
        concepts += f", the {graph.n_nodes} strongest shown"
    edges = f"{words.count(graph.n_edges, 'edge')} among them"
    if graph.n_hidden_edges:
        edges = f"the {graph.n_edges} strongest of {graph.n_edges + graph.n_hidden_edges:,} edges"
    n_pairs = len(traced.trace.layers) - 1
    n_bare = n_pairs - len({edge.child.layer for edge in traced.trace.edges})
    if n_bare:
        edges += f", none between {n_bare} of {n_pairs} pairs of layers"
    facts = [words.count(study.n_layers, "layer"), concepts, edges]
    if trace.explained is not None:
        facts.append(f"codes explain {words.span(list(trace.explained))} of its tokens")
    elif known := held_out_explained(study):
        facts.append(f"codes explain {words.span(list(known))} of held-out tokens")
    about = " · ".join(escape(text) for text in (f"study {study.name}", *traced.details))
    st.html(
        f"<p class='cg-eyebrow'>{about}</p>"
        f"<h2 class='cg-title' title='{escape(traced.title, quote=True)}'>"
        f"{escape(traced.title)}</h2>"
        f"<p class='cg-facts'>{' · '.join(facts)}</p>"
    )


def _choices(study: Study, traced: TracedImage) -> None:
    rows = _browsable(study)
    n_pages = -(-len(rows) // _STRIP_LENGTH)
    place = rows.index(traced.row) if traced.row in rows else None
    page = st.session_state.get(_PAGE)
    if page is None or page[0] != (study.name, traced.row):
        page = ((study.name, traced.row), (place or 0) // _STRIP_LENGTH)
        st.session_state[_PAGE] = page
    first = (page[1] % n_pages) * _STRIP_LENGTH
    shown = rows[first : first + _STRIP_LENGTH]
    image_grid(
        [
            GridImage(study.image_ids[row], image_title(study, row)[0], _strip_image(study, row))
            for row in shown
        ],
        label="Held-out images",
        key=_STRIP,
        on_pick=lambda: _go(study, st.session_state[_STRIP]["picked"]),
        selected=None if traced.row is None else study.image_ids[traced.row],
    )
    with st.container(key="cg-choices", horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "← Previous", on_click=_turn, args=(page, -1), disabled=n_pages < 2, type="tertiary"
        )
        st.html(
            f"<span class='cg-quiet'>Held-out images {first + 1:,} to {first + len(shown):,} "
            f"of {len(rows):,}</span>",
            width="content",
        )
        st.button("Next →", on_click=_turn, args=(page, 1), disabled=n_pages < 2, type="tertiary")
        st.button("Random image", on_click=_go_anywhere, args=(study, rows))
        # A new key after every traced upload: the popover closes, the trace is what to look at.
        with st.popover(
            "Upload an image", key=f"{_UPLOADER}.{st.session_state.get(_N_UPLOADS, 0)}"
        ):
            # Without a list of types: the browser would refuse a file and not say why.
            st.file_uploader(
                "A PNG, JPEG, WebP, GIF, BMP or TIFF image. It stays on this machine.",
                key=_UPLOADER,
                on_change=_uploaded,
            )
        if traced.row is not None and _upload_in(study) is not None:
            st.button("Back to upload", on_click=_go, args=(study, None))
        st.download_button(
            "Download trace",
            # Made when it is asked for: a file kept ready would be gone, and complained about by
            # the browser, as soon as another image is on show.
            lambda: traced.json,
            file_name=f"trace-{study.name}-{_file_stem(traced.trace.image_id)}.json",
            mime="application/json",
            on_click="ignore",
        )


def _strip_image(study: Study, row: int) -> str:
    return thumbnail_uri(study, row, _STRIP_PX)


def _file_stem(image_id: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in image_id)[:60].strip("-")


def _turn(page: tuple[tuple[str, int | None], int], step: int) -> None:
    st.session_state[_PAGE] = (page[0], page[1] + step)


def _go(study: Study, image_id: str | None) -> None:
    st.session_state[_CLEARED] = False
    state.change(study, image=image_id, concept=None)


def _go_anywhere(study: Study, rows: list[int]) -> None:
    _go(study, study.image_ids[random.choice(rows)])


# ---- the graph and the panel: only these run again when a concept is chosen


@st.fragment
def _explore(study: Study, traced: TracedImage) -> None:
    shelf.note_request()
    selection, _ = state.check(state.read()[0], study)
    if selection.image is not None and selection.image != traced.trace.image_id:
        st.rerun()  # another image was chosen in the panel: the whole page is about it
    concept = selection.concept
    if concept is None and not st.session_state.get(_CLEARED):
        concept = traced.landmark
    left, right = st.columns([0.74, 0.26], gap="medium")
    with left, st.container(key="cg-graph"):
        st.html(f"<p class='cg-quiet'>{_INTRODUCTION}</p>")
        trace_graph(
            traced.graph,
            selected=concept,
            key=_GRAPH,
            on_pick=lambda: _choose(study, st.session_state[_GRAPH]["picked"]),
        )
    with right, st.container(key="cg-panel"):
        concept_panel(
            traced,
            concept,
            on_concept=lambda chosen: _choose(study, chosen),
            on_image=lambda image_id: _go(study, image_id),
        )


def _choose(study: Study, text: str | None) -> None:
    if text is None:
        return
    st.session_state[_CLEARED] = not text
    state.change(study, concept=ConceptId.parse(text) if text else None)
