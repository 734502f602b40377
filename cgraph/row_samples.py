"""Seeded samples of the images of one part of the split, in memory of the sample's size.

A stage that needs many images at once, to learn a dictionary or to fit a predictor, takes at most
as many as the settings say. Every layer takes the same images, since parents and children are
labels of the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CHUNK = 2**20


def rows_of_part(
    split: np.ndarray, part: int, at_most: int | None, entropy: Sequence[int]
) -> np.ndarray:
    """Return rows of one part of the split: all of them, or a seeded sample.

    Every row of the part gets a random number, and those with the smallest are taken, so that no
    more rows than twice the sample are held at a time, and each sample is as likely as any other.

    Parameters
    ----------
    split : ndarray of uint8, shape (n_images,)
        Part of each image.
    part : int
        The part wanted.
    at_most : int or None
        Most rows; ``None`` takes all.
    entropy : sequence of int
        Seed of the random numbers, at least 0 each.

    Returns
    -------
    ndarray of int64
        Rising rows.
    """
    if at_most is None or np.count_nonzero(split == part) <= at_most:
        return np.flatnonzero(split == part)
    rng = np.random.default_rng(np.random.SeedSequence(list(entropy)))
    rows, draws = np.empty(0, dtype=np.int64), np.empty(0)
    chunk = min(_CHUNK, max(at_most, 1))
    for start in range(0, len(split), chunk):
        own = start + np.flatnonzero(split[start : start + chunk] == part)
        rows = np.concatenate([rows, own])
        draws = np.concatenate([draws, rng.random(len(own))])
        if len(rows) > at_most:
            kept = np.argpartition(draws, at_most - 1)[:at_most]
            rows, draws = rows[kept], draws[kept]
    return np.sort(rows)
