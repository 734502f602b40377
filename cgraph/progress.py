"""How far a build is: a record that is printed, and kept in a file that any page can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cgraph.store import to_json, write_bytes


@dataclass(frozen=True)
class Progress:
    """State of a build.

    Attributes
    ----------
    stage : str
    stage_number, n_stages : int
        Place of the stage, from 1.
    done, total : int
        Parts of the stage.
    seconds : float
        Time spent in the stage in this run.
    seconds_left : float or None
        Time that the rest of the stage will take at the pace so far; None before the first part.
    """

    stage: str
    stage_number: int
    n_stages: int
    done: int
    total: int
    seconds: float
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return (
            f"[{self.stage_number}/{self.n_stages}] {self.stage}: {self.done} of {self.total} "
            f"parts{left}"
        )


def duration(seconds: float) -> str:
    """Return a time span as people say it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class ProgressWriter:
    """Keeps the progress file of a build up to date.

    Parameters
    ----------
    path : Path
    stages : sequence of str
        All stages in order.
    on_progress : callable or None
        Called with every new state.
    """

    def __init__(
        self,
        path: Path,
        stages: Sequence[str],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._path = path
        self._stages = list(stages)
        self._on_progress = on_progress

    def start(self, stage: str, *, total: int, done: int) -> None:
        """Enter a stage, of which some parts may be done already."""
        self._stage, self._total, self._done = stage, total, done
        self._done_before, self._started = done, time.monotonic()
        self._publish()

    def advance(self) -> None:
        """Count one more part of the stage."""
        self._done += 1
        self._publish()

    def clear(self) -> None:
        """Remove the file: the build is over."""
        self._path.unlink(missing_ok=True)

    def _publish(self) -> None:
        seconds = time.monotonic() - self._started
        done_now = self._done - self._done_before
        left = seconds / done_now * (self._total - self._done) if done_now else None
        progress = Progress(
            self._stage,
            self._stages.index(self._stage) + 1,
            len(self._stages),
            self._done,
            self._total,
            round(seconds, 1),
            None if left is None else round(left, 1),
        )
        write_bytes(self._path, to_json(asdict(progress)))
        if self._on_progress is not None:
            self._on_progress(progress)
