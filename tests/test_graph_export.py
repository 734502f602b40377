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
from measured_graph import AGAIN, EFFECTS, ORIGINS, VERDICTS, WORTH, hand_facts

from cgraph.concept import ConceptId
from cgraph.concept_truth import MeasuredConcepts
from cgraph.edge_facts import FIELDS, EdgeFacts
from cgraph.edge_filter import EdgeFilter
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.graph_export import FORMATS, export, part_tables, whole_tables
from cgraph.neighbourhood import neighbourhood
from cgraph.study import Study
from cgraph.study_graph import StudyGraph

NASTY = "a <b> & \"c\" 'd' ä \x07"


class FakeStudy(StudyGraph):
    """A graph with names and AUC of its own, without a folder."""

    def __init__(self, graph, names=None, auc=None, facts=None):
        texts = {concept: SimpleNamespace(text=text) for concept, text in (names or {}).items()}
        study = SimpleNamespace(graph=graph, name="hand & made", name_of=texts.get)
        object.__setattr__(self, "study", study)
        found = np.full(graph.n_concepts(), np.nan) if auc is None else auc
        self.__dict__["_figures"] = {"auc": found}
        self.__dict__["facts"] = facts or EdgeFacts(graph, {})
        self.__dict__["concepts"] = MeasuredConcepts(graph, {})


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


def measured_edges(data, kind):
    """Return what a file says of every edge, by its ends; what is not known is left out."""
    if kind in ("graphml", "gexf", "json"):
        found = {(a, b): dict(v) for a, b, v in opened(data, kind).edges(data=True)}
    else:
        frame = pd.read_parquet(io.BytesIO(data)) if kind == "parquet" else pd.read_csv(
            io.BytesIO(data)
        )  # fmt: skip
        found = {(r["source"], r["target"]): r for r in frame.to_dict("records")}
    return {
        ends: {k: v for k, v in values.items() if k in FIELDS and v is not None and v == v}
        for ends, values in found.items()
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_measured_stands_beside_each_edge(kind):
    of = FakeStudy(hand_graph(), facts=hand_facts())
    found = measured_edges(written(whole_tables(of), kind), kind)
    ends = list(edges_of(of.graph))
    order = sorted(ends, key=lambda pair: (pair[1], pair[0]))
    assert len(found) == 8
    for row, pair in enumerate(order):
        expected = {"verdict": VERDICTS[row], "n_images": 3 if row == 5 else 32}
        expected |= {"found_again": AGAIN[row], "found_again_bags": True}
        effect = EFFECTS[row]
        if effect == effect:
            low, high = effect - 0.25, effect + 0.25
            expected |= {"effect": effect, "effect_low": low, "effect_high": high}
        expected |= {"origin": ORIGINS[row]} if ORIGINS[row] else {}
        expected |= {"worth": WORTH[row]} if WORTH[row] == WORTH[row] else {}
        assert found[pair] == expected
    few = of.filtered(EdgeFilter(evidence="specific"))
    found = measured_edges(written(whole_tables(of, few), kind), kind)
    assert {pair: values["effect"] for pair, values in found.items()} == {
        ("L1/0", "L2/0"): 0.5,
        ("L2/0", "L3/0"): 1.0,
    }
    part = neighbourhood(of.graph, ConceptId(3, 1), up=1, down=0, beam=3).part
    found = measured_edges(written(part_tables(of, part), kind), kind)
    assert found["L2/1", "L3/1"]["origin"] == "computed"


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
