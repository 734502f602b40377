from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.dealing import deal
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
