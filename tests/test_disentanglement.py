"""Measures of disentanglement against hand-computed cases, scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score, roc_auc_score

from cgraph.disentanglement import (
    areas,
    binned,
    correlations,
    dci,
    entropies,
    information,
    information_gaps,
    two_best,
)
from cgraph.errors import DataError


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 4)) < [0.5, 0.2, 0.1, 0.4]
    values = np.maximum(rng.normal(size=(200, 6)) + truth[:, [0, 1, 2, 3, 0, 1]] - 0.5, 0)
    return np.hstack([values, rng.normal(size=(200, 1))]), truth


def test_areas_correlations_and_information_are_those_of_peers(sample):
    values, truth = sample
    bins = binned(values, 8)
    for k, factor in enumerate(truth.T):
        for j in range(values.shape[1]):
            assert areas(values, truth)[k, j] == pytest.approx(roc_auc_score(factor, values[:, j]))
            expected = np.corrcoef(values[:, j], factor)[0, 1]
            assert correlations(values, truth)[k, j] == pytest.approx(expected)
            expected = mutual_info_score(factor, bins[:, j])
            assert information(bins, truth)[k, j] == pytest.approx(expected)
        assert entropies(truth)[k] == pytest.approx(mutual_info_score(factor, factor))


def test_what_does_not_vary_has_no_area_and_no_correlation():
    values, truth = np.array([[1.0, 2], [1, 3], [1, 4]]), np.array([[0, 1], [0, 1], [0, 0]]) > 0
    assert np.isnan(areas(values, truth)[0]).all()
    assert areas(values, truth)[1].tolist() == [0.5, 0.0]
    assert correlations(values, truth)[0].tolist() == [0, 0]
    assert correlations(values, truth)[1, 0] == 0


def test_equal_values_share_a_bin_and_bins_are_equally_filled():
    assert binned(np.arange(10.0)[:, None], 5)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    silent = np.array([0.0] * 8 + [5.0, 2.0])[:, None]
    assert binned(silent, 5)[:, 0].tolist() == [0] * 8 + [4, 4]


def test_a_code_that_is_the_factor_has_all_of_its_information():
    # Two factors of one bit each, two codes that are them: MIG 1.
    truth = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=bool)
    bins = truth.astype(int)
    known, entropy = information(bins, truth), entropies(truth)
    np.testing.assert_allclose(known, np.log(2) * np.eye(2), atol=1e-12)
    np.testing.assert_allclose(information_gaps(known, known, entropy), [1, 1])
    # A copy of the first code takes the whole gap of the first factor.
    known = information(bins[:, [0, 0, 1]], truth)
    np.testing.assert_allclose(information_gaps(known, known, entropy), [0, 1], atol=1e-12)


def test_the_gap_between_a_half_known_and_an_unknown_factor():
    # The factor is on in 2 of 4; the code singles out one of the two:
    # I = H(1/2) - 3/4 H(1/3), all in nats.
    truth = np.array([[1], [1], [0], [0]], dtype=bool)
    bins = np.array([[1, 0], [0, 0], [0, 0], [0, 0]])
    third = -(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    expected = (np.log(2) - 0.75 * third) / np.log(2)
    known = information(bins, truth)
    assert information_gaps(known, known, entropies(truth))[0] == pytest.approx(expected)


def test_luck_in_choosing_does_not_count():
    chosen_on, measured = np.array([[0.3, 0.2, 0.0]]), np.array([[0.1, 0.2, 0.6]])
    assert information_gaps(chosen_on, measured, np.array([0.5]))[0] == pytest.approx(-0.2)
    assert np.isnan(information_gaps(chosen_on, measured, np.array([0.0]))[0])


def test_ties_go_to_the_lower_index():
    assert [places.tolist() for places in two_best(np.array([[1.0, 2, 2], [0, 0, 0]]))] == [
        [1, 0],
        [2, 1],
    ]
    with pytest.raises(DataError, match="1 codes"):
        two_best(np.ones((3, 1)))


def test_dci_of_hand_computed_importances():
    assert dci(np.eye(3)) == pytest.approx((1.0, 1.0))
    assert dci(np.ones((3, 3))) == pytest.approx((0.0, 0.0))
    # Two codes for one factor each: every code serves one factor, no factor is served by one code.
    twice = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    assert dci(twice) == pytest.approx((1.0, 0.5))  # half of log 4 is left
    # One code for both factors, and one that is never used.
    assert dci(np.array([[1.0, 0], [1, 0]])) == pytest.approx((0.0, 1.0))
    # Codes count by their importance: .75 of it serves one factor, .25 both alike.
    assert dci(np.array([[6.0, 1], [0, 1]]))[0] == pytest.approx(0.75)


def test_dci_without_any_importance_is_unknown():
    assert np.isnan(dci(np.zeros((2, 3)))).all()
    with pytest.raises(DataError, match="negative"):
        dci(np.array([[1.0, -1], [0, 1]]))
    with pytest.raises(DataError, match=r"\(1, 3\)"):
        dci(np.ones((1, 3)))
