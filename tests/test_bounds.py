"""Bounds against every labelling of small graphs, attacks on planted ones, and cases by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from bound_attacks import BROKEN, attack, break_small, check_rollouts
from bounded_graphs import all_flips, switchable_graph
from graph_examples import hand_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.bounds import label_bounds, probability_bounds
from cgraph.bounds_charges import _steepest_secant
from cgraph.bounds_layers import bound_layer
from cgraph.edits import RolloutSettings
from cgraph.errors import ConfigError, DataError
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.rollout import layer_model, rollout


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_no_labelling_of_a_small_graph_leaves_its_bounds(seed):
    counts = break_small(seed)
    assert counts[BROKEN] == 0


def test_no_labelling_of_some_hundred_small_graphs_leaves_their_bounds():
    counts = Counter()
    for seed in range(150):
        counts.update(break_small(seed))
    assert counts[BROKEN] == 0
    assert counts["decided"] > 0.4 * counts["bounds"]


@pytest.mark.slow
def test_no_labelling_of_thousands_of_small_graphs_leaves_their_bounds():
    counts = Counter()
    for seed in range(10_000, 15_000):
        counts.update(break_small(seed))
    print(dict(counts))
    assert counts[BROKEN] == 0


def test_bounds_for_fewer_flips_than_are_made_are_found_to_be_broken():
    """The check itself: it must not be blind."""
    broken = 0
    for seed in range(20):
        graph = switchable_graph((6, 5, 4), seed)
        labels = np.random.default_rng(seed).random(6) < 0.5
        rows, _ = all_flips(labels, np.ones(6, dtype=bool), 2)
        for run, rule in ((label_bounds, "max"), (probability_bounds, "probabilities")):
            bounds = run(graph, 1, labels, budget=1)
            broken += check_rollouts(bounds, rows, graph, rule, "calibrated")[BROKEN]
    assert broken > 100


@pytest.mark.parametrize("rule", ["max", "probabilities"])
def test_attacks_on_a_planted_graph_leave_no_bound(rule):
    counts = attack_planted(PlantedConfig(5, 150, max_nnz=6, n_images=60), 6, rule)
    assert counts[BROKEN] == 0
    assert counts["decided"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["max", "probabilities"])
def test_many_attacks_on_larger_planted_graphs_leave_no_bound(rule):
    counts = Counter()
    for seed in range(5):
        config = PlantedConfig(6, 600, max_nnz=8, n_images=60, seed=seed)
        counts.update(attack_planted(config, 20, rule, n_random=300))
    print(rule, dict(counts))
    assert counts[BROKEN] == 0


def attack_planted(config, n_images, rule, n_random=100):
    """Attack a few images of a planted graph with one to four flips, of the concepts it has."""
    planted = plant_graph(config)
    graph, codes = planted.concept_graph(), plant_codes(config, planted)[0].dense_labels()
    rng = np.random.default_rng(config.seed)
    counts = Counter(graphs=1)
    for image in range(n_images):
        counts.update(attack(graph, codes[image], 1, 1 + image % 4, rng, n_random, rule))
    return counts


def test_hand_computed_bounds_of_one_layer():
    """L2/0: -1 + 2 y0 + y1 - y2, offset -1; L2/1: -3 + 4 y1, slope ½; τ = 0.3. L2/2 has none."""
    graph = hand_graph()
    bounds = probability_bounds(graph, 1, np.array([1, -1, 0]), until=2)
    low, high = bounds.between(2)
    np.testing.assert_allclose(low[0, :2], [sigmoid(0), sigmoid(-1.5)], rtol=1e-5)
    np.testing.assert_allclose(high[0, :2], [sigmoid(1), sigmoid(0.5)], rtol=1e-5)
    assert (low[0, :2] < [sigmoid(0), sigmoid(-1.5)]).all()
    assert low[0, 2] == high[0, 2]
    assert bounds.of_layer(2)[0].tolist() == [1, -1, 0]
    assert bounds.constant[1].tolist() == [False, False, True]
    assert bounds.counts(2) == {"certified": 1, "undecided": 1, "constant": 1}
    # One flip: of L2/0 the worst is y0, of L2/1 only y1 counts.
    bounds = probability_bounds(graph, 1, np.array([1, 1, 0]), budget=1, until=2)
    low, high = bounds.between(2)
    np.testing.assert_allclose(low[0, :2], [sigmoid(-1), sigmoid(-1.5)], rtol=1e-5)
    np.testing.assert_allclose(high[0, :2], [sigmoid(1), sigmoid(0.5)], rtol=1e-5)


def test_rules_are_bounded_with_their_own_predictors():
    graph = switchable_graph((6, 5, 4), 3)
    weights = [graph.layer_edges(n).weights * 2 for n in (2, 3)]
    fields = ("intercept", "slope", "offset", "threshold")
    columns = {f: np.concatenate([graph.column(n, f) for n in (2, 3)]) for f in fields}
    refitted = graph.refitted(1, weights, columns)
    labels = np.array([True, False, True, True, False, False])
    bounds = probability_bounds(refitted, 1, labels, budget=2)
    assert (bounds.rule, bounds.predictors) == ("refitted", "rollout")
    rows, _ = all_flips(labels, np.ones(6, dtype=bool), 2)
    counts = check_rollouts(bounds, rows, refitted, "refitted", "calibrated")
    assert counts[BROKEN] == 0
    own = probability_bounds(graph, 1, labels, budget=2)
    assert (own.rule, own.predictors) == ("probabilities", "edge")
    assert not np.array_equal(own.upper[2], bounds.upper[2])
    with pytest.raises(ConfigError, match="predictors of this graph are those of start 1"):
        label_bounds(refitted, 1, labels)
    with pytest.raises(ConfigError, match="calibrated"):
        probability_bounds(refitted, 1, labels, probability="prior")


def test_known_labels_give_the_rollout_itself_and_rows_do_not_touch_each_other():
    graph = switchable_graph((7, 6, 5, 4), 8, grid=True)
    labels = np.random.default_rng(0).random((40, 7)) < 0.5
    found = rollout(graph, labels, 1, RolloutSettings("max"))
    bounds = label_bounds(graph, 1, labels)
    for known, exact in zip(bounds.labels, found.labels, strict=True):
        np.testing.assert_array_equal(known, exact)
    for run in (label_bounds, probability_bounds):
        together = run(graph, 1, labels, budget=1)
        alone = [run(graph, 1, row, budget=1) for row in labels]
        for place in range(4):
            rows = np.concatenate([one.labels[place] for one in alone])
            np.testing.assert_array_equal(together.labels[place], rows)


def test_flips_followed_through_the_layers_tighten_bounds_and_a_larger_budget_loosens_them():
    config = PlantedConfig(5, 150, max_nnz=6, n_images=60)
    planted = plant_graph(config)
    graph = planted.concept_graph()
    labels = plant_codes(config, planted)[0].dense_labels()[0]
    loose = probability_bounds(graph, 1, labels, budget=1, tighten=False)
    tight = probability_bounds(graph, 1, labels, budget=1)
    more = probability_bounds(graph, 1, labels, budget=2)
    widths = [(b.upper[4] - b.lower[4]).mean() for b in (tight, loose, more)]
    assert widths[0] < widths[1] / 2
    assert widths[0] < widths[2]
    by_labels = [label_bounds(graph, 1, labels, budget=1, tighten=t) for t in (True, False)]
    certified = [bounds.counts(5)["certified"] for bounds in by_labels]
    assert certified[0] > certified[1] > 0


def test_constant_concepts_are_not_certified():
    graph = switchable_graph((5, 6, 4), 2, unfitted=0.4)
    bounds = label_bounds(graph, 1, np.zeros(5, dtype=int))
    for layer in (2, 3):
        constant = bounds.constant[layer - 1]
        assert constant[~graph.column(layer, "fitted")].all()
        assert (bounds.certified(layer)[0] == ~constant).all()
    # No labelling at all switches them.
    rows, _ = all_flips(np.zeros(5, dtype=bool), np.ones(5, dtype=bool))
    found = rollout(graph, rows, 1, RolloutSettings("max"))
    for constant, labels in zip(bounds.constant, found.labels, strict=True):
        assert (labels[:, constant] == labels[0, constant]).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["calibrated", "balanced", "prior"]))
def test_certain_scores_agree_with_what_is_computed_next_to_them(seed, kind):
    graph = switchable_graph((3, 4), seed)
    layer, model = bound_layer(graph, 2, kind), layer_model(graph, 2)
    for side, expected in ((layer.on_from, True), (layer.off_to, False)):
        score = (np.where(np.isfinite(side), side, 0) * layer.sign).astype(np.float32)
        for _ in range(3):
            labels = model.probabilities(score[None], kind)[0] >= model.thresholds(kind)
            own = (layer.constant < 0) & np.isfinite(side)
            # Rounded to the wrong side of the bound, a score says nothing.
            own &= (score * layer.sign >= side) if expected else (score * layer.sign <= side)
            assert (labels[own] == expected).all()
            outward = np.where(expected == (layer.sign > 0), np.inf, -np.inf)
            score = np.nextafter(score, outward.astype(np.float32))
    # The gap is narrow.
    own = (layer.constant < 0) & np.isfinite(layer.on_from) & np.isfinite(layer.off_to)
    assert (layer.on_from[own] > layer.off_to[own]).all()
    assert (layer.on_from[own] - layer.off_to[own] < 1e-3).all()


@settings(max_examples=200, deadline=None)
@given(st.floats(-40, 40), st.floats(0, 60))
def test_no_secant_of_the_sigmoid_is_steeper(x, length):
    bound = _steepest_secant(np.array([x]), np.array([length]))[0]
    steps = np.linspace(length / 1000, length, 1000)
    for step in steps[steps > 1e-9]:
        assert sigmoid(x + step) - sigmoid(x) <= bound * step + 1e-15
    assert bound <= 0.2501


def test_what_makes_no_sense_is_refused():
    graph = switchable_graph((5, 4, 3), 0)
    labels = np.zeros(5, dtype=int)
    with pytest.raises(DataError, match=r"shape \(1, 4\): layer 1 needs \(n, 5\)"):
        label_bounds(graph, 1, labels[:4])
    with pytest.raises(DataError, match="none of 1"):
        label_bounds(graph, 1, labels + 2)
    with pytest.raises(ConfigError, match="flippable, and no budget"):
        label_bounds(graph, 1, labels, flippable=np.ones(5, dtype=bool))
    with pytest.raises(DataError, match="give 5 Booleans"):
        label_bounds(graph, 1, labels, budget=1, flippable=np.ones(4, dtype=bool))
    with pytest.raises(ConfigError, match="budget of flips is -1"):
        probability_bounds(graph, 1, labels, budget=-1)
    with pytest.raises(ConfigError, match="from layer 3 to layer 3"):
        label_bounds(graph, 3, np.zeros(3, dtype=int))
    with pytest.raises(ConfigError, match="probability is 'sure'"):
        label_bounds(graph, 1, labels, probability="sure")


def test_no_budget_is_no_flip():
    graph = switchable_graph((5, 4, 3), 1)
    labels = np.array([1, 0, 1, 0, 0])
    none = label_bounds(graph, 1, labels)
    zero = label_bounds(graph, 1, labels, budget=0)
    for one, other in zip(none.labels, zero.labels, strict=True):
        np.testing.assert_array_equal(one, other)
