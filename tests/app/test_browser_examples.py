"""Examples and names in a real browser: what stays in place, and what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import Visit, visit

APP = Path(__file__).parents[2] / "app.py"

# The app, on a study whose examples and names are made up here.
SCRIPT = f"""
from types import SimpleNamespace

from cgraph import tracing
from cgraph.study import Study

NAMES = ("red", "a name that is much too long for any column", "striped", None)


def name_of(study, concept):
    text = NAMES[concept.index % 4]
    if text is None:
        return None
    return SimpleNamespace(text=text, attribute="colour", value=text, strength=0.9)


Study.name_of = name_of
Study.examples = property(lambda study: study.rows("held-out")[:20:2].tolist())
Study.example_trace = tracing.trace_row
Study.example_picture = lambda study, row: study.thumbnail(row)

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


def _open_tab(seen: Visit) -> str:
    return seen.page.locator(".st-key-cg-about [role=tab][aria-selected=true]").inner_text()


def _choose_image(seen: Visit, button: object) -> None:
    link = seen.page.url
    button.click()
    seen.page.wait_for_function("link => location.href !== link", arg=link)
    seen.wait()


def test_the_examples_are_one_click_away(trace_page: Visit) -> None:
    assert _open_tab(trace_page) == "Examples"
    strip = trace_page.page.locator('.strip[aria-label="Examples"] button')
    assert strip.count() == 10
    assert strip.first.get_attribute("aria-current") == "true"
    _choose_image(trace_page, strip.nth(4))
    assert _open_tab(trace_page) == "Examples"
    assert strip.nth(4).get_attribute("aria-current") == "true"
    title = strip.nth(4).get_attribute("title")
    assert trace_page.page.locator(".cg-title").inner_text() == title


def test_the_tab_stays_open_whatever_is_chosen_in_it(trace_page: Visit) -> None:
    trace_page.page.get_by_role("tab", name="All held-out images").click()
    strip = trace_page.page.locator('.strip[aria-label="Held-out images"] button')
    for place in (1, 2, 3):  # no example, an example, no example
        _choose_image(trace_page, strip.nth(place))
        assert _open_tab(trace_page) == "All held-out images"
        assert strip.nth(place).get_attribute("aria-current") == "true"


@pytest.mark.parametrize("width", [1440, 1200, 420])
def test_names_stay_in_their_column(chromium: object, address: str, width: int) -> None:
    with visit(chromium, address, width=width) as seen:
        column = seen.in_graph(
            "root.querySelector('.scroll svg').clientWidth / root.querySelectorAll('.head').length"
        )
        widths = seen.in_graph(
            "[...root.querySelectorAll('.name')].map((n) => n.getBoundingClientRect().width)"
        )
        assert len(widths) > 40
        assert max(widths) <= column
        names = seen.in_graph("[...root.querySelectorAll('.name')].map((n) => n.textContent)")
        assert any(name.startswith("a n") and name.endswith("…") for name in names)
        assert "red" in names
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_name_is_whole_in_the_tip_and_the_lists(trace_page: Visit) -> None:
    whole = "a name that is much too long for any column"
    node = trace_page.in_graph(
        "[...root.querySelectorAll('.node')].find((n) => n.textContent.includes('a n')).dataset.id"
    )
    trace_page.node(node).hover()
    tip = trace_page.in_graph("root.querySelector('.tip.shown .title').textContent")
    assert tip == whole + node
    trace_page.node(node).click()
    trace_page.expect_panel(node)
    heading = trace_page.page.locator(".cg-concept")
    assert heading.get_attribute("title") == f"{whole} ({node})"
    assert heading.evaluate("h => h.scrollWidth <= h.clientWidth")
    for title in trace_page.page.locator(".list .title").all():
        assert title.evaluate("t => t.scrollWidth <= t.clientWidth + 1")
        assert title.get_attribute("title").count("/") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_faded_words_stay_readable(chromium: object, address: str, scheme: str) -> None:
    with visit(chromium, address, scheme=scheme) as seen:
        contrast = seen.in_graph(
            """(() => {
              const light = (colour) => {
                const part = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
                  const share = value / 255;
                  return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
              };
              const app = document.querySelector('.stApp');
              const page = light(getComputedStyle(app).backgroundColor);
              const faded = [...root.querySelectorAll('.node:not(.lit):not(.near)')];
              const words = (node) => [...node.querySelectorAll('text.name, text.id')];
              return faded.flatMap((node) => words(node).map((text) => {
                let opacity = 1;
                for (let e = text; e && e !== root; e = e.parentNode) {
                  opacity *= e instanceof Element ? getComputedStyle(e).opacity : 1;
                }
                const ink = light(getComputedStyle(text).fill);
                const [dark, bright] = [Math.min(ink, page), Math.max(ink, page)];
                return opacity * (bright + 0.05) / (dark + 0.05);
              }));
            })()"""
        )
        assert len(contrast) > 20
        assert min(contrast) >= 4.5
