"""Edits: labels that somebody sets by hand, and how they are rolled out; as values and as JSON.

An edit says of some concepts that they are on or off, whatever the image or the graph says. Written
short, as in links, it is ``L7/12,-L8/3``: the first is on, the second off. Saved as JSON it also
holds the settings of the rollout, so that one file says all that `cgraph edit` needs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError

Rule = Literal["max", "top-k", "sample", "probabilities", "refitted"]
Probability = Literal["calibrated", "prior", "balanced"]

RULES: tuple[Rule, ...] = get_args(Rule)
"""How labels of a layer follow from its probabilities; `cgraph.rollout` says what each does."""

PROBABILITIES: tuple[Probability, ...] = get_args(Probability)

REFITTED_RULE: Rule = "refitted"
"""The rule with predictors of its own, which `cgraph evaluate` fits."""

PLAIN_RULE: Rule = "max"
"""The default rule where nothing was refitted."""

PLAIN_RULES: tuple[Rule, ...] = tuple(rule for rule in RULES if rule != REFITTED_RULE)
"""Rules that need the edges alone, which every study has."""

SCHEMA = 1
"""Version of the JSON that `SavedEdit.to_json` writes."""

LARGEST = 10**12 - 1
"""Largest seed or number: what a link can carry."""

MOST_DRAWS = 1000
MOST_CHANGES = 200
"""Most draws of the rule ``sample``, and most concepts of one edit."""


@dataclass(frozen=True)
class Edit:
    """Labels set by hand.

    Attributes
    ----------
    on, off : tuple of ConceptId
        Concepts that are active, or silent, whatever else is known; sorted, each once.
    """

    on: tuple[ConceptId, ...] = ()
    off: tuple[ConceptId, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", tuple(sorted(set(self.on))))
        object.__setattr__(self, "off", tuple(sorted(set(self.off))))
        both = set(self.on) & set(self.off)
        if both:
            raise ConfigError(f"The edit switches {min(both)} on and off. Name each concept once.")
        if len(self) > MOST_CHANGES:
            raise ConfigError(
                f"The edit sets {len(self)} concepts: at most {MOST_CHANGES} can be set at once."
            )

    def __len__(self) -> int:
        return len(self.on) + len(self.off)

    def __iter__(self) -> Any:
        return iter(sorted((*self.on, *self.off)))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers in which it sets something, rising."""
        return tuple(sorted({concept.layer for concept in self}))

    def label(self, concept: ConceptId) -> bool | None:
        """Return what a concept is set to; None if it is left alone."""
        return True if concept in self.on else False if concept in self.off else None

    def with_label(self, concept: ConceptId, label: bool | None) -> Edit:
        """Return the edit with a concept set on or off, or left alone with None."""
        on = [other for other in self.on if other != concept]
        off = [other for other in self.off if other != concept]
        if label is not None:
            (on if label else off).append(concept)
        return Edit(tuple(on), tuple(off))

    def of_layer(self, layer: int) -> Edit:
        """Return the part of the edit that is made in one layer."""
        return Edit(
            tuple(concept for concept in self.on if concept.layer == layer),
            tuple(concept for concept in self.off if concept.layer == layer),
        )

    def to_text(self) -> str:
        """Return the edit in short, such as ``L7/12,-L8/3``."""
        return ",".join(str(c) if c in self.on else f"-{c}" for c in self)

    @classmethod
    def parse(cls, text: str) -> Edit:
        """Read what `to_text` wrote.

        Raises
        ------
        ConfigError
            If a part is no concept, or one is switched on and off.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        off = [ConceptId.parse(part[1:]) for part in parts if part.startswith("-")]
        return cls(
            tuple(ConceptId.parse(part) for part in parts if not part.startswith("-")), tuple(off)
        )


@dataclass(frozen=True)
class RolloutSettings:
    """How labels run through the graph.

    Attributes
    ----------
    rule : {"max", "top-k", "sample", "probabilities", "refitted"} or None
        How labels of a layer follow from its probabilities. None: the best that a study has, as
        `cgraph.counterfactual.default_rule` decides; of a graph alone, `PLAIN_RULE`.
    start : int or None
        Layer whose labels are given; later ones are predicted. None: the first edited layer.
    n_draws : int
        Draws of the rule ``sample``.
    seed : int
        Of these draws.
    k : int or None
        Concepts that the rule ``top-k`` puts on in each layer. None: as many as are active in an
        average training image.
    probability : {"calibrated", "prior", "balanced"}
        ``calibrated``: by each concept's Platt pair, fitted at natural prevalence. ``prior``: the
        balanced fit with its intercept moved by log(π/(1−π)) to the prevalence π (King and Zeng
        2001). ``balanced``: the balanced fit as it is, for a world where half the images have every
        concept: for measuring what that does, never to be believed.

    Raises
    ------
    ConfigError
        If a value is not allowed, or the rule ``refitted`` is asked for with other than calibrated
        probabilities, on which its predictors were fitted.
    """

    rule: Rule | None = None
    start: int | None = None
    n_draws: int = 50
    seed: int = 0
    k: int | None = None
    probability: Probability = "calibrated"

    def __post_init__(self) -> None:
        if self.rule is not None:
            _one_of("rule", self.rule, RULES)
        _one_of("probability", self.probability, PROBABILITIES)
        _whole("start", self.start, 1, LARGEST, optional=True)
        _whole("n_draws", self.n_draws, 1, MOST_DRAWS)
        _whole("seed", self.seed, 0, LARGEST)
        _whole("k", self.k, 1, LARGEST, optional=True)
        if self.rule == REFITTED_RULE and self.probability != "calibrated":
            raise ConfigError(
                f"The rule {REFITTED_RULE} passes calibrated probabilities on, and "
                f"{self.probability} ones were asked for. Choose calibrated, or another rule."
            )

    def start_of(self, edit: Edit, n_layers: int) -> int:
        """Return the start layer for an edit.

        Raises
        ------
        ConfigError
            If it is no layer of the model, or the edit sets something before it.
        """
        first = edit.layers[0] if edit.layers else None
        start = self.start or first or 1
        if start > n_layers:
            raise ConfigError(f"The start layer is {start}: this model has 1 to {n_layers}.")
        if first is not None and first < start:
            raise ConfigError(
                f"The start layer is {start} and the edit sets {min(edit)} before it. Start at "
                f"layer {first} or earlier."
            )
        return start


@dataclass(frozen=True)
class SavedEdit:
    """All that a counterfactual run needs besides the images.

    Attributes
    ----------
    edit : Edit
    settings : RolloutSettings
    study : str or None
        Name of the study whose concepts are meant; None for any.
    redraw : str or None
        How a drawn scene is changed for the third answer, such as ``0.colour.green``; see
        `cgraph.redrawing`.
    """

    edit: Edit
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    study: str | None = None
    redraw: str | None = None

    def to_json(self) -> str:
        """Return the edit as a JSON text that `from_json` reads."""
        values = {
            "cgraph_edit": SCHEMA,
            "study": self.study,
            "on": [str(concept) for concept in self.edit.on],
            "off": [str(concept) for concept in self.edit.off],
            "rollout": dataclasses.asdict(self.settings),
            "redraw": self.redraw,
        }
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> SavedEdit:
        """Read a saved edit.

        Raises
        ------
        ConfigError
            If the text is no JSON object of this form; the message says what is wrong.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"The edit is not readable JSON: {error}.") from None
        example = '{"cgraph_edit": 1, "on": ["L7/12"], "off": ["L8/3"]}'
        if not isinstance(values, dict) or "cgraph_edit" not in values:
            raise ConfigError(f"This JSON is no edit. Write such as {example}.")
        if values["cgraph_edit"] != SCHEMA:
            raise ConfigError(
                f"The edit has schema {values['cgraph_edit']!r}; this version of cgraph reads "
                f"schema {SCHEMA}."
            )
        _known(values, ("cgraph_edit", "study", "on", "off", "rollout", "redraw"), "the edit")
        rollout = values.get("rollout") or {}
        names = [entry.name for entry in dataclasses.fields(RolloutSettings)]
        if not isinstance(rollout, dict):
            raise ConfigError(f"rollout is {rollout!r}: give an object with {', '.join(names)}.")
        _known(rollout, names, "rollout")
        for name in ("study", "redraw"):
            if not isinstance(values.get(name), str | None):
                raise ConfigError(f"{name} of the edit is {values[name]!r}: give a text, or null.")
        return cls(
            Edit(_concepts(values, "on"), _concepts(values, "off")),
            RolloutSettings(**rollout),
            values.get("study"),
            values.get("redraw"),
        )


def _concepts(values: dict[str, Any], name: str) -> tuple[ConceptId, ...]:
    listed = values.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise ConfigError(f'"{name}" of the edit is {listed!r}: give a list such as ["L7/12"].')
    return tuple(map(ConceptId.parse, listed))


def _known(values: dict[str, Any], names: Iterable[str], where: str) -> None:
    strangers = sorted(set(values) - set(names))
    if strangers:
        raise ConfigError(f"There is no {strangers[0]!r} in {where}. Allowed: {', '.join(names)}.")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}. Allowed: {', '.join(allowed)}.")


def _whole(name: str, value: object, least: int, most: int, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}: a whole number of at least {least} is needed.")
    if value > most:
        raise ConfigError(f"{name} is {value}: at most {most} is allowed.")
