"""One command from nothing to the bundled study: scenes, model, study, quality.

Everything lies in the folder of the study. What only the making needs is in ``.training`` there,
which is removed at the end; until then an interrupted run goes on from it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.demo.clip import save_model
from cgraph.demo.quality import concept_quality, model_quality
from cgraph.demo.training import START, TrainingConfig, steps_made, trained_model
from cgraph.demo.workers import draw_pool, train_model
from cgraph.errors import StudyError
from cgraph.manifest import MANIFEST, MODEL_FIGURES, QUALITY, STAGES, Manifest, record_file
from cgraph.pipeline import build_study
from cgraph.progress import Progress
from cgraph.store import folder_lock, read_json, to_json, write_bytes
from cgraph.study import Study

COMMAND = "cgraph demo"
"""What makes the study again, with ``--out`` and its folder."""

_WORK = ".training"
_SETTINGS = f"{_WORK}/settings.json"
_MODEL = "model"
_SCENES = "scenes.json"

_BEFORE = ("scenes", "training")
_AFTER = (MODEL_FIGURES,)
DEMO_STAGES = (*_BEFORE, *STAGES, *_AFTER)
"""Stages of the command, in order."""


@dataclass(frozen=True)
class DemoConfig:
    """All settings of the bundled study."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How its model is trained."""

    n_scenes: int = 7500
    """Scenes of the study."""

    scene_seed: int = 2
    """Seed of these scenes; the model never learned from them."""

    n_probe: int = 8000
    """Scenes that the probes of the model's quality are fitted on."""

    n_held_out: int = 4000
    """Scenes that they are judged by."""

    build: BuildConfig = field(
        default_factory=lambda: BuildConfig(
            preset="demo",
            thumbnail_px=72,
            dictionary=DictionaryConfig(
                n_atoms=64, max_nnz=10, whiten=60, whiten_strength=0.35, starts=5
            ),
            predictor=PredictorConfig(penalty=0.0015),
        )
    )
    """How concepts and graph are found."""

    @property
    def command(self) -> str:
        """What makes the study again, with ``--out`` and its folder."""
        return COMMAND

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, as a manifest keeps them."""
        return {**dataclasses.asdict(self), "build": self.build.to_manifest()}


def remake(
    out: str | Path,
    config: DemoConfig | None = None,
    *,
    start: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress, str], None] | None = None,
) -> Study:
    """Make a study and its model from nothing, or go on where an earlier run stopped.

    Parameters
    ----------
    out : str or Path
        The study folder.
    config : DemoConfig, optional
        What to make; the bundled study if left out.
    start : Path, optional
        Weights that the training goes on from, if its settings say that it does.
    workers : int, optional
        Processes; one for each core if left out. The result is the same for any number.
    on_progress : callable, optional
        Called with a `Progress` and a remark, such as the parts of the loss.

    Returns
    -------
    Study

    Raises
    ------
    CgraphError
        If the folder holds something else, or was started with other settings.
    """
    folder, config = Path(out).absolute(), config or DemoConfig()
    workers = workers or os.cpu_count() or 1
    told = on_progress or (lambda progress, remark: None)
    with folder_lock(folder / _WORK):
        _same_settings(folder, config)
        if not (folder / _MODEL / "model.safetensors").is_file():
            _make_model(folder, config, start, workers, told)
        asked: dict[str, Any] = {"scenes": config.n_scenes, "seed": config.scene_seed}
        if words := config.training.lesson.words:
            asked["words"] = {text: rule for w in words for text, rule in w.to_rule().items()}
        write_bytes(folder / _SCENES, to_json(asked))
        study = build_study(
            folder / _MODEL,
            folder / _SCENES,
            folder,
            config.build,
            workers=workers,
            origin={"command": config.command, "settings": config.to_dict()},
            on_progress=lambda progress: told(_shifted(progress), ""),
        )
        if QUALITY not in study.manifest.files:
            _measure(study, config, told)
    shutil.rmtree(folder / _WORK)
    return Study.open(folder)


def _same_settings(folder: Path, config: DemoConfig) -> None:
    wanted = config.to_dict()
    path = folder / _SETTINGS
    if path.is_file():
        if read_json(path) != wanted:
            raise StudyError(
                f"{folder / _WORK} was begun with other settings. Delete it to begin again, or "
                "use the version of cgraph that began it."
            )
        return
    if (folder / _MODEL).exists() or (folder / MANIFEST).exists():
        origin = Manifest.read(folder).origin if (folder / MANIFEST).is_file() else {}
        if origin.get("settings") != wanted:
            raise StudyError(
                f"{folder} holds a study that was made otherwise. Choose a new folder for --out, "
                "or delete it to make this one again."
            )
    write_bytes(path, to_json(wanted))


def _make_model(
    folder: Path,
    config: DemoConfig,
    start: Path | None,
    workers: int,
    told: Callable[[Progress, str], None],
) -> None:
    work = folder / _WORK
    training = config.training
    if start is not None and not (work / START).is_file():
        write_bytes(work / START, start.read_bytes())
    if steps_made(work) < training.steps:
        draw_pool(work / "pool", training, workers, _Teller("scenes", told))
        train_model(work, work / "pool", training, workers, _Teller("training", told))
    words = [word.text for word in training.lesson.words]
    save_model(trained_model(work, training), work / _MODEL, words)
    os.replace(work / _MODEL, folder / _MODEL)


class _Teller:
    """Turns counts of done work into the progress of one stage."""

    def __init__(self, stage: str, told: Callable[[Progress, str], None]) -> None:
        self._stage, self._told = stage, told
        self._started = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        if self._first is None:
            self._first = done  # pieces that were there before are not part of the pace
        seconds = time.monotonic() - self._started
        pace = seconds / (done - self._first) if done > self._first else None
        progress = Progress(
            self._stage,
            DEMO_STAGES.index(self._stage) + 1,
            len(DEMO_STAGES),
            done,
            total,
            round(seconds, 1),
            None if pace is None else round(pace * (total - done), 1),
        )
        self._told(progress, remark)


def _shifted(progress: Progress) -> Progress:
    """Count a stage of the build among all stages of the command."""
    number = DEMO_STAGES.index(progress.stage) + 1
    return dataclasses.replace(progress, stage_number=number, n_stages=len(DEMO_STAGES))


def _measure(study: Study, config: DemoConfig, told: Callable[[Progress, str], None]) -> None:
    teller = _Teller("quality", told)
    teller(0, 2)
    quality: dict[str, Any] = model_quality(study.path / _MODEL, config.n_probe, config.n_held_out)
    teller(1, 2)
    quality["mcc"] = concept_quality(study)
    write_bytes(study.path / QUALITY, to_json(quality))
    record_file(study.path, QUALITY, MODEL_FIGURES)
    teller(2, 2)
