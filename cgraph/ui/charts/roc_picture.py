"""Figure 3 of the paper for one pair of layers: all ROC curves as one picture."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cgraph.errors import DataError
from cgraph.ui import words
from cgraph.ui.charts.figure import Figure, line, picture, share_axis
from cgraph.ui.pair_facts import PairFacts

if TYPE_CHECKING:
    from cgraph.pair_curves import PairCurves

_FAINTEST = 28  # alpha of a pixel with one curve; none has 0


def density_uri(density: NDArray[np.int64]) -> str:
    """Return a picture whose alpha rises with the logarithm of the number of curves.

    Parameters
    ----------
    density : ndarray of int, shape (n, n)
        Rows by rising true-positive rate.

    Returns
    -------
    str
        Data URI of a PNG, first row on top, white under its alpha channel.
    """
    most = max(1, int(density.max(initial=1)))
    shares = np.log1p(density) / np.log1p(most)
    alpha = np.where(density > 0, _FAINTEST + (255 - _FAINTEST) * shares, 0)
    # In steps, which the eye does not see and which make the file a third as large.
    steps = (np.round(alpha / 5) * 5).astype(np.uint8)[::-1]
    buffer = io.BytesIO()
    pixels = np.stack([np.full_like(steps, 255), steps], axis=-1)
    Image.fromarray(pixels, "LA").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def roc_figure(facts: PairFacts, curves: PairCurves) -> Figure:
    """Return the ROC curves of all scored concepts of a pair.

    The red curve is the paper's: f_k(x) = 1 − ((1−x^k)/(1+x^k))^(1/k), with k such that its area is
    the median AUC.
    """
    from cgraph.roc import virtual_roc, virtual_roc_exponent

    areas = facts.columns["auc"]
    n = len(curves.concepts)
    median = float(np.nanmedian(areas)) if np.isfinite(areas).any() else float("nan")
    marks = [line([0, 1], [0, 1], "chance", "guessing")]
    virtual = np.full(len(curves.fpr), np.nan)
    said = ""
    if n:
        marks += [
            picture(density_uri(curves.density), f"{n:,} curves (stronger: more, log scale)"),
            line(curves.fpr, curves.high, "edge", "95 % lie below"),
            line(curves.fpr, curves.middle, "middle", "median"),
            line(curves.fpr, curves.low, "edge", "5 % lie below"),
        ]
        try:
            k = virtual_roc_exponent(median)
        except DataError:
            said = (
                f" No virtual curve has the median AUC, {words.thousandths(median)}, as its area."
            )
        else:
            virtual = virtual_roc(curves.fpr, k)
            label = f"virtual curve, k = {k:.3f}"
            marks.append(line(_dense(), virtual_roc(_dense(), k), "virtual", label))
            said = (
                f" The red virtual curve has the median AUC, {words.thousandths(median)}, as area: "
                f"k = {k:.3f}."
            )
    at_tenth = np.searchsorted(curves.fpr, 0.1)
    summary = (
        f"At a false-positive rate of 0.1 half of {n:,} concepts find at least "
        f"{words.percent(curves.middle[at_tenth])} of their images, and one in twenty at most "
        f"{words.percent(curves.low[at_tenth])}.{said}"
        if n
        else "No concept of this pair has a curve: none was scored."
    )
    return Figure(
        title="ROC curves of all scored concepts",
        about=facts.about,
        world="both",
        x=share_axis("false-positive rate"),
        y=share_axis("true-positive rate"),
        marks=marks,
        columns=("false_positive_rate", "tpr_5", "tpr_50", "tpr_95", "tpr_virtual"),
        rows=[
            [round(float(value), 5) for value in values]
            for values in zip(
                curves.fpr, curves.low, curves.middle, curves.high, virtual, strict=True
            )
        ],
        summary=summary,
        file=f"{facts.file}-roc",
        square=True,
    )


def _dense() -> NDArray[np.float64]:
    """Return rates that crowd at both ends, where the virtual curve can be upright."""
    half = np.linspace(0, 1, 61) ** 4 / 2
    return np.concatenate([half, 1 - half[-2::-1]])
