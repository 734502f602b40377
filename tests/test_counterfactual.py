"""One edit, before and after: on the hand-computed graph, and on random ones by brute force."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from graph_examples import hand_graph, random_graph

from cgraph.agreement import LayerStates, States
from cgraph.concept import ConceptId
from cgraph.counterfactual import (
    causes,
    changed_at_fixed_cutoff,
    dense_labels,
    graph_answer,
    states_of_rollouts,
)
from cgraph.edit_tables import COLUMNS, changes_csv
from cgraph.edits import PLAIN_RULES, Edit, RolloutSettings
from cgraph.errors import ConfigError
from cgraph.rollout import rollout

SIZES = (8, 9, 10, 9)


def concept(text: str) -> ConceptId:
    return ConceptId.parse(text)


def test_the_hand_computed_graph():
    """L1/0 and L1/1 on; L1/1 is switched off.

    Before: L2/0 scores 2 (p = σ(1)), L2/1 scores 1 (p = σ(.5)), both on; L3/0 scores 2.
    After: L2/0 scores 1 (p = σ(0) = .5, still on), L2/1 scores -3 (p = σ(-1.5), off); L3/0 scores
    1 (p = σ(1), on); L3/1 scores .5 (p = σ(2)) in place of -1.5 (p = σ(-2)): it appears.
    """
    graph = hand_graph()
    edit = Edit((), (concept("L1/1"),))
    answer = graph_answer(graph, dense_labels(graph, 1, [0, 1]), edit, RolloutSettings())
    assert list(answer.layers) == [1, 2, 3]
    gone = answer.changes(1, "vanished")
    assert [(c.concept, c.by_hand, c.before, c.after) for c in gone] == [
        (concept("L1/1"), True, 1.0, 0.0)
    ]
    assert [str(c.concept) for c in answer.changes(2, "vanished")] == ["L2/1"]
    assert [str(c.concept) for c in answer.changes(2, "unchanged")] == ["L2/0"]
    assert answer.changes(2, "appeared") == ()
    appeared = answer.changes(3, "appeared")
    assert [str(c.concept) for c in appeared] == ["L3/1"]
    assert appeared[0].before == pytest.approx(1 / (1 + np.exp(2)))
    assert appeared[0].after == pytest.approx(1 / (1 + np.exp(-2)))
    assert answer.n_changed == 2  # what was set by hand does not count
    assert [(str(c.parent), c.contribution) for c in causes(graph, answer, concept("L2/1"))] == [
        ("L1/1", -4.0)
    ]
    assert [(str(c.parent), c.contribution) for c in causes(graph, answer, concept("L3/1"))] == [
        ("L2/1", 2.0)
    ]
    assert causes(graph, answer, concept("L1/1")) == ()


def test_before_is_rolled_out_and_never_the_true_labels():
    """The image's own labels of later layers are nowhere among the arguments."""
    graph = hand_graph()
    answer = graph_answer(graph, dense_labels(graph, 1, [2]), Edit(), RolloutSettings())
    plain = rollout(graph, dense_labels(graph, 1, [2]), 1, RolloutSettings())
    for layer in answer.layers:
        state = answer.states.of_layer(layer)
        np.testing.assert_array_equal(state.before, plain.of_layer(layer)[0])
        np.testing.assert_array_equal(state.before, state.after)
        assert not (state.value_after != state.value_before).any()
    assert answer.n_changed == 0


@pytest.mark.parametrize("rule", PLAIN_RULES)
@pytest.mark.parametrize("seed", range(4))
def test_causes_add_up_to_the_change_of_the_score(rule, seed):
    graph, _ = random_graph(SIZES, 0.6, seed)
    labels = np.random.default_rng(seed).random((1, 8)) < 0.5
    edit = Edit((concept("L1/0"), concept("L3/2")), (concept("L2/1"),))
    settings = RolloutSettings(rule, n_draws=30, seed=seed)
    answer = graph_answer(graph, labels, edit, settings, key=5)
    for layer in (2, 3, 4):
        moves = answer.states.of_layer(layer).moves[0]
        for index in range(graph.n_concepts(layer)):
            child = ConceptId(layer, index)
            if edit.label(child) is None:
                whole = sum(cause.contribution for cause in causes(graph, answer, child))
                assert whole == pytest.approx(moves[index], abs=1e-4)


def test_causes_of_the_network_are_not_known():
    answer = graph_answer(hand_graph(), np.ones((1, 3), bool), Edit(), RolloutSettings())
    from cgraph.counterfactual import Answer

    measured = Answer("network", Edit(), answer.states)
    with pytest.raises(ConfigError, match="graph's answer only"):
        causes(hand_graph(), measured, concept("L2/0"))


def test_a_change_that_only_the_fixed_number_makes_is_told_apart():
    """Two places. Before: a, b on (cutoff .6). d rises to .9 and takes the place of b, whose own
    probability stays: b left because of the fixed number alone, d came by itself."""
    on = np.array([[True, True, False, False]])
    before = np.array([[0.8, 0.6, 0.5, 0.1]])
    after = np.array([[0.8, 0.6, 0.5, 0.9]])
    assert changed_at_fixed_cutoff(on, before, after).tolist() == [[False, False, False, True]]
    # a falls to nothing: it left by itself; c moves up though its probability is what it was.
    after = np.array([[0.2, 0.6, 0.5, 0.1]])
    assert changed_at_fixed_cutoff(on, before, after).tolist() == [[True, False, False, False]]
    # A tie with the cutoff is no reason to change.
    after = np.array([[0.8, 0.6, 0.6, 0.1]])
    assert not changed_at_fixed_cutoff(on, before, after).any()


@pytest.mark.parametrize("seed", range(6))
def test_marks_of_top_k_by_brute_force(seed):
    """A change is the fixed number's if each label, judged alone at the old cutoff, would stay."""
    graph, _ = random_graph((12, 20, 20), 0.4, seed)
    labels = np.random.default_rng(seed).random((5, 12)) < 0.3
    settings = RolloutSettings("top-k", k=4)
    edit = Edit((concept("L1/0"),), (concept("L1/1"),))
    before, after = (rollout(graph, labels, 1, settings, part) for part in (Edit(), edit))
    states = states_of_rollouts(before, after, settings)
    n_marked = 0
    for layer in (2, 3):
        state = states.of_layer(layer)
        for image in range(5):
            cutoff = min(p for p, on in zip(state.value_before[image], state.before[image],
                                            strict=True) if on)  # fmt: skip
            for index in range(20):
                on, still = state.before[image, index], state.after[image, index]
                p = state.value_after[image, index]
                alone = p >= cutoff if on else p > cutoff
                marked = bool(on != still and alone == on)
                assert state.from_fixed_number[image, index] == marked
                n_marked += marked
    assert n_marked  # otherwise the test says nothing


def test_rules_without_a_fixed_number_mark_nothing():
    graph, _ = random_graph(SIZES, 0.6, 0)
    answer = graph_answer(graph, np.ones((1, 8), bool), Edit(), RolloutSettings("max"))
    assert all(layer.from_fixed_number is None for layer in answer.states.layers)


# ---- the table


def test_the_table_has_a_row_for_each_concept_that_changed():
    def layer(before, after):
        before, after = np.array(before, bool), np.array(after, bool)
        moves = after.astype(np.float32) - before
        return LayerStates(before, after, before * 0.5, after * 0.75, moves)

    graph = States(2, (layer([[1, 0, 0]] * 2, [[0, 1, 0]] * 2),))
    network = States(2, (layer([[1, 0, 0]] * 2, [[1, 1, 1], [1, 0, 0]]),))
    edit = Edit((), (concept("L2/0"),))
    text = changes_csv(
        ["=a.png", "b.png"], [edit] * 2, {"graph": graph, "network": network},
        lambda found: "red" if found.index == 1 else "", without={"network": [1]},
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    verdicts = [(r["image_id"], r["concept"], r["by_hand"], r["graph_and_network"]) for r in rows]
    assert verdicts == [
        ("'=a.png", "L2/0", "True", "only graph"),
        ("'=a.png", "L2/1", "False", "agree"),
        ("'=a.png", "L2/2", "False", "only network"),
        ("b.png", "L2/0", "True", ""),
        ("b.png", "L2/1", "False", ""),
    ]
    assert (rows[1]["name"], rows[1]["graph_change"], rows[1]["graph_after"]) == (
        "red", "appeared", "0.75",
    )  # fmt: skip
    assert rows[4]["network_change"] == ""
