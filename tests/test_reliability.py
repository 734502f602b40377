"""Groups of probabilities: scikit-learn's calibration curve and SciPy's Wilson interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from cgraph.errors import DataError
from cgraph.reliability import even_edges, reliability


def drawn(n, seed, rare=1.0):
    rng = np.random.default_rng(seed)
    p = rng.random(n) ** (1 + 6 * rare)
    return p, rng.random(n) < p


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1000), st.integers(20, 300), st.integers(2, 12))
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_groups_are_scikit_learns(strategy, seed, n, n_bins):
    p, positive = drawn(n, seed)
    observed, predicted = calibration_curve(positive, p, n_bins=n_bins, strategy=strategy)
    if strategy == "uniform":
        edges = np.linspace(0, 1, n_bins + 1)
    else:
        edges = np.percentile(p, np.linspace(0, 1, n_bins + 1) * 100)
    # scikit-learn puts a value that lies on an edge below it, we above.
    found = reliability(p, positive, np.nextafter(edges[1:-1], 2))
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    assert found.n.sum() == n
    assert found.n_positive.sum() == positive.sum()


def test_intervals_are_wilsons():
    p, positive = drawn(200, 3)
    found = reliability(p, positive, [0.01, 0.1, 0.5])
    for n, k, low, high in zip(found.n, found.n_positive, found.low, found.high, strict=True):
        wanted = binomtest(int(k), int(n)).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 200), st.integers(1, 10))
def test_even_groups_expect_as_many_positives_each(seed, n, n_groups):
    p, positive = drawn(n, seed)
    edges = even_edges(p, n_groups)
    assert len(edges) < n_groups
    assert (np.diff(edges) > 0).all()
    found = reliability(p, positive, edges)
    share = p.sum() / n_groups
    # A group can miss its share by the samples at its two ends only.
    assert (found.predicted * found.n <= share + 2 * p.max() + 1e-9).all()


def test_equal_probabilities_stay_together():
    found = reliability(np.full(10, 0.3), np.arange(10) < 4, even_edges(np.full(10, 0.3), 5))
    assert found.n.tolist() == [10]
    assert found.observed.tolist() == [0.4]


def test_probabilities_out_of_range_are_refused():
    with pytest.raises(DataError, match="outside 0 to 1"):
        reliability(np.array([1.2]), np.array([True]), [])
    with pytest.raises(DataError, match="same images"):
        reliability(np.array([0.2]), np.array([True, False]), [])
