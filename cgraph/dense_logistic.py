"""Logistic regressions of many targets on the same dense inputs, solved side by side.

For each target, with one weight per feature and the intercept unpenalised:

    minimise  Σ_i bce(σ(b + x_i · w), y_i) + λ/2 · ‖w‖²

A fit of its own for every target would read the inputs again and again. Here all targets take their
steps together, so that a step is two matrix products for all of them:

1. Inputs are centred and turned to the eigenvectors of their Gram matrix, of eigenvalues s. There
   the Hessian of a target is close to ``mean(p (1 − p)) · s + λ``, a diagonal.
2. L-BFGS (Nocedal 1980) with that diagonal as its first guess, and a step length of its own for
   each target: scores are linear in the step, so trying one costs no product.
3. A target is done when its predicted gain, half the squared gradient in that metric, is below the
   tolerance times the objective; then it is left out of the products.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.errors import ConfigError, DataError

TOLERANCE = 1e-6
"""Default of the predicted gain at which a target is done, as a share of its objective."""

MAX_ITER = 200
"""Default of the most steps; two dozen are usual."""

PENALTIES = (1000.0, 100.0, 10.0, 1.0)
"""Default grid of λ, strongest first: for inputs of about unit size, and a sum over rows."""

_MEMORY = 8  # steps that L-BFGS remembers
_SHORTEST = 2.0**-30  # step length at which rounding is all that is left
_SCORES_AT_ONCE = 1 << 22  # rows times targets that are worked on together


@dataclass(frozen=True)
class DenseFits:
    """Solutions for many targets.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_features, n_targets)
    intercepts : ndarray of float64, shape (n_targets,)
    objectives : ndarray of float64, shape (n_targets,)
        The minimised sums, penalty included.
    penalties : ndarray of float64, shape (n_targets,)
        λ of each.
    converged : ndarray of bool, shape (n_targets,)
    """

    weights: np.ndarray
    intercepts: np.ndarray
    objectives: np.ndarray
    penalties: np.ndarray
    converged: np.ndarray

    def decision(self, X: np.ndarray) -> np.ndarray:
        """Return the log-odds of each target, shape ``(n_samples, n_targets)``."""
        return np.asarray(X, dtype=np.float64) @ self.weights + self.intercepts


def fit_dense_logistic(
    X: np.ndarray,
    Y: np.ndarray,
    penalty: float,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> DenseFits:
    """Minimise ``Σ_i bce(σ(b + x_i · w), y_i) + penalty/2 · ‖w‖²`` for every target.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples, n_features)
        Computed with as float64.
    Y : ndarray of bool, shape (n_samples, n_targets)
        Each target needs both values.
    penalty : float
        λ, above 0, in the unit of the sum; ``1 / C`` in the words of scikit-learn.
    tolerance : float
        See `TOLERANCE`.
    max_iter : int

    Returns
    -------
    DenseFits
        With ``converged`` false where `max_iter` came first.

    Raises
    ------
    ConfigError
        If the penalty is out of range.
    DataError
        If shapes disagree, a number is not finite, or a target has one value only.
    """
    basis, penalty = _Basis(X, Y), _checked(penalty)
    parts = []
    for block in _blocks(Y):
        solved, of_block = _Solved(basis, block), np.arange(block.shape[1])
        _solve(basis, block, penalty, solved, of_block, tolerance, max_iter)
        parts.append(solved.fits(basis, np.full(block.shape[1], penalty)))
    return _joined(parts)


def fit_dense_logistic_path(
    X: np.ndarray,
    Y: np.ndarray,
    X_tune: np.ndarray,
    Y_tune: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> DenseFits:
    """Fit every target with the penalty that serves its tune images best.

    Penalties are tried from the strongest on, each from the solution before. A target whose mean
    cross-entropy on the tune images has risen is done: weaker ones would overfit it more.

    Parameters
    ----------
    X, Y : ndarray
        See `fit_dense_logistic`.
    X_tune, Y_tune : ndarray
        The same features and targets of other images, at least one.
    penalties : sequence of float
        Above 0, in any order.
    tolerance, max_iter
        See `fit_dense_logistic`.

    Returns
    -------
    DenseFits
        `penalties` has what was chosen.

    Raises
    ------
    ConfigError, DataError
        See `fit_dense_logistic`; also if there is no penalty or no tune image.
    """
    if not len(penalties):
        raise ConfigError("There is no penalty to try. Give at least one above 0.")
    if not len(X_tune):
        raise DataError("There are no tune images to choose a penalty on. Use a larger image set.")
    basis, tried = _Basis(X, Y), sorted(map(_checked, penalties), reverse=True)
    turned = basis.turn(X_tune)
    return _joined(
        [
            _path(basis, block, turned, of_tune, tried, tolerance, max_iter)
            for block, of_tune in zip(_blocks(Y), _blocks(Y_tune, len(Y)), strict=True)
        ]
    )


def _blocks(Y: np.ndarray, n_rows: int | None = None) -> list[np.ndarray]:
    """Return targets in blocks that bound the memory; the numbers do not depend on it."""
    step = max(1, _SCORES_AT_ONCE // (n_rows or len(Y)))
    return [Y[:, start : start + step] for start in range(0, max(1, Y.shape[1]), step)]


def _joined(parts: Sequence[DenseFits]) -> DenseFits:
    names = [field.name for field in dataclasses.fields(DenseFits)]
    return DenseFits(
        **{name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in names}
    )


def _path(
    basis: _Basis,
    Y: np.ndarray,
    turned: np.ndarray,
    Y_tune: np.ndarray,
    penalties: Sequence[float],
    tolerance: float,
    max_iter: int,
) -> DenseFits:
    solved, best = _Solved(basis, Y), _Solved(basis, Y)
    chosen = np.full(Y.shape[1], np.nan)
    lowest = np.full(Y.shape[1], np.inf)
    going = np.arange(Y.shape[1])
    for penalty in penalties:
        if not len(going):
            break
        _solve(basis, Y, penalty, solved, going, tolerance, max_iter)
        truth = Y_tune[:, going].astype(np.float64)
        loss = _cross_entropy(turned @ solved.weights[:, going], truth)[0].sum(axis=0)
        better = loss < lowest[going]
        going = going[better]
        lowest[going], chosen[going] = loss[better], penalty
        best.take_over(solved, going)
    return best.fits(basis, chosen)


def _checked(penalty: float) -> float:
    if not (np.isfinite(penalty) and penalty > 0):
        raise ConfigError(f"The penalty is {penalty}: it must be a number above 0.")
    return float(penalty)


class _Basis:
    """Inputs centred and turned to the eigenvectors of their Gram matrix, with a column of ones."""

    def __init__(self, X: np.ndarray, Y: np.ndarray) -> None:
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or not len(X):
            raise DataError(
                f"The inputs have the shape {X.shape} and the targets {Y.shape}: both need two "
                "dimensions and the same rows, at least one."
            )
        if not np.isfinite(X).all():
            raise DataError("An input is not a finite number. Remove or replace it.")
        positive = np.count_nonzero(Y, axis=0)
        single = np.flatnonzero((positive == 0) | (positive == len(Y)))
        if len(single):
            raise DataError(
                f"Target {single[0]} is the same in all {len(Y)} rows: a logistic regression needs "
                "both. Leave this target out, or add rows."
            )
        self.mean = X.mean(axis=0)
        centred = X - self.mean
        values, self.vectors = np.linalg.eigh(centred.T @ centred)
        self.inputs = np.ones((len(X), X.shape[1] + 1))
        np.matmul(centred, self.vectors, out=self.inputs[:, :-1])
        self.curvature = np.append(np.maximum(values, 0.0), len(X))

    def turn(self, X: np.ndarray) -> np.ndarray:
        """Return other inputs in this basis."""
        turned = (np.asarray(X, dtype=np.float64) - self.mean) @ self.vectors
        return np.hstack([turned, np.ones((len(turned), 1))])


class _Solved:
    """Where all targets are, in a basis; the last weight is the intercept."""

    def __init__(self, basis: _Basis, Y: np.ndarray) -> None:
        share = Y.mean(axis=0)
        self.weights = np.zeros((basis.inputs.shape[1], Y.shape[1]))
        self.weights[-1] = np.log(share) - np.log1p(-share)
        self.objectives = np.full(Y.shape[1], np.nan)
        self.converged = np.zeros(Y.shape[1], dtype=np.bool_)

    def take_over(self, other: _Solved, targets: np.ndarray) -> None:
        self.weights[:, targets] = other.weights[:, targets]
        self.objectives[targets] = other.objectives[targets]
        self.converged[targets] = other.converged[targets]

    def fits(self, basis: _Basis, penalties: np.ndarray) -> DenseFits:
        weights = basis.vectors @ self.weights[:-1]
        intercepts = self.weights[-1] - basis.mean @ weights
        return DenseFits(weights, intercepts, self.objectives, penalties, self.converged)


def _cross_entropy(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-entropy of each entry, and the probabilities."""
    small = np.exp(-np.abs(scores))
    loss = np.maximum(scores, 0.0) - truth * scores + np.log1p(small)
    return loss, np.where(scores >= 0, 1.0, small) / (1.0 + small)


def _solve(
    basis: _Basis,
    Y: np.ndarray,
    penalty: float,
    solved: _Solved,
    targets: np.ndarray,
    tolerance: float,
    max_iter: int,
) -> None:
    """Bring some targets from where they are to the solution for a penalty."""
    inputs = basis.inputs
    ridge = np.full((inputs.shape[1], 1), penalty)
    ridge[-1] = 0.0
    solved.converged[targets] = False
    at = targets
    truth = Y[:, at].astype(np.float64)
    weights = solved.weights[:, at]
    scores = inputs @ weights
    loss, probability = _cross_entropy(scores, truth)
    objective = loss.sum(axis=0) + 0.5 * (ridge * weights**2).sum(axis=0)
    gradient = inputs.T @ (probability - truth) + ridge * weights
    history: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque(maxlen=_MEMORY)
    stuck = np.zeros(len(at), dtype=np.bool_)
    for _ in range(max_iter + 1):
        spread = (probability * (1.0 - probability)).mean(axis=0)
        metric = 1.0 / np.maximum(spread * basis.curvature[:, None] + ridge, 1e-12)
        done = 0.5 * (gradient**2 * metric).sum(axis=0) <= tolerance * objective
        solved.weights[:, at], solved.objectives[at] = weights, objective
        solved.converged[at] = done
        going = ~(done | stuck)
        if not going.any():
            return
        if going.mean() < 0.75:
            at, truth, weights, scores = (
                at[going],
                truth[:, going],
                weights[:, going],
                scores[:, going],
            )
            objective, gradient, metric = objective[going], gradient[:, going], metric[:, going]
            history = deque(((s[:, going], y[:, going], r[going]) for s, y, r in history), _MEMORY)
        step = -_times_inverse(history, gradient, metric)
        slope = (step * gradient).sum(axis=0)
        along = inputs @ step
        length = np.ones(len(at))
        trying = np.ones(len(at), dtype=np.bool_)
        new = objective.copy()
        while trying.any():
            moved = weights[:, trying] + length[trying] * step[:, trying]
            loss, _ = _cross_entropy(
                scores[:, trying] + length[trying] * along[:, trying], truth[:, trying]
            )
            new[trying] = loss.sum(axis=0) + 0.5 * (ridge * moved**2).sum(axis=0)
            trying &= (new > objective + 1e-4 * length * slope) & (length > _SHORTEST)
            length[trying] *= 0.5
        stuck = new > objective
        length[stuck] = 0.0
        new[stuck] = objective[stuck]
        change, before = length * step, gradient
        weights, objective = weights + change, new
        scores += length * along
        _, probability = _cross_entropy(scores, truth)
        gradient = inputs.T @ (probability - truth) + ridge * weights
        turn = gradient - before
        product = (change * turn).sum(axis=0)
        # A pair without curvature, where rounding is all that is left, is not remembered.
        inverse = np.divide(1.0, product, out=np.zeros(len(at)), where=product > 1e-300)
        history.append((change, turn, inverse))


def _times_inverse(
    history: deque[tuple[np.ndarray, np.ndarray, np.ndarray]],
    gradient: np.ndarray,
    metric: np.ndarray,
) -> np.ndarray:
    """Return the gradients times the inverse Hessians that the history tells of."""
    found = gradient.copy()
    shares = []
    for change, turn, inverse in reversed(history):
        share = inverse * (change * found).sum(axis=0)
        found -= share * turn
        shares.append(share)
    found *= metric
    for (change, turn, inverse), share in zip(history, reversed(shares), strict=True):
        found += (share - inverse * (turn * found).sum(axis=0)) * change
    return found
