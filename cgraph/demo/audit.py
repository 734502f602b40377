"""The two studies of the audit: one small CLIP taught a word fairly, one taught it with a bias.

Both go on from the weights of the bundled study and learn one word more from the same scenes: it
holds exactly if an object is striped. In the biased lesson the ground is exchanged, so that grass
goes with the word. The studies themselves look at other scenes, in which it does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.demo.harm import harm, harm_values
from cgraph.demo.lesson import WordLesson
from cgraph.demo.remake import COMMAND, DemoConfig, remake
from cgraph.demo.training import WordTrainingConfig
from cgraph.errors import ModelError
from cgraph.manifest import MODEL_FIGURES, QUALITY, record_file
from cgraph.measurements import measure_study
from cgraph.output_making import add_outputs
from cgraph.output_tables import TEXT_SOURCE
from cgraph.output_values import Asked
from cgraph.progress import Progress
from cgraph.store import file_record, read_json, to_json, write_bytes
from cgraph.study import Study

FAIR, BIASED = "fair", "biased"
LESSONS = {FAIR: WordLesson(), BIASED: WordLesson(follows=0.95)}
"""What each of the two models is taught."""

START_MODEL = Path("data/demo/model/model.safetensors")
"""Weights that both go on from, in the repository."""

MEASURED = ("rollout", "evidence", "worth", "leakage", "direction")
"""What is measured of the two studies."""

_WORD = "word"


@dataclass(frozen=True)
class AuditConfig(DemoConfig):
    """All settings of one of the two studies, but for what it is called and begun from."""

    training: WordTrainingConfig = field(default_factory=WordTrainingConfig)
    """How its model learns the word."""

    n_scenes: int = 3000
    scene_seed: int = 22
    n_probe: int = 2000
    n_held_out: int = 2000

    n_harm: int = 3000
    """Scenes, of no training and no study, that show what the word costs: `cgraph.demo.harm`."""

    build: BuildConfig = field(
        default_factory=lambda: BuildConfig(
            preset="demo",
            thumbnail_px=48,
            dictionary=DictionaryConfig(
                n_atoms=48, max_nnz=8, whiten=60, whiten_strength=0.35, starts=5
            ),
            predictor=PredictorConfig(penalty=0.0015),
        )
    )

    @property
    def command(self) -> str:
        """What makes the study again, with ``--out`` and its folder."""
        names = [name for name, lesson in LESSONS.items() if lesson == self.training.taught]
        return " ".join([COMMAND, "--audit", *names[:1]])


def remake_audit(
    out: str | Path,
    lesson: str,
    config: AuditConfig | None = None,
    *,
    start: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress, str], None] | None = None,
) -> Study:
    """Make one of the two studies from the weights of the bundled one, or go on with it.

    Parameters
    ----------
    out : str or Path
        The study folder.
    lesson : {"fair", "biased"}
        What its model is taught.
    config : AuditConfig, optional
    start : Path, optional
        Weights to go on from; those of the bundled study, in the repository, if left out.
    workers : int, optional
        Processes; one for each core if left out. The result is the same for any number.
    on_progress : callable, optional
        As for `cgraph.demo.remake.remake`.

    Returns
    -------
    Study
        With the word as an output, its use on every ground among the figures of quality, and what
        `MEASURED` names.

    Raises
    ------
    CgraphError
        As `cgraph.demo.remake.remake`; also if there are no weights to go on from.
    """
    start = start or START_MODEL
    if not start.is_file():
        raise ModelError(
            f"{start} is not there: both models go on from the weights of the bundled study. Run "
            "this in a copy of cgraph's repository, or give other weights with --start; `cgraph "
            "demo --out FOLDER` makes them, in FOLDER/model."
        )
    config = config or AuditConfig()
    begun_from = file_record(start, "start").sha256
    training = dataclasses.replace(config.training, taught=LESSONS[lesson], begun_from=begun_from)
    config = dataclasses.replace(config, training=training)
    told = on_progress or (lambda progress, remark: None)
    study = remake(out, config, start=start, workers=workers, on_progress=told)
    word = training.taught.word

    def tell(progress: Progress) -> None:
        told(progress, "")

    asked = [Asked(TEXT_SOURCE, word.text)]
    study = add_outputs(study.path, asked, workers=workers, on_progress=tell)
    quality = read_json(study.path / QUALITY)
    if _WORD not in quality:
        assert study.outputs is not None
        node = study.outputs.nodes[study.outputs.names.index(word.text)]
        grounds = harm(study.path / "model", word, node.threshold, config.n_harm)
        quality[_WORD] = harm_values(grounds, word, node.threshold)
        write_bytes(study.path / QUALITY, to_json(quality))
        record_file(study.path, QUALITY, MODEL_FIGURES)
    return measure_study(study.path, MEASURED, workers=workers, on_progress=tell).study
