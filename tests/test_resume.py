"""Builds that meet harm on the way: what is finished is kept, and nothing foreign gets in."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from cgraph import pipeline
from cgraph.errors import ConfigError, ImageError, ModelError, StudyError
from cgraph.executors import SerialExecutor
from cgraph.pipeline import build_study, resume_study
from cgraph.store import read_table, write_bytes
from cgraph.study import Study


class Interrupted(Exception):
    pass


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("build.json", ".lock")
    }


def stop_in(stage, done):
    def stop(progress):
        if (progress.stage, progress.done) == (stage, done):
            raise Interrupted

    return stop


def start(inputs, folder, stage, done, config=tiny.CONFIG):
    with pytest.raises(Interrupted):
        build_study(*inputs, folder, config, workers=1, on_progress=stop_in(stage, done))


class Counting(SerialExecutor):
    """Counts the calls of each stage that are really made."""

    def __init__(self):
        self.calls = []

    def run(self, function, calls):
        self.calls += [call[1] for call in calls]
        yield from super().run(function, calls)


@pytest.fixture
def inputs(tiny_inputs, tmp_path):
    """Copies of the inputs, which a test may change."""
    model, images = tiny_inputs
    shutil.copytree(model, tmp_path / "tiny-vit")
    shutil.copytree(images, tmp_path / "discs")
    return tmp_path / "tiny-vit", tmp_path / "discs"


def test_a_model_that_changed_at_the_same_place_is_read_again(tiny_inputs, tmp_path):
    """One process may build twice, as a notebook does."""
    model = tiny.write_model(tmp_path / "model", seed=1)
    config = dataclasses.replace(tiny.CONFIG, max_images=100)
    build_study(model, tiny_inputs[1], tmp_path / "one", config, workers=1)
    tiny.write_model(model, seed=2)
    again = build_study(model, tiny_inputs[1], tmp_path / "two", config, workers=1)
    fresh = tiny.write_model(tmp_path / "fresh" / "model", seed=2)
    expected = build_study(fresh, tiny_inputs[1], tmp_path / "three", config, workers=1)
    np.testing.assert_array_equal(again.dictionary(1).atoms, expected.dictionary(1).atoms)


def test_images_that_changed_at_the_same_place_are_listed_again(tiny_inputs, tmp_path):
    images = tiny.write_images(tmp_path / "images", 100)
    build_study(tiny_inputs[0], images, tmp_path / "one", tiny.CONFIG, workers=1)
    tiny.write_images(images, 130, seed=4)
    study = build_study(tiny_inputs[0], images, tmp_path / "two", tiny.CONFIG, workers=1)
    assert len(study.image_ids) == study.manifest.images["n_listed"]


def test_another_preprocessing_is_another_model(inputs, tiny_inputs, tmp_path):
    folder = tmp_path / "study"
    start(inputs, folder, "tokens", 2)
    path = inputs[0] / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"image_mean": [0.4, 0.4, 0.4]}))
    with pytest.raises(StudyError, match=r"preprocessor_config\.json"):
        resume_study(folder, workers=1)
    path.write_text(json.dumps(values, indent=5))
    resume_study(folder, workers=1)
    path.write_text(json.dumps(values | {"image_mean": [0.4, 0.4, 0.4]}))
    from cgraph.tracing import load_model

    with pytest.raises(ModelError, match="prepares images otherwise"):
        load_model(Study.open(folder))


def test_images_that_go_away_are_not_taken_for_unreadable_ones(inputs, tiny_study, tmp_path):
    folder = tmp_path / "out" / tiny_study.path.name
    away = tmp_path / "away"

    def unplug(progress):
        if (progress.stage, progress.done) == ("tokens", 1):
            inputs[1].rename(away)
            inputs[1].mkdir()

    with pytest.raises(ImageError, match="run the same command again: finished work is kept"):
        build_study(*inputs, folder, tiny.CONFIG, workers=1, on_progress=unplug)
    inputs[1].rmdir()
    away.rename(inputs[1])
    seen = []
    resume_study(folder, workers=1, on_progress=seen.append)
    assert seen[0].done == 1, "the part that was read in full is kept"
    assert contents(folder) == contents(tiny_study.path)


def test_a_study_is_not_mended_with_other_pixels(inputs, tiny_study, tmp_path):
    folder = tmp_path / "out" / tiny_study.path.name
    shutil.copytree(tiny_study.path, folder)
    one, two = sorted(inputs[1].rglob("*.png"))[:2]
    size = max(path.stat().st_size for path in (one, two))
    former = one.read_bytes(), two.read_bytes()
    for path, data in zip((one, two), former, strict=True):
        path.write_bytes(data.ljust(size, b"\0"))
    study = build_study(*inputs, tmp_path / "padded", tiny.CONFIG, workers=1)
    (study.path / "evaluation/pairs.arrow").unlink()
    one.write_bytes(former[1].ljust(size, b"\0"))
    with pytest.raises(StudyError, match="other pixels than those"):
        resume_study(study.path, workers=1)
    one.write_bytes(former[0].ljust(size, b"\0"))
    resume_study(study.path, workers=1).verify()


@pytest.mark.parametrize("lost", [".building", ".building/images", ".building/receipts"])
def test_lost_working_files_are_made_again(lost, tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name
    start(tiny_inputs, folder, "split", 0)
    shutil.rmtree(folder / lost)
    resume_study(folder, workers=1)
    assert contents(folder) == contents(tiny_study.path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": {"a": 1}, "facts": {}}'])
def test_a_damaged_receipt_costs_one_call(content, tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name
    start(tiny_inputs, folder, "codes", 5)
    (folder / ".building/receipts/codes/00001-00002.json").write_bytes(content)
    executor = Counting()
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor)
    assert executor.calls.count("tokens") == executor.calls.count("dictionary") == 0
    assert executor.calls.count("codes") == 16 - 4
    assert contents(folder) == contents(tiny_study.path)


def test_parts_of_a_version_that_listed_skipped_images_elsewhere(tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name
    start(tiny_inputs, folder, "tokens", 2)
    path = folder / ".building/receipts/tokens/00001.json"
    receipt = json.loads(path.read_bytes())
    receipt["facts"] = {"n": 128, "skipped": []}
    path.write_text(json.dumps(receipt))
    build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1)
    assert contents(folder) == contents(tiny_study.path)


def test_a_split_that_was_not_written_costs_no_token(tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name
    start(tiny_inputs, folder, "split", 0)
    executor = Counting()
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor)
    assert "tokens" not in executor.calls
    assert contents(folder) == contents(tiny_study.path)


def test_a_finished_study_is_left_as_it_is(tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name
    shutil.copytree(tiny_study.path, folder)
    before = (folder / "study.json").stat().st_mtime_ns
    executor = Counting()
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor)
    assert executor.calls == []
    assert (folder / "study.json").stat().st_mtime_ns == before
    assert contents(folder) == contents(tiny_study.path)


@pytest.mark.parametrize("moment", ["before tokens", "before working files", "before progress"])
def test_a_kill_while_it_clears_up(moment, tiny_study, tiny_inputs, tmp_path, monkeypatch):
    folder = tmp_path / tiny_study.path.name
    real, left = shutil.rmtree, {"before tokens": 0, "before working files": 1}.get(moment, 99)
    calls = []

    def remove(path, *args, **kwargs):
        if os.path.basename(path) in ("tokens", ".building") and "receipts" not in str(path):
            calls.append(path)
            if len(calls) > left:
                raise Interrupted
        real(path, *args, **kwargs)

    def clear(self):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", remove)
        if moment == "before progress":
            patch.setattr(pipeline.ProgressWriter, "clear", clear)
        with pytest.raises(Interrupted):
            build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1)
    Study.open(folder).verify()
    (folder / "codes/.part-00000.arrow.99.partial").write_bytes(b"half")
    executor = Counting()
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor)
    assert executor.calls == []
    assert contents(folder) == contents(tiny_study.path)


def test_settings_of_stages_not_yet_done_may_change(tiny_inputs, tmp_path):
    wrong = dataclasses.replace(
        tiny.CONFIG, dictionary=dataclasses.replace(tiny.CONFIG.dictionary, n_atoms=8, steps=50)
    )
    start(tiny_inputs, tmp_path / "study", "dictionary", 2, wrong)
    executor = Counting()
    changed = build_study(*tiny_inputs, tmp_path / "study", tiny.CONFIG, executor=executor)
    assert "tokens" not in executor.calls
    assert executor.calls.count("dictionary") == 4
    plain = build_study(*tiny_inputs, tmp_path / "other" / "study", tiny.CONFIG, workers=1)
    assert contents(changed.path) == contents(plain.path)
    with pytest.raises(StudyError, match=r"dictionary\.n_atoms 16 there, 8 asked for"):
        build_study(*tiny_inputs, tmp_path / "study", wrong, workers=1)


@pytest.mark.parametrize(
    ("dictionary", "sentence"),
    [
        ({"n_atoms": 400}, "n_atoms is 400, and 480 images leave only about 336 for training"),
        ({"whiten": 25}, "whiten is 25, and a token of this model has 24 numbers"),
        ({"method": "ksvd", "n_atoms": 64, "max_nnz": 25}, "max_nnz is 25"),
        ({"encoder": "omp", "n_atoms": 64, "max_nnz": 25}, "max_nnz is 25"),
        (
            {"method": "ksvd", "n_atoms": 64, "whiten": 3},
            "max_nnz is 4, and a prepared token has 3",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(dictionary, sentence, tiny_inputs, tmp_path):
    config = dataclasses.replace(
        tiny.CONFIG, dictionary=dataclasses.replace(tiny.CONFIG.dictionary, **dictionary)
    )
    with pytest.raises(ConfigError, match=sentence):
        build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    assert [path.name for path in (tmp_path / "study").iterdir()] in ([], [".lock"])


def test_a_model_of_one_layer(tiny_inputs, tmp_path):
    from transformers import ViTConfig, ViTModel

    model = tmp_path / "model"
    shutil.copytree(tiny_inputs[0], model)
    config = ViTConfig.from_pretrained(model)
    config.num_hidden_layers = 1
    ViTModel(config).save_pretrained(model)
    with pytest.raises(ModelError, match=r"has 1 layer.*needs at least 2"):
        build_study(model, tiny_inputs[1], tmp_path / "study", tiny.CONFIG, workers=1)


def test_inputs_that_moved_are_asked_for(inputs, tiny_study, tmp_path):
    folder = tmp_path / "out" / tiny_study.path.name
    start(inputs, folder, "codes", 3)
    moved = inputs[0].rename(tmp_path / "moved")
    with pytest.raises(StudyError, match=r"The model of the study .* where nothing is now. Give"):
        resume_study(folder, workers=1)
    executor = Counting()
    build_study(moved, inputs[1], folder, tiny.CONFIG, executor=executor)
    assert {"tokens", "dictionary"}.isdisjoint(executor.calls)


def test_real_valued_inputs_are_measured_once(tiny_inputs, tmp_path):
    predictor = dataclasses.replace(tiny.CONFIG.predictor, inputs="pre-activations")
    config = dataclasses.replace(tiny.CONFIG, predictor=predictor, max_images=120)
    start(tiny_inputs, tmp_path / "study", "evaluation", 2, config)
    assert (
        len(json.loads((tmp_path / "study/study.json").read_text())["graph"]["input_scales"]) == 3
    )
    receipts = tmp_path / "study/.building/receipts/graph"
    assert {"00001.json", "00002.json", "00003.json"} <= {path.name for path in receipts.iterdir()}
    two = build_study(*tiny_inputs, tmp_path / "other" / "study", config, workers=2)
    resume_study(tmp_path / "study", workers=1)
    assert contents(tmp_path / "study") == contents(two.path)


def test_the_parent_uses_one_thread_too(tiny_inputs, tmp_path, monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []
    joined = pipeline.graph_stages.join_graph

    def look(*arguments):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return joined(*arguments)

    monkeypatch.setattr(pipeline.graph_stages, "join_graph", look)
    config = dataclasses.replace(tiny.CONFIG, max_images=100)
    with threadpool_limits(2):
        build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    assert seen
    assert set(seen) == {1}


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "old").write_bytes(b"whole")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match=r"No space left on device.*finished work is kept"):
        write_bytes(tmp_path / "old", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"whole"


def test_ctrl_c_while_a_file_is_written(tmp_path, monkeypatch):
    def stop(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/inside", "x" * 300, "a\0b"])
def test_places_that_cannot_be_written(place, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(StudyError, match="could not be written"):
        write_bytes(tmp_path / place, b"new")


def test_kills_at_many_moments(tiny_study, tiny_inputs, tmp_path):
    """Kill -9 with workers at work, again and again, until one run comes through."""
    folder = tmp_path / tiny_study.path.name
    path = tmp_path / "builder.py"
    path.write_text(
        "import json, sys\n"
        "from cgraph.config import BuildConfig\n"
        "from cgraph.pipeline import build_study\n"
        "if __name__ == '__main__':\n"
        "    config = BuildConfig.from_dict(json.loads(sys.argv[4]))\n"
        "    build_study(*sys.argv[1:4], config, workers=int(sys.argv[5]))\n"
    )
    config = json.dumps(tiny.CONFIG.to_dict())
    rng = np.random.default_rng(0)
    for run in range(4):
        command = [sys.executable, path, *tiny_inputs, folder, config, str(run % 2 + 1)]
        builder = subprocess.Popen(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not (folder / "progress.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 2.5))
        builder.kill()
        builder.communicate()
    build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1)
    assert contents(folder) == contents(tiny_study.path)
    assert read_table(folder / "images.arrow").num_rows == 480


def test_a_study_of_a_version_without_names_and_examples_is_completed(tiny_study, tmp_path):
    folder = tmp_path / tiny_study.path.name
    shutil.copytree(tiny_study.path, folder)
    manifest = json.loads((folder / "study.json").read_text())
    added = {"graph/names.arrow", "evaluation/usual.safetensors"}
    for path in [p for p in manifest["files"] if p in added or p.startswith("examples/")]:
        del manifest["files"][path]
        (folder / path).unlink()
    manifest["stages"] = [s for s in manifest["stages"] if s not in ("names", "examples")]
    (folder / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(StudyError, match=r"not finished: names is still to be done.*cgraph build"):
        Study.open(folder)
    resume_study(folder, workers=1)
    assert contents(folder) == contents(tiny_study.path)
