"""What another seed finds again of a study."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny
from planted_study import write_study

from cgraph import stability
from cgraph.errors import ImageError, ModelError
from cgraph.executors import ProcessExecutor, SerialExecutor
from cgraph.measurements import measure_study
from cgraph.pipeline import build_study
from cgraph.stability import measure, other_seed
from cgraph.study import Study
from cgraph.truth_tables import TABLES
from cgraph.workbench import Workbench


@pytest.fixture(scope="module")
def study(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A copy, which may be measured."""
    folder = tmp_path_factory.mktemp("stability") / tiny_study.name
    return Study.open(shutil.copytree(tiny_study.path, folder))


@pytest.fixture(scope="module")
def tables(study: Study) -> dict[str, pa.Table]:
    return measure(Workbench(study, SerialExecutor()))


def numbers(table: pa.Table, **wanted: int) -> dict[str, np.ndarray]:
    columns = {name: np.array(table.column(name).to_pylist()) for name in table.column_names}
    keep = np.ones(table.num_rows, dtype=bool)
    for name, value in wanted.items():
        keep &= columns[name] == value
    return {name: column[keep] for name, column in columns.items()}


def test_tables_have_their_columns_and_the_order_of_the_graph(
    study: Study, tables: dict[str, pa.Table]
) -> None:
    for name, schema in TABLES["stability"].items():
        assert tables[name].schema == schema, name
    edges = numbers(tables["stable-edges"])
    wanted = []
    for layer in range(2, study.n_layers + 1):
        parents, children, _ = study.graph.edges_into(
            np.arange(study.graph.n_concepts(layer)), layer
        )
        wanted += [(layer - 1, p, layer, c) for p, c in zip(parents, children, strict=True)]
    ends = ("parent_layer", "parent", "child_layer", "child")
    assert list(zip(*(edges[name].tolist() for name in ends), strict=True)) == wanted
    concepts = numbers(tables["stable-concepts"])
    assert len(concepts["layer"]) == study.graph.n_concepts()


def test_every_alive_concept_has_a_match_and_the_summary_adds_up(
    study: Study, tables: dict[str, pa.Table]
) -> None:
    for row in tables["stable-layers"].to_pylist():
        layer = row["layer"]
        concepts = numbers(tables["stable-concepts"], layer=layer)
        alive = study.graph.column(layer, "alive")
        np.testing.assert_array_equal(concepts["match"] >= 0, alive)
        assert len(set(concepts["match"][alive])) == alive.sum() == row["n_alive"]
        assert row["n_found_again"] == concepts["found_again"].sum()
        assert (concepts["found_again"] <= (concepts["cosine"] > 0.9)).all()
        assert row["cosine"] == pytest.approx(np.median(concepts["cosine"][alive]))
        shared = concepts["label_jaccard"][~np.isnan(concepts["label_jaccard"])]
        assert row["jaccard"] == pytest.approx(np.median(shared))
        # Turned at random or not, both are one-to-one; the real ones are far more alike.
        assert row["cosine"] > row["cosine_rotated"] + 0.2
        edges = numbers(tables["stable-edges"], child_layer=layer)
        assert row["n_edges"] == len(edges["parent"])
        assert row["n_edges_found_again"] == edges["found_again"].sum() <= row["n_edges_matched"]
        assert row["n_edges_found_bags"] == edges["found_again_bags"].sum()
        if layer > 1:
            assert row["n_edges_found_bags"] > 2 * row["n_edges_chance_bags"] > 0


def test_a_dictionary_is_what_a_build_learns_with_the_other_seed(
    study: Study, tables: dict[str, pa.Table]
) -> None:
    # The split goes by the seed, too, so that a build of its own learns on other images: what must
    # be equal is what it learns from the same tokens.
    bench = Workbench(study, SerialExecutor())
    again = stability._learned_again(bench.source, bench.seed, 2)[0]
    config = dataclasses.replace(tiny.CONFIG, seed=other_seed(0))
    train, tune = (bench.tokens(part, 2) for part in ("train", "tune"))
    direct, _ = stability.learn(train, tune, 2, config, None)
    np.testing.assert_array_equal(again.atoms, direct.atoms)
    assert np.abs(study.dictionary(2).atoms - again.atoms).max() > 0.01


def test_the_same_seed_finds_everything_again(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stability, "other_seed", lambda seed: study.config.seed)
    copy = Study.open(shutil.copytree(study.path, tmp_path / study.name))
    shutil.rmtree(copy.path / ".measuring", ignore_errors=True)
    tables = measure(Workbench(copy, SerialExecutor()))
    for row in tables["stable-layers"].to_pylist():
        assert row["n_found_again"] == row["n_alive"] > 0
        assert row["cosine"] == pytest.approx(1, abs=1e-5)
        assert row["jaccard"] == 1
        assert row["n_edges_matched"] == row["n_edges_found_bags"] == row["n_edges"]
        assert row["n_edges_found_again"] == row["n_edges"]


def test_any_number_of_workers_finds_the_same(
    study: Study, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    copy = Study.open(shutil.copytree(study.path, tmp_path / study.name))
    shutil.rmtree(copy.path / ".measuring", ignore_errors=True)
    again = measure(Workbench(copy, ProcessExecutor(2)))
    assert all(again[name].equals(table) for name, table in tables.items())


def test_real_valued_inputs(tiny_inputs: tuple[Path, Path], tmp_path: Path) -> None:
    config = dataclasses.replace(
        tiny.CONFIG,
        predictor=dataclasses.replace(tiny.CONFIG.predictor, inputs="pre-activations"),
        dictionary=dataclasses.replace(
            tiny.CONFIG.dictionary, method="ksvd", nonnegative=False, steps=2
        ),
    )
    build_study(*tiny_inputs, tmp_path / "study", config, workers=1)
    measured = measure_study(tmp_path / "study", ["worth", "stability"], workers=1).study
    layers = measured.measured("stable-layers").to_pylist()
    assert all(row["n_edges_found_bags"] > 3 * row["n_edges_chance_bags"] for row in layers[1:])
    worth = np.array(measured.measured("worth").column("auc_drop").to_pylist())
    assert np.nanmean(worth) > 0
    assert 0 <= measured.truth["atoms_matched_share"] <= 1


def test_what_cannot_be_learned_again_is_left_out(study: Study, tmp_path: Path) -> None:
    planted = Study.open(write_study(tmp_path / "planted", n_layers=3))
    with pytest.raises(ImageError):
        measure(Workbench(planted, SerialExecutor()))
    imported = Study.open(shutil.copytree(study.path, tmp_path / study.name))
    elsewhere = dataclasses.replace(
        imported.config.dictionary, method="imported", imported="0" * 64
    )
    config = dataclasses.replace(imported.config, dictionary=elsewhere)
    imported.manifest = dataclasses.replace(imported.manifest, config=config)
    with pytest.raises(ModelError, match="made elsewhere"):
        measure(Workbench(imported, SerialExecutor()))
