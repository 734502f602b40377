"""One concept at every threshold: scikit-learn's curves, tables and scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_curve, roc_curve

from cgraph.errors import DataError
from cgraph.operating_points import operating_points


@st.composite
def samples(draw):
    n = draw(st.integers(2, 40))
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    # Few different scores, so that many are equal.
    scores = np.array(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), dtype=float) / 3
    positive[:2] = [True, False]
    return scores, positive


@settings(deadline=None)
@given(samples())
def test_points_are_those_of_scikit_learn(case):
    scores, positive = case
    found = operating_points(scores, positive)
    fpr, tpr, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.fpr, fpr)
    np.testing.assert_allclose(found.tpr, tpr)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    precision, recall, cuts = precision_recall_curve(positive, scores)
    np.testing.assert_allclose(found.precision[::-1], precision[-len(found.precision) :])
    np.testing.assert_allclose(found.tpr[::-1], recall[-len(found.tpr) :])
    np.testing.assert_array_equal(found.thresholds[:0:-1], cuts)


@settings(deadline=None)
@given(samples(), st.floats(-2, 2))
def test_a_threshold_makes_scikit_learns_confusion(case, threshold):
    scores, positive = case
    found = operating_points(scores, positive)
    predicted = scores >= threshold
    table = found.confusion(threshold)
    tn, fp, fn, tp = confusion_matrix(positive, predicted, labels=[False, True]).ravel()
    assert (table.tp, table.fp, table.fn, table.tn) == (tp, fp, fn, tn)
    point = np.flatnonzero((found.tp == tp) & (found.fp == fp))[0]
    weights = np.where(positive, 1 / positive.sum(), 1 / (~positive).sum())
    assert found.f1_natural[point] == pytest.approx(f1_score(positive, predicted, zero_division=0))
    assert found.f1_balanced[point] == pytest.approx(
        f1_score(positive, predicted, sample_weight=weights, zero_division=0)
    )


def test_a_case_by_hand():
    found = operating_points(np.array([3.0, 2, 2, 1]), np.array([True, False, True, False]))
    assert found.thresholds.tolist() == [np.inf, 3, 2, 1]
    assert found.tp.tolist() == [0, 1, 2, 2]
    assert found.fp.tolist() == [0, 0, 1, 2]
    assert found.precision.tolist() == [1, 1, 2 / 3, 1 / 2]
    assert found.f1_natural.tolist() == pytest.approx([0, 2 / 3, 4 / 5, 2 / 3])
    assert found.f1_balanced.tolist() == pytest.approx([0, 2 / 3, 4 / 5, 2 / 3])


def test_one_class_alone_has_no_rate_of_the_other():
    found = operating_points(np.array([1.0, 2.0]), np.array([True, True]))
    assert np.isnan(found.fpr).all()
    assert found.tpr.tolist() == [0, 0.5, 1]
    assert found.confusion(1.5).tp == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="one score and one label"):
        operating_points(np.array([1.0]), np.array([True, False]))
    with pytest.raises(DataError, match="at least one sample"):
        operating_points(np.array([]), np.array([], dtype=bool))
    with pytest.raises(DataError, match="not a finite number"):
        operating_points(np.array([np.nan]), np.array([True]))
