"""Exact radii against every set of flips of small graphs, and how programmes end."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from bounded_graphs import switchable_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from test_flip_radius import assert_flips_work, drawn, true_radii

from cgraph import bounds_exact as module
from cgraph.bounds_exact import solve
from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.flip_radius import NEVER, radius


def blunt(*arguments, **options):
    """What `radius` returns, had it found nothing: the programme is then on its own."""
    found = radius(*arguments, **options)
    if found.never:
        return found
    return dataclasses.replace(found, lower=1, upper=None, indices=(), flips=None)


def check(seed, grid=False):
    """Compare both ways of asking with brute force; return how they ended."""
    rng = np.random.default_rng(seed)
    sizes = tuple(int(n) for n in rng.integers(3, 9, size=rng.integers(3, 6)))
    graph = switchable_graph(sizes, seed, grid=grid)
    labels, flippable = rng.random(sizes[0]) < 0.5, rng.random(sizes[0]) < 0.9
    layer, index = len(sizes), int(rng.integers(sizes[-1]))
    expected = true_radii(graph, labels, flippable, layer)[index]
    ends = Counter()
    for first in (radius, blunt):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "radius", first)
            found = solve(graph, labels, 1, ConceptId(layer, index), flippable)
        if expected == NEVER:
            assert found.upper is None
            assert found.status in (module.NEVER_CHANGES, module.UNSETTLED)
        else:
            assert found.upper == expected
        assert (found.status == module.UNSETTLED) <= grid  # there rounding decides
        assert found.exact or grid
        assert_flips_work(graph, labels, found, "max")
        ends[found.status] += 1
        ends["solved"] += found.n_variables > 0
    return ends


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_exact_radii_are_those_of_brute_force(seed):
    check(seed)


def test_exact_radii_of_a_hundred_graphs_are_those_of_brute_force():
    ends = Counter()
    for seed in range(100):
        ends.update(check(seed, grid=seed % 3 == 0))
    assert ends["solved"] > 40
    assert ends[module.EXACT] > 40 and ends[module.NEVER_CHANGES] > 40


@pytest.mark.slow
def test_exact_radii_of_a_thousand_graphs_are_those_of_brute_force():
    ends = Counter()
    for seed in range(1000, 2000):
        ends.update(check(seed, grid=seed % 3 == 0))
    print(dict(ends))


def hard_case():
    """Return a graph and labels that take three flips to change one concept of its last layer."""
    graph = switchable_graph((12, 10, 10, 6), 25, density=0.9, unfitted=0)
    labels = np.random.default_rng(25).random(12) < 0.5
    return graph, labels


def test_a_budget_and_a_small_allowance_of_variables_are_kept(monkeypatch):
    graph, labels = hard_case()
    expected = true_radii(graph, labels, np.ones(12, dtype=bool), 4)
    index = int(np.argmax(expected))
    assert expected[index] >= 3
    monkeypatch.setattr(module, "radius", blunt)
    concept = ConceptId(4, index)
    found = solve(graph, labels, 1, concept, budget=1)
    assert (found.status, found.lower, found.upper) == (module.BEYOND, 2, None)
    found = solve(graph, labels, 1, concept, most_variables=3)
    assert (found.status, found.lower, found.upper) == (module.TOO_LARGE, 1, None)
    assert found.n_variables > 3
    found = solve(graph, labels, 1, concept)
    assert found.status == module.EXACT and found.upper == expected[index]


def test_a_programme_that_is_out_of_time_keeps_what_it_has(monkeypatch):
    graph, labels = hard_case()
    expected = true_radii(graph, labels, np.ones(12, dtype=bool), 4)
    index = int(np.argmax(expected))

    class Late:
        status, message, x, mip_dual_bound = 1, "Time limit reached.", None, 1.2

    monkeypatch.setattr(module, "_milp", lambda programme, seconds: Late)
    monkeypatch.setattr(module, "radius", blunt)
    found = solve(graph, labels, 1, ConceptId(4, index))
    assert (found.status, found.message) == (module.TIME_LIMIT, "Time limit reached.")
    assert (found.lower, found.upper) == (2, None)
    Late.status, Late.message = 4, "Numerical difficulties."
    found = solve(graph, labels, 1, ConceptId(4, index))
    assert (found.status, found.message) == (module.UNSETTLED, "Numerical difficulties.")


def test_flips_that_a_rollout_does_not_confirm_are_cut_off(monkeypatch):
    graph, labels = hard_case()
    expected = true_radii(graph, labels, np.ones(12, dtype=bool), 4)
    index = int(np.argmax(expected))
    monkeypatch.setattr(module, "radius", blunt)
    real, seen = module._milp, []

    def lying(programme, seconds):
        """Say first that one flip was enough."""
        result = real(programme, seconds)
        if not seen:
            result.x = np.zeros(programme.n_variables)
            result.x[0] = 1
            result.mip_dual_bound = 1.0
        seen.append(len(programme.low))
        return result

    monkeypatch.setattr(module, "_milp", lying)
    found = solve(graph, labels, 1, ConceptId(4, index))
    assert seen[1] == seen[0] + 1
    assert found.status == module.EXACT and found.upper == expected[index]


def test_what_is_not_covered_is_refused():
    graph, labels, _, _ = drawn(2)
    layer = graph.n_layers
    assert layer > 2
    with pytest.raises(ConfigError, match="cover the rule max, and probabilities was asked for"):
        solve(graph, labels, 1, ConceptId(layer, 0), rule="probabilities")
    assert solve(graph, labels, 1, ConceptId(2, 0), rule="probabilities").seconds > 0
    for wrong in (0, -1.0, float("nan"), "1"):
        with pytest.raises(ConfigError, match="time limit"):
            solve(graph, labels, 1, ConceptId(layer, 0), time_limit=wrong)
    with pytest.raises(ConfigError, match="budget of flips"):
        solve(graph, labels, 1, ConceptId(layer, 0), budget=-2)
