"""The order in which a layered drawing places the concepts of a trace, with few crossings.

Weighted barycentre sweeps (Sugiyama, Tagawa and Toda 1981): every concept moves to the mean
position of its neighbours in the layer just ordered, weighted by how much the edges contribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.trace import Trace, TraceEdge

_MAX_SWEEPS = 24


@dataclass(frozen=True)
class _Row:
    """Edges between two adjacent layers; ends are places in the order that the layers came in."""

    parents: np.ndarray
    children: np.ndarray
    pulls: np.ndarray


def order_layers(
    trace: Trace, edges: Sequence[TraceEdge] | None = None
) -> list[tuple[ConceptId, ...]]:
    """Order the concepts of each layer so that few of the drawn edges cross.

    Parameters
    ----------
    trace : Trace
    edges : sequence of TraceEdge, optional
        Edges that are drawn; all of the trace if not given.

    Returns
    -------
    list of tuple of ConceptId
        Concepts of layers 1..L in drawing order. Never more crossings than the trace's own order;
        the same trace and edges always give the same order.
    """
    drawn = trace.edges if edges is None else edges
    return order_concepts(
        [tuple(active.concept for active in layer) for layer in trace.layers],
        [(edge.parent, edge.child, edge.contribution) for edge in drawn],
    )


def order_concepts(
    layers: Sequence[Sequence[ConceptId]], edges: Iterable[tuple[ConceptId, ConceptId, float]]
) -> list[tuple[ConceptId, ...]]:
    """Order the concepts of each layer so that few edges cross.

    Parameters
    ----------
    layers : sequence of sequence of ConceptId
        Concepts of layers 1..L; a layer may be empty.
    edges : iterable of (parent, child, pull)
        Every end is among the concepts. The larger the absolute pull, the nearer the ends come.

    Returns
    -------
    list of tuple of ConceptId
        Never more crossings than the order that the concepts came in.
    """
    rows = _rows(layers, edges)
    places = [np.arange(len(layer)) for layer in layers]
    best, fewest = places, _crossings(places, rows)
    for sweep in range(_MAX_SWEEPS):
        if fewest == 0:
            break
        places = _sweep(places, rows, downwards=sweep % 2 == 0)
        crossings = _crossings(places, rows)
        if crossings < fewest:
            best, fewest = places, crossings
    return [
        tuple(layer[place] for place in np.argsort(order))
        for layer, order in zip(layers, best, strict=True)
    ]


def count_crossings(orders: Sequence[Sequence[ConceptId]], edges: Sequence[TraceEdge]) -> int:
    """Count the pairs of edges that cross when each layer is drawn in the given order.

    Parameters
    ----------
    orders : sequence of sequence of ConceptId
        Concepts of layers 1..L; every end of an edge is among them.
    edges : sequence of TraceEdge

    Returns
    -------
    int
        Edges that share an end do not cross.
    """
    pulls = [(edge.parent, edge.child, edge.contribution) for edge in edges]
    return _crossings([np.arange(len(order)) for order in orders], _rows(orders, pulls))


def _rows(
    layers: Sequence[Sequence[ConceptId]], edges: Iterable[tuple[ConceptId, ConceptId, float]]
) -> list[_Row]:
    """Return the edges from each layer but the last to the next."""
    place = {concept: i for layer in layers for i, concept in enumerate(layer)}
    rows: list[list[tuple[int, int, float]]] = [[] for _ in layers[1:]]
    for parent, child, pull in edges:
        rows[parent.layer - 1].append((place[parent], place[child], abs(pull)))
    arrays = [np.array(row, dtype=np.float64).reshape(-1, 3).T for row in rows]
    return [_Row(a[0].astype(np.int64), a[1].astype(np.int64), a[2]) for a in arrays]


def _crossings(places: Sequence[np.ndarray], rows: Sequence[_Row]) -> int:
    """Count crossings, given the place of every concept in its layer."""
    n_crossings = 0
    for layer, row in enumerate(rows):
        left, right = places[layer][row.parents], places[layer + 1][row.children]
        product = (left[:, None] - left) * (right[:, None] - right)
        n_crossings += int(np.count_nonzero(product < 0)) // 2
    return n_crossings


def _sweep(
    places: Sequence[np.ndarray], rows: Sequence[_Row], *, downwards: bool
) -> list[np.ndarray]:
    """Order every layer by the one just ordered, from the first layer on or from the last."""
    places = list(places)
    steps = range(len(rows)) if downwards else range(len(rows) - 1, -1, -1)
    for step in steps:
        row = rows[step]
        if downwards:
            fixed, moved, others, own = step, step + 1, row.parents, row.children
        else:
            fixed, moved, others, own = step + 1, step, row.children, row.parents
        n = len(places[moved])
        # A concept without neighbours stays where it is.
        centre = places[moved].astype(np.float64)
        total = np.bincount(own, row.pulls, n)
        pulled = np.bincount(own, row.pulls * places[fixed][others], n)
        np.divide(pulled, total, out=centre, where=total > 0)
        place = np.empty(n, dtype=np.int64)
        place[np.lexsort((places[moved], centre))] = np.arange(n)
        places[moved] = place
    return places
