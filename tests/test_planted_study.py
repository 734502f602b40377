"""Planted studies: they open, hold what was planted, and are made again byte by byte."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cgraph import cli
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.errors import ConfigError, ModelError, StudyError
from cgraph.manifest import MANIFEST, Manifest
from cgraph.metrics import auc
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.predictor import SparseInputs
from cgraph.predictor_tables import predictors_of_layer
from cgraph.store import read_table
from cgraph.study import Study
from cgraph.tracing import load_model, trace_image, trace_row

CONFIG = PlantedConfig(n_layers=3, n_atoms=96, d_model=64, max_nnz=6, n_images=1200)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study.open(write_planted_study(tmp_path_factory.mktemp("planted") / "sizes", CONFIG))


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


class TestContent:
    def test_every_file_is_listed_and_whole(self, study: Study) -> None:
        study.verify()
        assert set(files_of(study.path)) == {*study.manifest.files, MANIFEST}

    def test_codes_and_edges_are_the_planted_ones(self, study: Study) -> None:
        planted = plant_graph(CONFIG)
        codes = plant_codes(CONFIG, planted)
        assert study.graph.n_edges == CONFIG.total_edges
        for layer in (1, 2, 3):
            np.testing.assert_array_equal(study.codes(layer).indices, codes[layer - 1].indices)
            np.testing.assert_array_equal(
                study.codes(layer).coefficients, codes[layer - 1].coefficients
            )
        for layer in (2, 3):
            weights = planted.concept_graph().weight_matrix(layer)
            assert (study.graph.weight_matrix(layer) != weights).nnz == 0

    def test_figures_are_those_of_the_stored_predictors(self, study: Study) -> None:
        rows = study.rows(HELD_OUT)
        tables = [read_table(study.file(f"graph/{name}.arrow")) for name in ("concepts", "edges")]
        stored = study.evaluation("concepts").to_pandas()
        for layer in (2, 3):
            predictors = predictors_of_layer(*tables, layer)
            inputs = SparseInputs(study.codes(layer - 1).take(rows), binary=True)
            areas = auc(predictors.decision(inputs), study.codes(layer).take(rows))
            np.testing.assert_array_equal(stored[stored.layer == layer]["auc"], areas)
            predicted = predictors.predicted_labels(inputs).mean()
            assert predicted == pytest.approx(CONFIG.max_nnz / CONFIG.n_atoms, rel=0.15)
        assert min(study.evaluation("pairs").column("auc_mean").to_pylist()) > 0.9

    def test_probabilities_are_calibrated_on_images_that_had_no_part_in_it(
        self, study: Study
    ) -> None:
        rows = study.rows(HELD_OUT)
        labels = study.codes(3).take(rows).dense_labels()
        tables = [read_table(study.file(f"graph/{name}.arrow")) for name in ("concepts", "edges")]
        inputs = SparseInputs(study.codes(2).take(rows), binary=True)
        p = predictors_of_layer(*tables, 3).probabilities(inputs, "calibrated")
        assert p.sum(axis=1).mean() == pytest.approx(CONFIG.max_nnz, rel=0.1)
        level = np.digitize(p, [0.05, 0.2, 0.5, 0.8])
        gaps = [abs((labels - p)[level == n].sum()) for n in range(5)]
        assert sum(gaps) / p.sum() < 0.15

    def test_parts_of_the_split_have_their_shares(self, study: Study) -> None:
        shares = [len(study.rows(part)) / CONFIG.n_images for part in (TRAIN, TUNE, HELD_OUT)]
        assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.01)

    def test_names_say_what_the_exemplars_show(self, study: Study) -> None:
        assert len(study.names) > CONFIG.n_layers * CONFIG.n_atoms / 4
        hits = []
        for concept, name in study.names.items():
            for row, _ in study.exemplars(concept, 5):
                value = study.attributes(row)[name.attribute]
                hits.append(name.value in value)
        assert np.mean(hits) > 0.8

    def test_thumbnails_are_pictures_of_the_size_asked_for(self, study: Study) -> None:
        for row in (0, CONFIG.n_images - 1):
            assert Image.open(io.BytesIO(study.thumbnail(row))).size == (64, 64)

    def test_stored_images_and_examples_are_traced(self, study: Study) -> None:
        trace = trace_row(study, 7)
        assert [len(layer) for layer in trace.layers] == [CONFIG.max_nnz] * 3
        assert len(trace.edges) > 10
        assert len(study.examples) == CONFIG.n_examples
        for row in study.examples:
            assert row in study.rows(HELD_OUT)
            example = study.example_trace(row)
            assert example.edges == trace_row(study, row).edges
            assert min(example.explained) > 0.7
            assert Image.open(io.BytesIO(study.example_picture(row))).size == (384, 384)

    def test_few_of_its_images_are_unusual(self, study: Study) -> None:
        assert study.usual.false_alarms < 0.05

    def test_an_upload_needs_the_model_that_is_not_there(self, study: Study) -> None:
        with pytest.raises(ModelError, match="The model 'planted' of study"):
            load_model(study)


class TestFolder:
    def test_the_same_sizes_give_the_same_bytes(self, study: Study, tmp_path: Path) -> None:
        again = write_planted_study(tmp_path / "sizes", CONFIG)
        assert files_of(again) == files_of(study.path)

    def test_an_altered_file_is_mended_by_the_command_that_is_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = PlantedConfig(n_layers=2, n_atoms=12, d_model=8, max_nnz=2, n_images=100)
        folder = write_planted_study(tmp_path / "small", config)
        before = files_of(folder)
        (folder / "graph/edges.arrow").unlink()
        with pytest.raises(StudyError) as error:
            Study.open(folder)
        command = str(error.value).partition("Run `cgraph ")[2].partition("`")[0]
        assert command.startswith("planted --layers 2 --atoms 12 --width 8 --active 2")
        assert cli.main(command.split()) == 0
        assert files_of(folder) == before

    def test_an_interrupted_one_is_unfinished_and_can_be_made_again(self, tmp_path: Path) -> None:
        config = PlantedConfig(n_layers=2, n_atoms=12, d_model=8, max_nnz=2, n_images=100)

        def stop(progress: object) -> None:
            if str(progress).startswith("[3/"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_planted_study(tmp_path / "small", config, on_progress=stop)
        with pytest.raises(StudyError, match="is not finished"):
            Study.open(tmp_path / "small")
        Study.open(write_planted_study(tmp_path / "small", config)).verify()

    def test_a_folder_with_something_else_is_refused(self, study: Study, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(StudyError, match=r"is not empty: it holds notes\.txt\. Choose a new"):
            write_planted_study(tmp_path, CONFIG)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        with pytest.raises(StudyError, match=r"made by `cgraph planted --layers 3 .*other settin"):
            write_planted_study(study.path, PlantedConfig(n_images=1000))

    def test_a_name_that_cannot_be_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="A study cannot be named after"):
            write_planted_study(tmp_path / "---", CONFIG)
        assert not (tmp_path / "---").exists()

    @given(
        st.integers(2, 5),
        st.integers(1, 6),
        st.integers(0, 20),
        st.integers(2, 9),
        st.integers(20, 60),
        st.integers(8, 40),
        st.integers(0, 2),
    )
    @settings(max_examples=15, deadline=None)
    @example(2, 1, 0, 2, 20, 8, 0)
    def test_small_sizes_open(
        self, n_layers: int, max_nnz: int, more: int, d_model: int, n_images: int, px: int, n: int
    ) -> None:
        config = PlantedConfig(
            n_layers=n_layers,
            n_atoms=2 * max_nnz + more,
            d_model=d_model,
            max_nnz=max_nnz,
            n_images=n_images,
            thumbnail_px=px,
            n_examples=n,
        )
        with TemporaryDirectory() as root:
            study = Study.open(write_planted_study(Path(root) / "tiny", config))
            study.verify()
            assert len(trace_row(study, 0).layers) == config.n_layers
            assert study.graph.n_concepts(1) == config.n_atoms
            assert len(study.examples) == n
            json.dumps(study.info(), allow_nan=False)


@pytest.fixture(scope="module")
def with_model(tmp_path_factory: pytest.TempPathFactory) -> Study:
    config = PlantedConfig(
        n_layers=3, n_atoms=48, d_model=24, max_nnz=4, n_images=200, n_examples=2
    )
    folder = tmp_path_factory.mktemp("planted") / "with-model"
    return Study.open(write_planted_study(folder, config, model=True))


class TestModel:
    def test_an_upload_is_traced(self, with_model: Study) -> None:
        model = load_model(with_model)
        assert (model.n_layers, model.d_model) == (3, 24)
        picture = Image.open(io.BytesIO(with_model.example_picture(with_model.examples[0])))
        trace = trace_image(with_model, model, picture, "upload.jpg")
        assert all(1 <= len(layer) <= 4 for layer in trace.layers)

    def test_planted_codes_are_as_long_as_the_models(self, with_model: Study) -> None:
        model = load_model(with_model)
        rows = with_model.examples
        pictures = [Image.open(io.BytesIO(with_model.example_picture(row))) for row in rows]
        tokens = model.class_tokens(model.preprocess(pictures))
        for layer in (1, 2, 3):
            dictionary = with_model.dictionary(layer)
            of_model = np.linalg.norm(tokens[layer - 1] - dictionary.mean, axis=1).mean()
            planted = dictionary.decode(with_model.codes(layer)) - dictionary.mean
            assert np.linalg.norm(planted, axis=1).mean() == pytest.approx(of_model, rel=1.0)

    def test_the_command_asks_for_the_model_again(self, with_model: Study) -> None:
        origin = Manifest.read(with_model.path).origin
        assert origin["command"].endswith("--seed 0 --model")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "from-cli"
    sizes = "--layers 2 --atoms 24 --width 16 --active 3 --images 200 --edges 120 --seed 5"
    assert cli.main(["planted", "--out", str(out), *sizes.split()]) == 0
    captured = capsys.readouterr()
    assert "from-cli: planted (planted, 2 layers of width 16) on 200 images" in captured.out
    assert "120 edges" in captured.out
    assert "[4/4] examples: 1 of 1 parts" in captured.err
    assert cli.main(["planted", "--out", str(tmp_path / "no"), "--atoms", "1"]) == 2
    assert "n_atoms is 1: it must be a whole number from 2" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_the_papers_size(tmp_path: Path) -> None:
    study = Study.open(write_planted_study(tmp_path / "paper"))
    assert (study.n_layers, study.d_model, study.graph.n_concepts(12)) == (12, 768, 3072)
    assert study.graph.n_edges == 1_500_000
    for row in (0, *study.examples):
        assert [len(layer) for layer in trace_row(study, row).layers] == [10] * 12
    assert min(study.evaluation("pairs").column("auc_mean").to_pylist()) > 0.9
    assert len(study.names) > 10_000
