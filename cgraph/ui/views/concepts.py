"""The Concepts page: the concepts of a layer as cards, or one of them in full."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html import escape

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.concept_truth import ConceptTruth
from cgraph.errors import CgraphError
from cgraph.layer_catalogue import KINDS, ORDERS, LayerCatalogue
from cgraph.study import Study
from cgraph.study_graph import measured_concepts
from cgraph.ui import frame, grid_query, state, words
from cgraph.ui.components.card_grid import card_grid
from cgraph.ui.concept_cards import catalogue, concept_cards
from cgraph.ui.frame import OpenStudy
from cgraph.ui.gallery import concept_name
from cgraph.ui.grid_query import PAGE_LENGTH, GridQuery
from cgraph.ui.models import shelf
from cgraph.ui.sheet import prepare
from cgraph.ui.terms import term
from cgraph.ui.views import concept_sheet
from cgraph.ui.views.take_away import link

_GRID = "concepts.grid"
_LAYER, _FIND, _SHOW = "concepts.layer", "concepts.find", "concepts.show"
_TRACED = "concepts.traced"
_SORT, _FALLING = "concepts.sort", "concepts.falling"

_ORDER_NAMES = {
    "index": "number",
    "name": "name",
    "frequency": "how often active",
    "auc": "AUC",
    "parents": "number of parents",
}
_KIND_NAMES = {
    "all": "all concepts",
    "named": "with a name",
    "unnamed": "without a name",
    "by hand": "named by hand",
}
_COLUMNS = ("concept", "name", "prevalence", "auc", "parents", "children")
_STABILITY = ("found_again", "cosine_again")


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    remarks = grid_query.read()[1]
    if remarks:
        st.warning("\n\n".join(map(words.plain, remarks)))
    _explore(opened)
    prepare(opened.study)


@st.fragment
def _explore(opened: OpenStudy) -> None:
    """Draw what the link asks for; only this runs again after a choice."""
    shelf.note_request()
    try:
        _draw(opened.study)
    except CgraphError as error:
        st.error(words.plain(f"The concepts cannot be shown. {error}"))


def _draw(study: Study) -> None:
    selection, _ = state.check(state.read()[0], study)
    if image := st.session_state.pop(_TRACED, None):
        st.switch_page("app.py", query_params=replace(selection, image=image).to_query())
    layer = selection.layer or study.n_layers
    listed = catalogue(study, layer, study.naming.revision)
    query = grid_query.read()[0]
    found = listed.find(query.find, kind=query.show, order=query.sort, falling=query.falling)
    if selection.concept is None:
        _grid(study, replace(selection, layer=layer), listed, query, found)
    else:
        _way(study, selection.concept, found)
        concept_sheet.show(
            study,
            selection.concept,
            on_concept=lambda chosen: _choose(study, chosen),
            on_image=_trace,
            below=lambda: _onward(selection),
        )


def _onward(selection: state.Selection) -> None:
    with st.container(key="cg-onward", horizontal=True, vertical_alignment="center", gap="small"):
        frame.onward_links(selection, "Concepts")
        link(selection, grid_query.read()[0].to_query())


def _choose(study: Study, text: str | None) -> None:
    """Show a concept in full; a callback."""
    if text is not None:
        state.change(study, concept=ConceptId.parse(text))


def _trace(image_id: str) -> None:
    """Ask for an image to be traced; a callback, which cannot leave the page itself."""
    st.session_state[_TRACED] = image_id


def _way(study: Study, concept: ConceptId, found: np.ndarray) -> None:
    """Draw the way back to the cards, and to the concepts before and after in their order."""
    places = np.flatnonzero(found == concept.index)
    place = int(places[0]) if len(places) else None
    with st.container(key="cg-way", horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            f"← All concepts of layer {concept.layer}",
            on_click=_back,
            args=(study, concept.layer, place),
            type="tertiary",
        )
        if place is None or len(found) < 2:
            return
        for label, step in (("← Previous", -1), ("Next →", 1)):
            other = ConceptId(concept.layer, int(found[(place + step) % len(found)]))
            st.button(label, on_click=_choose, args=(study, str(other)), type="tertiary")
        st.html(f"<span class='cg-quiet'>{place + 1:,} of {len(found):,}</span>", width="content")


def _back(study: Study, layer: int, place: int | None) -> None:
    """Show the cards again, at the page that the concept is on; a callback."""
    page = {} if place is None else grid_query.page_query(place // PAGE_LENGTH + 1)
    state.write(state.changed(study, concept=None, layer=layer), page)


# ---- the grid


def _grid(
    study: Study,
    selection: state.Selection,
    listed: LayerCatalogue,
    query: GridQuery,
    found: np.ndarray,
) -> None:
    _controls(study, listed.layer, query)
    query = query.turned_to(query.page, len(found))
    first = (query.page - 1) * PAGE_LENGTH
    shown = found[first : first + PAGE_LENGTH].tolist()
    with st.container(key="cg-listed", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(f"<p class='cg-quiet'>{_count(listed, query, found, first, len(shown))}</p>")
        st.download_button(
            "CSV of this list",
            lambda: _csv(study, listed, found).encode(),
            file_name=f"concepts-{study.name}-layer-{listed.layer}.csv",
            mime="text/csv",
            on_click="ignore",
            type="tertiary",
        )
    if not shown:
        _nothing(study, listed, query)
        _onward(selection)
        return
    card_grid(
        concept_cards(study, listed, shown),
        label=f"Concepts {first + 1} to {first + len(shown)} of layer {listed.layer}",
        key=_GRID,
        on_pick=lambda: _choose(study, st.session_state[_GRID]["picked"]),
    )
    _pages(query, len(found))
    _onward(selection)


def _controls(study: Study, layer: int, query: GridQuery) -> None:
    # The link decides, also after the back button: the boxes only show what it says.
    st.session_state[_LAYER] = layer
    st.session_state[_FIND] = query.find
    st.session_state[_SHOW] = query.show
    st.session_state[_SORT] = query.sort
    st.session_state[_FALLING] = query.falling
    st.html(
        f"<p class='cg-quiet'>Every {term('concept')} of a layer with pictures from high, middle "
        f"and low activation: the strongest {term('exemplar', 'exemplars')} alone flatter it. "
        "Choose one to see it in full and to name it. Names: ✎ given by hand, ≈ found by text, "
        f"others by what is known of the images. {term('parent', 'Parents')} and "
        f"{term('child', 'children')}: + raises, − lowers the odds.</p>"
    )
    with st.container(key="cg-controls", horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Layer",
            range(1, study.n_layers + 1),
            key=_LAYER,
            on_change=_layer_chosen,
            args=(study, layer),
            required=True,
        )
        st.text_input(
            "Search",
            key=_FIND,
            placeholder="name, attribute or L7/609",
            max_chars=grid_query.LONGEST_SEARCH,
            on_change=lambda: grid_query.change(
                find=" ".join(st.session_state[_FIND].split()), page=1
            ),
            width=230,
        )
        st.selectbox(
            "Show",
            KINDS,
            format_func=_KIND_NAMES.__getitem__,
            key=_SHOW,
            on_change=lambda: grid_query.change(show=st.session_state[_SHOW], page=1),
            width=170,
        )
        st.selectbox(
            "Sort by",
            ORDERS,
            format_func=_ORDER_NAMES.__getitem__,
            key=_SORT,
            on_change=lambda: grid_query.change(sort=st.session_state[_SORT]),
            width=190,
        )
        st.toggle(
            "Largest first" if query.sort != "name" else "From Z to A",
            key=_FALLING,
            on_change=lambda: grid_query.change(falling=st.session_state[_FALLING], page=1),
        )


def _layer_chosen(study: Study, before: int) -> None:
    chosen = st.session_state[_LAYER]
    _go_to_layer(study, before if chosen is None else chosen)


def _go_to_layer(study: Study, layer: int) -> None:
    state.write(state.changed(study, layer=layer, concept=None), grid_query.page_query(1))


def _count(
    listed: LayerCatalogue, query: GridQuery, found: np.ndarray, first: int, n_shown: int
) -> str:
    whole = f"the {words.count(len(listed), 'concept')} of layer {listed.layer}"
    text = f"{first + 1:,} to {first + n_shown:,} of " if n_shown else "None of "
    fit = f"{len(found):,} that fit, of " if 0 < len(found) < len(listed) else ""
    text += fit + whole
    if listed.n_never_active:
        text += f", {listed.n_never_active:,} active in no training image"
    if listed.layer == 1:
        text += " · no parents and no AUC in the first layer"
    return escape(text)


def _nothing(study: Study, listed: LayerCatalogue, query: GridQuery) -> None:
    """Say that nothing was found here, and where else there is something."""
    what = f"‘{escape(query.find)}’" if query.find else f"‘{_KIND_NAMES[query.show]}’"
    others = [
        (
            layer,
            len(catalogue(study, layer, study.naming.revision).find(query.find, kind=query.show)),
        )
        for layer in range(1, study.n_layers + 1)
    ]
    others = [(layer, n) for layer, n in others if n]
    advice = (
        "There are in other layers:"
        if others
        else "Nor does one of any other layer. Search for a part of a name, an attribute or value, "
        "or a number such as L7/609."
    )
    st.html(f"<p class='cg-sentence'>No concept of layer {listed.layer} fits {what}. {advice}</p>")
    with st.container(key="cg-elsewhere", horizontal=True, gap="small"):
        for layer, n in others:
            st.button(
                f"Layer {layer} ({n:,})",
                on_click=_go_to_layer,
                args=(study, layer),
                type="tertiary",
            )
        st.button("Show all concepts of the layer", on_click=_clear)


def _clear() -> None:
    grid_query.change(find="", show="all", page=1)


def _pages(query: GridQuery, n_found: int) -> None:
    n_pages = -(-n_found // PAGE_LENGTH)
    if n_pages < 2:
        return
    steps = (
        ("⇤ First", 1, query.page > 1),
        ("← Previous page", query.page - 1, query.page > 1),
        ("Next page →", query.page + 1, query.page < n_pages),
        ("Last ⇥", n_pages, query.page < n_pages),
    )
    with st.container(key="cg-pages", horizontal=True, vertical_alignment="center", gap="small"):
        for place, (label, page, possible) in enumerate(steps):
            if place == 2:
                st.html(
                    f"<span class='cg-quiet'>page {query.page:,} of {n_pages:,}</span>",
                    width="content",
                )
            st.button(
                label,
                on_click=grid_query.change,
                kwargs={"page": page},
                disabled=not possible,
                type="tertiary",
            )


def _csv(study: Study, listed: LayerCatalogue, found: np.ndarray) -> str:
    from cgraph.trace_export import cell_text

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    measured = measured_concepts(study)
    writer.writerow([*_COLUMNS, *(_STABILITY if measured.has_stability else ())])
    for index in found.tolist():
        concept = ConceptId(listed.layer, index)
        auc = float(listed.auc[index])
        truth = measured.of(concept) if measured.has_stability else None
        writer.writerow(
            [
                concept,
                cell_text(concept_name(study, concept)),
                float(listed.prevalence[index]),
                auc if words.known(auc) else "",
                listed.n_parents[index],
                listed.n_children[index],
                *(() if truth is None else _again(truth)),
            ]
        )
    return buffer.getvalue()


def _again(truth: ConceptTruth) -> tuple[str, float | str]:
    """Return the cells of `_STABILITY`; empty ones of a dead concept."""
    if truth.found_again is None:
        return "", ""
    return "yes" if truth.found_again else "no", truth.cosine
