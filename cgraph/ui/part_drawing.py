"""What the browser needs to draw a part of the graph: a column for each layer of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from cgraph import glossary
from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.ordering import order_concepts
from cgraph.subgraph import GraphEdge
from cgraph.ui import edge_words, words
from cgraph.ui.components import revision_of
from cgraph.ui.drawing import MAX_EDGES, MAX_NODES, GraphPicture, Looks, drawn_edge

_TERMS = ("weight", "path_strength")

NOTES = (
    "orange, solid: raises · blue, dashed: lowers · width: weight · edges of the graph, "
    "not of one image · cgraph"
)
"""Line below a figure that somebody saves."""


def draw_part(
    columns: Sequence[Sequence[ConceptId]],
    edges: Sequence[GraphEdge],
    looks: Looks,
    *,
    first_layer: int,
    n_hidden: Mapping[int, int] | None = None,
    n_hidden_edges: int = 0,
    lines: Mapping[ConceptId, list[str]] | None = None,
    shares: Mapping[ConceptId, float] | None = None,
    marks: Mapping[ConceptId, str] | None = None,
    paths: Mapping[ConceptId, Sequence[tuple[ConceptId, ConceptId]]] | None = None,
    facts: EdgeFacts | None = None,
    label: str,
    caption: str = "",
    file_name: str = "graph",
) -> GraphPicture:
    """Prepare a drawing.

    Parameters
    ----------
    columns : sequence of sequence of ConceptId
        Concepts of consecutive layers, those to keep first. Of too many the last of each layer
        are left out, and counted.
    edges : sequence of GraphEdge
        Those to keep first; edges of concepts that are left out are passed over.
    looks : Looks
    first_layer : int
        Layer of the first column.
    n_hidden : mapping of int to int, optional
        By layer, concepts that were found and are not among those given.
    n_hidden_edges : int
        Edges that were found and are not among those given.
    lines, shares, marks : mapping of ConceptId, optional
        What is said of each concept; how long the bar beneath it is, 0 to 1; a sign on it.
    paths : mapping of ConceptId to sequence of (parent, child), optional
        Edges that light up with a concept; with others their own edges do.
    facts : EdgeFacts, optional
        What was measured of the edges.
    label : str
        What the drawing shows, for screen readers.
    caption, file_name : str
        Line above a figure that somebody saves, and its name without the ending.

    Returns
    -------
    GraphPicture
    """
    n_all = sum(map(len, columns))
    most = n_all if n_all <= MAX_NODES else max(4, MAX_NODES // len(columns))
    kept = {concept for column in columns for concept in column[:most]}
    joined = [edge for edge in edges if edge.parent in kept and edge.child in kept]
    drawn = joined[:MAX_EDGES]
    blank: list[Sequence[ConceptId]] = [()] * (first_layer - 1)
    orders = order_concepts(
        [*blank, *(tuple(column[:most]) for column in columns)],
        [(*edge.ends, edge.weight) for edge in drawn],
    )[first_layer - 1 :]
    place = {concept: i for i, concept in enumerate(chain.from_iterable(orders))}
    number = {edge.ends: i for i, edge in enumerate(drawn)}
    hidden = {
        layer: len(column) - len(order) + (n_hidden or {}).get(layer, 0)
        for layer, (column, order) in enumerate(zip(columns, orders, strict=True), first_layer)
    }

    def node(concept: ConceptId) -> dict[str, Any]:
        found = looks(concept, (lines or {}).get(concept, []))
        if shares and concept in shares:
            found["share"] = round(shares[concept], 3)
        if marks and concept in marks:
            found["mark"] = marks[concept]
        return found

    picture = {
        "label": f"{label}: {words.count(len(place), 'concept')} and "
        f"{words.count(len(drawn), 'edge')} drawn.",
        "caption": caption,
        "notes": f"{edge_words.NOTES} · {NOTES}" if facts and facts.has("verdict") else NOTES,
        "file": file_name,
        "words": {key: glossary.term(key).meaning for key in _TERMS}
        | edge_words.legend_words(facts),
        "layers": [
            _column(layer, [node(concept) for concept in order], hidden[layer])
            for layer, order in enumerate(orders, first_layer)
        ],
        "edges": [
            drawn_edge(
                place[edge.parent],
                place[edge.child],
                edge.weight,
                True,
                facts.of(*edge.ends) if facts else None,
            )
            for edge in drawn
        ],
        "widest": max((abs(edge.weight) for edge in drawn), default=1.0) or 1.0,
        "paths": {
            str(concept): [[number[ends], 1.0] for ends in path if ends in number]
            for concept, path in (paths or {}).items()
            if concept in place
        },
    }
    text = json.dumps(picture, separators=(",", ":"), ensure_ascii=False)
    return GraphPicture(
        text=text,
        revision=revision_of(text),
        n_nodes=len(place),
        n_hidden_nodes=sum(hidden.values()),
        n_edges=len(drawn),
        n_hidden_edges=len(joined) - len(drawn) + n_hidden_edges,
    )


def _column(layer: int, nodes: list[dict[str, Any]], n_hidden: int) -> dict[str, Any]:
    counts = [words.count(len(nodes), "concept")]
    if n_hidden:
        counts.append(f"{n_hidden:,} more not drawn")
    return {
        "id": f"layer-{layer}",
        "name": f"Layer {layer}",
        "label": f"Layer {layer}: {', '.join(counts)}",
        "hidden": n_hidden,
        "surprises": 0,
        "absences": 0,
        "nodes": nodes,
        "absent": [],
    }
