"""One concept at every threshold: what it would call right and wrong.

A sample is predicted to be active when its score is at least the threshold. With P positive and N
negative samples, TP and FP of them predicted::

    TPR = recall = TP / P      FPR = FP / N      precision = TP / (TP + FP)

ROC and precision-recall curves, confusion tables and F1 in both worlds all follow from TP and FP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.errors import DataError

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """How many samples are predicted rightly and wrongly at one threshold.

    Attributes
    ----------
    tp, fp, fn, tn : int
        True and false positives, false and true negatives.
    """

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class OperatingPoints:
    """Every threshold that makes a difference, the highest first.

    Attributes
    ----------
    thresholds : ndarray of float64, shape (n_points,)
        Infinity, at which nothing is predicted, and then every distinct score, falling.
    tp, fp : ndarray of int64, shape (n_points,)
        Positive and negative samples at or above each threshold.
    n_pos, n_neg : int
        Samples of both classes.
    """

    thresholds: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    n_pos: int
    n_neg: int

    @property
    def tpr(self) -> Shares:
        """True-positive rate, which is also the recall; NaN without positives."""
        return self.tp / (self.n_pos or np.nan)

    @property
    def fpr(self) -> Shares:
        """False-positive rate; NaN without negatives."""
        return self.fp / (self.n_neg or np.nan)

    @property
    def precision(self) -> Shares:
        """Share of the predicted samples that are positive; 1 where nothing is predicted."""
        called = self.tp + self.fp
        return np.where(called > 0, self.tp / np.maximum(called, 1), 1.0)

    @property
    def f1_natural(self) -> Shares:
        """2 · TP / (2 · TP + FP + FN), at the prevalence of these samples."""
        total = self.tp + self.fp + self.n_pos
        return np.where(total > 0, 2 * self.tp / np.maximum(total, 1), np.nan)

    @property
    def f1_balanced(self) -> Shares:
        """2 · TPR / (1 + TPR + FPR), as if half the samples were positive."""
        return 2 * self.tpr / (1 + self.tpr + self.fpr)

    def confusion(self, threshold: float) -> Confusion:
        """Return what a threshold predicts, which need not be one of `thresholds`."""
        point = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        tp, fp = (int(counts[max(0, point)]) for counts in (self.tp, self.fp))
        return Confusion(tp, fp, self.n_pos - tp, self.n_neg - fp)


def operating_points(scores: NDArray[Any], positive: NDArray[np.bool_]) -> OperatingPoints:
    """Count at every threshold; samples of equal score are predicted together.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples,)
        Any numbers that rise with the belief that the concept is active.
    positive : ndarray of bool, shape (n_samples,)
        Where it is active.

    Returns
    -------
    OperatingPoints

    Raises
    ------
    DataError
        If the shapes differ, there are no samples or a score is not finite.
    """
    if scores.shape != positive.shape or scores.ndim != 1 or not len(scores):
        raise DataError(
            f"There are scores of shape {scores.shape} and labels of shape {positive.shape}. Give "
            "one score and one label for each of at least one sample."
        )
    if not np.isfinite(scores).all():
        raise DataError("A score is not a finite number. Leave concepts without a predictor out.")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    tp = np.cumsum(positive[order], dtype=np.int64)[last]
    n_pos = int(positive.sum())
    return OperatingPoints(
        thresholds=np.concatenate([[np.inf], ranked[last]]),
        tp=np.concatenate([[0], tp]),
        fp=np.concatenate([[0], last + 1 - tp]),
        n_pos=n_pos,
        n_neg=len(scores) - n_pos,
    )
