"""Proximal Newton steps for a small weighted l1-logistic problem.

    minimise  Σ_i w_i · bce(σ(b + x_i · θ), y_i) + μ · ‖θ‖₁

Each step takes a working set, the nonzero weights and the features that violate their optimality
condition; minimises the local quadratic model of the sum plus the penalty over it by coordinate
descent; and follows the direction found as far as a backtracking line search on the true
objective allows (Yuan, Ho and Lin 2012, "An improved GLMNET for l1-regularized logistic
regression"; Lee, Sun and Saunders 2014). `cgraph.logistic` states the problem in full.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

# numba keeps compiled callers in other files when only this one changes: after an edit here, delete
# the __pycache__ folder.

_INNER_ACCURACY = 0.05  # of a Newton step, relative to the violation before it
_MAX_SWEEPS = 500
# A feature at zero enters a step's working set when its gradient passes the penalty by more than
# this share of the worst excess. Entering every violator makes the first steps of dense inputs
# large for nothing (10.9 against 9.1 ms a fit at 120 active labels in a row); larger shares cost
# sparse real codes more steps than they save. The end of the fit does not depend on it: the
# violation is taken over all features.
_ENTERING_SHARE = 0.1
_SWEEPS_BEFORE_JOINT = 50
_MAX_HALVINGS = 50
_SUFFICIENT_DECREASE = 0.01
_RIDGE = 1e-10
_WARM_START_GAIN = 0.9
_LARGE_PRODUCT = 1e280
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # of log(2)


class Settings(NamedTuple):
    """The penalty μ, the worst violation accepted in units of μ, and the most Newton steps."""

    penalty: float
    tolerance: float
    max_iter: int


class Problem(NamedTuple):
    """Packed rows: what is left of a problem once it has been screened.

    Row ``i`` owns the entries ``starts[i]:starts[i + 1]``; features rise within a row. Indices have
    no sign, so that the compiled loops need not ask whether one counts from the end.
    """

    starts: np.ndarray  # uint32, (n_rows + 1,)
    features: np.ndarray  # uint32, (nnz,)
    entries: np.ndarray  # float64, (nnz,), or empty where every entry is 1
    weight: np.ndarray  # float64, (n_rows,), at least 0
    target: np.ndarray  # float64, (n_rows,), 0 or 1, each with a positive weight somewhere


@njit(cache=True, nogil=True)
def solve(
    problem: Problem, settings: Settings, theta: np.ndarray, intercept: float
) -> tuple[float, float, float, int]:
    """Minimise over packed rows; compiled.

    Parameters
    ----------
    problem : Problem
    settings : Settings
    theta : ndarray of float64, shape (n_features,)
        Weights to start from; overwritten by the solution.
    intercept : float
        Intercept to start from; the pair is used where it is a good start.

    Returns
    -------
    tuple of float, float, float, int
        The intercept, the objective, the violation in units of μ and the number of steps.
    """
    penalty = settings.penalty
    limit = settings.tolerance * penalty
    intercept, objective, score, probability = _start(problem, penalty, theta, intercept)
    trial = np.empty_like(score)
    change = np.empty_like(score)
    place = np.empty(theta.size, dtype=np.int64)
    excess = np.empty(theta.size)
    everywhere = np.zeros(theta.size)  # a step, of the working set only, as one of all features
    n_iter = 0
    while True:
        gradient, slope = _gradient(problem, probability, theta.size)
        violation = abs(slope)
        worst = 0.0
        for j in range(theta.size):
            excess[j] = abs(gradient[j] + np.sign(theta[j]) * penalty)
            if theta[j] == 0:
                excess[j] -= penalty
                worst = max(worst, excess[j])
            violation = max(violation, excess[j])
        place[:] = -1
        n_working = 0
        for j in range(theta.size):
            if theta[j] != 0 or excess[j] > _ENTERING_SHARE * worst:
                place[j] = n_working
                n_working += 1
        if violation <= limit or n_iter == settings.max_iter:
            break
        n_iter += 1
        working = np.flatnonzero(place >= 0)
        now = theta[working]
        hessian = _hessian(problem, probability, place, n_working)
        accuracy = max(_INNER_ACCURACY * violation, 0.3 * limit)
        step = _newton_step(hessian, gradient[working], slope, now, penalty, accuracy)
        everywhere[working] = step[:n_working]
        _product(problem, everywhere, step[n_working], change)
        everywhere[working] = 0.0
        norm = np.abs(now).sum()
        descent = slope * step[n_working] + (gradient[working] * step[:n_working]).sum()
        descent += penalty * (np.abs(now + step[:n_working]).sum() - norm)
        share = 1.0
        reached = np.inf
        for _ in range(_MAX_HALVINGS):
            trial[:] = score + share * change
            reached = _cross_entropy(problem, trial, probability)
            reached += penalty * np.abs(now + share * step[:n_working]).sum()
            # The last term is the rounding error of a sum this large.
            bound = objective + _SUFFICIENT_DECREASE * share * descent + 1e-13 * abs(objective)
            if reached <= bound:
                break
            share *= 0.5
        else:  # no step of any length helps: as near as double precision comes
            break
        intercept += share * step[n_working]
        theta[working] = now + share * step[:n_working]
        score[:] = trial
        objective = reached
    return intercept, objective, violation / penalty, n_iter


@njit(cache=True, nogil=True)
def _start(
    problem: Problem, penalty: float, theta: np.ndarray, intercept: float
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Return intercept, objective, scores and probabilities to start from; may reset `theta`."""
    n_rows = problem.weight.size
    # The best constant model, which is the solution when every weight is zero.
    n_positive = (problem.weight * problem.target).sum()
    constant = math.log(n_positive / (problem.weight.sum() - n_positive))
    score = np.full(n_rows, constant)
    probability = np.empty(n_rows)
    objective = _cross_entropy(problem, score, probability)
    if theta.any():
        warm_score = np.empty(n_rows)
        warm_probability = np.empty(n_rows)
        _product(problem, theta, intercept, warm_score)
        warm = _cross_entropy(problem, warm_score, warm_probability)
        warm += penalty * np.abs(theta).sum()
        # A start that is hardly better than nothing may be saturated, where Newton steps run off.
        if warm < _WARM_START_GAIN * objective:
            return intercept, warm, warm_score, warm_probability
        theta[:] = 0.0
    return constant, objective, score, probability


@njit(cache=True, nogil=True, fastmath=True)
def _exponentials(score: np.ndarray) -> np.ndarray:
    """Return ``exp(-|x|)`` of every score, to about 14 digits.

    The loop has no call in it, so that it is compiled to vector instructions: ``exp(y)`` is
    ``2^k · exp(r)`` with ``|r| ≤ log(2) / 2``, the first by writing the exponent of a number and
    the second by its Taylor polynomial. Below -700 the result is 1e-304 and not less.
    """
    powers = np.empty(score.size, dtype=np.int64)
    rests = np.empty(score.size)
    for i in range(score.size):
        y = max(-abs(score[i]), -700.0)
        k = np.floor(y * _LOG2_E + 0.5)
        r = (y - k * _LN2_HIGH) - k * _LN2_LOW
        rests[i] = 1.0 + r * (
            1.0
            + r
            * (
                1 / 2
                + r
                * (
                    1 / 6
                    + r
                    * (
                        1 / 24
                        + r
                        * (
                            1 / 120
                            + r
                            * (
                                1 / 720
                                + r
                                * (
                                    1 / 5040
                                    + r
                                    * (
                                        1 / 40320
                                        + r * (1 / 362880 + r * (1 / 3628800 + r / 39916800))
                                    )
                                )
                            )
                        )
                    )
                )
            )
        )
        powers[i] = (np.int64(k) + 1023) << 52
    return rests * powers.view(np.float64)


@njit(cache=True, nogil=True, fastmath=True)
def _cross_entropy(problem: Problem, score: np.ndarray, probability: np.ndarray) -> float:
    """Return the weighted cross-entropy and write the probabilities.

    Logarithms are as dear as all the rest, so that of a product is taken now and then in place of
    one for each row: ``Σ log(1 + e_i) = log Π (1 + e_i)``, with factors between 1 and 2.
    """
    small = _exponentials(score)
    total = 0.0
    product = 1.0
    for i in range(score.size):
        x = score[i]
        e = small[i]
        inverse = 1.0 / (1.0 + e)
        weight = problem.weight[i]
        probability[i] = inverse if x >= 0 else e * inverse
        total += weight * (max(x, 0.0) - problem.target[i] * x)
        if weight == 1.0:
            product *= 1.0 + e
        elif weight == 2.0:
            product *= (1.0 + e) * (1.0 + e)
        else:
            total += weight * math.log1p(e)
        if product > _LARGE_PRODUCT:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@njit(cache=True, nogil=True, fastmath=True)
def _product(problem: Problem, step: np.ndarray, constant: float, out: np.ndarray) -> None:
    """Write the inner product of every row with a step of all features, plus a constant."""
    binary = problem.entries.size == 0
    for i in range(out.size):
        total = constant
        if binary:
            for q in range(problem.starts[i], problem.starts[i + 1]):
                total += step[problem.features[q]]
        else:
            for q in range(problem.starts[i], problem.starts[i + 1]):
                total += step[problem.features[q]] * problem.entries[q]
        out[i] = total


@njit(cache=True, nogil=True, fastmath=True)
def _gradient(
    problem: Problem, probability: np.ndarray, n_features: int
) -> tuple[np.ndarray, float]:
    """Return the gradient of the cross-entropy, of the weights and of the intercept."""
    gradient = np.zeros(n_features)
    slope = 0.0
    for i in range(probability.size):
        residual = problem.weight[i] * (probability[i] - problem.target[i])
        slope += residual
        if problem.entries.size == 0:
            for q in range(problem.starts[i], problem.starts[i + 1]):
                gradient[problem.features[q]] += residual
        else:
            for q in range(problem.starts[i], problem.starts[i + 1]):
                gradient[problem.features[q]] += residual * problem.entries[q]
    return gradient, slope


@njit(cache=True, nogil=True, fastmath=True)
def _hessian(
    problem: Problem, probability: np.ndarray, place: np.ndarray, n_working: int
) -> np.ndarray:
    """Return the Hessian of the cross-entropy over the working set, the intercept last."""
    hessian = np.zeros((n_working + 1, n_working + 1))
    binary = problem.entries.size == 0
    used = np.empty(place.size + 1, dtype=np.uint32)
    values = np.empty(0 if binary else place.size + 1)
    for i in range(probability.size):
        h = problem.weight[i] * probability[i] * (1.0 - probability[i])
        hessian[n_working, n_working] += h
        n = 0
        for q in range(problem.starts[i], problem.starts[i + 1]):
            # Without a branch: which features are used is as good as random to the processor.
            a = place[problem.features[q]]
            used[n] = a
            if not binary:
                values[n] = problem.entries[q]
            n += a >= 0
        # Features rise within a row, so this fills the lower triangle.
        for q in range(n):
            a = used[q]
            hv = h if binary else h * values[q]
            hessian[n_working, a] += hv
            for r in range(q + 1):
                hessian[a, used[r]] += hv if binary else hv * values[r]
    for a in range(n_working + 1):
        for c in range(a):
            hessian[c, a] = hessian[a, c]
        hessian[a, a] += _RIDGE * (1.0 + hessian[a, a])
    return hessian


@njit(cache=True, nogil=True, fastmath=True)
def _newton_step(
    hessian: np.ndarray,
    gradient: np.ndarray,
    slope: float,
    theta: np.ndarray,
    penalty: float,
    accuracy: float,
) -> np.ndarray:
    """Minimise the quadratic model plus the penalty by cyclic coordinate descent.

    Between sweeps over all coordinates come sweeps over those with a nonzero weight. Where even
    these are slow, because features are nearly collinear, the nonzero weights are also moved
    jointly every few sweeps.
    """
    n = theta.size
    step = np.zeros(n + 1)
    pull = np.append(gradient, slope)  # gradient of the model: gradient + hessian @ step
    everything = True
    for sweep in range(1, _MAX_SWEEPS + 1):
        worst = abs(pull[n])
        move = -pull[n] / hessian[n, n]
        step[n] += move
        for c in range(n + 1):
            pull[c] += move * hessian[n, c]
        for a in range(n):
            now = theta[a] + step[a]
            if now == 0 and not everything:
                continue
            h = hessian[a, a]
            goal = h * now - pull[a]
            new = math.copysign(max(abs(goal) - penalty, 0.0), goal) / h
            move = new - now
            if move != 0:
                worst = max(worst, abs(move) * h)
                step[a] = new - theta[a]
                for c in range(n + 1):
                    pull[c] += move * hessian[a, c]
        if worst <= accuracy and everything:
            break
        everything = worst <= accuracy
        if sweep % _SWEEPS_BEFORE_JOINT == 0:
            _move_jointly(hessian, theta, penalty, step, pull)
    return step


@njit(cache=True, nogil=True)
def _move_jointly(
    hessian: np.ndarray, theta: np.ndarray, penalty: float, step: np.ndarray, pull: np.ndarray
) -> None:
    """Move all nonzero weights towards the minimum of the model, as far as no sign changes."""
    n = theta.size
    now = np.append(theta, 0.0) + step
    now[n] = 1.0  # the intercept always takes part
    used = np.flatnonzero(now)
    square = np.empty((used.size, used.size))
    target = np.empty((used.size, 1))
    for a in range(used.size):
        for c in range(used.size):
            square[a, c] = hessian[used[a], used[c]]
        sign = 0.0 if used[a] == n else np.sign(now[used[a]])
        target[a, 0] = -pull[used[a]] - penalty * sign
    move = np.linalg.solve(square, target)[:, 0]
    share = 1.0
    for a in range(used.size - 1):
        if move[a] * now[used[a]] < 0:
            share = min(share, -now[used[a]] / move[a])
    for a in range(used.size):
        step[used[a]] += share * move[a]
        for c in range(n + 1):
            pull[c] += share * move[a] * hessian[used[a], c]
