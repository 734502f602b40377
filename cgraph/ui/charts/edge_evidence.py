"""What interventions found on the edges of every pair of layers, beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgraph.truth_tables import CONTRADICTED, NO_EFFECT, NOT_MEASURED, SPECIFIC, SUPPORTED
from cgraph.ui import words
from cgraph.ui.charts.figure import (
    Axis,
    Figure,
    blocks,
    curve,
    layers_axis,
    line,
    share_axis,
    ticks,
)
from cgraph.ui.charts.layer_curves import HEIGHT, layer_curves

Row = Mapping[str, Any]

VERDICTS = {
    SPECIFIC: ("n_specific", "full"),
    SUPPORTED: ("n_supported", "hatch"),
    NO_EFFECT: ("n_no_effect", "plain"),
    CONTRADICTED: ("n_contradicted", "crossed"),
    NOT_MEASURED: ("", "dotted"),
}
"""Verdicts from the bottom of a bar to its top: the column that counts them, and their pattern."""

_AXIS = "layer of the child"


def share(part: float, whole: float) -> float:
    """Return a share; NaN of nothing."""
    return part / whole if whole else float("nan")


def verdict_counts(row: Row) -> dict[str, int]:
    """Return how many edges of a pair have each verdict."""
    counts = {verdict: row[column] for verdict, (column, _) in VERDICTS.items() if column}
    return counts | {NOT_MEASURED: row["n_edges"] - row["n_measured"]}


def verdict_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the share of edges in each verdict, stacked, for every pair."""
    layers = [row["right"] for row in rows]
    counts = [verdict_counts(row) for row in rows]
    below = [0.0] * len(rows)
    marks = []
    for verdict, (_, style) in VERDICTS.items():
        if not any(found[verdict] for found in counts):
            continue
        shares = [
            found[verdict] / max(1, row["n_edges"]) for found, row in zip(counts, rows, strict=True)
        ]
        above = [low + part for low, part in zip(below, shares, strict=True)]
        tips = [
            f"layers {row['left']} → {row['right']}: {found[verdict]:,} of "
            f"{words.count(row['n_edges'], 'edge')} {verdict} ({words.percent(part)})"
            for row, found, part in zip(rows, counts, shares, strict=True)
        ]
        marks.append(blocks(layers, below, above, tips, style=style, label=verdict))
        below = above
    total = {verdict: sum(found[verdict] for found in counts) for verdict in VERDICTS}
    n = sum(row["n_edges"] for row in rows)
    measured = n - total[NOT_MEASURED]
    told = [
        f"{verdict} {words.percent(share(total[verdict], measured))}"
        for verdict in VERDICTS
        if verdict != NOT_MEASURED
    ]
    return Figure(
        title="Verdicts on the edges",
        about=f"{study}, measured in the network, held-out images",
        world="none",
        x=layers_axis(_AXIS, layers),
        y=share_axis("share of edges"),
        marks=marks,
        columns=("left", "right", "edges", *(verdict.replace(" ", "_") for verdict in VERDICTS)),
        rows=[
            [row["left"], row["right"], row["n_edges"], *(found[v] for v in VERDICTS)]
            for row, found in zip(rows, counts, strict=True)
        ],
        summary=(
            f"{'All ' if measured == n else f'{measured:,} of '}{words.count(n, 'edge')} were "
            "measured by taking the parent out of the real token, or putting it in: "
            f"{', '.join(told)}."
        ),
        file=f"{study}-edge-verdicts",
        height=240,
    )


def controls_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the supported share of edges of positive weight beside that of non-edges."""
    columns = {
        "positive edges supported": [
            share(row["n_positive_specific"] + row["n_positive_supported"], row["n_positive"])
            for row in rows
        ],
        "of them specific": [share(row["n_positive_specific"], row["n_positive"]) for row in rows],
        "non-edges that pass the same test": [
            share(row["n_controls_supported"], row["n_controls"]) for row in rows
        ],
    }
    late = [row for row in rows if row["right"] >= 3] or list(rows)
    ours = share(
        sum(r["n_positive_specific"] + r["n_positive_supported"] for r in late),
        sum(r["n_positive"] for r in late),
    )
    theirs = share(sum(r["n_controls_supported"] for r in late), sum(r["n_controls"] for r in late))
    return _curves(
        study,
        "Edges against controls",
        "edges-and-controls",
        rows,
        columns,
        against="non-edges that pass the same test",
        summary=(
            f"From the second pair on {words.percent(ours)} of the measured edges of positive "
            f"weight are supported; of non-edges put through the same test, {words.percent(theirs)}"
            "."
        ),
    )


def origin_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return which part of the supported edges the residual stream carries or the block makes."""
    n = [row["n_specific"] + row["n_supported"] for row in rows]
    kinds = ("carried", "computed", "both")
    carried, computed, both = (
        [share(row[f"n_{word}"], all_of) for row, all_of in zip(rows, n, strict=True)]
        for word in kinds
    )
    found = [sum(row[f"n_{word}"] for row in rows) for word in kinds]
    return _curves(
        study,
        "Carried or computed",
        "carried-or-computed",
        rows,
        {
            "carried by the residual stream": carried,
            "computed by the block": computed,
            "both": both,
        },
        summary=(
            f"Of {words.count(sum(n), 'supported edge')} the residual stream carries {found[0]:,}, "
            f"the block computes {found[1]:,}, and {found[2]:,} are both; of the others it is not "
            "clear."
        ),
    )


def order_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the rank correlation of weight and effect beside that of shuffled edges."""
    layers = [row["right"] for row in rows]
    found = [row["weight_effect"] for row in rows]
    beyond = sum(
        row["weight_effect"] > row["weight_effect_shuffled_high"]
        for row in rows
        if words.known(row["weight_effect"])
    )
    known = [value for value in found if words.known(value)]
    high = [row["weight_effect_shuffled_high"] for row in rows]
    low_end = min(0.0, *(v for v in [*found, *high] if words.known(v)), 0.0)
    tips = [
        f"layers {row['left']} → {row['right']}: weight and effect {words.signed(value)}, shuffled "
        f"{words.signed(row['weight_effect_shuffled'])}, 95 % of shuffles below "
        f"{words.signed(row['weight_effect_shuffled_high'])}"
        for row, value in zip(rows, found, strict=True)
    ]
    return Figure(
        title="Weight and effect",
        about=f"{study}, measured in the network, held-out images",
        world="none",
        x=layers_axis(_AXIS, layers),
        y=Axis("rank correlation", low_end - 0.05, 1.0, ticks(low_end - 0.05, 1.0)),
        marks=[
            line([layers[0] - 0.5, layers[-1] + 0.5], [0, 0], "chance"),
            curve(
                layers,
                high,
                tips,
                style="pale",
                marker="dash",
                hollow=True,
                label="shuffled edges, 95 % point",
            ),
            curve(layers, found, tips, style="first", marker="circle", label="weight and effect"),
        ],
        columns=("left", "right", *_ORDER),
        rows=[[row[name] for name in ("left", "right", *_ORDER)] for row in rows],
        summary=(
            f"Heavier edges have larger effects in {beyond} of {words.count(len(known), 'pair')}, "
            "beyond 95 % of shuffles."
            if known
            else "The correlation is not known of any pair."
        ),
        file=f"{study}-weight-and-effect",
        height=HEIGHT,
    )


_ORDER = ("weight_effect", "weight_effect_shuffled", "weight_effect_shuffled_high")


def joint_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return how often a label is lost when all its active parents are taken out together."""
    n = sum(row["n_joint"] for row in rows)

    def over_all(name: str) -> float:
        known = [row for row in rows if words.known(row[name])]
        total = sum(row["n_joint"] for row in known)
        return share(sum(row[name] * row["n_joint"] for row in known), total)

    lost = over_all("joint_lost")
    return _curves(
        study,
        "All active parents taken out",
        "joint-removal",
        rows,
        {
            "label lost": [row["joint_lost"] for row in rows],
            "non-parents of equal norm taken out": [row["joint_control_lost"] for row in rows],
        },
        against="non-parents of equal norm taken out",
        summary=(
            f"Without its active parents a concept is lost in {words.percent(lost)} of "
            f"{words.count(n, 'case')}; without as much of other active concepts, in "
            f"{words.percent(over_all('joint_control_lost'))}."
        ),
    )


def _curves(
    study: str,
    title: str,
    file: str,
    rows: Sequence[Row],
    columns: Mapping[str, Sequence[float]],
    *,
    summary: str,
    against: str = "",
) -> Figure:
    return layer_curves(
        title,
        f"{study}, measured in the network, held-out images",
        [row["right"] for row in rows],
        columns,
        file=f"{study}-{file}",
        summary=summary,
        axis=_AXIS,
        against=against,
        leads=[f"layers {row['left']} → {row['right']}" for row in rows],
    )
