"""Concepts as cards: pictures from high to low activation, name, figures, relations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from cgraph.ui.components import revision_of, static_text


@dataclass(frozen=True)
class ConceptCard:
    """One card.

    Attributes
    ----------
    id : str
        The concept, as people write it.
    name : str
        What people call it, with the mark of its kind; empty without a name.
    strip : str
        Data URI of its exemplars side by side; empty if no training image has it.
    bands : tuple of (str, int)
        What each part of the strip shows, and how many of its pictures.
    figures : tuple of (str, str)
        Short figures with what they are.
    relations : tuple of (str, tuple of (str, str))
        Kind of relation and how many there are, then each relative's name and signed weight.
    label : str
        The card in words, for screen readers.
    """

    id: str
    name: str
    strip: str
    bands: tuple[tuple[str, int], ...]
    figures: tuple[tuple[str, str], ...]
    relations: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    label: str


_component = st.components.v2.component(
    "cgraph_card_grid",
    html=static_text("card_grid.html"),
    css=static_text("card_grid.css"),
    js=static_text("card_grid.js"),
)


def card_grid(
    cards: Sequence[ConceptCard], *, label: str, key: str, on_pick: Callable[[], None]
) -> None:
    """Show concepts as cards.

    Parameters
    ----------
    cards : sequence of ConceptCard
        Those of one page; nothing else is sent.
    label : str
        What they are, for screen readers.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the id that was chosen.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    """
    _component(
        key=key,
        data={
            "revision": revision_of(label, *map(repr, cards)),
            # Of a list Streamlit asks pandas what it is, and loads it for that.
            "items": tuple(asdict(card) for card in cards),
            "label": label,
        },
        on_picked_change=on_pick,
    )
