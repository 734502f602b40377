"""What the browser needs to draw a trace: plain values, made once per image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cgraph import glossary
from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFact, EdgeFacts
from cgraph.ordering import order_layers
from cgraph.trace import Absence, ActiveConcept, Trace
from cgraph.ui import edge_words, words
from cgraph.ui.components import revision_of
from cgraph.ui.lighting import LitPaths

MAX_NODES = 150
"""Most concepts that are drawn; the weakest of each layer are left out."""

MAX_EDGES = 300
"""Most edges that are drawn at once. Weaker ones show only on a lit path."""

MAX_ABSENT = 2
"""Most absences of a layer that are drawn; the panel of the layer lists all."""

NOTES = (
    "orange, solid: raises · blue, dashed: lowers · width: weight · bar: coefficient · "
    "!: surprise · ?: expected but absent"
)
"""Line below a figure that somebody saves, where what was measured follows."""

_TERMS = ("coefficient", "weight", "surprise", "absence", "silent_parent")


@dataclass(frozen=True)
class GraphPicture:
    """A trace, ready to be drawn.

    Attributes
    ----------
    text : str
        The drawing as JSON: layers, edges, and the lit edges of every concept.
    revision : str
        Changes when, and only when, the drawing does.
    n_nodes, n_hidden_nodes, n_edges, n_hidden_edges : int
        Concepts and edges drawn and left out.
    """

    text: str
    revision: str
    n_nodes: int
    n_hidden_nodes: int
    n_edges: int
    n_hidden_edges: int


@dataclass(frozen=True)
class GraphSelection:
    """What is selected in a graph.

    Attributes
    ----------
    id : str
        A concept, or a layer such as ``layer-7``; empty for nothing.
    ghosts : sequence of dict
        Silent concepts to draw beside the active ones, as `Looks` makes them.
    edges : sequence of (parent, child, weight)
        Edges from or to ghosts.
    """

    id: str
    ghosts: Sequence[dict[str, Any]] = ()
    edges: Sequence[tuple[str, str, float]] = ()


@dataclass(frozen=True)
class Looks:
    """How concepts look: the data URI of a thumbnail, and a name; either may be empty."""

    image_of: Callable[[ConceptId], str]
    name_of: Callable[[ConceptId], str] = lambda concept: ""

    def __call__(self, concept: ConceptId, lines: list[str]) -> dict[str, Any]:
        """Return what every node says, with the lines of its tip."""
        name = self.name_of(concept)
        called = f"{name}, {concept}" if name else str(concept)
        return {
            "id": str(concept),
            "name": name,
            "image": self.image_of(concept),
            "lines": lines,
            "label": f"Concept {called}: {', '.join(lines)}",
        }


def draw(
    trace: Trace,
    lights: dict[ConceptId, LitPaths],
    looks: Looks,
    *,
    facts: EdgeFacts | None = None,
    outside: Mapping[int, dict[str, Any]] | None = None,
    caption: str = "",
    file_name: str = "trace",
) -> GraphPicture:
    """Prepare the drawing of a trace.

    Parameters
    ----------
    trace : Trace
    lights : dict of ConceptId to LitPaths
        What lights up with each active concept.
    looks : Looks
    facts : EdgeFacts, optional
        What was measured of the edges.
    outside : mapping of int to dict, optional
        What stands beneath each layer for what lies outside the graph, as `outside_node` makes it.
    caption, file_name : str
        Line above a figure that somebody saves, and its name without the ending.

    Returns
    -------
    GraphPicture
    """
    most = max(4, MAX_NODES // max(1, len(trace.layers)))
    # An image that activates many concepts keeps the strongest of each layer.
    kept = {active.concept for layer in trace.layers for active in layer[:most]}
    edges = [edge for edge in trace.edges if edge.parent in kept and edge.child in kept]
    strongest = sorted(edges, key=lambda edge: -abs(edge.contribution))[:MAX_EDGES]
    drawn = {(edge.parent, edge.child) for edge in strongest}
    orders = [
        [concept for concept in order if concept in kept]
        for order in order_layers(trace, strongest)
    ]
    place = {concept: i for i, concept in enumerate(chain.from_iterable(orders))}
    number = {(edge.parent, edge.child): i for i, edge in enumerate(edges)}
    picture = {
        "label": f"Concepts of one image in {words.count(len(orders), 'layer')}: "
        f"{words.count(len(place), 'active concept')}, {words.count(len(drawn), 'edge')} drawn.",
        "caption": caption,
        "file": file_name,
        "words": {key: glossary.term(key).meaning for key in _TERMS}
        | edge_words.legend_words(facts)
        | ({"outside": glossary.term("outside").meaning} if outside else {}),
        "layers": [
            _layer(trace, depth, order, looks)
            | ({"outside": outside[depth]} if outside and depth in outside else {})
            for depth, order in enumerate(orders, start=1)
        ],
        "edges": [
            drawn_edge(
                place[edge.parent],
                place[edge.child],
                edge.weight,
                (edge.parent, edge.child) in drawn,
                facts.of(edge.parent, edge.child) if facts else None,
            )
            for edge in edges
        ],
        "widest": max((abs(edge.weight) for edge in edges), default=1.0) or 1.0,
        "paths": {
            str(concept): [
                [number[ends], round(part, 4)]
                for edge, part in lights[concept].edges
                if (ends := (edge.parent, edge.child)) in number
            ]
            for concept in place
        },
    }
    said = [edge_words.NOTES] if facts and facts.has("verdict") else []
    said += ["shares beneath: outside the graph"] if outside else []
    if said:
        picture["notes"] = " · ".join([NOTES, *said, "cgraph"])
    text = json.dumps(picture, separators=(",", ":"), ensure_ascii=False)
    return GraphPicture(
        text=text,
        revision=revision_of(text),
        n_nodes=len(place),
        n_hidden_nodes=sum(map(len, trace.layers)) - len(place),
        n_edges=len(drawn),
        n_hidden_edges=len(trace.edges) - len(drawn),
    )


def drawn_edge(
    parent: int, child: int, weight: float, strong: bool, fact: EdgeFact | None = None
) -> list[Any]:
    """Describe an edge by the places of its ends; what was measured of it comes last, if it was."""
    measured = edge_words.drawn(fact)
    return [parent, child, round(weight, 3), int(strong), *([measured] if measured else [])]


def _layer(trace: Trace, depth: int, order: list[ConceptId], looks: Looks) -> dict[str, Any]:
    layer = trace.layers[depth - 1]
    absent = trace.absences[depth - 1] if trace.absences else ()
    n_surprises = sum(active.is_surprise for active in layer)
    counts = [words.count(len(layer), "active concept")]
    if len(order) < len(layer):
        counts.append(f"{len(order)} shown")
    if n_surprises:
        counts.append(words.count(n_surprises, "surprise"))
    if absent:
        counts.append(f"{len(absent)} expected but absent")
    return {
        "id": f"layer-{depth}",
        "name": f"Layer {depth}",
        "label": f"Layer {depth}: {', '.join(counts)}",
        "hidden": len(layer) - len(order),
        "surprises": n_surprises,
        "absences": len(absent),
        "nodes": [_node(concept, layer, looks) for concept in order],
        "absent": [absent_node(absence, looks) for absence in absent[:MAX_ABSENT]],
    }


def _node(concept: ConceptId, layer: tuple[ActiveConcept, ...], looks: Looks) -> dict[str, Any]:
    """Describe a concept; the layer comes strongest first."""
    rank = next(i for i, active in enumerate(layer) if active.concept == concept)
    active = layer[rank]
    lines = [f"coefficient {active.coefficient:.2f}, rank {rank + 1} of {len(layer)} in its layer"]
    if active.prevalence is not None:
        lines.append(f"active in {words.percent(active.prevalence)} of training images")
    if active.probability is not None:
        lines.append(predicted(active))
    if active.is_surprise:
        lines.append("a surprise: its parents make it rarer than usual")
    if active.n_parents:
        lines.append(
            f"{active.n_parents_active} of {words.count(active.n_parents, 'parent')} active"
        )
    return looks(concept, lines) | {
        "share": round(abs(active.coefficient) / (abs(layer[0].coefficient) or 1.0), 3),
        "surprise": active.is_surprise,
    }


def predicted(concept: ActiveConcept | Absence) -> str:
    """Say how likely its parents make a concept."""
    text = f"predicted at {words.percent(concept.probability)}"
    return text if concept.lift is None else f"{text}, {words.times(concept.lift)} its prevalence"


def absent_node(absence: Absence, looks: Looks) -> dict[str, Any]:
    """Describe a concept that is not active, though its parents make it likely."""
    lines = ["expected here, but not active", predicted(absence)]
    return looks(absence.concept, lines) | {"absent": True}
