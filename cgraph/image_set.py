"""What an image set is, whatever it lies in: a fixed order of images, read one at a time."""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from PIL import Image

Scalar = str | int | float | bool | None
"""One value of an attribute of an image."""

AttributeValue = Scalar | tuple[str, ...]
"""What an image has of an attribute: one value, or several, such as the colours in it."""

ID_COLUMN = "cgraph.image_id"
"""The column of a listing with the ids."""

_FACTS = b"cgraph.images"


@dataclass(frozen=True)
class ImageRecord:
    """One image of a set."""

    image_id: str
    """Unique in its set."""

    image: Image.Image
    """The picture, mode ``RGB``, upright."""

    attributes: dict[str, AttributeValue]
    """What the set says about the image; the keys are the set's `attribute_names`."""


class ImageSet(abc.ABC):
    """Images in a fixed order, read one at a time, by several threads at once.

    Attributes
    ----------
    path
        Where the set lies, if it lies on this machine.
    kind
        What it is made of, for people.
    image_ids
        One unique id per row.
    attribute_names
        Names of the attributes that every record carries.
    """

    path: Path
    kind: str
    image_ids: Sequence[str]
    attribute_names: list[str]

    @property
    def name(self) -> str:
        """What to call the set: the name of its file or folder."""
        return self.path.resolve().name

    @property
    def reference(self) -> str:
        """What `open_images` opens the same set from, wherever the program was started."""
        return str(self.path)

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

    def prefetch(self, rows: Sequence[int] | np.ndarray) -> None:  # noqa: B027  # need not do more
        """Say which rows will be read soon, in this order; returns at once.

        A set that lies in the net begins to fetch them in the background, so that `read` need not
        wait. For a set on this machine it does nothing.
        """

    def picture(self, row: int, size: int) -> Image.Image:
        """Return the image of one row to be looked at.

        Parameters
        ----------
        row
            As for `read`, whose errors it has.
        size
            Longest side that is wanted, in pixels. Only a set that draws its images keeps to it.
        """
        return self.read(row).image

    @abc.abstractmethod
    def listing_fingerprint(self) -> str:
        """Fingerprint of what the set lists, without reading a pixel.

        Returns
        -------
        str
            sha256, in hexadecimal, of the ids in order and of the sizes of the files: a file added,
            removed, renamed or resized changes it; bytes replaced by as many others do not.
        """

    @abc.abstractmethod
    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return all that is needed to read some rows without listing the set again.

        Parameters
        ----------
        rows : np.ndarray, int64
            Rising rows.

        Returns
        -------
        pyarrow.Table
            A row for each, with the column `ID_COLUMN` and others that only `from_listing` of the
            same class understands; see `cgraph.image_listing`, which stores it.
        """

    @classmethod
    @abc.abstractmethod
    def from_listing(cls, table: pa.Table) -> ImageSet:
        """Return the set of the rows that `listing` was asked for."""


def with_facts(table: pa.Table, **facts: Any) -> pa.Table:
    """Return a listing that carries what holds for all of its rows, as JSON."""
    return table.replace_schema_metadata({_FACTS: json.dumps(facts, sort_keys=True)})


def facts_of(table: pa.Table) -> dict[str, Any]:
    """Return what `with_facts` stored."""
    return json.loads((table.schema.metadata or {})[_FACTS])


class Texts(Sequence[str]):
    """A column of texts as a sequence: held by Arrow, turned into Python one at a time.

    A million ids are 20 MB so, and 90 MB as a list; of a file mapped into memory they take none.
    """

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        self._column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        return self._column[int(place)].as_py()

    def __len__(self) -> int:
        return len(self._column)

    def __iter__(self) -> Iterator[str]:
        for batch in self._column.chunks:
            for first in range(0, len(batch), 10_000):
                yield from batch.slice(first, 10_000).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def take(self, rows: np.ndarray) -> pa.ChunkedArray:
        """Return some of the texts as an Arrow column."""
        return self._column.take(pa.array(rows))


class RowIds(Sequence[str]):
    """The ids ``row-0000000``, ``row-0000001``, … of rows without names, made when asked for."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [row_id(n) for n in range(*place.indices(self._n_rows))]
        return row_id(range(self._n_rows)[int(place)])

    def __len__(self) -> int:
        return self._n_rows


def row_id(row: int) -> str:
    """Return the id of a row that has no name of its own."""
    return f"row-{row:07d}"


def ids_at(image_ids: Sequence[str], rows: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """Return the ids of some rows as an Arrow column."""
    if isinstance(image_ids, Texts):
        return image_ids.take(rows)
    return pa.array([image_ids[int(row)] for row in rows], type=pa.string())


def unique_ids(names: pa.ChunkedArray) -> Texts:
    """Return an id for each row: its name, or its number where that is missing or not unique.

    Parameters
    ----------
    names : pyarrow.ChunkedArray of text
        A name that looks like the id of a row is none.
    """
    import pyarrow.compute as pc

    names = names.cast(pa.large_string())
    counts = names.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    # Arrow's `is_in` holds null to be equal to null.
    unfit = pc.or_(
        pc.or_kleene(pc.is_null(names), pc.equal(pc.fill_null(names, ""), "")),
        pc.or_(
            pc.is_in(names, value_set=twice),
            pc.fill_null(pc.match_substring_regex(names, r"^row-\d+$"), True),
        ),
    )
    rows = pc.indices_nonzero(unfit).to_pylist()
    if not rows:
        return Texts(names)
    numbered = pa.array([row_id(row) for row in rows], type=pa.large_string())
    return Texts(pc.replace_with_mask(names.combine_chunks(), unfit.combine_chunks(), numbered))


def checked_row(row: int, n_rows: int) -> int:
    """Return a row that exists, or raise `IndexError`."""
    if not 0 <= row < n_rows:
        raise IndexError(f"row {row} of a set of {n_rows} images")
    return row
