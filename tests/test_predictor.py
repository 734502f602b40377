"""Tests of the predictors: a plain form of Figure 1, planted parents, order, calibration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cgraph.bagging import draw_bags, fit_predictors
from cgraph.codes import Codes
from cgraph.config import PredictorConfig
from cgraph.errors import ConfigError, DataError
from cgraph.predictor import Predictors, SparseInputs, calibrate

N_INPUTS, N_CHILDREN = 40, 6
PARENTS = [(0, 1, 2), (3, 4), (5, 6, 7, 8), (9,), (10, 11, 12), (13, 14)]
CONFIG = PredictorConfig(penalty=0.02, n_bags=10)


def _codes(dense):
    """Codes of a dense array of coefficients."""
    csr = sparse.csr_array(np.asarray(dense, dtype=np.float32))
    return Codes(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data, csr.shape[1])


def _planted(n_samples=1500, seed=0, strength=0.85):
    """Inputs, and children that are noisy ORs of their parents (Pearl 1988): known parents."""
    rng = np.random.default_rng(seed)
    inputs = (rng.random((n_samples, N_INPUTS)) < 0.08) * rng.uniform(0.5, 2, N_INPUTS)
    labels = np.zeros((n_samples, N_CHILDREN), dtype=bool)
    for child, parents in enumerate(PARENTS):
        fires = rng.random((n_samples, len(parents))) < strength
        labels[:, child] = ((inputs[:, parents] > 0) & fires).any(axis=1)
        labels[:, child] |= rng.random(n_samples) < 0.01
    return _codes(inputs), _codes(labels)


def _fit(inputs, labels, children=None, config=CONFIG, *, binary=True, scale=1.0, **options):
    children = np.arange(labels.n_atoms) if children is None else np.asarray(children)
    source = SparseInputs(inputs, binary=binary, scale=scale)
    return fit_predictors(source, labels, children, config, entropy=(7, 3), **options)


def _part(predictors, child):
    """Everything of one child, as bytes."""
    i = predictors.children.tolist().index(child)
    edges = slice(predictors.offsets[i], predictors.offsets[i + 1])
    values = {}
    for field in dataclasses.fields(Predictors):
        array = getattr(predictors, field.name)
        if field.name in ("parents", "weights", "selection_rates"):
            values[field.name] = array[edges].tobytes()
        elif field.name != "offsets":
            values[field.name] = array[i].tobytes()
    return values


def _equal(left, right):
    for field in dataclasses.fields(Predictors):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def _figure_1(X, y, config, child):
    """Figure 1 with scikit-learn, on dense rows copied out of X."""
    rng = np.random.default_rng(np.random.SeedSequence((7, 3, child)))
    positives, negatives = np.flatnonzero(y), np.flatnonzero(~y)
    n_draw = min(len(positives), config.bag_cap)
    bags = draw_bags(positives, len(y), n_draw, config.n_bags + 1, rng)
    machine = LogisticRegression(
        solver="liblinear", l1_ratio=1, C=1 / (config.penalty * n_draw), tol=1e-8,
        intercept_scaling=100, max_iter=5000, random_state=0,
    )  # fmt: skip
    used = np.zeros(X.shape[1], dtype=int)
    for bag in bags[:-1]:
        used += machine.fit(X[bag], y[bag]).coef_[0] != 0
    selected = np.flatnonzero(10 * used > 10 * config.keep_share * config.n_bags)
    if config.final_rows == "bag":
        machine.fit(X[bags[-1]][:, selected], y[bags[-1]])
    else:
        weight = np.where(y, n_draw / len(positives), n_draw / len(negatives))
        machine.fit(X[:, selected], y, sample_weight=weight)
    weights = np.zeros(X.shape[1])
    weights[selected] = machine.coef_[0]
    return weights, machine.intercept_[0], used / config.n_bags


@pytest.mark.parametrize("final_rows", ["bag", "all"])
@pytest.mark.parametrize("binary", [True, False])
def test_figure_1_written_plainly(final_rows, binary):
    inputs, labels = _planted(600)
    config = dataclasses.replace(CONFIG, final_rows=final_rows, n_bags=5, bag_cap=90)
    predictors = _fit(inputs, labels, [0, 2, 4], config, binary=binary)
    X, Y = inputs.to_csr(binary=binary).toarray().astype(float), labels.dense_labels()
    assert predictors.converged.all()
    for i, child in enumerate(predictors.children):
        weights, intercept, rate = _figure_1(X, Y[:, child], config, child)
        edges = slice(predictors.offsets[i], predictors.offsets[i + 1])
        np.testing.assert_array_equal(predictors.parents[edges], np.flatnonzero(weights))
        expected = weights[predictors.parents[edges]]
        np.testing.assert_allclose(predictors.weights[edges], expected, atol=0.02)
        assert predictors.intercept[i] == pytest.approx(intercept, abs=0.02)
        np.testing.assert_allclose(
            predictors.selection_rates[edges], rate[predictors.parents[edges]], atol=1e-6
        )


@pytest.mark.parametrize("final_rows", ["bag", "all"])
def test_planted_parents_are_found(final_rows):
    inputs, labels = _planted(4000, seed=1)
    config = dataclasses.replace(CONFIG, final_rows=final_rows, n_bags=20)
    predictors = _fit(inputs, labels, config=config)
    for i, parents in enumerate(PARENTS):
        edges = slice(predictors.offsets[i], predictors.offsets[i + 1])
        found = predictors.parents[edges][predictors.weights[edges] > 0.5]
        assert tuple(found) == parents
        assert (predictors.selection_rates[edges] > config.keep_share).all()


def test_a_child_does_not_depend_on_the_others():
    inputs, labels = _planted()
    together = _fit(inputs, labels)
    backwards = _fit(inputs, labels, np.arange(N_CHILDREN)[::-1])
    for child in range(N_CHILDREN):
        alone = _fit(inputs, labels, [child])
        assert _part(alone, child) == _part(together, child) == _part(backwards, child)
    groups = Predictors.concatenate(
        [_fit(inputs, labels, [0, 1]), _fit(inputs, labels, [2, 3, 4, 5])]
    )
    _equal(groups, together)
    source = SparseInputs(inputs, binary=True, scale=1.0)
    np.testing.assert_array_equal(groups.decision(source), together.decision(source))
    last = _fit(inputs, labels, [5])
    np.testing.assert_array_equal(last.decision(source)[:, 0], together.decision(source)[:, 5])


def test_the_entropy_sets_the_bags():
    inputs, labels = _planted(500)
    source = SparseInputs(inputs, binary=True, scale=1.0)
    first, second = (
        fit_predictors(source, labels, np.array([0]), CONFIG, entropy=(seed, 3)) for seed in (1, 2)
    )
    assert first.weights.tolist() != second.weights.tolist()


class _Dense:
    """Inputs that are computed for the rows asked for."""

    def __init__(self, dense):
        self.dense, self.asked = dense, set()
        self.n_samples, self.n_features = dense.shape

    def rows(self, rows):
        self.asked |= set(rows.tolist())
        return sparse.csr_array(self.dense[rows])


@pytest.mark.parametrize("final_rows", ["bag", "all"])
def test_inputs_computed_on_demand_give_the_same(final_rows):
    inputs, labels = _planted(2500)
    config = dataclasses.replace(CONFIG, final_rows=final_rows, bag_cap=60, n_bags=3)
    dense = _Dense(inputs.to_csr().toarray().astype(float))
    on_demand = fit_predictors(dense, labels, np.arange(3), config, entropy=(7, 3))
    assert (len(dense.asked) < 2500) == (final_rows == "bag")
    _equal(on_demand, _fit(inputs, labels, range(3), config, binary=False))


def test_inputs_are_divided_by_the_scale():
    inputs, labels = _planted()
    larger = dataclasses.replace(inputs, coefficients=inputs.coefficients * 8)
    _equal(
        _fit(inputs, labels, [0, 1], binary=False),
        _fit(larger, labels, [0, 1], binary=False, scale=8.0),
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 60), st.sampled_from([0.01, 0.03, 0.1]))
def test_the_penalty_unit_is_the_positives_of_a_bag(bag_cap, penalty):
    inputs, labels = _planted(600)
    per_positive = dataclasses.replace(CONFIG, penalty=penalty, bag_cap=bag_cap, n_bags=3)
    absolute = dataclasses.replace(per_positive, penalty=penalty * bag_cap, penalty_unit="absolute")
    predictors = _fit(inputs, labels, [0, 1], per_positive)
    assert (predictors.bag_positives == bag_cap).all()
    np.testing.assert_allclose(predictors.penalty, penalty * bag_cap, rtol=1e-6)
    _equal(predictors, _fit(inputs, labels, [0, 1], absolute))


def test_without_a_cap_a_bag_has_as_many_draws_as_positives():
    inputs, labels = _planted(600)
    config = dataclasses.replace(CONFIG, bag_cap=None, min_positives=20)
    predictors = _fit(inputs, labels, config=config)
    np.testing.assert_array_equal(predictors.n_positives, labels.counts())
    np.testing.assert_array_equal(predictors.bag_positives, labels.counts())
    np.testing.assert_allclose(predictors.prevalence, labels.counts() / 600, rtol=1e-6)


def test_bags_are_balanced_sorted_and_drawn_evenly():
    positives, negatives = np.array([2, 5, 9]), np.array([0, 1, 3, 4, 6, 7, 8])
    bags = draw_bags(positives, 10, 20, 500, np.random.default_rng(0))
    assert bags.shape == (500, 40)
    left, right = bags[:, :20], bags[:, 20:]
    assert (np.diff(left, axis=1) >= 0).all()
    assert (np.diff(right, axis=1) >= 0).all()
    np.testing.assert_allclose(np.bincount(left.ravel())[positives] / left.size, 1 / 3, atol=0.02)
    np.testing.assert_allclose(np.bincount(right.ravel())[negatives] / right.size, 1 / 7, atol=0.02)
    assert not set(left.ravel()) & set(negatives.tolist())


def test_concepts_that_are_too_rare_or_everywhere_are_not_fitted():
    inputs, labels = _planted(500)
    dense = labels.dense_labels()
    dense[:, 0] = np.arange(500) < 39
    dense[:, 1] = True
    dense[:, 2] = False
    dense[:, 3] = np.arange(500) < 40
    done = []
    predictors = _fit(inputs, _codes(dense), on_child=done.append)
    assert done == list(range(N_CHILDREN))
    np.testing.assert_array_equal(predictors.fitted, [False, False, False, True, True, True])
    np.testing.assert_array_equal(predictors.n_positives[:4], [39, 500, 0, 40])
    assert predictors.offsets[3] == 0
    assert np.isnan(predictors.penalty[:3]).all()
    assert np.isnan(predictors.violation[:3]).all()
    assert predictors.converged.all()
    source = SparseInputs(inputs, binary=True, scale=1.0)
    assert not predictors.decision(source)[:, :3].any()
    prior = predictors.probabilities(source, "prior")[0, :3]
    np.testing.assert_allclose(prior, [39 / 500, 1, 0], atol=2e-6)
    for rule in ("matched", "half"):
        calibrated = calibrate(predictors, source, _codes(dense), rule)
        probability = calibrated.probabilities(source, "calibrated")
        np.testing.assert_allclose(probability[:, :3], [[39 / 500, 1, 0]] * 500, atol=2e-6)
        np.testing.assert_array_equal(
            calibrated.predicted_labels(source)[:, :3], [[False, True, False]] * 500
        )


def _by_hand(**changes):
    """Two children: 0.5 + 2 x_0 - 1 x_2, and -1 without parents; prevalences 0.2 and 0.5."""
    values = {
        "children": np.array([4, 1], dtype=np.int32),
        "offsets": np.array([0, 2, 2]),
        "parents": np.array([0, 2], dtype=np.int32),
        "weights": np.array([2, -1], dtype=np.float32),
        "selection_rates": np.array([1, 0.9], dtype=np.float32),
        "intercept": np.array([0.5, -1], dtype=np.float32),
        "fitted": np.array([True, True]),
        "n_positives": np.array([20, 50], dtype=np.int32),
        "prevalence": np.array([0.2, 0.5], dtype=np.float32),
        "bag_positives": np.array([20, 50], dtype=np.int32),
        "penalty": np.array([1, 1], dtype=np.float32),
        "violation": np.array([0, 0], dtype=np.float32),
        "converged": np.array([True, True]),
        "slope": np.array([0.5, 1], dtype=np.float32),
        "offset": np.array([-1, -2], dtype=np.float32),
        "threshold": np.array([0.45, 0.2], dtype=np.float32),
    }
    return Predictors(**values | changes)


def test_scores_and_probabilities_by_hand():
    source = SparseInputs(_codes([[3, 0, 0], [0, 1, 4], [1, 1, 1]]), binary=True, scale=1.0)
    predictors = _by_hand()
    scores = np.array([[2.5, -1], [-0.5, -1], [1.5, -1]])
    assert predictors.decision(source).dtype == np.float32
    np.testing.assert_allclose(predictors.decision(source), scores, rtol=1e-6)
    np.testing.assert_allclose(
        predictors.probabilities(source, "balanced"), expit(scores), rtol=1e-6
    )
    odds = np.exp(scores) * [0.2 / 0.8, 1]
    np.testing.assert_allclose(
        predictors.probabilities(source, "prior"), odds / (1 + odds), rtol=1e-5
    )
    calibrated = expit(scores * [0.5, 1] + [-1, -2])
    np.testing.assert_allclose(
        predictors.probabilities(source, "calibrated"), calibrated, rtol=1e-6
    )
    labels = [[True, False], [False, False], [False, False]]
    np.testing.assert_array_equal(predictors.predicted_labels(source), labels)


def _natural_f1(predicted, truth):
    return 2 * (predicted & truth).sum(0) / (predicted.sum(0) + truth.sum(0))


def test_calibration_speaks_of_the_natural_world():
    train, tune, held_out = _planted(2000), _planted(1000, seed=5), _planted(4000, seed=9)
    tune_inputs = SparseInputs(tune[0], binary=True, scale=1.0)
    predictors = calibrate(_fit(*train), tune_inputs, tune[1], "matched")
    assert (predictors.slope > 0.5).all()
    source, truth = SparseInputs(held_out[0], binary=True, scale=1.0), held_out[1].dense_labels()
    natural = predictors.probabilities(source, "calibrated").mean(axis=0)
    np.testing.assert_allclose(natural, truth.mean(axis=0), atol=0.03)
    assert (predictors.probabilities(source, "balanced").mean(axis=0) > 1.2 * natural).all()
    predicted = predictors.predicted_labels(source)
    np.testing.assert_allclose(predicted.mean(axis=0), truth.mean(axis=0), atol=0.06)
    assert (_natural_f1(predicted, truth) > 0.8).all()


def _signed():
    """Signed real inputs give every image a score of its own, so that each count can be had."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 10))
    y = np.column_stack([X[:, 0] + rng.normal(size=800) > 1, X[:, 1] + X[:, 2] > 0.5])
    return SparseInputs(_codes(X), binary=False, scale=1.0), _codes(y), y


def test_matched_thresholds_predict_as_often_as_the_concept_occurs():
    source, labels, y = _signed()
    predictors = fit_predictors(source, labels, np.arange(2), CONFIG, entropy=(0,))
    predicted = calibrate(predictors, source, labels, "matched").predicted_labels(source)
    np.testing.assert_array_equal(predicted.sum(axis=0), y.sum(axis=0))
    # A concept that the tune images lack is predicted on its share of the training images.
    nowhere = _codes(np.zeros_like(y))
    predicted = calibrate(predictors, source, nowhere, "matched").predicted_labels(source)
    np.testing.assert_array_equal(predicted.sum(axis=0), y.sum(axis=0))


def test_half_is_a_balanced_probability_of_one_half():
    source, labels, _ = _signed()
    predictors = fit_predictors(source, labels, np.arange(2), CONFIG, entropy=(0,))
    predictors = calibrate(predictors, source, labels, "half")
    expected = predictors.decision(source) >= 0
    np.testing.assert_array_equal(predictors.predicted_labels(source), expected)
    likely = predictors.probabilities(source, "calibrated") >= 0.5
    assert (likely.sum(axis=0) < expected.sum(axis=0)).all()


def test_half_with_a_score_that_says_nothing_predicts_the_usual_label():
    inputs, labels = _planted()
    source = SparseInputs(inputs, binary=True, scale=1.0)
    opposite = _codes(~labels.dense_labels())
    predictors = calibrate(_fit(inputs, labels), source, opposite, "half")
    assert (predictors.slope == 0).all()
    assert predictors.predicted_labels(source).all()  # the opposite occurs in most images


def test_messages():
    inputs, labels = _planted(300)
    source = SparseInputs(inputs, binary=True, scale=1.0)
    fresh = _fit(inputs, labels, [0])
    with pytest.raises(DataError, match=r"not calibrated\. Call calibrate"):
        fresh.predicted_labels(source)
    with pytest.raises(DataError, match="not calibrated"):
        fresh.probabilities(source, "calibrated")
    with pytest.raises(ConfigError, match=r"'other'\. Allowed: balanced, prior, calibrated"):
        fresh.probabilities(source, "other")
    with pytest.raises(ConfigError, match=r"threshold rule is 'other'\. Allowed: matched, half"):
        calibrate(fresh, source, labels, "other")
    empty = np.empty(0, dtype=int)
    with pytest.raises(DataError, match="no tune images"):
        calibrate(fresh, SparseInputs(inputs.take(empty), True), labels.take(empty), "half")
    with pytest.raises(DataError, match="inputs of 300 images and labels of 299"):
        _fit(inputs, labels.take(np.arange(299)))
    with pytest.raises(DataError, match="There is no concept 6 among 6"):
        _fit(inputs, labels, [0, 6])
    with pytest.raises(DataError, match=r"The scale of a layer's inputs is 0\.0"):
        SparseInputs(inputs, binary=False, scale=0.0)
    with pytest.raises(DataError, match="have 2 features and a predictor uses feature 2"):
        _by_hand().decision(SparseInputs(_codes(np.eye(2)), binary=True))
    with pytest.raises(ValueError, match="at least one part"):
        Predictors.concatenate([])
