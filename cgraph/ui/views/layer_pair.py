"""A pair of layers: its weights as a matrix, and its strongest edges as a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_filter import EdgeFilter
from cgraph.study_graph import StudyGraph
from cgraph.subgraph import GraphEdge, Subgraph, edges_at
from cgraph.ui import words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.components.pair_matrix import pair_matrix
from cgraph.ui.edge_words import column_words, edge_parts
from cgraph.ui.graph_facts import Exported, Shown
from cgraph.ui.matrix_drawing import MatrixPicture, draw_matrix
from cgraph.ui.terms import term

N_EDGES = 10

_MATRIX = "graph.matrix"
_EDGES = "graph.edges"
_PAIR = "graph.pair"


@lru_cache(maxsize=24)
def _picture(of: StudyGraph, wanted: EdgeFilter, child_layer: int, caption: str) -> MatrixPicture:
    return draw_matrix(
        of.filtered(wanted).layer_edges(child_layer),
        of.seriation(child_layer),
        child_layer,
        of.name,
        caption=f"layer {child_layer - 1} to {child_layer} · {caption}",
        file_name=f"pair-{of.study.name}-{child_layer - 1}-{child_layer}",
    )


def layer_pair(
    shown: Shown,
    *,
    on_concept: Callable[[str | None], None],
    on_change: Callable[[dict[str, Any]], None],
) -> Exported:
    """Show a pair of layers.

    Parameters
    ----------
    shown : Shown
    on_concept : callable
        Called with the id of a concept that somebody chose.
    on_change : callable
        Called with changes of what is shown.

    Returns
    -------
    Exported
        Every edge of the pair that the filter keeps, or those of the selected cell.
    """
    layer = shown.pair
    picture = _picture(shown.of, shown.query.wanted, layer, shown.caption)
    cell = shown.query.cell
    n_rows, n_columns = len(picture.cells.row_bounds) - 1, len(picture.cells.column_bounds) - 1
    if cell is not None and not (cell[0] < n_rows and cell[1] < n_columns):
        st.warning(
            f"The link selects cell {cell[0]}.{cell[1]}; this matrix has {n_rows} rows and "
            f"{n_columns} columns. It was left out."
        )
        cell = None
    matrix, table = st.columns([0.6, 0.4], gap="medium")
    with matrix:
        _pair_choice(shown, on_change)
        st.html(f"<p class='cg-quiet'>{_about(shown, picture)}</p>")
        pair_matrix(
            picture,
            cell=cell,
            row=_place(shown.concept, layer - 1, picture.order.parents, picture.cells.row_bounds),
            column=_place(
                shown.concept, layer, picture.order.children, picture.cells.column_bounds
            ),
            key=_MATRIX,
            on_pick=lambda: on_change(_cell_changes(shown, st.session_state[_MATRIX]["picked"])),
        )
    entries = picture.entries(cell)
    with table:
        edges = edges_at(shown.graph, layer, entries[:N_EDGES])
        _table(shown, edges, len(entries), cell, on_concept)
    what = f"layer-{layer - 1}-{layer}" + (f"-cell-{cell[0]}-{cell[1]}" if cell else "")
    rising = np.sort(entries)
    return Exported(
        lambda: _part(shown, layer, rising),
        shown.file_name(what),
        f"{words.count(len(entries), 'edge')} from layer {layer - 1} to {layer}"
        + (", of one cell" if cell else ""),
    )


def _part(shown: Shown, layer: int, entries: np.ndarray) -> Subgraph:
    edges = edges_at(shown.graph, layer, entries)
    return Subgraph(
        tuple(sorted({concept for edge in edges for concept in edge.ends})), tuple(edges)
    )


def _pair_choice(shown: Shown, on_change: Callable[[dict[str, Any]], None]) -> None:
    layers = list(range(2, shown.graph.n_layers + 1))
    place = layers.index(shown.pair)

    def go(layer: int) -> None:
        on_change({"view": "pair", "pair": layer, "cell": None})

    st.session_state[_PAIR] = shown.pair
    with st.container(
        key="cg-pair-choice", horizontal=True, vertical_alignment="center", gap="small"
    ):
        st.button(
            "← Earlier",
            on_click=go,
            args=(layers[max(0, place - 1)],),
            disabled=place == 0,
            type="tertiary",
        )
        st.selectbox(
            "Layers",
            layers,
            format_func=lambda layer: f"layer {layer - 1} → {layer}",
            key=_PAIR,
            on_change=lambda: go(st.session_state[_PAIR]),
            label_visibility="collapsed",
            width=160,
        )
        st.button(
            "Later →",
            on_click=go,
            args=(layers[min(len(layers) - 1, place + 1)],),
            disabled=place == len(layers) - 1,
            type="tertiary",
        )


def _about(shown: Shown, picture: MatrixPicture) -> str:
    whole = len(shown.of.graph.layer_edges(shown.pair).weights)
    kept = len(picture.edges.weights)
    sides = f"{len(picture.order.parents):,} × {len(picture.order.children):,} concepts"
    edges = words.count(whole, "edge")
    if kept < whole:
        edges = f"{kept:,} of {edges} kept by the filters"
    n_groups = int(picture.order.parent_groups.max(initial=-1)) + 1
    groups = f", in {words.count(n_groups, 'group')} that go together" if n_groups > 1 else ""
    binned = ""
    if picture.is_binned:
        rows, columns = picture.cells.row_bounds, picture.cells.column_bounds
        sizes = [-(-int(b[-1]) // (len(b) - 1)) for b in (rows, columns)]
        binned = f". A cell holds up to {sizes[0]} × {sizes[1]} pairs"
    return f"{sides}{groups} · {edges}{binned}"


def _place(
    concept: ConceptId | None, layer: int, order: np.ndarray, bounds: np.ndarray
) -> int | None:
    """Return the row or column of a concept, if it is in that layer."""
    if concept is None or concept.layer != layer:
        return None
    place = int(np.flatnonzero(order == concept.index)[0])
    return int(np.searchsorted(bounds, place, side="right")) - 1


def _cell_changes(shown: Shown, picked: str | None) -> dict[str, Any]:
    changes: dict[str, Any] = {"view": "pair", "pair": shown.pair, "cell": None}
    if picked:
        row, column = picked.split(".")
        changes["cell"] = int(row), int(column)
    return changes


def _table(
    shown: Shown,
    edges: list[GraphEdge],
    n_all: int,
    cell: tuple[int, int] | None,
    on_concept: Callable[[str | None], None],
) -> None:
    where = "of the cell" if cell else f"from layer {shown.pair - 1} to {shown.pair}"
    st.html(f"<h3 class='cg-section cg-first'>Strongest edges {escape(where)}</h3>")
    if not edges:
        st.html(
            "<p class='cg-quiet'>There is none"
            + (" that the filters keep." if shown.query.wanted.changed else ".")
            + "</p>"
        )
        return
    number = f"{len(edges)} of {n_all:,}" if len(edges) < n_all else f"{n_all}"
    st.html(
        f"<p class='cg-quiet'>{number}, by {term('weight')}; beneath it the "
        f"{term('selection_rate')}. The whole list is in Download.</p>"
        f"{column_words(shown.of.facts)}"
    )
    concept_table(
        [TableHead(f"Layer {shown.pair - 1}"), TableHead(f"Layer {shown.pair}")],
        [
            TableRow(
                lead=words.signed(edge.weight),
                note=_note(shown, edge),
                share=None,
                cells=[[edge.parent], [edge.child]],
                lowering=(1,) if edge.weight < 0 else (),
            )
            for edge in edges
        ],
        shown.looks,
        label=f"The strongest edges {where}, a row each: parent, then child",
        key=_EDGES,
        on_pick=lambda: on_concept(st.session_state[_EDGES]["picked"]),
        selected=shown.concept,
        joined=True,
        wide=True,
    )


def _note(shown: Shown, edge: GraphEdge) -> str:
    evidence, worth, again = edge_parts(shown.of.facts.of(*edge.ends))
    bags = f"in {words.percent(edge.selection_rate)}"
    return "\n".join(filter(None, (" · ".join(filter(None, (bags, again))), evidence, worth)))
