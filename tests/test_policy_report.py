"""Reports in every form: what they say, that they can be read, and that no name breaks them."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_study import write_study
from policy_examples import policy, subject

from cgraph.policy import check
from cgraph.policy_html import to_html
from cgraph.policy_report import to_json, to_junit, to_markdown, to_text, to_values
from cgraph.policy_verdicts import Report, ShownConcept, Verdict, Witness, WitnessImage
from cgraph.study import Study

RULES = [
    {"id": "path", "kind": "no-path", "from": "a", "to": "b", "note": "No say."},
    {"id": "none", "kind": "no-path", "from": "a", "to": "c"},
    {"id": "open", "kind": "no-path", "from": "a", "to": "b", "evidence": "supported"},
]
SETS = {"a": "L1/0", "b": "L3/0", "c": "L3/1"}


@pytest.fixture(scope="module")
def report():
    return check(subject(), policy(RULES, SETS, name="Hand", note="Why.", draws=20))


def test_text(report):
    text = to_text(report)
    assert text.startswith("Hand on hand: 3 rules: 1 holds, 1 violated, 1 inconclusive.\n")
    assert "✗ VIOLATED     path" in text and "✓ HOLDS        none" in text
    assert "? INCONCLUSIVE open" in text
    assert "L1/0 → L2/0 → L3/0" in text and "random sets" in text and "prediction:" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_json(report):
    values = json.loads(to_json(report))
    assert values == json.loads(json.dumps(to_values(report)))
    assert (values["exit_code"], values["counts"]["violated"]) == (1, 1)
    first = values["verdicts"][0]
    assert (first["id"], first["kind"], first["verdict"]) == ("path", "no-path", "violated")
    assert (first["rule"]["from"], first["rule"]["to"]) == ("a", "b")
    assert [one["id"] for one in first["witnesses"][0]["concepts"]] == ["L1/0", "L2/0", "L3/0"]
    assert first["witnesses"][0]["images"][0]["image_id"].startswith("image-")
    assert first["baselines"][0]["share"] == first["baselines"][0]["n_broken"] / 20
    assert values["verdicts"][1]["prediction"]["n_tested"] == 1


def test_junit(report):
    root = ElementTree.fromstring(to_junit(report).encode())
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    cases = suite.findall("testcase")
    assert [case.get("name").split(":")[0] for case in cases] == ["path", "none", "open"]
    assert all(case.get("classname") == "Hand" and float(case.get("time")) >= 0 for case in cases)
    assert [[child.tag for child in case] for case in cases] == [
        ["failure"], ["system-out"], ["error"],
    ]  # fmt: skip
    assert cases[0][0].get("type") == "violated" and "L2/0" in cases[0][0].text


def test_markdown(report):
    text = to_markdown(report)
    assert text.startswith("# Hand\n")
    assert "| ✗ | path | **violated** |" in text and "## ? open" in text
    assert "> L1/0 → L2/0 → L3/0" in text and "\nNo say.\n" in text


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and sees that tags are closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said, self.pictures = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.said.append(data)


def test_html_without_pictures(report):
    page = Page(to_html(report))
    assert not page.pictures
    said = "".join(page.said)
    assert "No path leads from a to c." in said and "1 inconclusive" in said


HOSTILE = (
    "<script>alert(1)</script>\" onerror='x' & | `code` **bold** ]]> \x00\x1b[31m\ud800\u202e\n"
    "# title"
)


def hostile_report():
    """Return a report whose every text is hostile."""
    rules = [dict(rule, note="x") for rule in RULES]
    made = check(subject(), policy(rules, SETS, draws=4))

    def spoil(value):
        if isinstance(value, str):
            return value if value in ("holds", "violated", "inconclusive") else HOSTILE
        if isinstance(value, tuple):
            return tuple(map(spoil, value))
        if dataclasses.is_dataclass(value):
            kept = {"kind", "outcome", "form"}
            return dataclasses.replace(
                value,
                **{
                    field.name: spoil(getattr(value, field.name))
                    for field in dataclasses.fields(value)
                    if field.name not in kept
                },
            )
        return value

    return spoil(made)


def test_hostile_names_break_nothing():
    report = hostile_report()
    for form in (to_text, to_markdown, to_junit, to_html):
        text = form(report)
        text.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)
    assert "<script" not in to_markdown(report)
    page = Page(to_html(report))
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(name[:2] != "on" for _, attributes in page.tags for name in attributes)
    assert "<script>alert(1)</script>" in "".join(page.said)
    root = ElementTree.fromstring(to_junit(report).encode())
    assert "<script>alert(1)</script>" in root.find("testsuite")[0].get("name")
    assert json.loads(to_json(report).encode("utf-8", "replace"))["study"].startswith("<script>")


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_can_stand_in_a_report(text):
    concept = ShownConcept("L1/0", text, 1, 0)
    rule = policy(RULES, SETS).rules[0]
    witness = Witness("change", text, (concept,), images=(WitnessImage(text, 0, (), text),))
    verdict = Verdict(rule, "violated", text, witnesses=(witness,), cautions=(text,))
    report = Report(text, text, 3, (verdict,), text)
    ElementTree.fromstring(to_junit(report).encode())
    Page(to_html(report))
    to_text(report).encode()
    to_markdown(report).encode()
    assert json.loads(to_json(report))["verdicts"][0]["headline"] == text


def test_exit_codes():
    rule = policy(RULES, SETS).rules[0]

    def code(*outcomes):
        return Report("p", "s", 3, tuple(Verdict(rule, one, "") for one in outcomes)).exit_code

    assert code("holds", "holds") == 0
    assert code("holds", "violated", "inconclusive") == 1
    assert code("holds", "inconclusive") == 2


def test_html_holds_the_pictures_of_a_study(tmp_path):
    study = Study.open(write_study(tmp_path / "study", n_layers=3))
    sets = {"a": "L1/0", "b": "L2/0"}
    made = check(study, policy([RULES[0]], sets, draws=4))
    assert made.verdicts[0].outcome == "violated"
    page = Page(to_html(made, study))
    assert page.pictures and all(one.startswith("data:image/jpeg;base64,") for one in page.pictures)
    policy_of_page = next(a["content"] for tag, a in page.tags if tag == "meta" and "content" in a)
    assert "default-src 'none'" in policy_of_page
    loads = [a for _, a in page.tags if any(key in a for key in ("href", "srcset", "action"))]
    assert not loads
