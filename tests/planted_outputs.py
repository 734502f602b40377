"""Outputs of a planted study: ``O/approved`` is its first concepts of the last layer once more."""

from __future__ import annotations

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edge_index import LayerEdges
from cgraph.graph_tables import CONCEPT_SCHEMA
from cgraph.output_nodes import OutputNode, OutputNodes
from cgraph.study import Study


def planted_outputs(study: Study, *names: str) -> OutputNodes:
    """Return outputs with the given names; the `n`-th is predicted by concept `n` of the end."""
    graph, last = study.graph, study.n_layers
    indices = np.arange(len(names))
    columns = {
        name: graph.column(last, name)[indices]
        for name in CONCEPT_SCHEMA.names
        if name not in ("kind", "layer", "index")
    }
    columns["layer"] = np.full(len(names), last + 1, dtype=np.int16)
    columns["index"] = indices.astype(np.int32)
    columns["intercept"] = np.full(len(names), -2.0, dtype=np.float32)
    columns["slope"] = np.ones(len(names), dtype=np.float32)
    columns["offset"] = np.zeros(len(names), dtype=np.float32)
    columns["threshold"] = np.full(len(names), 0.5, dtype=np.float32)
    edges = {
        "parent": indices.astype(np.int32),
        "weight": np.full(len(names), 4.0, dtype=np.float32),
        "selection_rate": np.ones(len(names), dtype=np.float32),
    }
    labels = np.asarray(study.codes(last).dense_labels(np.arange(len(study.image_ids))))[:, indices]
    nodes = tuple(
        OutputNode(name, "text", name, (), -1, "given", 0.25, 1.0, 30, 10, 10, 1, 0.9, 0.8, 0.7)
        for name in names
    )
    return OutputNodes(
        nodes,
        last + 1,
        labels,
        labels.astype(np.float32),
        columns,
        LayerEdges.index(edges, np.arange(len(names) + 1), graph.n_concepts(last)),
        {},
    )


def concept_before(study: Study, number: int = 0) -> ConceptId:
    """Return the concept that the `n`-th output follows."""
    return ConceptId(study.n_layers, number)
