"""What the browser needs to draw an edit in the graph: the concepts before and after, and edges.

Layers before the start are drawn as the image has them. From the start layer on a concept is drawn
if it is active before or after the edit; what vanished is a ghost. Badges say what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from cgraph import glossary
from cgraph.concept import ConceptId
from cgraph.counterfactual import Answer, ConceptChange
from cgraph.edge_facts import EdgeFacts
from cgraph.graph import ConceptGraph
from cgraph.ordering import order_layers
from cgraph.trace import ActiveConcept, Trace, TraceEdge
from cgraph.ui import edge_words, words
from cgraph.ui.components import revision_of
from cgraph.ui.drawing import MAX_EDGES, MAX_NODES, GraphPicture, Looks, drawn_edge

APPEARS, VANISHES, BY_HAND, COUPLED = "+", "−", "✎", "⇄"
"""Badges: what appeared or vanished, was set by hand, or changed only with the fixed number."""

MAX_NEAR = 2
"""Most silent concepts of a layer that can be shown to be switched on: the most probable ones."""

_TERMS = ("weight", "probability", "set_by_hand", "near")


def mark_of(change: ConceptChange) -> str:
    """Return the badge of a concept."""
    if change.by_hand:
        return BY_HAND
    if change.kind not in ("appeared", "vanished"):
        return ""
    if change.from_fixed_number:
        return COUPLED
    return APPEARS if change.kind == "appeared" else VANISHES


def draw_changes(
    graph: ConceptGraph,
    answer: Answer,
    given: Sequence[Sequence[ConceptId]],
    looks: Looks,
    *,
    facts: EdgeFacts | None = None,
    caption: str = "",
    file_name: str = "counterfactual",
) -> GraphPicture:
    """Prepare the drawing of an edit.

    Parameters
    ----------
    graph : ConceptGraph
    answer : Answer
        Of the graph.
    given : sequence of sequence of ConceptId
        Active concepts of the image in layers 1..L; those before the start layer are drawn.
    looks : Looks
    facts : EdgeFacts, optional
        What was measured of the edges.
    caption, file_name : str
        Line above a figure that somebody saves, and its name without the ending.
    """
    start = answer.states.first
    most = max(4, MAX_NODES // graph.n_layers)
    shown: list[list[ConceptChange]] = []
    n_all = 0
    for layer in range(1, graph.n_layers + 1):
        found = (
            [
                *(c for kind in ("appeared", "vanished") for c in answer.changes(layer, kind)),
                *sorted(answer.changes(layer, "unchanged"), key=lambda c: -c.after),
                *_silent_by_hand(answer, layer),
            ]
            if layer >= start
            else [ConceptChange(concept, "unchanged", 1.0, 1.0) for concept in given[layer - 1]]
        )
        n_all += len(found)
        found.sort(key=lambda change: not change.by_hand)
        shown.append(found[:most])
    trace = _as_trace(graph, shown)
    changes = {change.concept: change for layer in shown for change in layer}
    moved = {c for c, change in changes.items() if change.kind in ("appeared", "vanished")}
    strongest = sorted(trace.edges, key=lambda e: (e.parent not in moved, -abs(e.weight)))
    strongest = strongest[:MAX_EDGES]
    drawn = {(edge.parent, edge.child) for edge in strongest}
    orders = order_layers(trace, strongest)
    place = {concept: n for n, concept in enumerate(chain.from_iterable(orders))}
    picture = {
        "label": f"Concepts of {words.count(graph.n_layers, 'layer')} before and after the edit: "
        f"{words.count(answer.n_changed, 'predicted change')}.",
        "caption": caption,
        "file": file_name,
        "repeats": True,
        "notes": (f"{edge_words.NOTES} · " if facts and facts.has("verdict") else "")
        + "orange, solid: raises · blue, dashed: lowers · width: weight · bar: probability "
        "after · +: appears · −: vanishes · ✎: set by hand · predicted by the graph · cgraph",
        "words": {key: glossary.term(key).meaning for key in _TERMS}
        | edge_words.legend_words(facts),
        "layers": [
            _layer(layer, order, changes, answer, looks)
            for layer, order in enumerate(orders, start=1)
        ],
        "edges": [
            drawn_edge(
                place[edge.parent],
                place[edge.child],
                edge.weight,
                (edge.parent, edge.child) in drawn,
                facts.of(edge.parent, edge.child) if facts else None,
            )
            for edge in trace.edges
        ],
        "widest": max((abs(edge.weight) for edge in trace.edges), default=1.0) or 1.0,
        "paths": _paths(trace, changes, moved, place),
    }
    text = json.dumps(picture, separators=(",", ":"), ensure_ascii=False)
    return GraphPicture(
        text=text,
        revision=revision_of(text),
        n_nodes=len(place),
        n_hidden_nodes=n_all - len(place),
        n_edges=len(drawn),
        n_hidden_edges=len(trace.edges) - len(drawn),
    )


def _as_trace(graph: ConceptGraph, shown: list[list[ConceptChange]]) -> Trace:
    """Return what is drawn as a trace, so that it is ordered like one."""
    layers = tuple(
        tuple(ActiveConcept(c.concept, max(c.after, 1e-3), None, None, 0, 0) for c in layer)
        for layer in shown
    )
    edges = []
    for depth in range(2, graph.n_layers + 1):
        left, right = (
            np.array([c.concept.index for c in shown[layer - 1]], dtype=np.int64)
            for layer in (depth - 1, depth)
        )
        ends = (values.tolist() for values in graph.edges_among(left, right, depth))
        edges += [
            TraceEdge(ConceptId(depth - 1, parent), ConceptId(depth, child), w, w, 0.0)
            for parent, child, w in zip(*ends, strict=True)
        ]
    return Trace(layers, tuple(edges), None, "", "")


def _paths(
    trace: Trace,
    changes: dict[ConceptId, ConceptChange],
    moved: set[ConceptId],
    place: dict[ConceptId, int],
) -> dict[str, list[list[float]]]:
    """Return the edges along which the edit reached each concept, or spread from it if set by hand.

    Only edges between concepts that appeared or vanished count.
    """
    into: dict[ConceptId, list[int]] = {}
    out_of: dict[ConceptId, list[int]] = {}
    for number, edge in enumerate(trace.edges):
        if edge.parent in moved and edge.child in moved:
            into.setdefault(edge.child, []).append(number)
            out_of.setdefault(edge.parent, []).append(number)
    paths: dict[str, list[list[float]]] = {}
    for concept in place:
        lit: set[int] = set()
        waiting = [concept]
        spreads = changes[concept].by_hand
        while waiting:
            for number in (out_of if spreads else into).get(waiting.pop(), ()):
                if number not in lit:
                    lit.add(number)
                    edge = trace.edges[number]
                    waiting.append(edge.child if spreads else edge.parent)
        paths[str(concept)] = [[number, 1.0] for number in sorted(lit)]
    return paths


def _layer(
    layer: int,
    order: Sequence[ConceptId],
    changes: dict[ConceptId, ConceptChange],
    answer: Answer,
    looks: Looks,
) -> dict[str, Any]:
    start = answer.states.first
    n_active, marks, near = len(order), [], []
    if layer >= start:
        n_new, n_gone = (len(answer.changes(layer, kind)) for kind in ("appeared", "vanished"))
        n_active = n_new + n_gone + len(answer.changes(layer, "unchanged"))
        marks = [f"+{n_new}"] * bool(n_new) + [f"−{n_gone}"] * bool(n_gone)
        near = nearly_on(answer, layer, MAX_NEAR) if layer > start else []
        what = f"{n_new} appear, {n_gone} vanish"
    else:
        what = "as the image has it"
    kind = "start, given" if layer == start else "predicted" if layer > start else "given"
    hidden = n_active - len([c for c in order if changes[c].kind != "silent"])
    return {
        "id": f"layer-{layer}",
        "name": f"Layer {layer}",
        "label": f"Layer {layer}: {kind}; {what}" + (f"; {hidden} not shown" if hidden > 0 else ""),
        "marks": marks,
        "hidden": max(hidden, 0),
        "surprises": 0,
        "absences": 0,
        "nodes": [_node(changes[concept], layer < start, looks) for concept in order],
        "absent": [
            looks(c.concept, ["silent; choose it to switch it on", _moved(c)]) for c in near
        ],
    }


def nearly_on(answer: Answer, layer: int, n: int) -> list[ConceptChange]:
    """Return the silent concepts of a layer that are most probable after the edit."""
    state = answer.states.of_layer(layer)
    left = ~state.before[0] & ~state.after[0]
    left[[concept.index for concept in answer.edit.of_layer(layer)]] = False
    # Among thousands of concepts: objects are made of those alone that are wanted.
    indices = np.flatnonzero(left)
    best = indices[np.argsort(-state.value_after[0, indices], kind="stable")[:n]]
    return [answer.change(ConceptId(layer, int(index))) for index in best]


def _silent_by_hand(answer: Answer, layer: int) -> list[ConceptChange]:
    changes = [answer.change(concept) for concept in answer.edit.of_layer(layer)]
    return [change for change in changes if change.kind == "silent"]


def _node(change: ConceptChange, is_given: bool, looks: Looks) -> dict[str, Any]:
    says = {
        "appeared": "appears: predicted to become active",
        "vanished": "vanishes: predicted to fall silent",
        "unchanged": "active before and after",
        "silent": "silent before and after",
    }[change.kind]
    lines = ["active in the image; layers before the start do not change"] if is_given else [says]
    if change.by_hand:
        lines = [f"set by hand: {'on' if change.after >= 0.5 else 'off'}"]
    elif not is_given:
        lines.append(_moved(change))
    if change.from_fixed_number:
        lines.append("only because the rule keeps a fixed number active")
    node = looks(change.concept, lines) | {
        "share": round(change.after, 3),
        "surprise": False,
    }
    if mark := mark_of(change):
        node["mark"] = mark
    if change.kind in ("vanished", "silent"):
        node["ghost"] = True
    return node


def _moved(change: ConceptChange) -> str:
    """Say how the probability of a concept moved."""
    before, after = words.percent(change.before), words.percent(change.after)
    if before == after:
        return f"predicted at {after}"
    return f"predicted at {before} before, {after} after"
