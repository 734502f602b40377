"""Samples of the images of one part: all of a few, as many as asked for of many, each as likely."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cgraph import row_samples
from cgraph.row_samples import rows_of_part


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 30), st.integers(0, 9))
def test_a_sample_is_of_its_part_rising_and_of_its_size(parts, at_most, seed):
    split = np.array(parts, dtype=np.uint8)
    for part in range(3):
        rows = rows_of_part(split, part, at_most, (seed, part))
        assert (split[rows] == part).all() and (np.diff(rows) > 0).all()
        assert len(rows) == min(at_most, parts.count(part))
        assert rows.tolist() == rows_of_part(split, part, at_most, (seed, part)).tolist()


def test_none_takes_all():
    split = np.array([0, 1, 0, 2], dtype=np.uint8)
    assert rows_of_part(split, 0, None, (0,)).tolist() == [0, 2]


def test_every_image_is_as_likely():
    split = np.zeros(50, dtype=np.uint8)
    times = np.zeros(50)
    for seed in range(2000):
        times[rows_of_part(split, 0, 10, (seed,))] += 1
    # Binomial: 2000 draws of probability 0.2; five standard deviations.
    assert np.abs(times - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_another_seed_is_another_sample():
    split = np.zeros(1000, dtype=np.uint8)
    assert rows_of_part(split, 0, 10, (0,)).tolist() != rows_of_part(split, 0, 10, (1,)).tolist()


def test_memory_is_that_of_the_sample(monkeypatch):
    monkeypatch.setattr(row_samples, "_CHUNK", 4096)
    split = np.zeros(2_000_000, dtype=np.uint8)
    rows_of_part(split[:10_000], 0, 1000, (0,))
    tracemalloc.start()
    rows = rows_of_part(split, 0, 1000, (0,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 1000
    # Truth values of all images take a byte each; 64-bit rows of all would take eight.
    assert peak < 2_000_000 + 200_000
