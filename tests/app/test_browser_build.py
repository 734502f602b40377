"""The Build page in a real browser: an upload built to a study, through a reload and a restart."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from browsing import Visit, visit

from cgraph import build_job, job_status
from cgraph.images import open_images

ROOT = Path(__file__).parents[2]
HEAD = "h2.cg-title"


class Server:
    """The app on one port, which can be stopped and started again."""

    def __init__(self, home: Path, studies: Path) -> None:
        self.home, self.studies = home, studies
        shutil.copytree(ROOT / ".streamlit", home / ".streamlit")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
                *("--server.port", str(self.port), "--server.headless", "true"),
            ],
            cwd=self.home,
            env={**os.environ, "CGRAPH_STUDIES": str(self.studies), "PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("The app did not start.")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def serving(home: Path, studies: Path) -> Iterator[Server]:
    home.mkdir()
    studies.mkdir(exist_ok=True)
    server = Server(home, studies)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        for job in job_status.list_jobs([studies]):
            if job.is_active:
                build_job.stop(job.folder, grace=5)


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("build")
    with serving(root / "home", root / "studies") as server:
        yield server


def zip_of_pictures(n: int) -> bytes:
    rng = np.random.default_rng(3)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(n):
            ground, picture = tiny.picture(rng)
            data = io.BytesIO()
            picture.save(data, "PNG")
            archive.writestr(f"{ground}/{number:03d}.png", data.getvalue())
    return buffer.getvalue()


def fill(seen: Visit, label: str, text: str) -> None:
    seen.page.get_by_label(label, exact=True).fill(text)
    seen.page.keyboard.press("Tab")
    # Or the help of what the key came to lies over the next thing to click.
    seen.page.evaluate("document.activeElement.blur()")
    seen.wait()


def press(seen: Visit, name: str, **options: Any) -> None:
    seen.page.get_by_role("button", name=name, **options).click()


def test_an_upload_becomes_a_study(chromium: object, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    with serving(tmp_path / "home", studies) as server:
        with visit(chromium, f"{server.address}/Build", ready=HEAD) as seen:
            page = seen.page
            fill(seen, "Model", str(ROOT / "data/demo/model"))
            page.get_by_text("Upload a zip").click()
            seen.wait()
            page.locator("input[type=file]").set_input_files(
                {"name": "Discs.zip", "mimeType": "application/zip", "buffer": zip_of_pictures(480)}
            )
            page.get_by_text("counted and stored when you check").wait_for()
            fill(seen, "Name of the study", "Small discs")
            fill(seen, "Concepts of each layer", "12")
            page.get_by_text("More settings").click()
            fill(seen, "Most active concepts of a token", "4")
            fill(seen, "Workers", "1")
            page.get_by_role("combobox", name="Method").fill("ksvd")
            page.keyboard.press("Enter")
            seen.wait()
            press(seen, "Check and estimate")
            page.get_by_role("button", name="Start the build").wait_for(timeout=400_000)
            assert "Measured on this machine" in page.locator(".st-key-cg-build-panel").inner_text()
            (stored,) = (studies / "uploads").glob("*.zip")
            assert len(open_images(stored)) == 480
            press(seen, "Start the build")
            page.locator(".cg-stages li.cg-now").first.wait_for(timeout=180_000)
            job = job_status.status(studies / "small-discs")
            assert page.get_by_role("progressbar").count() == 1
            page.get_by_text("Log").first.click()
            page.locator("[data-testid=stCode]", has_text="started: cgraph build").wait_for()
            fill(seen, "Name of the study", "typed while it runs")
            first = page.locator("[role=status]").inner_text()
            page.wait_for_function(
                "text => document.querySelector('[role=status]')?.innerText !== text", arg=first
            )
            # It is held still, so that it is not done before the app has come and gone.
            os.killpg(job.pid, signal.SIGSTOP)
            assert (
                page.get_by_role("textbox", name="Name of the study").input_value()
                == "typed while it runs"
            )
            page.reload()
            page.locator(".cg-stages").wait_for()
            assert "small-discs" in page.locator("h3.cg-concept").inner_text()
            assert seen.complaints == []
            assert seen.outside == []
        server.stop()
        assert job_status.status(job.folder).is_active, "it outlives the app that started it"
        server.start()
        os.killpg(job.pid, signal.SIGCONT)
        with visit(chromium, f"{server.address}/Build", ready=HEAD) as seen:
            seen.page.get_by_text("Open small-discs").wait_for(timeout=500_000)
            assert seen.page.locator(".cg-stages").count() == 0
            seen.page.get_by_text("Open small-discs").click()
            seen.page.locator(".node").first.wait_for(timeout=120_000)
            assert "study=small-discs" in seen.page.url
            assert seen.page.title() == "Trace · cgraph"
            assert seen.complaints == []
            assert seen.outside == []


def test_stopped_and_gone_on_with_by_hand(
    chromium: object, tmp_path: Path, tiny_inputs: tuple[Path, Path]
) -> None:
    folder = tmp_path / "studies" / "discs"
    with serving(tmp_path / "home", tmp_path / "studies") as server:
        build_job.start(
            {"model": str(tiny_inputs[0]), "images": str(tiny_inputs[1]), "out": str(folder),
             "n_atoms": 16, "max_nnz": 4, "workers": 1}
        )  # fmt: skip
        with visit(chromium, f"{server.address}/Build", ready=".cg-stages") as seen:
            press(seen, "Stop", exact=True)
            seen.page.get_by_role("button", name="Resume").wait_for(timeout=120_000)
            assert seen.page.locator(".cg-eyebrow", has_text="stopped").count() == 1
            press(seen, "Resume")
            seen.page.get_by_role("button", name="Stop", exact=True).wait_for(timeout=120_000)
            assert seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 420])
def test_it_fits_the_window(
    width: int, scheme: str, chromium: object, empty_server: Server
) -> None:
    address = f"{empty_server.address}/Build"
    with visit(chromium, address, width=width, scheme=scheme, ready=HEAD) as seen:
        assert seen.page.title() == "Build · cgraph"
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        quiet, ground = seen.page.evaluate(
            """() => {
              const ink = getComputedStyle(document.querySelector('.cg-quiet')).color;
              const app = document.querySelector('[data-testid=stApp]');
              return [ink, getComputedStyle(app).backgroundColor];
            }"""
        )
        assert quiet != ground
        assert seen.complaints == []
        assert seen.outside == []


def test_the_keyboard_is_enough(chromium: object, empty_server: Server, tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "discs", 30)
    typed = {
        "Model": str(ROOT / "data/demo/model"),
        "Where the images are": str(tmp_path / "discs"),
        "Name of the study": "by keys",
    }
    with visit(chromium, f"{empty_server.address}/Build", ready=HEAD) as seen:
        page = seen.page
        page.locator("body").press("Tab")
        focused = "document.activeElement.getAttribute('aria-label') || ''"
        label = "document.activeElement.innerText || ''"
        reached = set()
        for _ in range(80):
            name = page.evaluate(focused)
            if name in typed and name not in reached:
                page.keyboard.type(typed[name])
                reached.add(name)
            if page.evaluate(label).strip() == "Check and estimate":
                break
            page.keyboard.press("Tab")
            seen.wait()
        assert reached == set(typed)
        assert page.evaluate(label).strip() == "Check and estimate"
        page.keyboard.press("Enter")
        alert = page.locator(
            "[data-testid=stAlert]", has_text="n_atoms is 192, and 30 images leave"
        )
        alert.wait_for(timeout=240_000)
        assert seen.complaints == []
