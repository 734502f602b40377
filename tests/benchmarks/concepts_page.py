"""How quickly the Concepts page answers: ``python tests/benchmarks/concepts_page.py STUDY ...``.

For each study the app is started on a free port and opened in an installed Chromium. Measured are

- *revisit*: what the server sends when the page is loaded again, over its socket and by files;
- *page*: from a click on "Next page" to the next cards;
- *card*: from a click on a card to the concept in full, over `--clicks` concepts;
- *relative*: from a click on a parent or child to that concept in full;
- *sent*: what the server sends for a concept in full.

Before anything is timed the cards are compared with the backend.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import IDLE, p95, run, serving

ROOTS = """[...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
  .map((host) => host.shadowRoot).filter(Boolean)"""

CARDS = f"""() => {ROOTS}.flatMap((root) => [...root.querySelectorAll('.cards button')])
  .map((button) => button.dataset.id)"""

# Clicks inside the page, so that the time it takes to send the click over is not counted, and
# notes when what was asked for is there.
CLICK = f"""([list, id]) => {{
  const start = performance.now();
  window.cgraphTook = null;
  const watch = new MutationObserver(() => {{
    if (!(document.querySelector('.cg-title')?.innerText || '').includes(id)) return;
    window.cgraphTook = performance.now() - start;
    watch.disconnect();
  }});
  watch.observe(document.body, {{ subtree: true, childList: true, characterData: true }});
  const buttons = {ROOTS}.flatMap((root) => [...root.querySelectorAll(`${{list}} button`)]);
  buttons.find((button) => button.dataset.id === id).click();
}}"""

NEXT_PAGE = f"""() => {{
  const first = () => ({CARDS})()[0];
  const before = first();
  const start = performance.now();
  window.cgraphTook = null;
  const watch = () => {{
    if (first() && first() !== before) window.cgraphTook = performance.now() - start;
    else requestAnimationFrame(watch);
  }};
  watch();
  [...document.querySelectorAll('button')].find((b) => b.innerText === 'Next page →').click();
}}"""


def took(page: Any) -> float:
    page.wait_for_function("window.cgraphTook !== null", timeout=30_000)
    page.wait_for_function(IDLE)
    return page.evaluate("window.cgraphTook")


HEADS = (
    "study",
    "concepts of a layer",
    "again",
    "revisit",
    "page, median / 95 %",
    "card",
    "relative",
    "sent for a concept",
)


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    from cgraph.concept import ConceptId
    from cgraph.layer_catalogue import layer_catalogue
    from cgraph.study import Study

    study = Study.open(folder)
    layer = max(2, study.n_layers // 2)
    catalogue = layer_catalogue(study, layer)
    expected = [f"L{layer}/{n}" for n in catalogue.find(order="frequency", falling=True)[:24]]
    with serving(folder) as address:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        received: list[int] = []
        session.on(
            "Network.webSocketFrameReceived",
            lambda frame: received.append(len(frame["response"]["payloadData"]) * 3 // 4),
        )
        session.on(
            "Network.loadingFinished", lambda done: received.append(int(done["encodedDataLength"]))
        )

        def load(query: str) -> float:
            start = time.perf_counter()
            page.goto(f"{address}/Concepts?{query}")
            page.wait_for_function(f"({CARDS})().length > 0", timeout=60_000)
            seconds = time.perf_counter() - start
            page.wait_for_function(IDLE)
            return seconds

        load(f"layer={layer}")
        shown = page.evaluate(CARDS)
        if shown != expected[: len(shown)]:
            raise SystemExit(f"{study.name}: the cards are not the most frequent concepts")
        time.sleep(2)
        received.clear()
        again = load(f"layer={layer}")
        time.sleep(0.5)
        revisit = sum(received) / 1000
        pages = []
        for _ in range(options.pages):
            if page.get_by_role("button", name="Next page →").is_disabled():
                break
            page.evaluate(NEXT_PAGE)
            pages.append(took(page))
        cards, relatives, sizes = [], [], []
        rng = random.Random(options.seed)
        for _ in range(options.clicks):
            chosen = rng.choice(page.evaluate(CARDS))
            received.clear()
            page.evaluate(CLICK, [".cards", chosen])
            cards.append(took(page))
            page.wait_for_timeout(50)
            sizes.append(sum(received) / 1000)
            edges = study.graph.parents(ConceptId.parse(chosen))
            if len(edges):
                relative = f"L{edges.layer}/{edges.indices[0]}"
                page.evaluate(CLICK, [".list", relative])
                relatives.append(took(page))
            page.get_by_role("button", name="← All concepts").click()
            page.wait_for_function(f"({CARDS})().length > 0")
            page.wait_for_function(IDLE)
        context.close()
    cells = [
        study.name,
        f"{len(catalogue):,}",
        f"{again:.2f} s",
        f"{revisit:.0f} KB",
        *(_times(values) for values in (pages, cards, relatives)),
        f"{statistics.mean(sizes):.0f} KB, most {max(sizes):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _times(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} / {p95(values):.0f} ms" if values else "–"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=40, pages=20)
