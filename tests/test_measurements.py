"""Measurements are taken once, stored whole, and recorded; and what stops one is said."""

import json
import shutil
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
import torch

from cgraph import measurements
from cgraph.cli import main
from cgraph.errors import ConfigError, ImageError, StudyError
from cgraph.manifest import Manifest
from cgraph.measurements import measure_study
from cgraph.pipeline import resume_study
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study
from cgraph.study_files import FolderFiles, verify_files
from cgraph.truth_tables import TABLES, WORTH_SCHEMA


@pytest.fixture
def folder(tiny_study, tmp_path):
    return shutil.copytree(tiny_study.path, tmp_path / "discs")


@pytest.fixture
def worth(monkeypatch):
    """A measurement that is only a table; the list says how often it was taken."""
    taken, module = [], types.ModuleType("measured_worth")

    def measure(bench):
        taken.append(bench.study.name)
        module.threads.append(torch.get_num_threads())
        if module.error is not None:
            raise module.error
        row = {"parent_layer": 1, "parent": 0, "child_layer": 2, "child": 3}
        return {
            "worth": pa.Table.from_pylist(
                [{**row, "auc_drop": module.drop, "ap_drop": 0.5}], WORTH_SCHEMA
            )
        }

    module.measure, module.error, module.taken = measure, None, taken
    module.drop, module.threads = 0.25, []
    monkeypatch.setitem(sys.modules, "measured_worth", module)
    monkeypatch.setattr(measurements, "MODULES", {"worth": "measured_worth"})
    return module


def test_a_measurement_is_stored_once(folder, worth):
    assert Study.open(folder).measured("worth") is None
    done = measure_study(folder, workers=1)
    assert list(done.seconds) == ["worth"] and done.study.is_measured("worth")
    assert done.study.measured("worth").to_pylist()[0]["auc_drop"] == 0.25
    done.study.verify()
    assert measure_study(folder, workers=1).there == ("worth",)
    assert len(worth.taken) == 1
    measure_study(folder, workers=1, again=True)
    assert len(worth.taken) == 2
    assert not (folder / ".measuring").exists()


def test_what_is_added_up_beside_the_workers_uses_one_thread(folder, worth):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure_study(folder, workers=1)
        assert worth.threads == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_going_on_with_a_finished_build_keeps_what_was_measured(folder, worth):
    measure_study(folder, workers=1)
    assert resume_study(folder, workers=1).is_measured("worth")


def test_a_build_that_makes_the_graph_again_forgets_it(folder, worth):
    measure_study(folder, workers=1)
    (folder / "graph/edges.arrow").write_bytes(b"damaged")
    study = resume_study(folder, workers=1)
    assert not study.is_measured("worth")


def test_a_file_that_was_changed_is_noticed(folder, worth):
    measure_study(folder, workers=1)
    path = folder / "truth/worth.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StudyError, match=r"worth\.arrow"):
        Study.open(folder).measured("worth")
    assert verify_files(FolderFiles(folder), Manifest.read(folder)).altered == (
        "truth/worth.arrow",
    )


def _cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def _changed(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize("damage", [_cut_off, _changed, lambda path: path.unlink()])
def test_what_was_measured_and_damaged_is_measured_again(folder, worth, damage):
    measure_study(folder, workers=1)
    damage(folder / "truth/worth.arrow")
    with pytest.raises(StudyError, match=r"worth\.arrow.*cgraph evaluate .* --only worth"):
        Study.open(folder).measured("worth")
    done = measure_study(folder, workers=1)
    assert list(done.seconds) == ["worth"] and done.there == ()
    done.study.verify()


@pytest.mark.parametrize("damage", [_cut_off, _changed, lambda path: path.unlink()])
def test_a_build_forgets_what_was_measured_and_damaged(folder, worth, damage):
    measure_study(folder, workers=1)
    damage(folder / "truth/worth.arrow")
    study = resume_study(folder, workers=1)
    study.verify()
    assert not study.is_measured("worth")


def test_who_is_stopped_while_tables_are_replaced_leaves_a_whole_study(folder, worth, monkeypatch):
    measure_study(folder, workers=1)

    def stopped(*arguments, **named):
        write_table(*arguments, **named)
        raise KeyboardInterrupt

    write_table = measurements.write_table
    monkeypatch.setattr(measurements, "write_table", stopped)
    worth.drop = 0.125
    with pytest.raises(KeyboardInterrupt):
        measure_study(folder, workers=1, again=True)
    study = Study.open(folder)
    study.verify()
    assert not study.is_measured("worth")


def _counted(source, number):
    path = source.folder / "calls.txt"
    path.write_text(f"{path.read_text() if path.is_file() else ''}{number}")
    return {}


def test_what_was_stopped_goes_on_after_something_else(folder, worth, monkeypatch):
    stopping = types.ModuleType("measured_leakage")

    def measure(bench):
        bench.run("counted", _counted, [(1,), (2,)])
        if stopping.stop:
            raise KeyboardInterrupt
        return {name: schema.empty_table() for name, schema in TABLES["leakage"].items()}

    stopping.measure, stopping.stop = measure, True
    monkeypatch.setitem(sys.modules, "measured_leakage", stopping)
    monkeypatch.setitem(measurements.MODULES, "leakage", "measured_leakage")
    with pytest.raises(KeyboardInterrupt):
        measure_study(folder, ["leakage"], workers=1)
    for _ in range(2):
        measure_study(folder, ["worth"], workers=1, again=True)
    stopping.stop = False
    measure_study(folder, ["leakage"], workers=1)
    assert (folder / "calls.txt").read_text() == "12"
    assert not (folder / ".measuring").exists()


def test_what_cannot_be_had_is_said(folder, worth, capsys):
    worth.error = ImageError("The pictures are gone.")
    done = measure_study(folder, workers=1)
    assert done.left_out == {"worth": "The pictures are gone."}
    assert not done.study.is_measured("worth")
    assert main(["evaluate", str(folder), "--workers", "1"]) == 0
    assert "worth: not measured. The pictures are gone." in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--only", "worth", "--workers", "1"]) == 2
    assert "The pictures are gone." in capsys.readouterr().err


def test_the_command_prints_figures(folder, worth, capsys):
    assert main(["evaluate", str(folder), "--workers", "1"]) == 0
    assert "worth: measured in" in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--json", "--workers", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    assert main(["info", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["truth"] == {}


def test_a_planted_study_is_measured_as_far_as_it_can_be(tmp_path):
    config = PlantedConfig(n_layers=3, n_atoms=24, d_model=16, max_nnz=4, n_images=400, n_edges=200)
    done = measure_study(write_planted_study(tmp_path / "sizes", config), workers=1)
    without = ["evidence", "stability", "leakage", "direction"]
    assert all("were planted" in done.left_out[name] for name in without)
    assert list(done.seconds) == ["rollout", "references", "worth", "factors"]
    rows = done.study.measured("references").to_pylist()
    adjacent = [row for row in rows if row["layer"] == row["start"] + 1]
    assert adjacent and all(np.isfinite(row["auc"]) for row in adjacent)


def test_unknown_names_and_places_are_refused(folder, worth):
    with pytest.raises(ConfigError, match=r"'wrth'.*worth"):
        measure_study(folder, ["wrth"])
    with pytest.raises(StudyError, match="not a folder of this machine"):
        measure_study("memory://bucket/study")
    with pytest.raises(StudyError, match="no folder"):
        measure_study(folder / "nothing")
