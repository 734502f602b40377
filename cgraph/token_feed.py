"""Images made ready for the model ahead of it, so that it never waits for a disk or a decoder.

Reading, decoding, hashing, the thumbnail and the preprocessing of an image take a few milliseconds,
most of them outside of the interpreter lock (files, Pillow). Threads do them for the next images
while the model works on the present ones. Images come back in the order of their rows whatever the
threads do, and only so many are held as are asked for: their pixels as the model wants them, not
the pictures, which may be much larger.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image

from cgraph.errors import ImageError
from cgraph.images import ImageSet, pixel_hash, thumbnail

READERS = 2
"""Threads that read ahead. They wait most of the time; two keep a model busy whose forward pass
takes longer than half of what one image takes to read, decode and resize."""

AHEAD = 2
"""Batches that are ready or in the making while the model works on one."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Ready:
    """One image as the token stage needs it; without pixels where it could not be read.

    Attributes
    ----------
    image_id : str
    attributes : str
        What the set says about the image, as JSON.
    pixel_hash : str
    thumbnail : bytes
    pixels : ndarray of float32, shape (3, height, width), or None
        What the model sees.
    reason : str
        Why there are no pixels.
    """

    image_id: str
    attributes: str = ""
    pixel_hash: str = ""
    thumbnail: bytes = b""
    pixels: np.ndarray | None = None
    reason: str = ""

    def without_pixels(self) -> Ready:
        """Return what is left to keep once the model has seen the pixels."""
        return replace(self, pixels=None)


def make_ready(
    image_set: ImageSet,
    row: int,
    preprocess: Callable[[Sequence[Image.Image]], np.ndarray],
    thumbnail_px: int,
) -> Ready:
    """Read one image and prepare it for the model; see `Ready`."""
    try:
        record = image_set.read(row)
    except ImageError as error:
        return Ready(image_set.image_ids[row], reason=str(error))
    return Ready(
        record.image_id,
        json.dumps(record.attributes, sort_keys=True, separators=(",", ":")),
        pixel_hash(record.image),
        thumbnail(record.image, thumbnail_px),
        preprocess([record.image])[0],
    )


def in_order(
    function: Callable[[T], R], items: Iterable[T], n_threads: int, n_ahead: int
) -> Iterator[R]:
    """Yield what a function makes of items, in their order, made by threads ahead of the caller.

    Parameters
    ----------
    function : callable
        Called once for each item, from several threads.
    items : iterable
    n_threads : int
        Threads; with 0 the caller does the work when it asks.
    n_ahead : int
        Most results that are ready or in the making.
    """
    if n_threads == 0:
        yield from map(function, items)
        return
    left = iter(items)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="cgraph-reader") as pool:
        waiting: deque[Future[R]] = deque(
            pool.submit(function, item) for item in islice(left, n_ahead)
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(left, 1))
                yield result
        finally:
            # The caller stopped, or an item failed in a way that nobody expected.
            pool.shutdown(wait=True, cancel_futures=True)


def batches(
    image_set: ImageSet,
    rows: Sequence[int],
    preprocess: Callable[[Sequence[Image.Image]], np.ndarray],
    *,
    batch_size: int,
    thumbnail_px: int,
    n_threads: int = READERS,
) -> Iterator[tuple[Ready, ...]]:
    """Yield rows of an image set in batches, made ready ahead of the caller.

    Which rows share a batch depends on their place alone: those that cannot be read keep it.

    Parameters
    ----------
    image_set : ImageSet
        Its `read` is called from several threads at once.
    rows : sequence of int
    preprocess : callable
        From pictures to pixels; see `cgraph.vit.VisionModel.preprocess`.
    batch_size : int
    thumbnail_px : int
        Longest side of the thumbnails.
    n_threads : int
    """

    def ready(row: int) -> Ready:
        return make_ready(image_set, int(row), preprocess, thumbnail_px)

    prepared = in_order(ready, rows, n_threads, AHEAD * batch_size)
    while batch := tuple(islice(prepared, batch_size)):
        yield batch
