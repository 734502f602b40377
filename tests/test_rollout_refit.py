"""Predictors of rollouts: planted answers, scikit-learn layer by layer, tables there and back."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import concept_table, edge_table
from test_newton_logistic import by_sklearn

from cgraph import rollout_refit as module
from cgraph.edits import RolloutSettings
from cgraph.graph import ConceptGraph
from cgraph.metrics import auc
from cgraph.refitted_predictors import FIELDS, graph_of_part, refitted_graph, refitted_tables
from cgraph.rollout import rollout
from cgraph.rollout_refit import refit_layer

SIZES = (6, 7, 8, 5)


def chain(n, seed, prevalence=0.2):
    """Labels of four layers, each noisily made of two concepts of the one before, and the graph."""
    rng = np.random.default_rng(seed)
    labels = [rng.random((n, SIZES[0])) < 0.3]
    edges = []
    for layer, size in enumerate(SIZES[1:], start=1):
        before, made = labels[-1], np.empty((n, size), dtype=bool)
        for child in range(size):
            one, other = child % SIZES[layer - 1], (child + 1) % SIZES[layer - 1]
            score = -3 + 3.5 * before[:, one] + 1.5 * before[:, other]
            made[:, child] = rng.random(n) < 1 / (1 + np.exp(-score))
            edges += [(layer, one, child, 1.0, 1.0), (layer, other, child, 1.0, 1.0)]
        labels.append(made)
    fitted = np.repeat(np.arange(len(SIZES)) > 0, SIZES)
    fitted[SIZES[0] + 3] = False
    edges = [edge for edge in edges if edge[:3:2] != (1, 3)]  # no predictor, so no edges into L2/3
    counts = np.concatenate([of_layer[: n // 2].sum(axis=0) for of_layer in labels])
    concepts = concept_table(SIZES, n_train_images=n // 2, n_train=counts, fitted=fitted)
    return ConceptGraph.from_tables(concepts, edge_table(edges)), labels


def refit_all(graph, labels, start, n_train):
    """What `refit_start` does, without a study: first half of the rows to train, rest to tune."""
    halves = slice(0, n_train), slice(n_train, None)
    passed = [labels[start - 1][half].astype(np.float32) for half in halves]
    parts, every = [], []
    for layer in range(start + 1, graph.n_layers + 1):
        own = [labels[layer - 1][half] for half in halves]
        fits, passed = refit_layer(graph, layer, passed, own, (0, start, layer))
        parts.append(fits)
        every.append(passed)
    return {name: np.concatenate([p[name] for p in parts]) for name in ("weight", *FIELDS)}, every


def test_every_layer_is_the_minimum_on_what_is_passed_on():
    graph, labels = chain(3000, 0)
    part, passed = refit_all(graph, labels, 1, 1500)
    given = [labels[0][:1500].astype(np.float32), *(of_layer[0] for of_layer in passed)]
    place = child_place = 0
    for layer in range(2, 5):
        edges = graph.layer_edges(layer)
        for child in range(edges.n_children):
            own = slice(edges.starts[child], edges.starts[child + 1])
            n = own.stop - own.start
            if graph.column(layer, "fitted")[child]:
                positive = labels[layer - 1][:1500, child]
                inputs = given[layer - 2][:, edges.parents[own]].astype(np.float64)
                weights, bias = by_sklearn(inputs, positive, module.L2)
                found = part["weight"][place : place + n]
                np.testing.assert_allclose(found, weights, rtol=1e-3, atol=1e-3)
                prior = np.log(positive.mean() / (1 - positive.mean()))
                assert part["intercept"][child_place] == pytest.approx(bias - prior, abs=2e-3)
            else:
                assert np.isnan([part[name][child_place] for name in FIELDS]).all()
            place, child_place = place + n, child_place + 1


def test_a_rollout_passes_on_what_the_fit_saw():
    graph, labels = chain(2000, 1)
    part, passed = refit_all(graph, labels, 2, 1000)
    refitted = graph_of_part(graph, part, 2)
    found = rollout(refitted, labels[1][:1000], 2, RolloutSettings("refitted"))
    for place, of_layer in enumerate(passed, start=1):
        np.testing.assert_allclose(found.probabilities[place], of_layer[0], atol=1e-5)
    # Thresholds: each concept is predicted as often as it occurs on the tune images, or nearly,
    # since images of equal labels come together.
    tune = rollout(refitted, labels[1][1000:], 2, RolloutSettings("refitted"))
    for place, layer in enumerate((3, 4), start=1):
        for child in range(SIZES[layer - 1]):
            p, n_true = tune.probabilities[place][:, child], labels[layer - 1][1000:, child].sum()
            can = [(p >= level).sum() for level in np.unique(p)] + [0]
            nearest = min(abs(n - n_true) for n in can)
            assert abs(tune.labels[place][:, child].sum() - n_true) <= nearest + 2  # last bits


def test_refitted_predictors_are_better_and_right_about_their_own_level():
    """Weights of the edges are far too small here; refitted ones know what they are given."""
    graph, labels = chain(8000, 2)
    part, _ = refit_all(graph, labels, 1, 4000)
    held_out = chain(4000, 3)[1]
    found = rollout(
        graph_of_part(graph, part, 1), held_out[0], 1, RolloutSettings("refitted")
    ).probabilities[-1]
    plain = rollout(graph, held_out[0], 1, RolloutSettings("probabilities")).probabilities[-1]
    truth = held_out[-1]
    assert np.nanmean(auc(found, truth)) > np.nanmean(auc(plain, truth)) - 0.005
    assert np.abs(found.mean(axis=0) - truth.mean(axis=0)).max() < 0.025
    assert np.abs(plain.mean(axis=0) - truth.mean(axis=0)).max() > 0.05


def test_rows_beyond_the_cap_are_drawn_and_weighed(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    positive = np.arange(1000) < 30
    rows, weights = module._rows(positive, (1, 2))
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    assert positive[rows].sum() == 30  # rare ones are all there
    assert weights[positive[rows]].tolist() == [1.0] * 30
    assert weights[~positive[rows]].sum() == pytest.approx(970)
    rows, weights = module._rows(np.arange(1000) < 400, (1, 2))
    assert (rows < 400).sum() == 50
    assert weights.sum() == pytest.approx(1000)
    again = module._rows(np.arange(1000) < 400, (1, 2))
    assert (again[0] == rows).all()
    assert module._rows(positive[:100], (1, 2))[1] is None


def test_a_fit_on_drawn_rows_is_nearly_that_on_all(monkeypatch):
    graph, labels = chain(12_000, 4)
    whole, _ = refit_all(graph, labels, 1, 6000)
    monkeypatch.setattr(module, "MOST_ROWS", 3000)
    drawn, _ = refit_all(graph, labels, 1, 6000)
    held_out = chain(4000, 5)[1]
    p, q = (
        rollout(graph_of_part(graph, part, 1), held_out[0], 1, RolloutSettings("refitted"))
        for part in (whole, drawn)
    )
    for one, other in zip(p.probabilities[1:], q.probabilities[1:], strict=True):
        assert not np.array_equal(one, other)
        np.testing.assert_allclose(one, other, atol=0.06)
        assert np.abs(one.mean(axis=0) - other.mean(axis=0)).max() < 0.01


def test_tables_there_and_back():
    graph, labels = chain(600, 6)
    parts = [refit_all(graph, labels, start, 300)[0] for start in (1, 2, 3)]
    edges, concepts = refitted_tables(graph, parts)
    assert edges.num_rows == sum(len(part["weight"]) for part in parts)
    for start, part in enumerate(parts, start=1):
        found = refitted_graph(graph, edges, concepts, start)
        assert found.refitted_from == start
        layers = range(start + 1, 5)
        for name in FIELDS:
            values = np.concatenate([found.column(layer, name) for layer in layers])
            np.testing.assert_array_equal(values, part[name])
        weights = np.concatenate([found.layer_edges(layer).weights for layer in layers])
        np.testing.assert_array_equal(weights, part["weight"])
        assert (found.column(start, "n_train") == graph.column(start, "n_train")).all()
    last = refitted_graph(graph, edges, concepts, 4)  # nothing comes after it
    assert len(rollout(last, labels[3][:2], 4, RolloutSettings("refitted")).labels) == 1
    with pytest.raises(ValueError, match="the graph has"):
        refitted_graph(graph, edges.slice(1), concepts, 1)
