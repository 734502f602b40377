"""Tests of the concept graph: a graph computed by hand, dense matrices, messages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from graph_examples import (
    HAND_EDGES,
    concept_table,
    edge_table,
    hand_graph,
    hand_tables,
    random_graph,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.graph import ConceptGraph

graphs = st.builds(
    random_graph,
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
)


def test_sizes():
    graph = hand_graph()
    assert graph.n_layers == 3
    assert [graph.n_concepts(layer) for layer in (1, 2, 3)] == [3, 3, 2]
    assert graph.n_concepts() == 8
    assert graph.n_edges == 8


def test_parents_come_strongest_first():
    # Into L2/0: weight 2 from 0, 1 from 1, -1 from 2; the tie goes to the lower index.
    parents = hand_graph().parents(ConceptId(2, 0))
    assert parents.layer == 1
    assert len(parents) == 3
    assert parents.indices.tolist() == [0, 1, 2]
    assert parents.weights.tolist() == [2, 1, -1]
    np.testing.assert_allclose(parents.selection_rates, [1, 0.9, 0.85], rtol=1e-6)


def test_children_come_strongest_first():
    # From L2/1: weight 1 to L3/0 and -2 to L3/1.
    children = hand_graph().children(ConceptId(2, 1))
    assert children.layer == 3
    assert children.indices.tolist() == [1, 0]
    assert children.weights.tolist() == [-2, 1]
    np.testing.assert_allclose(children.selection_rates, [0.9, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "concept"),
    [("parents", "L1/1"), ("parents", "L2/2"), ("children", "L3/0")],
)
def test_concepts_without_edges(method, concept):
    edges = getattr(hand_graph(), method)(ConceptId.parse(concept))
    assert len(edges) == len(edges.weights) == len(edges.selection_rates) == 0


def test_edges_into_and_among():
    graph = hand_graph()
    parent, place, weight = graph.edges_into(np.array([1, 0]), 2)
    assert parent.tolist() == [1, 0, 1, 2]
    assert place.tolist() == [0, 1, 1, 1]
    assert weight.tolist() == [4, 2, 1, -1]
    # Both children, parents 2 and 1 only: sorted by child, then parent, whatever was given.
    parent, child, weight = graph.edges_among(np.array([2, 1]), np.array([1, 0]), 2)
    assert parent.tolist() == [1, 2, 1]
    assert child.tolist() == [0, 0, 1]
    assert weight.tolist() == [1, -1, 4]
    nothing = np.array([], dtype=np.int32)
    for left, right in ((nothing, [0, 1]), ([0, 1], nothing)):
        assert [len(part) for part in graph.edges_among(left, right, 2)] == [0, 0, 0]


def test_scores_by_hand():
    graph = hand_graph()
    # L2/0: -1 + 2 + 1 - 1 = 1; L2/1: -3 + 4 = 1; L2/2 has no predictor.
    np.testing.assert_allclose(graph.score(2, np.array([0, 1, 2])), [1, 1, np.nan])
    # L3/0: -2 + 3 + 1 = 2; L3/1: 0.5 - 2 = -1.5.
    np.testing.assert_allclose(graph.score(3, np.array([0, 1])), [2, -1.5])
    # Inputs 0.5 and 2: L2/0: -1 + 2 * 0.5 + 1 * 2 = 2; L2/1: -3 + 4 * 2 = 5.
    values = np.array([0.5, 2])
    chosen = graph.score(2, np.array([0, 1]), values, children=np.array([1, 0]))
    np.testing.assert_allclose(chosen, [5, 2])
    assert chosen.dtype == np.float32
    # No input: the intercepts.
    np.testing.assert_allclose(graph.score(3, np.array([], dtype=int)), [-2, 0.5])


def test_probabilities_by_hand():
    graph = hand_graph()
    # L2/0: σ(1·1 - 1) = 0.5; L2/1: σ(0.5·1 + 0) = 0.6224593.
    np.testing.assert_allclose(
        graph.probability(2, np.array([0, 1, 2])), [0.5, 0.6224593, np.nan], rtol=1e-6
    )
    # L3/0: σ(1·2 + 0) = 0.8807971; L3/1: σ(2·(-1.5) + 1) = σ(-2) = 0.1192029.
    p = graph.probability(3, np.array([0, 1]), children=np.array([1, 0]))
    np.testing.assert_allclose(p, [0.1192029, 0.8807971], rtol=1e-6)


def test_rows_and_records():
    graph = hand_graph()
    assert graph.concept_row(ConceptId(1, 0)) == 0
    assert graph.concept_row(ConceptId(3, 1)) == 7
    record = graph.record(ConceptId(2, 1))
    assert record.concept == ConceptId(2, 1)
    assert (record.n_train, record.n_tune, record.n_held_out) == (50, 3, 4)
    assert (record.intercept, record.slope, record.offset) == (-3, 0.5, 0)
    assert record.fitted is True
    assert np.isnan(graph.record(ConceptId(1, 2)).intercept)
    np.testing.assert_allclose(graph.column(3, "slope"), [1, 2])
    np.testing.assert_allclose(graph.prevalence(2), [0.4, 0.5, 0])


def test_prevalence_is_unknown_without_the_number_of_training_images():
    graph = ConceptGraph.from_tables(concept_table([2], n_train_images=None), edge_table([]))
    assert np.isnan(graph.prevalence(1)).all()
    assert graph.n_edges == 0


def test_a_graph_without_edges():
    graph = ConceptGraph.from_tables(hand_tables()[0], edge_table([]))
    assert graph.n_edges == 0
    assert len(graph.parents(ConceptId(2, 0))) == len(graph.children(ConceptId(2, 0))) == 0
    np.testing.assert_allclose(graph.score(3, np.array([0, 1])), [-2, 0.5])


def test_sorted_tables_are_used_without_a_copy():
    concepts, edges = hand_tables()
    graph = ConceptGraph.from_tables(concepts, edges)
    weights = edges.column("weight").chunk(0).to_numpy()
    assert np.shares_memory(graph.weight_matrix(3).data, weights)
    assert np.shares_memory(graph.column(2, "n_train"), concepts["n_train"].chunk(0).to_numpy())


def test_tables_in_several_chunks_and_wider_types():
    concepts, edges = hand_tables()
    wide = pa.schema([("parent_layer", pa.int64()), ("parent", pa.int64())])
    wide = [wide.field(f.name) if f.name in wide.names else f for f in edges.schema]
    edges = pa.concat_tables([edges.slice(0, 3), edges.slice(3)]).cast(pa.schema(wide))
    graph = ConceptGraph.from_tables(concepts, edges)
    np.testing.assert_array_equal(
        graph.weight_matrix(2).toarray(), [[2, 1, -1], [0, 4, 0], [0, 0, 0]]
    )


@settings(max_examples=60, deadline=None)
@given(made=graphs, data=st.data())
def test_agrees_with_dense_matrices(made, data):
    graph, weights = made
    assert graph.n_edges == sum(np.count_nonzero(dense) for dense in weights)
    for child_layer, dense in enumerate(weights, start=2):
        n_children, n_parents = dense.shape
        np.testing.assert_array_equal(graph.weight_matrix(child_layer).toarray(), dense)
        for child in range(n_children):
            found = graph.parents(ConceptId(child_layer, child))
            _check_edge_list(found, dense[child])
        for parent in range(n_parents):
            found = graph.children(ConceptId(child_layer - 1, parent))
            _check_edge_list(found, dense[:, parent])
        left = np.flatnonzero(
            data.draw(st.lists(st.booleans(), min_size=n_parents, max_size=n_parents))
        )
        right = np.array(data.draw(st.permutations(range(n_children))))[: (n_children + 1) // 2]
        kept = np.zeros_like(dense)
        kept[np.ix_(right, left)] = dense[np.ix_(right, left)]
        parent, child, weight = graph.edges_among(left, right, child_layer)
        np.testing.assert_array_equal(np.stack([child, parent], axis=1), np.argwhere(kept))
        np.testing.assert_array_equal(weight, kept[child, parent])
        values = np.linspace(-1, 2, len(left))
        expected = graph.column(child_layer, "intercept") + dense[:, left] @ values
        np.testing.assert_allclose(
            graph.score(child_layer, left, values), expected, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            graph.score(child_layer, left, values, right), expected[right], rtol=1e-4, atol=1e-5
        )


def _check_edge_list(found, dense):
    """The edges are the nonzeros of a dense row or column, by falling absolute weight."""
    assert sorted(found.indices) == np.flatnonzero(dense).tolist()
    np.testing.assert_array_equal(found.weights, dense[found.indices])
    assert (np.diff(np.abs(found.weights)) <= 0).all()


def test_selection_rates_stay_with_their_edges():
    # The rate of every edge names it: 0.1 times child plus 0.01 times parent.
    edges = [(1, p, c, 1.0 + p, 0.1 * c + 0.01 * p) for p in range(4) for c in range(5)]
    graph = ConceptGraph.from_tables(concept_table([4, 5]), edge_table(edges))
    for child in range(5):
        found = graph.parents(ConceptId(2, child))
        np.testing.assert_allclose(found.selection_rates, 0.1 * child + 0.01 * found.indices, 1e-5)
    for parent in range(4):
        found = graph.children(ConceptId(1, parent))
        np.testing.assert_allclose(found.selection_rates, 0.1 * found.indices + 0.01 * parent, 1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda g: g.parents(ConceptId(2, 3)),
            r"no concept L2/3: layer 2 has L2/0 to L2/2.*1 to 3",
        ),
        (lambda g: g.children(ConceptId(1, -1)), "no concept L1/-1"),
        (lambda g: g.record(ConceptId(4, 0)), "no layer 4 here: concepts are in layers 1 to 3"),
        (lambda g: g.concept_row(ConceptId(2, 0, "patch")), "P2/0 is a patch concept.*class token"),
        (lambda g: g.n_concepts(0), "no layer 0"),
        (lambda g: g.score(1, np.array([0])), "no layer 1 here: children are in layers 2 to 3"),
        (lambda g: g.score(2, np.array([0, 7])), "no concept L1/7"),
        (lambda g: g.edges_into(np.array([5]), 2), "no concept L2/5"),
        (lambda g: g.edges_among(np.array([-2]), np.array([0]), 2), "no concept L1/-2"),
    ],
)
def test_what_does_not_exist_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(hand_graph())


def test_values_must_match_their_indices():
    with pytest.raises(DataError, match=r"2 inputs were named and values of shape \(3,\)"):
        hand_graph().score(2, np.array([0, 1]), np.ones(3))


def _with(table, name, values):
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(values))


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ((1, 3, 0, 1.0, 1.0), "edge L1/3 -> L2/0 has a parent that is not in the table"),
        ((1, 0, 3, 1.0, 1.0), "edge L1/0 -> L2/3 has a child that is not in the table"),
        ((1, -1, 0, 1.0, 1.0), "edge L1/-1 -> L2/0 has a parent"),
        ((3, 0, 0, 1.0, 1.0), "edge L3/0 -> L4/0 leaves the layers 1 to 3"),
        ((0, 0, 0, 1.0, 1.0), "edge L0/0 -> L1/0 leaves the layers 1 to 3"),
        ((1, 0, 2, float("nan"), 1.0), "edge L1/0 -> L2/2 has a weight that is not a finite"),
        ((1, 0, 2, float("inf"), 1.0), "has a weight that is not a finite number"),
        ((1, 0, 2, 1.0, 1.5), "has a selection rate outside 0 to 1"),
        ((1, 0, 2, 1.0, float("nan")), "has a selection rate outside 0 to 1"),
        ((2, 1, 1, 5.0, 1.0), "edge L2/1 -> L3/1 is listed twice"),
    ],
)
def test_wrong_edges_are_refused(edge, message):
    with pytest.raises(StudyError, match=f"{message}.*Build the graph of this study again"):
        ConceptGraph.from_tables(hand_tables()[0], edge_table([*HAND_EDGES, edge]))


@pytest.mark.parametrize("child_layer", [1, 3])
def test_edges_that_skip_a_layer_or_stay_in_it_are_refused(child_layer):
    edges = _with(edge_table([(1, 0, 0, 1.0, 1.0)]), "child_layer", [child_layer])
    message = f"edge L1/0 -> L{child_layer}/0 does not go from a layer to the next"
    with pytest.raises(StudyError, match=message):
        ConceptGraph.from_tables(hand_tables()[0], edges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, e: (c.drop_columns(["slope", "offset"]), e), "has no column slope, offset"),
        (lambda c, e: (c, e.drop_columns(["weight"])), "table of edges has no column weight"),
        (lambda c, e: (c.slice(0, 0), e), "table of concepts is empty"),
        (lambda c, e: (c.slice(3), e), "Layer 1 has no concepts"),
        (lambda c, e: (pa.concat_tables([c.slice(0, 4), c.slice(5)]), e), "layer 2 are not number"),
        (lambda c, e: (pa.concat_tables([c, c.slice(0, 1)]), e), "layer 1 are not numbered 0 to 3"),
        (lambda c, e: (_with(c, "layer", [0, 0, 0, 1, 1, 1, 2, 2]), e), "first layer is 1"),
        (lambda c, e: (_with(c, "kind", ["patch"] * 8), e), "holds concepts of kind patch"),
        (lambda c, e: (c, _with(e, "child_kind", ["output"] * 8)), "of kind output"),
        (lambda c, e: (_with(c, "n_train", [None] + [1] * 7), e), "n_train .* has empty cells"),
        (lambda c, e: (c, _with(e, "parent", ["a"] * 8)), "parent .* is string, not int32"),
        (
            lambda c, e: (c.replace_schema_metadata({"n_train_images": "69"}), e),
            "active in 70 of 69 training images",
        ),
    ],
)
def test_wrong_tables_are_refused(change, message):
    with pytest.raises(StudyError, match=message):
        ConceptGraph.from_tables(*change(*hand_tables()))
