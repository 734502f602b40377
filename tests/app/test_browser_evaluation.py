"""The Evaluation page in a real browser: threshold, choices, keyboard, downloads, links."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, visit

from cgraph.concept import ConceptId
from cgraph.held_out import HeldOutPair
from cgraph.study import Study

READY = ".figure svg"
CONCEPT = "L12/7"


@pytest.fixture
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@contextmanager
def opened(chromium: object, address: str) -> Iterator[Visit]:
    with visit(chromium, address, f"/Evaluation?concept={CONCEPT}", ready=READY) as seen:
        seen.page.locator(".confusion td").first.wait_for()
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


@pytest.fixture(scope="module")
def reading(chromium: object, app_address: str) -> Iterator[Visit]:
    """A page that many tests share, none of which chooses anything."""
    with opened(chromium, app_address) as seen:
        yield seen


@pytest.fixture
def page(chromium: object, app_address: str) -> Iterator[Visit]:
    with opened(chromium, app_address) as seen:
        yield seen


def figure(seen: Visit, title: str) -> Any:
    exact = seen.page.locator(".title", has_text=re.compile(f"^{re.escape(title)}$"))
    return seen.page.locator(".figure").filter(has=exact)


def confusion(seen: Visit) -> list[int]:
    cells = seen.page.locator(".confusion td b").all_inner_texts()
    return [int(cell.replace(",", "")) for cell in cells]


def scores(study: Study) -> Any:
    concept = ConceptId.parse(CONCEPT)
    return HeldOutPair(study, concept.layer).concept(concept.index)


def slide(seen: Visit, value: int) -> float:
    """Move the threshold as a person does, and return it as the page says it to readers."""
    return seen.page.locator("input[type=range]").evaluate(
        """(slider, value) => {
          slider.value = value;
          slider.dispatchEvent(new Event('input', { bubbles: true }));
          return parseFloat(slider.getAttribute('aria-valuetext')) / 100;
        }""",
        value,
    )


def test_the_threshold_makes_its_confusion_in_the_browser(reading: Visit, study: Study) -> None:
    found = scores(study)
    wanted = found.points.confusion(found.threshold)
    assert confusion(reading) == [wanted.tp, wanted.fn, wanted.fp, wanted.tn]
    with reading.sent() as frames:
        for value in (0, 300, 500, 800, 1000):
            slide(reading, value)
            tp, fn, fp, tn = confusion(reading)
            # One of the points of the concept, whatever the slider rounds to.
            assert (tp, fp) in set(
                zip(found.points.tp.tolist(), found.points.fp.tolist(), strict=True)
            )
            assert tp + fn == found.points.n_pos and fp + tn == found.points.n_neg
            visible = reading.page.locator(".strip.fp button:visible").count()
            assert visible == min(12, fp)
            assert reading.page.locator(".strip.fn button:visible").count() == min(12, fn)
    assert frames == []
    assert confusion(reading)[0] == 0, "at its right end nothing is predicted"


def test_dots_of_the_curves_follow_the_threshold(reading: Visit) -> None:
    dots = reading.page.locator(".figure circle.dot[cx]")
    before = dots.evaluate_all("found => found.map((dot) => dot.getAttribute('cx'))")
    slide(reading, 900)
    after = dots.evaluate_all("found => found.map((dot) => dot.getAttribute('cx'))")
    assert len([x for x in before if x]) >= 2
    assert before != after


def test_a_threshold_is_kept_in_the_link(
    page: Visit, chromium: object, serve_app: Callable[[Path], str], studies_folder: Path
) -> None:
    steps = page.page.evaluate("history.length")
    page.page.get_by_role("button", name="0.5 balanced").click()
    page.page.wait_for_url("**threshold=**")
    page.wait()
    assert page.page.evaluate("history.length") == steps + 1  # for the back button
    here = confusion(page)
    query = page.page.url.split("/Evaluation")[1]
    with visit(chromium, serve_app(studies_folder), f"/Evaluation{query}", ready=READY) as again:
        again.page.locator(".confusion td").first.wait_for()
        assert confusion(again) == here
        assert again.panel_title().endswith(CONCEPT)
        assert again.complaints == []


def test_a_concept_and_a_wrong_image_are_chosen_and_the_back_button_returns(page: Visit) -> None:
    other = page.page.locator(".list button[data-id]").nth(2)
    wanted = other.get_attribute("data-id")
    other.click()
    page.expect_panel(wanted)
    assert f"concept={wanted.replace('/', '%2F')}" in page.page.url
    image = page.page.locator(".strip.fn button:visible, .strip.fp button:visible").first
    name = image.get_attribute("title").split(":")[0]
    image.click()
    page.page.locator(".cg-sentence", has_text="the graph predicts").wait_for()
    assert name in page.page.locator(".cg-sentence", has_text="the graph predicts").inner_text()
    assert page.page.locator(".strip button[aria-current]").count() >= 1
    page.page.get_by_role("link", name="Open this image in Trace").wait_for()
    page.page.go_back()
    page.page.go_back()
    page.expect_panel(CONCEPT)


def test_a_point_of_a_relation_chooses_its_concept(page: Visit) -> None:
    frame = figure(page, "Parents and AUC").locator(".frame")
    frame.focus()
    page.page.keyboard.press("ArrowRight")
    said = figure(page, "Parents and AUC").locator(".live").inner_text()
    chosen = said.split(":")[0].split("(")[-1].strip(")")
    assert chosen.startswith("L12/")
    page.page.keyboard.press("Enter")
    page.expect_panel(chosen)


def test_the_keyboard_reads_a_figure_and_moves_the_threshold(reading: Visit) -> None:
    histogram = figure(reading, "AUC of a concept")
    histogram.locator(".frame").focus()
    for _ in range(3):
        reading.page.keyboard.press("ArrowRight")
    assert histogram.locator(".live").inner_text().startswith("AUC 0.")
    assert "concept" in histogram.locator(".tip.shown").inner_text()
    reading.page.keyboard.press("Escape")
    assert histogram.locator(".tip.shown").count() == 0
    slider = reading.page.locator("input[type=range]")
    before = slider.get_attribute("aria-valuetext")
    slider.focus()
    for _ in range(60):
        reading.page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") != before
    strip = reading.page.locator(".strip.fn button:visible")
    if strip.count() > 1:
        strip.first.focus()
        reading.page.keyboard.press("ArrowRight")
        assert strip.nth(1).evaluate("b => b === b.getRootNode().activeElement")


def test_every_figure_is_saved_as_svg_png_and_csv(reading: Visit) -> None:
    titles = reading.page.locator(".figure .title").all_inner_texts()
    assert len(titles) >= 12
    for title in ("ROC curves of all scored concepts", "Parents of a concept", "Calibration"):
        files = {}
        for kind in ("SVG", "PNG", "CSV"):
            with reading.page.expect_download() as event:
                figure(reading, title).get_by_role("button", name=f"as {kind}").click()
            assert event.value.suggested_filename.endswith(f".{kind.lower()}")
            files[kind] = Path(event.value.path()).read_bytes()
        drawing = ET.fromstring(files["SVG"])
        words = " ".join(text for text in drawing.itertext())
        assert title in words
        assert "planted" in words or CONCEPT in words
        assert b"var(--" not in files["SVG"]
        assert files["PNG"].startswith(b"\x89PNG") and len(files["PNG"]) > 5000
        rows = list(csv.reader(io.StringIO(files["CSV"].decode())))
        assert len(rows) > 2 and len({len(row) for row in rows}) == 1
    # The picture of all curves is in the saved file, with its ink.
    with reading.page.expect_download() as event:
        figure(reading, "ROC curves of all scored concepts").get_by_role(
            "button", name="as SVG"
        ).click()
    saved = Path(event.value.path()).read_text()
    assert "data:image/png" in saved and 'mask="url(' in saved and "<mask" in saved


def test_a_figure_is_shown_as_a_table(reading: Visit) -> None:
    histogram = figure(reading, "AUC of a concept")
    histogram.get_by_role("button", name="as a table").click()
    cells = histogram.locator("tbody tr").all_inner_texts()
    assert sum(int(cell.split()[-1]) for cell in cells) == 23  # concept 0 is not scored


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_need_no_scroll_bar(chromium: object, app_address: str, scheme: str) -> None:
    with visit(chromium, app_address, "/Evaluation", width=420, scheme=scheme, ready=READY) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 420
        widest = seen.page.locator(".figure svg").evaluate_all(
            "found => Math.max(...found.map((svg) => svg.getBoundingClientRect().right))"
        )
        assert widest <= 420
        ink = seen.page.locator(".figure rect.ink[mask]").evaluate("r => getComputedStyle(r).fill")
        assert ink == ("rgb(15, 24, 34)" if scheme == "light" else "rgb(230, 234, 239)")
        assert seen.complaints == []


def test_meanings_of_figures_are_not_cut_off(reading: Visit) -> None:
    figures = reading.page.locator("dl.cg-wide")
    assert figures.locator(".cg-term").count()
    assert figures.evaluate("(list) => getComputedStyle(list).overflow") == "visible"


def test_readers_get_names_and_worlds(reading: Visit) -> None:
    labels = reading.page.locator(".figure svg").evaluate_all(
        "found => found.map((svg) => svg.getAttribute('aria-label'))"
    )
    assert all(len(label) > 30 for label in labels)
    assert len({label.split(".")[0] for label in labels}) == len(labels)
    worlds = reading.page.locator(".figure .world:not(:empty)").all_inner_texts()
    assert {"balanced world", "natural world", "the same in both worlds"} == set(worlds)
    images = reading.page.locator(".strip button").evaluate_all(
        "found => found.map((button) => button.getAttribute('aria-label'))"
    )
    assert all("predicted at" in label for label in images)
