"""Paths as a table: a row an edge, with what was measured of it."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from graph_examples import hand_graph
from measured_graph import hand_facts

from cgraph.concept import ConceptId
from cgraph.graph_paths import strongest_paths
from cgraph.path_export import paths_csv


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


def test_paths_say_what_was_measured():
    graph = hand_graph()
    paths = strongest_paths(graph, [ConceptId(1, 1)], [ConceptId(3, 0)]).paths
    frame = pd.read_csv(io.BytesIO(paths_csv(paths, lambda concept: "", hand_facts())))
    assert frame.verdict.tolist() == ["supported", "specific", "no effect", "not measured"]
    assert frame.effect.tolist()[:3] == [0.25, 1.0, 0.0] and frame.effect.isna()[3]
