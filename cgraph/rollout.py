"""Labels run through the graph: from the labels of one layer to predictions for all later ones.

Free-running: what is predicted for a layer is passed on to the next. At the start layer labels are
given; an edit sets some of them, there or in any later layer, after the rule has spoken.

Rules, with p the probability of a concept given what was passed on from the layer before:

- ``max``: on where p is at least the concept's own threshold τ, which was chosen so that it is
  predicted as often as it occurs.
- ``top-k``: the k most probable concepts of a layer are on, of equal ones the lower index. It
  couples concepts: one in, one out.
- ``sample``: on with probability p, in a number of draws. What is reported is the mean of p over
  the draws (of fewer draws more exact than the share of ones; Rao-Blackwell).
- ``probabilities``: p itself is passed on (mean field); the score of a child is its expectation if
  parents were independent.
- ``refitted``: p is passed on, too, and the predictors are others: of the same parents, fitted for
  this start layer on what is passed on. `ConceptGraph.refitted` makes the graph that holds them.

With the last three a concept counts as on where p reaches τ.

A balanced fit speaks of a world where half the images have the concept, and would light up hundreds
in every layer. So p is ``calibrated`` by the Platt pair of the concept, or ``prior``, σ(score +
log(π/(1−π))) with the training prevalence π (King and Zeng 2001). The third kind, ``balanced``, is
the paper's: p = σ(score), and on where p is at least ½. It is there to show that it explodes. A
concept without a predictor has its prevalence as p, whatever its layer before holds.

Random numbers depend on the seed, the layer, the key of an image and the draw alone: an edited and
an unedited run of an image draw the same, and other images of the batch change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cgraph.edits import PLAIN_RULE, REFITTED_RULE, Edit, RolloutSettings
from cgraph.errors import ConfigError, DataError
from cgraph.graph import ConceptGraph

if TYPE_CHECKING:
    from scipy import sparse

CELLS = 2**23
"""Most cells (rows of draws × concepts) that are scored at a time, which bounds the memory."""

MANY_ROWS = 32
"""Rows from which on dense inputs are multiplied as a matrix."""

_RAREST = 1e-6
_MEAN_FIELD = ("probabilities", REFITTED_RULE)


@dataclass(frozen=True)
class Rollout:
    """What a rollout says of layers `start` … L, of some images.

    Every tuple has one array a layer, shape ``(n_images, n_concepts)``, from the start layer on.

    Attributes
    ----------
    start : int
        The layer whose labels were given.
    labels : tuple of ndarray of bool
        On or off, by the rule.
    probabilities : tuple of ndarray of float32
        p; 0 or 1 where labels were given or set by hand.
    passed : tuple of ndarray of float32
        What was passed on to the next layer: labels as 0 or 1, the share of draws with the label,
        or p.
    scores : tuple of ndarray of float32
        Balanced log-odds, the mean over draws; NaN at the start layer and without a predictor.
    """

    start: int
    labels: tuple[np.ndarray, ...]
    probabilities: tuple[np.ndarray, ...]
    passed: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]

    def of_layer(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, probabilities, what was passed on, and scores of one layer."""
        place = layer - self.start
        return (
            self.labels[place], self.probabilities[place], self.passed[place], self.scores[place]
        )  # fmt: skip


@dataclass(frozen=True)
class LayerModel:
    """The predictors of one layer as arrays: edges by parent, and what turns scores into labels.

    Attributes
    ----------
    starts, children, weights : ndarray
        Edges of parent ``j`` are the entries ``starts[j]:starts[j + 1]``.
    intercept, slope, offset, threshold, prevalence : ndarray of float32, shape (n_children,)
        Finite everywhere: a concept without a predictor has slope 0 and the log-odds of its
        prevalence as offset.
    fitted : ndarray of bool, shape (n_children,)
    """

    starts: np.ndarray
    children: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    threshold: np.ndarray
    prevalence: np.ndarray
    fitted: np.ndarray

    @cached_property
    def _by_child(self) -> sparse.csr_array:
        """The weights, shape ``(n_children, n_parents)``; parents rise, as summands do else."""
        from scipy import sparse

        shape = (self.n_children, len(self.starts) - 1)
        return sparse.csc_array((self.weights, self.children, self.starts), shape=shape).tocsr()

    @property
    def n_children(self) -> int:
        """Number of concepts of the layer."""
        return len(self.intercept)

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Return balanced log-odds, float32 ``(n_rows, n_children)``.

        Parameters
        ----------
        inputs : ndarray of bool or float, shape (n_rows, n_parents)
            Of the layer before. Only entries that are not 0 cost time.
        """
        # The same sums in the same order; few rows do not pay for the import of scipy.
        if len(inputs) >= MANY_ROWS and 4 * np.count_nonzero(inputs) > inputs.size:
            dense = self._by_child @ np.ascontiguousarray(inputs.T, dtype=np.float64)
            return (dense.T + self.intercept).astype(np.float32)
        rows, parents = np.nonzero(inputs)
        first = self.starts[parents]
        counts = self.starts[parents + 1] - first
        ends = np.cumsum(counts)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
        summands = self.weights[places]
        if inputs.dtype != bool:
            summands = summands * np.repeat(inputs[rows, parents], counts)
        cells = np.repeat(rows * self.n_children, counts) + self.children[places]
        size = len(inputs) * self.n_children
        sums = np.bincount(cells, summands, size).reshape(len(inputs), self.n_children)
        return (sums + self.intercept).astype(np.float32)

    def probabilities(self, scores: np.ndarray, kind: str) -> np.ndarray:
        """Return p, float32, from balanced log-odds."""
        if kind == "calibrated":
            return _sigmoid(self.slope * scores + self.offset)
        if kind == "balanced":
            return _sigmoid(np.where(self.fitted, scores, log_odds(self.prevalence)))
        return _sigmoid(np.where(self.fitted, scores, 0) + log_odds(self.prevalence))

    def thresholds(self, kind: str) -> np.ndarray:
        """Return τ on the scale of `probabilities`."""
        if kind == "calibrated":
            return self.threshold
        if kind == "balanced":
            return np.full(self.n_children, 0.5, dtype=np.float32)
        # The score at which the calibrated p reaches τ, seen in the other world.
        with np.errstate(divide="ignore", invalid="ignore"):
            score = (log_odds(self.threshold) - self.offset) / self.slope
        shifted = _sigmoid(score + log_odds(self.prevalence))
        return np.where(self.slope > 0, shifted, self.threshold).astype(np.float32)


@lru_cache(maxsize=64)
def layer_model(graph: ConceptGraph, layer: int) -> LayerModel:
    """Return the predictors of a layer, 2 … L, indexed once and kept."""
    n_children, n_parents = graph.n_concepts(layer), graph.n_concepts(layer - 1)
    parent, place, weight = graph.edges_into(np.arange(n_children), layer)
    order = np.argsort(parent, kind="stable")
    counts = np.bincount(parent, minlength=n_parents)
    prevalence = np.nan_to_num(graph.prevalence(layer)).astype(np.float32)
    fitted = graph.column(layer, "fitted").astype(bool)

    def column(name: str, otherwise: np.ndarray | float) -> np.ndarray:
        values = graph.column(layer, name)
        return np.where(fitted & np.isfinite(values), values, otherwise).astype(np.float32)

    return LayerModel(
        starts=np.concatenate([[0], np.cumsum(counts)]),
        children=place[order],
        weights=weight[order].astype(np.float64),
        intercept=column("intercept", 0.0),
        slope=column("slope", 0.0),
        offset=column("offset", log_odds(prevalence)),
        threshold=column("threshold", 0.5),
        prevalence=prevalence,
        fitted=fitted,
    )


def forced_labels(graph: ConceptGraph, edits: Sequence[Edit], layer: int) -> np.ndarray | None:
    """Return what edits set in a layer, int8 ``(n_edits, n_concepts)``; None if they set nothing.

    1 is on, 0 off, -1 left alone.

    Raises
    ------
    ConfigError
        If a concept does not exist.
    """
    if not any(layer in edit.layers for edit in {id(edit): edit for edit in edits}.values()):
        return None
    forced = np.full((len(edits), graph.n_concepts(layer)), -1, dtype=np.int8)
    for row, edit in enumerate(edits):
        if row and edit is edits[row - 1]:  # as a rule one edit is made in all images
            forced[row] = forced[row - 1]
            continue
        part = edit.of_layer(layer)
        for concept in part:
            graph.concept_row(concept)
        forced[row, [concept.index for concept in part.on]] = 1
        forced[row, [concept.index for concept in part.off]] = 0
    return forced


def rollout(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    settings: RolloutSettings,
    edits: Edit | Sequence[Edit] = (),
    *,
    keys: Sequence[int] | None = None,
    inputs: Sequence[np.ndarray] | None = None,
) -> Rollout:
    """Run labels through the graph to the last layer.

    Parameters
    ----------
    graph : ConceptGraph
    labels : ndarray of bool, shape (n_images, n_concepts)
        Labels of the start layer.
    start : int
        1 … L.
    settings : RolloutSettings
        Its own `start` is not read.
    edits : Edit or sequence of Edit
        One for all images, or one for each; nothing is set if left out.
    keys : sequence of int, optional
        What an image's draws depend on besides the seed, such as its row in the study; 0, 1, …
        if left out.
    inputs : sequence of ndarray of shape (n_concepts,), optional
        What an active concept of layers 1..L passes on; 1 if left out, as for predictors of labels.

    Returns
    -------
    Rollout

    Raises
    ------
    ConfigError
        If there is no such layer or concept, an edit sets something before the start layer, or the
        rule is ``refitted`` and the graph not one that was refitted for this start layer.
    DataError
        If labels, edits or keys do not fit together.
    """
    settings = replace(settings, rule=settings.rule or PLAIN_RULE)
    if (settings.rule == REFITTED_RULE) != (graph.refitted_from == start):
        fitted = "its edges" if graph.refitted_from is None else f"start {graph.refitted_from}"
        raise ConfigError(
            f"The rule is {settings.rule} from layer {start}, and the predictors of this graph are "
            f"those of {fitted}. Give the graph of `cgraph.counterfactual.rolled_through`."
        )
    labels = np.array(labels, dtype=bool, ndmin=2)
    n_images = len(labels)
    if not 1 <= start <= graph.n_layers:
        raise ConfigError(f"The start layer is {start}: this graph has 1 to {graph.n_layers}.")
    if labels.shape != (n_images, graph.n_concepts(start)):
        raise DataError(
            f"The labels have shape {labels.shape}: layer {start} needs (n, "
            f"{graph.n_concepts(start)})."
        )
    edits = [edits] * n_images if isinstance(edits, Edit) else list(edits) or [Edit()] * n_images
    keys = list(range(n_images)) if keys is None else list(keys)
    for name, given in (("edits", edits), ("keys", keys)):
        if len(given) != n_images:
            raise DataError(f"There are {len(given)} {name} for {n_images} images.")
    for edit in edits:
        if edit.layers and not start <= edit.layers[0] <= edit.layers[-1] <= graph.n_layers:
            raise ConfigError(
                f"The edit sets layers {', '.join(map(str, edit.layers))}: from start layer "
                f"{start} on, {start} to {graph.n_layers} can be set."
            )
    repeats = settings.n_draws if settings.rule == "sample" else 1
    widest = max(graph.n_concepts(layer) for layer in range(start, graph.n_layers + 1))
    step = max(1, CELLS // (repeats * widest))
    parts = [
        _run(graph, labels[part], start, settings, edits[part], keys[part], inputs, repeats)
        for part in (slice(first, first + step) for first in range(0, max(n_images, 1), step))
    ]
    joined = [
        tuple(np.concatenate(arrays) for arrays in zip(*kind, strict=True))
        for kind in zip(*parts, strict=True)
    ]
    return Rollout(start, *joined)


def _run(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    settings: RolloutSettings,
    edits: Sequence[Edit],
    keys: Sequence[int],
    inputs: Sequence[np.ndarray] | None,
    repeats: int,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Roll out one chunk; `repeats` rows for each image. Returns the arrays of `Rollout`."""
    n_images = len(labels)
    forced = forced_labels(graph, edits, start)
    if forced is not None:
        labels = np.where(forced >= 0, forced == 1, labels)
    given = labels.astype(np.float32)
    found = ([labels], [given], [given], [np.full_like(given, np.nan)])
    current: np.ndarray = np.repeat(labels, repeats, axis=0)
    for layer in range(start + 1, graph.n_layers + 1):
        model = layer_model(graph, layer)
        before = current if inputs is None else current * inputs[layer - 2]
        scores = model.scores(before)
        p = model.probabilities(scores, settings.probability)
        chosen = _chosen(model, scores, p, settings, graph, layer, keys)
        forced = forced_labels(graph, edits, layer)
        if forced is not None:
            forced = np.repeat(forced, repeats, axis=0)
            p = np.where(forced >= 0, np.float32(forced == 1), p)
            chosen = np.where(forced >= 0, forced == 1, chosen)
        current = p if settings.rule in _MEAN_FIELD else chosen
        mean_p, mean_passed, mean_score = (
            _means(array, n_images, repeats) for array in (p, current, scores)
        )
        if settings.rule == "sample" or settings.rule in _MEAN_FIELD:
            reached = mean_p >= model.thresholds(settings.probability)
            chosen = (
                reached
                if forced is None
                else np.where(forced[::repeats] >= 0, forced[::repeats] == 1, reached)
            )
        mean_score[:, ~model.fitted] = np.nan
        for kind, array in zip(found, (chosen, mean_p, mean_passed, mean_score), strict=True):
            kind.append(array)
    return found


def _chosen(
    model: LayerModel,
    scores: np.ndarray,
    p: np.ndarray,
    settings: RolloutSettings,
    graph: ConceptGraph,
    layer: int,
    keys: Sequence[int],
) -> np.ndarray:
    """Return which concepts the rule puts on, bool ``(n_rows, n_children)``."""
    if settings.rule == "top-k":
        k = settings.k or usual_number(graph, layer)
        order = np.argsort(-p, axis=1, kind="stable")[:, :k]
        chosen = np.zeros(p.shape, dtype=bool)
        np.put_along_axis(chosen, order, True, axis=1)
        return chosen
    if settings.rule == "sample":
        draws = [
            np.random.default_rng((settings.seed, layer, key)).random(
                (settings.n_draws, model.n_children), dtype=np.float32
            )
            for key in keys
        ]
        return np.concatenate(draws) < p if draws else np.zeros(p.shape, dtype=bool)
    if settings.probability == "balanced":
        return p >= model.thresholds("balanced")
    # τ is one on the calibrated p, be that or the other natural p what is reported.
    return model.probabilities(scores, "calibrated") >= model.threshold


def usual_number(graph: ConceptGraph, layer: int) -> int:
    """Return how many concepts of a layer are active in an average training image, at least 1."""
    return max(1, round(float(np.nansum(graph.prevalence(layer)))))


def _means(values: np.ndarray, n_images: int, repeats: int) -> np.ndarray:
    if repeats == 1:
        return values.astype(np.float32)
    return values.reshape(n_images, repeats, -1).mean(axis=1, dtype=np.float64).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the exponential of a large number is infinite, and p 0
        return (1 / (1 + np.exp(-x))).astype(np.float32)


def log_odds(p: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities, float32, those of 0 and 1 kept finite."""
    p = np.clip(p.astype(np.float64), _RAREST, 1 - _RAREST)
    return np.log(p / (1 - p)).astype(np.float32)
