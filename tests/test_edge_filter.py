"""What filters keep, against dense matrices, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.edge_filter import EVERYTHING, EdgeFilter, filter_graph
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph

NAN = float("nan")


def kept(graph, **wanted):
    auc = np.array([NAN, NAN, NAN, 0.9, 0.7, NAN, 0.8, 0.6])
    found = filter_graph(graph, EdgeFilter(**wanted), auc)
    return [
        (layer, int(p), int(c))
        for layer in range(2, found.n_layers + 1)
        for p, c in zip(
            found.layer_edges(layer).parents, found.layer_edges(layer).children, strict=True
        )
    ]


ALL = [(2, 0, 0), (2, 1, 0), (2, 2, 0), (2, 1, 1), (3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 1, 1)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ALL),
        ({"min_weight": 2.0}, [(2, 0, 0), (2, 1, 1), (3, 0, 0), (3, 2, 0), (3, 1, 1)]),
        ({"sign": "lowers"}, [(2, 2, 0), (3, 1, 1)]),
        ({"sign": "raises"}, [e for e in ALL if e not in ((2, 2, 0), (3, 1, 1))]),
        ({"min_auc": 0.75}, [(2, 0, 0), (2, 1, 0), (2, 2, 0), (3, 0, 0), (3, 1, 0), (3, 2, 0)]),
        ({"min_selection_rate": 0.95}, [e for e in ALL if e not in
                                        ((2, 1, 0), (2, 2, 0), (3, 1, 1))]),
        # Prevalences: .1 .2 .3 in layer 1, .4 .5 0 in layer 2, .6 .7 in layer 3.
        ({"min_prevalence": 0.15}, [(2, 1, 0), (2, 2, 0), (2, 1, 1), (3, 0, 0), (3, 1, 0),
                                    (3, 1, 1)]),
        ({"max_prevalence": 0.6}, [e for e in ALL if e != (3, 1, 1)]),
        ({"sign": "lowers", "min_weight": 1.5}, [(3, 1, 1)]),
        ({"min_weight": 100.0}, []),
    ],
)  # fmt: skip
def test_filters_by_hand(wanted, expected):
    assert kept(hand_graph(), **wanted) == expected


def test_an_unknown_prevalence_is_never_within_bounds():
    concepts = concept_table([2, 2], n_train_images=None)
    graph = ConceptGraph.from_tables(concepts, edge_table([(1, 0, 1, 2.0, 1.0)]))
    auc = np.full(4, NAN)
    assert filter_graph(graph, EdgeFilter(min_prevalence=0.1), auc).n_edges == 0
    assert filter_graph(graph, EdgeFilter(min_weight=1.0), auc).n_edges == 1


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    seed=st.integers(0, 2**16),
    least=st.floats(0, 2),
    sign=st.sampled_from(["both", "raises", "lowers"]),
    least_auc=st.floats(0, 1),
)
def test_filters_agree_with_dense_matrices(sizes, seed, least, sign, least_auc):
    graph, weights = random_graph(sizes, 0.6, seed)
    rng = np.random.default_rng(seed)
    auc = np.where(rng.random(sum(sizes)) < 0.3, NAN, rng.random(sum(sizes)))
    found = filter_graph(graph, EdgeFilter(sign, least, least_auc), auc)
    first = np.cumsum([0, *sizes])
    for layer, dense in enumerate(weights, start=2):
        expected = np.where(np.abs(dense) >= np.float32(least), dense, 0)
        if sign != "both":
            expected = np.where((dense > 0) == (sign == "raises"), expected, 0)
        if least_auc > 0:
            children = auc[first[layer - 1] : first[layer]]
            expected[~(children >= least_auc)] = 0
        np.testing.assert_array_equal(found.weight_matrix(layer).toarray(), expected)


def test_the_filter_that_changes_nothing_returns_the_graph_itself():
    graph = hand_graph()
    assert filter_graph(graph, EVERYTHING, np.zeros(8)) is graph
    assert EVERYTHING.changed == ()
    assert EdgeFilter(min_weight=1, sign="raises").changed == ("sign", "min_weight")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"min_weight": -1.0}, "least weight is -1.0: it must be 0 or more"),
        ({"min_weight": NAN}, "least weight is nan"),
        ({"min_auc": 1.2}, "least AUC is 1.2: it must be between 0 and 1"),
        ({"max_prevalence": -0.1}, "greatest share of images is -0.1"),
        ({"min_selection_rate": 95.0}, "least selection rate is 95.0"),
        ({"sign": "up"}, "sign is 'up'"),
        (
            {"min_prevalence": 0.5, "max_prevalence": 0.2},
            "at least 0.5 and at most 0.2 of the images, which none is. Lower the first",
        ),
    ],
)
def test_wrong_filters_are_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        EdgeFilter(**wanted)
