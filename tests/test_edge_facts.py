"""What was measured of an edge is found by its ends, in any graph that a filter made."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from graph_examples import hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_graph import EDGES, EFFECTS, ORIGINS, VERDICTS, WORTH, evidence_table, hand_facts

from cgraph import edge_facts
from cgraph import truth_tables as words
from cgraph.concept import ConceptId
from cgraph.edge_facts import FIELDS, EdgeFact, EdgeFacts
from cgraph.errors import StudyError


def test_every_edge_has_its_own():
    facts = hand_facts()
    assert facts and facts.fields == tuple(FIELDS)
    for row, (layer, parent, child) in enumerate(EDGES):
        found = facts.of(ConceptId(layer, parent), ConceptId(layer + 1, child))
        assert (found.verdict, found.origin) == (VERDICTS[row], ORIGINS[row])
        np.testing.assert_equal((found.effect, found.worth), (EFFECTS[row], WORTH[row]))
    first = facts.of(ConceptId(1, 0), ConceptId(2, 0))
    assert first == EdgeFact("specific", 0.5, 0.25, 0.75, 32, "carried", 0.125, True, True)
    assert first.has_effect


def test_what_is_not_known_is_none():
    unknown = hand_facts().of(ConceptId(2, 1), ConceptId(3, 0))
    assert not unknown.has_effect
    assert unknown.known() == {
        "verdict": "not measured", "effect": None, "effect_low": None, "effect_high": None,
        "n_images": 3, "origin": None, "worth": 0.0, "found_again": True, "found_again_bags": True,
    }  # fmt: skip
    alone = hand_facts("worth")
    assert alone.fields == ("worth",)
    assert alone.of(ConceptId(2, 1), ConceptId(3, 0)).known() == {"worth": 0.0}


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (ConceptId(1, 2), ConceptId(2, 1)),  # between an edge's parent and the next child's
        (ConceptId(1, 0), ConceptId(2, 2)),  # no predictor
        (ConceptId(1, 0), ConceptId(3, 0)),
        (ConceptId(3, 0), ConceptId(4, 0)),
        (ConceptId(2, 0), ConceptId(1, 0)),
    ],
)
def test_no_edge_has_nothing(parent, child):
    assert hand_facts().of(parent, child) is None


def test_nothing_measured_is_nothing():
    facts = EdgeFacts.read(hand_graph(), lambda name: None)
    assert not facts and facts.fields == ()
    assert facts.of(ConceptId(1, 0), ConceptId(2, 0)) is None
    assert facts.taken(np.arange(8)) == {}


def test_columns_of_some_edges():
    facts, graph = hand_facts(), hand_graph()
    edges = graph.layer_edges(3).select(np.array([False, True, False, True]))
    places = facts.places(3, edges.parents, edges.children)
    assert places.tolist() == [5, 7]
    taken = {name: column.to_pylist() for name, column in facts.taken(places).items()}
    assert list(taken) == list(FIELDS)
    assert taken["verdict"] == ["not measured", "supported"]
    assert taken["origin"] == [None, "computed"] and taken["effect"] == [None, 0.375]
    assert facts.into(3, "found_again").tolist() == [False, True, False, True]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_places_agree_with_a_list_of_all_edges(sizes, density, seed):
    graph, weights = random_graph(sizes, density, seed)
    every = [
        (ConceptId(layer - 1, int(parent)), ConceptId(layer, int(child)))
        for layer, dense in enumerate(weights, start=2)
        for child, parent in np.argwhere(dense)
    ]
    facts = EdgeFacts(graph, {})
    for parent, child in every:
        assert facts.place(parent, child) == every.index((parent, child))
    for layer, dense in enumerate(weights, start=2):
        for child, parent in np.argwhere(dense == 0):
            ends = ConceptId(layer - 1, int(parent)), ConceptId(layer, int(child))
            assert facts.place(*ends) is None
        edges = graph.layer_edges(layer)
        some = np.random.default_rng(seed).permutation(len(edges.weights))[:5]
        found = facts.places(layer, edges.parents[some], edges.children[some])
        n_before = sum(child.layer < layer for _, child in every)
        assert found.tolist() == (some + n_before).tolist()


def test_a_table_of_another_graph_is_refused():
    table = evidence_table()
    shifted = table.slice(1)
    with pytest.raises(StudyError, match=r"'evidence' is of other edges .* --only evidence` again"):
        EdgeFacts.read(hand_graph(), lambda name: shifted if name == "evidence" else None)
    swapped = table.take(pa.array([1, 0, *range(2, 8)]))
    with pytest.raises(StudyError, match="parent differs"):
        EdgeFacts.read(hand_graph(), lambda name: swapped if name == "evidence" else None)


@pytest.mark.parametrize("long", [0, 100])
def test_a_strange_verdict_is_refused(long, monkeypatch):
    monkeypatch.setattr(edge_facts, "_LONG_COLUMN", long)
    assert hand_facts().of(ConceptId(1, 2), ConceptId(2, 0)).verdict == "contradicted"
    table = evidence_table()
    place = table.schema.get_field_index("verdict")
    table = table.set_column(place, "verdict", pa.array(["proven"] * 8))
    with pytest.raises(StudyError, match="says 'proven', where 'specific', 'supported'"):
        EdgeFacts.read(hand_graph(), lambda name: table if name == "evidence" else None)
    assert words.VERDICTS[0] == "specific"
