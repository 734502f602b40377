"""Many yes-or-no targets from the same real features: logistic regression with an l2 penalty.

What a token itself says of a concept, as an upper bound for what labels say. All targets are
fitted at once by accelerated gradient steps (Nesterov 1983, restarted as O'Donoghue and Candès
2015 do) on whitened features, where one step size suits every direction; a step costs two products
of matrices for all targets together. The penalty is on the whitened weights and so does not depend
on the units of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.errors import DataError

PENALTY = 1e-3
"""Of half the squared weights, against the mean loss of an image."""

TOLERANCE = 1e-4
"""Largest slope of the mean loss at which a fit ends."""

MOST_STEPS = 2000

_FLAT = 1e-10  # share of the largest variance below which a direction is rounding and is left out


@dataclass(frozen=True)
class DenseLogistic:
    """Fitted models.

    Attributes
    ----------
    mean : ndarray of float64, shape (d,)
    weights : ndarray of float64, shape (d, n_targets)
    intercepts : ndarray of float64, shape (n_targets,)
    n_steps : int
    violation : float
        Largest slope at the end.
    """

    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    n_steps: int
    violation: float

    def scores(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return log-odds, shape ``(n, n_targets)``."""
        found: NDArray[np.float64] = (features - self.mean) @ self.weights + self.intercepts
        return found


def whitener(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what makes centred features uncorrelated with variance 1, shape ``(d, rank)``."""
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = variances > _FLAT * variances[-1]
    whitening: NDArray[np.float64] = directions[:, kept] / np.sqrt(variances[kept])
    return whitening


def fit_dense(
    features: NDArray[Any],
    targets: NDArray[np.bool_],
    penalty: float = PENALTY,
    tolerance: float = TOLERANCE,
) -> DenseLogistic:
    """Fit all targets at natural prevalence.

    Minimises ``mean bce + penalty / 2 · ‖w‖²`` for each target, `w` on whitened features, the
    intercept free: ``C = 1 / (n · penalty)`` in scikit-learn's words.

    Parameters
    ----------
    features : ndarray of float, shape (n, d)
    targets : ndarray of bool, shape (n, n_targets)
        Each with both values.
    penalty, tolerance : float

    Raises
    ------
    DataError
        If the shapes do not fit, or a target has one value only.
    """
    if len(features) != len(targets) or not len(features):
        raise DataError(
            f"There are features of {len(features)} images and targets of {len(targets)}: give the "
            "same images, at least one."
        )
    prevalence = targets.mean(axis=0)
    if targets.shape[1] and not (prevalence.min() > 0 and prevalence.max() < 1):
        raise DataError("A target has the same value for all images; leave it out.")
    mean = features.mean(axis=0, dtype=np.float64)
    whitening = whitener(features - mean)
    inputs = ((features - mean) @ whitening).astype(np.float32)
    truth = targets.astype(np.float32)
    n, rank = inputs.shape
    step = 1 / (0.25 + penalty)  # the loss bends by at most a quarter on whitened features
    at = np.zeros((rank + 1, targets.shape[1]))
    at[-1] = np.log(prevalence / (1 - prevalence))
    ahead, inertia, violation, steps = at, 1.0, np.inf, 0
    while steps < MOST_STEPS and at.shape[1]:
        scores = inputs @ ahead[:-1].astype(np.float32) + ahead[-1].astype(np.float32)
        errors = 1 / (1 + np.exp(-scores)) - truth
        slope = np.vstack([inputs.T @ errors / n + penalty * ahead[:-1], errors.mean(axis=0)])
        violation = float(abs(slope).max())
        if violation <= tolerance:
            at = ahead
            break
        new = ahead - step * slope
        if np.vdot(slope, new - at) > 0:  # it went uphill: forget where it was going
            inertia = 1.0
        following = (1 + np.sqrt(1 + 4 * inertia**2)) / 2
        ahead = new + (inertia - 1) / following * (new - at)
        at, inertia, steps = new, following, steps + 1
    return DenseLogistic(mean, whitening @ at[:-1], at[-1], steps, violation)
