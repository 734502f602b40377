"""A pair of layers as a matrix, and the cell that is selected in it.

The matrix is large and the same for every click, the selection small: two components, as in
`trace_graph`.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cgraph.ui.components import static_text
from cgraph.ui.matrix_drawing import MatrixPicture

_matrix = st.components.v2.component(
    "cgraph_pair_matrix",
    html=static_text("pair_matrix.html"),
    css=static_text("pair_matrix.css"),
    js=static_text("figure_export.js") + static_text("pair_matrix.js"),
)

_selection = st.components.v2.component(
    "cgraph_pair_selection", html="<i hidden></i>", js=static_text("pair_selection.js")
)


def pair_matrix(
    picture: MatrixPicture,
    *,
    cell: tuple[int, int] | None,
    row: int | None,
    column: int | None,
    key: str,
    on_pick: Callable[[], None],
) -> None:
    """Show a matrix.

    Parameters
    ----------
    picture : MatrixPicture
    cell : tuple of (int, int) or None
        Row and column of the cell that is selected.
    row, column : int or None
        Row or column that holds the concept that is selected.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the cell that was chosen, as
        ``row.column``, or an empty text when the selection was cleared.
    on_pick : callable
        Called after a choice, before the page runs again.
    """
    _matrix(
        key=key,
        data={"revision": picture.revision, "picture": picture.text},
        on_picked_change=on_pick,
    )
    _selection(
        key=f"{key}.selection",
        data={
            "revision": picture.revision,
            "cell": "" if cell is None else f"{cell[0]}.{cell[1]}",
            "row": row,
            "column": column,
        },
    )
