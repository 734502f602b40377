"""The Trace page: one image, its active concepts in every layer, and the paths between them."""

from __future__ import annotations

import dataclasses
import time
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.errors import CgraphError
from cgraph.output_readings import outputs_of_picture, outputs_of_row
from cgraph.progress import duration
from cgraph.study import Study
from cgraph.ui import frame, gallery, resources, state, uploads, words
from cgraph.ui.components.trace_graph import trace_graph
from cgraph.ui.facts import held_out_explained
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import data_uri, picture_uri, thumbnail_uri
from cgraph.ui.traced import TracedImage
from cgraph.ui.uploads import Upload
from cgraph.ui.views.concept_panel import concept_panel
from cgraph.ui.views.image_choice import image_choice
from cgraph.ui.views.layer_panel import layer_panel
from cgraph.ui.views.output_list import output_list
from cgraph.ui.views.paths import strongest_paths
from cgraph.ui.views.side_by_side import side_by_side
from cgraph.ui.views.take_away import downloads, link
from cgraph.ui.views.unlike import unlike_notice

_PICTURE_PX = 480

_PART_NAMES = {TRAIN: "training", TUNE: "tuning", HELD_OUT: "held-out"}

_GRAPH = "trace.graph"
_CLEARED = "trace.cleared"
_LAYER = "layer-"


@st.cache_resource(max_entries=64, show_spinner=False)
def _stored_image(entry: StudyEntry, row: int, names: str) -> TracedImage:
    """Trace an image of the study; drawn again when somebody has named a concept since."""
    from cgraph import tracing

    study = resources.open_study(entry)
    title, details = gallery.image_title(study, row)
    part = f"{_PART_NAMES[str(study.split[row])]} image"
    if row in study.examples:
        trace, picture = study.example_trace(row), data_uri(study.example_picture(row))
        part = f"example, {part}"
    else:
        trace, picture = tracing.trace_row(study, row), thumbnail_uri(study, row)
    outputs = tuple(outputs_of_row(study, row))
    details = (part, *details)
    return TracedImage(study, trace, study.image_ids[row], title, details, picture, row, outputs)


@st.cache_resource(
    max_entries=32, show_spinner="Tracing the image … The first one waits for the model to load."
)
def _uploaded_image(entry: StudyEntry, digest: str, names: str, _upload: Upload) -> TracedImage:
    from cgraph import tracing

    study, image = resources.open_study(entry), _upload.image
    model = shelf.get(entry, study)
    trace = tracing.trace_image(study, model, image, _upload.name)
    details = "uploaded image", f"{image.width} × {image.height} pixels"
    picture = picture_uri(image, _PICTURE_PX)
    states = outputs_of_picture(study, model, image)
    name, title = _upload.image_id, _upload.name
    return TracedImage(study, trace, name, title, details, picture, None, tuple(states))


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    try:
        traced = image_on_show(opened)
    except CgraphError as error:
        st.error(words.plain(f"The image cannot be traced. {error}"))
        return
    beside = _beside(opened, traced)
    unlike_notice(opened, traced)
    with st.container(key="cg-top", horizontal=True, gap="medium"):
        alternative = escape(f"The traced image: {traced.title}", quote=True)
        # A stored thumbnail is small; enlarged to the size of an upload it would look broken.
        kind = "cg-picture" if traced.has_large_picture else "cg-picture cg-small"
        st.html(f"<img class='{kind}' src='{traced.picture}' alt='{alternative}'>", width="content")
        with st.container(key="cg-about"):
            with st.container(key="cg-heading", horizontal=True, gap="medium"):
                _about(opened.study, traced)
                downloads([traced, *beside])
            image_choice(opened.study, traced, on_image=lambda chosen: _go(opened.study, chosen))
            output_list(traced.outputs)
    _explore(opened.study, traced)
    side_by_side(
        traced,
        beside,
        selected=_selected(opened.study, traced)[1].concept,
        on_concept=lambda chosen: _choose(opened.study, chosen),
    )
    shelf.prepare(opened.entry, opened.study)


def image_on_show(opened: OpenStudy) -> TracedImage:
    """Trace what was just uploaded, or what the link asks for."""
    for problem in uploads.take_problems():
        st.error(words.plain(problem))
    traced = _trace_new(opened, uploads.take_pending())
    if traced:
        others = tuple(image.image_id for image in traced[1 : 1 + state.MOST_COMPARED])
        state.change(opened.study, image=traced[0].image_id, beside=others, concept=None)
        st.session_state[_CLEARED] = False
        return traced[0]
    wanted = opened.selection.image
    if wanted is not None:
        try:
            return _image(opened, wanted)
        except CgraphError as error:  # the study was built anew, or the model has gone
            upload = uploads.find(wanted)
            if upload is None:
                raise
            uploads.drop(wanted)
            state.change(opened.study, image=None, concept=None)
            st.error(words.plain(f"The image {upload.name!r} was not traced again. {error}"))
    shown = list(opened.study.examples) or gallery.held_out_rows(opened.study)
    return _stored_image(opened.entry, shown[0], opened.study.naming.revision)


def _trace_new(opened: OpenStudy, pending: list[Upload]) -> list[TracedImage]:
    """Trace images that were just brought; those that cannot be traced cost a sentence each."""
    traced = []
    bar = st.progress(0.0) if len(pending) > 1 else None
    started = time.monotonic()
    for place, upload in enumerate(pending):
        if bar is not None:
            text = f"Tracing {place + 1} of {len(pending)}: {upload.name}"
            if place:
                left = (time.monotonic() - started) / place * (len(pending) - place)
                text += f" · {duration(left)} left"
            bar.progress(place / len(pending), words.plain(text))
        try:
            traced.append(
                _uploaded_image(opened.entry, upload.digest, opened.study.naming.revision, upload)
            )
        except CgraphError as error:
            st.error(words.plain(f"The image {upload.name!r} was not traced. {error}"))
        else:
            uploads.keep(upload)
    if bar is not None:
        bar.empty()
    return traced


def _image(opened: OpenStudy, image_id: str) -> TracedImage:
    upload = uploads.find(image_id)
    if upload is not None:
        return _uploaded_image(opened.entry, upload.digest, opened.study.naming.revision, upload)
    return _stored_image(opened.entry, opened.study.row(image_id), opened.study.naming.revision)


def _beside(opened: OpenStudy, traced: TracedImage) -> list[TracedImage]:
    """Trace the images that are compared with the one on show."""
    found = []
    for image_id in state.check(state.read()[0], opened.study)[0].beside:
        if image_id == traced.image_id:
            continue
        try:
            found.append(_image(opened, image_id))
        except CgraphError as error:
            st.error(words.plain(f"The image {image_id!r} cannot be compared. {error}"))
    return found


def _about(study: Study, traced: TracedImage) -> None:
    graph = traced.graph
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
    layers = term("layer", words.count(study.n_layers, "layer"))
    facts = [layers, concepts, edges, _explained(study, traced)]
    if study.manifest.token != "class":
        facts.append(f"read from {escape(study.manifest.token_words)}")
    about = " · ".join(escape(text) for text in (f"study {study.name}", *traced.details))
    st.html(
        f"<p class='cg-eyebrow'>{about}</p>"
        f"<h2 class='cg-title' title='{escape(traced.title, quote=True)}'>"
        f"{escape(traced.title)}</h2>"
        f"<p class='cg-facts'>{' · '.join(filter(None, facts))}</p>"
    )


def _explained(study: Study, traced: TracedImage) -> str:
    """Say how much of the tokens the codes explain, against what is usual."""
    shares = traced.trace.explained
    if shares is None:
        known = held_out_explained(study)
        return f"codes explain {words.span(list(known))} of held-out tokens" if known else ""
    usual = zip(shares, study.usual.explained_low, strict=True)
    n_low = sum(share < low for share, low in usual)
    verdict = f"less than usual in {words.count(n_low, 'layer')}" if n_low else "as is usual here"
    return (
        f"codes {term('explained', 'explain')} {words.span(list(shares))} of its tokens, {verdict}"
    )


def _go(study: Study, image_id: str) -> None:
    st.session_state[_CLEARED] = False
    state.change(study, image=image_id, concept=None)


# ---- the graph and the panel: only these run again when a concept is chosen


@st.fragment
def _explore(study: Study, traced: TracedImage) -> None:
    shelf.note_request()
    asked, selection = _selected(study, traced)
    if asked.image is not None and asked.image != traced.image_id:
        st.rerun()  # another image was chosen in the panel: the whole page is about it
    concept, layer = selection.concept, selection.layer
    left, right = st.columns([0.74, 0.26], gap="medium")
    with left, st.container(key="cg-graph"):
        st.html(f"<p class='cg-quiet'>{_introduction()}</p>")
        trace_graph(
            traced.graph,
            traced.selection(concept, layer),
            key=_GRAPH,
            on_pick=lambda: _choose(study, st.session_state[_GRAPH]["picked"]),
        )
        strongest_paths(traced, concept, on_concept=lambda chosen: _choose(study, chosen))
    with right, st.container(key="cg-panel"):
        if concept is None and layer is not None:
            layer_panel(traced, layer, on_concept=lambda chosen: _choose(study, chosen))
        else:
            concept_panel(
                traced,
                concept,
                on_concept=lambda chosen: _choose(study, chosen),
                on_image=lambda image_id: _go(study, image_id),
            )
        with st.container(key="cg-onward", horizontal=True, gap="small"):
            frame.onward_links(selection)
            link(selection)


def _introduction() -> str:
    return (
        f"Each picture is a {term('concept')}, a direction in the {term('class_token')}, at its "
        "strongest in training. Lines lead to concepts that it helps to predict."
    )


def _selected(study: Study, traced: TracedImage) -> tuple[state.Selection, state.Selection]:
    """Return what the link asks for, and what is on show: then nothing is left to the page."""
    asked, _ = state.check(state.read()[0], study)
    concept, layer = asked.concept, asked.layer
    if concept is None and layer is None and not st.session_state.get(_CLEARED):
        concept = traced.landmark
    shown = dataclasses.replace(asked, image=traced.image_id, concept=concept, layer=layer)
    return asked, shown


def _choose(study: Study, text: str | None) -> None:
    """Select a concept, or a layer such as ``layer-7``, or nothing; a callback."""
    if text is None:
        return
    st.session_state[_CLEARED] = not text
    if text.startswith(_LAYER):
        state.change(study, concept=None, layer=int(text.removeprefix(_LAYER)))
    else:
        state.change(study, concept=ConceptId.parse(text) if text else None)
