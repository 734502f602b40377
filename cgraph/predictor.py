"""Predictors: each concept of a layer from a few concepts of the layer before.

For each concept (paper, section 3.3 and Figure 1): l1-logistic regressions on T balanced bags; the
features whose weight is nonzero in more than a share of them are kept; a final fit with the kept
features alone gives the weights, and those that are nonzero name the parents. The penalty is
either μ itself or grows with the positives of a bag.

A balanced fit speaks of a world in which half the images show the concept. Three probabilities
are told apart: ``balanced``, σ(score); ``prior``, with the intercept moved to the training
prevalence π by log(π/(1−π)) (King and Zeng 2001, "Logistic regression in rare events data"); and
``calibrated`` on the tune images (`calibrate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy import sparse
from scipy.special import expit, logit

from cgraph.calibration import matched_threshold, platt_pair
from cgraph.codes import Codes
from cgraph.config import PredictorConfig, ThresholdRule
from cgraph.errors import ConfigError, DataError
from cgraph.logistic import MAX_ITER, TOLERANCE, SparseRows, fit_bags, fit_rows, sparse_rows
from cgraph.proximal_newton import Settings

World = Literal["balanced", "prior", "calibrated"]

RAREST = 1e-6
"""Lowest probability that an unfitted concept is given, so that its log-odds stay finite."""

_CHUNK = 2048  # rows made dense at a time


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
        self.arrays = sparse_rows(self.csr)

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
        for start in range(0, inputs.n_samples, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, inputs.n_samples))
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
        return self.probabilities(inputs, "calibrated") >= self.threshold

    def _check_calibrated(self) -> None:
        if np.isnan(self.slope).any() or np.isnan(self.threshold).any():
            raise DataError(
                "These predictors are not calibrated. Call calibrate with the tune images first."
            )


def draw_bags(
    positives: np.ndarray,
    negatives: np.ndarray,
    n_draw: int,
    n_bags: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw balanced bags of rows with replacement (paper, Figure 1: resample).

    Parameters
    ----------
    positives, negatives : ndarrays of int, shape (n_positives,) and (n_negatives,)
        Rising rows.
    n_draw : int
        Draws from each class for each bag.
    n_bags : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (n_bags, 2 * n_draw)
        Positives in the left half and negatives in the right, each sorted.
    """
    halves = [
        np.sort(rows[rng.integers(len(rows), size=(n_bags, n_draw))], axis=1)
        for rows in (positives, negatives)
    ]
    return np.hstack(halves).astype(np.int64, copy=False)


@dataclass(frozen=True)
class _ChildFit:
    n_positives: int
    bag_positives: int = 0
    penalty: float = np.nan
    parents: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, dtype=np.int32))
    weights: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    selection_rates: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    intercept: float = 0.0
    violation: float = np.nan


def fit_predictors(
    inputs: InputRows,
    labels: Codes,
    children: np.ndarray,
    config: PredictorConfig,
    *,
    entropy: tuple[int, ...],
    on_child: Callable[[int], None] | None = None,
) -> Predictors:
    """Fit a predictor for each of some concepts (paper, Figure 1).

    What a child gets depends on its index, the entropy and the data alone: not on the children
    fitted with it, nor on their order.

    Parameters
    ----------
    inputs : InputRows
        The layer before, training images only. Inputs other than `SparseInputs` are asked for the
        rows of each child's bags, and with ``final_rows="all"`` for all rows, child by child.
    labels : Codes
        The layer of the children, the same images.
    children : ndarray of int, shape (n_children,)
        Atoms of `labels`.
    config : PredictorConfig
    entropy : tuple of int
        Seed of the bags, at least 0 each, such as the seed of the study and the layer.
    on_child : callable, optional
        Called with each child once it is done.

    Returns
    -------
    Predictors
        Not yet calibrated.

    Raises
    ------
    DataError
        If inputs and labels differ in length, or a child is not an atom.
    """
    _check_lengths(inputs, labels)
    children = np.asarray(children, dtype=np.int32)
    unknown = children[(children < 0) | (children >= labels.n_atoms)]
    if len(unknown):
        raise DataError(f"There is no concept {unknown[0]} among {labels.n_atoms}.")
    fits = []
    for child in children.tolist():
        rng = np.random.default_rng(np.random.SeedSequence((*entropy, child)))
        fits.append(_fit_child(inputs, labels.positives(child), config, rng))
        if on_child is not None:
            on_child(child)
    return _collect(children, fits, labels.n_samples)


def _check_lengths(inputs: InputRows, labels: Codes) -> None:
    if inputs.n_samples != labels.n_samples:
        raise DataError(
            f"There are inputs of {inputs.n_samples} images and labels of {labels.n_samples}: "
            "give both for the same images."
        )


def _fit_child(
    inputs: InputRows, positives: np.ndarray, config: PredictorConfig, rng: np.random.Generator
) -> _ChildFit:
    n_positives, n_negatives = len(positives), inputs.n_samples - len(positives)
    if n_positives < config.min_positives or n_negatives == 0:
        return _ChildFit(n_positives)
    positive = np.zeros(inputs.n_samples, dtype=np.bool_)
    positive[positives] = True
    n_draw = n_positives if config.bag_cap is None else min(n_positives, config.bag_cap)
    bags = draw_bags(positives, np.flatnonzero(~positive), n_draw, config.n_bags + 1, rng)
    penalty = config.penalty * (n_draw if config.penalty_unit == "per-positive" else 1)
    settings = Settings(float(penalty), TOLERANCE, MAX_ITER)

    X, rows = _bag_rows(inputs, bags)
    every = np.ones(inputs.n_features, dtype=np.bool_)
    bag_weights, _, violations = fit_bags(X, rows[:-1], n_draw, every, settings)
    n_used = np.count_nonzero(bag_weights, axis=0)
    # The small number keeps 16 of 20 from exceeding 0.8 by rounding.
    kept = n_used > config.keep_share * config.n_bags + 1e-9
    if config.final_rows == "bag":
        final, intercepts, last = fit_bags(X, rows[-1:], n_draw, kept, settings)
        weights, intercept, violation = final[0], intercepts[0], last[0]
    else:
        share = np.where(positive, n_draw / n_positives, n_draw / n_negatives)
        weights = np.zeros(inputs.n_features)
        intercept, _, violation, _ = fit_rows(
            _columns(inputs, kept), np.arange(inputs.n_samples), positive, share, kept, settings,
            weights, 0.0,
        )  # fmt: skip
    parents = np.flatnonzero(weights.astype(np.float32))
    return _ChildFit(
        n_positives=n_positives,
        bag_positives=n_draw,
        penalty=penalty,
        parents=parents,
        weights=weights[parents],
        selection_rates=n_used[parents] / config.n_bags,
        intercept=intercept,
        violation=max(violation, violations.max()),
    )


def _bag_rows(inputs: InputRows, bags: np.ndarray) -> tuple[SparseRows, np.ndarray]:
    """Return sparse rows that hold those of the bags, and the bags as places among them."""
    if isinstance(inputs, SparseInputs):
        return inputs.arrays, bags
    rows, places = np.unique(bags, return_inverse=True)
    return sparse_rows(inputs.rows(rows)), places.reshape(bags.shape).astype(np.int64)


def _columns(inputs: InputRows, kept: np.ndarray) -> SparseRows:
    """Return all rows; of dense inputs only the kept columns, to hold fewer of them."""
    if isinstance(inputs, SparseInputs):
        return inputs.arrays
    only = sparse.diags_array(kept.astype(np.float64), format="csr")
    chunks = np.split(np.arange(inputs.n_samples), range(_CHUNK, inputs.n_samples, _CHUNK))
    return sparse_rows(sparse.vstack([inputs.rows(rows) @ only for rows in chunks], format="csr"))


def _collect(children: np.ndarray, fits: list[_ChildFit], n_samples: int) -> Predictors:
    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([getattr(fit, name) for fit in fits], dtype=dtype)

    def entries(name: str, dtype: type) -> np.ndarray:
        parts = [getattr(fit, name) for fit in fits]
        return np.concatenate([np.empty(0), *parts]).astype(dtype)

    violation = column("violation", np.float64)
    unknown = np.full(len(fits), np.nan, dtype=np.float32)
    return Predictors(
        children=children,
        offsets=np.cumsum([0, *(len(fit.parents) for fit in fits)], dtype=np.int64),
        parents=entries("parents", np.int32),
        weights=entries("weights", np.float32),
        selection_rates=entries("selection_rates", np.float32),
        intercept=column("intercept", np.float32),
        fitted=column("bag_positives", np.int32) > 0,
        n_positives=column("n_positives", np.int32),
        prevalence=column("n_positives", np.float32) / np.float32(n_samples),
        bag_positives=column("bag_positives", np.int32),
        penalty=column("penalty", np.float32),
        violation=violation.astype(np.float32),
        converged=np.isnan(violation) | (violation <= TOLERANCE),
        slope=unknown,
        offset=unknown.copy(),
        threshold=unknown.copy(),
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
    _check_lengths(inputs_tune, labels_tune)
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
