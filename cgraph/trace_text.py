"""A trace as lines of text, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.trace import ActiveConcept, Trace, TraceEdge
from cgraph.truth_tables import NOT_MEASURED

N_PARENTS = 3
"""Most active parents that are named behind a concept."""


def trace_text(
    trace: Trace,
    name_of: Callable[[ConceptId], str],
    *,
    facts: EdgeFacts | None = None,
    outside: Sequence[str] = (),
) -> str:
    """Return what a trace says, layer by layer.

    Parameters
    ----------
    trace : Trace
    name_of : callable
        What people call a concept; empty for one without a name.
    facts : EdgeFacts, optional
        What was measured of the edges: verdict and effect stand behind a weight.
    outside : sequence of str, optional
        For each layer, what the graph cannot see of it.

    Returns
    -------
    str
        Lines; a surprise is marked with ``!``, and what was expected but is absent with ``?``.
    """

    def called(concept: ConceptId) -> str:
        return f"{concept} {name_of(concept)}".rstrip()

    lines = [f"{trace.image_id} in study {trace.study}"]
    if trace.unusual:
        lines.append(
            "It is unlike the images that this study was built from: read the trace with care."
        )
    strongest: dict[ConceptId, list[TraceEdge]] = {}
    for edge in sorted(trace.edges, key=lambda edge: -edge.share):
        strongest.setdefault(edge.child, []).append(edge)
    for layer, concepts in enumerate(trace.layers, start=1):
        share = "" if trace.explained is None else f", explains {trace.explained[layer - 1]:.0%}"
        lines += ["", f"layer {layer}: {len(concepts)} active{share}"]
        lines += [f"  {sentence}" for sentence in outside[layer - 1 : layer]]
        width = max((len(called(active.concept)) for active in concepts), default=0)
        for active in concepts:
            parents = strongest.get(active.concept, [])[:N_PARENTS]
            named = ", ".join(
                f"{called(edge.parent)} ({edge.weight:+.2f}{_measured(edge, facts)})"
                for edge in parents
            )
            mark = "!" if active.is_surprise else " "
            lines.append(
                f"{mark} {active.coefficient:8.3f}  {called(active.concept):<{width}}"
                f"{_origin(active, named)}"
            )
        for absent in trace.absences[layer - 1] if trace.absences else ():
            lift = "" if absent.lift is None else f", {absent.lift:.1f} times its prevalence"
            lines.append(
                f"?        –  {called(absent.concept):<{width}}  expected at "
                f"{absent.probability:.0%}{lift}"
            )
    return "\n".join([*lines, ""])


def _measured(edge: TraceEdge, facts: EdgeFacts | None) -> str:
    """Say what was measured of an edge, such as ``; specific, effect 0.42, carried``."""
    found = facts.of(edge.parent, edge.child) if facts else None
    if found is None or found.verdict is None:
        return ""
    if found.verdict == NOT_MEASURED or not found.has_effect:
        return f"; {NOT_MEASURED}"
    origin = f", {found.origin}" if found.origin else ""
    return f"; {found.verdict}, effect {found.effect:+.2f}{origin}"


def _origin(active: ActiveConcept, parents: str) -> str:
    if active.concept.layer == 1:
        return ""
    if active.n_parents == 0:
        return "  no parents"
    text = f"  {active.n_parents_active} of {active.n_parents} parents active"
    return f"{text}: {parents}" if parents else text
