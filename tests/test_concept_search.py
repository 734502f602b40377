"""Finding concepts by name, attribute or id, and reading sets."""

from __future__ import annotations

import pytest
from graph_examples import hand_graph

from cgraph.concept import ConceptId
from cgraph.concept_search import Named
from cgraph.errors import ConfigError
from cgraph.naming import ConceptName


def name(text, attribute, value, strength=0.5, second=None):
    return ConceptName(text, attribute, value, strength, strength, second)


NAMED = Named(
    hand_graph(),
    {
        ConceptId(1, 0): name("purple", "colour", "purple", 0.6),
        ConceptId(1, 1): name("sand 2", "ground", "sand", 0.9),
        ConceptId(2, 0): name("purple", "colour", "purple", 0.8),
        ConceptId(2, 1): name("sand, purple", "ground", "sand", 0.7, ("colour", "purple")),
        ConceptId(3, 0): name("Purple ring", "shape", "ring", 0.9),
    },
)


def found(text):
    return [str(concept) for concept in NAMED.search(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L2/1", ["L2/1"]),
        (" l2/1 ", ["L2/1"]),
        ("L2/9", []),
        ("L9/0", []),
        ("L3", ["L3/0", "L3/1"]),
        ("L9", []),
        ("1", ["L1/1", "L2/1", "L3/1"]),
        ("2 L2", ["L2/2"]),
        # Whole names first, the better match before the others; then names that begin so.
        ("purple", ["L2/0", "L1/0", "L3/0", "L2/1"]),
        ("PURPLE L2", ["L2/0", "L2/1"]),
        ("colour=purple", ["L2/0", "L1/0", "L2/1"]),
        ("ground sand", ["L1/1", "L2/1"]),
        ("sand 2", ["L1/1"]),
        ("ring", ["L3/0"]),
        ("green", []),
        ("", []),
        ("   ", []),
    ],
)
def test_search(text, expected):
    assert found(text) == expected


GROUPS = {"my ring": (ConceptId(3, 0), ConceptId(2, 2))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L2/1", ["L2/1"]),
        ("L2/1, L1/0,L2/1", ["L1/0", "L2/1"]),
        ("L2", ["L2/0", "L2/1", "L2/2"]),
        ("purple", ["L1/0", "L2/0"]),
        ("Purple in L2", ["L2/0"]),
        ("colour=purple", ["L1/0", "L2/0", "L2/1"]),
        ("colour = purple in l1", ["L1/0"]),
        ("sand", ["L1/1", "L2/1"]),
        ("sand 2", ["L1/1"]),
        ("My Ring", ["L2/2", "L3/0"]),
        ("ring, L1/2", ["L1/2", "L3/0"]),
    ],
)
def test_sets(text, expected):
    assert [str(concept) for concept in NAMED.read_set(text, GROUPS)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No concept is named. Write an id such as L7/609"),
        (" , ", "No concept is named"),
        ("L2/9", "There is no concept L2/9"),
        ("L9", "There is no layer 9"),
        ("purple in L9", "There is no layer 9"),
        ("P2/1", "P2/1 is a patch concept"),
        ("purpel", "'purpel' is no concept, group, attribute or name here. Close to it: purple"),
        ("purple in L3", "'purple in L3' is no concept"),
        ("<b>", "'<b>' is no concept"),
        ("L2/1, nothing", "'nothing' is no concept"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        NAMED.read_set(text, GROUPS)


def test_without_names_ids_are_found():
    bare = Named(hand_graph(), {})
    assert [str(concept) for concept in bare.search("L3/1")] == ["L3/1"]
    assert bare.search("purple") == ()
    with pytest.raises(ConfigError, match="'purple' is no concept"):
        bare.read_set("purple")


class TestOtherNames:
    """Names given by hand or found by text, beside those by attribute."""

    named = Named(
        hand_graph(),
        {ConceptId(1, 0): name("purple", "colour", "purple", 0.6)},
        {ConceptId(1, 0): "Violet things", ConceptId(2, 1): "violet"},
    )

    def test_search_finds_both(self):
        assert self.named.search("violet") == (ConceptId(2, 1), ConceptId(1, 0))
        assert self.named.search("things") == (ConceptId(1, 0),)
        assert self.named.search("colour=purple") == (ConceptId(1, 0),)

    def test_sets_take_both(self):
        assert self.named.read_set("Violet") == (ConceptId(2, 1),)
        assert self.named.read_set("violet things in L1") == (ConceptId(1, 0),)
        assert self.named.read_set("purple") == (ConceptId(1, 0),)
        with pytest.raises(ConfigError, match="Close to it: violet"):
            self.named.read_set("violett")
