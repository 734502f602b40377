"""Which edges light up with a concept, and how much of what raised it each of them carries."""

from __future__ import annotations

from dataclasses import dataclass

from cgraph.concept import ConceptId
from cgraph.trace import Trace, TraceEdge

DIRECT_SHARE = 0.05
"""Parents with at least this share are lit even when no strongest path runs over them."""


@dataclass(frozen=True)
class LitPaths:
    """The lit edges above a concept.

    Attributes
    ----------
    edges : tuple of (TraceEdge, float)
        In the order of the trace; with each the part (0 to 1) of what raised the concept that
        comes over it: the sum, over the lit paths through it, of the product of the shares from
        it down to the concept.
    carried : tuple of float
        For layers 1 to the one before the concept: the part of what raised the concept that lit
        paths carry from there, or from a later beginning (a concept for which no active parent
        speaks). Rises with the layer; empty if no active parent speaks for the concept itself.
    """

    edges: tuple[tuple[TraceEdge, float], ...]
    carried: tuple[float, ...]


def light(trace: Trace) -> dict[ConceptId, LitPaths]:
    """Light, for every active concept, the strongest paths into it and its parents.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    dict of ConceptId to LitPaths
    """
    raised = {edge.child for edge in trace.edges if edge.share > 0}
    return {
        active.concept: _light_one(trace, active.concept, raised)
        for layer in trace.layers
        for active in layer
    }


def _light_one(trace: Trace, concept: ConceptId, raised: set[ConceptId]) -> LitPaths:
    # Edges are compared by identity: the same object stands in the trace and in its paths.
    on_paths = {id(edge) for edge in trace.lit_edges(concept, n_downstream=0)}
    lit = [
        edge
        for edge in trace.edges
        if id(edge) in on_paths or (edge.share >= DIRECT_SHARE and edge.child == concept)
    ]
    if not lit:
        return LitPaths((), ())
    part = {concept: 1.0}
    flows = []
    for edge in reversed(lit):  # edges are sorted by child layer, so children come first
        flow = part[edge.child] * edge.share
        part[edge.parent] = part.get(edge.parent, 0.0) + flow
        flows.append((edge, flow))
    carried = [
        sum(
            value
            for node, value in part.items()
            if node.layer == layer or (node.layer > layer and node not in raised)
        )
        for layer in range(1, concept.layer)
    ]
    return LitPaths(tuple(reversed(flows)), tuple(carried))
