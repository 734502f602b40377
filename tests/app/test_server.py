"""What the server does around the pages."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import streamlit as st
from browsing import IDLE

from cgraph.ui import server

_READY = """
import sys
from cgraph.ui import resources, server

server.get_ready()
found = resources.find_studies(resources.search_folders()).entries
views = [name for name in ("trace", "graph", "evaluation", "counterfactual", "concepts")
         if f"cgraph.ui.views.{name}" in sys.modules]
print(len(views), [entry.name for entry in found])
if found:
    study = resources.open_study(found[0])
    print(study is resources.open_study(found[0]), "scipy.sparse" in sys.modules)
"""


def _get_ready(folder: Path, tmp_path: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _READY],
        cwd=tmp_path,
        env={**os.environ, "CGRAPH_STUDIES": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_pages_and_the_first_study_are_loaded_before_the_first_visit(
    studies_folder: Path, tmp_path: Path
) -> None:
    assert _get_ready(studies_folder, tmp_path) == ["5 ['planted']", "True True"]


def test_a_server_without_a_study_gets_ready_too(tmp_path: Path) -> None:
    assert _get_ready(tmp_path / "nowhere", tmp_path) == ["5 []"]


def test_a_broken_study_is_left_to_the_page(tmp_path: Path) -> None:
    (tmp_path / "studies" / "broken").mkdir(parents=True)
    (tmp_path / "studies" / "broken" / "study.json").write_text("{}")
    assert _get_ready(tmp_path / "studies", tmp_path) == ["5 []"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"server.address": "127.0.0.1", "server.port": 8501}, "http://127.0.0.1:8501/"),
        ({"server.address": "0.0.0.0", "server.port": 80}, "http://localhost:80/"),
        ({"server.port": 8502, "server.baseUrlPath": "/lab/"}, "http://localhost:8502/lab"),
        ({"server.port": 8503, "server.sslCertFile": "a.pem"}, "https://localhost:8503/"),
    ],
)
def test_the_browser_is_sent_to_where_the_app_is(
    options: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(st, "get_option", lambda name: options.get(name))
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    monkeypatch.setattr(server, "get_ready", lambda: None)

    async def start() -> None:
        async with server.lifespan(st.App(__file__)):
            pass

    # The browser of other tests keeps an event loop in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, start()).result()
    assert opened == [expected]


def test_the_terminal_says_only_where_the_app_is(
    serve_app: Callable[..., str], studies_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = serve_app(studies_folder)
    logs = tmp_path_factory.getbasetemp().glob("app*/server.log")
    said = max(logs, key=lambda log: log.stat().st_mtime_ns).read_text()
    assert address in said
    assert "No runtime found" not in said and "ScriptRunContext" not in said


_BREAKS = """
import streamlit as st
from cgraph.ui import server

if server.is_answering():
    st.title("Before")
    raise RuntimeError("a detail for whoever mends it")
else:
    app = st.App(__file__, lifespan=server.lifespan, on_script_error=server.on_script_error)
"""


def test_a_page_that_breaks_says_so_without_a_traceback(
    serve_app: Callable[..., str], studies_folder: Path, tmp_path: Path, chromium: object
) -> None:
    script = tmp_path / "breaks.py"
    script.write_text(_BREAKS)
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(serve_app(studies_folder, script))
    page.get_by_role("alert").wait_for(timeout=60_000)
    page.wait_for_function(IDLE)
    said = page.locator("body").inner_text()
    page.close()
    assert "This page met a problem that it was not made for (RuntimeError)." in said
    assert "Before" in said
    assert "Traceback" not in said and "a detail" not in said and "breaks.py" not in said
