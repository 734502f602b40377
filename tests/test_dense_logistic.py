"""Dense logistic fits of many targets against scikit-learn and the conditions of a minimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cgraph import dense_logistic
from cgraph.dense_logistic import fit_dense_logistic, fit_dense_logistic_path
from cgraph.errors import ConfigError, DataError


def _problem(seed=0, n=400, n_features=8, n_targets=5, binary=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features)) * rng.uniform(0.1, 3, n_features) + 2
    if binary:
        X = X > 3
    offsets = np.linspace(-3, 1, n_targets)
    Y = rng.random((n, n_targets)) < expit(X @ rng.normal(size=(n_features, n_targets)) + offsets)
    Y[0], Y[1] = True, False
    return X, Y


def _objective(X, y, penalty, weights, intercept):
    scores = X @ weights + intercept
    return (np.logaddexp(0, scores) - y * scores).sum() + penalty / 2 * (weights**2).sum()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
def test_objectives_are_those_of_scikit_learn(penalty, binary):
    X, Y = _problem(binary=binary)
    fits = fit_dense_logistic(X, Y, penalty)
    assert fits.converged.all()
    for k, y in enumerate(Y.T):
        peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(X, y)
        best = _objective(X, y, penalty, peer.coef_[0], peer.intercept_[0])
        assert fits.objectives[k] == pytest.approx(best, rel=1e-5)
        ours = _objective(X, y, penalty, fits.weights[:, k], fits.intercepts[k])
        assert ours == pytest.approx(fits.objectives[k], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(20, 80), st.integers(1, 12), st.floats(-2, 3), st.booleans()
)
def test_the_gradient_vanishes(seed, n, n_features, log_penalty, repeated):
    X, Y = _problem(seed, n, n_features, 3)
    if repeated:
        X = np.hstack([X, X[:, :1], np.ones((n, 1))])  # a copy, and a feature that says nothing
    penalty = 10.0**log_penalty
    fits = fit_dense_logistic(X, Y, penalty, tolerance=1e-13)
    errors = expit(fits.decision(X)) - Y
    # What is left may be a rounding of the products, whose size is that of the inputs.
    allowed = 1e-4 * np.abs(X).sum(axis=0).max()
    assert np.abs(errors.sum(axis=0)).max() < allowed
    assert np.abs(X.T @ errors + penalty * fits.weights).max() < allowed


def test_targets_and_blocks_do_not_change_each_other(monkeypatch):
    X, Y = _problem(n_targets=7)
    together = fit_dense_logistic(X, Y, 5.0, tolerance=1e-12)
    monkeypatch.setattr(dense_logistic, "_SCORES_AT_ONCE", 2 * len(X))
    in_blocks = fit_dense_logistic(X, Y, 5.0, tolerance=1e-12)
    alone = fit_dense_logistic(X, Y[:, [3]], 5.0, tolerance=1e-12)
    np.testing.assert_allclose(in_blocks.weights, together.weights, atol=1e-5)
    np.testing.assert_allclose(alone.weights[:, 0], together.weights[:, 3], atol=1e-5)
    path = fit_dense_logistic_path(X[:300], Y[:300], X[300:], Y[300:])
    assert path.weights.shape == (8, 7) and path.penalties.shape == (7,)


def test_the_penalty_is_the_one_that_tune_images_like_best():
    rng = np.random.default_rng(1)
    X, noise = rng.normal(size=(2, 300, 40))
    weights = np.zeros((40, 2))
    weights[0, 0] = 4.0  # the first target is sharp, the second has nothing to do with X
    Y = rng.random((300, 2)) < expit(X @ weights)
    Y_tune = rng.random((300, 2)) < expit(noise @ weights)
    penalties = [0.01, 1.0, 30.0, 10_000.0]
    path = fit_dense_logistic_path(X, Y, noise, Y_tune, penalties)
    losses = []
    for penalty in penalties:
        scores = fit_dense_logistic(X, Y, penalty).decision(noise)
        losses.append((np.logaddexp(0, scores) - Y_tune * scores).sum(axis=0))
    assert path.penalties.tolist() == [penalties[k] for k in np.argmin(losses, axis=0)]
    assert path.penalties[1] == 10_000 > path.penalties[0]
    single = fit_dense_logistic(X, Y[:, [0]], path.penalties[0])
    np.testing.assert_allclose(path.weights[:, 0], single.weights[:, 0], atol=0.02)


def test_no_target_is_no_problem():
    X, Y = _problem()
    assert fit_dense_logistic(X, Y[:, :0], 1.0).weights.shape == (8, 0)


@pytest.mark.parametrize("penalty", [0, -1, np.inf, np.nan])
def test_penalties_out_of_range_are_refused(penalty):
    X, Y = _problem()
    with pytest.raises(ConfigError, match="above 0"):
        fit_dense_logistic(X, Y, penalty)


def test_data_that_cannot_be_fitted_is_refused():
    X, Y = _problem()
    with pytest.raises(DataError, match="same rows"):
        fit_dense_logistic(X[1:], Y, 1.0)
    with pytest.raises(DataError, match="Target 2 is the same"):
        fit_dense_logistic(X, Y & (np.arange(5) != 2), 1.0)
    with pytest.raises(DataError, match="no tune images"):
        fit_dense_logistic_path(X, Y, X[:0], Y[:0])
    with pytest.raises(ConfigError, match="no penalty"):
        fit_dense_logistic_path(X, Y, X, Y, [])
    X[3, 1] = np.nan
    with pytest.raises(DataError, match="not a finite"):
        fit_dense_logistic(X, Y, 1.0)
