"""Where tasks run: in this process, or in several processes of this machine.

An executor takes a module-level function and a list of argument tuples and yields results as they
come, in any order. Tasks write only files of their own and use one thread, so that results do not
depend on how many workers there are. `cgraph.futures` adapts every other executor, a cluster's too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any, Protocol

from cgraph.errors import ClusterError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


LOOK_AHEAD = 4
"""Tasks handed over for each worker: enough that none waits, far from all of a stage's at once."""

_LOOK_SECONDS = 1.0  # between two looks at workers that give no results


class WorkerLost(ClusterError):
    """A worker process ended before its task did."""


class Executor(Protocol):
    """Runs tasks; see the module docstring."""

    def run(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(number of the call, result)`` as calls finish."""
        ...


def run_bounded(
    submit: Callable[[tuple[Any, ...]], Future[Any]],
    calls: Sequence[tuple[Any, ...]],
    pending: dict[Future[Any], int],
    room: Callable[[], int],
    watch: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Any]]:
    """Yield ``(number of the call, result)`` as calls finish, a bounded number ahead.

    Parameters
    ----------
    submit : callable
        Hands a call over.
    calls : sequence of tuple
    pending : dict
        Kept up to date with the futures that are out and the numbers of their calls.
    room : callable
        Returns how many may be out at once.
    watch : callable, optional
        Called while nothing finishes; it raises when nothing will.
    """
    waiting = enumerate(calls)
    while True:
        for number, call in islice(waiting, max(0, room() - len(pending))):
            pending[submit(call)] = number
        if not pending:
            return
        finished, _ = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        if not finished:
            watch()
        for future in finished:
            yield pending.pop(future), future.result()


class SerialExecutor:
    """Runs tasks one after the other in this process."""

    def run(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield results in the order of the calls."""
        with single_thread():
            for number, arguments in enumerate(calls):
                yield number, function(*arguments)


class ProcessExecutor:
    """Runs tasks in several freshly started processes.

    Parameters
    ----------
    n_workers : int
        Number of processes. Each uses one thread.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def run(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield results as they come; stop all workers when the caller stops asking.

        Raises
        ------
        WorkerLost
            If a worker was killed, most often because memory ran out.
        """
        saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        n_workers = min(self.n_workers, max(1, len(calls)))
        pool = ProcessPoolExecutor(
            max_workers=n_workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )
        pending: dict[Future[Any], int] = {}

        def submit(call: tuple[Any, ...]) -> Future[Any]:
            with _signals_held():
                return pool.submit(function, *call)

        try:
            yield from run_bounded(submit, calls, pending, lambda: LOOK_AHEAD * n_workers)
        except BrokenProcessPool:
            raise WorkerLost(
                "A worker process was killed, most often because memory ran out. Finished work is "
                "kept: run the same command again, with --workers 1 to use less memory. (A Python "
                'script needs the line `if __name__ == "__main__":` before it builds.)'
            ) from None
        finally:
            # Killed, not asked: files are whole or absent, and a worker that is only starting
            # would answer a gentler signal with a traceback.
            for worker in list((pool._processes or {}).values()) if pending else []:
                worker.kill()
            pool.shutdown(wait=not pending, cancel_futures=True)
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def _signals_held() -> Iterator[None]:
    """Deliver Ctrl-C and the signal to end only afterwards.

    A pool that is interrupted while it starts its processes cannot be shut down. Workers inherit
    the held signals: their parent hears Ctrl-C and ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def local_executor(n_workers: int) -> Executor:
    """Return the executor for so many workers on this machine."""
    return SerialExecutor() if n_workers == 1 else ProcessExecutor(n_workers)


class single_thread:
    """Context in which BLAS and torch use one thread, so that sums are made in one order."""

    def __enter__(self) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        self._limits = threadpool_limits(limits=1)
        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self._torch_threads)
        self._limits.restore_original_limits()


def _start_worker(parent: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals could not be held
    torch.set_num_threads(1)
    threadpool_limits(limits=1)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this worker when the build that started it is gone, killed perhaps."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
