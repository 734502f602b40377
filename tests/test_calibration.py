"""Tests of Platt pairs and matched thresholds: planted pairs, an independent optimiser, counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from cgraph.calibration import PRIOR_SD, matched_threshold, platt_pair


def _scores(n_samples, slope, offset, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n_samples) * 2
    return score, rng.random(n_samples) < expit(slope * score + offset)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, -3.0), (0.4, -2.0), (1.8, 0.5), (0.0, -1.0)])
def test_a_planted_pair_is_found(slope, offset):
    score, positive = _scores(200_000, slope, offset)
    found = platt_pair(score, positive, prior_offset=-2.5)
    np.testing.assert_allclose(found, (slope, offset), atol=0.05)


def test_calibrated_scores_stay_as_they_are():
    score, positive = _scores(2_000, 1.0, -3.0)
    slope, offset = platt_pair(score, positive, prior_offset=-3.0)
    assert slope == pytest.approx(1, abs=0.15)
    assert offset == pytest.approx(-3, abs=0.3)


def test_the_pair_minimises_the_penalised_loss():
    score, positive = _scores(300, 0.6, -1.5, seed=4)

    def loss(pair):
        total = np.logaddexp(0, np.where(positive, -1, 1) * (pair[0] * score + pair[1])).sum()
        return total + ((pair[0] - 1) ** 2 + (pair[1] + 2) ** 2) / (2 * PRIOR_SD**2)

    expected = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7}).x
    np.testing.assert_allclose(platt_pair(score, positive, -2.0), expected, atol=1e-4)


def test_ten_positives_move_a_pair_little():
    for seed in range(20):
        score, positive = _scores(400, 1.0, -5.0, seed)
        slope, offset = platt_pair(score, positive, prior_offset=-5.0)
        assert abs(slope - 1) < 0.6
        assert abs(offset + 5) < 0.8


def test_scores_that_say_the_opposite_get_slope_zero():
    score, positive = _scores(5_000, -1.0, -1.0)
    slope, offset = platt_pair(score, positive, prior_offset=-1.0)
    assert slope == 0
    assert offset == pytest.approx(logit(positive.mean()), abs=0.02)


@pytest.mark.parametrize("n_positive", [0, 5, 50])
@pytest.mark.parametrize("spread", [0.0, 1.0, 500.0])
def test_a_pair_is_always_finite(n_positive, spread):
    positive = np.arange(50) < n_positive
    slope, offset = platt_pair(spread * np.where(positive, 1.0, -1.0), positive, -2.0)
    assert np.isfinite([slope, offset]).all()
    assert slope >= 0


@pytest.mark.parametrize(
    ("probability", "n_wanted", "n_predicted"),
    [
        ([0.1, 0.9, 0.5, 0.3], 2, 2),
        ([0.1, 0.9, 0.5, 0.3], 0, 0),
        ([0.1, 0.9, 0.5, 0.3], 4, 4),
        ([0.5, 0.5, 0.5, 0.1], 1, 0),  # 0, 3 or 4: 0 is nearest
        ([0.5, 0.5, 0.5, 0.1], 2, 3),
        ([0.5, 0.5, 0.1, 0.1], 1, 0),  # 0 and 2 are equally near
        ([0.2, 0.2, 0.2, 0.2], 1.9, 0),
        ([1.0, 1.0, 0.2, 0.2], 0, 0),
        ([1.0, 0.0, 0.0, 0.0], 4, 4),
    ],
)
def test_matched_counts(probability, n_wanted, n_predicted):
    probability = np.array(probability, dtype=np.float32)
    threshold = matched_threshold(probability, n_wanted)
    assert (probability >= threshold).sum() == n_predicted
    assert np.float32(threshold) == threshold


def test_the_threshold_lies_midway():
    assert matched_threshold(np.array([0.125, 0.75, 0.25], dtype=np.float32), 1) == 0.5


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_no_other_threshold_comes_nearer(probability, share):
    probability = np.array(probability, dtype=np.float32)
    n_wanted = share * len(probability)
    count = (probability >= matched_threshold(probability, n_wanted)).sum()
    every = [(probability >= cut).sum() for cut in [*probability, np.float32(2)]]
    assert abs(count - n_wanted) == min(abs(other - n_wanted) for other in every)
