"""How quickly the Counterfactual page answers.

``python tests/benchmarks/counterfactual_page.py STUDY [STUDY ...]``

For each study the app is started on a free port and opened in an installed Chromium. Measured are

- *again*: from the address to the sentence that sums up, on a server that has shown the page, with
  what the server sends for that (*sent*);
- *switch*: from a click on a concept of the graph to the sentence that takes it into account, over
  `--clicks` concepts; the graph, the panel and the controls are drawn anew;
- *look*: from a click on a concept of the table to the panel about it;
- *network*: the same as *switch* once the model is loaded and the network answers, too.

Before anything is timed the page is checked against the backend: what the table shows as predicted
changes are the changes of `cgraph.counterfactual`.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import IDLE, p95, run, serving

LOADED_S = 120

# Clicks inside the page, so that the time it takes to send the click over is not counted, and
# notes when what must follow has changed.
CLICK = """([selector, watched]) => {
  const roots = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot);
  const target = roots.map((root) => root.querySelector(selector)).find(Boolean);
  const text = () => [...document.querySelectorAll(watched)].map((e) => e.innerText).join();
  const before = text();
  const start = performance.now();
  window.cgraphTook = null;
  const watch = new MutationObserver(() => {
    if (text() === before) return;
    window.cgraphTook = performance.now() - start;
    watch.disconnect();
  });
  watch.observe(document.body, { subtree: true, childList: true, characterData: true });
  target.dispatchEvent(new MouseEvent('click', { bubbles: true }));
}"""

# What is set by hand follows every switch, also one that changes no figure of the sentence.
SET = ".st-key-cf-set-row"


def wait(page: Any) -> None:
    page.wait_for_function(IDLE, timeout=60_000)


def opened(page: Any, address: str) -> float:
    """Return seconds until the page has summed up."""
    start = time.perf_counter()
    page.goto(address)
    page.locator(".cf-summary").wait_for(timeout=60_000)
    took = time.perf_counter() - start
    wait(page)
    return took


def received(page: Any, address: str) -> int:
    """Return the bytes of all frames that the server sends for a visit."""
    client = page.context.new_cdp_session(page)
    total = 0

    def count(frame: dict[str, Any]) -> None:
        nonlocal total
        payload = frame["response"]["payloadData"]
        binary = frame["response"]["opcode"] == 2
        total += len(payload) * 3 // 4 if binary else len(payload)

    client.send("Network.enable")
    client.on("Network.webSocketFrameReceived", count)
    opened(page, address)
    page.wait_for_timeout(500)
    client.detach()
    return total


def timed(page: Any, selectors: list[str], watched: str) -> list[float]:
    """Click each element and return milliseconds until what is watched has changed."""
    times = []
    for selector in selectors:
        page.locator(selector).first.wait_for(state="attached", timeout=20_000)
        page.evaluate(CLICK, [selector, watched])
        page.wait_for_function("window.cgraphTook !== null", timeout=60_000)
        times.append(page.evaluate("window.cgraphTook"))
        wait(page)
    return times


def ids(page: Any, selector: str) -> list[str]:
    return page.evaluate(
        """(selector) => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
          .flatMap((host) => [...host.shadowRoot.querySelectorAll(selector)])
          .map((element) => element.dataset.id)""",
        selector,
    )


def check(page: Any, study: Any) -> None:
    """Compare the page with the backend, for the edit that it opens with."""
    from cgraph.concept import ConceptId
    from cgraph.counterfactual import dense_labels, graph_answer
    from cgraph.edits import Edit, RolloutSettings
    from cgraph.ui.gallery import held_out_rows

    row = next(iter(study.examples), held_out_rows(study)[0])
    pills = page.locator(f"{SET} button", has_text="✕")
    pills.first.wait_for(timeout=60_000)
    listed = pills.all_inner_texts()
    on, off = [], []
    for text in listed:
        found = re.search(r"(L[0-9]+/[0-9]+)\s+(on|off)\b", text)
        if found:
            (off if found[2] == "off" else on).append(ConceptId.parse(found[1]))
    edit = Edit(tuple(on), tuple(off))
    layer = edit.layers[0]
    labels = dense_labels(study.graph, layer, study.codes(layer).row(row)[0])
    answer = graph_answer(study.graph, labels, edit, RolloutSettings(), key=row)
    expected = {
        str(c.concept)
        for layer in answer.layers
        for c in [*answer.changes(layer, "appeared"), *answer.changes(layer, "vanished")][:10]
    }
    shown = set(ids(page, "td:nth-of-type(1) button"))
    if shown != expected:
        raise SystemExit(f"{study.name}: the table does not show the changes of the backend")


def switches(page: Any, n: int, seed: int) -> list[float]:
    """Switch concepts of the graph, each once on or off and once back."""
    # One that is set by hand already may be silent, and not drawn, once it is left alone.
    by_hand = page.locator(SET).inner_text().split()
    concepts = [concept for concept in ids(page, ".node") if concept not in by_hand]
    chosen = random.Random(seed).sample(concepts, min(n // 2, len(concepts)))
    selectors = [f'.node[data-id="{concept}"]' for concept in chosen for _ in range(2)]
    return timed(page, selectors, SET)


HEADS = (
    "study",
    "edges",
    "again",
    "sent again",
    "look, median / 95 %",
    "switch",
    "switch with network",
)


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    from cgraph.study import Study

    study = Study.open(folder)
    with serving(folder) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page_address = f"{address}/Counterfactual"
        opened(page, page_address)
        check(page, study)
        here = page.locator(".cg-concept").inner_text()
        cells = [c for c in dict.fromkeys(ids(page, "td button")) if c not in here.split()]
        looks = timed(
            page,
            [f'td button[data-id="{concept}"]' for concept in cells[: options.clicks // 2]],
            "#nothing, .cg-concept",
        )
        sent = received(page, page_address)
        again = min(opened(page, page_address) for _ in range(3))
        opened(page, f"{page_address}?view=graph")
        alone = switches(page, options.clicks, options.seed)
        measured: list[float] = []
        deadline = time.monotonic() + LOADED_S
        while time.monotonic() < deadline:
            if "measured" in page.locator(".cf-summary").inner_text():
                measured = switches(page, options.clicks, options.seed + 1)
                break
            if "not measured" in page.locator(".cf-table").first.inner_text():
                break
            page.wait_for_timeout(1000)
        page.close()

    def both(times: list[float]) -> str:
        if not times:
            return "–"
        return f"{statistics.median(times):.0f} / {p95(times):.0f} ms"

    cells_of_row = [
        study.name, f"{study.graph.n_edges:,}", f"{again:.2f} s",
        f"{sent / 1000:.0f} KB", both(looks), both(alone), both(measured),
    ]  # fmt: skip
    return f"| {' | '.join(cells_of_row)} |"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=40)
