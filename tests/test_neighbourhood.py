"""What lies around a concept: by hand, and against networkx where the beam is wide."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import pytest
from graph_examples import hand_graph, random_graph, to_networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.neighbourhood import neighbourhood
from cgraph.subgraph import induced


def test_by_hand():
    found = neighbourhood(hand_graph(), ConceptId(2, 0), up=1, down=1, beam=2)
    # Into L2/0: shares 2/4, 1/4, 1/4; the tie goes to the smaller index. On to L3/0: 3 of 6.
    assert [ring.layer for ring in found.rings] == [1, 2, 3]
    assert [list(map(str, ring.concepts)) for ring in found.rings] == [
        ["L1/0", "L1/1"],
        ["L2/0"],
        ["L3/0"],
    ]
    assert [ring.n_found for ring in found.rings] == [3, 1, 1]
    assert found.rings[0].strengths == pytest.approx((0.5, 0.25))
    assert found.strength[ConceptId(3, 0)] == pytest.approx(0.5)
    assert [(str(e.parent), str(e.child)) for e in found.part.edges] == [
        ("L1/0", "L2/0"),
        ("L1/1", "L2/0"),
        ("L2/0", "L3/0"),
    ]


def test_a_path_leads_to_the_centre():
    found = neighbourhood(hand_graph(), ConceptId(3, 0), up=2, down=2, beam=3)
    # L1/1 reaches L3/0 by L2/0 (1/4 · 3/6) and by L2/1 (1 · 1/6): the second is stronger.
    assert found.strength[ConceptId(1, 1)] == pytest.approx(1 / 6)
    assert found.path(ConceptId(1, 1)) == [
        (ConceptId(1, 1), ConceptId(2, 1)),
        (ConceptId(2, 1), ConceptId(3, 0)),
    ]
    assert found.path(found.centre) == []


def test_edges_worth_drawing_keep_the_paths():
    graph, _ = random_graph([6, 6, 6, 6], 0.8, seed=1)
    found = neighbourhood(graph, ConceptId(3, 2), up=2, down=1, beam=5)
    on_paths = set(found.toward.values())
    edges, n_hidden = found.strongest_edges(len(on_paths) + 3)
    assert len(edges) == len(on_paths) + 3 and n_hidden == len(found.part.edges) - len(edges)
    assert on_paths <= {edge.ends for edge in edges}
    others = [abs(edge.weight) for edge in found.part.edges if edge.ends not in on_paths]
    assert [abs(e.weight) for e in edges[len(on_paths) :]] == sorted(others, reverse=True)[:3]
    assert found.strongest_edges(1)[0] == edges[: len(on_paths)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    seed=st.integers(0, 2**16),
    density=st.sampled_from([0.3, 1.0]),
    sign=st.sampled_from(["both", "raises"]),
    hops=st.integers(1, 3),
    data=st.data(),
)
def test_a_wide_beam_finds_all_within_reach(sizes, seed, density, sign, hops, data):
    graph, _ = random_graph(sizes, density, seed)
    of = to_networkx(graph, sign)
    centre = data.draw(st.sampled_from(sorted(of.nodes)))
    found = neighbourhood(graph, centre, up=hops, down=hops, beam=99, sign=sign)
    kept = {concept for ring in found.rings for concept in ring.concepts}
    forth = nx.single_source_shortest_path_length(of, centre, cutoff=hops)
    back = nx.single_source_shortest_path_length(of.reverse(), centre, cutoff=hops)
    assert kept == {*forth, *back}
    assert all(ring.n_found == len(ring.concepts) for ring in found.rings)
    induced_there = of.subgraph(kept)
    assert {edge.ends for edge in found.part.edges} == set(induced_there.edges)
    for concept in kept - {centre}:
        ends = sorted([concept, centre])
        strengths = [
            math.prod(of.edges[e]["share"] for e in itertools.pairwise(path))
            for path in nx.all_simple_paths(of, *ends)
        ]
        assert found.strength[concept] == pytest.approx(max(strengths))
        walked = math.prod(of.edges[e]["share"] for e in found.path(concept))
        assert walked == pytest.approx(found.strength[concept])


def test_a_narrow_beam_counts_what_it_leaves_out():
    graph, weights = random_graph([9, 8, 7], 1.0, seed=2)
    found = neighbourhood(graph, ConceptId(3, 4), up=2, down=2, beam=2)
    assert [(ring.layer, len(ring.concepts), ring.n_found) for ring in found.rings] == [
        (1, 2, 9),
        (2, 2, 8),
        (3, 1, 1),
    ]
    strongest = sorted(range(8), key=lambda i: -abs(weights[1][4, i]))[:2]
    assert [concept.index for concept in found.rings[1].concepts] == strongest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up": 4}, "up is 4: it must be between 0 and 3 layers"),
        ({"down": -1}, "down is -1"),
        ({"beam": 0}, "beam is 0: it must keep at least 1"),
        ({"sign": "up"}, "sign is 'up'"),
    ],
)
def test_limits_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        neighbourhood(hand_graph(), ConceptId(2, 0), **options)


def test_a_concept_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="no concept L2/9"):
        neighbourhood(hand_graph(), ConceptId(2, 9))
    with pytest.raises(ConfigError, match="no concept L2/9"):
        induced(hand_graph(), [ConceptId(2, 9)])


def test_induced_edges_by_hand():
    part = induced(hand_graph(), [ConceptId(2, 1), ConceptId(1, 1), ConceptId(3, 1)])
    assert [(str(e.parent), str(e.child), e.weight, e.share) for e in part.edges] == [
        ("L1/1", "L2/1", 4.0, 1.0),
        ("L2/1", "L3/1", -2.0, 1.0),
    ]
    assert part.edges[1].selection_rate == pytest.approx(0.9)
    apart = induced(hand_graph(), [ConceptId(1, 1), ConceptId(3, 1)])
    assert apart.edges == () and len(apart.concepts) == 2
