import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.codes import Codes
from cgraph.errors import ConfigError
from cgraph.exemplars import activation_histogram, bands


def codes_of(values):
    """Codes of one atom, beside another that is always active."""
    values = np.asarray(values, dtype=np.float32)
    padded = np.stack([values, np.ones_like(values)], axis=1)
    return Codes.from_padded(np.tile([0, 1], (len(values), 1)), padded, 2)


def test_a_case_by_hand():
    codes = codes_of([0, 5, 1, 9, 3, 0, 7, 2, 8, 4, 6])  # nine positives; the median is 5
    high, middle, low = bands(codes, 0, 2)
    assert (high.name, high.rows.tolist(), high.coefficients.tolist()) == ("high", [3, 8], [9, 8])
    assert (middle.name, middle.coefficients.tolist()) == ("middle", [6, 5])
    assert (low.name, low.rows.tolist(), low.coefficients.tolist()) == ("low", [7, 2], [2, 1])


@pytest.mark.parametrize(
    ("n_active", "sizes"),
    [(0, (0, 0, 0)), (1, (1, 0, 0)), (3, (2, 0, 1)), (4, (2, 0, 2)), (5, (2, 1, 2))],
)
def test_of_few_images_none_is_shown_twice(n_active, sizes):
    found = bands(codes_of([*range(1, n_active + 1), 0, 0]), 0, 2)
    assert tuple(len(band.rows) for band in found) == sizes
    rows = np.concatenate([band.rows for band in found])
    assert len(set(rows.tolist())) == len(rows) == n_active


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=60), st.integers(1, 8))
def test_bands_are_ordered_and_the_middle_holds_the_median(values, n):
    codes = codes_of(values)
    high, middle, low = bands(codes, 0, n)
    sizes = np.abs(np.concatenate([b.coefficients for b in (high, middle, low)]))
    assert (np.diff(sizes) <= 0).all()
    active = np.sort(np.abs([v for v in values if v]))
    assert sizes[: len(high.rows)].tolist() == active[::-1][:n].tolist()
    for band in (high, middle, low):
        assert [values[row] for row in band.rows] == band.coefficients.tolist()
    if len(middle.rows):
        below = (active < np.abs(middle.coefficients).min()).sum()
        above = (active > np.abs(middle.coefficients).max()).sum()
        assert max(below, above) <= len(active) / 2


def test_no_images_cannot_be_asked_for():
    with pytest.raises(ConfigError, match="n is 0: ask for at least 1"):
        bands(codes_of([1, 2]), 0, 0)


def test_the_histogram_is_that_of_numpy():
    values = np.random.default_rng(0).gamma(2, 1, 400) * (np.arange(400) % 3 > 0)
    found = activation_histogram(codes_of(values), 0, n_bins=7)
    active = values[values > 0].astype(np.float32)
    counts, edges = np.histogram(active, bins=7, range=(0, active.max()))
    assert found.counts.tolist() == counts.tolist()
    np.testing.assert_allclose(found.edges, edges)
    assert found.n_silent == 134 == 400 - found.counts.sum()


def test_signed_coefficients_keep_their_sign_in_the_histogram():
    found = activation_histogram(codes_of([-2, -1, 0, 4]), 0, n_bins=3)
    assert found.edges.tolist() == [-2, 0, 2, 4]
    assert found.counts.tolist() == [2, 0, 1]


def test_a_dead_concept_has_no_bars():
    found = activation_histogram(codes_of([0, 0, 0]), 0)
    assert (len(found.edges), len(found.counts), found.n_silent) == (0, 0, 3)
