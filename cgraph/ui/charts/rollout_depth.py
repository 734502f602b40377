"""How far predictions carry: a rollout judged at every layer behind its start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cgraph.truth_tables import DENSE, DIRECT, REFITTED, TOKEN
from cgraph.ui import words
from cgraph.ui.charts.figure import Axis, Figure, Marker, World, curve, layers_axis, line, ticks

Row = Mapping[str, Any]

RULES: dict[str, tuple[str, str, Marker]] = {
    REFITTED: ("refitted probabilities", "first", "circle"),
    "probabilities": ("probabilities passed on", "fourth", "diamond"),
    "max": ("labels above the threshold", "second", "square"),
    "top-k": ("the likeliest labels (top-k)", "third", "triangle"),
    "sample": ("labels drawn by chance", "fifth", "wedge"),
}
"""Rules by the order in which they are told of: their words, and the looks of their curves."""

_BESIDE: dict[str, tuple[str, Marker]] = {
    DIRECT: ("a fit straight from the start", "star"),
    DENSE: ("the same on all its labels", "dash"),
    TOKEN: ("a fit on the raw token", "cross"),
}
"""References at the last layer: their words and marks."""

_UNKNOWN: tuple[str, str, Marker] = ("", "pale", "circle")
_SAME = 0.002
_ASIDE = 0.3
"""How far references stand to the right of their layer, where they hide no curve."""


@dataclass(frozen=True)
class Quantity:
    """A column of the rollout table: its words and world, and what it is by chance."""

    word: str
    axis: str
    world: World
    chance: float | None = None
    against: str = ""


QUANTITIES = {
    "auc": Quantity("AUC", "mean AUC", "both", chance=0.5),
    "ap": Quantity("average precision", "mean average precision", "natural", against="prevalence"),
    "f1": Quantity("F1 of an image", "mean F1 of the active sets", "natural"),
    "jaccard": Quantity("Jaccard of an image", "mean Jaccard index", "natural"),
    "n_active": Quantity(
        "number active", "active concepts of an image", "natural", against="n_active_true"
    ),
}
"""What can be shown over depth, by column."""

_AGAINST = {"prevalence": "prevalence, which is guessing", "n_active_true": "really active"}


def ordered_rules(rows: Iterable[Row]) -> list[str]:
    """Return the rules of some rows, the default one first, those without words last."""
    found = dict.fromkeys(row["rule"] for row in rows)
    return [*(rule for rule in RULES if rule in found), *(r for r in found if r not in RULES)]


def at_start(rows: Iterable[Row], start: int, probability: str) -> list[Row]:
    """Return the rows of a start layer, each rule with a kind of probability.

    A rule that has another kind only, as refitted predictors have, is shown with that.
    """
    here = [row for row in rows if row["start"] == start]
    kinds: dict[str, list[str]] = {}
    for row in here:
        kinds.setdefault(row["rule"], []).append(row["probability"])
    kept = {rule: probability if probability in of else of[0] for rule, of in kinds.items()}
    return [row for row in here if row["probability"] == kept[row["rule"]]]


def rollout_figure(
    study: str,
    rows: Sequence[Row],
    references: Sequence[Row],
    *,
    start: int,
    quantity: str,
    probability: str,
    forced: bool,
) -> Figure:
    """Return one curve for each rule from a start layer on.

    Parameters
    ----------
    study : str
    rows, references : sequence of mapping
        Of ``truth/rollout.arrow`` and ``truth/references.arrow``; the latter may be empty.
    start : int
        A layer that is a start of `rows`.
    quantity : str
        A key of `QUANTITIES`.
    probability : str
    forced : bool
        Whether teacher-forced curves stand beside the free-running ones.
    """
    shown = QUANTITIES[quantity]
    here = at_start(rows, start, probability)
    layers = sorted({row["layer"] for row in here})
    drawn = [row for row in here if forced or not row["forced"]]
    marks: list[Mapping[str, Any]] = []
    values = [row[quantity] for row in drawn]
    if shown.chance is not None:
        ends = [layers[0] - 0.5, layers[-1] + 0.5]
        marks.append(line(ends, [shown.chance] * 2, "chance", f"guessing {shown.chance}"))
        values.append(shown.chance)
    if shown.against:
        against = {row["layer"]: row[shown.against] for row in here}
        known = [against[layer] for layer in layers]
        tips = [
            f"layer {layer}: {_AGAINST[shown.against]} {_figure(quantity, value)}"
            for layer, value in zip(layers, known, strict=True)
        ]
        word = _AGAINST[shown.against]
        marks.append(curve(layers, known, tips, style="pale", marker="dash", label=word))
        values += known
    given: list[list[float]] = []
    for rule in ordered_rules(drawn):
        for is_forced in (False, True):
            of_rule = [r for r in drawn if r["rule"] == rule and bool(r["forced"]) == is_forced]
            # One step is often the same by every rule: then it is drawn once.
            reached = [row[quantity] for row in of_rule]
            if not of_rule or (is_forced and any(_same(reached, other) for other in given)):
                continue
            if is_forced:
                given.append(reached)
            marks.append(_curve_of(rule, of_rule, quantity, is_forced))
    beside = _at_last(references, start, layers[-1]) if quantity in ("auc", "ap") else {}
    for name, row in beside.items():
        word, marker = _BESIDE[name]
        place, value = layers[-1] + _ASIDE, row[quantity]
        said = f"{word}, layer {start} to {layers[-1]}: {shown.word} {_figure(quantity, value)}"
        marks.append(curve([place], [value], [said], style="pale", marker=marker, label=word))
        values.append(value)
    return Figure(
        title=f"{shown.word[0].upper()}{shown.word[1:]} of rollouts from layer {start}",
        about=f"{study}, {probability} probabilities",
        world=shown.world,
        x=layers_axis("layer", layers),
        y=_axis(shown, quantity, values),
        marks=marks,
        columns=_COLUMNS,
        rows=[
            *([row[name] for name in _COLUMNS] for row in drawn),
            *(
                [{**row, "rule": f"reference: {name}"}.get(column) for column in _COLUMNS]
                for name, row in beside.items()
            ),
        ],
        summary=told(here, beside, start, quantity),
        file=f"{study}-rollout-from-layer-{start}-{quantity.replace('_', '-')}-{probability}",
        height=300,
    )


_COLUMNS = (
    *("start", "layer", "rule", "probability", "forced", "auc", "ap", "prevalence"),
    *("f1", "jaccard", "n_active", "n_active_true", "n_scored"),
)


def told(here: Sequence[Row], beside: Mapping[str, Row], start: int, quantity: str) -> str:
    """Say in a sentence or two where the rules end, and what that is worth."""
    shown = QUANTITIES[quantity]
    last = max(row["layer"] for row in here)
    free = {row["rule"]: row for row in here if row["layer"] == last and not row["forced"]}
    if not free:
        return "No rollout of this start was measured."
    default = ordered_rules(free.values())[0]
    number = _figure(quantity, free[default][quantity])
    word = RULES.get(default, (default, "", ""))[0]
    article = "an" if shown.word[0] in "AF" and shown.word != "average precision" else "a"
    reached = f"reach {article} {shown.word} of {number}"
    if quantity == "n_active":
        reached = f"reach {number} active concepts of an image"
    if not words.known(free[default][quantity]):
        reached = f"have an unknown {shown.word}"
    text = f"From the true labels of layer {start}, {word} {reached} at layer {last}"
    compared = [
        f"{_BESIDE[name][0]} reaches {_figure(quantity, row[quantity])}"
        for name, row in beside.items()
        if words.known(row[quantity])
    ]
    if shown.against:
        against = _figure(quantity, free[default][shown.against])
        compared.insert(0, f"{_AGAINST[shown.against]}: {against}")
    text += f"; {', '.join(compared)}." if compared else "."
    others = [row[quantity] for rule, row in free.items() if rule != default]
    others = [value for value in others if words.known(value)]
    if others:
        low, high = _figure(quantity, min(others)), _figure(quantity, max(others))
        ends = f"at {low}" if low == high else f"between {low} and {high}"
        text += f" The other rules end {ends}."
    known = [r for r in here if r["layer"] == last and r["forced"] and r["rule"] == default]
    if known and last > start + 1 and words.known(known[0][quantity]):
        value = _figure(quantity, known[0][quantity])
        text += f" Given the true labels of layer {last - 1} it would be {value} (teacher-forced)."
    return text


def _curve_of(rule: str, rows: Sequence[Row], quantity: str, forced: bool) -> Mapping[str, Any]:
    word, style, marker = RULES.get(rule, _UNKNOWN)
    word = word or rule
    rows = sorted(rows, key=lambda row: row["layer"])
    how = "teacher-forced" if forced else "free-running"
    tips = [
        f"{word} ({row['probability']}), {how}, layer {row['layer']}: "
        f"{QUANTITIES[quantity].word} {_figure(quantity, row[quantity])}; "
        f"{words.count(row['n_scored'], 'scored concept')}"
        for row in rows
    ]
    return curve(
        [row["layer"] for row in rows],
        [row[quantity] for row in rows],
        tips,
        style=style,
        marker=marker,
        hollow=forced,
        label=("dashed, hollow: teacher-forced" if rule == REFITTED else "") if forced else word,
    )


def _same(values: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether two curves would lie on one another."""
    return len(values) == len(others) and all(
        abs(a - b) < _SAME or not (words.known(a) or words.known(b))
        for a, b in zip(values, others, strict=True)
    )


def _at_last(references: Sequence[Row], start: int, last: int) -> dict[str, Row]:
    found = {
        row["reference"]: row
        for row in references
        if row["start"] == start and row["layer"] == last
    }
    return {name: found[name] for name in _BESIDE if name in found}


def _axis(shown: Quantity, quantity: str, values: Sequence[float]) -> Axis:
    known = [value for value in values if words.known(value)] or [0.0, 1.0]
    if quantity == "n_active":
        top = max(1.0, 1.08 * max(known))
        return Axis(shown.axis, 0.0, top, ticks(0, top, 5))
    low = 0.0 if shown.chance is None else min(shown.chance, *known) - 0.02
    top = min(1.02, max(known) + 0.04)
    return Axis(shown.axis, low, top, ticks(low, top))


def _figure(quantity: str, value: float | None) -> str:
    if not words.known(value):
        return "unknown"
    return f"{value:.1f}" if quantity == "n_active" else words.fraction(value)
