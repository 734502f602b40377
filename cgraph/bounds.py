"""Bounds: what a concept can become when labels of an earlier layer are free, or a few may flip.

Interval propagation from the labels of a start layer to all later layers. At the start each label
is fixed, free, or fixed but *flippable*, of which at most a *budget* are flipped. For the rule
``max`` of rollouts (`cgraph.rollout`) every later label is found to be surely on, surely off, or
undecided; where probabilities are passed on (rules ``probabilities`` and ``refitted``) each p gets
a lower and an upper bound. Whatever the labels that are allowed at the start, no rollout leaves
these bounds: float errors are allowed for, as `cgraph.bounds_layers` says.

The first layer is exact, up to these errors: free labels are chosen for each child by the sign of
its weight, and of flips the k largest effects count. Later layers take the bounds of the one before
as independent of each other, which loosens them from layer to layer; with a budget they are
tightened by what the same few flips can do in all (`cgraph.bounds_charges`).

A concept that no labels of the start layer can switch, whatever they are, is *constant*: without a
predictor, or with a threshold out of reach. It tells nothing of robustness, is counted apart and
never as certified. Constant is said where intervals prove it; there may be more.

What is bounded is the graph alone, by its own semantics. Nothing here speaks of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from cgraph.bounds_charges import FlipCharges, MoveCharges
from cgraph.bounds_layers import BoundLayer, Inputs, check_rule
from cgraph.bounds_question import UNDECIDED, Question, question
from cgraph.edits import REFITTED_RULE, Probability, RolloutSettings, Rule
from cgraph.graph import ConceptGraph
from cgraph.rollout import rollout

_CELLS = 2**21  # rows × concepts at a time, which bounds the memory


@dataclass(frozen=True)
class LabelBounds:
    """Three-valued labels of layers `start` … `until`.

    Attributes
    ----------
    start, until : int
    budget : int or None
        Most flips at the start layer; None where none were allowed for.
    rule : str
        Rule of rollouts that is covered.
    predictors : {"edge", "rollout"}
        Those that people read on edges, or those refitted for the start layer.
    probability : str
        Which probability thresholds are held against.
    labels : tuple of ndarray of int8, shape (n_rows, n_concepts)
        One for each layer, from the start on: 1 surely on, 0 surely off, -1 undecided.
    constant : tuple of ndarray of bool, shape (n_concepts,)
        For each layer, from the start on: concepts that no labels of the start layer can switch.
    """

    start: int
    until: int
    budget: int | None
    rule: str
    predictors: str
    probability: str
    labels: tuple[np.ndarray, ...]
    constant: tuple[np.ndarray, ...]

    def of_layer(self, layer: int) -> np.ndarray:
        """Return the labels of a layer, int8 ``(n_rows, n_concepts)``."""
        return self.labels[layer - self.start]

    def certified(self, layer: int) -> np.ndarray:
        """Return which labels of a layer are decided and not constant, bool."""
        return (self.of_layer(layer) != UNDECIDED) & ~self.constant[layer - self.start]

    def counts(self, layer: int) -> dict[str, int]:
        """Return how many labels of a layer are certified, undecided and constant, in all rows."""
        labels, constant = self.of_layer(layer), self.constant[layer - self.start]
        return {
            "certified": int(self.certified(layer).sum()),
            "undecided": int(((labels == UNDECIDED) & ~constant).sum()),
            "constant": int(constant.sum()) * len(labels),
        }


@dataclass(frozen=True)
class ProbabilityBounds(LabelBounds):
    """Bounds of probabilities that are passed on, and the labels that follow from them.

    Attributes
    ----------
    lower, upper : tuple of ndarray of float32, shape (n_rows, n_concepts)
        One for each layer, from the start on. No rollout computes a p below or above.
    """

    lower: tuple[np.ndarray, ...] = ()
    upper: tuple[np.ndarray, ...] = ()

    def between(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of p of a layer."""
        return self.lower[layer - self.start], self.upper[layer - self.start]


def label_bounds(
    graph: ConceptGraph,
    start: int,
    fixed: np.ndarray,
    *,
    budget: int | None = None,
    flippable: np.ndarray | None = None,
    until: int | None = None,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
    tighten: bool = True,
) -> LabelBounds:
    """Bound the labels of all later layers by the rule ``max``.

    Parameters
    ----------
    graph : ConceptGraph
        With the predictors of its edges.
    start : int
        Layer whose labels are given.
    fixed : ndarray of int, shape (n_concepts,) or (n_rows, n_concepts)
        1 on, 0 off, -1 free: either, at no cost.
    budget : int, optional
        At most so many of the labels 1 and 0 are flipped; none if left out.
    flippable : ndarray of bool, shape (n_concepts,), optional
        Which may be flipped; all if left out. Needs a budget.
    until : int, optional
        Last layer; the graph's last if left out.
    inputs : sequence of ndarray, optional
        As for `cgraph.rollout.rollout`.
    probability : {"calibrated", "prior", "balanced"}
        As of `RolloutSettings`. The labels of ``prior`` are those of ``calibrated``.
    tighten : bool
        Whether a budget is followed through the layers, row by row, in time and memory that grow
        with the product of two layers' sizes. Not done where a label is free.

    Returns
    -------
    LabelBounds

    Raises
    ------
    ConfigError
        If there is no such layer, budget or kind, or the graph's predictors are others.
    DataError
        If arrays do not fit the start layer.
    """
    predictors = check_rule(graph, start, "max", probability)
    kind: Probability = "balanced" if probability == "balanced" else "calibrated"
    asked = question(graph, start, until, fixed, budget, flippable, "max", kind, inputs, tighten)
    labels = _joined(_labels, asked)
    constant = constant_concepts(graph, start, kind, "max", asked.until, inputs)
    return LabelBounds(start, asked.until, budget, "max", predictors, probability, labels, constant)


def probability_bounds(
    graph: ConceptGraph,
    start: int,
    fixed: np.ndarray,
    *,
    budget: int | None = None,
    flippable: np.ndarray | None = None,
    until: int | None = None,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
    tighten: bool = True,
) -> ProbabilityBounds:
    """Bound the probabilities of all later layers where probabilities are passed on.

    The rule is ``refitted`` where the graph's predictors were refitted for the start layer
    (`cgraph.counterfactual.rolled_through` returns that graph), else ``probabilities``.

    Parameters and errors are those of `label_bounds`.

    Returns
    -------
    ProbabilityBounds
        Its labels say where p is surely at least τ, or surely below.
    """
    rule: Rule = "probabilities" if graph.refitted_from is None else REFITTED_RULE
    predictors = check_rule(graph, start, rule, probability)
    asked = question(
        graph, start, until, fixed, budget, flippable, rule, probability, inputs, tighten
    )
    found = _joined(_probabilities, asked)
    n = asked.until - start + 1
    constant = constant_concepts(graph, start, probability, rule, asked.until, inputs)
    return ProbabilityBounds(
        start, asked.until, budget, rule, predictors, probability, found[:n], constant,
        found[n : 2 * n], found[2 * n :],
    )  # fmt: skip


def constant_concepts(
    graph: ConceptGraph,
    start: int,
    probability: Probability,
    rule: Rule,
    until: int,
    inputs: Inputs = None,
) -> tuple[np.ndarray, ...]:
    """Return which concepts no labels of the start layer can switch, as far as intervals prove it.

    Returns
    -------
    tuple of ndarray of bool, shape (n_concepts,)
        Of layers start … until. Of the start layer none is.
    """
    if inputs is not None:
        return _constant(graph, start, probability, rule, until, inputs)
    return _kept_constant(graph, start, probability, rule, until)


@lru_cache(maxsize=64)
def _kept_constant(
    graph: ConceptGraph, start: int, probability: Probability, rule: Rule, until: int
) -> tuple[np.ndarray, ...]:
    return _constant(graph, start, probability, rule, until, None)


def _constant(
    graph: ConceptGraph,
    start: int,
    probability: Probability,
    rule: Rule,
    until: int,
    inputs: Inputs,
) -> tuple[np.ndarray, ...]:
    free = np.full((1, graph.n_concepts(start)), UNDECIDED, dtype=np.int8)
    nothing = np.zeros(free.shape[1], dtype=bool)
    asked = Question(graph, start, until, free, None, nothing, rule, probability, inputs, False)
    run = _labels if rule == "max" else _probabilities
    return tuple(part[0] != UNDECIDED for part in run(asked)[: until - start + 1])


def _joined(run: Any, asked: Question) -> tuple[np.ndarray, ...]:
    """Run a question in parts of some rows, one at a time where flips are followed."""
    widest = max(asked.graph.n_concepts(n) for n in range(asked.start, asked.until + 1))
    step = 1 if asked.shared else max(1, _CELLS // widest)
    rows = range(0, max(len(asked.fixed), 1), step)
    parts = [run(_rows(asked, slice(first, first + step))) for first in rows]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _rows(asked: Question, rows: slice) -> Question:
    return replace(asked, fixed=asked.fixed[rows])


def _first_scores(asked: Question, layer: BoundLayer) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of the oriented scores of the layer after the start."""
    low, high = asked.fixed == 1, asked.fixed != 0
    least, most = layer.score_bounds(low, high)
    if asked.budget:
        from cgraph.bounds_kernels import top_gains  # brings numba, which takes long to load

        up, down = np.empty_like(most), np.empty_like(least)
        top_gains(
            layer.starts, layer.parents, layer.weights, asked.fixed, asked.flippable,
            asked.budget, up, down,
        )  # fmt: skip
        least, most = least - down, most + up
    return least, most


def _base(asked: Question) -> Sequence[np.ndarray]:
    """Return what a rollout without flips passes on, of the one row."""
    found = rollout(
        asked.graph,
        asked.fixed == 1,
        asked.start,
        RolloutSettings(asked.rule, probability=asked.kind),
        inputs=asked.inputs,
    )
    return found.passed


def flip_charges(
    graph: ConceptGraph,
    start: int,
    labels: np.ndarray,
    budget: int,
    flippable: np.ndarray,
    until: int,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
) -> FlipCharges:
    """Return which concepts of a layer a few flips may switch by the rule ``max``, and whose part.

    Parameters are those of `label_bounds`; `labels` are of one image, and budget at least 1.
    """
    kind: Probability = "balanced" if probability == "balanced" else "calibrated"
    asked = question(graph, start, until, labels, budget, flippable, "max", kind, inputs, True)
    charges = _followed(asked)[1]
    assert charges is not None  # all labels are given, and some flip
    return charges


def _labels(asked: Question) -> tuple[np.ndarray, ...]:
    """Return three-valued labels of each layer by the rule ``max``."""
    return _followed(asked)[0]


def _followed(asked: Question) -> tuple[tuple[np.ndarray, ...], FlipCharges | None]:
    """Return three-valued labels of each layer, and the charges of the last."""
    state = asked.fixed.copy()
    if asked.budget:
        state[:, asked.flippable] = UNDECIDED
    found = [state]
    base = _base(asked) if asked.shared else ()
    charges = FlipCharges.at_start(asked.flippable, asked.budget or 0) if asked.shared else None
    for number in range(asked.start + 1, asked.until + 1):
        layer = asked.layer(number)
        if number == asked.start + 1:
            least, most = _first_scores(asked, layer)
        else:
            least, most = layer.score_bounds(state == 1, state != 0)
        after = layer.labels_between(least, most)
        _settle(asked, layer, number, state, after)
        if charges is not None:
            place = number - asked.start
            before, own = base[place - 1][0] > 0, base[place][0] > 0
            charges = charges.through(layer, before, own, after[0] == UNDECIDED)
            still = np.ones(layer.n_children, dtype=bool)
            still[charges.rows] = False
            after[0] = np.where(still & (after[0] == UNDECIDED), own, after[0])
        state = after
        found.append(state)
    return tuple(found), charges


def _settle(
    asked: Question, layer: BoundLayer, number: int, state: np.ndarray, after: np.ndarray
) -> None:
    """Compute labels that the margin alone left undecided: every parent of them is decided."""
    open_parents = (state == UNDECIDED).astype(np.float64)
    rows = np.flatnonzero((after == UNDECIDED).any(axis=1))
    if not len(rows):
        return
    touching = layer.matrix.copy()
    touching.data = np.ones_like(touching.data)
    touched = (touching @ open_parents[rows].T).T > 0
    settled = (after[rows] == UNDECIDED) & ~touched
    some = settled.any(axis=1)
    if some.any():
        computed = layer.computed_labels(state[rows[some]] == 1, asked.passed(number - 1))
        after[rows[some]] = np.where(settled[some], computed, after[rows[some]])


def _probabilities(asked: Question) -> tuple[np.ndarray, ...]:
    """Return three-valued labels, then lower, then upper bounds of p, of each layer."""
    state = asked.fixed.copy()
    if asked.budget:
        state[:, asked.flippable] = UNDECIDED
    low, high = (state == 1).astype(np.float32), (state != 0).astype(np.float32)
    labels, lower, upper = [state], [low], [high]
    base = _base(asked) if asked.shared else ()
    charges = (
        MoveCharges.at_start(asked.fixed[0] == 1, asked.flippable, asked.budget or 0)
        if asked.shared
        else None
    )
    for number in range(asked.start + 1, asked.until + 1):
        layer = asked.layer(number)
        if number == asked.start + 1:
            least, most = _first_scores(asked, layer)
        else:
            least, most = layer.score_bounds(low, high)
        if charges is not None:
            place = number - asked.start
            charges, tight = charges.through(layer, base[place - 1][0], (least[0], most[0]))
            least[0], most[0] = tight
        low, high = layer.probabilities_between(least, most)
        labels.append(layer.labels_between(least, most))
        lower.append(low)
        upper.append(high)
    return (*labels, *lower, *upper)
