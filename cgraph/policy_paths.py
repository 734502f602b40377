"""The rules ``no-path`` and ``through``: which paths lead from A to B, and what they pass.

A path counts if it has no more edges than the rule allows, each of enough weight and with the
evidence that the rule asks for, and is strong enough. Where the evidence of some edges is missing,
the rule is checked twice: with the edges that are known to count, and with the unmeasured ones
besides. A path of the first kind breaks the rule; only where there is none of the second kind
either does it hold.

``through`` is ``no-path`` in the graph without M.

*Direction*: `cgraph evaluate` took concepts out and watched others, at some pairs of layers. A path
from a to b is confirmed if it runs through two concepts c and d (which may be a and b) such that
taking c out moved d. A pair (a, b) that paths connect is refuted if a was taken out and b watched,
and b did not move. The rule is broken by a confirmed path, holds where there is none and all
connected pairs are refuted, and else lacks evidence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cgraph.concept import ConceptId
from cgraph.concept_sets import ResolvedSet
from cgraph.graph import ConceptGraph
from cgraph.graph_paths import GraphPath, strongest_paths
from cgraph.policy_clock import Clock
from cgraph.policy_draws import Draws
from cgraph.policy_edges import arrivals, counted_edges, without
from cgraph.policy_images import path_witness
from cgraph.policy_rules import DIRECTION, Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import Figure, Finding

MOST_WITNESSES = 3
MEASURE = "strength of the strongest path"

Sets = Sequence[ResolvedSet]
"""A, B and, of ``through``, M."""


def check_paths(subject: Subject, rule: Rule, sets: Sets, clock: Clock) -> Finding:
    """Check a rule of kind ``no-path`` or ``through``.

    Raises
    ------
    TimeOut
    """
    via = sets[2].concepts if len(sets) > 2 else ()
    edges = counted_edges(subject, rule)
    sources, targets = sets[0].concepts, sets[1].concepts
    clock.check()
    counted = without(edges.counted, via)
    directed = DIRECTION in rule.evidence
    if directed:
        found = _directed(subject, rule, counted, sources, targets, clock)
        pairs = _connected_pairs(without(edges.possible, via), rule, sources, targets)
        refuted = [ends for ends, moves in (subject.directions or {}).items() if not moves]
        n_open, n_pairs = len(set(pairs) - set(refuted)), len(pairs)
    else:
        found, n_open, n_pairs = _strongest(counted, rule, sources, targets), 0, 0
    strongest = found[0].strength if found else 0.0
    paths = _strong_enough(found, rule)
    figures = [Figure("strongest_path", strongest, "strength of the strongest path that counts")]
    figures += _reach(counted, rule, sets)
    if directed:
        figures += [
            Figure("pairs_connected", n_pairs, "pairs (a, b) that paths connect", "count"),
            Figure("pairs_untested", n_open, "of these, pairs no intervention tested", "count"),
        ]
    if rule.kind == "through":
        figures.append(_paths_through(edges.counted, rule, sources, targets, strongest))
    clock.check()
    if paths:
        return Finding(
            "violated",
            _broken(rule, subject, paths[0], sets),
            figures=tuple(figures),
            witnesses=tuple(path_witness(subject, path, rule) for path in paths[:MOST_WITNESSES]),
            measure=MEASURE,
            observed=strongest,
        )
    reason = ""
    if n_open:
        what = "" if subject.directions is None else f"{n_open} of {n_pairs} "
        reason = (
            f"evidence is missing: {what}connected pairs of concepts were not tested by an "
            "intervention at these layers, so no direction is known."
        )
        if subject.directions is None:
            reason += " Run `cgraph evaluate STUDY --only direction`."
    elif not directed:
        possible = _strongest(without(edges.possible, via), rule, sources, targets)
        open_paths = _strong_enough(possible, rule)
        if open_paths:
            ids = " → ".join(subject.shown(c).id for c in open_paths[0].concepts)
            reason = f"evidence is missing: {ids} runs through edges that were not measured."
            if edges.lacks_evidence:
                reason += " Run `cgraph evaluate STUDY --only evidence`."
    if reason:
        return Finding(
            "inconclusive",
            f"No path is known to break the rule, and not all could be judged: {reason}",
            reason,
            tuple(figures),
            measure=MEASURE,
            observed=strongest,
        )
    return Finding(
        "holds", _kept(rule, edges.counted, sets), figures=tuple(figures), measure=MEASURE,
        observed=strongest,
    )  # fmt: skip


def paths_in_draws(
    subject: Subject, rule: Rule, draws: Draws, clock: Clock
) -> tuple[np.ndarray, np.ndarray]:
    """Return which random sets break a rule about paths, and the strength of their best path."""
    graph = counted_edges(subject, rule).counted
    if DIRECTION in rule.evidence:
        return _directed_draws(subject, rule, graph, draws, clock)
    best = np.zeros(draws.n)
    for part in draws.parts():
        clock.check()
        blocked = draws.marks(graph, 2, part) if draws.n_sets > 2 else None
        arriving = arrivals(graph, draws.marks(graph, 0, part), rule.max_length, blocked)
        for layer, targets in draws.marks(graph, 1, part).items():
            if layer in arriving:
                best[part] = np.maximum(
                    best[part], np.where(targets, arriving[layer], 0).max(axis=0, initial=0)
                )
    return (best > 0) & (best >= rule.min_strength), best


def _strongest(
    graph: ConceptGraph,
    rule: Rule,
    sources: Sequence[ConceptId],
    targets: Sequence[ConceptId],
) -> list[GraphPath]:
    """Return the strongest paths of edges that count, strongest first, however weak."""
    found: list[GraphPath] = []
    windows: list[tuple[list[ConceptId], list[ConceptId]]] = []
    if rule.max_length is None:
        windows.append((list(sources), list(targets)))
    else:
        for layer in sorted({target.layer for target in targets}):
            near = [c for c in sources if layer - rule.max_length <= c.layer < layer]
            if near:
                windows.append((near, [c for c in targets if c.layer == layer]))
    for some, others in windows:
        found += strongest_paths(graph, some, others, n=2 * MOST_WITNESSES, sign="both").paths
    return sorted(found, key=lambda path: (-path.strength, path.concepts))


def _strong_enough(paths: list[GraphPath], rule: Rule) -> list[GraphPath]:
    return [path for path in paths if path.strength >= rule.min_strength]


def _reach(graph: ConceptGraph, rule: Rule, sets: Sets) -> list[Figure]:
    """Say how many pairs of A and B paths connect."""
    marks = _marks(graph, [(concept,) for concept in sets[0].concepts])
    arriving = arrivals(graph, marks, rule.max_length)
    connected = [
        arriving[c.layer][c.index] if c.layer in arriving else np.zeros(len(sets[0].concepts))
        for c in sets[1].concepts
    ]
    counts = (np.array(connected) > 0) & (np.array(connected) >= rule.min_strength)
    return [
        Figure("n_from", len(sets[0].concepts), "concepts in from", "count"),
        Figure("n_to", len(sets[1].concepts), "concepts in to", "count"),
        Figure(
            "connected_share", float(counts.mean()), "pairs of from and to with such a path",
            "share",
        ),
    ]  # fmt: skip


def _paths_through(
    graph: ConceptGraph,
    rule: Rule,
    sources: Sequence[ConceptId],
    targets: Sequence[ConceptId],
    around: float,
) -> Figure:
    any_way = _strongest(graph, rule, sources, targets)
    strongest = any_way[0].strength if any_way else 0.0
    return Figure(
        "strongest_any", max(strongest, around), "strength of the strongest path, past via or not"
    )


def _marks(graph: ConceptGraph, groups: Sequence[Sequence[ConceptId]]) -> dict[int, np.ndarray]:
    """Return concepts as marks, a column for each group."""
    marks: dict[int, np.ndarray] = {}
    for column, group in enumerate(groups):
        for concept in group:
            layer = concept.layer
            if layer not in marks:
                marks[layer] = np.zeros((graph.n_concepts(layer), len(groups)), dtype=bool)
            marks[layer][concept.index, column] = True
    return marks


def _broken(rule: Rule, subject: Subject, path: GraphPath, sets: Sets) -> str:
    one, other = subject.shown(path.concepts[0]), subject.shown(path.concepts[-1])
    via = f" past {rule.via}" if rule.via else ""
    return (
        f"A path leads from {rule.source} to {rule.target}{via}: {one.called} reaches "
        f"{other.called} over {len(path.edges)} edge{'s' if len(path.edges) > 1 else ''}, "
        f"strength {path.strength:.3g}."
    )


def _kept(rule: Rule, graph: ConceptGraph, sets: Sets) -> str:
    limits = _limits(rule)
    if not rule.via:
        return f"No path{limits} leads from {rule.source} to {rule.target}."
    if not _strong_enough(_strongest(graph, rule, sets[0].concepts, sets[1].concepts), rule):
        return (
            f"No path{limits} leads from {rule.source} to {rule.target} at all, so none goes past "
            f"{rule.via}."
        )
    return f"Every path{limits} from {rule.source} to {rule.target} passes {rule.via}."


def _limits(rule: Rule) -> str:
    """Return in words which paths count."""
    parts = []
    if rule.max_length is not None:
        parts.append(f"of at most {rule.max_length} edges")
    if rule.min_weight:
        parts.append(f"of weights from {rule.min_weight:g} on")
    if rule.min_strength:
        parts.append(f"of a strength from {rule.min_strength:g} on")
    if rule.evidence:
        parts.append(f"with evidence ({', '.join(rule.evidence)})")
    return f" {', '.join(parts)}" if parts else ""


# ---- direction


def _directed(
    subject: Subject,
    rule: Rule,
    graph: ConceptGraph,
    sources: Sequence[ConceptId],
    targets: Sequence[ConceptId],
    clock: Clock,
) -> list[GraphPath]:
    """Return confirmed paths, strongest first, however weak."""
    directions = subject.directions or {}
    found: dict[tuple[ConceptId, ...], GraphPath] = {}
    to_lower: dict[ConceptId, list[_Way]] = {}
    from_upper: dict[ConceptId, list[_Way]] = {}
    for (lower, upper), moves in sorted(directions.items()):
        if not moves:
            continue
        clock.check()
        if lower not in to_lower:
            to_lower[lower] = _ways(graph, sources, [lower])
        if upper not in from_upper:
            from_upper[upper] = _ways(graph, [upper], targets)
        between = _ways(graph, [lower], [upper])
        for path in _joined(to_lower[lower], between, from_upper[upper]):
            length = path.concepts[-1].layer - path.concepts[0].layer
            if rule.max_length is None or length <= rule.max_length:
                found[path.concepts] = path
    return sorted(found.values(), key=lambda path: (-path.strength, path.concepts))


_Way = GraphPath | ConceptId
"""A path, or a single concept where both ends are the same."""


def _ways(
    graph: ConceptGraph, sources: Sequence[ConceptId], targets: Sequence[ConceptId]
) -> list[_Way]:
    """Return the strongest path for each pair of layers of its ends, and ends that are both."""
    found: list[_Way] = [*sorted(set(sources) & set(targets))]
    for first, last in itertools.product(
        sorted({c.layer for c in sources}), sorted({c.layer for c in targets})
    ):
        if first < last:
            some = [c for c in sources if c.layer == first]
            others = [c for c in targets if c.layer == last]
            found += strongest_paths(graph, some, others, n=1, sign="both").paths
    return found


def _joined(before: list[_Way], between: list[_Way], after: list[_Way]) -> list[GraphPath]:
    joined = []
    for parts in itertools.product(before, between, after):
        edges = [edge for part in parts if isinstance(part, GraphPath) for edge in part.edges]
        strength = float(np.prod([edge.share for edge in edges]))
        joined.append(GraphPath(tuple(edges), strength))
    return joined


def _connected_pairs(
    graph: ConceptGraph,
    rule: Rule,
    sources: Sequence[ConceptId],
    targets: Sequence[ConceptId],
) -> list[tuple[ConceptId, ConceptId]]:
    arriving = arrivals(graph, _marks(graph, [(c,) for c in sources]), rule.max_length)
    found = []
    for target in targets:
        if target.layer in arriving:
            strengths = arriving[target.layer][target.index]
            counts = (strengths > 0) & (strengths >= rule.min_strength)
            found += [(sources[place], target) for place in np.flatnonzero(counts).tolist()]
    return found


def _directed_draws(
    subject: Subject, rule: Rule, graph: ConceptGraph, draws: Draws, clock: Clock
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for random sets, all at once: strengths to c, from c to d, and from d."""
    segments = [ends for ends, moves in sorted((subject.directions or {}).items()) if moves]
    best = np.zeros(draws.n)
    for part in draws.parts():
        sources, targets = (draws.marks(graph, number, part) for number in (0, 1))
        blocked = draws.marks(graph, 2, part) if draws.n_sets > 2 else None
        n_columns = len(range(*part.indices(draws.n))) if blocked else 1
        arriving = {
            layer: arrivals(graph, {layer: marks}, None, blocked)
            for layer, marks in sources.items()
        }
        for lower, upper in segments:
            clock.check()
            between, onward = (
                arrivals(graph, _marks(graph, [(concept,)] * n_columns), None, blocked)
                for concept in (lower, upper)
            )
            strength = between[upper.layer][upper.index]
            for first, marks in sources.items():
                start = _at(lower, first, marks, arriving[first])
                for last, others in targets.items():
                    if rule.max_length is not None and last - first > rule.max_length:
                        continue
                    end = np.zeros(others.shape[1])
                    if last == upper.layer:
                        end = others[upper.index].astype(float)
                    elif last in onward:
                        end = np.where(others, onward[last], 0).max(axis=0)
                    best[part] = np.maximum(best[part], start * strength * end)
    return (best > 0) & (best >= rule.min_strength), best


def _at(
    concept: ConceptId, layer: int, marks: np.ndarray, arriving: dict[int, np.ndarray]
) -> np.ndarray:
    """Return the strength at which sources of one layer reach a concept; 1 where it is one."""
    if layer == concept.layer:
        return marks[concept.index].astype(float)
    if concept.layer in arriving:
        return arriving[concept.layer][concept.index]
    return np.zeros(marks.shape[1])
