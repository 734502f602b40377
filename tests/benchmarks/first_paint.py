"""How soon each page is there: ``python tests/benchmarks/first_paint.py STUDY [STUDY ...]``.

For each study and page the app is started on a free port, `--starts` times, and opened in an
installed Chromium whose cache is empty. Measured are

- *start*: from the command to a server that answers;
- *first paint*: from the address to the frame in which the page's main drawing stands, as the page
  itself sees it (looked for before every frame, so to about 17 ms), on a server that has shown
  nothing yet;
- *second visitor*: the same, from the next browser with an empty cache.

Medians, and the slowest in parentheses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import IDLE, run, serving

MAIN_DRAWINGS = {
    "Trace": ("/", ".node"),
    "Graph": ("/Graph", ".matrix .scroll > svg"),
    "Evaluation": ("/Evaluation", ".figure svg"),
    "Counterfactual": ("/Counterfactual", ".cf-summary"),
    "Concepts": ("/Concepts", ".cards button"),
    "Build": ("/Build", ".st-key-cg-build-panel button"),
}

WATCH = """(() => {
  const wanted = %r;
  const there = () => document.querySelector(wanted)
    || [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
      .some((host) => host.shadowRoot?.querySelector(wanted));
  const look = () => {
    if (document.body && there()) window.cgraphPainted = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();"""


def painted(browser: Any, address: str, wanted: str) -> float:
    """Return seconds from the address to the frame that shows what is wanted."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(WATCH % wanted)
        page.goto(address)
        page.wait_for_function("window.cgraphPainted", timeout=60_000)
        page.wait_for_function(IDLE, timeout=60_000)
        return page.evaluate("window.cgraphPainted") / 1000
    finally:
        context.close()


HEADS = ("study", "page", "start", "first paint", "second visitor")


def _both(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({max(values):.2f})"


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the rows of one study."""
    rows = []
    for page, (path, wanted) in MAIN_DRAWINGS.items():
        times: tuple[list[float], ...] = ([], [], [])
        for _ in range(options.starts):
            begin = time.perf_counter()
            with serving(folder) as address:
                times[0].append(time.perf_counter() - begin)
                times[1].append(painted(browser, address + path, wanted))
                times[2].append(painted(browser, address + path, wanted))
        rows.append(f"| {folder.name} | {page} | {' | '.join(map(_both, times))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    run(__doc__, HEADS, measure, starts=5)
