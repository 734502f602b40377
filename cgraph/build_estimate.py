"""What a build will take, before it starts: time, memory and disk, measured for a few seconds.

The model is loaded and every check of a real build is made, so an estimate also says whether the
build can start at all. Then one batch of images, some steps of the dictionary and a small fit of
the graph are timed on the machine at hand, and `cgraph.cost_model` multiplies.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph.config import BuildConfig
from cgraph.cost_model import (
    Speed,
    Work,
    disk_mb,
    memory_mb,
    reference_speed,
    seconds_span,
    stage_seconds,
)
from cgraph.errors import CgraphError, ModelError, StudyError
from cgraph.manifest import BUILD_RECORD, MANIFEST, STAGES, Manifest
from cgraph.model_facts import ModelFacts, model_facts
from cgraph.progress import duration

if TYPE_CHECKING:
    from cgraph.foreign_dictionary import ForeignDictionary
    from cgraph.stages import Job

_MARGIN = 1.1  # of the disk space asked for


@dataclass(frozen=True)
class Estimate:
    """What a build should take.

    Attributes
    ----------
    seconds_low, seconds_high : float
        Between which the whole build should end, by the clock.
    stages : dict of str to float
        Seconds that each stage should take.
    memory_mb : float
        The most that all processes hold together.
    memory_free_mb : float or None
        What the machine has to give; None where it does not tell.
    disk_mb, disk_peak_mb : float
        Size of the finished study, and the most while it is built.
    disk_free_mb : float
        What is free where the study is to lie.
    is_measured : bool
        Whether this machine was timed for it.
    facts : dict
        The model and the images as they were found.
    """

    seconds_low: float
    seconds_high: float
    stages: dict[str, float]
    memory_mb: float
    memory_free_mb: float | None
    disk_mb: float
    disk_peak_mb: float
    disk_free_mb: float
    is_measured: bool
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Estimate:
        """Read what `to_dict` wrote; TypeError if it is something else."""
        return cls(**values)

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each thing that is scarce."""
        found = [self.facts["remark"]] if self.facts.get("remark") else []
        if self.disk_peak_mb * _MARGIN < self.disk_free_mb < 2 * self.disk_peak_mb:
            found.append(
                f"The disk has {size(self.disk_free_mb)} free, and the build needs up to "
                f"{size(self.disk_peak_mb)} of it."
            )
        if self.memory_free_mb is not None and self.memory_mb > 0.9 * self.memory_free_mb:
            found.append(
                f"The build may need {size(self.memory_mb)} of memory, and the machine has "
                f"{size(self.memory_free_mb)} to give. Fewer workers need less."
            )
        return found

    def check_disk(self, folder: Path) -> None:
        """Refuse a build for which the disk has no room.

        Raises
        ------
        StudyError
        """
        if self.disk_free_mb < self.disk_peak_mb * _MARGIN:
            raise StudyError(
                f"The disk of {folder} has {size(self.disk_free_mb)} free, and the build needs "
                f"about {size(self.disk_peak_mb * _MARGIN)}. Free some space, choose another "
                "folder, or take fewer images."
            )

    def lines(self) -> list[str]:
        """Return the estimate as lines for a terminal."""
        facts = self.facts
        sampled, listed = facts["n_images"], facts["n_listed"]
        images = f"{sampled:,} of {listed:,} images" if sampled < listed else f"{sampled:,} images"
        free = "" if self.memory_free_mb is None else f" ({size(self.memory_free_mb)} available)"
        ordered = [(stage, self.stages.get(stage, 0.0)) for stage in STAGES]
        shares = ", ".join(
            f"{stage} {duration(seconds)}" for stage, seconds in ordered if seconds >= 1
        )
        how = "measured on this machine" if self.is_measured else "from sizes alone"
        how += f": {shares}" if shares else ""
        return [
            f"model   {facts['model']}: {facts['family']}, {facts['n_layers']} layers of width "
            f"{facts['d_model']}, {facts['n_parameters'] / 1e6:,.1f} M parameters",
            f"images  {images} of {facts['images']}",
            f"time    {time_span(self.seconds_low, self.seconds_high)} ({how})",
            f"memory  up to {size(self.memory_mb)}{free}",
            f"disk    {size(self.disk_mb)} for the study, up to {size(self.disk_peak_mb)} while "
            f"it is built ({size(self.disk_free_mb)} free)",
        ]


def size(megabytes: float) -> str:
    """Return an amount of memory or disk as people say it: ``12 MB``, ``3.4 GB``."""
    if megabytes < 0.95:
        return "under 1 MB"
    if megabytes < 999.5:
        return f"{megabytes:.0f} MB"
    gigabytes = megabytes / 1024
    return f"{gigabytes:.1f} GB" if gigabytes < 99.5 else f"{gigabytes:,.0f} GB"


def time_span(low: float, high: float) -> str:
    """Return a range of times as people say it: ``2 to 4 min``."""
    for unit, seconds in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if high >= 1.5 * seconds or unit == "s":
            first, last = _rounded(low / seconds), _rounded(high / seconds)
            first, last = max(first, _least(unit)), max(last, _least(unit))
            if first == last:
                return f"about {last:g} {unit}"
            return f"{first:g} to {last:g} {unit}"
    raise AssertionError("unreachable")


def _least(unit: str) -> float:
    return 1.0 if unit == "s" else 0.5


def _rounded(value: float) -> float:
    if value >= 20:
        return float(round(value, -1)) if value >= 100 else float(5 * round(value / 5))
    return float(round(value)) if value >= 3 else round(2 * value) / 2


# ---- from sizes alone


def rough_estimate(
    model: str | Path,
    n_images: int,
    out: str | Path,
    config: BuildConfig,
    workers: int,
) -> Estimate:
    """Estimate a build from the sizes of model and image set, without loading anything.

    Parameters
    ----------
    model : str or Path
        Folder of the model.
    n_images : int
        Images in the set.
    out : str or Path
        The study folder.
    config : BuildConfig
    workers : int

    Raises
    ------
    ModelError
        If the sizes of the model cannot be read.
    """
    facts = model_facts(model)
    sampled = min(n_images, config.max_images or n_images)
    work = _work(facts, sampled, config, workers)
    return _estimate(work, reference_speed(work), Path(out), {
        "model": Path(model).name, "family": facts.family, "n_layers": facts.n_layers,
        "d_model": facts.d_model, "n_parameters": facts.n_parameters, "images": "",
        "n_images": sampled, "n_listed": n_images,
    })  # fmt: skip


def _work(facts: ModelFacts, n_images: int, config: BuildConfig, workers: int) -> Work:
    return Work(
        n_images=n_images,
        n_layers=facts.n_layers,
        d_model=facts.d_model,
        n_tokens=facts.n_tokens,
        mlp_width=facts.mlp_width,
        n_parameters=facts.n_parameters,
        config=config,
        workers=workers,
    )


def _estimate(work: Work, speed: Speed, out: Path, facts: dict[str, Any]) -> Estimate:
    low, high = seconds_span(work, speed)
    finished, most = disk_mb(work)
    return Estimate(
        seconds_low=round(low, 1),
        seconds_high=round(high, 1),
        stages={stage: round(s, 2) for stage, s in stage_seconds(work, speed).items()},
        memory_mb=round(memory_mb(work, speed), 1),
        memory_free_mb=_memory_free_mb(),
        disk_mb=round(finished, 2),
        disk_peak_mb=round(most, 2),
        disk_free_mb=round(_disk_free_mb(out), 1),
        is_measured=speed.is_measured,
        facts=facts,
    )


def _disk_free_mb(folder: Path) -> float:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / 2**20


def _memory_free_mb() -> float | None:
    """Return what processes can still get: of the machine, or of the container if it has less."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = next(int(x.split()[1]) for x in text.splitlines() if x.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    available = free / 2**10
    try:
        most = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        available = min(available, (most - used) / 2**20)
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return round(available, 1)


# ---- with the model loaded and this machine timed


def estimate(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    workers: int | None = None,
    revision: str | None = None,
    dictionary: ForeignDictionary | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Estimate:
    """Check that a build can start, time this machine for some seconds, and estimate.

    Nothing is written into the study folder.

    Parameters
    ----------
    model, images, out, config, workers, revision, dictionary
        As for `cgraph.pipeline.build_study`.
    on_step : callable, optional
        Called with a few words before each step.

    Returns
    -------
    Estimate

    Raises
    ------
    CgraphError
        With the sentence with which the build itself would be refused.
    """
    # Pages estimate from sizes alone, without what takes long to load.
    from cgraph.executors import single_thread
    from cgraph.job_setup import prepare
    from cgraph.machine_speed import measure_speed

    config, folder = config or BuildConfig(), Path(out).absolute()
    workers = workers or os.cpu_count() or 1
    say = on_step or (lambda _: None)
    say("loading the model, listing the images")
    with tempfile.TemporaryDirectory() as temporary:
        stand_in = _stand_in(folder, Path(temporary), (model, images))
        try:
            job, manifest = prepare(
                model, images, stand_in, config, revision=revision, dictionary=dictionary
            )
        except CgraphError as error:
            # The sentence is about the folder that was asked for.
            raise type(error)(str(error).replace(str(stand_in), str(folder))) from None
        say("timing a batch of images, some steps of a dictionary and a small fit")
        work, facts = _sizes(job, manifest, workers)
        with single_thread():
            speed, remark = measure_speed(job, work)
    if remark:
        facts["remark"] = remark
    return _estimate(work, speed, folder, facts)


def _stand_in(folder: Path, temporary: Path, inputs: tuple[str | Path, ...]) -> Path:
    """Make a folder that is refused or accepted for the same reasons as the study folder is."""
    stand_in = temporary / (folder.name or "study")
    stand_in.mkdir()
    own = {Path(place).absolute() for place in inputs}
    try:
        found = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise StudyError(
            f"{folder} cannot be used ({error.strerror or error}). Choose one you may write to."
        ) from None
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file. Choose a folder for the study.")
    for path in found:
        if path.name in (MANIFEST, BUILD_RECORD):  # the second says which commit was begun with
            shutil.copyfile(path, stand_in / path.name)
        elif path not in own and not path.name.startswith("."):
            (stand_in / path.name).touch()
    return stand_in


def _sizes(job: Job, manifest: Manifest, workers: int) -> tuple[Work, dict[str, Any]]:
    layers, width = int(manifest.model["n_layers"]), int(manifest.model["d_model"])
    n_images = int(manifest.images["n_sampled"])
    try:
        found = model_facts(job.model)
    except ModelError:  # the model was loaded, and only says its sizes in other words
        found = ModelFacts(str(manifest.model["family"]), layers, width, 197, 4 * width, 0)
    work = _work(found, n_images, job.config, workers)
    facts = {
        "model": manifest.model["id"],
        "family": manifest.model["family"],
        "n_layers": layers,
        "d_model": width,
        "n_parameters": found.n_parameters,
        "images": manifest.images["id"],
        "n_images": n_images,
        "n_listed": int(manifest.images["n_listed"]),
    }
    return work, facts


def plan(job: Job, manifest: Manifest, workers: int) -> dict[str, float]:
    """Return the seconds that each stage of a build should take, from sizes alone."""
    work, _ = _sizes(job, manifest, workers)
    return stage_seconds(work, reference_speed(work))
