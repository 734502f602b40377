"""From RGB pictures to the pixels a vision transformer expects, as its folder describes them.

Hugging Face image processors may need torchvision, and resize differently with and without it. So
the description, ``preprocessor_config.json``, is read here and carried out with Pillow and NumPy,
step by step as the Pillow processors of transformers do: resize, crop the centre, rescale,
normalise. A description with a step that is unknown here is refused, never half followed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgraph.errors import ModelError
from cgraph.processor_defaults import (
    DEFAULTS,
    PATCHES,
    PROCESSOR_OF_MODEL,
    RESCALES_FIRST,
    SHORTEST_EDGE_PROCESSORS,
    WITHOUT_EFFECT,
)

CONFIG_NAME = "preprocessor_config.json"

# Where newer transformers write the description of a model with several inputs.
_COMBINED_NAME = "processor_config.json"
DESCRIPTION_NAMES = (CONFIG_NAME, _COMBINED_NAME)
"""Files that may hold the description, the first one first."""

_COMBINED_KEY = "image_processor"

_HeightWidth = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Fixed steps from a picture of any size to an array of one size."""

    resize: _HeightWidth | int | None
    """Height and width to resize to; one number is the new length of the shorter side."""

    resample: Image.Resampling
    """Filter of the resizing."""

    crop: _HeightWidth | None
    """Height and width of the centre crop; a smaller picture is padded with black."""

    value_tables: np.ndarray
    """Value of each of the 256 levels of each channel after rescaling and normalising: float32,
    shape (3, 256)."""

    image_size: _HeightWidth
    """Height and width of the result."""

    rescales_first: bool = False
    """Whether numbers are resized, not levels: nothing is rounded to one of 256 levels between."""

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """Shape of the pixels of one picture."""
        return (3, *self.image_size)

    @classmethod
    def load(cls, folder: Path, model_type: str) -> Preprocessing:
        """Read the description in a model's folder.

        Parameters
        ----------
        folder
            With ``preprocessor_config.json``, or ``processor_config.json`` where the description
            is part of a larger one.
        model_type
            ``model_type`` of the model, which names the processor where the file does not.

        Raises
        ------
        ModelError
            If there is no description, or one with an unknown processor, step or value.
        """
        return cls.from_description(read_description(folder), model_type)

    @classmethod
    def from_description(cls, description: Mapping[str, Any], model_type: str) -> Preprocessing:
        """Interpret the content of ``preprocessor_config.json``; see `load`."""
        processor = processor_name(description, model_type)
        if processor == PATCHES:
            raise ModelError(f"{CONFIG_NAME} is for patches, not for pixels of one size.")
        settings = dict(DEFAULTS[processor])
        follow(settings, description)
        shortest = not description.get(
            "default_to_square", processor not in SHORTEST_EDGE_PROCESSORS
        )
        resize = _size(settings["size"], "size", shortest) if settings["do_resize"] else None
        crop = None
        if settings["do_center_crop"]:
            crop = _size(settings["crop_size"], "crop_size", False)
        image_size = resize if crop is None else crop
        if not isinstance(image_size, tuple):
            raise ModelError(
                f"{CONFIG_NAME} neither crops nor resizes to a height and width, so images would "
                "have different sizes; set do_center_crop with crop_size, or size to height and "
                "width."
            )
        return cls(
            resize=resize,
            resample=resampling(settings["resample"]),
            crop=crop if isinstance(crop, tuple) else None,
            value_tables=value_tables(settings),
            image_size=image_size,
            rescales_first=processor in RESCALES_FIRST,
        )

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Prepare pictures for the model.

        Parameters
        ----------
        images
            Pictures of any sizes, mode ``RGB``.

        Returns
        -------
        np.ndarray, shape (n, 3, height, width), float32
        """
        height, width = self.image_size
        pixels = np.empty((len(images), 3, height, width), dtype=np.float32)
        for index, image in enumerate(images):
            image = image.convert("RGB")
            if self.rescales_first:
                levels = np.asarray(image)
                for channel, table in enumerate(self.value_tables):
                    # Normalised before the resizing, not after it: the weights of a filter add to
                    # 1, so the order changes nothing but roundings.
                    numbers = Image.fromarray(table[levels[:, :, channel]])
                    pixels[index, channel] = np.asarray(self._reshaped(numbers, float(table[0])))
                continue
            levels = np.asarray(self._reshaped(image))
            self._fill(pixels[index], levels)
        return pixels

    def shown(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Resize and crop pictures as the model is shown them, and leave them pictures.

        Parameters
        ----------
        images
            Pictures of any sizes, mode ``RGB``.

        Returns
        -------
        np.ndarray, shape (n, height, width, 3), uint8
        """
        found = [np.asarray(self._reshaped(image.convert("RGB"))) for image in images]
        return np.stack(found) if found else np.empty((0, *self.image_size, 3), dtype=np.uint8)

    def of_shown(self, levels: np.ndarray) -> np.ndarray:
        """Prepare pictures that have the model's size already; see `shown`.

        The same numbers as of the pictures themselves, but for models whose pictures are resized as
        numbers: there each pixel was rounded to a level between.

        Parameters
        ----------
        levels
            Shape (n, height, width, 3), uint8.

        Returns
        -------
        np.ndarray, shape (n, 3, height, width), float32
        """
        pixels = np.empty((len(levels), *self.pixel_shape), dtype=np.float32)
        for own, picture in zip(pixels, levels, strict=True):
            self._fill(own, picture)
        return pixels

    def _fill(self, pixels: np.ndarray, levels: np.ndarray) -> None:
        for channel, values in enumerate(self.value_tables):
            # Straight to its place; levels are bytes, so none is out of range.
            np.take(values, levels[:, :, channel], out=pixels[channel], mode="clip")

    def fingerprint(self) -> str:
        """Return a sha256, in hexadecimal, of what is done to a picture, however it is written."""
        steps = (self.resize, int(self.resample), self.crop, self.image_size)
        digest = hashlib.sha256(repr(steps).encode())
        if self.rescales_first:
            digest.update(b"rescales first")
        digest.update(np.ascontiguousarray(self.value_tables, dtype="<f4").tobytes())
        return digest.hexdigest()

    def _reshaped(self, image: Image.Image, black: float | None = None) -> Image.Image:
        if self.resize is not None:
            height, width = _resized(image.height, image.width, self.resize)
            image = image.resize((width, height), self.resample)
        if self.crop is not None:
            height, width = self.crop
            # Rounding down is what the processors do, for pictures that are too small as well.
            left, top = (image.width - width) // 2, (image.height - height) // 2
            box = (left, top, left + width, top + height)
            if black is None or (left >= 0 and top >= 0):
                return image.crop(box)
            padded = Image.new(image.mode, (width, height), black)
            padded.paste(image, (-left, -top))
            return padded
        return image


def read_description(folder: Path) -> dict[str, Any]:
    """Return what a model's folder says of its image processor."""
    for name in DESCRIPTION_NAMES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{file} is not readable JSON: {error}.") from error
        if name == _COMBINED_NAME and isinstance(content, dict):
            content = content.get(_COMBINED_KEY)
        if isinstance(content, dict):
            return content
        raise ModelError(f"{file} does not describe an image processor.")
    raise ModelError(
        f"{folder} has no {CONFIG_NAME}, so it is unknown how images are resized and normalised; "
        "copy the file from where the model was published."
    )


def processor_name(description: Mapping[str, Any], model_type: str) -> str:
    """Name of the processor class that wrote a description: one of `DEFAULTS`, or `PATCHES`."""
    if "auto_map" in description:
        raise ModelError(
            f"{CONFIG_NAME} asks for code of its own (auto_map), which cgraph never runs."
        )
    named = description.get("image_processor_type") or description.get("feature_extractor_type")
    processor = PROCESSOR_OF_MODEL.get(model_type)
    if named is not None:
        processor = str(named)
        for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
            processor = processor.removesuffix(ending)
    if processor not in (*DEFAULTS, PATCHES):
        raise ModelError(
            f"{CONFIG_NAME} is for the image processor {named!r} of a model of type "
            f"{model_type!r}; known are the processors of {', '.join((*DEFAULTS, PATCHES))}."
        )
    return processor


def follow(settings: dict[str, Any], description: Mapping[str, Any]) -> None:
    """Put what a description says in place of the defaults of its processor.

    Raises
    ------
    ModelError
        If it says something that is not among them.
    """
    for key, value in description.items():
        if key in settings:
            if value is not None:
                settings[key] = value
        elif key not in WITHOUT_EFFECT and value is not None and value is not False:
            raise ModelError(
                f"{CONFIG_NAME} has {key!r} = {value!r}, a step that cgraph does not know; "
                f"known are {', '.join(settings)}."
            )


def _size(value: Any, key: str, shortest: bool) -> _HeightWidth | int:
    """Height and width, or the length of the shorter side, from any of the forms in use."""
    sides: tuple[Any, ...] = ()
    if isinstance(value, Mapping):
        if set(value) == {"height", "width"}:
            sides = (value["height"], value["width"])
        elif set(value) == {"shortest_edge"} and key == "size":
            sides = (value["shortest_edge"],)
    elif isinstance(value, list | tuple) and len(value) == 2:
        sides = tuple(value)
    else:
        sides = (value,) if shortest else (value, value)
    if not sides or any(type(side) is not int or side < 1 for side in sides):
        raise ModelError(
            f"{CONFIG_NAME} has {key!r} = {value!r}; known are a number of pixels, height and "
            "width, and for the size shortest_edge alone."
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _resized(height: int, width: int, target: _HeightWidth | int) -> _HeightWidth:
    """Height and width after resizing; the longer side is rounded down, as the processors do."""
    if isinstance(target, tuple):
        return target
    if height < width:
        return target, int(target * width / height)
    return int(target * height / width), target


def resampling(value: Any) -> Image.Resampling:
    """Return the filter that a description names by its number."""
    try:
        return Image.Resampling(value)
    except ValueError as error:
        raise ModelError(
            f"{CONFIG_NAME} has 'resample' = {value!r}; Pillow's filters are numbered 0 to 5."
        ) from error


def value_tables(settings: Mapping[str, Any]) -> np.ndarray:
    """Return the value of each level of each channel, shape (3, 256), float32."""
    # Rescaling in float64, then normalising in float32: the roundings of the processors.
    levels = np.arange(256)
    values = np.tile(levels.astype(np.float32), (3, 1))
    if settings["do_rescale"]:
        factor = settings["rescale_factor"]
        if not isinstance(factor, int | float):
            raise ModelError(f"{CONFIG_NAME} has 'rescale_factor' = {factor!r}; give a number.")
        values[:] = (levels * float(factor)).astype(np.float32)
    if settings["do_normalize"]:
        mean = _per_channel(settings["image_mean"], "image_mean")
        std = _per_channel(settings["image_std"], "image_std")
        if not (std > 0).all():
            raise ModelError(
                f"{CONFIG_NAME} has 'image_std' = {settings['image_std']!r}; every one must be "
                "above 0."
            )
        values = (values - mean) / std
    return values


def _per_channel(value: Any, key: str) -> np.ndarray:
    try:
        numbers = np.broadcast_to(np.asarray(value, dtype=np.float32), (3,))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{CONFIG_NAME} has {key!r} = {value!r}; give one number, or one for each of the three "
            "channels."
        ) from error
    if not np.isfinite(numbers).all():
        raise ModelError(f"{CONFIG_NAME} has {key!r} = {value!r}; the numbers must be finite.")
    return numbers[:, None]
