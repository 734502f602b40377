"""How quickly measurements are shown: ``python tests/benchmarks/truth_view.py STUDY …``.

Each study must have been measured (`cgraph evaluate`). The app is started on a free port and opened
in an installed Chromium, on the view “Does the graph tell the truth?” of the Evaluation page.
Measured are

- *first*: from the address, on a server that has just started, until the first figure stands;
- *revisit*: the same in a new browser window, as for the second visitor;
- *topic*: from a click on another topic to its heading, over all of them, `--clicks` times;
- *choice*: from a click on another figure of rollouts to its title.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import IDLE, Visit, p95, run, serving, visit

QUERY = "/Evaluation?view=truth"
CLICK = """([group, text, wanted]) => {
  const buttons = [...document.querySelectorAll(`.st-key-${group} button`)];
  const roots = () => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot.querySelector('.title')?.textContent ?? '');
  const heads = () => [...document.querySelectorAll('h3.cg-section')].map((e) => e.innerText);
  const start = performance.now();
  window.cgraphTook = null;
  const look = () => {
    if ([...heads(), ...roots()].some((said) => said.startsWith(wanted))) {
      window.cgraphTook = performance.now() - start;
    } else {
      requestAnimationFrame(look);
    }
  };
  buttons.find((button) => button.innerText === text).click();
  look();
}"""

FIGURES = {
    "average precision": "Average precision of rollouts",
    "F1 of an image": "F1 of an image of rollouts",
    "AUC": "AUC of rollouts",
}
HEADS = ("study", "first", "revisit", "topic, median", "topic, 95 %", "choice, median")


def opening(browser: Any, address: str) -> float:
    """Return seconds from the address to the first figure."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    start = time.perf_counter()
    page.goto(address + QUERY)
    page.locator(".figure svg").first.wait_for(timeout=60_000)
    took = time.perf_counter() - start
    page.wait_for_function(IDLE, timeout=60_000)
    page.close()
    return took


def clicked(seen: Visit, group: str, text: str, wanted: str) -> float:
    """Return milliseconds from a click until a heading or title begins so."""
    seen.page.evaluate(CLICK, [group, text, wanted])
    seen.page.wait_for_function("window.cgraphTook !== null")
    seen.wait()
    return seen.page.evaluate("window.cgraphTook")


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    from cgraph.study import Study
    from cgraph.ui.views.truth import TOPICS

    study = Study.open(folder)
    topics, choices = [], []
    with serving(folder) as address:
        first = opening(browser, address)
        again = statistics.median(opening(browser, address) for _ in range(3))
        with visit(browser, address, QUERY, ready=".figure svg") as seen:
            for _ in range(options.clicks):
                for name in [*list(TOPICS)[1:], "rollout"]:
                    topic = TOPICS[name]
                    topics.append(clicked(seen, "truth-topic", topic.label, topic.question))
            for _ in range(options.clicks):
                choices += [clicked(seen, "truth-figure", *item) for item in FIGURES.items()]
            if seen.complaints or seen.outside:
                raise SystemExit(f"{study.name}: {seen.complaints} {seen.outside}")
    cells = [
        study.name,
        f"{first:.2f} s",
        f"{again:.2f} s",
        f"{statistics.median(topics):.0f} ms",
        f"{p95(topics):.0f} ms",
        f"{statistics.median(choices):.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=5)
