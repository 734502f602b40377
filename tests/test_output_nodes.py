"""Outputs after the last layer of the hand-computed graph."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from graph_examples import concept_table, edge_table, hand_graph

from cgraph.concept import ConceptId
from cgraph.edits import Edit, RolloutSettings
from cgraph.errors import ConfigError, StudyError
from cgraph.graph_paths import strongest_paths
from cgraph.graph_tables import CONCEPT_SCHEMA
from cgraph.output_nodes import OutputNodes, check_name, read_outputs
from cgraph.output_tables import LABEL_SCHEMA, OUTPUT_SCHEMA
from cgraph.refitted_predictors import FIELDS
from cgraph.rollout import rollout
from cgraph.subgraph import induced
from cgraph.truth_tables import REFITTED_CONCEPT_SCHEMA, REFITTED_EDGE_SCHEMA

N_IMAGES = 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hand_outputs(**changes):
    """Tables of two outputs: ``yes`` by 2·L3/0 - 1·L3/1 - 1, ``no`` without a predictor."""
    nodes = [
        {
            "name": name, "source": "text", "text": f"it is {name}", "against": [],
            "class_index": -1, "rule": "given", "threshold": 0.25, "separation": np.nan,
            "n_train": 20, "n_tune": 3, "n_held_out": 4, "n_parents": n, "auc": 0.8, "ap": 0.5,
            "f1": np.nan,
        }
        for name, n in (("yes", 2), ("no", 0))
    ]  # fmt: skip
    whole = concept_table(
        [3, 3, 2, 2],
        n_train=np.array([0] * 8 + [20, 10]),
        fitted=np.array([False] * 8 + [True, False]),
        intercept=np.array([np.nan] * 8 + [-1, np.nan]),
        slope=np.array([np.nan] * 8 + [1, np.nan]),
        offset=np.array([np.nan] * 8 + [0, np.nan]),
        threshold=np.array([np.nan] * 8 + [0.5, np.nan]),
    )
    concepts = whole.slice(8).set_column(0, CONCEPT_SCHEMA.field(0), [["output"] * 2])
    edges = edge_table([(3, 0, 0, 2.0, 1.0), (3, 1, 0, -1.0, 0.9)])
    place = edges.column_names.index("child_kind")
    edges = edges.set_column(place, edges.schema.field(place), [["output"] * 2])
    labels = {
        "output": np.repeat([0, 1], N_IMAGES),
        "row": np.tile(np.arange(N_IMAGES), 2),
        "label": [True, False, False, False, False, True, True, False],
        "value": np.linspace(0, 0.7, 8),
    }
    tables = {
        "outputs": pa.Table.from_pylist(nodes, schema=OUTPUT_SCHEMA),
        "concepts": concepts,
        "edges": edges,
        "labels": pa.table(labels).cast(LABEL_SCHEMA),
    }
    return tables | changes


def refitted_tables_of_outputs(n_starts=3):
    starts = np.arange(1, n_starts + 1)
    edges = {
        "start": np.repeat(starts, 2),
        "child_layer": np.full(2 * n_starts, 4),
        "weight": np.arange(2 * n_starts) + 1.0,
    }
    concepts = {
        "start": np.repeat(starts, 2),
        "layer": np.full(2 * n_starts, 4),
        "index": np.tile([0, 1], n_starts),
        **{name: np.tile([0.5, np.nan], n_starts) for name in FIELDS},
    }
    return (
        pa.table(edges).cast(REFITTED_EDGE_SCHEMA),
        pa.table(concepts).cast(REFITTED_CONCEPT_SCHEMA),
    )


@pytest.fixture
def outputs() -> OutputNodes:
    return read_outputs(hand_outputs(), hand_graph(), N_IMAGES, refitted_tables_of_outputs())


def test_names_and_ids(outputs):
    assert outputs.names == ("yes", "no") and len(outputs) == 2
    yes = outputs.id_of("yes")
    assert yes == outputs.id_of("O/yes") == ConceptId(4, 0, "output")
    assert outputs.written(yes) == "O/yes" and outputs.written(ConceptId(3, 1)) == "L3/1"
    assert str(yes) == "O4/0" and ConceptId.parse("O4/0") == yes
    assert outputs.node(yes).meaning == "likeness to “it is yes” ≥ 0.25"
    assert outputs.labels.tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]
    assert outputs.values[:, 1] == pytest.approx([0.4, 0.5, 0.6, 0.7])
    with pytest.raises(ConfigError, match=r"no output O/yess: .* O/yes, O/no\. Did you mean O/yes"):
        outputs.id_of("yess")
    with pytest.raises(ConfigError, match="none of the study's outputs"):
        outputs.node(ConceptId(3, 0))


def test_the_extended_graph_says_what_is_computed_by_hand(outputs):
    graph = hand_graph()
    more = outputs.extended(graph)
    assert (graph.n_layers, more.n_layers, more.output_layer) == (3, 4, 4)
    assert more.n_concepts(4) == 2 and more.n_edges == graph.n_edges + 2
    yes, no = outputs.ids
    assert more.concept(4, 1) == no and more.concept(3, 1) == ConceptId(3, 1)
    assert more.parents(yes).indices.tolist() == [0, 1] and len(more.parents(no)) == 0
    assert more.children(ConceptId(3, 1)).weights.tolist() == [-1.0]
    # Both parents: 2 - 1 - 1 = 0; the first alone: 1.
    assert more.score(4, np.array([0, 1]))[0] == pytest.approx(0)
    assert more.probability(4, np.array([0]))[0] == pytest.approx(sigmoid(1))
    assert more.prevalence(4).tolist() == [0.2, 0.1]
    assert more.record(yes).n_train == 20
    np.testing.assert_array_equal(more.column(2, "intercept"), graph.column(2, "intercept"))
    assert outputs.extended(graph) is more  # kept
    with pytest.raises(ConfigError, match="has its outputs already"):
        outputs.extended(more)
    with pytest.raises(ConfigError, match="output concept"):
        graph.concept_row(yes)


def test_rollouts_reach_the_outputs(outputs):
    more = outputs.extended(hand_graph())
    labels = np.array([[True, True], [True, False], [False, True], [False, False]])
    found = rollout(more, labels, 3, RolloutSettings(rule="max")).of_layer(4)
    expected = sigmoid(np.array([0.0, 1.0, -2.0, -1.0]))
    assert found[1][:, 0] == pytest.approx(expected)
    assert found[1][:, 1] == pytest.approx(0.1), "its prevalence, whatever comes before"
    assert found[0][:, 0].tolist() == [True, True, False, False]
    forced = rollout(more, labels, 3, RolloutSettings(rule="max"), Edit(off=(outputs.ids[0],)))
    assert not forced.of_layer(4)[0][:, 0].any()
    passed = rollout(more, np.ones((1, 3), bool), 1, RolloutSettings(rule="probabilities"))
    of_third = passed.of_layer(3)[2][0].astype(float)
    assert passed.of_layer(4)[1][0, 0] == pytest.approx(sigmoid(of_third @ [2, -1] - 1))


def test_paths_end_in_outputs(outputs):
    more = outputs.extended(hand_graph())
    yes = outputs.ids[0]
    found = strongest_paths(more, [ConceptId(1, 0)], [yes], sign="both")
    path = found.paths[0]
    assert path.edges[-1].child == yes and path.edges[-1].parent.kind == "class"
    # Shares by hand: L1/0 → L2/0 2/4, L2/0 → L3/0 3/6, L3/0 → yes 2/3.
    assert path.strength == pytest.approx(2 / 4 * 3 / 6 * 2 / 3)
    drawn = induced(more, [ConceptId(3, 0), yes])
    assert [edge.child for edge in drawn.edges] == [yes]


def test_a_filtered_graph_keeps_its_outputs(outputs):
    more = outputs.extended(hand_graph())
    layers = [more.layer_edges(layer) for layer in (2, 3, 4)]
    fewer = more.with_edges([*layers[:2], layers[2].select(layers[2].weights > 0)])
    assert fewer.output_layer == 4 and fewer.parents(outputs.ids[0]).indices.tolist() == [0]


def test_a_refitted_graph_gets_refitted_outputs(outputs):
    graph = hand_graph()
    columns = {name: np.full(2, 0.25, np.float32) for name in FIELDS}
    refitted = graph.refitted(2, [graph.layer_edges(3).weights * 2], columns)
    more = outputs.extended(refitted)
    assert more.refitted_from == 2 and more.layer_edges(4).weights.tolist() == [3.0, 4.0]
    assert more.column(4, "intercept")[0] == 0.5 and more.column(3, "intercept")[0] == 0.25
    found = rollout(more, np.ones((1, 3), bool), 2, RolloutSettings(rule="refitted"))
    of_third = found.of_layer(3)[2][0].astype(float)
    score = of_third @ [3, 4] + 0.5
    assert found.of_layer(4)[1][0, 0] == pytest.approx(sigmoid(0.5 * score + 0.5))
    last = graph.refitted(3, [], {name: np.empty(0, np.float32) for name in FIELDS})
    assert outputs.extended(last).layer_edges(4).weights.tolist() == [5.0, 6.0]
    without = dataclasses.replace(outputs, refits={})
    with pytest.raises(StudyError, match=r"refitted from layer 2\. Run `cgraph outputs STUDY --re"):
        without.extended(refitted)


def _with(table, name, values):
    place = table.column_names.index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values).cast(field.type))


@pytest.mark.parametrize(
    ("table", "column", "values", "sentence"),
    [
        ("outputs", "name", ["yes", "yes"], "two of one name"),
        ("outputs", "name", ["O/yes", "no"], "cannot be the name of an output"),
        ("outputs", "source", ["head", "text"], "'head'"),
        ("concepts", "kind", ["class", "output"], "of kind class"),
        ("concepts", "layer", [3, 3], "not 0 to 1 of layer 4"),
        ("concepts", "index", [0, 2], "not 0 to 1 of layer 4"),
        ("edges", "parent", [0, 2], "has a parent that is not in the table"),
        ("edges", "child", [0, 2], "has a child that is not in the table"),
        ("edges", "child_kind", ["class", "class"], "of kind class"),
        ("labels", "row", [0, 1, 2, 3, 0, 1, 2, 2], "not 2 labels of each of 4 images"),
        ("labels", "value", [0, 1, 2, np.nan, 0, 1, 2, 2], "not a finite number"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, column, values, sentence):
    changed = {table: _with(hand_outputs()[table], column, values)}
    with pytest.raises((ValueError, StudyError, ConfigError), match=sentence):
        read_outputs(hand_outputs(**changed), hand_graph(), N_IMAGES)


def test_refitted_predictors_of_other_edges_are_refused():
    edges, concepts = refitted_tables_of_outputs()
    with pytest.raises(ValueError, match="from layer 3 are not those"):
        read_outputs(hand_outputs(), hand_graph(), N_IMAGES, (edges.slice(0, 5), concepts))


@pytest.mark.parametrize("name", ["", "  ", "O/yes", "x" * 61, "a\nb"])
def test_names_that_cannot_be_written(name):
    with pytest.raises(ConfigError, match=r"cannot be the name of an output: 1 to 60 visible"):
        check_name(name)


def test_blanks_around_a_name_are_left_out():
    assert check_name(" tabby cat ") == "tabby cat"
