"""What the link of the Graph page may say, and what is left out of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from graph_examples import hand_graph
from hypothesis import given
from hypothesis import strategies as st
from measured_graph import hand_concepts, hand_facts

from cgraph.concept import ConceptId
from cgraph.edge_filter import EDGE_ORIGINS, EVIDENCE, FOUND_AGAIN, EdgeFilter
from cgraph.ui.graph_query import KEYS, VIEWS, GraphQuery, check, check_wanted, parse, to_query

FULL = GraphQuery(
    view="paths",
    find="purple",
    pair=7,
    cell=(3, 60),
    centre=ConceptId(7, 60),
    hops=3,
    beam=12,
    sources="L1",
    targets="colour=purple in L7, L12/3",
    n_paths=24,
    both=True,
    wanted=EdgeFilter("raises", 0.5, 0.8, 0.01, 0.25, 0.95, "no effect", "carried", "concepts"),
)


def test_everything_survives_the_link() -> None:
    query = to_query(FULL)
    assert set(query) == set(KEYS)
    assert parse(query) == (FULL, [])


def test_what_is_usual_is_left_out_of_the_link() -> None:
    assert to_query(GraphQuery()) == {}
    assert parse({}) == (GraphQuery(), [])


@given(
    st.builds(
        GraphQuery,
        view=st.sampled_from([None, *VIEWS]),
        pair=st.none() | st.integers(2, 99),
        hops=st.integers(1, 3),
        beam=st.integers(1, 20),
        n_paths=st.integers(1, 50),
        both=st.booleans(),
        wanted=st.builds(
            EdgeFilter,
            sign=st.sampled_from(["both", "raises", "lowers"]),
            min_weight=st.integers(0, 1000).map(lambda n: n / 100),
            min_auc=st.integers(0, 100).map(lambda n: n / 100),
            evidence=st.sampled_from(EVIDENCE),
            origin=st.sampled_from(EDGE_ORIGINS),
            found_again=st.sampled_from(FOUND_AGAIN),
            max_prevalence=st.integers(0, 1000).map(lambda n: n / 1000),
        ),
    )
)
def test_any_view_survives_the_link(shown: GraphQuery) -> None:
    assert parse(to_query(shown)) == (shown, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("view", "matrix"),
        ("pair", "1"),
        ("pair", "x"),
        ("cell", "3"),
        ("cell", "3.x"),
        ("cell", "-1.3"),
        ("centre", "here"),
        ("hops", "4"),
        ("beam", "0"),
        ("beam", "99999999999999"),
        ("n", "51"),
        ("n", "²"),
        ("follow", "some"),
        ("sign", "plus"),
        ("weight", "-1"),
        ("weight", "nan"),
        ("weight", "1e400"),
        ("auc", "1.1"),
        ("rarest", "20 %"),
        ("commonest", "-0.1"),
        ("rate", "many"),
        ("evidence", "sure"),
        ("origin", "both"),
        ("again", "yes"),
    ],
)
def test_a_value_that_means_nothing_is_left_out(key: str, value: str) -> None:
    shown, remarks = parse({key: value})
    assert shown == GraphQuery()
    assert len(remarks) == 1 and f"{key}={value!r}" in remarks[0]


def test_a_text_that_is_too_long_is_left_out() -> None:
    shown, remarks = parse({"from": "L1/2," * 500, "to": "L3/4"})
    assert shown == GraphQuery(targets="L3/4")
    assert remarks == [
        "The link's 'from' has 2,500 letters, and at most 1,000 fit; it was left out."
    ]


def test_bounds_that_leave_nothing_are_left_out() -> None:
    shown, remarks = parse({"rarest": "0.5", "commonest": "0.2", "weight": "2"})
    assert shown == GraphQuery(wanted=EdgeFilter(min_weight=2))
    assert len(remarks) == 1 and "which none is" in remarks[0]


def test_what_the_graph_lacks_is_left_out() -> None:
    graph = hand_graph()
    asked = GraphQuery(pair=4, cell=(1, 1), centre=ConceptId(2, 9), hops=1)
    shown, remarks = check(asked, graph)
    assert shown == GraphQuery(hops=1)
    assert "no pair of layers 3 and 4: the last layer is 3" in remarks[0]
    assert "no concept L2/9" in remarks[1]
    fine = GraphQuery(pair=3, cell=(1, 1), centre=ConceptId(2, 1))
    assert check(fine, graph) == (fine, [])


def test_what_was_not_measured_is_left_out() -> None:
    of = SimpleNamespace(facts=hand_facts("evidence"), concepts=hand_concepts("evidence"))
    asked = GraphQuery(wanted=EdgeFilter("raises", evidence="specific", found_again="edges"))
    shown, remarks = check_wanted(asked, of)
    assert shown == GraphQuery(wanted=EdgeFilter("raises", evidence="specific"))
    assert len(remarks) == 1 and "cgraph evaluate STUDY --only stability" in remarks[0]
    of = SimpleNamespace(facts=hand_facts(), concepts=hand_concepts())
    assert check_wanted(asked, of) == (asked, [])
