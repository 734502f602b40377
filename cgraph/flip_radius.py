"""Flip radius: the least number of labels of a layer that must flip before a concept changes.

*One layer* has a closed form: sort the flips that help by what they add to the score, and count how
many of the largest it takes. It is exact, but for concepts that lie within float errors of their
threshold (`cgraph.bounds_layers`), where lower and upper bound may differ and are said to.

*Several layers* have a lower bound, from `cgraph.bounds` with a growing budget, and an upper bound,
an actual set of flips found by search (`cgraph.flip_search`) and verified by a rollout. Where they
meet the radius is exact; where not, `cgraph.bounds_exact` may close the gap.

A radius is one of labels, in the graph. What a flip budget means for pictures, how many labels
really flip when an image is compressed or blurred, has to be measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cgraph.bounds import constant_concepts, label_bounds, probability_bounds
from cgraph.bounds_layers import BoundLayer, Inputs, bound_layer, check_rule, check_span, place_of
from cgraph.bounds_question import UNDECIDED, flippable_mask
from cgraph.concept import ConceptId
from cgraph.edits import MOST_CHANGES, REFITTED_RULE, Edit, Probability, Rule
from cgraph.errors import ConfigError, DataError
from cgraph.flip_search import Prober, find_flips
from cgraph.graph import ConceptGraph

NEVER = -1
"""A radius where no set of flips changes the label."""

OPEN = -2
"""An upper bound where no set of flips was found."""


@dataclass(frozen=True)
class FlipRadius:
    """The radius of one concept for one labelling.

    Attributes
    ----------
    concept : ConceptId
    start : int
        Layer whose labels flip.
    rule, predictors : str
        Rule of rollouts, and whether its predictors are those of edges (``edge``) or refitted ones
        (``rollout``).
    before : bool
        The label without flips.
    lower : int or None
        No fewer flips change it. None: none do, whatever their number; this is proven.
    upper : int or None
        Size of `flips`, so many do; None where no set was found.
    indices : tuple of int
        Concepts of the start layer that flip; empty where no set was found.
    flips : Edit or None
        The same, as an edit; None where there is none, or it is larger than an edit may be.
    constant : bool
        Whether no labels at all switch it, flippable or not; never to be called robust.
    """

    concept: ConceptId
    start: int
    rule: str
    predictors: str
    before: bool
    lower: int | None
    upper: int | None
    indices: tuple[int, ...]
    flips: Edit | None
    constant: bool

    @property
    def exact(self) -> bool:
        """Whether lower and upper bound meet, or no flips change it."""
        return self.lower == self.upper

    @property
    def never(self) -> bool:
        """Whether it is proven that no flips change it."""
        return self.lower is None


@dataclass(frozen=True)
class LayerRadii:
    """One-layer radii of all concepts of a layer, for some labellings of the layer before.

    Attributes
    ----------
    start : int
        Layer whose labels flip; the concepts lie in the next.
    predictors : {"edge", "rollout"}
    before : ndarray of bool, shape (n_rows, n_children)
        Labels without flips.
    lower, upper : ndarray of int32, shape (n_rows, n_children)
        No fewer flips change the label, so many do. Both `NEVER` where none do. Where a score
        comes so near the threshold that rounding decides, `upper` is computed from the most helpful
        flips and may be more than `lower`, or `OPEN` if they do not change the label.
    constant : ndarray of bool, shape (n_children,)
        Concepts that no labels switch.
    """

    start: int
    predictors: str
    before: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    constant: np.ndarray

    @property
    def exact(self) -> np.ndarray:
        """Where the radius is known, bool ``(n_rows, n_children)``."""
        return self.lower == self.upper


def layer_radii(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    *,
    flippable: np.ndarray | None = None,
    rule: Rule | None = None,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
) -> LayerRadii:
    """Return the radii of all concepts of the next layer, in closed form.

    What is passed on from the start layer are labels by all rules that bounds cover, so that all
    have the same radii for the same predictors.

    Parameters
    ----------
    graph : ConceptGraph
    labels : ndarray of bool, shape (n_concepts,) or (n_rows, n_concepts)
        Of the start layer.
    start : int
        1 … L - 1.
    flippable : ndarray of bool, shape (n_concepts,), optional
        Which may flip; all if left out.
    rule : {"max", "probabilities", "refitted"}, optional
        ``refitted`` of a graph refitted for the start layer, else ``max``, if left out.
    inputs : sequence of ndarray, optional
        As for `cgraph.rollout.rollout`.
    probability : {"calibrated", "prior", "balanced"}

    Raises
    ------
    ConfigError
        If there is no such layer or rule, or the graph's predictors are those of another start.
    DataError
        If arrays do not fit the start layer.
    """
    from cgraph.bounds_kernels import least_flips  # brings numba, which takes long to load

    check_span(graph, start, start + 1)
    rule = rule or ("max" if graph.refitted_from is None else REFITTED_RULE)
    predictors = check_rule(graph, start, rule, probability)
    rows = _checked_labels(graph, labels, start)
    kind = label_kind(rule, probability)
    layer = bound_layer(graph, start + 1, kind, inputs)
    passed = None if inputs is None else np.asarray(inputs[start - 1], dtype=np.float64)
    before = layer.computed_labels(rows, passed)
    score = (layer.matrix @ rows.T.astype(np.float64)).T + layer.bias
    gap_low = np.where(before, score - layer.on_from, layer.off_to - score) - layer.margin
    gap_high = np.where(before, score - layer.off_to, layer.on_from - score) + layer.margin
    for gap in (gap_low, gap_high):
        gap[:, layer.constant >= 0] = np.inf
    shape, mask = (len(rows), layer.n_children), flippable_mask(graph, start, flippable)
    lower, upper = (np.empty(shape, dtype=np.int32) for _ in range(2))
    least_flips(
        layer.starts, layer.parents, layer.weights, rows, mask, before, gap_low, gap_high, lower,
        upper,
    )  # fmt: skip
    upper[(upper == NEVER) & (lower != NEVER)] = OPEN
    for row, child in np.argwhere(lower != upper):
        _compute_upper(layer, rows[row], passed, mask, child, before[row, child], upper[row])
    constant = constant_concepts(graph, start, kind, rule, start + 1, inputs)[1]
    return LayerRadii(start, predictors, before, lower, upper, constant)


def _compute_upper(
    layer: BoundLayer,
    labels: np.ndarray,
    passed: np.ndarray | None,
    flippable: np.ndarray,
    child: int,
    on: bool,
    upper: np.ndarray,
) -> None:
    """Flip the most helpful parents in turn until the computed label changes; write how many."""
    entries = slice(layer.starts[child], layer.starts[child + 1])
    parents = layer.parents[entries]
    gains = np.where(labels[parents], -1.0, 1.0) * layer.weights[entries] * (-1.0 if on else 1.0)
    helpful = np.flatnonzero((gains > 0) & flippable[parents])
    order = parents[helpful[np.argsort(-gains[helpful], kind="stable")]]
    if not len(order):
        return
    flipped = np.repeat(labels[None], len(order), axis=0)
    for n, parent in enumerate(order):
        flipped[n:, parent] ^= True
    changed = layer.computed_labels(flipped, passed)[:, child] != on
    if changed.any():
        upper[child] = int(np.argmax(changed)) + 1


def lower_radii(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    layer: int,
    *,
    flippable: np.ndarray | None = None,
    rule: Rule = "max",
    most: int = 4,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
) -> np.ndarray:
    """Return lower bounds of the radii of all concepts of a later layer.

    Parameters
    ----------
    graph, labels, start, flippable, inputs, probability
        As for `layer_radii`.
    layer : int
        After the start layer.
    rule : {"max", "probabilities", "refitted"}
    most : int
        Budgets tried: 1 … most. A larger radius is not told apart.

    Returns
    -------
    ndarray of int32, shape (n_rows, n_concepts)
        Up to ``most + 1``, which says that `most` flips change nothing; or `NEVER`.
    """
    check_rule(graph, start, rule, probability)
    rows = _checked_labels(graph, labels, start)
    mask = flippable_mask(graph, start, flippable)
    run = label_bounds if rule == "max" else probability_bounds
    found = np.full((len(rows), graph.n_concepts(layer)), most + 1, dtype=np.int32)
    if most >= mask.sum():
        found[:] = NEVER
    opened = np.zeros(found.shape, dtype=bool)
    for budget in range(1, min(most, int(mask.sum())) + 1):
        bounds = run(
            graph, start, rows, budget=budget, flippable=mask, until=layer, inputs=inputs,
            probability=probability,
        )  # fmt: skip
        new = (bounds.of_layer(layer) == UNDECIDED) & ~opened
        found[new] = budget
        opened |= new
        if opened.all():
            break
    free = np.where(mask, UNDECIDED, rows).astype(np.int8)
    closed = run(graph, start, free, until=layer, inputs=inputs, probability=probability)
    found[closed.of_layer(layer) != UNDECIDED] = NEVER
    return found


def radius(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    concept: ConceptId,
    flippable: np.ndarray | None = None,
    *,
    rule: Rule = "max",
    most: int = 8,
    most_rollouts: int = 20_000,
    seed: int = 0,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
) -> FlipRadius:
    """Return the radius of one concept: bounds, and the flips that were found.

    Parameters
    ----------
    graph : ConceptGraph
        For the rule ``refitted`` the one with its predictors.
    labels : ndarray of bool, shape (n_concepts,)
        Of the start layer.
    start : int
    concept : ConceptId
        Of a later layer.
    flippable : ndarray of bool, shape (n_concepts,), optional
        Which may flip; all if left out.
    rule : {"max", "probabilities", "refitted"}
    most : int
        Largest budget that is tried for the lower bound.
    most_rollouts : int
        Most labellings that the search rolls out.
    seed : int
        Of the search.
    inputs, probability
        As for `layer_radii`.

    Raises
    ------
    ConfigError
        If there is no such layer, concept or rule, or the graph's predictors are others.
    DataError
        If arrays do not fit the start layer.
    """
    place_of(graph, concept, start)
    predictors = check_rule(graph, start, rule, probability)
    rows = _checked_labels(graph, labels, start)
    if len(rows) != 1:
        raise DataError(f"Labels of {len(rows)} images are given: a radius is one of one image.")
    if most < 1 or most_rollouts < 1:
        raise ConfigError("most and most_rollouts must be at least 1.")
    mask = flippable_mask(graph, start, flippable)
    constant = constant_concepts(
        graph, start, label_kind(rule, probability), rule, concept.layer, inputs
    )[-1]
    prober = Prober(graph, rows[0], start, concept, rule, probability, inputs, most_rollouts)

    def answer(lower: int | None, indices: tuple[int, ...]) -> FlipRadius:
        return FlipRadius(
            concept, start, rule, predictors, prober.before, lower,
            len(indices) or None, indices, flip_edit(rows[0], start, indices),
            bool(constant[concept.index]),
        )  # fmt: skip

    asked: Any = {"flippable": mask, "rule": rule, "inputs": inputs, "probability": probability}
    if concept.layer == start + 1:
        lowers = layer_radii(graph, rows, start, **asked).lower
    else:
        lowers = lower_radii(graph, rows, start, concept.layer, most=most, **asked)
    lower = int(lowers[0, concept.index])
    if lower == NEVER:
        return answer(None, ())
    found = find_flips(prober, mask, lower, seed)
    return answer(max(lower, found.at_least), found.indices)


def flip_edit(labels: np.ndarray, start: int, indices: tuple[int, ...]) -> Edit | None:
    """Return flips of labels as an edit; None where there are none, or more than an edit holds."""
    if not 0 < len(indices) <= MOST_CHANGES:
        return None
    concepts = [ConceptId(start, index) for index in indices]
    return Edit(
        tuple(concept for concept in concepts if not labels[concept.index]),
        tuple(concept for concept in concepts if labels[concept.index]),
    )


def label_kind(rule: Rule, probability: Probability) -> Probability:
    """Return the p that labels of a rule are held against: of ``max`` never the prior one."""
    return "calibrated" if rule == "max" and probability == "prior" else probability


def _checked_labels(graph: ConceptGraph, labels: np.ndarray, start: int) -> np.ndarray:
    rows = np.array(labels, ndmin=2)
    n = graph.n_concepts(start)
    if rows.dtype != bool or rows.ndim != 2 or rows.shape[1] != n:
        raise DataError(
            f"The labels are {rows.dtype} of shape {rows.shape}: layer {start} needs Booleans of "
            f"shape (n, {n})."
        )
    return rows
