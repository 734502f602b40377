"""What a few flips at the layer before can do to each concept, compiled.

A flip of parent ``j`` changes the score of a child by ``w`` where the parent is off, by ``-w``
where it is on. So the most that k flips can add are the k largest of these, and the least number
of flips that reach a score is found by adding up the largest first.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _put(best: np.ndarray, size: int, value: float) -> None:
    """Put a value into a falling list, whose smallest entry is lost."""
    if value <= best[size - 1]:
        return
    place = size - 1
    while place > 0 and best[place - 1] < value:
        best[place] = best[place - 1]
        place -= 1
    best[place] = value


@njit(nogil=True, cache=True)
def top_gains(
    starts: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray,
    fixed: np.ndarray,
    flippable: np.ndarray,
    budget: int,
    up: np.ndarray,
    down: np.ndarray,
) -> None:
    """Write the most that `budget` flips raise and lower each score.

    Parameters
    ----------
    starts, parents, weights : ndarray
        Of a `BoundLayer`.
    fixed : ndarray of int8, shape (n_rows, n_parents)
        1 or 0; parents of other values are not flipped.
    flippable : ndarray of bool, shape (n_parents,)
    budget : int
    up, down : ndarray of float64, shape (n_rows, n_children)
        Written: both at least 0.
    """
    for child in range(len(starts) - 1):
        first, end = starts[child], starts[child + 1]
        size = min(budget, end - first)
        if size == 0:
            up[:, child] = 0.0
            down[:, child] = 0.0
            continue
        highest, lowest = np.empty(size), np.empty(size)
        for row in range(len(fixed)):
            highest[:] = 0.0
            lowest[:] = 0.0
            for entry in range(first, end):
                parent = parents[entry]
                label = fixed[row, parent]
                if label < 0 or not flippable[parent]:
                    continue
                gain = weights[entry] if label == 0 else -weights[entry]
                if gain > 0:
                    _put(highest, size, gain)
                else:
                    _put(lowest, size, -gain)
            up[row, child] = highest.sum()
            down[row, child] = lowest.sum()


@njit(nogil=True, cache=True)
def least_flips(
    starts: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray,
    labels: np.ndarray,
    flippable: np.ndarray,
    before: np.ndarray,
    possible: np.ndarray,
    certain: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> None:
    """Write the least number of flips that may, and that surely does, change each label.

    Parameters
    ----------
    starts, parents, weights : ndarray
        Of a `BoundLayer`.
    labels : ndarray of bool, shape (n_rows, n_parents)
    flippable : ndarray of bool, shape (n_parents,)
    before : ndarray of bool, shape (n_rows, n_children)
        Labels of the children.
    possible, certain : ndarray of float64, shape (n_rows, n_children)
        The label may change when the score has moved by more than the first, and is changed when it
        has moved by at least the second, towards the other label. No such move is infinity.
    lower, upper : ndarray of int32, shape (n_rows, n_children)
        Written; -1 where no number of flips is enough.
    """
    longest = 0
    for child in range(len(starts) - 1):
        longest = max(longest, starts[child + 1] - starts[child])
    gains = np.empty(longest)
    for child in range(len(starts) - 1):
        for row in range(len(labels)):
            lower[row, child] = -1
            upper[row, child] = -1
            if possible[row, child] == np.inf:
                continue
            n_gains, n_parents = 0, 0
            towards = -1.0 if before[row, child] else 1.0
            for entry in range(starts[child], starts[child + 1]):
                parent = parents[entry]
                if not flippable[parent]:
                    continue
                n_parents += 1
                gain = -weights[entry] if labels[row, parent] else weights[entry]
                gain *= towards
                if gain > 0:
                    gains[n_gains] = gain
                    n_gains += 1
            if n_parents == 0:
                continue
            if possible[row, child] < 0:
                lower[row, child] = 1  # so near the threshold that nothing is certain
            chosen = np.sort(gains[:n_gains])
            moved = 0.0
            for place in range(n_gains):
                moved += chosen[n_gains - 1 - place]
                if lower[row, child] < 0 and moved > possible[row, child]:
                    lower[row, child] = place + 1
                if moved >= certain[row, child]:
                    upper[row, child] = place + 1
                    break
