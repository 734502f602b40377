"""What bounds are asked for: start labels that are fixed, free or flippable, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgraph.bounds_layers import BoundLayer, Inputs, bound_layer, check_span
from cgraph.edits import Probability, Rule
from cgraph.errors import ConfigError, DataError
from cgraph.graph import ConceptGraph

UNDECIDED = -1
"""A label that may be on or off; also a label of the start layer that is free."""


@dataclass(frozen=True)
class Question:
    """Bounds from layer `start` to layer `until`; as `cgraph.bounds.label_bounds` says."""

    graph: ConceptGraph
    start: int
    until: int
    fixed: np.ndarray
    budget: int | None
    flippable: np.ndarray
    rule: Rule
    kind: Probability
    inputs: Inputs
    tighten: bool

    def layer(self, layer: int) -> BoundLayer:
        """Return the predictors of a layer, made ready for bounds."""
        return bound_layer(self.graph, layer, self.kind, self.inputs)

    def passed(self, layer: int) -> np.ndarray | None:
        """Return what active concepts of a layer pass on; None for 1."""
        return None if self.inputs is None else np.asarray(self.inputs[layer - 1], np.float64)

    @property
    def shared(self) -> bool:
        """Whether flips are followed through the layers: where all labels are given."""
        return self.tighten and bool(self.budget) and not (self.fixed < 0).any()


def question(
    graph: ConceptGraph,
    start: int,
    until: int | None,
    fixed: np.ndarray,
    budget: int | None,
    flippable: np.ndarray | None,
    rule: Rule,
    kind: Probability,
    inputs: Inputs,
    tighten: bool,
) -> Question:
    """Return a question whose parts fit together.

    Raises
    ------
    ConfigError
        If there is no such layer, or the budget is none.
    DataError
        If arrays do not fit the start layer.
    """
    last = check_span(graph, start, until)
    n = graph.n_concepts(start)
    fixed = np.array(fixed, ndmin=2)
    if fixed.ndim != 2 or fixed.shape[1] != n:
        raise DataError(f"The labels have shape {fixed.shape}: layer {start} needs (n, {n}).")
    if not np.isin(fixed, (-1, 0, 1)).all():
        raise DataError("A label is none of 1 (on), 0 (off) and -1 (free). Give these alone.")
    return Question(
        graph, start, last, fixed.astype(np.int8), check_budget(budget, flippable),
        flippable_mask(graph, start, flippable), rule, kind, inputs, tighten,
    )  # fmt: skip


def check_budget(budget: int | None, flippable: np.ndarray | None) -> int | None:
    """Return a budget of flips.

    Raises
    ------
    ConfigError
        If it is no whole number from 0 on, or concepts are flippable without one.
    """
    if budget is None:
        if flippable is not None:
            raise ConfigError(
                "Some concepts are flippable, and no budget says how many of them flip. Give a "
                "budget, or set the labels that are free to -1."
            )
        return None
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 0:
        raise ConfigError(f"The budget of flips is {budget!r}: give a whole number from 0 on.")
    return int(budget)


def flippable_mask(graph: ConceptGraph, start: int, flippable: np.ndarray | None) -> np.ndarray:
    """Return which concepts of a layer may flip, as Booleans; all if nothing is said.

    Raises
    ------
    DataError
        If it is not one Boolean for each concept.
    """
    n = graph.n_concepts(start)
    if flippable is None:
        return np.ones(n, dtype=bool)
    mask = np.asarray(flippable)
    if mask.dtype != bool or mask.shape != (n,):
        raise DataError(
            f"What is flippable is {mask.dtype} of shape {mask.shape}: give {n} Booleans, one for "
            f"each concept of layer {start}."
        )
    return mask
