"""A pair of layers as a matrix: parents down, children across, alike concepts side by side.

Rows and columns are brought into an order by spectral co-clustering (Dhillon 2001): the leading
singular vectors of the weights, each row and column scaled by the root of its sum, place parents
and children in one space, where k-means groups them. Groups follow one another along the second
vector, and so do the concepts within each. The vectors come from a few steps of subspace iteration
(Halko, Martinsson and Tropp 2011) over the sparse weights; the dense matrix is never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.edge_index import LayerEdges
from cgraph.errors import ConfigError

if TYPE_CHECKING:
    from scipy import sparse

MOST_GROUPS = 16
"""Most groups that concepts are brought into."""

_EXTRA = 6  # vectors beyond those used, which makes the used ones more exact
_STEPS = 12


@dataclass(frozen=True)
class Seriation:
    """An order of the concepts of two layers.

    Attributes
    ----------
    parents, children : ndarray of int64
        Indices of all concepts of each layer, in the order of rows and of columns. Concepts
        without an edge come last.
    parent_groups, child_groups : ndarray of int64
        Group of each row and column, rising; groups of both are numbered alike, so that a group of
        parents predicts mainly the children of its number. -1 for concepts without an edge.
    """

    parents: np.ndarray
    children: np.ndarray
    parent_groups: np.ndarray
    child_groups: np.ndarray


@dataclass(frozen=True)
class BinnedMatrix:
    """Weights of a pair of layers, summed over cells of some rows by some columns.

    Attributes
    ----------
    row_bounds, column_bounds : ndarray of int64, shape (n_rows + 1,) and (n_columns + 1,)
        Places in the order of the concepts at which each row and column of cells begins, and the
        end.
    row, column : ndarray of int64, shape (n_cells,)
        Cells that hold an edge, by row, then column.
    n_edges : ndarray of int64, shape (n_cells,)
    raising, lowering : ndarray of float64, shape (n_cells,)
        Sum of the positive weights, and of the absolute negative ones.
    strongest : ndarray of int64, shape (n_cells,)
        Entry of the edge with the largest absolute weight, among the edges into the layer.
    """

    row_bounds: np.ndarray
    column_bounds: np.ndarray
    row: np.ndarray
    column: np.ndarray
    n_edges: np.ndarray
    raising: np.ndarray
    lowering: np.ndarray
    strongest: np.ndarray


def seriate(edges: LayerEdges, *, seed: int = 0) -> Seriation:
    """Bring parents and children into an order in which alike ones are neighbours.

    Parameters
    ----------
    edges : LayerEdges
        Into one layer.
    seed : int
        Of the first guess of the vectors and of k-means.

    Returns
    -------
    Seriation
        The same edges and seed always give the same order.
    """
    from scipy import sparse

    shape = edges.n_children, edges.n_parents
    sizes = np.abs(edges.weights).astype(np.float64)
    sums = np.bincount(edges.parents, sizes, shape[1]), np.bincount(edges.children, sizes, shape[0])
    live = [np.flatnonzero(total > 0) for total in sums]
    if min(map(len, live)) == 0:
        return _without_groups(shape)
    scales = [np.sqrt(np.divide(1, s, out=np.zeros(len(s)), where=s > 0)) for s in sums]
    scaled = sizes * scales[1][edges.children] * scales[0][edges.parents]
    matrix = sparse.csr_array((scaled, edges.parents, edges.starts), shape=shape).T.tocsr()
    matrix = matrix[live[0]][:, live[1]]
    n_groups = int(np.clip(np.sqrt(min(matrix.shape)), 1, MOST_GROUPS))
    left, right = _singular_vectors(matrix, n_groups, seed)
    # The first vector only tells how large the sums are.
    places = [
        scales[0][live[0]][:, None] * left[:, 1:],
        scales[1][live[1]][:, None] * right[:, 1:],
    ]
    groups = _group(np.concatenate(places), n_groups, seed)
    split = np.split(groups, [len(live[0])])
    along = [place[:, 0] if place.shape[1] else np.zeros(len(place)) for place in places]
    orders, labels = [], []
    for side in (0, 1):
        order = np.lexsort((live[side], along[side], split[side]))
        dead = np.setdiff1d(np.arange(len(sums[side])), live[side])
        orders.append(np.concatenate([live[side][order], dead]))
        labels.append(np.concatenate([split[side][order], np.full(len(dead), -1)]))
    return Seriation(orders[0], orders[1], labels[0], labels[1])


def _without_groups(shape: tuple[int, int]) -> Seriation:
    children, parents = shape
    return Seriation(
        np.arange(parents), np.arange(children), np.full(parents, -1), np.full(children, -1)
    )


def _singular_vectors(matrix: sparse.csr_array, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `n` left and right singular vectors, largest value first."""
    width = min(n + _EXTRA, *matrix.shape)
    transposed = matrix.T.tocsr()
    start = np.random.default_rng(seed).normal(size=(transposed.shape[0], width))
    basis = np.linalg.qr(matrix @ start)[0]
    for _ in range(_STEPS):
        basis = np.linalg.qr(transposed @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    small, _, right = np.linalg.svd((transposed @ basis).T, full_matrices=False)
    left = basis @ small
    # Of a vector and its opposite the one whose largest entry is positive.
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    return (left * signs)[:, :n], (right.T * signs)[:, :n]


def _group(places: np.ndarray, n_groups: int, seed: int) -> np.ndarray:
    """Return the group of each place; groups are numbered along the first coordinate."""
    if n_groups < 2:
        return np.zeros(len(places), dtype=np.int64)
    from scipy.cluster.vq import kmeans2

    _, labels = kmeans2(
        places, n_groups, iter=30, minit="++", rng=np.random.default_rng(seed), missing="warn"
    )
    used = np.unique(labels)
    middles = [places[labels == group, 0].mean() for group in used]
    rank = np.empty(n_groups, dtype=np.int64)
    rank[used[np.argsort(middles, kind="stable")]] = np.arange(len(used))
    return rank[labels]


def bin_matrix(edges: LayerEdges, order: Seriation, most: int) -> BinnedMatrix:
    """Sum weights over cells, over the edges alone.

    Parameters
    ----------
    edges : LayerEdges
        Into one layer; all, or those that a filter keeps.
    order : Seriation
        Of the concepts of both layers.
    most : int
        Most cells along a side; a cell of few concepts holds one of each.

    Returns
    -------
    BinnedMatrix

    Raises
    ------
    ConfigError
        If `most` is below 1.
    """
    if most < 1:
        raise ConfigError(f"{most} cells along a side are asked for: at least 1 is needed.")
    bounds = [_bounds(len(order.parents), most), _bounds(len(order.children), most)]
    ends = edges.parents, edges.children
    cells = []
    for concepts, bound, index in zip((order.parents, order.children), bounds, ends, strict=True):
        place = np.empty(len(concepts), dtype=np.int64)
        place[concepts] = np.arange(len(concepts))
        cells.append(np.searchsorted(bound, place, side="right")[index] - 1)
    n_columns = len(bounds[1]) - 1
    key = cells[0] * n_columns + cells[1]
    n_cells = (len(bounds[0]) - 1) * n_columns
    counts = np.bincount(key, minlength=n_cells)
    weights = edges.weights.astype(np.float64)
    raising = np.bincount(key, np.maximum(weights, 0), n_cells)
    lowering = np.bincount(key, np.maximum(-weights, 0), n_cells)
    by_weight = np.lexsort((-np.abs(weights), key))
    filled = np.flatnonzero(counts)
    starts = np.cumsum(counts[filled]) - counts[filled]
    return BinnedMatrix(
        row_bounds=bounds[0],
        column_bounds=bounds[1],
        row=filled // n_columns,
        column=filled % n_columns,
        n_edges=counts[filled],
        raising=raising[filled],
        lowering=lowering[filled],
        strongest=by_weight[starts],
    )


def _bounds(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n, min(n, most) + 1).astype(np.int64)
