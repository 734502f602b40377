"""The solver against scikit-learn at the same objective, and against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from cgraph.errors import DataError
from cgraph.newton_logistic import fit_dense


def problem(seed, n, m, rare=0.2):
    rng = np.random.default_rng(seed)
    inputs = rng.random((n, m)) * rng.uniform(0.05, 1, m)
    scores = inputs @ rng.normal(scale=3, size=m) + math.log(rare / (1 - rare))
    positive = rng.random(n) < 1 / (1 + np.exp(-scores))
    positive[:2] = True, False
    return inputs, positive


def by_sklearn(inputs, positive, l2, weights=None):
    """The same minimum: standard deviations are taken into the columns, and out of the weights."""
    weights = np.ones(len(inputs)) if weights is None else weights
    mean = np.average(inputs, axis=0, weights=weights)
    sd = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=weights))
    sd = np.where(sd > 1e-6, sd, np.inf)  # a column that does not vary says nothing
    model = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=500)
    model.fit((inputs - mean) / sd, positive, sample_weight=weights)
    found = model.coef_[0] / sd
    return found, float(model.intercept_[0] - found @ mean)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(30, 400), st.integers(1, 12),
    st.sampled_from([0.1, 1.0, 10.0, 100.0]), st.booleans(),
)  # fmt: skip
def test_the_minimum_is_that_of_scikit_learn(seed, n, m, l2, weighted):
    inputs, positive = problem(seed, n, m)
    weights = np.random.default_rng(seed).uniform(0.5, 4, n) if weighted else None
    found = fit_dense(inputs.T, positive, l2, weights)
    expected, bias = by_sklearn(inputs, positive, l2, weights)
    assert found.converged
    np.testing.assert_allclose(found.weights, expected, atol=2e-5 * max(1, np.abs(expected).max()))
    assert found.intercept == pytest.approx(bias, abs=1e-4)


def test_a_row_of_weight_three_is_three_rows():
    inputs, positive = problem(3, 200, 4)
    weights = np.where(np.arange(200) % 2, 3.0, 1.0)
    repeated = np.repeat(np.arange(200), weights.astype(int))
    one = fit_dense(inputs.T, positive, 2.0, weights)
    other = fit_dense(inputs[repeated].T, positive[repeated], 2.0)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-8)


def test_one_label_has_the_log_odds_ratio_as_its_weight():
    """Counts 30 of 40 with the label and 10 of 60 without: closed form without a penalty."""
    label = np.repeat([1.0, 0.0], [40, 60])
    positive = np.concatenate([np.arange(40) < 30, np.arange(60) < 10])
    found = fit_dense(label[None], positive, 0.0)
    assert found.intercept == pytest.approx(math.log(10 / 50), abs=1e-6)
    assert found.weights[0] == pytest.approx(math.log(30 / 10) - math.log(10 / 50), abs=1e-6)


def test_the_unit_of_a_column_does_not_matter():
    inputs, positive = problem(5, 300, 3)
    unit = np.array([1e-3, 1.0, 50.0])
    one, other = (fit_dense(x.T, positive, 5.0) for x in (inputs, inputs * unit))
    np.testing.assert_allclose(one.weights, other.weights * unit, rtol=1e-6)


def test_columns_without_variance_and_none_at_all():
    positive = np.arange(100) < 20
    found = fit_dense(np.stack([np.full(100, 0.3), np.zeros(100)]), positive, 1.0)
    assert (found.weights == 0).all()
    for columns in (np.zeros((2, 100)), np.zeros((0, 100))):
        assert fit_dense(columns, positive, 1.0).intercept == pytest.approx(math.log(0.25))


def test_separable_classes_stay_finite():
    column = np.linspace(0, 1, 500)
    found = fit_dense(column[None], column > 0.5, 0.1)
    assert found.converged and np.isfinite(found.weights).all() and found.weights[0] > 0


@pytest.mark.parametrize(
    ("positive", "l2", "weights", "message"),
    [
        (np.ones(4, bool), 1.0, None, "the same in every row"),
        (np.arange(3) < 1, 1.0, None, "4 rows of inputs and 3"),
        (np.arange(4) < 1, -1.0, None, "at least 0"),
        (np.arange(4) < 1, math.nan, None, "at least 0"),
        (np.arange(4) < 1, 1.0, np.ones(5), "4 rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused(positive, l2, weights, message):
    with pytest.raises(DataError, match=message):
        fit_dense(np.ones((2, 4)), positive, l2, weights)
