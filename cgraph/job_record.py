"""What a build writes about itself: its process, its settings, how it ended, and its log.

``cgraph build`` does so whether it runs in a terminal or was started from a page;
`cgraph.build_job` reads it.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cgraph import processes
from cgraph.errors import CgraphError, StudyError
from cgraph.manifest import MANIFEST
from cgraph.progress import Progress, duration
from cgraph.store import folder_lock, read_json, to_json, write_bytes

JOB = ".job"
"""Folder of a job within the study folder; hidden, so that it is no part of the study."""

RECORD = f"{JOB}/job.json"
LOG = f"{JOB}/build.log"

RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"

_LOG_EVERY = 30.0  # seconds between two lines about the parts of one stage
_LONGEST_SENTENCE = 2000


def command_text(settings: Mapping[str, Any]) -> str:
    """Return the command that builds with these settings, as somebody would type it."""
    return shlex.join(["cgraph", "build", *arguments_of(settings)])


def arguments_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the options of ``cgraph build``; lists and switches as argparse reads them."""
    arguments: list[str] = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments += [option, str(value)]
    return arguments


class JobWriter:
    """Keeps the record and the log of a build that is running in this process.

    Parameters
    ----------
    folder : Path
        The study folder.
    settings : mapping
        Options of the command, to start it again with.
    quiet : bool
        Whether this process's output goes into the log anyway, so that errors need no line.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, quiet: bool = False) -> None:
        self._folder, self._quiet = folder, quiet
        self._last_line, self._last_stage = 0.0, ""
        self._values: dict[str, Any] = {
            "state": RUNNING,
            "pid": os.getpid(),
            "birth": processes.birth_of(os.getpid()),
            "host": socket.gethostname(),
            "settings": _with_earlier(folder, settings),
            "started": time.time(),
            "ended": None,
            "error": None,
            "estimate": _earlier_estimate(folder),
        }
        self._write()
        self.log(f"started: {command_text(settings)}")

    def note_estimate(self, estimate: Mapping[str, Any]) -> None:
        """Keep what is expected of the build."""
        self._values["estimate"] = dict(estimate)
        self._write()

    def __call__(self, progress: Progress) -> None:
        """Log how far the build is: every stage, and its parts from time to time."""
        now, new = time.monotonic(), progress.stage != self._last_stage
        if new or progress.done == progress.total or now - self._last_line >= _LOG_EVERY:
            self._last_line, self._last_stage = now, progress.stage
            self.log(str(progress))

    def finish(self, state: str, error: str | None = None) -> None:
        """Write how the build ended."""
        seconds = time.time() - self._values["started"]
        self._values |= {"state": state, "ended": time.time(), "error": error}
        self._write()
        ending = f"{state} after {duration(seconds)}"
        self.log(ending if error is None or self._quiet else f"{ending}: {error}")

    def log(self, text: str) -> None:
        """Add a line to the log; one that cannot be written costs no build."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError), open(self._folder / LOG, "a", encoding="utf-8") as file:
            file.write(f"{stamp}  {text}\n")

    def _write(self) -> None:
        write_bytes(self._folder / RECORD, to_json(self._values))


def _earlier_estimate(folder: Path) -> Any:
    """Return what was expected when the build was started that is gone on with now."""
    try:
        return read_json(folder / RECORD)["estimate"]
    except (StudyError, KeyError, TypeError):
        return {}


def _with_earlier(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of the build that is gone on with by its folder alone.

    Where it runs is said anew each time.
    """
    if settings.get("model") is not None:
        return dict(settings)
    try:
        earlier = dict(read_json(folder / RECORD)["settings"])
    except (StudyError, KeyError, TypeError, ValueError):
        earlier = {}
    kept = {name: v for name, v in earlier.items() if name not in ("workers", "cluster")}
    return kept | {name: value for name, value in settings.items() if value is not None}


@contextmanager
def recorded(
    folder: Path, settings: Mapping[str, Any], *, quiet: bool = False
) -> Iterator[JobWriter | None]:
    """Write down that this process builds a study, and how it ends.

    Parameters
    ----------
    folder : Path
    settings : mapping
        As for `JobWriter`.
    quiet : bool
        As for `JobWriter`.

    Yields
    ------
    JobWriter or None
        ``None`` for a folder that holds something else: nothing is written into it, and the build
        refuses it.

    Raises
    ------
    StudyError
        If another build works on the folder.
    """
    if _is_foreign(folder, settings):
        yield None
        return
    with _only_job(folder):
        job = JobWriter(folder, settings, quiet=quiet)
        try:
            yield job
        except KeyboardInterrupt:
            job.finish(STOPPED)
            raise
        except CgraphError as error:
            job.finish(FAILED, _cut(str(error)))
            raise
        except MemoryError:
            job.finish(
                FAILED, "Memory ran out. Finished work is kept: go on with one worker, or build a "
                "study of fewer images or concepts."
            )  # fmt: skip
            raise
        except BaseException as error:
            job.finish(
                FAILED,
                _cut(f"cgraph met an error of its own ({type(error).__name__}: {error}). The log "
                "has the details; finished work is kept."),
            )  # fmt: skip
            raise
        job.finish(FINISHED)


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]} …"


def _is_foreign(folder: Path, settings: Mapping[str, Any]) -> bool:
    if (folder / MANIFEST).is_file() or (folder / RECORD).is_file() or not folder.is_dir():
        return folder.exists() and not folder.is_dir()
    inputs = {str(settings.get(name)) for name in ("model", "images")}
    return any(
        not path.name.startswith(".") and str(path) not in inputs for path in folder.iterdir()
    )


@contextmanager
def _only_job(folder: Path) -> Iterator[None]:
    """Hold the job of a folder; the system frees it when this process ends, however it ends."""
    entered = False
    try:
        with folder_lock(folder / JOB, wait=1.0):  # a look at the lock takes no longer
            entered = True
            yield
    except StudyError as error:
        if entered or not str(error).startswith("Another build"):
            raise
        raise StudyError(
            f"Another build is working on {folder}. Wait for it, stop it with "
            f"`cgraph stop {folder}`, or choose another folder."
        ) from None
