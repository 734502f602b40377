"""A pair of layers as a matrix: parents down, children across, alike concepts side by side.

Rows and columns are brought into an order by spectral co-clustering (Dhillon 2001): the leading
singular vectors of the weights, each row and column scaled by the root of its sum, place parents
and children in one space, where k-means groups them. Groups follow one another along the second
vector, and so do the children within each; a parent stands at the mean place of its children. The
vectors come from a few steps of subspace iteration (Halko, Martinsson and Tropp 2011) over the
sparse weights; the dense matrix is never made.
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
_STEPS = 8
_ROUNDS = 40


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
    # Without the mean in each sum, a few concepts with hardly an edge would take up the vectors
    # (Qin and Rohe 2013).
    scales = [1 / np.sqrt(total + total.mean()) for total in sums]
    scaled = sizes * scales[1][edges.children] * scales[0][edges.parents]
    matrix = sparse.csr_array((scaled, edges.parents, edges.starts), shape=shape).T.tocsr()
    matrix = matrix[live[0]][:, live[1]]
    n_groups = int(np.clip(np.sqrt(min(matrix.shape)), 1, MOST_GROUPS))
    vectors = _singular_vectors(matrix, n_groups, seed)
    groups = _group(np.concatenate([_directions(each) for each in vectors]), n_groups, seed)
    of_parents, of_children = np.split(groups, [len(live[0])])
    second = vectors[1][:, min(1, vectors[1].shape[1] - 1)] * scales[1][live[1]]
    rank = _along(of_children, second, n_groups)
    of_parents, of_children = rank[of_parents], rank[of_children]
    children = np.lexsort((live[1], second, of_children))
    # Each parent stands, within its group, where the children lie that it predicts most.
    place = np.empty(len(children))
    place[children] = np.arange(len(children))
    strong = matrix.power(2)
    middle = (strong @ place) / np.maximum(strong.sum(axis=1), np.finfo(float).tiny)
    parents = np.lexsort((live[0], middle, of_parents))
    return Seriation(
        _with_rest(live[0][parents], shape[1]),
        _with_rest(live[1][children], shape[0]),
        _padded(of_parents[parents], shape[1]),
        _padded(of_children[children], shape[0]),
    )


def _directions(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _along(groups: np.ndarray, second: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the new number of each group: by the mean of the second vector over its children."""
    counts = np.bincount(groups, minlength=n_groups)
    means = np.bincount(groups, second, n_groups) / np.maximum(counts, 1)
    means[counts == 0] = np.inf  # a group of parents alone comes last
    rank = np.empty(n_groups, dtype=np.int64)
    rank[np.argsort(means, kind="stable")] = np.arange(n_groups)
    return rank


def _with_rest(order: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([order, np.setdiff1d(np.arange(n), order)])


def _padded(groups: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([groups, np.full(n - len(groups), -1)])


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
    """Group places by k-means, begun as k-means++ does (Arthur and Vassilvitskii 2007).

    SciPy's takes a fifth of a second to load, which is longer than all of this.
    """
    rng = np.random.default_rng(seed)
    centres = places[rng.integers(len(places), size=1)]
    nearest = np.square(places - centres[0]).sum(axis=1)
    while len(centres) < n_groups and nearest.max() > 0:
        chosen = places[rng.choice(len(places), p=nearest / nearest.sum())]
        centres = np.vstack([centres, chosen])
        nearest = np.minimum(nearest, np.square(places - chosen).sum(axis=1))
    groups = np.zeros(len(places), dtype=np.int64)
    for _ in range(_ROUNDS):
        # The squared distance to a centre, less what is the same for all centres.
        found = (np.square(centres).sum(axis=1) - 2 * places @ centres.T).argmin(axis=1)
        if (found == groups).all():
            break
        groups = found
        for group in np.unique(groups):  # one that nobody is nearest to stays where it is
            centres[group] = places[groups == group].mean(axis=0)
    return groups


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
