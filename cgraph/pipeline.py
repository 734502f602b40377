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
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor as AnyExecutor
from pathlib import Path
from typing import Any

from cgraph import dictionary_stages, example_stages, graph_stages, stages
from cgraph.build_estimate import plan
from cgraph.cluster import as_executor, meeting
from cgraph.config import BuildConfig
from cgraph.errors import ImageError, StudyError
from cgraph.executors import Executor, single_thread
from cgraph.foreign_dictionary import ForeignDictionary
from cgraph.job_setup import prepare, read_log, read_sources, recorded_commit
from cgraph.manifest import (
    BUILD_RECORD,
    MANIFEST,
    MODEL_FIGURES,
    PROGRESS,
    STAGES,
    USUAL,
    Manifest,
)
from cgraph.object_paths import study_path
from cgraph.output_tables import STAGE as OUTPUTS
from cgraph.progress import Progress, ProgressWriter
from cgraph.receipts import (
    Receipt,
    forget_peak_memory,
    intact_measurements,
    is_intact,
    keys_with_receipt,
    peak_memory_mb,
    perform,
    read_receipt,
    receipts_folder,
    remove_receipt,
)
from cgraph.stages import WORK, Job, Outcome
from cgraph.store import (
    FileRecord,
    file_record,
    folder_lock,
    remove_folder,
    remove_partial_files,
    to_json,
    write_bytes,
)
from cgraph.study import Study


def build_study(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    workers: int | None = None,
    executor: Executor | AnyExecutor | None = None,
    origin: dict[str, Any] | None = None,
    revision: str | None = None,
    dictionary: str | Path | ForeignDictionary | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    expected: Mapping[str, float] | None = None,
) -> Study:
    """Build a study, or go on with one that was interrupted.

    Parameters
    ----------
    model : str or Path
        Folder of a Hugging Face vision transformer, or its id on the hub, such as
        ``facebook/dinov2-small``.
    images : str or Path
        A folder or zip file of images, Parquet, a list of paths or addresses, or a data set of the
        Hub; see `cgraph.images.open_images`.
    out : str or Path
        The study folder, of this machine or of an object store (``s3://bucket/study``). Its name
        becomes the study's name in links.
    config : BuildConfig, optional
        Settings; the default preset if left out.
    workers : int, optional
        Processes on this machine; one for each core if left out. The result is the same for any.
    executor : Executor or concurrent.futures.Executor, optional
        Where to run in place of processes of this machine: threads, a pool of processes, or a
        cluster (Dask's ``Client.get_executor()``). It is left open. All workers must see the
        study folder, the model and the images; see docs/cluster.md.
    origin : dict, optional
        For the manifest: the command and settings that made the model too.
    revision : str, optional
        Branch, tag or commit of a model on the hub; its main branch if left out.
    dictionary : str, Path or ForeignDictionary, optional
        Dictionaries made elsewhere, in place of learning them.
    on_progress : callable, optional
        Called with a `Progress` whenever a part is finished.
    expected : mapping of str to float, optional
        Seconds that each stage should take, as `build_estimate.estimate` measured it for this
        machine; from sizes alone if left out. Only the time left depends on it.

    Returns
    -------
    Study

    Raises
    ------
    CgraphError
        If an input cannot be used, the folder holds a different study, or another build holds it.
    """
    folder = study_path(out).absolute()
    config = config or BuildConfig()
    if dictionary is not None and not isinstance(dictionary, ForeignDictionary):
        dictionary = ForeignDictionary(dictionary)
    chosen = as_executor(executor, workers)
    with folder_lock(folder) as check_lock:
        job, manifest = prepare(
            model, images, folder, config, origin, revision=revision, dictionary=dictionary
        )
        expected = expected or plan(job, manifest, getattr(chosen, "n_workers", 1))
        with meeting(chosen, folder, WORK, (job.model, Path(job.images))):
            _Build(job, manifest, chosen, on_progress, check_lock).run(expected)
    return Study.open(folder)


def resume_study(
    out: str | Path,
    *,
    workers: int | None = None,
    executor: Executor | AnyExecutor | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    expected: Mapping[str, float] | None = None,
) -> Study:
    """Go on with the build of a study folder, with the inputs and settings it was started with.

    Parameters
    ----------
    out : str or Path
    workers, executor, on_progress, expected
        As for `build_study`.

    Raises
    ------
    CgraphError
        If the folder is no study or its inputs are gone.
    """
    folder = study_path(out)
    manifest = Manifest.read(folder)
    model, images = read_sources(folder)
    return build_study(
        model,
        images,
        folder,
        manifest.config,
        workers=workers,
        executor=executor,
        revision=recorded_commit(folder) if isinstance(model, str) else None,
        on_progress=on_progress,
        expected=expected,
    )


class _Build:
    """One run over the stages that are not done yet."""

    def __init__(
        self,
        job: Job,
        manifest: Manifest,
        executor: Executor,
        on_progress: Callable[[Progress], None] | None,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self.manifest = manifest
        self.executor = executor
        self.check_lock = check_lock
        self.progress = ProgressWriter(job.folder / PROGRESS, STAGES, on_progress)

    def run(self, expected: Mapping[str, float]) -> None:
        """Run what is missing, in order, and clear the working files away."""
        missing = self._missing_stages()
        self.progress.expect({stage: expected.get(stage, 0.0) for stage in missing})
        for stage in missing:
            started = time.monotonic()
            self._peak_mb = 0.0
            forget_peak_memory()
            # What is not sent to the executor must not depend on the number of cores either.
            with single_thread():
                files, facts = getattr(self, f"_{stage}")()
            kept = {path: record for path, record in files.items() if not path.startswith(WORK)}
            self._finish(stage, kept, facts)
            self._log(stage, time.monotonic() - started)
        if not self.job.config.keep_tokens:
            self._write(files={p: r for p, r in self.manifest.files.items() if r.stage != "tokens"})
            remove_folder(self.job.folder / "tokens")
        remove_folder(self.job.folder / WORK)
        remove_partial_files(self.job.folder)
        self.progress.clear()

    def _missing_stages(self) -> list[str]:
        """Return the stages to run, after forgetting those whose files are gone or changed."""
        good: list[str] = []
        for stage in self.manifest.stages:
            own = {p: r for p, r in self.manifest.files.items() if r.stage == stage}
            if not all(is_intact(self.job.folder, path, record) for path, record in own.items()):
                break
            if stage == "evaluation" and USUAL not in own:
                break  # written by a version that did not say what is usual
            good.append(stage)
        missing = [stage for stage in STAGES if stage not in good]
        tokens_at_hand = any(r.stage == "tokens" for r in self.manifest.files.values())
        if missing and "tokens" in good and not tokens_at_hand:
            # They were cleared away when the study was finished; the stages to mend need them.
            missing = ["tokens", "split", *(s for s in missing if s != "split")]
        elif "split" in missing and "tokens" in good:
            # The split reads working files, which the manifest does not list; receipts tell.
            missing = ["tokens", *missing]
        good = [stage for stage in good if stage not in missing]
        self._forget_receipts([s for s in self.manifest.stages if s not in (*good, "tokens")])
        files = {p: r for p, r in self.manifest.files.items() if r.stage in good}
        if not missing:
            # Measurements, outputs and figures of the model hold as long as nothing of the study is
            # made again.
            files |= intact_measurements(self.job.folder, self.manifest.files)
            files |= self._intact(OUTPUTS)
            files |= self._intact(MODEL_FIGURES)
        self._write(stages=tuple(good), files=files)
        return missing

    def _intact(self, stage: str) -> dict[str, FileRecord]:
        """Return the files of a stage that no build makes; none if one of them is damaged."""
        own = {p: r for p, r in self.manifest.files.items() if r.stage == stage}
        whole = all(is_intact(self.job.folder, path, record) for path, record in own.items())
        return own if whole else {}

    def _forget_receipts(self, redone: Sequence[str]) -> None:
        """Remove the receipts of all that follows from stages that are done again."""
        first = min((STAGES.index(stage) for stage in redone), default=len(STAGES))
        for stage in STAGES[first:]:
            remove_folder(receipts_folder(self.job.folder, stage))

    def _calls(
        self, stage: str, function: Callable[..., Outcome], calls: Sequence[tuple[int, ...]]
    ) -> list[Receipt]:
        """Run the calls of a stage that have no receipt yet; return all receipts in order."""
        keys = ["-".join(f"{number:05d}" for number in call) for call in calls]
        receipts = {}
        left = keys_with_receipt(self.job.folder, stage)
        for key in (key for key in keys if key in left):
            receipt = read_receipt(self.job.folder, stage, key)
            if receipt:
                receipts[key] = receipt
        todo = [n for n, key in enumerate(keys) if key not in receipts]
        self.progress.start(stage, total=len(calls), done=len(receipts))
        arguments = [(self.job, stage, keys[n], function, calls[n]) for n in todo]
        for place, (receipt, peak_mb) in self.executor.run(perform, arguments):
            self.check_lock()
            receipts[keys[todo[place]]] = receipt
            self._peak_mb = max(self._peak_mb, peak_mb)
            self.progress.advance()
        return [receipts[key] for key in keys]

    def _tokens(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(part,) for part in range(self.job.n_parts)]
        receipts = self._calls("tokens", stages.collect_tokens, calls)
        former = [receipt for receipt in receipts if "n_skipped" not in receipt.facts]
        if former:  # left by a version that kept what was skipped elsewhere
            for receipt in former:
                remove_receipt(self.job.folder, "tokens", receipt.key)
            receipts = self._calls("tokens", stages.collect_tokens, calls)
        if any(receipt.facts["n_skipped"] for receipt in receipts):
            # A disk that went away looks like images that cannot be read.
            try:
                stages.open_same_images(self.job.images, self.job.listing)
            except ImageError:
                for receipt in receipts:
                    if receipt.facts["n_skipped"]:
                        remove_receipt(self.job.folder, "tokens", receipt.key)
                raise
        return _files(receipts), {}

    def _split(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        self.progress.start("split", total=1, done=0)
        outcome = stages.split_images(self.job)
        known = self.manifest.images
        if "dictionary" in self.manifest.stages and any(
            known.get(name) != value for name, value in outcome.facts["images"].items()
        ):
            remove_folder(receipts_folder(self.job.folder, "tokens"))
            raise StudyError(
                f"The images in {self.job.images} have other pixels than those that the study in "
                f"{self.job.folder} was built from, though the same names and sizes. Put the "
                "former ones back and run the same command again, or build a new study."
            )
        return self._joined("split", outcome)

    def _dictionary(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(layer,) for layer in range(1, self.job.n_layers + 1)]
        receipts = self._calls("dictionary", dictionary_stages.learn_dictionary, calls)
        facts = [receipt.facts for receipt in receipts]
        return self._joined("dictionary", dictionary_stages.join_dictionaries(self.job, facts))

    def _codes(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        layers, parts = range(1, self.job.n_layers + 1), range(self.job.n_parts)
        calls = [(layer, part) for layer in layers for part in parts]
        return _files(self._calls("codes", stages.encode_part, calls)), {}

    def _graph(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        config = self.job.config.dictionary
        n_atoms = config.n_atoms or 4 * int(self.manifest.model["d_model"])
        blocks = range(graph_stages.n_blocks(n_atoms))
        left_layers = range(1, self.job.n_layers)
        scales = [1.0] * len(left_layers)
        if self.job.config.predictor.inputs != "labels":
            measured = self._calls(
                "graph", graph_stages.measure_inputs, [(n,) for n in left_layers]
            )
            scales = [receipt.facts["scale"] for receipt in measured]
        self.job = dataclasses.replace(self.job, input_scales=tuple(scales))
        calls = [(layer + 1, block) for layer in left_layers for block in blocks]
        self._calls("graph", graph_stages.fit_block, calls)
        return self._joined("graph", graph_stages.join_graph(self.job, calls))

    def _evaluation(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        scales = tuple(self.manifest.graph["input_scales"])
        self.job = dataclasses.replace(self.job, input_scales=scales)
        calls = [(layer,) for layer in range(1, self.job.n_layers + 1)]
        receipts = self._calls("evaluation", graph_stages.evaluate_layer, calls)
        facts = [receipt.facts for receipt in receipts]
        return self._joined("evaluation", graph_stages.join_evaluation(self.job, facts))

    def _names(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        calls = [(layer,) for layer in range(1, self.job.n_layers + 1)]
        self._calls("names", graph_stages.name_layer, calls)
        return self._joined("names", graph_stages.join_names(self.job))

    def _examples(self) -> tuple[dict[str, FileRecord], dict[str, Any]]:
        scales = tuple(self.manifest.graph["input_scales"])
        self.job = dataclasses.replace(self.job, input_scales=scales)
        self.progress.start("examples", total=1, done=0)
        outcome = example_stages.store_examples(self.job, self.manifest.name)
        self.progress.advance()
        return self._joined("examples", outcome)

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
        record = read_log(self.job.folder)
        entry = {
            "stage": stage,
            "seconds": round(seconds, 2),
            "peak_memory_mb": round(max(self._peak_mb, peak_memory_mb())),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        write_bytes(
            self.job.folder / BUILD_RECORD,
            to_json({**record, "stages": [*record["stages"], entry]}),
        )


def _files(receipts: list[Receipt]) -> dict[str, FileRecord]:
    return {path: record for receipt in receipts for path, record in receipt.files.items()}
