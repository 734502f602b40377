"""A list of concepts with weights: the parents or the children of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from cgraph.ui.components import revision_of, static_text


@dataclass(frozen=True)
class ConceptRow:
    """One line of the list.

    Attributes
    ----------
    id : str
        The concept, as people write it.
    name : str
        What people call it; empty for a concept without a name.
    image : str
        Data URI of its thumbnail; empty for a concept that no training image has.
    note : str
        A few words beneath the name.
    weight : float
        Decides the colour.
    text : str
        The weight as it is written.
    share : float or None
        Length of the bar, −1 to 1; ``None`` for no bar.
    active : bool
        Whether it is active in the image; others are greyed.
    measured : str
        What was measured of the edge to it, in a line of its own; nothing for no line.
    """

    id: str
    name: str
    image: str
    note: str
    weight: float
    text: str
    share: float | None
    active: bool
    measured: str = ""


_component = st.components.v2.component(
    "cgraph_concept_list",
    html=static_text("concept_list.html"),
    css=static_text("concept_list.css"),
    js=static_text("concept_list.js"),
)


def concept_list(
    rows: Sequence[ConceptRow], *, label: str, key: str, on_pick: Callable[[], None]
) -> None:
    """Show a list of concepts.

    Parameters
    ----------
    rows : sequence of ConceptRow
    label : str
        What the concepts are, for screen readers.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the id that was chosen.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    """
    # Of a list Streamlit asks pandas what it is, so this is a tuple.
    items = tuple(
        {name: value for name, value in asdict(row).items() if name != "measured" or value}
        for row in rows
    )
    _component(
        key=key,
        data={"revision": revision_of(label, *map(repr, rows)), "items": items, "label": label},
        on_picked_change=on_pick,
    )
