"""The Trace page: one image, its active concepts in every layer, and the paths between them."""

from __future__ import annotations

from html import escape

import streamlit as st
from PIL.Image import Image

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import gallery, resources, state, uploads, words
from cgraph.ui.components.trace_graph import trace_graph
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.thumbnails import data_uri, picture_uri, thumbnail_uri
from cgraph.ui.traced import TracedImage, held_out_explained
from cgraph.ui.views.concept_panel import concept_panel
from cgraph.ui.views.image_choice import image_choice
from cgraph.ui.views.unlike import unlike_notice

_PICTURE_PX = 480

_INTRODUCTION = (
    "Each picture is a concept (a direction in the class token) at its strongest in training. "
    "Lines lead to concepts that it helps to predict."
)

_PART_NAMES = {TRAIN: "training", TUNE: "tuning", HELD_OUT: "held-out"}

_GRAPH = "trace.graph"
_CLEARED = "trace.cleared"


@st.cache_resource(max_entries=64, show_spinner=False)
def _stored_image(entry: StudyEntry, row: int) -> TracedImage:
    from cgraph import tracing

    study = resources.open_study(entry)
    title, details = gallery.image_title(study, row)
    part = f"{_PART_NAMES[str(study.split[row])]} image"
    if row in study.examples:
        trace, picture = study.example_trace(row), data_uri(study.example_picture(row))
        part = f"example, {part}"
    else:
        trace, picture = tracing.trace_row(study, row), thumbnail_uri(study, row)
    return TracedImage(study, trace, title, (part, *details), picture, row)


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
    unlike_notice(opened, traced)
    with st.container(key="cg-top", horizontal=True, gap="medium"):
        alternative = escape(f"The traced image: {traced.title}", quote=True)
        # A stored thumbnail is small; enlarged to the size of an upload it would look broken.
        kind = "cg-picture" if traced.has_large_picture else "cg-picture cg-small"
        st.html(f"<img class='{kind}' src='{traced.picture}' alt='{alternative}'>", width="content")
        with st.container(key="cg-about"):
            with st.container(key="cg-heading", horizontal=True, gap="medium"):
                _about(opened.study, traced)
                _download(opened.study, traced)
            image_choice(opened.study, traced, on_image=lambda chosen: _go(opened.study, chosen))
    _explore(opened.study, traced)
    shelf.prepare(opened.entry, opened.study)


def _traced(opened: OpenStudy) -> TracedImage:
    """Trace what was just uploaded, or what the link asks for."""
    problem = uploads.take_problem()
    if problem is not None:
        st.error(words.plain(problem))
    pending = uploads.take_pending()
    if pending is not None:
        try:
            traced = _uploaded_image(opened.entry, pending.name, pending.digest, pending.image)
        except CgraphError as error:
            st.error(words.plain(f"The image {pending.name!r} was not traced. {error}"))
        else:
            uploads.keep(pending, opened.study)
            st.session_state[_CLEARED] = False
            state.change(opened.study, image=None, concept=None)
            return traced
    upload = uploads.kept_in(opened.study)
    wanted = opened.selection.image
    if wanted is None and upload is not None:
        try:
            return _uploaded_image(opened.entry, upload.name, upload.digest, upload.image)
        except CgraphError as error:  # the study was built anew, or the model has gone
            uploads.drop()
            st.error(words.plain(f"The image {upload.name!r} was not traced again. {error}"))
    if wanted is not None:
        return _stored_image(opened.entry, opened.study.row(wanted))
    shown = list(opened.study.examples) or gallery.held_out_rows(opened.study)
    return _stored_image(opened.entry, shown[0])


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


def _download(study: Study, traced: TracedImage) -> None:
    st.download_button(
        "Download trace",
        # Made when it is asked for: a file kept ready would be gone, and complained about by
        # the browser, as soon as another image is on show.
        lambda: traced.json,
        file_name=f"trace-{study.name}-{_file_stem(traced.trace.image_id)}.json",
        mime="application/json",
        on_click="ignore",
    )


def _file_stem(image_id: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in image_id)[:60].strip("-")


def _go(study: Study, image_id: str | None) -> None:
    st.session_state[_CLEARED] = False
    state.change(study, image=image_id, concept=None)


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
