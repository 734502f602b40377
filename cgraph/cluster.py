"""The stages on a Dask cluster: connect, check the workers, and tell a lost one from a slow one.

Dask gives the work of a worker that died to another one. What it cannot know is whether its workers
would give the same bytes and see the same files; that is asked before the first task, of every
worker there is, and of later ones when they get their first task.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import Executor as AnyExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph.errors import ClusterError, ConfigError
from cgraph.executors import LOOK_AHEAD, Executor, ProcessExecutor, WorkerLost, local_executor
from cgraph.futures import FuturesExecutor, alone
from cgraph.object_paths import is_remote
from cgraph.shared_folder import PACKAGES, Terms, different_versions, objection, shared_terms

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 20.0
"""How long a scheduler may take to answer."""

FIRST_WORKER_SECONDS = 120.0
"""How long the first worker may take to join: a queue may have to start it."""

NO_WORKER_SECONDS = 600.0
"""How long a build waits with no worker at all before it stops."""

_COUNT_SECONDS = 2.0  # for which the number of threads is believed

_AGAIN = (
    "Finished work is kept: run the same command again once it is back, or without --cluster to "
    "go on on this machine."
)


def as_executor(executor: Executor | AnyExecutor | None, workers: int | None) -> Executor:
    """Return what runs the tasks of a build.

    Parameters
    ----------
    executor : Executor or concurrent.futures.Executor or None
        An executor of cgraph is taken as it is, any other one adapted. None means this machine.
    workers : int or None
        Processes on this machine.

    Raises
    ------
    ConfigError
        If there are none.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}: it must be at least 1.")
    if executor is None:
        return local_executor(workers or os.cpu_count() or 1)
    if not isinstance(executor, AnyExecutor):
        return executor
    if type(executor).__module__.partition(".")[0] == "distributed":
        return DaskExecutor(executor)
    return FuturesExecutor(executor)


@contextmanager
def meeting(
    executor: Executor, folder: Path, work: str, places: Sequence[str | Path]
) -> Iterator[None]:
    """See to it that workers see what they need, before they are given any work.

    Parameters
    ----------
    executor : Executor
    folder : Path
        The study folder.
    work : str
        Folder in it for working files.
    places : sequence of str or Path
        What else workers read.

    Raises
    ------
    ClusterError
        That says what a worker lacks.
    """
    if not isinstance(executor, FuturesExecutor):
        if not (is_remote(folder) and isinstance(executor, ProcessExecutor)):
            yield  # this machine sees its own folders
            return
        # What is kept in memory, such as memory://, each process has for itself.
        with shared_terms(folder, work, places) as terms:
            for _, refused in executor.run(objection, [(terms,)]):
                if refused:
                    raise ClusterError(f"{refused} Or use one process: --workers 1.")
        yield
        return
    with shared_terms(folder, work, places) as terms:
        executor.meet(terms)
        yield


class DaskExecutor(FuturesExecutor):
    """Runs tasks on the workers of a Dask cluster.

    Parameters
    ----------
    executor : distributed.cfexecutor.ClientExecutor
        What ``Client.get_executor()`` returns.
    """

    def __init__(self, executor: Any) -> None:
        super().__init__(executor, n_workers=1)
        self.client: Client = executor._client
        self._counted = -_COUNT_SECONDS
        self._seen = time.monotonic()

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        scheduler = self.client.scheduler
        return "the scheduler" if scheduler is None else f"the scheduler {scheduler.address}"

    def meet(self, terms: Terms) -> None:
        """Set what workers must have in common, and ask all of them.

        Raises
        ------
        ClusterError
            That names a worker and what it lacks, or says that there is none.
        """
        self._terms = terms
        with self._scheduler_heard():
            try:
                self.client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
            except TimeoutError:
                raise ClusterError(
                    f"No worker has joined {self.address} within {FIRST_WORKER_SECONDS:.0f} s. "
                    "Start some (dask worker ADDRESS) and run the same command again."
                ) from None
            self._compare_versions(terms)
            said = self.client.run(objection, terms, on_error="return")
        refused = {worker: answer for worker, answer in said.items() if answer}
        if refused:
            worker, answer = min(refused.items())
            raise ClusterError(f"{_how_many(refused, said)} Worker {worker}: {answer}")

    def _compare_versions(self, terms: Terms) -> None:
        """Compare before anything of cgraph is sent, which a worker without it cannot read."""
        found_by_dask: Any = self.client.get_versions(packages=list(PACKAGES))
        answers = found_by_dask["workers"]
        found: dict[str, list[str]] = {}
        for worker, answer in answers.items():
            known = {name: text or "none" for name, text in answer["packages"].items()}
            known["python"] = ".".join(known["python"].split(".")[:3])
            different = different_versions(terms.versions, known.items())
            if different:
                found[worker] = different
        if found:
            worker, different = min(found.items())
            raise ClusterError(
                f"{_how_many(found, answers)} Worker {worker} has other versions: "
                f"{', '.join(different)}. Results would depend on who did what. Install the same "
                "versions on all machines, for instance with the constraints.txt of cgraph."
            )

    def run(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield results as they come; Dask gives the work of a lost worker to another.

        Raises
        ------
        WorkerLost
            If the scheduler is gone, no worker is left, or a task took several workers with it.
        """
        from distributed.scheduler import KilledWorker

        self._seen = time.monotonic()
        with self._scheduler_heard():
            try:
                yield from super().run(function, calls)
            except KilledWorker as error:
                died = error.allowed_failures + 1
                who = "1 worker died while it" if died == 1 else f"{died} workers died while they"
                raise WorkerLost(
                    f"{who} had the same part to do, the last one {error.last_worker.address}; "
                    "most often memory ran out. Finished work is kept: give each worker more "
                    "memory or fewer threads, then run the same command again."
                ) from None

    @contextmanager
    def _scheduler_heard(self) -> Iterator[None]:
        """Say in a sentence that the scheduler went away."""
        try:
            yield
        except CancelledError:
            raise self._lost() from None
        except (OSError, RuntimeError) as error:
            if self.client.status == "running" and not _is_of_dask(error):
                raise
            raise self._lost() from None

    def _lost(self) -> WorkerLost:
        return WorkerLost(f"The connection to {self.address} was lost. {_AGAIN}")

    def _submit(self, function: Callable[..., Any], call: tuple[Any, ...]) -> Future[Any]:
        # Not pure: Dask would answer a call from one that it has seen fail before.
        submit: Any = self._executor.submit
        return submit(alone, self._terms, function, *call, pure=False)

    def _room(self) -> int:
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._count()
        return LOOK_AHEAD * self._n_workers

    def _watch(self) -> None:
        if self.client.status != "running":
            raise self._lost()
        self._count()
        if time.monotonic() - self._seen > NO_WORKER_SECONDS:
            raise WorkerLost(
                f"{self.address} has had no worker for {NO_WORKER_SECONDS:.0f} s. {_AGAIN}".replace(
                    "the scheduler", "The scheduler", 1
                )
            )

    def _count(self) -> None:
        """Count the threads of all workers: they come and go."""
        try:
            threads = sum(self.client.nthreads().values())
        except (OSError, RuntimeError):
            raise self._lost() from None
        self._counted = time.monotonic()
        if threads:
            self._seen = self._counted
        self._n_workers = max(1, threads)


def _how_many(some: dict[str, Any], of_all: dict[str, Any]) -> str:
    return f"{len(some)} of {len(of_all)} workers cannot take part in this build."


def _is_of_dask(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "distributed"


@contextmanager
def cluster_executor(address: str) -> Iterator[DaskExecutor]:
    """Connect to the scheduler of a Dask cluster.

    Parameters
    ----------
    address : str
        Such as ``tcp://scheduler:8786``, or the scheduler's file (``….json``).

    Raises
    ------
    ConfigError
        If Dask is not installed.
    ClusterError
        If no scheduler answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "A cluster needs Dask, which is not installed. Install it here and on all workers: "
            'pip install "cgraph[cluster]".'
        ) from None
    # What it reports of lost connections is said in our own words.
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        client = _connected(Client, address)
        try:
            yield DaskExecutor(client.get_executor())
        finally:
            client.close(timeout=5)
    finally:
        logger.setLevel(level)


def _connected(client_class: Any, address: str) -> Any:
    place: dict[str, str] = {"address": address}
    if address.endswith(".json"):
        if not Path(address).is_file():
            raise ClusterError(
                f"There is no file {address}. Start the scheduler with --scheduler-file, or give "
                "its address, such as tcp://scheduler:8786."
            )
        place = {"scheduler_file": address}
    try:
        return client_class(**place, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(
            f"No scheduler of Dask answers at {address} within {CONNECT_SECONDS:.0f} s ({reason}). "
            "Check the address, such as tcp://scheduler:8786, and that the scheduler runs and can "
            "be reached from this machine."
        ) from None
