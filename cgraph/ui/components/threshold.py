"""One concept at any threshold: the confusion it makes and the images it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import streamlit as st

from cgraph.operating_points import OperatingPoints
from cgraph.ui.components import revision_of, static_text


@dataclass(frozen=True)
class WrongImage:
    """An image that some threshold gets wrong.

    Attributes
    ----------
    id, label, image : str
        What is reported when it is chosen, what is read out, and its data URI.
    p : float
        Calibrated probability of the concept.
    """

    id: str
    label: str
    image: str
    p: float


_component = st.components.v2.component(
    "cgraph_threshold",
    html=static_text("threshold.html"),
    css=static_text("threshold.css"),
    js=static_text("threshold.js"),
)


def threshold_panel(
    points: OperatingPoints,
    presets: Sequence[tuple[str, float, str]],
    false_positives: Sequence[WrongImage],
    false_negatives: Sequence[WrongImage],
    *,
    key: str,
    on_pick: Callable[[], None],
    on_threshold: Callable[[], None],
    threshold: float | None = None,
    selected: str | None = None,
) -> None:
    """Show the slider, the confusion and the images.

    Parameters
    ----------
    points : OperatingPoints
        On calibrated probabilities.
    presets : sequence of (str, float, str)
        Thresholds to jump to: words, probability, explanation; the first is where it starts.
    false_positives, false_negatives : sequence of WrongImage
        Images that come first at any threshold, most confident first.
    key : str
        Key in the session; ``["picked"]`` is the image that was chosen, ``["threshold"]`` where
        the slider was let go.
    on_pick, on_threshold : callable
        Called after either.
    threshold : float, optional
        Where the slider stands.
    selected : str, optional
        Id of the image that is marked.
    """
    facts = {
        "levels": [_short(level) for level in points.thresholds[1:]],
        "tp": points.tp[1:].tolist(),
        "fp": points.fp[1:].tolist(),
        "nPos": points.n_pos,
        "nNeg": points.n_neg,
        "tau": _short(presets[0][1]),
        "presets": [[words, _short(p), title] for words, p, title in presets],
        "fp_images": [asdict(image) | {"p": _short(image.p)} for image in false_positives],
        "fn_images": [asdict(image) | {"p": _short(image.p)} for image in false_negatives],
    }
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False)
    _component(
        key=key,
        data={
            "revision": revision_of(text),
            "facts": text,
            "threshold": threshold,
            "selected": selected,
        },
        on_picked_change=on_pick,
        on_threshold_change=on_threshold,
    )


def _short(probability: float) -> float:
    """Return a number of single precision in few digits; equal ones stay equal, and the order."""
    return float(str(np.float32(probability)))
