"""Several figures of every layer, or of every pair of layers, as curves in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cgraph.ui import words
from cgraph.ui.charts.figure import Axis, Figure, Marker, curve, layers_axis, ticks

HEIGHT = 210

_LOOKS: tuple[tuple[str, Marker], ...] = (
    ("first", "circle"),
    ("second", "square"),
    ("third", "triangle"),
    ("fourth", "diamond"),
)

_AGAINST: tuple[str, Marker] = ("pale", "dash")


def layer_curves(
    title: str,
    about: str,
    layers: Sequence[int],
    columns: Mapping[str, Sequence[float]],
    *,
    file: str,
    summary: str,
    axis: str = "layer",
    unit: str = "share",
    against: str = "",
    leads: Sequence[str] = (),
    low: float | None = 0.0,
    written: Callable[[float], str] = words.percent,
) -> Figure:
    """Return a figure of some curves over layers.

    Parameters
    ----------
    title, about, file, summary : str
        As in `Figure`.
    layers : sequence of int
    columns : mapping of str to sequence of float
        A curve each, with its words; not all of them unknown.
    axis, unit : str
        What the two axes are.
    against : str
        The column that the others are to be compared with; it is drawn pale and dashed.
    leads : sequence of str, optional
        What each layer is called; ``layer 3`` if left out.
    low : float or None
        Lower end of the axis; None for a little below the lowest value.
    written : callable
        Writes a value.
    """
    leads = leads or [f"layer {layer}" for layer in layers]
    looks = iter(_LOOKS)
    marks = []
    for word, values in columns.items():
        style, marker = _AGAINST if word == against else next(looks)
        tips = [
            f"{lead}: {word} {written(value)}" for lead, value in zip(leads, values, strict=True)
        ]
        hollow = word == against
        marks.append(
            curve(layers, values, tips, style=style, marker=marker, hollow=hollow, label=word)
        )
    known = [value for values in columns.values() for value in values if words.known(value)]
    bottom = min(known, default=0.0) - 0.03 if low is None else min([low, *known])
    top = 1.0 if max(known, default=1.0) <= 1 else 1.05 * max(known)
    return Figure(
        title=title,
        about=about,
        world="none",
        x=layers_axis(axis, layers),
        y=Axis(unit, bottom, top, ticks(bottom, top), "percent" if unit == "share" else "number"),
        marks=marks,
        columns=("layer", *(word.replace(" ", "_") for word in columns)),
        rows=[[layer, *row] for layer, *row in zip(layers, *columns.values(), strict=True)],
        summary=summary,
        file=file,
        height=HEIGHT,
    )
