"""The tables of output nodes: their files in a study folder, and their columns.

They are written by `cgraph outputs` and belong together: all are there, or none. Predictors
refitted for rollouts are there besides, where the study has refitted ones of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from cgraph.store import FileRecord
from cgraph.truth_tables import truth_file

STAGE = "outputs"
"""What the manifest calls the stage of these files; no stage of a build."""

OUTPUTS = "outputs/outputs.arrow"
OUTPUT_CONCEPTS = "outputs/concepts.arrow"
OUTPUT_EDGES = "outputs/edges.arrow"
OUTPUT_LABELS = "outputs/labels.arrow"
FILES = (OUTPUTS, OUTPUT_CONCEPTS, OUTPUT_EDGES, OUTPUT_LABELS)
"""Files of every study that has output nodes. Concepts and edges have the columns of those in
``graph/``, with the kind ``output`` and layer L + 1."""

REFITTED_OUTPUT_EDGES = "outputs/refitted-edges.arrow"
REFITTED_OUTPUT_CONCEPTS = "outputs/refitted-concepts.arrow"
REFITTED_FILES = (REFITTED_OUTPUT_EDGES, REFITTED_OUTPUT_CONCEPTS)
"""Predictors for rollouts from layers 1 … L, with the columns of those in ``truth/``."""

FITTED_ON = b"fitted_on"
"""Key of the refitted tables' metadata: which refitted predictors of the study they follow."""

CLASS_SOURCE, TEXT_SOURCE = SOURCES = ("class", "text")
"""What an output is: a class of the model's head, or the likeness to a typed text."""

TOP_CLASS, GIVEN, TWO_GROUPS = RULES = ("top class", "given", "two groups")
"""When an output is on: its class is the likeliest of all; or the value reaches a threshold that
was given, or that parts the training images in two groups (Otsu 1979)."""

OUTPUT_SCHEMA = pa.schema(
    [
        ("name", pa.string()),  # written O/name
        ("source", pa.string()),  # of SOURCES
        ("text", pa.string()),  # name of the class, or the text as it was typed
        ("against", pa.list_(pa.string())),  # texts whose mean likeness is taken off; often none
        ("class_index", pa.int32()),  # place of the class in the head; -1 of a text
        ("rule", pa.string()),  # of RULES
        ("threshold", pa.float64()),  # on where the value is at least this; NaN of a top class
        ("separation", pa.float64()),  # share of the values' variance between two groups; else NaN
        ("n_train", pa.int32()),  # images in which it is on
        ("n_tune", pa.int32()),
        ("n_held_out", pa.int32()),
        ("n_parents", pa.int32()),
        ("auc", pa.float64()),  # of the predictor, on held-out images; NaN if it is not scored
        ("ap", pa.float64()),
        ("f1", pa.float64()),  # of the predicted labels
    ]
)
"""Columns of ``outputs/outputs.arrow``; a row for each node, in the order of their indices."""

LABEL_SCHEMA = pa.schema(
    [
        ("output", pa.int32()),
        ("row", pa.int32()),
        ("label", pa.bool_()),
        ("value", pa.float32()),  # probability of the class, or likeness to the text
    ]
)
"""Columns of ``outputs/labels.arrow``: for each node a row for every image, in their order."""


def fitted_on(files: Mapping[str, FileRecord]) -> bytes | None:
    """Return what refitted predictors of outputs follow: the hash of the study's own refitted ones.

    Parameters
    ----------
    files : mapping of str to FileRecord
        Of the manifest.

    Returns
    -------
    bytes or None
        None where the study has no refitted predictors.
    """
    records = [files.get(truth_file(f"refitted-{table}")) for table in ("edges", "concepts")]
    if None in records:
        return None
    return " ".join(record.sha256 for record in records if record is not None).encode()
