"""Tests of the l1-logistic solver: closed forms, scikit-learn, optimality in dense NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cgraph.bag_fits import bag_rows, fit_bags
from cgraph.errors import ConfigError, DataError
from cgraph.logistic import fit_l1_logistic, fit_rows, sparse_rows
from cgraph.proximal_newton import Settings, _exponentials


def _objective(X, y, weights, intercept, penalty, sample_weight=None):
    """The sum of the module's docstring, written with logaddexp on a dense array."""
    score = X @ weights + intercept
    losses = np.logaddexp(0, np.where(y, -score, score))
    return losses @ (np.ones(len(y)) if sample_weight is None else sample_weight) + (
        penalty * np.abs(weights).sum()
    )


def _violation(X, y, weights, intercept, penalty, sample_weight=None):
    """Distance from the optimality conditions, one feature at a time, in units of the penalty."""
    residual = expit(X @ weights + intercept) - y
    residual = residual * (1 if sample_weight is None else sample_weight)
    worst = abs(residual.sum())
    for j, weight in enumerate(weights):
        gradient = X[:, j] @ residual
        if weight == 0:
            worst = max(worst, abs(gradient) - penalty)
        else:
            worst = max(worst, abs(gradient + math.copysign(penalty, weight)))
    return worst / penalty


def _planted(n_samples=600, n_features=60, nnz=6, *, binary=True, seed=0):
    """Sparse rows and labels drawn from a logistic model with eight true features."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n_samples, n_features))
    for row in X:
        entries = rng.choice(n_features, nnz, replace=False)
        row[entries] = 1 if binary else rng.normal(size=nnz) * 1.5
    weights = np.zeros(n_features)
    weights[:8] = rng.choice([-2.0, 2.0], 8)
    y = rng.random(n_samples) < expit(X @ weights)
    return X, y


def _liblinear(X, y, penalty):
    # A large intercept_scaling makes liblinear's penalty on the intercept negligible.
    model = LogisticRegression(
        solver="liblinear", l1_ratio=1, C=1 / penalty, tol=1e-8, intercept_scaling=100,
        max_iter=20_000, random_state=0,
    )  # fmt: skip
    model.fit(X, y)
    return model.coef_[0], model.intercept_[0]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("penalty", [0.5, 3.0, 12.0])
def test_the_solution_is_that_of_scikit_learn(binary, penalty):
    X, y = _planted(binary=binary)
    weights, intercept = _liblinear(X, y, penalty)
    fit = fit_l1_logistic(sparse.csr_array(X), y, penalty, tolerance=1e-7)

    assert fit.converged
    ours = _objective(X, y, fit.weights, fit.intercept, penalty)
    assert fit.objective == pytest.approx(ours, rel=1e-12)
    theirs = _objective(X, y, weights, intercept, penalty)
    assert ours <= theirs * (1 + 1e-9)
    assert ours == pytest.approx(theirs, rel=1e-6)
    np.testing.assert_allclose(fit.weights, weights, atol=2e-3)
    assert fit.intercept == pytest.approx(intercept, abs=2e-3)
    differing = (fit.weights != 0) != (weights != 0)
    assert (
        np.abs(np.concatenate([fit.weights[differing], weights[differing]])).max(initial=0) < 1e-3
    )


def test_the_default_tolerance_finds_the_same_features():
    X, y = _planted(binary=False, seed=3)
    exact = fit_l1_logistic(sparse.csr_array(X), y, 4.0, tolerance=1e-8)
    loose = fit_l1_logistic(sparse.csr_array(X), y, 4.0)
    gradient = X.T @ (expit(X @ exact.weights + exact.intercept) - y)
    tied = (exact.weights == 0) & (np.abs(gradient) > 0.97 * 4.0)
    tied |= (exact.weights != 0) & (np.abs(exact.weights) < 0.02)
    np.testing.assert_array_equal((loose.weights != 0)[~tied], (exact.weights != 0)[~tied])
    assert (exact.weights[~tied] != 0).sum() >= 8
    assert loose.objective == pytest.approx(exact.objective, rel=1e-5)


@pytest.mark.parametrize("penalty", [1.0, 5.0, 9.0])
def test_one_binary_feature_has_a_closed_form(penalty):
    # Of 40 rows with the feature 30 are positive, of 60 without 18. At a positive weight the
    # residuals of the two groups sum to -μ and +μ: σ(b + θ) = (30 - μ) / 40, σ(b) = (18 + μ) / 60.
    X = sparse.csr_array(np.repeat([1.0, 1.0, 0.0, 0.0], [30, 10, 18, 42])[:, None])
    y = np.repeat([1, 0, 1, 0], [30, 10, 18, 42])
    fit = fit_l1_logistic(X, y, penalty, tolerance=1e-10)
    with_feature = math.log((30 - penalty) / (10 + penalty))
    without = math.log((18 + penalty) / (42 - penalty))
    assert fit.intercept == pytest.approx(without, abs=1e-8)
    assert fit.weights[0] == pytest.approx(with_feature - without, abs=1e-8)


def test_a_large_penalty_leaves_the_exact_intercept():
    X, y = _planted()
    n_positive = y.sum()
    # At zero weights the gradient is largest at this penalty; just above it no feature enters.
    largest = np.abs(X.T @ (y.mean() - y)).max()
    none = fit_l1_logistic(sparse.csr_array(X), y, largest * (1 + 1e-9))
    assert not none.weights.any()
    assert none.n_iter == 0
    assert none.intercept == pytest.approx(math.log(n_positive / (len(y) - n_positive)), abs=1e-12)
    some = fit_l1_logistic(sparse.csr_array(X), y, largest * 0.99, tolerance=1e-6)
    assert np.count_nonzero(some.weights) == 1


@st.composite
def _problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_features = draw(st.integers(2, 30)), draw(st.integers(1, 8))
    X = rng.normal(size=(n_samples, n_features)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    if draw(st.booleans()):
        X = np.round(X)
    X[rng.random(X.shape) > draw(st.sampled_from([0.2, 0.6, 1.0]))] = 0
    if draw(st.booleans()):
        X[:, 0] = draw(st.sampled_from([0.0, 1.0, -2.0]))  # constant, or never active
    if n_features > 1 and draw(st.booleans()):
        X[:, -1] = X[:, 0]  # the same feature twice
    y = rng.random(n_samples) < 0.5
    if draw(st.booleans()):
        y = X[:, 0] > np.median(X[:, 0])  # separable
    y[0], y[-1] = True, False
    weight = rng.integers(0, 4, n_samples) * rng.choice([1.0, 0.5])
    weight[[0, -1]] = 1
    return X, y, weight, draw(st.sampled_from([0.01, 0.1, 1.0, 5.0]))


@settings(max_examples=200, deadline=None)
@given(_problems())
def test_optimality_holds_for_any_problem(problem):
    X, y, weight, penalty = problem
    fit = fit_l1_logistic(sparse.csr_array(X), y, penalty, sample_weight=weight, tolerance=1e-4)
    assert fit.converged
    assert np.isfinite(fit.weights).all()
    violation = _violation(X, y, fit.weights, fit.intercept, penalty, weight)
    assert violation <= 1e-4 * 1.01
    assert fit.violation == pytest.approx(violation, abs=1e-7)
    objective = _objective(X, y, fit.weights, fit.intercept, penalty, weight)
    assert fit.objective == pytest.approx(objective, rel=1e-9, abs=1e-9)


def test_nearly_collinear_features_do_not_stall():
    # Large dense entries and labels that two rows keep from being separable: coordinate descent
    # alone creeps along the valley.
    rng = np.random.default_rng(2832)
    X = 100 * (rng.normal(size=(24, 1)) + 0.05 * rng.normal(size=(24, 7)))
    y = X[:, 0] > 0
    y[[3, 7]] = ~y[[3, 7]]
    fit = fit_l1_logistic(sparse.csr_array(X), y, 0.01, tolerance=1e-4)
    assert fit.converged
    assert _violation(X, y, fit.weights, fit.intercept, 0.01) <= 1.01e-4
    assert fit.n_iter < 20  # 39 by coordinate descent alone


def test_weights_equal_explicit_repetition():
    X, y = _planted(200, 30, binary=False, seed=1)
    counts = np.random.default_rng(0).integers(0, 4, 200)
    repeated = np.repeat(np.arange(200), counts)
    weighted = fit_l1_logistic(sparse.csr_array(X), y, 2.0, sample_weight=counts, tolerance=1e-10)
    explicit = fit_l1_logistic(sparse.csr_array(X[repeated]), y[repeated], 2.0, tolerance=1e-10)
    np.testing.assert_allclose(weighted.weights, explicit.weights, atol=1e-8)
    assert weighted.objective == pytest.approx(explicit.objective, rel=1e-12)


def _bags(y, n_draw, n_bags, seed=0):
    rng = np.random.default_rng(seed)
    halves = [
        np.sort(rng.choice(np.flatnonzero(part), (n_bags, n_draw)), axis=1) for part in (y, ~y)
    ]
    return np.hstack(halves)


@pytest.mark.parametrize("binary", [True, False])
def test_a_bag_equals_a_fit_on_its_rows(binary):
    X, y = _planted(binary=binary, seed=2)
    X = X.astype(np.float32).astype(np.float64)  # bags hold single precision
    X[[0, -2, -1]] = 0  # rows without an entry, in the bags too
    bags = _bags(y, 150, 6)
    bags[:, [0, -1]] = 0, len(X) - 1
    labels = np.arange(300) < 150
    allowed = np.ones(60, dtype=bool)
    allowed[[1, 20]] = False
    weights, intercepts, violations = fit_bags(
        bag_rows(sparse.csr_array(X)), bags, 150, allowed, Settings(2.0, 1e-9, 100)
    )
    assert violations.max() <= 1e-9
    assert not weights[:, ~allowed].any()
    for bag, theta, intercept in zip(bags, weights, intercepts, strict=True):
        alone = fit_l1_logistic(sparse.csr_array(X[bag] * allowed), labels, 2.0, tolerance=1e-9)
        np.testing.assert_allclose(theta, alone.weights, atol=1e-7)
        assert intercept == pytest.approx(alone.intercept, abs=1e-7)


def test_a_bad_start_is_not_used():
    X, y = _planted()
    rows = sparse_rows(sparse.csr_array(X))
    arguments = (rows, np.arange(600), y, np.ones(600), np.ones(60, dtype=bool))
    saturated = np.full(60, 400.0)
    _, objective, violation, n_iter = fit_rows(
        *arguments, Settings(2.0, 1e-8, 100), saturated, -900.0
    )
    cold = fit_l1_logistic(sparse.csr_array(X), y, 2.0, tolerance=1e-8)
    assert violation <= 1e-8
    assert n_iter == cold.n_iter
    assert objective == pytest.approx(cold.objective, rel=1e-12)
    np.testing.assert_allclose(saturated, cold.weights, atol=1e-6)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("value", [10.0, -10.0])
def test_screening_keeps_what_barely_enters(positive, value):
    # One row against a thousand has a residual of almost 1: its feature pulls with 9.99 of the
    # 10 that screening reckons with, just above the penalty.
    X = np.zeros((1001, 2))
    X[0, 0] = value
    y = (np.arange(1001) == 0) == positive
    entering = fit_l1_logistic(sparse.csr_array(X), y, 9.98, tolerance=1e-8)
    assert np.sign(entering.weights[0]) == np.sign(value) * (1 if positive else -1)
    assert _violation(X, y, entering.weights, entering.intercept, 9.98) <= 1.01e-8
    staying = fit_l1_logistic(sparse.csr_array(X), y, 9.995)
    assert not staying.weights.any()
    assert _violation(X, y, staying.weights, staying.intercept, 9.995) <= 0.01


def test_rows_may_be_empty_unsorted_or_hold_a_column_twice():
    X = sparse.csr_array(
        (np.array([1.0, 2.0, 1.0, 0.5, 0.5, 1.0]), np.array([2, 0, 1, 1, 1, 0]),
         np.array([0, 2, 3, 3, 5, 6])), shape=(5, 4),
    )  # fmt: skip
    y = np.array([1, 1, 0, 0, 1])
    given = (X.data.copy(), X.indices.copy())
    fit = fit_l1_logistic(X, y, 0.1, tolerance=1e-8)
    np.testing.assert_array_equal(X.data, given[0])
    np.testing.assert_array_equal(X.indices, given[1])
    assert _violation(X.toarray(), y, fit.weights, fit.intercept, 0.1) <= 1.01e-8
    assert fit.weights[3] == 0


def test_an_unfinished_fit_says_so():
    X, y = _planted()
    fit = fit_l1_logistic(sparse.csr_array(X), y, 0.5, tolerance=1e-9, max_iter=1)
    assert not fit.converged
    assert fit.n_iter == 1
    assert fit.violation > 1e-9
    true = _violation(X, y, fit.weights, fit.intercept, 0.5)
    assert fit.violation == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"penalty": 0.0}, ConfigError, "The penalty is 0.0: it must be a number above 0"),
        ({"penalty": math.inf}, ConfigError, "The penalty is inf"),
        ({"tolerance": 0.0}, ConfigError, "The tolerance is 0.0"),
        ({"max_iter": 0}, ConfigError, "max_iter is 0: it must be at least 1"),
        ({"y": np.ones(4)}, DataError, "4 rows are positive and 0 negative"),
        ({"sample_weight": [0, 1, 0, 1]}, DataError, "0 rows are positive and 2 negative"),
        ({"sample_weight": [1, 1, 1, -1]}, DataError, "sample_weight holds a negative"),
        ({"y": np.array([0, 1, 2, 0])}, DataError, "y holds values other than 0 and 1"),
        ({"y": np.ones(3)}, DataError, r"X has 4 rows, y has shape \(3,\)"),
        ({"X": np.array([[1.0], [np.nan], [0], [0]])}, DataError, "X holds a number that is not"),
    ],
)
def test_messages(changes, error, message):
    arguments = {"X": np.eye(4)[:, :1], "y": np.array([1, 0, 1, 0]), "penalty": 0.1} | changes
    arguments["X"] = sparse.csr_array(arguments["X"])
    with pytest.raises(error, match=message):
        fit_l1_logistic(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_exponentials_are_those_of_numpy():
    score = np.concatenate([np.linspace(-700, 700, 20_001), np.geomspace(1e-300, 1, 200), [0.0]])
    np.testing.assert_allclose(_exponentials(score), np.exp(-np.abs(score)), rtol=1e-13)
    assert (_exponentials(np.array([-1e4, 1e4, 1e300])) < 1e-300).all()


@pytest.mark.parametrize("n_features", [70_000, 60])
def test_columns_beyond_two_bytes_are_kept(n_features):
    X, y = _planted(seed=4)
    wide = sparse.csr_array(
        (np.ones(0), (np.zeros(0, int), np.zeros(0, int))), (600, n_features - 60)
    )
    rows = bag_rows(sparse.csr_array(sparse.hstack([wide, sparse.csr_array(X)])))
    assert rows.columns.dtype == (np.uint16 if n_features == 60 else np.int32)
    assert rows.values.size == 0  # labels need none
    bags, allowed = _bags(y, 150, 1), np.ones(n_features, dtype=bool)
    weights, _, violations = fit_bags(rows, bags, 150, allowed, Settings(2.0, 1e-9, 100))
    assert violations.max() <= 1e-9
    alone = fit_l1_logistic(sparse.csr_array(X[bags[0]]), np.arange(300) < 150, 2.0, tolerance=1e-9)
    np.testing.assert_allclose(weights[0][-60:], alone.weights, atol=1e-7)
