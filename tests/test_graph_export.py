"""Exports of the graph: networkx and pandas open them and find the same edges and weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.edge_filter import EdgeFilter
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.graph_export import FORMATS, export, part_tables, paths_csv, whole_tables
from cgraph.graph_paths import strongest_paths
from cgraph.neighbourhood import neighbourhood
from cgraph.study import Study
from cgraph.study_graph import StudyGraph

NASTY = "a <b> & \"c\" 'd' ä \x07"


class FakeStudy(StudyGraph):
    """A graph with names and AUC of its own, without a folder."""

    def __init__(self, graph, names=None, auc=None):
        texts = {concept: SimpleNamespace(text=text) for concept, text in (names or {}).items()}
        study = SimpleNamespace(graph=graph, name="hand & made", name_of=texts.get)
        object.__setattr__(self, "study", study)
        found = np.full(graph.n_concepts(), np.nan) if auc is None else auc
        self.__dict__["_figures"] = {"auc": found}


def opened(data, kind):
    """Open an export with networkx, by way of pandas for tables."""
    buffer = io.BytesIO(data)
    if kind == "graphml":
        return nx.read_graphml(buffer)
    if kind == "gexf":
        return nx.read_gexf(buffer)
    if kind == "json":
        return nx.node_link_graph(json.load(buffer), edges="edges")
    frame = pd.read_parquet(buffer) if kind == "parquet" else pd.read_csv(buffer)
    columns = ["weight", "selection_rate"]
    return nx.from_pandas_edgelist(frame, edge_attr=columns, create_using=nx.DiGraph)


def edges_of(graph):
    """Return every edge of a graph with weight and selection rate, from its dense matrices."""
    return {
        (f"L{layer - 1}/{parent}", f"L{layer}/{child}"): np.float32(dense[child, parent])
        for layer in range(2, graph.n_layers + 1)
        for dense in [graph.weight_matrix(layer).toarray()]
        for child, parent in np.argwhere(dense)
    }


def found_edges(made):
    return {(a, b): np.float32(values["weight"]) for a, b, values in made.edges(data=True)}


def written(tables, kind):
    return b"".join(export(tables, kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_whole_graph_comes_back(kind):
    graph = hand_graph()
    of = FakeStudy(graph, {ConceptId(1, 1): NASTY, ConceptId(2, 0): "=1+1"})
    made = opened(written(whole_tables(of), kind), kind)
    assert made.is_directed() and not made.is_multigraph()
    assert found_edges(made) == edges_of(graph)
    rates = {(a, b): v["selection_rate"] for a, b, v in made.edges(data=True)}
    assert rates["L1/2", "L2/0"] == pytest.approx(0.85)
    if kind in ("graphml", "gexf", "json"):
        # All concepts, L2/2 without a parent among them.
        assert set(made.nodes) == {
            f"L{n}/{i}" for n, m in ((1, 3), (2, 3), (3, 2)) for i in range(m)
        }
        node = made.nodes["L1/1"]
        assert (node["layer"], node["index"]) == (1, 1)
        assert node["name"] == (NASTY if kind == "json" else NASTY.replace("\x07", ""))
        assert node["prevalence"] == pytest.approx(0.2)
        assert "auc" not in node and "group" not in node
        assert "name" not in made.nodes["L1/0"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_part_comes_back_with_groups(kind):
    graph, _ = random_graph([5, 6, 5], 0.7, seed=8)
    auc = np.linspace(0.5, 0.9, 16)
    of = FakeStudy(graph, auc=auc)
    found = neighbourhood(graph, ConceptId(2, 3), up=1, down=1, beam=3)
    tables = part_tables(of, found.part, {ConceptId(2, 3): "the middle; one"})
    made = opened(written(tables, kind), kind)
    expected = {(str(e.parent), str(e.child)): np.float32(e.weight) for e in found.part.edges}
    assert found_edges(made) == expected and len(expected) >= 6
    if kind in ("graphml", "gexf", "json"):
        assert set(made.nodes) == set(map(str, found.part.concepts))
        assert made.nodes["L2/3"]["group"] == "the middle; one"
        assert made.nodes["L2/3"]["auc"] == pytest.approx(auc[5 + 3])


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    weights=st.data(),
    kind=st.sampled_from(list(FORMATS)),
)
def test_every_weight_survives(sizes, weights, kind):
    number = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool)
    edges = [
        (layer, p, c, weights.draw(number), 1.0)
        for layer in range(1, len(sizes))
        for c in range(sizes[layer])
        for p in range(sizes[layer - 1])
        if weights.draw(st.booleans())
    ]
    graph = ConceptGraph.from_tables(concept_table(sizes), edge_table(edges))
    made = opened(written(whole_tables(FakeStudy(graph)), kind), kind)
    expected = {(f"L{n}/{p}", f"L{n + 1}/{c}"): np.float32(w) for n, p, c, w, _ in edges}
    assert found_edges(made) == expected


@pytest.mark.parametrize("kind", FORMATS)
def test_a_graph_without_edges_is_still_a_graph(kind):
    graph = ConceptGraph.from_tables(concept_table([2, 1]), edge_table([]))
    data = written(whole_tables(FakeStudy(graph)), kind)
    if kind in ("parquet", "csv"):
        frame = pd.read_parquet(io.BytesIO(data)) if kind == "parquet" else pd.read_csv(
            io.BytesIO(data)
        )  # fmt: skip
        assert len(frame) == 0 and {"source", "target", "weight"} <= set(frame.columns)
    else:
        assert set(opened(data, kind).nodes) == {"L1/0", "L1/1", "L2/0"}


def test_a_name_is_no_formula_in_a_spreadsheet():
    of = FakeStudy(hand_graph(), {ConceptId(2, 0): "=1+1"})
    frame = pd.read_csv(io.BytesIO(written(whole_tables(of), "csv")))
    assert set(frame.target_name.dropna()) == {"'=1+1"}
    of = FakeStudy(hand_graph(), {ConceptId(2, 0): "=1+1"})
    frame = pd.read_parquet(io.BytesIO(written(whole_tables(of), "parquet")))
    assert set(frame.target_name.dropna()) == {"=1+1"}


def test_filters_reach_the_file():
    graph = hand_graph()
    of = FakeStudy(graph)
    few = of.filtered(EdgeFilter(sign="lowers"))
    made = opened(written(whole_tables(of, few), "graphml"), "graphml")
    assert found_edges(made) == {k: w for k, w in edges_of(graph).items() if w < 0}


def test_paths_as_a_table():
    graph = hand_graph()
    answer = strongest_paths(graph, [ConceptId(1, 1)], [ConceptId(3, 0)])
    data = paths_csv(answer.paths, lambda concept: "=x" if concept.layer == 3 else "")
    frame = pd.read_csv(io.BytesIO(data))
    assert frame.path.tolist() == [1, 1, 2, 2]
    assert frame.parent.tolist() == ["L1/1", "L2/0", "L1/1", "L2/1"]
    assert frame.child.tolist() == ["L2/0", "L3/0", "L2/1", "L3/0"]
    assert frame.weight.tolist() == [1, 3, 4, 1]
    assert frame.strength.tolist() == pytest.approx([1 / 6] * 4)
    for _, path in frame.groupby("path"):
        assert path.share.prod() == pytest.approx(path.strength.iloc[0])
        assert path.weight.abs().min() == path.min_weight.iloc[0]
    assert set(frame.child_name.dropna()) == {"'=x"}


def test_another_format_is_refused():
    with pytest.raises(ConfigError, match="format is 'dot': choose one of graphml, gexf, json"):
        next(export(whole_tables(FakeStudy(hand_graph())), "dot"))


def test_figures_of_a_study_stand_in_their_rows(tmp_path: Path):
    from planted_study import write_study

    study = Study.open(write_study(tmp_path / "planted", n_layers=3))
    of = StudyGraph(study)
    rows = {(r["layer"], r["index"]): r for r in study.evaluation("concepts").to_pylist()}
    assert rows
    assert len(of.auc) == of.graph.n_concepts() == 72
    for row, concept in enumerate(ConceptId(layer, i) for layer in (1, 2, 3) for i in range(24)):
        expected = rows.get((concept.layer, concept.index), {}).get("auc", np.nan)
        np.testing.assert_equal(of.figure("auc", concept), expected)
        share = study.graph.record(concept).n_train / len(study.rows("train"))
        assert of.prevalence[row] == pytest.approx(share)
