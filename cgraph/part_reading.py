"""Tokens and codes of a layer, which lie in parts on disk, read a part at a time.

Nothing here holds more than one part besides what was asked for. Tokens are mapped into memory, so
that only the rows that are asked for are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.codes import CodeCounts, Codes
from cgraph.config import SPLIT_SHARES
from cgraph.manifest import codes_file, tokens_file
from cgraph.store import codes_from_table, map_array, read_table

CHUNK = 16_384
"""Tokens that are held at a time. So many are one chunk, whose sums are those of one array."""


class StoredTokens:
    """Class tokens of all images at one layer, read as rows are asked for.

    Parameters
    ----------
    folder : Path
        The study folder.
    layer : int
    n_parts : int
        Parts into which the images are cut.

    Attributes
    ----------
    shape : tuple of int
        Images, and numbers of a token.
    """

    def __init__(self, folder: Path, layer: int, n_parts: int) -> None:
        self._paths = [folder / tokens_file(layer, part) for part in range(n_parts)]
        shapes = [map_array(path).shape for path in self._paths]
        self._ends = np.cumsum([shape[0] for shape in shapes])
        self.shape = (int(self._ends[-1]), int(shapes[0][1]))

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the tokens of some images, in the given order.

        Returns
        -------
        ndarray of float32, shape (len(rows), d_model)

        Raises
        ------
        IndexError
            If there is no such image; rows are not counted from the end.
        """
        rows = np.asarray(rows, dtype=np.int64)
        taken = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        if not len(rows):
            return taken
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} tokens")
        order = np.argsort(rows, kind="stable")
        rising = rows[order]
        stops = np.searchsorted(rising, self._ends)
        start = first = 0
        for path, end, stop in zip(self._paths, self._ends, stops, strict=True):
            if stop > start:
                taken[order[start:stop]] = map_array(path)[rising[start:stop] - first]
            start, first = stop, end
        return taken

    def chunks(self, rows: np.ndarray, size: int = CHUNK) -> Iterator[np.ndarray]:
        """Yield the tokens of some images, so many at a time."""
        for start in range(0, len(rows), size):
            yield self.take(rows[start : start + size])


class StoredAttributes(Sequence[Mapping[str, Any]]):
    """What is known of some images, read from a study's table of images one by one.

    Parameters
    ----------
    path : Path
        The table of images.
    rows : ndarray of int
        Images, in the order wanted.
    """

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        self._rows = rows
        self._texts = read_table(path, ["attributes"]).column(0)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        """Return what is known of one image."""
        return json.loads(self._texts[int(self._rows[place])].as_py())

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        # One by one: to take many from a column of several chunks, Arrow copies all of it.
        for place in range(len(self)):
            yield self[place]


def code_parts(folder: Path, layer: int, n_parts: int) -> Iterator[tuple[int, Codes]]:
    """Yield the first row of each part of a layer's codes, and the codes of its images."""
    first = 0
    for part in range(n_parts):
        path = folder / codes_file(layer, part)
        codes = codes_from_table(read_table(path), path)
        yield first, codes
        first += codes.n_samples


def codes_of_rows(
    folder: Path, layer: int, n_parts: int, wanted: Sequence[np.ndarray]
) -> list[Codes]:
    """Return the codes of several choices of images at one layer, in one pass over its parts.

    Parameters
    ----------
    folder : Path
    layer, n_parts : int
    wanted : sequence of ndarray of int
        Rising rows of each choice.

    Raises
    ------
    IndexError
        If there is no such image.
    """
    found: list[list[Codes]] = [[] for _ in wanted]
    filled, end = [0] * len(wanted), 0
    for first, codes in code_parts(folder, layer, n_parts):
        end = first + codes.n_samples
        for place, rows in enumerate(wanted):
            # Rows rise, so those of a part lie together.
            start, stop = np.searchsorted(rows, [first, end])
            filled[place] += stop - start
            if stop > start or not found[place]:
                found[place].append(codes.take(rows[start:stop] - first))
    for rows, n in zip(wanted, filled, strict=True):
        if n != len(rows):
            raise IndexError(f"rows up to {rows.max()} of {end} codes")
    return [Codes.concatenate(parts) for parts in found]


def count_codes(folder: Path, layer: int, n_parts: int, split: np.ndarray) -> list[CodeCounts]:
    """Count how often concepts are active in the images of each part of the split.

    Parameters
    ----------
    folder : Path
    layer, n_parts : int
    split : ndarray of uint8, shape (n_images,)
        Part of each image.

    Returns
    -------
    list of CodeCounts
        One for each of the three parts.
    """
    counts: list[CodeCounts] = []
    for first, codes in code_parts(folder, layer, n_parts):
        own = split[first : first + codes.n_samples]
        more = [
            CodeCounts.of(codes.take(np.flatnonzero(own == n))) for n in range(len(SPLIT_SHARES))
        ]
        counts = [a + b for a, b in zip(counts, more, strict=True)] if counts else more
    return counts
