"""The main job on real input: a trained model and photographs, under both presets."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cgraph.bag_fits import fit_bags
from cgraph.bagging import draw_bags
from cgraph.cli import main
from cgraph.config import preset
from cgraph.decoding import load_image
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.predictor import SparseInputs
from cgraph.proximal_newton import Settings
from cgraph.tracing import load_model, trace_image, trace_row


@pytest.fixture(scope="module")
def photographs(real_dir):
    """All photographs of the parquet file: path and bytes."""
    return pq.read_table(real_dir / "photos-64px.parquet")["image"].to_pylist()


def test_the_sample_is_taken_over_the_whole_set(real_study, photographs):
    row_of = {photograph["path"]: row for row, photograph in enumerate(photographs)}
    rows = [row_of[image_id] for image_id in real_study.image_ids]
    assert len(set(rows)) == real_study.manifest.images["n_sampled"] == 1500
    assert real_study.manifest.images["n_listed"] == 10_000
    assert np.histogram(rows, bins=10, range=(0, 10_000))[0].min() > 100


def test_concepts_are_predicted_far_better_than_by_chance(real_study):
    info = real_study.info()
    assert len(info["pairs"]) == 11
    for pair in info["pairs"]:
        assert pair["n_alive"] == pair["n_concepts"] == 48
        assert pair["n_scored"] >= 0.8 * pair["n_alive"]
        assert pair["auc_mean"] > 0.75
        assert pair["auc_mean"] > pair["auc_best_parent_mean"]
        assert pair["ap_mean"] > 1.5 * pair["prevalence_mean"]
        assert pair["n_unconverged"] == 0
    assert np.mean([pair["auc_mean"] for pair in info["pairs"]]) > 0.85
    for layer in info["layers"]:
        assert layer["explained_variance"] > 0.3
        assert layer["n_dead"] == 0
        assert layer["nonzeros_mean"] <= 10


def test_a_stored_image_and_the_same_image_given_again(real_study, photographs):
    model = load_model(real_study)
    bytes_of = {photograph["path"]: photograph["bytes"] for photograph in photographs}
    same = total = 0
    for row in real_study.rows("held-out")[:4]:
        image = load_image(bytes_of[real_study.image_ids[row]], "photograph")
        fresh = trace_image(real_study, model, image, "photograph")
        stored = trace_row(real_study, int(row))
        for one, two in zip(fresh.layers, stored.layers, strict=True):
            same += len({a.concept for a in one} & {a.concept for a in two})
            total += len(two)
    # A photograph passes the model alone here and in a batch there; rounding may swap a last place.
    assert same >= 0.99 * total


def test_a_scene_photograph_on_the_command_line(real_study, real_dir, tmp_path, capsys):
    scene = sorted((real_dir / "scenes" / "forest").iterdir())[0]
    target = tmp_path / "trace.json"
    arguments = ["trace", str(scene), "--study", str(real_study.path), "--json", str(target)]
    assert main(arguments) == 0
    assert "layer 12: " in capsys.readouterr().out
    (trace,) = json.loads(target.read_text())
    assert [len(layer) for layer in trace["layers"]] == [10] * 12
    assert all(-0.5 < share < 1 for share in trace["explained"])
    assert len(trace["edges"]) > 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["default", "paper"])
def test_the_goal_on_all_photographs(name: str, real_dir: Path, tmp_path: Path):
    """DeiT-tiny on 10,000 photographs: takes about ten minutes a preset on two cores."""
    from cgraph.pipeline import build_study

    study = build_study(
        real_dir / "deit-tiny", real_dir / "photos-64px.parquet", tmp_path / name, preset(name)
    )
    pairs = study.info()["pairs"]
    if name == "default":
        assert np.mean([pair["auc_mean"] for pair in pairs]) >= 0.92
        assert sum(p["n_scored"] for p in pairs) >= 0.9 * sum(p["n_alive"] for p in pairs)
    else:
        assert all(pair["n_concepts"] == 768 for pair in pairs)
        assert (study.codes(5).coefficients < 0).any()


def test_images_of_another_kind_are_unusual_among_photographs(real_study, photographs):
    from PIL import Image

    from cgraph.scene_drawing import draw
    from cgraph.scenes import sample_scene

    assert real_study.usual.false_alarms <= 0.03
    model, rng = load_model(real_study), np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(10)]
    seen = {*real_study.image_ids}
    others = [p["bytes"] for p in photographs if p["path"] not in seen][:40]
    own = [load_image(data, "photograph") for data in others]
    kinds = {"noise": noise, "own": own, "drawn": [draw(sample_scene(n), 64) for n in range(20)]}
    flagged = {
        kind: np.mean([trace_image(real_study, model, image, kind).unusual for image in images])
        for kind, images in kinds.items()
    }
    print(flagged)
    assert flagged["own"] <= 0.1
    assert flagged["noise"] >= 0.9


def test_common_concepts_of_real_layers_are_fitted_as_by_liblinear(real_study):
    """Prevalence decides the length of the bags: the commonest concept, a middling, a rare one."""
    rows = real_study.rows("train")
    left, right = (real_study.codes(layer).take(rows) for layer in (1, 2))
    counts = right.counts()
    inputs, prevalence = SparseInputs(left, binary=True), counts / len(rows)
    ranked = np.argsort(-counts)
    assert prevalence[ranked[0]] > 0.4
    for child in ranked[[0, 24, 47]]:
        n_positive = int(counts[child])
        bags = draw_bags(
            right.positives(child), len(rows), n_positive, 5, np.random.default_rng(int(child))
        )
        penalty = 0.004 * n_positive
        every = np.ones(left.n_atoms, dtype=np.bool_)
        settings = Settings(penalty, TOLERANCE, MAX_ITER)
        weights, intercepts, violations = fit_bags(inputs.narrow, bags, n_positive, every, settings)
        assert violations.max() <= TOLERANCE
        y = np.arange(2 * n_positive) < n_positive
        for bag, theta, intercept in zip(bags, weights, intercepts, strict=True):
            X = inputs.csr[bag].toarray()
            model = LogisticRegression(
                l1_ratio=1, solver="liblinear", C=1 / penalty, tol=1e-7, intercept_scaling=100,
                max_iter=5000, random_state=0,
            ).fit(X, y)  # fmt: skip
            reference = model.coef_[0], float(model.intercept_[0])
            objective = _objective(X, y, reference, penalty)
            assert _objective(X, y, (theta, intercept), penalty) <= objective * (1 + 1e-5)
            gradient = X.T @ (expit(X @ reference[0] + reference[1]) - y)
            decided = np.abs(np.abs(gradient) - penalty) > 0.01 * penalty
            differ = (theta != 0) != (reference[0] != 0)
            assert not (differ & decided).any()


def _objective(X, y, fit, penalty):
    score = X @ fit[0] + fit[1]
    return np.logaddexp(0, np.where(y, -score, score)).sum() + penalty * np.abs(fit[0]).sum()
