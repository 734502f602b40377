"""A build as a job: started as a process of its own, stopped and gone on with.

The process is ``cgraph build``, as somebody would type it; it outlives the one that starts it, and
`cgraph.job_status` finds it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cgraph import processes
from cgraph.errors import CgraphError, ConfigError, StudyError
from cgraph.job_record import FINISHED, JOB, LOG, RECORD, RUNNING, STOPPED, arguments_of
from cgraph.job_status import JobStatus, log_tail, record_of, status
from cgraph.manifest import BUILD_RECORD, MANIFEST
from cgraph.progress import duration
from cgraph.store import read_json, to_json, write_bytes

GRACE = 15.0
"""Seconds that a build has to answer when it is asked to stop, before it is killed."""

PLACES = ("model", "images", "dictionary")
"""Options of ``cgraph build`` that may be paths."""

_ESTIMATE = f"{JOB}/estimate.json"
_START_WITHIN = 30.0


def start(settings: Mapping[str, Any], *, estimate: Mapping[str, Any] | None = None) -> JobStatus:
    """Start a build as a process of its own, which outlives the one that calls.

    Parameters
    ----------
    settings : mapping
        Options of ``cgraph build`` by their names with underscores: ``out``, and ``model`` and
        ``images`` for a new study, ``preset``, ``n_atoms`` and so on; None leaves one away.
    estimate : mapping, optional
        What the build should take, so that it is not measured again.

    Returns
    -------
    JobStatus
        Once the process is known to be at work, or has ended already.

    Raises
    ------
    StudyError
        If another build works on the folder, or the process cannot be started.
    """
    if not settings.get("out"):
        raise ConfigError("A build needs the folder of its study: out is missing.")
    folder = Path(settings["out"]).absolute()
    settings = {**settings, "out": str(folder)}
    known = status(folder)
    if known is not None and known.is_active:
        raise StudyError(
            f"Another build is working on {folder}. Wait for it, stop it, or choose another folder."
        )
    before = record_of(folder) or {}
    try:
        (folder / JOB).mkdir(parents=True, exist_ok=True)
        (folder / _ESTIMATE).unlink(missing_ok=True)
        if estimate is not None:
            write_bytes(folder / _ESTIMATE, to_json(dict(estimate)))
        log = open(folder / LOG, "ab")  # noqa: SIM115  # the next lines close it
    except OSError as error:
        raise StudyError(
            f"{folder} cannot be used ({error.strerror or error}). Choose one you may write to."
        ) from None
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cgraph.cli", "build", "--detached", *arguments_of(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that no zombie is left
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        values = record_of(folder) or {}
        if values.get("pid") == process.pid and values != before:
            break
        if process.poll() is not None:
            # It may have said why in its record, just before it ended.
            values = record_of(folder) or {}
            if values.get("pid") != process.pid or values == before:
                raise StudyError(
                    f"The build of {folder} could not be started: {_last_words(folder)}"
                )
            break
        time.sleep(0.05)
    else:
        raise StudyError(
            f"The build of {folder} did not start within {duration(_START_WITHIN)}: "
            f"{_last_words(folder)}"
        )
    found = status(folder)
    assert found is not None
    return found


def take_estimate(folder: str | Path) -> dict[str, Any] | None:
    """Return what whoever started this build expects of it, once; None if nothing was left."""
    path = Path(folder) / _ESTIMATE
    try:
        values = read_json(path)
    except StudyError:
        return None
    path.unlink(missing_ok=True)
    return values if isinstance(values, dict) and values else None


def environment() -> dict[str, str]:
    """Return the environment of a build: it finds the same cgraph, from any working directory."""
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _last_words(folder: Path) -> str:
    lines = [line for line in log_tail(folder, 5).splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing."


def resume(
    folder: str | Path, *, workers: int | None = None, cluster: str | None = None
) -> JobStatus:
    """Go on with a build that was stopped, failed or interrupted, in the background.

    Parameters
    ----------
    folder : str or Path
    workers : int, optional
        Processes of this machine.
    cluster : str, optional
        Address of a cluster to run on in their place. If both are left out, it runs where it did.

    Raises
    ------
    StudyError
        If there is nothing to go on with, or another build works on the folder.
    """
    folder = Path(folder).absolute()
    known = status(folder)
    if known is None:
        raise StudyError(f"{folder} holds no build to go on with. Give the folder of a study.")
    if known.state == FINISHED:
        raise StudyError(f"The study in {folder} is finished: there is nothing to go on with.")
    settings: dict[str, Any] = {**known.settings, "out": str(folder)}
    if workers is not None or cluster is not None:
        settings |= {"workers": workers, "cluster": cluster}
    if _knows_its_sources(folder):
        # Better than the record: where things lie if they were moved with the study, and with
        # which commit on the Hub it began.
        settings = {name: settings.get(name) for name in ("out", "workers", "cluster")}
    return start(settings)


def _knows_its_sources(folder: Path) -> bool:
    try:
        sources = read_json(folder / BUILD_RECORD)["sources"]
        return (folder / MANIFEST).is_file() and {"model", "images"} <= sources.keys()
    except (StudyError, KeyError, TypeError, AttributeError):
        return False


def ask_to_stop(folder: str | Path) -> JobStatus:
    """Note that a build is to stop, and return it; `stop` does the rest.

    Raises
    ------
    StudyError
        If no build works on the folder.
    """
    folder = Path(folder).absolute()
    known = status(folder)
    if known is None or not known.is_active or known.pid is None or known.birth is None:
        raise StudyError(f"No build is working on {folder}, so there is nothing to stop.")
    if not processes.is_alive(known.pid, known.birth):
        raise StudyError(
            f"The build of {folder} runs on another machine. Stop it there with `cgraph stop`."
        )
    values = record_of(folder) or {}
    if values.get("state") == RUNNING:
        write_bytes(folder / RECORD, to_json({**values, "stop_asked": time.time()}))
    return known


def stop(folder: str | Path, *, grace: float = GRACE) -> JobStatus:
    """Stop a build and wait for its end. What is finished is kept, and `resume` goes on with it.

    Parameters
    ----------
    folder : str or Path
    grace : float
        Seconds that the build has to answer; then it is killed, which harms no file.

    Returns
    -------
    JobStatus
        Afterwards.

    Raises
    ------
    StudyError
        If no build works on the folder.
    """
    folder = Path(folder).absolute()
    known = ask_to_stop(folder)
    assert known.pid is not None and known.birth is not None
    processes.end(known.pid, known.birth, grace)
    values = record_of(folder) or {}
    if values.get("state") == RUNNING:
        # Killed before it could say so.
        ended = {"state": STOPPED, "ended": time.time()}
        write_bytes(folder / RECORD, to_json({**values, **ended}))
    found = status(folder)
    assert found is not None
    return found


def stop_in_background(folder: str | Path) -> None:
    """Stop a build without waiting for its end; see `stop`.

    Raises
    ------
    StudyError
        If no build works on the folder.
    """
    folder = Path(folder).absolute()
    ask_to_stop(folder)

    def work() -> None:
        with suppress(CgraphError):  # it ended by itself meanwhile
            stop(folder)

    threading.Thread(target=work, name="cgraph-stop").start()
