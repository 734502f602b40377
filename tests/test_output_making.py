"""Outputs of real models: measured by the whole model, predicted as every concept is."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch

from cgraph import cli, output_values
from cgraph.bagging import fit_predictors
from cgraph.config import HELD_OUT, TRAIN, TUNE, DictionaryConfig, PredictorConfig
from cgraph.edits import RolloutSettings
from cgraph.errors import ConfigError, ImageError, ModelError, StudyError
from cgraph.measurements import measure_study
from cgraph.metrics import auc
from cgraph.output_fits import OutputInputs, fit_output, labels_of
from cgraph.output_making import add_outputs, refit_outputs, remove_outputs
from cgraph.output_readings import contrasts, outputs_of_picture, outputs_of_row, read_outputs_of
from cgraph.output_tables import FILES, REFITTED_FILES, STAGE
from cgraph.output_values import Asked, resolved, whole_model
from cgraph.picture_source import picture
from cgraph.pipeline import build_study
from cgraph.predictor import SparseInputs, calibrate
from cgraph.rollout import rollout
from cgraph.rollout_refit import refit_layer
from cgraph.store import read_table, to_json, write_bytes
from cgraph.study import Study
from cgraph.tracing import load_model
from cgraph.workbench import Source

DEMO = Path(__file__).parents[1] / "data" / "demo"
CLASSES = [Asked("class", "LABEL_0"), Asked("class", "LABEL_1")]


def copied(study: Study, folder: Path) -> Path:
    shutil.copytree(study.path, folder)
    return folder


@pytest.fixture
def folder(tiny_study: Study, tmp_path: Path) -> Path:
    return copied(tiny_study, tmp_path / "discs")


@pytest.fixture(scope="module")
def classed(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The tiny study with two classes of its head; tests must not change its folder."""
    folder = copied(tiny_study, tmp_path_factory.mktemp("classed") / "discs")
    return add_outputs(folder, CLASSES, workers=1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A small study of the bundled model, which knows texts."""
    root = tmp_path_factory.mktemp("scenes")
    write_bytes(root / "scenes.json", to_json({"scenes": 260, "seed": 2}))
    config = dataclasses.replace(
        tiny.CONFIG, dictionary=DictionaryConfig(n_atoms=24, max_nnz=5, steps=150)
    )
    return build_study(DEMO / "model", root / "scenes.json", root / "study", config, workers=1)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_classes_are_what_the_whole_model_says(classed: Study) -> None:
    from transformers import ViTForImageClassification

    outputs = classed.outputs
    assert outputs.names == ("LABEL_0", "LABEL_1")
    original = ViTForImageClassification.from_pretrained(
        load_model(classed).path, local_files_only=True
    ).eval()
    rows = classed.rows(HELD_OUT)
    with torch.no_grad():
        logits = original(torch.tensor(Source(classed.path).pixels(rows))).logits
    np.testing.assert_allclose(outputs.values[rows], logits.softmax(-1).numpy()[:, :2], atol=1e-5)
    likeliest = logits.argmax(-1).numpy()
    assert (outputs.labels[rows] == (likeliest[:, None] == [0, 1])).all()
    for place, node in enumerate(outputs.nodes):
        assert node.rule == "top class" and np.isnan(node.threshold) and node.class_index == place
        for name, part in (("n_train", TRAIN), ("n_tune", TUNE), ("n_held_out", HELD_OUT)):
            assert getattr(node, name) == outputs.labels[classed.rows(part), place].sum()


def test_predictors_are_those_of_the_studys_own_code(classed: Study) -> None:
    """Bags, penalty, stable features, calibration and threshold: called here once more."""
    from cgraph.output_fits import entropy_of

    outputs, config = classed.outputs, classed.config.predictor
    codes = classed.codes(classed.n_layers)
    inputs = {p: SparseInputs(codes.take(classed.rows(p)), binary=True) for p in (TRAIN, TUNE)}
    for place, asked in enumerate(CLASSES):
        labels = outputs.labels[:, place]
        one = {p: _codes_of(labels[classed.rows(p)]) for p in (TRAIN, TUNE)}
        entropy = entropy_of(classed, asked)
        assert entropy[:2] == (classed.config.seed, classed.n_layers + 1)
        found = fit_predictors(inputs[TRAIN], one[TRAIN], np.array([0]), config, entropy=entropy)
        found = calibrate(found, inputs[TUNE], one[TUNE], config.threshold)
        own = outputs.extended(classed.graph).parents(outputs.ids[place])
        order = np.argsort(own.indices)
        np.testing.assert_array_equal(own.indices[order], found.parents)
        np.testing.assert_array_equal(own.weights[order], found.weights)
        np.testing.assert_array_equal(own.selection_rates[order], found.selection_rates)
        for name in ("intercept", "slope", "offset", "threshold", "penalty"):
            assert outputs.columns[name][place] == getattr(found, name)[0]


def _codes_of(labels):
    from cgraph.codes import Codes

    return Codes.from_padded(np.where(labels, 0, -1)[:, None], np.ones((len(labels), 1)), 1)


def test_held_out_figures_are_those_of_the_extended_graph(classed: Study) -> None:
    outputs = classed.outputs
    rows = classed.rows(HELD_OUT)
    labels = classed.codes(classed.n_layers).dense_labels(rows)
    found = rollout(
        outputs.extended(classed.graph), labels, classed.n_layers, RolloutSettings(rule="max")
    ).of_layer(classed.n_layers + 1)
    areas = auc(found[1], outputs.labels[rows])
    for place, node in enumerate(outputs.nodes):
        assert node.auc == pytest.approx(areas[place], abs=1e-6)
        hits = (found[0][:, place] & outputs.labels[rows, place]).sum()
        total = found[0][:, place].sum() + outputs.labels[rows, place].sum()
        assert node.f1 == pytest.approx(2 * hits / total)


def test_an_output_that_is_a_concept_is_predicted_by_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((900, 12)) < 0.3
    parts = {TRAIN: np.arange(500), TUNE: np.arange(500, 700), HELD_OUT: np.arange(700, 900)}
    from cgraph.codes import Codes

    padded = np.where(labels, np.arange(12), -1)
    codes = Codes.from_padded(padded, np.where(labels, 2.0, 0), 12)
    for scale in (1.0, 4.0):
        binary = scale == 1.0
        inputs = {p: SparseInputs(codes.take(r), binary, scale) for p, r in parts.items()}
        found, figures = fit_output(
            OutputInputs(parts, inputs, scale), labels[:, 5], PredictorConfig(), (0, 1)
        )
        strongest = int(found.parents[np.abs(found.weights).argmax()])
        assert strongest == 5 and figures["auc"] == figures["f1"] == 1
        # Weights are per unit of what is not divided, so the rest of the code needs no scale.
        plain = SparseInputs(codes, binary)
        assert (found.predicted_labels(plain)[:, 0] == labels[:, 5]).all()


def test_the_study_is_whole_and_says_what_it_has(classed: Study, tmp_path: Path, capsys) -> None:
    Study.open(classed.path).verify()
    records = {name: r for name, r in classed.manifest.files.items() if r.stage == STAGE}
    assert set(records) == set(FILES)
    assert not (classed.path / ".measuring").exists()
    assert cli.main(["verify", str(classed.path)]) == 0
    assert cli.main(["info", str(classed.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.partition("\n")[2])["outputs"]
    assert [node["name"] for node in said] == ["LABEL_0", "LABEL_1"]
    assert said[0]["threshold"] is None and said[0]["n_train"] == classed.outputs.nodes[0].n_train
    assert cli.main(["info", str(classed.path)]) == 0
    assert "O/LABEL_1" in capsys.readouterr().out
    zipped = tmp_path / "study.zip"
    assert cli.main(["export", str(classed.path), str(zipped)]) == 0
    assert cli.main(["import", str(zipped), str(tmp_path / "back")]) == 0
    assert bytes_of(tmp_path / "back") == bytes_of(classed.path)
    with pytest.raises(StudyError, match=r"read from .*: no output can be kept"):
        add_outputs(zipped, CLASSES)


def test_the_number_of_workers_and_the_order_change_nothing(classed: Study, folder: Path) -> None:
    one = add_outputs(folder, CLASSES[1:], workers=2)
    assert one.outputs.names == ("LABEL_1",)
    both = add_outputs(folder, CLASSES[:1], workers=1).outputs
    assert both.names == ("LABEL_1", "LABEL_0")
    for place, other in ((0, 1), (1, 0)):
        np.testing.assert_array_equal(both.values[:, place], classed.outputs.values[:, other])
        assert both.nodes[place] == pytest.approx(classed.outputs.nodes[other], nan_ok=True) or (
            json.dumps(both.nodes[place].to_dict())
            == json.dumps(classed.outputs.nodes[other].to_dict())
        )
    remove_outputs(folder, ["O/LABEL_1"])
    add_outputs(folder, CLASSES[1:], workers=1)
    assert bytes_of(folder) == bytes_of(classed.path)


def test_what_is_there_is_not_measured_again(classed: Study, tmp_path: Path, monkeypatch) -> None:
    folder = copied(classed, tmp_path / "again")
    before = bytes_of(folder)
    with monkeypatch.context() as patched:
        patched.setattr(output_values, "values_of_rows", None)
        assert add_outputs(folder, CLASSES, workers=1).outputs.names == classed.outputs.names
    assert bytes_of(folder) == before
    add_outputs(folder, again=True, workers=1)
    assert bytes_of(folder) == before
    with pytest.raises(ConfigError, match=r"an output O/LABEL_0 already \(the likeliest class is"):
        add_outputs(folder, [Asked("class", "LABEL_0", threshold=0.5)])
    with pytest.raises(ConfigError, match="an output O/LABEL_0 already"):
        add_outputs(folder, [Asked("class", "LABEL_2", name="LABEL_0")])


def test_what_was_interrupted_goes_on_where_it_stopped(
    classed: Study, folder: Path, monkeypatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(progress) -> None:
        if progress.done == 1:
            raise Stopped

    before = (folder / "study.json").read_bytes()
    with pytest.raises(Stopped):
        add_outputs(folder, CLASSES, workers=1, on_progress=stop)
    assert (folder / "study.json").read_bytes() == before
    Study.open(folder).verify()
    done = []
    add_outputs(folder, CLASSES, workers=1, on_progress=lambda p: done.append(p.done))
    assert done[0] == 1, "the first part was kept"
    assert bytes_of(folder) == bytes_of(classed.path)


def test_outputs_are_taken_out_again(classed: Study, tmp_path: Path, capsys) -> None:
    folder = copied(classed, tmp_path / "fewer")
    fewer = remove_outputs(folder, ["LABEL_0"])
    assert fewer.outputs.names == ("LABEL_1",)
    np.testing.assert_array_equal(fewer.outputs.labels[:, 0], classed.outputs.labels[:, 1])
    graph, whole = (study.outputs.extended(study.graph) for study in (fewer, classed))
    np.testing.assert_array_equal(
        graph.parents(fewer.outputs.ids[0]).weights, whole.parents(classed.outputs.ids[1]).weights
    )
    with pytest.raises(ConfigError, match=r"no output O/LABEL_0: the study has O/LABEL_1\."):
        remove_outputs(folder, ["LABEL_0"])
    none = remove_outputs(folder, ["O/LABEL_1"])
    assert none.outputs is None and not (folder / "outputs").exists()
    none.verify()
    with pytest.raises(ConfigError, match="has no outputs that could be removed"):
        remove_outputs(folder, ["LABEL_0"])
    assert cli.main(["outputs", str(folder)]) == 0
    assert "has no outputs. Add one with --text or --class" in capsys.readouterr().out


def test_a_build_that_is_done_again_forgets_the_outputs(
    classed: Study, tiny_inputs, tmp_path: Path
) -> None:
    folder = copied(classed, tmp_path / "rebuilt")
    assert build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1).outputs is not None
    (folder / "graph/edges.arrow").unlink()
    assert build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1).outputs is None


def test_a_class_above_a_given_probability(folder: Path) -> None:
    study = add_outputs(folder, [Asked("class", "2", "sure", 0.4)], workers=1)
    (node,), values = study.outputs.nodes, study.outputs.values
    assert (node.name, node.text, node.class_index) == ("sure", "LABEL_2", 2)
    np.testing.assert_array_equal(study.outputs.labels, values >= 0.4)
    assert node.meaning == "p(LABEL_2) ≥ 0.4"


# ---- texts


def test_texts_part_the_training_images_in_two_groups(scenes: Study, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    folder = copied(scenes, tmp_path / "texts")
    others = ("plain", "dotted", "checkered")
    asked = [Asked("text", " striped "), Asked("text", "striped", "stripes", None, others)]
    study = add_outputs(folder, asked, workers=1)
    outputs = study.outputs
    assert outputs.names == ("striped", "stripes")

    model = CLIPModel.from_pretrained(DEMO / "model", local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model", local_files_only=True)
    rows = study.rows(HELD_OUT)
    with torch.no_grad():
        whole = model(
            **tokenizer(["striped", *others], padding=True, return_tensors="pt"),
            pixel_values=torch.tensor(Source(study.path).pixels(rows)),
        )
        cosines = (whole.logits_per_image / model.logit_scale.exp()).numpy()
    expected = np.stack([cosines[:, 0], cosines[:, 0] - cosines[:, 1:].mean(axis=1)], axis=1)
    np.testing.assert_allclose(outputs.values[rows], expected, atol=1e-5)

    train = study.rows(TRAIN)
    for place, node in enumerate(outputs.nodes):
        own = outputs.values[train, place].astype(float)
        groups = own[own < node.threshold], own[own >= node.threshold]
        within = sum(((group - group.mean()) ** 2).sum() for group in groups)
        assert node.separation == pytest.approx(1 - within / ((own - own.mean()) ** 2).sum())
        assert node.rule == "two groups"
        assert (outputs.labels[:, place] == (outputs.values[:, place] >= node.threshold)).all()
    truth = np.array(["striped" in study.attributes(row)["texture"] for row in range(len(rows))])
    assert (outputs.labels[: len(rows), 1] == truth).mean() > 0.9

    # The same for a picture that comes as a file, and by what is stored.
    row = int(rows[0])
    states = outputs_of_picture(study, load_model(study), picture(study, row))
    stored = outputs_of_row(study, row)
    assert [state.label for state in states] == [state.label for state in stored]
    for state, other in zip(states, stored, strict=True):
        assert state.value == pytest.approx(other.value, abs=1e-5)
        assert state.probability == pytest.approx(other.probability, abs=1e-5)
    graph = outputs.extended(study.graph)
    active = study.codes(study.n_layers).row(row)[0]
    found = graph.probability(study.n_layers + 1, active)
    assert stored[1].probability == pytest.approx(found[1])
    assert stored[1].predicted == (found[1] >= graph.column(study.n_layers + 1, "threshold")[1])
    assert stored[1].sentence.startswith("O/stripes: ")


def test_an_intervention_moves_the_outputs(scenes: Study, tmp_path: Path) -> None:
    study = add_outputs(copied(scenes, tmp_path / "moved"), [Asked("text", "red")], workers=1)
    output, rows = whole_model(Source(study.path)), study.rows(HELD_OUT)[:6]
    pixels = Source(study.path).pixels(rows)
    labels, values = read_outputs_of(output, study.outputs.nodes, pixels)
    np.testing.assert_array_equal(labels, study.outputs.labels[rows])
    added = np.random.default_rng(0).standard_normal((6, study.d_model)).astype(np.float32)
    moved = read_outputs_of(output, study.outputs.nodes, pixels, {3: added})[1]
    np.testing.assert_allclose(moved, output.scores(pixels, {3: added}, ["red"]), atol=1e-6)
    assert abs(moved - values).max() > 1e-3


def test_contrasts_are_differences_of_means() -> None:
    texts, weights = contrasts([("a", ()), ("b", ("a", "c")), ("c", ("b",))])
    assert texts == ("a", "b", "c")
    np.testing.assert_allclose(weights, [[1, -0.5, 0], [0, 1, -1], [0, -0.5, 1]])


# ---- rollouts


def test_predictors_for_rollouts_follow_those_of_the_study(
    classed: Study, folder: Path, tmp_path: Path
) -> None:
    before = copied(classed, tmp_path / "before")
    measured = measure_study(before, ["rollout"], workers=1).study
    assert set(measured.outputs.refits) == set(range(1, measured.n_layers + 1))
    measured.verify()
    measure_study(folder, ["rollout"], workers=1)
    later = add_outputs(folder, CLASSES, workers=1)
    for name in REFITTED_FILES:
        assert (folder / name).read_bytes() == (before / name).read_bytes()
    outputs, last = later.outputs, later.n_layers
    train, tune = later.rows(TRAIN), later.rows(TUNE)
    for start in (1, last):
        graph = outputs.extended(later.refitted(start))
        labels = later.codes(start).dense_labels(later.rows(HELD_OUT))
        found = rollout(graph, labels, start, RolloutSettings(rule="refitted"))
        assert np.isfinite(found.of_layer(last + 1)[1]).all()
    # From the last layer on, true labels are passed on.
    passed = [later.codes(last).dense_labels(rows).astype(np.float32) for rows in (train, tune)]
    truth = [outputs.labels[rows] for rows in (train, tune)]
    seed = (later.config.seed, last, last + 1)
    fits, _ = refit_layer(outputs.extended(later.graph), last + 1, passed, truth, seed)
    for name, values in fits.items():
        np.testing.assert_array_equal(outputs.refits[last][name], values)

    # Of other refitted predictors nothing is known until they are fitted again.
    table = read_table(folder / REFITTED_FILES[0])
    assert table.schema.metadata[b"fitted_on"]
    stale = copied(later, tmp_path / "stale")
    from cgraph.output_making import _record

    strange = table.replace_schema_metadata({b"fitted_on": b"others"})
    _record(stale, {REFITTED_FILES[0]: strange}, keep=True)
    found = Study.open(stale)
    assert found.outputs.refits == {}
    with pytest.raises(StudyError, match="have no predictors for the rule refitted"):
        found.outputs.extended(found.refitted(1))
    assert cli.main(["outputs", str(stale), "--refit"]) == 0
    again = Study.open(stale)
    assert set(again.outputs.refits) == set(outputs.refits)
    assert (stale / REFITTED_FILES[0]).read_bytes() == (folder / REFITTED_FILES[0]).read_bytes()


def test_a_study_without_outputs_is_left_alone(folder: Path) -> None:
    before = (folder / "study.json").read_bytes()
    assert refit_outputs(folder).outputs is None
    assert (folder / "study.json").read_bytes() == before


# ---- predictors of other inputs


@pytest.mark.parametrize("kind", ["codes", "pre-activations"])
def test_predictors_of_real_values(tiny_inputs, tmp_path: Path, kind: str) -> None:
    config = dataclasses.replace(
        tiny.CONFIG, predictor=dataclasses.replace(tiny.CONFIG.predictor, inputs=kind)
    )
    study = build_study(*tiny_inputs, tmp_path / kind, config, workers=1)
    study = add_outputs(study.path, [Asked("class", "LABEL_0", threshold=0.35)], workers=1)
    (node,) = study.outputs.nodes
    rows, last = study.rows(HELD_OUT), study.n_layers
    graph = study.outputs.extended(study.graph)
    tokens = load_model(study).class_tokens(Source(study.path).pixels(rows))[-1]
    dictionary = study.dictionary(last)
    values = (
        dictionary.pre_activations(tokens)
        if kind == "pre-activations"
        else study.codes(last).take(rows).to_csr().toarray()
    )
    every = np.arange(values.shape[1])
    p = np.array([graph.probability(last + 1, every, one)[0] for one in values])
    truth = study.outputs.labels[rows]
    if node.auc == node.auc:
        assert auc(p[:, None], truth)[0] == pytest.approx(node.auc, abs=1e-3)
    # Calibrated on tune images: about as many are expected as there are.
    assert p.mean() == pytest.approx(truth.mean(), abs=0.2)
    state = outputs_of_row(study, int(rows[0]))[0]
    if kind == "codes":
        assert state.probability == pytest.approx(p[0], abs=1e-4)
    else:
        assert state.probability is None and "no prediction" in state.sentence
    row = int(rows[0])
    seen = outputs_of_picture(study, load_model(study), picture(study, row))[0]
    assert seen.probability == pytest.approx(p[0], abs=1e-4)


# ---- what is refused


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Asked("class", "LABEL_3"), r"no class 'LABEL_3' among 3.* Did you mean 'LABEL_"),
        (Asked("class", "7"), "no class '7' among 3"),
        (Asked("text", "a dog"), "has a head for classes and knows no texts"),
        (Asked("class", "LABEL_0", "O/x"), "cannot be the name of an output"),
        (Asked("class", "LABEL_0", threshold=0.9999), "on in none of the .* training images"),
        (Asked("class", "LABEL_0", threshold=1e-9), "on in all of the .* training images"),
    ],
)
def test_what_a_classifier_cannot_give(folder: Path, asked: Asked, sentence: str) -> None:
    before = (folder / "study.json").read_bytes()
    with pytest.raises(ConfigError, match=sentence):
        add_outputs(folder, [asked], workers=1)
    assert (folder / "study.json").read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ([Asked("class", "red")], "has no head for classes"),
        ([Asked("text", "red tractor")], "does not know every word of 'red tractor'"),
        ([Asked("text", "red", against=("tractor",))], "every word of 'tractor'"),
        ([Asked("text", f"{c} star") for c in "abcdefghijklmnopqrstuvwxy"], "25 texts were given"),
        ([Asked("text", " ")], "A text has 1 characters"),
        ([Asked("text", "red"), Asked("text", "red")], "an output O/red already"),
    ],
)
def test_what_a_model_of_texts_cannot_give(
    scenes: Study, tmp_path: Path, asked: list[Asked], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        add_outputs(copied(scenes, tmp_path / "wrong"), asked, workers=1)


@pytest.mark.parametrize(
    ("source", "threshold", "against", "sentence"),
    [
        ("class", 0.0, (), "of a probability it must lie between 0 and 1"),
        ("class", 1.0, (), "of a probability it must lie between 0 and 1"),
        ("text", -1.5, (), "of a cosine it must lie between -1 and 1"),
        ("text", float("nan"), (), "of a cosine it must lie between -1 and 1"),
        ("text", 2.5, ("b",), "of a difference of cosines it must lie between -2 and 2"),
        ("class", None, ("b",), "cannot be held against texts"),
        ("text", None, ("a",), "held against itself"),
    ],
)
def test_thresholds_and_contrasts_that_cannot_be(source, threshold, against, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Asked(source, "a", None, threshold, against)


def test_texts_that_are_all_the_same() -> None:
    same = np.full(5, 0.25, np.float32)
    with pytest.raises(ConfigError, match="All 3 training images are equally like"):
        labels_of(Asked("text", "a", "a"), same, np.zeros(5, bool), np.arange(3))


def test_two_classes_of_one_name() -> None:
    class Head:
        kind, class_names = "classes", ("crane", "hen", "crane")

    with pytest.raises(ConfigError, match=r"2 classes are called 'Crane'.* number: 0, 2"):
        resolved(Head, [Asked("class", "Crane")])
    (found, place), *_ = resolved(Head, [Asked("class", "2"), Asked("class", "HEN")])
    assert (found.text, found.name, place) == ("crane", "crane", 2)


def test_a_model_without_an_output(tiny_inputs, tmp_path: Path, monkeypatch) -> None:
    from vision_models import build, save

    from cgraph.vit import VisionModel

    vision = VisionModel.load(save(build("vit"), tmp_path, "vit"))

    class Bare:
        folder = tmp_path / "bare"
        model = vision

    class Named:
        class manifest:
            model: dict = {"id": "bare"}  # noqa: RUF012

    monkeypatch.setattr(output_values, "Source", lambda folder: type("S", (), {
        "model": vision, "study": Named,
    }))  # fmt: skip
    with pytest.raises(ModelError, match="'bare' has neither a head for classes nor a text side"):
        whole_model(Bare)


def test_pictures_that_are_gone(folder: Path, tmp_path: Path) -> None:
    record = json.loads((folder / "build.json").read_text())
    record["sources"]["images"] = "/nowhere"
    (folder / "build.json").write_text(json.dumps(record))
    with pytest.raises(ImageError, match="/nowhere"):
        add_outputs(folder, CLASSES, workers=1)
    with pytest.raises(StudyError, match="not a folder of this machine"):
        add_outputs("memory://bucket/study", CLASSES)


def test_planted_studies_have_no_outputs(tmp_path: Path) -> None:
    from cgraph.planted_config import PlantedConfig
    from cgraph.planted_study import write_planted_study

    config = PlantedConfig(n_layers=3, n_atoms=12, d_model=16, max_nnz=3, n_images=120, n_edges=60)
    write_planted_study(tmp_path / "planted", config)
    with pytest.raises(ImageError, match="were planted"):
        add_outputs(tmp_path / "planted", CLASSES, workers=1)


# ---- the command


def test_the_command_adds_lists_and_removes(folder: Path, capsys) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["outputs", str(folder), *arguments, "--workers", "1"])
        return code, *capsys.readouterr()

    code, out, _ = run("--class", "LABEL_0", "--name", "first one")
    assert code == 0 and "O/first one" in out and "the likeliest class is LABEL_0" in out
    code, out, _ = run("--json")
    (said,) = json.loads(out)
    assert said["name"] == "first one" and said["class_index"] == 0
    code, _, error = run("--class", "LABEL_0", "--class", "LABEL_1", "--name", "x")
    assert code == 2 and "--name is of one output, and 2 are added" in error
    code, _, error = run("--threshold", "0.5")
    assert code == 2 and "--threshold is of one output, and 0 are added" in error
    code, _, error = run("--class", "LABEL_1", "--against", "x")
    assert code == 2 and "--against is for texts" in error
    code, out, _ = run("--remove", "first one", "--class", "LABEL_1")
    assert code == 0 and "LABEL_1" in out and "first one" not in out


def test_a_trace_prints_the_outputs(classed: Study, tmp_path: Path, capsys) -> None:
    row = int(classed.rows(HELD_OUT)[0])
    image = tmp_path / "picture.png"
    picture(classed, row).save(image)
    assert cli.main(["trace", str(image), "--study", str(classed.path)]) == 0
    out = capsys.readouterr().out
    for state in outputs_of_row(classed, row):
        said = "on" if state.label else "off"
        assert f"O/{state.node.name}: {said}" in out
        assert f"predicted at {state.probability:.0%}, usually {state.prevalence:.0%}" in out
    assert cli.main(["trace", str(image), "--study", str(classed.path), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert [one["output"] for one in said["outputs"]] == ["O/LABEL_0", "O/LABEL_1"]
    assert said["outputs"][0]["label"] == bool(classed.outputs.labels[row, 0])


def test_damaged_tables_are_named(classed: Study, tmp_path: Path) -> None:
    folder = copied(classed, tmp_path / "damaged")
    from cgraph.output_making import _record

    table = read_table(folder / FILES[0])
    _record(folder, {FILES[0]: table.drop_columns(["rule"])}, keep=True)
    with pytest.raises(StudyError, match=r"outputs\.arrow does not fit .* it has no column rule"):
        Study.open(folder).outputs  # noqa: B018
    (folder / FILES[3]).write_bytes(b"x" * (folder / FILES[3]).stat().st_size)
    with pytest.raises(StudyError, match="was changed after it was written"):
        Study.open(folder).outputs  # noqa: B018
    assert isinstance(table, pa.Table)
