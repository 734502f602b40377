"""The selection that all pages share: study, image, layer and concept, kept in the link.

The query parameters of the address are the only copy, so that the back button works and a link
opens the same view on a fresh server. Whatever somebody types there is checked before it is used:
a value that means nothing is left out, with a sentence that says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.ui import uploads
from cgraph.ui.pins import NO_PINS, Pins, read_pins

KEYS = ("study", "image", "with", "layer", "concept", "pins")
"""Query parameters of every page; others are left alone."""

MOST_COMPARED = 3
"""Most images that are put beside the first."""


@dataclass(frozen=True)
class Selection:
    """What is looked at.

    Attributes
    ----------
    study : str or None
        Slug of a study, never a path; ``None`` for the first one.
    image : str or None
        Image id, or that of an upload; ``None`` for the page's own choice.
    beside : tuple of str
        Image ids of the images that it is compared with; ``with`` in the link.
    layer : int or None
        1 … L.
    concept : ConceptId or None
    pins : Pins
        Concepts that were put aside for the scratch graph.
    """

    study: str | None = None
    image: str | None = None
    beside: tuple[str, ...] = ()
    layer: int | None = None
    concept: ConceptId | None = None
    pins: Pins = NO_PINS

    def to_query(self) -> dict[str, str]:
        """Return the query parameters that stand for this selection; a concept says its layer."""
        values = {
            "study": self.study,
            "image": self.image,
            "with": ",".join(map(_quoted, self.beside)) or None,
            "layer": None if self.concept is not None else self.layer,
            "concept": self.concept,
            "pins": self.pins.to_text() or None,
        }
        return {key: str(values[key]) for key in KEYS if values[key] is not None}


def _quoted(image_id: str) -> str:
    return image_id.replace("%", "%25").replace(",", "%2C")


class HasConcepts(Protocol):
    """The part of a study that a selection is checked against."""

    @property
    def name(self) -> str:
        """The study's slug."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""

    @property
    def graph(self) -> Any:
        """The concept graph."""

    def row(self, image_id: str) -> int:
        """Return the row of an image."""


def parse(query: Mapping[str, str]) -> tuple[Selection, list[str]]:
    """Read a selection from query parameters.

    Parameters
    ----------
    query : mapping of str to str

    Returns
    -------
    selection : Selection
        What could be read; nothing is checked against a study yet.
    remarks : list of str
        One sentence for each value that was left out.
    """
    remarks = []
    layer = concept = None
    if text := query.get("layer"):
        if text.isascii() and text.isdigit() and 1 <= len(text) <= 4 and int(text):
            layer = int(text)
        else:
            remarks.append(
                f"The link asks for layer {text!r}, which is no number; it was left out."
            )
    if text := query.get("concept"):
        try:
            concept = ConceptId.parse(text)
        except ConfigError as error:
            remarks.append(f"The concept of the link was left out. {error}")
    beside = tuple(unquote(text) for text in (query.get("with") or "").split(",") if text)
    if len(beside) > MOST_COMPARED:
        remarks.append(
            f"The link compares with {len(beside)} images; the first {MOST_COMPARED} are shown."
        )
    pins, more = read_pins(query.get("pins") or "")
    remarks += more
    return Selection(
        study=query.get("study") or None,
        image=query.get("image") or None,
        beside=tuple(dict.fromkeys(beside[:MOST_COMPARED])),
        layer=layer,
        concept=concept,
        pins=pins,
    ), remarks


def check(selection: Selection, study: HasConcepts) -> tuple[Selection, list[str]]:
    """Leave out of a selection what the study does not have.

    Parameters
    ----------
    selection : Selection
    study : Study
        The open study; its name replaces the selection's.

    Returns
    -------
    selection : Selection
        Everything in it exists. A concept decides the layer.
    remarks : list of str
        One sentence for each value that was left out.
    """
    remarks: list[str] = []
    image, layer, concept = selection.image, selection.layer, selection.concept
    if image is not None and not _has_image(study, image, remarks):
        image = None
    beside = tuple(other for other in selection.beside if _has_image(study, other, remarks))
    if layer is not None and layer > study.n_layers:
        remarks.append(f"There is no layer {layer}: this model has 1 to {study.n_layers}.")
        layer = None
    if concept is not None:
        try:
            study.graph.concept_row(concept)
            layer = concept.layer
        except ConfigError as error:
            remarks.append(f"{error} The concept of the link was left out.")
            concept = None
    lost = [pinned for pinned in selection.pins.concepts if not _has_concept(study, pinned)]
    if lost:
        remarks.append(
            f"This study has no {lost[0]}, which the link pins; it was left out."
            if len(lost) == 1
            else f"This study lacks {len(lost)} concepts that the link pins, such as {lost[0]}; "
            "they were left out."
        )
    return Selection(study.name, image, beside, layer, concept, selection.pins.unpin(lost)), remarks


def _has_concept(study: HasConcepts, concept: ConceptId) -> bool:
    try:
        study.graph.concept_row(concept)
    except ConfigError:
        return False
    return True


def _has_image(study: HasConcepts, image_id: str, remarks: list[str]) -> bool:
    """Return whether there is such an image, and add a sentence if there is none."""
    if uploads.find(image_id) is not None:
        return True
    if image_id.startswith(uploads.PREFIX):
        remarks.append(
            "The link leads to an uploaded image. Uploads stay with whoever brought them, and only "
            "until the page is closed: upload the image again."
        )
        return False
    try:
        study.row(image_id)
    except ConfigError as error:
        remarks.append(f"{error} The image of the link was left out.")
        return False
    return True


def read() -> tuple[Selection, list[str]]:
    """Return the selection in the address, and a sentence for each value that was left out."""
    return parse(st.query_params.to_dict())


def write(selection: Selection, page: Mapping[str, str | None] | None = None) -> None:
    """Put a selection into the address, in one step of the back button.

    Parameters
    ----------
    selection : Selection
    page : mapping of str to str or None, optional
        Query parameters of the page that change with it; ``None`` takes one out.
    """
    own = page or {}
    now = st.query_params.to_dict()
    others = {k: v for k, v in now.items() if k not in KEYS and k not in own}
    added = {k: v for k, v in own.items() if v is not None}
    query = {**others, **selection.to_query(), **added}
    if query != st.query_params.to_dict():
        st.query_params.from_dict(query)


def change(study: HasConcepts, **changes: Any) -> None:
    """Change a part of the selection and keep the rest; for the callbacks of widgets.

    Parameters
    ----------
    study : Study
        The study on show.
    **changes
        Fields of `Selection`. A new concept brings its layer along.
    """
    write(changed(study, **changes))


def changed(study: HasConcepts, **changes: Any) -> Selection:
    """Return the selection of the address with a part of it changed; see `change`."""
    selection, _ = check(read()[0], study)
    if "concept" in changes and "layer" not in changes:
        concept = changes["concept"]
        changes["layer"] = concept.layer if concept else None
    return dataclasses.replace(selection, **changes)
