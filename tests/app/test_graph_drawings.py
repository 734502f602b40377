"""What is sent to the browser for a part of the graph and for a pair of layers."""

from __future__ import annotations

import json
from itertools import chain

import numpy as np
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph

from cgraph.concept import ConceptId
from cgraph.graph import ConceptGraph
from cgraph.ordering import order_concepts
from cgraph.pair_matrix import seriate
from cgraph.subgraph import induced
from cgraph.ui.drawing import MAX_EDGES, MAX_NODES, Looks
from cgraph.ui.matrix_drawing import MOST_CELLS, draw_matrix
from cgraph.ui.part_drawing import draw_part

LOOKS = Looks(image_of=lambda concept: f"data:{concept}", name_of=lambda concept: "")


def whole(graph: ConceptGraph) -> tuple[list[list[ConceptId]], list]:
    columns = [
        [ConceptId(layer, i) for i in range(graph.n_concepts(layer))]
        for layer in range(1, graph.n_layers + 1)
    ]
    return columns, list(induced(graph, chain.from_iterable(columns)).edges)


def test_a_part_is_drawn_in_full() -> None:
    columns, edges = whole(hand_graph())
    path = [(ConceptId(1, 1), ConceptId(2, 1))]
    picture = draw_part(
        columns[1:],
        [edge for edge in edges if edge.parent.layer > 1],
        LOOKS,
        first_layer=2,
        n_hidden={2: 5},
        n_hidden_edges=7,
        lines={ConceptId(2, 0): ["a line"]},
        shares={ConceptId(2, 0): 0.25},
        marks={ConceptId(2, 1): "1"},
        paths={ConceptId(2, 1): path, ConceptId(1, 1): path},
        label="A part",
    )
    drawing = json.loads(picture.text)
    nodes = [node for layer in drawing["layers"] for node in layer["nodes"]]
    ids = [node["id"] for node in nodes]
    assert sorted(ids) == ["L2/0", "L2/1", "L2/2", "L3/0", "L3/1"]
    drawn = {(ids[p], ids[c]): w for p, c, w, _ in drawing["edges"]}
    assert drawn == {
        ("L2/0", "L3/0"): 3.0,
        ("L2/1", "L3/0"): 1.0,
        ("L2/2", "L3/0"): 2.0,
        ("L2/1", "L3/1"): -2.0,
    }
    assert [layer["id"] for layer in drawing["layers"]] == ["layer-2", "layer-3"]
    assert [layer["hidden"] for layer in drawing["layers"]] == [5, 0]
    assert "5 more not drawn" in drawing["layers"][0]["label"]
    by_id = {node["id"]: node for node in nodes}
    assert by_id["L2/0"]["share"] == 0.25 and "share" not in by_id["L2/1"]
    assert by_id["L2/1"]["mark"] == "1" and "mark" not in by_id["L2/0"]
    assert "a line" in by_id["L2/0"]["label"]
    # An edge that is not drawn lights up nothing, a concept that is not drawn has no paths.
    assert drawing["paths"] == {"L2/1": []}
    assert (picture.n_nodes, picture.n_edges) == (5, 4)
    assert (picture.n_hidden_nodes, picture.n_hidden_edges) == (5, 7)


def test_never_more_is_drawn_than_promised() -> None:
    graph, _ = random_graph([60, 60, 60], 1.0, seed=0)
    columns, edges = whole(graph)
    strongest = sorted(edges, key=lambda edge: -abs(edge.weight))
    picture = draw_part(columns, strongest, LOOKS, first_layer=1, label="All")
    assert picture.n_nodes <= MAX_NODES and picture.n_edges == MAX_EDGES
    assert picture.n_nodes + picture.n_hidden_nodes == 180
    among = 2 * (MAX_NODES // 3) ** 2
    assert picture.n_edges + picture.n_hidden_edges == among
    weights = [abs(edge[2]) for edge in json.loads(picture.text)["edges"]]
    assert min(weights) > 1  # the strongest of 5,000 normal weights


def test_an_order_has_no_more_crossings() -> None:
    a, b = [ConceptId(1, i) for i in range(3)], [ConceptId(2, i) for i in range(3)]
    edges = [(a[0], b[2], 1.0), (a[1], b[1], 1.0), (a[2], b[0], 1.0)]
    orders = order_concepts([a, b], edges)
    places = [{c: i for i, c in enumerate(order)} for order in orders]
    assert [places[0][p] for p, _, _ in edges] == [places[1][c] for _, c, _ in edges]


def test_a_small_matrix_has_a_cell_for_each_pair() -> None:
    graph = hand_graph()
    edges = graph.layer_edges(2)
    names = {ConceptId(1, 1): "purple"}
    picture = draw_matrix(edges, seriate(edges), 2, lambda c: names.get(c, ""))
    drawing = json.loads(picture.text)
    assert not picture.is_binned
    cells = {
        (drawing["rows"][r][0], drawing["columns"][c][0]): (n, up, down, w)
        for r, c, n, up, down, _, _, w in drawing["cells"]
    }
    assert cells == {
        ("L1/0", "L2/0"): (1, 2.0, 0.0, 2.0),
        ("purple (L1/1)", "L2/0"): (1, 1.0, 0.0, 1.0),
        ("L1/2", "L2/0"): (1, 0.0, 1.0, -1.0),
        ("purple (L1/1)", "L2/1"): (1, 4.0, 0.0, 4.0),
    }
    assert drawing["most"] == 4.0
    assert "4 edges in 4 cells" in drawing["label"]


def test_a_large_matrix_is_binned() -> None:
    graph, (dense,) = random_graph([150, 130], 0.05, seed=2)
    edges = graph.layer_edges(2)
    picture = draw_matrix(edges, seriate(edges), 2, lambda concept: "")
    drawing = json.loads(picture.text)
    assert picture.is_binned
    assert len(drawing["rows"]) == len(drawing["columns"]) == MOST_CELLS
    assert sum(head[1] for head in drawing["rows"]) == 150
    assert sum(cell[2] for cell in drawing["cells"]) == len(edges.weights)
    total = sum(cell[3] + cell[4] for cell in drawing["cells"])
    assert total == pytest.approx(np.abs(dense).sum(), rel=1e-3)
    row, column, n, *_, parent, child, weight = max(drawing["cells"], key=lambda cell: cell[2])
    entries = picture.entries((row, column))
    assert len(entries) == n > 1
    parents, children = picture.members(row, column)
    assert set(edges.parents[entries]) <= set(parents)
    assert set(edges.children[entries]) <= set(children)
    assert (edges.parents[entries[0]], edges.children[entries[0]]) == (parent, child)
    assert weight == pytest.approx(dense[child, parent], abs=0.005)
    sizes = np.abs(edges.weights[picture.entries()])
    assert len(sizes) == len(edges.weights) and (np.diff(sizes) <= 0).all()


def test_a_pair_without_edges_can_be_drawn() -> None:
    graph = ConceptGraph.from_tables(concept_table([2, 3]), edge_table([]))
    edges = graph.layer_edges(2)
    picture = draw_matrix(edges, seriate(edges), 2, str)
    assert json.loads(picture.text)["cells"] == []
    assert len(picture.entries((0, 0))) == 0
