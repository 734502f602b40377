"""How far a build is: a record that is printed, and kept in a file that any page can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cgraph.store import to_json, write_bytes

_PRIOR_SECONDS = 10.0  # what the estimate weighs against the time that was measured
_PRIOR_PARTS = 2.0


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
    build_seconds_left : float or None
        Time that the rest of the build will take: what was expected of each stage, corrected by
        how long the stages took that are done. None where nothing is expected.
    build_seconds : float
        Time spent in the build in this run.
    """

    stage: str
    stage_number: int
    n_stages: int
    done: int
    total: int
    seconds: float
    seconds_left: float | None
    build_seconds_left: float | None = None
    build_seconds: float = 0.0

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        if self.build_seconds_left is not None:
            left = f", {duration(self.build_seconds_left)} left in all"
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
        self._expected: dict[str, float] = {}
        self._begun = time.monotonic()
        self._stage_began = self._begun
        self._spent = self._spent_expected = 0.0  # by stages that are done; what they should have
        self._stage: str | None = None
        self._share = 1.0  # of the stage, to be done in this run

    def expect(self, expected: Mapping[str, float]) -> None:
        """Say how many seconds each stage that is still to be done should take."""
        self._expected = dict(expected)

    def start(self, stage: str, *, total: int, done: int) -> None:
        """Enter a stage, of which some parts may be done already."""
        now = time.monotonic()
        if stage != self._stage:
            if self._stage in self._expected:
                self._spent += now - self._stage_began
                self._spent_expected += self._expected[self._stage] * self._share
            self._stage_began = now
            self._share = 1 - done / max(1, total)
        self._stage, self._total, self._done = stage, total, done
        self._done_before, self._started = done, now
        self._publish()

    def advance(self) -> None:
        """Count one more part of the stage."""
        self._done += 1
        self._publish()

    def clear(self) -> None:
        """Remove the file: the build is over."""
        self._path.unlink(missing_ok=True)

    def _publish(self) -> None:
        assert self._stage is not None
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
            self._build_left(seconds, done_now),
            round(time.monotonic() - self._begun, 1),
        )
        write_bytes(self._path, to_json(asdict(progress)))
        if self._on_progress is not None:
            self._on_progress(progress)

    def _build_left(self, seconds: float, done_now: int) -> float | None:
        """Return the seconds that are left of the stage and of those after it."""
        if self._stage not in self._expected:
            return None
        # A build that took three times as long so far will go on so; a few seconds prove little.
        spent, spent_expected = self._spent, self._spent_expected
        if done_now:
            spent += seconds
            spent_expected += self._expected[self._stage] * done_now / max(1, self._total)
        pace = (spent + _PRIOR_SECONDS) / (spent_expected + _PRIOR_SECONDS)
        rest = (self._total - self._done) / max(1, self._total)
        own = self._expected[self._stage] * pace * rest
        if done_now:
            # Parts at work together end together: the first ones to end say little of the pace.
            measured = seconds / done_now * (self._total - self._done)
            weight = done_now / (done_now + _PRIOR_PARTS)
            own = weight * measured + (1 - weight) * own
        place = self._stages.index(self._stage)
        later = sum(self._expected.get(stage, 0.0) for stage in self._stages[place + 1 :])
        return round(own + pace * later, 1)
