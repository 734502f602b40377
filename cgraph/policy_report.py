"""Verdicts for people and for build servers: text, JSON, JUnit XML and Markdown.

Names of concepts, images and studies may hold anything. Signs that cannot be seen, and would move a
terminal or break XML, are replaced; what means something in Markdown is escaped.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from cgraph.policy_verdicts import Report, Verdict, Witness

SIGNS = {"holds": "✓", "violated": "✗", "inconclusive": "?"}

_WIDTH = 92
_UNSEEN = "\N{REPLACEMENT CHARACTER}"
_MEANT = {sign: f"\\{sign}" for sign in "\\`*_{}[]|#~!"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def clean(text: str) -> str:
    """Return a text in one line, with signs that cannot be seen replaced."""
    spaced = " ".join(text.split())
    return "".join(sign if sign.isprintable() else _UNSEEN for sign in spaced)


def rule_words(verdict: Verdict) -> str:
    """Return what a rule says, in words."""
    rule = verdict.rule
    a, b = rule.source, rule.target
    return {
        "no-path": f"no path from {a} to {b}",
        "through": f"every path from {a} to {b} passes {rule.via}",
        "influence": f"influence of {a} on {b} at most {rule.at_most:g}",
        "flips": f"flipping at most {rule.budget} of {a} never switches {b}",
        "never-together": f"{a} and {b} are never active together"
        + (f" in more than {rule.at_most:.1%} of the images" if rule.at_most else ""),
    }[rule.kind]


def to_text(report: Report) -> str:
    """Return a report for a terminal."""
    lines = [f"{report.policy} on {report.study}: {report.headline}"]
    for verdict in report.verdicts:
        lines += ["", f"{SIGNS[verdict.outcome]} {verdict.outcome.upper():<12} {verdict.rule.id}"]
        lines += _wrapped(f"rule: {rule_words(verdict)}")
        lines += _wrapped(verdict.headline)
        for part in _beside(verdict):
            lines += _wrapped(part)
        for witness in verdict.witnesses:
            lines += _wrapped(f"witness: {witness.text}")
            shown = ", ".join(image.image_id for image in witness.images)
            lines += _wrapped(f"images: {shown}", "      ") if shown else []
        lines += _wrapped(verdict.scope)
    return "\n".join(map(_printable, lines)) + "\n"


def _beside(verdict: Verdict) -> Iterator[str]:
    """Return what a verdict is to be read beside."""
    for baseline in verdict.baselines:
        name = f"random sets ({baseline.of})" if len(verdict.baselines) > 1 else "random sets"
        yield f"{name}: {baseline.text}"
    if verdict.prediction is not None:
        yield f"prediction: {verdict.prediction.text}"
    for caution in verdict.cautions:
        yield f"caution: {caution}"


def _wrapped(text: str, indent: str = "    ") -> list[str]:
    return textwrap.wrap(
        clean(text), _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _printable(line: str) -> str:
    return "".join(sign if sign.isprintable() else _UNSEEN for sign in line)


def to_values(report: Report) -> dict[str, Any]:
    """Return a report as plain JSON values; numbers that are not known are None."""
    return {
        "policy": report.policy,
        "note": report.note,
        "study": report.study,
        "n_layers": report.n_layers,
        "version": report.version,
        "exit_code": report.exit_code,
        "counts": {
            outcome: report.count(outcome) for outcome in ("holds", "violated", "inconclusive")
        },
        "verdicts": [_verdict_values(verdict) for verdict in report.verdicts],
    }


def _verdict_values(verdict: Verdict) -> dict[str, Any]:
    values = _plain(asdict(verdict))
    rule = values.pop("rule")
    rule["from"], rule["to"] = rule.pop("source"), rule.pop("target")
    for one, baseline in zip(values["baselines"], verdict.baselines, strict=True):
        one["share"] = _plain(baseline.share)
        one["text"] = baseline.text
    return {
        "id": verdict.rule.id,
        "kind": verdict.rule.kind,
        "verdict": values.pop("outcome"),
        "rule": rule,
        **values,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def to_json(report: Report) -> str:
    """Return a report as JSON."""
    return json.dumps(to_values(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_junit(report: Report) -> str:
    """Return a report as JUnit XML: a case for each rule.

    A violated rule is a failure, an inconclusive one an error: build servers stop at both.
    """
    counts = {
        "tests": str(len(report.verdicts)),
        "failures": str(report.count("violated")),
        "errors": str(report.count("inconclusive")),
        "skipped": "0",
        "time": f"{sum(verdict.seconds for verdict in report.verdicts):.3f}",
    }
    name = clean(f"{report.policy} on {report.study}")
    root = ElementTree.Element("testsuites", {"name": name, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for verdict in report.verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {
                "classname": clean(report.policy),
                "name": clean(f"{verdict.rule.id}: {rule_words(verdict)}"),
                "time": f"{verdict.seconds:.3f}",
            },
        )
        text = "\n".join(clean(line) for line in _all_of(verdict))
        if verdict.outcome == "holds":
            ElementTree.SubElement(case, "system-out").text = text
        else:
            kind = "failure" if verdict.outcome == "violated" else "error"
            found = {"message": clean(verdict.headline), "type": verdict.outcome}
            ElementTree.SubElement(case, kind, found).text = text
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _all_of(verdict: Verdict) -> Iterator[str]:
    yield verdict.headline
    if verdict.reason:
        yield f"reason: {verdict.reason}"
    for witness in verdict.witnesses:
        yield f"witness: {witness.text}"
        yield f"images: {', '.join(image.image_id for image in witness.images)}"
    yield from _beside(verdict)
    for figure in verdict.figures:
        yield f"{figure.label}: {figure.text}"
    yield verdict.scope


def to_markdown(report: Report) -> str:
    """Return a report as Markdown, as code hosts show it."""
    lines = [
        f"# {_md(report.policy)}",
        "",
        f"Study **{_md(report.study)}**. {_md(report.headline)}",
    ]
    if report.note:
        lines += ["", _md(report.note)]
    lines += ["", "| | rule | verdict | |", "| --- | --- | --- | --- |"]
    for verdict in report.verdicts:
        lines.append(
            f"| {SIGNS[verdict.outcome]} | {_md(verdict.rule.id)} | **{verdict.outcome}** | "
            f"{_md(verdict.headline)} |"
        )
    for verdict in report.verdicts:
        lines += ["", f"## {SIGNS[verdict.outcome]} {_md(verdict.rule.id)}", ""]
        lines += [f"*{_md(rule_words(verdict))}*: **{verdict.outcome}**. {_md(verdict.headline)}"]
        if verdict.rule.note:
            lines += ["", _md(verdict.rule.note)]
        for witness in verdict.witnesses:
            lines += ["", *_witness_lines(witness)]
        lines += ["", *(f"- {_md(part)}" for part in _beside(verdict))]
        if verdict.figures:
            lines += ["", "| figure | value |", "| --- | --- |"]
            lines += [f"| {_md(one.label)} | {_md(one.text)} |" for one in verdict.figures]
        lines += ["", _md(verdict.scope)]
    return "\n".join(lines) + "\n"


def _witness_lines(witness: Witness) -> Iterable[str]:
    yield f"> {_md(witness.text)}"
    if witness.images:
        yield ">"
        images = ", ".join(_md(image.image_id) for image in witness.images)
        yield f"> Images: {images}"


def _md(text: str) -> str:
    return "".join(_MEANT.get(sign, sign) for sign in clean(text))
