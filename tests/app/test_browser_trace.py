"""The Trace page in a real browser: silent concepts, layers, paths, several images, files."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from app_pages import jpeg
from browsing import Visit, visit
from PIL import Image

from cgraph.study import Study
from cgraph.tracing import trace_row

APP = Path(__file__).parents[2] / "app.py"
SVG = "{http://www.w3.org/2000/svg}"

# The app with a model that traces every upload like a stored image.
SCRIPT = f"""
from dataclasses import replace

from cgraph import tracing


def trace_image(study, model, image, name):
    return replace(tracing.trace_row(study, image.getpixel((0, 0))[0] % 50), image_id=name)


tracing.load_model = lambda study: "the model"
tracing.trace_image = trace_image

exec(compile(open({str(APP)!r}).read(), "app.py", "exec"))
"""


@pytest.fixture(scope="module")
def address(
    serve_app: Callable[[Path, Path], str],
    studies_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    script = tmp_path_factory.mktemp("script") / "app.py"
    script.write_text(SCRIPT)
    return serve_app(studies_folder, script)


@pytest.fixture
def trace_page(chromium: object, address: str) -> Iterator[Visit]:
    with visit(chromium, address) as seen:
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


def _ids(seen: Visit, selector: str) -> list[str]:
    return seen.in_graph(f"[...root.querySelectorAll('{selector}')].map((n) => n.dataset.id)")


def _saved(seen: Visit, name: str) -> tuple[str, bytes]:
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name=name, exact=True).click()
    found = download.value
    return found.suggested_filename, Path(found.path()).read_bytes()


def _go(seen: Visit, step: Callable[[], Any]) -> None:
    """Do something that changes the address, and wait for the page that follows."""
    link = seen.page.url
    step()
    seen.page.wait_for_function("link => location.href !== link", arg=link)
    seen.wait()


class TestSilentConcepts:
    def test_the_box_shows_and_hides_them_without_the_server(self, trace_page: Visit) -> None:
        box = trace_page.page.get_by_role("checkbox", name="Silent concepts")
        assert _ids(trace_page, ".ghost") == []
        with trace_page.sent() as frames:
            box.check()
            ghosts = _ids(trace_page, ".ghost")
            box.uncheck()
            assert frames == []
        active = _ids(trace_page, ".node:not(.ghost)")
        assert ghosts and not set(ghosts) & set(active)
        assert _ids(trace_page, ".ghost") == []

    def test_a_ghost_can_be_chosen_and_stays(self, trace_page: Visit) -> None:
        box = trace_page.page.get_by_role("checkbox", name="Silent concepts")
        box.check()
        ghost = _ids(trace_page, ".ghost:has(.badge)")[0]  # expected, so it has active parents
        trace_page.node(ghost).click()
        trace_page.expect_panel(ghost)
        assert "silent in this image" in trace_page.page.locator(".st-key-cg-panel").inner_text()
        box.uncheck()
        assert _ids(trace_page, ".ghost") == [ghost]
        assert trace_page.selected() == ghost
        # What would have led to it is lit.
        assert trace_page.in_graph("root.querySelectorAll('.edge.ghostly.lit').length") > 0

    def test_a_silent_parent_of_the_panel_appears(self, trace_page: Visit) -> None:
        silent = trace_page.page.locator(".list button.silent").first
        concept = silent.get_attribute("data-id")
        silent.click()
        trace_page.expect_panel(concept)
        assert trace_page.selected() == concept
        assert _ids(trace_page, ".ghost") == [concept]


class TestLayers:
    def test_its_name_opens_the_panel_of_a_layer(self, trace_page: Visit) -> None:
        head = trace_page.page.get_by_role("button", name="Layer 5:")
        head.click()
        trace_page.page.locator(".cg-concept", has_text="Layer 5").wait_for()
        trace_page.wait()
        assert parse_qs(urlsplit(trace_page.page.url).query)["layer"] == ["5"]
        lit = _ids(trace_page, ".node.lit")
        assert {i for i in lit if i.startswith("L5/")} == {
            i for i in _ids(trace_page, ".node") if i.startswith("L5/")
        }
        assert head.get_attribute("aria-pressed") == "true"

    def test_keys_reach_it(self, trace_page: Visit) -> None:
        first = next(i for i in _ids(trace_page, ".node") if i.startswith("L3/"))
        trace_page.node(first).focus()
        trace_page.page.keyboard.press("ArrowUp")
        trace_page.page.keyboard.press("ArrowRight")
        focused = "root.activeElement.dataset.id"
        assert trace_page.in_graph(focused) == "layer-4"
        trace_page.page.keyboard.press("Enter")
        trace_page.page.locator(".cg-concept", has_text="Layer 4").wait_for()
        trace_page.page.keyboard.press("ArrowDown")
        assert trace_page.in_graph(focused).startswith("L4/")

    def test_a_link_reopens_it(self, chromium: object, address: str) -> None:
        with visit(chromium, address, "?layer=7") as seen:
            assert seen.panel_title() == "Layer 7"
            assert seen.in_graph("root.querySelector('.head.selected').dataset.id") == "layer-7"


def test_a_concept_of_a_path_can_be_chosen(trace_page: Visit) -> None:
    table = trace_page.page.locator("table.joined")
    concept = table.locator("tbody button").first.get_attribute("data-id")
    table.locator("tbody button").first.click()
    trace_page.expect_panel(concept)
    assert trace_page.selected() == concept


def test_the_arrow_keys_walk_through_a_table(trace_page: Visit, studies_folder: Path) -> None:
    study = Study.open(studies_folder / "planted")
    trace = trace_row(study, int(study.rows("held-out")[0]))
    actives = [active.concept for layer in trace.layers[6:] for active in layer]
    concept = next(concept for concept in actives if len(trace.paths_to(concept).paths) > 1)
    trace_page.node(str(concept)).click()
    trace_page.expect_panel(str(concept))
    table = trace_page.page.locator("table.joined")
    first = table.locator("tbody button").first
    first.focus()
    trace_page.page.keyboard.press("ArrowRight")
    focused = """() => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
      .map((host) => host.shadowRoot.activeElement).find((e) => e?.closest('table'))?.dataset.id"""
    second = table.locator("tbody tr").first.locator("button").nth(1).get_attribute("data-id")
    assert trace_page.page.evaluate(focused) == second
    trace_page.page.keyboard.press("ArrowDown")
    below = table.locator("tbody tr").nth(1).locator("button")
    assert trace_page.page.evaluate(focused) in [
        below.nth(i).get_attribute("data-id") for i in range(below.count())
    ]


def test_a_word_is_explained_where_it_stands(trace_page: Visit) -> None:
    word = trace_page.page.locator(".cg-figures .cg-term", has_text="AUC").first
    meaning = word.locator(".cg-meaning")
    assert not meaning.is_visible()
    word.hover()
    assert meaning.is_visible()
    assert "0.5 is guessing" in meaning.inner_text()
    trace_page.page.mouse.move(5, 5)
    word.focus()  # with the keyboard, or by a tap
    assert meaning.is_visible()
    box, window = meaning.bounding_box(), trace_page.page.viewport_size
    assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"]


@pytest.mark.parametrize(("width", "scheme"), [(420, "light"), (1200, "dark"), (1440, "light")])
def test_no_meaning_leaves_the_window(
    chromium: object, address: str, width: int, scheme: str
) -> None:
    with visit(chromium, address, width=width, scheme=scheme) as seen:
        found = seen.page.locator(".cg-term")
        n_looked_at = 0
        for place in range(found.count()):
            word = found.nth(place)
            word.scroll_into_view_if_needed()
            word.hover()
            meaning = word.locator(".cg-meaning")
            assert meaning.is_visible()
            box = meaning.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            n_looked_at += 1
        assert n_looked_at >= 15


class TestSeveralImages:
    def test_images_are_switched_on_and_off(self, trace_page: Visit) -> None:
        offered = trace_page.page.locator("button[aria-pressed]:visible").filter(
            has=trace_page.page.locator("img")
        )
        _go(trace_page, offered.nth(0).click)
        trace_page.page.locator("table.apart tbody tr").first.wait_for()
        assert trace_page.page.locator("table.apart tbody tr").count() == 12
        _go(trace_page, offered.nth(2).click)
        assert len(parse_qs(urlsplit(trace_page.page.url).query)["with"][0].split(",")) == 2
        assert trace_page.page.locator("table.apart thead th").count() == 4
        _go(trace_page, offered.nth(0).click)
        assert trace_page.page.locator("table.apart thead th").count() == 3

    def test_a_concept_of_the_table_is_selected_in_the_graph(self, trace_page: Visit) -> None:
        offered = trace_page.page.locator("button[aria-pressed]:visible").filter(
            has=trace_page.page.locator("img")
        )
        _go(trace_page, offered.nth(1).click)
        button = trace_page.page.locator("table.apart tbody tr").nth(4).locator("button").first
        concept = button.get_attribute("data-id")
        button.click()
        trace_page.expect_panel(concept)
        assert trace_page.selected() == concept

    def test_uploads_are_traced_beside_one_another(self, trace_page: Visit, tmp_path: Path) -> None:
        paths = [tmp_path / f"{name}.jpg" for name in ("one", "two", "three")]
        for place, path in enumerate(paths):
            path.write_bytes(jpeg((20 * place + 10, 90, 40), side=90))
        bad = tmp_path / "bad.png"
        bad.write_text("no picture")
        trace_page.page.get_by_role("tab", name="Upload your own").click()
        chooser = trace_page.page.locator('input[type="file"]')
        chooser.set_input_files([paths[0], bad, paths[1], paths[2]])
        trace_page.page.locator(".cg-title", has_text="one.jpg").wait_for(timeout=20_000)
        trace_page.wait()
        assert trace_page.page.get_by_text("bad.png").first.is_visible()
        heads = trace_page.page.locator("table.apart thead th").all_inner_texts()
        assert [head.split(": ")[-1] for head in heads[1:]] == ["one.jpg", "two.jpg", "three.jpg"]
        # Another upload is one click away, and the back button comes back.
        _go(trace_page, trace_page.page.get_by_role("button", name="two.jpg").first.click)
        assert trace_page.page.locator(".cg-title").inner_text() == "two.jpg"
        trace_page.page.go_back()
        trace_page.page.locator(".cg-title", has_text="one.jpg").wait_for(timeout=20_000)
        assert trace_page.page.get_by_text("Traceback").count() == 0


class TestFiles:
    def test_the_trace_as_json_and_csv(self, trace_page: Visit) -> None:
        trace_page.page.get_by_role("button", name="Download").click()
        name, data = _saved(trace_page, "Trace as JSON")
        assert name.startswith("trace-planted-") and name.endswith(".json")
        trace = json.loads(data)
        concepts = [entry["concept"] for layer in trace["layers"] for entry in layer]
        assert set(_ids(trace_page, ".node")) <= set(concepts)

        name, data = _saved(trace_page, "Concepts as CSV")
        assert name.startswith("concepts-planted-")
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert [row["concept"] for row in rows if row["state"] == "active"] == concepts

        name, data = _saved(trace_page, "Edges as CSV")
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert [(row["parent"], row["child"]) for row in rows] == [
            (edge["parent"], edge["child"]) for edge in trace["edges"]
        ]

    def test_the_figure_as_svg(self, trace_page: Visit) -> None:
        trace_page.page.get_by_role("checkbox", name="Silent concepts").check()
        name, data = _saved(trace_page, "SVG")
        assert name.startswith("trace-planted-") and name.endswith(".svg")
        root = ET.fromstring(data)
        assert root.tag == f"{SVG}svg"
        images = [image.get("href") for image in root.iter(f"{SVG}image")]
        assert len(images) == len(_ids(trace_page, ".node"))
        assert all(image.startswith("data:image/") for image in images)
        words = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
        assert set(_ids(trace_page, ".node")) <= words
        assert {f"Layer {layer}" for layer in range(1, 13)} <= words
        assert any("study planted" in text for text in words)
        shown = trace_page.in_graph(
            "[...root.querySelectorAll('.edge')]"
            ".filter((e) => getComputedStyle(e).display !== 'none').length"
        )
        assert len(list(root.iter(f"{SVG}path"))) == shown
        # It stands alone: no style sheet, no variable, nothing from elsewhere.
        assert b"var(--" not in data and b"http://127" not in data

    def test_the_figure_as_png(self, trace_page: Visit) -> None:
        name, data = _saved(trace_page, "PNG")
        assert name.endswith(".png")
        image = Image.open(io.BytesIO(data)).convert("RGB")
        canvas = trace_page.in_graph(
            "['width', 'height'].map((n) => +root.querySelector('.scroll > svg').getAttribute(n))"
        )
        assert image.size == (2 * (canvas[0] + 32), 2 * (canvas[1] + 72))
        # Thumbnails and orange edges are drawn, not only the ground.
        colours = image.resize((200, 200)).getcolors(40_000)
        assert len(colours) > 300
        assert max(colours)[1] == (255, 255, 255)

    def test_the_link_opens_the_same_view_on_a_fresh_server(
        self, trace_page: Visit, chromium: object, app_address: str
    ) -> None:
        concept = next(i for i in _ids(trace_page, ".node") if i.startswith("L6/"))
        trace_page.node(concept).click()
        trace_page.expect_panel(concept)
        trace_page.page.get_by_role("button", name="Link to this view").click()
        link = trace_page.page.locator("[data-testid=stCode] code").first.inner_text()
        title = trace_page.page.locator(".cg-title").inner_text()
        with visit(chromium, app_address, f"?{urlsplit(link).query}") as seen:
            assert seen.selected() == concept
            assert seen.page.locator(".cg-title").inner_text() == title
            assert seen.complaints == []
