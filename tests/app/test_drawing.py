"""What is sent to the browser for a trace: every concept once, and no more edges than promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cgraph.concept import ConceptId
from cgraph.study import Study
from cgraph.trace import Absence, ActiveConcept, Trace, TraceEdge
from cgraph.tracing import trace_row
from cgraph.ui import drawing as drawings
from cgraph.ui.drawing import GraphPicture, Looks
from cgraph.ui.lighting import LitPaths, light


@pytest.fixture(scope="module")
def trace(studies_folder: Path) -> Trace:
    return trace_row(Study.open(studies_folder / "planted"), 3)


def dense_trace(n_layers: int, n_active: int) -> Trace:
    """Every concept active and every edge there; the weight grows with the parent's index."""
    layers = tuple(
        tuple(
            ActiveConcept(ConceptId(layer, i), float(n_active - i), None, None, 0, 0)
            for i in range(n_active)
        )
        for layer in range(1, n_layers + 1)
    )
    edges = tuple(
        TraceEdge(ConceptId(layer, p), ConceptId(layer + 1, c), p + 1.0, p + 1.0, 1 / n_active)
        for layer in range(1, n_layers)
        for c in range(n_active)
        for p in range(n_active)
    )
    return Trace(layers, edges, None, "image", "study")


def drawn(trace: Trace, image_of: Callable[[ConceptId], str]) -> GraphPicture:
    return drawings.draw(trace, light(trace), Looks(image_of))


def test_every_active_concept_and_edge_is_there(trace: Trace) -> None:
    picture = drawn(trace, str)
    drawing = json.loads(picture.text)
    ids = [node["id"] for layer in drawing["layers"] for node in layer["nodes"]]
    assert sorted(ids) == sorted(str(a.concept) for layer in trace.layers for a in layer)
    edges = {(ids[p], ids[c]): weight for p, c, weight, _ in drawing["edges"]}
    assert edges == {
        (str(e.parent), str(e.child)): pytest.approx(e.weight, abs=5e-4) for e in trace.edges
    }
    assert (picture.n_hidden_nodes, picture.n_hidden_edges) == (0, 0)


def test_lit_edges_lead_to_the_concept(trace: Trace) -> None:
    drawing = json.loads(drawn(trace, str).text)
    ids = [node["id"] for layer in drawing["layers"] for node in layer["nodes"]]
    lit_somewhere = 0
    for concept, places in drawing["paths"].items():
        reached = {concept}
        for place, part in reversed(places):
            parent, child, weight, _ = drawing["edges"][place]
            assert 0 < part <= 1
            assert ids[child] in reached
            assert weight > 0
            reached.add(ids[parent])
        lit_somewhere += bool(places)
    assert lit_somewhere > len(ids) / 3


def test_what_lit_edges_carry_by_hand() -> None:
    def edge(parent: int, child: int, layer: int, share: float) -> TraceEdge:
        ends = ConceptId(layer, parent), ConceptId(layer + 1, child)
        return TraceEdge(*ends, share, share, share)

    edges = (
        edge(0, 0, 1, 1.0),
        edge(0, 1, 1, 0.5),
        edge(1, 1, 1, 0.5),
        edge(0, 0, 2, 0.7),
        edge(1, 0, 2, 0.3),
        edge(2, 0, 2, -0.4),
    )
    layers = tuple(
        tuple(ActiveConcept(ConceptId(layer, i), 1.0, None, None, 0, 0) for i in range(n))
        for layer, n in ((1, 2), (2, 3), (3, 1))
    )
    trace = Trace(layers, edges, None, "image", "study")
    lit = light(trace)[ConceptId(3, 0)]
    assert [part for _, part in lit.edges] == pytest.approx([0.7, 0.15, 0.15, 0.7, 0.3])
    assert lit.carried == pytest.approx((1.0, 1.0))
    assert light(trace)[ConceptId(2, 2)] == LitPaths((), ())


def test_a_wide_graph_is_carried_in_part() -> None:
    trace = dense_trace(5, 6)
    lit = light(trace)[ConceptId(5, 0)]
    assert trace.paths_to(ConceptId(5, 0)).share <= lit.carried[0] < 1
    assert list(lit.carried) == sorted(lit.carried)
    assert lit.carried[-1] == pytest.approx(1.0)
    parents = {edge.parent.index for edge, _ in lit.edges if edge.child == ConceptId(5, 0)}
    assert parents == set(range(6))


def test_many_concepts_are_cut_to_the_strongest() -> None:
    picture = drawn(dense_trace(12, 16), str)
    drawing = json.loads(picture.text)
    kept = 150 // 12
    assert picture.n_nodes == 12 * kept
    assert picture.n_hidden_nodes == 12 * (16 - kept)
    for layer in drawing["layers"]:
        assert {int(node["id"].split("/")[1]) for node in layer["nodes"]} == set(range(kept))
    assert sum(strong for *_, strong in drawing["edges"]) == drawings.MAX_EDGES
    assert picture.n_edges == drawings.MAX_EDGES
    assert picture.n_edges + picture.n_hidden_edges == 11 * 16 * 16
    hidden = [weight for _, _, weight, strong in drawing["edges"] if not strong]
    shown = [weight for _, _, weight, strong in drawing["edges"] if strong]
    assert min(shown) >= max(hidden)


def test_surprises_absences_and_hidden_concepts_are_counted_and_marked() -> None:
    concepts = [ConceptId(2, i) for i in range(80)]
    layer = (
        ActiveConcept(concepts[0], 3.0, 0.1, 0.2, 1, 2),  # half as likely as usual
        ActiveConcept(concepts[1], 2.0, 0.2, 0.2, 1, 2),
        *(ActiveConcept(concept, 1.0, 0.9, 0.2, 1, 2) for concept in concepts[2:78]),
    )
    absent = tuple(Absence(concepts[i], 0.8, 0.4) for i in (78, 79))
    trace = Trace(((), layer), (), None, "image", "study", None, ((), (*absent, absent[0])))
    first, second = json.loads(drawn(trace, str).text)["layers"]
    assert (first["surprises"], first["absences"], first["hidden"]) == (0, 0, 0)
    assert (second["surprises"], second["absences"], second["hidden"]) == (1, 3, 3)
    assert second["label"] == (
        "Layer 2: 78 active concepts, 75 shown, 1 surprise, 3 expected but absent"
    )
    assert [node["id"] for node in second["nodes"] if node["surprise"]] == ["L2/0"]
    assert [ghost["id"] for ghost in second["absent"]] == ["L2/78", "L2/79"]
    assert (
        second["absent"][0]["lines"][1]
        == "predicted at 80\N{NO-BREAK SPACE}%, 2.0\N{NO-BREAK SPACE}× its prevalence"
    )


def test_the_revision_follows_the_drawing(trace: Trace) -> None:
    assert drawn(trace, str).revision == drawn(trace, str).revision
    assert drawn(trace, str).revision != drawn(trace, lambda concept: "other").revision


def test_an_image_without_concepts_can_be_drawn() -> None:
    picture = drawn(Trace(((), ()), (), None, "image", "study"), str)
    assert (picture.n_nodes, picture.n_edges) == (0, 0)
    layers = json.loads(picture.text)["layers"]
    assert [(layer["name"], layer["nodes"], layer["absent"]) for layer in layers] == [
        ("Layer 1", [], []),
        ("Layer 2", [], []),
    ]
    assert layers[0]["label"] == "Layer 1: 0 active concepts"


def test_signed_codes_have_bars_by_absolute_coefficient() -> None:
    layer = (
        ActiveConcept(ConceptId(1, 0), -4.0, None, None, 0, 0),
        ActiveConcept(ConceptId(1, 1), 2.0, None, None, 0, 0),
    )
    nodes = json.loads(drawn(Trace((layer,), (), None, "image", "study"), str).text)["layers"][0]
    shares = {node["id"]: node["share"] for node in nodes["nodes"]}
    assert np.allclose([shares["L1/0"], shares["L1/1"]], [1.0, 0.5])
