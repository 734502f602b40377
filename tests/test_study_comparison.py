"""Two studies side by side: itself, another seed, another model, and what cannot be compared."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny

from cgraph import compare_command
from cgraph.atom_matching import FOUND_COSINE
from cgraph.cli import main
from cgraph.errors import ConfigError
from cgraph.pipeline import build_study
from cgraph.study import Study
from cgraph.study_comparison import WAYS, compare_studies, paired_layers


@pytest.fixture(scope="module")
def other_seed(tiny_inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("studies") / "other-seed"
    config = dataclasses.replace(tiny.CONFIG, seed=1)
    return build_study(*tiny_inputs, folder, config, workers=1)


@pytest.fixture(scope="module")
def other_model(tiny_inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two layers in place of four, and another width."""
    root = tmp_path_factory.mktemp("other")
    model = tiny.write_model(root / "wide", seed=3, width=36, n_layers=2)
    return build_study(model, tiny_inputs[1], root / "wide-study", tiny.CONFIG, workers=1)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Another width, and no picture of the others."""
    root = tmp_path_factory.mktemp("elsewhere")
    model = tiny.write_model(root / "wide", seed=3, width=36, n_layers=2)
    images = tiny.write_images(root / "images", seed=9)
    return build_study(model, images, root / "elsewhere", tiny.CONFIG, workers=1)


@pytest.mark.parametrize("by", ["cosines", "labels"])
def test_a_study_and_itself(tiny_study: Study, by: str) -> None:
    found = compare_studies(tiny_study, tiny_study, by)
    assert found.by == by and found.n_shared == len(set(tiny_study.pixel_hashes))
    assert [row["layer"] for row in found.layers] == [1, 2, 3, 4]
    for row in found.layers:
        assert row["n_found"] == row["n_concepts"] == row["n_others"] > 0
        assert row["likeness"] == pytest.approx(1, abs=1e-6)
        assert row["jaccard"] == row["correlation"] == 1
        assert row["n_names_kept"] == row["n_named"]
        assert row["auc"] == row["other_auc"]
        if row["layer"] > 1:
            assert row["n_edges_found"] == row["n_edges_matched"] == row["n_edges"] > 0
    dead = [row for row in found.concepts if row["match"] is None]
    assert all(row["match"] == row["concept"] for row in found.concepts if row["match"])
    assert len(dead) == sum(
        int((~tiny_study.graph.column(layer, "alive")).sum()) for layer in range(1, 5)
    )


def test_another_seed(tiny_study: Study, other_seed: Study) -> None:
    found = compare_studies(tiny_study, other_seed)
    assert found.by == "cosines" and "same model" in found.why
    assert found.n_shared == len(set(tiny_study.pixel_hashes))
    for row in found.layers:
        assert row["jaccard"] > row["jaccard_chance"] + 0.1
        assert 0 <= row["n_found"] <= row["n_concepts"]
    concept = next(row for row in found.concepts if row["found"])
    layer, index = (int(part) for part in concept["concept"][1:].split("/"))
    match = int(concept["match"].split("/")[1])
    atoms, others = (study.dictionary(layer).atoms for study in (tiny_study, other_seed))
    assert concept["likeness"] == pytest.approx(atoms[index] @ others[match], abs=1e-6)
    assert concept["likeness"] > FOUND_COSINE
    # Rows of the two are in the same order of the same files.
    assert tiny_study.image_ids == other_seed.image_ids
    a = tiny_study.codes(layer).dense_labels()[:, index]
    b = other_seed.codes(layer).dense_labels()[:, match]
    unique = np.unique(tiny_study.pixel_hashes, return_index=True)[1]
    a, b = a[unique], b[unique]
    assert concept["jaccard"] == pytest.approx((a & b).sum() / (a | b).sum())


def test_another_model_is_compared_by_labels(tiny_study: Study, other_model: Study) -> None:
    found = compare_studies(tiny_study, other_model)
    assert found.by == "labels" and "widths" in found.why
    assert [(row["layer"], row["other_layer"]) for row in found.layers] == [(2, 1), (4, 2)]
    assert all(row["n_edges"] is None for row in found.layers)
    assert all(row["jaccard"] > row["jaccard_chance"] for row in found.layers)
    back = compare_studies(other_model, tiny_study)
    assert [(row["layer"], row["other_layer"]) for row in back.layers] == [(1, 2), (2, 4)]
    # The best pairing is the same from either side.
    for one, two in zip(found.layers, back.layers, strict=True):
        assert one["n_found"] == two["n_found"]


def test_another_model_of_the_same_width(
    tiny_study: Study, tiny_inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    model = tiny.write_model(tmp_path / "same-width", seed=7)
    other = build_study(
        model, tiny_inputs[1], tmp_path / "same-width-study", tiny.CONFIG, workers=1
    )
    found = compare_studies(tiny_study, other)
    assert found.by == "labels" and "different spaces" in found.why
    assert compare_studies(tiny_study, other, "cosines").layers[0]["n_found"] == 0


def test_relative_depth() -> None:
    assert paired_layers(3, 3) == [(1, 1), (2, 2), (3, 3)]
    assert paired_layers(4, 12) == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert paired_layers(12, 4) == [(3, 1), (6, 2), (9, 3), (12, 4)]
    assert paired_layers(2, 3) == [(1, 2), (2, 3)]


def test_what_has_nothing_in_common_is_refused(
    tiny_study: Study,
    elsewhere: Study,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = str(tiny_study.path), str(elsewhere.path)
    assert main(["compare", first, second]) == 2
    assert "24 and 36 numbers, and they share 0 images" in capsys.readouterr().err
    assert main(["compare", first, second, "--by", "cosines"]) == 2
    assert "have no cosine" in capsys.readouterr().err
    assert main(["compare", first, str(tmp_path)]) == 2
    assert "study.json" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Allowed: auto, cosines, labels"):
        compare_studies(tiny_study, tiny_study, "names")


def test_the_command(
    tiny_study: Study, other_seed: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [str(tiny_study.path), str(other_seed.path)]
    assert main(["compare", *studies, "--csv", str(tmp_path / "tables")]) == 0
    out = capsys.readouterr().out
    assert "both read the same model" in out and "4–4" in out
    assert main(["compare", *studies, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [study["seed"] for study in values["studies"]] == [0, 1]
    assert values["found_above"] == FOUND_COSINE
    with (tmp_path / "tables" / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n_found"]) for row in rows] == [row["n_found"] for row in values["layers"]]
    with (tmp_path / "tables" / "concepts.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(values["concepts"]) == 64
    assert (tmp_path / "tables" / "truth.csv").read_text().startswith("figure,study,other")


def test_the_choices_are_those_of_the_library() -> None:
    # Written out in the command, so that the parser loads no arrays.
    assert compare_command._WAYS == WAYS
