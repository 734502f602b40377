"""The two tables of a graph: their columns, and the checks made when they are read.

Read tables come back as arrays, numeric columns without a copy where the table is sorted and of
the declared types. Concepts are then sorted by (layer, index) and edges by (child layer, child,
parent).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.errors import StudyError
from cgraph.store import as_array, distinct

CONCEPT_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("n_train", pa.int32()),
        ("n_tune", pa.int32()),
        ("n_held_out", pa.int32()),
        ("alive", pa.bool_()),
        ("scored", pa.bool_()),
        ("fitted", pa.bool_()),
        ("intercept", pa.float32()),
        ("slope", pa.float32()),
        ("offset", pa.float32()),
        ("threshold", pa.float32()),
        ("penalty", pa.float32()),
        ("bag_positives", pa.int32()),
        ("violation", pa.float32()),
        ("converged", pa.bool_()),
    ]
)
"""Columns of ``graph/concepts.arrow``; floats are NaN where no predictor was fitted."""

EDGE_SCHEMA = pa.schema(
    [
        ("parent_kind", pa.string()),
        ("parent_layer", pa.int16()),
        ("parent", pa.int32()),
        ("child_kind", pa.string()),
        ("child_layer", pa.int16()),
        ("child", pa.int32()),
        ("weight", pa.float32()),
        ("selection_rate", pa.float32()),
    ]
)
"""Columns of ``graph/edges.arrow``."""

CLASS, OUTPUT = "class", "output"
"""Kinds of concepts: of the class token, and what the model says in the end."""

N_TRAIN_IMAGES = b"n_train_images"
"""Key of the concept table's metadata: the number of images that ``n_train`` counts over."""

_REBUILD = "Build the graph of this study again."


@dataclass(frozen=True)
class ConceptRecord:
    """What the graph knows of one concept; the fields are columns of ``graph/concepts.arrow``."""

    concept: ConceptId
    n_train: int
    n_tune: int
    n_held_out: int
    alive: bool
    scored: bool
    fitted: bool
    intercept: float
    slope: float
    offset: float
    threshold: float
    penalty: float
    bag_positives: int
    violation: float
    converged: bool


def read_concepts(table: pa.Table) -> tuple[dict[str, np.ndarray], np.ndarray, int | None]:
    """Check the table of concepts and sort it.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `CONCEPT_SCHEMA`, one row per concept, in any order.

    Returns
    -------
    columns : dict of ndarray
        Every column but ``kind``, sorted by (layer, index).
    layer_starts : ndarray of int64, shape (n_layers + 1,)
        First row of each layer, and the number of rows.
    n_train_images : int or None
        From the table's metadata; None if they do not say.

    Raises
    ------
    StudyError
        If a column is missing, of a wrong type or has empty cells, layers are not 1..L, or the
        indices of a layer are not 0..n-1, each once.
    """
    columns = read_columns(table, CONCEPT_SCHEMA, "concepts", {"kind": CLASS})
    layer_starts = _sort_concepts(columns)
    check_predictors(columns)
    n_train_images = (table.schema.metadata or {}).get(N_TRAIN_IMAGES)
    if n_train_images is None:
        return columns, layer_starts, None
    if not n_train_images.isdigit():
        raise StudyError(f"The number of training images is {n_train_images!r}. {_REBUILD}")
    if int(n_train_images) < columns["n_train"].max():
        raise StudyError(
            f"A concept is said to be active in {columns['n_train'].max()} of "
            f"{int(n_train_images)} training images. {_REBUILD}"
        )
    return columns, layer_starts, int(n_train_images)


def read_edges(
    table: pa.Table, layer_starts: np.ndarray, child_kind: str = CLASS
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Check the table of edges and sort it.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `EDGE_SCHEMA`, in any order.
    layer_starts : ndarray of int64, shape (n_layers + 1,)
        As `read_concepts` returns them.
    child_kind : str
        Of all children: ``class``, or ``output`` for edges into what the model says in the end.

    Returns
    -------
    columns : dict of ndarray
        Every column but the kinds, sorted by (child layer, child, parent).
    starts : ndarray of int64, shape (n_concepts + 1,)
        First edge into each concept, by its row in the table of concepts, and the number of edges.

    Raises
    ------
    StudyError
        If a column is missing, of a wrong type or has empty cells; or an edge names a concept that
        does not exist, does not go from a layer to the next, is listed twice, or has a weight or
        selection rate that is no valid number.
    """
    kinds = {"parent_kind": CLASS, "child_kind": child_kind}
    columns = read_columns(table, EDGE_SCHEMA, "edges", kinds)
    _check_edges(columns, layer_starts)
    child = layer_starts[columns["child_layer"] - 1] + columns["child"]
    key = child * int(np.diff(layer_starts).max()) + columns["parent"]
    if (key[1:] <= key[:-1]).any():
        order = np.argsort(key, kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        twice = np.flatnonzero(np.diff(key[order]) == 0)
        if len(twice):
            raise StudyError(f"The {_edge_name(columns, twice[0])} is listed twice. {_REBUILD}")
    counts = np.bincount(child, minlength=layer_starts[-1])
    return columns, np.concatenate([[0], np.cumsum(counts)])


def check_predictors(columns: dict[str, np.ndarray]) -> None:
    """Refuse predictors of concepts whose numbers are not finite.

    Raises
    ------
    StudyError
    """
    for name in ("intercept", "slope", "offset", "threshold"):
        wrong = columns["fitted"] & ~np.isfinite(columns[name])
        if wrong.any():
            row = int(np.argmax(wrong))
            concept = f"L{columns['layer'][row]}/{columns['index'][row]}"
            raise StudyError(f"The {name} of {concept} is not a finite number. {_REBUILD}")


def read_columns(
    table: pa.Table, schema: pa.Schema, name: str, kinds: dict[str, str]
) -> dict[str, np.ndarray]:
    """Return the numeric columns of a table as arrays, after checking kinds, types and nulls.

    Parameters
    ----------
    table : pyarrow.Table
    schema : pyarrow.Schema
        Columns that it must have.
    name : str
        Of what it is a table.
    kinds : dict of str to str
        The kind that each column of text must hold.

    Raises
    ------
    StudyError
        If a column is missing, of a wrong type, or has empty cells or another kind.
    """
    missing = [field for field in schema.names if field not in table.column_names]
    if missing:
        raise StudyError(f"The table of {name} has no column {', '.join(missing)}. {_REBUILD}")
    columns = {}
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_string(field.type):
            wanted = kinds[field.name]
            other = sorted(map(str, distinct(column) - {wanted}))
            if other:
                raise StudyError(
                    f"The table of {name} holds concepts of kind {', '.join(other)}; this version "
                    f"reads kind {wanted} only. Use the version of cgraph that wrote the study."
                )
            continue
        if column.null_count:
            raise StudyError(
                f"Column {field.name} of the table of {name} has empty cells. {_REBUILD}"
            )
        try:
            if column.type != field.type:
                column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise StudyError(
                f"Column {field.name} of the table of {name} is {column.type}, not {field.type}, "
                f"and cannot be converted. {_REBUILD}"
            ) from None
        chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        columns[field.name] = as_array(chunk)
    return columns


def _sort_concepts(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Sort the columns in place by (layer, index); return the first row of each layer, and the end.

    Layers must be 1..L and indices of each 0..n-1, so that a row follows from layer and index.
    """
    if not len(columns["layer"]):
        raise StudyError(f"The table of concepts is empty. {_REBUILD}")
    order = np.lexsort((columns["index"], columns["layer"]))
    if (np.diff(order) != 1).any():
        columns.update({name: values[order] for name, values in columns.items()})
    layer, index = columns["layer"].astype(np.int64), columns["index"]
    if layer[0] < 1:
        raise StudyError(f"A concept is in layer {layer[0]}; the first layer is 1. {_REBUILD}")
    sizes = np.bincount(layer)[1:]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    wrong = np.flatnonzero(index != np.arange(len(index)) - starts[layer - 1])
    if (sizes == 0).any():
        raise StudyError(
            f"Layer {int(np.argmin(sizes)) + 1} has no concepts, but layer {len(sizes)} has. "
            f"{_REBUILD}"
        )
    if len(wrong):
        raise StudyError(
            f"The concepts of layer {layer[wrong[0]]} are not numbered 0 to "
            f"{sizes[layer[wrong[0]] - 1] - 1}, each once (see L{layer[wrong[0]]}/"
            f"{index[wrong[0]]}). {_REBUILD}"
        )
    return starts


def _check_edges(columns: dict[str, np.ndarray], layer_starts: np.ndarray) -> None:
    n_layers, sizes = len(layer_starts) - 1, np.diff(layer_starts)
    parent_layer, child_layer = columns["parent_layer"], columns["child_layer"]

    def refuse(wrong: np.ndarray, reason: str) -> None:
        if wrong.any():
            name = _edge_name(columns, int(np.argmax(wrong)))
            raise StudyError(f"The {name} {reason}. {_REBUILD}")

    outside = (np.minimum(parent_layer, child_layer) < 1) | (
        np.maximum(parent_layer, child_layer) > n_layers
    )
    refuse(outside, f"leaves the layers 1 to {n_layers} of the table of concepts")
    refuse(child_layer != parent_layer + 1, "does not go from a layer to the next")
    for end, layer in (("parent", parent_layer), ("child", child_layer)):
        index = columns[end]
        refuse(
            (index < 0) | (index >= sizes[layer - 1]),
            f"has a {end} that is not in the table of concepts",
        )
    refuse(~np.isfinite(columns["weight"]), "has a weight that is not a finite number")
    rate = columns["selection_rate"]
    refuse(~((rate >= 0) & (rate <= 1)), "has a selection rate outside 0 to 1")


def _edge_name(columns: dict[str, np.ndarray], entry: int) -> str:
    parent = f"L{columns['parent_layer'][entry]}/{columns['parent'][entry]}"
    return f"edge {parent} -> L{columns['child_layer'][entry]}/{columns['child'][entry]}"
