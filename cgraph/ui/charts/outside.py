"""What the graph cannot see of every layer: patches, and what codes leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgraph.ui import words
from cgraph.ui.charts.figure import Figure
from cgraph.ui.charts.layer_curves import layer_curves

Row = Mapping[str, Any]


def sources_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return how much a token changes without the class token before, and without the patches."""
    layers = [row["layer"] for row in rows]
    known = [row for row in rows if words.known(row["outside"])]
    summary = "How much comes from the patches is not known of any layer."
    if known:
        most = max(known, key=lambda row: row["outside"])
        mean = sum(row["outside"] for row in known) / len(known)
        summary = (
            f"On average {words.percent(mean)} of what a layer's token depends on comes from the "
            f"patches, which the graph does not see; most in layer {most['layer']}, "
            f"{words.percent(most['outside'])}."
        )
    return _figure(
        study,
        "Where a token comes from",
        "sources",
        layers,
        {
            "the class token before": [row["from_class"] for row in rows],
            "the patches": [row["from_patches"] for row in rows],
        },
        summary=summary,
        unit="relative change without it",
    )


def labels_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the share of active labels that is lost without either."""
    late = [row for row in rows if words.known(row["labels_from_patches"])]
    mean = _mean([row["labels_from_patches"] for row in late])
    own = _mean([row["labels_from_class"] for row in late])
    return _figure(
        study,
        "Labels lost without it",
        "labels-lost",
        [row["layer"] for row in rows],
        {
            "the class token before": [row["labels_from_class"] for row in rows],
            "the patches": [row["labels_from_patches"] for row in rows],
        },
        summary=(
            f"Where the patches are replaced by their mean {words.percent(mean)} of the active "
            f"concepts vanish; where the class token before is, {words.percent(own)}."
            if late
            else "How many labels depend on the patches is not known of any layer."
        ),
    )


def left_out_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the share of a token's variance that its code leaves out."""
    values = [row["left_out"] for row in rows]
    known = [value for value in values if words.known(value)]
    return _figure(
        study,
        "Left out by the code",
        "left-out",
        [row["layer"] for row in rows],
        {"variance left out": values},
        summary=(
            f"Codes leave out {words.span(known)} of the variance of a layer's tokens; nothing "
            "that is left out can be predicted, or predict."
            if known
            else "What codes leave out is not known."
        ),
    )


def gap_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the AUC of the graph beside that of fits on the raw token of the layer before."""
    known = [r for r in rows if words.known(r["auc_graph"]) and words.known(r["auc_token"])]
    gap = _mean([row["auc_token"] - row["auc_graph"] for row in known])
    return layer_curves(
        "The graph beside the raw token",
        f"{study}, held-out images",
        [row["layer"] for row in known or rows],
        {
            "the graph": [row["auc_graph"] for row in known or rows],
            "a fit on the raw token": [row["auc_token"] for row in known or rows],
        },
        file=f"{study}-graph-and-raw-token",
        summary=(
            f"The raw token of the layer before predicts concepts better than the graph by "
            f"{gap:.3f} AUC on average: what codes and edges lose."
            if gap >= 0
            else f"The graph predicts concepts better than fits on the raw token before by "
            f"{-gap:.3f} AUC on average."
            if known
            else "Neither AUC is known."
        ),
        unit="mean AUC",
        against="a fit on the raw token",
        low=None,
        written=words.thousandths,
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if words.known(value)]
    return sum(known) / len(known) if known else float("nan")


def _figure(
    study: str,
    title: str,
    file: str,
    layers: Sequence[int],
    columns: Mapping[str, Sequence[float]],
    *,
    summary: str,
    unit: str = "share",
) -> Figure:
    return layer_curves(
        title,
        f"{study}, measured in the network, held-out images",
        layers,
        columns,
        file=f"{study}-{file}",
        summary=summary,
        unit=unit,
        written=words.percent if unit == "share" else words.fraction,
    )
