"""How good the small CLIP and the concepts of its study are, on scenes that neither has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.attributes import attribute_table
from cgraph.checkpoint import quiet_transformers
from cgraph.config import HELD_OUT, TUNE
from cgraph.demo.scene_pool import LABELS, labels_of
from cgraph.metrics import auc
from cgraph.naming import best_matches
from cgraph.scene_drawing import draw
from cgraph.scenes import ATTRIBUTE_VALUES, COLOURS, SHAPES, WHERE, Scene, sample_scene
from cgraph.study import Study
from cgraph.vit import VisionModel

PROBED = ("background", "colour", "texture", "count", "shape", "size")
"""Attributes that are read from the last class token."""

PROBE_SEED, HELD_OUT_SEED = 3, 4
"""Seeds of the scenes that the probes are fitted on, and of those that they are judged by."""

_BATCH = 64


def model_quality(folder: Path, n_probe: int, n_held_out: int) -> dict[str, Any]:
    """Measure what can be read from the last class token, and what captions find.

    Parameters
    ----------
    folder : Path
        The model, loaded as any other.
    n_probe, n_held_out : int
        Scenes to fit the probes on, and scenes to judge by.

    Returns
    -------
    dict
        ``auc``: for each attribute of `PROBED` the held-out area under the ROC curve of a logistic
        regression on the last class token, the mean over its values. ``zero_shot``: the share of
        scenes with one object in which captions such as "a red star on grass" find its colour and
        shape among all 64. ``scenes``: how many were used.
    """
    model = VisionModel.load(folder)
    train = [sample_scene(index, PROBE_SEED) for index in range(n_probe)]
    held_out = [sample_scene(index, HELD_OUT_SEED) for index in range(n_held_out)]
    tokens, held_out_tokens = last_tokens(model, train), last_tokens(model, held_out)
    areas = _probe(tokens, _labels(train), held_out_tokens, _labels(held_out))
    kinds = np.array([name for name, _ in LABELS])
    alone = np.flatnonzero([len(scene.objects) == 1 for scene in held_out])
    found = _captions_find(folder, held_out_tokens[alone])
    right = [
        (thing.colour, thing.shape) == pair
        for thing, pair in zip((held_out[n].objects[0] for n in alone), found, strict=True)
    ]
    return {
        "auc": {name: float(np.nanmean(areas[kinds == name])) for name in PROBED},
        "zero_shot": {"conjunction": float(np.mean(right))},
        "scenes": {"probe": n_probe, "held_out": n_held_out, "one_object": len(alone)},
    }


def concept_quality(study: Study) -> dict[str, float]:
    """Measure how well single concepts of the last layer stand for attribute values.

    Returns
    -------
    dict
        For each attribute the mean over its values of the Matthews correlation with the best
        single concept, which is chosen on the tune images and measured on the held-out ones.
        Values of too few images are left out, and so is an attribute that has no other.
    """
    known = [study.attributes(row) for row in range(len(study.image_ids))]
    table = attribute_table(known)
    codes = study.codes(study.n_layers)
    _, _, found = best_matches(codes, table, study.rows(TUNE), study.rows(HELD_OUT))
    return {
        name: float(found[table.names == name].mean())
        for name in ATTRIBUTE_VALUES
        if name in table.names
    }


def last_tokens(model: VisionModel, scenes: Sequence[Scene]) -> np.ndarray:
    """Return the class tokens of the last layer, shape ``(n, d_model)``."""
    batches = [scenes[start : start + _BATCH] for start in range(0, len(scenes), _BATCH)]
    return np.concatenate(
        [model.class_tokens(model.preprocess([draw(s) for s in batch]))[-1] for batch in batches]
    )


def _labels(scenes: Sequence[Scene]) -> np.ndarray:
    return np.stack([labels_of(scene) for scene in scenes]).astype(bool)


def _probe(
    train: np.ndarray, train_labels: np.ndarray, tokens: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the held-out area of a probe for each label; NaN where it was not asked for."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    areas = np.full(len(LABELS), np.nan)
    for place, (name, _) in enumerate(LABELS):
        if name in PROBED:
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            scores = probe.fit(train, train_labels[:, place]).decision_function(tokens)
            areas[place] = auc(scores[:, None], labels[:, [place]])[0]
    return areas


def _captions_find(folder: Path, tokens: np.ndarray) -> list[tuple[str, str]]:
    """Return the colour and shape whose captions lie nearest to each class token."""
    import torch
    from torch.nn.functional import normalize
    from transformers import AutoTokenizer, CLIPModel

    with quiet_transformers():
        model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    with torch.inference_mode():
        of_pairs = []
        for colour, shape in pairs:
            prompts = [
                f"a {colour} {shape}",
                *(f"a {colour} {shape} {where}" for where in WHERE.values()),
            ]
            text = model.text_model(**tokenizer(prompts, padding=True, return_tensors="pt"))
            of_prompts = normalize(model.text_projection(text.pooler_output), dim=-1)
            of_pairs.append(normalize(of_prompts.mean(dim=0), dim=0))
        read = model.vision_model.post_layernorm(torch.from_numpy(tokens))
        likeness = normalize(model.visual_projection(read), dim=-1) @ torch.stack(of_pairs).T
    return [pairs[best] for best in likeness.argmax(dim=1).tolist()]
