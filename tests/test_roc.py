"""ROC curves for drawing: those of scikit-learn, and the paper's virtual one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import EXACT, column, predictions
from sklearn.metrics import average_precision_score, roc_curve

from cgraph.errors import DataError
from cgraph.roc import (
    average_precision_balanced,
    curve_density,
    roc_on_grid,
    virtual_roc,
    virtual_roc_area,
    virtual_roc_exponent,
)


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


@settings(deadline=None)
@given(predictions())
def test_balanced_average_precision_is_scikit_learns_with_equal_classes(case):
    scores, labels = case
    found = average_precision_balanced(scores, labels)
    for i in range(scores.shape[1]):
        truth = labels[:, i]
        if truth.all() or not truth.any():
            assert np.isnan(found[i])
            continue
        weights = np.where(truth, 1 / truth.sum(), 1 / (~truth).sum())
        wanted = average_precision_score(truth, scores[:, i], sample_weight=weights)
        assert found[i] == pytest.approx(wanted, abs=1e-12)


def test_balanced_average_precision_by_hand():
    scores, labels = column(4, 3, 2, 1), column(1, 0, 1, 0, dtype=bool)
    # Precision 1 at the first positive, and (2/2) / (2/2 + 1/2) at the second.
    assert average_precision_balanced(scores, labels) == pytest.approx([(1 + 2 / 3) / 2])
    assert average_precision_balanced(column(1, 1), column(1, 0, dtype=bool)) == pytest.approx(0.5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), max_size=5))
def test_density_counts_the_curves_through_every_pixel(drawn):
    curves = np.sort(np.array(drawn).reshape(-1, 9), axis=1)
    n = 8
    wanted = np.zeros((n, n), dtype=int)
    for curve in curves:
        for x in range(n):
            low, high = (min(int(value * n), n - 1) for value in curve[x : x + 2])
            wanted[low : high + 1, x] += 1
    unknown = np.full((1, 9), np.nan)
    np.testing.assert_array_equal(curve_density(np.concatenate([curves, unknown])), wanted)
