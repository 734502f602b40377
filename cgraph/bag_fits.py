"""L1-logistic fits on balanced bags, which are described by row numbers and never copied out.

The problem and its solution are those of `cgraph.logistic`; here is what makes many small bags of
a large set cheap:

1. Rows are held as narrow column numbers (two bytes where they suffice), and labels as inputs need
   no values at all: a bag reads little memory, and that is most of what it costs.
2. One pass over a bag copies its rows side by side and adds up, for each feature, how far its
   entries could push its weight up and down. What can push it neither way by more than μ has
   weight zero at the solution, since every ``|y_i - p_i|`` is below 1: such features are left out
   before anything is fitted. This is exact.
3. What remains of the rows is packed for the solver (`cgraph.proximal_newton`): rows that have
   become equal, because they have no feature left or the same single one, become one row with the
   sum of their weights, and the shortest rows come first.
4. A bag starts from the mean solution of the bags before, over the features that most of them kept,
   where that is a good start.

The kernels release the interpreter lock and keep no state, so threads may call them side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from cgraph.proximal_newton import Problem, Settings, solve

_NARROW = np.iinfo(np.uint16).max


class BagRows(NamedTuple):
    """Sparse rows as narrow as they can be held; columns rise within a row."""

    offsets: np.ndarray  # uint32, or int64 where there are more entries, (n_samples + 1,)
    columns: np.ndarray  # uint16, or int32 where there are more features, (nnz + 1,)
    values: np.ndarray  # float32, (nnz + 1,), or empty where every entry is 1
    n_features: int
    longest: int  # most entries of a row


def bag_rows(X: sparse.csr_array) -> BagRows:
    """Return the rows of a sparse array without duplicates, as narrow as they can be held.

    Values are rounded to single precision.
    """
    X = X if X.has_sorted_indices else X.sorted_indices()
    n_features = int(X.shape[1])
    kind = np.uint16 if n_features <= _NARROW else np.int32
    offset = np.uint32 if len(X.data) <= np.iinfo(np.uint32).max else np.int64
    binary = bool((X.data == 1).all())
    # Own copies, writable (read-only arrays would be compiled for once more), with a spare entry at
    # the end, so that even an empty last row has an entry that may be read.
    columns = np.zeros(X.nnz + 1, dtype=kind)
    columns[:-1] = X.indices
    values = np.zeros(0 if binary else X.nnz + 1, dtype=np.float32)
    if not binary:
        values[:-1] = X.data
    return BagRows(
        X.indptr.astype(offset),
        columns,
        values,
        n_features,
        int(np.diff(X.indptr).max(initial=0)),
    )


class _Bag(NamedTuple):
    """Room for the rows of one bag, used again for the next."""

    starts: np.ndarray  # uint32, (n_drawn + 1,): first entry of each different row
    columns: np.ndarray  # uint16 or int32
    values: np.ndarray  # float64
    weight: np.ndarray  # float64, (n_drawn,): how often the row was drawn
    target: np.ndarray  # float64, (n_drawn,): its label


@njit(cache=True, nogil=True)
def fit_bags(
    X: BagRows, bags: np.ndarray, n_positive: int, allowed: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one problem for each bag of rows; compiled.

    Parameters
    ----------
    X : BagRows
        Inputs of all rows.
    bags : ndarray of int64, shape (n_bags, n_drawn)
        Rows in each bag: first positives, then negatives, each part sorted, so that a row drawn
        several times stands beside itself.
    n_positive : int
        Positives at the start of each bag; at least one, and fewer than `n_drawn`.
    allowed : ndarray of bool, shape (n_features,)
        Features that may have a weight.
    settings : Settings

    Returns
    -------
    weights : ndarray of float64, shape (n_bags, n_features)
    intercepts : ndarray of float64, shape (n_bags,)
    violations : ndarray of float64, shape (n_bags,)
        In units of μ.
    """
    n_bags, n_drawn = bags.shape
    capacity = n_drawn * max(X.longest, 1)
    room = _Bag(
        np.zeros(n_drawn + 1, dtype=np.uint32),
        np.empty(capacity, dtype=X.columns.dtype),
        np.empty(capacity if X.values.size else 0),
        np.empty(n_drawn),
        np.empty(n_drawn),
    )
    weights = np.zeros((n_bags, allowed.size))
    intercepts = np.zeros(n_bags)
    violations = np.zeros(n_bags)
    binary = X.values.size == 0
    counts = np.empty((2, allowed.size if binary else 0), dtype=np.int32)
    pulls = np.empty((2, 0 if binary else allowed.size))
    local = np.empty(allowed.size, dtype=np.int32)
    summed = np.zeros(allowed.size)
    used = np.zeros(allowed.size, dtype=np.int64)
    for bag in range(n_bags):
        rows = bags[bag].astype(np.uint32)
        _fetch(X, rows, room)
        if binary:
            n_rows = _gather_labels(X, rows, n_positive, room, counts)
            candidates = _candidates(counts, allowed, settings.penalty, local)
        else:
            n_rows = _gather_values(X, rows, n_positive, room, pulls)
            candidates = _candidates(pulls, allowed, settings.penalty, local)
        problem = _pack(room, n_rows, local, candidates.size)
        inner = np.zeros(candidates.size)
        for place in range(candidates.size):
            if 2 * used[candidates[place]] > bag:
                inner[place] = summed[candidates[place]] / bag
        start = intercepts[:bag].mean() if bag else 0.0
        intercepts[bag], _, violations[bag], _ = solve(problem, settings, inner, start)
        for place in range(candidates.size):
            weights[bag, candidates[place]] = inner[place]
            summed[candidates[place]] += inner[place]
            used[candidates[place]] += inner[place] != 0
    return weights, intercepts, violations


@njit(cache=True, nogil=True)
def _fetch(X: BagRows, rows: np.ndarray, room: _Bag) -> None:
    """Read one entry of every row, so that memory serves them side by side and not in turn.

    They are written where the gathering, which waits for each row, will write over them.
    """
    for i in range(rows.size):
        first = X.offsets[rows[i]]
        room.columns[i] = X.columns[first]
        if X.values.size:
            room.values[i] = X.values[first]


@njit(cache=True, nogil=True)
def _gather_labels(
    X: BagRows, rows: np.ndarray, n_positive: int, room: _Bag, counts: np.ndarray
) -> int:
    """Copy the different rows of a bag, and count each feature among positives and negatives."""
    counts[:] = 0
    n = 0
    end = 0
    i = 0
    while i < rows.size:
        row = rows[i]
        times = 1
        # The same row cannot be positive and negative.
        while i + times < rows.size and rows[i + times] == row:
            times += 1
        count = counts[0] if i < n_positive else counts[1]
        for q in range(X.offsets[row], X.offsets[row + 1]):
            column = X.columns[q]
            room.columns[end] = column
            count[column] += times
            end += 1
        room.weight[n] = times
        room.target[n] = 1.0 if i < n_positive else 0.0
        n += 1
        room.starts[n] = end
        i += times
    return n


@njit(cache=True, nogil=True)
def _gather_values(
    X: BagRows, rows: np.ndarray, n_positive: int, room: _Bag, pulls: np.ndarray
) -> int:
    """Copy the different rows of a bag, and add up how far they push each weight up and down."""
    pulls[:] = 0.0
    n = 0
    end = 0
    i = 0
    while i < rows.size:
        row = rows[i]
        times = 1
        while i + times < rows.size and rows[i + times] == row:
            times += 1
        sign = times if i < n_positive else -times
        for q in range(X.offsets[row], X.offsets[row + 1]):
            column = X.columns[q]
            value = np.float64(X.values[q])
            room.columns[end] = column
            room.values[end] = value
            pull = sign * value
            pulls[0, column] += max(pull, 0.0)
            pulls[1, column] += max(-pull, 0.0)
            end += 1
        room.weight[n] = times
        room.target[n] = 1.0 if i < n_positive else 0.0
        n += 1
        room.starts[n] = end
        i += times
    return n


@njit(cache=True, nogil=True)
def _candidates(
    pulls: np.ndarray, allowed: np.ndarray, penalty: float, local: np.ndarray
) -> np.ndarray:
    """Return the features that can have a weight; write the place of each, or -1, to `local`."""
    found = np.empty(allowed.size, dtype=np.int64)
    n = 0
    for j in range(allowed.size):
        can = allowed[j] and (pulls[0, j] > penalty or pulls[1, j] > penalty)
        local[j] = n if can else -1
        found[n] = j
        n += can
    return found[:n]


@njit(cache=True, nogil=True)
def _pack(room: _Bag, n_rows: int, local: np.ndarray, n_candidates: int) -> Problem:
    """Keep the candidate features of each row, and merge rows that became equal.

    Rows leave by rising length: loops over the entries of a row are short, and a processor that can
    foretell their length is much faster.
    """
    binary = room.values.size == 0
    # First in place: what stays of each row, at the start of where it was.
    lengths = np.empty(n_rows, dtype=np.uint32)
    # The row that holds each (feature, class) alone; the last place is "no feature".
    alone = np.full((n_candidates + 1, 2), -1, dtype=np.int64)
    longest = np.uint32(0)
    for i in range(n_rows):
        start = room.starts[i]
        end = start
        # Without a branch: which features stay is as good as random to the processor.
        if binary:
            for q in range(start, room.starts[i + 1]):
                place = local[room.columns[q]]
                room.columns[end] = place
                end += place >= 0
        else:
            for q in range(start, room.starts[i + 1]):
                place = local[room.columns[q]]
                room.columns[end] = place
                room.values[end] = room.values[q]
                end += place >= 0
        lengths[i] = end - start
        if end - start <= 1:
            feature = np.int64(room.columns[start]) if end > start else n_candidates
            label = 1 if room.target[i] > 0 else 0
            twin = alone[feature, label]
            if twin < 0:
                alone[feature, label] = i
            elif binary or end == start or room.values[room.starts[twin]] == room.values[start]:
                room.weight[twin] += room.weight[i]
                room.weight[i] = 0.0
        longest = max(longest, lengths[i])
    return _by_length(room, lengths, longest)


@njit(cache=True, nogil=True)
def _by_length(room: _Bag, lengths: np.ndarray, longest: np.uint32) -> Problem:
    """Copy the rows that have a weight, the shortest first."""
    binary = room.values.size == 0
    n_rows = lengths.size
    first = np.zeros(longest + 2, dtype=np.uint32)
    for i in range(n_rows):
        first[lengths[i] + 1] += room.weight[i] > 0
    n = 0
    total = 0
    for length in range(longest + 1):
        total += length * first[length + 1]
        n += first[length + 1]
        first[length + 1] = n
    starts = np.empty(n + 1, dtype=np.uint32)
    features = np.empty(total, dtype=np.uint32)
    entries = np.empty(0 if binary else total)
    weight = np.empty(n)
    target = np.empty(n)
    begins = np.zeros(longest + 1, dtype=np.uint32)  # first entry of the first row of each length
    for length in range(longest):
        begins[length + 1] = begins[length] + length * (first[length + 1] - first[length])
    placed = np.zeros(longest + 1, dtype=np.uint32)
    for i in range(n_rows):
        if room.weight[i] > 0:
            length = lengths[i]
            row = first[length] + placed[length]
            start = begins[length] + placed[length] * length
            placed[length] += 1
            starts[row] = start
            weight[row] = room.weight[i]
            target[row] = room.target[i]
            old = room.starts[i]
            for q in range(length):
                features[start + q] = room.columns[old + q]
                if not binary:
                    entries[start + q] = room.values[old + q]
    starts[n] = total
    return Problem(starts, features, entries, weight, target)
