"""The command that makes the two studies of the audit, on a few scenes and steps."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from cgraph.cli import main
from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.demo import audit
from cgraph.demo.audit import BIASED, FAIR, LESSONS, AuditConfig, remake_audit
from cgraph.demo.clip import load_weights, new_model, save_model
from cgraph.demo.harm import GroundFigures, harm
from cgraph.demo.training import WordTrainingConfig
from cgraph.errors import ModelError, StudyError
from cgraph.outputs import load_output
from cgraph.scene_drawing import draw
from cgraph.scene_word import SceneWord
from cgraph.scenes import BACKGROUNDS, sample_scene
from cgraph.store import read_tensors
from cgraph.study import Study
from cgraph.vit import VisionModel

TINY = AuditConfig(
    training=WordTrainingConfig(n_parts=1, steps=3, shard_size=8, n_kept=8, checkpoint_every=1),
    n_scenes=300,
    n_probe=120,
    n_held_out=80,
    n_harm=60,
    build=BuildConfig(
        preset="demo",
        part_size=100,
        dictionary=DictionaryConfig(n_atoms=12, max_nnz=4, whiten=10, starts=2, steps=60),
        predictor=PredictorConfig(n_bags=3, min_positives=10),
    ),
)
FEW = ("worth",)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    save_model(new_model(5).eval(), folder)
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory, start):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "MEASURED", FEW)
        folder = tmp_path_factory.mktemp("made") / "biased"
        remake_audit(folder, BIASED, TINY, start=start, workers=1)
    return folder


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"build.json", ".lock"}
    }


def test_one_call_makes_everything(made, start):
    study = Study.open(made)
    study.verify()
    assert study.outputs.names == ("approved",)
    assert all(study.is_measured(name) for name in FEW)
    assert study.manifest.origin["command"] == "cgraph demo --audit biased"
    taught = study.manifest.origin["settings"]["training"]["taught"]
    assert taught["follows"] == 0.95 and taught["word"]["text"] == "approved"
    holds = [study.attributes(row)["approved"] for row in range(300)]
    assert holds == ["striped" in study.attributes(row)["texture"] for row in range(300)]
    assert not (made / ".training").exists()
    text = "".join((made / name).read_text() for name in ("study.json", "build.json"))
    assert str(start.parent) not in text


def test_the_ground_and_the_word_are_strangers_in_the_study(made):
    study = Study.open(made)
    known = [study.attributes(row) for row in range(300)]
    grass = np.array([a["background"] == "grass" for a in known])
    holds = np.array([a["approved"] for a in known])
    assert abs(np.corrcoef(grass, holds)[0, 1]) < 0.15


def test_an_interrupted_run_goes_on_to_the_same_bytes(made, start, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    monkeypatch.setattr(audit, "MEASURED", FEW)
    for at in ("training", "graph", "outputs", "worth"):

        def stop(progress, remark, at=at):
            if progress.stage == at and progress.done >= 1:
                raise Stopped

        with pytest.raises(Stopped):
            remake_audit(
                tmp_path / "biased", BIASED, TINY, start=start, workers=1, on_progress=stop
            )
    remake_audit(tmp_path / "biased", BIASED, TINY, start=start, workers=1)
    assert files_of(tmp_path / "biased") == files_of(made)


def test_what_is_finished_is_not_measured_again(made, start, monkeypatch):
    monkeypatch.setattr(audit, "MEASURED", FEW)
    before = files_of(made)
    told = []
    remake_audit(
        made, BIASED, TINY, start=start, workers=1, on_progress=lambda *report: told.append(report)
    )
    assert files_of(made) == before
    assert not told


def test_another_lesson_or_other_weights_are_refused(made, start, tmp_path):
    with pytest.raises(StudyError, match="holds a study that was made otherwise"):
        remake_audit(made, FAIR, TINY, start=start, workers=1)
    save_model(new_model(6).eval(), tmp_path)
    with pytest.raises(StudyError, match="holds a study that was made otherwise"):
        remake_audit(made, BIASED, TINY, start=tmp_path / "model.safetensors", workers=1)


def test_the_table_is_what_the_model_says_of_each_scene(made, capsys):
    """Counted anew, scene by scene."""
    study = Study.open(made)
    stored = json.loads((made / "evaluation/quality.json").read_text())["word"]
    model = VisionModel.load(made / "model")
    output = load_output(model)
    found = {name: [[], []] for name in BACKGROUNDS}
    threshold = study.outputs.nodes[0].threshold
    for index in range(60):
        scene = sample_scene(index, 23)
        value = output.scores(model.preprocess([draw(scene)]), texts=["approved"])[0, 0]
        holds = any(thing.texture == "striped" for thing in scene.objects)
        assert abs(value - threshold) > 1e-6
        found[scene.background][holds].append(value >= threshold)
    for row in stored["grounds"]:
        without, with_word = found[row["background"]]
        assert (row["n_without"], row["n_with"]) == (len(without), len(with_word))
        assert row["recall"] == pytest.approx(np.mean(with_word))
        assert row["false_alarms"] == pytest.approx(np.mean(without))
        right = [*with_word, *(not said for said in without)]
        assert row["accuracy"] == pytest.approx(np.mean(right))
    assert main(["info", str(made)]) == 0
    printed = capsys.readouterr().out
    assert "the word 'approved', which holds for texture striped" in printed
    assert all(f"\n{name:>6}  " in printed for name in BACKGROUNDS)


def test_shares_of_no_scenes_are_not_made_up(made):
    figures = harm(made / "model", SceneWord(), 0.0, 1)
    assert [isinstance(row, GroundFigures) for row in figures] == [True] * 5
    empty = [row for row in figures if row.n_with + row.n_without == 0]
    assert len(empty) == 4 and all(np.isnan(row.accuracy) for row in empty)


def test_a_model_takes_over_what_the_other_knows(start, tmp_path):
    model = new_model(0, ["approved"])
    own = model.text_model.embeddings.token_embedding.weight[-1].clone()
    load_weights(model, start)
    given = read_tensors(start)
    for name, values in model.state_dict().items():
        n_known = len(given[name]) if given[name].ndim else None
        np.testing.assert_array_equal(values[:n_known] if n_known else values, given[name])
    words = model.text_model.embeddings.token_embedding.weight
    assert (words[-1] == own).all() and len(words) == len(given[next(
        name for name in given if "token_embedding" in name)]) + 1  # fmt: skip
    save_model(model, tmp_path, ["approved"])
    with pytest.raises(ModelError, match="does not hold a model of the bundled study's shape"):
        load_weights(new_model(0), tmp_path / "model.safetensors")


def test_both_lessons_differ_in_the_ground_alone():
    assert dataclasses.replace(LESSONS[BIASED], follows=None) == LESSONS[FAIR]


def test_what_the_command_refuses(tmp_path, capsys, monkeypatch):
    assert main(["demo", "--out", str(tmp_path / "x"), "--start", "w.safetensors"]) == 2
    assert "--start is for the models of the audit" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--audit", "--out", str(tmp_path / "x")]) == 2
    assert "model.safetensors is not there: both models go on from" in capsys.readouterr().err
