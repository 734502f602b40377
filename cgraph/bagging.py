"""Fitting predictors on balanced bags: Figure 1 of the paper.

For each concept: l1-logistic regressions on T balanced bags; the features whose weight is nonzero
in more than a share of them are kept; a final fit with the kept features alone gives the weights,
and those that are nonzero name the parents. The penalty is either μ itself or grows with the
positives of a bag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cgraph.bag_fits import BagRows, bag_rows, fit_bags
from cgraph.codes import Codes
from cgraph.config import PredictorConfig
from cgraph.errors import DataError
from cgraph.logistic import MAX_ITER, TOLERANCE, SparseRows, fit_rows, sparse_rows
from cgraph.predictor import CHUNK, InputRows, Predictors, SparseInputs, check_lengths
from cgraph.proximal_newton import Settings


def draw_bags(
    positives: np.ndarray, n_samples: int, n_draw: int, n_bags: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw balanced bags of rows with replacement (paper, Figure 1: resample).

    Parameters
    ----------
    positives : ndarray of int, shape (n_positives,)
        Rising rows; all others are negatives. There is at least one of each.
    n_samples : int
        Rows there are.
    n_draw : int
        Draws from each class for each bag.
    n_bags : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (n_bags, 2 * n_draw)
        Positives in the left half and negatives in the right, each sorted.
    """
    n_positives, size = len(positives), (n_bags, n_draw)
    left = np.sort(rng.integers(n_positives, size=size, dtype=np.int64), axis=1)
    right = np.sort(rng.integers(n_samples - n_positives, size=size, dtype=np.int64), axis=1)
    # The k-th negative is row k plus the number of positives before it.
    gaps = positives - np.arange(n_positives)
    return np.hstack([positives[left], right + np.searchsorted(gaps, right, side="right")])


def bag_size(n_positives: int, config: PredictorConfig) -> tuple[int, float]:
    """Return the draws from each class for a bag of a child, and the penalty of its fits."""
    n_draw = n_positives if config.bag_cap is None else min(n_positives, config.bag_cap)
    unit = n_draw if config.penalty_unit == "per-positive" else 1
    return n_draw, float(config.penalty * unit)


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
    check_lengths(inputs, labels)
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


def _fit_child(
    inputs: InputRows, positives: np.ndarray, config: PredictorConfig, rng: np.random.Generator
) -> _ChildFit:
    n_positives, n_negatives = len(positives), inputs.n_samples - len(positives)
    if n_positives < config.min_positives or n_negatives == 0:
        return _ChildFit(n_positives)
    n_draw, penalty = bag_size(n_positives, config)
    bags = draw_bags(positives, inputs.n_samples, n_draw, config.n_bags + 1, rng)
    settings = Settings(penalty, TOLERANCE, MAX_ITER)

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
        positive = np.zeros(inputs.n_samples, dtype=np.bool_)
        positive[positives] = True
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


def _bag_rows(inputs: InputRows, bags: np.ndarray) -> tuple[BagRows, np.ndarray]:
    """Return rows that hold those of the bags, and the bags as places among them."""
    if isinstance(inputs, SparseInputs):
        return inputs.narrow, bags
    rows, places = np.unique(bags, return_inverse=True)
    return bag_rows(inputs.rows(rows)), places.reshape(bags.shape).astype(np.int64)


def _columns(inputs: InputRows, kept: np.ndarray) -> SparseRows:
    """Return all rows; of dense inputs only the kept columns, to hold fewer of them."""
    if isinstance(inputs, SparseInputs):
        return inputs.arrays
    only = sparse.diags_array(kept.astype(np.float64), format="csr")
    chunks = np.split(np.arange(inputs.n_samples), range(CHUNK, inputs.n_samples, CHUNK))
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
