"""What filters keep, against dense matrices, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_graph import hand_concepts, hand_facts

from cgraph.edge_filter import EVERYTHING, EdgeFilter, filter_graph
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph

NAN = float("nan")


def kept(graph, **wanted):
    auc = np.array([NAN, NAN, NAN, 0.9, 0.7, NAN, 0.8, 0.6])
    found = filter_graph(graph, EdgeFilter(**wanted), auc, hand_facts(), hand_concepts())
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
        ({"evidence": "specific"}, [(2, 0, 0), (3, 0, 0)]),
        ({"evidence": "supported"}, [(2, 0, 0), (2, 1, 0), (3, 0, 0), (3, 2, 0), (3, 1, 1)]),
        ({"evidence": "contradicted"}, [(2, 2, 0)]),
        ({"evidence": "no effect"}, [(2, 1, 1)]),
        ({"evidence": "not measured"}, [(3, 1, 0)]),
        ({"origin": "carried"}, [(2, 0, 0), (3, 0, 0), (3, 2, 0)]),
        ({"origin": "computed"}, [(2, 1, 0), (3, 0, 0), (3, 1, 1)]),
        ({"found_again": "edges"}, [(2, 0, 0), (2, 2, 0), (2, 1, 1), (3, 1, 0), (3, 1, 1)]),
        ({"found_again": "concepts"}, [(2, 0, 0), (2, 1, 0), (2, 1, 1), (3, 0, 0), (3, 1, 0)]),
        ({"evidence": "supported", "origin": "computed", "min_weight": 1.5},
         [(3, 0, 0), (3, 1, 1)]),
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
        ({"evidence": "sure"}, "evidence is 'sure': choose one of any, supported, specific"),
        ({"origin": "both"}, "origin is 'both': choose one of any, carried, computed"),
        ({"found_again": "yes"}, "found again is 'yes': choose one of any, concepts, edges"),
        (
            {"min_prevalence": 0.5, "max_prevalence": 0.2},
            "at least 0.5 and at most 0.2 of the images, which none is. Lower the first",
        ),
    ],
)
def test_wrong_filters_are_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        EdgeFilter(**wanted)


@pytest.mark.parametrize(
    ("wanted", "there", "command"),
    [
        ({"evidence": "specific"}, "worth", "cgraph evaluate STUDY --only evidence"),
        ({"origin": "carried"}, "stable-edges", "cgraph evaluate STUDY --only evidence"),
        ({"found_again": "edges"}, "evidence", "cgraph evaluate STUDY --only stability"),
        ({"found_again": "concepts"}, "evidence", "cgraph evaluate STUDY --only stability"),
    ],
)
def test_what_was_not_measured_cannot_be_asked_for(wanted, there, command):
    facts, concepts = hand_facts(there), hand_concepts(there)
    with pytest.raises(ConfigError, match=command):
        filter_graph(hand_graph(), EdgeFilter(**wanted), np.zeros(8), facts, concepts)
    with pytest.raises(ConfigError, match=command):
        filter_graph(hand_graph(), EdgeFilter(**wanted), np.zeros(8))


def test_two_filters_after_each_other_still_know_their_edges():
    facts, graph = hand_facts(), hand_graph()
    few = filter_graph(graph, EdgeFilter(min_weight=2.0, evidence="supported"), np.zeros(8), facts)
    edges = few.layer_edges(3)
    assert edges.parents.tolist() == [0, 2, 1]
    taken = facts.taken(facts.places(3, edges.parents, edges.children))
    assert taken["verdict"].to_pylist() == ["specific", "supported", "supported"]
