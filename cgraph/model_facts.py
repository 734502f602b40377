"""What the files of a model folder say of its size, without loading it.

For estimates and for a first look only: whether cgraph can use a model is seen when it is loaded.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.errors import ModelError

_CONFIG = "config.json"
_LARGEST_HEADER = 100 * 2**20


@dataclass(frozen=True)
class ModelFacts:
    """The sizes of a vision transformer.

    Attributes
    ----------
    family : str
        ``model_type`` of its configuration.
    n_layers, d_model : int
    n_tokens : int
        Tokens of one image, about.
    mlp_width : int
        Numbers in the hidden layer of a block's MLP.
    n_parameters : int
        Of all weights in the folder, text parts of the model included; 0 if there are none.
    """

    family: str
    n_layers: int
    d_model: int
    n_tokens: int
    mlp_width: int
    n_parameters: int


def model_facts(folder: str | Path) -> ModelFacts:
    """Read the sizes of a model from its configuration and the headers of its weights.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    ModelError
        If there is no such folder, it has no configuration, or that names no sizes.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = f"has no {_CONFIG}" if folder.is_dir() else "is no folder"
        raise ModelError(
            f"{folder} {what}. Give the folder of a model as Hugging Face transformers saves it."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / _CONFIG} is not readable JSON: {error}.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / _CONFIG} is not a JSON object.")
    vision = config.get("vision_config")
    vision = vision if isinstance(vision, dict) else config
    layers, width = _size(vision, "num_hidden_layers"), _size(vision, "hidden_size")
    family = str(config.get("model_type", "unknown"))
    if layers is None or width is None:
        raise ModelError(
            f"{folder / _CONFIG}, of model type {family!r}, names no num_hidden_layers and "
            "hidden_size, so it is no vision transformer that cgraph knows."
        )
    image, patch = _size(vision, "image_size") or 224, _size(vision, "patch_size") or 16
    ratio = vision.get("mlp_ratio", 4)
    ratio = ratio if isinstance(ratio, int | float) and 0 < ratio < 100 else 4
    return ModelFacts(
        family=family,
        n_layers=layers,
        d_model=width,
        n_tokens=max(1, image // patch) ** 2 + 1,
        mlp_width=_size(vision, "intermediate_size") or int(ratio * width),
        n_parameters=sum(_n_parameters(file) for file in sorted(folder.glob("*.safetensors"))),
    )


def _size(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if isinstance(value, list) and value:
        value = value[0]
    return value if type(value) is int and 0 < value < 2**24 else None


def _n_parameters(file: Path) -> int:
    """Return the numbers in a safetensors file, from its header; 0 if it is damaged."""
    try:
        with open(file, "rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > _LARGEST_HEADER:
                return 0
            header = json.loads(stream.read(size))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return sum(math.prod(shape) for shape in shapes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error):
        return 0
