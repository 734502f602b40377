"""Sets of images: a folder of image files, or Parquet as Hugging Face datasets write it.

`open_images` lists a set without reading a pixel; `ImageSet.read` reads one image by its row. A
set holds paths and ids only, so that it can be sent to worker processes, and reads a Parquet file
by row group, so that a set may be larger than memory. `decoding` turns the bytes of one file into
a picture.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from cgraph.decoding import SUFFIXES, load_image, pixel_hash, thumbnail
from cgraph.errors import ConfigError, ImageError

__all__ = [
    "ImageRecord",
    "ImageSet",
    "Scalar",
    "load_image",
    "open_images",
    "pixel_hash",
    "sample_rows",
    "thumbnail",
]

Scalar = str | int | float | bool | None
"""Value of an attribute of an image."""

FOLDER_ATTRIBUTE = "folder"
IMAGE_COLUMN = "image"

_PARQUET_SUFFIX = ".parquet"
_ROW_ID = re.compile(r"row-\d+")


@dataclass(frozen=True)
class ImageRecord:
    """One image of a set."""

    image_id: str
    """Unique in its set."""

    image: Image.Image
    """The picture, mode ``RGB``, upright."""

    attributes: dict[str, Scalar]
    """What the set says about the image; the keys are the set's `attribute_names`."""


class ImageSet(abc.ABC):
    """Images in a fixed order, read one at a time.

    Attributes
    ----------
    path
        Where the set lies.
    image_ids
        One unique id per row.
    attribute_names
        Names of the attributes that every record carries.
    """

    path: Path
    image_ids: list[str]
    attribute_names: list[str]

    def __len__(self) -> int:
        return len(self.image_ids)

    @abc.abstractmethod
    def read(self, row: int) -> ImageRecord:
        """Read the image of one row.

        Parameters
        ----------
        row
            From 0 to ``len(self) - 1``.

        Returns
        -------
        ImageRecord

        Raises
        ------
        ImageError
            If the image cannot be read; see `load_image`.
        IndexError
            If there is no such row.
        """

    @abc.abstractmethod
    def listing_fingerprint(self) -> str:
        """Fingerprint of what the set lists, without reading a pixel.

        Returns
        -------
        str
            sha256, in hexadecimal, of the ids in order and of the sizes of the files: a file added,
            removed, renamed or resized changes it; bytes replaced by as many others do not.
        """


def open_images(path: str | Path) -> ImageSet:
    """List a set of images.

    Parameters
    ----------
    path
        A folder with image files, in sub-folders or not; a Parquet file; or a folder of Parquet
        files, which are one set in the order of their names. Hidden files, linked folders and
        links that lead out of the folder do not count.

    Returns
    -------
    ImageSet
        Image files carry the attribute ``folder``, the sub-folder they lie in, where there are
        sub-folders; rows of Parquet carry every other column of text, numbers or truth values.
        Ids are the files' paths within the folder, or in Parquet the paths stored with the images,
        and ``row-0000012`` where a path is missing or stored twice.

    Raises
    ------
    ImageError
        If nothing is there, no image or a mixture of both kinds is in the folder, or a Parquet
        file is damaged or has no column of images.
    """
    root = Path(path).absolute()
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise ImageError(
            f"There are no images at {root}: {error.strerror}. Give a folder of images or a "
            "Parquet file."
        ) from error
    if stat.S_ISREG(mode):
        if root.suffix.lower() != _PARQUET_SUFFIX:
            raise ImageError(
                f"{root} is a single file; give a folder of images or a {_PARQUET_SUFFIX} file."
            )
        return _ParquetSet(root, [root])
    files, n_leading_out = _list_files(root)
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    tables = [file for file in files if file.suffix.lower() == _PARQUET_SUFFIX]
    if images and tables:
        raise ImageError(
            f"{root} holds {len(images)} image files and {len(tables)} Parquet files, so it is "
            "ambiguous which are meant; keep the two kinds in separate folders."
        )
    if tables:
        return _ParquetSet(root, tables)
    if images:
        return _FolderSet(root, images)
    found = f"{len(files)} other files" if files else "no files"
    left_out = f" and {n_leading_out} links leading out of it" if n_leading_out else ""
    raise ImageError(
        f"{root} has no images but {found}{left_out}; files count that end in "
        f"{', '.join(SUFFIXES)} or {_PARQUET_SUFFIX}."
    )


def sample_rows(n_images: int, max_images: int | None, seed: int) -> np.ndarray:
    """Choose rows of a set at random, over the whole set and without replacement.

    Parameters
    ----------
    n_images
        Images in the set.
    max_images
        Most rows to choose; ``None`` means all.
    seed
        Of the random generator.

    Returns
    -------
    np.ndarray, shape (min(n_images, max_images),), int64
        Ascending rows.

    Raises
    ------
    ConfigError
        If `max_images` is below 1.
    """
    if max_images is not None and max_images < 1:
        raise ConfigError(f"max_images is {max_images}; it must be at least 1, or None for all.")
    if max_images is None or max_images >= n_images:
        return np.arange(n_images, dtype=np.int64)
    rows = np.random.default_rng(seed).choice(n_images, size=max_images, replace=False)
    return np.sort(rows).astype(np.int64)


class _FolderSet(ImageSet):
    """Image files of a folder, in the order of their ids."""

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.path = root
        self.image_ids = sorted(_file_id(root, file) for file in files)
        nested = any("/" in image_id for image_id in self.image_ids)
        self.attribute_names = [FOLDER_ATTRIBUTE] if nested else []

    def read(self, row: int) -> ImageRecord:
        image_id = self.image_ids[_checked_row(row, len(self))]
        attributes: dict[str, Scalar] = {}
        if self.attribute_names:
            folder = image_id.rpartition("/")[0]
            attributes[FOLDER_ATTRIBUTE] = folder or None
        return ImageRecord(image_id, load_image(self.path / image_id, image_id), attributes)

    def listing_fingerprint(self) -> str:
        digest = hashlib.sha256()
        for image_id in self.image_ids:
            try:
                size = (self.path / image_id).stat().st_size
            except OSError as error:
                raise ImageError(
                    f"{image_id} cannot be read: {error.strerror}. It was there when the folder "
                    f"{self.path} was listed."
                ) from error
            digest.update(f"{image_id}\0{size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class _RowGroup:
    """Where some consecutive rows of a Parquet set lie."""

    file: Path
    index: int
    column: str
    first_row: int


class _ParquetSet(ImageSet):
    """Rows of one or several Parquet files with a column of images."""

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
        image_id = self.image_ids[_checked_row(row, len(self))]
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
        attributes = {
            name: _scalar(values.get(name), self._label_names.get(name))
            for name in self.attribute_names
        }
        return ImageRecord(image_id, load_image(data, image_id), attributes)

    def listing_fingerprint(self) -> str:
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


def _list_files(root: Path) -> tuple[list[Path], int]:
    """Regular files under `root`, and the number of links left out because they lead out of it."""
    inside = root.resolve()
    files: list[Path] = []
    n_leading_out = 0
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ImageError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                if not Path(os.path.realpath(path)).is_relative_to(inside):
                    n_leading_out += 1
                elif path.is_file():
                    files.append(path)
            elif entry.is_dir():
                folders.append(path)
            elif entry.is_file():
                files.append(path)
    return files, n_leading_out


def _file_id(root: Path, file: Path) -> str:
    image_id = file.relative_to(root).as_posix()
    try:
        image_id.encode()
    except UnicodeEncodeError as error:
        raise ImageError(
            f"The file name {os.fsencode(image_id)!r} is not valid UTF-8; rename the file."
        ) from error
    return image_id


def _checked_row(row: int, n_rows: int) -> int:
    if not 0 <= row < n_rows:
        raise IndexError(f"row {row} of a set of {n_rows} images")
    return row


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
    """Columns of text, numbers or truth values."""

    def is_scalar(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return (
            _is_text(kind)
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


def _scalar(value: Any, names: list[str] | None) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how missing numbers are stored by tools without a null
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value
