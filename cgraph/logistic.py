"""Logistic regression with an l1 penalty on sparse rows, solved to a stated optimality.

The problem (paper, section 2.2), with one weight ``w_i`` per row and the intercept unpenalised:

    minimise  Σ_i w_i · bce(σ(b + x_i · θ), y_i) + μ · ‖θ‖₁

It is a sum over rows, not a mean, so μ is ``1 / C`` in the words of scikit-learn. At the solution
the gradient ``g`` of the sum satisfies ``g_j = -μ · sign(θ_j)`` where ``θ_j ≠ 0``, ``|g_j| ≤ μ``
elsewhere, and 0 for the intercept. The *violation* is the largest distance from these conditions,
in units of μ; a fit has converged when it is at most the tolerance.

How it is solved:

1. Screening. Every ``|y_i - p_i|`` is below 1, so a feature whose entries sum to at most μ, both
   over the rows that could push its weight up and over those that could push it down, has weight
   zero at the solution. Such features are left out before anything is fitted; this is exact.
2. Packing. The rows that remain distinguishable are copied with the surviving features only;
   repeated rows, and rows left with no feature or the same single one, are merged into one row
   with the sum of their weights.
3. Proximal Newton steps on the packed rows (`cgraph.proximal_newton`).

The kernels release the interpreter lock and keep no state, so threads may call them side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from cgraph.errors import ConfigError, DataError
from cgraph.proximal_newton import Problem, Settings, solve

TOLERANCE = 0.003
"""Default of the worst violation, in units of μ."""

MAX_ITER = 100
"""Default of the most Newton steps; a handful is usual."""


class SparseRows(NamedTuple):
    """Compressed sparse rows as the kernels read them; columns rise within a row."""

    offsets: np.ndarray  # int64, (n_samples + 1,)
    columns: np.ndarray  # int32, (nnz,)
    values: np.ndarray  # float64, (nnz,)


@dataclass(frozen=True)
class L1Fit:
    """The solution of one problem.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_features,)
        θ, exactly zero for unused features.
    intercept : float
        b.
    objective : float
        The minimised sum, penalty included.
    violation : float
        Worst optimality violation divided by μ.
    n_iter : int
        Newton steps taken.
    converged : bool
        Whether the violation is at most the tolerance.
    """

    weights: np.ndarray
    intercept: float
    objective: float
    violation: float
    n_iter: int
    converged: bool


def fit_l1_logistic(
    X: sparse.csr_array,
    y: np.ndarray,
    penalty: float,
    *,
    sample_weight: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> L1Fit:
    """Minimise ``Σ w_i · bce(σ(b + x_i · θ), y_i) + penalty · ‖θ‖₁``.

    Parameters
    ----------
    X : sparse array, shape (n_samples, n_features)
        Inputs, of any sign. Entries are read as float64.
    y : ndarray of bool or of 0 and 1, shape (n_samples,)
        Labels; both must occur with a positive weight.
    penalty : float
        μ, above 0, in the unit of the sum: it means less for more rows.
    sample_weight : ndarray of float, shape (n_samples,), optional
        Weight of each row, at least 0; 2 means the same as giving the row twice.
    tolerance : float
        Worst violation accepted, in units of μ.
    max_iter : int
        Most Newton steps.

    Returns
    -------
    L1Fit
        With ``converged`` false when `max_iter` came first.

    Raises
    ------
    ConfigError
        If the penalty, the tolerance or `max_iter` is out of range.
    DataError
        If shapes disagree, a number is not finite, or only one class occurs.
    """
    _check_settings(penalty, tolerance, max_iter)
    X = sparse.csr_array(X, copy=True)
    X.sum_duplicates()
    n_samples, n_features = X.shape
    positive, weight = _check_data(X, np.asarray(y), sample_weight)
    theta = np.zeros(n_features)
    intercept, objective, violation, n_iter = fit_rows(
        sparse_rows(X),
        np.arange(n_samples),
        positive,
        weight,
        np.ones(n_features, dtype=np.bool_),
        Settings(float(penalty), float(tolerance), int(max_iter)),
        theta,
        0.0,
    )
    return L1Fit(theta, intercept, objective, violation, n_iter, violation <= tolerance)


def sparse_rows(X: sparse.csr_array) -> SparseRows:
    """Return the arrays of a sparse array without duplicates, in the types of the kernels."""
    X = X if X.has_sorted_indices else X.sorted_indices()
    # Writable even where mapped files are not: read-only arrays would be compiled for once more.
    return SparseRows(
        np.require(X.indptr, np.int64, ["C", "W"]),
        np.require(X.indices, np.int32, ["C", "W"]),
        np.require(X.data, np.float64, ["C", "W"]),
    )


def _check_settings(penalty: float, tolerance: float, max_iter: int) -> None:
    if not (math.isfinite(penalty) and penalty > 0):
        raise ConfigError(f"The penalty is {penalty}: it must be a number above 0.")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError(f"The tolerance is {tolerance}: it must be a number above 0.")
    if max_iter < 1:
        raise ConfigError(f"max_iter is {max_iter}: it must be at least 1.")


def _check_data(
    X: sparse.csr_array, y: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    n_samples = X.shape[0]
    weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight, float)
    if y.shape != (n_samples,) or weight.shape != (n_samples,):
        raise DataError(
            f"X has {n_samples} rows, y has shape {y.shape} and sample_weight {weight.shape}: "
            "give one label and one weight for each row."
        )
    if not np.isin(y, (0, 1)).all():
        raise DataError("y holds values other than 0 and 1. Give the label of each row.")
    if not np.isfinite(X.data).all():
        raise DataError("X holds a number that is not finite. Remove or replace it.")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise DataError("sample_weight holds a negative or infinite number. Allowed: 0 and above.")
    positive = y.astype(np.bool_)
    n_positive, n_negative = (np.count_nonzero(weight[part]) for part in (positive, ~positive))
    if n_positive == 0 or n_negative == 0:
        raise DataError(
            f"{n_positive} rows are positive and {n_negative} negative: a logistic regression "
            "needs both. Leave this target out, or add rows."
        )
    return positive, weight


@njit(cache=True, nogil=True)
def fit_rows(
    X: SparseRows,
    rows: np.ndarray,
    positive: np.ndarray,
    weight: np.ndarray,
    allowed: np.ndarray,
    settings: Settings,
    theta: np.ndarray,
    intercept: float,
) -> tuple[float, float, float, int]:
    """Fit one set of weighted rows of `X`; compiled, and without checks.

    `theta` and `intercept` are the start, and `theta` is overwritten by the solution. Returns the
    intercept, the objective, the violation in units of μ and the number of steps.
    """
    candidates, local = _screen(X, rows, positive, weight, allowed, settings.penalty)
    problem = _pack(X, rows, positive, weight, local, candidates.size)
    inner = theta[candidates]
    theta[:] = 0.0
    intercept, objective, violation, n_iter = solve(problem, settings, inner, intercept)
    theta[candidates] = inner
    return intercept, objective, violation, n_iter


@njit(cache=True, nogil=True)
def _screen(
    X: SparseRows,
    rows: np.ndarray,
    positive: np.ndarray,
    weight: np.ndarray,
    allowed: np.ndarray,
    penalty: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features that can have a weight, and the place of each feature among them."""
    up = np.zeros(allowed.size)
    down = np.zeros(allowed.size)
    for i in range(rows.size):
        sign = weight[i] if positive[i] else -weight[i]
        for q in range(X.offsets[rows[i]], X.offsets[rows[i] + 1]):
            pull = sign * X.values[q]
            if pull > 0:
                up[X.columns[q]] += pull
            else:
                down[X.columns[q]] -= pull
    candidates = np.flatnonzero(allowed & (np.maximum(up, down) > penalty))
    local = np.full(allowed.size, -1, dtype=np.int32)
    local[candidates] = np.arange(candidates.size)
    return candidates, local


@njit(cache=True, nogil=True)
def _pack(
    X: SparseRows,
    rows: np.ndarray,
    positive: np.ndarray,
    weight: np.ndarray,
    local: np.ndarray,
    n_candidates: int,
) -> Problem:
    """Copy the rows with their candidate features only, merging those that became equal."""
    capacity = 0
    for row in rows:
        capacity += X.offsets[row + 1] - X.offsets[row]
    starts = np.zeros(rows.size + 1, dtype=np.uint32)
    features = np.empty(capacity, dtype=np.uint32)
    entries = np.empty(capacity)
    merged = np.zeros(rows.size)
    target = np.zeros(rows.size)
    # The packed row that holds each (feature, class) alone; the last place is "no feature".
    alone = np.full((n_candidates + 1, 2), -1, dtype=np.int64)
    n = 0
    end = 0
    place = 0
    for i in range(rows.size):
        if i == 0 or rows[i] != rows[i - 1]:
            start = end
            for q in range(X.offsets[rows[i]], X.offsets[rows[i] + 1]):
                if local[X.columns[q]] >= 0:
                    features[end] = local[X.columns[q]]
                    entries[end] = X.values[q]
                    end += 1
            label = 1 if positive[i] else 0
            place = n
            if end - start <= 1:
                feature = features[start] if end > start else n_candidates
                twin = alone[feature, label]
                if twin < 0:
                    alone[feature, label] = n
                elif end == start or entries[starts[twin]] == entries[start]:
                    place = twin
                    end = start
            if place == n:
                target[n] = label
                n += 1
                starts[n] = end
        merged[place] += weight[i]
    return Problem(starts[: n + 1], features[:end], entries[:end], merged[:n], target[:n])
