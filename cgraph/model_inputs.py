"""What a network is given, and the few models that want something else than pixels.

Models are recognised by their structure, never by a list of names. `EXCEPTIONS` is the whole list
of what a model may want beyond that, with the reason of each; every one of them is recognised by
what the network or its configuration asks for, too.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cgraph.errors import ModelError

if TYPE_CHECKING:
    import torch

N_PLACES = 2
"""Numbers that follow those of a patch in a row of pixels: its row and column in the grid."""


@dataclass(frozen=True)
class ModelException:
    """Something that a model wants besides pixels.

    Attributes
    ----------
    families : str
        Where it occurs.
    recognised_by : str
    treatment : str
        What cgraph does.
    reason : str
    """

    families: str
    recognised_by: str
    treatment: str
    reason: str


EXCEPTIONS = (
    ModelException(
        "SigLIP2 for any aspect ratio (`siglip2`)",
        "the network takes `spatial_shapes`",
        "pictures become rows of patches with their places in a grid; padding is left out of the "
        "mean and masked in the pooling head",
        "it keeps the shape of a picture, so pictures have different numbers of patches",
    ),
    ModelException(
        "ViT-MAE (`vit_mae`)",
        "the network takes `noise`, and its configuration has a `mask_ratio`",
        "`mask_ratio` is 0 and `noise` rises, so that every patch is seen, in its order",
        "it hides three quarters of the patches at random, for training only",
    ),
    ModelException(
        "texts of SigLIP and SigLIP2",
        "the type of the text side starts with `siglip`",
        "texts are padded to the longest length, without a mask",
        "it was trained so, and reads its last place, padded or not",
    ),
)
"""All that differs between families, apart from names of parts."""


def network_inputs(network: torch.nn.Module, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the arguments of a network for one batch.

    Parameters
    ----------
    network
        A whole model or its vision part, on the device of the pixels.
    pixels
        Shape ``(n, 3, height, width)``; or of patches, ``(n, n_patches, numbers of a patch + 2)``,
        whose last two numbers are the row and column of the patch, -1 where there is none.

    Raises
    ------
    ModelError
        If the network takes patches and is given pixels, or the other way round.
    """
    import torch

    dtype = next(network.parameters()).dtype
    wants_patches = takes(network, "spatial_shapes")
    if wants_patches != (pixels.ndim == 3):
        kinds = ("pixels", "patches of any grid")
        raise ModelError(
            f"The model takes {kinds[wants_patches]}, and its preprocessor_config.json prepares "
            f"{kinds[not wants_patches]}. Copy the file from where the model was published."
        )
    inputs = {"pixel_values": pixels.to(dtype)}
    if wants_patches:
        places = pixels[:, :, -N_PLACES:]
        inputs = {
            "pixel_values": pixels[:, :, :-N_PLACES].to(dtype),
            "pixel_attention_mask": (places[:, :, 0] >= 0).long(),
            "spatial_shapes": places.amax(dim=1).long() + 1,
        }
    config: Any = getattr(network, "config", None)
    if takes(network, "noise") and hasattr(config, "mask_ratio"):
        height, width = (side // config.patch_size for side in pixels.shape[2:])
        order = torch.arange(height * width, dtype=torch.float32, device=pixels.device)
        inputs["noise"] = order.expand(len(pixels), -1)
    return inputs


def takes(network: torch.nn.Module, name: str) -> bool:
    """Return whether a network's forward pass has an argument of this name."""
    return name in inspect.signature(network.forward).parameters


def padding_of_texts(config: Any) -> dict[str, Any]:
    """Return how a tokenizer must pad texts for a model.

    Parameters
    ----------
    config
        The model's configuration, with a ``text_config``.
    """
    if str(config.text_config.model_type).startswith("siglip"):
        longest = config.text_config.max_position_embeddings
        return {"padding": "max_length", "max_length": longest, "truncation": True}
    return {"padding": True, "truncation": True}


def names_of_text_inputs(config: Any) -> tuple[str, ...]:
    """Return what the text side of a model takes of what its tokenizer gives."""
    if str(config.text_config.model_type).startswith("siglip"):
        return ("input_ids",)
    return ("input_ids", "attention_mask")


def knows(tokenizer: Any, text: str) -> bool:
    """Return whether a tokenizer has every word of a text, and the text is not empty."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return bool(ids) and (unknown is None or unknown not in ids)
