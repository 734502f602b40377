"""Tests of drawing orders: crossings counted by hand, never more of them than before."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.ordering import count_crossings, order_layers
from cgraph.trace import ActiveConcept, Trace, TraceEdge


def trace_of(sizes, edges):
    """Return a trace whose edges are given as (parent layer, parent, child, contribution)."""
    layers = tuple(
        tuple(ActiveConcept(ConceptId(layer, i), 1.0, None, None, 0, 0) for i in range(n))
        for layer, n in enumerate(sizes, start=1)
    )
    edges = tuple(
        TraceEdge(ConceptId(layer, p), ConceptId(layer + 1, c), pull, pull, 0.0)
        for layer, p, c, pull in edges
    )
    return Trace(layers, edges, None, "x", "s")


def own_order(trace):
    return [tuple(active.concept for active in layer) for layer in trace.layers]


@st.composite
def traces(draw):
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    pulls = st.sampled_from([0.0, 1.0, -2.0, 0.5])
    edges = [
        (layer, p, c, draw(pulls))
        for layer in range(1, len(sizes))
        for p, c in itertools.product(range(sizes[layer - 1]), range(sizes[layer]))
        if draw(st.booleans())
    ]
    return trace_of(sizes, edges)


@pytest.mark.parametrize(
    ("sizes", "pairs", "crossings"),
    [
        ([2, 2], [(0, 0), (1, 1)], 0),
        ([2, 2], [(0, 1), (1, 0)], 1),
        ([1, 3], [(0, 0), (0, 1), (0, 2)], 0),  # edges of one parent never cross
        ([3, 3], [(0, 2), (1, 1), (2, 0)], 3),  # each pair crosses
        # Every edge there can be: each two parents and two children make one crossing, 3 · 3.
        ([3, 3], [(p, c) for p in range(3) for c in range(3)], 9),
        ([2, 2], [], 0),
    ],
)
def test_crossings_by_hand(sizes, pairs, crossings):
    trace = trace_of(sizes, [(1, p, c, 1.0) for p, c in pairs])
    assert count_crossings(own_order(trace), trace.edges) == crossings


def test_edges_between_different_layers_do_not_cross():
    trace = trace_of([2, 2, 2], [(1, 0, 1, 1.0), (2, 1, 0, 1.0)])
    assert count_crossings(own_order(trace), trace.edges) == 0


@settings(deadline=None)
@given(trace=traces())
def test_crossings_agree_with_a_check_of_every_pair(trace):
    expected = sum(
        a.child.layer == b.child.layer
        and (a.parent.index - b.parent.index) * (a.child.index - b.child.index) < 0
        for a, b in itertools.combinations(trace.edges, 2)
    )
    assert count_crossings(own_order(trace), trace.edges) == expected


def test_a_crossed_ladder_is_untangled():
    # Children hang under their parents in reverse; one sweep turns them round.
    trace = trace_of([4, 4, 4], [(layer, i, 3 - i, 1.0) for layer in (1, 2) for i in range(4)])
    assert count_crossings(own_order(trace), trace.edges) == 12
    assert count_crossings(order_layers(trace), trace.edges) == 0


def test_children_are_pulled_by_absolute_contribution():
    # L2/0 hangs by 9 under L1/2 and by 1 under L1/0: at (2·9 + 0·1) / 10 = 1.8, right of L2/1
    # at 1. By number of edges alone both would be at 1 and stay.
    edges = [(1, 0, 0, 1.0), (1, 2, 0, -9.0), (1, 1, 1, 1.0), (1, 0, 1, 0.01), (1, 2, 1, 0.01)]
    orders = order_layers(trace_of([3, 3], [*edges, (1, 0, 2, 5.0)]))
    assert orders[1].index(ConceptId(2, 1)) < orders[1].index(ConceptId(2, 0))


def test_concepts_without_edges_stay_where_they_are():
    orders = order_layers(trace_of([2, 4], [(1, 0, 1, 1.0), (1, 1, 0, 1.0)]))
    assert [concept.index for concept in orders[1]] == [1, 0, 2, 3]


def test_only_drawn_edges_count():
    trace = trace_of([2, 2], [(1, 0, 1, 1.0), (1, 1, 0, 1.0), (1, 0, 0, 9.0), (1, 1, 1, 9.0)])
    assert order_layers(trace, trace.edges[2:]) == own_order(trace)
    drawn = trace.edges[:2]
    assert count_crossings(order_layers(trace, drawn), drawn) == 0


@settings(max_examples=150, deadline=None)
@given(trace=traces())
def test_orders_are_permutations_with_no_more_crossings(trace):
    start = own_order(trace)
    orders = order_layers(trace)
    assert [sorted(order) for order in orders] == [sorted(order) for order in start]
    assert count_crossings(orders, trace.edges) <= count_crossings(start, trace.edges)
    assert order_layers(trace) == orders


def test_a_planted_order_is_nearly_found_again():
    # Twelve layers of ten whose concepts connect to near neighbours, then shuffled.
    rng = np.random.default_rng(0)
    place = [rng.permutation(10) for _ in range(12)]
    edges = [
        (layer, p, c, 1.0)
        for layer in range(1, 12)
        for p, c in itertools.product(range(10), range(10))
        if abs(int(place[layer - 1][p]) - int(place[layer][c])) <= 1
    ]
    trace = trace_of([10] * 12, edges)
    planted = [
        tuple(sorted(order, key=lambda concept, at=at: at[concept.index]))
        for order, at in zip(own_order(trace), place, strict=True)
    ]
    fewest = count_crossings(planted, edges := trace.edges)
    found = count_crossings(order_layers(trace), edges)
    assert found < 0.25 * count_crossings(own_order(trace), edges)
    assert found >= fewest
