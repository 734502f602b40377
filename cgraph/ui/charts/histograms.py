"""Histograms over the scored concepts of a pair: parents (the paper's Figure 2), AUC, F1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cgraph.metrics import F1_ALL_POSITIVE
from cgraph.peaks import MIN_RISE, Peaks
from cgraph.ui import words
from cgraph.ui.charts.figure import (
    Figure,
    World,
    bars,
    count_axis,
    line,
    parents_axis,
    rule,
    share_axis,
)
from cgraph.ui.pair_facts import PairFacts

_MOST_BARS = 60
_STEPS = (0.01, 0.02, 0.05)


def parents_figure(facts: PairFacts, peaks: Peaks) -> Figure:
    """Return the histogram of the numbers of parents with its peaks."""
    counts = facts.columns["n_parents"]
    most = int(counts.max())
    width = -(-(most + 1) // _MOST_BARS)
    edges = np.arange(0, most + width + 1, width)
    drawn = edges - 0.5  # a bar stands about its whole numbers
    heights, _ = np.histogram(counts, edges)
    tips = [
        f"{_range(int(low), int(low) + width - 1)}: {_concepts(int(n))}"
        for low, n in zip(edges, heights, strict=False)
    ]
    places = np.arange(min(len(peaks.density), int(edges[-1])))
    smooth = peaks.density[: len(places)] * peaks.n * width
    top = max(float(heights.max()), float(smooth.max()))
    marks = [
        bars(drawn, heights, tips, label="concepts"),
        line(places, smooth, "smooth", f"smoothed, width {peaks.width:.1f}"),
        *(rule(at, f"peak at {at}") for at in peaks.at),
    ]
    return Figure(
        title="Parents of a concept",
        about=facts.about,
        world="none",
        x=parents_axis(float(drawn[-1])),
        y=count_axis("concepts", top),
        marks=marks,
        columns=("parents_from", "parents_to", "concepts"),
        rows=[
            [int(low), int(low) + width - 1, int(n)] for low, n in zip(edges, heights, strict=False)
        ],
        summary=_parents_summary(facts, peaks, counts),
        file=f"{facts.file}-parents",
    )


def _parents_summary(facts: PairFacts, peaks: Peaks, counts: NDArray[np.int64]) -> str:
    n_left = f"{counts.max():,} parents at most, the median {np.median(counts):.0f}"
    if len(peaks.at) == 1:
        return (
            f"One peak, at {peaks.at[0]}; {n_left}. The paper saw two, at 24 and 66. No second one "
            f"stands out by more than {MIN_RISE} standard errors here."
        )
    said = " and ".join(
        f"{at} ({100 * share:.0f} % of concepts)"
        for at, share in zip(peaks.at, peaks.shares, strict=True)
    )
    return f"{len(peaks.at)} peaks, at {said}; {n_left}. The paper saw two, at 24 and 66."


def auc_figure(facts: PairFacts) -> Figure:
    """Return the histogram of the AUCs."""
    return _shares_figure(facts, "auc", "AUC", "both", 0.5, "guessing")


def f1_balanced_figure(facts: PairFacts) -> Figure:
    """Return the histogram of F1 in the balanced world."""
    return _shares_figure(
        facts, "f1_balanced", "F1", "balanced", F1_ALL_POSITIVE, "all called positive"
    )


def f1_natural_figure(facts: PairFacts) -> Figure:
    """Return the histogram of F1 in the natural world."""
    return _shares_figure(facts, "f1_natural", "F1", "natural", None, "")


def _shares_figure(
    facts: PairFacts, column: str, word: str, world: World, against: float | None, label: str
) -> Figure:
    values = facts.columns[column]
    known = values[np.isfinite(values)]
    lowest = min([*known, *([] if against is None else [against])], default=0.0)
    low = max(0.0, np.floor(lowest * 10) / 10)
    step = next((s for s in _STEPS if (1 - low) / s <= 40), _STEPS[-1])
    edges = np.round(low + step * np.arange(round((1 - low) / step) + 1), 4)
    heights, _ = np.histogram(known, edges)
    tips = [
        f"{word} {low:.2f} to {high:.2f}: {_concepts(int(n))}"
        for low, high, n in zip(edges, edges[1:], heights, strict=False)
    ]
    marks = [bars(edges, heights, tips)]
    if against is not None:
        marks.append(rule(against, f"{label} {against:.2f}", style="quiet"))
    summary = "No concept has this figure."
    if len(known):
        marks.append(rule(float(np.median(known)), f"median {words.thousandths(np.median(known))}"))
        summary = (
            f"{np.mean(known):.3f} ± {np.std(known):.3f} (one standard deviation), median "
            f"{words.thousandths(np.median(known))}, over {_concepts(len(known))}."
        )
    name = f"{word[0].upper()}{word[1:]}"
    return Figure(
        title=f"{name} of a concept",
        about=facts.about,
        world=world,
        x=share_axis(word, float(low), 1.0),
        y=count_axis("concepts", float(heights.max(initial=0))),
        marks=marks,
        columns=("from", "to", "concepts"),
        rows=[
            [float(low), float(high), int(n)]
            for low, high, n in zip(edges, edges[1:], heights, strict=False)
        ],
        summary=summary,
        file=f"{facts.file}-{column.replace('_', '-')}",
        height=160,
    )


def _range(low: int, high: int) -> str:
    return f"{low} parent{'' if low == 1 else 's'}" if low == high else f"{low} to {high} parents"


def _concepts(n: int) -> str:
    return f"{n:,} concept{'' if n == 1 else 's'}"
