"""The Trace page in a real browser: looks, mouse, keyboard, links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import Visit, visit


@pytest.fixture
def trace_page(chromium: object, app_address: str) -> Iterator[Visit]:
    with visit(chromium, app_address) as seen:
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


def _another(seen: Visit, layer: int) -> str:
    """Return a concept of a layer that is not selected."""
    ids = seen.in_graph(
        "[...root.querySelectorAll('.node:not(.selected)')].map((n) => n.dataset.id)"
    )
    return next(i for i in ids if i.startswith(f"L{layer}/"))


def test_opens_traced_with_a_concept_selected(trace_page: Visit) -> None:
    assert trace_page.page.title() == "Trace · cgraph"
    selected = trace_page.selected()
    assert selected.startswith("L12/")
    assert trace_page.panel_title() == selected
    assert trace_page.in_graph("root.querySelectorAll('.head').length") == 12
    assert trace_page.page.locator("img.cg-picture").evaluate("i => i.naturalWidth") > 0


def test_hover_lights_the_neighbours_without_asking_the_server(trace_page: Visit) -> None:
    other = trace_page.in_graph("root.querySelector('.node.lit:not(.selected)').dataset.id")
    with trace_page.sent() as frames:
        trace_page.node(other).hover()
        trace_page.page.wait_for_timeout(300)
    assert frames == []
    assert trace_page.in_graph("root.querySelector('.tip.shown strong').textContent") == other
    assert trace_page.in_graph("root.querySelectorAll('.edge.lit').length") >= 1
    assert trace_page.selected() != other


def test_click_fills_the_panel_and_the_link(trace_page: Visit) -> None:
    other = _another(trace_page, 7)
    with trace_page.sent() as frames:
        trace_page.node(other).click()
        trace_page.expect_panel(other)
    assert frames != []
    assert trace_page.selected() == other
    assert f"concept={other.replace('/', '%2F')}" in trace_page.page.url
    assert "study=planted" in trace_page.page.url


def test_the_background_and_escape_clear_the_selection(trace_page: Visit) -> None:
    trace_page.node(trace_page.selected()).focus()
    trace_page.page.keyboard.press("Escape")
    trace_page.expect_panel("No concept is selected")
    assert trace_page.selected() is None
    assert "concept" not in trace_page.page.url


def test_keys_move_and_choose(trace_page: Visit) -> None:
    start = trace_page.selected()
    trace_page.node(start).focus()
    trace_page.page.keyboard.press("ArrowLeft")
    focused = trace_page.in_graph("root.activeElement.dataset.id")
    assert focused.startswith("L11/")
    trace_page.page.keyboard.press("ArrowDown")
    below = trace_page.in_graph("root.activeElement.dataset.id")
    assert below.startswith("L11/")
    trace_page.page.keyboard.press("ArrowUp")
    assert trace_page.in_graph("root.activeElement.dataset.id") in (focused, below)
    chosen = trace_page.in_graph("root.activeElement.dataset.id")
    trace_page.page.keyboard.press("Enter")
    trace_page.expect_panel(chosen)


def test_every_node_has_a_name_and_one_takes_the_tab_key(trace_page: Visit) -> None:
    names = trace_page.in_graph(
        "[...root.querySelectorAll('.node')].map((n) => n.getAttribute('aria-label'))"
    )
    assert len(names) > 60
    assert all(name.startswith("Concept L") for name in names)
    assert trace_page.in_graph("root.querySelectorAll('.node[tabindex=\"0\"]').length") == 1
    assert trace_page.in_graph("root.querySelectorAll('.node[tabindex]').length") == len(names)


def test_a_parent_in_the_panel_can_be_chosen(trace_page: Visit) -> None:
    parent = trace_page.page.locator(".list button.active").first
    concept = parent.get_attribute("data-id")
    parent.click()
    trace_page.expect_panel(concept)
    assert trace_page.selected() == concept


def test_another_image_is_traced(trace_page: Visit) -> None:
    title = trace_page.page.locator(".cg-title").inner_text()
    link = trace_page.page.url
    trace_page.page.locator(".strip button:not([aria-current])").nth(3).click()
    trace_page.page.wait_for_function("link => location.href !== link", arg=link)
    trace_page.wait()
    assert "image=drawn" in trace_page.page.url
    assert trace_page.page.locator(".strip button[aria-current]").count() == 1
    trace_page.page.go_back()
    trace_page.page.locator(".cg-title", has_text=title).wait_for()


def test_arrow_keys_walk_along_the_strip(trace_page: Visit) -> None:
    strip = trace_page.page.locator(".strip button")
    strip.first.focus()
    trace_page.page.keyboard.press("ArrowRight")
    assert strip.nth(1).evaluate("button => button === button.getRootNode().activeElement")
    title = strip.nth(1).get_attribute("title")
    trace_page.page.keyboard.press("Enter")
    trace_page.page.locator(".cg-title", has_text=title).wait_for()
    trace_page.page.locator(".strip button[aria-current]").wait_for()


def test_an_exemplar_can_be_traced(trace_page: Visit) -> None:
    exemplar = trace_page.page.locator(".grid:not(.strip) button").first
    image_id = exemplar.get_attribute("data-id")
    exemplar.click()
    trace_page.page.locator(".cg-eyebrow", has_text=image_id).wait_for()
    trace_page.wait()
    assert "training image" in trace_page.page.locator(".cg-eyebrow").inner_text()


def test_a_link_reopens_the_same_view(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address) as first:
        other = _another(first, 5)
        first.node(other).click()
        first.expect_panel(other)
        link = first.page.url
    with visit(chromium, link) as second:
        assert second.selected() == other
        assert second.panel_title() == other
        assert second.page.url == link


@pytest.mark.parametrize("width", [1440, 1200])
def test_wide_screens_need_no_scroll_bar(chromium: object, app_address: str, width: int) -> None:
    with visit(chromium, app_address, width=width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.in_graph("root.querySelector('.scroll').scrollWidth") == seen.in_graph(
            "root.querySelector('.scroll').clientWidth"
        )


def test_narrow_screens_scroll_inside_the_graph(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address, width=420) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 420
        assert seen.in_graph("root.querySelector('.scroll').scrollWidth") >= 12 * 64


def test_the_dark_theme_changes_the_colours(chromium: object, app_address: str) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        with visit(chromium, app_address, scheme=scheme) as seen:
            colours[scheme] = seen.in_graph(
                "['.id', '.edge.raises'].map((s) => { const c = getComputedStyle("
                "root.querySelector(s)); return s === '.id' ? c.fill : c.stroke; })",
            )
            assert seen.complaints == []
    assert colours["light"][0] != colours["dark"][0]
    assert colours["light"][1] != colours["dark"][1]


def test_an_address_in_a_link_is_not_made_clickable(chromium: object, app_address: str) -> None:
    query = "/?image=https%3A%2F%2Fexample.org%2Fx%20www.example.org%20a%40example.org"
    with visit(chromium, app_address, query) as seen:
        warning = seen.page.locator("[data-testid=stAlert]")
        assert "https://example.org/x" in warning.inner_text()
        assert warning.locator("a").count() == 0
        assert seen.outside == []


def test_long_file_names_take_two_lines_at_most(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address) as seen:
        title = seen.page.locator(".cg-title")
        title.evaluate("(heading) => { heading.textContent = 'a'.repeat(400); }")
        height, line = title.evaluate(
            "(h) => [h.getBoundingClientRect().height, parseFloat(getComputedStyle(h).lineHeight)]"
        )
        assert height < 3 * line


def test_a_thumbnail_is_not_blown_up(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address) as seen:
        assert seen.page.locator("img.cg-picture").evaluate("i => i.clientWidth") <= 112


def test_figures_fit_their_lines_on_a_small_screen(chromium: object, app_address: str) -> None:
    with visit(chromium, app_address, width=1200) as seen:
        heights = seen.page.locator(".cg-figures dd").evaluate_all(
            "cells => cells.map((cell) => cell.clientHeight)"
        )
        assert len(heights) == 5
        assert max(heights) < 24
