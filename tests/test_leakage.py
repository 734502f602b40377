"""What the graph cannot see, against blocks run by hand and networks that are known."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_edit_command import run, saved
from test_intervention import FewConcepts
from test_model_families import blocks_of, original_of, vision_part
from vision_models import N_LAYERS, pixels_for, save

from cgraph import readout
from cgraph.config import HELD_OUT, TRAIN
from cgraph.dense_logistic import PENALTIES
from cgraph.executors import SerialExecutor
from cgraph.leakage import CLASS, PATCHES, _of_layer, input_sums, measure, replaced_sums
from cgraph.measurements import measure_study
from cgraph.outside import caveat, outside
from cgraph.pipeline import build_study
from cgraph.study import Study
from cgraph.vit import VisionModel
from cgraph.workbench import Source, Workbench

N = 9


def source_of(kind: str, original, folder: Path):
    """A source with random pictures and orthonormal concepts."""
    model = VisionModel.load(save(original, folder, kind))
    pixels, _ = pixels_for(kind, n=N)
    return SimpleNamespace(study=FewConcepts(), model=model, pixels=lambda rows: pixels[list(rows)])


def measured(source):
    rows = tuple(range(N))
    means = input_sums(source, rows)["sum"] / N
    return replaced_sums(source, rows, means.astype(np.float32)), means


@pytest.mark.parametrize("kind", ["vit", "clip", "dinov2-registers", "deit"])
def test_shares_are_those_of_blocks_run_by_hand(tmp_path: Path, kind: str) -> None:
    original = original_of(kind)
    source = source_of(kind, original, tmp_path)
    sums, means = measured(source)
    part, taken = vision_part(original), []
    blocks = blocks_of(part)
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: taken.append((*args, *kwargs.values())[0].clone()),
            with_kwargs=True,
        )
        for block in blocks
    ]
    with torch.no_grad():
        part(pixel_values=torch.tensor(source.pixels(range(N))))
        for handle in handles:
            handle.remove()
        for place, (block, before) in enumerate(zip(blocks, taken, strict=True)):
            np.testing.assert_allclose(means[place], before.mean(dim=0), atol=1e-5)

            def run(tokens, block=block):
                output = block(tokens, attention_mask=None) if kind == "clip" else block(tokens)
                return (output[0] if isinstance(output, tuple) else output)[:, 0].numpy()

            plain = run(before)
            spread = np.linalg.norm(plain - plain.mean(axis=0))
            for what, rows in ((CLASS, slice(0, 1)), (PATCHES, slice(1, None))):
                tokens = before.clone()
                tokens[:, rows] = tokens[:, rows].mean(dim=0)
                change, lost, of_concepts = _of_layer(sums, place + 1, 12)
                wanted = np.linalg.norm(run(tokens) - plain) / spread
                assert change[what] == pytest.approx(wanted, rel=1e-3, abs=1e-5)

                dictionary = source.study.dictionary(place + 1)
                labels, still = (dictionary.encode(z).dense_labels() for z in (plain, run(tokens)))
                gone = (labels & ~still).sum(axis=0)
                assert lost[what] == pytest.approx(gone.sum() / labels.sum(), abs=0.02)
                assert np.isnan(of_concepts[what]).all(), "none has ten of nine images"
    assert _of_layer(sums, 1, 12)[0][CLASS] == pytest.approx(0, abs=1e-5)
    assert _of_layer(sums, 1, 12)[0][PATCHES] >= 0.99


def test_without_attention_nothing_comes_from_the_patches(tmp_path: Path) -> None:
    """And the class token is the same for all images until the block that has attention."""
    original = original_of("vit")
    blocks = blocks_of(vision_part(original))
    with torch.no_grad():
        for block in (blocks[1], blocks[2]):
            block.attention.o_proj.weight.zero_()
            block.attention.o_proj.bias.zero_()
    sums, _ = measured(source_of("vit", original, tmp_path))
    for layer in (2, N_LAYERS):
        change, lost, _ = _of_layer(sums, layer, 12)
        assert change[PATCHES] == pytest.approx(0, abs=1e-6)
        assert lost[PATCHES] == 0
        assert change[CLASS] > 0.5


@pytest.fixture(scope="module")
def leaky(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("leaky") / "discs"
    shutil.copytree(tiny_study.path, folder)
    return measure_study(folder, ["leakage"], workers=1).study


def test_tables_of_a_study(leaky: Study) -> None:
    rows = leaky.measured("leakage").to_pylist()
    assert [row["layer"] for row in rows] == [1, 2, 3, 4]
    first, *later = rows
    assert first["from_class"] == pytest.approx(0, abs=1e-5)
    assert first["outside"] == pytest.approx(1, abs=1e-4)
    assert np.isnan([first["auc_graph"], first["auc_token"]]).all()
    concepts = leaky.measured("leakage-concepts").to_pandas()
    figures = leaky.evaluation("concepts").to_pandas()
    np.testing.assert_array_equal(concepts["auc_graph"], figures["auc"])
    for row in later:
        of_layer = concepts[concepts["layer"] == row["layer"]]
        scored = leaky.graph.column(row["layer"], "scored")
        for name in ("auc_graph", "auc_token"):
            assert row[name] == pytest.approx(of_layer[name][scored].mean())
        total = row["from_class"] + row["from_patches"]
        assert row["outside"] == pytest.approx(row["from_patches"] / total)
    explained = leaky.evaluation("layers").column("explained_variance").to_pylist()
    assert [1 - row["left_out"] for row in rows] == pytest.approx(explained)


def test_the_tokens_figure_is_that_of_scikit_learn(leaky: Study) -> None:
    source, layer = Source(leaky.path), 3
    tokens = {
        part: np.concatenate(
            [
                source.model.class_tokens(source.pixels(rows))[layer - 2]
                for rows in np.array_split(leaky.rows(part), 4)
            ]
        ).astype(np.float64)
        for part in (TRAIN, HELD_OUT)
    }
    mean, spread = tokens[TRAIN].mean(axis=0), tokens[TRAIN].std(axis=0)
    scored = np.flatnonzero(leaky.graph.column(layer, "scored"))
    labels = leaky.codes(layer).dense_labels()
    table = leaky.measured("leakage-concepts").to_pandas()
    found = table[table["layer"] == layer]["auc_token"].to_numpy()
    for concept in scored[:3]:
        wanted = []
        for penalty in PENALTIES:  # which of them serves tune images best is another test
            one = LogisticRegression(C=1 / penalty, max_iter=5000)
            one.fit((tokens[TRAIN] - mean) / spread, labels[leaky.rows(TRAIN), concept])
            scores = one.decision_function((tokens[HELD_OUT] - mean) / spread)
            wanted.append(roc_auc_score(labels[leaky.rows(HELD_OUT), concept], scores))
        assert min(abs(found[concept] - np.array(wanted))) < 2e-3


def test_both_figures_of_a_layer_are_of_the_same_concepts(tiny_study, tmp_path, monkeypatch):
    monkeypatch.setitem(readout.MAX_IMAGES, TRAIN, 45)
    study = Study.open(shutil.copytree(tiny_study.path, tmp_path / "discs"))
    tables = measure(Workbench(study, SerialExecutor()))
    concepts, n_left_out = tables["leakage-concepts"].to_pylist(), 0
    for row in tables["leakage"].to_pylist()[1:]:
        scored = study.graph.column(row["layer"], "scored")
        own = [one for one in concepts if one["layer"] == row["layer"] and scored[one["index"]]]
        known = [one for one in own if np.isfinite(one["auc_token"])]
        n_left_out += len(own) - len(known)
        for name in ("auc_graph", "auc_token"):
            assert row[name] == pytest.approx(np.mean([one[name] for one in known]), abs=1e-6)
    assert n_left_out


def test_sentences_of_a_measured_study(leaky: Study, tiny_study: Study) -> None:
    assert outside(tiny_study) is None
    assert caveat(tiny_study, [2]) is None
    found = outside(leaky)
    assert "Of layer 1's class token 100% comes from the patches" in found[0].sentence()
    most = max(found[1:3], key=lambda one: one.from_patches)
    assert caveat(leaky, [2, 3]) == most.sentence()


def test_results_on_the_command_line_say_it(leaky, tiny_study, tiny_inputs, tmp_path, capsys):
    images = tiny_inputs[1] / "sky"
    edit = saved(tmp_path, off=["L2/1"])
    arguments = ("edit", edit, "--images", images, "--max-images", 3, "--out", tmp_path / "o.csv")
    code, text, _ = run(capsys, *arguments, "--study", leaky.path)
    assert code == 0
    assert text.endswith(f"{caveat(leaky, [3, 4])}\n")
    image = sorted(images.iterdir())[0]
    assert outside(leaky)[2].sentence() in run(capsys, "trace", image, "--study", leaky.path)[1]
    unmeasured = run(capsys, "trace", image, "--study", tiny_study.path)[1]
    assert "layer 3:" in unmeasured and "patches" not in unmeasured


def test_without_a_class_token_shares_are_missing(tiny_inputs, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny.CONFIG, token="mean")
    folder = tmp_path / "means"
    build_study(*tiny_inputs, folder, config, workers=1)
    study = measure_study(folder, ["leakage"], workers=1).study
    for row in study.measured("leakage").to_pylist():
        shares = ("from_class", "from_patches", "labels_from_class", "labels_from_patches")
        assert np.isnan([row[name] for name in (*shares, "outside")]).all()
        assert row["layer"] == 1 or row["auc_token"] > 0.5
    assert "has no class token" in caveat(study, [2])
