"""How concepts and outputs look on the Policies page, and links that lead on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.edits import MOST_CHANGES, Edit, RolloutSettings
from cgraph.errors import ConfigError
from cgraph.policy_verdicts import ShownConcept, Witness
from cgraph.study import Study
from cgraph.ui import gallery
from cgraph.ui.drawing import Looks
from cgraph.ui.edit_link import EditView
from cgraph.ui.graph_query import PATHS, GraphQuery, to_query
from cgraph.ui.state import Selection
from cgraph.ui.thumbnails import thumbnail_uri

GRAPH_PAGE = "pages/1_Graph.py"
COUNTERFACTUAL_PAGE = "pages/3_Counterfactual.py"

_OUTPUT = "output"


@lru_cache(maxsize=8)
def looks(study: Study) -> Looks:
    """Return how concepts look, outputs among them: by the image that has most of it."""
    plain = gallery.looks(study)

    def image_of(concept: ConceptId) -> str:
        if concept.kind != _OUTPUT:
            return plain.image_of(concept)
        outputs, rows = study.outputs, study.rows(TRAIN)
        if outputs is None or not len(rows):
            return ""
        best = int(rows[int(np.argmax(outputs.values[rows, concept.index]))])
        return thumbnail_uri(study, best, gallery.NODE_PX)

    def name_of(concept: ConceptId) -> str:
        if concept.kind != _OUTPUT:
            return plain.name_of(concept)
        return study.outputs.written(concept) if study.outputs is not None else str(concept)

    return Looks(image_of, name_of)


def called(study: Study, concept: ConceptId) -> str:
    """Return name and id, or the id alone."""
    name = looks(study).name_of(concept)
    if concept.kind == _OUTPUT or not name:
        return name or str(concept)
    return f"{name} ({concept})"


def concept_of(shown: ShownConcept) -> ConceptId:
    """Return the concept that a report shows."""
    return ConceptId(shown.layer, shown.index, shown.kind)


def edit_of(witness: Witness) -> Edit | None:
    """Return what to switch to see a witness in the network; None if there is nothing to try.

    Of flips it is these, of a path that its first concept is taken out.
    """
    on, off = list(witness.on), list(witness.off)
    if not on and not off and witness.kind == "path":
        off = [witness.concepts[0].id]
    try:
        parsed = [tuple(map(ConceptId.parse, ids)) for ids in (on, off)]
        edit = Edit(*parsed) if len(on) + len(off) <= MOST_CHANGES else Edit()
    except ConfigError:  # an output, which nothing switches
        return None
    return edit if len(edit) else None


def graph_query(study: Study, selection: Selection, witness: Witness) -> Mapping[str, str]:
    """Return the query of the Graph page with the paths between the ends of a witness.

    Outputs are no part of that page: a path into one ends there with the concept before it.
    """
    path = [concept_of(one) for one in witness.concepts if one.kind != _OUTPUT]
    ends = {"concept": path[-1], "layer": path[-1].layer}
    lowers = any(weight < 0 for weight in witness.weights)
    if len(path) > 1:
        asked = GraphQuery(
            view=PATHS, sources=str(path[0]), targets=str(path[-1]), n_paths=6, both=lowers
        )
    else:
        asked = GraphQuery(view="around", centre=path[0])
    return {**_selected(study, selection, ends), **to_query(asked)}


def edit_query(
    study: Study,
    selection: Selection,
    edit: Edit,
    *,
    image: str | None = None,
    rule: str | None = None,
    start: int | None = None,
    concept: ConceptId | None = None,
) -> Mapping[str, str]:
    """Return the query of the Counterfactual page with an edit."""
    view = EditView(edit=edit, settings=RolloutSettings(rule=rule, start=start))  # type: ignore[arg-type]
    shown = concept if concept is not None and concept.kind != _OUTPUT else min(edit)
    chosen = {"image": image or selection.image, "concept": shown, "layer": shown.layer}
    return {**_selected(study, selection, chosen), **view.to_query(study.name)}


def _selected(study: Study, selection: Selection, changes: Mapping[str, object]) -> dict[str, str]:
    values = {**vars(selection), "study": study.name, **changes}
    return Selection(**values).to_query()


def page_link(script: str, label: str, query: Mapping[str, str]) -> None:
    """Draw a link to another page of the app."""
    st.page_link(script, label=label, query_params=dict(query))


def pictures(study: Study, rows: Sequence[int], titles: Sequence[str], side: int = 84) -> str:
    """Return images of a study in a row, as HTML; each with what it shows beneath."""
    from html import escape

    cells = []
    for row, title in zip(rows, titles, strict=True):
        caption = escape(gallery.image_title(study, row)[0], quote=True)
        said = escape(title, quote=True)
        cells.append(
            f"<figure><img src='{thumbnail_uri(study, row, side)}' alt='{caption}' "
            f"title='{caption}'><figcaption title='{said}'>{said}</figcaption></figure>"
        )
    return f"<div class='pl-images'>{''.join(cells)}</div>"
