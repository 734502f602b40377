"""The concepts of a pair as a list to search, to sort and to choose from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.study import Study
from cgraph.ui import gallery, words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.pair_facts import PairFacts

PAGE_LENGTH = 8

_SORT = "evaluation.sort"
_SEARCH = "evaluation.search"
_PAGE = "evaluation.page"
_LIST = "evaluation.list"

_ORDERS: dict[str, tuple[str, float]] = {
    "AUC, lowest first": ("auc", 1.0),
    "AUC, highest first": ("auc", -1.0),
    "natural F1, lowest first": ("f1_natural", 1.0),
    "most parents first": ("n_parents", -1.0),
    "fewest parents first": ("n_parents", 1.0),
    "most frequent first": ("prevalence", -1.0),
    "rarest first": ("prevalence", 1.0),
    "by number": ("index", 1.0),
}


def concept_choice(
    study: Study,
    facts: PairFacts,
    selected: ConceptId | None,
    *,
    on_concept: Callable[[str | None], None],
) -> None:
    """Show the scored concepts of a pair.

    Parameters
    ----------
    study : Study
    facts : PairFacts
    selected : ConceptId or None
        The one that is on show.
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    wanted = st.text_input("Search", key=_SEARCH, placeholder="name or number, such as 12").strip()
    order = st.selectbox("Sorted by", list(_ORDERS), key=_SORT)
    found = _found(study, facts, wanted)
    if not len(found):
        st.html(
            f"<p class='cg-quiet'>No scored concept of layer {facts.right} is called "
            "so. Search for a part of a name, or for a number.</p>"
        )
        return
    column, sign = _ORDERS[order]
    values = np.nan_to_num(sign * facts.columns[column][found].astype(np.float64), nan=np.inf)
    ranked = found[np.lexsort((facts.scored[found], values))]
    n_pages = -(-len(ranked) // PAGE_LENGTH)
    turned = (study.name, facts.right, wanted, order)
    page = st.session_state.get(_PAGE)
    if page is None or page[0] != turned:
        page = (turned, 0)
        st.session_state[_PAGE] = page
    first = (page[1] % n_pages) * PAGE_LENGTH
    shown = ranked[first : first + PAGE_LENGTH]
    concept_list(
        [_row(study, facts, int(place), selected) for place in shown],
        label=f"Concepts of layer {facts.right}",
        key=_LIST,
        on_pick=lambda: on_concept(st.session_state[_LIST]["picked"]),
    )
    with st.container(key="cg-pages", horizontal=True, vertical_alignment="center", gap="small"):
        alone = n_pages < 2
        st.button("← Previous", on_click=_turn, args=(page, -1), disabled=alone, type="tertiary")
        st.html(
            f"<span class='cg-quiet'>{first + 1:,} to {first + len(shown):,} of {len(ranked):,}"
            "</span>",
            width="content",
        )
        st.button("Next →", on_click=_turn, args=(page, 1), disabled=alone, type="tertiary")


def _turn(page: tuple[tuple[str, int, str, str], int], step: int) -> None:
    st.session_state[_PAGE] = (page[0], page[1] + step)


def _found(study: Study, facts: PairFacts, wanted: str) -> np.ndarray:
    """Return the places of the scored concepts that a search finds: all of them without one."""
    if not wanted:
        return np.arange(len(facts.scored))
    text = wanted.casefold()
    number = text.removeprefix(f"l{facts.right}/")
    if number.isdecimal():
        return np.flatnonzero(facts.scored == int(number)) if len(number) < 10 else np.empty(0, int)
    return np.array(
        [
            place
            for place, index in enumerate(facts.scored)
            if text in gallery.concept_name(study, ConceptId(facts.right, int(index))).casefold()
        ],
        dtype=int,
    )


def _row(study: Study, facts: PairFacts, place: int, selected: ConceptId | None) -> ConceptRow:
    concept = ConceptId(facts.right, int(facts.scored[place]))
    row = {name: values[place] for name, values in facts.columns.items()}
    here = "on show · " if concept == selected else ""
    return ConceptRow(
        id=str(concept),
        name=gallery.concept_name(study, concept),
        image=gallery.concept_image(study, concept),
        note=f"{here}AUC {words.fraction(row['auc'])} · "
        f"{words.count(int(row['n_parents']), 'parent')} · {words.percent(row['prevalence'])}",
        weight=0.0,
        text="",
        share=None,
        active=True,
    )
