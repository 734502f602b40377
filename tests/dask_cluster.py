"""A real scheduler and worker processes of Dask on this machine, started and ended by tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 120.0


class Cluster:
    """A scheduler on a free port of the loopback, and workers as processes of one thread."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self._environment = folder, environment
        self.file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen] = {}
        arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        self.scheduler = self._start(["scheduler", *arguments, "--scheduler-file", str(self.file)])
        wait_for(lambda: self.file.exists() and self.file.stat().st_size > 0)
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self, name: str, **environment: str) -> None:
        """Start a worker; one without a nanny, so that a kill is the end of it."""
        arguments = ["--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        own = ["--local-directory", str(self.folder / name), "--memory-limit", "0"]
        self.workers[name] = self._start(["worker", self.address, *arguments, *own], **environment)

    def _start(self, arguments: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | self._environment | environment,
        )

    def kill_worker(self, name: str) -> None:
        process = self.workers.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("nothing happened")
        time.sleep(0.05)
