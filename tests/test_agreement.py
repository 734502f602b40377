"""Agreement of two answers: counted by hand, and beside SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr
from sklearn.metrics import jaccard_score, precision_score, recall_score

from cgraph.agreement import LayerStates, States, agreement, rank_correlation, total


def states(before, after, moves=None, first=3):
    before, after = np.array(before, bool, ndmin=2), np.array(after, bool, ndmin=2)
    moves = after.astype(float) - before if moves is None else np.array(moves, float, ndmin=2)
    return States(first, (LayerStates(before, after, before * 1.0, after * 1.0, moves),))


def test_a_layer_counted_by_hand():
    first = states([0, 1, 0, 1, 0, 0], [1, 0, 1, 1, 0, 0])  # + − + · · ·
    second = states([0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0])  # + − − + · ·
    found = agreement(first, second, 3)
    assert (found.n_first, found.n_second, found.n_shared, found.n_opposed) == (3, 4, 2, 1)
    assert found.confirmed == pytest.approx(2 / 3)
    assert found.foreseen == pytest.approx(1 / 2)
    assert found.overlap == pytest.approx(2 / 5)
    # By chance: (2 appear × 2 appear + 1 vanishes × 2 vanish) / 6 concepts are shared.
    assert found.by_chance == pytest.approx(1 / (3 + 4 - 1))


def test_concepts_set_by_hand_do_not_count():
    first = states([0, 1, 0], [1, 0, 0])
    second = states([0, 1, 0], [1, 0, 1])
    found = agreement(first, second, 3, left_out=np.array([[True, False, False]]))
    assert (found.n_first, found.n_second, found.n_shared) == (1, 2, 1)


def test_nothing_changed_has_no_shares():
    found = agreement(states([0, 1, 0], [0, 1, 0]), states([1, 1, 0], [1, 1, 0]), 3)
    shares = (found.confirmed, found.foreseen, found.overlap, found.by_chance)
    assert shares == (None, None, None, None)
    assert found.rank_correlation is None


def test_of_many_images_chance_is_the_answer_of_another_image():
    first = states([[0, 0]] * 2, [[1, 0], [0, 1]])
    second = states([[0, 0]] * 2, [[1, 0], [0, 1]])
    found = agreement(first, second, 3)
    assert found.overlap == 1.0
    assert found.by_chance == 0.0


LABELS = hnp.arrays(np.bool_, (4, 9))


@given(LABELS, LABELS)
def test_shares_are_those_of_scikit_learn(a, b):
    """Where nothing was on before, a change is a concept that is on after."""
    nothing = np.zeros_like(a)
    found = agreement(states(nothing, a), states(nothing, b), 3)
    truth = [
        (found.confirmed, precision_score), (found.foreseen, recall_score),
        (found.overlap, jaccard_score),
    ]  # fmt: skip
    for value, measure in truth:
        if value is not None:
            expected = measure(b.ravel(), a.ravel(), zero_division=0)
            assert value == pytest.approx(expected)


@given(
    hnp.arrays(np.int8, 12, elements=st.integers(-3, 3)),
    hnp.arrays(np.int8, 12, elements=st.integers(-3, 3)),
)
def test_rank_correlation_is_that_of_scipy(x, y):
    found = rank_correlation(x.astype(float), y.astype(float))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


def test_unknown_moves_are_left_out_of_the_rank_correlation():
    x, y = np.array([1, 2, np.nan, 3.0]), np.array([1, 2, 9, 3.0])
    assert rank_correlation(x, y) == pytest.approx(1.0)
    assert rank_correlation(x, y, np.array([True, True, True, False])) is None


def test_the_whole_of_several_sets_is_their_sum():
    parts = [
        agreement(states([[0, 0]] * n, [[1, 0]] * n), states([[0, 0]] * n, [[1, 1]] * n), 3)
        for n in (2, 4)
    ]
    found = total(parts)
    assert (found.n_images, found.n_first, found.n_second, found.n_shared) == (6, 6, 12, 6)
    assert found.overlap == 0.5
    assert found.by_chance == pytest.approx(0.5)
