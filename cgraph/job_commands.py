"""The commands around a build: what it will take, in the background, ``jobs`` and ``stop``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph import build_job, job_record, job_status
from cgraph.config import BuildConfig, preset
from cgraph.console import ProgressPrinter
from cgraph.errors import ConfigError, StudyError
from cgraph.manifest import MANIFEST
from cgraph.object_paths import is_remote, study_path
from cgraph.progress import Progress, duration

if TYPE_CHECKING:
    from cgraph.build_estimate import Estimate
    from cgraph.foreign_dictionary import ForeignDictionary

_SETTINGS = (
    *("seed", "max_images", "n_atoms", "max_nnz", "method", "encoder"),
    *("token", "device", "precision"),
)
"""Options that are settings of a study."""

_WHERE = ("workers", "cluster")
"""Options of ``cgraph build`` that say where it runs."""

_NOT_SETTINGS = ("run", "estimate", "background", "json", "detached")
"""Options of ``cgraph build`` that say how it is run, and not what is built."""


def add_options(build: argparse.ArgumentParser) -> None:
    """Add the options of ``cgraph build`` that say how it is run."""
    build.add_argument(
        "--estimate",
        "--dry-run",
        action="store_true",
        help="only say whether it can start, and what time, memory and disk it will take",
    )
    build.add_argument("--json", action="store_true", help="with --estimate: as one JSON object")
    build.add_argument(
        "--background",
        action="store_true",
        help="run as a process of its own; see `cgraph jobs` and `cgraph stop`",
    )
    build.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)


def add_parsers(commands: Any) -> None:
    """Add the commands to those of the command line."""
    jobs = commands.add_parser(
        "jobs",
        help="list builds: running, stopped, failed, interrupted and finished ones",
        description="List the builds in study folders, and in folders of studies.",
    )
    jobs.add_argument(
        "folders",
        nargs="*",
        type=study_path,
        metavar="FOLDER",
        help="where to look; those of the app if left out",
    )
    jobs.add_argument("--log", action="store_true", help="with the last lines of each log")
    jobs.add_argument("--json", action="store_true", help="as one JSON list")
    jobs.set_defaults(run=_jobs)

    stop = commands.add_parser(
        "stop",
        help="stop a build; what is finished is kept",
        description="Stop a build. Go on with it by `cgraph build --out FOLDER`.",
    )
    stop.add_argument("study", type=study_path, metavar="FOLDER", help="the study folder")
    stop.add_argument(
        "--wait",
        type=float,
        default=build_job.GRACE,
        metavar="SECONDS",
        help="how long it may take to answer before it is killed",
    )
    stop.set_defaults(run=_stop)


class Reporter:
    """Tells how far a build is: on the screen, and in the record and log of its job.

    Parameters
    ----------
    job : JobWriter or None
    detached : bool
        Whether nobody watches the screen.
    """

    def __init__(self, job: job_record.JobWriter | None, *, detached: bool) -> None:
        self._job = job
        self._printer = None if detached else ProgressPrinter()

    def __call__(self, progress: Progress) -> None:
        """Tell of a new state."""
        if self._job is not None:
            self._job(progress)
        if self._printer is not None:
            self._printer(progress)

    def estimate(
        self, options: argparse.Namespace, config: BuildConfig
    ) -> Mapping[str, float] | None:
        """Say what the build will take, and return the seconds of every stage.

        What was estimated by whoever started the job is taken over. A build that is gone on with
        is not estimated again.

        Raises
        ------
        CgraphError
            If the build cannot start, or the disk has no room for it.
        """
        from cgraph.build_estimate import Estimate

        if is_remote(study_path(options.out)):
            return None
        known = build_job.take_estimate(options.out)
        if known is None:
            found = job_status.status(options.out)
            if found is not None and found.stages_done:
                return self.known(options)
            estimate = _estimate(options, config, notes=False)
            known = estimate.to_dict()
            if self._printer is not None:
                print(_text(estimate), file=sys.stderr)
        if self._job is not None:
            self._job.note_estimate(known)
            with suppress(TypeError, KeyError):  # written by another version
                text = _text(Estimate.from_dict(known))
                self._job.log(text.replace("\n", "\n                     "))
        return known.get("stages")

    def known(self, options: argparse.Namespace) -> Mapping[str, float] | None:
        """Return the seconds of every stage as they were estimated when the build began."""
        found = job_status.status(options.out)
        stages = found.estimate.get("stages") if found is not None else None
        if not isinstance(stages, dict):
            return None
        return {
            stage: float(s) for stage, s in stages.items() if isinstance(s, int | float)
        } or None

    def end(self) -> None:
        """Leave the line that moves."""
        if self._printer is not None:
            self._printer.end()


def run(options: argparse.Namespace, build: Callable[[argparse.Namespace, Reporter], int]) -> int:
    """Run ``cgraph build`` as its options say: only estimated, in the background, or here.

    Parameters
    ----------
    options : argparse.Namespace
    build : callable
        Builds, and returns the exit code.
    """
    if options.json and not options.estimate:
        raise ConfigError("--json goes with --estimate. For a finished study: cgraph info --json.")
    options = _as_begun(options)
    if options.estimate or options.background:
        if is_remote(study_path(options.out)):
            raise ConfigError(
                f"--out is {options.out}, and only a build into a folder of this machine can be "
                "estimated or run in the background. Leave --estimate and --background away."
            )
        return _before(options)
    if is_remote(study_path(options.out)):
        # A job is a process of one machine, and its record lies on the disk of that one.
        return build(options, Reporter(None, detached=options.detached))
    settings = _settings(options)
    with job_record.recorded(Path(settings["out"]), settings, quiet=options.detached) as job:
        return build(options, Reporter(job, detached=options.detached))


def _as_begun(options: argparse.Namespace) -> argparse.Namespace:
    """Return options with what a build was started with that ended before its study began.

    Nothing but the record of the job knows the model and the images then.
    """
    out = study_path(options.out)
    given = {name: value for name, value in vars(options).items() if value not in (None, False)}
    if is_remote(out) or not given.keys() <= {"run", "command", "out", *_WHERE, *_NOT_SETTINGS}:
        return options
    settings = (job_status.record_of(out) or {}).get("settings")
    if (out / MANIFEST).is_file() or not isinstance(settings, dict):
        return options
    if not {"model", "images"} <= settings.keys():
        return options
    kept = {
        name: value
        for name, value in settings.items()
        if name not in given and not (name in _WHERE and given.keys() & set(_WHERE))
    }
    return argparse.Namespace(**{**vars(options), **kept})


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is built, with paths that are true in any working directory."""
    values = {name: v for name, v in vars(options).items() if name not in _NOT_SETTINGS}
    for name, value in values.items():
        # What is no path of this machine, such as the id of a model on the Hub, stays as it is.
        if isinstance(value, str | Path):
            is_path = name == "out" or (name in build_job.PLACES and Path(value).exists())
            values[name] = str(Path(value).absolute() if is_path else value)
    return values


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a study that options give, by name; None for those left out."""
    return {name: getattr(options, name) for name in _SETTINGS}


def check_workers(workers: int | None, cluster: str | None = None) -> None:
    """Refuse a number of worker processes below one, and one beside a cluster.

    Raises
    ------
    ConfigError
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}: it must be at least 1.")
    if workers is not None and cluster is not None:
        raise ConfigError(
            "--workers is the number of processes on this machine, and --cluster names other "
            "workers to run on. Give one of them."
        )


def check_nothing_is_set(options: argparse.Namespace) -> None:
    """Refuse what a build that is gone on with would pass over: its settings are kept.

    Raises
    ------
    ConfigError
    """
    given = any(value is not None for value in given_settings(options).values())
    if options.preset or options.revision or given or options.dictionary is not None:
        raise ConfigError(
            "--model and --images are missing. Leave all settings away to go on with the "
            "study in --out, or give both for a new one."
        )


def config_of(options: argparse.Namespace) -> BuildConfig:
    """Return the settings of a study: a preset's, and what options give."""
    given = given_settings(options)
    if options.dictionary is not None:
        given["max_nnz"] = None  # the files may say it
    return preset(options.preset or "default").with_options(**given)


def dictionary_of(options: argparse.Namespace, *, notes: bool = True) -> ForeignDictionary | None:
    """Return the dictionaries made elsewhere that were given, if any.

    Parameters
    ----------
    options : argparse.Namespace
    notes : bool
        Whether to print what the files leave open and how it is taken.

    Raises
    ------
    ConfigError
        If other options contradict them.
    """
    if options.dictionary is None:
        return None
    from cgraph.foreign_dictionary import ForeignDictionary

    for name in ("method", "encoder", "n_atoms"):
        if getattr(options, name) is not None:
            raise ConfigError(
                f"--dictionary and --{name.replace('_', '-')} contradict each other: nothing is "
                "learned, and the files say the rest. Leave one of them out."
            )
    if options.max_nnz is not None and options.max_nnz < 1:
        raise ConfigError(f"--max-nnz is {options.max_nnz}: it must be at least 1.")
    return ForeignDictionary(
        options.dictionary,
        options.max_nnz,
        lambda note: print(note, file=sys.stderr) if notes else None,
    )


def _estimate(options: argparse.Namespace, config: BuildConfig, *, notes: bool = True) -> Estimate:
    from cgraph.build_estimate import estimate

    found = estimate(
        options.model,
        options.images,
        options.out,
        config,
        workers=options.workers,
        revision=options.revision,
        dictionary=dictionary_of(options, notes=notes),
    )
    found.check_disk(Path(options.out))
    return found


def _text(estimate: Estimate) -> str:
    return "\n".join([*estimate.lines(), *estimate.warnings])


def _before(options: argparse.Namespace) -> int:
    """Estimate a build, and start it in the background if that is asked for."""
    check_workers(options.workers, options.cluster)
    is_new = options.model is not None or options.images is not None
    estimate = None
    if not (is_new or options.estimate):
        check_nothing_is_set(options)
    if is_new or options.estimate:
        for name in ("model", "images"):
            if getattr(options, name) is None:
                raise ConfigError(f"--{name} is missing: a new study needs a model and images.")
        estimate = _estimate(options, config_of(options))
        if options.estimate and options.json:
            print(json.dumps(estimate.to_dict(), indent=1, allow_nan=False))
        else:
            where = sys.stdout if options.estimate else sys.stderr
            print(_text(estimate), file=where)
    if not options.background:
        return 0
    settings = _settings(options)
    if estimate is None:
        job = build_job.resume(settings["out"], workers=options.workers, cluster=options.cluster)
    else:
        job = build_job.start(settings, estimate=estimate.to_dict())
    if job.state == job_record.FAILED:
        raise StudyError(job.error or "The build failed.")
    print(
        f"The build of {job.folder} runs in the background (process {job.pid}).\n"
        f"`cgraph jobs {job.folder}` shows how far it is, `cgraph stop {job.folder}` stops it, "
        f"and its log is {job.folder / job_record.LOG}."
    )
    return 0


def _jobs(options: argparse.Namespace) -> int:
    folders = options.folders or job_status.search_folders()
    for folder in options.folders:
        if not folder.is_dir():
            raise StudyError(f"There is no folder {folder}. Give a study, or a folder of studies.")
    found = job_status.list_jobs(folders)
    if options.json:
        print(json.dumps([as_json(job) for job in found], indent=1, allow_nan=False))
        return 0
    if not found:
        print(f"No builds were found in {', '.join(map(str, folders))}.")
    for job in found:
        print(f"{job.folder}: {sentence(job)}")
        if options.log:
            print("".join(f"    {line}\n" for line in job_status.log_tail(job.folder).splitlines()))
    return 0


def as_json(job: job_status.JobStatus) -> dict[str, Any]:
    """Return a job as plain JSON values."""
    values = dataclasses.asdict(job)
    return values | {"folder": str(job.folder), "stages_done": list(job.stages_done)}


def sentence(job: job_status.JobStatus) -> str:
    """Return in a few words how a build stands."""
    if job.is_active:
        told = "getting ready"
        if job.progress is not None:
            left = job.seconds_left
            now = (
                job.progress
                if left is None
                else dataclasses.replace(job.progress, build_seconds_left=left)
            )
            told = str(now)
        return f"{job.state} (process {job.pid}), {told}"
    took = (
        f" after {duration(job.ended - job.started)}"
        if job.started is not None and job.ended is not None
        else ""
    )
    if job.state == job_record.FAILED:
        return f"failed{took}: {job.error or 'it did not say why.'}"
    if job.can_resume:
        return f"{job.state}{took}; `cgraph build --out {job.folder}` goes on"
    return f"{job.state}{took}"


def _stop(options: argparse.Namespace) -> int:
    if is_remote(options.study):
        raise ConfigError(
            f"{options.study} lies in an object store, and a build into one keeps no record here. "
            "Stop it where it was started, with Ctrl-C: finished work is kept."
        )
    job = build_job.stop(options.study, grace=max(0.0, options.wait))
    if job.state == job_record.FINISHED:
        print(f"The build of {job.folder} had just finished.")
    else:
        print(
            f"The build of {job.folder} was stopped. Finished work is kept; "
            f"`cgraph build --out {job.folder}` goes on with it."
        )
    return 0
