"""How quickly the Trace page answers: ``python tests/benchmarks/trace_page.py STUDY [STUDY ...]``.

For each study the app is started on a free port and opened in an installed Chromium. Measured are

- *click*: from a click on a concept of the graph to its panel, over `--clicks` concepts;
- *sent*: what the server sends to the browser for a click;
- *hover*: from the pointer on a concept to its lit edges;
- *upload*: from handing a picture to the browser to its trace on the page, less the *forward* pass
  of the model, which is timed by itself in a process of its own. The first upload, which waits for
  the model to load, does not count. Studies without their model have no such figure.

Before anything is timed the page is checked against the backend: the nodes of the graph are the
active concepts of the trace, and the panel shows the concept that was clicked.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from page_timing import Visit, p95, run, serving, visit
from PIL import Image

# Clicks inside the page, so that the time it takes to send the click over is not counted, and
# notes when the panel has followed.
CLICK = """(id) => {
  const title = () => document.querySelector('.cg-concept')?.innerText || '';
  const roots = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot);
  const graph = roots.find((root) => root.querySelector('.trace'));
  const start = performance.now();
  window.cgraphTook = null;
  const watch = new MutationObserver(() => {
    if (!title().includes(id)) return;
    window.cgraphTook = performance.now() - start;
    watch.disconnect();
  });
  watch.observe(document.body, { subtree: true, childList: true, characterData: true });
  const node = graph.querySelector(`.node[data-id="${id}"]`);
  node.dispatchEvent(new MouseEvent('click', { bubbles: true }));
}"""

HOVER = """(id) => {
  const roots = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
    .map((host) => host.shadowRoot);
  const graph = roots.find((root) => root.querySelector('.trace'));
  const node = graph.querySelector(`.node[data-id="${id}"]`);
  const start = performance.now();
  node.dispatchEvent(new PointerEvent('pointerenter'));
  graph.querySelector('svg').getBoundingClientRect();
  const took = performance.now() - start;
  node.dispatchEvent(new PointerEvent('pointerleave'));
  return took;
}"""

UPLOADED = """(name) => {
  if (document.querySelector('.cg-title')?.innerText !== name) return false;
  window.cgraphShown ??= performance.now();
  return true;
}"""


def nodes(seen: Visit) -> list[str]:
    """Return the concepts of the graph."""
    return seen.in_graph("[...root.querySelectorAll('.node')].map((n) => n.dataset.id)")


def check(seen: Visit, study: Any) -> None:
    """Compare the page with the backend."""
    from cgraph.tracing import trace_row
    from cgraph.ui.gallery import held_out_rows

    row = next(iter(study.examples), held_out_rows(study)[0])
    trace = trace_row(study, row)
    expected = {str(active.concept) for layer in trace.layers for active in layer}
    if set(nodes(seen)) != expected:
        raise SystemExit(f"{study.name}: the graph does not show the active concepts of the trace")


def time_clicks(seen: Visit, n: int, seed: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from click to panel, and kilobytes sent for it."""
    session = seen.page.context.new_cdp_session(seen.page)
    session.send("Network.enable")
    received: list[int] = []
    session.on(
        "Network.webSocketFrameReceived",
        lambda frame: received.append(len(frame["response"]["payloadData"]) * 3 // 4),
    )
    found = nodes(seen)
    times, sizes = [], []
    for concept in random.Random(seed).sample(found, min(n, len(found))):
        if seen.selected() == concept:
            continue
        received.clear()
        seen.page.evaluate(CLICK, concept)
        seen.page.wait_for_function("window.cgraphTook !== null")
        times.append(seen.page.evaluate("window.cgraphTook"))
        seen.wait()
        if seen.selected() != concept:
            raise SystemExit(f"{concept} was clicked, but {seen.selected()} is selected")
        sizes.append(sum(received) / 1000)
    return times, sizes


def pictures(folder: Path, n: int) -> list[Path]:
    """Write some pictures of noise, each another one."""
    rng = np.random.default_rng(0)
    paths = []
    for place in range(n):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        path = folder / f"noise-{place}.png"
        Image.fromarray(pixels).resize((320, 320), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def time_uploads(seen: Visit, paths: list[Path]) -> list[float]:
    """Return milliseconds from handing over a picture to its trace; the first is a warm-up."""
    seen.page.get_by_role("tab", name="Upload your own").click()
    times = []
    for path in paths:
        seen.page.evaluate("window.cgraphShown = null")
        chooser = seen.page.locator('input[type="file"]')
        start = seen.page.evaluate("performance.now()")
        chooser.set_input_files(path)
        seen.page.wait_for_function(UPLOADED, arg=path.name, polling="raf", timeout=120_000)
        times.append(seen.page.evaluate("window.cgraphShown") - start)
        seen.wait()
    return times[1:]


def time_forward(study: Any, paths: list[Path]) -> list[float]:
    """Return milliseconds of the model's forward pass alone, one picture at a time."""
    from cgraph.decoding import load_image
    from cgraph.tracing import load_model

    model = load_model(study)
    times = []
    for path in paths:
        batch = model.preprocess([load_image(path, path.name)])
        start = time.perf_counter()
        model.class_tokens(batch)
        times.append(1000 * (time.perf_counter() - start))
    return times[1:]


HEADS = (
    "study",
    "concepts",
    "edges",
    "click, median",
    "click, 95 %",
    "sent for a click",
    "hover",
    "forward pass",
    "upload beyond it",
)


def measure(browser: Any, folder: Path, options: argparse.Namespace) -> str:
    """Return the row of one study."""
    from cgraph.errors import ModelError
    from cgraph.study import Study
    from cgraph.tracing import model_folder

    study = Study.open(folder)
    with (
        serving(folder) as address,
        tempfile.TemporaryDirectory() as scratch,
        visit(browser, address) as seen,
    ):
        check(seen, study)
        clicks, sizes = time_clicks(seen, options.clicks, options.seed)
        hovers = [seen.page.evaluate(HOVER, concept) for concept in nodes(seen)[:40]]
        upload = forward = None
        try:
            model_folder(study)
        except ModelError:
            pass
        else:
            paths = pictures(Path(scratch), 1 + options.uploads)
            uploads = time_uploads(seen, paths)
            forward = statistics.median(time_forward(study, paths))
            upload = statistics.median(uploads) - forward
        if seen.complaints or seen.outside:
            raise SystemExit(f"{study.name}: {seen.complaints} {seen.outside}")
    n_concepts = study.graph.n_concepts()
    cells = [
        study.name,
        f"{n_concepts:,}",
        f"{study.graph.n_edges:,}",
        f"{statistics.median(clicks):.0f} ms",
        f"{p95(clicks):.0f} ms",
        f"{statistics.mean(sizes):.0f} KB",
        f"{statistics.median(hovers):.1f} ms",
        "–" if forward is None else f"{forward:.0f} ms",
        "–" if upload is None else f"{upload:.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run(__doc__, HEADS, measure, clicks=60, uploads=8)
