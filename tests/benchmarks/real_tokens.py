"""Class tokens of real photographs, for benchmarks whose answer depends on the data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def real_tokens(n_images: int, cache: Path | None = None) -> np.ndarray:
    """Return class tokens of DeiT-tiny, shape (n_layers, n_images, d_model), images shuffled.

    `CGRAPH_REAL_DIR` says where model and photographs are. With a `cache`, an .npz file, they pass
    the model once.
    """
    if cache is not None and cache.is_file():
        tokens = np.load(cache)["tokens"]
    else:
        import pyarrow.parquet as pq

        from cgraph.decoding import load_image
        from cgraph.vit import VisionModel

        folder = Path(os.environ["CGRAPH_REAL_DIR"])
        model = VisionModel.load(folder / "deit-tiny")
        table = pq.read_table(folder / "photos-64px.parquet")["image"].to_pylist()
        wanted = np.sort(np.random.default_rng(0).permutation(len(table))[:n_images])
        parts = []
        for rows in np.array_split(wanted, -(-len(wanted) // 50)):
            images = [load_image(table[row]["bytes"], table[row]["path"]) for row in rows]
            parts.append(model.class_tokens(model.preprocess(images)))
        tokens = np.concatenate(parts, axis=1)
        if cache is not None:
            np.savez(cache, tokens=tokens)
    order = np.random.default_rng(1).permutation(tokens.shape[1])[:n_images]
    return np.ascontiguousarray(tokens[:, order])


def split(tokens: np.ndarray, n_held_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centred tokens of one layer for fitting and the last ones, held out."""
    train, held_out = tokens[:-n_held_out], tokens[-n_held_out:]
    mean = train.mean(axis=0)
    return np.ascontiguousarray(train - mean), np.ascontiguousarray(held_out - mean)
