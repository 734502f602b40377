"""How quickly the Graph page answers: ``python tests/benchmarks/graph_page.py STUDY [STUDY ...]``.

For each study the app is started on a free port and opened in an installed Chromium. Measured are

- *click*: from a click on a concept of a neighbourhood to its panel, over `--clicks` concepts;
- *cell*: from a click on a cell of a matrix to the list of its edges, over as many cells;
- *paths*: from the Enter key on a new start to the strongest paths from there to the last layer;
- *sent*: the most that the server sends to the browser for a click, and for a revisit of the page
  in the same session.

Before anything is timed the page is checked against the backend: the drawn neighbourhood is the one
that the library finds.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import Visit, p95, run, serving, visit
from trace_page import CLICK, nodes

# Clicks a cell inside the page and notes when the table of edges has followed.
CELL = """([row, column]) => {
  const roots = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot);
  const svg = roots.find((root) => root.querySelector('.matrix')).querySelector('.scroll > svg');
  const table = roots.map((root) => root.querySelector('table')).find(Boolean);
  const view = svg.querySelector('.ground').getBoundingClientRect();
  const side = Number(svg.querySelector('.chosen').getAttribute('width'));
  window.cgraphTook = null;
  const start = performance.now();
  const watch = new MutationObserver(() => {
    window.cgraphTook = performance.now() - start;
    watch.disconnect();
  });
  watch.observe(table, { childList: true, subtree: true });
  const place = {
    clientX: view.left + (column + 0.5) * side,
    clientY: view.top + (row + 0.5) * side,
  };
  svg.dispatchEvent(new MouseEvent('click', { bubbles: true, ...place }));
}"""


class Received:
    """What the server sent, in kilobytes."""

    def __init__(self, seen: Visit) -> None:
        self.sizes: list[int] = []
        session = seen.page.context.new_cdp_session(seen.page)
        session.send("Network.enable")
        session.on(
            "Network.webSocketFrameReceived",
            lambda frame: self.sizes.append(len(frame["response"]["payloadData"]) * 3 // 4),
        )

    def take(self) -> float:
        """Return what came since the last call."""
        total = sum(self.sizes) / 1000
        self.sizes.clear()
        return total


def timed(seen: Visit, received: Received, script: str, what: Any) -> tuple[float, float]:
    """Return milliseconds until the page has followed a click, and kilobytes sent for it."""
    received.take()
    seen.page.evaluate(script, what)
    seen.page.wait_for_function("window.cgraphTook !== null", timeout=20_000)
    took = seen.page.evaluate("window.cgraphTook")
    seen.wait()
    return took, received.take()


def check(seen: Visit, study: Any, centre: Any) -> None:
    """Compare the drawn neighbourhood with the library's."""
    from cgraph.neighbourhood import neighbourhood

    found = neighbourhood(study.graph, centre, up=2, down=2, beam=8)
    if set(nodes(seen)) != set(map(str, found.part.concepts)):
        raise SystemExit(f"{study.name}: the page does not show the neighbourhood of {centre}")


HEADS = (
    "study",
    "concepts",
    "edges",
    "click, median / 95 %",
    "cell, median / 95 %",
    "paths, median / 95 %",
    "most sent for a click",
    "sent for a revisit",
)


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    import json

    from cgraph.concept import ConceptId
    from cgraph.study import Study
    from cgraph.study_graph import StudyGraph
    from cgraph.ui.matrix_drawing import draw_matrix

    study = Study.open(folder)
    of = StudyGraph(study)
    rng = random.Random(options.seed)
    middle = study.n_layers // 2
    counts = study.graph.column(middle, "n_train")
    centre = ConceptId(middle, int(counts.argmax()))
    order = of.seriation(study.n_layers)
    edges = study.graph.layer_edges(study.n_layers)
    cells = json.loads(draw_matrix(edges, order, study.n_layers, of.name).text)["cells"]
    clicks, lists, paths, sizes = [], [], [], []
    with (
        serving(folder) as address,
        visit(browser, f"{address}/Graph", ready=".matrix .scroll > svg") as seen,
    ):
        received = Received(seen)
        for cell in rng.sample(cells, min(options.clicks, len(cells))):
            took, size = timed(seen, received, CELL, cell[:2])
            lists.append(took)
            sizes.append(size)
        complaints = seen.complaints + seen.outside
    with (
        serving(folder) as address,
        visit(browser, f"{address}/Graph", f"?concept={centre}&view=around") as seen,
    ):
        check(seen, study, centre)
        received = Received(seen)
        for _ in range(options.clicks):
            concept = rng.choice([c for c in nodes(seen) if c != seen.selected()])
            took, size = timed(seen, received, CLICK, concept)
            clicks.append(took)
            sizes.append(size)
        seen.page.get_by_role("radio", name="Paths").click()
        seen.page.get_by_label("From", exact=True).wait_for()
        seen.wait()
        seen.page.get_by_label("To", exact=True).fill(f"L{study.n_layers}")
        seen.page.keyboard.press("Enter")
        seen.wait()
        answer = seen.page.locator("h3.cg-section, [data-testid=stAlert]")
        for index in rng.sample(range(study.graph.n_concepts(1)), min(20, options.clicks)):
            source = ConceptId(1, index)
            seen.page.get_by_label("From", exact=True).fill(str(source))
            start = time.perf_counter()
            seen.page.keyboard.press("Enter")
            answer.filter(has_text=re.compile(rf"{source}\b")).wait_for(timeout=20_000)
            paths.append(1000 * (time.perf_counter() - start))
            seen.wait()
        seen.wait()
        received.take()
        seen.page.get_by_role("link", name="Trace").first.click()
        seen.page.locator(".cg-picture").wait_for(timeout=60_000)
        seen.wait()
        received.take()
        seen.page.get_by_role("link", name="Graph").first.click()
        seen.page.locator(".cg-title", has_text="Which concepts").wait_for(timeout=60_000)
        seen.wait()
        revisit = received.take()
        complaints += seen.complaints + seen.outside
    if complaints:
        raise SystemExit(f"{study.name}: {complaints}")
    cells_of_row = [
        study.name,
        f"{study.graph.n_concepts():,}",
        f"{study.graph.n_edges:,}",
        f"{statistics.median(clicks):.0f} / {p95(clicks):.0f} ms",
        f"{statistics.median(lists):.0f} / {p95(lists):.0f} ms",
        f"{statistics.median(paths):.0f} / {p95(paths):.0f} ms",
        f"{max(sizes):.0f} KB",
        f"{revisit:.0f} KB",
    ]
    return f"| {' | '.join(cells_of_row)} |"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=60)
