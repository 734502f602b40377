"""The threshold between two groups, against every cut tried by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.two_groups import two_groups


def test_two_clear_groups_are_parted_midway():
    threshold, separation = two_groups(np.array([5.0, 1.0, 1.5, 5.5]))
    assert threshold == 3.25
    # Means 1.25 and 5.25 about 3.25; each group varies by ¼ about its own.
    assert separation == pytest.approx(4 / (4 + 0.0625))


def test_two_numbers_are_wholly_apart():
    assert two_groups(np.array([2.0, -1.0, 2.0])) == (0.5, pytest.approx(1.0))


def test_known_shapes():
    even = (np.arange(100_000) + 0.5) / 100_000
    threshold, separation = two_groups(even)
    assert threshold == pytest.approx(0.5) and separation == pytest.approx(0.75, abs=1e-4)
    bell = np.random.default_rng(0).standard_normal(200_000)
    assert two_groups(bell)[1] == pytest.approx(2 / np.pi, abs=0.01)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_no_other_cut_is_better(numbers):
    values = np.array(numbers, dtype=float)
    if len(set(numbers)) == 1:
        with pytest.raises(DataError, match="no two groups"):
            two_groups(values)
        return

    def within(threshold):
        parts = values[values < threshold], values[values >= threshold]
        return sum(((part - part.mean()) ** 2).sum() for part in parts)

    levels = sorted(set(numbers))
    cuts = [(low + high) / 2 for low, high in pairwise(levels)]
    threshold, separation = two_groups(values)
    assert threshold in cuts
    assert within(threshold) == pytest.approx(min(map(within, cuts)), abs=1e-9)
    total = ((values - values.mean()) ** 2).sum()
    assert separation == pytest.approx(1 - within(threshold) / total, abs=1e-9)


def test_what_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        two_groups(np.array([1.0, np.nan]))
