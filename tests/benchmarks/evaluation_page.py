"""How quickly the Evaluation page answers: ``python tests/benchmarks/evaluation_page.py STUDY …``.

For each study the app is started on a free port and opened in an installed Chromium. Measured are

- *all figures*: from the address, on a server that has just started, until the curves, the
  relations and the table stand too;
- *revisit*: the same address again in the same browser, and what is sent for it;
- *pair*: from a click on another pair of layers to its heading, over all pairs, once;
- *click*: from a click on a concept of the list to its heading, over `--clicks` concepts;
- *slide*: from a move of the threshold to the confusion it makes, in the browser.

Before anything is timed the page is checked against the backend.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

from page_timing import IDLE, Visit, p95, run, serving, visit

# Clicks inside the page and notes when the words of an element have followed.
CLICK = """([find, text, selector, wanted]) => {
  const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
  const within = hosts.map((host) => host.shadowRoot.querySelector(find)).find(Boolean);
  const pills = [...document.querySelectorAll('button')];
  const target = within || pills.find((button) => button.innerText === text);
  const said = () => [...document.querySelectorAll(selector)].map((e) => e.innerText).join(' ');
  const start = performance.now();
  window.cgraphTook = null;
  const watch = new MutationObserver(() => {
    if (!said().includes(wanted)) return;
    window.cgraphTook = performance.now() - start;
    watch.disconnect();
  });
  watch.observe(document.body, { subtree: true, childList: true, characterData: true });
  target.click();
}"""

SLIDE = """(value) => {
  const root = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot).find((shadow) => shadow.querySelector('.threshold'));
  const slider = root.querySelector('input');
  const start = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event('input'));
  root.querySelector('.confusion').getBoundingClientRect();
  return performance.now() - start;
}"""


def shown_concepts(seen: Visit) -> list[str]:
    """Return the concepts of the list."""
    buttons = seen.page.locator(".list").first.locator("button[data-id]")
    return buttons.evaluate_all("found => found.map((button) => button.dataset.id)")


def check(seen: Visit, study: Any) -> None:
    """Compare the page with the backend."""
    from cgraph.concept import ConceptId
    from cgraph.held_out import HeldOutPair

    concept = ConceptId.parse(seen.panel_title().split()[-1])
    found = HeldOutPair(study, concept.layer).concept(concept.index)
    wanted = found.points.confusion(found.threshold)
    cells = seen.page.locator(".confusion td b").all_inner_texts()
    if [int(cell.replace(",", "")) for cell in cells] != [
        wanted.tp,
        wanted.fn,
        wanted.fp,
        wanted.tn,
    ]:
        raise SystemExit(f"{study.name}: the confusion of {concept} is not that of the backend")


def time_clicks(seen: Visit, n: int, seed: int, received: list[int]) -> tuple[list[float], float]:
    """Return milliseconds from click to heading, and the mean of kilobytes sent."""
    chance, times, sizes = random.Random(seed), [], []
    while len(times) < n:
        for concept in chance.sample(shown_concepts(seen), min(4, n - len(times))):
            if concept in seen.panel_title():
                continue
            received.clear()
            seen.page.evaluate(CLICK, [f'.list [data-id="{concept}"]', "", ".cg-concept", concept])
            seen.page.wait_for_function("window.cgraphTook !== null")
            times.append(seen.page.evaluate("window.cgraphTook"))
            seen.wait()
            sizes.append(sum(received) / 1000)
        before = shown_concepts(seen)
        seen.page.get_by_role("button", name="Next →").click()
        while shown_concepts(seen) == before:
            seen.page.wait_for_timeout(50)
        seen.wait()
    return times, statistics.mean(sizes)


def time_opening(browser: Any, address: str) -> float:
    """Return seconds from the address until nothing is missing."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    start = time.perf_counter()
    page.goto(f"{address}/Evaluation")
    page.locator(".figure svg").first.wait_for(timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)
    settled = time.perf_counter() - start
    page.close()
    return settled


HEADS = (
    "study",
    "concepts",
    "all figures",
    "revisit",
    "sent for a revisit",
    "pair",
    "click, median",
    "click, 95 %",
    "sent for a click",
    "slide",
)


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    from cgraph.study import Study

    study = Study.open(folder)
    with serving(folder) as address:
        settled = time_opening(browser, address)
        with visit(browser, address, "/Evaluation", ready=".figure svg") as seen:
            check(seen, study)
            session = seen.page.context.new_cdp_session(seen.page)
            session.send("Network.enable")
            received: list[int] = []
            session.on(
                "Network.webSocketFrameReceived",
                lambda frame: received.append(len(frame["response"]["payloadData"]) * 3 // 4),
            )
            started = time.perf_counter()
            seen.page.reload()
            seen.page.locator(".figure svg").first.wait_for()
            again = time.perf_counter() - started
            seen.wait()
            seen.page.wait_for_timeout(1000)
            seen.wait()
            revisit_kb = sum(received) / 1000
            pairs = []
            for right in range(2, study.n_layers):
                name, wanted = f"{right - 1} → {right}", f"Layers {right - 1} → {right}"
                seen.page.evaluate(CLICK, ["#none", name, "h3.cg-section", wanted])
                seen.page.wait_for_function("window.cgraphTook !== null")
                pairs.append(seen.page.evaluate("window.cgraphTook"))
                seen.wait()
            clicks, sent = time_clicks(seen, options.clicks, options.seed, received)
            slides = [seen.page.evaluate(SLIDE, value) for value in range(50, 1000, 50)]
            if seen.complaints or seen.outside:
                raise SystemExit(f"{study.name}: {seen.complaints} {seen.outside}")
    cells = [
        study.name,
        f"{study.graph.n_concepts():,}",
        f"{settled:.2f} s",
        f"{again:.2f} s",
        f"{revisit_kb:.0f} KB",
        "–" if not pairs else f"{statistics.median(pairs):.0f} ms",
        f"{statistics.median(clicks):.0f} ms",
        f"{p95(clicks):.0f} ms",
        f"{sent:.0f} KB",
        f"{statistics.median(slides):.1f} ms",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=40)
