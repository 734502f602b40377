"""The rule ``influence`` in the real network: concepts taken out, the blocks after them run.

Concepts of A are taken out of (or, with ``each``, also put into) the tokens of the layers they lie
in (`cgraph.intervention`), and what the network then says of B is read from the tokens of later
layers: whether the label of a concept is another, and how far its pre-activation moved. Of an
output it is read from the whole model: whether it is on, and how far the probability or likeness
moved. *Change* is the share of images with another label, a probability like that of the graph.

Where not every image is run the share is that of a seeded sample, and the rule is judged by its
bounds at 95 %, over all of B (Clopper and Pearson 1934, Bonferroni 1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgraph import intervention
from cgraph.concept_sets import ResolvedSet
from cgraph.edits import Edit
from cgraph.errors import ConfigError
from cgraph.output_tables import CLASS_SOURCE, TOP_CLASS
from cgraph.output_values import whole_model
from cgraph.policy_clock import Clock
from cgraph.policy_draws import Draws
from cgraph.policy_edits import switched_off
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Reach, Subject
from cgraph.policy_together import lower_share, upper_share
from cgraph.policy_verdicts import Figure, Finding, Witness, WitnessImage
from cgraph.study import Study
from cgraph.workbench import Source

MEASURE = "largest share of images with another label"
MOST_IMAGES = 6
STILL_THERE = 0.1
"""Share of A that may be there after all before a reader is told."""

DRAWS = 8
"""Most random sets that are tried."""

_IN_DRAWS = 64  # images on which each of them is
_BATCH = 32


@dataclass(frozen=True)
class Measured:
    """What the network said of B before and after.

    Attributes
    ----------
    rows : ndarray of int, shape (n_images,)
    on, still : ndarray of bool, shape (n_images, n_targets)
        Labels before and after.
    before, after : ndarray of float, shape (n_images, n_targets)
        Pre-activations of concepts, probabilities or likeness of outputs.
    n_active, n_left : int
        Concepts of A that were active before and after, over all images.
    flipped : str
        Id of the one concept that was flipped; empty for all of A.
    """

    rows: np.ndarray
    on: np.ndarray
    still: np.ndarray
    before: np.ndarray
    after: np.ndarray
    n_active: int = 0
    n_left: int = 0
    flipped: str = ""

    @property
    def counts(self) -> np.ndarray:
        """Images with another label, of each target."""
        return np.asarray((self.on != self.still).sum(axis=0))


def check_in_network(
    subject: Subject,
    rule: Rule,
    sets: Sequence[ResolvedSet],
    clock: Clock,
    seed: int,
    images: str | None = None,
) -> Finding:
    """Check a rule of kind ``influence`` in the network.

    Raises
    ------
    TimeOut
    ConfigError, ImageError, ModelError
        If pictures or model cannot be had.
    """
    reach = subject.reach(sets[0].concepts, sets[1].concepts)
    source = _source(subject, images)
    rows = subject.rows(rule.images)
    labels = subject.columns(reach.sources, rows)
    touched = rows[labels.any(axis=1)] if rule.flip == "out" else rows
    if not len(touched):
        reason = f"{rule.source} is active in none of the {len(rows):,} images looked at."
        return Finding("inconclusive", f"Nothing can be said: {reason}", reason)
    rng = np.random.default_rng((seed, len(touched)))
    some = np.sort(rng.permutation(touched)[: rule.max_images])
    found = _measured(subject, rule, reach, source, some, clock)
    n_compared = len(found) * len(reach.targets)
    shown = max(found, key=lambda one: int(one.counts.max()))
    target = int(shown.counts.argmax())
    n, count = len(some), int(shown.counts[target])
    share = count / n
    whole = n == len(touched)
    confidence = 1 - 0.05 / max(1, n_compared)
    low, high = (
        (share, share)
        if whole
        else (lower_share(count, n, confidence), upper_share(count, n, confidence))
    )
    concept = subject.shown(reach.targets[target])
    scale = shown.before[:, target].std() or 1.0
    moved = (shown.after - shown.before)[:, target]
    figures = (
        Figure("network_change", share, f"{MEASURE} in the network"),
        Figure("network_change_low", low, "lower bound for all images"),
        Figure("network_change_high", high, "upper bound for all images"),
        Figure("network_move", float(moved.mean()), f"mean move of {_number(concept.kind)}"),
        Figure(
            "network_move_sd", float(np.abs(moved).mean() / scale),
            f"mean size of that move, in standard deviations of {_number(concept.kind)}",
        ),
        Figure("n_run", n, "images run through the network", "count"),
        Figure("a_before", shown.n_active / n, "concepts of A active in an image, before"),
        Figure("a_after", shown.n_left / n, "the same after they were taken out or flipped"),
    )  # fmt: skip
    of = f"all {n:,}" if whole else f"{n:,} of {len(touched):,}"
    how = "is taken out" if rule.flip == "out" else "is flipped, one concept at a time,"
    sentence = (
        f"In the network the label of {concept.called} becomes another in {share:.1%} of the "
        f"images when {rule.source} {how} ({rule.at_most:.1%} is allowed; {of} images run)."
    )
    cautions = []
    if rule.flip == "out" and shown.n_left > STILL_THERE * shown.n_active:
        cautions.append(
            f"Not all of {rule.source} could be taken out: of {shown.n_active / n:.1f} concepts of "
            f"it that are active in an image {shown.n_left / n:.1f} still were, or others were in "
            "their place. Codes depend on the whole token."
        )
    common: dict[str, Any] = {
        "figures": figures,
        "measure": MEASURE,
        "observed": share,
        "cautions": tuple(cautions),
    }
    if low > rule.at_most:
        witness = _witness(subject, rule, reach, shown, target)
        return Finding("violated", sentence, witnesses=(witness,), **common)
    if high <= rule.at_most:
        return Finding("holds", sentence, **common)
    reason = (
        f"{n:,} images are too few: the share in all {len(touched):,} lies between {low:.1%} and "
        f"{high:.1%}. Raise max_images."
    )
    return Finding("inconclusive", sentence, reason, **common)


def network_in_draws(
    subject: Subject,
    rule: Rule,
    draws: Draws,
    clock: Clock,
    seed: int,
    images: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which random sets break the rule in the network, and their largest share of images.

    Each on a sample of its own images; judged by the share alone.
    """
    source = _source(subject, images)
    rows = subject.rows(rule.images)
    shares = np.zeros(draws.n)
    for draw in range(draws.n):
        clock.check()
        sources, targets = draws.sets_of(draw)
        reach = subject.reach(sources, targets)
        touched = rows
        if rule.flip == "out":
            touched = rows[subject.columns(reach.sources, rows).any(axis=1)]
        rng = np.random.default_rng((seed, draw))
        some = np.sort(rng.permutation(touched)[: min(_IN_DRAWS, rule.max_images)])
        if len(some):
            found = _measured(subject, rule, reach, source, some, clock)
            shares[draw] = max(one.counts.max() for one in found) / len(some)
    return shares > rule.at_most, shares


def _source(subject: Subject, images: str | None) -> Source:
    return Source(_study(subject).path, images)


def _study(subject: Subject) -> Study:
    # Not that of a `Source`, which is kept for as long as the process lives: outputs may have come
    # to the folder since.
    if subject.study is None:
        raise ConfigError("There is no network behind these labels. Check a study.")
    return subject.study


def _measured(
    subject: Subject, rule: Rule, reach: Reach, source: Source, rows: np.ndarray, clock: Clock
) -> list[Measured]:
    if rule.flip == "out":
        edit = switched_off(reach.sources)
        return [_run(subject, reach, source, rows, [edit] * len(rows), clock)]
    labels = subject.columns(reach.sources, rows)
    found = []
    for place, concept in enumerate(reach.sources):
        on, off = Edit(on=(concept,)), Edit(off=(concept,))
        edits = [off if active else on for active in labels[:, place]]
        found.append(_run(subject, reach, source, rows, edits, clock, str(concept)))
    return found


def _run(
    subject: Subject,
    reach: Reach,
    source: Source,
    rows: np.ndarray,
    edits: Sequence[Edit],
    clock: Clock,
    flipped: str = "",
) -> Measured:
    """Run images as they are and edited, a batch at a time."""
    study, model = _study(subject), source.model
    parts: list[tuple[np.ndarray, ...]] = []
    n_active = n_left = 0
    for first in range(0, len(rows), _BATCH):
        clock.check()
        some = slice(first, first + _BATCH)
        pixels = source.pixels(rows[some])
        plain = intervention.run(study, model, pixels)
        edited = intervention.run(study, model, pixels, list(edits[some]))
        n_active += _n_active(plain, reach)
        n_left += _n_active(edited, reach)
        columns = []
        outputs = _outputs(subject, reach, source, pixels, edited.added)
        for concept in reach.targets:
            if subject.is_output(concept):
                columns.append(outputs[concept.index])
                continue
            place, index = concept.layer - 1, concept.index
            dictionary = study.dictionary(concept.layer)
            labels = [run.codes[place].dense_labels()[:, index] for run in (plain, edited)]
            values = [
                dictionary.pre_activations(run.tokens[place])[:, index] for run in (plain, edited)
            ]
            columns.append((*labels, *values))
        parts.append(tuple(np.stack(kind, axis=1) for kind in zip(*columns, strict=True)))
    on, still, before, after = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Measured(rows, on, still, before, after, n_active, n_left, flipped)


def _n_active(run: intervention.NetworkRun, reach: Reach) -> int:
    """Return how many concepts of A are active, over the images of a run."""
    return sum(
        int(run.codes[concept.layer - 1].counts()[concept.index]) for concept in reach.sources
    )


def _outputs(
    subject: Subject,
    reach: Reach,
    source: Source,
    pixels: np.ndarray,
    added: dict[int, np.ndarray],
) -> dict[int, tuple[np.ndarray, ...]]:
    """Return labels before and after, and values before and after, of outputs by index."""
    wanted = sorted({c.index for c in reach.targets if subject.is_output(c)})
    known = _study(subject).outputs
    if not wanted or known is None:
        return {}
    nodes = [known.nodes[index] for index in wanted]
    model = whole_model(source)
    texts = tuple(node.text for node in nodes if node.source != CLASS_SOURCE)
    scores = [model.scores(pixels, what, texts) for what in ({}, added)]
    found = {}
    for index, node in zip(wanted, nodes, strict=True):
        column = node.class_index if node.source == CLASS_SOURCE else texts.index(node.text)
        values = [score[:, column] for score in scores]
        if node.rule == TOP_CLASS:
            labels = [score.argmax(axis=1) == column for score in scores]
        else:
            labels = [value >= node.threshold for value in values]
        found[index] = (*labels, *values)
    return found


def _number(kind: str) -> str:
    return "the output's value" if kind == "output" else "the pre-activation"


def _witness(subject: Subject, rule: Rule, reach: Reach, found: Measured, target: int) -> Witness:
    changed = found.on[:, target] != found.still[:, target]
    moves = np.where(changed, np.abs(found.after - found.before)[:, target], -1.0)
    best = np.argsort(-moves, kind="stable")[: min(MOST_IMAGES, int(changed.sum()))]
    concept = subject.shown(reach.targets[target])
    labels = subject.columns(reach.sources, found.rows[best])
    taken = [
        subject.shown(one)
        for place, one in enumerate(reach.sources)
        if (str(one) == found.flipped if found.flipped else labels[:, place].any())
    ]
    images = []
    for place in best.tolist():
        one, other = float(found.before[place, target]), float(found.after[place, target])
        words = [("off", "on")[bool(on[place, target])] for on in (found.on, found.still)]
        images.append(
            WitnessImage(
                subject.image_ids[found.rows[place]],
                int(found.rows[place]),
                (one, other, other - one),
                f"{concept.called}: {words[0]} → {words[1]} ({one:.3g} → {other:.3g})",
            )
        )
    what = f"{found.flipped} is flipped" if found.flipped else f"all of {rule.source} is taken out"
    return Witness(
        "change",
        f"In the network the label of {concept.called} becomes another in {int(changed.sum()):,} "
        f"of {len(changed):,} images when {what}.",
        (*taken, concept),
        off=tuple(one.id for one in taken),
        columns=("before", "after", "change"),
        images=tuple(images),
    )
