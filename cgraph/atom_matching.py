"""Which concepts and edges of one study another study finds again.

Concepts are paired one to one so that the sum of what makes them alike is largest (the assignment
problem; Kuhn 1955, "The Hungarian method", solved as in Crouse 2016): the cosines of their atoms,
or the overlap of their labels on the same images. A pair is *found again* when it is alike enough.
An edge is found again when both its ends are, and the other study has the edge between them, with
the same sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.codes import Codes

if TYPE_CHECKING:
    from scipy import sparse

FOUND_COSINE = 0.9
"""A concept is found again when the cosine to its match exceeds this."""

FOUND_JACCARD = 0.5
"""The same of the Jaccard index of labels, where there are no cosines to go by: the two share more
images than only one of them has."""


@dataclass(frozen=True)
class Matching:
    """The match of every concept of a layer in another dictionary.

    Attributes
    ----------
    match : ndarray of int32, shape (n_atoms,)
        Index there; -1 for a dead concept, or where there are more of them than there.
    likeness : ndarray of float64, shape (n_atoms,)
        Cosine, or Jaccard index; NaN without a match.
    found : ndarray of bool, shape (n_atoms,)
        Whether the match is alive, and alike enough.
    sign : ndarray of int8, shape (n_atoms,)
        -1 where the matched atom points the other way.
    """

    match: np.ndarray
    likeness: np.ndarray
    found: np.ndarray
    sign: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """Concepts that have a match."""
        return np.flatnonzero(self.match >= 0)


def match_atoms(
    atoms: np.ndarray,
    others: np.ndarray,
    alive: np.ndarray,
    alive_others: np.ndarray,
    *,
    signed: bool = False,
) -> Matching:
    """Pair the alive atoms of two dictionaries by their cosines.

    Parameters
    ----------
    atoms, others : ndarray of float, shapes (n_atoms, d_model) and (n_others, d_model)
        Of unit norm.
    alive, alive_others : ndarray of bool
    signed : bool
        Whether coefficients have both signs, so that an atom and its opposite are the same.

    Returns
    -------
    Matching
        Dead atoms are matches only where too few are alive; they are not found.
    """
    cosines = atoms.astype(np.float64) @ others.T.astype(np.float64)
    alike = np.abs(cosines) if signed else cosines
    matching = _assign(alike, alive, alive_others, FOUND_COSINE)
    sign = np.ones(len(atoms), dtype=np.int8)
    places = matching.places
    if signed:
        sign[places] = np.where(cosines[places, matching.match[places]] < 0, -1, 1)
    return Matching(matching.match, matching.likeness, matching.found, sign)


def match_labels(labels: Codes, others: Codes) -> Matching:
    """Pair the concepts that are active in some images by the Jaccard index of their labels.

    Parameters
    ----------
    labels, others : Codes
        Of the same images. What is active in none of them counts as dead.
    """
    alike = jaccard_matrix(labels, others)
    return _assign(alike, labels.counts() > 0, others.counts() > 0, FOUND_JACCARD)


def _assign(
    alike: np.ndarray, alive: np.ndarray, alive_others: np.ndarray, least: float
) -> Matching:
    from scipy.optimize import linear_sum_assignment

    rows = np.flatnonzero(alive)
    # Both measures are at most 1 apart from their least, so that no dead one is preferred.
    worth = alike[rows] - 4.0 * ~alive_others
    left, right = linear_sum_assignment(worth, maximize=True)
    match = np.full(len(alive), -1, dtype=np.int32)
    likeness = np.full(len(alive), np.nan)
    match[rows[left]] = right
    likeness[rows[left]] = alike[rows[left], right]
    found = np.zeros(len(alive), dtype=bool)
    found[rows[left]] = (likeness[rows[left]] > least) & alive_others[right]
    return Matching(match, likeness, found, np.ones(len(alive), dtype=np.int8))


def jaccard_matrix(labels: Codes, others: Codes) -> np.ndarray:
    """Return images that have both concepts over images that have either, for all pairs.

    Parameters
    ----------
    labels, others : Codes
        Of the same images.

    Returns
    -------
    ndarray of float64, shape (n_atoms, n_others)
        0 where neither is ever active.
    """
    both = (labels.to_csr(binary=True).T @ others.to_csr(binary=True)).toarray().astype(np.float64)
    either = labels.counts()[:, None] + others.counts() - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


@dataclass(frozen=True)
class Overlap:
    """How far the labels of matched concepts agree, for every concept of a layer.

    Attributes
    ----------
    jaccard : ndarray of float64, shape (n_atoms,)
        Images that have both over images that have either; NaN without a match, or where neither
        is active.
    chance : ndarray of float64, shape (n_atoms,)
        What independent labels of the same frequencies would have.
    correlation : ndarray of float64, shape (n_atoms,)
        Matthews correlation; NaN where one of them is active in all images, or in none.
    """

    jaccard: np.ndarray
    chance: np.ndarray
    correlation: np.ndarray


def label_overlap(labels: Codes, others: Codes, matching: Matching) -> Overlap:
    """Compare the labels of matched concepts on the same images."""
    places, n = matching.places, labels.n_samples
    left = _columns(labels, places)
    right = _columns(others, matching.match[places])
    both = np.asarray(left.multiply(right).sum(axis=0), dtype=np.float64).ravel()
    a = np.asarray(left.sum(axis=0), dtype=np.float64).ravel()
    b = np.asarray(right.sum(axis=0), dtype=np.float64).ravel()
    by_chance = a * b / max(n, 1)
    spread = np.sqrt(a * (n - a)) * np.sqrt(b * (n - b))

    def placed(values: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        column = np.full(len(matching.match), np.nan)
        column[places] = np.divide(values, divisor, out=np.full_like(a, np.nan), where=divisor > 0)
        return column

    return Overlap(
        jaccard=placed(both, a + b - both),
        chance=placed(by_chance, a + b - by_chance),
        correlation=placed(n * both - a * b, spread),
    )


def _columns(labels: Codes, columns: np.ndarray) -> sparse.csc_array:
    return labels.to_csr(binary=True).tocsc()[:, columns]


@dataclass(frozen=True)
class Edges:
    """Edges of one pair of layers, in any order.

    Attributes
    ----------
    parents, children : ndarray of int, shape (n_edges,)
    weights : ndarray of float, shape (n_edges,)
    """

    parents: np.ndarray
    children: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class EdgesAgain:
    """What became of every edge of a pair of layers in another study.

    Attributes
    ----------
    matched : ndarray of bool, shape (n_edges,)
        Whether both ends are found again.
    found : ndarray of bool, shape (n_edges,)
        Whether the edge is, too.
    chance : ndarray of float64, shape (n_edges,)
        The share of possible parents from which the matched child has an edge of that sign: how
        likely the edge would be if they lay at random. 0 where the ends are not found again.
    """

    matched: np.ndarray
    found: np.ndarray
    chance: np.ndarray


def edges_again(
    edges: Edges,
    others: Edges,
    left: Matching,
    right: Matching,
    n_possible: int,
    *,
    signed: bool = False,
) -> EdgesAgain:
    """Look for the edges of one study among those of another.

    Parameters
    ----------
    edges, others : Edges
    left, right : Matching
        Of the layers of the parents and of the children.
    n_possible : int
        Parents that an edge of the other study can start at.
    signed : bool
        Whether parents are given to predictors with their sign, so that an atom that points the
        other way turns the sign of its weights.
    """
    matched = left.found[edges.parents] & right.found[edges.children]
    positive = edges.weights > 0
    if signed:
        positive = positive ^ (left.sign[edges.parents] < 0)
    parents = left.match[edges.parents].astype(np.int64)
    children = right.match[edges.children].astype(np.int64)
    width = 1 + max(np.max(others.parents, initial=0), np.max(parents, initial=0))

    def keys(parent: np.ndarray, child: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
        return (child.astype(np.int64) * width + parent) * 2 + is_positive

    there = keys(others.parents, others.children, others.weights > 0)
    found = matched & np.isin(keys(parents, children, positive), there)
    of_sign = children * 2 + positive
    counts = np.bincount(
        others.children.astype(np.int64) * 2 + (others.weights > 0),
        minlength=int(np.max(of_sign, initial=0)) + 1,
    )
    chance = np.where(matched, counts[np.maximum(of_sign, 0)] / max(n_possible, 1), 0.0)
    return EdgesAgain(matched, found, chance)


def same(n_atoms: int) -> Matching:
    """Return the matching of a dictionary with itself."""
    return Matching(
        np.arange(n_atoms, dtype=np.int32),
        np.ones(n_atoms),
        np.ones(n_atoms, dtype=bool),
        np.ones(n_atoms, dtype=np.int8),
    )
