"""Rules about influence, flips and togetherness: by hand, by brute force, and their frame."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from bounded_graphs import all_flips, switchable_graph
from graph_examples import concept_table, edge_table, hand_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import ids, policy, random_labels, split_of, subject

import cgraph.policy as policy_module
from cgraph.edits import RolloutSettings
from cgraph.errors import StudyError
from cgraph.graph import ConceptGraph
from cgraph.outside import Outside
from cgraph.policy import check
from cgraph.policy_together import lower_share, upper_share
from cgraph.rollout import rollout


def verdict(of, rule, draws=0, **sets):
    written = policy([{"from": "a", "to": "b"} | rule], sets, draws=draws)
    return check(of, written).verdicts[0]


def figure(of, name):
    return next(one.value for one in of.figures if one.name == name)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def one_edge(weight=2.0, images=40):
    """Return a subject of one parent that is on in every other held-out image, and one child."""
    graph = ConceptGraph.from_tables(
        concept_table([2, 1], threshold=np.array([np.nan, np.nan, 0.5])),
        edge_table([(1, 0, 0, weight, 1.0)]),
    )
    labels = {1: np.zeros((images, 2), dtype=bool), 2: np.zeros((images, 1), dtype=bool)}
    held_out = np.flatnonzero(split_of(images) == "held-out")
    labels[1][held_out[::2], 0] = True
    labels[1][:, 1] = np.arange(images) % 3 == 0
    return subject(graph, labels), held_out


# ---- influence


def test_influence_by_hand():
    of, held_out = one_edge()
    # The score is -1 + 2·label, the slope 1 and the offset 0.
    change = sigmoid(1) - sigmoid(-1)
    rule = {"kind": "influence", "at_most": 0.4}
    found = verdict(of, rule, a="L1/0", b="L2/0")
    assert found.outcome == "violated" and found.speaks_of == ("graph",)
    assert figure(found, "mean_change") == pytest.approx(change, abs=1e-6)
    assert figure(found, "mean_signed_change") == pytest.approx(-change, abs=1e-6)
    assert figure(found, "n_images") == len(held_out[::2])
    assert figure(found, "bound_worst") == pytest.approx(change, abs=1e-5)
    shown, path = found.witnesses
    assert [image.row for image in shown.images] == held_out[::2][:6].tolist()
    assert shown.images[0].values == pytest.approx((sigmoid(1), sigmoid(-1), -change), abs=1e-6)
    assert [one.id for one in path.concepts] == ["L1/0", "L2/0"]
    assert verdict(of, rule | {"at_most": 0.5}, a="L1/0", b="L2/0").outcome == "holds"
    worst = {"kind": "influence", "at_most": 0.5, "worst_at_most": 0.5}
    assert verdict(of, worst, a="L1/0", b="L2/0").outcome == "holds"
    # Flipped one by one, every image counts.
    each = verdict(of, rule | {"flip": "each"}, a="L1/0 L1/1", b="L2/0")
    assert figure(each, "n_images") == len(held_out)
    assert figure(each, "mean_change") == pytest.approx(change, abs=1e-6)
    assert each.witnesses[0].off == ("L1/0",)


def test_the_worst_image_counts_where_a_rule_says_so():
    graph = hand_graph()
    of = subject(graph)
    free = {"kind": "influence", "at_most": 0.3}
    found = verdict(of, free, a="L1/0", b="L2/0")
    worst = figure(found, "worst_change")
    assert figure(found, "mean_change") < 0.45 < worst < 0.5
    rule = free | {"at_most": 0.45}
    assert verdict(of, rule | {"worst_at_most": 0.5}, a="L1/0", b="L2/0").outcome == "holds"
    broken = verdict(of, rule | {"worst_at_most": 0.45}, a="L1/0", b="L2/0")
    assert broken.outcome == "violated" and "0.45 is allowed" in broken.headline


@given(st.integers(0, 500), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_influence_against_every_setting(seed, several, out):
    graph = switchable_graph([4, 4, 3, 2], seed)
    of = subject(graph, random_labels(graph, seed, 24))
    sources = "L1/0 L1/2 L2/1" if several else "L1/0 L1/2"
    rule = {"kind": "influence", "at_most": 0.0, "flip": "out" if out else "each"}
    found = verdict(of, rule, a=sources, b="L4/0 L4/1 L3/2")
    if found.outcome == "inconclusive":
        assert "has a predictor" in found.reason or "active in none" in found.reason
        return
    rows = of.rows("held-out")
    settings_ = RolloutSettings("max")

    def p(labels):
        run = rollout(graph, labels, 1, settings_)
        parts = [run.of_layer(4)[1], run.of_layer(3)[1][:, 2:]]
        return np.concatenate(parts, axis=1).astype(float)

    labels = of.labels(1, rows)
    # Every setting of A's labels in layer 1, all else as the images have it.
    moves = []
    for setting in itertools.product([False, True], repeat=2):
        changed = labels.copy()
        changed[:, [0, 2]] = setting
        moves.append(np.abs(p(changed) - p(labels)))
    if several:
        assert all(one.name != "bound_worst" for one in found.figures)
    else:
        assert np.max(moves) <= figure(found, "bound_worst") + 1e-9
        assert figure(found, "worst_change") <= np.max(moves) + 1e-9
        touched = labels[:, [0, 2]].any(axis=1)
        if out and touched.any():
            mean = moves[0][touched].mean(axis=0).max()
            assert figure(found, "mean_change") == pytest.approx(mean, abs=1e-6)
    assert figure(found, "mean_change") <= figure(found, "worst_change") + 1e-9
    assert (found.outcome == "violated") == (figure(found, "mean_change") > 0)


def test_what_influence_cannot_say():
    of = subject(labels={n: np.zeros((40, k), dtype=bool) for n, k in ((1, 3), (2, 3), (3, 2))})
    rule = {"kind": "influence", "at_most": 0.1}
    found = verdict(of, rule, a="L1/0", b="L2/0")
    assert found.outcome == "inconclusive" and "active in none" in found.reason
    found = verdict(subject(), rule, a="L1/0", b="L2/2")
    assert found.outcome == "inconclusive" and "has a predictor" in found.reason
    found = verdict(subject(), rule | {"where": "network"}, a="L1/0", b="L2/0")
    assert found.outcome == "inconclusive" and "no network" in found.reason


def test_large_sets_can_be_taken_out():
    graph = ConceptGraph.from_tables(
        concept_table([300, 1]), edge_table([(1, k, 0, 0.1, 1.0) for k in range(300)])
    )
    of = subject(graph, random_labels(graph, 0, 24))
    everything = " ".join(f"L1/{k}" for k in range(300))
    found = verdict(of, {"kind": "influence", "at_most": 0.1}, a=everything, b="L2/0")
    assert found.outcome == "violated"


# ---- flips


@given(st.integers(0, 400), st.integers(1, 3), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_flips_against_brute_force(seed, budget, n_flippable, grid):
    graph = switchable_graph([5, 4, 3], seed, grid=grid)
    of = subject(graph, random_labels(graph, seed, 24))
    flippable = np.arange(5) < n_flippable
    a = " ".join(f"L1/{k}" for k in range(n_flippable))
    rule = {"kind": "flips", "budget": budget}
    found = verdict(of, rule, a=a, b="L3/0 L2/1")
    if "no labels of layer 1 at all" in found.reason:
        return
    rows = of.rows("held-out")
    can = []
    for row in rows:
        labels = of.labels(1, np.array([row]))[0]
        tried, n = all_flips(labels, flippable, budget)
        run = rollout(graph, tried, 1, RolloutSettings("max"))
        switched = np.stack([run.of_layer(3)[0][:, 0], run.of_layer(2)[0][:, 1]], axis=1)
        changed = (switched != switched[0]).any(axis=1)
        can.append(int(n[changed].min()) if changed.any() else 0)
    assert found.outcome == ("violated" if any(can) else "holds")
    assert figure(found, "n_switched") == sum(map(bool, can))
    for witness in found.witnesses:
        place = int(np.flatnonzero(rows == witness.images[0].row)[0])
        assert 0 < can[place] <= witness.images[0].values[0] <= budget
        assert len(witness.on) + len(witness.off) == witness.images[0].values[0]


def test_flips_by_hand():
    of, held_out = one_edge()
    found = verdict(of, {"kind": "flips", "budget": 1}, a="L1/0", b="L2/0")
    assert found.outcome == "violated" and figure(found, "n_switched") == len(held_out)
    witness = found.witnesses[0]
    assert (witness.kind, witness.off, witness.on) == ("flips", ("L1/0",), ())
    assert "L2/0 goes off when 1 flips: L1/0 off" in witness.text
    other = verdict(of, {"kind": "flips", "budget": 1}, a="L1/1", b="L2/0")
    assert other.outcome == "holds" and figure(other, "n_certified") == len(held_out)
    weak, _ = one_edge(weight=0.5)  # -1 + 0.5 never reaches p = ½
    found = verdict(weak, {"kind": "flips", "budget": 1}, a="L1/0", b="L2/0")
    assert found.outcome == "inconclusive" and "nothing is shown" in found.reason


# ---- never together


def test_together_by_hand():
    labels = {n: np.zeros((40, k), dtype=bool) for n, k in ((1, 3), (2, 3), (3, 2))}
    held_out = np.flatnonzero(split_of(40) == "held-out")
    labels[1][held_out[:4], 0] = True
    labels[1][held_out[4], 1] = True
    labels[3][held_out[3:8], 1] = True
    of = subject(labels=labels)
    rule = {"kind": "never-together"}
    found = verdict(of, rule, a="L1/0 L1/1", b="L3/1")
    assert (found.outcome, found.speaks_of) == ("violated", ("images",))
    assert figure(found, "n_together") == 2 and figure(found, "share_together") == 0.2
    assert figure(found, "expected") == pytest.approx(0.5 * 0.5)
    assert [image.row for image in found.witnesses[0].images] == held_out[3:5].tolist()
    assert {one.id for one in found.witnesses[0].concepts} == {"L1/0", "L1/1", "L3/1"}
    assert verdict(of, rule | {"at_most": 0.2}, a="L1/0 L1/1", b="L3/1").outcome == "holds"
    train = verdict(of, rule | {"images": "train"}, a="L1/0", b="L3/1")
    assert train.outcome == "inconclusive" and "active in none" in train.reason
    # A deeper set may come first: togetherness has no direction.
    assert verdict(of, rule, a="L3/1", b="L1/0").outcome == "violated"


def test_bounds_of_shares():
    from scipy.stats import binomtest

    assert upper_share(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    for count, n in ((0, 10), (3, 10), (10, 10), (37, 256)):
        exact = binomtest(count, n).proportion_ci(0.9, "exact")
        assert (lower_share(count, n), upper_share(count, n)) == pytest.approx(
            (exact.low, exact.high)
        )


# ---- the frame


def test_random_sets_by_kind():
    graph = switchable_graph([30, 20, 20], 3)
    of = subject(graph, random_labels(graph, 3, 80))
    for rule in (
        {"kind": "influence", "at_most": 0.05},
        {"kind": "influence", "at_most": 0.05, "flip": "each"},
        {"kind": "flips", "budget": 2},
        {"kind": "never-together", "at_most": 0.5},
    ):
        one, again = (verdict(of, rule, 12, a="L1/0 L1/1 L1/2", b="L3/1") for _ in range(2))
        baseline = one.baselines[0]
        assert baseline == again.baselines[0]
        assert baseline.draws == 12 and 0 <= baseline.n_broken <= 12
        assert baseline.measure and f"{baseline.share:.0%} break the same rule" in baseline.text


def test_a_planted_prediction_is_found_and_chance_is_not():
    labels = random_labels(hand_graph(), 1)
    labels[3][:, 0] = labels[1][:, 0] ^ (np.random.default_rng(2).random(240) < 0.1)
    of = subject(labels=labels)
    rule = {"kind": "never-together", "at_most": 1.0}
    found = verdict(of, rule, a="L1/0 L1/2", b="L3/0 L3/1")
    assert found.prediction.found and found.prediction.target == "L3/0"
    assert found.prediction.p_value == pytest.approx(0.001)
    assert 0.8 < found.prediction.auc < 1
    chance = [
        verdict(
            subject(labels=random_labels(hand_graph(), seed)), rule, a="L1/0 L1/2", b="L3/0 L3/1"
        ).prediction.p_value
        for seed in range(30)
    ]
    assert np.mean(np.array(chance) < 0.1) < 0.35 and np.mean(chance) > 0.3
    path = verdict(subject(labels=labels), {"kind": "no-path"}, a="L1/2", b="L3/1")
    assert path.outcome == "holds" and not path.cautions


def test_a_rule_that_holds_while_a_foretells_b_is_told():
    labels = random_labels(hand_graph(), 1)
    labels[3][:, 1] = labels[1][:, 0]
    found = verdict(subject(labels=labels), {"kind": "no-path"}, a="L1/0", b="L3/1")
    assert found.outcome == "holds" and "foretell" in found.cautions[0]


def outside(layer, share):
    return Outside(layer, share, share, 0.1, 0.8, 0.9)


def test_what_comes_from_outside_can_undo_a_verdict():
    rule = {"kind": "no-path", "max_outside": 0.4}
    sets = {"a": "L1/0", "b": "L3/1"}
    assert "not measured" in verdict(subject(), rule, **sets).reason
    little = subject(leakage={3: outside(3, 0.3)})
    found = verdict(little, rule, **sets)
    assert found.outcome == "holds" and figure(found, "from_outside") == 0.3
    assert "30% comes from the patches" in found.scope
    much = subject(leakage={3: outside(3, 0.5)})
    found = verdict(much, rule, **sets)
    assert found.outcome == "inconclusive" and "more than the rule's limit of 40%" in found.reason
    # A witness is a witness, whatever else there may be.
    assert verdict(much, rule, a="L1/0", b="L3/0").outcome == "violated"


def test_concepts_without_names_can_undo_a_verdict():
    from cgraph.naming import ConceptName

    names = {c: ConceptName("sky", "ground", "sky", 0.5, 0.5) for c in ids("L1/0")}
    sets = {"a": {"names": ["sky"]}, "b": "L3/1"}
    found = verdict(subject(names=names), {"kind": "no-path"}, **sets)
    assert found.outcome == "inconclusive" and "7 of the 8 concepts" in found.reason
    kept = verdict(subject(names=names), {"kind": "no-path", "max_unknown": 0.9}, **sets)
    assert kept.outcome == "holds"
    assert (kept.sets[0].n_unknown, kept.sets[0].n_looked_at) == (7, 8)


def test_one_rule_that_fails_leaves_the_others(monkeypatch):
    def fail(*_):
        raise StudyError("The disk is gone.")

    monkeypatch.setattr(policy_module, "check_influence", fail)
    rules = [
        {"kind": "influence", "at_most": 0.1, "from": "a", "to": "b"},
        {"kind": "no-path", "from": "a", "to": "b"},
        {"kind": "no-path", "from": "a", "to": "b", "time_limit": 0.001},
    ]

    class Slow:
        def __init__(self, limit):
            self.limit, self.seconds, self.left = limit, 0.0, limit

        def check(self):
            if self.limit < 1:
                raise StudyError("It was not done after 0.001 seconds.")

    monkeypatch.setattr(policy_module, "Clock", Slow)
    seen = []
    report = check(
        subject(),
        policy(rules, {"a": "L1/0", "b": "L3/0"}, draws=4),
        on_progress=lambda progress: seen.append((progress.done, progress.total)),
    )
    assert [one.outcome for one in report.verdicts] == ["inconclusive", "violated", "inconclusive"]
    assert report.verdicts[0].reason == "The disk is gone."
    assert "not done after" in report.verdicts[2].reason
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert report.exit_code == 1 and "1 violated, 2 inconclusive" in report.headline


def test_a_rule_that_takes_too_long_is_inconclusive():
    of = subject()
    rule = {"kind": "no-path", "time_limit": 0.001}
    # The first look at the clock comes after the sets were shown, which takes longer than this.
    found = verdict(of, rule | {"note": "quick"}, a="L1/0", b="L3/1")
    assert found.outcome == "inconclusive" and "Raise time_limit" in found.reason


def test_what_a_verdict_speaks_of():
    found = verdict(subject(), {"kind": "no-path"}, a="L1/0", b="L3/1")
    assert "not of the network itself" in found.scope and "cgraph evaluate" in found.scope
    truth = {"edges_supported_share": 0.61}
    study = SimpleNamespace(truth=truth, measured=lambda name: None)
    near = verdict(subject(study=study), {"kind": "no-path"}, a="L1/0", b="L3/1")
    assert near.distance[0].value == 0.61
    assert "whose effect the network shows: 61.0%" in near.scope
