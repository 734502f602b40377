"""A random vision transformer for planted studies, so that uploads can be traced and timed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cgraph.checkpoint import quiet_transformers
from cgraph.planted_config import PlantedConfig
from cgraph.store import to_json, write_bytes
from cgraph.vit import VisionModel

IMAGE_PX = 224
"""Side of the pictures that the model sees."""

_PATCH_PX = 16
_INITIALIZER_RANGE = 0.05  # large enough for tokens of different pictures to differ
_HEAD_WIDTH = 64


def write_model(folder: Path, config: PlantedConfig) -> None:
    """Save an untrained ViT of the planted width and number of layers, as Hugging Face does.

    Parameters
    ----------
    folder : Path
    config : PlantedConfig
        The same one gives the same weights.
    """
    import torch
    from transformers import ViTConfig, ViTModel

    n_heads = max(1, config.d_model // _HEAD_WIDTH)
    while config.d_model % n_heads:
        n_heads -= 1
    vit = ViTConfig(
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=n_heads,
        intermediate_size=4 * config.d_model,
        image_size=IMAGE_PX,
        patch_size=_PATCH_PX,
        initializer_range=_INITIALIZER_RANGE,
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(config.seed)
        ViTModel(vit, add_pooling_layer=False).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_PX, "width": IMAGE_PX},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write_bytes(folder / "preprocessor_config.json", to_json(processor))
    for file in folder.iterdir():
        os.chmod(file, 0o644)  # weights are written for their owner alone


def measure_tokens(
    model: VisionModel, pictures: Sequence[Image.Image]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the model's class tokens of some pictures lie, and how far apart.

    Returns
    -------
    means : ndarray of float32, shape (n_layers, d_model)
    lengths : ndarray of float32, shape (n_layers,)
        Root mean square distance of a token from the mean.
    """
    tokens = model.class_tokens(model.preprocess(pictures)).astype(np.float64)
    means = tokens.mean(axis=1)
    lengths = np.sqrt(((tokens - means[:, None]) ** 2).sum(axis=2).mean(axis=1))
    return means.astype(np.float32), lengths.astype(np.float32)
