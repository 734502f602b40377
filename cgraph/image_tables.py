"""Images in Parquet tables, as Hugging Face datasets writes them.

One column holds the images, a struct of bytes and path; every other column of plain values becomes
an attribute. Tables may be larger than memory: one row group is held at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cgraph.decoding import load_image
from cgraph.errors import ImageError
from cgraph.image_set import AttributeValue, ImageRecord, ImageSet, checked_row

IMAGE_COLUMN = "image"

_ROW_ID = re.compile(r"row-\d+")


@dataclass(frozen=True)
class _RowGroup:
    """Where some consecutive rows of a Parquet set lie."""

    file: Path
    index: int
    column: str
    first_row: int


class ParquetSet(ImageSet):
    """Rows of one or several Parquet files with a column of images."""

    kind = "image tables"

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.path = root
        self._groups: list[_RowGroup] = []
        self._label_names: dict[str, list[str]] = {}
        names: dict[str, None] = {}
        stored: list[str | None] = []
        for file in sorted(files, key=lambda file: file.as_posix()):
            with _naming(file), pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                column = _image_column(schema, file)
                names.update(dict.fromkeys(_attribute_columns(schema)))
                self._label_names.update(_label_names(schema))
                first_row = len(stored)
                stored += _stored_paths(parquet, column)
                for index in range(parquet.num_row_groups):
                    self._groups.append(_RowGroup(file, index, column, first_row))
                    first_row += parquet.metadata.row_group(index).num_rows
        if not stored:
            raise ImageError(f"{root} has a column of images but no rows.")
        self.attribute_names = list(names)
        self.image_ids = _row_ids(stored)
        self._first_rows = np.array([group.first_row for group in self._groups])
        self._cached: tuple[_RowGroup, pa.Table] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cached": None}

    def read(self, row: int) -> ImageRecord:
        """Read the image of one row; see `ImageSet.read`."""
        image_id = self.image_ids[checked_row(row, len(self))]
        group = self._groups[int(np.searchsorted(self._first_rows, row, side="right")) - 1]
        with _naming(group.file):
            values = self._table(group).slice(row - group.first_row, 1).to_pylist()[0]
            cell = values.pop(group.column)
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if data is None:
            raise ImageError(
                f"{image_id} has no bytes in {group.file.name}; save the data set with its images "
                "embedded."
            )
        attributes: dict[str, AttributeValue] = {
            name: _value(values.get(name), self._label_names.get(name))
            for name in self.attribute_names
        }
        return ImageRecord(image_id, load_image(data, image_id), attributes)

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`."""
        digest = hashlib.sha256()
        for file in dict.fromkeys(group.file for group in self._groups):
            with _naming(file):
                digest.update(f"{file.name}\0{file.stat().st_size}\n".encode())
        for image_id in self.image_ids:
            digest.update(f"{image_id}\0".encode())
        return digest.hexdigest()

    def _table(self, group: _RowGroup) -> pa.Table:
        # One group is kept: rows are read in ascending order. Reading the attribute once makes
        # this safe for threads; at worst two of them read the same group.
        cached = self._cached
        if cached is not None and cached[0] == group:
            return cached[1]
        with pq.ParquetFile(group.file) as parquet:
            columns = [group.column, *_attribute_columns(parquet.schema_arrow)]
            table = parquet.read_row_group(group.index, columns=columns)
        self._cached = (group, table)
        return table


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turn the ways in which a Parquet file can be unreadable into one sentence naming it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, LookupError) as error:
        # The last two: text that is no text, and a file that changed after it was listed.
        cause = str(error).partition("\n")[0]
        raise ImageError(f"{file} is not a readable Parquet file: {cause}") from error


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_bytes(kind.field(index).type)
    return _is_bytes(kind)


def _image_column(schema: pa.Schema, file: Path) -> str:
    """Column called ``image``, or else the only one that can hold images."""
    candidates = [field.name for field in schema if _is_image(field.type)]
    if IMAGE_COLUMN in candidates:
        return IMAGE_COLUMN
    if len(candidates) == 1:
        return candidates[0]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise ImageError(
        f"{file} has {len(candidates) or 'no'} columns that could be the images: {columns}. "
        f"Name one column {IMAGE_COLUMN!r}, of type struct<bytes: binary, path: string>."
    )


def _attribute_columns(schema: pa.Schema) -> list[str]:
    """Columns of text, lists of text, numbers or truth values."""

    def is_scalar(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return (
            _is_text(kind)
            or (_is_list(kind) and _is_text(kind.value_type))
            or pa.types.is_boolean(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
        )

    return [field.name for field in schema if is_scalar(field.type)]


def _stored_paths(parquet: pq.ParquetFile, column: str) -> list[str | None]:
    """Path stored with every image, read without the images themselves."""
    kind = parquet.schema_arrow.field(column).type
    if not pa.types.is_struct(kind):
        return [None] * parquet.metadata.num_rows
    index = kind.get_field_index("path")
    if index < 0 or not _is_text(kind.field(index).type):
        return [None] * parquet.metadata.num_rows
    cells = parquet.read(columns=[f"{column}.path"]).column(column)
    return pc.struct_field(cells, "path").to_pylist()


def _row_ids(stored: list[str | None]) -> list[str]:
    times = Counter(stored)
    return [
        path if path and times[path] == 1 and not _ROW_ID.fullmatch(path) else f"row-{row:07d}"
        for row, path in enumerate(stored)
    ]


def _label_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of integer columns, where Hugging Face datasets recorded them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _value(value: Any, names: list[str] | None) -> AttributeValue:
    if isinstance(value, list):
        return tuple(text for text in value if isinstance(text, str))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how missing numbers are stored by tools without a null
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value
