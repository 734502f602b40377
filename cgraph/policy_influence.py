"""The rule ``influence`` in the graph: how far B's probability moves when A is flipped.

Labels of A's first layer are given as the images have them, and rolled out twice by the study's
usual rule, as they are and flipped. ``out``: all concepts of A are switched off, wherever they lie,
in the images in which one of them is active. ``each``: one concept of A is switched to its other
label, in every image, and the one that does most counts. The change of an image is |p after − p
before| of a concept of B, and again the one that moves most, on the mean over images, counts.

*Bounds*: where A lies in one layer, intervals (`cgraph.bounds`) say how far p could move whatever
the labels of A are; no setting of A, and so neither ``out`` nor ``each``, goes beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.bounds import label_bounds, probability_bounds
from cgraph.bounds_layers import bound_layer
from cgraph.concept import ConceptId
from cgraph.concept_sets import ResolvedSet
from cgraph.edits import Edit
from cgraph.graph_paths import strongest_paths
from cgraph.policy_clock import Clock
from cgraph.policy_draws import Draws
from cgraph.policy_edits import switched_off
from cgraph.policy_images import path_witness
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Reach, Rolled, Subject
from cgraph.policy_verdicts import Figure, Finding, Witness, WitnessImage
from cgraph.rollout import Rollout, rollout

MEASURE = "largest mean change of probability"
MOST_IMAGES = 6
DRAWS = 100
"""Most random sets that are tried."""

_IN_DRAWS = 128  # images on which random sets are tried
_AT_ONCE = 512  # images rolled out between looks at the clock


@dataclass(frozen=True)
class Change:
    """Probabilities of B before and after A was flipped.

    Attributes
    ----------
    rows : ndarray of int, shape (n_images,)
        Images in which something was flipped.
    before, after : ndarray of float, shape (n_images, n_targets)
    flipped : ConceptId or None
        The one concept that was; None for all of A.
    """

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray
    flipped: ConceptId | None = None

    @property
    def moves(self) -> np.ndarray:
        """|p after − p before|, shape ``(n_images, n_targets)``."""
        return np.abs(self.after - self.before)

    @property
    def means(self) -> np.ndarray:
        """Mean move of each target; 0 where nothing was flipped."""
        if not len(self.rows):
            return np.zeros(self.moves.shape[1])
        return np.asarray(self.moves.mean(axis=0))


def check_influence(
    subject: Subject, rule: Rule, sets: Sequence[ResolvedSet], clock: Clock
) -> Finding:
    """Check a rule of kind ``influence`` in the graph.

    Raises
    ------
    TimeOut
    ConfigError, StudyError
        If labels cannot be rolled out in this study.
    """
    reach = subject.reach(sets[0].concepts, sets[1].concepts)
    rolled = _rolled(subject, reach)
    fitted = [c for c in reach.targets if rolled.graph.column(c.layer, "fitted")[c.index]]
    if not fitted:
        reason = f"no concept of {rule.target} after {rule.source} has a predictor in the graph."
        return Finding("inconclusive", f"Nothing can be said: {reason}", reason)
    rows = subject.rows(rule.images)
    found = _changes(subject, rule, reach, rolled, rows, clock)
    change = max(found, key=lambda one: float(one.means.max(initial=0.0)))
    if not len(change.rows):
        reason = f"{rule.source} is active in none of the {len(rows):,} images looked at."
        return Finding("inconclusive", f"Nothing can be said: {reason}", reason)
    target = int(change.means.argmax())
    mean = float(change.means[target])
    worst = max(float(one.moves.max(initial=0.0)) for one in found)
    figures = [
        Figure("mean_change", mean, MEASURE),
        Figure(
            "mean_signed_change",
            float((change.after - change.before)[:, target].mean()),
            "the same with its sign",
        ),
        Figure("worst_change", worst, "largest change in any image"),
        Figure("n_images", len(change.rows), "images in which A was flipped", "count"),
        *_bounds(subject, reach, rolled, rows, clock),
    ]
    concept = subject.shown(reach.targets[target])
    too_much = mean > rule.at_most
    too_far = rule.worst_at_most is not None and worst > rule.worst_at_most
    how = "is taken out" if change.flipped is None else "is flipped, one concept at a time,"
    sentence = (
        f"In the graph the probability of {concept.called} moves by {mean:.3f} on average when "
        f"{rule.source} {how} ({rule.at_most:g} is allowed), and by at most {worst:.3f} in any of "
        f"{len(change.rows):,} images"
    )
    limit = "" if rule.worst_at_most is None else f" ({rule.worst_at_most:g} is allowed)"
    witnesses: tuple[Witness, ...] = ()
    if too_much or too_far:
        if not too_much:
            change = max(found, key=lambda one: float(one.moves.max(initial=0.0)))
            target = int(change.moves.max(axis=0).argmax())
        witnesses = (
            _witness(subject, rule, reach, change, target),
            *_paths(subject, rule, reach, change, target),
        )
    return Finding(
        "violated" if witnesses else "holds",
        f"{sentence}{limit}.",
        figures=tuple(figures),
        witnesses=witnesses,
        measure=MEASURE,
        observed=mean,
    )


def influence_in_draws(
    subject: Subject, rule: Rule, draws: Draws, clock: Clock
) -> tuple[np.ndarray, np.ndarray]:
    """Return which random sets break the rule in the graph, and their largest mean change.

    On a sample of the images; the same for all draws.
    """
    rows = subject.rows(rule.images)
    rng = np.random.default_rng((len(rows), _IN_DRAWS))
    some = np.sort(rng.permutation(rows)[:_IN_DRAWS])
    means, worst = np.zeros(draws.n), np.zeros(draws.n)
    for draw in range(draws.n):
        clock.check()
        sources, targets = draws.sets_of(draw)
        reach = subject.reach(sources, targets)
        rolled = _rolled(subject, reach)
        found = _changes(subject, rule, reach, rolled, some, clock)
        means[draw] = max(float(one.means.max(initial=0.0)) for one in found)
        worst[draw] = max(float(one.moves.max(initial=0.0)) for one in found)
    broken = means > rule.at_most
    if rule.worst_at_most is not None:
        broken |= worst > rule.worst_at_most
    return broken, means


def _rolled(subject: Subject, reach: Reach) -> Rolled:
    return subject.rolled(reach.start, any(map(subject.is_output, reach.targets)))


def _changes(
    subject: Subject, rule: Rule, reach: Reach, rolled: Rolled, rows: np.ndarray, clock: Clock
) -> list[Change]:
    """Return what flipping does: of all of A at once, or of each of its concepts."""
    labels = subject.columns(reach.sources, rows)
    if rule.flip == "out":
        touched = rows[labels.any(axis=1)]
        edit = switched_off(reach.sources)
        return [_change(subject, reach, rolled, touched, [edit] * len(touched), None, clock)]
    found = []
    for place, concept in enumerate(reach.sources):
        on, off = Edit(on=(concept,)), Edit(off=(concept,))
        edits = [off if active else on for active in labels[:, place]]
        found.append(_change(subject, reach, rolled, rows, edits, concept, clock))
    return found


def _change(
    subject: Subject,
    reach: Reach,
    rolled: Rolled,
    rows: np.ndarray,
    edits: Sequence[Edit],
    flipped: ConceptId | None,
    clock: Clock,
) -> Change:
    parts: list[list[np.ndarray]] = [[], []]
    for first in range(0, len(rows), _AT_ONCE):
        clock.check()
        part = slice(first, first + _AT_ONCE)
        labels = subject.labels(reach.start, rows[part])
        for found, some in zip(parts, ((), edits[part]), strict=True):
            found.append(_probabilities(_roll(rolled, reach, labels, some, rows[part]), reach))
    nothing = np.zeros((0, len(reach.targets)))
    before, after = (np.concatenate([nothing, *found]) for found in parts)
    return Change(rows, before, after, flipped)


def _roll(
    rolled: Rolled, reach: Reach, labels: np.ndarray, edits: Sequence[Edit], rows: np.ndarray
) -> Rollout:
    return rollout(
        rolled.graph, labels, reach.start, rolled.settings, edits, keys=rows.tolist(),
        inputs=rolled.inputs,
    )  # fmt: skip


def _probabilities(found: Rollout, reach: Reach) -> np.ndarray:
    columns = [found.of_layer(c.layer)[1][:, c.index] for c in reach.targets]
    return np.stack(columns, axis=1).astype(float)


def _bounds(
    subject: Subject, reach: Reach, rolled: Rolled, rows: np.ndarray, clock: Clock
) -> list[Figure]:
    """Say how far p could move whatever A's labels are; nothing where A lies in several layers."""
    if {concept.layer for concept in reach.sources} != {reach.start}:
        return []
    if rolled.settings.rule not in ("max", "refitted"):
        return []
    labels = subject.labels(reach.start, rows)
    before = _probabilities(_roll(rolled, reach, labels, (), rows), reach)
    fixed = labels.astype(np.int8)
    fixed[:, [concept.index for concept in reach.sources]] = -1
    moves = np.zeros(before.shape)
    for place, concept in enumerate(reach.targets):
        clock.check()
        low, high = _between(rolled, reach.start, fixed, concept)
        moves[:, place] = np.maximum(high - before[:, place], before[:, place] - low)
    moves = np.maximum(moves, 0.0)
    return [
        Figure(
            "bound_mean", float(moves.mean(axis=0).max()),
            "bound of the mean change, whatever the labels of A",
        ),
        Figure(
            "bound_worst", float(moves.max()),
            "bound of the change in any image, whatever the labels of A",
        ),
    ]  # fmt: skip


def _between(
    rolled: Rolled, start: int, fixed: np.ndarray, concept: ConceptId
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of p of one concept, a pair for each image."""
    graph, inputs, kind = rolled.graph, rolled.inputs, rolled.settings.probability
    if rolled.settings.rule == "refitted":
        found = probability_bounds(graph, start, fixed, until=concept.layer, inputs=inputs)
        low, high = found.between(concept.layer)
    else:
        before = fixed
        if concept.layer > start + 1:
            until = concept.layer - 1
            before = label_bounds(graph, start, fixed, until=until, inputs=inputs).of_layer(until)
        layer = bound_layer(graph, concept.layer, kind, inputs)
        low, high = layer.probabilities_between(*layer.score_bounds(before == 1, before != 0))
    return low[:, concept.index], high[:, concept.index]


def _witness(subject: Subject, rule: Rule, reach: Reach, change: Change, target: int) -> Witness:
    moves = change.moves[:, target]
    best = np.argsort(-moves, kind="stable")[:MOST_IMAGES]
    labels = subject.columns(reach.sources, change.rows[best])
    taken = [change.flipped] if change.flipped else [
        concept for place, concept in enumerate(reach.sources) if labels[:, place].any()
    ]  # fmt: skip
    concept = subject.shown(reach.targets[target])
    images = []
    for place in best.tolist():
        one, other = change.before[place, target], change.after[place, target]
        images.append(
            WitnessImage(
                subject.image_ids[change.rows[place]],
                int(change.rows[place]),
                (float(one), float(other), float(other - one)),
                f"{concept.called}: p {one:.2f} → {other:.2f}",
            )
        )
    what = f"all of {rule.source} is taken out"
    if change.flipped is not None:
        what = f"{subject.shown(change.flipped).called} is flipped"
    return Witness(
        "change",
        f"In the graph the probability of {concept.called} moves by {moves.mean():.3f} on average "
        f"over {len(moves):,} images when {what}.",
        (*map(subject.shown, taken), concept),
        off=tuple(subject.shown(c).id for c in taken),
        columns=("p before", "p after", "change"),
        images=tuple(images),
    )


def _paths(
    subject: Subject, rule: Rule, reach: Reach, change: Change, target: int
) -> list[Witness]:
    """Return the strongest path along which it moves."""
    concept = reach.targets[target]
    sources = [c for c in reach.sources if c.layer < concept.layer]
    if change.flipped is not None:
        sources = [change.flipped]
    found = strongest_paths(subject.graph, sources, [concept], n=1, sign="both")
    return [path_witness(subject, path, rule) for path in found.paths]
