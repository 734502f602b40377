"""Builds of the tiny model that tests start as jobs, and what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cgraph import job_status
from cgraph.job_status import JobStatus

QUICK: dict[str, Any] = {
    "method": "ksvd", "n_atoms": 16, "max_nnz": 4, "max_images": 240, "workers": 1,
}  # fmt: skip
"""Settings of a build that takes seconds."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a study by its path, without what may differ between two runs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in ("build.json", ".lock")
        and ".job" not in path.relative_to(folder).parts
    }


def wait_for(folder: Path, reached: Callable[[JobStatus], bool], seconds: float = 120) -> JobStatus:
    """Wait until a job is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        job = job_status.status(folder)
        if job is not None and reached(job):
            return job
        if time.monotonic() > deadline:
            log = job_status.log_tail(folder)
            raise AssertionError(f"The job did not get there: {job}\n{log}")
        time.sleep(0.02)


def finished(folder: Path, seconds: float = 120) -> JobStatus:
    """Wait until a job has ended; it must have finished."""
    job = wait_for(folder, lambda job: not job.is_active, seconds)
    assert job.state == "finished", (job, job_status.log_tail(folder))
    return job
