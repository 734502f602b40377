"""Models are loaded once, in the background when nobody waits, and problems reach who asks."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cgraph import tracing
from cgraph.errors import ModelError
from cgraph.ui import models
from cgraph.ui.models import ModelShelf
from cgraph.ui.resources import StudyEntry


class Loader:
    """Stands for `tracing.load_model`: notes every load, and holds it until told to go on."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.problem: Exception | None = None

    def __call__(self, study: Any) -> str:
        self.calls.append(study)
        assert self.go_on.wait(10)
        if self.problem is not None:
            raise self.problem
        return f"model of {study}"


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loads = Loader()
    monkeypatch.setattr(tracing, "load_model", loads)
    monkeypatch.setattr(tracing, "model_folder", lambda study: Path())
    monkeypatch.setattr(models, "_LIBRARIES", ())
    monkeypatch.setattr(models, "QUIET_SECONDS", 0.05)
    return loads


def entry(name: str) -> StudyEntry:
    return StudyEntry(name, Path(name), 0)


def finish(shelf: ModelShelf) -> None:
    assert shelf._background is not None
    shelf._background.join(10)
    assert not shelf._background.is_alive()


def until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_upload_waits_for_the_load_in_the_background(loader: Loader) -> None:
    shelf = ModelShelf()
    loader.go_on.clear()
    shelf.prepare(entry("a"), "a")
    until(lambda: loader.calls)
    got: list[str] = []
    asking = [
        threading.Thread(target=lambda: got.append(shelf.get(entry("a"), "a"))) for _ in range(3)
    ]
    for thread in asking:
        thread.start()
    time.sleep(0.05)
    assert got == []
    loader.go_on.set()
    for thread in asking:
        thread.join(10)
    assert got == ["model of a"] * 3
    assert loader.calls == ["a"]


def test_the_background_waits_while_people_click(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "QUIET_SECONDS", 5)
    shelf = ModelShelf()
    shelf.note_request()
    shelf.prepare(entry("a"), "a")
    time.sleep(0.1)
    assert loader.calls == []
    shelf.get(entry("b"), "b")  # somebody who waits ends the politeness
    finish(shelf)
    assert sorted(loader.calls) == ["a", "b"]


def test_only_the_first_page_starts_the_background(loader: Loader) -> None:
    shelf = ModelShelf()
    for name in "aab":
        shelf.prepare(entry(name), name)
    finish(shelf)
    assert loader.calls == ["a"]


def test_a_problem_in_the_background_is_told_to_the_upload(
    loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    shelf = ModelShelf()
    loader.problem = ModelError("The weights are not those.")
    shelf.prepare(entry("a"), "a")
    finish(shelf)
    assert loader.calls == ["a"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ModelError, match="not those"):
        shelf.get(entry("a"), "a")
    loader.problem = None  # mended meanwhile
    assert shelf.get(entry("a"), "a") == "model of a"


def test_a_model_that_is_not_there_loads_no_library(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(study: Any) -> Path:
        raise ModelError("Looked for it.")

    monkeypatch.setattr(tracing, "model_folder", missing)
    monkeypatch.setattr(models, "_LIBRARIES", ("a_library_that_does_not_exist",))
    shelf = ModelShelf()
    shelf.prepare(entry("a"), "a")
    finish(shelf)
    assert loader.calls == []


def test_the_two_used_last_are_kept(loader: Loader) -> None:
    shelf = ModelShelf()
    for name in "abcb":
        shelf.get(entry(name), name)
    assert loader.calls == ["a", "b", "c"]
    shelf.get(entry("a"), "a")
    assert loader.calls == ["a", "b", "c", "a"]


def test_the_end_of_the_app_does_not_wait_for_a_quiet_moment(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "QUIET_SECONDS", 60)
    shelf = ModelShelf()
    shelf.prepare(entry("a"), "a")
    start = time.monotonic()
    shelf._end()
    finish(shelf)
    assert time.monotonic() - start < 5
    assert loader.calls == []
