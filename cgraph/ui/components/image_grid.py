"""Pictures to choose from, in one row or in a grid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from cgraph.ui.components import revision_of, static_text


@dataclass(frozen=True)
class GridImage:
    """A picture: what is reported when it is chosen, what is read out, and its data URI."""

    id: str
    label: str
    image: str


_component = st.components.v2.component(
    "cgraph_image_grid",
    html=static_text("image_grid.html"),
    css=static_text("image_grid.css"),
    js=static_text("image_grid.js"),
)


def image_grid(
    images: Sequence[GridImage],
    *,
    label: str,
    key: str,
    on_pick: Callable[[], None],
    selected: str | None = None,
    ticked: Collection[str] | None = None,
    columns: int | None = None,
) -> None:
    """Show pictures.

    Parameters
    ----------
    images : sequence of GridImage
    label : str
        What the pictures are, for screen readers.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the id that was chosen.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    selected : str, optional
        Id of the picture that is marked.
    ticked : collection of str, optional
        Ids of pictures that are switched on; each pick then means to switch one.
    columns : int, optional
        Columns of the grid; without it all pictures stand in one row.
    """
    _component(
        key=key,
        data={
            "revision": revision_of(
                label, *(text for image in images for text in (image.id, image.label, image.image))
            ),
            # Of a list Streamlit asks pandas what it is, and loads it for that.
            "items": tuple(asdict(image) for image in images),
            "label": label,
            "selected": selected,
            "ticked": None if ticked is None else tuple(ticked),
            "columns": columns,
        },
        on_picked_change=on_pick,
    )
