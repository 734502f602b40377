"""One layer of a graph made ready for bounds: when a concept is surely on or off, with margins.

A rollout (`cgraph.rollout`) adds up weights in double precision, rounds the sum to a score of
single precision, takes p = σ(slope · score + offset) in single precision, and calls a concept on
where p ≥ τ. Every step but the exponential is a correctly rounded operation, and so never falls
when its input rises. What is said here of a score in real numbers holds for what that computes:

- sums differ from real sums by at most ``margin``, (n + 4) · 2⁻⁵¹ times the sum of the sizes of
  all n summands, which covers the sums made here as well;
- the exponential is taken to be right within 2⁻²⁰ of its value (8 units in the last place; NumPy
  states less than 4), the two operations after it within 2⁻²⁴ each.

From these follow two scores for each concept: from ``on_from`` on it is on, down to ``off_to`` it
is off, and in the narrow gap between them nothing is said. Scores are *oriented*: multiplied by -1
where the slope is negative, so that a higher one always speaks for the concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cgraph.concept import ConceptId
from cgraph.edits import PROBABILITIES, REFITTED_RULE, Rule
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.rollout import LayerModel, layer_model, log_odds

if TYPE_CHECKING:
    from scipy import sparse

EXP_ERROR = 2.0**-20
"""Largest relative error of an exponential of single precision that bounds allow for."""

_P_ERROR = 2.0**-19  # of p: that of the exponential and of two roundings
_SUM_ERROR = 2.0**-51
_TINY = 2.0**-120  # below it, p may be a subnormal number or 0
_SURELY_ONE = 1 + 25 * np.log(2)  # from here on e^-x is lost beside 1, and p is 1

COVERED: tuple[Rule, ...] = ("max", "probabilities", "refitted")
"""Rules of rollouts that bounds cover."""

Inputs = Sequence[np.ndarray] | None


@dataclass(frozen=True)
class BoundLayer:
    """Edges into a layer by child, oriented, and where the label of a child is certain.

    Attributes
    ----------
    starts : ndarray of int64, shape (n_children + 1,)
        Edges into child ``i`` are the entries ``starts[i]:starts[i + 1]``.
    parents : ndarray of int32, shape (n_edges,)
        Rising for one child.
    weights : ndarray of float64, shape (n_edges,)
        Oriented, and times what an active parent passes on.
    bias : ndarray of float64, shape (n_children,)
        Oriented intercept.
    on_from, off_to : ndarray of float64, shape (n_children,)
        Oriented scores from which on, and down to which, a child is surely on, or off.
    margin : ndarray of float64, shape (n_children,)
        Most that a computed sum can differ from the real one.
    constant : ndarray of int8, shape (n_children,)
        1 or 0 where the label depends on no parent: slope 0, no predictor or no edge. Else -1.
    slope, offset : ndarray of float32, shape (n_children,)
        p = σ(slope · score + offset), of scores that are not oriented.
    sign : ndarray of float64, shape (n_children,)
        Of the slope, 1 where that is 0.
    model : LayerModel
    kind : str
        Which p is meant. The labels of ``max`` in the world ``prior`` are those of ``calibrated``.
    """

    starts: np.ndarray
    parents: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    on_from: np.ndarray
    off_to: np.ndarray
    margin: np.ndarray
    constant: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    sign: np.ndarray
    model: LayerModel
    kind: str

    @property
    def n_children(self) -> int:
        """Number of concepts of the layer."""
        return len(self.bias)

    @property
    def n_parents(self) -> int:
        """Number of concepts of the layer before."""
        return len(self.model.starts) - 1

    @cached_property
    def children(self) -> np.ndarray:
        """Child of each edge, rising, shape ``(n_edges,)``."""
        return np.repeat(np.arange(self.n_children), np.diff(self.starts))

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """Oriented weights, shape ``(n_children, n_parents)``."""
        return self._csr(self.weights)

    @cached_property
    def halves(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """The positive and the negative oriented weights, as matrices that add up to all."""
        positive, negative = np.maximum(self.weights, 0), np.minimum(self.weights, 0)
        return self._csr(positive), self._csr(negative)

    def _csr(self, weights: np.ndarray) -> sparse.csr_array:
        from scipy import sparse

        shape = self.n_children, self.n_parents
        return sparse.csr_array((weights, self.parents, self.starts), shape=shape)

    def score_bounds(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of oriented scores, with margins, from bounds of the inputs.

        Parameters
        ----------
        lower, upper : ndarray, shape (n_rows, n_parents)

        Returns
        -------
        lower, upper : ndarray of float64, shape (n_rows, n_children)
        """
        positive, negative = self.halves
        low, high = (np.ascontiguousarray(part.T, dtype=np.float64) for part in (lower, upper))
        least = (positive @ low + negative @ high).T + (self.bias - self.margin)
        most = (positive @ high + negative @ low).T + (self.bias + self.margin)
        return least, most

    def labels_between(self, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Return three-valued labels of bounds of oriented scores, int8; -1 is undecided."""
        found = np.full(lower.shape, -1, dtype=np.int8)
        found[lower >= self.on_from] = 1
        found[upper <= self.off_to] = 0
        return np.where(self.constant >= 0, self.constant, found)

    def probabilities_between(
        self, lower: np.ndarray, upper: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of p, float32, from bounds of oriented scores that include the margin.

        The first is never above, the second never below what a rollout computes.
        """
        from scipy.special import expit

        found = []
        for oriented, outward in ((lower, -1.0), (upper, 1.0)):
            # As a rollout computes it: each step is monotone, so a bound stays one.
            with np.errstate(over="ignore"):
                x = self.slope * (oriented * self.sign).astype(np.float32) + self.offset
            p = expit(x.astype(np.float64)) * (1 + outward * _P_ERROR) + outward * 2.0**-125
            single = np.clip(p, 0, 1).astype(np.float32)
            away = np.nextafter(single, np.float32(outward * np.inf))
            found.append(np.clip(np.where(single == p, single, away), 0, 1))
        fixed = self.model.probabilities(
            np.zeros((1, self.n_children), dtype=np.float32), self.kind
        )
        still = self.slope == 0
        low, high = (np.where(still, fixed, part).astype(np.float32) for part in found)
        return low, high

    def computed_labels(self, labels: np.ndarray, passed: np.ndarray | None) -> np.ndarray:
        """Return the labels that a rollout computes from labels, bit for bit.

        Parameters
        ----------
        labels : ndarray of bool, shape (n_rows, n_parents)
        passed : ndarray of shape (n_parents,), optional
            What an active parent passes on.
        """
        scores = self.model.scores(labels if passed is None else labels * passed)
        return self.model.probabilities(scores, self.kind) >= self.model.thresholds(self.kind)


def _pair(model: LayerModel, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and offset, float32, of one kind of probability."""
    if kind == "calibrated":
        return model.slope, model.offset
    slope, own = model.fitted.astype(np.float32), log_odds(model.prevalence)
    return slope, own if kind == "prior" else np.where(model.fitted, np.float32(0), own)


def _certain_log_odds(threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log-odds x from which on p ≥ τ is certain, and down to which p < τ is."""
    tau = threshold.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = 1 / tau
        below = (inverse / (1 + 2.0**-22) - 1) / (1 + EXP_ERROR)
        above = (inverse * (1 + 2.0**-22) - 1) / (1 - EXP_ERROR)
        on_from = np.where(below > 0, -np.log(np.maximum(below, 1e-300)), np.inf)
        off_to = np.where(above > 0, -np.log(np.maximum(above, 1e-300)), np.inf)
    on_from = np.minimum(on_from, _SURELY_ONE)  # p = 1 there, and τ is at most 1
    on_from = np.where(tau < _TINY, -80.0, on_from)
    off_to = np.where(tau < _TINY, -110.0, off_to)
    on_from = np.where(tau <= 0, -np.inf, np.where(tau > 1, np.inf, on_from))
    off_to = np.where(tau <= 0, -np.inf, np.where(tau > 1, np.inf, off_to))
    return on_from, off_to


def _certain_scores(
    slope: np.ndarray, offset: np.ndarray, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the oriented scores that stand for `_certain_log_odds`."""
    size, shift = np.abs(slope.astype(np.float64)), offset.astype(np.float64)
    found = []
    for x, outward in zip(_certain_log_odds(threshold), (1.0, -1.0), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            # Two roundings to single precision, of the product and of the sum.
            room = 2.0**-22 * (np.abs(x) + np.abs(shift)) + 2.0**-120
            score = (x + outward * room - shift) / size
            # And the score's own.
            score = score + outward * (2.0**-23 * np.abs(score) + 2.0**-120)
        found.append(np.where(np.isinf(x), x, np.where(size > 0, score, outward * np.inf)))
    return found[0], found[1]


def _build(graph: ConceptGraph, layer: int, kind: str, passed: np.ndarray | None) -> BoundLayer:
    model = layer_model(graph, layer)
    parents, place, weights = graph.edges_into(np.arange(model.n_children), layer)
    counts = np.bincount(place, minlength=model.n_children)
    starts = np.concatenate([[0], np.cumsum(counts)])
    slope, offset = _pair(model, kind)
    sign = np.where(slope < 0, -1.0, 1.0)
    oriented = weights.astype(np.float64) * sign[place]
    if passed is not None:
        oriented = oriented * passed[parents]
    bias = model.intercept.astype(np.float64) * sign
    sizes = np.abs(bias) + np.bincount(place, np.abs(oriented), model.n_children)
    on_from, off_to = _certain_scores(slope, offset, model.thresholds(kind))
    at_rest = model.scores(np.zeros((1, len(model.starts) - 1), dtype=bool))
    still = (slope == 0) | (counts == 0)
    labels = (model.probabilities(at_rest, kind) >= model.thresholds(kind))[0]
    return BoundLayer(
        starts=starts,
        parents=parents,
        weights=oriented,
        bias=bias,
        on_from=on_from,
        off_to=off_to,
        margin=(counts + 4) * _SUM_ERROR * sizes,
        constant=np.where(still, labels, -1).astype(np.int8),
        slope=slope,
        offset=offset,
        sign=sign,
        model=model,
        kind=kind,
    )


@lru_cache(maxsize=64)
def _kept(graph: ConceptGraph, layer: int, kind: str) -> BoundLayer:
    return _build(graph, layer, kind, None)


def bound_layer(
    graph: ConceptGraph, layer: int, kind: str = "calibrated", inputs: Inputs = None
) -> BoundLayer:
    """Return a layer made ready for bounds; kept where labels are passed on as 1.

    Parameters
    ----------
    graph : ConceptGraph
    layer : int
        2 … L.
    kind : {"calibrated", "prior", "balanced"}
    inputs : sequence of ndarray, optional
        What an active concept of layers 1..L passes on, as for `cgraph.rollout.rollout`.
    """
    if inputs is None:
        return _kept(graph, layer, kind)
    return _build(graph, layer, kind, np.asarray(inputs[layer - 2], dtype=np.float64))


def check_span(graph: ConceptGraph, start: int, until: int | None) -> int:
    """Return the last layer of bounds from a start layer.

    Raises
    ------
    ConfigError
        If there is no such layer, or none after the start.
    """
    last = graph.n_layers if until is None else until
    if not 1 <= start < last <= graph.n_layers:
        raise ConfigError(
            f"Bounds from layer {start} to layer {last} are asked for: this graph has layers 1 to "
            f"{graph.n_layers}, and the second must come after the first."
        )
    return last


def check_rule(graph: ConceptGraph, start: int, rule: str, kind: str) -> str:
    """Return which predictors a rule takes, ``edge`` or ``rollout``.

    Raises
    ------
    ConfigError
        If bounds do not cover the rule or the kind of probability, or the graph's predictors are
        not those of the rule.
    """
    if rule not in COVERED:
        raise ConfigError(
            f"The rule is {rule!r}: bounds cover {', '.join(COVERED)}. The rule top-k couples "
            "concepts and sample draws them; choose one of the three."
        )
    if kind not in PROBABILITIES:
        raise ConfigError(f"probability is {kind!r}. Allowed: {', '.join(PROBABILITIES)}.")
    if rule == REFITTED_RULE and kind != "calibrated":
        raise ConfigError(
            f"The rule {REFITTED_RULE} passes calibrated probabilities on, and {kind} ones were "
            "asked for. Choose calibrated, or the rule probabilities."
        )
    wanted = start if rule == REFITTED_RULE else None
    if graph.refitted_from != wanted:
        of = "its edges" if graph.refitted_from is None else f"start {graph.refitted_from}"
        raise ConfigError(
            f"The rule is {rule} from layer {start}, and the predictors of this graph are those of "
            f"{of}. Give the graph of `cgraph.counterfactual.rolled_through`."
        )
    return "rollout" if rule == REFITTED_RULE else "edge"


def place_of(graph: ConceptGraph, concept: ConceptId, start: int) -> ConceptId:
    """Return a concept that lies after the start layer.

    Raises
    ------
    ConfigError
        If there is no such concept, or it does not lie after the start layer.
    """
    if not start < concept.layer <= graph.n_layers:
        raise ConfigError(
            f"The concept lies in layer {concept.layer} and flips in layer {start}: it must lie in "
            f"one of the layers {start + 1} to {graph.n_layers}."
        )
    n = graph.n_concepts(concept.layer)
    if not 0 <= concept.index < n:
        raise ConfigError(
            f"There is no concept {concept.index} in layer {concept.layer}, which has 0 to {n - 1}."
        )
    return concept
