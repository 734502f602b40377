"""``cgraph edit``: a table over a set of images, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cgraph import cli, intervention
from cgraph.concept import ConceptId
from cgraph.counterfactual import graph_answer, network_answer
from cgraph.edits import Edit, RolloutSettings
from cgraph.images import open_images
from cgraph.study import Study
from cgraph.tracing import load_model

DEMO = Path(__file__).parents[1] / "data" / "demo"


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def saved(folder: Path, **values) -> Path:
    file = folder / "edit.json"
    file.write_text(json.dumps({"cgraph_edit": 1} | values))
    return file


def test_the_table_says_what_the_backend_says(tiny_study, tiny_inputs, tmp_path, capsys):
    on = ConceptId(2, int(tiny_study.graph.column(2, "n_train").argmax()))
    file = saved(tmp_path, on=[str(on)], off=["L3/1"], study=tiny_study.name)
    out = tmp_path / "table.csv"
    folder = tmp_path / "few"
    folder.mkdir()
    source = sorted((tiny_inputs[1] / "sky").iterdir())[:5]
    for path in source:
        (folder / path.name).write_bytes(path.read_bytes())
    code, text, _ = run(
        capsys, "edit", file, "--images", folder, "--study", tiny_study.path, "--out", out
    )
    assert code == 0
    assert "in 5 images" in text and "confirmed" in text
    rows = list(csv.DictReader(out.open()))
    found = {(r["image_id"], r["concept"], r["graph_change"], r["network_change"]) for r in rows}

    model, images = load_model(tiny_study), open_images(folder)
    edit, expected = Edit((on,), (ConceptId(3, 1),)), set()
    for place in range(5):
        record = images.read(place)
        pixels = model.preprocess([record.image])
        plain = intervention.run(tiny_study, model, pixels)
        edited = intervention.run(tiny_study, model, pixels, edit)
        labels = plain.codes[1].dense_labels()
        graph = graph_answer(tiny_study.graph, labels, edit, RolloutSettings(), key=place)
        network = network_answer(tiny_study, edit, plain, edited)
        for layer in graph.layers:
            for index in range(16):
                changes = []
                for answer in (graph, network):
                    kind = answer.change(ConceptId(layer, index)).kind
                    changes.append(kind if kind in ("appeared", "vanished") else "")
                if any(changes):
                    expected.add((record.image_id, f"L{layer}/{index}", *changes))
    assert found == expected and found


def test_scenes_can_be_drawn_again(tmp_path, capsys):
    study = Study.open(DEMO)
    scenes = tmp_path / "scenes.json"
    scenes.write_text('{"scenes": 6, "seed": 9}')
    purple = next(
        concept for concept, name in study.names.items()
        if concept.layer == 9 and name.value == "purple"
    )  # fmt: skip
    file = saved(tmp_path, off=[str(purple)], redraw="1.colour.green")
    out = tmp_path / "table.csv"
    code, _, _ = run(capsys, "edit", file, "--images", scenes, "--study", DEMO, "--out", out)
    assert code == 0
    rows = list(csv.DictReader(out.open()))
    from cgraph.scenes import sample_scene

    several = {f"scene-{n:06d}" for n in range(6) if len(sample_scene(n, 9).objects) > 1}
    filled = {row["image_id"] for row in rows if row["redrawn_after"]}
    assert filled <= several and filled
    assert {row["image_id"] for row in rows if row["network_after"]} == {
        row["image_id"] for row in rows
    }


def test_images_that_cannot_be_read_are_named(tiny_study, tiny_inputs, tmp_path, capsys):
    file = saved(tmp_path, on=["L2/1"])
    folder = tmp_path / "few"
    folder.mkdir()
    good = next((tiny_inputs[1] / "sky").iterdir())
    (folder / "good.png").write_bytes(good.read_bytes())
    (folder / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "t.csv"
    code, text, err = run(
        capsys, "edit", file, "--images", folder, "--study", tiny_study.path, "--out", out
    )
    assert code == 1
    assert "bad.png" in err and "in 1 images" in text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "sets nothing on or off"),
        ({"on": ["L2/99"]}, "There is no concept L2/99"),
        ({"on": ["L2/1"], "study": "other"}, "is about study 'other'"),
        ({"on": ["L2/1"], "rollout": {"start": 3}}, "start layer is 3"),
        ({"on": ["L2/1"], "redraw": "0.colour.green"}, "cannot be drawn again"),
    ],
)
def test_what_cannot_be_run_is_refused(tiny_study, tiny_inputs, tmp_path, capsys, values, sentence):
    file = saved(tmp_path, **values)
    images = tiny_inputs[1]
    code, _, err = run(
        capsys, "edit", file, "--images", images, "--study", tiny_study.path,
        "--out", tmp_path / "t.csv", "--max-images", 2,
    )  # fmt: skip
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "t.csv").exists()


def test_a_missing_file_is_named(tiny_study, tiny_inputs, tmp_path, capsys):
    code, _, err = run(
        capsys, "edit", tmp_path / "none.json", "--images", tiny_inputs[1],
        "--study", tiny_study.path, "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert code == 2 and "none.json cannot be read" in err
