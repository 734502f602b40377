import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.dealing import as_keys, deal, deal_key, deal_keys
from cgraph.errors import DataError


def test_shares_are_70_15_15():
    split = deal([str(n) for n in range(1000)], seed=0)
    assert Counter(split) == {"train": 700, "tune": 150, "held-out": 150}


@given(st.lists(st.integers(0, 20), min_size=20, max_size=40), st.integers(0, 5))
def test_identical_images_go_to_one_part(values, seed):
    hashes = [str(value) for value in values] + [f"other {n}" for n in range(40)]
    split = deal(hashes, seed)
    parts = {}
    for value, part in zip(hashes, split, strict=True):
        assert parts.setdefault(value, part) == part


@given(st.permutations([str(n) for n in range(30)]))
def test_the_order_of_the_images_does_not_matter(hashes):
    dealt = dict(zip(hashes, deal(list(hashes), 1), strict=True))
    assert dealt == dict(
        zip([str(n) for n in range(30)], deal([str(n) for n in range(30)], 1), strict=True)
    )


def test_another_seed_is_another_split():
    hashes = [str(n) for n in range(200)]
    assert deal(hashes, 0) != deal(hashes, 1)


def test_too_few_images():
    with pytest.raises(DataError, match="2 different images are too few to split"):
        deal(["a", "b", "a", "b"], 0)


def _slowly(hashes, seed):
    """The deal as the format describes it, with sets and dictionaries."""
    groups = sorted(set(hashes), key=lambda v: hashlib.sha256(f"{seed}:{v}".encode()).digest())
    part_of, dealt = {}, 0
    for value in groups:
        middle = dealt + hashes.count(value) / 2
        part_of[value] = (
            "train"
            if middle <= 0.7 * len(hashes)
            else "tune"
            if middle <= (0.7 + 0.15) * len(hashes)
            else "held-out"
        )
        dealt += hashes.count(value)
    return [part_of[value] for value in hashes]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 3))
def test_the_deal_is_that_of_the_format(values, seed):
    hashes = [str(value) for value in values] + [f"other {n}" for n in range(200)]
    assert deal(hashes, seed) == _slowly(hashes, seed)


@pytest.mark.parametrize("at_once", [7, 64, 1000])
def test_dealing_range_by_range_is_dealing_at_once(at_once):
    hashes = [str(n % 700) for n in range(900)]
    keys = as_keys(b"".join(deal_key(value, 3) for value in hashes))
    parts, n_different = deal_keys(keys)
    again, n_again = deal_keys(keys, at_once)
    np.testing.assert_array_equal(parts, again)
    assert n_different == n_again == 700


def test_keys_that_begin_alike_are_told_apart():
    keys = np.zeros((400, 4), dtype=">u8")
    keys[:, 3] = np.arange(400)[::-1]
    parts, n_different = deal_keys(keys)
    assert n_different == 400
    assert parts[::-1].tolist() == sorted(parts.tolist())
