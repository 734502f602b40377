"""A vision transformer of a few kilobytes and pictures it can tell apart: a build in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig

SIDE = 32
N_LAYERS = 4
GROUNDS = {"sky": (120, 180, 240), "grass": (70, 150, 60), "sand": (220, 200, 140)}
COLOURS = {"red": (210, 40, 40), "blue": (40, 60, 200), "white": (245, 245, 245)}

CONFIG = BuildConfig(
    part_size=128,
    thumbnail_px=32,
    dictionary=DictionaryConfig(n_atoms=16, max_nnz=4, steps=150),
    predictor=PredictorConfig(n_bags=5, min_positives=10),
)
"""Settings under which a build of the tiny model takes a few seconds."""


def write_model(folder: Path, seed: int = 0, width: int = 24, n_layers: int = N_LAYERS) -> Path:
    """Save a random ViT, of 4 layers and width 24 if not told otherwise, as Hugging Face does."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=3,
        intermediate_size=2 * width,
        image_size=SIDE,
        patch_size=8,
        num_labels=3,
        initializer_range=0.3,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def picture(rng: np.random.Generator) -> tuple[str, Image.Image]:
    """Draw one disc on a ground; the name says which."""
    ground = str(rng.choice(list(GROUNDS)))
    colour = str(rng.choice(list(COLOURS)))
    image = Image.new("RGB", (SIDE, SIDE), GROUNDS[ground])
    x, y, radius = [*rng.integers(8, 24, 2).tolist(), int(rng.integers(4, 9))]
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), COLOURS[colour])
    noise = rng.normal(0, 6, (SIDE, SIDE, 3))
    return ground, Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def write_images(folder: Path, n_images: int = 480, seed: int = 0) -> Path:
    """Write PNG files in one sub-folder for each ground."""
    rng = np.random.default_rng(seed)
    for number in range(n_images):
        ground, image = picture(rng)
        (folder / ground).mkdir(parents=True, exist_ok=True)
        image.save(folder / ground / f"{number:04d}.png")
    return folder
