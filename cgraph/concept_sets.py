"""Which concepts the sets of a policy mean in one study, and every mistake in that, at its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.attributes import AttributeTable
from cgraph.concept import ConceptId
from cgraph.config import TUNE
from cgraph.errors import ConfigError, PolicyError, Problem
from cgraph.metrics import matthews
from cgraph.naming import MIN_POSITIVES
from cgraph.policy_rules import ConceptSet, Policy, Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import ShownSet

_ONE_BY_ONE = re.compile(r"[Ll][0-9]+(/[0-9]+)?")  # an id or a layer: named without a name


@dataclass(frozen=True)
class ResolvedSet:
    """The concepts that a set means.

    Attributes
    ----------
    name : str
    concepts : tuple of ConceptId
        Each once, rising; never empty.
    why : tuple of str
        Of each, why it belongs.
    n_unknown, n_looked_at : int
        Concepts of which nothing is known, of those that could have belonged to it: without a
        name for a set by names; too rare or too common among the tune images for one by an
        attribute.
    """

    name: str
    concepts: tuple[ConceptId, ...]
    why: tuple[str, ...]
    n_unknown: int = 0
    n_looked_at: int = 0

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that it has concepts in, rising."""
        return tuple(sorted({concept.layer for concept in self.concepts}))

    def of_layer(self, layer: int) -> tuple[ConceptId, ...]:
        """Return its concepts of one layer."""
        return tuple(concept for concept in self.concepts if concept.layer == layer)

    def shown(self, subject: Subject, role: str) -> ShownSet:
        """Return the set as reports show it."""
        concepts = tuple(map(subject.shown, self.concepts, self.why))
        return ShownSet(role, self.name, concepts, self.n_unknown, self.n_looked_at)


def resolve(subject: Subject, policy: Policy) -> dict[str, ResolvedSet]:
    """Find the concepts of every set of a policy, and see whether its rules mean something here.

    Parameters
    ----------
    subject : Subject
    policy : Policy

    Returns
    -------
    dict of str to ResolvedSet

    Raises
    ------
    PolicyError
        With every mistake: unknown concepts, names, attributes, outputs and layers; sets that are
        empty here; sets of one rule that share concepts; rules that nothing could ever break,
        since B lies before A.
    """
    resolver = _Resolver(subject, policy)
    found = {}
    for wanted in policy.sets:
        resolved = resolver.resolved(wanted)
        if resolved is not None:
            found[wanted.name] = resolved
    for place, rule in enumerate(policy.rules):
        if all(name in found for name in rule.set_names):
            resolver.check_rule(place, rule, found)
    if policy.study is not None and policy.study != subject.name:
        resolver.note(
            f"The policy is for the study {policy.study!r}, and this is {subject.name!r}. Give "
            "that study, or leave study out.",
            *("policy", "study"),
        )
    if resolver.problems:
        raise PolicyError(policy.origin, resolver.problems)
    return found


class _Resolver:
    """Looks sets up and notes what is wrong with them."""

    def __init__(self, subject: Subject, policy: Policy) -> None:
        self.subject = subject
        self.lines = policy.lines
        self.problems: list[Problem] = []
        self._table: AttributeTable | None = None

    def note(self, message: str, *path: str | int, value: str | None = None) -> None:
        self.problems.append(Problem(self.lines.of(*path, value=value), message))

    def resolved(self, wanted: ConceptSet) -> ResolvedSet | None:
        """Return a set; None after noting what is wrong with it."""
        before = len(self.problems)
        layers = self._layers(wanted)
        if layers is None:
            return None
        why: dict[ConceptId, str] = {}
        n_unknown = n_looked_at = 0
        for text in wanted.ids:
            self._id(wanted, text, why)
        for text in wanted.outputs:
            self._output(wanted, text, why)
        if wanted.names:
            n_unknown, n_looked_at = self._names(wanted, layers, why)
        if wanted.attribute is not None:
            unknown, looked_at = self._attribute(wanted, layers, why)
            n_unknown, n_looked_at = n_unknown + unknown, n_looked_at + looked_at
        if len(self.problems) > before:
            return None
        concepts = tuple(sorted(why))
        reasons = tuple(why[concept] for concept in concepts)
        return ResolvedSet(wanted.name, concepts, reasons, n_unknown, n_looked_at)

    def _layers(self, wanted: ConceptSet) -> range | None:
        n_layers = self.subject.n_layers
        first, last = wanted.layers or (1, n_layers)
        if last > n_layers:
            self.note(
                f"The set {wanted.name!r} asks for layers {first} to {last}: there is no layer "
                f"{last} here, the layers are 1 to {n_layers}. Lower the last.",
                *("sets", wanted.name, "layers"),
            )
            return None
        return range(first, last + 1)

    def _id(self, wanted: ConceptSet, text: str, why: dict[ConceptId, str]) -> None:
        path = ("sets", wanted.name, "ids")
        if text.startswith("O/"):
            advice = f'outputs = ["{text.removeprefix("O/")}"]'
            self.note(f"{text!r} is an output: name it by {advice}.", *path, value=text)
            return
        try:
            concept = ConceptId.parse(text)
            self.subject.graph.concept_row(concept)
        except ConfigError as error:
            self.note(str(error), *path, value=text)
            return
        if self.subject.is_output(concept):
            self.note(
                f"There is no layer {concept.layer} of concepts: the layers are 1 to "
                f"{self.subject.n_layers}. Name outputs by outputs = [...].",
                *path,
                value=text,
            )
            return
        why.setdefault(concept, "by its id")

    def _output(self, wanted: ConceptSet, text: str, why: dict[ConceptId, str]) -> None:
        known = self.subject.outputs
        name = text.removeprefix("O/")
        if name in known:
            layer = self.subject.graph.n_layers
            why.setdefault(ConceptId(layer, known.index(name), "output"), "by its name")
            return
        there = f" There are: {', '.join(known)}." if known else " It has none at all."
        self.note(
            f"This study has no output {name!r}.{_close(name, known) or there} `cgraph outputs "
            f'STUDY --text "{name}"` adds one.',
            *("sets", wanted.name, "outputs"),
            value=text,
        )

    def _names(
        self, wanted: ConceptSet, layers: range, why: dict[ConceptId, str]
    ) -> tuple[int, int]:
        """Add concepts by what they are called; return how many have no name, of how many."""
        path = ("sets", wanted.name, "names")
        by_name = False
        for text in wanted.names:
            try:
                found = self.subject.named.read_set(text)
            except ConfigError as error:
                self.note(str(error), *path, value=text)
                continue
            there = [concept for concept in found if concept.layer in layers]
            if not there:
                self.note(
                    f"{text!r} names {_counted(len(found), 'concept')}, of layers "
                    f"{_listed(sorted({concept.layer for concept in found}))}: none in layers "
                    f"{layers[0]} to {layers[-1]}, which the set is held to.",
                    *path,
                    value=text,
                )
            by_name |= not _ONE_BY_ONE.fullmatch(text)
            for concept in there:
                why.setdefault(concept, f"called {self.subject.called(concept) or text}")
        if not by_name:
            return 0, 0
        alive = [
            ConceptId(layer, int(index))
            for layer in layers
            for index in np.flatnonzero(self.subject.graph.column(layer, "alive"))
        ]
        return sum(not self.subject.called(concept) for concept in alive), len(alive)

    def _attribute(
        self, wanted: ConceptSet, layers: range, why: dict[ConceptId, str]
    ) -> tuple[int, int]:
        """Add concepts by an attribute of images; return how many were too rare, of how many."""
        if self._table is None:
            self._table = self.subject.known()
        table = self._table
        columns = self._columns_of(wanted, table)
        if not columns:
            return 0, 0
        tune = self.subject.rows(TUNE)
        truth = table.take(tune)[:, columns]
        n_unknown = n_looked_at = 0
        best = ("", -1.0)
        for layer in layers:
            labels = self.subject.labels(layer, tune)
            counts = labels.sum(axis=0)
            alive = self.subject.graph.column(layer, "alive").astype(bool)
            enough = (counts >= MIN_POSITIVES) & (counts <= len(tune) - MIN_POSITIVES)
            n_looked_at += int(alive.sum())
            n_unknown += int((alive & ~enough).sum())
            found = np.where(enough[:, None], matthews(labels, truth), -1.0)
            for index in np.flatnonzero(found.max(axis=1) > -1).tolist():
                place = int(found[index].argmax())
                strength = float(found[index, place])
                attribute, value = table.columns[columns[place]]
                text = f"{attribute}={value} {strength:.2f}"
                best = max(best, (f"{ConceptId(layer, index)}, {text}", strength), key=_strength)
                if strength >= wanted.strength:
                    why.setdefault(ConceptId(layer, index), text)
        if best[1] < wanted.strength:
            known = f"the closest is {best[0]}" if best[0] else "every concept is too rare to tell"
            self.note(
                f"The set {wanted.name!r} is empty: no concept of layers {layers[0]} to "
                f"{layers[-1]} goes with {wanted.attribute} by a correlation of at least "
                f"{wanted.strength:g}; {known}. Lower strength.",
                *("sets", wanted.name, "attribute"),
            )
        return n_unknown, n_looked_at

    def _columns_of(self, wanted: ConceptSet, table: AttributeTable) -> list[int]:
        path = ("sets", wanted.name)
        assert wanted.attribute is not None
        attributes = sorted({name for name, _ in table.columns})
        of_attribute = {
            value: column
            for column, (name, value) in enumerate(table.columns)
            if name.casefold() == wanted.attribute.casefold()
        }
        if not of_attribute:
            there = f"Known are: {', '.join(attributes)}." if attributes else (
                "Nothing is known of its images. Name concepts by ids."
            )  # fmt: skip
            close = _close(wanted.attribute, attributes)
            self.note(
                f"The images of this study have no attribute {wanted.attribute!r} with values "
                f"that enough of them share.{close} {there}",
                *(*path, "attribute"),
            )
            return []
        columns = []
        for value in wanted.values or tuple(of_attribute):
            place = {known.casefold(): at for known, at in of_attribute.items()}
            if value.casefold() in place:
                columns.append(place[value.casefold()])
                continue
            self.note(
                f"{wanted.attribute} is never {value!r} here, or too seldom."
                f"{_close(value, of_attribute)} Values: {', '.join(of_attribute)}.",
                *(*path, "value"),
                value=value,
            )
        return columns

    def check_rule(self, place: int, rule: Rule, sets: dict[str, ResolvedSet]) -> None:
        """Note what makes a rule meaningless here."""
        path, before = ("rules", place), len(self.problems)
        roles = list(zip(("from", "to", "via"), rule.set_names, strict=False))
        for number, (role, name) in enumerate(roles):
            for other_role, other in roles[:number]:
                shared = sorted(set(sets[name].concepts) & set(sets[other].concepts))
                if shared:
                    self.note(
                        f"{other_role} ({other}) and {role} ({name}) share "
                        f"{self._some(shared)}: a concept cannot be in both. Take it out of one "
                        "of the sets.",
                        *(*path, role),
                    )
        source, target = sets[rule.source], sets[rule.target]
        if rule.kind == "never-together" or len(self.problems) > before:
            return
        for role, name in roles:
            outputs = [c for c in sets[name].concepts if self.subject.is_output(c)]
            if outputs and role != "to":
                self.note(
                    f"{role} ({name}) holds {self._some(outputs)}: an output comes after all "
                    "layers and leads nowhere. Outputs can only stand in to.",
                    *(*path, role),
                )
                return
        if source.layers[0] >= target.layers[-1]:
            self.note(
                f"from ({rule.source}) begins in layer {source.layers[0]} and to ({rule.target}) "
                f"ends in layer {target.layers[-1]}: edges lead to deeper layers only, so nothing "
                "could ever break this rule. Exchange the sets, or choose others.",
                *(*path, "from"),
            )
        elif rule.kind == "flips":
            self._check_layer(path, rule, source, target)

    def _check_layer(
        self, path: tuple[str | int, ...], rule: Rule, source: ResolvedSet, target: ResolvedSet
    ) -> None:
        layer = rule.layer
        where = f"from ({rule.source}) lies in layers {_listed(source.layers)}"
        if layer is None:
            if len(source.layers) > 1:
                self.note(f"{where}. Say in which one it is flipped: layer = …", *path)
                return
            layer = source.layers[0]
        if layer > self.subject.n_layers:
            self.note(
                f"There is no layer {layer} here: the layers are 1 to {self.subject.n_layers}.",
                *(*path, "layer"),
            )
        elif layer not in source.layers:
            self.note(f"layer is {layer}, and {where}. Choose one of these.", *(*path, "layer"))
        elif layer >= target.layers[-1]:
            self.note(
                f"layer is {layer}, and to ({rule.target}) ends in layer {target.layers[-1]}: "
                "nothing could ever break this rule. Choose an earlier layer.",
                *(*path, "layer"),
            )

    def _some(self, concepts: Sequence[ConceptId]) -> str:
        shown = ", ".join(self.subject.shown(concept).id for concept in concepts[:3])
        return shown if len(concepts) <= 3 else f"{shown} and {len(concepts) - 3} more"


def _strength(entry: tuple[str, float]) -> float:
    return entry[1]


def _close(wanted: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(wanted, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _listed(layers: Iterable[int]) -> str:
    return ", ".join(map(str, layers))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
