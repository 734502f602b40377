"""What is known of the images, part by part: ids, attributes, hashes and thumbnails.

A part is one table, written when its tokens were. `split_parts` deals the images to train, tune and
held-out and joins the parts into the study's table of images; it holds hashes only, and of the
tables as many as fill one record batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.config import SPLIT_SHARES
from cgraph.dealing import as_keys, deal_key, deal_keys
from cgraph.errors import DataError
from cgraph.manifest import IMAGES
from cgraph.row_samples import rows_of_part
from cgraph.store import map_bytes, read_table, write_batches, write_pieces
from cgraph.token_feed import Ready

SKIPPED = "skipped.arrow"

BATCH_BYTES = 64 * 2**20
"""Parts are joined into one record batch of the table of images as long as it is not larger. A
batch is also what limits an Arrow column to 2 GiB."""

_SKIPPED_SCHEMA = pa.schema([("image_id", pa.string()), ("reason", pa.string())])
_SKIPPED_KEY = b"skipped"
_SKIPPED_AT_ONCE = 2**17
_ROWS = 2**16
_PLACE_OF = {name: place for place, name in enumerate(SPLIT_SHARES)}
_SAMPLES = 0x5A3B1E
"""Keeps the random numbers of samples apart from others of the same seed."""


def image_table(kept: Sequence[Ready], skipped: Sequence[Ready]) -> pa.Table:
    """Return the table of one part; what could not be read stands in its metadata."""
    table = pa.table(
        {
            "image_id": pa.array([ready.image_id for ready in kept], type=pa.string()),
            "attributes": pa.array([ready.attributes for ready in kept], type=pa.string()),
            "pixel_hash": pa.array([ready.pixel_hash for ready in kept], type=pa.string()),
            "thumbnail": pa.array([ready.thumbnail for ready in kept], type=pa.binary()),
        }
    )
    entries = [{"image_id": ready.image_id, "reason": ready.reason} for ready in skipped]
    return table.replace_schema_metadata({_SKIPPED_KEY: json.dumps(entries).encode()})


def split_parts(folder: Path, paths: Sequence[Path], keys: Path, seed: int) -> dict[str, Any]:
    """Deal the images of all parts, and write the study's tables of images and of skipped ones.

    Parameters
    ----------
    folder : Path
        The study folder.
    paths : sequence of Path
        Tables of the parts, in order.
    keys : Path
        Where to keep what is sorted, 32 bytes an image: a working file.
    seed : int

    Returns
    -------
    dict
        What the manifest says of the images: counts, and a fingerprint of all pixels.

    Raises
    ------
    DataError
        If no image could be read, or too few different ones to fill all three parts.
    """
    fingerprint, n = hashlib.sha256(), 0

    def dealt_keys() -> Iterator[bytes]:
        nonlocal n
        for path in paths:
            hashes = read_table(path, ["pixel_hash"]).column(0).to_pylist()
            if hashes:
                fingerprint.update(b"\n" if n else b"")
                fingerprint.update("\n".join(hashes).encode())
            n += len(hashes)
            yield b"".join(deal_key(value, seed) for value in hashes)

    write_pieces(keys, dealt_keys())
    n_skipped = _write_skipped(folder, paths)
    if not n:
        first = read_table(folder / SKIPPED).column("reason")[0].as_py()
        raise DataError(f"None of the {n_skipped} images could be read. The first: {first}")
    parts, n_different = deal_keys(as_keys(map_bytes(keys)))
    _write_images(folder, paths, parts)
    dealt = np.bincount(parts, minlength=len(SPLIT_SHARES)).tolist()
    return {
        "n": n,
        "n_skipped": n_skipped,
        "n_duplicates": n - n_different,
        "fingerprint": fingerprint.hexdigest(),
        **{f"n_{name.replace('-', '_')}": dealt[place] for name, place in _PLACE_OF.items()},
    }


def _write_skipped(folder: Path, paths: Sequence[Path]) -> int:
    """Write the table of the images that could not be read; return how many there are."""
    n_skipped = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal n_skipped
        found: list[dict[str, str]] = []
        for path in paths:
            found += json.loads(read_table(path, ["image_id"]).schema.metadata[_SKIPPED_KEY])
            if len(found) >= _SKIPPED_AT_ONCE or path == paths[-1]:
                n_skipped += len(found)
                yield pa.Table.from_pylist(found, schema=_SKIPPED_SCHEMA)
                found = []

    write_batches(folder / SKIPPED, _SKIPPED_SCHEMA, tables())
    return n_skipped


def _write_images(folder: Path, paths: Sequence[Path], parts: np.ndarray) -> None:
    names = np.array(list(SPLIT_SHARES), dtype=object)

    def joined() -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        first = 0
        for path in paths:
            table = read_table(path).replace_schema_metadata()
            if waiting and table.nbytes + sum(t.nbytes for t in waiting) > BATCH_BYTES:
                yield pa.concat_tables(waiting)
                waiting = []
            own = names[parts[first : first + table.num_rows]]
            waiting.append(table.add_column(1, "split", pa.array(own, type=pa.string())))
            first += table.num_rows
        yield pa.concat_tables(waiting)

    tables = joined()
    start = next(tables)
    write_batches(folder / IMAGES, start.schema, chain([start], tables))


def stored_split(folder: Path) -> np.ndarray:
    """Return the part of the split of every image: uint8, its place in `SPLIT_SHARES`."""
    column = read_table(folder / IMAGES, ["split"]).column(0)
    parts = np.empty(len(column), dtype=np.uint8)
    first = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), _ROWS):
            own = chunk.slice(start, _ROWS).to_pylist()
            parts[first : first + len(own)] = [_PLACE_OF[name] for name in own]
            first += len(own)
    return parts


def sampled_rows(split: np.ndarray, part: str, at_most: int, seed: int) -> np.ndarray:
    """Return all images of a part of the split, or a seeded sample of so many.

    Parameters
    ----------
    split : ndarray of uint8, shape (n_images,)
        As `stored_split` returns it.
    part : str
    at_most : int
    seed : int
        Of the study.

    Returns
    -------
    ndarray of int64
        Rising rows.
    """
    place = _PLACE_OF[part]
    return rows_of_part(split, place, at_most, (seed, _SAMPLES, place))
