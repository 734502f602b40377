"""What sets mean in a study, and every mistake in that at its line."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import hand_graph
from policy_examples import N_IMAGES, policy, random_labels, split_of, subject

from cgraph.concept import ConceptId
from cgraph.concept_sets import resolve
from cgraph.errors import PolicyError
from cgraph.metrics import matthews
from cgraph.naming import ConceptName

RULE = {"kind": "no-path", "from": "a", "to": "b"}


def name(text, attribute, value):
    return ConceptName(text, attribute, value, 0.5, 0.5)


NAMES = {
    ConceptId(1, 0): name("sky", "ground", "sky"),
    ConceptId(1, 1): name("purple", "colour", "purple"),
    ConceptId(2, 0): name("sky, purple", "ground", "sky"),
}


def known_subject():
    """Return a subject in which L1/0 and L2/1 go with the sky, and L2/2 is too rare to tell."""
    labels = random_labels(hand_graph())
    sky = np.random.default_rng(5).random(N_IMAGES) < 0.5
    wrong = np.random.default_rng(6).random(N_IMAGES) < 0.1
    labels[1][:, 0] = sky
    labels[2][:, 1] = sky ^ wrong
    labels[2][:, 2] = False
    grounds = [{"ground": "sky" if one else "sand", "striped": bool(one)} for one in sky]
    return subject(labels=labels, names=NAMES, attributes=grounds), labels, sky


def concepts(of, sets, **more):
    found = resolve(of, policy([RULE], sets | {"b": "L3/0"}, **more))
    return [str(concept) for concept in found["a"].concepts], found["a"]


def problems(of, rules, sets, **head):
    written = policy(rules, sets, **head)
    with pytest.raises(PolicyError) as caught:
        resolve(of, written)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_ids_and_names():
    of = subject(names=NAMES)
    assert concepts(of, {"a": "L1/2 L1/0"})[0] == ["L1/0", "L1/2"]
    found, one = concepts(of, {"a": {"names": ["sky"], "ids": ["L2/2"]}})
    assert found == ["L1/0", "L2/0", "L2/2"]
    assert one.why == ("called sky", "called sky, purple", "by its id")
    # Five of the eight have no name, and might be sky all the same.
    assert (one.n_unknown, one.n_looked_at) == (5, 8)
    found, one = concepts(of, {"a": {"names": ["sky"], "layers": [2, 2]}})
    assert (found, one.n_unknown, one.n_looked_at) == (["L2/0"], 2, 3)
    found, one = concepts(of, {"a": {"names": ["L1", "L2/1"]}})
    assert found == ["L1/0", "L1/1", "L1/2", "L2/1"]
    assert (one.n_unknown, one.n_looked_at) == (0, 0)


def test_attributes_by_correlation():
    of, labels, sky = known_subject()
    tune = split_of() == "tune"
    by_hand = float(matthews(labels[2][tune][:, [1]], sky[tune][:, None])[0, 0])
    assert 0.6 < by_hand < 0.95
    wanted = {"attribute": "Ground", "value": "SKY", "strength": 0.6, "layers": [1, 2]}
    found, one = concepts(of, {"a": wanted})
    assert found == ["L1/0", "L2/1"]
    assert one.why == ("ground=sky 1.00", f"ground=sky {by_hand:.2f}")
    assert (one.n_unknown, one.n_looked_at) == (1, 6)
    assert concepts(of, {"a": wanted | {"strength": 0.95}})[0] == ["L1/0"]
    assert concepts(of, {"a": wanted | {"layers": 2}})[0] == ["L2/1"]
    # Of a yes-or-no attribute no value is needed, and those that go against it are not meant.
    table_name = next(name for name, _ in of.known().columns)
    assert concepts(of, {"a": {"attribute": table_name, "layers": 1}})[0] == ["L1/0"]


def test_outputs_need_their_names():
    found = problems(subject(), [RULE], {"a": "L1/0", "b": {"outputs": ["approved"]}})
    assert found == [(5, found[0][1])]
    assert "no output 'approved'" in found[0][1] and "cgraph outputs STUDY" in found[0][1]
    found = problems(subject(), [RULE], {"a": "L1/0", "b": "O/approved"})
    assert 'outputs = ["approved"]' in found[0][1]


@pytest.mark.parametrize(
    ("sets", "line", "said"),
    [
        ({"a": "L1/9", "b": "L3/0"}, 3, "There is no concept L1/9"),
        ({"a": "L9/0", "b": "L3/0"}, 3, "There is no layer 9"),
        ({"a": "banana", "b": "L3/0"}, 3, "'banana' is not a concept"),
        ({"a": "P1/0", "b": "L3/0"}, 3, "patch concept"),
        ({"a": {"names": ["purpel"]}, "b": "L3/0"}, 3, "Close to it: purple"),
        ({"a": {"names": ["sky"], "layers": [3, 3]}, "b": "L3/0"}, 3, "none in layers 3 to 3"),
        ({"a": {"names": ["sky"], "layers": [1, 4]}, "b": "L3/0"}, 4, "no layer 4 here"),
        ({"a": {"attribute": "grond"}, "b": "L3/0"}, 3, "Did you mean 'ground'?"),
        ({"a": {"attribute": "ground", "value": "skye"}, "b": "L3/0"}, 4, "Did you mean 'sky'?"),
        ({"a": {"attribute": "ground", "layers": 3}, "b": "L3/0"}, 3, "is empty: no concept"),
        ({"a": "L1/0 L1/1", "b": "L1/1 L3/0"}, 9, "share L1/1"),
        ({"a": "L2/0", "b": "L1/0 L2/1"}, 8, "nothing could ever break this rule"),
    ],
)
def test_mistakes_are_told_with_their_line(sets, line, said):
    found = problems(known_subject()[0], [RULE], sets)
    assert any(at == line and said in message for at, message in found), found


def test_all_mistakes_are_told_at_once():
    sets = {"a": "L1/9 L8/0", "b": {"names": ["nothing"]}, "c": "L1/0", "d": "L1/0"}
    found = problems(subject(names=NAMES), [RULE | {"from": "c", "to": "d"}], sets, study="other")
    assert len(found) == 5
    assert "for the study 'other', and this is 'hand'" in found[0][1]
    assert "share L1/0" in found[-1][1]


@pytest.mark.parametrize(
    ("sets", "more", "said"),
    [
        ({"a": "L1/0 L2/0", "b": "L3/0"}, {}, "Say in which one it is flipped"),
        ({"a": "L1/0", "b": "L3/0"}, {"layer": 2}, "Choose one of these"),
        ({"a": "L1/0", "b": "L3/0"}, {"layer": 4}, "There is no layer 4 here"),
        ({"a": "L1/0 L2/0", "b": "L2/1"}, {"layer": 2}, "Choose an earlier layer"),
    ],
)
def test_layers_of_flips(sets, more, said):
    rule = {"kind": "flips", "from": "a", "to": "b", "budget": 1} | more
    assert said in problems(subject(), [rule], sets)[0][1]


def test_nothing_known_of_the_images():
    found = problems(subject(), [RULE], {"a": {"attribute": "ground"}, "b": "L3/0"})
    assert "Nothing is known of its images. Name concepts by ids." in found[0][1]
