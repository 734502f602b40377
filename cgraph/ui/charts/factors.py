"""Whether what images are made of has concepts of its own, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgraph.ui import words
from cgraph.ui.charts.figure import Figure
from cgraph.ui.charts.layer_curves import layer_curves

Row = Mapping[str, Any]


def own_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the shares of factors that a concept is a sign of, and that have one of their own."""
    last = max(rows, key=lambda row: row["layer"])
    best = max(rows, key=lambda row: _share(row, "n_own"))
    return layer_curves(
        "Factors with a concept of their own",
        f"{study}, held-out images",
        [row["layer"] for row in rows],
        {
            "some concept is a good sign": [_share(row, "n_reached") for row in rows],
            "a concept of its own": [_share(row, "n_own") for row in rows],
        },
        file=f"{study}-factors",
        summary=(
            f"In layer {last['layer']} a concept is a good sign of {last['n_reached']} of "
            f"{words.count(last['n_factors'], 'factor')}, and {last['n_own']} have one of their "
            f"own; most have in layer {best['layer']}, {best['n_own']}."
        ),
        unit="share",
    )


def scores_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return scores of disentanglement, between 0 and 1."""
    last = max(rows, key=lambda row: row["layer"])
    return layer_curves(
        "Scores of disentanglement",
        f"{study}, held-out images",
        [row["layer"] for row in rows],
        {
            "disentanglement": [row["disentanglement"] for row in rows],
            "completeness": [row["completeness"] for row in rows],
            "mutual information gap": [row["mig"] for row in rows],
            "informativeness (AUC)": [row["informativeness"] for row in rows],
        },
        file=f"{study}-disentanglement",
        summary=(
            f"In layer {last['layer']} all concepts together tell a factor with a mean AUC of "
            f"{words.fraction(last['informativeness'])}; the best one alone leads the second by "
            f"{words.fraction(last['mig'])} of the factor's entropy."
        ),
        unit="score",
        written=words.fraction,
    )


def _share(row: Row, name: str) -> float:
    return row[name] / row["n_factors"] if row["n_factors"] else float("nan")
