"""What is known of builds, read from their folders: how each one stands, and its log.

All of it lies in the study folder, under ``.job`` (`cgraph.job_record` writes it). So a page or
another terminal finds every build, and still finds it after a reload, a restart of the server or of
the machine.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgraph import processes
from cgraph.errors import StudyError
from cgraph.job_record import FAILED, FINISHED, JOB, LOG, RECORD, RUNNING, STOPPED
from cgraph.manifest import BUILD_RECORD, MANIFEST, PROGRESS, STAGES
from cgraph.object_paths import is_remote, study_path
from cgraph.progress import Progress
from cgraph.store import folder_lock, read_json

STOPPING, INTERRUPTED = "stopping", "interrupted"
ACTIVE = (RUNNING, STOPPING)
"""States of a job whose process is at work."""

STUDIES_VARIABLE = "CGRAPH_STUDIES"
"""Environment variable with the folders in which studies are looked for first, as in ``PATH``."""

DEFAULT_FOLDERS = ("studies", "data")
"""Folders of the working directory that are looked in afterwards."""


@dataclass(frozen=True)
class JobStatus:
    """What is known of the build of a study folder.

    Attributes
    ----------
    folder : Path
        The study folder.
    state : str
        ``running``; ``stopping``, asked to stop and still at work; ``stopped`` by hand; ``failed``
        with `error`; ``interrupted``, its process is gone without a word (killed, or the machine
        went down); ``finished``.
    settings : dict
        Options of ``cgraph build`` by name, such as ``model`` and ``max_images``; empty for a
        study that was built from Python.
    started, ended : float or None
        Seconds since 1970.
    error : str or None
        The sentence with which it failed.
    progress : Progress or None
        The last that it told.
    stages_done : tuple of str
    pid : int or None
    birth : str or None
        See `processes.birth_of`.
    estimate : dict
        What was expected of it before it started.
    told : float or None
        When it last told its progress, in seconds since 1970.
    """

    folder: Path
    state: str
    settings: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    error: str | None = None
    progress: Progress | None = None
    stages_done: tuple[str, ...] = ()
    pid: int | None = None
    birth: str | None = None
    estimate: dict[str, Any] = field(default_factory=dict)
    told: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Time that a build at work will still take in all, less what passed since it told."""
        told = self.progress.build_seconds_left if self.progress else None
        if told is None or self.told is None or not self.is_active:
            return None
        return max(0.0, told - (time.time() - self.told))

    @property
    def seconds_spent(self) -> float:
        """Time since this run of it started, or that it took."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.ended or time.time()) - self.started)

    @property
    def share_done(self) -> float:
        """How much of the work is done, from 0 to 1, weighed by the time that stages take."""
        if self.state == FINISHED:
            return 1.0
        weights = {stage: 1.0 for stage in STAGES}
        expected = self.estimate.get("stages")
        if isinstance(expected, dict):
            weights |= {s: float(v) for s, v in expected.items() if isinstance(v, int | float)}
        done = sum(weights[stage] for stage in self.stages_done)
        now = self.progress
        if now is not None and now.stage in weights and now.stage not in self.stages_done:
            part = weights[now.stage] / max(1, now.total)
            # Of a part that is being made, what passed since the last one was finished.
            passed = time.time() - self.told if self.told is not None and self.is_active else 0.0
            done += part * now.done + min(passed, 0.9 * part * (now.done < now.total))
        return min(0.99, done / max(1e-9, sum(weights.values())))

    @property
    def is_active(self) -> bool:
        """Whether its process is at work."""
        return self.state in ACTIVE

    @property
    def can_resume(self) -> bool:
        """Whether it can be gone on with."""
        return self.state in (STOPPED, FAILED, INTERRUPTED)

    def memory_mb(self) -> float | None:
        """Return the memory that it holds now, in MB; None if it is not at work here."""
        return processes.memory_mb(self.pid) if self.is_active and self.pid else None


def status(folder: str | Path) -> JobStatus | None:
    """Return what is known of the build of a study folder.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    JobStatus or None
        ``None`` if the folder holds neither a job nor a study.
    """
    folder = Path(folder).absolute()
    values = record_of(folder)
    done = _stages_done(folder)
    if values is None and done is None:
        return None
    values = values or {}
    found = JobStatus(
        folder=folder,
        state=_state(folder, values, done),
        settings=_dict(values.get("settings")),
        started=_number(values.get("started")),
        ended=_number(values.get("ended")),
        error=values["error"] if isinstance(values.get("error"), str) else None,
        progress=_progress(folder),
        stages_done=done or (),
        pid=values["pid"] if type(values.get("pid")) is int else None,
        birth=values["birth"] if isinstance(values.get("birth"), str) else None,
        estimate=_dict(values.get("estimate")),
        told=_written(folder / PROGRESS),
    )
    return found if found.state == FAILED else dataclasses.replace(found, error=None)


def _state(folder: Path, values: Mapping[str, Any], done: tuple[str, ...] | None) -> str:
    state = values.get("state")
    is_finished = done is not None and set(STAGES) <= set(done)
    if state == RUNNING:
        if _runs(folder, values):
            return STOPPING if values.get("stop_asked") else RUNNING
        # Killed between its last stage and its last word, all is there.
        return FINISHED if is_finished and not (folder / PROGRESS).exists() else INTERRUPTED
    if state in (STOPPED, FAILED) and not is_finished:
        return str(state)
    return FINISHED if is_finished else INTERRUPTED


def _runs(folder: Path, values: Mapping[str, Any]) -> bool:
    pid, birth = values.get("pid"), values.get("birth")
    here = values.get("host") == socket.gethostname()
    if here and type(pid) is int and isinstance(birth, str):
        return processes.is_alive(pid, birth)
    # Where the system does not tell processes apart, or on a folder that machines share, the lock.
    try:
        with folder_lock(folder / JOB):
            return False
    except StudyError:
        return True


def record_of(folder: Path) -> dict[str, Any] | None:
    """Return what a build wrote about itself, or None if there is nothing that can be read."""
    try:
        values = read_json(folder / RECORD)
    except StudyError:
        return None
    return values if isinstance(values, dict) else None


def _stages_done(folder: Path) -> tuple[str, ...] | None:
    """Return the finished stages of a study, or None if the folder holds none."""
    try:
        values = read_json(folder / MANIFEST)
        return tuple(stage for stage in STAGES if stage in values["stages"])
    except (StudyError, KeyError, TypeError):
        return None


def _progress(folder: Path) -> Progress | None:
    try:
        return Progress(**read_json(folder / PROGRESS))
    except (StudyError, TypeError):
        return None


def _written(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def search_folders() -> tuple[Path, ...]:
    """Return the folders in which studies are looked for, first to last."""
    # The sign between two folders of PATH also stands in every URL, before two slashes.
    listed = re.split(rf"{re.escape(os.pathsep)}(?!//)", os.environ.get(STUDIES_VARIABLE, ""))
    named = (*listed, *DEFAULT_FOLDERS)
    return tuple(study_path(folder).expanduser() for folder in named if folder)


def list_jobs(folders: Iterable[str | Path]) -> list[JobStatus]:
    """Return the jobs of study folders and of folders of studies, the newest first.

    Finished studies whose build left no record, such as one that came from elsewhere, are no jobs.

    Parameters
    ----------
    folders : iterable of str or Path
    """
    found: dict[Path, JobStatus] = {}
    for root in map(study_path, folders):
        if is_remote(root):
            continue  # a build into an object store keeps no record: its process may be anywhere
        for folder in (root, *_inside(root)):
            if not ((folder / RECORD).is_file() or (folder / MANIFEST).is_file()):
                continue
            known = status(folder)
            if known is not None and (known.state != FINISHED or known.started is not None):
                found.setdefault(folder.resolve(), known)
    return sorted(found.values(), key=lambda job: (-(job.started or 0.0), str(job.folder)))


def _inside(root: Path) -> list[Path]:
    try:
        return sorted(folder for folder in root.iterdir() if folder.is_dir())
    except OSError:
        return []


def stage_times(folder: str | Path) -> dict[str, float]:
    """Return the seconds that each finished stage took, in the run that finished it."""
    try:
        stages = read_json(Path(folder) / BUILD_RECORD)["stages"]
        return {str(entry["stage"]): float(entry["seconds"]) for entry in stages}
    except (StudyError, KeyError, TypeError, ValueError):
        return {}


def log_tail(folder: str | Path, lines: int = 40) -> str:
    """Return the last lines of a job's log; an empty text if there is none."""
    try:
        with open(Path(folder) / LOG, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 400 * lines))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def stage_states(job: JobStatus, stages: Sequence[str] = STAGES) -> list[tuple[str, str]]:
    """Return every stage with ``done``, ``now`` or ``later``."""
    now = job.progress.stage if job.progress else None
    return [
        (
            stage,
            "now" if stage == now and job.state != FINISHED
            else "done" if stage in job.stages_done else "later",
        )
        for stage in stages
    ]  # fmt: skip
