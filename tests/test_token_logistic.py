"""Many logistic models at once, against scikit-learn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cgraph.errors import DataError
from cgraph.token_logistic import fit_dense, whitener


def planted(n: int = 600, d: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Features of very unlike scales, one of them twice; targets of 2 to 50 %."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, d)) * np.logspace(-2, 2, d) + 5
    features = np.hstack([features, features[:, :1]]).astype(np.float32)
    scores = (features[:, :d] / np.logspace(-2, 2, d)) @ rng.standard_normal((d, 4))
    scores += 2 * rng.logistic(size=scores.shape)
    return features, scores > np.quantile(scores, [0.5, 0.8, 0.95, 0.98], axis=0).diagonal()[None]


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_it_is_logistic_regression_on_whitened_features(penalty: float) -> None:
    features, targets = planted()
    found = fit_dense(features, targets, penalty, tolerance=1e-6)
    wide = features.astype(np.float64)
    inputs = (wide - wide.mean(axis=0)) @ whitener(wide - wide.mean(axis=0))
    assert inputs.shape[1] == 7, "the feature that is there twice counts once"
    np.testing.assert_allclose(inputs.T @ inputs / len(inputs), np.eye(7), atol=1e-6)
    for place in range(targets.shape[1]):
        one = LogisticRegression(C=1 / (len(inputs) * penalty), tol=1e-10, max_iter=10_000)
        wanted = one.fit(inputs, targets[:, place]).decision_function(inputs)
        np.testing.assert_allclose(found.scores(features)[:, place], wanted, atol=2e-3)


def test_what_cannot_be_fitted_is_refused() -> None:
    features, targets = planted()
    with pytest.raises(DataError, match="same value for all"):
        fit_dense(features, np.ones_like(targets))
    with pytest.raises(DataError, match="600 images and targets of 3"):
        fit_dense(features, targets[:3])


def test_no_target_is_no_model() -> None:
    features, targets = planted()
    assert fit_dense(features, targets[:, :0]).scores(features).shape == (600, 0)
