"""Names by text on the bundled study, whose model was trained on captions of its scenes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cgraph import cli
from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, ImageError, ModelError
from cgraph.manifest import TEXT_NAMES
from cgraph.naming import text_of
from cgraph.store import to_json, write_bytes
from cgraph.study import Study
from cgraph.study_names import marked
from cgraph.text_naming import default_vocabulary, name_study_by_text, read_vocabulary
from cgraph.text_tower import TextTower, has_text_tower

DEMO = Path(__file__).parents[1] / "data" / "demo"
N_EACH = 150
"""Tune and held-out images that are looked at: enough to name by, few enough to be quick."""


@pytest.fixture(scope="module")
def tower():
    return TextTower.load(DEMO / "model")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    all_rows = Study.rows
    monkeypatch.setattr(Study, "rows", lambda study, part: all_rows(study, part)[:N_EACH])
    return folder


def test_words_agree_with_attributes_and_every_hash_holds(copy):
    study = Study.open(copy)
    seen = []
    found = name_study_by_text(study, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * N_EACH, 2 * N_EACH)
    assert "purple" in found.vocabulary and found.n_unknown > 100  # it knows no word but its own
    again = Study.open(copy)
    again.verify()
    assert TEXT_NAMES in again.manifest.files
    stored = {c: name for c, name in again.naming.by_text.items() if c.layer == 12}
    assert stored == {
        ConceptId(12, n): name for n, name in enumerate(found.layers[12]) if name.matches
    }
    agree = [
        text_of(study.names[c].attribute, study.names[c].value) == name.matches[0].text
        for c, name in again.naming.by_text.items()
        if name.text and c in study.names
    ]
    # Attributes were not used to choose among the words: most names say the same.
    assert len(agree) > 80 and np.mean(agree) > 0.75
    shown = [c for c, name in again.naming.by_text.items() if name.text and c not in study.names]
    assert all(marked(again.name_of(c)).startswith("≈ ") for c in shown)
    assert again.name_of(next(iter(study.names))) == next(iter(study.names.values()))


def test_likeness_is_that_of_transformers(tower):
    import torch
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(DEMO / "model", local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model", local_files_only=True)
    pixels = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    texts = ["a red star", "a small blue plain ring on grass"]
    with torch.inference_mode():
        whole = model(
            **tokenizer(texts, padding=True, return_tensors="pt"),
            pixel_values=torch.from_numpy(pixels),
        )
        expected = (whole.logits_per_image / model.logit_scale.exp()).numpy()
    words = tower.embed_texts(["red star", "small blue plain ring on grass"], ["a {}"])
    np.testing.assert_allclose(tower.embed_pixels(pixels) @ words.T, expected, atol=1e-5)


def test_several_templates_are_averaged(tower):
    one, two = (tower.embed_texts(["star"], [t]) for t in ("a {}", "a {} on grass"))
    mean = (one + two) / np.linalg.norm(one + two)
    np.testing.assert_allclose(
        tower.embed_texts(["star"], ["a {}", "a {} on grass"]), mean, atol=1e-6
    )


@pytest.mark.parametrize("template", ["a star", "{} and {}", ""])
def test_a_template_needs_one_place_for_the_word(tower, template):
    with pytest.raises(ConfigError, match=r"cannot be used: write a sentence with {} in the place"):
        tower.embed_texts(["star"], [template])


def test_words_that_the_model_does_not_know(tower):
    assert tower.knows("red star") and not tower.knows("red tractor") and not tower.knows(" ")


def test_a_model_without_texts(tiny_inputs, tiny_study):
    assert has_text_tower(DEMO / "model") and not has_text_tower(tiny_inputs[0])
    assert not has_text_tower(Path("nowhere"))
    with pytest.raises(
        ModelError, match=r"knows no texts\. Names by text need a model of images and"
    ):
        name_study_by_text(tiny_study)


def test_the_default_vocabulary_begins_with_what_is_known(tiny_study):
    words = default_vocabulary(tiny_study)
    assert {"grass", "sand", "sky"} <= set(words[:3])
    assert len(words) == len(set(words)) > 150


def test_a_vocabulary_of_ones_own(copy, tmp_path, capsys):
    path = tmp_path / "words.txt"
    path.write_text("# mine\nred\n blue  \n\nred\nstriped\nstar\ntractor\n", encoding="utf-8")
    assert read_vocabulary(path) == ["red", "blue", "striped", "star", "tractor"]
    arguments = ["names", "text", str(copy), "--vocabulary", str(path), "--template", "a {} star"]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 words; 1 more were left out")
    texts = {m.text for name in Study.open(copy).naming.by_text.values() for m in name.matches}
    assert texts == {"red", "blue", "striped", "star"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "holds no word"),
        ("# only a remark\n", "holds no word"),
        ("x" * 81, "which has 81 characters: 80 are allowed"),
        ("\n".join(map(str, range(20_001))), "holds 20001 words: 20000 are allowed"),
    ],
)
def test_wrong_vocabularies(tmp_path, content, sentence):
    path = tmp_path / "words.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        read_vocabulary(path)


def test_a_vocabulary_of_unknown_words(copy):
    with pytest.raises(ConfigError, match="knows 1 of the 2 words: names by text need at least 2"):
        name_study_by_text(Study.open(copy), vocabulary=["red", "tractor"])


def test_images_that_are_not_those_of_the_study(copy, tmp_path):
    study = Study.open(copy)
    words = ["red", "blue"]
    with pytest.raises(ImageError, match="There are no images in nowhere"):
        name_study_by_text(study, vocabulary=words, images="nowhere")
    others = tmp_path / "others.json"
    write_bytes(others, to_json({"scenes": 7500, "seed": 9}))
    with pytest.raises(ImageError, match=rf"are not those of the study {study.name!r}: .* was"):
        name_study_by_text(study, vocabulary=words, images=others)
    write_bytes(others, to_json({"scenes": 10, "seed": 2}))
    with pytest.raises(ImageError, match="is missing"):
        name_study_by_text(study, vocabulary=words, images=others)
    (copy / "build.json").unlink()
    with pytest.raises(ImageError, match="It is not known where the images of the study"):
        name_study_by_text(study, vocabulary=words)
    assert not (copy / TEXT_NAMES).exists()


def test_nothing_of_torch_is_loaded_to_show_names():
    import subprocess
    import sys

    code = (
        "import sys; from cgraph import names_command, name_files, text_naming;"
        "from cgraph.study import Study;"
        f"Study.open({str(DEMO)!r}).naming.all();"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
