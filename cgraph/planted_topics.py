"""What planted images show: topics, the pictures of them and the words for them.

A *topic* is a coloured shape in one quarter of the picture, such as a red star at the top left. A
planted image shows a few topics, each in another quarter; they decide which concepts of layer 1 are
active in it. So images in which one concept is active look alike, which is all that these pictures
are for. They are drawn by thousands a second: every shape is drawn once and then pasted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "triangle", "star", "ring", "bar", "cross", "diamond")
COLOURS = {
    "red": (205, 62, 58),
    "orange": (236, 146, 52),
    "yellow": (232, 200, 60),
    "green": (76, 158, 88),
    "blue": (62, 112, 196),
    "purple": (140, 84, 178),
    "pink": (236, 130, 176),
    "brown": (128, 86, 58),
}
PLACES = ("top left", "bottom right", "top right", "bottom left")
MAX_TOPICS = len(SHAPES) * len(COLOURS) * len(PLACES)
"""Most topics that can be told apart."""

NO_TOPIC = -1
"""Marks an unused place in a row of topics."""

_SUPERSAMPLING = 4
_SIZES = (0.15, 0.17, 0.19)  # radius of a shape, as a share of the picture's side
_QUALITY = 85
_N_SHADES, _LIGHTEST = 40, 250


def look(topic: int) -> tuple[str, str, str]:
    """Return shape, colour and place of a topic.

    Parameters
    ----------
    topic : int
        0 … `MAX_TOPICS` - 1. Neighbouring numbers lie in different places.
    """
    rest, place = divmod(topic, len(PLACES))
    colour, shape = divmod(rest, len(SHAPES))
    # Shapes go round with the colours, so that few topics show many of both.
    return SHAPES[shape], tuple(COLOURS)[(colour + shape) % len(COLOURS)], PLACES[place]


def attributes(topics: Sequence[int]) -> dict[str, str | list[str]]:
    """Return what is known of an image that shows some topics, as attributes of an image set."""
    looks = [look(topic) for topic in topics if topic != NO_TOPIC]
    return {
        "caption": ", ".join(f"{colour} {shape} {place}" for shape, colour, place in looks),
        "thing": [f"{colour} {shape} {place}" for shape, colour, place in looks],
        "shape": sorted({shape for shape, _, _ in looks}),
        "colour": sorted({colour for _, colour, _ in looks}),
        "place": sorted({place for _, _, place in looks}),
    }


def related_topics(n_topics: int) -> np.ndarray:
    """Return which topics share a shape or a colour, shape ``(n_topics, n_topics)``, Boolean."""
    looks = [look(topic) for topic in range(n_topics)]
    shapes, colours = (np.array([entry[n] for entry in looks]) for n in (0, 1))
    return (shapes[:, None] == shapes) | (colours[:, None] == colours)


def draw(topics: Sequence[int], jitter: np.ndarray, px: int) -> Image.Image:
    """Draw an image.

    Parameters
    ----------
    topics : sequence of int
        Topics in different places, or `NO_TOPIC`.
    jitter : ndarray of float, shape (1 + 3 * len(topics),)
        Numbers in [0, 1): shade of the ground, then size and two shifts of each topic.
    px : int
        Side in pixels.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``; the same arguments give the same pixels.
    """
    numbers = jitter.tolist()
    shade = _LIGHTEST - int(_N_SHADES * numbers[0])
    picture = Image.new("RGB", (px, px), (shade, shade, int(0.96 * shade)))
    for n, topic in enumerate(topics):
        if topic == NO_TOPIC:
            continue
        shape, colour, place = look(topic)
        size, across, down = numbers[1 + 3 * n : 4 + 3 * n]
        radius = max(1, round(px * _SIZES[int(len(_SIZES) * size)]))
        stamp = _stamp(shape, radius)
        x = (0.27 if "left" in place else 0.73) + 0.1 * (across - 0.5)
        y = (0.27 if "top" in place else 0.73) + 0.1 * (down - 0.5)
        corner = round(x * px) - stamp.width // 2, round(y * px) - stamp.height // 2
        picture.paste(COLOURS[colour], (*corner, *_far(corner, stamp)), stamp)
    return picture


def _far(corner: tuple[int, int], stamp: Image.Image) -> tuple[int, int]:
    return corner[0] + stamp.width, corner[1] + stamp.height


@lru_cache(maxsize=256)
def _stamp(shape: str, radius: int) -> Image.Image:
    """Draw the mask of a shape, with smooth edges."""
    side = (2 * radius + 2) * _SUPERSAMPLING
    mask = Image.new("L", (side, side))
    pen, middle, r = ImageDraw.Draw(mask), side / 2, radius * _SUPERSAMPLING
    if shape in ("disc", "ring"):
        pen.ellipse((middle - r, middle - r, middle + r, middle + r), 255)
        if shape == "ring":
            hole = r / 2
            pen.ellipse((middle - hole, middle - hole, middle + hole, middle + hole), 0)
    elif shape == "cross":
        pen.rectangle((middle - r, middle - r / 3, middle + r, middle + r / 3), 255)
        pen.rectangle((middle - r / 3, middle - r, middle + r / 3, middle + r), 255)
    else:
        pen.polygon([(middle + r * x, middle + r * y) for x, y in _outline(shape)], 255)
    return mask.reduce(_SUPERSAMPLING)


def _outline(shape: str) -> list[tuple[float, float]]:
    if shape == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if shape == "triangle":
        return [(0, -1), (1, 0.8), (-1, 0.8)]
    if shape == "bar":
        return [(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)]
    if shape == "diamond":
        return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
    turns = [(math.pi * n / 5, 0.45 if n % 2 else 1.0) for n in range(10)]
    return [(reach * math.sin(angle), -reach * math.cos(angle)) for angle, reach in turns]
