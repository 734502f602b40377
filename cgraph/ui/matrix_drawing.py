"""What the browser needs to draw a pair of layers as a matrix of cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edge_index import LayerEdges
from cgraph.pair_matrix import BinnedMatrix, Seriation, bin_matrix
from cgraph.ui import words
from cgraph.ui.components import revision_of

MOST_CELLS = 64
"""Most cells along a side."""

NOTES = (
    "rows: parents · columns: children · square, orange: raises · bar, blue: lowers · "
    "depth of colour: sum of absolute weights · lines: groups · cgraph"
)
"""Line below a figure that somebody saves."""


@dataclass(frozen=True)
class MatrixPicture:
    """A matrix, ready to be drawn.

    Attributes
    ----------
    text : str
        The drawing as JSON.
    revision : str
        Changes when, and only when, the drawing does.
    order : Seriation
    cells : BinnedMatrix
    edges : LayerEdges
        That are drawn.
    """

    text: str
    revision: str
    order: Seriation
    cells: BinnedMatrix
    edges: LayerEdges

    @property
    def is_binned(self) -> bool:
        """Whether a cell can stand for several pairs of concepts."""
        longer = max(len(self.order.parents), len(self.order.children))
        return longer > MOST_CELLS

    def members(self, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the parents and of the children of a cell."""
        rows, columns = self.cells.row_bounds, self.cells.column_bounds
        return (
            self.order.parents[rows[row] : rows[row + 1]],
            self.order.children[columns[column] : columns[column + 1]],
        )

    def entries(self, cell: tuple[int, int] | None = None) -> np.ndarray:
        """Return the places of all edges, or of those of a cell, largest absolute weight first."""
        entries = np.arange(len(self.edges.weights))
        if cell is not None:
            parents, children = self.members(*cell)
            of_parent = np.zeros(self.edges.n_parents, dtype=bool)
            of_child = np.zeros(self.edges.n_children, dtype=bool)
            of_parent[parents] = True
            of_child[children] = True
            entries = entries[of_parent[self.edges.parents] & of_child[self.edges.children]]
        sizes = np.abs(self.edges.weights[entries])
        return entries[np.argsort(-sizes, kind="stable")]


def draw_matrix(
    edges: LayerEdges,
    order: Seriation,
    child_layer: int,
    name_of: Callable[[ConceptId], str],
    *,
    caption: str = "",
    file_name: str = "pair",
) -> MatrixPicture:
    """Prepare the drawing of a pair of layers.

    Parameters
    ----------
    edges : LayerEdges
        Those to draw.
    order : Seriation
    child_layer : int
    name_of : callable
        What people call a concept; empty for one without a name.
    caption, file_name : str
        Line above a figure that somebody saves, and its name without the ending.

    Returns
    -------
    MatrixPicture
    """
    cells = bin_matrix(edges, order, MOST_CELLS)
    heads = []
    sides = (
        (order.parents, order.parent_groups, cells.row_bounds, child_layer - 1),
        (order.children, order.child_groups, cells.column_bounds, child_layer),
    )
    for concepts, _, bounds, layer in sides:
        heads.append([_head(concepts[a:b], layer, name_of) for a, b in _spans(bounds)])
    total = cells.raising + cells.lowering
    strongest = cells.strongest
    columns = (
        cells.row,
        cells.column,
        cells.n_edges,
        np.round(cells.raising, 2),
        np.round(cells.lowering, 2),
        edges.parents[strongest],
        edges.children[strongest],
        np.round(edges.weights[strongest].astype(np.float64), 2),
    )
    picture = {
        "label": f"Weights from layer {child_layer - 1} to layer {child_layer}: "
        f"{words.count(len(edges.weights), 'edge')} in {words.count(len(total), 'cell')}.",
        "caption": caption,
        "notes": NOTES,
        "file": file_name,
        "layers": [child_layer - 1, child_layer],
        "rows": heads[0],
        "columns": heads[1],
        "rowGroups": _edges_of_groups(order.parent_groups, cells.row_bounds),
        "columnGroups": _edges_of_groups(order.child_groups, cells.column_bounds),
        "most": round(float(total.max()), 3) if len(total) else 1.0,
        "cells": [list(cell) for cell in zip(*(c.tolist() for c in columns), strict=True)],
    }
    text = json.dumps(picture, separators=(",", ":"), ensure_ascii=False)
    return MatrixPicture(text, revision_of(text), order, cells, edges)


def _spans(bounds: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


def _head(concepts: np.ndarray, layer: int, name_of: Callable[[ConceptId], str]) -> list[object]:
    """Return what a row or column is called, and how many concepts it holds."""
    if len(concepts) > 1:
        return [f"{len(concepts)} concepts of layer {layer}", len(concepts)]
    concept = ConceptId(layer, int(concepts[0]))
    name = name_of(concept)
    return [f"{name} ({concept})" if name else str(concept), 1]


def _edges_of_groups(groups: np.ndarray, bounds: np.ndarray) -> list[float]:
    """Return where one group ends and the next begins, counted in cells."""
    places = np.flatnonzero(np.diff(groups)) + 1
    return np.round(np.interp(places, bounds, np.arange(len(bounds))), 3).tolist()
