"""Random sets of concepts to hold a rule's own against: of the same sizes, layers and prevalences.

Nearly every concept is an ancestor of every later one, so that a rule is broken says little unless
random sets keep it. Each concept of a set is replaced by one of its layer, chosen at random among
those whose prevalence is nearest; the sets of a draw share none. Outputs stay as they are: there
are few, and nobody could say which are alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.concept import ConceptId
from cgraph.concept_sets import ResolvedSet
from cgraph.graph import ConceptGraph
from cgraph.policy_subject import Subject

LEAST_NEAR = 8
"""Concepts of near prevalence, at least, among which one is chosen."""

NEAR_SHARE = 0.1
"""The same as a share of those that there are in the layer."""

_AT_ONCE = 32  # draws whose marks lie in memory together
_RAREST = 1e-4


@dataclass(frozen=True)
class Draws:
    """Random sets in place of those of a rule.

    Attributes
    ----------
    n : int
    members : tuple of dict of int to ndarray of int, shape (n, n_concepts)
        For each set, by layer: indices in each draw.
    note : str
        How they were drawn, if not as told above.
    """

    n: int
    members: tuple[dict[int, np.ndarray], ...]
    note: str = ""
    output_layer: int | None = None

    @property
    def n_sets(self) -> int:
        """Number of sets of each draw."""
        return len(self.members)

    def parts(self) -> Iterator[slice]:
        """Return some draws after the other."""
        for first in range(0, self.n, _AT_ONCE):
            yield slice(first, min(self.n, first + _AT_ONCE))

    def marks(self, graph: ConceptGraph, number: int, part: slice) -> dict[int, np.ndarray]:
        """Return one of the sets as marks: by layer, bool ``(n_concepts, n_draws_of_part)``."""
        found = {}
        for layer, indices in self.members[number].items():
            marks = np.zeros((graph.n_concepts(layer), len(indices[part])), dtype=bool)
            marks[indices[part].T, np.arange(len(indices[part]))] = True
            found[layer] = marks
        return found

    def sets_of(self, draw: int) -> tuple[tuple[ConceptId, ...], ...]:
        """Return the sets of one draw."""
        return tuple(
            tuple(
                ConceptId(layer, int(index), "output" if layer == self.output_layer else "class")
                for layer, indices in sorted(of_set.items())
                for index in np.sort(indices[draw])
            )
            for of_set in self.members
        )


def draw_sets(subject: Subject, sets: Sequence[ResolvedSet], n: int, seed: int, name: str) -> Draws:
    """Draw random sets.

    Parameters
    ----------
    subject : Subject
    sets : sequence of ResolvedSet
        Of one rule.
    n : int
        Draws; fewer concepts than a draw needs give none, and a note.
    seed : int
    name : str
        Of the rule: each has draws of its own, whichever others there are.
    """
    output_layer = subject.graph.n_layers if subject.outputs else None
    fixed = sorted({subject.shown(c).id for one in sets for c in one.concepts if
                    subject.is_output(c)})  # fmt: skip
    notes = (
        [f"{', '.join(fixed)} stay{'s' if len(fixed) == 1 else ''} in every draw."] if fixed else []
    )
    members: list[dict[int, np.ndarray]] = [
        {layer: np.zeros((n, len(one.of_layer(layer))), dtype=np.int64) for layer in one.layers}
        for one in sets
    ]
    drawn = [
        layer
        for layer in sorted({layer for one in sets for layer in one.layers})
        if layer != output_layer
    ]
    if not drawn or not n:
        return Draws(0, tuple(members), "There is nothing to draw at random.", output_layer)
    for layer in drawn:
        own = [np.array([c.index for c in one.of_layer(layer)], dtype=int) for one in sets]
        taken = np.concatenate(own)
        alive = np.flatnonzero(subject.graph.column(layer, "alive").astype(bool))
        others = np.setdiff1d(alive, taken)
        if len(others) < len(taken) + 1:
            others = alive
            notes.append(
                f"In layer {layer} the rule's own concepts could be drawn too: beside them there "
                "are too few."
            )
        if len(others) < len(taken):
            few = (
                f"No random sets: layer {layer} has {len(others)} live concepts, and "
                f"{len(taken)} are needed."
            )
            return Draws(0, tuple(members), few, output_layer)
        near = _nearest(subject.graph.prevalence(layer), taken, others)
        rng = np.random.default_rng((seed, zlib.crc32(name.encode()), layer))
        found = _without_repeats(rng, near, others, n)
        ends = np.cumsum([0, *map(len, own)])
        for of_set, first, last in zip(members, ends[:-1], ends[1:], strict=True):
            if last > first:
                of_set[layer] = found[:, first:last]
    if output_layer is not None:
        for of_set, one in zip(members, sets, strict=True):
            if output_layer in of_set:
                of_set[output_layer][:] = [c.index for c in one.of_layer(output_layer)]
    return Draws(n, tuple(members), " ".join(notes), output_layer)


def _nearest(prevalence: np.ndarray, taken: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
    """Return for each concept the others by rising distance of prevalence, on the logit scale."""
    share = np.clip(np.nan_to_num(prevalence), _RAREST, 1 - _RAREST)
    logit = np.log(share / (1 - share))
    return [
        others[np.argsort(np.abs(logit[others] - logit[index]), kind="stable")] for index in taken
    ]


def _without_repeats(
    rng: np.random.Generator, near: list[np.ndarray], others: np.ndarray, n: int
) -> np.ndarray:
    """Choose for each concept one of the nearest that is still free, in every draw."""
    width = max(LEAST_NEAR, int(np.ceil(NEAR_SHARE * len(others))))
    found = np.zeros((n, len(near)), dtype=np.int64)
    for draw in range(n):
        free = np.zeros(int(others.max()) + 1, dtype=bool)
        free[others] = True
        for place in rng.permutation(len(near)):
            choice = near[place][free[near[place]]][:width]
            index = int(choice[rng.integers(len(choice))])
            free[index] = False
            found[draw, place] = index
    return found
