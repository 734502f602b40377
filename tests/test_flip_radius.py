"""Flip radii against every set of flips of small graphs, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from bounded_graphs import all_flips, switchable_graph
from graph_examples import hand_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.edits import Edit, RolloutSettings
from cgraph.errors import ConfigError, DataError
from cgraph.flip_radius import NEVER, OPEN, layer_radii, lower_radii, radius
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.rollout import rollout


def true_radii(graph, labels, flippable, layer, rule="max", kind="calibrated"):
    """Return the radii of all concepts of a layer, by trying every set of flips."""
    rows, sizes = all_flips(labels, flippable)
    found = rollout(graph, rows, 1, RolloutSettings(rule, probability=kind)).of_layer(layer)[0]
    changed = found != found[sizes == 0]
    return np.where(changed.any(axis=0), np.where(changed, sizes[:, None], 99).min(axis=0), NEVER)


def drawn(seed, grid=False):
    rng = np.random.default_rng(seed)
    sizes = tuple(int(n) for n in rng.integers(3, 8, size=rng.integers(2, 5)))
    graph = switchable_graph(sizes, seed, grid=grid)
    return graph, rng.random(sizes[0]) < 0.5, rng.random(sizes[0]) < 0.9, rng


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["calibrated", "prior", "balanced"]))
def test_one_layer_radii_are_those_of_brute_force(seed, kind):
    graph, labels, flippable, _ = drawn(seed)
    found = layer_radii(graph, labels, 1, flippable=flippable, probability=kind)
    expected = true_radii(graph, labels, flippable, 2, kind=kind)
    assert found.exact.all()
    np.testing.assert_array_equal(found.lower[0], expected)
    assert (expected[found.constant] == NEVER).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_where_rounding_decides_one_layer_radii_are_bounds(seed):
    graph, labels, flippable, _ = drawn(seed, grid=True)
    found = layer_radii(graph, labels, 1, flippable=flippable)
    expected = true_radii(graph, labels, flippable, 2)
    lower, upper, exact = found.lower[0], found.upper[0], found.exact[0]
    np.testing.assert_array_equal(lower[exact], expected[exact])
    beyond = np.where(expected == NEVER, 99, expected)
    assert (lower[~exact] <= beyond[~exact]).all()
    assert ((upper >= beyond) | (upper == OPEN) | exact).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["max", "probabilities"]))
def test_radii_over_several_layers_enclose_the_true_one(seed, rule):
    graph, labels, flippable, rng = drawn(seed, grid=seed % 3 == 0)
    for layer in range(2, graph.n_layers + 1):
        expected = true_radii(graph, labels, flippable, layer, rule)
        index = int(rng.integers(len(expected)))
        found = radius(graph, labels, 1, ConceptId(layer, index), flippable, rule=rule)
        if expected[index] == NEVER:
            assert found.upper is None and found.flips is None
        else:
            assert found.lower is not None and found.lower <= expected[index]
            assert found.upper is None or found.upper >= expected[index]
        assert_flips_work(graph, labels, found, rule)
        if layer > 2:
            lower = lower_radii(graph, labels, 1, layer, flippable=flippable, rule=rule, most=3)[0]
            assert (np.where(lower == NEVER, 99, lower) <= np.where(expected < 0, 99, expected))[
                lower != NEVER
            ].all()
            assert (expected[lower == NEVER] == NEVER).all()


def assert_flips_work(graph, labels, found, rule):
    if found.flips is None:
        return
    assert len(found.flips) == found.upper == len(found.indices)
    after = rollout(graph, labels, 1, RolloutSettings(rule), found.flips)
    assert after.of_layer(found.concept.layer)[0][0, found.concept.index] != found.before


def test_most_radii_of_small_graphs_are_found_exactly():
    exact, total = 0, 0
    for seed in range(60):
        graph, labels, flippable, rng = drawn(seed)
        index = int(rng.integers(graph.n_concepts(graph.n_layers)))
        found = radius(graph, labels, 1, ConceptId(graph.n_layers, index), flippable)
        exact, total = exact + found.exact, total + 1
    assert exact >= 0.85 * total


def test_hand_computed_radii():
    """L2/0 is on at log-odds ≥ log(3/7) = -0.85 of -2 + 2 y0 + y1 - y2; so with y0, or with y1."""
    graph = hand_graph()
    labels = np.array([[False, False, False], [True, True, False], [False, False, True]])
    found = layer_radii(graph, labels, 1)
    # L2/1: ½ (-3 + 4 y1) ≥ -0.85, so y1 decides it; L2/2 has no predictor.
    assert found.before.tolist() == [[False, False, False], [True, True, False], [False] * 3]
    # On by 1 with y0 and y1: taking y0 out leaves -1, which is off. With y2 it takes two flips.
    assert found.lower.tolist() == [[1, 1, NEVER], [1, 1, NEVER], [2, 1, NEVER]]
    assert found.exact.all()
    assert found.constant.tolist() == [False, False, True]
    # Without y0: y1 alone gives -1, which is off.
    only = np.array([False, True, True])
    found = layer_radii(graph, labels, 1, flippable=only)
    assert found.lower[0].tolist() == [NEVER, 1, NEVER]
    answer = radius(graph, labels[0], 1, ConceptId(2, 1))
    assert (answer.lower, answer.upper, answer.exact) == (1, 1, True)
    assert answer.flips == Edit(on=(ConceptId(1, 1),))
    answer = radius(graph, labels[1], 1, ConceptId(2, 1))
    assert answer.flips == Edit(off=(ConceptId(1, 1),))
    answer = radius(graph, labels[0], 1, ConceptId(2, 2))
    assert answer.never and answer.constant and answer.flips is None
    answer = radius(graph, labels[0], 1, ConceptId(2, 0), only)
    assert answer.never and not answer.constant


def test_radii_of_a_planted_graph_meet_and_repeat():
    config = PlantedConfig(5, 150, max_nnz=6, n_images=60)
    planted = plant_graph(config)
    graph = planted.concept_graph()
    labels = plant_codes(config, planted)[0].dense_labels()[0].astype(bool)
    found = [radius(graph, labels, 1, ConceptId(5, index)) for index in range(12)]
    assert sum(answer.exact for answer in found) >= 10
    for answer in found:
        assert_flips_work(graph, labels, answer, "max")
    assert radius(graph, labels, 1, ConceptId(5, 3)) == found[3]


def test_a_search_that_may_not_roll_out_much_says_less_but_nothing_wrong():
    graph, labels, flippable, _ = drawn(3)
    layer = graph.n_layers
    expected = true_radii(graph, labels, flippable, layer)
    for index, true in enumerate(expected):
        found = radius(graph, labels, 1, ConceptId(layer, index), flippable, most_rollouts=1)
        assert found.upper is None or found.upper >= true
        assert found.lower is None or true == NEVER or found.lower <= true


def test_what_makes_no_sense_is_refused():
    graph, labels, _, _ = drawn(1)
    with pytest.raises(ConfigError, match="must lie in"):
        radius(graph, labels, 1, ConceptId(1, 0))
    with pytest.raises(ConfigError, match="There is no concept 99"):
        radius(graph, labels, 1, ConceptId(2, 99))
    with pytest.raises(ConfigError, match="top-k couples"):
        radius(graph, labels, 1, ConceptId(2, 0), rule="top-k")
    with pytest.raises(DataError, match="needs Booleans"):
        layer_radii(graph, labels.astype(int), 1)
    with pytest.raises(DataError, match="one of one image"):
        radius(graph, np.stack([labels, labels]), 1, ConceptId(2, 0))
    with pytest.raises(ConfigError, match="at least 1"):
        radius(graph, labels, 1, ConceptId(2, 0), most=0)
