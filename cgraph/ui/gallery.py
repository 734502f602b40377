"""Images and concepts of a study as the app presents them: titles, examples, names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.study import Study
from cgraph.study_names import marked
from cgraph.ui.drawing import Looks
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri

NODE_PX = 56
"""Side of a concept's thumbnail, which is drawn at about 40 pixels."""


def image_title(study: Study, row: int) -> tuple[str, tuple[str, ...]]:
    """Return what to call an image of a study, and what else its attributes say."""
    attributes = {key: _texts(value) for key, value in study.attributes(row).items()}
    attributes = {key: texts for key, texts in attributes.items() if texts}
    image_id = study.image_ids[row]
    name = next((key for key in ("caption", "label", "name") if key in attributes), None)
    title = ", ".join(attributes.pop(name)) if name else image_id
    rest = tuple(
        f"{key} {', '.join(texts)}"
        for key, texts in attributes.items()
        if not {*" ".join(texts).split()} <= {*title.split()}  # a caption says most of it
    )
    return title, (f"image {image_id}", *rest) if name else rest


def _texts(value: Any) -> list[str]:
    """Return an attribute as texts, each once; a list has several."""
    if isinstance(value, list):
        return list(dict.fromkeys(text for part in value for text in _texts(part)))
    text = str(value).strip() if isinstance(value, str | int | float | bool) else ""
    return [text] if text else []


def concept_image(study: Study, concept: ConceptId) -> str:
    """Return the thumbnail that stands for a concept, or nothing if no training image has it."""
    rows = exemplar_rows(study, concept, 1)
    return thumbnail_uri(study, rows[0], NODE_PX) if rows else ""


def concept_name(study: Study, concept: ConceptId) -> str:
    """Return what people call a concept with the mark of its kind, or nothing without a name."""
    name = study.name_of(concept)
    return marked(name) if name is not None else ""


@lru_cache(maxsize=8)
def looks(study: Study) -> Looks:
    """Return how the concepts of a study look."""
    return Looks(
        image_of=lambda concept: concept_image(study, concept),
        name_of=lambda concept: concept_name(study, concept),
    )


def held_out_rows(study: Study) -> list[int]:
    """Return the rows of the held-out images, or of all if a study keeps none apart."""
    return study.rows(HELD_OUT).tolist() or list(range(len(study.image_ids)))
