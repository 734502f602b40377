"""Which interventions are made for the evidence of edges, and what is judged beside the edges.

A *test* is a pair of a concept and one of the layer after it whose effect is measured: every edge,
and two seeded samples of pairs that are no edges. *References* say how far the effects of pairs go
that are no edges; *controls* are judged by them just as edges of positive weight are, and so tell
how often that misleads.

A *switch* is one intervention: a concept's contribution taken out of the token of one image where
it is active, or the usual amount put in where it is not. All switches are of held-out images, in
one seeded order of them, so that few images serve many concepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from cgraph.config import HELD_OUT
from cgraph.study import Study

LEAST_IMAGES = 8
"""Fewest held-out images with a concept for its edges to be measured."""

N_TAKEN = 32
"""Most images from which a concept is taken out; it is put into half as many."""

N_OTHERS, N_RANDOM = 12, 3
"""Most other atoms, and number of random directions, that are switched beside each."""

N_TAKEN_WHOLE, N_OTHERS_WHOLE, N_RANDOM_WHOLE = 12, 4, 1
"""The same where whole blocks have to be run."""

MOST_REFERENCES = 2000
"""Most references of a pair of layers, and most controls."""

EDGE, REFERENCE, CONTROL = 0, 1, 2


@dataclass(frozen=True)
class Tests:
    """What is judged of one pair of layers, sorted by parent and child.

    Attributes
    ----------
    parent, child : ndarray of int64, shape (n_tests,)
    weight : ndarray of float64, shape (n_tests,)
        0 where there is no edge.
    kind : ndarray of int8, shape (n_tests,)
        `EDGE`, `REFERENCE` or `CONTROL`.
    starts : ndarray of int64, shape (n_parents + 1,)
        First test of each parent.
    linked : ndarray of bool, shape (n_parents, n_children)
        Whether there is an edge.
    """

    parent: np.ndarray
    child: np.ndarray
    weight: np.ndarray
    kind: np.ndarray
    starts: np.ndarray
    linked: np.ndarray

    def of(self, parent: int) -> slice:
        """Return which tests are of one parent."""
        return slice(int(self.starts[parent]), int(self.starts[parent + 1]))

    @property
    def sign(self) -> np.ndarray:
        """Direction that is foretold: that of the weight; up where there is no edge."""
        return np.where(self.weight < 0, -1.0, 1.0)

    @cached_property
    def raises(self) -> np.ndarray:
        """Whether there is an edge of positive weight, ``(n_parents, n_children)``."""
        found = np.zeros(self.linked.shape, dtype=bool)
        up = self.weight > 0
        found[self.parent[up], self.child[up]] = True
        return found


@dataclass(frozen=True)
class Switches:
    """Interventions on the tokens of one layer.

    Attributes
    ----------
    place : ndarray of int64, shape (n_switches,)
        Image, counted within the held-out ones.
    atom : ndarray of int64, shape (n_switches,)
    active : ndarray of bool, shape (n_switches,)
        Whether it is active there, and so taken out.
    coefficient : ndarray of float32, shape (n_switches,)
        Its own; the median over the training images that have it where it is put in.
    """

    place: np.ndarray
    atom: np.ndarray
    active: np.ndarray
    coefficient: np.ndarray


@lru_cache(maxsize=32)
def tests_of(study: Study, layer: int, seed: int) -> Tests:
    """Return what is judged of the edges into a layer, 2 … L."""
    edges = study.graph.layer_edges(layer)
    n_parents, n_children = study.graph.n_concepts(layer - 1), study.graph.n_concepts(layer)
    children = np.repeat(np.arange(n_children), np.diff(edges.starts))
    parents = edges.parents.astype(np.int64)
    linked = np.zeros((n_parents, n_children), dtype=bool)
    linked[parents, children] = True

    seen = held_out_counts(study, layer - 1) >= LEAST_IMAGES
    unlinked = np.flatnonzero(~linked & linked.any(axis=0) & seen[:, None])
    n_each = min(MOST_REFERENCES, len(unlinked) // 2)
    drawn = np.random.default_rng([seed, layer, 1]).choice(unlinked, 2 * n_each, replace=False)
    kinds = [EDGE] * len(parents), [REFERENCE] * n_each, [CONTROL] * n_each
    kind = np.concatenate([np.asarray(each, np.int8) for each in kinds])
    parent = np.concatenate([parents, drawn // n_children])
    child = np.concatenate([children, drawn % n_children])
    weight = np.concatenate([edges.weights.astype(np.float64), np.zeros(2 * n_each)])
    order = np.lexsort((child, parent))
    starts = np.searchsorted(parent[order], np.arange(n_parents + 1))
    return Tests(parent[order], child[order], weight[order], kind[order], starts, linked)


def held_out_counts(study: Study, layer: int) -> np.ndarray:
    """Return in how many held-out images each concept of a layer is active."""
    return study.codes(layer).take(study.rows(HELD_OUT)).counts()


def switches_of(study: Study, layer: int, seed: int, n_taken: int) -> Switches:
    """Choose the interventions on the tokens of a layer, 1 … L - 1.

    Parameters
    ----------
    study : Study
    layer : int
    seed : int
    n_taken : int
        Most images from which a concept is taken out.
    """
    codes = study.codes(layer).take(study.rows(HELD_OUT))
    rank = np.empty(codes.n_samples, dtype=np.int64)
    rank[np.random.default_rng([seed, 0]).permutation(codes.n_samples)] = np.arange(len(rank))
    tests, counts = tests_of(study, layer + 1, seed), codes.counts()
    wanted = [a for a in np.unique(tests.parent).tolist() if counts[a] >= LEAST_IMAGES]
    taken: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for atom in wanted:
        places, values = codes.exemplars(atom, len(rank))
        first = np.argsort(rank[places])[:n_taken]
        taken[atom] = places[first], values[first]
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(p for p, _ in taken.values())]))
    found = [(np.zeros(0, np.int64), 0, True, np.zeros(0, np.float32))]
    for atom, (places, values) in taken.items():
        found.append((places, atom, True, values))
        usual = study.training_codes(layer).exemplars(atom, len(study.image_ids))[1]
        without = np.setdiff1d(used, codes.positives(atom))
        rng = np.random.default_rng([seed, layer, 2, atom])
        chosen = rng.permutation(without)[: (len(places) + 1) // 2] if len(usual) else without[:0]
        amount = np.full(len(chosen), np.median(usual) if len(usual) else 0, np.float32)
        found.append((chosen, atom, False, amount))
    lengths = [len(part[0]) for part in found]
    return Switches(
        np.concatenate([part[0] for part in found]).astype(np.int64),
        np.repeat([part[1] for part in found], lengths).astype(np.int64),
        np.repeat([part[2] for part in found], lengths).astype(bool),
        np.concatenate([part[3] for part in found]).astype(np.float32),
    )
