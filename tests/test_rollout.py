"""Rollouts against loops over dense weights, and against the predictors that graphs come from."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from graph_examples import hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph import rollout as module
from cgraph.concept import ConceptId
from cgraph.edits import PLAIN_RULES, PROBABILITIES, Edit, RolloutSettings
from cgraph.errors import ConfigError, DataError
from cgraph.rollout import rollout, usual_number

SIZES = (5, 6, 4, 5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def probability_by_hand(graph, layer, weights, inputs, index, kind):
    """p of one concept, from one row of inputs, with plain numbers."""
    record = graph.record(ConceptId(layer, index))
    prevalence = float(graph.prevalence(layer)[index])
    prior = math.log(prevalence / (1 - prevalence)) if 0 < prevalence < 1 else -20.0
    if not record.fitted:
        return sigmoid(prior)
    score = record.intercept + sum(
        float(w) * float(x) for w, x in zip(weights[layer - 2][index], inputs, strict=True)
    )
    if kind == "balanced":
        return sigmoid(score)
    if kind == "prior":
        return sigmoid(score + prior)
    return sigmoid(record.slope * score + record.offset)


def by_hand(graph, weights, labels, start, rule, kind, edit=None, k=None):
    """Labels and probabilities of each layer for one image: ``max``, ``top-k`` or mean field."""
    edit = edit or Edit()

    def forced(layer, values):
        values = list(values)
        for concept in edit:
            if concept.layer == layer:
                values[concept.index] = float(edit.label(concept))
        return values

    passed = forced(start, [float(label) for label in labels])
    found = []
    for layer in range(start + 1, graph.n_layers + 1):
        n = graph.n_concepts(layer)
        p = [probability_by_hand(graph, layer, weights, passed, i, kind) for i in range(n)]
        if rule == "top-k":
            best = sorted(range(n), key=lambda i: (-np.float32(p[i]), i))[:k]
            on = [float(i in best) for i in range(n)]
        else:
            on = []
            for i in range(n):
                record = graph.record(ConceptId(layer, i))
                tau = record.threshold if record.fitted else 0.5
                # In every natural world a label is on where the calibrated p reaches τ.
                calibrated = probability_by_hand(graph, layer, weights, passed, i, "calibrated")
                # But for the paper's own, where it is on from one half.
                on.append(float(p[i] >= 0.5 if kind == "balanced" else calibrated >= tau))
        p, on = forced(layer, p), forced(layer, on)
        passed = p if rule == "probabilities" else on
        found.append((on, p))
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["max", "top-k", "probabilities"]),
    st.sampled_from(PROBABILITIES),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_rules_without_chance_equal_loops_over_dense_weights(seed, rule, kind, start, k):
    graph, weights = random_graph(SIZES, 0.6, seed)
    rng = np.random.default_rng(seed)
    labels = rng.random((3, SIZES[start - 1])) < 0.5
    layer = int(rng.integers(start, 5))
    edit = Edit((ConceptId(layer, 1),), (ConceptId(layer, 2), ConceptId(start, 0)))
    chosen = RolloutSettings(rule, probability=kind, k=k)
    found = rollout(graph, labels, start, chosen, edit)
    for row in range(3):
        expected = by_hand(graph, weights, labels[row], start, rule, kind, edit, k)
        for place, (on, p) in enumerate(expected, start=1):
            np.testing.assert_allclose(found.probabilities[place][row], p, atol=2e-6)
            if rule == "max" or kind in ("calibrated", "balanced"):
                assert found.labels[place][row].tolist() == [bool(label) for label in on]


def test_sampling_tends_to_the_exact_probabilities():
    """Every combination of labels of two layers, weighted by its probability."""
    sizes = (3, 3, 2)
    graph, weights = random_graph(sizes, 0.9, 4)
    first = np.array([True, False, True])
    exact = np.zeros(2)
    p2 = [probability_by_hand(graph, 2, weights, first, i, "calibrated") for i in range(3)]
    for combination in itertools.product([0, 1], repeat=3):
        chance = math.prod(p if on else 1 - p for p, on in zip(p2, combination, strict=True))
        exact += chance * np.array(
            [probability_by_hand(graph, 3, weights, combination, i, "calibrated") for i in range(2)]
        )
    found = rollout(graph, first, 1, RolloutSettings("sample", n_draws=1000, seed=5))
    np.testing.assert_allclose(found.probabilities[1][0], p2, atol=1e-6)
    np.testing.assert_allclose(found.probabilities[2][0], exact, atol=0.025)
    np.testing.assert_allclose(found.passed[1][0], p2, atol=0.06)


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_few_and_many_inputs_are_summed_alike(share):
    """Sparse and dense inputs take two ways to the same scores."""
    graph, weights = random_graph((60, 40), 0.3, 3)
    rng = np.random.default_rng(1)
    size = (2 * module.MANY_ROWS, 60)
    inputs = np.where(rng.random(size) < share, rng.random(size), 0).astype(np.float32)
    model = module.layer_model(graph, 2)
    expected = inputs.astype(np.float64) @ weights[0].T.astype(np.float64) + model.intercept
    np.testing.assert_allclose(model.scores(inputs), expected, atol=1e-5)
    # To the last bit what an image gets when it is alone.
    alone = np.concatenate([model.scores(inputs[row : row + 1]) for row in range(len(inputs))])
    assert (model.scores(inputs) == alone).all()


def refitted_by(graph, start, scale):
    """A graph whose predictors from one layer on are the graph's own, weights multiplied."""
    later = range(start + 1, graph.n_layers + 1)
    names = ("intercept", "slope", "offset", "threshold")
    columns = {n: np.concatenate([graph.column(layer, n) for layer in later]) for n in names}
    weights = [graph.layer_edges(layer).weights * np.float32(scale) for layer in later]
    return graph.refitted(start, weights, columns)


def test_the_rule_refitted_passes_probabilities_through_weights_of_its_own():
    graph, weights = random_graph(SIZES, 0.6, 11)
    labels = np.random.default_rng(2).random((4, SIZES[1])) < 0.5
    again = refitted_by(graph, 2, 1.0)
    mean_field = rollout(graph, labels, 2, RolloutSettings("probabilities"))
    for one, other in zip(
        rollout(again, labels, 2, RolloutSettings("refitted")).probabilities,
        mean_field.probabilities,
        strict=True,
    ):
        assert (one == other).all()
    doubled = rollout(refitted_by(graph, 2, 2.0), labels, 2, RolloutSettings("refitted"))
    twice = [weights[0], *(2 * dense for dense in weights[1:])]
    for row in range(4):
        found = by_hand(graph, twice, labels[row], 2, "probabilities", "calibrated")
        for place, (_, p) in enumerate(found, start=1):
            np.testing.assert_allclose(doubled.probabilities[place][row], p, atol=2e-6)
    # The graph that people read is as it was.
    assert (graph.weight_matrix(3).toarray() == weights[1]).all()


def test_refitted_predictors_are_for_one_rule_and_one_start_layer():
    graph, _ = random_graph(SIZES, 0.6, 11)
    labels = np.ones((1, SIZES[1]), dtype=bool)
    refitted = refitted_by(graph, 2, 1.0)
    for given_graph, start, rule in (
        (graph, 2, "refitted"),
        (refitted, 2, "max"),
        (refitted, 2, None),
        (refitted_by(graph, 1, 1.0), 2, "refitted"),
    ):
        with pytest.raises(ConfigError, match="rolled_through"):
            rollout(given_graph, labels, start, RolloutSettings(rule))


def test_balanced_probabilities_light_up_half_the_layer():
    """Without a word from the parents a balanced fit says one half, whatever the prevalence."""
    graph, _ = random_graph((10, 20), 0.0, 0)
    zero = dataclasses.replace(
        module.layer_model(graph, 2), intercept=np.zeros(20, dtype=np.float32)
    )
    scores = zero.scores(np.ones((1, 10), dtype=bool))
    assert (zero.probabilities(scores, "balanced") == 0.5).all()
    assert (zero.probabilities(scores, "prior") == np.float32(0.1)).all()


def test_labels_of_max_are_those_that_predictors_predict():
    """Parity with `Predictors.predicted_labels`, whose thresholds the graph stores."""
    from cgraph.codes import Codes
    from cgraph.predictor import Predictors, SparseInputs

    graph, weights = random_graph((30, 40), 0.3, 7)
    offsets = np.concatenate([[0], np.cumsum((weights[0] != 0).sum(axis=1))])
    none = np.zeros(40)
    predictors = Predictors(
        children=np.arange(40, dtype=np.int32),
        offsets=offsets,
        parents=np.nonzero(weights[0])[1].astype(np.int32),
        weights=weights[0][weights[0] != 0],
        selection_rates=np.ones(offsets[-1], dtype=np.float32),
        fitted=np.ones(40, dtype=bool),
        n_positives=none, bag_positives=none, penalty=none, violation=none, converged=none,
        **{name: graph.column(2, name) for name in ("intercept", "slope", "offset", "threshold")},
        prevalence=graph.prevalence(2).astype(np.float32),
    )  # fmt: skip
    labels = np.random.default_rng(0).random((200, 30)) < 0.2
    rows, indices = np.nonzero(labels)
    starts = np.concatenate([[0], np.cumsum(labels.sum(axis=1))])
    codes = Codes(starts, indices.astype(np.int32), np.ones(len(rows), np.float32), 30)
    inputs = SparseInputs(codes, binary=True)
    found = rollout(graph, labels, 1, RolloutSettings("max"))
    assert (found.labels[1] == predictors.predicted_labels(inputs)).all()
    for kind in PROBABILITIES:
        found = rollout(graph, labels, 1, RolloutSettings("max", probability=kind))
        expected = predictors.probabilities(inputs, kind)
        np.testing.assert_allclose(found.probabilities[1], expected, atol=1e-6)


def test_the_hand_computed_graph():
    """L1/0 and L1/1 on: L2/0 scores -1 + 2 + 1 = 2, so p = σ(1·2 - 1); L2/2 has no predictor."""
    found = rollout(hand_graph(), [True, True, False], 1, RolloutSettings("max"))
    assert found.probabilities[1][0, 0] == pytest.approx(sigmoid(1.0))
    assert found.probabilities[1][0, 1] == pytest.approx(sigmoid(0.5 * (-3 + 4)))
    assert found.probabilities[1][0, 2] == pytest.approx(0.0, abs=1e-5)
    assert found.labels[1].tolist() == [[True, True, False]]
    # L3/0: -2 + 3 + 1 = 2; L3/1: 0.5 - 2 = -1.5, p = σ(2·(-1.5) + 1).
    assert found.scores[2][0].tolist() == [2.0, -1.5]
    assert found.labels[2].tolist() == [[True, False]]
    assert np.isnan(found.scores[1][0, 2])


@pytest.mark.parametrize("rule", PLAIN_RULES)
def test_an_image_gets_the_same_answer_in_any_batch(rule, monkeypatch):
    graph, _ = random_graph(SIZES, 0.6, 1)
    labels = np.random.default_rng(2).random((7, 5)) < 0.5
    chosen = RolloutSettings(rule, n_draws=6, seed=3)
    together = rollout(graph, labels, 1, chosen, keys=range(10, 17))
    alone = rollout(graph, labels[4], 1, chosen, keys=[14])
    monkeypatch.setattr(module, "CELLS", 40)  # a chunk for each image
    apart = rollout(graph, labels, 1, chosen, keys=range(10, 17))
    for kind in ("labels", "probabilities", "passed", "scores"):
        for whole, one, chunked in zip(
            getattr(together, kind), getattr(alone, kind), getattr(apart, kind), strict=True
        ):
            np.testing.assert_array_equal(whole[4], one[0])
            np.testing.assert_array_equal(whole, chunked)


def test_edited_and_unedited_runs_draw_the_same():
    graph, _ = random_graph(SIZES, 0.4, 3)
    chosen = RolloutSettings("sample", n_draws=40, seed=1)
    labels = np.array([True, False, True, True, False])
    plain = rollout(graph, labels, 1, chosen)
    nothing_new = rollout(graph, labels, 1, chosen, Edit((ConceptId(1, 0),)))
    for one, other in zip(plain.passed, nothing_new.passed, strict=True):
        np.testing.assert_array_equal(one, other)
    other_seed = rollout(graph, labels, 1, dataclasses.replace(chosen, seed=2))
    assert any((a != b).any() for a, b in zip(plain.passed, other_seed.passed, strict=True))


def test_every_image_may_have_an_edit_of_its_own():
    graph, _ = random_graph(SIZES, 0.6, 5)
    labels = np.zeros((2, 5), dtype=bool)
    edits = [Edit((ConceptId(1, 0),)), Edit((ConceptId(3, 1),))]
    together = rollout(graph, labels, 1, RolloutSettings(), edits)
    for row, edit in enumerate(edits):
        alone = rollout(graph, labels[row], 1, RolloutSettings(), edit)
        for whole, one in zip(together.probabilities, alone.probabilities, strict=True):
            np.testing.assert_array_equal(whole[row], one[0])


def test_what_active_concepts_pass_on_scales_their_contributions():
    graph, weights = random_graph((4, 5), 0.9, 6)
    labels = np.array([True, True, False, True])
    values = np.array([0.5, 2.0, 1.0, 3.0])
    found = rollout(graph, labels, 1, RolloutSettings(), inputs=[values, np.ones(5)])
    expected = weights[0] @ (labels * values) + graph.column(2, "intercept")
    np.testing.assert_allclose(found.scores[1][0], expected, rtol=1e-5)


def test_top_k_puts_on_as_many_as_usual():
    graph, _ = random_graph((20, 30), 0.5, 2)
    usual = usual_number(graph, 2)
    assert usual == 3  # 30 concepts, each in a tenth of the images
    found = rollout(graph, np.ones(20, bool), 1, RolloutSettings("top-k"))
    assert found.labels[1].sum() == usual


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"start": 5}, ConfigError, "The start layer is 5: this graph has 1 to 4"),
        ({"labels": np.zeros(4, bool)}, DataError, "layer 1 needs (n, 5)"),
        ({"edits": Edit((ConceptId(2, 6),))}, ConfigError, "There is no concept L2/6"),
        ({"edits": Edit((ConceptId(9, 0),))}, ConfigError, "1 to 4 can be set"),
        ({"edits": Edit((ConceptId(1, 0),)), "start": 2, "labels": np.zeros(6, bool)},
         ConfigError, "from start layer 2 on"),
        ({"edits": [Edit()] * 2}, DataError, "2 edits for 1 images"),
        ({"keys": [1, 2]}, DataError, "2 keys for 1 images"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes, error, sentence):
    graph, _ = random_graph(SIZES, 0.6, 1)
    values = {"labels": np.zeros(5, bool), "start": 1, "settings": RolloutSettings()} | changes
    with pytest.raises(error) as refusal:
        rollout(graph, **values)
    assert sentence in str(refusal.value)
