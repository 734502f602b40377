"""The same few flips, followed through the layers: what tightens bounds with a budget.

Intervals forget that the concepts of a layer answer to the same k flips, and let all of them change
at once. Here every change is *charged* to the flips that make it. With S the flipped concepts of
the start layer, at most k of them, it is kept for each concept c and flip j that

    change of c  ≤  Σ_{j in S} a_cj

For the rule ``max`` the change is 1 where the label switches, else 0. For a child g to switch, its
score must move by at least ``need_g``, the distance to its threshold; parent c moves it by at most
h_gc where it switches (its weight, if a switch of c helps g to switch, else 0), hence

    switch of g  ≤  Σ_c h_gc / need_g · (change of c)  ≤  Σ_{j in S} min(1, Σ_c h_gc a_cj / need_g)

where cutting off at 1 changes nothing: a sum with a summand of 1 is at least 1. So g can switch
only if the k largest a_gj add up to 1 or more; if not, its row is dropped, and no later layer is
charged for it. The first layer is exact.

Where probabilities are passed on, changes up and down are kept apart, as moves of p; the score of g
moves up by at most Σ_c w⁺ up_c + w⁻ down_c, and p by at most that times the steepest secant of the
sigmoid from where p stands. This is a linear relaxation about the image at hand, run forwards.

All entries are at least 0, and a factor of 1 + 2⁻³⁰ at each step outweighs the rounding of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit

from cgraph.bounds_layers import BoundLayer

Charges = Any
"""Dense or sparse array of float64, shape ``(n_concepts, n_flippable)``."""

_ROUNDED_UP = 1 + 2.0**-30
_ROWS = 256  # of which the largest entries are found at a time
_BISECTIONS = 40
_P_ROUNDING = 2.0**-18  # most that two computed p differ beside the difference of their sigmoids


def largest_sums(charges: Charges, k: int) -> np.ndarray:
    """Return the sum of the k largest entries of each row; entries are at least 0."""
    n_rows, n_columns = charges.shape
    if k >= n_columns:
        return np.asarray(charges.sum(axis=1)).ravel() * _ROUNDED_UP
    found = np.empty(n_rows)
    for first in range(0, n_rows, _ROWS):
        part = charges[first : first + _ROWS]
        dense = part.toarray() if sparse.issparse(part) else part
        found[first : first + _ROWS] = np.partition(dense, n_columns - k, axis=1)[
            :, n_columns - k :
        ].sum(axis=1)
    return found * _ROUNDED_UP


@dataclass(frozen=True)
class FlipCharges:
    """Which labels k flips may switch, and what they are charged.

    Attributes
    ----------
    rows : ndarray of int64, shape (n_rows,)
        Concepts of the layer that may switch, rising.
    charges : ndarray or sparse array of float64, shape (n_rows, n_flippable)
        a, 0 to 1.
    budget : int
        k.
    """

    rows: np.ndarray
    charges: Charges
    budget: int

    @classmethod
    def at_start(cls, flippable: np.ndarray, budget: int) -> FlipCharges:
        """Return the charges of the start layer: each flip is its own."""
        rows = np.flatnonzero(flippable)
        return cls(rows, sparse.csr_array(sparse.eye(len(rows))), budget)

    def through(
        self, layer: BoundLayer, before: np.ndarray, after: np.ndarray, undecided: np.ndarray
    ) -> FlipCharges:
        """Return the charges of the next layer.

        Parameters
        ----------
        layer : BoundLayer
        before, after : ndarray of bool, shape (n_parents,) and (n_children,)
            Labels without flips, of this layer and of the next.
        undecided : ndarray of bool, shape (n_children,)
            Children that may switch by what else is known.
        """
        rows = np.flatnonzero(undecided)
        if not len(rows) or not len(self.rows):
            nothing = sparse.csr_array((0, self.charges.shape[1]))
            return FlipCharges(rows[:0], nothing, self.budget)
        need = _need(layer, before, after)[rows]
        helpful = layer.matrix[rows][:, self.rows].astype(np.float64)
        child = np.repeat(np.arange(len(rows)), np.diff(helpful.indptr))
        towards = np.where(after[rows], -1.0, 1.0)[child]
        towards *= np.where(before[self.rows], -1.0, 1.0)[helpful.indices]
        with np.errstate(divide="ignore"):
            shares = np.maximum(helpful.data * towards, 0) / np.maximum(need, 1e-300)[child]
        # A share of 1 is a switch; more says no more, and would overflow.
        helpful.data = np.minimum(shares, 1.0)
        helpful.eliminate_zeros()
        moved = helpful @ _dense_if_full(self.charges)
        if sparse.issparse(moved):
            moved.data = np.minimum(moved.data * _ROUNDED_UP, 1.0)
        else:
            np.minimum(moved * _ROUNDED_UP, 1.0, out=moved)
        tied = need <= 0
        if tied.any():  # nothing is certain of them: any flip may switch them
            moved = moved.toarray() if sparse.issparse(moved) else moved
            moved[tied] = 1.0
        kept = largest_sums(moved, self.budget) >= 1 - 2.0**-30
        return FlipCharges(rows[kept], moved[kept], self.budget)


def _need(layer: BoundLayer, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return how far each score must move at least before the label can change."""
    score = layer.matrix @ before.astype(np.float64) + layer.bias
    return np.where(after, score - layer.on_from, layer.off_to - score) - layer.margin


def _dense_if_full(charges: Charges) -> Charges:
    if sparse.issparse(charges) and charges.nnz > 0.02 * np.prod(charges.shape):
        return charges.toarray()
    return charges


@dataclass(frozen=True)
class MoveCharges:
    """How far k flips may move probabilities, and what they are charged.

    Attributes
    ----------
    up, down : ndarray or sparse array of float64, shape (n_concepts, n_flippable)
    rounding : ndarray of float64, shape (n_concepts,)
        What a computed p may move besides, by rounding alone.
    budget : int
        k.
    """

    up: Charges
    down: Charges
    rounding: np.ndarray
    budget: int

    @classmethod
    def at_start(cls, labels: np.ndarray, flippable: np.ndarray, budget: int) -> MoveCharges:
        """Return the charges of the start layer: a flip moves its own label by 1."""
        rows = np.flatnonzero(flippable)
        shape = len(labels), len(rows)

        def ones(chosen: np.ndarray) -> sparse.csr_array:
            places = np.flatnonzero(chosen)
            return sparse.csr_array((np.ones(len(places)), (rows[places], places)), shape=shape)

        return cls(ones(~labels[rows]), ones(labels[rows]), np.zeros(len(labels)), budget)

    def through(
        self, layer: BoundLayer, before: np.ndarray, known: tuple[np.ndarray, np.ndarray]
    ) -> tuple[MoveCharges, tuple[np.ndarray, np.ndarray]]:
        """Return the charges of the next layer, and tighter bounds of its oriented scores.

        Parameters
        ----------
        layer : BoundLayer
        before : ndarray of float32, shape (n_parents,)
            What a rollout without flips passes on.
        known : tuple of ndarray of float64, shape (n_children,)
            Bounds of the oriented scores by what else is known.
        """
        positive, negative = layer.halves
        score = layer.matrix @ before.astype(np.float64) + layer.bias
        # The summands of rounding are at most this for each score, by both its signs.
        besides = (positive - negative) @ self.rounding + 2 * layer.margin
        up, down = _dense_if_full(self.up), _dense_if_full(self.down)
        raised = (positive @ up - negative @ down) * _ROUNDED_UP
        lowered = (positive @ down - negative @ up) * _ROUNDED_UP
        most = np.minimum(known[1], score + largest_sums(raised, self.budget) + besides)
        least = np.maximum(known[0], score - largest_sums(lowered, self.budget) - besides)
        size, shift = np.abs(layer.slope.astype(np.float64)), layer.offset.astype(np.float64)
        x, high, low = (size * part + shift for part in (score, most, least))
        # Rounding of a score to single precision, and of slope · score + offset.
        of_x = size * besides + 2.0**-21 * (
            np.maximum(np.abs(high), np.abs(low)) + size * np.abs(score) + 2 * np.abs(shift)
        )
        steep_up = _steepest_secant(x - of_x, np.maximum(high - x, 0) + 2 * of_x)
        steep_down = _steepest_secant(-x - of_x, np.maximum(x - low, 0) + 2 * of_x)
        rounding = np.maximum(steep_up, steep_down) * of_x + _P_ROUNDING
        # The label of a concept without a predictor, or of slope 0, does not move.
        rounding[size == 0] = 0.0
        moves = [
            _scaled(part, steep * size * _ROUNDED_UP)
            for part, steep in ((raised, steep_up), (lowered, steep_down))
        ]
        return MoveCharges(moves[0], moves[1], rounding, self.budget), (least, most)


def _scaled(charges: Charges, factor: np.ndarray) -> Charges:
    """Return the rows times a factor each, cut off at 1, beyond which no probability moves."""
    if sparse.issparse(charges):
        made = sparse.csr_array(sparse.diags_array(factor) @ charges)
        made.data = np.minimum(made.data, 1.0)
        return made
    return np.minimum(charges * factor[:, None], 1.0)


def _steepest_secant(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return a slope that no secant of σ from x to at most ``x + length`` exceeds.

    From x ≥ 0 the sigmoid is concave and the slope at x the steepest. From x < 0 secants grow
    steeper up to the point d > 0 whose tangent goes through (x, σ(x)); bisection finds it from
    below, where the tangent is too steep, which is safe.
    """
    at = expit(x)
    low, high = np.zeros_like(x), np.maximum(-x, 0) + 1
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        p = expit(middle)
        before = p * (1 - p) * (middle - x) >= p - at
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    p = expit(low)
    tangent = p * (1 - p)
    end = x + length
    with np.errstate(divide="ignore", invalid="ignore"):
        secant = np.where(length > 1e-6, (expit(end) - at) / length, np.inf)
    # Before the tangent point the secant over the whole length is the steepest; where the length
    # is too small to divide by, the slope at its steepest point is.
    there = np.where(end < 0, expit(end) * (1 - expit(end)), 0.25)
    steepest = np.where(end <= low, np.minimum(secant, there), tangent)
    return np.where(x >= 0, at * (1 - at), steepest) * (1 + 1e-9) + 1e-12
