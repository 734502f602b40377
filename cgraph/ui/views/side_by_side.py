"""Several images side by side: what they share in each layer, and where they part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from cgraph.comparison import Comparison, LayerComparison, compare
from cgraph.concept import ConceptId
from cgraph.ui import gallery, state, uploads, words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import picture_uri, thumbnail_uri
from cgraph.ui.traced import TracedImage

N_OFFERED = 14
_THUMBNAIL_PX = 96

_OFFER = "beside.offer"
_TABLE = "beside.table"


def side_by_side(
    traced: TracedImage,
    beside: Sequence[TracedImage],
    *,
    selected: ConceptId | None,
    on_concept: Callable[[str | None], None],
) -> None:
    """Show what an image shares with others, and offer others to compare it with.

    Parameters
    ----------
    traced : TracedImage
        The image on show.
    beside : sequence of TracedImage
        The images that it is compared with.
    selected : ConceptId or None
        The concept that is marked.
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    st.html(
        "<h3 class='cg-section'>Side by side</h3><p class='cg-quiet'>Choose up to "
        f"{state.MOST_COMPARED} images to compare this one with.</p>"
    )
    chosen = [other.image_id for other in beside]
    image_grid(
        _offered(traced, beside),
        label="Images to compare with",
        key=_OFFER,
        ticked=chosen,
        on_pick=lambda: _switch(traced, chosen, st.session_state[_OFFER]["picked"]),
    )
    if not beside:
        return
    images = [traced, *beside]
    found = compare([image.trace for image in images])
    st.html(f"<p class='cg-sentence'>{_sentence(found)}</p>")
    heads = [
        TableHead("In both" if len(images) == 2 else "In several"),
        *(
            TableHead(f"Only in {place}: {image.title}", image.picture)
            for place, image in enumerate(images, start=1)
        ),
    ]
    concept_table(
        heads,
        [_row(layer, len(images)) for layer in found.layers],
        traced.looks,
        label="Concepts of the images, a row for each layer",
        key=_TABLE,
        on_pick=lambda: on_concept(st.session_state[_TABLE]["picked"]),
        selected=selected,
    )


def _offered(traced: TracedImage, beside: Sequence[TracedImage]) -> list[GridImage]:
    study = traced.study
    own = [
        GridImage(upload.image_id, upload.name, picture_uri(upload.image, _THUMBNAIL_PX))
        for upload in uploads.kept()
    ]
    rows = list(study.examples) or gallery.held_out_rows(study)[:N_OFFERED]
    rows += [image.row for image in beside if image.row is not None and image.row not in rows]
    stored = [
        GridImage(
            study.image_ids[row],
            gallery.image_title(study, row)[0],
            thumbnail_uri(study, row, _THUMBNAIL_PX),
        )
        for row in rows
    ]
    return [image for image in (*own, *stored) if image.id != traced.image_id]


def _switch(traced: TracedImage, chosen: list[str], image_id: str | None) -> None:
    if image_id is None:
        return
    if image_id in chosen:
        beside = [other for other in chosen if other != image_id]
    else:
        beside = [*chosen, image_id][-state.MOST_COMPARED :]
    state.change(traced.study, image=traced.image_id, beside=tuple(beside))


def _sentence(found: Comparison) -> str:
    alike, apart = found.most_alike, found.most_apart
    if alike.overlap == apart.overlap:
        return f"They share {_shared(alike)} in every layer."
    return (
        f"They share most in layer {alike.layer} ({_shared(alike)}) and least in layer "
        f"{apart.layer} ({_shared(apart)}). The bar is the {term('overlap')}."
    )


def _shared(layer: LayerComparison) -> str:
    """Return such as ``7 of 13 concepts``."""
    n_any = len(layer.shared) + len({concept for of_image in layer.apart for concept in of_image})
    return f"{len(layer.shared)} of {words.count(n_any, 'concept')}"


def _row(layer: LayerComparison, n_images: int) -> TableRow:
    notes = {}
    if n_images > 2:
        for concept, members in zip(layer.shared, layer.members, strict=True):
            everywhere = len(members) == n_images
            places = "+".join(str(place + 1) for place in members)
            notes[concept] = "in all" if everywhere else f"in {places}"
    return TableRow(
        lead=f"Layer {layer.layer}",
        note=f"{_shared(layer)} shared",
        share=layer.overlap,
        cells=[layer.shared, *layer.apart],
        notes=notes,
    )
