"""Builds of a tiny model: the same bytes however they were made, and nothing lost on the way."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from PIL import Image

from cgraph.errors import DataError, ImageError, StudyError
from cgraph.manifest import STAGES
from cgraph.pipeline import build_study, resume_study
from cgraph.store import read_table
from cgraph.study import Study


def contents(folder):
    """Return the bytes of every file that belongs to the study itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("build.json", ".lock")
    }


def test_a_finished_study_holds_what_it_should(tiny_study):
    study = tiny_study
    assert study.manifest.stages == STAGES
    assert study.n_layers == tiny.N_LAYERS
    assert sorted(set(study.split)) == ["held-out", "train", "tune"]
    assert not (study.path / "tokens").exists()
    assert not (study.path / ".building").exists()
    assert not (study.path / "progress.json").exists()
    study.verify()
    for layer in range(1, study.n_layers + 1):
        codes = study.codes(layer)
        assert codes.n_samples == len(study.image_ids) == 480
        assert np.diff(codes.offsets).max() <= 4
    info = study.info()
    json.dumps(info, allow_nan=False)
    assert [(pair["left"], pair["right"]) for pair in info["pairs"]] == [(1, 2), (2, 3), (3, 4)]
    assert all(pair["n_scored"] > 0 and pair["auc_mean"] > 0.6 for pair in info["pairs"])
    assert all(0 < layer["explained_variance"] < 1 for layer in info["layers"])


def test_stored_tokens_are_those_of_the_model(tiny_inputs, tmp_path):
    from cgraph.vit import VisionModel

    model, images = tiny_inputs
    config = dataclasses.replace(tiny.CONFIG, keep_tokens=True, max_images=200)
    study = build_study(model, images, tmp_path / "kept", config, workers=1)
    row = 137
    image = Image.open(images / study.image_ids[row])
    vision = VisionModel.load(model)
    expected = vision.class_tokens(vision.preprocess([image.convert("RGB")]))[:, 0]
    part, place = divmod(row, config.part_size)
    for layer in range(1, study.n_layers + 1):
        tokens = np.load(study.file(f"tokens/layer-{layer:02d}/part-{part:05d}.npy"))
        np.testing.assert_allclose(tokens[place], expected[layer - 1], atol=1e-4)


def test_the_number_of_workers_does_not_change_a_byte(tiny_study, tiny_inputs, tmp_path):
    other = tmp_path / tiny_study.path.name
    build_study(*tiny_inputs, other, tiny.CONFIG, workers=2)
    assert contents(other) == contents(tiny_study.path)


def test_another_seed_is_another_study(tiny_study, tiny_inputs, tmp_path):
    config = dataclasses.replace(tiny.CONFIG, seed=1)
    other = build_study(*tiny_inputs, tmp_path / "other", config, workers=1)
    assert list(other.split) != list(tiny_study.split)


class _Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop_in", [("tokens", 2), ("dictionary", 1), ("graph", 2)])
def test_an_interrupted_build_goes_on(stop_in, tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / tiny_study.path.name

    def stop(progress):
        if (progress.stage, progress.done) == stop_in:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1, on_progress=stop)
    with pytest.raises(StudyError, match=r"is not finished.*cgraph build --out"):
        Study.open(folder)
    seen = []
    resume_study(folder, workers=1, on_progress=seen.append)
    first = next(p for p in seen if p.stage == stop_in[0])
    assert first.done == stop_in[1], "finished parts were done again"
    assert contents(folder) == contents(tiny_study.path)


def test_a_killed_build_goes_on(tiny_study, tiny_inputs, tmp_path):
    """A kill -9 of the builder, with worker processes at work."""
    folder = tmp_path / tiny_study.path.name
    config = json.dumps(tiny.CONFIG.to_dict())
    script = (
        "import json, sys\n"
        "from cgraph.config import BuildConfig\n"
        "from cgraph.pipeline import build_study\n"
        "if __name__ == '__main__':\n"
        "    config = BuildConfig.from_dict(json.loads(sys.argv[4]))\n"
        "    build_study(*sys.argv[1:4], config, workers=2)\n"
    )
    path = tmp_path / "builder.py"
    path.write_text(script)
    model, images = tiny_inputs
    builder = subprocess.Popen([sys.executable, path, model, images, folder, config])
    receipts = folder / ".building" / "receipts"
    for _ in range(1200):
        if any(receipts.rglob("*.json")) or builder.poll() is not None:
            break
        time.sleep(0.05)
    builder.send_signal(signal.SIGKILL)
    assert builder.wait() == -signal.SIGKILL, "the build ended before it could be killed"
    resume_study(folder, workers=1)
    assert contents(folder) == contents(tiny_study.path)


@pytest.mark.parametrize(
    "victim",
    [
        "dictionary.safetensors",
        "codes/layer-02/part-00001.arrow",
        "graph/edges.arrow",
        "evaluation/pairs.arrow",
        "images.arrow",
    ],
)
@pytest.mark.parametrize("harm", ["altered", "missing", "cut"])
def test_a_harmed_file_is_named_and_mended(victim, harm, tiny_study, tmp_path):
    folder = tmp_path / tiny_study.path.name
    shutil.copytree(tiny_study.path, folder)
    path = folder / victim
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    with pytest.raises(StudyError, match=f"{victim}.*cgraph build --out"):
        Study.open(folder).verify()
    if harm == "altered":
        resume_study(folder, workers=1)
        assert contents(folder) == contents(tiny_study.path)


def test_a_folder_with_another_study_is_left_alone(tiny_study, tiny_inputs, tmp_path):
    model, images = tiny_inputs
    before = contents(tiny_study.path)
    other = dataclasses.replace(tiny.CONFIG, seed=5)
    with pytest.raises(StudyError, match="seed 0 there, 5 asked for"):
        build_study(model, images, tiny_study.path, other, workers=1)
    other_model = tiny.write_model(tmp_path / "other-model", seed=9)
    with pytest.raises(StudyError, match="something else: the model"):
        build_study(other_model, images, tiny_study.path, tiny.CONFIG, workers=1)
    fewer = tiny.write_images(tmp_path / "fewer", n_images=60)
    with pytest.raises(StudyError, match="something else: the images"):
        build_study(model, fewer, tiny_study.path, tiny.CONFIG, workers=1)
    assert contents(tiny_study.path) == before


def test_a_folder_with_other_things_is_refused(tiny_inputs, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StudyError, match=r"holds thesis.tex but no study"):
        build_study(*tiny_inputs, tmp_path, tiny.CONFIG, workers=1)


def test_unreadable_images_are_left_out_and_listed(tiny_inputs, tmp_path):
    model, images = tiny_inputs
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    broken = sorted(copy.rglob("*.png"))[5:300:100]
    for path in broken:
        path.write_bytes(path.read_bytes()[:80])
    study = build_study(model, copy, tmp_path / "study", tiny.CONFIG, workers=1)
    skipped = read_table(study.file("skipped.arrow")).to_pylist()
    assert [s["image_id"] for s in skipped] == [str(p.relative_to(copy)) for p in broken]
    assert all(s["reason"] for s in skipped)
    assert study.manifest.images["n_skipped"] == 3
    assert len(study.image_ids) == 477


def test_when_no_image_can_be_read(tiny_inputs, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(30):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"None of the 30 images could be read. The first:"):
        build_study(tiny_inputs[0], tmp_path / "images", tmp_path / "s", tiny.CONFIG, workers=1)


def test_no_images(tiny_inputs, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ImageError):
        build_study(tiny_inputs[0], tmp_path / "images", tmp_path / "study", workers=1)


def test_progress_can_be_read_by_others(tiny_inputs, tmp_path):
    folder = tmp_path / "study"
    seen = []

    def look(progress):
        seen.append((progress, json.loads((folder / "progress.json").read_text())))

    build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1, on_progress=look)
    assert [stage for stage in STAGES if any(p.stage == stage for p, _ in seen)] == list(STAGES)
    for progress, on_disk in seen:
        assert on_disk == dataclasses.asdict(progress)
        assert 0 <= progress.done <= progress.total
        if progress.done == progress.total > 1:
            assert progress.seconds_left == 0


@pytest.mark.parametrize("inputs", ["codes", "pre-activations"])
def test_real_valued_inputs(inputs, tiny_inputs, tmp_path):
    predictor = dataclasses.replace(tiny.CONFIG.predictor, inputs=inputs)
    config = dataclasses.replace(tiny.CONFIG, predictor=predictor)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    assert all(pair["auc_mean"] > 0.6 for pair in study.info()["pairs"])
    assert all(scale > 0 for scale in study.manifest.graph["input_scales"])


@pytest.mark.parametrize("whiten", [0, 8])
def test_the_papers_dictionary(whiten, tiny_inputs, tmp_path):
    dictionary = dataclasses.replace(
        tiny.CONFIG.dictionary, method="ksvd", nonnegative=False, steps=3, whiten=whiten
    )
    config = dataclasses.replace(tiny.CONFIG, dictionary=dictionary)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    assert (study.codes(2).coefficients < 0).any()
    assert all(layer["explained_variance"] > 0.3 for layer in study.info()["layers"])


@pytest.mark.parametrize("method", ["batch-topk-sae", "relu-sae"])
def test_a_varying_number_of_active_concepts(method, tiny_inputs, tmp_path):
    dictionary = dataclasses.replace(tiny.CONFIG.dictionary, method=method, mean_nnz=2, steps=600)
    config = dataclasses.replace(tiny.CONFIG, dictionary=dictionary)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    assert (study.dictionary(2).encoder.threshold is None) == (method == "relu-sae")
    lengths = np.diff(study.codes(2).offsets)
    assert len(set(lengths)) > 1 and lengths.max() <= 4
    assert 1 < lengths.mean() < 3
    assert (study.codes(2).coefficients > 0).all()


def test_an_autoencoders_atoms_with_codes_by_pursuit(tiny_inputs, tiny_study, tmp_path):
    dictionary = dataclasses.replace(tiny.CONFIG.dictionary, encoder="omp")
    config = dataclasses.replace(tiny.CONFIG, dictionary=dictionary)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    for layer in (1, 4):
        own, other = study.dictionary(layer), tiny_study.dictionary(layer)
        np.testing.assert_array_equal(own.atoms, other.atoms)
        assert type(own.encoder).__name__ == "PursuitEncoder"
        assert (study.codes(layer).coefficients > 0).all()
    explained, of_own = (
        [layer["explained_variance"] for layer in each.info()["layers"]]
        for each in (study, tiny_study)
    )
    assert np.mean(explained) > np.mean(of_own)
