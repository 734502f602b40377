"""What every edge is worth: how much worse its child is predicted without it, on held-out images.

"Without it" leaves out one summand of the child's log-odds, the weight times the parent's input,
and keeps the rest of the predictor as it is. That is exact for the predictor that people read, and
asks for no fit. Only images in which the parent is active change their place among the others: both
groups stay sorted, so that one merge for each edge gives both figures.

Log-odds are added up in whole numbers of a tiny unit. With ordinary numbers a sum of which a part
was taken back differs in its last bits from the sum without it, and images that the predictor
cannot tell apart would no longer be ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from cgraph.config import HELD_OUT
from cgraph.held_out import layer_inputs
from cgraph.image_parts import sampled_rows, stored_split
from cgraph.truth_tables import WORTH_SCHEMA
from cgraph.workbench import Arrays, Source, Workbench

if TYPE_CHECKING:
    from scipy import sparse

    from cgraph.edge_index import LayerEdges

_BITS = 32  # a unit of the sums is 2^-32 log-odds, or more where they are very large
_ROOM = 60  # bits of the largest sum, so that twice it still fits


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Measure what every edge is worth; see the module's docstring.

    Returns
    -------
    dict
        Table ``worth``: how far AUC and average precision of the child fall. Above 0 the edge
        helps; below, the child is predicted better without it. NaN where the held-out images have
        no positive of the child, or no negative.
    """
    study = bench.study
    layers = range(2, study.n_layers + 1)
    split, at_most = stored_split(study.path), study.config.predictor.max_measured
    rows = sampled_rows(split, HELD_OUT, at_most, study.config.seed)
    calls: list[tuple[Any, ...]] = [(layer, rows) for layer in layers]
    if study.manifest.graph["inputs"] == "pre-activations":
        bench.need_pictures()
        places = np.searchsorted(study.rows(HELD_OUT), rows)
        calls = [(layer, rows, bench.tokens(HELD_OUT, layer - 1)[places]) for layer in layers]
    found = bench.run("worth", _worths_of_layer, calls)
    tables = [
        edge_columns(study.graph.layer_edges(layer), layer) | arrays
        for layer, arrays in zip(layers, found, strict=True)
    ]
    columns = {
        name: np.concatenate([np.empty(0), *(table[name] for table in tables)])
        for name in WORTH_SCHEMA.names
    }
    return {"worth": pa.table(columns).cast(WORTH_SCHEMA)}


def edge_columns(edges: LayerEdges, layer: int) -> Arrays:
    """Return the ends of the edges into a layer, named as in tables of edges, in their order."""
    n_parents = np.diff(edges.starts)
    return {
        "parent_layer": np.full(len(edges.parents), layer - 1),
        "parent": edges.parents,
        "child_layer": np.full(len(edges.parents), layer),
        "child": np.repeat(np.arange(len(n_parents)), n_parents),
    }


def _worths_of_layer(
    source: Source, layer: int, rows: np.ndarray, tokens: np.ndarray | None = None
) -> Arrays:
    study = source.study
    edges = study.graph.layer_edges(layer)
    inputs = layer_inputs(study, layer - 1, rows, tokens)
    labels = study.codes(layer).take(rows).to_csr(binary=True)
    drops = worths(edges.starts, edges.parents, edges.weights, inputs, labels)
    return {"auc_drop": drops[:, 0], "ap_drop": drops[:, 1]}


def worths(
    starts: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray,
    inputs: sparse.csr_array,
    labels: sparse.csr_array,
) -> np.ndarray:
    """Return how far AUC and average precision of each edge's child fall without the edge.

    Parameters
    ----------
    starts : ndarray of int64, shape (n_children + 1,)
        First edge of each child.
    parents : ndarray of int, shape (n_edges,)
    weights : ndarray of float, shape (n_edges,)
    inputs : sparse array, shape (n_images, n_parents)
    labels : sparse array, shape (n_images, n_children)
        Where children are active.

    Returns
    -------
    ndarray of float64, shape (n_edges, 2)
        NaN where a child has no positive, or no negative.
    """
    inputs, labels = inputs.tocsc(), labels.tocsc()
    values = np.asarray(inputs.data, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(np.abs(weights, dtype=np.float64))])
    largest = np.diff(sums[starts]).max(initial=0) * np.abs(values).max(initial=0)
    bits = min(_BITS, _ROOM - int(np.ceil(np.log2(max(largest, 1)))))
    return _worths(
        starts.astype(np.int64),
        parents.astype(np.int64),
        np.asarray(weights, dtype=np.float64) * 2.0**bits,
        _Columns(inputs.indptr.astype(np.int64), inputs.indices.astype(np.int64), values),
        _Columns(labels.indptr.astype(np.int64), labels.indices.astype(np.int64), np.empty(0)),
        inputs.shape[0],
    )


class _Columns(NamedTuple):
    """Compressed sparse columns as the kernel reads them."""

    starts: np.ndarray  # int64, (n_columns + 1,)
    images: np.ndarray  # int64, (nnz,)
    values: np.ndarray  # float64, (nnz,), or empty where every entry is 1


@njit(cache=True, nogil=True)
def _worths(
    starts: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray,
    inputs: _Columns,
    labels: _Columns,
    n_images: int,
) -> np.ndarray:
    drops = np.full((parents.size, 2), np.nan)
    moves = np.zeros(n_images, dtype=np.int64)
    still = np.empty(n_images, dtype=np.int64)
    moved = np.empty(n_images, dtype=np.int64)
    merged = np.empty(n_images, dtype=np.int64)
    for child in range(starts.size - 1):
        positives = labels.images[labels.starts[child] : labels.starts[child + 1]]
        if positives.size == 0 or positives.size == n_images:
            continue
        # The last bit of a key is the label: keys sort by score, and carry it along.
        keys = np.zeros(n_images, dtype=np.int64)
        for edge in range(starts[child], starts[child + 1]):
            for entry in range(inputs.starts[parents[edge]], inputs.starts[parents[edge] + 1]):
                move = 2 * np.int64(np.rint(weights[edge] * inputs.values[entry]))
                keys[inputs.images[entry]] += move
        keys[positives] += 1
        order = np.argsort(keys)
        ranked = keys[order]
        area, precision = _figures(ranked, positives.size)
        for edge in range(starts[child], starts[child + 1]):
            first, end = inputs.starts[parents[edge]], inputs.starts[parents[edge] + 1]
            for entry in range(first, end):
                move = 2 * np.int64(np.rint(weights[edge] * inputs.values[entry]))
                moves[inputs.images[entry]] = move
            n_moved, n_still, rises = 0, 0, True
            for place in range(n_images):
                move = moves[order[place]]
                if move == 0:
                    still[n_still] = ranked[place]
                    n_still += 1
                else:
                    moved[n_moved] = ranked[place] - move
                    rises = rises and (n_moved == 0 or moved[n_moved - 1] <= moved[n_moved])
                    n_moved += 1
            if not rises:  # inputs other than labels move images by different amounts
                moved[:n_moved] = np.sort(moved[:n_moved])
            _merge(still[:n_still], moved[:n_moved], merged)
            without = _figures(merged, positives.size)
            drops[edge, 0] = area - without[0]
            drops[edge, 1] = precision - without[1]
            for entry in range(first, end):
                moves[inputs.images[entry]] = 0
    return drops


@njit(cache=True, nogil=True)
def _merge(left: np.ndarray, right: np.ndarray, merged: np.ndarray) -> None:
    """Join two rising arrays into one."""
    i, j = 0, 0
    for place in range(left.size + right.size):
        if j == right.size or (i < left.size and left[i] <= right[j]):
            merged[place] = left[i]
            i += 1
        else:
            merged[place] = right[j]
            j += 1


@njit(cache=True, nogil=True)
def _figures(ranked: np.ndarray, n_positive: int) -> tuple[float, float]:
    """Return AUC and average precision of rising keys, ties counted as `cgraph.metrics` does."""
    n_images = ranked.size
    negatives_below, below, pairs, precisions = 0, 0, 0, 0.0
    place = 0
    while place < n_images:
        score, positive, negative = ranked[place] >> 1, 0, 0
        while place < n_images and ranked[place] >> 1 == score:
            if ranked[place] & 1:
                positive += 1
            else:
                negative += 1
            place += 1
        if positive:
            pairs += positive * (2 * negatives_below + negative)
            true = n_positive - (below - negatives_below)
            precisions += positive * true / (n_images - below)
        negatives_below += negative
        below = place
    area = pairs / (2 * n_positive * (n_images - n_positive))
    return area, precisions / n_positive
