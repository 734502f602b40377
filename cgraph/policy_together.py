"""The rule ``never-together``: in how many images A and B are both active.

It speaks of labels, as the network gave them to the images of the study; the graph takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cgraph.concept_sets import ResolvedSet
from cgraph.policy_clock import Clock
from cgraph.policy_draws import Draws
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import Figure, Finding, Witness, WitnessImage

MEASURE = "share of images with both"
MOST_IMAGES = 8
_CONFIDENCE = 0.95


def check_together(
    subject: Subject, rule: Rule, sets: Sequence[ResolvedSet], clock: Clock
) -> Finding:
    """Check a rule of kind ``never-together``.

    Raises
    ------
    TimeOut
    """
    rows = subject.rows(rule.images)
    some, others = (subject.columns(one.concepts, rows) for one in sets)
    clock.check()
    has_a, has_b = some.any(axis=1), others.any(axis=1)
    both = has_a & has_b
    n, n_both = len(rows), int(both.sum())
    share = n_both / n if n else float("nan")
    expected = float(has_a.mean() * has_b.mean()) if n else float("nan")
    figures = (
        Figure("share_together", share, MEASURE, "share"),
        Figure("n_together", n_both, "images with both", "count"),
        Figure("n_images", n, "images looked at", "count"),
        Figure("expected", expected, "expected if they had nothing to do with each other", "share"),
        Figure("upper", upper_share(n_both, n), "upper 95 % bound of the share", "share"),
    )
    common: dict[str, Any] = {"figures": figures, "measure": MEASURE, "observed": share}
    for one, has in zip(sets, (has_a, has_b), strict=True):
        if not has.any():
            reason = f"{one.name} is active in none of the {n:,} images looked at."
            return Finding("inconclusive", f"Nothing can be said: {reason}", reason, **common)
    if share <= rule.at_most:
        seldom = "never" if not n_both else f"in {n_both:,} of them"
        return Finding(
            "holds",
            f"Of {n:,} images {rule.source} and {rule.target} are together {seldom} active "
            f"(by chance {expected * n:.1f}).",
            **common,
        )
    found = np.flatnonzero(both)
    counts = some[found].sum(axis=1) + others[found].sum(axis=1)
    best = found[np.argsort(-counts, kind="stable")[:MOST_IMAGES]]
    concepts = (*sets[0].concepts, *sets[1].concepts)
    labels = np.concatenate([some, others], axis=1)
    taking_part = np.flatnonzero(labels[best].any(axis=0))
    images = []
    for place in best.tolist():
        active = [subject.shown(concepts[k]).called for k in np.flatnonzero(labels[place])]
        images.append(
            WitnessImage(
                subject.image_ids[rows[place]],
                int(rows[place]),
                (float(some[place].sum()), float(others[place].sum())),
                f"active: {', '.join(active)}",
            )
        )
    witness = Witness(
        "together",
        f"{rule.source} and {rule.target} are both active in {n_both:,} of {n:,} images.",
        tuple(subject.shown(concepts[place]) for place in taking_part),
        columns=(f"concepts of {rule.source}", f"concepts of {rule.target}"),
        images=tuple(images),
    )
    return Finding(
        "violated",
        f"In {n_both:,} of {n:,} images ({share:.1%}) {rule.source} and {rule.target} are both "
        f"active; {rule.at_most:.1%} are allowed.",
        witnesses=(witness,),
        **common,
    )


def together_in_draws(
    subject: Subject, rule: Rule, draws: Draws, clock: Clock
) -> tuple[np.ndarray, np.ndarray]:
    """Return which random sets break the rule, and in what share of images they are together."""
    rows = subject.rows(rule.images)
    shares = np.zeros(draws.n)
    active = [np.zeros((draws.n, len(rows)), dtype=bool) for _ in draws.members]
    for has, members in zip(active, draws.members, strict=True):
        for layer, indices in members.items():
            clock.check()
            labels = subject.labels(layer, rows)
            for draw in range(draws.n):
                has[draw] |= labels[:, indices[draw]].any(axis=1)
    shares = (active[0] & active[1]).mean(axis=1)
    return shares > rule.at_most, shares


def upper_share(count: int, n: int, confidence: float = _CONFIDENCE) -> float:
    """Return the one-sided upper bound of a share (Clopper and Pearson 1934).

    With a count of 0 about 3/n.
    """
    from scipy.stats import beta

    if not n:
        return float("nan")
    return 1.0 if count == n else float(beta.ppf(confidence, count + 1, n - count))


def lower_share(count: int, n: int, confidence: float = _CONFIDENCE) -> float:
    """Return the one-sided lower bound of a share."""
    from scipy.stats import beta

    if not n:
        return float("nan")
    return 0.0 if not count else float(beta.ppf(1 - confidence, count, n - count + 1))
