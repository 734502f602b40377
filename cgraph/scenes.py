"""Drawn scenes with known attributes: what is in a picture, before it is a picture.

A `Scene` says everything that its picture shows: the ground, and for each object shape, colour,
texture, size and place, as well as what has no name (where exactly it lies, how it is turned, the
tint of its colour). So one attribute can be changed and the scene drawn again with all else equal:

>>> import dataclasses
>>> from cgraph.scene_drawing import draw
>>> scene = sample_scene(index=3, seed=0)
>>> scene.objects[0].colour
'red'
>>> first = dataclasses.replace(scene.objects[0], colour="blue")
>>> changed = dataclasses.replace(scene, objects=(first, *scene.objects[1:]))
>>> before, after = draw(scene), draw(changed)

Lengths are shares of the picture's side, so that a scene can be drawn at any size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BACKGROUNDS = ("sky", "grass", "sand", "night", "wood")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "medium", "large")
PLACES = ("top left", "top right", "bottom left", "bottom right")
"""Quarters of the picture, in reading order; no two objects of a scene share one."""
COUNTS = ("one object", "two objects", "three objects")

WHERE = {
    "sky": "in the sky",
    "grass": "on grass",
    "sand": "on sand",
    "night": "at night",
    "wood": "on wood",
}
"""How a caption says the background."""

RADII = {"small": 0.11, "medium": 0.16, "large": 0.215}
"""Radius of an object of each size, as a share of the picture's side."""

_COUNT_SHARES = (0.35, 0.40, 0.25)
_TEXTURE_SHARES = (0.4, 0.2, 0.2, 0.2)
_CENTRES = (0.265, 0.735)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes
    ----------
    shape, colour, texture, size, place : str
        One of `SHAPES`, `COLOURS`, `TEXTURES`, `SIZES` and `PLACES`.
    dx, dy : float
        Distance of its centre from the middle of its quarter.
    stretch : float
        What the radius of its size is multiplied by.
    turn : float
        Rotation in radians.
    tint : tuple of float
        Added to red, green and blue (of 255).
    phase : float
        Where its texture begins, 0 to 1.
    """

    shape: str
    colour: str
    texture: str
    size: str
    place: str
    dx: float = 0.0
    dy: float = 0.0
    stretch: float = 1.0
    turn: float = 0.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase: float = 0.0

    def __post_init__(self) -> None:
        _check("shape", self.shape, SHAPES)
        _check("colour", self.colour, COLOURS)
        _check("texture", self.texture, TEXTURES)
        _check("size", self.size, SIZES)
        _check("place", self.place, PLACES)
        numbers = (self.dx, self.dy, self.stretch, self.turn, self.phase, *self.tint)
        if not np.isfinite(numbers).all() or len(self.tint) != 3:
            raise DataError(f"The measures of an object are {numbers}: eight numbers are needed.")
        if self.stretch <= 0:
            raise DataError(f"The stretch of an object is {self.stretch}: it must be above 0.")

    @property
    def centre(self) -> tuple[float, float]:
        """Where its middle lies: shares of the picture's width and height."""
        row, column = divmod(PLACES.index(self.place), 2)
        return _CENTRES[column] + self.dx, _CENTRES[row] + self.dy

    @property
    def radius(self) -> float:
        """Half its extent, as a share of the picture's side."""
        return RADII[self.size] * self.stretch


@dataclass(frozen=True)
class Scene:
    """What one picture shows.

    Attributes
    ----------
    background : str
        One of `BACKGROUNDS`.
    objects : tuple of SceneObject
        One to three, each in a quarter of its own.
    view : float
        Which part of the ground is seen, 0 to 1.
    light : tuple of float
        What red, green and blue of the ground are multiplied by.
    """

    background: str
    objects: tuple[SceneObject, ...]
    view: float = 0.0
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check("background", self.background, BACKGROUNDS)
        places = [thing.place for thing in self.objects]
        if not 1 <= len(places) <= len(COUNTS) or len(set(places)) < len(places):
            raise DataError(
                f"A scene has objects at {', '.join(places) or 'no place'}: it holds one to "
                f"{len(COUNTS)} objects, each in a quarter of its own."
            )
        if not np.isfinite((self.view, *self.light)).all() or len(self.light) != 3:
            raise DataError(f"view is {self.view} and light {self.light}: four numbers are needed.")

    def to_dict(self) -> dict[str, Any]:
        """Return the scene as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scene:
        """Read a scene that `to_dict` wrote.

        Raises
        ------
        DataError
            If a name or value is not allowed.
        """
        try:
            objects = tuple(
                SceneObject(**{**thing, "tint": tuple(thing["tint"])})
                for thing in values["objects"]
            )
            return cls(**{**values, "objects": objects, "light": tuple(values["light"])})
        except (KeyError, TypeError) as error:
            raise DataError(
                f"This is no scene ({error}). Give what `Scene.to_dict` returns."
            ) from None


def sample_scene(index: int, seed: int = 0) -> Scene:
    """Return one of endlessly many random scenes.

    Parameters
    ----------
    index : int
        Which scene, from 0 on. It depends on `seed` and `index` alone, never on the others.
    seed : int

    Raises
    ------
    DataError
        If a number is negative.
    """
    if index < 0 or seed < 0:
        raise DataError(f"Scene {index} of seed {seed}: both numbers must be at least 0.")
    rng = np.random.default_rng((seed, index))
    n_objects = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES)) + 1
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    places = rng.choice(len(PLACES), n_objects, replace=False)
    view, light = float(rng.random()), _triple(rng.uniform(0.965, 1.035, 3))
    return Scene(background, tuple(_sample_object(rng, int(p)) for p in places), view, light)


def _sample_object(rng: np.random.Generator, place: int) -> SceneObject:
    return SceneObject(
        shape=SHAPES[rng.integers(len(SHAPES))],
        colour=COLOURS[rng.integers(len(COLOURS))],
        texture=TEXTURES[rng.choice(len(TEXTURES), p=_TEXTURE_SHARES)],
        size=SIZES[rng.integers(len(SIZES))],
        place=PLACES[place],
        dx=float(rng.uniform(-0.03, 0.03)),
        dy=float(rng.uniform(-0.03, 0.03)),
        stretch=float(rng.uniform(0.93, 1.07)),
        turn=float(rng.uniform(-0.3, 0.3)),
        tint=_triple(rng.uniform(-10, 10, 3)),
        phase=float(rng.random()),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


# ---- in words


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Describe a scene in one line.

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator, optional
        Leaves words out and changes the order of the objects at random, as people would. Without
        it everything is said, in reading order.

    Returns
    -------
    str
        Such as ``a large red striped star left of a small blue plain ring on grass``.
    """
    objects = sorted(scene.objects, key=lambda thing: PLACES.index(thing.place))
    if rng is not None:
        objects = [objects[n] for n in rng.permutation(len(objects))]
    words = [_phrase(objects[0], rng)]
    for one, other in pairwise(objects):
        words += [_relation(one, other, rng), _phrase(other, rng)]
    if rng is None or rng.random() < 0.85:
        words.append(WHERE[scene.background])
    return " ".join(words)


def _phrase(thing: SceneObject, rng: np.random.Generator | None) -> str:
    words = ["a"]
    if rng is None or rng.random() < 0.7:
        words.append(thing.size)
    words.append(thing.colour)
    if rng is None or thing.texture != "plain" or rng.random() < 0.3:
        words.append(thing.texture)
    return " ".join([*words, thing.shape])


def _relation(one: SceneObject, other: SceneObject, rng: np.random.Generator | None) -> str:
    """Say where one object lies as seen from the other; two quarters differ in one way or two."""
    row, column = divmod(PLACES.index(one.place), 2)
    other_row, other_column = divmod(PLACES.index(other.place), 2)
    true = []
    if row != other_row:
        true.append("above" if row < other_row else "below")
    if column != other_column:
        true.append("left of" if column < other_column else "right of")
    if rng is None:
        return true[0]
    return true[rng.integers(len(true))] if rng.random() < 0.7 else "and"


def vocabulary() -> tuple[str, ...]:
    """Return every word that a caption can hold, each once, in a fixed order."""
    phrases = (
        "a above below left right of and in on at the",
        *SIZES,
        *COLOURS,
        *TEXTURES,
        *SHAPES,
        *BACKGROUNDS,
    )
    return tuple(dict.fromkeys(" ".join(phrases).split()))


# ---- attributes


def attributes(scene: Scene) -> dict[str, str | tuple[str, ...]]:
    """Return what is known of a scene.

    Returns
    -------
    dict
        ``background`` and ``count``, one value each; ``shape``, ``colour``, ``texture``, ``size``,
        ``place`` and ``object`` (colour and shape, such as ``red star``), the different values of
        all objects in the order of the names above; and ``caption``, the whole in words.
    """

    def values(name: str, order: tuple[str, ...]) -> tuple[str, ...]:
        found = {getattr(thing, name) for thing in scene.objects}
        return tuple(value for value in order if value in found)

    pairs = {(thing.colour, thing.shape) for thing in scene.objects}
    things = tuple(f"{c} {s}" for c in COLOURS for s in SHAPES if (c, s) in pairs)
    return {
        "background": scene.background,
        "count": COUNTS[len(scene.objects) - 1],
        "shape": values("shape", SHAPES),
        "colour": values("colour", COLOURS),
        "texture": values("texture", TEXTURES),
        "size": values("size", SIZES),
        "place": values("place", PLACES),
        "object": things,
        "caption": caption(scene),
    }


ATTRIBUTE_VALUES: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "count": COUNTS,
    "shape": SHAPES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "size": SIZES,
    "place": PLACES,
    "object": tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
}
"""Every value that an attribute can have, in a fixed order."""


def attribute_table(scenes: Iterable[Scene]) -> pd.DataFrame:
    """Return the attributes of scenes, a row for each and a column for each attribute.

    Several values of one attribute are joined by commas, as in ``red, blue``.
    """
    import pandas as pd

    rows = [
        {
            name: value if isinstance(value, str) else ", ".join(value)
            for name, value in attributes(scene).items()
        }
        for scene in scenes
    ]
    return pd.DataFrame(rows, columns=[*ATTRIBUTE_VALUES, "caption"])


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DataError(f"The {name} of a scene is {value!r}. Allowed: {', '.join(allowed)}.")
