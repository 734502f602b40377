"""Rates of false discovery, shares of references, and resamples, against hand and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from cgraph.evidence_design import CONTROL, EDGE, LEAST_IMAGES, REFERENCE, Tests
from cgraph.evidence_runs import COLUMNS
from cgraph.evidence_statistics import (
    N_RESAMPLES,
    conformal_p,
    control_share,
    draw_resamples,
    false_discovery_rates,
    judge,
    means,
    resampled_means,
    share_not_above,
)
from cgraph.truth_tables import NO_EFFECT, NOT_MEASURED, SUPPORTED

P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40)


def test_rates_computed_by_hand() -> None:
    # 4 known: sorted .01 .02 .03 .8 times 4/1, 4/2, 4/3, 4/4, then the least from the right.
    found = false_discovery_rates(np.array([0.03, 0.01, np.nan, 0.8, 0.02]))
    np.testing.assert_allclose(found, [0.04, 0.04, np.nan, 0.8, 0.04])


@given(P_VALUES)
def test_rates_are_those_of_scipy(p_values: list[float]) -> None:
    found = false_discovery_rates(np.array(p_values))
    np.testing.assert_allclose(found, false_discovery_control(p_values), rtol=1e-12)


def test_rates_of_nothing() -> None:
    assert len(false_discovery_rates(np.zeros(0))) == 0


def test_shares_of_references_by_hand() -> None:
    references = np.array([0.0, 1.0, 2.0, np.nan])
    found = conformal_p(np.array([3.0, 2.0, 0.5, -1.0, np.nan]), references)
    np.testing.assert_allclose(found, [1 / 4, 2 / 4, 3 / 4, 4 / 4, np.nan])


@given(st.lists(st.floats(-3, 3), max_size=20), st.lists(st.floats(-3, 3), max_size=20))
def test_shares_of_references_by_brute_force(scores: list[float], references: list[float]) -> None:
    found = conformal_p(np.array(scores), np.array(references))
    for score, p in zip(scores, found.tolist(), strict=True):
        assert p == (1 + sum(other >= score for other in references)) / (1 + len(references))


def test_exchangeable_scores_give_uniform_shares() -> None:
    rng = np.random.default_rng(0)
    p = [conformal_p(rng.normal(size=1), rng.normal(size=99))[0] for _ in range(2000)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.02)


def test_resampled_means_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(7, 2))
    values[2, 1] = np.nan
    draws = draw_resamples(7, rng)
    assert draws.shape == (N_RESAMPLES, 7) and (draws.sum(axis=1) == 7).all()
    found = resampled_means(draws, values)
    for number in range(20):
        images = np.repeat(np.arange(7), draws[number].astype(int))
        np.testing.assert_allclose(found[number], np.nanmean(values[images], axis=0))
    np.testing.assert_allclose(means(values), np.nanmean(values, axis=0))
    assert np.isnan(means(np.full((3, 1), np.nan))).all()


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        again = resampled_means(draw_resamples(48, rng), rng.normal(1, 2, (48, 1)))
        low, high = np.quantile(again, [0.025, 0.975])
        held += low <= 1 <= high
    assert held / 400 == pytest.approx(0.94, abs=0.03)


N_IMAGES, N_REFERENCES = 32, 100


def _judged(n_compared: int, other: float) -> tuple[Tests, dict[str, np.ndarray], int]:
    """Judge an edge, and a control like it, of effect 1, beside other atoms in some of the images.

    Where there are other atoms they do `other`; random directions and references do nothing.
    """
    kind = np.array([EDGE, CONTROL] + [REFERENCE] * N_REFERENCES, np.int8)
    n_tests = len(kind)
    zero, child = np.zeros(n_tests, np.int64), np.arange(n_tests)
    weight = np.where(kind == EDGE, 1.0, 0.0)
    linked = (weight > 0)[None]
    tests = Tests(zero, child, weight, kind, np.array([0, n_tests]), linked)
    columns = {name: np.zeros((N_IMAGES, n_tests)) for name in COLUMNS}
    columns["effect"][:] = np.random.default_rng(0).normal(0, 0.1, (N_IMAGES, n_tests))
    columns["effect"][:, :2] += 1
    columns["other"][:, :2], columns["other_variance"][:] = other, 1
    for name in ("other", "other_variance"):
        columns[name][n_compared:, :2] = np.nan
    judged = judge(tests, [columns], (0, 2))
    return tests, judged.figures, control_share(tests, judged)[0]


def test_an_edge_beside_other_atoms_is_supported() -> None:
    tests, figures, n_controls = _judged(LEAST_IMAGES, other=0.0)
    assert figures["verdict"][tests.kind == EDGE].tolist() == [SUPPORTED]
    assert n_controls == 1
    _, figures, _ = _judged(LEAST_IMAGES, other=1.0)
    assert figures["verdict"][0] == NO_EFFECT


@pytest.mark.parametrize("n_compared", [0, 1, LEAST_IMAGES - 1])
def test_an_edge_that_is_compared_in_too_few_images_is_not_judged(n_compared: int) -> None:
    tests, figures, n_controls = _judged(n_compared, other=0.0)
    assert figures["verdict"][tests.kind == EDGE].tolist() == [NOT_MEASURED]
    assert np.isnan(figures["q_supported"][0]) and figures["effect"][0] == pytest.approx(1, abs=0.1)
    assert n_controls == 0


def test_resamples_that_compare_nothing_do_not_speak_for_an_edge() -> None:
    draws = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = share_not_above(draws, np.array([[1.0, -1.0], [np.nan, np.nan]]))
    np.testing.assert_allclose(found, [2 / 4, 4 / 4])
    assert np.isnan(share_not_above(draws, np.full((2, 1), np.nan))).all()
