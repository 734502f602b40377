"""A study with drawn images and planted codes and edges, written in a second without a model.

Concept `i` of every layer means the same shape and colour; each is predicted by its namesake one
layer down and, more weakly, by two others, one of which speaks against it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from cgraph.codes import Codes
from cgraph.config import HELD_OUT, TRAIN, TUNE, BuildConfig
from cgraph.evaluation import FIGURE_SCHEMA, LAYER_SCHEMA, PAIR_SCHEMA
from cgraph.graph_tables import CONCEPT_SCHEMA, EDGE_SCHEMA, N_TRAIN_IMAGES
from cgraph.images import thumbnail
from cgraph.manifest import (
    CONCEPTS,
    DICTIONARIES,
    EDGES,
    EXAMPLES,
    IMAGES,
    MANIFEST,
    NAMES,
    STAGES,
    USUAL,
    Manifest,
    codes_file,
    evaluation_file,
)
from cgraph.naming import names_to_table
from cgraph.novelty import Usual
from cgraph.signals import Cloud, Signals
from cgraph.store import (
    codes_to_table,
    file_record,
    read_table,
    to_json,
    write_bytes,
    write_table,
    write_tensors,
)

COLOURS = {
    "red": (205, 62, 58),
    "orange": (236, 146, 52),
    "yellow": (238, 208, 70),
    "green": (76, 158, 88),
    "blue": (62, 112, 196),
    "purple": (140, 84, 178),
}
SHAPES = ("disc", "square", "triangle", "bar")
N_CONCEPTS = len(COLOURS) * len(SHAPES)
N_IMAGES = 400
N_ACTIVE = 8
SECOND, AGAINST = 5, 11
"""Steps from a concept to its other two parents."""

WEIGHTS = {0: 3.0, SECOND: 0.9, AGAINST: -1.4}
"""Planted weight of a parent by its step from the child's index, at even children."""


def parents_of(index: int) -> dict[int, float]:
    """Return the planted parents of a concept and their weights."""
    scale = 1.0 if index % 2 == 0 else 0.6
    return {(index + step) % N_CONCEPTS: scale * weight for step, weight in WEIGHTS.items()}


def draw(concepts: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draw the shapes of some concepts on a ground."""
    shade = int(rng.integers(205, 250))
    image = Image.new("RGB", (96, 96), (shade, shade, int(shade * 0.96)))
    pen = ImageDraw.Draw(image)
    for place, concept in enumerate(concepts[:4]):
        colour = tuple(COLOURS.values())[concept % len(COLOURS)]
        shape = SHAPES[concept // len(COLOURS)]
        x, y = 26 + 44 * (place % 2), 26 + 44 * (place // 2)
        r = int(rng.integers(13, 20))
        if shape == "disc":
            pen.ellipse((x - r, y - r, x + r, y + r), colour)
        elif shape == "square":
            pen.rectangle((x - r, y - r, x + r, y + r), colour)
        elif shape == "triangle":
            pen.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], colour)
        else:
            pen.rectangle((x - r, y - r // 3, x + r, y + r // 3), colour)
    return image


def write_study(folder: Path, *, n_layers: int = 12, seed: int = 0) -> Path:
    """Write a finished study and return its folder, whose name is the study's."""
    rng = np.random.default_rng(seed)
    topics = np.array([rng.permutation(N_CONCEPTS)[:N_ACTIVE] for _ in range(N_IMAGES)])
    split = np.array([TRAIN, TUNE, HELD_OUT])[rng.choice(3, N_IMAGES, p=[0.7, 0.15, 0.15])]
    write_table(folder / IMAGES, _images(topics, split, rng))
    labels = np.zeros((n_layers, N_IMAGES, N_CONCEPTS), dtype=bool)
    for layer in range(n_layers):
        for row, concepts in enumerate(topics):
            labels[layer, row, concepts] = True
            strays = rng.permutation(N_CONCEPTS)[:2]
            labels[layer, row, concepts[layer % N_ACTIVE]] = False
            labels[layer, row, strays] = True
    for layer in range(1, n_layers + 1):
        noise = labels[layer - 1] * rng.random((N_IMAGES, N_CONCEPTS))
        rank = np.argsort(np.argsort(-noise, axis=1), axis=1)
        values = np.where(labels[layer - 1], 0.4 + 3.0 / (1 + rank), 0.0)
        index = np.argsort(~labels[layer - 1], axis=1, kind="stable")[:, : N_ACTIVE + 2]
        code = Codes.from_padded(index, np.take_along_axis(values, index, axis=1), N_CONCEPTS)
        write_table(folder / codes_file(layer, 0), codes_to_table(code))
    write_table(folder / CONCEPTS, _concepts(labels, split))
    write_table(folder / EDGES, _edges(n_layers))
    write_table(folder / evaluation_file("concepts"), _figures(labels, split, rng))
    write_table(folder / evaluation_file("layers"), _layers(n_layers))
    write_table(folder / evaluation_file("pairs"), pa.Table.from_pylist([], schema=PAIR_SCHEMA))
    write_table(folder / NAMES, names_to_table(1, []))
    cloud = Cloud.fit(rng.standard_normal((N_IMAGES, 4)))
    far = np.tile(np.linspace(1, 3, 50), (n_layers, 1))
    shares = np.full_like(far, 0.9)
    signals = Signals(far, shares, np.zeros_like(far))
    usual = Usual.measure([cloud] * n_layers, signals, signals)
    write_tensors(folder / USUAL, usual.to_tensors())
    write_bytes(folder / EXAMPLES, to_json([]))
    write_tensors(folder / DICTIONARIES, {"layer-01.atoms": np.eye(4, dtype=np.float32)})
    seal(folder, n_layers)
    return folder


def seal(folder: Path, n_layers: int = 12) -> None:
    """Write the manifest of what is in the folder."""
    files = {
        path.relative_to(folder).as_posix(): file_record(path, "evaluation")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    counts = Counter(read_table(folder / IMAGES).column("split").to_pylist())
    manifest = Manifest(
        name=folder.name,
        model={
            "id": "planted",
            "architecture": "none",
            "family": "planted",
            "n_layers": n_layers,
            "d_model": 4,
            "weights_sha256": "0" * 64,
        },
        images={
            "id": "drawn",
            "listing": "0" * 64,
            "fingerprint": "0" * 64,
            "n_listed": N_IMAGES,
            "n_sampled": N_IMAGES,
            "n_parts": 1,
            "n": N_IMAGES,
            "n_skipped": 0,
            "n_duplicates": 0,
            **{f"n_{part}".replace("-", "_"): counts[part] for part in (TRAIN, TUNE, HELD_OUT)},
        },
        config=BuildConfig(),
        graph={"inputs": "labels", "input_scales": [1.0] * (n_layers - 1)},
        stages=STAGES,
        files=files,
    )
    write_bytes(folder / MANIFEST, to_json(manifest.to_dict()))


def _images(topics: np.ndarray, split: np.ndarray, rng: np.random.Generator) -> pa.Table:
    pictures = [draw(concepts, rng) for concepts in topics]
    names = [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]
    return pa.table(
        {
            "image_id": [f"drawn/{row:04d}.png" for row in range(N_IMAGES)],
            "split": split.tolist(),
            "attributes": [json.dumps({"label": names[concepts[0]]}) for concepts in topics],
            "pixel_hash": [hashlib.sha256(p.tobytes()).hexdigest() for p in pictures],
            "thumbnail": pa.array([thumbnail(p, 96) for p in pictures], type=pa.binary()),
        }
    )


def _concepts(labels: np.ndarray, split: np.ndarray) -> pa.Table:
    rows = []
    for layer, active in enumerate(labels, start=1):
        counts = {part: active[split == part].sum(axis=0) for part in (TRAIN, TUNE, HELD_OUT)}
        for index in range(N_CONCEPTS):
            fitted = layer > 1
            number = 1.0 if fitted else float("nan")
            rows.append(
                {
                    "kind": "class",
                    "layer": layer,
                    "index": index,
                    "n_train": counts[TRAIN][index],
                    "n_tune": counts[TUNE][index],
                    "n_held_out": counts[HELD_OUT][index],
                    "alive": True,
                    "scored": fitted and index != 0,
                    "fitted": fitted,
                    "intercept": -1.6 * number,
                    "slope": number,
                    "offset": -0.5 * number,
                    "threshold": 0.4 * number,
                    "penalty": number,
                    "bag_positives": 100,
                    "violation": 0.001 * number,
                    "converged": True,
                }
            )
    table = pa.Table.from_pylist(rows, schema=CONCEPT_SCHEMA)
    n_train = str(int((split == TRAIN).sum())).encode()
    return table.replace_schema_metadata({N_TRAIN_IMAGES: n_train})


def _edges(n_layers: int) -> pa.Table:
    rows = [
        {
            "parent_kind": "class",
            "parent_layer": layer - 1,
            "parent": parent,
            "child_kind": "class",
            "child_layer": layer,
            "child": child,
            "weight": weight,
            "selection_rate": 0.95,
        }
        for layer in range(2, n_layers + 1)
        for child in range(N_CONCEPTS)
        for parent, weight in sorted(parents_of(child).items())
    ]
    return pa.Table.from_pylist(rows, schema=EDGE_SCHEMA)


def _figures(labels: np.ndarray, split: np.ndarray, rng: np.random.Generator) -> pa.Table:
    rows = []
    for layer in range(2, len(labels) + 1):
        prevalence = labels[layer - 1][split == HELD_OUT].mean(axis=0)
        for index in range(N_CONCEPTS):
            auc = float("nan") if index == 0 else rng.uniform(0.8, 0.98)
            row = dict.fromkeys(FIGURE_SCHEMA.names, float("nan"))
            row |= {"kind": "class", "layer": layer, "index": index, "n_parents": len(WEIGHTS)}
            row |= {"prevalence": prevalence[index], "auc": auc, "ap": auc - 0.3, "nearest": 0}
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=FIGURE_SCHEMA)


def _layers(n_layers: int) -> pa.Table:
    rows = []
    for layer in range(1, n_layers + 1):
        row = dict.fromkeys(LAYER_SCHEMA.names, 0)
        rows.append(row | {"layer": layer, "explained_variance": 0.92 - 0.025 * layer})
    return pa.Table.from_pylist(rows, schema=LAYER_SCHEMA)
