"""Builds whose dictionaries were made elsewhere."""

import json
import shutil

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from cgraph import cli
from cgraph.config import BuildConfig
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.pipeline import build_study, resume_study
from cgraph.study import Study

OPTIONS = ["--workers", "1", "--seed", "0"]


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def saes(tmp_path):
    """TopK autoencoders as SAELens saves them, with atoms of other lengths than 1."""
    for block in range(tiny.N_LAYERS):
        rng = np.random.default_rng(block)
        folder = tmp_path / "saes" / f"blocks.{block}.hook_resid_post"
        folder.mkdir(parents=True)
        decoder = 2 * rng.standard_normal((32, 24))
        arrays = {"W_enc": decoder.T / 24, "b_enc": np.zeros(32), "W_dec": decoder,
                  "b_dec": np.zeros(24)}  # fmt: skip
        save_file(
            {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
            folder / "sae_weights.safetensors",
        )
        said = {"architecture": "topk", "k": 3, "hook_name": f"blocks.{block}.hook_resid_post"}
        (folder / "cfg.json").write_text(json.dumps(said))
    return tmp_path / "saes"


def test_a_study_with_dictionaries_made_elsewhere(tiny_inputs, saes, tmp_path, capsys):
    model, images = tiny_inputs
    out = tmp_path / "study"
    place = ["--model", model, "--images", images, "--out", out, "--dictionary", saes]
    code, _, err = run(capsys, "build", *place, *OPTIONS)
    assert code == 0, err
    assert err.count("All layers: atoms were not of length 1; they are now") == 1
    study = Study.open(out)
    settings = study.config.dictionary
    assert (settings.method, settings.n_atoms, settings.max_nnz) == ("imported", 32, 3)
    # The codes of the images are those of the autoencoders on the model's own tokens.
    from cgraph.images import open_images
    from cgraph.vit import VisionModel

    vision = VisionModel.load(model)
    found = open_images(images)
    rows = [found.image_ids.index(image_id) for image_id in study.image_ids[:40]]
    pictures = [found.read(row).image for row in rows]
    tokens = vision.class_tokens(vision.preprocess(pictures))
    for layer in range(1, tiny.N_LAYERS + 1):
        rng = np.random.default_rng(layer - 1)
        decoder = (2 * rng.standard_normal((32, 24))).astype(np.float32).astype(float)
        pre = tokens[layer - 1].astype(float) @ decoder.T / 24
        best = np.argsort(-pre, axis=1)[:, :3]
        active = np.zeros(pre.shape, dtype=bool)
        np.put_along_axis(active, best, True, axis=1)
        codes = study.codes(layer).to_csr()[:40].toarray()
        assert np.array_equal(codes != 0, active & (pre > 0))
    training = study.evaluation("training").to_pylist()
    assert {entry["stopped_because"] for entry in training} == {"imported"}
    code, text, _ = run(capsys, "info", out)
    assert "imported, at most 3 active of 32" in text
    # Damaged, it is made again from where the dictionaries lay, bit for bit; and without them not.
    before = (out / "study.json").read_bytes()
    (out / "dictionary.safetensors").unlink()
    resume_study(out, workers=1)
    assert (out / "study.json").read_bytes() == before
    shutil.rmtree(saes)
    (out / "dictionary.safetensors").unlink()
    with pytest.raises(StudyError, match=r"The dictionaries that .* was started with are gone"):
        resume_study(out, workers=1)


def test_tokens_that_are_scaled_first(tiny_inputs, saes, tmp_path):
    """The mean is that of what the decoder adds to training tokens; labels do not hang on it."""
    for block in range(tiny.N_LAYERS):
        folder = saes / f"blocks.{block}.hook_resid_post"
        arrays = load_file(folder / "sae_weights.safetensors")
        arrays["b_dec"] = np.linspace(-1, 1, 24).astype(np.float32)
        save_file(arrays, folder / "sae_weights.safetensors")
        said = json.loads((folder / "cfg.json").read_text())
        (folder / "cfg.json").write_text(
            json.dumps({**said, "normalize_activations": "layer_norm"})
        )
    config = BuildConfig(predictor=tiny.CONFIG.predictor, keep_tokens=True)
    study = build_study(*tiny_inputs, tmp_path / "study", config, workers=1, dictionary=saes)
    parts = sorted((study.path / "tokens/layer-02").iterdir())
    tokens = np.concatenate([np.load(part) for part in parts]).astype(np.float64)
    mu, std = tokens.mean(axis=1), tokens.std(axis=1, ddof=1)
    arrays = load_file(saes / "blocks.1.hook_resid_post" / "sae_weights.safetensors")
    added = arrays["b_dec"] * std[:, None] + mu[:, None]
    expected = added[study.rows("train")].mean(axis=0)
    assert np.allclose(study.dictionary(2).mean, expected, atol=1e-4)
    scaled = (tokens - mu[:, None]) / (std[:, None] + 1e-5)
    pre = (scaled - arrays["b_dec"]) @ arrays["W_enc"] + arrays["b_enc"]
    active = np.zeros(pre.shape, dtype=bool)
    np.put_along_axis(active, np.argsort(-pre, axis=1)[:, :3], True, axis=1)
    codes = study.codes(2).to_csr().toarray()
    assert ((codes != 0) == (active & (pre > 0))).mean() > 0.9999


def test_another_dictionary_is_another_study(tiny_inputs, saes, tmp_path):
    config = BuildConfig(predictor=tiny.CONFIG.predictor)
    build_study(*tiny_inputs, tmp_path / "study", config, workers=1, dictionary=saes)
    build_study(*tiny_inputs, tmp_path / "study", config, workers=1, dictionary=saes)
    place = saes / "blocks.0.hook_resid_post" / "cfg.json"
    place.write_text(place.read_text().replace("3", "2"))
    with pytest.raises(StudyError, match=r"dictionary\.imported"):
        build_study(*tiny_inputs, tmp_path / "study", config, workers=1, dictionary=saes)


def test_a_stopped_build_goes_on_without_the_files(tiny_inputs, saes, tmp_path, monkeypatch):
    from cgraph import dictionary_stages

    def stop(*_):
        raise KeyboardInterrupt

    config = BuildConfig(predictor=tiny.CONFIG.predictor)
    whole = build_study(*tiny_inputs, tmp_path / "whole" / "s", config, workers=1, dictionary=saes)
    with monkeypatch.context() as patched:
        patched.setattr(dictionary_stages, "join_dictionaries", stop)
        with pytest.raises(KeyboardInterrupt):
            build_study(*tiny_inputs, tmp_path / "cut" / "s", config, workers=1, dictionary=saes)
    shutil.rmtree(saes)
    study = resume_study(tmp_path / "cut" / "s", workers=1)
    assert study.manifest == whole.manifest


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--n-atoms", "8"], "--dictionary and --n-atoms contradict each other"),
        (["--method", "ksvd"], "--dictionary and --method contradict each other"),
        (["--encoder", "omp"], "--dictionary and --encoder contradict each other"),
        (["--max-nnz", "0"], "--max-nnz is 0"),
        (["--max-nnz", "4"], "was learned for 3. Leave --max-nnz out"),
    ],
)
def test_settings_that_contradict(tiny_inputs, saes, tmp_path, capsys, options, sentence):
    place = ["--model", tiny_inputs[0], "--images", tiny_inputs[1], "--out", tmp_path / "x"]
    code, _, err = run(capsys, "build", *place, "--dictionary", saes, *options)
    assert code == 2
    assert sentence in err


def test_dictionaries_alone_are_not_enough(saes, tmp_path, capsys):
    code, _, err = run(capsys, "build", "--out", tmp_path / "x", "--dictionary", saes)
    assert code == 2
    assert "--model and --images are missing" in err


def test_dictionaries_of_another_model(tiny_inputs, saes, tmp_path):
    shutil.rmtree(saes / "blocks.3.hook_resid_post")
    with pytest.raises(DataError, match="has no dictionary for layer 4 of 4"):
        build_study(*tiny_inputs, tmp_path / "x", workers=1, dictionary=saes)


def test_the_method_is_not_to_be_chosen():
    with pytest.raises(ConfigError, match="are given with --dictionary"):
        BuildConfig().with_options(method="imported")
