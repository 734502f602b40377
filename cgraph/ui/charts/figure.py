"""What a figure is: axes, marks, the table behind it, and words for those who do not see it.

A figure is data. The script ``ui/static/figure.js`` draws it as plain SVG in the colours of the
page, and saves it as SVG, PNG and CSV in the browser.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

World = Literal["balanced", "natural", "both", "none"]
"""The world that a figure speaks of: balanced (half the images have the concept), natural (as many
as have it), both (it is the same in each), or none (nothing was predicted)."""

Marker = Literal["circle", "square", "triangle", "wedge", "diamond", "cross", "star", "dash"]
"""Shapes of the points of a curve."""

_DIGITS = 5


@dataclass(frozen=True)
class Axis:
    """One axis, linear.

    Attributes
    ----------
    label : str
        What is shown, with its unit.
    low, high : float
        Ends.
    ticks : sequence of float
        Where numbers stand.
    kind : {"number", "percent", "whole"}
        How values are written.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    kind: Literal["number", "percent", "whole"] = "number"


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes
    ----------
    title : str
        What it shows.
    about : str
        Study, layers or concept; stands in the caption of a saved figure only.
    world : World
    x, y : Axis
    marks : sequence of mapping
        From the functions of this module, drawn in this order.
    columns : sequence of str
    rows : sequence of sequence
        The table behind the figure, one row for each thing that is drawn.
    summary : str
        What it says, in a sentence or two, for a screen reader and below a saved figure.
    file : str
        Name of a saved figure without its ending.
    square : bool
        Whether both axes have the same length.
    height : int
        Of the axes in pixels, if they have not.
    """

    title: str
    about: str
    world: World
    x: Axis
    y: Axis
    marks: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    summary: str
    file: str
    square: bool = False
    height: int = 250

    def to_json(self) -> str:
        """Return the figure as its script reads it; what is not finite becomes null."""
        values = {
            "title": self.title,
            "about": self.about,
            "world": self.world,
            "x": vars(self.x),
            "y": vars(self.y),
            "marks": list(self.marks),
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "summary": self.summary,
            "file": self.file,
            "square": self.square,
            "height": self.height,
        }
        return json.dumps(_plain(values), separators=(",", ":"), ensure_ascii=False)


def line(x: ArrayLike, y: ArrayLike, style: str, label: str = "") -> dict[str, Any]:
    """Return a line; `style` is its look (see ``figure.css``), `label` stands in the legend."""
    return {"mark": "line", "x": _rounded(x), "y": _rounded(y), "style": style, "label": label}


def bars(
    edges: ArrayLike, heights: ArrayLike, tips: Sequence[str], *, label: str = ""
) -> dict[str, Any]:
    """Return the bars of a histogram with what each says when it is pointed at."""
    return {
        "mark": "bars",
        "edges": _rounded(edges),
        "heights": _rounded(heights),
        "tips": list(tips),
        "label": label,
    }


def points(
    x: ArrayLike,
    y: ArrayLike,
    tips: Sequence[str],
    *,
    ids: Sequence[str] = (),
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    label: str = "",
) -> dict[str, Any]:
    """Return points, with intervals in y if asked; those with ids can be chosen."""
    return {
        "mark": "points",
        "x": _rounded(x),
        "y": _rounded(y),
        "tips": list(tips),
        "ids": list(ids),
        "low": None if low is None else _rounded(low),
        "high": None if high is None else _rounded(high),
        "label": label,
    }


def curve(
    x: ArrayLike,
    y: ArrayLike,
    tips: Sequence[str],
    *,
    style: str,
    marker: Marker,
    hollow: bool = False,
    label: str = "",
) -> dict[str, Any]:
    """Return points of one kind that a line joins; their shape tells kinds apart without colour.

    A gap in y is a gap in the line. `hollow` points stand on a dashed line.
    """
    return {
        "mark": "curve",
        "x": _rounded(x),
        "y": _rounded(y),
        "tips": list(tips),
        "style": style,
        "marker": marker,
        "hollow": hollow,
        "label": label,
    }


def blocks(
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    tips: Sequence[str],
    *,
    style: str,
    label: str,
    width: float = 0.8,
) -> dict[str, Any]:
    """Return one layer of stacked bars about whole numbers x; its style is a pattern."""
    return {
        "mark": "blocks",
        "x": _rounded(x),
        "low": _rounded(low),
        "high": _rounded(high),
        "tips": list(tips),
        "style": style,
        "label": label,
        "width": width,
    }


def cells(
    x_edges: ArrayLike, y_edges: ArrayLike, counts: ArrayLike, tips: Sequence[str]
) -> dict[str, Any]:
    """Return counts on a grid, shaded by their logarithm; tips are those of the filled cells.

    Filled cells come row by row: by rising y, then x.
    """
    numbers = np.asarray(counts)
    filled = [[int(i), int(j), int(numbers[j, i])] for j, i in np.argwhere(numbers > 0)]
    return {
        "mark": "cells",
        "x": _rounded(x_edges),
        "y": _rounded(y_edges),
        "cells": filled,
        "tips": list(tips),
    }


def picture(uri: str, label: str) -> dict[str, Any]:
    """Return a picture that fills the axes; its alpha channel is drawn in the ink of the page."""
    return {"mark": "picture", "uri": uri, "label": label}


def rule(at: float, label: str, *, axis: Literal["x", "y"] = "x", style: str = "rule") -> Any:
    """Return a straight line across the figure, with words at its end."""
    return {"mark": "rule", "at": at, "axis": axis, "label": label, "style": style}


def dot(name: str, label: str) -> dict[str, Any]:
    """Return a dot that another part of the page moves; see ``figure.js``."""
    return {"mark": "dot", "name": name, "label": label}


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return round numbers between two ends, at most `most` of them (if there is room for two)."""
    span = high - low
    if not span > 0:
        return (low,)
    step = 10.0 ** math.floor(math.log10(span / most))
    while math.floor(span / step + 1e-9) + 1 > most:
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        step *= 2.5 if 1.9 < mantissa < 2.1 else 2
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(step * i, 10) for i in range(first, last + 1))


def parents_axis(right: float) -> Axis:
    """Return an axis of numbers of parents; a bar or column stands about its whole number."""
    whole = [tick for tick in ticks(0, right, 7) if tick == round(tick)]
    return Axis("number of parents", -0.5, right, whole, "whole")


def share_axis(label: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """Return an axis of shares between 0 and 1."""
    return Axis(label, low, high, ticks(low, high))


def layers_axis(label: str, layers: Sequence[int]) -> Axis:
    """Return an axis of layers."""
    return Axis(label, min(layers) - 0.5, max(layers) + 0.5, list(layers), "whole")


def count_axis(label: str, high: float) -> Axis:
    """Return an axis of whole numbers from 0, with a little room above the highest."""
    top = max(1.0, 1.08 * high)
    return Axis(label, 0.0, top, [t for t in ticks(0, top, 5) if t == round(t)], "whole")


def _rounded(values: ArrayLike) -> list[float]:
    return np.round(np.asarray(values, dtype=np.float64), _DIGITS).tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
