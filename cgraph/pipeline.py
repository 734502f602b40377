"""From a model and images to a finished study: the stages in order, resumed where they stopped.

Every call of a stage leaves a receipt once its files are in place, and a stage is done when the
manifest says so. A build that was interrupted, killed or damaged is continued by running it
again: receipts and hashes tell what is still good. Same inputs, settings and seed give the same
study, byte for byte, whatever the number of workers.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cgraph import graph_stages, stages
from cgraph.config import BuildConfig
from cgraph.errors import StudyError
from cgraph.executors import Executor, local_executor
from cgraph.images import open_images, sample_rows
from cgraph.progress import Progress, ProgressWriter
from cgraph.stages import WORK, Job, Outcome
from cgraph.store import FileRecord, file_record, folder_lock, read_json, to_json, write_bytes
from cgraph.study import BUILD_RECORD, MANIFEST, PROGRESS, STAGES, Manifest, Study, slug
from cgraph.vit import VisionModel

_RECORDED_VERSIONS = (
    "cgraph",
    "numba",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class _Receipt:
    """What one finished call left behind."""

    key: str
    files: dict[str, FileRecord]
    facts: dict[str, Any]


def build_study(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Study:
    """Build a study, or go on with one that was interrupted.

    Parameters
    ----------
    model : str or Path
        Folder of a Hugging Face vision transformer.
    images : str or Path
        Folder of images, parquet file, or folder of parquet files.
    out : str or Path
        The study folder. Its name becomes the study's name in links.
    config : BuildConfig, optional
        Settings; the default preset if left out.
    workers : int, optional
        Processes on this machine; one for each core if left out. The result is the same for any.
    executor : Executor, optional
        Where to run in place of this machine.
    on_progress : callable, optional
        Called with a `Progress` whenever a part is finished.

    Returns
    -------
    Study

    Raises
    ------
    CgraphError
        If an input cannot be used, the folder holds a different study, or another build holds it.
    """
    folder = Path(out).absolute()
    config = config or BuildConfig()
    executor = executor or local_executor(workers or os.cpu_count() or 1)
    with folder_lock(folder):
        job, manifest = _prepare(Path(model), Path(images), folder, config)
        _Build(job, manifest, executor, on_progress).run()
    return Study.open(folder)


def resume_study(
    out: str | Path,
    *,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Study:
    """Go on with the build of a study folder, with the inputs and settings it was started with.

    Parameters
    ----------
    out : str or Path
    workers, on_progress
        As for `build_study`.

    Raises
    ------
    CgraphError
        If the folder is no study or its inputs are gone.
    """
    folder = Path(out)
    manifest = Manifest.read(folder)
    sources = read_json(folder / BUILD_RECORD)["sources"]
    return build_study(
        sources["model"],
        sources["images"],
        folder,
        manifest.config,
        workers=workers,
        on_progress=on_progress,
    )


def _prepare(model: Path, images: Path, folder: Path, config: BuildConfig) -> tuple[Job, Manifest]:
    """Open the inputs, and start the manifest or check that it speaks of the same inputs."""
    stranger = next((p for p in folder.iterdir() if not p.name.startswith(".")), None)
    if stranger is not None and not (folder / MANIFEST).is_file():
        raise StudyError(
            f"{folder} holds {stranger.name} but no study. Choose a new folder for --out."
        )
    image_set = open_images(images)
    rows = sample_rows(len(image_set), config.max_images, config.seed)
    vision = VisionModel.load(model)
    n_parts = -(-len(rows) // config.part_size)
    manifest = Manifest(
        name=slug(folder.name),
        model={
            "id": model.resolve().name,
            "architecture": vision.architecture,
            "family": vision.family,
            "weights_sha256": vision.weights_hash,
            "n_layers": vision.n_layers,
            "d_model": vision.d_model,
        },
        images={
            "id": images.resolve().name,
            "listing": image_set.listing_fingerprint(),
            "n_listed": len(image_set),
            "n_sampled": len(rows),
            "n_parts": n_parts,
        },
        config=config,
        versions={name: version(name) for name in _RECORDED_VERSIONS},
    )
    if (folder / MANIFEST).is_file():
        manifest = _same_study(Manifest.read(folder), manifest, folder)
    else:
        write_bytes(folder / MANIFEST, to_json(manifest.to_dict()))
    sources = {"model": str(model.absolute()), "images": str(images.absolute())}
    record = folder / BUILD_RECORD
    log = read_json(record).get("stages", []) if record.is_file() else []
    write_bytes(record, to_json({"sources": sources, "stages": log}))
    return Job(
        folder, model.absolute(), images.absolute(), config, vision.n_layers, n_parts
    ), manifest


def _same_study(found: Manifest, wanted: Manifest, folder: Path) -> Manifest:
    """Return the manifest found, once it is sure that it was made from the same inputs."""
    differences = [
        f"{name} {old!r} there, {new!r} asked for"
        for name, old, new in _differences(found.config.to_dict(), wanted.config.to_dict())
    ]
    for name in ("weights_sha256", "n_layers", "d_model"):
        if found.model[name] != wanted.model[name]:
            differences.append(f"the model ({found.model['id']} there, {wanted.model['id']} here)")
            break
    if found.images["listing"] != wanted.images["listing"]:
        differences.append(
            f"the images ({found.images['n_listed']} there, {wanted.images['n_listed']} here, or "
            "other names or sizes)"
        )
    if differences:
        raise StudyError(
            f"{folder} holds a study built from something else: {'; '.join(differences)}. Choose "
            "another folder for --out, give the same inputs, or delete the folder."
        )
    return found


def _differences(
    old: dict[str, Any], new: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    found = []
    for name in old:
        if isinstance(old[name], dict):
            found += _differences(old[name], new[name], f"{name}.")
        elif old[name] != new[name]:
            found.append((prefix + name, old[name], new[name]))
    return found


class _Build:
    """One run over the stages that are not done yet."""

    def __init__(
        self,
        job: Job,
        manifest: Manifest,
        executor: Executor,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.job = job
        self.manifest = manifest
        self.executor = executor
        self.progress = ProgressWriter(job.folder / PROGRESS, STAGES, on_progress)

    def run(self) -> None:
        """Run what is missing, in order, and clear the working files away."""
        for stage in self._missing_stages():
            started = time.monotonic()
            self._peak_mb = 0.0
            files, facts = getattr(self, f"_{stage}")()
            kept = {path: record for path, record in files.items() if not path.startswith(WORK)}
            self._finish(stage, kept, facts)
            self._log(stage, time.monotonic() - started)
        if not self.job.config.keep_tokens:
            self._write(files={p: r for p, r in self.manifest.files.items() if r.stage != "tokens"})
            shutil.rmtree(self.job.folder / "tokens", ignore_errors=True)
        shutil.rmtree(self.job.folder / WORK, ignore_errors=True)
        self.progress.clear()

    def _missing_stages(self) -> list[str]:
        """Return the stages to run, after forgetting those whose files are gone or changed."""
        good: list[str] = []
        for stage in self.manifest.stages:
            own = {p: r for p, r in self.manifest.files.items() if r.stage == stage}
            if any(not self._is_intact(path, record) for path, record in own.items()):
                break
            good.append(stage)
        missing = [stage for stage in STAGES if stage not in good]
        tokens_at_hand = any(r.stage == "tokens" for r in self.manifest.files.values())
        if missing and "tokens" in good and not tokens_at_hand:
            # They were cleared away when the study was finished; the stages to mend need them.
            missing = ["tokens", "split", *(s for s in missing if s != "split")]
            good = [stage for stage in good if stage not in missing]
        for stage in set(self.manifest.stages) - set(good):
            shutil.rmtree(self._receipts(stage), ignore_errors=True)
        files = {p: r for p, r in self.manifest.files.items() if r.stage in good}
        self._write(stages=tuple(good), files=files)
        return missing

    def _is_intact(self, path: str, record: FileRecord) -> bool:
        try:
            return file_record(self.job.folder / path, record.stage) == record
        except StudyError:
            return False

    def _receipts(self, stage: str) -> Path:
        return self.job.folder / WORK / "receipts" / stage

    def _calls(
        self, stage: str, function: Callable[..., Outcome], calls: Sequence[tuple[int, ...]]
    ) -> list[_Receipt]:
        """Run the calls of a stage that have no receipt yet; return all receipts in order."""
        keys = ["-".join(f"{number:05d}" for number in call) for call in calls]
        receipts = {}
        for key in keys:
            receipt = _read_receipt(self._receipts(stage), key)
            if receipt and all(self._is_intact(p, r) for p, r in receipt.files.items()):
                receipts[key] = receipt
        todo = [n for n, key in enumerate(keys) if key not in receipts]
        self.progress.start(stage, total=len(calls), done=len(receipts))
        arguments = [(self.job, stage, keys[n], function, calls[n]) for n in todo]
        for place, (receipt, peak_mb) in self.executor.run(perform, arguments):
            receipts[keys[todo[place]]] = receipt
            self._peak_mb = max(self._peak_mb, peak_mb)
            self.progress.advance()
        return [receipts[key] for key in keys]

    def _tokens(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(part,) for part in range(self.job.n_parts)]
        return _files(self._calls("tokens", stages.collect_tokens, calls)), {}

    def _split(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        self.progress.start("split", total=1, done=0)
        skipped = []
        for part in range(self.job.n_parts):
            receipt = _read_receipt(self._receipts("tokens"), f"{part:05d}")
            if receipt is None:
                raise StudyError(
                    f"{self._receipts('tokens')} was emptied during the build. Delete "
                    f"{self.job.folder} and build again."
                )
            skipped += receipt.facts["skipped"]
        return self._joined("split", stages.split_images(self.job, skipped))

    def _dictionary(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(layer,) for layer in range(1, self.job.n_layers + 1)]
        receipts = self._calls("dictionary", stages.learn_dictionary, calls)
        facts = [receipt.facts for receipt in receipts]
        return self._joined("dictionary", stages.join_dictionaries(self.job, facts))

    def _codes(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        layers, parts = range(1, self.job.n_layers + 1), range(self.job.n_parts)
        calls = [(layer, part) for layer in layers for part in parts]
        return _files(self._calls("codes", stages.encode_part, calls)), {}

    def _graph(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        config = self.job.config.dictionary
        n_atoms = config.n_atoms or 4 * int(self.manifest.model["d_model"])
        blocks = range(graph_stages.n_blocks(n_atoms))
        calls = [(layer, block) for layer in range(2, self.job.n_layers + 1) for block in blocks]
        self._calls("graph", graph_stages.fit_block, calls)
        return self._joined("graph", graph_stages.join_graph(self.job, calls))

    def _evaluation(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(layer,) for layer in range(1, self.job.n_layers + 1)]
        receipts = self._calls("evaluation", graph_stages.evaluate_layer, calls)
        facts = [receipt.facts for receipt in receipts]
        return self._joined("evaluation", graph_stages.join_evaluation(self.job, facts))

    def _joined(self, stage: str, outcome: Outcome) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        files = {p: file_record(self.job.folder / p, stage) for p in outcome.files}
        return files, outcome.facts

    def _finish(self, stage: str, files: dict[str, FileRecord], facts: dict[str, Any]) -> None:
        done = {*self.manifest.stages, stage}
        self._write(
            stages=tuple(name for name in STAGES if name in done),
            files={**self.manifest.files, **files},
            images={**self.manifest.images, **facts.get("images", {})},
            graph={**self.manifest.graph, **facts.get("graph", {})},
        )

    def _write(self, **changes: Any) -> None:
        changed = dataclasses.replace(self.manifest, **changes)
        if changed != self.manifest:
            self.manifest = changed
            write_bytes(self.job.folder / MANIFEST, to_json(changed.to_dict()))

    def _log(self, stage: str, seconds: float) -> None:
        """Add to the record of how the study was made on this machine; no part of its identity."""
        path = self.job.folder / BUILD_RECORD
        record = read_json(path)
        entry = {
            "stage": stage,
            "seconds": round(seconds, 2),
            "peak_memory_mb": round(max(self._peak_mb, _peak_memory_mb())),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        write_bytes(path, to_json({**record, "stages": [*record["stages"], entry]}))


def perform(
    job: Job, stage: str, key: str, function: Callable[..., Outcome], arguments: tuple[int, ...]
) -> tuple[_Receipt, float]:
    """Run one call and leave its receipt; this is what an executor runs.

    Returns
    -------
    receipt : object
    peak_memory_mb : float
        Most memory that this process has held.
    """
    outcome = function(job, *arguments)
    files = {path: file_record(job.folder / path, stage) for path in outcome.files}
    values = {"files": {p: vars(r) for p, r in files.items()}, "facts": outcome.facts}
    write_bytes(job.folder / WORK / "receipts" / stage / f"{key}.json", to_json(values))
    return _Receipt(key, files, outcome.facts), _peak_memory_mb()


def _read_receipt(folder: Path, key: str) -> _Receipt | None:
    path = folder / f"{key}.json"
    if not path.is_file():
        return None
    values = read_json(path)
    files = {name: FileRecord(**record) for name, record in values["files"].items()}
    return _Receipt(key, files, values["facts"])


def _files(receipts: list[_Receipt]) -> dict[str, FileRecord]:
    return {path: record for receipt in receipts for path, record in receipt.files.items()}


def _peak_memory_mb() -> float:
    """Return the most memory this process has held, in MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
