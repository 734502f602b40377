"""What pages say of measured edges and of what lies outside the graph; nothing if nothing was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from measured_graph import hand_concepts, hand_facts
from test_trace import hand_trace

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFact, EdgeFacts
from cgraph.outside import Outside
from cgraph.truth_tables import ORIGINS, VERDICTS
from cgraph.ui import edge_words, outside_words
from cgraph.ui.drawing import Looks, draw
from cgraph.ui.lighting import light

NAN = float("nan")
LOOKS = Looks(image_of=lambda concept: "")


def fact(verdict: str, origin: str = "", effect: float = 0.42, **more: object) -> EdgeFact:
    return EdgeFact(verdict, effect, effect - 0.12, effect + 0.08, 32, origin, **more)


@pytest.mark.parametrize(
    ("verdict", "origin", "expected"),
    [
        ("specific", "carried", "●"),
        ("specific", "computed", "■"),
        ("specific", "both", "■"),
        ("supported", "carried", "○"),
        ("supported", "", "○"),
        ("supported", "computed", "□"),
        ("contradicted", "computed", "×"),
        ("no effect", "", ""),
        ("not measured", "", ""),
    ],
)
def test_every_verdict_has_its_own_mark(verdict: str, origin: str, expected: str) -> None:
    assert edge_words.mark(fact(verdict, origin)) == expected
    assert edge_words.mark(None) == edge_words.mark(EdgeFact(worth=0.1)) == ""


def test_words_of_an_edge() -> None:
    whole = fact("specific", "both", worth=0.0125, found_again=False)
    said = "■ specific, effect +0.42, carried and computed · worth +0.013 AUC · not found again"
    assert edge_words.edge_words(whole) in (said, said.replace("0.013", "0.012"))
    against = fact("contradicted", effect=-0.4)
    assert edge_words.edge_words(against) == "× contradicted, effect −0.40"
    unknown = EdgeFact("not measured", NAN, NAN, NAN, 3, "", NAN, True)
    assert edge_words.edge_words(unknown) == "not measured · found again"
    assert edge_words.edge_words(None) == ""
    assert edge_words.edge_words(EdgeFact(worth=-0.002)) == "worth −0.002 AUC"


def test_what_the_browser_gets_can_be_read_back() -> None:
    verdict, origin, *figures = edge_words.drawn(fact("supported", "carried"))
    assert (VERDICTS[verdict], ORIGINS[origin]) == ("supported", "carried")
    assert figures == [0.42, 0.3, 0.5, 32]
    assert edge_words.drawn(fact("not measured", effect=NAN)) is None
    assert edge_words.drawn(EdgeFact(worth=0.5)) is edge_words.drawn(None) is None


def picture(facts: EdgeFacts | None, **more: object) -> dict:
    trace = hand_trace()
    return json.loads(draw(trace, light(trace), LOOKS, facts=facts, **more).text)


def test_a_drawing_has_the_evidence_of_each_edge() -> None:
    drawing = picture(hand_facts())
    ids = [node["id"] for layer in drawing["layers"] for node in layer["nodes"]]
    found = {(ids[p], ids[c]): rest for p, c, _, _, *rest in drawing["edges"]}
    assert found["L1/0", "L2/0"] == [[0, 0, 0.5, 0.25, 0.75, 32]]
    assert found["L2/1", "L3/0"] == []  # too few images
    assert "evidence" in drawing["words"] and "specific" in drawing["notes"]


def test_a_drawing_without_measurements_is_what_it_was() -> None:
    trace = hand_trace()
    plain = draw(trace, light(trace), LOOKS)
    for facts in (None, hand_facts("leakage"), hand_facts("worth")):
        assert draw(trace, light(trace), LOOKS, facts=facts, outside={}) == plain


LEAKAGE = Outside(2, 0.34, 0.25, 0.18, 0.85, 0.9)


def test_what_lies_outside_stands_beneath_its_layer() -> None:
    node = outside_words.outside_node(LEAKAGE)
    layers = picture(None, outside={2: node})["layers"]
    assert [layer.get("outside") for layer in layers] == [None, node, None]
    assert (node["share"], node["text"]) == (0.34, "34\N{NO-BREAK SPACE}%")
    assert node["lines"][0].startswith("measured: 34") and "it is no concept" in node["lines"][-1]


def test_sentences_about_what_lies_outside() -> None:
    said = outside_words.outside_sentence(LEAKAGE).replace("\N{NO-BREAK SPACE}", " ")
    for part in ("<b>34 %</b>", "leaves out 18 %", "25 % of its active", "0.85", "0.90"):
        assert part in said
    bare = outside_words.outside_sentence(Outside(2, 0.5, NAN, NAN, NAN, NAN))
    assert ", and its code" not in bare and "AUC" not in bare and "unknown" not in bare


def test_a_rollout_depends_on_the_layers_after_its_start() -> None:
    leakage = {n: Outside(n, n / 10, NAN, NAN, NAN, NAN) for n in (2, 3, 4)}
    said = outside_words.rollout_sentence(leakage, 2).replace("\N{NO-BREAK SPACE}", " ")
    assert "layers 3 to 4 30 to 40 %" in said
    assert "layer 4 40 %" in outside_words.rollout_sentence(leakage, 3).replace("\xa0", " ")
    assert outside_words.rollout_sentence(leakage, 4) == ""
    assert outside_words.rollout_sentence({}, 1) == ""


def test_figures_of_a_concept() -> None:
    rows = outside_words.concept_rows(hand_concepts().of(ConceptId(2, 1)))
    assert [row[1:] for row in rows] == [
        ("yes", "(cosine 0.95 with another seed)"),
        ("0.88", "(+0.12 beside its parents)"),
    ]
    assert outside_words.concept_rows(None) == []
    (row,) = outside_words.concept_rows(hand_concepts("stable-concepts").of(ConceptId(1, 2)))
    assert row[1] == "no" and np.isnan(hand_concepts("stable-concepts").of(ConceptId(1, 2)).gap)
