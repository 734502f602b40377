"""From a scene to its picture.

A ground is a window of a wide panorama, drawn once for each kind and size. An object is a mask
drawn four times as large as it is shown, filled with its colour and texture, over a soft shadow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from cgraph.errors import DataError
from cgraph.scenes import PLACES, Scene, SceneObject

SIZE = 128
"""Side of a picture in pixels, if no other is asked for."""

_SMALLEST, _LARGEST = 16, 1024
_PANORAMA = 6  # widths of a picture
_SUPERSAMPLING = 4

_RGB = {
    "red": (212, 44, 48),
    "orange": (242, 138, 34),
    "yellow": (250, 216, 58),
    "green": (38, 156, 70),
    "blue": (40, 94, 214),
    "purple": (136, 66, 190),
    "pink": (246, 132, 182),
    "white": (246, 246, 246),
}


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the square picture in pixels, 16 to 1024.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``. The same scene gives the same pixels.

    Raises
    ------
    DataError
        If the size is out of range.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not _SMALLEST <= size <= _LARGEST:
        raise DataError(
            f"The size of a picture is {size!r}: whole numbers from {_SMALLEST} to {_LARGEST} "
            "pixels are allowed."
        )
    picture = _ground(scene, size)
    for thing in sorted(scene.objects, key=lambda thing: PLACES.index(thing.place)):
        _place(picture, thing, size)
    return picture


# ---- grounds


def _ground(scene: Scene, size: int) -> Image.Image:
    panorama = _panorama(scene.background, size)
    start = round(scene.view % 1 * (panorama.width - size))
    window = panorama.crop((start, 0, start + size, size))
    channels = [
        channel.point([min(255, round(value * max(factor, 0))) for value in range(256)])
        for channel, factor in zip(window.split(), scene.light, strict=True)
    ]
    return Image.merge("RGB", channels)


@lru_cache(maxsize=16)
def _panorama(kind: str, size: int) -> Image.Image:
    rng = np.random.default_rng(sum(map(ord, kind)))
    return _GROUNDS[kind](size, rng)


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int], size: int) -> np.ndarray:
    height = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - height) + np.array(bottom, np.float32) * height
    return np.repeat(rows, _PANORAMA * size, axis=1)


def _noise(rng: np.random.Generator, size: int, rows: int, columns: int) -> np.ndarray:
    """Smooth noise of about unit size: so many grid points over the height and one width."""
    grid = rng.standard_normal((rows, columns * _PANORAMA)).astype(np.float32)
    wide = Image.fromarray(grid).resize((size * _PANORAMA, size), Image.Resampling.BICUBIC)
    return np.asarray(wide)[:, :, None]


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _sky(size: int, rng: np.random.Generator) -> Image.Image:
    sky = _picture(_gradient((78, 146, 218), (206, 230, 246), size))
    clouds = Image.new("L", sky.size)
    pen = ImageDraw.Draw(clouds)
    for _ in range(2 * _PANORAMA):
        x, y = rng.uniform(0, sky.width), rng.uniform(0.06, 0.85) * size
        scale = size * rng.uniform(0.7, 1.2)
        for puff in range(-2, 3):
            wide = scale * rng.uniform(0.055, 0.09) * (1.25 - 0.22 * abs(puff))
            middle, low = x + puff * 0.075 * scale, y + 0.35 * wide
            pen.ellipse((middle - wide, low - 1.3 * wide, middle + wide, low), fill=190)
    clouds = clouds.filter(ImageFilter.GaussianBlur(size / 60))
    sky.paste((255, 255, 255), (0, 0), clouds)
    return sky


def _grass(size: int, rng: np.random.Generator) -> Image.Image:
    meadow = _gradient((146, 190, 92), (84, 142, 54), size)
    meadow += 5 * _noise(rng, size, 10, 10)
    blades = _picture(meadow)
    pen = ImageDraw.Draw(blades)
    n_blades = 900 * _PANORAMA
    height = np.sort(rng.uniform(0, 1.05, n_blades))  # the far ones first
    for y, x, lean, shade in zip(
        height,
        rng.uniform(0, blades.width, n_blades),
        rng.uniform(-1, 1, n_blades),
        rng.uniform(-18, 20, n_blades),
        strict=True,
    ):
        length = size * (0.012 + 0.035 * y)
        base = 146 - 62 * y, 190 - 48 * y, 92 - 38 * y
        colour = tuple(int(np.clip(value + shade, 0, 255)) for value in base)
        top = (x + 0.5 * lean * length, y * size - length)
        pen.line([(x, y * size), top], fill=colour, width=max(1, round(size / 160)))
    return blades.filter(ImageFilter.GaussianBlur(size / 320))


def _sand(size: int, rng: np.random.Generator) -> Image.Image:
    dunes = _gradient((242, 224, 178), (216, 186, 130), size)
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    x = np.linspace(0, _PANORAMA, size * _PANORAMA, dtype=np.float32)[None]
    bend = _noise(rng, size, 3, 2)[:, :, 0]
    # Ripples stand closer together far away.
    ripples = np.sin(2 * np.pi * (9 * np.sqrt(y + 0.1) + 0.5 * np.sin(2.2 * x) + 0.35 * bend))
    dunes += (5 + 5 * y[:, :, None]) * ripples[:, :, None]
    return _picture(dunes + 4 * _noise(rng, size, size, size))


def _night(size: int, rng: np.random.Generator) -> Image.Image:
    sky = _picture(_gradient((10, 13, 42), (56, 54, 104), size) + 3 * _noise(rng, size, 4, 4))
    stars = Image.new("L", sky.size)
    pen = ImageDraw.Draw(stars)
    n_stars = 42 * _PANORAMA
    for x, y, light in zip(
        rng.uniform(0, sky.width, n_stars),
        rng.uniform(0, size, n_stars),
        rng.uniform(0.25, 1, n_stars) ** 2,
        strict=True,
    ):
        wide = size * (0.002 + 0.006 * light)
        pen.ellipse((x - wide, y - wide, x + wide, y + wide), fill=int(110 + 145 * light))
    sky.paste((255, 252, 236), (0, 0), stars.filter(ImageFilter.GaussianBlur(size / 256)))
    return sky


def _wood(size: int, rng: np.random.Generator) -> Image.Image:
    planks = _gradient((122, 82, 54), (98, 62, 40), size)
    grain = _noise(rng, size, 40, 2) + 0.6 * _noise(rng, size, size, 6)
    edges = np.linspace(0, size, 6).round().astype(int)
    for top, bottom in pairwise(edges):
        planks[top:bottom] += rng.uniform(-7, 7)
    planks += 4.5 * grain
    for edge in edges[1:-1]:
        seam = np.exp(-(((np.arange(size) - edge) / (size / 110)) ** 2)).astype(np.float32)
        planks -= 26 * seam[:, None, None]
    return _picture(planks)


_GROUNDS: dict[str, Callable[[int, np.random.Generator], Image.Image]] = {
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
    "night": _night,
    "wood": _wood,
}


# ---- objects


def _place(picture: Image.Image, thing: SceneObject, size: int) -> None:
    x, y = thing.centre
    radius = thing.radius * size
    reach = math.ceil(1.25 * radius) + 2
    mask = _mask(thing, radius, reach)
    left, top = round(x * size) - reach, round(y * size) - reach
    margin = math.ceil(size / 20)
    shadow = Image.new("L", (mask.width + 2 * margin, mask.height + 2 * margin))
    shadow.paste(mask.point(_SHADOW), (margin, margin))
    shadow = shadow.filter(ImageFilter.GaussianBlur(size / 55))
    down = round(size / 32)
    picture.paste((8, 8, 18), (left - margin + down // 2, top - margin + down), shadow)
    picture.paste(_filling(thing, radius, mask), (left, top), mask)


_SHADOW = [int(0.5 * value) for value in range(256)]


def _mask(thing: SceneObject, radius: float, reach: int) -> Image.Image:
    """Draw where an object is: 0 to 255 over a square of twice its reach in pixels."""
    side = 2 * reach * _SUPERSAMPLING
    mask = Image.new("L", (side, side))
    _SHAPES[thing.shape](ImageDraw.Draw(mask), side / 2, radius * _SUPERSAMPLING, thing.turn)
    return mask.reduce(_SUPERSAMPLING)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, *, fill: int = 255) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _circle(pen: ImageDraw.ImageDraw, middle: float, radius: float, turn: float) -> None:
    _disc(pen, middle, middle, 0.92 * radius)


def _ring(pen: ImageDraw.ImageDraw, middle: float, radius: float, turn: float) -> None:
    _disc(pen, middle, middle, radius)
    _disc(pen, middle, middle, 0.52 * radius, fill=0)


def _crescent(pen: ImageDraw.ImageDraw, middle: float, radius: float, turn: float) -> None:
    _disc(pen, middle, middle, radius)
    angle = 1.5 * turn - 0.4
    x, y = 0.48 * radius * math.cos(angle), 0.48 * radius * math.sin(angle)
    _disc(pen, middle + x, middle + y, 0.8 * radius, fill=0)


class _Outline:
    """A shape bounded by straight lines between points, about the middle and for radius 1."""

    def __init__(self, points: list[tuple[float, float]]) -> None:
        self._points = points

    def __call__(self, pen: ImageDraw.ImageDraw, middle: float, radius: float, turn: float) -> None:
        cos, sin = math.cos(turn), math.sin(turn)
        pen.polygon(
            [
                (middle + radius * (x * cos - y * sin), middle + radius * (x * sin + y * cos))
                for x, y in self._points
            ],
            fill=255,
        )


def _star_points() -> list[tuple[float, float]]:
    corners = [(math.pi * n / 5, 0.47 if n % 2 else 1.1) for n in range(10)]
    return [(reach * math.sin(angle), -reach * math.cos(angle)) for angle, reach in corners]


def _cross_points() -> list[tuple[float, float]]:
    """Go round the cross: the three corners of each quarter, turned by a right angle each time."""
    points, corners = [], [(0.33, -1.0), (0.33, -0.33), (1.0, -0.33)]
    for _ in range(4):
        points += corners
        corners = [(-y, x) for x, y in corners]
    return points


def _heart_points() -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = np.sin(angles) ** 3
    y = -13 * np.cos(angles)
    for n, factor in ((2, 5.0), (3, 2.0), (4, 1.0)):
        y += factor * np.cos(n * angles)
    return list(zip((16 * x / 16.5).tolist(), ((y - 1) / 15.5).tolist(), strict=True))


_SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float], None]] = {
    "circle": _circle,
    "ring": _ring,
    "crescent": _crescent,
    "square": _Outline([(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)]),
    "triangle": _Outline([(0, -1.05), (1, 0.75), (-1, 0.75)]),
    "star": _Outline(_star_points()),
    "cross": _Outline(_cross_points()),
    "heart": _Outline(_heart_points()),
}


def _filling(thing: SceneObject, radius: float, mask: Image.Image) -> Image.Image:
    """Colour an object: lighter above, darker below, with its texture in a second colour."""
    base = np.clip(np.array(_RGB[thing.colour]) + np.array(thing.tint), 0, 255)
    light, dark = base + 0.2 * (255 - base), 0.84 * base
    down = np.linspace(0, 1, mask.height)[:, None]
    shade = np.clip(light * (1 - down) + dark * down, 0, 255)
    side = mask.size
    filling = _picture(np.repeat(shade[:, None], mask.width, axis=1))
    if thing.texture != "plain":
        second = (118, 118, 130) if thing.colour == "white" else _rgb(0.36 * base)
        filling.paste(second, (0, 0), _texture(thing, radius, side[0]))
    # A darker rim separates an object from a ground of its own colour.
    inside = mask.filter(ImageFilter.GaussianBlur(max(0.6, radius / 14)))
    rim = ImageChops.subtract(mask, inside).point(_RIM)
    filling.paste(_rgb(0.35 * base), (0, 0), rim)
    return filling


_RIM = [min(255, int(0.9 * value)) for value in range(256)]


def _rgb(values: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _texture(thing: SceneObject, radius: float, width: int) -> Image.Image:
    """Draw where the second colour is, over a square of `width` pixels."""
    side = width * _SUPERSAMPLING
    period = max(5.0, 0.42 * radius) * _SUPERSAMPLING
    cover = Image.new("L", (side, side))
    pen = ImageDraw.Draw(cover)
    start = thing.phase % 1 * period
    if thing.texture == "striped":
        for left in np.arange(start - side, side, period):
            half = left + period / 2
            pen.polygon(
                [(left, 0), (half, 0), (half + side / 2, side), (left + side / 2, side)], 255
            )
    elif thing.texture == "dotted":
        for row, y in enumerate(np.arange(start - period, side + period, 0.85 * period)):
            for x in np.arange(start - period * (1 - row % 2 / 2), side + period, period):
                _disc(pen, x, y, 0.27 * period)
    else:
        square = 0.62 * period
        n_squares = int(side / square) + 2
        for row in range(-1, n_squares):
            for column in range(-1 - (row % 2), n_squares, 2):
                x, y = start + column * square, start + row * square
                pen.rectangle((x, y, x + square - 1, y + square - 1), fill=255)
    return cover.reduce(_SUPERSAMPLING)
