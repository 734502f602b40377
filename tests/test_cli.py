import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cgraph import cli


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_prints_one_json_object(tiny_study, capsys):
    code, out, _ = run(capsys, "info", tiny_study.path, "--json")
    info = json.loads(out)
    assert code == 0
    required = {
        "left", "right", "auc_mean", "auc_std", "auc_median", "ap_mean", "prevalence_mean",
        "f1_balanced_mean", "f1_natural_mean", "parents_mean", "parents_median", "parents_max",
        "n_scored", "n_alive", "n_concepts",
    }  # fmt: skip
    assert len(info["pairs"]) == tiny_study.n_layers - 1
    for pair in info["pairs"]:
        assert required <= set(pair)
        assert 0 <= pair["n_scored"] <= pair["n_alive"] <= pair["n_concepts"] == 16
    assert len(info["layers"]) == tiny_study.n_layers
    assert {"explained_variance", "nonzeros_mean", "n_dead"} <= set(info["layers"][0])


def test_info_as_text(tiny_study, capsys):
    code, out, _ = run(capsys, "info", tiny_study.path)
    assert code == 0
    assert "3→4" in out
    assert "held-out images" in out


def test_trace_prints_layers_and_parents(tiny_study, tiny_inputs, capsys):
    image = tiny_inputs[1] / tiny_study.image_ids[3]
    code, out, _ = run(capsys, "trace", image, "--study", tiny_study.path)
    assert code == 0
    assert "layer 4:" in out
    assert "parents active" in out


def test_trace_as_json_names_what_the_study_stores(tiny_study, tiny_inputs, tmp_path, capsys):
    row = int(tiny_study.rows("held-out")[0])
    image = tiny_inputs[1] / tiny_study.image_ids[row]
    code, out, _ = run(capsys, "trace", image, "--study", tiny_study.path, "--json")
    assert code == 0
    (trace,) = json.loads(out)
    for layer, concepts in enumerate(trace["layers"], start=1):
        stored = {f"L{layer}/{index}" for index in tiny_study.codes(layer).row(row)[0]}
        assert {entry["concept"] for entry in concepts} == stored
    target = tmp_path / "trace.json"
    code, out, _ = run(capsys, "trace", image, "--study", tiny_study.path, "--json", target)
    assert (code, json.loads(target.read_text())) == (0, [trace])
    assert "layer 1" in out


def test_trace_as_csv_lists_concepts_and_edges(tiny_study, tiny_inputs, tmp_path, capsys):
    images = [tiny_inputs[1] / tiny_study.image_ids[row] for row in (3, 4)]
    code, _, _ = run(
        capsys, "trace", *images, "--study", tiny_study.path, "--csv", tmp_path / "out"
    )
    assert code == 0
    concepts = list(csv.DictReader((tmp_path / "out" / "concepts.csv").open()))
    edges = list(csv.DictReader((tmp_path / "out" / "edges.csv").open()))
    active = {(row["image_id"], row["concept"]) for row in concepts if row["state"] == "active"}
    for row, image in zip((3, 4), images, strict=True):
        stored = {f"L2/{index}" for index in tiny_study.codes(2).row(row)[0]}
        assert {c for name, c in active if name == image.name and c.startswith("L2/")} == stored
    for edge in edges:
        assert {(edge["image_id"], edge["parent"]), (edge["image_id"], edge["child"])} <= active


def test_bad_images_are_named_and_the_others_traced(tiny_study, tiny_inputs, tmp_path, capsys):
    good = tiny_inputs[1] / tiny_study.image_ids[0]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"%PDF-1.7")
    code, out, err = run(capsys, "trace", bad, good, "--study", tiny_study.path)
    assert code == 1
    assert "bad.png" in err
    assert "PDF" in err
    assert good.name in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "nowhere"], "There is no folder nowhere"),
        (["build", "--out", "{tmp}/x", "--model", "nowhere"], "--images is missing"),
        (["build", "--out", "{tmp}"], "is not a study"),
        (["build", "--out", "{tmp}/x", "--seed", "1"], "--model and --images are missing"),
        (
            ["build", "--model", "nowhere", "--images", "{images}", "--out", "{tmp}/x"],
            "nowhere",
        ),
        (["build", "--model", "{model}", "--images", "nowhere", "--out", "{tmp}/x"], "nowhere"),
        (
            ["build", "--model", "{model}", "--images", "{images}", "--out", "{tmp}/x",
             "--n-atoms", "4"],
            "max_nnz is 10 and n_atoms 4",
        ),
        (
            ["build", "--model", "{model}", "--images", "{images}", "--out", "{tmp}/x",
             "--workers", "0"],
            "--workers is 0",
        ),
        (
            ["build", "--model", "{model}", "--images", "{images}", "--out", "{tmp}/x",
             "--preset", "paper", "--method", "relu-sae"],
            "method 'relu-sae' and nonnegative=False contradict each other",
        ),
        (
            ["build", "--model", "{model}", "--images", "{images}", "--out", "{tmp}/x",
             "--encoder", "omp", "--max-nnz", "40"],
            "max_nnz is 40, and a prepared token has 24 numbers",
        ),
    ],
)  # fmt: skip
def test_errors_are_sentences(arguments, sentence, tiny_inputs, tmp_path, capsys):
    places = {"tmp": tmp_path, "model": tiny_inputs[0], "images": tiny_inputs[1]}
    code, out, err = run(capsys, *[argument.format(**places) for argument in arguments])
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.startswith("cgraph: ")
    assert "Traceback" not in err


def test_ctrl_c_says_how_to_go_on(tiny_inputs, tmp_path):
    model, images = tiny_inputs
    folder = tmp_path / "study"
    command = [sys.executable, "-m", "cgraph.cli", "build", "--model", model, "--images", images]
    process = subprocess.Popen(
        [*command, "--out", folder, "--n-atoms", "16", "--max-nnz", "4", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):
        if (folder / "progress.json").is_file() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Finished work is kept; run the same command again" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_in_another_encoding(encoding, tiny_study):
    """Windows writes files in cp1252, which has no arrow."""
    command = [sys.executable, "-m", "cgraph.cli", "info", tiny_study.path]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert ("3→4" if encoding == "utf-8" else "3?4").encode() in done.stdout


def test_a_name_that_is_no_file_for_json(tiny_study, capsys):
    code, _, err = run(capsys, "trace", "x.png", "--study", tiny_study.path, "--json", "")
    assert code == 2
    assert "--json is ''" in err


def test_memory_that_runs_out_is_explained(tiny_inputs, tmp_path, capsys, monkeypatch):
    from cgraph import pipeline

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(pipeline, "build_study", exhausted)
    arguments = ["--model", tiny_inputs[0], "--images", tiny_inputs[1], "--out", tmp_path / "x"]
    code, _, err = run(capsys, "build", *arguments)
    assert code == 2
    assert "memory ran out. Finished work is kept" in err
