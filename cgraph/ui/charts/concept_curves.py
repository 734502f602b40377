"""The curves of one concept: ROC, precision and recall, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cgraph.operating_points import OperatingPoints
from cgraph.reliability import Reliability
from cgraph.ui import words
from cgraph.ui.charts.figure import Axis, Figure, dot, line, points, share_axis, ticks

ROC_DOT, PRECISION_DOT = "roc", "precision"
"""Names of the dots that the threshold moves."""

_MOST_POINTS = 700


def roc_of_concept(about: str, file: str, found: OperatingPoints, area: float) -> Figure:
    """Return the ROC curve of one concept."""
    kept = _thinned(found)
    x, y = found.fpr[kept], found.tpr[kept]
    return Figure(
        title="ROC curve",
        about=about,
        world="both",
        x=share_axis("false-positive rate"),
        y=share_axis("true-positive rate"),
        marks=[
            line([0, 1], [0, 1], "chance", "guessing"),
            line(x, y, "middle", f"AUC {words.fraction(area)}"),
            dot(ROC_DOT, "threshold"),
        ],
        columns=("threshold", "false_positive_rate", "true_positive_rate"),
        rows=_rows(found.thresholds, found.fpr, found.tpr),
        summary=(
            f"AUC {area:.3f} over {words.count(found.n_pos, 'image')} with the concept and "
            f"{found.n_neg:,} without. Every value holds in both worlds."
        ),
        file=f"{file}-roc",
        square=True,
    )


def precision_recall_of_concept(
    about: str, file: str, found: OperatingPoints, precision: float
) -> Figure:
    """Return the precision-recall curve of one concept, as it is in the natural world."""
    kept = _thinned(found)
    chance = found.n_pos / (found.n_pos + found.n_neg)
    return Figure(
        title="Precision and recall",
        about=about,
        world="natural",
        x=share_axis("recall (true-positive rate)"),
        y=share_axis("precision"),
        marks=[
            line([0, 1], [chance, chance], "chance", f"guessing {words.fraction(chance)}"),
            # As steps: between two points precision does not go along a straight line.
            line(*_steps(found.tpr[kept], found.precision[kept]), "middle", "precision"),
            dot(PRECISION_DOT, "threshold"),
        ],
        columns=("threshold", "recall", "precision"),
        rows=_rows(found.thresholds, found.tpr, found.precision),
        summary=(
            f"Average precision {precision:.3f}, where guessing gives the prevalence, "
            f"{chance:.3f}. With fewer images that have the concept, precision would be lower."
        ),
        file=f"{file}-precision-recall",
        square=True,
    )


def calibration_of_concept(about: str, file: str, found: Reliability) -> Figure:
    """Return the reliability diagram of one concept."""
    top = float(max(found.predicted.max(), found.observed.max(), 0.02))
    top = min(1.0, 1.1 * top)
    tips = [
        f"{words.count(int(n), 'image')} predicted at {100 * p:.2g} % on average: {int(k)} have it "
        f"({100 * o:.2g} %; 95 %: {100 * low:.2g} to {100 * high:.2g} %)"
        for n, k, p, o, low, high in zip(
            found.n,
            found.n_positive,
            found.predicted,
            found.observed,
            found.low,
            found.high,
            strict=True,
        )
    ]
    inside = (found.predicted >= found.low) & (found.predicted <= found.high)
    total, expected = int(found.n_positive.sum()), float((found.predicted * found.n).sum())
    return Figure(
        title="Calibration",
        about=about,
        world="natural",
        x=Axis("predicted probability", 0, top, ticks(0, top, 5), "percent"),
        y=Axis("share that has it", 0, top, ticks(0, top, 5), "percent"),
        marks=[
            line([0, top], [0, top], "chance", "as predicted"),
            points(
                found.predicted,
                found.observed,
                tips,
                low=np.minimum(found.low, top),
                high=np.minimum(found.high, top),
                label="group, 95 % interval",
            ),
        ],
        columns=("images", "with_concept", "predicted", "observed", "low_95", "high_95"),
        rows=[
            [int(n), int(k), *(round(float(value), 5) for value in rest)]
            for n, k, *rest in zip(
                found.n,
                found.n_positive,
                found.predicted,
                found.observed,
                found.low,
                found.high,
                strict=True,
            )
        ],
        summary=(
            f"{total:,} of {int(found.n.sum()):,} images have it and {expected:,.0f} were "
            f"predicted; in {int(inside.sum())} of {len(found.n)} groups the prediction lies "
            f"within the interval. A group holds {int(found.n.min()):,} to "
            f"{int(found.n.max()):,} images."
        ),
        file=f"{file}-calibration",
        square=True,
    )


def _thinned(found: OperatingPoints) -> NDArray[np.intp]:
    """Return the places of the points that a drawing needs: corners, and not too many."""
    rise, run = np.diff(found.tp), np.diff(found.fp)
    # Between points of one direction, straight up or straight along, the middle ones say nothing.
    corner = (rise[1:] > 0) & (rise[:-1] > 0) & (run[1:] == 0) & (run[:-1] == 0)
    corner |= (run[1:] > 0) & (run[:-1] > 0) & (rise[1:] == 0) & (rise[:-1] == 0)
    places = np.concatenate([[0], np.flatnonzero(~corner) + 1, [len(found.tp) - 1]])
    if len(places) > _MOST_POINTS:
        places = places[np.unique(np.linspace(0, len(places) - 1, _MOST_POINTS).astype(int))]
    return np.unique(places)


def _steps(
    recall: NDArray[np.float64], precision: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of a curve that stands still until the next recall is reached."""
    return np.repeat(recall, 2)[:-1], np.repeat(precision, 2)[1:]


def _rows(*columns: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 5) for value in row] for row in zip(*columns, strict=True)]
