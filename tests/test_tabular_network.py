"""Greedy tables against brute force, and what a greedy search finds and does not find."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.codes import Codes
from cgraph.dense_logistic import fit_dense_logistic
from cgraph.errors import ConfigError, DataError
from cgraph.metrics import auc
from cgraph.tabular_network import fit_tables


def _codes(labels):
    labels = np.asarray(labels, dtype=bool)
    indices = np.where(labels, np.arange(labels.shape[1]), -1)
    return Codes.from_padded(indices, labels.astype(float), labels.shape[1])


def _likelihood(X, y, parents):
    """By the definition: the log-likelihood of the rows under their cell's own share."""
    total = 0.0
    for cell in product([False, True], repeat=len(parents)):
        inside = y[(X[:, parents] == cell).all(axis=1)]
        if 0 < inside.sum() < len(inside):
            share = inside.mean()
            total += inside.sum() * np.log(share) + (~inside).sum() * np.log(1 - share)
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60), st.integers(1, 5))
def test_every_step_takes_the_best_parent(seed, n, n_atoms):
    rng = np.random.default_rng(seed)
    X = rng.random((n, n_atoms)) < rng.uniform(0.1, 0.9, n_atoms)
    y = rng.random(n) < np.where(X[:, 0], 0.8, 0.3)
    (table,) = fit_tables(_codes(X), _codes(y[:, None]), [0], strength=3.0)
    for k in range(len(table.parents) + 1):
        parents = table.parents[:k].tolist()
        assert table.likelihoods[k] == pytest.approx(_likelihood(X, y, parents), abs=1e-9)
        assert table.bics[k] == pytest.approx(table.likelihoods[k] - 2**k / 2 * np.log(n))
        others = [_likelihood(X, y, [*parents, j]) for j in range(n_atoms) if j not in parents]
        if k < len(table.parents):
            assert table.likelihoods[k + 1] == pytest.approx(max(others), abs=1e-9)
        elif k < min(5, n_atoms):
            assert max(others) <= table.likelihoods[k] + 1e-6
        for row, probability in zip(X, table.probabilities(X[:, table.parents], k), strict=True):
            inside = y[(X[:, parents] == row[parents]).all(axis=1)]
            assert probability == pytest.approx((inside.sum() + 3 * y.mean()) / (len(inside) + 3))


def test_a_cell_without_rows_has_the_prevalence():
    # The first label is never on alone.
    X = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 1], [1, 1]], dtype=bool)
    y = np.array([0, 0, 0, 1, 1, 1], dtype=bool)
    (table,) = fit_tables(_codes(X), _codes(y[:, None]), [0])
    assert sorted(table.parents.tolist()) == [0, 1]
    unseen = np.array([[True, False]])[:, table.parents]
    assert table.probabilities(unseen, 2)[0] == pytest.approx(y.mean())


def _exclusive_or(share, n=4000, n_others=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, 2 + n_others)) < share
    y = rng.random(n) < np.where(X[:, 0] ^ X[:, 1], 0.9, 0.05)
    return X, y


def test_the_exclusive_or_of_rare_labels_is_found_and_no_logistic_model_has_it():
    X, y = _exclusive_or(0.3)
    (table,) = fit_tables(_codes(X[:2000]), _codes(y[:2000, None]), [0])
    assert set(table.parents[:2].tolist()) == {0, 1}
    assert table.n_by_bic == 2
    held_out, truth = X[2000:], y[2000:, None]
    tabular = table.probabilities(held_out[:, table.parents], 2)[:, None]
    logistic = fit_dense_logistic(X[:2000], y[:2000, None], 1.0).decision(held_out)
    assert auc(tabular, truth)[0] > 0.9
    assert auc(logistic, truth)[0] < auc(tabular, truth)[0] - 0.08


def test_the_exclusive_or_of_labels_that_say_nothing_alone_is_out_of_a_greedy_reach():
    X, y = _exclusive_or(0.5)
    (table,) = fit_tables(_codes(X), _codes(y[:, None]), [0])
    # A search of all pairs would find it at once; one step at a time does not see where to go.
    assert _likelihood(X, y, [0, 1]) > table.likelihoods[0] + 1000
    assert not {0, 1} <= set(table.parents[:2].tolist())
    assert table.n_by_bic == 0


def test_the_bic_stops_where_the_likelihood_goes_on():
    rng = np.random.default_rng(3)
    X = rng.random((800, 15)) < 0.4
    y = rng.random(800) < np.where(X[:, 7], 0.7, 0.2)
    (table,) = fit_tables(_codes(X), _codes(y[:, None]), [0])
    assert len(table.parents) == 5 and (np.diff(table.likelihoods) > 0).all()
    assert table.parents[0] == 7 and table.n_by_bic == 1


def test_no_further_parent_is_taken_once_all_is_known():
    X = np.random.default_rng(0).random((200, 6)) < 0.5
    (table,) = fit_tables(_codes(X), _codes(X[:, [2]]), [0])
    assert table.parents.tolist() == [2]


def test_children_do_not_depend_on_each_other():
    rng = np.random.default_rng(5)
    X, Y = rng.random((2, 300, 8)) < 0.4
    together = fit_tables(_codes(X), _codes(Y), [1, 4])
    (alone,) = fit_tables(_codes(X), _codes(Y), [4])
    np.testing.assert_array_equal(together[1].parents, alone.parents)


def test_what_cannot_be_is_refused():
    codes = _codes(np.eye(3))
    with pytest.raises(ConfigError, match="0 to 16"):
        fit_tables(codes, codes, [0], max_parents=17)
    with pytest.raises(ConfigError, match="above 0"):
        fit_tables(codes, codes, [0], strength=0)
    with pytest.raises(DataError, match="3 images and labels of 2"):
        fit_tables(codes, _codes(np.eye(3)[:2]), [0])
