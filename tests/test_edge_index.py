"""Shares of edges, and choosing some of them."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import hand_graph, random_graph

from cgraph.edge_index import SIGNS, has_sign
from cgraph.errors import ConfigError


def test_shares_by_hand():
    # Into L2/0 lead 2, 1 and -1, into L2/1 leads 4: edges by child, then parent.
    edges = hand_graph().layer_edges(2)
    np.testing.assert_allclose(edges.shares("both"), [2 / 4, 1 / 4, 1 / 4, 1])
    np.testing.assert_allclose(edges.shares("raises"), [2 / 3, 1 / 3, 0, 1])
    np.testing.assert_allclose(edges.shares("lowers"), [0, 0, 1, 0])


@pytest.mark.parametrize("sign", SIGNS)
def test_shares_into_a_child_add_up_to_one(sign):
    graph, weights = random_graph([6, 5, 4], 0.7, seed=3)
    for layer, dense in enumerate(weights, start=2):
        edges = graph.layer_edges(layer)
        sums = np.bincount(edges.children, edges.shares(sign), edges.n_children)
        followed = {"both": dense != 0, "raises": dense > 0, "lowers": dense < 0}[sign]
        np.testing.assert_allclose(sums, followed.any(axis=1).astype(float))


def test_chosen_edges_keep_their_shares():
    graph, _ = random_graph([8, 7], 0.6, seed=5)
    edges = graph.layer_edges(2)
    keep = np.random.default_rng(0).random(len(edges.weights)) < 0.5
    few = edges.select(keep).select(np.ones(keep.sum(), dtype=bool))
    for sign in SIGNS:
        np.testing.assert_array_equal(few.shares(sign), edges.shares(sign)[keep])
    np.testing.assert_array_equal(few.children, edges.children[keep])
    np.testing.assert_array_equal(few.parents, edges.parents[keep])
    child, entry = few.from_parents(np.arange(8))
    np.testing.assert_array_equal(np.sort(entry), np.arange(keep.sum()))
    np.testing.assert_array_equal(few.children[entry], child)


def test_a_sign_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="sign is 'up': choose one of both, raises, lowers"):
        has_sign(np.ones(1), "up")
