import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
    roc_curve,
)

from cgraph import metrics
from cgraph.codes import Codes
from cgraph.errors import DataError
from cgraph.metrics import (
    F1_ALL_POSITIVE,
    ExplainedVariance,
    auc,
    average_precision,
    confusion_rates,
    f1_balanced,
    f1_natural,
    matthews,
)
from cgraph.roc import roc_on_grid, virtual_roc, virtual_roc_area, virtual_roc_exponent

EXACT = {"rtol": 0, "atol": 1e-12}


def column(*values, dtype=np.float32):
    return np.array(values, dtype=dtype)[:, None]


def to_codes(labels):
    rows = sparse.csr_array(labels)
    coefficients = np.full(rows.nnz, -0.5, dtype=np.float32)
    return Codes(
        rows.indptr.astype(np.int64), rows.indices.astype(np.int32), coefficients, labels.shape[1]
    )


@st.composite
def predictions(draw):
    """Scores with many ties, and labels in which a class is often missing."""
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 4)))
    values = st.integers(-3, 3) | st.floats(-2, 2, width=32)
    return (
        draw(hnp.arrays(np.float32, shape, elements=values)),
        draw(hnp.arrays(bool, shape)),
    )


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
@given(predictions())
def test_roc_lies_on_the_curve_of_scikit_learn(case):
    scores, labels = case
    for i in range(scores.shape[1]):
        truth = labels[:, i]
        if truth.all() or not truth.any():
            assert np.isnan(roc_on_grid(scores, labels, [0.5])[i]).all()
            continue
        fpr, tpr, _ = roc_curve(truth, scores[:, i], drop_intermediate=False)
        grid = np.sort(np.concatenate([fpr, (fpr[1:] + fpr[:-1]) / 2, [0.3]]))
        expected = []
        for x in grid:
            on_level = np.flatnonzero(fpr <= x)[-1]
            if fpr[on_level] == x:
                expected.append(tpr[on_level])
            else:
                rise = (tpr[on_level + 1] - tpr[on_level]) / (fpr[on_level + 1] - fpr[on_level])
                expected.append(tpr[on_level] + rise * (x - fpr[on_level]))
        np.testing.assert_allclose(roc_on_grid(scores, labels, grid)[i], expected, **EXACT)


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


def test_virtual_roc_of_the_paper():
    assert virtual_roc_exponent(0.914) == pytest.approx(0.492, abs=5e-4)
    # Straight from the formula at k = 1/2 and x = 1/4: 1 − ((1/2) / (3/2))².
    assert virtual_roc(0.25, 0.5) == pytest.approx(8 / 9, abs=1e-15)
    assert virtual_roc_area(1) == pytest.approx(2 - 2 * np.log(2), abs=1e-14)


@pytest.mark.parametrize("exponent", [0.2, 0.492, 1.0, 3.0])
def test_virtual_roc_is_a_curve_of_its_area(exponent):
    # Points crowd at both ends, since the curve can be upright there.
    near_zero = np.linspace(0, 1, 20_001) ** 8 / 2
    x = np.concatenate([near_zero, 1 - near_zero[-2::-1]])
    curve = virtual_roc(x, exponent)
    assert (curve[0], curve[-1]) == (0, 1)
    assert (np.diff(curve) >= 0).all()
    area = np.trapezoid(curve, x)
    assert area == pytest.approx(virtual_roc_area(exponent), abs=1e-6)
    assert virtual_roc_exponent(virtual_roc_area(exponent)) == pytest.approx(exponent, rel=1e-6)


@settings(deadline=None)
@given(st.floats(0.05, 0.9999))
def test_virtual_roc_is_solved_for_any_area(area):
    assert virtual_roc_area(virtual_roc_exponent(area)) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("area", [0.0, 1.0, 1.2, -0.1, np.nan])
def test_virtual_roc_refuses_impossible_areas(area):
    with pytest.raises(DataError, match="above 0 and below 1"):
        virtual_roc_exponent(area)


def test_rates_and_exponents_out_of_range_are_refused():
    labels = column(1, 0, dtype=bool)
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(DataError, match="outside 0 to 1"):
            virtual_roc([0, bad], 0.5)
        with pytest.raises(DataError, match="outside 0 to 1"):
            roc_on_grid(column(1, 0), labels, [bad])
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(DataError, match="above 0"):
            virtual_roc_area(bad)


def measured(n_samples, n_concepts):
    """Seconds and extra bytes of all figures of one pair."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((n_samples, n_concepts), dtype=np.float32)
    labels = sparse.random_array(scores.shape, density=0.01, format="csr", rng=rng)
    tracemalloc.start()
    try:
        started = time.perf_counter()
        for figure in (auc, average_precision, f1_balanced):
            assert np.isfinite(figure(scores, labels)).mean() > 0.9
        return time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_below_that_of_dense_copies(monkeypatch):
    monkeypatch.setattr(metrics, "_SCORES_AT_ONCE", 1 << 16)
    seconds, extra = measured(2000, 1024)
    # A float64 copy of the scores or dense labels alone would take 16 MB.
    assert extra < 4e6
    assert seconds < 5


@pytest.mark.slow
def test_paper_size_takes_seconds():
    seconds, extra = measured(20_000, 3072)
    assert seconds < 20
    # The scores themselves are 246 MB.
    assert extra < 150e6


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
