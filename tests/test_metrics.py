import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from metric_cases import EXACT, column, predictions, to_codes
from scipy import sparse
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    r2_score,
    recall_score,
    roc_auc_score,
)
from sklearn.utils.sparsefuncs import count_nonzero

from cgraph import metrics
from cgraph.errors import DataError
from cgraph.metrics import (
    F1_ALL_POSITIVE,
    ExplainedVariance,
    auc,
    average_precision,
    confusion_rates,
    dead_atoms,
    f1_balanced,
    f1_natural,
    matthews,
    nonzeros,
)
from cgraph.roc import roc_on_grid


def area_by_pairs(scores, labels):
    positive, negative = scores[labels], scores[~labels]
    if not (len(positive) and len(negative)):
        return np.nan
    wins = (positive[:, None] > negative).sum() + (positive[:, None] == negative).sum() / 2
    return wins / (len(positive) * len(negative))


def test_hand_computed_figures():
    scores = column(3, 2, 2, 1, 0)
    labels = column(1, 0, 1, 0, 1, dtype=bool)
    # Of six pairs the 3 wins two, the tied 2 wins one and a half, the 0 none.
    assert auc(scores, labels) == 3.5 / 6
    # The positives are found at precision 1/1, 2/3 and 3/5.
    np.testing.assert_allclose(average_precision(scores, labels), (1 + 2 / 3 + 3 / 5) / 3, **EXACT)
    tpr, fpr = confusion_rates(scores, labels, threshold=2)
    assert (tpr, fpr) == (2 / 3, 1 / 2)
    np.testing.assert_allclose(f1_balanced(scores, labels, 2), (4 / 3) / (1 + 2 / 3 + 1 / 2))
    np.testing.assert_allclose(f1_natural(scores >= 2, labels), 4 / 6, **EXACT)
    # Corners (0, 1/3), (1/2, 2/3), (1, 2/3), (1, 1): the tie is a slope, the last step upright.
    curve = roc_on_grid(scores, labels, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve, [[1 / 3, 0.5, 2 / 3, 2 / 3, 1]], **EXACT)


@settings(deadline=None)
@given(predictions())
def test_auc_counts_pairs_and_agrees_with_scikit_learn(case):
    scores, labels = case
    expected = [area_by_pairs(s, y) for s, y in zip(scores.T, labels.T, strict=True)]
    areas = auc(scores, labels)
    np.testing.assert_allclose(areas, expected, **EXACT)
    for i in np.flatnonzero(np.isfinite(areas)):
        assert areas[i] == pytest.approx(roc_auc_score(labels[:, i], scores[:, i]), abs=1e-12)


@settings(deadline=None)
@given(predictions())
def test_average_precision_agrees_with_scikit_learn(case):
    scores, labels = case
    for i, found in enumerate(average_precision(scores, labels)):
        if labels[:, i].any():
            expected = average_precision_score(labels[:, i], scores[:, i])
            assert found == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(found)


@settings(deadline=None)
@given(predictions(), st.sampled_from([-1.0, 0.0, 0.5]))
def test_f1_agrees_with_scikit_learn(case, threshold):
    scores, labels = case
    predicted = scores >= threshold
    natural, balanced = f1_natural(predicted, labels), f1_balanced(scores, labels, threshold)
    for i, (called, truth) in enumerate(zip(predicted.T, labels.T, strict=True)):
        expected = f1_score(truth, called, zero_division=np.nan)
        np.testing.assert_allclose(natural[i], expected, **EXACT)
        if truth.any() and not truth.all():
            # Balanced means that both classes carry the same total weight.
            weights = np.where(truth, 1 / truth.sum(), 1 / (~truth).sum())
            expected = f1_score(truth, called, sample_weight=weights, zero_division=0)
            assert balanced[i] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(balanced[i])


@settings(deadline=None)
@given(predictions(), st.sampled_from([-1.0, 0.0, 0.5]))
def test_rates_are_the_recalls_of_scikit_learn(case, threshold):
    scores, labels = case
    tpr, fpr = confusion_rates(scores, labels, threshold)
    for i, (called, truth) in enumerate(zip((scores >= threshold).T, labels.T, strict=True)):
        expected = [
            recall_score(truth, called, zero_division=np.nan),
            1 - recall_score(~truth, ~called, zero_division=np.nan),
        ]
        np.testing.assert_allclose([tpr[i], fpr[i]], expected, **EXACT)


@settings(deadline=None)
@given(predictions())
def test_labels_may_be_sparse_or_codes(case):
    scores, labels = case
    others = [sparse.csr_array(labels), sparse.csc_array(labels * 2.5), to_codes(labels)]
    for figure in (auc, average_precision, f1_balanced):
        for other in others:
            np.testing.assert_array_equal(figure(scores, other), figure(scores, labels))
    called = scores > 0
    for other in others:
        expected = f1_natural(called, labels)
        np.testing.assert_array_equal(f1_natural(to_codes(called), other), expected)


def test_hand_counted_codes():
    labels = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=bool)
    for given_labels in (labels, sparse.csr_array(labels), to_codes(labels)):
        np.testing.assert_array_equal(nonzeros(given_labels), [2, 0, 3])
        np.testing.assert_array_equal(dead_atoms(given_labels), [False, True, False, False])
    for figure in (nonzeros, dead_atoms):
        with pytest.raises(DataError, match="Compare codes with 0"):
            figure(labels.astype(np.float32))


@given(
    hnp.arrays(
        np.int8, st.tuples(st.integers(0, 20), st.integers(0, 6)), elements=st.integers(-1, 1)
    )
)
@settings(deadline=None)
def test_counts_of_codes_are_those_of_scikit_learn(coefficients):
    with_stored_zeros = sparse.csr_array(coefficients)
    if with_stored_zeros.nnz:
        with_stored_zeros.data[0] = coefficients[coefficients != 0][0] = 0
        coefficients = with_stored_zeros.toarray()
    expected = sparse.csr_array(coefficients)
    for labels in (coefficients != 0, with_stored_zeros, to_codes(coefficients != 0)):
        np.testing.assert_array_equal(nonzeros(labels), count_nonzero(expected, axis=1))
        np.testing.assert_array_equal(dead_atoms(labels), count_nonzero(expected, axis=0) == 0)


def test_stored_zeros_are_no_labels():
    labels = sparse.csr_array(([1.0, 0.0], ([0, 1], [0, 0])), shape=(3, 1))
    assert labels.nnz == 2
    assert auc(column(2, 3, 1), labels) == 0.5
    np.testing.assert_array_equal(f1_natural(labels, column(1, 0, 0, dtype=bool)), 1)


def test_missing_classes_are_nan_and_constant_scores_a_half():
    scores = np.ones((4, 3), dtype=np.float32)
    labels = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    np.testing.assert_array_equal(auc(scores, labels), [np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(average_precision(scores, labels), [np.nan, 1, 0.25])
    tpr, fpr = confusion_rates(scores, labels)
    np.testing.assert_array_equal(tpr, [np.nan, 1, 1])
    np.testing.assert_array_equal(fpr, [1, np.nan, 1])
    np.testing.assert_array_equal(f1_balanced(scores, labels), [np.nan, np.nan, F1_ALL_POSITIVE])
    nothing = np.zeros_like(labels)
    np.testing.assert_array_equal(f1_natural(nothing, labels), [np.nan, 0, 0])


def test_no_images_and_no_concepts():
    for shape in ((0, 3), (5, 0)):
        scores, labels = np.zeros(shape), np.zeros(shape, dtype=bool)
        for figure in (auc, average_precision, f1_balanced):
            np.testing.assert_array_equal(figure(scores, labels), np.full(shape[1], np.nan))
        assert f1_natural(labels, labels).shape == shape[1:]
        np.testing.assert_array_equal(nonzeros(labels), np.zeros(shape[0]))
        np.testing.assert_array_equal(dead_atoms(labels), np.ones(shape[1], dtype=bool))


def test_blocks_and_memory_order_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 23)).round(1)
    labels = rng.random((50, 23)) < 0.3
    thresholds = rng.normal(size=23)

    def figures(given_scores):
        return [
            auc(given_scores, labels),
            average_precision(given_scores, labels),
            f1_balanced(given_scores, labels, thresholds),
            roc_on_grid(given_scores, labels, np.linspace(0, 1, 7)),
        ]

    whole = figures(scores)
    monkeypatch.setattr(metrics, "_SCORES_AT_ONCE", 130)
    for given_scores in (scores, np.asfortranarray(scores), scores.T.copy().T):
        before = given_scores.copy()
        for blocked, expected in zip(figures(given_scores), whole, strict=True):
            np.testing.assert_array_equal(blocked, expected)
        np.testing.assert_array_equal(given_scores, before)


def test_float32_log_odds_meet_float32_thresholds():
    scores = column(0.1, 0.1, 0.2)
    labels = column(1, 0, 0, dtype=bool)
    tpr, fpr = confusion_rates(scores, labels, np.array([0.1], dtype=np.float32))
    assert (tpr, fpr) == (1, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "figure", [auc, average_precision, f1_balanced, lambda s, y: roc_on_grid(s, y, [0.5])]
)
def test_scores_that_are_not_finite_are_refused(figure, value):
    with pytest.raises(DataError, match=r"not a finite number.*without a predictor"):
        figure(column(0.5, value, 1), column(1, 0, 0, dtype=bool))


def test_impossible_labels_are_refused():
    scores = column(0, 1, 2)
    with pytest.raises(DataError, match=r"shape \(2, 1\).*shape \(3, 1\)"):
        auc(scores, column(1, 0, dtype=bool))
    with pytest.raises(DataError, match=r"type float32 and shape \(3, 1\).*Compare codes with 0"):
        average_precision(scores, column(0.7, 0, 0))
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        f1_balanced(scores, np.array([True, False, True]))
    with pytest.raises(DataError, match=r"shape \(3, 2\).*shape \(3, 1\)"):
        f1_natural(np.ones((3, 1), dtype=bool), np.ones((3, 2), dtype=bool))
    with pytest.raises(DataError, match="threshold is not a finite number"):
        confusion_rates(scores, column(1, 0, 0, dtype=bool), [np.nan])


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_explained_variance_does_not_depend_on_the_parts(seed, cuts):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(3, 2, size=(40, 5)).astype(np.float32)
    reconstruction = tokens + rng.normal(0, 0.5, size=tokens.shape).astype(np.float32)
    # The mean of other images than those measured.
    mean = np.linspace(2, 4, 5)
    explained = ExplainedVariance(mean)
    for part in np.split(np.arange(40), sorted(cuts)):
        explained.add(tokens[part], reconstruction[part])
    residual = (tokens.astype(float) - reconstruction) ** 2
    expected = 1 - residual.sum() / ((tokens.astype(float) - mean) ** 2).sum()
    assert explained.value == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([1e-3, 1.0, 1e3]))
def test_explained_variance_is_the_r2_of_scikit_learn(seed, n_samples, offset):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(offset, 1, size=(n_samples, 4)) * [1, 10, 0.1, 3]
    reconstruction = tokens + rng.normal(0, rng.random(), size=tokens.shape)
    explained = ExplainedVariance(tokens.mean(axis=0))
    for part in np.array_split(np.arange(n_samples), 3):
        explained.add(tokens[part], reconstruction[part])
    # All features together, each weighted by its variance: what the sums over tokens give.
    expected = r2_score(tokens, reconstruction, multioutput="variance_weighted")
    assert explained.value == pytest.approx(expected, abs=1e-12)


def test_explained_variance_is_no_mean_over_parts():
    explained = ExplainedVariance(np.zeros(1))
    explained.add(column(2), column(2))  # part: 1
    explained.add(column(1, 1), column(0, 0))  # part: 0
    assert explained.value == 1 - 2 / 6


def test_explained_variance_of_the_mean_is_zero_and_can_be_negative():
    tokens, mean = column(1, 2, 6), np.array([3.0])
    for reconstruction, expected in ((tokens, 1), (column(3, 3, 3), 0), (column(9, 9, 9), -7.7143)):
        explained = ExplainedVariance(mean)
        explained.add(tokens, reconstruction)
        assert explained.value == pytest.approx(expected, abs=1e-4)


def test_explained_variance_refuses_impossible_values():
    explained = ExplainedVariance(np.ones(2))
    with pytest.raises(DataError, match=r"\(3, 2\).*\(2, 2\).*\(2,\)"):
        explained.add(np.ones((3, 2)), np.ones((2, 2)))
    with pytest.raises(DataError, match=r"\(3, 1\)"):
        explained.add(np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(DataError, match="not a finite number"):
        explained.add(np.full((1, 2), np.nan), np.ones((1, 2)))
    with pytest.raises(DataError, match="differ from their mean"):
        _ = explained.value
    explained.add(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(DataError, match="Check that the images differ"):
        _ = explained.value


def one_pair(n_samples, n_concepts):
    """Scores with some ties, and rare labels."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((n_samples, n_concepts), dtype=np.float32).round(3)
    return scores, sparse.random_array(scores.shape, density=0.01, format="csr", rng=rng)


def measured(scores, labels):
    """Seconds and extra bytes of all figures of one pair."""
    grid = np.linspace(0, 1, 32)
    tracemalloc.start()
    try:
        started = time.perf_counter()
        for figure in (auc, average_precision, f1_balanced):
            assert np.isfinite(figure(scores, labels)).mean() > 0.9
        assert np.isfinite(roc_on_grid(scores, labels, grid)).mean() > 0.9
        f1_natural(labels, labels)
        nonzeros(labels)
        dead_atoms(labels)
        return time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_below_that_of_dense_copies(monkeypatch):
    monkeypatch.setattr(metrics, "_SCORES_AT_ONCE", 1 << 16)
    seconds, extra = measured(*one_pair(2000, 1024))
    # A float64 copy of the scores or dense labels alone would take 16 MB.
    assert extra < 4e6
    assert seconds < 5


@pytest.mark.slow
def test_paper_size_takes_seconds_and_agrees_with_scikit_learn():
    scores, labels = one_pair(20_000, 3072)
    seconds, extra = measured(scores, labels)
    assert seconds < 20
    # The scores themselves are 246 MB.
    assert extra < 150e6
    some = np.arange(0, 3072, 151)
    columns = scores[:, some], labels[:, some].toarray() != 0
    expected = [
        [f(y, s) for s, y in zip(columns[0].T, columns[1].T, strict=True)]
        for f in (roc_auc_score, average_precision_score)
    ]
    np.testing.assert_allclose(auc(scores, labels)[some], expected[0], **EXACT)
    np.testing.assert_allclose(average_precision(scores, labels)[some], expected[1], **EXACT)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_matthews_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, others = rng.random((80, 3)) < rng.random(3), rng.random((80, 4)) < rng.random(4)
    expected = [[matthews_corrcoef(a, b) for b in others.T] for a in labels.T]
    np.testing.assert_allclose(matthews(labels, others), expected, atol=1e-12)
    np.testing.assert_allclose(matthews(sparse.csr_array(labels), others), expected, atol=1e-12)


def test_matthews_of_other_samples():
    with pytest.raises(DataError, match="labels of 3 and of 4 samples"):
        matthews(np.ones((3, 1), bool), np.ones((4, 1), bool))
