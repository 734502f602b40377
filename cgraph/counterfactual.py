"""One edit and what it changes, answered by the graph, by the real network, by a picture redrawn.

Every answer holds two states of the same image, before and after, for each layer: which concepts
are active, and a number for each concept. The graph *predicts*: its before is the unedited labels
rolled out by the same rule, start layer and draws, never the true labels, so that nothing but the
edit tells the two apart; its number is a probability. The network is *measured*: its labels are
those of the token encoded again, and its number is the pre-activation of the encoder.

With the rule ``top-k`` a concept may come or go only because the number of places is fixed. A
change is marked so if it would not have happened at the cutoff that the layer had before the edit.

What caused a change in the graph are the parents that were changed: weight × (what the parent
passes on after − before), in balanced log-odds. Over all parents these add up to the change of the
child's score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cgraph.agreement import LayerStates, States
from cgraph.concept import ConceptId
from cgraph.edits import (
    PLAIN_RULE,
    PLAIN_RULES,
    REFITTED_RULE,
    Edit,
    RolloutSettings,
    Rule,
)
from cgraph.errors import ConfigError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.intervention import NetworkRun, usual_coefficient
from cgraph.rollout import Rollout, rollout
from cgraph.study import Study

Kind = Literal["appeared", "vanished", "unchanged", "silent"]


@dataclass(frozen=True)
class Cause:
    """A parent that was changed, and what that adds to the log-odds of the child."""

    parent: ConceptId
    contribution: float


@dataclass(frozen=True)
class ConceptChange:
    """What became of one concept.

    Attributes
    ----------
    concept : ConceptId
    kind : {"appeared", "vanished", "unchanged", "silent"}
        ``unchanged`` is active before and after, ``silent`` neither.
    before, after : float
        Probability (graph), or pre-activation (network).
    by_hand : bool
        Whether the edit itself sets it.
    from_fixed_number : bool
        Whether only the fixed number of the rule ``top-k`` changed it.
    """

    concept: ConceptId
    kind: Kind
    before: float
    after: float
    by_hand: bool = False
    from_fixed_number: bool = False


@dataclass(frozen=True)
class Answer:
    """Before and after of one image.

    Attributes
    ----------
    source : {"graph", "network", "redrawn"}
    edit : Edit
    states : States
        Of one image.
    rollouts : tuple of Rollout, or None
        Before and after, of the graph's answer.
    not_taken : tuple of ConceptId
        Concepts that in the network are not as the edit wishes.
    target : str
        What the network's edit was added to; empty for the others.
    """

    source: str
    edit: Edit
    states: States
    rollouts: tuple[Rollout, Rollout] | None = None
    not_taken: tuple[ConceptId, ...] = ()
    target: str = ""

    @property
    def layers(self) -> range:
        """Layers with a before and after."""
        return range(self.states.first, self.states.first + len(self.states.layers))

    def changes(self, layer: int, kind: Kind, most: int | None = None) -> tuple[ConceptChange, ...]:
        """Return the concepts of a layer of one kind, the largest move first, at most so many."""
        state = self.states.of_layer(layer)
        before, after = state.before[0], state.after[0]
        chosen = {
            "appeared": ~before & after,
            "vanished": before & ~after,
            "unchanged": before & after,
            "silent": ~before & ~after,
        }[kind]
        indices = np.flatnonzero(chosen)
        moved = np.abs(state.value_after[0] - state.value_before[0])[indices]
        return tuple(
            self.change(ConceptId(layer, int(index)))
            for index in indices[np.argsort(-moved, kind="stable")[:most]]
        )

    def change(self, concept: ConceptId) -> ConceptChange:
        """Return what became of one concept."""
        state, index = self.states.of_layer(concept.layer), concept.index
        before, after = bool(state.before[0, index]), bool(state.after[0, index])
        kinds: dict[tuple[bool, bool], Kind] = {
            (False, True): "appeared",
            (True, False): "vanished",
            (True, True): "unchanged",
            (False, False): "silent",
        }
        return ConceptChange(
            concept,
            kinds[before, after],
            float(state.value_before[0, index]),
            float(state.value_after[0, index]),
            self.edit.label(concept) is not None,
            bool(state.from_fixed_number is not None and state.from_fixed_number[0, index]),
        )

    @property
    def n_changed(self) -> int:
        """Number of concepts that appeared or vanished, without those set by hand."""
        return sum(
            not change.by_hand
            for layer in self.layers
            for kind in ("appeared", "vanished")
            for change in self.changes(layer, kind)
        )


def default_rule(study: Study) -> Rule:
    """Return the rule of rollouts where none was asked for.

    ``refitted`` where `cgraph evaluate` has fitted its predictors: of all rules it reached the
    highest average precision from every start layer (docs/methods.md). Otherwise ``max``.
    """
    return REFITTED_RULE if study.is_measured("rollout") else PLAIN_RULE


def settled(study: Study, settings: RolloutSettings) -> RolloutSettings:
    """Return settings that name their rule: the study's default where they named none.

    Probabilities other than calibrated ones are not what ``refitted`` passes on: with them the
    default is ``max``, too.

    Raises
    ------
    ConfigError
        If they ask for ``refitted`` and the study lacks its predictors.
    """
    if settings.rule == REFITTED_RULE and not study.is_measured("rollout"):
        raise ConfigError(
            f"The study {study.name!r} has no predictors for the rule {REFITTED_RULE}. Run "
            f"`cgraph evaluate {study.path} --only rollout`, or choose one of "
            f"{', '.join(PLAIN_RULES)}."
        )
    if settings.rule is not None:
        return settings
    usual = default_rule(study) if settings.probability == "calibrated" else PLAIN_RULE
    return dataclasses.replace(settings, rule=usual)


def rolled_through(
    study: Study, settings: RolloutSettings, start: int
) -> tuple[ConceptGraph, list[np.ndarray] | None]:
    """Return the graph that labels run through from a layer, and what active concepts pass on.

    Parameters
    ----------
    study : Study
    settings : RolloutSettings
        As `settled` returns them.
    start : int
        1 … L.

    Returns
    -------
    graph : ConceptGraph
        The study's own, or for the rule ``refitted`` the one with its predictors.
    inputs : list of ndarray, or None
        As `passed_on` returns them; refitted predictors always take labels.

    Raises
    ------
    StudyError
        As `passed_on`.
    ConfigError
        As `settled`.
    """
    if settled(study, settings).rule != REFITTED_RULE:
        return study.graph, passed_on(study)
    graph = study.refitted(start)
    assert graph is not None  # `settled` has refused a study without it
    return graph, None


def passed_on(study: Study) -> list[np.ndarray] | None:
    """Return what an active concept passes on, for each layer; None for 1, as with labels.

    Raises
    ------
    StudyError
        If predictors take pre-activations, which are not known of labels set by hand.
    """
    kind = study.manifest.graph["inputs"]
    if kind == "labels":
        return None
    if kind == "pre-activations":
        raise StudyError(
            f"The predictors of {study.name!r} take pre-activations, which labels set by hand do "
            "not have. Build a study whose predictors take labels."
        )
    values = []
    for layer in range(1, study.n_layers + 1):
        scales = study.manifest.graph["input_scales"]
        scale = scales[layer - 1] if layer <= len(scales) else 1.0
        of_layer = np.zeros(study.graph.n_concepts(layer))
        for index in np.flatnonzero(study.graph.column(layer, "n_train")):
            of_layer[index] = usual_coefficient(study, ConceptId(layer, int(index))) / scale
        values.append(of_layer)
    return values


def dense_labels(graph: ConceptGraph, layer: int, active: Sequence[int]) -> np.ndarray:
    """Return the labels of one image at a layer, bool ``(1, n_concepts)``."""
    labels = np.zeros((1, graph.n_concepts(layer)), dtype=bool)
    labels[0, np.asarray(active, dtype=np.int64)] = True
    return labels


def graph_answer(
    graph: ConceptGraph,
    labels: np.ndarray,
    edit: Edit,
    settings: RolloutSettings,
    *,
    key: int = 0,
    inputs: Sequence[np.ndarray] | None = None,
) -> Answer:
    """Return what the graph predicts for one image.

    Parameters
    ----------
    graph : ConceptGraph
        From `rolled_through`.
    labels : ndarray of bool, shape (1, n_concepts)
        Of the start layer, as the image has them; `RolloutSettings.start_of` says which it is.
    edit : Edit
    settings : RolloutSettings
    key : int
        As for `cgraph.rollout.rollout`.
    inputs : sequence of ndarray, optional
        From `rolled_through`.

    Raises
    ------
    ConfigError
        As `cgraph.rollout.rollout`.
    """
    start = settings.start_of(edit, graph.n_layers)
    before, after = (
        rollout(graph, labels, start, settings, part, keys=[key], inputs=inputs)
        for part in (Edit(), edit)
    )
    return Answer("graph", edit, states_of_rollouts(before, after, settings), (before, after))


def states_of_rollouts(before: Rollout, after: Rollout, settings: RolloutSettings) -> States:
    """Put two rollouts of the same images beside each other."""
    layers = []
    for place in range(len(before.labels)):
        on, still = before.labels[place], after.labels[place]
        p, q = before.probabilities[place], after.probabilities[place]
        coupled = None
        if settings.rule == "top-k" and place:
            coupled = (on != still) & ~changed_at_fixed_cutoff(on, p, q)
        with np.errstate(invalid="ignore"):
            moves = after.scores[place] - before.scores[place]
        layers.append(LayerStates(on, still, p, q, moves, coupled))
    return States(before.start, tuple(layers))


def changed_at_fixed_cutoff(on: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return which labels would change if the cutoff of before were kept.

    Parameters
    ----------
    on : ndarray of bool, shape (n_images, n_concepts)
        Labels before.
    before, after : ndarray of float, the same shape
        Probabilities.

    Returns
    -------
    ndarray of bool
        The cutoff is the lowest probability among those that were on.
    """
    cutoff = np.where(on, before, np.inf).min(axis=1, keepdims=True)
    # A tie with the cutoff keeps the side that it was on.
    return np.where(on, after < cutoff, after > cutoff)


def causes(
    graph: ConceptGraph,
    answer: Answer,
    concept: ConceptId,
    *,
    inputs: Sequence[np.ndarray] | None = None,
) -> tuple[Cause, ...]:
    """Return what moved a concept in the graph, the largest contribution first.

    Graph and inputs are those that the answer was made with.

    Empty at the start layer, and for a concept that the edit itself sets.

    Raises
    ------
    ConfigError
        If the answer is not the graph's, or the concept does not exist.
    """
    if answer.rollouts is None:
        raise ConfigError("Causes are known of the graph's answer only.")
    graph.concept_row(concept)
    before, after = answer.rollouts
    if concept.layer <= before.start or answer.edit.label(concept) is not None:
        return ()
    parent, _, weight = graph.edges_into(np.array([concept.index]), concept.layer)
    passed = [found.of_layer(concept.layer - 1)[2][0, parent] for found in (before, after)]
    moved = weight.astype(np.float64) * (passed[1].astype(np.float64) - passed[0])
    if inputs is not None:
        moved = moved * inputs[concept.layer - 2][parent]
    order = np.argsort(-np.abs(moved), kind="stable")
    return tuple(
        Cause(ConceptId(concept.layer - 1, int(parent[place])), float(moved[place]))
        for place in order
        if moved[place] != 0
    )


def states_of_runs(study: Study, before: NetworkRun, after: NetworkRun, first: int = 1) -> States:
    """Put two runs of the network beside each other, from a layer on.

    Numbers are pre-activations of the encoder.
    """
    layers = []
    for layer in range(first, study.n_layers + 1):
        dictionary = study.dictionary(layer)
        values = [
            dictionary.pre_activations(found.tokens[layer - 1]).astype(np.float32)
            for found in (before, after)
        ]
        on, still = (found.codes[layer - 1].dense_labels() for found in (before, after))
        layers.append(LayerStates(on, still, values[0], values[1], values[1] - values[0]))
    return States(first, tuple(layers))


def network_answer(study: Study, edit: Edit, before: NetworkRun, after: NetworkRun) -> Answer:
    """Return what was measured of one image in the network, from the first edited layer on."""
    first = edit.layers[0] if edit.layers else 1
    states = states_of_runs(study, before, after, first)
    return Answer("network", edit, states, not_taken=after.not_taken[0], target=after.target)


def redrawn_answer(study: Study, before: NetworkRun, after: NetworkRun) -> Answer:
    """Return what was measured of a picture that was drawn again, in every layer."""
    return Answer("redrawn", Edit(), states_of_runs(study, before, after))
