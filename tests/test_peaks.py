"""Peaks of planted histograms: how many, where, and none that is not there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.peaks import MIN_SHARE, find_peaks


def mixture(rng, n, parts):
    """Draw rounded normal counts; parts are (share, mean, standard deviation)."""
    shares, means, spreads = np.array(parts).T
    part = rng.choice(len(parts), n, p=shares)
    return np.abs(np.round(rng.normal(means[part], spreads[part]))).astype(int)


# Name, what is drawn, and where its peaks are.
ONE = {
    "even spread about 25": lambda rng, n: rng.poisson(25, n),
    "a long tail": lambda rng, n: rng.negative_binomial(4, 0.15, n),
    "most have none": lambda rng, n: rng.geometric(0.1, n) - 1,
    "skewed": lambda rng, n: np.round(rng.lognormal(3, 0.5, n)).astype(int),
    "flat": lambda rng, n: rng.integers(0, 51, n),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("n", [60, 300, 1000])
def test_one_peak_is_not_taken_for_two(name, n):
    rng = np.random.default_rng(7)
    found = [len(find_peaks(ONE[name](rng, n)).at) for _ in range(20)]
    assert np.mean(np.array(found) > 1) <= 0.05


@pytest.mark.parametrize("n", [300, 795, 3072])
def test_the_papers_two_peaks_are_found(n):
    rng = np.random.default_rng(11)
    for _ in range(10):
        counts = mixture(rng, n, [(0.5, 24, 7), (0.5, 66, 10)])
        found = find_peaks(counts)
        assert len(found.at) == 2
        # The mode of a smoothed sample strays by some tenths of its spread.
        assert abs(found.at[0] - 24) <= 5
        assert abs(found.at[1] - 66) <= 8
        assert 34 <= found.valleys[0] <= 52
        assert found.shares[0] == pytest.approx(np.mean(counts <= found.valleys[0]))
        np.testing.assert_array_equal(found.group(counts), counts > found.valleys[0])


def test_peaks_of_unlike_width_and_three_of_them():
    rng = np.random.default_rng(2)
    tight = np.concatenate([rng.poisson(3, 400), rng.poisson(60, 400)])
    found = find_peaks(tight)
    assert len(found.at) == 2
    assert abs(found.at[0] - 3) <= 1
    assert abs(found.at[1] - 60) <= 6
    three = find_peaks(rng.poisson(rng.choice([8, 30, 70], 1000)))
    np.testing.assert_allclose(three.at, [8, 30, 70], atol=6)
    assert sum(three.shares) == pytest.approx(1)


def test_a_few_far_counts_are_no_peak():
    rng = np.random.default_rng(3)
    counts = np.concatenate([rng.poisson(20, 1000), np.full(30, 150)])
    assert len(find_peaks(counts).at) == 1
    # Enough of them are.
    more = np.concatenate([rng.poisson(20, 1000), np.full(80, 150)])
    assert find_peaks(more).at[1] == 150
    assert MIN_SHARE < 80 / 1080


def test_the_answer_is_the_same_every_time_and_in_any_order():
    counts = mixture(np.random.default_rng(5), 500, [(0.6, 10, 3), (0.4, 40, 6)])
    first, again = find_peaks(counts), find_peaks(np.sort(counts)[::-1])
    assert (first.at, first.valleys, first.width) == (again.at, again.valleys, again.width)
    np.testing.assert_array_equal(first.density, again.density)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=80))
def test_the_density_is_one_and_every_count_belongs_to_one_peak(counts):
    found = find_peaks(np.array(counts))
    assert found.n == len(counts)
    assert (found.density >= 0).all()
    assert found.density.sum() == pytest.approx(1, abs=0.01)  # a tail beyond three widths is cut
    assert list(found.at) == sorted(found.at)
    assert len(found.shares) == len(found.at) == len(found.valleys) + 1
    assert sum(found.shares) == pytest.approx(1)
    assert found.density[list(found.at)].max() == pytest.approx(found.density.max())


def test_one_concept_and_equal_concepts_have_one_peak():
    assert find_peaks(np.array([17])).at == (17,)
    assert find_peaks(np.full(500, 9)).at == (9,)
    assert find_peaks(np.zeros(40, dtype=int)).at == (0,)
    assert find_peaks(np.array([4, 5])).at == (4,)  # as high at both
    twins = find_peaks(np.repeat([20, 60], 200))
    assert (twins.at, twins.shares) == ((20, 60), (0.5, 0.5))


def test_no_counts_and_no_whole_numbers_are_refused():
    with pytest.raises(DataError, match="at least one"):
        find_peaks(np.array([], dtype=int))
    with pytest.raises(DataError, match="whole number"):
        find_peaks(np.array([1.5]))
    with pytest.raises(DataError, match="negative"):
        find_peaks(np.array([-1]))
