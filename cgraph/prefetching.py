"""Work that is begun before its result is needed, in threads of this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Prefetcher(Generic[Key]):
    """Does each piece of work once at a time: in the background, or where it is waited for.

    Parameters
    ----------
    perform : callable
        Takes a key and leaves the result where the caller finds it, on disk for example.
    n_threads : int
        Most pieces that are in the background at a time.
    """

    def __init__(self, perform: Callable[[Key], None], n_threads: int) -> None:
        self._perform = perform
        self._n_threads = n_threads
        self._mutex = threading.Lock()
        self._running: dict[Key, Future[None]] = {}
        self._waiting: queue.SimpleQueue[tuple[Key, Future[None]]] = queue.SimpleQueue()
        self._n_started = 0

    def begin(self, key: Key) -> None:
        """Put a piece of work in the queue, unless it is there; returns at once."""
        with self._mutex:
            if key in self._running:
                return
            task: Future[None] = Future()
            self._running[key] = task
            self._waiting.put((key, task))
            if self._n_started < self._n_threads:
                # Daemons: a worker that is done must not wait for what it will not read.
                self._n_started += 1
                threading.Thread(target=self._work, daemon=True).start()

    def finish(self, key: Key) -> None:
        """Wait for a piece of work that was begun, or do it in this thread; raises its error.

        An error of the background is raised once, here, before the work is tried again.
        """
        with self._mutex:
            task = self._running.get(key)
            mine = task is None
            if task is None:
                task = self._running[key] = Future()
        if mine:
            self._run(key, task)
        try:
            task.result()
        finally:
            with self._mutex:
                if self._running.get(key) is task:
                    del self._running[key]

    def _work(self) -> None:
        while True:
            self._run(*self._waiting.get())

    def _run(self, key: Key, task: Future[None]) -> None:
        try:
            self._perform(key)
        except BaseException as error:
            task.set_exception(error)
        else:
            with self._mutex:
                self._running.pop(key, None)
            task.set_result(None)
