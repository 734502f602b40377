"""The Policies page in a real browser: a rule written, broken, and followed to its witness."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import Visit, visit

POLICY = """[sets.early]
ids = ["L1/0"]
[sets.late]
ids = ["L3/0"]
[[rules]]
id = "no-say"
kind = "no-path"
from = "early"
to = "late"
"""


@contextmanager
def policies(browser: Any, address: str, query: str = "", **options: Any) -> Iterator[Visit]:
    with visit(
        browser, f"{address}/Policies", query, ready="[class*=st-key-pl-], .pl-status", **options
    ) as seen:
        yield seen
        assert seen.complaints == []
        assert seen.outside == []


def query(seen: Visit, key: str) -> str:
    return parse_qs(urlsplit(seen.page.url).query).get(key, [""])[0]


def write(seen: Visit, policy: str) -> None:
    box = seen.page.locator("textarea")
    box.fill(policy)
    box.press("Control+Enter")
    seen.page.wait_for_timeout(300)
    seen.wait()


def check(seen: Visit) -> None:
    seen.page.get_by_role("button", name="Check the rules").click()
    seen.page.locator(".pl-sum").wait_for(timeout=60_000)
    seen.wait()


def fits(seen: Visit, width: int) -> bool:
    inside = seen.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    return inside <= width


def test_a_rule_is_written_checked_and_followed_to_its_witness(
    chromium: Any, app_address: str, tmp_path: Path
) -> None:
    with policies(chromium, app_address) as seen:
        page = seen.page
        write(seen, POLICY.replace("L3/0", "L3/999"))
        page.locator(".pl-bad", has_text="line 4").wait_for()
        wrong = page.locator(".pl-gutter .pl-wrong")
        assert wrong.inner_text() == "4"
        assert page.get_by_role("button", name="Check the rules").is_disabled()

        write(seen, POLICY)
        page.locator(".pl-good", has_text="1 rule, 2 sets, every name found").wait_for()
        check(seen)
        card = page.locator("[class*=st-key-pl-card-violated]")
        assert card.locator(".pl-badge").inner_text().split() == ["✗", "violated"]
        assert "Random sets" in card.inner_text()
        card.locator("table.joined button").first.wait_for()  # drawn by a script
        ids = card.locator("table.joined button").evaluate_all(
            "(all) => all.map(b => b.dataset.id)"
        )
        assert ids[0] == "L1/0" and ids[-1] == "L3/0"
        assert card.locator(".pl-images img").count() > 0

        page.get_by_role("button", name="Report").click()
        for label, ending in (("HTML, with pictures", "html"), ("JSON", "json")):
            with page.expect_download() as download:
                page.get_by_role("button", name=label, exact=True).click()
            path = tmp_path / f"report.{ending}"
            download.value.save_as(path)
        assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 1
        assert "no-say" in (tmp_path / "report.html").read_text()
        page.keyboard.press("Escape")

        page.get_by_role("link", name="Open the path on the Graph page").click()
        page.locator(".cg-section", has_text="from").first.wait_for(timeout=60_000)
        seen.wait()
        assert (query(seen, "from"), query(seen, "to")) == ("L1/0", "L3/0")
        shown = page.locator("table.joined tbody tr").first.locator("button")
        shown.first.wait_for()
        assert shown.evaluate_all("(all) => all.map((b) => b.dataset.id)") == ids

        page.go_back()
        page.locator(".pl-sum").wait_for(timeout=60_000)  # text and verdicts are still there
        seen.wait()
        assert page.locator("textarea").input_value() == POLICY
        page.get_by_role("link", name="Try it on the Counterfactual page").click()
        page.locator(".cf-summary").wait_for(timeout=60_000)
        seen.wait()
        assert query(seen, "edit") == "-L1/0"


def test_the_cheapest_flips_lead_to_that_edit(chromium: Any, app_address: str) -> None:
    with policies(chromium, app_address, "?view=radius&concept=L5/3") as seen:
        page = seen.page
        page.locator(".pl-radii").wait_for(timeout=60_000)
        more = page.get_by_role("button", name=re.compile("^Go on with"))
        while more.count():  # on a slow machine not all layers are had at once
            more.first.click()
            seen.page.wait_for_timeout(300)
            seen.wait()
        assert page.locator(".pl-radii tbody tr").count() == 4
        flips = page.locator("table.apart tbody tr").first.locator("button")
        flips.first.wait_for()
        wanted = set(flips.evaluate_all("(all) => all.map((b) => b.dataset.id)"))
        assert wanted and all(one.startswith("L4/") for one in wanted)
        page.get_by_role("link", name="from layer 4", exact=True).click()
        page.locator(".cf-summary").wait_for(timeout=60_000)
        seen.wait()
        assert {part.lstrip("-") for part in query(seen, "edit").split(",")} == wanted
        assert (query(seen, "rule"), query(seen, "start")) == ("max", "4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_holds_the_page(chromium: Any, app_address: str, scheme: str) -> None:
    with policies(chromium, app_address, width=420, scheme=scheme) as seen:
        write(seen, POLICY)
        check(seen)
        assert fits(seen, 420)
        seen.page.get_by_text("Flip radius", exact=True).click()
        seen.page.locator(".pl-radii").wait_for(timeout=60_000)
        seen.wait()
        assert fits(seen, 420)


def test_numbers_of_lines_stand_beside_their_lines(chromium: Any, app_address: str) -> None:
    with policies(chromium, app_address) as seen:
        write(seen, POLICY)
        tops = seen.page.evaluate(
            """() => {
              const box = document.querySelector('.st-key-pl-editor textarea');
              const style = getComputedStyle(box);
              const numbers = [...document.querySelectorAll('.pl-gutter i')];
              const first = box.getBoundingClientRect().top + parseFloat(style.paddingTop);
              const height = parseFloat(style.lineHeight);
              return [0, 4, 8].map((n) =>
                Math.abs(numbers[n].getBoundingClientRect().top - (first + n * height)));
            }"""
        )
        assert max(tops) <= 3
        scrolls = seen.page.evaluate(
            "(() => { const b = document.querySelector('.st-key-pl-editor textarea');"
            " return b.scrollHeight - b.clientHeight; })()"
        )
        assert scrolls <= 0  # or the numbers would stay behind


def test_keys_alone_are_enough(chromium: Any, app_address: str) -> None:
    with policies(chromium, app_address) as seen:
        page = seen.page
        page.locator("textarea").focus()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(POLICY)
        page.keyboard.press("Control+Enter")
        page.locator(".pl-good", has_text="1 rule, 2 sets").wait_for()
        seen.wait()
        page.get_by_role("button", name="Check the rules").focus()
        page.keyboard.press("Enter")
        page.locator(".pl-sum").wait_for(timeout=60_000)
        seen.wait()
        link = page.get_by_role("link", name="Open the path on the Graph page")
        link.focus()
        page.keyboard.press("Enter")
        page.locator(".cg-section", has_text="from").first.wait_for(timeout=60_000)
