"""Scores of held-out images: those of the graph, image by image, and the stored figures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny
from planted_study import N_CONCEPTS, write_study
from sklearn.metrics import roc_auc_score, roc_curve

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.errors import ConfigError, DataError
from cgraph.held_out import HeldOutPair
from cgraph.metrics import auc, f1_natural
from cgraph.pair_curves import curves_on, measure_curves
from cgraph.pipeline import build_study
from cgraph.study import Study

DEMO = Path(__file__).parents[1] / "data" / "demo"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return Study.open(write_study(tmp_path_factory.mktemp("s") / "planted", n_layers=3))


@pytest.fixture(scope="module")
def demo():
    return Study.open(DEMO)


def with_inputs(study, kind, scales=(1.0, 2.5)):
    graph = {"inputs": kind, "input_scales": list(scales)}
    changed = Study(study.path, dataclasses.replace(study.manifest, graph=graph))
    changed._checked = study._checked
    return changed


@pytest.mark.parametrize("kind", ["labels", "codes"])
def test_scores_are_the_graphs_image_by_image(planted, kind):
    study = with_inputs(planted, kind)
    pair = HeldOutPair(study, 3)
    found = pair.scores(np.arange(N_CONCEPTS))
    for place, row in enumerate(study.rows(HELD_OUT)):
        indices, values = study.codes(2).row(row)
        given = values / 2.5 if kind == "codes" else None
        np.testing.assert_allclose(found[place], study.graph.score(3, indices, given), rtol=2e-5)
    np.testing.assert_array_equal(
        pair.labels(np.arange(N_CONCEPTS)).toarray() > 0,
        study.codes(3).take(study.rows(HELD_OUT)).dense_labels(),
    )


def test_probabilities_and_thresholds_are_those_of_the_graph(planted):
    pair = HeldOutPair(planted, 2)
    found = pair.concept(5)
    for place in range(0, len(found.rows), 7):
        indices, _ = planted.codes(1).row(found.rows[place])
        wanted = planted.graph.probability(2, indices, None, np.array([5]))[0]
        assert found.probabilities[place] == pytest.approx(wanted, rel=1e-5)
    assert found.threshold == pytest.approx(0.4)
    # The planted pair is slope 1 and offset -0.5: balanced odds of 1 are p = 1 / (1 + e^.5).
    assert found.half == pytest.approx(1 / (1 + np.exp(0.5)), rel=1e-6)


def test_contributions_add_up_to_the_score(planted):
    pair = HeldOutPair(with_inputs(planted, "codes"), 3)
    intercept = planted.graph.record(ConceptId(3, 4)).intercept
    scores = pair.concept(4).scores
    for place in range(len(scores)):
        active = pair.contributions(4, place)
        assert intercept + sum(v for _, v in active) == pytest.approx(scores[place], rel=1e-5)
        sizes = [abs(value) for _, value in active]
        assert sizes == sorted(sizes, reverse=True)
    assert {c for p in range(len(scores)) for c, _ in pair.contributions(4, p)} <= {
        ConceptId(2, int(i)) for i in planted.graph.parents(ConceptId(3, 4)).indices
    }


def test_the_most_confident_mistakes_are_first_at_every_threshold(planted):
    found = HeldOutPair(planted, 3).concept(7)
    p, positive = found.probabilities, found.positive
    without, having = found.most_confident_mistakes(6)
    for threshold in (0.05, 0.3, 0.5, 0.9):
        false_positives = np.flatnonzero(~positive & (p >= threshold))
        ranked = false_positives[np.argsort(-p[false_positives], kind="stable")][:6]
        np.testing.assert_array_equal(without[p[without] >= threshold], ranked)
        missed = np.flatnonzero(positive & (p < threshold))
        ranked = missed[np.argsort(p[missed], kind="stable")][:6]
        np.testing.assert_array_equal(having[p[having] < threshold], ranked)


@pytest.mark.parametrize("layer", [2, 12])
def test_stored_figures_of_the_bundled_study_come_out_again(demo, layer):
    table = demo.evaluation("concepts").to_pydict()
    stored = {
        index: {name: table[name][row] for name in ("auc", "ap", "f1_natural", "f1_balanced")}
        for row, (of, index) in enumerate(zip(table["layer"], table["index"], strict=True))
        if of == layer
    }
    pair = HeldOutPair(demo, layer)
    for index in np.flatnonzero(demo.graph.column(layer, "scored"))[::7]:
        found = pair.concept(int(index))
        figures = stored[int(index)]
        assert roc_auc_score(found.positive, found.scores) == pytest.approx(
            figures["auc"], abs=1e-12
        )
        predicted = found.probabilities >= found.threshold
        f1 = f1_natural(predicted[:, None], found.positive[:, None])[0]
        assert f1 == pytest.approx(figures["f1_natural"], abs=1e-12)
        table_at = found.points.confusion(found.threshold)
        assert (table_at.tp, table_at.fp) == (
            int((predicted & found.positive).sum()),
            int((predicted & ~found.positive).sum()),
        )
        half = found.points.confusion(found.half)
        tpr, fpr = half.tp / found.points.n_pos, half.fp / found.points.n_neg
        assert 2 * tpr / (1 + tpr + fpr) == pytest.approx(figures["f1_balanced"], abs=1e-3)


def test_curves_of_a_pair_are_scikit_learns(demo):
    scored = np.flatnonzero(demo.graph.column(5, "scored"))
    pair = HeldOutPair(demo, 5)
    curves = measure_curves(pair, scored)
    np.testing.assert_array_equal(curves.concepts, scored)
    wanted = []
    for index in scored:
        one = pair.concept(int(index))
        fpr, tpr, _ = roc_curve(one.positive, one.scores)
        # Where the curve is upright, NumPy may take either end: ask just to the right.
        wanted.append(np.interp(curves.fpr, fpr, tpr))
    np.testing.assert_allclose(curves.middle[1:], np.quantile(wanted, 0.5, axis=0)[1:], atol=0.01)
    np.testing.assert_allclose(curves.low[1:], np.quantile(wanted, 0.05, axis=0)[1:], atol=0.03)
    assert curves.density.shape == (256, 256)
    assert (curves.density.sum(axis=0) >= len(scored)).all()
    assert curves.density.max() <= len(scored)
    assert ((curves.ap_balanced > 0.5) & (curves.ap_balanced <= 1)).all()
    assert curves_on(pair, scored[:3], 11).shape == (3, 11)


def test_pre_activations_are_computed_from_kept_tokens(tiny_inputs, tmp_path):
    predictor = dataclasses.replace(tiny.CONFIG.predictor, inputs="pre-activations")
    config = dataclasses.replace(tiny.CONFIG, predictor=predictor, keep_tokens=True)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    table = study.evaluation("concepts").to_pydict()
    scored = np.flatnonzero(study.graph.column(3, "scored"))
    pair = HeldOutPair(study, 3)
    stored = [
        area
        for of, index, area in zip(table["layer"], table["index"], table["auc"], strict=True)
        if of == 3 and index in scored
    ]
    np.testing.assert_allclose(auc(pair.scores(scored), pair.labels(scored)), stored, atol=1e-6)
    one = pair.concept(int(scored[0]))
    intercept = study.graph.record(one.concept).intercept
    active = pair.contributions(one.concept.index, 0)
    assert intercept + sum(v for _, v in active) == pytest.approx(one.scores[0], rel=1e-4)


def test_no_scored_concept_gives_no_curve(demo):
    curves = measure_curves(HeldOutPair(demo, 5), np.empty(0, dtype=int))
    assert len(curves.concepts) == 0
    assert curves.density.sum() == 0
    assert np.isnan(curves.middle).all()


def test_what_cannot_be_scored_says_why(planted):
    with pytest.raises(DataError, match=r"take pre-activations, and it keeps no tokens"):
        HeldOutPair(with_inputs(planted, "pre-activations"), 2)
    with pytest.raises(ConfigError, match="layer"):
        HeldOutPair(planted, 9)
    bare = Study(planted.path, planted.manifest)
    bare._checked = planted._checked
    bare.__dict__["split"] = np.array(["train"] * len(planted.image_ids))
    with pytest.raises(DataError, match="keeps no held-out images"):
        HeldOutPair(bare, 2)
