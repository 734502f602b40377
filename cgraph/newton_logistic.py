"""Logistic regression on a few dense inputs: the predictors of rollouts, fitted again and again.

For one target y with values 0 or 1, row weights v and inputs x of some dozens of columns, the
minimum over w and b of::

    Σ_n v_n · bce(y_n, σ(x_n · w + b))  +  ½ · l2 · Σ_j (s_j · w_j)²

with s_j the weighted standard deviation of column j, so that a penalty weighs the same whatever the
unit of a column; a column that hardly varies gets the weight 0. The bias is free. The minimum is
unique for l2 > 0, and found by Newton steps with halving in double precision: five to eight passes
over the rows. No random step; the same bits for the same inputs and library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from cgraph.errors import DataError

MAX_STEPS = 50

_LEAST_SD = 1e-6  # of a column that counts as varying: inputs are labels or probabilities
_DECREMENT = 1e-6  # gᵀ H⁻¹ g, twice the loss still to be gained, at which the last step is taken
_MOST_HALVINGS = 30
_RIDGE = 1e-9  # share of the rows' total curvature, so that l2 = 0 can be solved


@dataclass(frozen=True)
class DenseFit:
    """A fitted model.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_features,)
    intercept : float
    converged : bool
        Whether the last step promised next to nothing.
    n_steps : int
    """

    weights: np.ndarray
    intercept: float
    converged: bool
    n_steps: int


def fit_dense(
    columns: np.ndarray,
    positive: np.ndarray,
    l2: float,
    row_weights: np.ndarray | None = None,
) -> DenseFit:
    """Fit one target.

    Parameters
    ----------
    columns : ndarray of float, shape (n_features, n_samples)
        Inputs, a row for each feature, as they lie together in memory.
    positive : ndarray of bool, shape (n_samples,)
    l2 : float
        Penalty, at least 0.
    row_weights : ndarray of float, shape (n_samples,), optional
        How many images each row stands for; 1 if left out.

    Returns
    -------
    DenseFit

    Raises
    ------
    DataError
        If shapes differ, the penalty is negative, or one of the two classes is missing.
    """
    n_features, n_samples = columns.shape
    if positive.shape != (n_samples,) or (
        row_weights is not None and row_weights.shape != (n_samples,)
    ):
        raise DataError(f"There are {n_samples} rows of inputs and {len(positive)} of the target.")
    if not l2 >= 0:
        raise DataError(f"The penalty is {l2}: a number of at least 0 is needed.")
    if positive.all() or not positive.any():
        raise DataError("The target is the same in every row: nothing can be fitted.")
    weights = np.ones(n_samples) if row_weights is None else row_weights.astype(np.float64)
    total = weights.sum()
    design = columns.astype(np.float64)
    means = design @ weights / total
    design -= means[:, None]
    deviations = np.sqrt((design * design) @ weights / total)
    varies = deviations > _LEAST_SD
    design = design[varies] / deviations[varies, None]
    share = float(weights[positive].sum() / total)
    found, bias, converged, n_steps = _newton(
        design, positive, l2, weights, np.log(share / (1 - share))
    )
    scaled = np.zeros(n_features)
    scaled[varies] = found / deviations[varies]
    return DenseFit(scaled, float(bias - scaled @ means), converged, n_steps)


def _newton(
    design: np.ndarray, positive: np.ndarray, l2: float, weights: np.ndarray, bias: float
) -> tuple[np.ndarray, float, bool, int]:
    n_features = len(design)
    sign = np.where(positive, -1.0, 1.0)
    found = np.zeros(n_features)
    scores = np.full(len(positive), bias)
    hessian = np.empty((n_features + 1, n_features + 1))

    def loss(at: np.ndarray, of: np.ndarray) -> float:
        margin = sign * at
        cross_entropy = np.maximum(margin, 0) + np.log1p(np.exp(-np.abs(margin)))
        return float(weights @ cross_entropy + 0.5 * l2 * of @ of)

    reached = loss(scores, found)
    for step_number in range(1, MAX_STEPS + 1):
        p = expit(scores)
        residual = weights * (p - positive)
        curvature = weights * p * (1 - p)
        gradient = np.append(design @ residual + l2 * found, residual.sum())
        curved = design * curvature
        hessian[:-1, :-1] = curved @ design.T
        hessian[:-1, -1] = hessian[-1, :-1] = curved.sum(axis=1)
        hessian[-1, -1] = curvature.sum()
        hessian.flat[:: n_features + 2] += _RIDGE * curvature.sum()
        hessian.flat[: n_features * (n_features + 2) : n_features + 2] += l2
        step = cho_solve(cho_factor(hessian), gradient)
        decrement = float(gradient @ step)
        if decrement <= _DECREMENT:  # so near, a whole step doubles the digits that are right
            return found - step[:-1], bias - step[-1], True, step_number
        moved = step[:-1] @ design + step[-1]
        size = 1.0
        for _ in range(_MOST_HALVINGS):
            lower = loss(scores - size * moved, found - size * step[:-1])
            if lower <= reached:
                break
            size /= 2
        reached = lower
        found = found - size * step[:-1]
        bias -= size * step[-1]
        scores = scores - size * moved
    return found, bias, False, MAX_STEPS
