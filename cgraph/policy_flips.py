"""The rule ``flips``: whether flipping at most k labels of A at one layer ever switches B.

It is asked of every image by itself, by the rule ``max`` of rollouts and the predictors of edges.
Bounds (`cgraph.bounds`) certify most images at once; where they leave a label undecided, flips are
searched for (`cgraph.flip_radius`), and where none are found a mixed-integer programme
(`cgraph.bounds_exact`) settles it, if the time allows. Concepts that no labels of the layer can
switch at all are counted apart: they keep the rule and show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgraph.bounds import label_bounds
from cgraph.bounds_exact import solve
from cgraph.bounds_question import UNDECIDED
from cgraph.concept import ConceptId
from cgraph.concept_sets import ResolvedSet
from cgraph.edits import PLAIN_RULE, Edit, RolloutSettings
from cgraph.flip_radius import FlipRadius, radius
from cgraph.policy_clock import Clock, TimeOut
from cgraph.policy_draws import Draws
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import Figure, Finding, Witness, WitnessImage
from cgraph.rollout import rollout

MEASURE = "share of images in which quick flips switch B"
MOST_WITNESSES = 6
DRAWS = 40
"""Most random sets that are tried."""

_AT_ONCE = 16  # images certified between looks at the clock
_ROLLOUTS = 2000  # of the search in one image
_IN_DRAWS = 24  # images on which random sets are tried
_LOOKED_AT = 48  # images searched once one is known to break the rule
_SECONDS = 10.0  # of one programme


@dataclass(frozen=True)
class _Switched:
    """Flips that switch a concept of B in one image."""

    row: int
    found: FlipRadius


def check_flips(
    subject: Subject, rule: Rule, sets: Sequence[ResolvedSet], clock: Clock, seed: int
) -> Finding:
    """Check a rule of kind ``flips``.

    Raises
    ------
    TimeOut
        Before anything was found out; after that the verdict says what was.
    """
    start = rule.layer or sets[0].layers[0]
    sources = sets[0].of_layer(start)
    targets = tuple(c for c in sets[1].concepts if c.layer > start)
    rows = subject.rows(rule.images)
    rng = np.random.default_rng((seed, len(rows)))
    rows = np.sort(rng.permutation(rows)[: rule.max_images])
    if not len(rows):
        reason = f"there are no {rule.images} images."
        return Finding("inconclusive", f"Nothing can be said: {reason}", reason)
    inputs = subject.passed_on
    mask = np.zeros(subject.graph.n_concepts(start), dtype=bool)
    mask[[concept.index for concept in sources]] = True
    open_pairs, constant = _undecided(subject, rule, start, mask, targets, rows, clock)
    if constant.all():
        reason = (
            f"no labels of layer {start} at all switch any of {rule.target} in the graph, so that "
            "nothing is shown by it."
        )
        return Finding("inconclusive", f"Nothing can be said: {reason}", reason)
    quick = _quick_shares(subject, start, sources, targets, rule.budget, rows[:_IN_DRAWS], clock)
    switched: list[_Switched] = []
    unsettled: list[int] = []
    timed_out = ""
    looked_at = 0
    try:
        for row, columns in open_pairs.items():
            if switched and looked_at >= _LOOKED_AT:
                break
            clock.check()
            looked_at += 1
            labels = subject.labels(start, np.array([row]))[0]
            found = _search(subject, rule, start, labels, mask, [targets[c] for c in columns],
                            clock, seed, inputs, exact=not switched)  # fmt: skip
            if isinstance(found, FlipRadius):
                switched.append(_Switched(row, found))
            elif not found:
                unsettled.append(row)
    except TimeOut as error:
        timed_out = str(error)
        unsettled += list(open_pairs)[looked_at:]
    n = len(rows)
    n_certified = n - len(open_pairs)
    share = len(switched) / looked_at if looked_at else 0.0
    figures = (
        Figure("n_images", n, "images looked at", "count"),
        Figure("n_certified", n_certified, "images certified by bounds alone", "count"),
        Figure("n_searched", looked_at, "images in which flips were searched for", "count"),
        Figure("n_switched", len(switched), "images in which flips switch B", "count"),
        Figure("n_unsettled", len(unsettled), "images left open", "count"),
        Figure("searched_share", share, "share of the searched images that flips switch", "share"),
        Figure("quick_share", quick, MEASURE, "share"),
        Figure("n_flippable", len(sources), f"concepts of A in layer {start}", "count"),
        Figure("n_constant", int(constant.sum()),
               "concepts of B that nothing can switch, never certified", "count"),
    )  # fmt: skip
    common: dict[str, Any] = {"figures": figures, "measure": MEASURE, "observed": quick}
    flips = f"{rule.budget} concept{'s' if rule.budget > 1 else ''}"
    if switched:
        best = sorted(switched, key=lambda one: (len(one.found.indices), one.row))
        least = best[0].found
        concept = subject.shown(least.concept)
        return Finding(
            "violated",
            f"Flipping {len(least.indices)} of {rule.source} in layer {start} switches "
            f"{concept.called} {'off' if least.before else 'on'} in image "
            f"{subject.image_ids[best[0].row]}; {len(switched):,} of {looked_at:,} images searched "
            f"can be switched with at most {flips}.",
            witnesses=tuple(_witness(subject, one) for one in best[:MOST_WITNESSES]),
            **common,
        )
    if unsettled:
        reason = (
            f"{len(unsettled):,} of {n:,} images could not be settled: no flips were found there, "
            "and that there are none could not be proven in time."
        )
        reason = f"{reason} {timed_out}".rstrip()
        return Finding(
            "inconclusive",
            f"No {flips} of {rule.source} are known to switch {rule.target}: {reason}",
            reason,
            **common,
        )
    return Finding(
        "holds",
        f"Whichever {flips} of {rule.source} flip in layer {start}, {rule.target} stays as it is "
        f"in all {n:,} images.",
        **common,
    )


def flips_in_draws(
    subject: Subject, rule: Rule, draws: Draws, clock: Clock, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which random sets quick flips break, and the share of images in which they do.

    A lower bound: flips that take a long search are not found. The rule's own sets are compared by
    the same quick flips.
    """
    rows = subject.rows(rule.images)
    rng = np.random.default_rng((seed, len(rows)))
    rows = np.sort(rng.permutation(rows)[: rule.max_images])[:_IN_DRAWS]
    shares = np.zeros(draws.n)
    for draw in range(draws.n):
        clock.check()
        sources, targets = draws.sets_of(draw)
        start = rule.layer or sources[0].layer
        shares[draw] = _quick_shares(
            subject, start, [c for c in sources if c.layer == start],
            [c for c in targets if c.layer > start], rule.budget, rows, clock,
        )  # fmt: skip
    return shares > 0, shares


def _undecided(
    subject: Subject,
    rule: Rule,
    start: int,
    mask: np.ndarray,
    targets: Sequence[ConceptId],
    rows: np.ndarray,
    clock: Clock,
) -> tuple[dict[int, list[int]], np.ndarray]:
    """Return by image which targets bounds leave open, and which targets are constant."""
    found: dict[int, list[int]] = {}
    constant = np.zeros(len(targets), dtype=bool)
    until = max(concept.layer for concept in targets)
    for first in range(0, len(rows), _AT_ONCE):
        clock.check()
        part = rows[first : first + _AT_ONCE]
        bounds = label_bounds(
            subject.graph, start, subject.labels(start, part).astype(np.int8), budget=rule.budget,
            flippable=mask, until=until, inputs=subject.passed_on,
        )  # fmt: skip
        for column, concept in enumerate(targets):
            constant[column] = bounds.constant[concept.layer - start][concept.index]
            if constant[column]:
                continue
            undecided = bounds.of_layer(concept.layer)[:, concept.index] == UNDECIDED
            for row in part[undecided].tolist():
                found.setdefault(row, []).append(column)
    return dict(sorted(found.items())), constant


def _search(
    subject: Subject,
    rule: Rule,
    start: int,
    labels: np.ndarray,
    mask: np.ndarray,
    targets: Sequence[ConceptId],
    clock: Clock,
    seed: int,
    inputs: Sequence[np.ndarray] | None,
    *,
    exact: bool,
) -> FlipRadius | bool:
    """Return flips that switch one of some targets; else whether it is proven that none do."""
    proven = True
    for concept in targets:
        clock.check()
        found = radius(
            subject.graph, labels, start, concept, mask, most=rule.budget,
            most_rollouts=_ROLLOUTS, seed=seed, inputs=inputs,
        )  # fmt: skip
        if found.upper is not None and found.upper <= rule.budget:
            return found
        if found.lower is None or found.lower > rule.budget:
            continue
        if not exact:
            proven = False
            continue
        settled = solve(
            subject.graph, labels, start, concept, mask, budget=rule.budget,
            time_limit=min(_SECONDS, max(clock.left, 0.01)), most_rollouts=_ROLLOUTS, seed=seed,
            inputs=inputs,
        )  # fmt: skip
        if settled.upper is not None and settled.upper <= rule.budget:
            return settled
        proven &= settled.lower is None or settled.lower > rule.budget
    return proven


def _quick_shares(
    subject: Subject,
    start: int,
    sources: Sequence[ConceptId],
    targets: Sequence[ConceptId],
    budget: int,
    rows: np.ndarray,
    clock: Clock,
) -> float:
    """Return the share of images in which greedy flips, one after the other, switch a target."""
    settings = RolloutSettings(PLAIN_RULE)
    labels = subject.labels(start, rows)
    indices = np.array([concept.index for concept in sources])
    before = rollout(subject.graph, labels, start, settings, inputs=subject.passed_on)
    on = np.stack([before.of_layer(c.layer)[0][:, c.index] for c in targets], axis=1)
    thresholds = np.array([subject.graph.column(c.layer, "threshold")[c.index] for c in targets])
    broken = np.zeros(len(rows), dtype=bool)
    current = labels.copy()
    free = np.ones((len(rows), len(indices)), dtype=bool)
    for _ in range(min(budget, len(indices))):
        clock.check()
        left = np.flatnonzero(~broken)
        if not len(left):
            break
        tried = np.repeat(current[left], len(indices), axis=0)
        tried[np.arange(len(tried)), np.tile(indices, len(left))] ^= True
        after = rollout(subject.graph, tried, start, settings, inputs=subject.passed_on)
        shape = len(left), len(indices), len(targets)
        still, p = (
            np.stack([after.of_layer(c.layer)[kind][:, c.index] for c in targets], axis=1).reshape(
                shape
            )
            for kind in (0, 1)
        )
        gap = np.where(on[left][:, None], p - thresholds, thresholds - p)
        nearness = -np.nan_to_num(gap, nan=np.inf).min(axis=2)
        nearness[~free[left]] = -np.inf
        hit = ((still != on[left][:, None]).any(axis=2) & free[left]).any(axis=1)
        best = nearness.argmax(axis=1)
        broken[left[hit]] = True
        current[left, indices[best]] ^= True
        free[left, best] = False
    return float(broken.mean()) if len(rows) else float("nan")


def _witness(subject: Subject, one: _Switched) -> Witness:
    found = one.found
    concept = subject.shown(found.concept)
    labels = subject.labels(found.start, np.array([one.row]))[0]
    edit = found.flips or Edit()
    flipped = [ConceptId(found.start, index) for index in found.indices]
    words = [f"{subject.shown(c).called} {'off' if labels[c.index] else 'on'}" for c in flipped]
    image_id = subject.image_ids[one.row]
    text = (
        f"In image {image_id} {concept.called} goes {'off' if found.before else 'on'} when "
        f"{len(flipped)} flip{'s' if len(flipped) == 1 else ''}: {', '.join(words)}. At least "
        f"{found.lower} must."
    )
    return Witness(
        "flips",
        text,
        (*map(subject.shown, flipped), concept),
        on=tuple(map(str, edit.on)),
        off=tuple(map(str, edit.off)),
        columns=("flips", "least number that could do"),
        images=(
            WitnessImage(
                image_id, one.row, (float(len(flipped)), float(found.lower or 0)),
                f"{concept.called} goes {'off' if found.before else 'on'}",
            ),
        ),
    )  # fmt: skip
