"""What became of a policy: a verdict for each rule, as plain values for pages, files and people.

``holds`` and ``violated`` are said only of what was looked at, and `Verdict.scope` says what that
was. ``inconclusive`` always comes with a reason. A violation comes with at least one witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cgraph.policy_rules import Rule

Outcome = Literal["holds", "violated", "inconclusive"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

GRAPH, NETWORK, IMAGES = "graph", "network", "images"
"""What a verdict can speak of: predictions of the graph; measurements made in the network under an
intervention; labels of the images as the network gave them."""


@dataclass(frozen=True)
class Figure:
    """One number beside a verdict.

    Attributes
    ----------
    name : str
        For machines, such as ``mean_change``.
    value : float or int
        NaN where it is not known.
    label : str
        For people.
    form : {"number", "share", "count"}
        How it is shown: with three digits, in per cent, or whole.
    """

    name: str
    value: float
    label: str
    form: Literal["number", "share", "count"] = "number"

    @property
    def text(self) -> str:
        """The value as it is shown."""
        if self.value != self.value:
            return "–"
        if self.form == "count":
            return f"{int(self.value):,}"
        if self.form == "share":
            return f"{self.value:.1%}"
        return f"{self.value:.3g}"


@dataclass(frozen=True)
class ShownConcept:
    """A concept as reports and pages show it.

    Attributes
    ----------
    id : str
        ``L7/609``, or ``O/approved``.
    name : str
        What people call it; empty without a name.
    layer, index : int
        An output lies in the layer after the last.
    kind : str
        ``class`` or ``output``.
    why : str
        Why it belongs to its set, such as ``background=sky .83``; empty elsewhere.
    """

    id: str
    name: str
    layer: int
    index: int
    kind: str = "class"
    why: str = ""

    @property
    def called(self) -> str:
        """Name and id, or the id alone."""
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True)
class ShownSet:
    """A set of a rule, as it was understood.

    Attributes
    ----------
    role : str
        ``from``, ``to`` or ``via``.
    name : str
    concepts : tuple of ShownConcept
    n_unknown, n_looked_at : int
        Concepts that could belong to it and of which nothing is known, of all looked at.
    """

    role: str
    name: str
    concepts: tuple[ShownConcept, ...]
    n_unknown: int = 0
    n_looked_at: int = 0


@dataclass(frozen=True)
class WitnessImage:
    """An image that shows a violation.

    Attributes
    ----------
    image_id : str
    row : int
        Of the study.
    values : tuple of float
        One for each of `Witness.columns`.
    text : str
        What it shows.
    """

    image_id: str
    row: int
    values: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Witness:
    """What shows that a rule is broken.

    Attributes
    ----------
    kind : {"path", "flips", "change", "together"}
    text : str
        What it shows, in a sentence.
    concepts : tuple of ShownConcept
        On a path in order, from A to B; else those concerned.
    weights, shares : tuple of float
        Of the edges of a path.
    strength : float
        Of a path; NaN otherwise.
    on, off : tuple of str
        Ids of concepts that are switched on and off.
    columns : tuple of str
        What the values of the images are.
    images : tuple of WitnessImage
    """

    kind: Literal["path", "flips", "change", "together"]
    text: str
    concepts: tuple[ShownConcept, ...]
    weights: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    strength: float = float("nan")
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    images: tuple[WitnessImage, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """How often random sets break the same rule.

    Attributes
    ----------
    of : str
        What it speaks of: `GRAPH`, `NETWORK` or `IMAGES`.
    draws : int
    n_broken : int
        Draws that break it.
    measure : str
        What `observed` and `median` are, such as ``strength of the strongest path``.
    observed, median : float
        Of the rule's own sets, and of the random ones.
    at_least : float
        Share of the draws in which it is as large as observed.
    note : str
        How they were drawn, or why they could not be.
    """

    of: str
    draws: int
    n_broken: int
    measure: str
    observed: float
    median: float
    at_least: float
    note: str = ""

    @property
    def share(self) -> float:
        """Share of the draws that break the rule; NaN without draws."""
        return self.n_broken / self.draws if self.draws else float("nan")

    @property
    def text(self) -> str:
        """The baseline in a sentence."""
        if not self.draws:
            return self.note
        return (
            f"Of {self.draws:,} random sets of the same sizes, layers and prevalences "
            f"{self.share:.0%} break the same rule; {self.measure}: {self.observed:.3g} here, "
            f"{self.median:.3g} in the median of those, and at least as much as here in "
            f"{self.at_least:.0%}. {self.note}".rstrip()
        )


@dataclass(frozen=True)
class Prediction:
    """Whether the labels of A foretell those of B at all, on held-out images.

    Attributes
    ----------
    auc : float
        Of the concept of B that is foretold best; NaN if none could be tested.
    target : str
        Its id.
    p_value : float
        By permutation, of the best over all that were tested.
    n_tested, n_targets : int
        Concepts of B that were tested, of all.
    n_images : int
    text : str
    """

    auc: float
    target: str
    p_value: float
    n_tested: int
    n_targets: int
    n_images: int
    text: str

    @property
    def found(self) -> bool:
        """Whether A foretells B beyond chance (p < .01)."""
        return self.p_value < 0.01


@dataclass(frozen=True)
class Verdict:
    """What became of one rule.

    Attributes
    ----------
    rule : Rule
    outcome : {"holds", "violated", "inconclusive"}
    headline : str
        One sentence for people.
    reason : str
        Why it is inconclusive; empty otherwise.
    speaks_of : tuple of str
        Of `GRAPH`, `NETWORK` and `IMAGES`.
    outcomes : tuple of str
        What came out of each of these; `outcome` is the worst of them.
    scope : str
        What the verdict speaks of and what it does not, in sentences.
    figures : tuple of Figure
    distance : tuple of Figure
        Measured distance between graph and network; empty where none was measured, or the verdict
        does not speak of the graph.
    witnesses : tuple of Witness
        The plainest first.
    cautions : tuple of str
        What a reader should know besides.
    sets : tuple of ShownSet
    baselines : tuple of Baseline
        Random sets in place of the rule's own, one for each of `speaks_of`; empty where the rule
        failed before.
    prediction : Prediction or None
        Of every rule that holds.
    seconds : float
        That it took.
    """

    rule: Rule
    outcome: Outcome
    headline: str
    reason: str = ""
    speaks_of: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    scope: str = ""
    figures: tuple[Figure, ...] = ()
    distance: tuple[Figure, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    cautions: tuple[str, ...] = ()
    sets: tuple[ShownSet, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    prediction: Prediction | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What became of a policy on one study.

    Attributes
    ----------
    policy, note : str
        Name of the policy, and why somebody wrote it.
    study : str
    n_layers : int
        Of the study's model.
    verdicts : tuple of Verdict
        In the order of the rules.
    version : str
        Of cgraph.
    """

    policy: str
    study: str
    n_layers: int
    verdicts: tuple[Verdict, ...]
    note: str = ""
    version: str = ""

    def count(self, outcome: Outcome) -> int:
        """Return how many rules have an outcome."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def exit_code(self) -> int:
        """0 if every rule holds, 1 if one is violated, else 2."""
        if self.count("violated"):
            return 1
        return 2 if self.count("inconclusive") else 0

    @property
    def headline(self) -> str:
        """All outcomes in a sentence."""
        parts = []
        for outcome in OUTCOMES:
            n = self.count(outcome)
            if n:
                word = {"holds": "hold" if n > 1 else "holds"}.get(outcome, outcome)
                parts.append(f"{n} {word}")
        n_rules = len(self.verdicts)
        return f"{n_rules} rule{'s' if n_rules > 1 else ''}: {', '.join(parts)}."


@dataclass(frozen=True)
class Finding:
    """What the check of one rule found out, before it is set in its frame.

    Attributes
    ----------
    outcome, headline, reason, figures, witnesses, cautions
        As of `Verdict`.
    measure : str
        What is compared with random sets.
    observed : float
    """

    outcome: Outcome
    headline: str
    reason: str = ""
    figures: tuple[Figure, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    cautions: tuple[str, ...] = ()
    measure: str = ""
    observed: float = float("nan")
