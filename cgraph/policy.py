"""Policies checked on a study: every rule gets a verdict, whatever becomes of the others.

A rule is checked on what it speaks of (`cgraph.policy_paths` and so on). Around that stands what
makes its verdict mean something: the same rule on random sets, whether A foretells B at all where
it holds, limits of what may be unknown, and what the verdict speaks of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgraph import __version__
from cgraph.concept_sets import ResolvedSet, resolve
from cgraph.errors import CgraphError
from cgraph.policy_clock import Clock
from cgraph.policy_draws import draw_sets
from cgraph.policy_flips import DRAWS as flip_draws
from cgraph.policy_flips import check_flips, flips_in_draws
from cgraph.policy_influence import DRAWS as influence_draws
from cgraph.policy_influence import check_influence, influence_in_draws
from cgraph.policy_network import DRAWS as network_draws
from cgraph.policy_network import check_in_network, network_in_draws
from cgraph.policy_paths import check_paths, paths_in_draws
from cgraph.policy_prediction import predicts
from cgraph.policy_rules import Policy, Rule
from cgraph.policy_scope import distance, from_outside, scope_of
from cgraph.policy_subject import Subject, subject_of
from cgraph.policy_together import check_together, together_in_draws
from cgraph.policy_verdicts import (
    GRAPH,
    IMAGES,
    NETWORK,
    Baseline,
    Figure,
    Finding,
    Outcome,
    Report,
    Verdict,
)
from cgraph.progress import Progress

if TYPE_CHECKING:
    from cgraph.study import Study

_ROLES = ("from", "to", "via")


def check(
    study: Study | Subject,
    policy: Policy,
    *,
    images: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_verdict: Callable[[Verdict], None] | None = None,
) -> Report:
    """Check every rule of a policy.

    Parameters
    ----------
    study : Study or Subject
    policy : Policy
    images : str, optional
        Where the study's images lie now, for rules about the network.
    on_progress : callable, optional
        Called with a `Progress` before each rule and after the last.
    on_verdict : callable, optional
        Called with each verdict as soon as it is there: what is finished when somebody stops.

    Returns
    -------
    Report
        A rule that fails or takes too long is inconclusive, with the reason; the others stay.

    Raises
    ------
    PolicyError
        If sets or rules mean nothing in this study; as `cgraph.concept_sets.resolve`.
    """
    subject = study if isinstance(study, Subject) else subject_of(study)
    sets = resolve(subject, policy)
    verdicts: list[Verdict] = []
    began = time.monotonic()

    def tell(stage: str) -> None:
        if on_progress is None:
            return
        done, total, spent = len(verdicts), len(policy.rules), time.monotonic() - began
        left = spent / done * (total - done) if done else None
        on_progress(Progress(stage, min(done + 1, total), total, done, total, spent, left))

    for rule in policy.rules:
        tell(rule.id)
        verdict = check_rule(subject, policy, rule, sets, images=images)
        verdicts.append(verdict)
        if on_verdict is not None:
            on_verdict(verdict)
    tell("done")
    return report_of(subject, policy, verdicts)


def report_of(subject: Subject, policy: Policy, verdicts: Sequence[Verdict]) -> Report:
    """Return a report of verdicts; rules that have none were stopped."""
    done = {verdict.rule.id for verdict in verdicts}
    reason = "it was stopped before it was done."
    missing = [
        Verdict(rule, "inconclusive", f"Not checked: {reason}", reason)
        for rule in policy.rules
        if rule.id not in done
    ]
    return Report(
        policy.name,
        subject.name,
        subject.n_layers,
        (*verdicts, *missing),
        policy.note,
        __version__,
    )


def check_rule(
    subject: Subject,
    policy: Policy,
    rule: Rule,
    sets: dict[str, ResolvedSet],
    *,
    images: str | None = None,
) -> Verdict:
    """Check one rule.

    Parameters
    ----------
    subject : Subject
    policy : Policy
        Its seed and number of draws are read.
    rule : Rule
    sets : dict of str to ResolvedSet
        As `cgraph.concept_sets.resolve` returns them.
    images : str, optional
        As for `check`.
    """
    clock = Clock(rule.time_limit)
    own = [sets[name] for name in rule.set_names]
    speaks_of = _speaks_of(rule)
    shown = tuple(one.shown(subject, role) for one, role in zip(own, _ROLES, strict=False))
    task = _Task(subject, rule, own, clock, policy.seed, images)
    distances: tuple[Figure, ...] = ()
    parts: dict[str, Finding] = {}
    baselines: tuple[Baseline, ...] = ()
    prediction = None
    try:
        distances = distance(subject, own[0], own[1]) if GRAPH in speaks_of else ()
        parts = {of: task.finding(of) for of in speaks_of}
        finding = _within_limits(subject, rule, own, _joined(parts))
    except (CgraphError, MemoryError) as error:
        finding = _failed(error)
    else:
        try:
            if finding.outcome == "holds":
                prediction = predicts(subject, own[0], own[1], policy.seed, clock)
            baselines = tuple(task.baseline(of, part, policy.draws) for of, part in parts.items())
        except (CgraphError, MemoryError) as error:
            finding = _without_comparison(finding, error)
    cautions = list(finding.cautions)
    if prediction is not None and prediction.found and rule.kind != "never-together":
        cautions.append(
            f"The rule holds, and yet the labels of {rule.source} foretell those of "
            f"{rule.target} (AUC {prediction.auc:.2f}): what links them is not what this rule "
            "looks at."
        )
    return Verdict(
        rule=rule,
        outcome=finding.outcome,
        headline=finding.headline,
        reason=finding.reason,
        speaks_of=speaks_of,
        # With one of them, limits and missing comparisons have their say, too.
        outcomes=(finding.outcome,)
        if len(speaks_of) == 1
        else tuple(part.outcome for part in parts.values()),
        scope=scope_of(subject, rule, own[1], speaks_of, distances),
        figures=finding.figures,
        distance=distances,
        witnesses=finding.witnesses,
        cautions=tuple(cautions),
        sets=shown,
        baselines=baselines,
        prediction=prediction,
        seconds=round(clock.seconds, 3),
    )


def _speaks_of(rule: Rule) -> tuple[str, ...]:
    if rule.kind == "never-together":
        return (IMAGES,)
    return {"graph": (GRAPH,), "network": (NETWORK,), "both": (GRAPH, NETWORK)}[rule.where]


@dataclass(frozen=True)
class _Task:
    """One rule with all that its check needs."""

    subject: Subject
    rule: Rule
    sets: Sequence[ResolvedSet]
    clock: Clock
    seed: int
    images: str | None

    def finding(self, of: str) -> Finding:
        """Check the rule in the graph, in the network, or on images."""
        subject, rule, sets, clock = self.subject, self.rule, self.sets, self.clock
        if rule.kind == "never-together":
            return check_together(subject, rule, sets, clock)
        if rule.kind == "flips":
            return check_flips(subject, rule, sets, clock, self.seed)
        if rule.kind == "influence" and of == NETWORK:
            return check_in_network(subject, rule, sets, clock, self.seed, self.images)
        if rule.kind == "influence":
            return check_influence(subject, rule, sets, clock)
        return check_paths(subject, rule, sets, clock)

    def baseline(self, of: str, finding: Finding, n_draws: int) -> Baseline:
        """Try random sets in place of the rule's own."""
        subject, rule, clock = self.subject, self.rule, self.clock
        most = {"influence": influence_draws, "flips": flip_draws}.get(rule.kind, n_draws)
        most = network_draws if of == NETWORK else most
        draws = draw_sets(subject, self.sets, min(n_draws, most), self.seed, rule.id)
        nan = float("nan")
        if not draws.n or not finding.measure:
            note = draws.note or "The rule itself could not be judged, and so no random sets."
            return Baseline(of, 0, 0, finding.measure, finding.observed, nan, nan, note)
        if rule.kind == "never-together":
            broken, measured = together_in_draws(subject, rule, draws, clock)
        elif rule.kind == "flips":
            broken, measured = flips_in_draws(subject, rule, draws, clock, self.seed)
        elif rule.kind == "influence" and of == NETWORK:
            broken, measured = network_in_draws(subject, rule, draws, clock, self.seed, self.images)
        elif rule.kind == "influence":
            broken, measured = influence_in_draws(subject, rule, draws, clock)
        else:
            broken, measured = paths_in_draws(subject, rule, draws, clock)
        return Baseline(
            of,
            draws.n,
            int(broken.sum()),
            finding.measure,
            finding.observed,
            float(np.median(measured)),
            float((measured >= finding.observed).mean()),
            draws.note,
        )


def _joined(parts: Mapping[str, Finding]) -> Finding:
    """Return what was found in the graph and in the network as one."""
    found = list(parts.values())
    if len(found) == 1:
        return found[0]
    outcomes = [one.outcome for one in found]
    outcome: Outcome = "holds"
    if "violated" in outcomes:
        outcome = "violated"
    elif "inconclusive" in outcomes:
        outcome = "inconclusive"
    reasons = [one.reason for one in found if one.reason]
    said = ", ".join(f"{one.outcome} in the {of}" for of, one in parts.items())
    return Finding(
        outcome,
        " ".join([f"{said[0].upper()}{said[1:]}.", *(one.headline for one in found)]),
        " ".join(reasons) if outcome == "inconclusive" else "",
        tuple(figure for one in found for figure in one.figures),
        tuple(witness for one in found for witness in one.witnesses),
        (
            *(caution for one in found for caution in one.cautions),
            *(f"In part it is open: {r}" for r in reasons if outcome == "violated"),
        ),
    )


def _without_comparison(finding: Finding, error: BaseException) -> Finding:
    """Return a finding whose random sets or test of prediction could not be had."""
    what = "memory ran out." if isinstance(error, MemoryError) else str(error)
    if finding.outcome != "holds":
        return replace(
            finding, cautions=(*finding.cautions, f"There are no random sets beside it: {what}")
        )
    reason = f"what it is to be held against could not be had: {what}"
    return replace(
        finding,
        outcome="inconclusive",
        headline=f"{finding.headline} But {reason}",
        reason=reason,
    )


def _failed(error: BaseException) -> Finding:
    reason = "memory ran out. Ask for less: smaller sets, fewer images."
    if not isinstance(error, MemoryError):
        reason = str(error)
    return Finding("inconclusive", f"The rule could not be checked: {reason}", reason)


def _within_limits(
    subject: Subject, rule: Rule, sets: Sequence[ResolvedSet], finding: Finding
) -> Finding:
    """Let a rule hold only where what is unknown is below its limits."""
    outside = from_outside(subject, sets[1])
    figures = list(finding.figures)
    reasons = []
    in_graph = GRAPH in _speaks_of(rule)
    if outside is not None and in_graph:
        label = f"share of the layer of {rule.target} from outside the graph"
        figures.append(Figure("from_outside", outside, label, "share"))
    if rule.max_outside is not None and in_graph:
        if outside is None:
            reasons.append(
                f"how much of {rule.target} comes from outside the graph was not measured. Run "
                "`cgraph evaluate STUDY --only leakage`."
            )
        elif not outside <= rule.max_outside:
            reasons.append(
                f"{outside:.0%} of the layer of {rule.target} comes from outside the graph, more "
                f"than the rule's limit of {rule.max_outside:.0%}."
            )
    for one in sets:
        unknown = one.n_unknown / one.n_looked_at if one.n_looked_at else 0.0
        if unknown > rule.max_unknown:
            reasons.append(
                f"of {one.n_unknown} of the {one.n_looked_at} concepts looked at for {one.name} "
                f"nothing is known ({unknown:.0%}, more than the rule's limit of "
                f"{rule.max_unknown:.0%}), so it may be incomplete."
            )
    finding = replace(finding, figures=tuple(figures))
    if finding.outcome != "holds" or not reasons:
        return finding
    reason = " ".join(reasons)
    headline = f"What was looked at keeps the rule, and too much could not be: {reason}"
    return replace(finding, outcome="inconclusive", headline=headline, reason=reason)
