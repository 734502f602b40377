"""The ROC curves of all concepts of a pair of layers, together, on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.held_out import HeldOutPair
from cgraph.roc import average_precision_balanced, curve_density, roc_on_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_PIXELS = 256
"""Side of the density picture."""

_LEVELS = (0.05, 0.5, 0.95)
_CONCEPTS_AT_ONCE = 256


@dataclass(frozen=True)
class PairCurves:
    """Many ROC curves as one picture.

    Attributes
    ----------
    concepts : ndarray of int, shape (n_concepts,)
        Concepts that have a curve: those asked for with a positive and a negative.
    fpr : ndarray of float64, shape (N_PIXELS + 1,)
        False-positive rates, from 0 to 1.
    density : ndarray of int64, shape (N_PIXELS, N_PIXELS)
        Curves through each pixel; see `cgraph.roc.curve_density`.
    low, middle, high : ndarray of float64, shape (N_PIXELS + 1,)
        True-positive rate that 5, 50 and 95 % of the curves lie below at each rate.
    ap_balanced : ndarray of float64, shape (n_concepts,)
        Average precision of each in the balanced world.
    """

    concepts: NDArray[np.intp]
    fpr: NDArray[np.float64]
    density: NDArray[np.int64]
    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]
    ap_balanced: NDArray[np.float64]


def measure_curves(pair: HeldOutPair, concepts: NDArray[np.intp]) -> PairCurves:
    """Draw the ROC curves of some concepts into one picture.

    Parameters
    ----------
    pair : HeldOutPair
    concepts : ndarray of int, shape (n,)
        Concepts with a predictor.

    Returns
    -------
    PairCurves
    """
    curves, precisions = [], []
    grid = np.linspace(0, 1, N_PIXELS + 1)
    for start in range(0, len(concepts), _CONCEPTS_AT_ONCE):
        block = concepts[start : start + _CONCEPTS_AT_ONCE]
        scores, labels = pair.scores(block), pair.labels(block)
        curves.append(roc_on_grid(scores, labels, grid))
        precisions.append(average_precision_balanced(scores, labels))
    joined = np.concatenate(curves) if curves else np.empty((0, len(grid)))
    kept = np.isfinite(joined).all(axis=1)
    known = joined[kept]
    unknown = np.full((len(_LEVELS), len(grid)), np.nan)
    low, middle, high = np.quantile(known, _LEVELS, axis=0) if len(known) else unknown
    return PairCurves(
        concepts=np.asarray(concepts)[kept],
        fpr=grid,
        density=curve_density(known),
        low=low,
        middle=middle,
        high=high,
        ap_balanced=np.concatenate([*precisions, np.empty(0)])[kept],
    )


def curves_on(pair: HeldOutPair, concepts: NDArray[np.intp], n_points: int) -> NDArray[np.float64]:
    """Return the ROC curve of each concept at rates 0 … 1, shape ``(n_concepts, n_points)``."""
    return roc_on_grid(pair.scores(concepts), pair.labels(concepts), np.linspace(0, 1, n_points))
