"""What a word costs where the ground no longer goes with it: right and wrong, ground by ground.

The scenes have grounds as they are sampled, which know nothing of the word, and are those of no
training and no study.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.errors import ModelError
from cgraph.outputs import load_output
from cgraph.scene_drawing import draw
from cgraph.scene_word import SceneWord
from cgraph.scenes import BACKGROUNDS, sample_scene
from cgraph.vit import VisionModel

HARM_SEED = 23
"""Seed of the scenes."""

_BATCH = 64


@dataclass(frozen=True)
class GroundFigures:
    """How a model uses the word on one ground.

    Attributes
    ----------
    background : str
    n_with, n_without : int
        Scenes of which the word holds, and of which it does not.
    recall : float
        Share of the first of which the model says it.
    false_alarms : float
        Share of the second of which the model says it.
    accuracy : float
        Share of all of which the model says what holds.
    """

    background: str
    n_with: int
    n_without: int
    recall: float
    false_alarms: float
    accuracy: float


def harm(
    model: Path, word: SceneWord, threshold: float, n_scenes: int, seed: int = HARM_SEED
) -> tuple[GroundFigures, ...]:
    """Measure how a model of images and texts uses a word on every ground.

    Parameters
    ----------
    model : Path
        Its folder.
    word : SceneWord
        What holds, and is said where the likeness of the scene to it reaches the threshold.
    threshold : float
        A cosine.
    n_scenes : int
    seed : int

    Returns
    -------
    tuple of GroundFigures
        One for each of `cgraph.scenes.BACKGROUNDS`. A share of no scenes is NaN.

    Raises
    ------
    ModelError
        If the model knows no texts.
    """
    vision = VisionModel.load(model)
    output = load_output(vision)
    if output is None:
        raise ModelError(f"The model in {model} says nothing in the end that could be measured.")
    scenes = [sample_scene(index, seed) for index in range(n_scenes)]
    said = np.concatenate(
        [
            output.scores(
                vision.preprocess([draw(scene) for scene in scenes[start : start + _BATCH]]),
                texts=[word.text],
            )[:, 0]
            >= threshold
            for start in range(0, n_scenes, _BATCH)
        ]
    )
    holds = np.array([word.holds(scene) for scene in scenes])
    grounds = np.array([scene.background for scene in scenes])
    return tuple(
        _figures(name, said[grounds == name], holds[grounds == name]) for name in BACKGROUNDS
    )


def _figures(background: str, said: np.ndarray, holds: np.ndarray) -> GroundFigures:
    def share(values: np.ndarray) -> float:
        return float(values.mean()) if len(values) else float("nan")

    return GroundFigures(
        background,
        int(holds.sum()),
        int((~holds).sum()),
        share(said[holds]),
        share(said[~holds]),
        share(said == holds),
    )


def harm_values(
    grounds: tuple[GroundFigures, ...], word: SceneWord, threshold: float
) -> dict[str, Any]:
    """Return the figures as plain JSON values; None for a share of no scenes."""
    rows = [asdict(row) for row in grounds]
    return {
        "text": word.text,
        "holds": f"{word.attribute} {word.value}",
        "threshold": threshold,
        "grounds": [{k: None if v != v else v for k, v in row.items()} for row in rows],
    }
