"""Take the pictures of the README and of the tutorial: ``python docs/pictures.py``.

Starts the app on a free port, opens it in an installed Chromium and writes one PNG for each entry
of `PICTURES` to ``docs/pictures``, in few enough colours to be small; then the top of the report
that a policy has of `AUDITED`. ``--only`` takes some of them.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 300_000
IDLE = """() => document.querySelector('[data-testid=stApp]')
  ?.getAttribute('data-test-script-state') === 'notRunning'
  && !document.querySelector('[data-stale=true]')"""


@dataclass(frozen=True)
class Picture:
    """One picture: its file name, the window's size, the colour scheme, the page and its query.

    `ready` selects what must stand before the picture is taken.
    """

    name: str
    width: int
    height: int
    scheme: str
    page: str = ""
    ready: str = ".node"


PICTURES = (
    Picture("trace-light", 1360, 1060, "light"),
    Picture("trace-dark", 1360, 1060, "dark"),
    Picture("trace-narrow", 420, 900, "light"),
    Picture("graph", 1360, 900, "light", "Graph", ".matrix .scroll > svg"),
    Picture("evaluation", 1360, 900, "light", "Evaluation", ".figure svg"),
    Picture(
        "counterfactual",
        1360,
        1060,
        "light",
        "Counterfactual",
        ".cf-summary:has-text('were measured')",
    ),
    Picture("concepts", 1360, 900, "light", "Concepts", ".cards li"),
)


AUDIT, AUDITED = "audit", ROOT / "data" / "biased"
"""The picture of a report, and the study that it is of, with the policy beside it."""


@contextmanager
def running_app(studies: Path) -> Iterator[str]:
    """Start the app on a folder of studies and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["streamlit", "run", "app.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [sys.executable, "-m", *arguments, "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "CGRAPH_STUDIES": str(studies)},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit("The app did not start within 30 seconds.")
        yield address
    finally:
        server.terminate()
        server.wait()


def take(browser: Browser, address: str, picture: Picture) -> bytes:
    """Return a PNG of the app once its graph is drawn."""
    page = browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.scheme,
        reduced_motion="reduce",
    )
    page.goto(f"{address}/{picture.page}")
    page.locator(picture.ready).first.wait_for(timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)
    page.evaluate(
        "Promise.all([...document.images].map((image) => image.decode().catch(() => {})))"
    )
    page.wait_for_timeout(500)
    data = page.screenshot()
    page.close()
    return data


def take_report(browser: Browser, folder: Path) -> bytes:
    """Check the policy, and return a PNG of the first verdict with its witnesses."""
    report = folder / "report.html"
    policy = AUDITED.parent / "policy.toml"
    command = [sys.executable, "-m", "cgraph.cli", "check", AUDITED, policy, "--html", report]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)  # 1: it is violated
    page = browser.new_page(viewport={"width": 1000, "height": 1180}, color_scheme="light")
    page.goto(report.as_uri())
    data = page.screenshot()
    page.close()
    return data


def smaller(data: bytes) -> bytes:
    """Return a PNG in as many colours, at most 256, as keep it below `MOST_BYTES`."""
    with Image.open(io.BytesIO(data)) as image:
        full = image.convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        # Colours are what the pictures are about: small spots of one must keep it.
        reduced = full.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1)
        reduced.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()


def main() -> None:
    """Take all pictures."""
    names = [*(picture.name for picture in PICTURES), AUDIT]
    parser = argparse.ArgumentParser(description="Take the pictures of README and tutorial.")
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--studies", type=Path, default=ROOT / "data", help="folder of studies")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    chromium = os.environ.get("CGRAPH_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        raise SystemExit("There is no Chromium: install it, or set CGRAPH_CHROMIUM to its path.")
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = options.only or names

    def write(name: str, data: bytes) -> None:
        file = options.out / f"{name}.png"
        file.write_bytes(smaller(data))
        print(f"{file}: {file.stat().st_size // 1000} kB")

    with running_app(options.studies.absolute()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            if picture.name in wanted:
                write(picture.name, take(browser, address, picture))
        if AUDIT in wanted:
            with tempfile.TemporaryDirectory() as folder:
                write(AUDIT, take_report(browser, Path(folder)))
        browser.close()


if __name__ == "__main__":
    main()
