import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from cgraph import evaluation
from cgraph.codes import Codes
from cgraph.errors import DataError
from cgraph.evaluation import (
    FIGURE_SCHEMA,
    LAYER_SCHEMA,
    PAIR_SCHEMA,
    evaluate_pair,
    scored_mask,
    summarise_layer,
    summarise_pairs,
)

NAN = float("nan")


@dataclass
class FixedPredictors:
    """Predictors whose answers are given: what is measured does not depend on how they came."""

    children: np.ndarray
    offsets: np.ndarray
    fitted: np.ndarray
    scores: np.ndarray
    called: np.ndarray

    def decision(self, inputs):
        return self.scores

    def labels_of(self, scores):
        assert scores is self.scores
        return self.called

    def take(self, places):
        lengths = np.diff(self.offsets)[places]
        return FixedPredictors(
            self.children[places],
            np.concatenate([[0], np.cumsum(lengths)]),
            self.fitted[places],
            self.scores[:, places],
            self.called[:, places],
        )


def to_codes(dense):
    """Codes with these coefficients."""
    rows = sparse.csr_array(np.asarray(dense, dtype=np.float32))
    return Codes(
        rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data, rows.shape[1]
    )


def active_in(*images, n_images=8):
    """Codes of concepts that are active in the given images."""
    dense = np.zeros((n_images, len(images)), dtype=np.float32)
    for concept, rows in enumerate(images):
        dense[list(rows), concept] = 1
    return to_codes(dense)


def hand_case():
    """Eight images and three concepts, the last without a predictor."""
    first = [2, 1, -1, 3, 0.5, -2, -3, -4]
    scores = np.array([first, np.ones(8), np.full(8, NAN)], dtype=np.float32).T
    rising = np.arange(8, dtype=np.float32)
    return {
        "left_layer": 11,
        "predictors": FixedPredictors(
            children=np.arange(3),
            offsets=np.array([0, 2, 2, 2]),
            fitted=np.array([True, True, False]),
            scores=scores,
            called=active_in([0, 3], [], []).dense_labels(),
        ),
        "inputs": None,
        "labels": active_in([0, 1, 2, 3], [0, 4], [5]),
        "nearest": np.array([2, 0, 1]),
        "nearest_cosine": np.array([0.5, 0.25, -0.125], dtype=np.float32),
        "nearest_scores": np.stack([-rising, rising, np.zeros(8)], axis=1),
        # On held-out images left concept 0 would be the best parent of concept 0, on training
        # images it is left concept 1.
        "left_labels": active_in([0, 1, 2, 3], [0, 1, 6], [0, 4, 5]),
        "train_labels": active_in([0, 1, 2, 3], [5], []),
        "train_left_labels": active_in([0, 1, 2, 4], [0, 1, 2, 3, 4], [5]),
    }


def test_hand_computed_pair():
    table = evaluate_pair(**hand_case())
    assert table.schema == FIGURE_SCHEMA
    found = table.to_pydict()
    assert found["kind"] == ["class"] * 3
    assert found["layer"] == [12] * 3
    assert found["index"] == [0, 1, 2]
    assert found["n_parents"] == [2, 0, 0]
    assert found["nearest"] == [2, 0, 1]
    assert found["nearest_cosine"] == [0.5, 0.25, -0.125]
    expected = {
        "prevalence": [4 / 8, 2 / 8, 1 / 8],
        # 15 of 16 pairs in order; found at precision 1, 1, 1 and 4/5; TPR 3/4 and FPR 1/4.
        "auc": [15 / 16, 0.5, NAN],
        "ap": [0.95, 0.25, NAN],
        "f1_balanced": [0.75, 2 / 3, NAN],
        "f1_natural": [2 * 2 / (2 + 4), 0, NAN],
        # TPR 2/4 and FPR 1/4 for left concept 1; 2/2 and 1/6 for left concept 2; no training
        # image to choose by.
        "auc_best_parent": [0.625, 0.5 + (1 - 1 / 6) / 2, NAN],
        # All in order; 3 of 12 pairs; all tied.
        "auc_nearest": [1, 0.25, 0.5],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-12, err_msg=name)


def test_nearest_scores_may_be_computed_in_blocks(monkeypatch):
    case = hand_case()
    whole = evaluate_pair(**case)
    dense, asked = case["nearest_scores"], []

    def columns(concepts):
        asked.append(concepts.tolist())
        return dense[:, concepts]

    monkeypatch.setattr(evaluation, "_CONCEPTS_AT_ONCE", 2)
    blocked = evaluate_pair(**{**case, "nearest_scores": columns})
    assert asked == [[0, 1], [2]]
    for name in FIGURE_SCHEMA.names:
        np.testing.assert_array_equal(blocked[name].to_numpy(), whole[name].to_numpy())


def test_predictors_of_some_concepts_only():
    case = hand_case()
    case["predictors"] = FixedPredictors(
        children=np.array([0, 2]),
        offsets=np.array([0, 0, 3]),
        fitted=np.array([False, True]),
        scores=case["predictors"].scores[:, [2, 0]],
        called=sparse.csr_array(active_in([1], [5]).dense_labels()),
    )
    found = evaluate_pair(**case)
    # Concept 2 is active in the image of the third lowest score.
    expected = {"auc": 2 / 7, "ap": 1 / 6, "f1_balanced": 0, "f1_natural": 1}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name].to_numpy(), [NAN, NAN, value], err_msg=name)
    assert found["n_parents"].to_pylist() == [0, 0, 3]
    assert found["auc_nearest"].to_pylist() == [1, 0.25, 0.5]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_figures_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    left, right = rng.random((90, 5)) < 0.4, rng.random((90, 6)) < 0.3
    train, held_out = np.arange(60), np.arange(60, 90)
    scores = rng.normal(size=(30, 6)).round(1).astype(np.float32)
    nearest = rng.integers(0, 5, 6)
    pre_activations = rng.normal(size=(30, 5)).round(1)
    called = scores > 0.5
    table = evaluate_pair(
        left_layer=1,
        predictors=FixedPredictors(
            np.arange(6), np.zeros(7, dtype=int), np.ones(6, dtype=bool), scores, called
        ),
        inputs=None,
        labels=to_codes(right[held_out]),
        nearest=nearest,
        nearest_cosine=np.zeros(6),
        nearest_scores=pre_activations[:, nearest],
        left_labels=to_codes(left[held_out]),
        train_labels=to_codes(right[train]),
        train_left_labels=to_codes(left[train]),
    )
    for i, row in enumerate(table.to_pylist()):
        truth = right[held_out, i]
        if not truth.any() or truth.all():
            continue
        best = max(range(5), key=lambda j: round(roc_auc_score(right[train, i], left[train, j]), 9))
        expected = {
            "auc": roc_auc_score(truth, scores[:, i]),
            "ap": average_precision_score(truth, scores[:, i]),
            "f1_natural": f1_score(truth, called[:, i]),
            "auc_best_parent": roc_auc_score(truth, left[held_out, best]),
            "auc_nearest": roc_auc_score(truth, pre_activations[:, nearest[i]]),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1e-12), name


def test_images_and_concepts_that_do_not_belong_together_are_refused():
    case = hand_case()
    for change, message in (
        ({"left_labels": active_in([0], [1], [2], n_images=9)}, "8 held-out images.*8 and 9"),
        ({"train_labels": active_in([0], [1])}, "2 right concepts, the held-out codes 3 and 3"),
        ({"nearest": np.array([0, 1])}, r"nearest has the shape \(2,\).*3 concepts"),
        ({"nearest_cosine": np.zeros(4)}, r"nearest_cosine has the shape \(4,\)"),
        ({"nearest_scores": np.zeros((7, 3))}, r"\(8, 3\).*\(7, 3\)"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate_pair(**{**case, **change})


def test_scored_needs_positives_a_prevalence_and_a_predictor():
    n_train = np.array([40, 39, 40, 59, 60, 0, 50])
    n_held_out = np.array([10, 10, 9, 10, 10, 0, 30])
    fitted = np.array([True, True, True, True, True, False, False])
    expected = [True, False, False, True, False, False, False]
    assert scored_mask(n_train, n_held_out, 100, fitted).tolist() == expected


def figure_table(layer, **columns):
    n_concepts = len(columns["auc"])
    filled = {name: columns.get(name, np.full(n_concepts, NAN)) for name in FIGURE_SCHEMA.names}
    filled["kind"] = ["class"] * n_concepts
    filled["layer"] = np.full(n_concepts, layer)
    filled["index"] = np.arange(n_concepts)
    filled["n_parents"] = columns.get("n_parents", np.zeros(n_concepts))
    filled["nearest"] = np.zeros(n_concepts)
    return pa.table(filled).cast(FIGURE_SCHEMA)


def graph_concepts(*layers):
    """Columns of the graph's concepts: per layer scored, fitted, converged, alive."""
    columns = ("layer", "index", "scored", "fitted", "converged", "alive")
    rows = [
        (layer, index, *(value == "1" for value in flags))
        for layer, concepts in enumerate(layers, start=1)
        for index, flags in enumerate(concepts)
    ]
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


def test_averages_are_over_scored_concepts_only():
    figures = pa.concat_tables(
        [
            figure_table(
                2,
                prevalence=[0.1, 0.2, 0.9, 0.3],
                auc=[0.9, 0.5, 0.1, 0.8],
                ap=[0.5, 0.25, 1.0, 0.75],
                f1_balanced=[0.9, 0.6, 0.0, 0.6],
                f1_natural=[0.4, 0.2, 1.0, 0.0],
                n_parents=[1, 2, 100, 6],
                auc_best_parent=[0.7, 0.5, 0.0, 0.6],
                auc_nearest=[0.8, 0.6, 0.0, 0.7],
            ),
            figure_table(3, auc=[NAN, 0.7]),
        ]
    )
    concepts = graph_concepts(["0001", "0001"], ["1111", "1101", "0111", "1111"], ["0000", "0101"])
    table = summarise_pairs(figures, concepts)
    assert table.schema == PAIR_SCHEMA
    first, second = table.to_pylist()
    assert first == pytest.approx(
        {
            "left": 1,
            "right": 2,
            "auc_mean": 2.2 / 3,
            "auc_std": np.sqrt((0.9**2 + 0.5**2 + 0.8**2) / 3 - (2.2 / 3) ** 2),
            "auc_median": 0.8,
            "ap_mean": 0.5,
            "prevalence_mean": 0.2,
            "f1_balanced_mean": 0.7,
            "f1_balanced_std": np.sqrt(0.02),
            "f1_balanced_median": 0.6,
            "f1_balanced_all_positive": 2 / 3,
            "f1_natural_mean": 0.2,
            "parents_mean": 3,
            "parents_median": 2,
            "parents_max": 6,
            "auc_best_parent_mean": 0.6,
            "auc_nearest_mean": 0.7,
            "n_scored": 3,
            "n_alive": 4,
            "n_concepts": 4,
            "n_unconverged": 1,
        }
    )
    # No scored concept: counts stay, averages are null and so is their JSON.
    counts = {"left": 2, "right": 3, "n_scored": 0, "n_alive": 1, "n_concepts": 2}
    counts |= {"n_unconverged": 1, "f1_balanced_all_positive": pytest.approx(2 / 3)}
    assert second == {**dict.fromkeys(PAIR_SCHEMA.names), **counts}
    assert '"auc_mean": null' in json.dumps(second, allow_nan=False)


def test_undefined_figures_are_left_out_of_averages():
    figures = figure_table(2, auc=[0.75, NAN])
    [row] = summarise_pairs(figures, graph_concepts([], ["1111", "1111"])).to_pylist()
    assert (row["auc_mean"], row["n_scored"]) == (0.75, 2)
    assert row["ap_mean"] is None


def test_figures_of_another_graph_are_refused():
    with pytest.raises(DataError, match=r"figures of layer 2 and the graph.*Evaluate"):
        summarise_pairs(figure_table(2, auc=[0.5, 0.5]), graph_concepts(["1111"], ["1111"]))


def test_figures_of_no_pair():
    empty = figure_table(2, auc=[])
    assert summarise_pairs(empty, graph_concepts(["1111"])).num_rows == 0


def test_hand_computed_layer():
    train = np.zeros((100, 4), dtype=np.float32)
    train[:80, 0] = 1
    train[:10, 0] = -1
    train[:40, 1] = -2
    train[:3, 2] = 1
    train[3:5, 2] = -1
    held_out = np.array([[1, 1, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]])
    found = summarise_layer(7, to_codes(train), to_codes(held_out), 0.875)
    assert found == {
        "layer": 7,
        "explained_variance": 0.875,
        "nonzeros_mean": 1.0,
        "n_concepts": 4,
        "n_dead": 1,
        "n_rare": 2,
        "max_prevalence": 0.8,
        # 10 of 80, 0 of 40 and 2 of 5 uses.
        "minority_sign_share": pytest.approx(12 / 125),
        "median_positives": 22.5,
    }
    assert list(found) == LAYER_SCHEMA.names
    assert pa.Table.from_pylist([found], schema=LAYER_SCHEMA).num_rows == 1


def test_layer_without_uses_or_images():
    train, nobody = to_codes(np.zeros((5, 3))), to_codes(np.zeros((0, 3)))
    found = summarise_layer(1, train, nobody, NAN)
    assert (found["n_dead"], found["minority_sign_share"]) == (3, 0.0)
    assert found["explained_variance"] is None
    assert found["nonzeros_mean"] is None
    json.dumps(found, allow_nan=False)
    assert summarise_layer(1, nobody, nobody, 0.5)["max_prevalence"] is None


def test_concepts_are_measured_a_few_at_a_time(tiny_study, monkeypatch):
    """Figures do not depend on the blocks, and no array holds all concepts of all images."""
    from cgraph import evaluation
    from cgraph.config import HELD_OUT, TRAIN
    from cgraph.manifest import CONCEPTS, EDGES
    from cgraph.predictor import SparseInputs
    from cgraph.predictor_tables import predictors_of_layer
    from cgraph.store import read_table

    predictors = predictors_of_layer(
        read_table(tiny_study.file(CONCEPTS)), read_table(tiny_study.file(EDGES)), 3
    )
    held_out, train = tiny_study.rows(HELD_OUT), tiny_study.rows(TRAIN)
    left, right = tiny_study.codes(2), tiny_study.codes(3)
    widths = []
    inputs = SparseInputs(left.take(held_out), binary=True)
    decide = type(predictors).decision

    def decision(self, inputs):
        widths.append(len(self.children))
        return decide(self, inputs)

    def measure():
        return evaluation.evaluate_pair(
            2,
            predictors,
            inputs,
            right.take(held_out),
            nearest=np.zeros(right.n_atoms, dtype=int),
            nearest_cosine=np.zeros(right.n_atoms),
            nearest_scores=lambda right: np.zeros((len(held_out), len(right))),
            left_labels=left.take(held_out),
            train_labels=right.take(train),
            train_left_labels=left.take(train),
        )

    expected = measure()
    monkeypatch.setattr(evaluation, "_CONCEPTS_AT_ONCE", 3)
    monkeypatch.setattr(type(predictors), "decision", decision)
    assert measure() == expected
    assert max(widths) == 3
    natural = expected["f1_natural"].to_numpy()
    called = predictors.predicted_labels(inputs)
    truth = right.take(held_out).dense_labels()
    both = (called & truth).sum(axis=0)
    fitted = predictors.fitted & ((called.sum(axis=0) + truth.sum(axis=0)) > 0)
    np.testing.assert_allclose(
        natural[fitted], (2 * both / (called.sum(axis=0) + truth.sum(axis=0)))[fitted]
    )
