import dataclasses
import json
import shutil

import pytest

from cgraph.cli import main
from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.demo import remake as module
from cgraph.demo.remake import DEMO_STAGES, DemoConfig, remake
from cgraph.demo.training import TrainingConfig
from cgraph.errors import StudyError
from cgraph.study import Study
from cgraph.tracing import load_model, model_folder

TINY = DemoConfig(
    training=TrainingConfig(n_parts=1, steps=3, shard_size=8, n_kept=8, checkpoint_every=1),
    n_scenes=300,
    n_probe=120,
    n_held_out=80,
    build=BuildConfig(
        preset="demo",
        part_size=100,
        dictionary=DictionaryConfig(n_atoms=12, max_nnz=4, whiten=10, starts=2, steps=60),
        predictor=PredictorConfig(n_bags=3, min_positives=10),
    ),
)


def files_of(folder):
    skipped = {"build.json", ".lock"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def made(tmp_path_factory, told):
    folder = tmp_path_factory.mktemp("made") / "demo"
    remake(folder, TINY, workers=1, on_progress=lambda *report: told.append(report))
    return folder


def test_one_call_makes_everything(made, told):
    study = Study.open(made)
    study.verify()
    assert study.n_layers == 12 and len(study.image_ids) == 300
    assert study.manifest.images["kind"] == "drawn scenes"
    assert model_folder(study) == made / "model"
    assert load_model(study).d_model == study.d_model == 96
    assert not (made / ".training").exists() and not (made / ".building").exists()
    assert study.manifest.origin["command"] == "cgraph demo"
    assert study.manifest.origin["settings"] == TINY.to_dict()
    assert [report[0].stage for report in told if report[0].done == report[0].total] == [
        *DEMO_STAGES
    ] or {report[0].stage for report in told} == set(DEMO_STAGES)
    numbers = [report[0].stage_number for report in told]
    assert numbers == sorted(numbers) and numbers[-1] == len(DEMO_STAGES)


def test_quality_is_nested_as_promised(made, capsys):
    assert main(["info", str(made), "--json"]) == 0
    quality = json.loads(capsys.readouterr().out)["quality"]
    assert set(quality["auc"]) == {"background", "colour", "texture", "count", "shape", "size"}
    assert {"background", "colour", "texture"} <= set(quality["mcc"])
    assert set(quality["zero_shot"]) == {"conjunction"}
    assert all(0 <= value <= 1 for value in quality["auc"].values())
    assert all(-1 <= value <= 1 for value in quality["mcc"].values())


def test_the_study_can_be_moved(made, tmp_path):
    text = (made / "build.json").read_text()
    assert json.loads(text)["sources"] == {"model": "model", "images": "scenes.json"}
    moved = tmp_path / "elsewhere"
    shutil.copytree(made, moved)
    assert main(["build", "--out", str(moved)]) == 0  # finds model and scenes where it is now
    assert files_of(moved)["graph/edges.arrow"] == files_of(made)["graph/edges.arrow"]


@pytest.mark.parametrize("at", ["scenes", "training", "tokens", "graph", "quality"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(at, made, tmp_path):
    class Stopped(Exception):
        pass

    def stop(progress, remark):
        if progress.stage == at and progress.done >= 1:
            raise Stopped

    with pytest.raises(Stopped):
        remake(tmp_path / "demo", TINY, workers=1, on_progress=stop)
    remake(tmp_path / "demo", TINY, workers=1)
    assert files_of(tmp_path / "demo") == files_of(made)


def test_a_finished_study_is_left_as_it_is(made, tmp_path, monkeypatch):
    copy = tmp_path / "demo"
    shutil.copytree(made, copy)
    monkeypatch.setattr(module, "train_model", None)  # would fail if it were called
    remake(copy, TINY, workers=1)
    assert files_of(copy) == files_of(made)
    (copy / "graph" / "edges.arrow").unlink()
    with pytest.raises(StudyError, match=r"Run `cgraph demo --out .*` to make it again"):
        Study.open(copy)
    remake(copy, TINY, workers=1)
    assert files_of(copy) == files_of(made)


def test_other_settings_are_refused(made, tmp_path):
    other = dataclasses.replace(TINY, n_scenes=301)
    copy = tmp_path / "demo"
    shutil.copytree(made, copy)
    with pytest.raises(StudyError, match="holds a study that was made otherwise"):
        remake(copy, other, workers=1)
    half = tmp_path / "half"
    (half / ".training").mkdir(parents=True)
    (half / ".training" / "settings.json").write_text("{}")
    with pytest.raises(StudyError, match="was begun with other settings"):
        remake(half, TINY, workers=1)


def test_wrong_numbers_of_workers(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "x"), "--workers", "0"]) == 2
    assert "--workers is 0: it must be at least 1" in capsys.readouterr().err
