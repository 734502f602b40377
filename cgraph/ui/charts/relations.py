"""The number of parents against another figure of the concepts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.parent_question import Relation
from cgraph.ui import words
from cgraph.ui.charts.figure import Axis, Figure, World, cells, line, parents_axis, points, ticks
from cgraph.ui.pair_facts import PairFacts

MOST_POINTS = 400
"""Concepts that are drawn as points, which can be chosen; more are counted on a grid."""

_N_X, _N_Y = 36, 22
_MIN_IN_GROUP = 5


def relation_figure(
    facts: PairFacts,
    values: NDArray[np.float64],
    relation: Relation,
    *,
    label: str,
    world: World,
    names: dict[str, str],
) -> Figure:
    """Return parents against one figure of the scored concepts.

    Parameters
    ----------
    facts : PairFacts
    values : ndarray of float, shape (n_scored,)
        NaN where it is unknown.
    relation : Relation
        What was found of it.
    label : str
        Name of the figure, for the axis.
    world : World
    names : dict of str to str
        What people call the concepts that have a name.
    """
    parents, known = facts.columns["n_parents"], np.isfinite(values)
    x, y = parents[known], values[known]
    ids = [name for name, has in zip(facts.ids, known, strict=True) if has]
    low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    low = 0.0 if 0 <= low < 0.4 * high else low
    room = 0.05 * (high - low) or 0.05
    y_ends = low - (room if low else 0), high + room
    right = float(parents.max(initial=1)) + 1
    if len(x) <= MOST_POINTS:
        tips = [
            f"{_called(name, names)}: {n} parents, {label} {value:.3f}"
            for name, n, value in zip(ids, x, y, strict=True)
        ]
        marks = [points(x, y, tips, ids=ids)]
        columns: tuple[str, ...] = ("concept", "name", "parents", label.replace(" ", "_"))
        rows: list[tuple[Any, ...]] = [
            (name, names.get(name, ""), int(n), round(float(value), 5))
            for name, n, value in zip(ids, x, y, strict=True)
        ]
    else:
        mark, rows = _counted(x, y, right, y_ends, label)
        marks = [mark]
        columns = ("parents_from", "parents_to", "from", "to", "concepts")
    middle = _medians(x, y)
    if len(middle[0]) > 1:
        marks.append(line(middle[0], middle[1], "middle", "median, by tenths"))
    return Figure(
        title=f"Parents and {label}",
        about=facts.about,
        world=world,
        x=parents_axis(right - 0.5),
        y=Axis(label, *y_ends, ticks(*y_ends)),
        marks=marks,
        columns=columns,
        rows=rows,
        summary=told(relation, label),
        file=f"{facts.file}-parents-{relation.name.replace(' ', '-')}",
    )


def told(relation: Relation, label: str) -> str:
    """Say what was found: the correlation with its interval, also for equal prevalence."""
    whole = relation.whole
    if whole is None:
        return f"Nothing can be said about {label}. {relation.why_not}"
    text = (
        f"Rank correlation {words.signed(whole.rho)} (95 %: {words.signed(whole.low)} to "
        f"{words.signed(whole.high)}; {p_value(whole.p_value)}; {whole.n:,} concepts)"
    )
    given = relation.given_prevalence
    if given is not None:
        text += (
            f"; for equal prevalence {words.signed(given.rho)} ({words.signed(given.low)} to "
            f"{words.signed(given.high)})"
        )
    return f"{text}."


def reading(match: Relation | None) -> str:
    """Say what the match with attributes means for the paper's second explanation."""
    found = None if match is None else match.given_prevalence or match.whole
    if found is None:
        return (
            "Explanation (II) cannot be tested here: how well concepts match what is known of the "
            "images is not known of enough of them."
        )
    start = "At equal prevalence concepts with more parents match what is known of the images"
    if found.high < 0:
        text = f"{start} worse, as explanation (II) expects."
    elif found.low > 0:
        text = f"{start} better, against what explanation (II) expects."
    else:
        text = (
            f"{start} neither clearly better nor worse: nothing here speaks for explanation (II)."
        )
    return f"{text} A match with known attributes is one sign of a disentangled concept, no proof."


def p_value(p: float) -> str:
    """Return a p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _called(concept: str, names: dict[str, str]) -> str:
    return f"{names[concept]} ({concept})" if concept in names else concept


def _counted(
    x: NDArray[np.int64],
    y: NDArray[np.float64],
    right: float,
    ends: tuple[float, float],
    label: str,
) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Count concepts on a grid; return the mark and a row for each filled cell."""
    step = max(1, int(np.ceil(right / _N_X)))
    x_edges = np.arange(0, right + step, step)
    y_edges = np.linspace(*ends, _N_Y + 1)
    counts, _, _ = np.histogram2d(y, x, [y_edges, x_edges - 0.5])
    rows = [
        (
            int(x_edges[i]),
            int(x_edges[i + 1]) - 1,
            round(float(y_edges[j]), 4),
            round(float(y_edges[j + 1]), 4),
            int(counts[j, i]),
        )
        for j, i in np.argwhere(counts > 0)
    ]
    tips = [
        f"{first} to {last} parents, {label} {low:.3f} to {high:.3f}: {words.count(n, 'concept')}"
        for first, last, low, high, n in rows
    ]
    return cells(x_edges - 0.5, y_edges, counts, tips), rows


def _medians(
    x: NDArray[np.int64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the medians of tenths of the concepts by rising number of parents."""
    order = np.argsort(x, kind="stable")
    groups = [g for g in np.array_split(order, min(10, len(x) // _MIN_IN_GROUP) or 1) if len(g)]
    return (
        np.array([np.median(x[group]) for group in groups]),
        np.array([np.median(y[group]) for group in groups]),
    )
