"""The layered graph of one image: a column per layer, a picture per active concept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.ordering import order_layers
from cgraph.trace import ActiveConcept, Trace
from cgraph.ui import words
from cgraph.ui.components import revision_of, static_text
from cgraph.ui.lighting import LitPaths

MAX_NODES = 150
"""Most concepts that are drawn; the weakest of each layer are left out."""

MAX_EDGES = 300
"""Most edges that are drawn at once. Weaker ones show only on a lit path."""


@dataclass(frozen=True)
class GraphPicture:
    """What the browser needs to draw a trace.

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


def draw(
    trace: Trace,
    lights: dict[ConceptId, LitPaths],
    image_of: Callable[[ConceptId], str],
    name_of: Callable[[ConceptId], str] = lambda concept: "",
) -> GraphPicture:
    """Prepare the drawing of a trace.

    Parameters
    ----------
    trace : Trace
    lights : dict of ConceptId to LitPaths
        What lights up with each active concept.
    image_of : callable
        Data URI of the thumbnail that stands for a concept.
    name_of : callable
        What people call a concept; empty for one without a name.

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
        "layers": [
            {
                "name": f"Layer {depth}",
                "nodes": [_node(concept, layer, image_of, name_of) for concept in order],
            }
            for depth, (order, layer) in enumerate(zip(orders, trace.layers, strict=True), start=1)
        ],
        "edges": [
            [
                place[edge.parent],
                place[edge.child],
                round(edge.weight, 3),
                int((edge.parent, edge.child) in drawn),
            ]
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
    text = json.dumps(picture, separators=(",", ":"), ensure_ascii=False)
    return GraphPicture(
        text=text,
        revision=revision_of(text),
        n_nodes=len(place),
        n_hidden_nodes=sum(map(len, trace.layers)) - len(place),
        n_edges=len(drawn),
        n_hidden_edges=len(trace.edges) - len(drawn),
    )


def _node(
    concept: ConceptId,
    layer: tuple[ActiveConcept, ...],
    image_of: Callable[[ConceptId], str],
    name_of: Callable[[ConceptId], str],
) -> dict[str, Any]:
    """Describe a concept; the layer comes strongest first."""
    rank = next(i for i, active in enumerate(layer) if active.concept == concept)
    active = layer[rank]
    lines = [f"coefficient {active.coefficient:.2f}, rank {rank + 1} of {len(layer)} in its layer"]
    if active.prevalence is not None:
        lines.append(f"active in {words.percent(active.prevalence)} of training images")
    if active.probability is not None:
        predicted = f"predicted at {words.percent(active.probability)}"
        if active.prevalence:
            predicted += f", {words.times(active.probability / active.prevalence)} its prevalence"
        lines.append(predicted)
    if active.n_parents:
        lines.append(
            f"{active.n_parents_active} of {words.count(active.n_parents, 'parent')} active"
        )
    name = name_of(concept)
    called = f"{name}, {concept}" if name else str(concept)
    return {
        "id": str(active.concept),
        "name": name,
        "image": image_of(active.concept),
        "share": round(abs(active.coefficient) / (abs(layer[0].coefficient) or 1.0), 3),
        "lines": lines,
        "label": f"Concept {called}: {', '.join(lines)}",
    }


_component = st.components.v2.component(
    "cgraph_trace_graph",
    html=static_text("trace_graph.html"),
    css=static_text("trace_graph.css"),
    js=static_text("trace_graph.js"),
)


def trace_graph(
    picture: GraphPicture,
    *,
    selected: ConceptId | None,
    key: str,
    on_pick: Callable[[], None],
) -> None:
    """Show the graph.

    Parameters
    ----------
    picture : GraphPicture
    selected : ConceptId or None
        The concept whose paths are lit.
    key : str
        Key in the session; ``st.session_state[key]["picked"]`` is the id that was chosen, or an
        empty text when the selection was cleared.
    on_pick : callable
        Called after a choice, before the page or fragment runs again.
    """
    _component(
        key=key,
        data={
            "revision": picture.revision,
            "picture": picture.text,
            "selected": str(selected) if selected else "",
        },
        on_picked_change=on_pick,
    )
