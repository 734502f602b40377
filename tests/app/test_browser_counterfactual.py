"""The Counterfactual page in a real browser: the job done by mouse, by keys, and from a link."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import Visit, visit

from cgraph.edits import SavedEdit

DEMO = Path(__file__).parents[2] / "data" / "demo"


@contextmanager
def counterfactual(browser: Any, address: str, **options: Any) -> Iterator[Visit]:
    """Open the app and go to the page, as people do."""
    with visit(browser, address, **options) as seen:
        seen.page.get_by_role("link", name="Counterfactual", exact=True).first.click()
        seen.page.locator(".cf-summary").wait_for(timeout=60_000)
        seen.wait()
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


def query(seen: Visit, key: str) -> str:
    return parse_qs(urlsplit(seen.page.url).query).get(key, [""])[0]


def until(seen: Visit, condition: Callable[[], bool]) -> None:
    """Wait until something holds, and nothing on the page is stale."""
    for _ in range(200):
        if condition():
            seen.wait()
            return
        seen.page.wait_for_timeout(100)
    raise AssertionError(f"It never came true; the page is at {seen.page.url}")


def view(seen: Visit, name: str) -> None:
    seen.page.locator(".st-key-cf\\.view, [data-testid=stButtonGroup]").get_by_text(
        name, exact=True
    ).first.click()
    seen.page.wait_for_timeout(300)
    seen.wait()


@pytest.fixture(scope="module")
def demo_address(serve_app: Callable[[Path], str]) -> str:
    return serve_app(DEMO)


def test_the_job_on_the_demo(chromium: Any, demo_address: str, tmp_path: Path) -> None:
    """What happens to later layers when a concept goes, and does the network agree?"""
    with counterfactual(chromium, demo_address) as seen:
        page = seen.page
        assert "predicts" in page.locator(".cf-summary").inner_text()
        page.locator(".cf-summary", has_text="were measured").wait_for(timeout=120_000)
        seen.wait()
        heads = page.locator("thead th").all_inner_texts()
        assert sum("measured" in head for head in heads) == 2
        assert sum("predicted" in head for head in heads) == 1

        page.get_by_role("button", name="grass L8/13").first.click()
        until(seen, lambda: "-L8/13" in query(seen, "edit"))
        page.get_by_role("button", name="Undo").click()
        until(seen, lambda: not query(seen, "edit"))
        page.go_back()  # the address of before
        until(seen, lambda: "-L8/13" in query(seen, "edit"))

        view(seen, "Graph")
        seen.node("L9/9").click()
        until(seen, lambda: "-L9/9" in query(seen, "edit"))
        assert seen.selected() == "L9/9"
        seen.expect_panel("L9/9")
        lit = seen.in_graph("root.querySelectorAll('.edge.lit').length")
        assert lit > 0  # where the edit spreads to
        seen.node("L9/9").click()
        until(seen, lambda: "-L9/9" not in query(seen, "edit"))

        page.get_by_role("button", name="Save, load, compare").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save this edit as JSON").click()
        path = tmp_path / "edit.json"
        download.value.save_as(path)
        saved = SavedEdit.from_json(path.read_text())
        assert saved.edit.to_text() == query(seen, "edit")
        assert json.loads(path.read_text())["study"] == "demo"
        page.keyboard.press("Escape")

        link = page.url
        shown = page.locator(".cf-summary").inner_text()
        with visit(chromium, link.partition("?")[0], "?" + link.partition("?")[2]) as again:
            assert again.page.locator(".cf-summary").inner_text() == shown


def test_keys_alone_are_enough(chromium: Any, app_address: str) -> None:
    with counterfactual(chromium, app_address) as seen:
        page = seen.page
        pill = page.locator(".st-key-cf-pills button").first
        name = pill.inner_text()
        pill.focus()
        page.keyboard.press("Space")
        until(seen, lambda: name.split()[-1] in query(seen, "edit"))
        view(seen, "Graph")
        page.locator(".node[tabindex='0'], .head[tabindex='0']").first.focus()
        page.keyboard.press("ArrowRight")
        focused = seen.in_graph("root.activeElement.dataset.id")
        page.keyboard.press("Enter")
        until(seen, lambda: focused in query(seen, "edit"))
        for _ in range(2):
            page.get_by_role("button", name="Undo").focus()
            before = page.url
            page.keyboard.press("Enter")
            until(seen, lambda before=before: page.url != before)
        assert focused not in query(seen, "edit")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_holds_the_page(chromium: Any, app_address: str, scheme: str) -> None:
    with counterfactual(chromium, app_address, width=420, scheme=scheme) as seen:
        for name in ("Before and after", "Graph", "Two edits", "What changes"):
            view(seen, name)
            width = seen.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
            assert width <= 420, name
        names = seen.page.locator("td button").evaluate_all(
            "(buttons) => buttons.map((b) => b.getAttribute('aria-label'))"
        )
        assert names and all(name and ":" in name for name in names)  # name and value
