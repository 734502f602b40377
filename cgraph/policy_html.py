"""Verdicts as one page of HTML that needs nothing else: style and pictures lie in it, no script.

Whatever comes from a study or a policy is escaped, and the page itself forbids to load anything.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.policy_report import SIGNS, clean, rule_words
from cgraph.policy_verdicts import (
    OUTCOMES,
    Baseline,
    Figure,
    Report,
    ShownConcept,
    ShownSet,
    Verdict,
    Witness,
)

if TYPE_CHECKING:
    from cgraph.study import Study

N_PICTURES = 3
"""Pictures of a concept: the training images in which it is strongest."""

MOST_CARDS = 8
"""Concepts of a witness that are shown with pictures, but for paths, which are shown whole."""

MOST_CHIPS = 400
"""Concepts of a set that are listed."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_ROLES = {"from": "A, from", "to": "B, to", "via": "M, via"}


def to_html(report: Report, study: Study | None = None) -> str:
    """Return a report as a page.

    Parameters
    ----------
    report : Report
    study : Study, optional
        Where the pictures are; without it there are none.
    """
    page = _Page(study)
    counts = "".join(
        f'<li class="{outcome} tone">{SIGNS[outcome]} {report.count(outcome)} {outcome}</li>'
        for outcome in OUTCOMES
        if report.count(outcome)
    )
    title = f"{report.policy} on {report.study}"
    note = f'<p class="note">{_e(report.note)}</p>' if report.note else ""
    articles = "".join(map(page.article, report.verdicts))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(title)}</title>\n<style>\n{_style()}</style></head>\n<body>\n"
        f"<header><h1>{_e(report.policy)}</h1>\n"
        f'<p class="soft">Checked on the study <strong>{_e(report.study)}</strong>, '
        f"{report.n_layers} layers. {_e(report.headline)}</p>{note}\n"
        f'<ul class="counts">{counts}</ul></header>\n<main>\n{articles}</main>\n'
        f"<footer>A verdict speaks of what its card says, and of nothing else: see "
        f"docs/policies.md of cgraph {_e(report.version)}.</footer>\n</body></html>\n"
    )


@cache
def _style() -> str:
    return files("cgraph").joinpath("policy_style.css").read_text(encoding="utf-8")


def _e(text: str) -> str:
    return html.escape(clean(text), quote=True)


class _Page:
    """Writes the cards of a report."""

    def __init__(self, study: Study | None) -> None:
        self._study = study
        self._pictures: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def article(self, verdict: Verdict) -> str:
        rule = verdict.rule
        parts = [
            f'<article class="{verdict.outcome}">',
            f'<header><span class="outcome">{SIGNS[verdict.outcome]} {verdict.outcome}</span>'
            f"<h2>{_e(rule.id)}</h2>"
            f'<span class="soft small">{_e(rule_words(verdict))}</span></header>',
            f'<p class="note">{_e(rule.note)}</p>' if rule.note else "",
            f'<p class="headline">{_e(verdict.headline)}</p>',
            *(f'<p class="caution">{_e(caution)}</p>' for caution in verdict.cautions),
            *map(self._witness, verdict.witnesses),
            *_beside(verdict),
            *_figures("Figures", verdict.figures),
            *_figures("How far graph and network are apart", verdict.distance),
            "<h3>What this speaks of</h3>" if verdict.scope else "",
            f'<p class="small">{_e(verdict.scope)}</p>' if verdict.scope else "",
            *map(_set, verdict.sets),
            "</article>\n",
        ]
        return "\n".join(part for part in parts if part)

    def _witness(self, witness: Witness) -> str:
        concepts, hidden = witness.concepts, 0
        if witness.kind != "path" and len(concepts) > MOST_CARDS:
            # The last one is what was switched or moved.
            hidden = len(concepts) - MOST_CARDS
            concepts = (*concepts[: MOST_CARDS - 1], concepts[-1])
        cards = [self._concept(concept) for concept in concepts]
        if hidden:
            cards.insert(-1, f'<li class="edge soft">and {hidden} more</li>')
        if witness.kind == "path":
            steps = [cards[0]]
            for weight, share, card in zip(witness.weights, witness.shares, cards[1:], strict=True):
                kind = "raises" if weight > 0 else "lowers"
                steps += [
                    f'<li class="edge {kind}">→<br>{weight:+.2f}<br>'
                    f'<span class="soft">{share:.0%}</span></li>',
                    card,
                ]
            cards = steps
        images = "".join(
            f"<figure>{self._image(image.row)}<figcaption>{_e(image.image_id)}<br>"
            f"{_e(image.text)}</figcaption></figure>"
            for image in witness.images
        )
        return (
            f"<h3>Witness</h3><p>{_e(witness.text)}</p>"
            f'<ul class="path">{"".join(cards)}</ul><div class="images">{images}</div>'
        )

    def _concept(self, concept: ShownConcept) -> str:
        pictures = "".join(self._image(row) for row in self._rows(concept))
        shown = f'<div class="pictures">{pictures}</div>' if pictures else ""
        name = _e(concept.name) or "no name"
        return f'<li class="concept">{shown}{name}<br><span class="id">{_e(concept.id)}</span></li>'

    def _rows(self, concept: ShownConcept) -> tuple[int, ...]:
        """Return training images that show a concept."""
        key = concept.kind, concept.layer, concept.index
        if self._study is None:
            return ()
        if key not in self._pictures:
            self._pictures[key] = tuple(_exemplars(self._study, concept))
        return self._pictures[key]

    def _image(self, row: int) -> str:
        if self._study is None:
            return ""
        data = base64.b64encode(self._study.thumbnail(row)).decode("ascii")
        name = _e(self._study.image_ids[row])
        return f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}">'


def _exemplars(study: Study, concept: ShownConcept) -> Iterable[int]:
    if concept.kind == "output":
        outputs = study.outputs
        if outputs is None:
            return ()
        rows = study.rows(TRAIN)
        values = outputs.values[rows, concept.index]
        return rows[np.argsort(-values, kind="stable")[:N_PICTURES]].tolist()
    found = study.exemplars(ConceptId(concept.layer, concept.index), N_PICTURES)
    return [row for row, _ in found]


def _beside(verdict: Verdict) -> Iterator[str]:
    if verdict.baselines:
        yield "<h3>Random sets in place of these</h3>"
    for baseline in verdict.baselines:
        yield _baseline(baseline, named=len(verdict.baselines) > 1)
    if verdict.prediction is not None:
        yield "<h3>Do labels of A foretell those of B?</h3>"
        yield f"<p>{_e(verdict.prediction.text)}</p>"


def _baseline(baseline: Baseline, *, named: bool) -> str:
    bar = ""
    if baseline.draws:
        share = f"{baseline.share:.0%}"
        bar = (
            f'<div class="bar" role="img" aria-label="{share} of random sets break the rule">'
            f'<span style="width:{baseline.share:.1%}"></span></div>'
        )
    of = f"<strong>{_e(baseline.of)}</strong>: " if named else ""
    return f"{bar}<p>{of}{_e(baseline.text)}</p>"


def _figures(title: str, figures: tuple[Figure, ...]) -> Iterator[str]:
    if figures:
        rows = "".join(
            f'<tr><th scope="row">{_e(one.label)}</th><td>{_e(one.text)}</td></tr>'
            for one in figures
        )
        yield f"<h3>{title}</h3><table>{rows}</table>"


def _set(one: ShownSet) -> str:
    chips = "".join(
        f'<li title="{_e(concept.why)}">{_e(concept.name)} <span class="id">{_e(concept.id)}</span>'
        "</li>"
        for concept in one.concepts[:MOST_CHIPS]
    )
    more = len(one.concepts) - MOST_CHIPS
    left = f"<li>and {more} more</li>" if more > 0 else ""
    unknown = ""
    if one.n_looked_at:
        unknown = f"; of {one.n_unknown} of {one.n_looked_at} looked at nothing is known"
    return (
        f"<details><summary>{_ROLES.get(one.role, _e(one.role))}: {_e(one.name)}, "
        f"{len(one.concepts)} concepts{unknown}</summary>"
        f'<ul class="chips">{chips}{left}</ul></details>'
    )
