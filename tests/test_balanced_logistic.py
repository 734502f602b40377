"""The classifier: scikit-learn's liblinear on the same bags, `cgraph.bagging`, planted parents."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from cgraph import balanced_logistic
from cgraph.bagging import draw_bags, fit_predictors
from cgraph.balanced_logistic import BalancedBagLogistic
from cgraph.codes import Codes
from cgraph.config import PredictorConfig
from cgraph.errors import ConfigError, DataError
from cgraph.predictor import SparseInputs


def _planted(n_samples=1500, n_features=40, *, binary=True, seed=0):
    """Sparse inputs and a rare target that three of them raise and one lowers."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n_samples, n_features)) < 0.15).astype(float)
    if not binary:
        X *= rng.normal(1, 0.5, X.shape)
    y = rng.random(n_samples) < expit(X[:, :4] @ [2.5, 2.5, 2.5, -2.5] - 3)
    return X, y


def _codes(values):
    rows = sparse.csr_array(values.astype(np.float32))
    return Codes(
        rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data, rows.shape[1]
    )


def _by_liblinear(X, y, penalty, bags, keep_share):
    """Figure 1 with scikit-learn's solver; returns rates, weights and intercept."""

    def fit(columns, bag):
        # A large intercept_scaling makes liblinear's penalty on the intercept negligible.
        model = LogisticRegression(
            solver="liblinear", l1_ratio=1, C=1 / penalty, tol=1e-7, intercept_scaling=1000,
            max_iter=20_000, random_state=0,
        )  # fmt: skip
        model.fit(X[bag][:, columns], y[bag])
        return model.coef_[0], model.intercept_[0]

    every = np.arange(X.shape[1])
    rates = np.mean([fit(every, bag)[0] != 0 for bag in bags[:-1]], axis=0)
    kept = np.flatnonzero(rates > keep_share + 1e-9)
    weights = np.zeros(X.shape[1])
    weights[kept], intercept = fit(kept, bags[-1])
    return rates, weights, intercept


# liblinear may end on its iterations at so small a tolerance; its answer is good enough then, too.
@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("cap", [None, 80])
def test_same_as_liblinear_on_the_same_bags(binary, cap):
    X, y = _planted(binary=binary)
    model = BalancedBagLogistic(60, n_bags=8, keep_share=0.7, bag_cap=cap, tol=1e-7, random_state=4)
    model.fit(X, y)
    n_draw = cap or y.sum()
    assert (model.bag_positives_, model.penalty_) == (n_draw, n_draw / 60)
    bags = draw_bags(np.flatnonzero(y), len(y), n_draw, 9, np.random.default_rng(4))
    assert (y[bags].mean(axis=1) == 0.5).all()
    rates, weights, intercept = _by_liblinear(X, y, n_draw / 60, bags, 0.7)
    np.testing.assert_array_equal(model.selection_rates_, rates)
    np.testing.assert_allclose(model.coef_[0], weights, atol=2e-3)
    np.testing.assert_array_equal(model.coef_[0] != 0, weights != 0)
    assert model.intercept_[0] == pytest.approx(intercept, abs=2e-3)
    assert {0, 1, 2} <= set(np.flatnonzero(weights))
    # The case is one in which the bags disagree.
    assert ((rates > 0) & (rates <= 0.7)).any()


def test_same_as_the_predictors_of_a_graph(monkeypatch):
    X, y = _planted()
    config = PredictorConfig(n_bags=10, final_rows="bag", penalty=0.05, bag_cap=150)
    labels, inputs = _codes(np.column_stack([~y, y])), SparseInputs(_codes(X), binary=True)
    fitted = fit_predictors(inputs, labels, np.array([1]), config, entropy=(3, 2))
    monkeypatch.setattr(balanced_logistic, "seed_of", lambda state: (3, 2, 1))
    model = BalancedBagLogistic(1 / 0.05, n_bags=10, bag_cap=150).fit(X, y)
    parents = np.flatnonzero(model.coef_[0])
    np.testing.assert_array_equal(parents, fitted.parents)
    np.testing.assert_allclose(model.coef_[0, parents], fitted.weights, atol=0.02)
    np.testing.assert_allclose(model.selection_rates_[parents], fitted.selection_rates, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, fitted.intercept, atol=0.02)


def test_planted_parents_are_found():
    X, y = _planted(6000)
    model = BalancedBagLogistic(20).fit(X, y)
    assert set(np.flatnonzero(model.coef_[0])) == {0, 1, 2, 3}
    assert (np.sign(model.coef_[0, :4]) == [1, 1, 1, -1]).all()
    assert (model.selection_rates_[:4] == 1).all()
    assert (model.selection_rates_[4:] <= 0.8).all()


def test_a_feature_of_exactly_keep_share_is_left_out():
    # Figure 1 says "more than": 16 of 20 are not more than 0.8.
    X, y = _planted(binary=False, seed=2)
    for seed in range(60):
        model = BalancedBagLogistic(22, bag_cap=60, random_state=seed).fit(X, y)
        on_edge = model.selection_rates_ == 0.8
        if on_edge.any():
            assert not model.coef_[0, on_edge].any()
            lower = BalancedBagLogistic(22, bag_cap=60, random_state=seed, keep_share=0.79)
            if lower.fit(X, y).coef_[0, on_edge].any():
                return
    pytest.fail("no feature was chosen in 16 of 20 bags")


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (False, True), ("cat", "dog"), (3.0, 7.0)])
def test_any_two_labels(labels):
    X, y = _planted()
    target = np.array(labels)[y.astype(int)]
    model = BalancedBagLogistic(25).fit(X, target)
    np.testing.assert_array_equal(model.classes_, labels)
    np.testing.assert_array_equal(model.coef_, BalancedBagLogistic(25).fit(X, y).coef_)
    predicted = model.predict(X)
    assert predicted.dtype == target.dtype
    np.testing.assert_array_equal(predicted == labels[1], model.decision_function(X) > 0)
    assert model.score(X, target) > 0.7


@pytest.mark.parametrize(
    "form", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array, np.float32, list]
)
def test_every_form_of_inputs_gives_the_same_bytes(form):
    X, y = _planted(600)
    model = BalancedBagLogistic(25).fit(X, y)
    given = form(X)
    other = BalancedBagLogistic(25).fit(given, y)
    assert other.coef_.tobytes() == model.coef_.tobytes()
    np.testing.assert_allclose(
        other.decision_function(given), model.decision_function(X), atol=1e-12
    )


def test_same_seed_same_bytes():
    X, y = _planted(600)
    first, again, other = (BalancedBagLogistic(25, random_state=s).fit(X, y) for s in (3, 3, 4))
    for name in ("coef_", "intercept_", "selection_rates_"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.coef_.tobytes() != other.coef_.tobytes()


def test_probabilities_of_both_worlds():
    X, y = _planted()
    balanced = BalancedBagLogistic(25).fit(X, y)
    prior = BalancedBagLogistic(25, world="prior").fit(X, y)
    np.testing.assert_array_equal(prior.coef_, balanced.coef_)
    shift = logit(y.mean())
    np.testing.assert_allclose(prior.intercept_, balanced.intercept_ + shift, atol=1e-12)
    for model in (balanced, prior):
        log_odds = X @ model.coef_[0] + model.intercept_
        np.testing.assert_allclose(model.decision_function(X), log_odds, atol=1e-12)
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(log_odds), atol=1e-12)
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-12)
    # The target is rare, and only one of the two knows it.
    assert prior.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=0.05)
    assert balanced.predict_proba(X)[:, 1].mean() > y.mean() + 0.1


def test_without_any_feature_the_odds_are_even():
    X, y = _planted(300)
    model = BalancedBagLogistic(1e-6).fit(X, y)
    assert not model.coef_.any() and not model.selection_rates_.any()
    np.testing.assert_array_equal(model.predict_proba(X), 0.5)
    assert not model.predict(X).any()
    assert model.n_iter_ == 1


def test_several_classes_by_one_model_each():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 60)
    X = rng.normal(size=(180, 6))
    X[np.arange(180), np.repeat([0, 1, 2], 60)] += 4
    model = OneVsRestClassifier(BalancedBagLogistic(20)).fit(X, y)
    assert model.score(X, y) > 0.9
    with pytest.raises(DataError, match=r"Only binary.*multiclass.*OneVsRestClassifier"):
        BalancedBagLogistic().fit(X, y)


def test_a_fit_that_stops_early_says_so():
    X, y = _planted(300, binary=False)
    with pytest.warns(ConvergenceWarning, match=r"fits stopped at max_iter, 1, .*Raise max_iter"):
        BalancedBagLogistic(1e4, max_iter=1, tol=1e-9).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BalancedBagLogistic(25).fit(X, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"C": 0}, "C is 0; it must be a number above 0"),
        ({"C": np.nan}, "C is nan"),
        ({"tol": np.inf}, "tol is inf; it must be a number above 0"),
        ({"n_bags": 0}, "n_bags is 0; it must be at least 1"),
        ({"n_bags": 2.0}, "n_bags is 2.0; it must be a whole number"),
        ({"max_iter": 0}, "max_iter is 0; it must be at least 1"),
        ({"bag_cap": 0}, "bag_cap is 0; it must be at least 1"),
        ({"keep_share": 1.0}, "keep_share is 1.0; it must be at least 0 and below 1"),
        ({"keep_share": -0.1}, "keep_share is -0.1"),
        ({"penalty_unit": "none"}, "penalty_unit is 'none'. Allowed: per-positive, absolute"),
        ({"world": "new"}, "world is 'new'. Allowed: balanced, prior"),
        ({"random_state": -2}, "random_state is -2; it must be a whole number of at least 0"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(settings, message):
    X, y = _planted(50)
    with pytest.raises(ConfigError, match=message):
        BalancedBagLogistic(**settings).fit(X, y)


def test_wrong_data_are_refused_in_a_sentence():
    X, y = _planted(50)
    model = BalancedBagLogistic()
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(DataError, match=r"y has one class only, \[1\].*positives and negatives"):
        model.fit(X, np.ones(50, dtype=int))
    with pytest.raises(DataError, match="type of the target is continuous"):
        model.fit(X, np.linspace(0, 1, 50))
    with pytest.raises(DataError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(DataError, match="requires y to be passed"):
        model.fit(X, None)
    with pytest.raises(DataError, match=r"not finite \(NaN or infinite\) in 50 of 50"):
        model.fit(sparse.csr_array(X + np.nan), y)
    model.fit(X, y)
    with pytest.raises(DataError, match=r"X has 39 features.*expecting 40.*the same way"):
        model.predict_proba(X[:, 1:])
