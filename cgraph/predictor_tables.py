"""Predictors as rows of the two graph tables, and back.

The tables hold the *edge* predictors, fitted on true labels, which people read. Predictors
refitted for rollouts would carry other weights for the same parents; they have tables of their
own and never share these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.evaluation import scored_mask
from cgraph.graph_tables import CLASS, CONCEPT_SCHEMA, EDGE_SCHEMA, N_TRAIN_IMAGES
from cgraph.predictor import Predictors

_PREDICTOR_FIELDS = CONCEPT_SCHEMA.names[CONCEPT_SCHEMA.names.index("fitted") :]


def edge_table(predictors: Predictors, child_layer: int, *, child_kind: str = CLASS) -> pa.Table:
    """Return the edges into the children of a set of predictors.

    Parameters
    ----------
    predictors : Predictors
    child_layer : int
        Layer of the children, from 2.
    child_kind : str

    Returns
    -------
    Table
        Sorted by child and parent.
    """
    children = np.repeat(predictors.children, np.diff(predictors.offsets))
    order = np.lexsort((predictors.parents, children))
    n_edges = len(children)
    columns = {
        "parent_kind": [CLASS] * n_edges,
        "parent_layer": np.full(n_edges, child_layer - 1),
        "parent": predictors.parents[order],
        "child_kind": [child_kind] * n_edges,
        "child_layer": np.full(n_edges, child_layer),
        "child": children[order],
        "weight": predictors.weights[order],
        "selection_rate": predictors.selection_rates[order],
    }
    return _table(columns, EDGE_SCHEMA)


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def concept_table(
    layer: int,
    counts: dict[str, np.ndarray],
    n_train: int,
    predictors: Predictors | None,
    *,
    first: int = 0,
    kind: str = CLASS,
) -> pa.Table:
    """Return one row for each of some consecutive concepts of a layer.

    Parameters
    ----------
    layer : int
    counts : dict
        For each part of the split: images in which each concept is active, arrays
        of shape ``(n_concepts,)``.
    n_train : int
        Number of training images.
    predictors : Predictors or None
        One for every concept, in order; ``None`` for layer 1, which has no parents.
    first : int
        Index of the first of the concepts.
    kind : str
        Of the concepts.
    """
    n_concepts = len(counts[TRAIN])
    columns: dict[str, Any] = {
        "kind": [kind] * n_concepts,
        "layer": np.full(n_concepts, layer),
        "index": np.arange(first, first + n_concepts),
        "n_train": counts[TRAIN],
        "n_tune": counts[TUNE],
        "n_held_out": counts[HELD_OUT],
        "alive": counts[TRAIN] > 0,
    }
    for name in _PREDICTOR_FIELDS:
        if predictors is not None:
            columns[name] = getattr(predictors, name)
        elif pa.types.is_floating(CONCEPT_SCHEMA.field(name).type):
            columns[name] = np.full(n_concepts, np.nan)
        else:
            columns[name] = np.zeros(n_concepts, dtype=bool)
    columns["bag_positives"] = np.asarray(columns["bag_positives"]).astype(np.int32)
    columns["scored"] = scored_mask(
        counts[TRAIN], counts[HELD_OUT], n_train, np.asarray(columns["fitted"])
    )
    metadata = {N_TRAIN_IMAGES: str(n_train).encode()}
    return _table(columns, CONCEPT_SCHEMA).replace_schema_metadata(metadata)


def predictors_of_layer(concepts: pa.Table, edges: pa.Table, layer: int) -> Predictors:
    """Read the predictors of a layer's concepts back from the graph tables.

    Parameters
    ----------
    concepts, edges : Table
        As in the study folder.
    layer : int
        Layer of the children, from 2.
    """
    own = concepts.filter(pc.equal(concepts.column("layer"), layer))
    into = edges.filter(pc.equal(edges.column("child_layer"), layer))
    n_children = own.num_rows
    n_parents = np.bincount(into.column("child").to_numpy(), minlength=n_children)
    fields = {name: own.column(name).to_numpy() for name in _PREDICTOR_FIELDS}
    n_positives = own.column("n_train").to_numpy()
    n_train = int(concepts.schema.metadata[N_TRAIN_IMAGES])
    return Predictors(
        children=np.arange(n_children, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(n_parents)]).astype(np.int64),
        parents=into.column("parent").to_numpy(),
        weights=into.column("weight").to_numpy(),
        selection_rates=into.column("selection_rate").to_numpy(),
        n_positives=n_positives,
        prevalence=(n_positives / n_train).astype(np.float32),
        **fields,
    )
