"""``cgraph graph``: files that networkx opens, and sentences for what makes no sense."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest
from planted_study import parents_of, write_study
from truth_example import measured_copy

from cgraph import graph_command
from cgraph.cli import main
from cgraph.edge_filter import EDGE_ORIGINS, EVIDENCE, FOUND_AGAIN
from cgraph.edge_index import SIGNS
from cgraph.graph_export import FORMATS
from cgraph.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "planted", n_layers=4)


def run(study: Path, out: Path, *options: str) -> nx.DiGraph:
    assert main(["graph", str(study), "--format", "graphml", "--out", str(out), *options]) == 0
    return nx.read_graphml(out)


def test_the_whole_graph(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(study, tmp_path / "new" / "whole.graphml")
    assert len(made) == 4 * 24
    expected = {
        (f"L{layer - 1}/{parent}", f"L{layer}/{child}"): pytest.approx(weight)
        for layer in (2, 3, 4)
        for child in range(24)
        for parent, weight in parents_of(child).items()
    }
    assert {(a, b): v["weight"] for a, b, v in made.edges(data=True)} == expected
    assert f"96 concepts, {len(expected)} edges" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["gexf", "json", "parquet", "csv"])
def test_other_formats_are_written(study: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"graph.{kind}"
    assert main(["graph", str(study), "--format", kind, "--out", str(out)]) == 0
    assert out.stat().st_size > 1000


def test_parts_and_filters(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.graphml"
    assert {int(b[1]) for _, b in run(study, out, "--pair", "3").edges} == {3}
    lowers = run(study, out, "--sign", "lowers", "--min-weight", "1")
    assert 0 < len(lowers.edges) < 24 * 3
    assert all(weight <= -1 for *_, weight in lowers.edges(data="weight"))
    around = run(study, out, "--around", "L2/4", "--hops", "1", "--beam", "50")
    graph = Study.open(study).graph
    n_children = sum(4 in parents_of(child) for child in range(24))
    assert set(around) >= {f"L1/{parent}" for parent in parents_of(4)} | {"L2/4"}
    assert len(around) == 1 + len(parents_of(4)) + n_children
    paths = run(study, out, "--from", "L1", "--to", "L4/4", "--paths", "1")
    assert set(paths) == {"L1/4", "L2/4", "L3/4", "L4/4"}
    assert graph.n_layers == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pair", "9"], "There is no layer 9 here"),
        (["--pair", "2", "--around", "L2/1"], "--pair and --around ask for different parts"),
        (["--from", "L1"], "--to is missing: paths need a start and an end"),
        (["--to", "L1"], "--from is missing"),
        (["--from", "L4", "--to", "L1"], "There is no path from L4 to L1"),
        (["--around", "here"], "'here' is not a concept"),
        (["--min-auc", "7"], "least AUC is 7.0"),
        (["--around", "L2/1", "--hops", "7"], "between 0 and 3"),
    ],
)
def test_what_makes_no_sense_is_refused(
    study: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "never.csv"
    assert main(["graph", str(study), "--format", "csv", "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_choices_are_those_of_the_library() -> None:
    # Written out in the command, so that the parser loads no arrays.
    assert tuple(FORMATS) == graph_command._FORMATS and graph_command._SIGNS == SIGNS


def test_a_folder_is_no_file(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", str(study), "--format", "csv", "--out", str(tmp_path)]) == 2
    assert "give the name of a file to write" in capsys.readouterr().err


def test_what_was_measured_is_written_and_filtered_by(study: Path, tmp_path: Path) -> None:
    measured = measured_copy(study, tmp_path / "measured")
    rows = measured.measured("evidence").to_pylist()
    out = tmp_path / "graph.graphml"
    whole = run(measured.path, out)
    assert len(whole.edges) == len(rows)
    for row in rows:
        ends = f"L{row['parent_layer']}/{row['parent']}", f"L{row['child_layer']}/{row['child']}"
        assert whole.edges[ends]["verdict"] == row["verdict"]
    few = run(measured.path, out, "--evidence", "supported", "--origin", "computed")
    kept = [
        row
        for row in rows
        if row["verdict"] in ("supported", "specific") and row["origin"] in ("computed", "both")
    ]
    assert 0 < len(few.edges) == len(kept) < len(rows)
    again = run(measured.path, out, "--found-again", "edges")
    assert all(values["found_again"] for *_, values in again.edges(data=True))


def test_filters_by_what_was_not_measured_name_the_command(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--format", "csv", "--out", str(tmp_path / "x.csv"), "--evidence", "specific"]
    assert main(["graph", str(study), *options]) == 2
    assert "cgraph evaluate STUDY --only evidence" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_choices_are_those_of_the_filter() -> None:
    allowed = {"evidence": EVIDENCE, "origin": EDGE_ORIGINS, "found-again": FOUND_AGAIN}
    assert {name: choices for name, (choices, _) in graph_command._MEASURED.items()} == allowed
