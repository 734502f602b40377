"""Graphs for tests: one small enough to compute by hand, and random ones beside dense matrices."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.graph import ConceptGraph
from cgraph.graph_tables import CONCEPT_SCHEMA, EDGE_SCHEMA

HAND_EDGES = [
    # parent layer, parent, child, weight, selection rate
    (1, 0, 0, 2.0, 1.0),
    (1, 1, 0, 1.0, 0.9),
    (1, 2, 0, -1.0, 0.85),
    (1, 1, 1, 4.0, 1.0),
    (2, 0, 0, 3.0, 0.95),
    (2, 1, 0, 1.0, 1.0),
    (2, 2, 0, 2.0, 1.0),
    (2, 1, 1, -2.0, 0.9),
]
"""The hand-computed graph: three layers of 3, 3 and 2 concepts. L2/2 has no predictor."""


def concept_table(sizes, *, n_train_images=100, **columns):
    """Return a concept table of layers with the given sizes; other columns by name, over rows."""
    layer = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    fitted = columns.get("fitted", layer > 1)
    values = {
        "kind": ["class"] * len(layer),
        "layer": layer,
        "index": np.concatenate([np.arange(n) for n in sizes]),
        "n_train": np.full(len(layer), 10),
        "n_tune": np.full(len(layer), 3),
        "n_held_out": np.full(len(layer), 4),
        "alive": np.full(len(layer), True),
        "scored": fitted,
        "fitted": fitted,
        "threshold": np.where(fitted, 0.3, np.nan),
        "penalty": np.where(fitted, 0.04, np.nan),
        "bag_positives": np.where(fitted, 10, 0),
        "violation": np.where(fitted, 1e-4, np.nan),
        "converged": fitted,
        "intercept": np.where(fitted, -1.0, np.nan),
        "slope": np.where(fitted, 1.0, np.nan),
        "offset": np.where(fitted, 0.0, np.nan),
    } | columns
    arrays = [pa.array(values[field.name]).cast(field.type, safe=False) for field in CONCEPT_SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=CONCEPT_SCHEMA)
    if n_train_images is None:
        return table
    return table.replace_schema_metadata({"n_train_images": str(n_train_images)})


def edge_table(edges):
    """Return an edge table of rows (parent layer, parent, child, weight, selection rate)."""
    columns = list(zip(*edges, strict=True)) if len(edges) else [()] * 5
    values = {
        "parent_kind": ["class"] * len(edges),
        "parent_layer": columns[0],
        "parent": columns[1],
        "child_kind": ["class"] * len(edges),
        "child_layer": [layer + 1 for layer in columns[0]],
        "child": columns[2],
        "weight": columns[3],
        "selection_rate": columns[4],
    }
    return pa.table(values, schema=EDGE_SCHEMA)


def hand_tables():
    """Return the concept and edge tables of the hand-computed graph."""
    nan = np.nan
    concepts = concept_table(
        [3, 3, 2],
        n_train=np.array([10, 20, 30, 40, 50, 0, 60, 70]),
        fitted=np.array([False, False, False, True, True, False, True, True]),
        intercept=np.array([nan, nan, nan, -1, -3, nan, -2, 0.5]),
        slope=np.array([nan, nan, nan, 1, 0.5, nan, 1, 2]),
        offset=np.array([nan, nan, nan, -1, 0, nan, 0, 1]),
    )
    return concepts, edge_table(HAND_EDGES)


def hand_graph():
    """Return the hand-computed graph."""
    return ConceptGraph.from_tables(*hand_tables())


def random_graph(sizes, density, seed):
    """Return a graph from shuffled tables, and its dense weights of shape (children, parents)."""
    rng = np.random.default_rng(seed)
    weights, edges = [], []
    for layer in range(1, len(sizes)):
        dense = rng.normal(size=(sizes[layer], sizes[layer - 1])).astype(np.float32)
        dense[rng.random(dense.shape) >= density] = 0
        weights.append(dense)
        edges += [
            (layer, int(parent), int(child), float(dense[child, parent]), float(rng.random()))
            for child, parent in np.argwhere(dense)
        ]
    n = sum(sizes)
    fitted = np.repeat(np.arange(len(sizes)), sizes) > 0
    parameters = {
        name: np.where(fitted, rng.normal(size=n), np.nan)
        for name in ("intercept", "slope", "offset")
    }
    concepts = concept_table(sizes, **parameters).take(rng.permutation(n))
    edges = [edges[i] for i in rng.permutation(len(edges))]
    return ConceptGraph.from_tables(concepts, edge_table(edges)), weights


def to_networkx(graph, sign):
    """Return the followed edges as a networkx graph, with shares from dense weights."""
    made = nx.DiGraph()
    for layer in range(1, graph.n_layers + 1):
        made.add_nodes_from(ConceptId(layer, i) for i in range(graph.n_concepts(layer)))
    for layer in range(2, graph.n_layers + 1):
        dense = graph.weight_matrix(layer).toarray().astype(float)
        followed = {"both": dense, "raises": np.maximum(dense, 0), "lowers": np.minimum(dense, 0)}
        sizes = np.abs(followed[sign])
        for child, parent in np.argwhere(sizes):
            share = sizes[child, parent] / sizes[child].sum()
            ends = ConceptId(layer - 1, int(parent)), ConceptId(layer, int(child))
            made.add_edge(*ends, share=share, cost=-math.log(share))
    return made
