"""Predictors: each concept of a layer from a few concepts of the layer before.

Here is what a predictor is, what it says of an image, and its calibration; `cgraph.bagging` fits
it (paper, section 3.3 and Figure 1).

A balanced fit speaks of a world in which half the images show the concept. Three probabilities
are told apart: ``balanced``, σ(score); ``prior``, with the intercept moved to the training
prevalence π by log(π/(1−π)) (King and Zeng 2001, "Logistic regression in rare events data"); and
``calibrated`` on the tune images (`calibrate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from scipy import sparse
from scipy.special import expit, logit

from cgraph.bag_fits import BagRows, bag_rows
from cgraph.calibration import matched_threshold, platt_pair
from cgraph.codes import Codes
from cgraph.config import ThresholdRule
from cgraph.errors import ConfigError, DataError
from cgraph.logistic import SparseRows, sparse_rows

World = Literal["balanced", "prior", "calibrated"]

RAREST = 1e-6
"""Lowest probability that an unfitted concept is given, so that its log-odds stay finite."""

CHUNK = 2048
"""Rows of dense inputs held at a time."""


class InputRows(Protocol):
    """Inputs of a layer's predictors, given for the rows that are asked for."""

    n_samples: int
    n_features: int

    def rows(self, rows: np.ndarray) -> sparse.csr_array:
        """Return the inputs of some samples, divided by the layer's scale.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)

        Returns
        -------
        sparse array, shape (n_rows, n_features)
        """


class SparseInputs:
    """Labels or coefficients as inputs; bags index into them without a copy.

    Parameters
    ----------
    codes : Codes
    binary : bool
        Whether the inputs are labels (1 where active) in place of coefficients.
    scale : float
        Divides every coefficient.

    Attributes
    ----------
    csr : sparse array of float64, shape (n_samples, n_features)
    """

    def __init__(self, codes: Codes, binary: bool, scale: float = 1.0) -> None:
        if not (np.isfinite(scale) and scale > 0):
            raise DataError(
                f"The scale of a layer's inputs is {scale}: it must be a number above 0. Check "
                "that the codes of the layer have entries."
            )
        self.n_samples, self.n_features = codes.n_samples, codes.n_atoms
        self.csr = codes.to_csr(binary=binary).astype(np.float64)
        self.csr.data /= scale

    @cached_property
    def arrays(self) -> SparseRows:
        """The inputs as the kernels of a single fit read them."""
        return sparse_rows(self.csr)

    @cached_property
    def narrow(self) -> BagRows:
        """The inputs as the kernels of many bags read them."""
        return bag_rows(self.csr)

    def rows(self, rows: np.ndarray) -> sparse.csr_array:
        """Return the inputs of some samples."""
        return self.csr[rows]


@dataclass(frozen=True)
class Predictors:
    """Predictors of some concepts of one layer, as compressed sparse rows by child.

    Child ``i`` owns the entries ``offsets[i]:offsets[i + 1]`` of `parents`, `weights` and
    `selection_rates`. A child that was not fitted has no parents, score 0, and its prevalence as
    calibrated probability.

    Attributes
    ----------
    children : ndarray of int32, shape (n_children,)
        Concepts that are predicted.
    offsets : ndarray of int64, shape (n_children + 1,)
    parents : ndarray of int32, shape (n_edges,)
        Concepts of the layer before, rising within a child.
    weights : ndarray of float32, shape (n_edges,)
        Never zero.
    selection_rates : ndarray of float32, shape (n_edges,)
        Share of the bags in which the parent's weight was nonzero.
    intercept : ndarray of float32, shape (n_children,)
        Of the balanced fit.
    fitted : ndarray of bool, shape (n_children,)
    n_positives : ndarray of int32, shape (n_children,)
        Training images in which the child is active.
    prevalence : ndarray of float32, shape (n_children,)
        Their share of the training images.
    bag_positives : ndarray of int32, shape (n_children,)
        Positives drawn into each bag; 0 if not fitted.
    penalty : ndarray of float32, shape (n_children,)
        μ; NaN if not fitted.
    violation : ndarray of float32, shape (n_children,)
        Worst optimality violation of the child's fits divided by μ; NaN if not fitted.
    converged : ndarray of bool, shape (n_children,)
        Whether all of the child's fits converged; true if there were none.
    slope, offset : ndarray of float32, shape (n_children,)
        Platt pair: calibrated p = σ(slope · score + offset). NaN before `calibrate`.
    threshold : ndarray of float32, shape (n_children,)
        τ: the label is predicted where the calibrated p ≥ τ. NaN before `calibrate`.
    """

    children: np.ndarray
    offsets: np.ndarray
    parents: np.ndarray
    weights: np.ndarray
    selection_rates: np.ndarray
    intercept: np.ndarray
    fitted: np.ndarray
    n_positives: np.ndarray
    prevalence: np.ndarray
    bag_positives: np.ndarray
    penalty: np.ndarray
    violation: np.ndarray
    converged: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    threshold: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence[Predictors]) -> Predictors:
        """Join the children of several parts, in their order."""
        if not parts:
            raise ValueError("concatenate needs at least one part")
        names = [field.name for field in dataclasses.fields(cls)]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        joined["offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(**joined)

    def decision(self, inputs: InputRows) -> np.ndarray:
        """Return balanced log-odds, ``intercept + Σ_j weight_j · input_j``.

        Parameters
        ----------
        inputs : InputRows
            Any number of samples, with the features that the predictors were fitted on.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_children)

        Raises
        ------
        DataError
            If a parent is not among the features of the inputs.
        """
        if len(self.parents) and self.parents.max() >= inputs.n_features:
            raise DataError(
                f"The inputs have {inputs.n_features} features and a predictor uses feature "
                f"{self.parents.max()}. Give inputs of the layer that it was fitted on."
            )
        shape = (len(self.children), inputs.n_features)
        by_child = (self.weights.astype(np.float64), self.parents, self.offsets)
        weights = sparse.csr_array(by_child, shape=shape).T.tocsr()
        scores = np.empty((inputs.n_samples, len(self.children)), dtype=np.float32)
        for start in range(0, inputs.n_samples, CHUNK):
            rows = np.arange(start, min(start + CHUNK, inputs.n_samples))
            scores[rows] = (inputs.rows(rows) @ weights).toarray() + self.intercept
        return scores

    def probabilities(self, inputs: InputRows, kind: World) -> np.ndarray:
        """Return the probability that each child is active.

        Parameters
        ----------
        inputs : InputRows
        kind : {"balanced", "prior", "calibrated"}
            The world that is spoken of; see the module's docstring.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_children)

        Raises
        ------
        ConfigError
            If the kind is unknown.
        DataError
            If calibrated ones are asked for before `calibrate`.
        """
        if kind not in ("balanced", "prior", "calibrated"):
            raise ConfigError(
                f"The kind of probability is {kind!r}. Allowed: balanced, prior, calibrated."
            )
        if kind == "calibrated":
            self._check_calibrated()
        scores = self.decision(inputs)
        if kind == "prior":
            scores += _log_odds(self.prevalence)
        elif kind == "calibrated":
            scores = self.slope * scores + self.offset
        return expit(scores)

    def predicted_labels(self, inputs: InputRows) -> np.ndarray:
        """Return where the calibrated probability reaches each child's threshold.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_children)

        Raises
        ------
        DataError
            Before `calibrate`.
        """
        return self.labels_of(self.decision(inputs))

    def labels_of(self, scores: np.ndarray) -> np.ndarray:
        """Return the labels that scores of `decision` stand for; see `predicted_labels`."""
        self._check_calibrated()
        return expit(self.slope * scores + self.offset) >= self.threshold

    def take(self, places: np.ndarray) -> Predictors:
        """Return the predictors of some children.

        Parameters
        ----------
        places : ndarray of int
            Places in `children`, in the order wanted.
        """
        lengths = np.diff(self.offsets)[places]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.repeat(self.offsets[places] - offsets[:-1], lengths) + np.arange(offsets[-1])
        by_entry = ("parents", "weights", "selection_rates")
        fields = {
            field.name: getattr(self, field.name)[entries if field.name in by_entry else places]
            for field in dataclasses.fields(self)
            if field.name != "offsets"
        }
        return Predictors(offsets=offsets, **fields)

    def _check_calibrated(self) -> None:
        if np.isnan(self.slope).any() or np.isnan(self.threshold).any():
            raise DataError(
                "These predictors are not calibrated. Call calibrate with the tune images first."
            )


def check_lengths(inputs: InputRows, labels: Codes) -> None:
    """Refuse inputs and labels of different numbers of images."""
    if inputs.n_samples != labels.n_samples:
        raise DataError(
            f"There are inputs of {inputs.n_samples} images and labels of {labels.n_samples}: "
            "give both for the same images."
        )


def calibrate(
    predictors: Predictors, inputs_tune: InputRows, labels_tune: Codes, rule: ThresholdRule
) -> Predictors:
    """Fit each child's Platt pair and threshold on the tune images.

    The threshold τ is one on the calibrated probability. With ``matched`` the child is predicted
    on as many tune images as it occurs in (see `cgraph.calibration.matched_threshold` for ties),
    or, if it occurs in none, on the share of them that it has of the training images. With
    ``half`` it is predicted where the balanced probability is at least 0.5, as in the paper; where
    the slope is 0 the score says nothing, and the child is predicted where p ≥ 0.5.

    A child that was not fitted gets slope 0, the log-odds of its prevalence as offset (kept
    within those of `RAREST`), and τ = 0.5.

    Parameters
    ----------
    predictors : Predictors
    inputs_tune : InputRows
        The layer before, tune images.
    labels_tune : Codes
        The layer of the children, the same images.
    rule : {"matched", "half"}

    Returns
    -------
    Predictors
        The same, with slope, offset and threshold.

    Raises
    ------
    ConfigError
        If the rule is unknown.
    DataError
        If there are no tune images, or inputs and labels differ in length.
    """
    if rule not in ("matched", "half"):
        raise ConfigError(f"The threshold rule is {rule!r}. Allowed: matched, half.")
    check_lengths(inputs_tune, labels_tune)
    n_samples = labels_tune.n_samples
    if n_samples == 0:
        raise DataError("There are no tune images to calibrate on. Use a larger image set.")
    scores = predictors.decision(inputs_tune)
    log_odds = _log_odds(predictors.prevalence)
    slope = np.zeros_like(log_odds)
    offset = log_odds.copy()
    threshold = np.full_like(log_odds, 0.5)
    for i in np.flatnonzero(predictors.fitted):
        positive = np.zeros(n_samples, dtype=np.bool_)
        positive[labels_tune.positives(int(predictors.children[i]))] = True
        slope[i], offset[i] = platt_pair(scores[:, i], positive, float(log_odds[i]))
        if rule == "matched":
            n_wanted = positive.sum() or predictors.prevalence[i] * n_samples
            probability = expit(slope[i] * scores[:, i] + offset[i])
            threshold[i] = matched_threshold(probability, float(n_wanted))
        elif slope[i] > 0:
            threshold[i] = expit(offset[i])
    return dataclasses.replace(predictors, slope=slope, offset=offset, threshold=threshold)


def _log_odds(prevalence: np.ndarray) -> np.ndarray:
    return logit(np.clip(prevalence.astype(np.float64), RAREST, 1 - RAREST)).astype(np.float32)
