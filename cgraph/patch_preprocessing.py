"""Pictures of any aspect ratio as rows of patches, as SigLIP2 takes them.

A picture is resized to as many whole patches as the model allows, as nearly in its own shape as
that can be, and cut up. Patches are padded to one number. Where a patch lay in the grid is kept
with it, so that one array says everything.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgraph.errors import ModelError
from cgraph.preprocessing import (
    CONFIG_NAME,
    Preprocessing,
    follow,
    processor_name,
    read_description,
    resampling,
    value_tables,
)
from cgraph.processor_defaults import COMMON, PATCHES

_DEFAULTS: dict[str, Any] = COMMON | {
    "resample": Image.Resampling.BILINEAR,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
    "patch_size": 16,
    "max_num_patches": 256,
}
_NEAREST_SCALE = 1e-5
_LARGEST_SCALE = 100.0


@dataclass(frozen=True, eq=False)
class PatchPreprocessing:
    """Fixed steps from a picture to patches."""

    patch: int
    """Height and width of a patch, in pixels."""

    most: int
    """Most patches of a picture."""

    resample: Image.Resampling
    """Filter of the resizing."""

    value_tables: np.ndarray
    """Value of each of the 256 levels of each channel after rescaling and normalising: float32,
    shape (3, 256)."""

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> PatchPreprocessing:
        """Interpret the content of ``preprocessor_config.json``.

        Raises
        ------
        ModelError
            If it holds an unknown step or value.
        """
        settings = dict(_DEFAULTS)
        follow(settings, description)
        for key in ("patch_size", "max_num_patches"):
            if type(settings[key]) is not int or settings[key] < 1:
                raise ModelError(f"{CONFIG_NAME} has {key!r} = {settings[key]!r}; give a number.")
        if not settings["do_resize"]:
            raise ModelError(
                f"{CONFIG_NAME} does not resize, so a picture could have any number of patches; "
                "set do_resize."
            )
        return cls(
            patch=settings["patch_size"],
            most=settings["max_num_patches"],
            resample=resampling(settings["resample"]),
            value_tables=value_tables(settings),
        )

    @property
    def pixel_shape(self) -> tuple[int, int]:
        """Shape of the patches of one picture: their number; their pixels and their place."""
        return self.most, 3 * self.patch**2 + 2

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Prepare pictures for the model.

        Returns
        -------
        np.ndarray, shape (n, n_patches, 3 * patch ** 2 + 2), float32
            Pixels of a patch row by row, the channels of a pixel side by side; then row and column
            of the patch in the grid. Padding is 0, in row and column -1.
        """
        patches = np.zeros((len(images), *self.pixel_shape), dtype=np.float32)
        patches[:, :, -2:] = -1
        side = self.patch
        for index, image in enumerate(images):
            rows, columns = self._grid(image.height, image.width)
            resized = image.convert("RGB").resize((columns * side, rows * side), self.resample)
            levels = np.asarray(resized)
            pixels = np.stack([t[levels[:, :, c]] for c, t in enumerate(self.value_tables)], axis=2)
            cut = pixels.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
            patches[index, : rows * columns, :-2] = cut.reshape(rows * columns, -1)
            patches[index, : rows * columns, -2:] = np.indices((rows, columns)).reshape(2, -1).T
        return patches

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of patches of a picture; the search is the processor's."""

        def count(scale: float, length: int) -> int:
            return max(1, math.ceil(length * scale / self.patch))

        low, high = _NEAREST_SCALE / 10, _LARGEST_SCALE
        while high - low >= _NEAREST_SCALE:
            middle = (low + high) / 2
            if count(middle, height) * count(middle, width) <= self.most:
                low = middle
            else:
                high = middle
        return count(low, height), count(low, width)

    def fingerprint(self) -> str:
        """Return a sha256, in hexadecimal, of what is done to a picture, however it is written."""
        steps = ("patches", self.patch, self.most, int(self.resample))
        digest = hashlib.sha256(repr(steps).encode())
        digest.update(np.ascontiguousarray(self.value_tables, dtype="<f4").tobytes())
        return digest.hexdigest()


def load_preprocessing(folder: Path, model_type: str) -> Preprocessing | PatchPreprocessing:
    """Read what a model's folder says about pictures.

    Raises
    ------
    ModelError
        If there is no description, or one with an unknown processor, step or value.
    """
    description = read_description(folder)
    if processor_name(description, model_type) == PATCHES:
        return PatchPreprocessing.from_description(description)
    return Preprocessing.from_description(description, model_type)
