"""The Graph page in a real browser: from a cell to a concept, its paths, pins, files; keyboard."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import networkx as nx
import pytest
from browsing import Visit, visit
from PIL import Image
from planted_study import parents_of

SVG = "{http://www.w3.org/2000/svg}"
MATRIX = ".matrix .scroll > svg"


@contextmanager
def graph_page(browser: Any, address: str, query: str = "", **options: Any) -> Iterator[Visit]:
    with visit(browser, f"{address}/Graph", query, **options) as seen:
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


def query(seen: Visit) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(urlsplit(seen.page.url).query).items()}


def go(seen: Visit, step: Callable[[], Any]) -> None:
    """Do something that changes the address, and wait for the page that follows."""
    link = seen.page.url
    step()
    seen.page.wait_for_function("link => location.href !== link", arg=link)
    seen.wait()


def saved(seen: Visit, name: str) -> tuple[str, bytes]:
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name=name, exact=True).click()
    found = download.value
    return found.suggested_filename, Path(found.path()).read_bytes()


def chosen(seen: Visit, concept: str) -> None:
    """Wait until a concept is selected in the drawing."""
    seen.page.locator(f'.node.selected[data-id="{concept}"]').wait_for()


def button(seen: Visit, name: str) -> Any:
    return seen.page.get_by_role("button", name=name, exact=True)


def test_from_a_pair_to_a_concept_its_paths_and_a_scratch_graph(
    chromium: object, app_address: str
) -> None:
    with graph_page(chromium, app_address, ready=MATRIX) as seen:
        page = seen.page
        # A cell lists its edge.
        box = page.locator(f"{MATRIX} .raises").first.bounding_box()
        go(seen, lambda: page.mouse.click(box["x"] + 3, box["y"] + 3))
        assert "cell" in query(seen)
        table = page.locator("table", has_text="Layer 12")
        assert table.locator("tbody tr").count() == 1
        ids = [b.get_attribute("data-id") for b in table.locator("button").all()]
        parent, child = (int(text.split("/")[1]) for text in ids)
        assert parent in parents_of(child)
        # A concept of it opens in the panel, and its neighbourhood in the view.
        go(seen, lambda: table.locator("button").first.click())
        seen.expect_panel(ids[0])
        go(seen, button(seen, "Neighbourhood").click)
        chosen(seen, ids[0])
        # Its parents are drawn; one of them is chosen, and the drawing stays.
        other = f"L10/{next(iter(parents_of(parent)))}"
        before = seen.in_graph("root.querySelectorAll('.node').length")
        go(seen, lambda: seen.node(other).first.click())
        seen.expect_panel(other)
        assert seen.in_graph("root.querySelectorAll('.node').length") == before
        assert query(seen)["centre"] == ids[0]
        # One step back undoes one click, and forward does it again.
        page.go_back()
        seen.expect_panel(ids[0])
        page.go_forward()
        seen.expect_panel(other)
        # Both are pinned; the scratch graph has them and their edge.
        go(seen, button(seen, "Pin").click)
        go(seen, lambda: seen.node(ids[0]).first.click())
        seen.expect_panel(ids[0])
        go(seen, button(seen, "Pin").click)
        assert query(seen)["pins"] == f"{other},{ids[0]}"
        # They survive a visit to another page and the back button.
        go(seen, lambda: page.get_by_role("link", name="Trace", exact=True).click())
        page.locator(".cg-picture").wait_for()
        assert query(seen)["pins"] == f"{other},{ids[0]}"
        seen.node("L1/0").or_(page.locator(".node")).first.wait_for()
        go(seen, lambda: page.get_by_role("link", name="Graph", exact=True).first.click())
        page.get_by_text("Scratch graph (2)").wait_for()
        go(seen, lambda: page.get_by_role("radio", name="Scratch graph (2)").click())
        seen.wait()
        shown = seen.in_graph("[...root.querySelectorAll('.node')].map((n) => n.dataset.id)")
        assert sorted(shown) == sorted([other, ids[0]])
        assert seen.in_graph("root.querySelectorAll('.edge').length") == 1


def test_a_group_is_made_and_a_link_opens_it_on_a_fresh_page(
    chromium: object, app_address: str
) -> None:
    with graph_page(chromium, app_address, "?view=pinned&pins=L5/4,L6/4,L7/4") as seen:
        page = seen.page
        page.get_by_label("Pinned concepts").click()
        page.get_by_role("option", name="L5/4").click()
        page.get_by_role("option", name="L7/4").click()
        page.keyboard.press("Escape")
        seen.wait()
        page.get_by_label("Label", exact=True).fill("my ring")
        page.keyboard.press("Tab")
        seen.wait()
        go(seen, button(seen, "Group under this label").click)
        assert query(seen)["pins"] == "L6/4;my ring:L5/4,L7/4"
        link = urlsplit(page.url).query
    with graph_page(chromium, app_address, f"?{link}") as seen:
        assert seen.page.locator("dt", has_text="my ring").count() == 1
        marks = seen.in_graph("[...root.querySelectorAll('.badge text')].map((t) => t.textContent)")
        assert marks == ["1", "1"]


def test_paths_are_typed_and_no_path_is_an_answer(chromium: object, app_address: str) -> None:
    with graph_page(chromium, app_address, "?view=paths&concept=L12/4") as seen:
        page = seen.page
        start = page.get_by_label("From", exact=True)
        start.fill("L9/4")
        go(seen, lambda: page.keyboard.press("Enter"))
        page.get_by_role("heading", name="paths from L9/4 to L12/4").or_(
            page.get_by_role("heading", name="path from L9/4 to L12/4")
        ).wait_for()
        first = page.locator("table tbody tr").first.locator("button")
        assert [b.get_attribute("data-id") for b in first.all()] == [
            f"L{layer}/4" for layer in (9, 10, 11, 12)
        ]
        go(seen, button(seen, "Swap").click)
        page.get_by_text("There is no path from L12/4 to L9/4").wait_for()
        page.go_back()
        page.get_by_role("heading", name="from L9/4 to L12/4").wait_for()
        start.fill("<img src=x onerror=alert(1)>")
        go(seen, lambda: page.keyboard.press("Enter"))
        page.get_by_text("is no concept, group, attribute or name here").wait_for()
        assert page.locator("img[src=x]").count() == 0


def test_search_and_filters(chromium: object, app_address: str) -> None:
    with graph_page(chromium, app_address, "?concept=L6/4&hops=1&beam=20") as seen:
        page = seen.page
        page.get_by_label("Find a concept").fill("L8/5")
        go(seen, lambda: page.keyboard.press("Enter"))
        page.get_by_text("Found for").wait_for()
        go(seen, lambda: page.locator(".list button").first.click())
        seen.expect_panel("L8/5")
        assert "find" not in query(seen)
        chosen(seen, "L8/5")
        page.get_by_role("button", name="Filters").click()
        go(seen, lambda: page.get_by_role("radio", name="that lower").click())
        assert query(seen)["sign"] == "lowers"
        seen.wait()
        assert seen.in_graph("root.querySelectorAll('.edge.raises').length") == 0
        assert seen.in_graph("root.querySelectorAll('.edge.lowers').length") > 0
        page.keyboard.press("Escape")


def test_files_from_the_browser(chromium: object, app_address: str) -> None:
    with graph_page(chromium, app_address, "?concept=L6/4&hops=1&beam=20") as seen:
        name, data = saved(seen, "SVG")
        assert name == "graph-planted-around-L6-4.svg"
        drawing = ET.fromstring(data)
        assert drawing.tag == f"{SVG}svg" and b"study planted" in data
        name, data = saved(seen, "PNG")
        assert Image.open(io.BytesIO(data)).format == "PNG"
        seen.page.get_by_role("button", name="Download").click()
        name, data = saved(seen, "Save as GraphML")
        assert name == "graph-planted-around-L6-4.graphml"
        made = nx.read_graphml(io.BytesIO(data))
        shown = seen.in_graph("[...root.querySelectorAll('.node')].map((n) => n.dataset.id)")
        assert set(made) == set(shown)
        assert {p for p, c in made.edges if c == "L6/4"} == {f"L5/{p}" for p in parents_of(4)}
    with graph_page(chromium, app_address, "?view=pair&pair=3", ready=MATRIX) as seen:
        name, data = saved(seen, "SVG")
        assert name == "pair-planted-2-3.svg"
        rects = ET.fromstring(data).iter(f"{SVG}rect")
        assert sum("opacity" in rect.attrib for rect in rects) == 24 * 3
        name, data = saved(seen, "PNG")
        assert Image.open(io.BytesIO(data)).size[0] > 600


def test_the_keyboard_reaches_everything(chromium: object, app_address: str) -> None:
    with graph_page(chromium, app_address, "?view=pair&pair=3", ready=MATRIX) as seen:
        page = seen.page
        page.locator(MATRIX).focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Control+ArrowRight")
        spoken = page.locator(".matrix .live").inner_text()
        assert "L2/" in spoken and "L3/" in spoken
        while "weight" not in page.locator(".matrix .live").inner_text():
            page.keyboard.press("ArrowLeft")
        go(seen, lambda: page.keyboard.press("Enter"))
        assert "cell" in query(seen)
        go(seen, lambda: page.keyboard.press("Escape"))
        assert "cell" not in query(seen)
    with graph_page(chromium, app_address, "?concept=L6/4&hops=1") as seen:
        page = seen.page
        seen.node("L6/4").focus()
        page.keyboard.press("ArrowLeft")
        there = seen.in_graph("root.activeElement.dataset.id")
        assert there.startswith("L5/")
        go(seen, lambda: page.keyboard.press("Enter"))
        seen.expect_panel(there)
        # A layer's name opens its matrix.
        page.keyboard.press("ArrowUp")
        while not seen.in_graph("root.activeElement.dataset.id").startswith("layer-"):
            page.keyboard.press("ArrowUp")
        go(seen, lambda: page.keyboard.press("Enter"))
        page.locator(MATRIX).wait_for()
        assert query(seen)["pair"] == "5"


def test_an_exemplar_is_traced(chromium: object, app_address: str) -> None:
    with graph_page(chromium, app_address, "?concept=L6/4") as seen:
        go(seen, lambda: seen.page.locator(".st-key-cg-panel .grid button").first.click())
        seen.page.locator(".cg-picture").wait_for()
        seen.expect_panel("L6/4")
        assert urlsplit(seen.page.url).path == "/" and query(seen)["image"].startswith("drawn")


@pytest.mark.parametrize(
    ("view", "scheme"),
    [("pair", "light"), ("around", "dark"), ("paths", "light"), ("pinned", "dark")],
)
def test_a_narrow_screen_has_no_sideways_scroll(
    chromium: object, app_address: str, view: str, scheme: str
) -> None:
    link = f"?view={view}&concept=L6/4&pins=L6/4,L7/4"
    ready = MATRIX if view == "pair" else ".node"
    with graph_page(chromium, app_address, link, width=420, scheme=scheme, ready=ready) as seen:
        assert seen.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
