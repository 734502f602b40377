"""Images in Parquet tables, as Hugging Face datasets writes them.

One column holds the images, a struct of bytes and path; the other columns become attributes (see
`cgraph.table_attributes`). Tables may be larger than memory: how many rows a file has is read from
its footer, and at most two row groups are held at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cgraph.decoding import load_image
from cgraph.errors import ImageError
from cgraph.image_set import (
    ID_COLUMN,
    ImageRecord,
    ImageSet,
    RowIds,
    Texts,
    checked_row,
    facts_of,
    ids_at,
    unique_ids,
    with_facts,
)
from cgraph.table_attributes import (
    Attribute,
    attribute_value,
    class_names,
    is_bytes,
    is_text,
    table_attributes,
)

IMAGE_COLUMN = "image"

MOST_NAMES = 10_000_000
"""Most rows of which the stored paths are read, to be ids; rows of larger sets have numbers."""


class RowGroups:
    """Where the rows of several Parquet files lie: file, row group and row within it."""

    def __init__(self, sizes: Sequence[Sequence[int]]) -> None:
        """Take the number of rows of every row group of every file."""
        counts = np.array([n for file in sizes for n in file], dtype=np.int64)
        self._files = np.repeat(np.arange(len(sizes)), [len(file) for file in sizes])
        self._groups = np.array([n for file in sizes for n in range(len(file))], dtype=np.int64)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return file, group and row within the group of some rows, shape ``(n, 3)``, int64."""
        group = np.searchsorted(self._ends, rows, side="right")
        return np.stack(
            [self._files[group], self._groups[group], rows - self._starts[group]], axis=1
        )


class RowGroupSet(ImageSet):
    """Images in the row groups of Parquet files, wherever these lie.

    Parameters
    ----------
    files : list of str
    image_ids : sequence of str
    attribute_names : list of str
    classes : dict
        From `class_names`, of all files.
    """

    def __init__(
        self,
        files: list[str],
        image_ids: Sequence[str],
        attribute_names: list[str],
        classes: dict[str, list[str]],
    ) -> None:
        self.files = files
        self.image_ids = image_ids
        self.attribute_names = attribute_names
        self.classes = classes
        self._cached: dict[tuple[int, int], tuple[pa.Table, str]] = {}
        self._mutex = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cached": {}, "_mutex": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _mutex=threading.Lock())

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return file, group and row within the group of some rows, shape ``(n, 3)``."""
        raise NotImplementedError

    def read_group(self, file: int, group: int) -> pa.Table:
        """Read the column of images and the attributes of one row group."""
        raise NotImplementedError

    def naming(self, file: int) -> contextlib.AbstractContextManager[None]:
        """Turn what can go wrong with a file into one sentence that names it."""
        raise NotImplementedError

    def read(self, row: int) -> ImageRecord:
        """Read the image of one row; see `ImageSet.read`."""
        image_id = self.image_ids[checked_row(row, len(self))]
        file, group, within = (int(n) for n in self.places(np.array([row]))[0])
        with self.naming(file):
            table, column = self._table(file, group)
            values = table.slice(within, 1).to_pylist()[0]
            cell = values.pop(column)
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if data is None:
            raise ImageError(
                f"{image_id} has no bytes in {Path(self.files[file]).name}; save the data set with "
                "its images embedded."
            )
        found = {a.name: a for a in table_attributes(table.schema, self.classes, {column})}
        attributes = {
            name: attribute_value(values, found[name], self.classes) if name in found else None
            for name in self.attribute_names
        }
        return ImageRecord(image_id, load_image(data, image_id), attributes)

    def _table(self, file: int, group: int) -> tuple[pa.Table, str]:
        # Rows are read in ascending order, perhaps by several threads, some of which are in the
        # next group already: so two are kept, and one thread reads what others wait for.
        with self._mutex:
            found = self._cached.get((file, group))
            if found is None:
                table = self.read_group(file, group)
                found = table, image_column(table.schema, self.files[file])
                last = list(self._cached.items())[-1:]
                self._cached = {**dict(last), (file, group): found}
            return found

    def places_table(self, rows: np.ndarray) -> pa.Table:
        """Return the columns of a listing that say where rows lie."""
        places = self.places(rows).astype(np.int32)
        columns = {name: pa.array(places[:, n]) for n, name in enumerate(("file", "group", "row"))}
        return pa.table({ID_COLUMN: ids_at(self.image_ids, rows), **columns})


def places_in(table: pa.Table) -> np.ndarray:
    """Return what `RowGroupSet.places_table` stored, shape ``(n, 3)``."""
    columns = (table.column(name).combine_chunks() for name in ("file", "group", "row"))
    # An empty array has no memory that could be shared.
    arrays = [np.from_dlpack(c) if len(c) else np.empty(0, np.int32) for c in columns]
    return np.stack(arrays, axis=1)


class ParquetSet(RowGroupSet):
    """Rows of one or several Parquet files with a column of images.

    Parameters
    ----------
    root : Path
        The file or folder.
    files : list of Path
        One set in the order of their paths.

    Raises
    ------
    ImageError
        If a file is damaged or has no column of images.
    """

    kind = "image tables"

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.path = root
        files = sorted(files, key=lambda file: file.as_posix())
        classes: dict[str, list[str]] = {}
        names: dict[str, None] = {}
        sizes, schemas, columns = [], [], []
        for file in files:
            with naming_file(file), pq.ParquetFile(file) as parquet:
                schemas.append(parquet.schema_arrow)
                columns.append(image_column(schemas[-1], file))
                classes.update(class_names(schemas[-1]))
                sizes.append(group_sizes(parquet.metadata))
        for schema, column in zip(schemas, columns, strict=True):
            names.update((a.name, None) for a in table_attributes(schema, classes, {column}))
        self._rows = RowGroups(sizes)
        self._places: np.ndarray | None = None
        if not self._rows.n_rows:
            raise ImageError(f"{root} has a column of images but no rows.")
        ids: Sequence[str] = RowIds(self._rows.n_rows)
        if self._rows.n_rows <= MOST_NAMES:
            stored = [
                _stored_paths(file, column) for file, column in zip(files, columns, strict=True)
            ]
            ids = unique_ids(pa.chunked_array([c for part in stored for c in part.chunks]))
        super().__init__([str(file) for file in files], ids, list(names), classes)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows lie; see `RowGroupSet.places`."""
        return self._rows.places(rows) if self._places is None else self._places[rows]

    def read_group(self, file: int, group: int) -> pa.Table:
        """Read one row group; see `RowGroupSet.read_group`."""
        with pq.ParquetFile(self.files[file]) as parquet:
            columns = needed_columns(parquet.schema_arrow, self.files[file], self.classes)
            return parquet.read_row_group(group, columns=columns)

    def naming(self, file: int) -> contextlib.AbstractContextManager[None]:
        """Name the file in errors; see `RowGroupSet.naming`."""
        return naming_file(self.files[file])

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`."""
        digest = hashlib.sha256()
        for file in map(Path, self.files):
            with naming_file(file):
                digest.update(f"{file.name}\0{file.stat().st_size}\n".encode())
        for image_id in self.image_ids:
            digest.update(f"{image_id}\0".encode())
        return digest.hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to read some rows; see `ImageSet.listing`."""
        return with_facts(
            self.places_table(rows),
            path=str(self.path),
            files=self.files,
            attribute_names=self.attribute_names,
            classes=self.classes,
        )

    @classmethod
    def from_listing(cls, table: pa.Table) -> ParquetSet:
        """Return the set of the listed rows; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        found = cls.__new__(cls)
        found.path = Path(facts["path"])
        found._places = places_in(table)
        ids = Texts(table.column(ID_COLUMN))
        RowGroupSet.__init__(found, facts["files"], ids, facts["attribute_names"], facts["classes"])
        return found


@contextlib.contextmanager
def naming_file(file: str | Path) -> Iterator[None]:
    """Turn the ways in which a Parquet file can be unreadable into one sentence naming it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, LookupError) as error:
        # The last two: text that is no text, and a file that changed after it was listed.
        cause = str(error).partition("\n")[0]
        raise ImageError(f"{file} is not a readable Parquet file: {cause}") from error


def group_sizes(footer: pq.FileMetaData) -> list[int]:
    """Return the number of rows of every row group of a file."""
    return [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_bytes(kind.field(index).type)
    return is_bytes(kind)


def image_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that can hold images."""
    return [field.name for field in schema if _is_image(field.type)]


def image_column(schema: pa.Schema, file: str | Path) -> str:
    """Return the column called ``image``, or else the only one that can hold images.

    Raises
    ------
    ImageError
        If there is none, or several of other names.
    """
    candidates = image_columns(schema)
    if IMAGE_COLUMN in candidates:
        return IMAGE_COLUMN
    if len(candidates) == 1:
        return candidates[0]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise ImageError(
        f"{file} has {len(candidates) or 'no'} columns that could be the images: {columns}. "
        f"Name one column {IMAGE_COLUMN!r}, of type struct<bytes: binary, path: string>."
    )


def needed_columns(schema: pa.Schema, file: str | Path, classes: dict[str, list[str]]) -> list[str]:
    """Return the columns to read: the images, and all that have attributes."""
    column = image_column(schema, file)
    attributes: list[Attribute] = table_attributes(schema, classes, {column})
    return [column, *dict.fromkeys(attribute.column for attribute in attributes)]


def _stored_paths(file: Path, column: str) -> pa.ChunkedArray:
    """Path stored with every image, read without the images themselves."""
    with naming_file(file), pq.ParquetFile(file) as parquet:
        kind = parquet.schema_arrow.field(column).type
        index = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
        if index < 0 or not is_text(kind.field(index).type):
            return pa.chunked_array([pa.nulls(parquet.metadata.num_rows, pa.large_string())])
        cells = parquet.read(columns=[f"{column}.path"]).column(column)
        return pc.struct_field(cells, "path").cast(pa.large_string())
