"""The drawn scenes that the small CLIP learns from, kept on disk while it is trained.

A pool is cut into parts; every part is one `.npy` file of pixels and one of labels, drawn by one
call, so that parts can be drawn side by side and an interrupted drawing goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cgraph.demo.clip import IMAGE_SIZE, PATCH_SIZE
from cgraph.demo.lesson import Lesson
from cgraph.scene_drawing import draw
from cgraph.scene_word import SceneWord
from cgraph.scenes import (
    ATTRIBUTE_VALUES,
    COLOURS,
    PLACES,
    SHAPES,
    TEXTURES,
    Scene,
    attributes,
)
from cgraph.store import write_array

PART_SIZE = 2000
"""Scenes in one part."""

LABELS = tuple((name, value) for name, values in ATTRIBUTE_VALUES.items() for value in values)
"""Attribute and value of every label of a scene, in the order of the columns."""

N_PATCHES = (IMAGE_SIZE // PATCH_SIZE) ** 2

PATCH_CLASSES = (len(SHAPES) + 1, len(COLOURS) + 1, len(TEXTURES) + 1)
"""Classes that a patch can have of shape, colour and texture; class 0 is the ground."""


class Pool:
    """Scenes whose arrays are mapped into memory, so that several processes share them.

    Parameters
    ----------
    folder : Path
        Where `draw_part` wrote them.
    n_parts : int
    """

    def __init__(self, folder: Path, n_parts: int) -> None:
        self._parts = [
            [np.load(file, mmap_mode="r", allow_pickle=False) for file in _files(folder, part)]
            for part in range(n_parts)
        ]
        self.n_scenes = n_parts * PART_SIZE

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, patches and pixels of some scenes.

        Returns
        -------
        labels : ndarray of uint8, shape (n, n_labels)
            1 where a scene has the attribute value of `LABELS`; then a column for each word that
            the lesson adds, 1 where it holds.
        patches : ndarray of uint8, shape (n, 3, 64)
            Shape, colour and texture of the object under the middle of each patch; 0 is none.
        pixels : ndarray of uint8, shape (n, 64, 64, 3)
        """
        parts, rows = np.divmod(indices, PART_SIZE)
        places = list(zip(parts.tolist(), rows.tolist(), strict=True))
        labels, patches, pixels = (
            np.stack([self._parts[part][kind][row] for part, row in places]) for kind in range(3)
        )
        return labels, patches, pixels


def pixels_of(scene: Scene) -> np.ndarray:
    """Draw a scene as the model sees it: ``(64, 64, 3)``, uint8."""
    small = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(draw(scene).resize(small, Image.Resampling.BICUBIC))


def labels_of(scene: Scene, words: Sequence[SceneWord] = ()) -> np.ndarray:
    """Return which attribute values a scene has, in the order of `LABELS`, and which words hold."""
    known = attributes(scene)
    has = [value in _several(known[name]) for name, value in LABELS]
    return np.array([*has, *(word.holds(scene) for word in words)], dtype=np.uint8)


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def patches_of(scene: Scene) -> np.ndarray:
    """Return shape, colour and texture under each patch: ``(3, 64)``, rows from the top."""
    found = np.zeros((3, N_PATCHES), dtype=np.uint8)
    side = IMAGE_SIZE // PATCH_SIZE
    middle = (np.arange(side) + 0.5) / side
    for thing in sorted(scene.objects, key=lambda thing: PLACES.index(thing.place)):
        x, y = thing.centre
        distance = np.hypot(middle[None] - x, middle[:, None] - y).ravel()
        classes = (
            SHAPES.index(thing.shape),
            COLOURS.index(thing.colour),
            TEXTURES.index(thing.texture),
        )
        found[:, distance <= thing.radius + 1 / IMAGE_SIZE] = np.array(classes)[:, None] + 1
    return found


def draw_part(folder: Path, seed: int, part: int, lesson: Lesson | None = None) -> None:
    """Draw one part of a pool, unless it is there."""
    lesson = lesson or Lesson()
    files = _files(folder, part)
    if all(file.is_file() for file in files):
        return
    kinds: tuple[Callable[[Scene], np.ndarray], ...] = (
        partial(labels_of, words=lesson.words),
        patches_of,
        pixels_of,
    )
    scenes = [lesson.scene(index, seed) for index in _indices(part)]
    for file, of_scene in zip(files, kinds, strict=True):
        write_array(file, np.stack([of_scene(scene) for scene in scenes]))


def _indices(part: int) -> range:
    return range(part * PART_SIZE, (part + 1) * PART_SIZE)


def _files(folder: Path, part: int) -> tuple[Path, Path, Path]:
    labels, patches, pixels = (
        folder / f"{name}-{part:05d}.npy" for name in ("labels", "patches", "pixels")
    )
    return labels, patches, pixels
