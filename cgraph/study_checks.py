"""Whether what a study folder says holds together, so that no reader meets it unprepared.

A hash shows that a file was not changed since the manifest was written; it does not show that the
folder was made by cgraph. These checks do not trust the maker either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from cgraph.codes import Codes
from cgraph.config import SPLIT_SHARES, Inputs
from cgraph.errors import StudyError
from cgraph.evaluation import FIGURE_SCHEMA, LAYER_SCHEMA, PAIR_SCHEMA
from cgraph.store import distinct

_MODEL = {
    "id": str,
    "architecture": str,
    "family": str,
    "weights_sha256": str,
    "n_layers": int,
    "d_model": int,
}
_OPTIONAL_TEXTS = {"token", "precision", "device", "revision", "commit"}
_IMAGES = {"id": str, "listing": str, "n_listed": int, "n_sampled": int, "n_parts": int}
_FINISHED_IMAGES = {
    "n": int,
    "n_skipped": int,
    "n_duplicates": int,
    "fingerprint": str,
    "n_train": int,
    "n_tune": int,
    "n_held_out": int,
}
_AT_LEAST_ONE = ("n_layers", "d_model", "n_parts")

IMAGE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("attributes", pa.string()),
        ("pixel_hash", pa.string()),
        ("thumbnail", pa.binary()),
    ]
)
"""Columns of ``images.arrow``."""

EVALUATION_SCHEMAS = {"concepts": FIGURE_SCHEMA, "layers": LAYER_SCHEMA, "pairs": PAIR_SCHEMA}


def check_manifest(values: Mapping[str, Any]) -> None:
    """Check the parts of a manifest that readers rely on.

    Raises
    ------
    ValueError
        That says what is wrong.
    """
    json.dumps(values, allow_nan=False)
    _check_types(values, "model", _MODEL)
    for name in _OPTIONAL_TEXTS & values["model"].keys():
        _check_types(values, "model", {name: str})
    _check_types(values, "images", _IMAGES)
    for text in values["versions"].values():
        if not isinstance(text, str):
            raise ValueError(f"a version is {text!r}, not a text")
    for path, record in values["files"].items():
        fields = {"sha256": str, "size": int, "stage": str}
        _check_types({path: record}, path, fields)


def check_finished(model: dict[str, Any], images: dict[str, Any], graph: dict[str, Any]) -> None:
    """Check what a manifest holds once a study is finished.

    Raises
    ------
    ValueError
        That says what is wrong.
    """
    _check_types({"images": images}, "images", _FINISHED_IMAGES)
    parts = sum(images[f"n_{name.replace('-', '_')}"] for name in SPLIT_SHARES)
    if parts != images["n"]:
        raise ValueError(
            f"images says n = {images['n']}, and the parts of the split add to {parts}"
        )
    if graph.get("inputs") not in get_args(Inputs):
        raise ValueError(f"graph says inputs = {graph.get('inputs')!r}")
    scales = graph.get("input_scales")
    if not isinstance(scales, list) or len(scales) != model["n_layers"] - 1:
        raise ValueError("graph holds no input_scales, one for each layer but the last")
    if not all(isinstance(s, int | float) and math.isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"graph says input_scales = {scales}")


def _check_types(values: Mapping[str, Any], name: str, fields: Mapping[str, type]) -> None:
    part = values[name]
    for field, kind in fields.items():
        value = part[field]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} says {field} = {value!r}")
        if isinstance(value, int) and not int(field in _AT_LEAST_ONE) <= value < 2**53:
            raise ValueError(f"{name} says {field} = {value}")


def check_images(table: pa.Table, n_images: int) -> None:
    """Check the table of images.

    Raises
    ------
    ValueError
        That says what is wrong.
    """
    check_columns(table, IMAGE_SCHEMA)
    if table.num_rows != n_images:
        raise ValueError(f"it has {table.num_rows} rows for {n_images} images")
    unknown = distinct(table.column("split")) - set(SPLIT_SHARES)
    if unknown:
        raise ValueError(f"it names the parts {sorted(map(str, unknown))} of the split")


def check_columns(table: pa.Table, schema: pa.Schema) -> None:
    """Check that a table has the columns of a schema.

    Raises
    ------
    ValueError
        That names the first wrong column.
    """
    for field in schema:
        if field.name not in table.column_names:
            raise ValueError(f"it has no column {field.name}")
        column = table.column(field.name)
        if column.type != field.type:
            raise ValueError(f"its column {field.name} is {column.type}, not {field.type}")


def check_codes(parts: list[Codes], n_images: int, n_concepts: int) -> None:
    """Check that the parts of a layer's codes hold every image and the concepts of the graph.

    Raises
    ------
    ValueError
        That says what is wrong.
    """
    n_rows = sum(part.n_samples for part in parts)
    if n_rows != n_images:
        raise ValueError(f"they have {n_rows} rows for {n_images} images")
    wrong = {part.n_atoms for part in parts} - {n_concepts}
    if wrong:
        raise ValueError(f"they have {wrong.pop()} concepts, and the graph has {n_concepts}")


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Say of which file it is that its content does not fit the study."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} does not fit the rest of the study: {error}. Build the study again."
        ) from None
