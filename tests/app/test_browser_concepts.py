"""The Concepts page in a real browser: look through a layer, read one concept, name it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from browsing import IDLE

from cgraph.concept import ConceptId
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study

CONFIG = PlantedConfig(
    n_layers=3, n_atoms=60, d_model=24, max_nnz=5, n_images=500, n_examples=2, thumbnail_px=48
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_study(tmp_path_factory.mktemp("browsed") / "sizes", CONFIG)


@pytest.fixture(scope="module")
def address(serve_app: Any, folder: Path) -> str:
    return serve_app(folder.parent)


@contextmanager
def browse(browser: Any, address: str, query: str = "", **window: Any) -> Iterator[Any]:
    """Open the page; afterwards nothing may have been complained about or asked of others."""
    context = browser.new_context(
        viewport={"width": window.get("width", 1440), "height": 900},
        color_scheme=window.get("scheme", "light"),
        reduced_motion="reduce",
    )
    page = context.new_page()
    complaints: list[str] = []
    host = urlsplit(address).netloc

    def on_console(message: Any) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} {message.location}")

    def on_request(request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != host:
            complaints.append(f"asked for {request.url}")

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        page.goto(f"{address}/Concepts{query}")
        page.locator(".cards button, .cg-title").first.wait_for(timeout=60_000)
        page.wait_for_function(IDLE, timeout=60_000)
        yield page
        assert complaints == []
    finally:
        context.close()


def title(page: Any, part: str) -> None:
    """Wait until a concept is shown in full."""
    page.locator(".cg-title", has_text=part).wait_for(timeout=20_000)
    page.wait_for_function(IDLE, timeout=60_000)


def first_card(page: Any) -> str:
    return page.locator(".cards button").first.get_attribute("data-id")


def test_from_a_layer_to_a_concept_to_its_parent_and_back(
    chromium: Any, address: str, folder: Path
) -> None:
    with browse(chromium, address, "?layer=2") as page:
        cards = page.locator(".cards button")
        assert cards.count() == 24
        tile = cards.first.locator("i").first
        assert tile.evaluate("i => getComputedStyle(i).backgroundImage").startswith('url("data:')
        before = first_card(page)
        page.get_by_role("button", name="Next page →").click()
        page.get_by_text("25 to 48 of the 60 concepts").wait_for()
        page.locator(f'.cards button[data-id="{before}"]').wait_for(state="detached")
        page.wait_for_function(IDLE)
        chosen = first_card(page)
        cards.first.click()
        title(page, chosen)
        edges = Study.open(folder).graph.parents(ConceptId.parse(chosen))
        parent = f"L1/{edges.indices[0]}"
        page.locator(f'.list button[data-id="{parent}"]').first.click()
        title(page, parent)
        assert f"concept={parent.replace('/', '%2F')}" in page.url
        page.go_back()
        title(page, chosen)
        page.go_back()
        page.get_by_text("25 to 48 of the 60 concepts").wait_for()
        assert first_card(page) == chosen


def test_the_link_opens_the_same_view_on_a_fresh_page(chromium: Any, address: str) -> None:
    with browse(chromium, address, "?layer=2&sort=parents&page=2") as page:
        chosen = first_card(page)
        page.locator(".cards button").first.click()
        title(page, chosen)
        page.get_by_role("button", name="Link to this view").click()
        link = urlsplit(page.locator("[data-testid=stCode]").inner_text()).query
        assert dict(parse_qsl(link)) == dict(parse_qsl(urlsplit(page.url).query))
    with browse(chromium, address, f"?{link}") as page:
        title(page, chosen)
        page.get_by_role("button", name="← All concepts of layer 2").click()
        page.get_by_text("25 to 48 of the 60 concepts").wait_for()
        assert first_card(page) == chosen


def test_the_keyboard_is_enough(chromium: Any, address: str) -> None:
    with browse(chromium, address, "?layer=2&sort=index") as page:
        page.get_by_role("button", name="CSV of this list").focus()
        page.keyboard.press("Tab")
        focused = (
            "() => { let e = document.activeElement; while (e.shadowRoot) "
            "e = e.shadowRoot.activeElement; return e.dataset.id; }"
        )
        assert page.evaluate(focused) == "L2/0"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        below = page.evaluate(focused)
        assert re.fullmatch(r"L2/[3-9]", below)
        page.keyboard.press("ArrowUp")
        assert page.evaluate(focused) == "L2/1"
        page.keyboard.press("End")
        assert page.evaluate(focused) == "L2/23"
        page.keyboard.press("Enter")
        title(page, "L2/23")
        page.get_by_role("textbox", name="Name it by hand").focus()
        page.keyboard.type("by keyboard")
        page.keyboard.press("Tab")
        page.keyboard.type("Ada")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        title(page, "by keyboard ✎")
        page.get_by_role("button", name="Clear the name").focus()
        page.keyboard.press("Enter")
        page.get_by_text("The name ‘by keyboard’ was cleared.").wait_for()


def test_a_name_goes_round_the_app(
    chromium: Any, serve_app: Any, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "mine" / "sizes")
    address = serve_app(tmp_path / "mine")
    with browse(chromium, address, "?concept=L3/5") as page:
        page.get_by_role("textbox", name="Name it by hand").fill("wheels")
        page.get_by_role("textbox", name="Your name").fill("Ada")
        page.get_by_role("button", name="Save", exact=True).click()
        title(page, "wheels ✎")
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("The last change was taken back.").wait_for()
        page.get_by_role("textbox", name="Name it by hand").fill("hubs")
        page.get_by_role("button", name="Save", exact=True).click()
        title(page, "hubs ✎")
        page.get_by_role("button", name="← All concepts of layer 3").click()
        page.locator('.cards button[data-id="L3/5"]', has_text="hubs ✎").wait_for()
        page.locator('.cards button[data-id="L3/5"]').click()
        title(page, "hubs ✎")
        page.get_by_role("group", name="High activation").get_by_role("button").first.click()
        page.wait_for_url("**/?*image=*")  # the Trace page, with that image
        page.locator('.node[data-id="L3/5"]').wait_for(timeout=60_000)
        assert "hubs ✎" in page.locator('.node[data-id="L3/5"]').get_attribute("aria-label")
    assert Study.open(tmp_path / "mine" / "sizes").naming.by_hand[ConceptId(3, 5)].text == "hubs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_windows_hold_everything(chromium: Any, address: str, scheme: str) -> None:
    for query in ("?layer=2", "?concept=L2/5"):
        with browse(chromium, address, query, width=420, scheme=scheme) as page:
            wide = page.evaluate(
                "() => [document.documentElement, document.querySelector('[data-testid=stMain]')]"
                ".map((part) => part.scrollWidth)"
            )
            assert max(wide) <= 420


def test_the_figure_is_saved_as_picture_and_data(chromium: Any, address: str, folder: Path) -> None:
    with browse(chromium, address, "?concept=L2/5") as page:
        kinds = {}
        for kind in ("SVG", "PNG", "CSV"):
            with page.expect_download() as waiting:
                page.get_by_role("button", name=f"Save the figure as {kind}").click()
            kinds[kind] = Path(waiting.value.path()).read_bytes()
            assert waiting.value.suggested_filename == f"activations-sizes-L2-5.{kind.lower()}"
        assert kinds["SVG"].startswith(b"<svg") and kinds["PNG"].startswith(b"\x89PNG")
        rows = [row.split(",") for row in kinds["CSV"].decode().splitlines()[1:]]
        n_train = Study.open(folder).graph.record(ConceptId(2, 5)).n_train
        assert sum(int(row[2]) for row in rows) == n_train
