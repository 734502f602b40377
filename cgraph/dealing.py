"""Which part of the split each image goes to: train, tune or held-out.

Images are dealt in the order of a hash of their pixels' hash and the seed, so that the deal depends
neither on the order of the images nor on their number of workers, and identical images go to the
same part. Only hashes are sorted, a range of them at a time: no picture and no table is held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from cgraph.config import SPLIT_SHARES
from cgraph.errors import DataError

KEY_BYTES = 32
"""Bytes of one key."""

AT_ONCE = 2**20
"""Keys that are sorted at a time; more are dealt range by range."""

_WORDS = KEY_BYTES // 8


def deal_key(pixel_hash: str, seed: int) -> bytes:
    """Return the key in whose order images are dealt, `KEY_BYTES` long."""
    return hashlib.sha256(f"{seed}:{pixel_hash}".encode()).digest()


def deal(hashes: Iterable[str], seed: int) -> list[str]:
    """Return the part of each image: 70 % train, 15 % tune, 15 % held-out.

    Parameters
    ----------
    hashes : iterable of str
        Equal strings go to the same part.
    seed : int

    Raises
    ------
    DataError
        If one of the parts stays empty.
    """
    names = list(SPLIT_SHARES)
    parts, _ = deal_keys(as_keys(b"".join(deal_key(value, seed) for value in hashes)))
    return [names[part] for part in parts]


def as_keys(data: bytes | np.ndarray) -> np.ndarray:
    """Return keys that lie one after the other as an array of shape ``(n, 4)``.

    Its rows are in the order of the keys when their big-endian numbers are.
    """
    return np.frombuffer(data, dtype=">u8").reshape(-1, _WORDS)


def deal_keys(keys: np.ndarray, at_once: int | None = None) -> tuple[np.ndarray, int]:
    """Deal keys to the parts of the split.

    Parameters
    ----------
    keys : ndarray, shape (n, 4)
        As `as_keys` returns them; may be mapped from a file.
    at_once : int, optional
        Keys that are sorted at a time, about; `AT_ONCE` if left out.

    Returns
    -------
    parts : ndarray of uint8, shape (n,)
        Place of each key's part in `SPLIT_SHARES`.
    n_different : int
        Different keys.

    Raises
    ------
    DataError
        If one of the parts stays empty.
    """
    n, at_once = len(keys), at_once or AT_ONCE
    ends = np.cumsum(list(SPLIT_SHARES.values())) * n
    parts = np.empty(n, dtype=np.uint8)
    dealt = n_different = 0
    n_ranges = max(1, -(-n // at_once))
    width = np.uint64(2**64 // n_ranges + 1) if n_ranges > 1 else None
    for number in range(n_ranges):
        places = _places(keys, number, width, at_once)
        own = keys[places].astype(np.uint64)
        order = np.lexsort(own.T[::-1])
        own, places = own[order], places[order]
        first = np.ones(len(own), dtype=bool)
        first[1:] = (own[1:] != own[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        sizes = np.diff(starts, append=len(own))
        # The middle of a group decides, so that a group across a border goes where most of it is.
        middles = dealt + starts + sizes / 2
        of_group = np.minimum(np.searchsorted(ends, middles), len(ends) - 1).astype(np.uint8)
        parts[places] = np.repeat(of_group, sizes)
        dealt += len(own)
        n_different += len(starts)
    if len(np.unique(parts)) < len(SPLIT_SHARES):
        raise DataError(
            f"{n_different} different images are too few to split into train, tune and held-out "
            "parts. Give at least a few hundred images."
        )
    return parts, n_different


def _places(keys: np.ndarray, number: int, width: np.uint64 | None, at_once: int) -> np.ndarray:
    """Return the places of the keys of one range of their first words."""
    if width is None:
        return np.arange(len(keys))
    found = []
    for start in range(0, len(keys), at_once):
        words = keys[start : start + at_once, 0].astype(np.uint64)
        found.append(start + np.flatnonzero(words // width == np.uint64(number)))
    return np.concatenate(found)
