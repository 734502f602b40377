"""What the timings of all pages share: a server on one study, a browser, a table.

They are run as scripts, which find the helpers of the tests through this file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import IDLE, Visit, visit  # noqa: E402

__all__ = ["IDLE", "Visit", "p95", "run", "serving", "visit"]


@contextmanager
def serving(study: Path) -> Iterator[str]:
    """Start the app on one study and yield its address."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        shutil.copytree(ROOT / ".streamlit", Path(folder) / ".streamlit")
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
                *("--server.port", str(port), "--server.headless", "true"),
            ],
            cwd=folder,
            env={**os.environ, "CGRAPH_STUDIES": str(study), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=10)


def p95(values: list[float]) -> float:
    """Return what 95 % of the values do not exceed."""
    return float(np.quantile(values, 0.95))


def run(
    description: str,
    heads: Sequence[str],
    measure: Callable[[Any, Path, argparse.Namespace], str],
    **counts: int,
) -> None:
    """Time a page on the studies that the command line names, and print a table.

    Parameters
    ----------
    description : str
        What the script says of itself.
    heads : sequence of str
        Heads of the columns.
    measure : callable
        Returns the row of one study, given the browser, its folder and the options.
    **counts : int
        Further options and what they are unless given.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    for name, default in {**counts, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CGRAPH_CHROMIUM") or shutil.which("chromium")
    if not path:
        raise SystemExit("No Chromium: install it, or set CGRAPH_CHROMIUM to its path.")
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        for folder in options.studies:
            print(measure(browser, folder.resolve(), options), flush=True)
        browser.close()
