"""Drawing and training on several processes, reported and resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from queue import Queue
from threading import Barrier
from typing import Any

from cgraph.demo.scene_pool import draw_part
from cgraph.demo.training import N_SHARDS, TrainingConfig, train
from cgraph.executors import local_executor

Report = Callable[[int, int, str], None]
"""Called with how many of how many pieces of work are done, and a remark."""


def draw_pool(pool: Path, config: TrainingConfig, workers: int, report: Report) -> None:
    """Draw the scenes to learn from, but for those that are there."""
    pool.mkdir(parents=True, exist_ok=True)
    calls = [(pool, config.pool_seed, part, config.lesson) for part in range(config.n_parts)]
    report(0, config.n_parts, "")
    for done, _ in enumerate(local_executor(workers).run(draw_part, calls), start=1):
        report(done, config.n_parts, "")


class _Exchange(BaseManager):
    """Serves what the processes of a training share: where they meet, and what they report."""


_Exchange.register("meeting", Barrier, exposed=("wait",))
_Exchange.register("reports", Queue, exposed=("put", "get"))


def train_model(
    folder: Path, pool: Path, config: TrainingConfig, workers: int, report: Report
) -> None:
    """Train from the last checkpoint to the end.

    The weights are the same for any number of workers; more than `N_SHARDS` are not used.

    Raises
    ------
    WorkerLost
        If a worker was killed. The checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def reported(done: int, losses: dict[str, float]) -> None:
        remark = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        report(done, config.steps, remark)

    every = tuple(range(N_SHARDS))
    if workers == 1:
        for _ in local_executor(1).run(train, [(folder, pool, config, every, None, reported)]):
            pass
        return
    with _Exchange(ctx=get_context("spawn")) as shared:
        meeting = shared.meeting(N_SHARDS)  # type: ignore[attr-defined]
        reports = shared.reports()  # type: ignore[attr-defined]
        listener = threading.Thread(target=_listen, args=(reports, reported))
        listener.start()
        calls = [
            (folder, pool, config, (shard,), meeting, _Sender(reports) if shard == 0 else None)
            for shard in every
        ]
        try:
            for _ in local_executor(N_SHARDS).run(train, calls):
                pass
        finally:
            reports.put(None)
            listener.join()


class _Sender:
    """Sends reports to the process that asked for the training."""

    def __init__(self, reports: Any) -> None:
        self._reports = reports

    def __call__(self, done: int, losses: dict[str, float]) -> None:
        self._reports.put((done, losses))


def _listen(reports: Any, reported: Callable[[int, dict[str, float]], None]) -> None:
    while (message := reports.get()) is not None:
        reported(*message)
