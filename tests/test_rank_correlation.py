"""Rank correlations and the comparison of two groups: SciPy's, and residuals of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cgraph.errors import DataError
from cgraph.rank_correlation import MIN_PAIRS, compare_groups, rank_correlation, ranks

whole = st.integers(-5, 5).map(float)


@given(st.lists(whole, min_size=1, max_size=30))
def test_ranks_are_scipys(values):
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))


@settings(deadline=None)
@given(st.lists(st.tuples(whole, whole), min_size=MIN_PAIRS, max_size=60))
def test_spearman_is_scipys(pairs):
    x, y = np.array(pairs).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        with pytest.raises(DataError, match="same for all"):
            rank_correlation(x, y)
        return
    found, wanted = rank_correlation(x, y), stats.spearmanr(x, y)
    assert found.rho == pytest.approx(wanted.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(wanted.pvalue, abs=1e-9)
    assert found.low <= found.rho <= found.high
    assert found.n == len(pairs)


def test_the_partial_correlation_is_that_of_what_is_left_of_the_ranks():
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    x, y = z + rng.normal(size=200), -z + rng.normal(size=200)
    found = rank_correlation(x, y, z)

    def left(values):
        design = np.column_stack([ranks(z), np.ones(200)])
        own = ranks(values)
        return own - design @ np.linalg.lstsq(design, own, rcond=None)[0]

    wanted = stats.pearsonr(left(x), left(y)).statistic
    assert found.rho == pytest.approx(wanted, abs=1e-10)
    t = wanted * np.sqrt(197 / (1 - wanted**2))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(t), 197), rel=1e-6)
    # All that x and y have in common is z.
    assert rank_correlation(x, y).rho < -0.3
    assert abs(found.rho) < 0.2


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        found = rank_correlation(x, y)
        # Spearman's correlation of a normal pair (Pearson 1907).
        inside += found.low <= 6 / np.pi * np.arcsin(0.6 / 2) <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_unknown_figures_are_left_out():
    x, y = np.arange(12.0), np.arange(12.0)
    y[3] = np.nan
    found = rank_correlation(x, y)
    assert (found.rho, found.n, found.p_value) == (1.0, 11, 0.0)
    with pytest.raises(DataError, match=f"at least {MIN_PAIRS}"):
        rank_correlation(x[:9], y[:9])
    with pytest.raises(DataError, match="nothing is left"):
        rank_correlation(x, np.arange(12.0)[::-1] ** 2, x)


@settings(deadline=None)
@given(st.lists(whole, min_size=1, max_size=30), st.lists(whole, min_size=1, max_size=30))
def test_groups_are_compared_as_by_scipy(first, second):
    found = compare_groups(first, second)
    assert found.medians == (np.median(first), np.median(second))
    larger = np.mean([(b > a) + (b == a) / 2 for a in first for b in second])
    assert found.superiority == pytest.approx(larger)
    if np.ptp([*first, *second]) == 0:
        assert found.p_value == 1
        return
    wanted = stats.mannwhitneyu(second, first, method="asymptotic")
    assert found.p_value == pytest.approx(wanted.pvalue, abs=1e-9)


def test_an_empty_group_is_refused():
    with pytest.raises(DataError, match="nothing to compare"):
        compare_groups([np.nan], [1.0])
