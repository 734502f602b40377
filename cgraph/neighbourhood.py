"""What lies around a concept: parents and children, and theirs, a few of each layer.

From the concept on, each step takes the edges of the concepts kept so far, and keeps as many of the
concepts they lead to as the beam is wide: those with the largest product of shares along one path
(`cgraph.edge_index`), then by index. What was found and not kept is counted, never silently lost.
A beam as wide as the layers keeps everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edge_index import BOTH
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.subgraph import GraphEdge, Subgraph, induced

MOST_HOPS = 3
"""Farthest that a neighbourhood reaches, in layers."""

MOST_BEAM = 20
"""Widest beam that the app offers: seven layers of it can still be drawn."""


@dataclass(frozen=True)
class Ring:
    """The concepts of one layer of a neighbourhood.

    Attributes
    ----------
    layer : int
    concepts : tuple of ConceptId
        Strongest first.
    strengths : tuple of float
        Largest product of shares along one path between each and the centre.
    n_found : int
        Concepts that edges of the ring nearer to the centre lead to, kept or not.
    """

    layer: int
    concepts: tuple[ConceptId, ...]
    strengths: tuple[float, ...]
    n_found: int


@dataclass(frozen=True)
class Neighbourhood:
    """Concepts around a centre, and the edges among them.

    Attributes
    ----------
    centre : ConceptId
    rings : tuple of Ring
        By rising layer; that of the centre holds it alone.
    part : Subgraph
        All kept concepts and every edge among them.
    toward : dict of ConceptId to (ConceptId, ConceptId)
        For each concept but the centre the edge, as (parent, child), by which its strongest path
        goes towards the centre.
    """

    centre: ConceptId
    rings: tuple[Ring, ...]
    part: Subgraph
    toward: dict[ConceptId, tuple[ConceptId, ConceptId]] = field(default_factory=dict)

    @property
    def strength(self) -> dict[ConceptId, float]:
        """Strength of the strongest path between each concept and the centre."""
        return {
            concept: strength
            for ring in self.rings
            for concept, strength in zip(ring.concepts, ring.strengths, strict=True)
        }

    def path(self, concept: ConceptId) -> list[tuple[ConceptId, ConceptId]]:
        """Return the edges of the strongest path between a concept and the centre."""
        edges = []
        while concept != self.centre:
            parent, child = self.toward[concept]
            edges.append((parent, child))
            concept = child if parent == concept else parent
        return edges

    def strongest_edges(self, limit: int) -> tuple[list[GraphEdge], int]:
        """Return the edges worth drawing, and how many others there are.

        Those of the strongest paths are always among them; then the largest absolute weights.
        """
        on_paths = set(self.toward.values())
        edges = sorted(
            self.part.edges, key=lambda edge: (edge.ends not in on_paths, -abs(edge.weight))
        )
        kept = edges[: max(limit, len(on_paths))]
        return kept, len(edges) - len(kept)


def neighbourhood(
    graph: ConceptGraph,
    centre: ConceptId,
    *,
    up: int = 2,
    down: int = 2,
    beam: int = 8,
    sign: str = BOTH,
) -> Neighbourhood:
    """Find what lies around a concept.

    Parameters
    ----------
    graph : ConceptGraph
    centre : ConceptId
    up, down : int
        Layers to go towards the first layer, and towards the last.
    beam : int
        Concepts kept in each layer.
    sign : str
        Which edges are followed.

    Returns
    -------
    Neighbourhood

    Raises
    ------
    ConfigError
        If there is no such concept, or a limit is out of range.
    """
    graph.concept_row(centre)
    for name, value in (("up", up), ("down", down)):
        if not 0 <= value <= MOST_HOPS:
            raise ConfigError(f"{name} is {value}: it must be between 0 and {MOST_HOPS} layers.")
    if beam < 1:
        raise ConfigError(f"The beam is {beam}: it must keep at least 1 concept of each layer.")
    toward: dict[ConceptId, tuple[ConceptId, ConceptId]] = {}
    rings = [Ring(centre.layer, (centre,), (1.0,), 1)]
    for steps, step in ((up, -1), (down, 1)):
        ring = next(ring for ring in rings if ring.layer == centre.layer)
        for _ in range(steps):
            if not ring.concepts or not 1 <= ring.layer + step <= graph.n_layers:
                break
            ring = _next_ring(graph, ring, step, beam, sign, toward)
            rings.append(ring)
    rings.sort(key=lambda ring: ring.layer)
    kept = [concept for ring in rings for concept in ring.concepts]
    return Neighbourhood(centre, tuple(rings), induced(graph, kept, sign), toward)


def _next_ring(
    graph: ConceptGraph,
    ring: Ring,
    step: int,
    beam: int,
    sign: str,
    toward: dict[ConceptId, tuple[ConceptId, ConceptId]],
) -> Ring:
    layer = ring.layer + step
    edges = graph.layer_edges(max(layer, ring.layer))
    inner = np.array([concept.index for concept in ring.concepts])
    if step < 0:
        place, entries = edges.into(inner)
        outer = edges.parents[entries]
    else:
        counts = edges.by_parent_starts[inner + 1] - edges.by_parent_starts[inner]
        place = np.repeat(np.arange(len(inner)), counts)
        outer, entries = edges.from_parents(inner)
    strengths = np.array(ring.strengths)[place] * edges.shares(sign)[entries]
    followed = strengths > 0
    outer, place, strengths = outer[followed], place[followed], strengths[followed]
    # The strongest path to each comes first; of equal ones that of the smaller place.
    order = np.lexsort((place, -strengths, outer))
    first = order[np.diff(outer[order], prepend=-1) != 0]
    best = first[np.lexsort((outer[first], -strengths[first]))]
    kept = best[:beam]
    concepts = tuple(graph.concept(layer, int(index)) for index in outer[kept])
    for concept, nearer in zip(concepts, place[kept], strict=True):
        ends = concept, ring.concepts[nearer]
        toward[concept] = ends if step < 0 else (ends[1], ends[0])
    return Ring(layer, concepts, tuple(strengths[kept].tolist()), len(best))
