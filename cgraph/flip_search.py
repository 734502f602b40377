"""A small set of flips that changes a concept, found by search and verified by rollouts.

Three steps, each of which only takes what a rollout confirms:

1. every single flip, so that a radius of 1 is always found, and its absence is proof of 2 or more;
2. sets planned layer by layer: what it takes to switch a concept is put together from what it takes
   to switch those parents that help most for each new flip, whatever else these flips do; and
   greedily, the flip that moves the concept's score most at each step, several at a time;
3. refinement: flips that are not needed are taken out one by one, then two are replaced by one;
   and, while bounds leave room, sets one smaller of the flips that the bounds charge most.

The number of rollouts is bounded, and random choices depend on the seed alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import sparse

from cgraph.bounds import flip_charges
from cgraph.bounds_layers import BoundLayer, Inputs, bound_layer
from cgraph.concept import ConceptId
from cgraph.edits import Probability, RolloutSettings, Rule
from cgraph.graph import ConceptGraph
from cgraph.rollout import layer_model, rollout

_BATCH = 256  # labellings rolled out at a time
_LARGEST = 24  # flips of a planned set
_MOST_PARENTS = 24  # looked at for one plan, where they are enough
_GREEDY_STEPS = 12
_SET_POOLS = {1: 256, 2: 128, 3: 32}  # flips of which sets of a size are put together
_SMALL_POOL = 14
_MOST_SETS = 4096
_SHORT_LIST = 48


@dataclass(frozen=True)
class FoundFlips:
    """What the search has found.

    Attributes
    ----------
    indices : tuple of int
        Flips that change the concept, rising; empty if none were found.
    at_least : int
        Fewer flips do not, by trying all of them: 1 or 2.
    """

    indices: tuple[int, ...]
    at_least: int


@dataclass
class Prober:
    """Rolls out labels with flips, up to the layer of one concept, and counts how often.

    Attributes
    ----------
    before : bool
        The concept's label without flips.
    left : int
        Labellings that may still be rolled out.
    """

    graph: ConceptGraph
    labels: np.ndarray
    start: int
    concept: ConceptId
    rule: Rule
    probability: Probability
    inputs: Inputs
    left: int
    before: bool = field(init=False)

    def __post_init__(self) -> None:
        self._cut = _until(self.graph, self.concept.layer)
        self.before = bool(self._run([()])[0][0])

    def _run(self, sets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the concept's labels, and its scores towards the other label."""
        rows = np.repeat(self.labels[None], len(sets), axis=0)
        for row, indices in zip(rows, sets, strict=True):
            row[list(indices)] ^= True
        found = rollout(
            self._cut, rows, self.start, RolloutSettings(self.rule, probability=self.probability),
            inputs=self.inputs,
        )  # fmt: skip
        labels, _, _, scores = found.of_layer(self.concept.layer)
        slope = layer_model(self._cut, self.concept.layer).slope[self.concept.index]
        towards = scores[:, self.concept.index] * (-1 if slope < 0 else 1)
        return labels[:, self.concept.index], towards

    def changes(self, sets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Return which sets of flips change the concept, and how far each moves its score.

        Sets beyond what may still be rolled out are not, and said to change nothing.
        """
        changed = np.zeros(len(sets), dtype=bool)
        moved = np.full(len(sets), -np.inf)
        for first in range(0, len(sets), _BATCH):
            part = sets[first : first + min(_BATCH, self.left)]
            if not part:
                break
            self.left -= len(part)
            labels, towards = self._run(part)
            places = slice(first, first + len(part))
            changed[places] = labels != self.before
            moved[places] = -towards if self.before else towards
        return changed, moved


@lru_cache(maxsize=16)
def _until(graph: ConceptGraph, layer: int) -> ConceptGraph:
    """Return the graph without the layers after one, and keep it: it is indexed once."""
    return graph if layer == graph.n_layers else graph.until(layer)


def find_flips(prober: Prober, flippable: np.ndarray, lower: int, seed: int) -> FoundFlips:
    """Search for a small set of flips that changes a concept.

    Parameters
    ----------
    prober : Prober
    flippable : ndarray of bool, shape (n_concepts,)
    lower : int
        Known lower bound: the search ends with a set of that size.
    seed : int
        Of the order in which equal choices are tried.
    """
    reach = np.flatnonzero(flippable & ancestors(prober.graph, prober.concept, prober.start))
    ranked, complete = reach, True
    best: tuple[int, ...] = ()
    if len(reach):
        singles = [(int(index),) for index in reach]
        complete = len(singles) <= prober.left
        changed, moved = prober.changes(singles)
        if changed.any():
            return FoundFlips(singles[int(np.argmax(changed))], 1)
        ranked = reach[np.argsort(-moved, kind="stable")]
    at_least = 2 if complete else 1
    planned = _planned(prober, flippable)
    grown = _prefixes(prober, planned)
    candidates = [found for found in (grown, _greedy(prober, ranked, seed)) if found]
    if candidates:
        best = min(candidates, key=len)
        pool = list(dict.fromkeys([*planned, *map(int, ranked[:_SHORT_LIST])]))
        best = _refined(prober, best, pool, max(lower, at_least))
    if len(best) != max(lower, at_least):
        best = _charged(prober, flippable, len(best) - 1 if best else max(lower, at_least)) or best
    return FoundFlips(tuple(sorted(best)), at_least)


def ancestors(graph: ConceptGraph, concept: ConceptId, start: int) -> np.ndarray:
    """Return which concepts of a layer lead to a concept, bool ``(n_concepts,)``."""
    wanted = np.array([concept.index])
    for layer in range(concept.layer, start, -1):
        wanted = np.unique(graph.edges_into(wanted, layer)[0])
    found = np.zeros(graph.n_concepts(start), dtype=bool)
    found[wanted] = True
    return found


def _prefixes(prober: Prober, planned: Sequence[int]) -> tuple[int, ...]:
    """Return the shortest beginning of a planned set that changes the concept."""
    sets = [tuple(planned[: n + 1]) for n in range(len(planned))]
    if not sets:
        return ()
    changed, _ = prober.changes(sets)
    return sets[int(np.argmax(changed))] if changed.any() else ()


def _greedy(prober: Prober, ranked: np.ndarray, seed: int) -> tuple[int, ...]:
    """Add the flip that moves the score most, until the label changes."""
    rng = np.random.default_rng(seed)
    chosen: tuple[int, ...] = ()
    reached = -np.inf
    pool = [int(index) for index in ranked]
    for _ in range(_GREEDY_STEPS):
        # Those that moved the score most alone, and a sample of the others: some only help others.
        others = pool[_SHORT_LIST:]
        sampled = rng.permutation(len(others))[: 2 * _SHORT_LIST]
        tried = pool[:_SHORT_LIST] + [others[n] for n in sampled]
        sets = [(*chosen, index) for index in tried if index not in chosen]
        if not sets or prober.left < len(sets):
            return ()
        changed, moved = prober.changes(sets)
        if changed.any():
            return sets[int(np.argmax(changed))]
        place = int(np.argmax(moved))
        if moved[place] <= reached:
            return ()
        chosen, reached = sets[place], moved[place]
    return ()


def _charged(prober: Prober, flippable: np.ndarray, size: int) -> tuple[int, ...]:
    """Try sets of the flips that `cgraph.bounds_charges` charges the concept's switch to."""
    charges = flip_charges(
        prober.graph, prober.start, prober.labels, size, flippable, prober.concept.layer,
        prober.inputs, prober.probability,
    )  # fmt: skip
    place = np.flatnonzero(charges.rows == prober.concept.index)
    if not len(place):
        return ()
    row = charges.charges[place]
    row = row.toarray()[0] if sparse.issparse(row) else row[0]
    order = np.argsort(-row, kind="stable")[: _SET_POOLS.get(size, _SMALL_POOL)]
    own = np.flatnonzero(flippable)
    # Fewer flips than 1 in all are charged do not switch it, by the rule that is charged.
    sets = [
        chosen
        for chosen in itertools.combinations(order[row[order] > 0].tolist(), size)
        if row[list(chosen)].sum() >= 1
    ]
    sets = [tuple(own[list(c)].tolist()) for c in sorted(sets, key=lambda c: -row[list(c)].sum())]
    changed, _ = prober.changes(sets[:_MOST_SETS])
    return sets[int(np.argmax(changed))] if changed.any() else ()


def _refined(
    prober: Prober, found: tuple[int, ...], pool: Sequence[int], at_least: int
) -> tuple[int, ...]:
    """Take out flips that are not needed, then replace two by one, as long as that works."""
    while len(found) > at_least:
        smaller = [found[:n] + found[n + 1 :] for n in range(len(found))]
        changed, _ = prober.changes(smaller)
        if changed.any():
            found = smaller[int(np.argmax(changed))]
            continue
        swaps = [
            (*(index for place, index in enumerate(found) if place not in (n, m)), new)
            for n in range(len(found))
            for m in range(n + 1, len(found))
            for new in pool
            if new not in found
        ]
        changed, _ = prober.changes(swaps)
        if not changed.any():
            break
        found = swaps[int(np.argmax(changed))]
    return found


def _planned(prober: Prober, flippable: np.ndarray) -> tuple[int, ...]:
    """Return flips that switch a concept, if nothing else they do is in the way; empty if none.

    Plans are made for the rule ``max``. Where probabilities are passed on they are a guess, which
    the rollout confirms or not.
    """
    graph, start, target = prober.graph, prober.start, prober.concept
    kind: Probability = "balanced" if prober.probability == "balanced" else "calibrated"
    layers = {
        number: bound_layer(graph, number, kind, prober.inputs)
        for number in range(start + 1, target.layer + 1)
    }
    wanted = {target.layer: np.array([target.index])}
    for number in range(target.layer, start + 1, -1):
        wanted[number - 1] = np.unique(graph.edges_into(wanted[number], number)[0])
    plans: dict[int, tuple[int, ...]] = {int(i): (int(i),) for i in np.flatnonzero(flippable)}
    labels = prober.labels
    for number, layer in layers.items():
        passed = None if prober.inputs is None else np.asarray(prober.inputs[number - 2])
        after = layer.computed_labels(labels[None], passed)[0]
        score = layer.matrix @ labels.astype(np.float64) + layer.bias
        made = {}
        for child in map(int, wanted[number]):
            plan = _plan(layer, child, labels, bool(after[child]), float(score[child]), plans)
            if plan:
                made[child] = plan
        plans, labels = made, after
    return plans.get(target.index, ())


def _plan(
    layer: BoundLayer,
    child: int,
    labels: np.ndarray,
    on: bool,
    score: float,
    plans: dict[int, tuple[int, ...]],
) -> tuple[int, ...]:
    """Return the flips that switch one child, from those that switch its parents."""
    if layer.constant[child] >= 0:
        return ()
    need = score - layer.off_to[child] if on else layer.on_from[child] - score
    need += layer.margin[child]
    entries = slice(layer.starts[child], layer.starts[child + 1])
    open_gains = {}
    towards = -1.0 if on else 1.0
    for parent, weight in zip(layer.parents[entries], layer.weights[entries], strict=True):
        gain = towards * (-weight if labels[parent] else weight)
        if gain > 0 and int(parent) in plans:
            open_gains[int(parent)] = float(gain)
    falling = sorted(open_gains.items(), key=lambda item: -item[1])
    if sum(open_gains.values()) < need:
        return ()
    if sum(gain for _, gain in falling[:_MOST_PARENTS]) >= need:
        open_gains = dict(falling[:_MOST_PARENTS])
    chosen: dict[int, None] = {}
    while need > 0 and open_gains and len(chosen) <= _LARGEST:
        # What comes for nothing first; then the most for each new flip, none counted beyond need.
        worth = {}
        for parent, gain in open_gains.items():
            new = sum(index not in chosen for index in plans[parent])
            worth[parent] = np.inf if new == 0 else min(gain, need) / new
        parent = max(worth, key=worth.__getitem__)
        need -= open_gains.pop(parent)
        chosen.update(dict.fromkeys(plans[parent]))
    return tuple(chosen) if need <= 0 else ()
