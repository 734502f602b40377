import threading

import pytest

from cgraph.prefetching import Prefetcher


def test_work_is_done_once_at_a_time_and_again_when_asked_again() -> None:
    done: list[str] = []
    queue = Prefetcher(done.append, 2)
    for _ in range(2):
        queue.finish("a")
    assert done == ["a", "a"]


def test_what_is_begun_is_waited_for() -> None:
    go, done = threading.Event(), []

    def perform(key: str) -> None:
        go.wait(10)
        done.append(key)

    queue = Prefetcher(perform, 1)
    for key in ("a", "b", "a"):
        queue.begin(key)
    assert not done
    threading.Timer(0.05, go.set).start()
    queue.finish("b")
    assert done == ["a", "b"]


def test_an_error_of_the_background_is_raised_once() -> None:
    tries: list[int] = []
    tried = threading.Event()

    def perform(key: str) -> None:
        tries.append(1)
        tried.set()
        if len(tries) == 1:
            raise ValueError(key)

    queue = Prefetcher(perform, 1)
    queue.begin("a")
    assert tried.wait(10)
    with pytest.raises(ValueError, match="a"):
        queue.finish("a")
    assert len(tries) == 1, "the error was kept, the work not done again"
    queue.finish("a")
    assert len(tries) == 2


def test_errors_where_it_is_waited_for_do_not_stay() -> None:
    def perform(key: str) -> None:
        raise ValueError(key)

    queue = Prefetcher(perform, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            queue.finish("a")
    assert not queue._running
