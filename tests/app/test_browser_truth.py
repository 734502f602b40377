"""What was measured of the graph's truth, in a real browser: widths, themes, keyboard, files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import truth_example
from browsing import Visit, visit

from cgraph.ui.views.truth import TOPICS

READY = ".st-key-truth-topic"


@pytest.fixture(scope="module")
def address(
    serve_app: Callable[[Path], str],
    studies_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    folder = tmp_path_factory.mktemp("measured")
    truth_example.measured_copy(studies_folder / "planted", folder / "planted")
    return serve_app(folder)


def figure(seen: Visit, title: str) -> Any:
    exact = seen.page.locator(".title", has_text=re.compile(f"^{re.escape(title)}"))
    return seen.page.locator(".figure").filter(has=exact)


def choose(seen: Visit, topic: str) -> None:
    """Choose a topic and wait for its heading."""
    button = seen.page.locator(f"{READY} button", has_text=TOPICS[topic].label)
    button.click()
    seen.page.locator("h3.cg-section", has_text=TOPICS[topic].question).wait_for()
    seen.wait()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 420])
def test_all_topics_fit_and_nothing_complains(
    chromium: object, address: str, width: int, scheme: str
) -> None:
    query = "/Evaluation?view=truth"
    with visit(chromium, address, query, width=width, scheme=scheme, ready=READY) as seen:
        for topic in [*list(TOPICS)[1:], "rollout"]:
            choose(seen, topic)
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, topic
            rights = seen.page.locator(".figure svg").evaluate_all(
                "found => found.map((svg) => svg.getBoundingClientRect().right)"
            )
            assert all(0 < right <= width for right in rights), topic
            assert len(rights) == {"references": 0, "direction": 0}.get(topic, len(rights))
            assert seen.page.get_by_text("problem that it was not made for").count() == 0
        assert seen.complaints == []
        assert seen.outside == []


def test_a_start_and_a_figure_are_kept_in_the_link(
    chromium: object, address: str, serve_app: Callable[[Path], str]
) -> None:
    with visit(chromium, address, "/Evaluation?view=truth", ready=".figure svg") as seen:
        slider = seen.page.get_by_role("slider")
        slider.focus()
        seen.page.keyboard.press("ArrowRight")
        seen.page.wait_for_url("**start=2**")
        figure(seen, "AUC of rollouts from layer 2").wait_for()
        seen.page.locator(".st-key-truth-figure button", has_text="average precision").click()
        figure(seen, "Average precision of rollouts from layer 2").wait_for()
        seen.wait()
        query = seen.page.url.split("/Evaluation")[1]
        assert seen.complaints == []
        with visit(chromium, address, f"/Evaluation{query}", ready=".figure svg") as again:
            figure(again, "Average precision of rollouts from layer 2").wait_for()
        seen.page.go_back()
        figure(seen, "AUC of rollouts from layer 2").wait_for()
        assert seen.complaints == []


def test_the_points_of_a_curve_are_read_with_the_keyboard(chromium: object, address: str) -> None:
    with visit(chromium, address, "/Evaluation?view=truth", ready=".figure svg") as seen:
        shown = figure(seen, "AUC of rollouts")
        shown.locator(".frame").focus()
        seen.page.keyboard.press("ArrowRight")
        said = shown.locator(".live").inner_text()
        assert re.search(r"layer 2: AUC 0\.\d\d; \d+ scored concepts", said)
        shapes = shown.locator("svg .curve .marker").evaluate_all(
            "found => new Set(found.map((shape) => shape.getAttribute('d'))).size"
        )
        assert shapes >= 7  # told apart without colour


def test_patterns_are_in_the_saved_picture(chromium: object, address: str) -> None:
    query = "/Evaluation?view=truth&topic=evidence"
    with visit(chromium, address, query, scheme="dark", ready=".figure svg") as seen:
        shown = figure(seen, "Verdicts on the edges")
        with seen.page.expect_download() as event:
            shown.get_by_role("button", name="as SVG").click()
        saved = Path(event.value.path()).read_text()
        drawing = ET.fromstring(saved)
        patterns = [item.get("id") for item in drawing.iter() if item.tag.endswith("pattern")]
        used = set(re.findall(r"url\(\W*(cgraph-fill-\d+)", saved))
        assert used and used <= set(patterns)
        assert "var(--" not in saved
        with seen.page.expect_download() as event:
            shown.get_by_role("button", name="as PNG").click()
        assert Path(event.value.path()).read_bytes().startswith(b"\x89PNG")
        assert seen.complaints == []


def test_a_pair_of_concepts_leads_to_the_graph(chromium: object, address: str) -> None:
    query = "/Evaluation?view=truth&topic=direction"
    with visit(chromium, address, query, ready="table button[data-id]") as seen:
        first = seen.page.locator("table button[data-id]").first
        wanted = first.get_attribute("data-id")
        first.click()
        seen.page.wait_for_url(f"**concept={wanted.replace('/', '%2F')}**")
        link = seen.page.get_by_role("link", name="Open in Graph")
        link.wait_for()
        seen.wait()
        link.click()
        seen.page.locator(".cg-concept", has_text=wanted).first.wait_for(timeout=20_000)
        assert "/Graph" in seen.page.url
        assert seen.complaints == []
