"""Marks of measured edges, and what lies outside the graph, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Visit, visit
from planted_study import write_study
from truth_example import measured_copy

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.study import Study
from cgraph.tracing import trace_row

IMAGE = 7
CHILD = "L3/4"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("measured")
    plain = write_study(root / "planted", n_layers=4)
    (root / "studies").mkdir()
    return measured_copy(plain, root / "studies" / "planted")


@pytest.fixture(scope="module")
def address(serve_app: Callable[[Path], str], measured: Study) -> str:
    return serve_app(measured.path.parent)


def shown(seen: Visit, selector: str) -> int:
    """Return how many elements of the graph are drawn and not faded away."""
    return int(
        seen.in_graph(
            f"[...root.querySelectorAll('{selector}')].filter((e) => {{"
            "const looks = getComputedStyle(e);"
            "return looks.display !== 'none' && Number(looks.opacity) > 0.1"
            "&& e.getClientRects().length; }).length"
        )
    )


def tip(seen: Visit) -> str:
    return str(seen.in_graph("root.querySelector('.tip.shown')?.innerText ?? ''"))


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (420, "dark")])
def test_a_mark_says_what_was_predicted_and_what_was_measured(
    chromium: object, address: str, measured: Study, width: int, scheme: str
) -> None:
    facts = EdgeFacts.read(measured.graph, measured.measured)
    trace = trace_row(measured, IMAGE)
    marked = [
        edge
        for edge in trace.edges
        if facts.of(edge.parent, edge.child).verdict in ("specific", "supported", "contradicted")
    ]
    edge = next(edge for edge in marked if edge.child.layer == 4)
    query = f"?image={measured.image_ids[IMAGE]}&concept={edge.child}"
    with visit(chromium, address, query, width=width, scheme=scheme) as seen:
        assert seen.in_graph("root.querySelectorAll('.evidence').length") == len(marked)
        # Marks of what is lit show; of what is faded they do not disturb.
        n_shown = shown(seen, ".evidence")
        assert 0 < n_shown < len(marked)
        assert shown(seen, ".for-evidence") == 1
        # Of the marks into the selected concept one is pointed at.
        fact = facts.of(edge.parent, edge.child)
        lit = seen.page.locator(f".evidence.{fact.verdict}.lit, .evidence.{fact.verdict}.near")
        said = []
        for place in range(lit.count()):
            lit.nth(place).locator(".reach").hover(force=True)
            said.append(tip(seen))
        wanted = f"{edge.parent} → {edge.child}"
        (text,) = (text for text in said if wanted in text.replace("\n", " "))
        away = "raises" if (edge.weight < 0) == (fact.effect > 0) else "lowers"
        predicted, told = text.split("\n")[-2:]
        assert predicted.startswith("predicted: weight ")
        assert told.startswith(f"measured: removing {edge.parent} {away} {edge.child}’s")
        assert f"by {abs(fact.effect):.2f} sd [" in told
        assert f"in {fact.n_images} images: {fact.verdict}" in told
        # Reading it chooses nothing and clears nothing.
        lit.first.locator(".reach").click(force=True)
        assert seen.selected() == str(edge.child)
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.complaints == [] and seen.outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_lies_outside_is_reached_by_keyboard(
    chromium: object, address: str, measured: Study, scheme: str
) -> None:
    concept = trace_row(measured, IMAGE).layers[2][0].concept
    query = f"?image={measured.image_ids[IMAGE]}&concept={concept}"
    with visit(chromium, address, query, scheme=scheme) as seen:
        page = seen.page
        assert shown(seen, ".foot") == 3  # layer 1 has nothing before it
        n_nodes = seen.in_graph("root.querySelectorAll('.node').length")
        assert n_nodes == sum(map(len, trace_row(measured, IMAGE).layers))
        page.locator(f'.node[data-id="{concept}"]').focus()
        focused = "root.activeElement?.dataset.id ?? ''"
        for _ in range(12):
            page.keyboard.press("ArrowDown")
            if seen.in_graph(focused) == "outside-3":
                break
        assert seen.in_graph(focused) == "outside-3"
        assert re.search("measured: .* of what makes its token comes from patches", tip(seen))
        page.keyboard.press("ArrowRight")
        assert seen.in_graph(focused) == "outside-4"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.locator(".cg-concept", has_text="Layer 3").wait_for()
        seen.wait()
        assert "layer=3" in page.url
        assert "of what makes the token of this layer comes from patches" in (
            page.locator(".st-key-cg-panel").inner_text()
        )
        page.keyboard.press("ArrowUp")
        assert str(seen.in_graph(focused)).startswith("L3/")
        # It can be put out of the way, and the drawing becomes lower.
        height = "Number(root.querySelector('.scroll svg').getAttribute('height'))"
        before = seen.in_graph(height)
        page.locator(".outside-too").uncheck()
        assert shown(seen, ".foot") == 0
        assert seen.in_graph(height) < before
        assert seen.complaints == []


def test_without_measurements_there_is_no_mark(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address) as seen:
        assert seen.in_graph("root.querySelectorAll('.evidence, .foot').length") == 0
        assert shown(seen, ".for-evidence") == shown(seen, ".for-outside") == 0
        assert seen.page.locator(".edge").count() > 10
        assert seen.complaints == []


def test_the_filter_of_evidence_is_chosen_by_hand(chromium: object, address: str) -> None:
    with visit(chromium, f"{address}/Graph", f"?view=around&concept={CHILD}") as seen:
        page, child = seen.page, ConceptId.parse(CHILD)
        before = seen.in_graph("root.querySelectorAll('.edge').length")
        page.get_by_role("button", name="Filters").click()
        page.get_by_label("Evidence, measured").click()
        page.get_by_role("option", name="specific only").click()
        page.get_by_text("evidence: specific").first.wait_for()
        seen.wait()
        assert "evidence=specific" in page.url
        assert seen.in_graph("root.querySelectorAll('.edge').length") < before
        kinds = seen.in_graph("[...root.querySelectorAll('.evidence')].map((e) => e.classList[1])")
        assert set(kinds) == {"specific"} and child.layer == 3
