"""What was measured of an edge in a few words, and its mark, the same on every page.

A filled mark is *specific*, a hollow one *supported*, a cross *contradicted*; it is round where the
residual stream carries the effect and square where the block computes it or a part of it. An edge
without an effect, or that was not measured, has no mark. What is measured never has the words of
what is predicted.
"""

from __future__ import annotations

from typing import Any

from cgraph import glossary
from cgraph.edge_facts import EdgeFact, EdgeFacts
from cgraph.truth_tables import (
    BOTH_ORIGINS,
    COMPUTED,
    CONTRADICTED,
    NOT_MEASURED,
    ORIGINS,
    SPECIFIC,
    SUPPORTED,
    VERDICTS,
)
from cgraph.ui import words
from cgraph.ui.terms import MEASURED, term

_FILLED, _HOLLOW, _CROSS = ("●", "■"), ("○", "□"), "×"

TERMS = ("evidence", "specific", "supported", "contradicted", "carried", "computed")
"""Terms of the legend of marks."""

NOTES = (
    "measured: ● specific, ○ supported, × contradicted; round: carried by the residual stream, "
    "square: computed by the block"
)
"""The marks in a line below a figure that somebody saves."""


def mark(fact: EdgeFact | None) -> str:
    """Return the mark of an edge as a letter; empty for an edge without one."""
    if fact is None or not fact.has_effect:
        return ""
    square = fact.origin in (COMPUTED, BOTH_ORIGINS)
    if fact.verdict == CONTRADICTED:
        return _CROSS
    letters = {SPECIFIC: _FILLED, SUPPORTED: _HOLLOW}.get(str(fact.verdict))
    return letters[square] if letters else ""


def evidence_words(fact: EdgeFact | None, between: str = ", effect ") -> str:
    """Say what evidence there is, such as ``specific, effect +0.42, carried``."""
    if fact is None or fact.verdict is None:
        return ""
    if not fact.has_effect or fact.effect is None:
        return NOT_MEASURED
    said = [f"{fact.verdict}{between}{words.signed(fact.effect)}"]
    if fact.origin:
        said.append("carried and computed" if fact.origin == BOTH_ORIGINS else fact.origin)
    return ", ".join(said)


def edge_parts(fact: EdgeFact | None, between: str = " ") -> tuple[str, str, str]:
    """Say what was measured of an edge: evidence with its mark, worth, whether it is found again.

    Each is empty if it was not measured.
    """
    if fact is None:
        return "", "", ""
    evidence = " ".join(filter(None, (mark(fact), evidence_words(fact, between))))
    known = fact.worth is not None and words.known(fact.worth)
    worth = f"worth {words.signed(fact.worth or 0.0, 3)} AUC" if known else ""
    again = {None: "", True: "found again", False: "not found again"}[fact.found_again]
    return evidence, worth, again


def edge_words(fact: EdgeFact | None) -> str:
    """Say all that was measured of an edge in one line; empty if nothing was."""
    return " · ".join(filter(None, edge_parts(fact, ", effect ")))


def column_words(facts: EdgeFacts) -> str:
    """Say in HTML what the words beneath edges are of; empty if nothing was measured."""
    of = []
    if facts.has("verdict"):
        of.append(term("evidence"))
    if facts.has("worth"):
        of.append(term("worth"))
    if facts.has("found_again"):
        of.append(f"whether it is {term('found_again')}")
    return f"<p class='cg-quiet'>{MEASURED}: {', '.join(of)}.</p>" if of else ""


def marks_sentence(facts: EdgeFacts) -> str:
    """Explain in HTML the marks beside figures of a path; empty where there are none."""
    if not facts.has("verdict"):
        return ""
    return (
        f" A sign says what was measured of the edge: ● {term('specific')}, ○ {term('supported')}, "
        f"× {term('contradicted')}; square where the block {term('computed', 'computes')} it."
    )


def drawn(fact: EdgeFact | None) -> tuple[Any, ...] | None:
    """Return what the browser needs to mark an edge and to say what was measured of it.

    Returns
    -------
    tuple or None
        Places of verdict and origin in `VERDICTS` and `ORIGINS`, effect and its bounds with two
        digits, number of images; None if no effect was measured.
    """
    if fact is None or not fact.has_effect:
        return None
    figures = (fact.effect, fact.effect_low, fact.effect_high)
    return (
        VERDICTS.index(str(fact.verdict)),
        ORIGINS.index(fact.origin or ""),
        *(round(value, 2) if value is not None and value == value else None for value in figures),
        fact.n_images,
    )


def legend_words(facts: EdgeFacts | None) -> dict[str, str]:
    """Return the meanings of the legend's terms; nothing where no evidence was measured."""
    if not facts or not facts.has("verdict"):
        return {}
    return {key: glossary.term(key).meaning for key in TERMS}
