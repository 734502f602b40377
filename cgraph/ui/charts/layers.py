"""Explained variance and unused concepts of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cgraph.ui import words
from cgraph.ui.charts.figure import Figure, bars, count_axis, layers_axis, line, points, share_axis


def explained_figure(study: str, rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the share of the held-out tokens that the codes of each layer explain."""
    layers = [row["layer"] for row in rows]
    values = [float("nan") if (v := row["explained_variance"]) is None else v for row in rows]
    known = [value for value in values if words.known(value)]
    tips = [
        f"layer {layer}: {words.percent(value)} explained"
        for layer, value in zip(layers, values, strict=True)
    ]
    return Figure(
        title="Explained variance of every layer",
        about=f"{study}, held-out images",
        world="none",
        x=layers_axis("layer", layers),
        y=share_axis("explained variance", min(0.0, *known) if known else 0.0, 1.0),
        marks=[line(layers, values, "middle"), points(layers, values, tips)],
        columns=("layer", "explained_variance", "active_concepts_of_an_image"),
        rows=[[row["layer"], row["explained_variance"], row["nonzeros_mean"]] for row in rows],
        summary=(
            f"The codes explain {words.span(known)} of the variance of held-out tokens."
            if known
            else "The explained variance is not known."
        ),
        file=f"{study}-explained-variance",
        height=170,
    )


def dead_figure(study: str, rows: Sequence[dict[str, Any]]) -> Figure:
    """Return how many concepts of each layer are active in no training image."""
    layers = [row["layer"] for row in rows]
    dead = [row["n_dead"] for row in rows]
    edges = [layer - 0.5 for layer in [*layers, layers[-1] + 1]]
    tips = [
        f"layer {row['layer']}: {row['n_dead']:,} of {words.count(row['n_concepts'], 'concept')} "
        f"dead, {row['n_rare']:,} too rare to be judged"
        for row in rows
    ]
    total = sum(row["n_concepts"] for row in rows)
    return Figure(
        title="Dead atoms of every layer",
        about=f"{study}, training images",
        world="none",
        x=layers_axis("layer", layers),
        y=count_axis("concepts never active", max(dead)),
        marks=[bars(edges, dead, tips)],
        columns=("layer", "concepts", "dead", "rare_or_dead", "median_positives"),
        rows=[
            [row[name] for name in ("layer", "n_concepts", "n_dead", "n_rare", "median_positives")]
            for row in rows
        ],
        summary=(
            f"{sum(dead):,} of {words.count(total, 'concept')} are active in no training image; "
            f"{sum(row['n_rare'] for row in rows):,} in fewer than 40, the dead among them."
        ),
        file=f"{study}-dead-atoms",
        height=170,
    )
