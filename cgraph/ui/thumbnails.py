"""Thumbnails of a study as data URIs, so that a picture needs no request of its own."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Any

from PIL import Image

_QUALITY = 78


def data_uri(jpeg: bytes) -> str:
    """Return the data URI of JPEG bytes."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


@lru_cache(maxsize=8192)
def thumbnail_uri(study: Any, row: int, side: int | None = None) -> str:
    """Return a stored thumbnail, made square and smaller if asked and if that saves much.

    Parameters
    ----------
    study : Study
        Compared by identity, so a study that was opened anew has thumbnails of its own.
    row : int
        Row of the image.
    side : int, optional
        Side in pixels at which it will be shown as a square. A thumbnail more than twice as large
        is cut and made smaller; others are passed on as they are stored, which is much faster.
    """
    stored = study.thumbnail(row)
    if side is None:
        return data_uri(stored)
    with Image.open(io.BytesIO(stored)) as image:
        if min(image.size) <= 2 * side:
            return data_uri(stored)
        return data_uri(square_jpeg(image, side))


def square_jpeg(image: Image.Image, side: int) -> bytes:
    """Return the middle square of a picture as JPEG bytes, never enlarged."""
    shorter = min(image.size)
    left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
    square = image.convert("RGB").crop((left, top, left + shorter, top + shorter))
    if shorter > side:
        square = square.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def picture_uri(image: Image.Image, longest: int) -> str:
    """Return an uploaded picture as a JPEG data URI whose longest side is at most `longest`."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return data_uri(buffer.getvalue())


@lru_cache(maxsize=8192)
def exemplar_rows(study: Any, concept: Any, n: int) -> tuple[int, ...]:
    """Return the rows of the training images in which a concept is strongest."""
    return tuple(row for row, _ in study.exemplars(concept, n))


@lru_cache(maxsize=4096)
def strip_uri(study: Any, rows: tuple[int, ...], side: int) -> str:
    """Return thumbnails side by side in one small picture: many share one head of a file.

    Parameters
    ----------
    study : Study
    rows : tuple of int
        Rows of the images, left to right; at least one.
    side : int
        Side of each square, in pixels.
    """
    strip = Image.new("RGB", (side * len(rows), side))
    for place, row in enumerate(rows):
        with Image.open(io.BytesIO(study.thumbnail(row))) as image:
            shorter = min(image.size)
            left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
            box = (left, top, left + shorter, top + shorter)
            square = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=box)
        strip.paste(square, (side * place, 0))
    buffer = io.BytesIO()
    strip.save(buffer, "WEBP", quality=68, method=0)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
