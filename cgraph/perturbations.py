"""Small changes of a picture, as it is stored, sent and photographed: JPEG, noise, blur.

Pictures are those that a network is shown, resized and cropped to its size, with levels from 0 to
255. What comes out is such a picture again: rounded, within 0 to 255.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from cgraph.truth_tables import ATTACK, BLUR, JPEG, NOISE, SIGNS

SIZES: dict[str, tuple[float, ...]] = {
    JPEG: (90, 75, 50, 25),
    NOISE: (2, 5, 10),
    BLUR: (0.5, 1, 2),
    SIGNS: (1, 2, 4),
    ATTACK: (1, 2, 4),
}
"""Sizes that are measured of each kind of change; `cgraph.truth_tables` says what they mean."""


@dataclass(frozen=True)
class Perturbation:
    """One kind of change of one size."""

    kind: str
    size: float

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed picture.

        Parameters
        ----------
        picture : ndarray of uint8, shape (height, width, 3)
        rng : Generator
            Of noise and signs; not read otherwise.
        """
        return _CHANGES[self.kind](picture, self.size, rng)


def plain_perturbations() -> list[Perturbation]:
    """Return all changes that need no model, in the order of `SIZES`."""
    return [Perturbation(kind, size) for kind in _CHANGES for size in SIZES[kind]]


def as_levels(values: np.ndarray) -> np.ndarray:
    """Return numbers as levels of a picture: rounded, within 0 to 255, uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def random_signs(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> np.ndarray:
    """Return ``+size`` or ``-size`` at every place, with equal chance."""
    return np.where(rng.random(shape) < 0.5, -size, size)


def _jpeg(picture: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=round(quality))
    with Image.open(stored) as found:
        return np.asarray(found.convert("RGB"))


def _noise(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return as_levels(picture + deviation * rng.standard_normal(picture.shape))


def _blur(picture: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def _signs(picture: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    return as_levels(picture + random_signs(picture.shape, size, rng))


_CHANGES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    JPEG: _jpeg,
    NOISE: _noise,
    BLUR: _blur,
    SIGNS: _signs,
}
