"""The drawing of an edit as data: who is drawn, with which mark, and where the edit spread."""

from __future__ import annotations

import json

import numpy as np
from graph_examples import hand_graph, random_graph

from cgraph.concept import ConceptId
from cgraph.counterfactual import dense_labels, graph_answer
from cgraph.edits import Edit, RolloutSettings
from cgraph.ui.changed_drawing import BY_HAND, draw_changes, nearly_on
from cgraph.ui.drawing import MAX_EDGES, MAX_NODES, Looks

LOOKS = Looks(image_of=lambda concept: "", name_of=lambda concept: "")


def drawn(graph, active, edit, start=1, **settings):
    chosen = RolloutSettings(start=start, **settings)
    answer = graph_answer(graph, dense_labels(graph, start, active), edit, chosen)
    given = [[ConceptId(layer, 0)] for layer in range(1, graph.n_layers + 1)]
    picture = draw_changes(graph, answer, given, LOOKS)
    return answer, picture, json.loads(picture.text)


def test_the_hand_computed_graph():
    """L1/1 is switched off: L2/1 vanishes, L3/1 appears (see `test_counterfactual`)."""
    edit = Edit((), (ConceptId(1, 1),))
    _, picture, data = drawn(hand_graph(), [0, 1], edit)
    nodes = {node["id"]: node for layer in data["layers"] for node in layer["nodes"]}
    assert set(nodes) == {"L1/0", "L1/1", "L2/0", "L2/1", "L3/0", "L3/1"}
    marks = {name: node.get("mark", "") for name, node in nodes.items()}
    assert marks == {
        "L1/0": "", "L1/1": BY_HAND, "L2/0": "", "L2/1": "−", "L3/0": "", "L3/1": "+",
    }  # fmt: skip
    assert {name for name, node in nodes.items() if node.get("ghost")} == {"L1/1", "L2/1"}
    assert [layer["marks"] for layer in data["layers"]] == [["−1"], ["−1"], ["+1"]]
    order = [node["id"] for layer in data["layers"] for node in layer["nodes"]]
    edges = {(order[parent], order[child]): weight for parent, child, weight, _ in data["edges"]}
    assert edges == {
        ("L1/0", "L2/0"): 2.0, ("L1/1", "L2/0"): 1.0, ("L1/1", "L2/1"): 4.0,
        ("L2/0", "L3/0"): 3.0, ("L2/1", "L3/0"): 1.0, ("L2/1", "L3/1"): -2.0,
    }  # fmt: skip

    def path(concept):
        found = (data["edges"][number] for number, _ in data["paths"][concept])
        return {(order[parent], order[child]) for parent, child, _, _ in found}

    way = {("L1/1", "L2/1"), ("L2/1", "L3/1")}
    assert path("L3/1") == way  # how the edit reached it
    assert path("L1/1") == way  # where it spread to
    assert path("L3/0") == set()
    assert nodes["L1/1"]["lines"] == ["set by hand: off"]
    assert "predicted at 62" in nodes["L2/1"]["lines"][1]
    assert (picture.n_nodes, picture.n_edges, picture.n_hidden_nodes) == (6, 6, 0)


def test_layers_before_the_start_are_as_the_image_has_them():
    _, _, data = drawn(hand_graph(), [0], Edit(), start=2)
    assert [node["id"] for node in data["layers"][0]["nodes"]] == ["L1/0"]
    assert "as the image has it" in data["layers"][0]["label"]
    assert "given" in data["layers"][1]["label"] and "predicted" in data["layers"][2]["label"]


def test_no_more_is_drawn_than_can_be_read_and_the_rest_is_counted():
    graph, _ = random_graph((200, 200, 200), 0.3, 0)
    active = np.flatnonzero(np.random.default_rng(0).random(200) < 0.5)
    edit = Edit((), tuple(ConceptId(1, int(i)) for i in active[:5]))
    answer, picture, data = drawn(graph, active, edit, rule="max")
    assert picture.n_nodes <= MAX_NODES
    assert picture.n_edges <= MAX_EDGES
    n_all = sum(
        len(answer.changes(layer, kind))
        for layer in answer.layers
        for kind in ("appeared", "vanished", "unchanged")
    )
    assert picture.n_hidden_nodes == n_all - picture.n_nodes > 0
    assert sum(layer["hidden"] for layer in data["layers"]) == picture.n_hidden_nodes
    shown = {node["id"] for node in data["layers"][0]["nodes"]}
    assert {str(concept) for concept in edit} <= shown  # what was set by hand comes first


def test_the_drawing_changes_with_the_edit_alone():
    graph = hand_graph()
    one, again, other = (
        drawn(graph, [0, 1], Edit((), (ConceptId(1, index),)))[1].revision for index in (1, 1, 0)
    )
    assert one == again != other


def test_nearly_active_concepts_are_the_most_probable_silent_ones():
    graph, _ = random_graph((30, 40), 0.4, 1)
    answer, _, data = drawn(graph, [1, 2], Edit())
    silent = [
        (float(answer.states.of_layer(2).value_after[0, i]), i)
        for i in range(40)
        if not answer.states.of_layer(2).after[0, i]
    ]
    best = [f"L2/{i}" for _, i in sorted(silent, key=lambda pair: (-pair[0], pair[1]))[:2]]
    assert [node["id"] for node in data["layers"][1]["absent"]] == best
    assert [str(c.concept) for c in nearly_on(answer, 2, 2)] == best
