"""How well scores and labels predict the concepts of a layer: one figure for each concept.

Every function is vectorised over concepts, the columns. With P positive and N negative samples of
a concept, TP and FP the positives and negatives predicted to be active::

    TPR = TP / P          FPR = FP / N          precision = TP / (TP + FP)

Labels are a Boolean array, sparse rows or `Codes`; the last two keep memory to the number of
positives. Scores are any real numbers that rise with the belief that a concept is active, and are
worked through in blocks of columns. Figures are float64, because averages are taken over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.codes import Codes
from cgraph.errors import DataError

if TYPE_CHECKING:
    from scipy import sparse

Figures: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = "NDArray[np.bool_] | sparse.sparray | sparse.spmatrix | Codes"

F1_ALL_POSITIVE = 2 / 3
"""Balanced F1 of calling every sample positive: what a predictor must beat."""

# Scores that are copied, transposed and sorted at a time; bounds memory.
_SCORES_AT_ONCE = 1 << 22


def auc(scores: NDArray[Any], labels: Labels) -> Figures:
    """Return the area under the ROC curve of each concept.

    The probability that a random positive scores above a random negative, ties counted half. It
    lies in [0, 1], and is .5 for constant or meaningless scores. It does not depend on the
    prevalence: a rare concept can have a high area and still be predicted wrongly most times, so
    read it beside the average precision.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)

    Returns
    -------
    ndarray of float64, shape (n_concepts,)
        NaN where a concept has no positive or no negative.

    Raises
    ------
    DataError
        If the shapes differ, a score is not finite or dense labels are not Boolean.
    """
    areas = np.full(scores.shape[1], np.nan)
    for column, ranked, positives in ranked_columns(scores, labels):
        n_pos = len(positives)
        n_neg = len(ranked) - n_pos
        if n_pos and n_neg:
            # By ranks (Mann and Whitney 1947): one division of whole numbers, so nothing is
            # rounded before. P² takes out the pairs of two positives.
            below = np.searchsorted(ranked, positives, "left").sum()
            up_to = np.searchsorted(ranked, positives, "right").sum()
            areas[column] = (below + up_to - n_pos**2) / (2 * n_pos * n_neg)
    return areas


def average_precision(scores: NDArray[Any], labels: Labels) -> Figures:
    """Return the average precision of each concept.

    The mean, over the positives, of the precision when everything scoring at least as high is
    called active; so samples with equal scores enter together, without interpolation. It lies in
    (0, 1]; the prevalence is what constant scores reach, and the figure falls with it: compare
    concepts of unlike prevalence only by their gain over it.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)

    Returns
    -------
    ndarray of float64, shape (n_concepts,)
        NaN where a concept has no positive.

    Raises
    ------
    DataError
        If the shapes differ, a score is not finite or dense labels are not Boolean.
    """
    precisions = np.full(scores.shape[1], np.nan)
    for column, ranked, positives in ranked_columns(scores, labels):
        if len(positives):
            true = len(positives) - np.searchsorted(positives, positives, "left")
            called = len(ranked) - np.searchsorted(ranked, positives, "left")
            precisions[column] = (true / called).mean()
    return precisions


def confusion_rates(
    scores: NDArray[Any], labels: Labels, threshold: ArrayLike = 0
) -> tuple[Figures, Figures]:
    """Return the true- and the false-positive rate of each concept at a threshold.

    A sample is predicted to be active when its score is at least the threshold. Both rates lie
    in [0, 1] and do not depend on the prevalence; how many predictions are right does.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
    threshold : float or array_like of shape (n_concepts,)
        In the unit of the scores; 0 suits balanced log-odds.

    Returns
    -------
    tpr, fpr : ndarray of float64, shape (n_concepts,)
        NaN where a concept has no positive, respectively no negative.

    Raises
    ------
    DataError
        If the shapes differ, a score or threshold is not finite or dense labels are not Boolean.
    """
    truth = _sparse_labels(labels, scores.shape)
    _check_finite(scores)
    n_samples, n_concepts = scores.shape
    limits = np.broadcast_to(np.asarray(threshold), (n_concepts,))
    if not np.isfinite(limits).all():
        raise DataError("A threshold is not a finite number. Leave concepts without one out.")
    called = np.zeros(n_concepts, dtype=np.int64)
    step = max(1, _SCORES_AT_ONCE // max(1, n_concepts))
    for start in range(0, n_samples, step):
        called += np.count_nonzero(scores[start : start + step] >= limits, axis=0)
    rows = np.repeat(np.arange(n_samples), np.diff(truth.indptr))
    hits = scores[rows, truth.indices] >= limits[truth.indices]
    true = np.bincount(truth.indices[hits], minlength=n_concepts)
    n_pos = np.bincount(truth.indices, minlength=n_concepts)
    return _ratio(true, n_pos), _ratio(called - true, n_samples - n_pos)


def f1_balanced(scores: NDArray[Any], labels: Labels, threshold: ArrayLike = 0) -> Figures:
    """Return the F1 score of each concept in a world where half the samples have it.

    2 · TPR / (1 + TPR + FPR), in [0, 1]: what F1 becomes when both classes weigh the same, the
    paper's world of balanced bags. Calling everything positive gives 2/3 (`F1_ALL_POSITIVE`), so
    a figure below that is no success. `f1_natural` is the same at the true prevalence.

    Parameters
    ----------
    scores : ndarray of float, shape (n_samples, n_concepts)
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
    threshold : float or array_like of shape (n_concepts,)
        In the unit of the scores; samples at it or above are predicted to be active.

    Returns
    -------
    ndarray of float64, shape (n_concepts,)
        NaN where a concept has no positive or no negative.

    Raises
    ------
    DataError
        If the shapes differ, a score or threshold is not finite or dense labels are not Boolean.
    """
    tpr, fpr = confusion_rates(scores, labels, threshold)
    return 2 * tpr / (1 + tpr + fpr)


def f1_natural(predicted: Labels, labels: Labels) -> Figures:
    """Return the F1 score of each concept at its own prevalence.

    2 · TP / (2 · TP + FP + FN), in [0, 1]: the harmonic mean of precision and TPR. It falls with
    the prevalence and depends on how predictions were cut off.

    Parameters
    ----------
    predicted : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
        Predicted labels.
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)

    Returns
    -------
    ndarray of float64, shape (n_concepts,)
        NaN where a concept is neither active nor predicted to be.

    Raises
    ------
    DataError
        If the shapes differ or dense labels are not Boolean.
    """
    called = _sparse_labels(predicted)
    truth = _sparse_labels(labels, called.shape)
    true = called.multiply(truth).sum(axis=0)
    return _ratio(2 * true, called.sum(axis=0) + truth.sum(axis=0))


def matthews(labels: Labels, others: Labels) -> Figures:
    """Return the Matthews correlation of every concept with every column of other labels.

    The correlation of two yes-or-no variables (Matthews 1975), in [-1, 1]: 1 when they are the
    same, 0 when one says nothing about the other, -1 when they are opposite.

    Parameters
    ----------
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
    others : ndarray of bool, sparse array or Codes, shape (n_samples, n_others)

    Returns
    -------
    ndarray of float64, shape (n_concepts, n_others)
        0 where one of the two is the same in all samples.

    Raises
    ------
    DataError
        If the numbers of samples differ or dense labels are not Boolean.
    """
    left, right = _sparse_labels(labels), _sparse_labels(others)
    n = left.shape[0]
    if right.shape[0] != n:
        raise DataError(f"There are labels of {n} and of {right.shape[0]} samples. Pass the same.")
    both = np.asarray((left.T @ right).todense(), dtype=np.float64)
    n_left = left.sum(axis=0).astype(np.float64)
    n_right = right.sum(axis=0).astype(np.float64)
    spread = np.outer(n_left * (n - n_left), n_right * (n - n_right))
    covariance = n * both - np.outer(n_left, n_right)
    found = np.zeros_like(both)
    return np.divide(covariance, np.sqrt(spread), out=found, where=spread > 0)


def nonzeros(labels: Labels) -> NDArray[np.int64]:
    """Count the active concepts of each sample: the ℓ0 of its code.

    Parameters
    ----------
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        From 0 to n_concepts. Few means easy to read, not right: an empty code is the sparsest.

    Raises
    ------
    DataError
        If dense labels are not Boolean.
    """
    return np.diff(_sparse_labels(labels).indptr).astype(np.int64)


def dead_atoms(labels: Labels) -> NDArray[np.bool_]:
    """Return which concepts are active in no sample: capacity that is not used.

    Parameters
    ----------
    labels : ndarray of bool, sparse array or Codes, shape (n_samples, n_concepts)
        Of enough samples: a rare concept looks dead among a few.

    Returns
    -------
    ndarray of bool, shape (n_concepts,)

    Raises
    ------
    DataError
        If dense labels are not Boolean.
    """
    rows = _sparse_labels(labels)
    return np.bincount(rows.indices, minlength=rows.shape[1]) == 0


class ExplainedVariance:
    """Share of the tokens' variance that their codes explain, in one pass over parts.

    1 − Σ‖z − ẑ‖² / Σ‖z − mean‖² over all tokens added: 1 is a perfect reconstruction, 0 what the
    mean alone reaches, and negative values are worse than the mean. The sums are over all tokens,
    so the figure is not a mean of the parts' figures. It says nothing about whether concepts mean
    something, and a few directions of large variance can dominate it.

    Parameters
    ----------
    mean : ndarray of float, shape (d_model,)
        The mean of the training tokens, in their unit.
    """

    def __init__(self, mean: NDArray[Any]) -> None:
        self._mean = np.asarray(mean, dtype=np.float64)
        self._residual = 0.0
        self._total = 0.0

    def add(self, tokens: NDArray[Any], reconstruction: NDArray[Any]) -> None:
        """Count the tokens of one part.

        Parameters
        ----------
        tokens, reconstruction : ndarray of float, shape (n_samples, d_model)

        Raises
        ------
        DataError
            If the shapes differ or a number is not finite; nothing is counted then.
        """
        if tokens.shape != reconstruction.shape or tokens.shape[1:] != self._mean.shape:
            raise DataError(
                f"Tokens of shape {tokens.shape}, reconstructions of shape "
                f"{reconstruction.shape} and a mean of shape {self._mean.shape} do not belong "
                "together. Pass tokens of one layer with their own reconstructions."
            )
        tokens = tokens.astype(np.float64)
        residual = float(np.sum((tokens - reconstruction) ** 2))
        total = float(np.sum((tokens - self._mean) ** 2))
        if not np.isfinite(residual + total):
            raise DataError(
                "A token or reconstruction is not a finite number. Check the tokens for infinite "
                "or missing values."
            )
        self._residual += residual
        self._total += total

    @property
    def value(self) -> float:
        """The share explained of everything added so far.

        Raises
        ------
        DataError
            If the tokens added do not vary about the mean, or none were.
        """
        if not self._total > 0:
            raise DataError(
                "The explained variance needs tokens that differ from their mean, and none were "
                "added. Check that the images differ."
            )
        return 1 - self._residual / self._total


def ranked_columns(
    scores: NDArray[Any], labels: Labels
) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Yield each column's index, all its scores and those of its positives, both rising."""
    truth = _sparse_labels(labels, scores.shape).tocsc()
    _check_finite(scores)
    n_samples, n_concepts = scores.shape
    step = max(1, _SCORES_AT_ONCE // max(1, n_samples))
    for start in range(0, n_concepts, step):
        # A copy of its own, since it is sorted in place.
        block = np.array(scores[:, start : start + step].T, order="C")
        positives = []
        for offset, column in enumerate(block):
            entries = slice(*truth.indptr[start + offset : start + offset + 2])
            positives.append(np.sort(column[truth.indices[entries]]))
        block.sort(axis=1)
        for offset, ranked in enumerate(block):
            yield start + offset, ranked, positives[offset]


def _sparse_labels(labels: Labels, shape: tuple[int, ...] | None = None) -> sparse.csr_array:
    """Return labels as sparse rows of ones, of the shape that is asked for."""
    from scipy import sparse

    if isinstance(labels, Codes):
        rows = labels.to_csr(binary=True)
    elif sparse.issparse(labels):
        rows = sparse.csr_array(labels != 0)
    elif np.asarray(labels).dtype == bool and np.ndim(labels) == 2:
        rows = sparse.csr_array(labels)
    else:
        raise DataError(
            f"Labels have the type {np.asarray(labels).dtype} and shape {np.shape(labels)}: they "
            "must be Boolean, one row a sample and one column a concept. Compare codes with 0."
        )
    if shape is not None and rows.shape != shape:
        raise DataError(
            f"Labels of shape {rows.shape} do not belong to predictions of shape {shape}. Both "
            "need one row a sample and one column a concept, in the same order."
        )
    return rows.astype(np.int64)


def _check_finite(scores: NDArray[Any]) -> None:
    # A sum is finite only if all of its terms are, and needs no Boolean array of their number.
    if not np.isfinite(scores.sum(axis=0, dtype=np.float64)).all():
        raise DataError(
            "A score is not a finite number. Leave concepts without a predictor out, and check "
            "the tokens for infinite or missing values."
        )


def _ratio(count: NDArray[Any], of: NDArray[Any]) -> Figures:
    """Divide counts, NaN where there is nothing to divide by."""
    return np.divide(count, of, out=np.full(np.shape(count), np.nan), where=np.asarray(of) > 0)
