"""Flip radii of one concept in one image, from every layer before it; computed once and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edits import PLAIN_RULE, REFITTED_RULE, RolloutSettings, Rule
from cgraph.errors import CgraphError
from cgraph.study import Study

if TYPE_CHECKING:
    from cgraph.flip_radius import FlipRadius

PATIENCE = 2.0
"""Seconds after which no further layer is taken up before somebody asks."""

_MOST_BUDGET = 6
_MOST_ROLLOUTS = 4000
_MOST_KEPT = 64


@dataclass(frozen=True)
class Asked:
    """What radii are asked for.

    Attributes
    ----------
    study : Study
    image : str
    active : tuple of tuple of int
        Indices of the active concepts of each layer of the image.
    concept : ConceptId
    rule : str
        ``max`` or ``refitted``.
    """

    study: Study
    image: str
    active: tuple[tuple[int, ...], ...]
    concept: ConceptId
    rule: Rule

    @property
    def starts(self) -> tuple[int, ...]:
        """Layers before the concept, the nearest first."""
        return tuple(range(min(self.concept.layer - 1, self.study.n_layers), 0, -1))


@dataclass(frozen=True)
class Found:
    """The radius from one layer, or why there is none."""

    start: int
    radius: FlipRadius | None
    problem: str = ""


_kept: dict[Asked, dict[int, Found]] = {}


def rules_of(study: Study) -> tuple[Rule, ...]:
    """Return the rules that radii can be had for in a study."""
    return (PLAIN_RULE, REFITTED_RULE) if study.is_measured("rollout") else (PLAIN_RULE,)


def known(asked: Asked) -> tuple[Found, ...]:
    """Return what was computed already, the nearest layer first."""
    found = _kept.get(asked, {})
    return tuple(found[start] for start in asked.starts if start in found)


def compute(asked: Asked, patience: float | None = None) -> tuple[Found, ...]:
    """Compute radii layer by layer until all are there or the time is over.

    Parameters
    ----------
    asked : Asked
    patience : float, optional
        Seconds after which no further layer is taken up, `PATIENCE` if left out; one layer more is
        always computed.

    Returns
    -------
    tuple of Found
        As of `known`.
    """
    found = _kept.setdefault(asked, {})
    while len(_kept) > _MOST_KEPT:
        del _kept[next(iter(_kept))]
    patience = PATIENCE if patience is None else patience
    began = time.monotonic()
    for start in asked.starts:
        if start in found:
            continue
        found[start] = _one(asked, start)
        if time.monotonic() - began > patience:
            break
    return known(asked)


def _one(asked: Asked, start: int) -> Found:
    from cgraph.counterfactual import rolled_through
    from cgraph.flip_radius import radius

    study, concept = asked.study, asked.concept
    try:
        graph, inputs = rolled_through(study, RolloutSettings(rule=asked.rule), start)
        if concept.kind == "output":
            assert study.outputs is not None  # an output was asked for
            graph = study.outputs.extended(graph)
        labels = np.zeros(graph.n_concepts(start), dtype=bool)
        labels[list(asked.active[start - 1])] = True
        rule: Rule = asked.rule
        if rule == REFITTED_RULE and graph.refitted_from is None:
            rule = PLAIN_RULE
        answer = radius(
            graph, labels, start, concept, rule=rule, most=_MOST_BUDGET,
            most_rollouts=_MOST_ROLLOUTS, inputs=inputs,
        )  # fmt: skip
    except CgraphError as error:
        return Found(start, None, str(error))
    return Found(start, answer)
