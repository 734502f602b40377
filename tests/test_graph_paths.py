"""Strongest paths: by hand, against every path there is, and against networkx."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph, to_networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.graph_paths import strongest_paths


def ids(text):
    return [ConceptId.parse(part) for part in text.split()]


def every_path(of, sources, targets):
    """Return every path whose inner concepts are neither sources nor targets, with its strength."""
    found = {}
    for source, target in itertools.product(sources, targets):
        if source == target:
            continue
        for path in nx.all_simple_paths(of, source, target):
            if not set(path[1:-1]) & {*sources, *targets} and path[-1] in targets:
                shares = [of.edges[ends]["share"] for ends in itertools.pairwise(path)]
                found[tuple(path)] = math.prod(shares)
    # A path that enters another source is answered from there.
    return {path: s for path, s in found.items() if path[-1] in targets or path[-1] not in sources}


def test_paths_by_hand():
    # L1/1 -> L2/0 has 1 of 3, L1/1 -> L2/1 all; L2/0 -> L3/0 has 3 of 6, L2/1 -> L3/0 1 of 6.
    answer = strongest_paths(hand_graph(), ids("L1/1"), ids("L3/0"))
    assert [[str(c) for c in path.concepts] for path in answer.paths] == [
        ["L1/1", "L2/0", "L3/0"],
        ["L1/1", "L2/1", "L3/0"],
    ]
    assert [path.strength for path in answer.paths] == pytest.approx([1 / 3 * 3 / 6, 1 / 6])
    assert [path.min_weight for path in answer.paths] == [1.0, 1.0]
    assert all(path.raises for path in answer.paths)
    assert answer.reached == ((1, 1), (2, 2), (3, 1))
    assert answer.leading == ((1, 2), (2, 3), (3, 1))
    assert [str(concept) for concept in answer.part.concepts] == ["L1/1", "L2/0", "L2/1", "L3/0"]
    assert [(str(e.parent), str(e.child), e.weight) for e in answer.part.edges] == [
        ("L1/1", "L2/0", 1.0),
        ("L1/1", "L2/1", 4.0),
        ("L2/0", "L3/0", 3.0),
        ("L2/1", "L3/0", 1.0),
    ]


def test_only_the_strongest_are_returned():
    answer = strongest_paths(hand_graph(), ids("L1/1"), ids("L3/0"), n=1)
    # Both have 1/6; the first of equals has the smaller concepts.
    assert [str(c) for c in answer.paths[0].concepts] == ["L1/1", "L2/0", "L3/0"]


def test_signs_decide_what_is_followed():
    graph = hand_graph()
    assert strongest_paths(graph, ids("L1/0"), ids("L3/1")).paths == ()
    both = strongest_paths(graph, ids("L1/1"), ids("L3/1"), sign="both").paths
    assert [str(c) for c in both[0].concepts] == ["L1/1", "L2/1", "L3/1"]
    assert both[0].strength == 1 and not both[0].raises and both[0].min_weight == 2
    assert strongest_paths(graph, ids("L1/2"), ids("L3/0"), sign="lowers").paths == ()


def test_no_path_says_how_far_one_comes():
    # Raising edges only: L3/1 has none, so nothing leads to it.
    answer = strongest_paths(hand_graph(), ids("L1/0"), ids("L3/1"))
    assert answer.paths == ()
    assert answer.reached == ((1, 1), (2, 1), (3, 1))
    assert answer.leading == ((1, 0), (2, 0), (3, 1))
    # Against the direction of the edges, and within a layer.
    for start, end in (("L3/0", "L1/0"), ("L2/0", "L2/1"), ("L2/0", "L2/0")):
        assert strongest_paths(hand_graph(), ids(start), ids(end)).paths == ()


def test_inner_concepts_are_neither_sources_nor_targets():
    graph = hand_graph()
    answer = strongest_paths(graph, ids("L1/0 L2/0"), ids("L3/0"), n=10)
    assert [[str(c) for c in path.concepts] for path in answer.paths] == [["L2/0", "L3/0"]]
    answer = strongest_paths(graph, ids("L1/0"), ids("L2/0 L3/0"), n=10)
    assert [[str(c) for c in path.concepts] for path in answer.paths] == [["L1/0", "L2/0"]]
    # A set led to itself: from one of its members to the next.
    same = ids("L1/1 L2/1 L3/0")
    answer = strongest_paths(graph, same, same, n=10)
    assert {tuple(map(str, path.concepts)) for path in answer.paths} == {
        ("L1/1", "L2/1"),
        ("L2/1", "L3/0"),
        ("L1/1", "L2/0", "L3/0"),
    }


@settings(max_examples=80, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16), density=st.sampled_from([0.2, 0.5, 1.0]))
def test_agrees_with_every_path(data, seed, density):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    sign = data.draw(st.sampled_from(["raises", "lowers", "both"]))
    n = data.draw(st.integers(1, 12))
    graph, _ = random_graph(sizes, density, seed)
    everybody = [ConceptId(layer, i) for layer, s in enumerate(sizes, 1) for i in range(s)]
    sources = data.draw(st.lists(st.sampled_from(everybody), min_size=1, max_size=3, unique=True))
    targets = data.draw(st.lists(st.sampled_from(everybody), min_size=1, max_size=3, unique=True))
    of = to_networkx(graph, sign)
    expected = every_path(of, sources, targets)
    answer = strongest_paths(graph, sources, targets, n=n, sign=sign)
    strengths = sorted(expected.values(), reverse=True)[:n]
    assert [path.strength for path in answer.paths] == pytest.approx(strengths, rel=1e-9)
    assert len({path.concepts for path in answer.paths}) == len(answer.paths)
    for path in answer.paths:
        assert path.strength == pytest.approx(expected[path.concepts], rel=1e-9)
    # Reachability, from outside our code; a concept does not reach itself.
    reaches = any(nx.has_path(of, s, t) for s, t in itertools.product(sources, targets) if s != t)
    assert bool(answer.paths) == reaches
    after = {c for s in sources for c in nx.descendants(of, s)} | set(sources)
    before = {c for t in targets for c in nx.ancestors(of, t)} | set(targets)
    span = range(min(c.layer for c in sources), max(c.layer for c in targets) + 1)
    assert answer.reached == tuple((i, sum(c.layer == i for c in after)) for i in span)
    assert answer.leading == tuple((i, sum(c.layer == i for c in before)) for i in span)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), sign=st.sampled_from(["raises", "lowers", "both"]))
def test_paths_from_one_layer_into_one_concept_add_up_to_at_most_one(seed, sign):
    graph, _ = random_graph([3, 3, 3, 2], 0.8, seed)
    for source_layer in (1, 2, 3):
        sources = [ConceptId(source_layer, i) for i in range(3)]
        answer = strongest_paths(graph, sources, [ConceptId(4, 0)], n=50, sign=sign)
        total = sum(path.strength for path in answer.paths)
        assert total <= 1 + 1e-9
        # Nothing is lost where every concept on the way has an edge of the kind.
        if source_layer == 3 and answer.paths:
            assert total == pytest.approx(1)


def test_agrees_with_the_shortest_simple_paths_of_networkx():
    graph, _ = random_graph([12, 12, 12, 12, 12], 0.4, seed=11)
    of = to_networkx(graph, "raises")
    source, target = ConceptId(1, 3), ConceptId(5, 7)
    expected = itertools.islice(nx.shortest_simple_paths(of, source, target, weight="cost"), 20)
    costs = [nx.path_weight(of, path, "cost") for path in expected]
    answer = strongest_paths(graph, [source], [target], n=20)
    assert [-math.log(path.strength) for path in answer.paths] == pytest.approx(costs)


def test_equal_strengths_do_not_hide_one_another():
    # 3 ^ 8 paths of one strength: those asked for come at once, each another one.
    sizes = [1, *[3] * 8, 1]
    edges = [
        (layer, p, c, 1.0, 1.0)
        for layer in range(1, len(sizes))
        for p in range(sizes[layer - 1])
        for c in range(sizes[layer])
    ]
    graph = ConceptGraph.from_tables(concept_table(sizes), edge_table(edges))
    answer = strongest_paths(graph, ids("L1/0"), ids("L10/0"), n=50)
    assert len({path.concepts for path in answer.paths}) == 50
    assert [path.strength for path in answer.paths] == pytest.approx([3.0**-8] * 50)


@pytest.mark.parametrize(
    ("sources", "targets", "options", "message"),
    [
        ("", "L3/0", {}, "no concept to start from. Name one"),
        ("L1/0", "", {}, "no concept to end at"),
        ("L1/9", "L3/0", {}, "There is no concept L1/9"),
        ("L1/0", "L9/0", {}, "There is no layer 9"),
        ("L1/0", "L3/0", {"n": 0}, "0 paths are asked for: between 1 and 50"),
        ("L1/0", "L3/0", {"sign": "up"}, "sign is 'up'"),
    ],
)
def test_what_makes_no_sense_is_refused(sources, targets, options, message):
    with pytest.raises(ConfigError, match=message):
        strongest_paths(hand_graph(), ids(sources), ids(targets), **options)
