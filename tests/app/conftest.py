"""Fixtures of the app's tests: a planted study, a running server, and a browser that stays home."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from planted_study import write_study

ROOT = Path(__file__).parents[2]
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def studies_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one study, ``planted``. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("studies")
    write_study(folder / "planted")
    return folder


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Put the main module back: a script that AppTest runs takes its place and stays there.

    A worker process imports the main module of its parent, and would run the app.
    """
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def app_environment(
    studies_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """Make the app find the planted study and nothing of this machine."""
    import streamlit as st

    from cgraph.ui.models import shelf

    monkeypatch.setattr(shelf, "prepare", lambda *_: None)  # no test waits for a model in vain
    shelf.clear()
    monkeypatch.setenv("CGRAPH_STUDIES", str(studies_folder))
    monkeypatch.delenv("CGRAPH_MODEL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield monkeypatch
    st.cache_data.clear()
    st.cache_resource.clear()
    shelf.clear()


@pytest.fixture(scope="session")
def serve_app(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Path], str]]:
    """Return a function that starts the app on a folder of studies and returns its address."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(studies: Path, script: Path = ROOT / "app.py") -> str:
        home = tmp_path_factory.mktemp("app")
        shutil.copytree(ROOT / ".streamlit", home / ".streamlit")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = home / "server.log"
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "streamlit", "run", str(script)),
                *("--server.port", str(port), "--server.headless", "true"),
            ],
            cwd=home,
            env={**os.environ, "CGRAPH_STUDIES": str(studies), "PYTHONPATH": paths},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                    return address
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError(f"The app did not start:\n{log.read_text()}")

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def app_address(serve_app: Callable[[Path], str], studies_folder: Path) -> str:
    """Address of a running app with the planted study."""
    return serve_app(studies_folder)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Start an installed Chromium: ``CGRAPH_CHROMIUM``, or ``chromium`` of the search path."""
    path = os.environ.get("CGRAPH_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no Chromium: install it, or set CGRAPH_CHROMIUM to its path")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
