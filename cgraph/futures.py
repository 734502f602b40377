"""Any executor of `concurrent.futures` as a place for the stages: threads, processes, a cluster.

The executor belongs to the caller and is left open. Tasks are handed over a bounded number ahead,
cancelled when the build stops, and run with one thread each, wherever they run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import Executor as AnyExecutor
from typing import Any

from cgraph.errors import ClusterError
from cgraph.executors import LOOK_AHEAD, WorkerLost, run_bounded, single_thread
from cgraph.shared_folder import Terms, objection

USUAL_WORKERS = 16
"""How many workers an executor is taken to have that does not tell."""

_limited = threading.local()


class FuturesExecutor:
    """Runs tasks on an executor that somebody else opened and will close.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    n_workers : int, optional
        Tasks that it runs at once. Found out, or taken to be `USUAL_WORKERS`, if left out.
    """

    def __init__(self, executor: AnyExecutor, n_workers: int | None = None) -> None:
        self._executor = executor
        self._n_workers = n_workers or getattr(executor, "_max_workers", None) or USUAL_WORKERS
        self._terms: Terms | None = None

    def meet(self, terms: Terms) -> None:
        """Set what workers must have in common, and ask one of them.

        Every other process is asked when it gets its first task.

        Raises
        ------
        ClusterError
            That says what a worker lacks.
        """
        self._terms = terms
        for _ in self.run(_nothing, [()]):
            pass

    def run(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield results as they come; cancel what is left when the caller stops asking.

        Raises
        ------
        WorkerLost
            If the executor broke, most often because a worker was killed.
        """
        pending: dict[Future[Any], int] = {}
        try:
            with single_thread():  # workers may be threads of this process
                yield from run_bounded(
                    lambda call: self._submit(function, call),
                    calls,
                    pending,
                    self._room,
                    self._watch,
                )
        except BrokenExecutor as error:
            raise WorkerLost(
                f"The executor broke ({error}), most often because a worker was killed or memory "
                "ran out. Finished work is kept: run the same command again on a new executor."
            ) from None
        finally:
            for future in pending:
                future.cancel()

    def _submit(self, function: Callable[..., Any], call: tuple[Any, ...]) -> Future[Any]:
        return self._executor.submit(alone, self._terms, function, *call)

    def _room(self) -> int:
        return LOOK_AHEAD * self._n_workers

    def _watch(self) -> None:
        """Raise when the executor will give no more results."""


def alone(terms: Terms | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run one task in one thread, in a process that may; this is what workers are sent.

    Raises
    ------
    ClusterError
        If this process lacks what the build needs.
    """
    refused = objection(terms) if terms is not None else ""
    if refused:
        raise ClusterError(refused)
    if not getattr(_limited, "done", False):
        import torch
        from threadpoolctl import threadpool_limits

        # For good: a worker does nothing else, and its threads do not share these settings.
        torch.set_num_threads(1)
        threadpool_limits(limits=1)
        _limited.done = True
    return function(*arguments)


def _nothing() -> None:
    """Do nothing: the way to a worker is what is tried."""
