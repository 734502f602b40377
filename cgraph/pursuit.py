"""Orthogonal matching pursuit: a few atoms that together stand for a token.

For a token z and unit-norm atoms D (rows) it looks greedily for::

    minimise  ‖z - x D‖²   over x   subject to   ‖x‖₀ ≤ max_nnz   (and x ≥ 0 if asked)

Each step takes the atom most correlated with the residual and then makes the coefficients the
least-squares solution on all atoms taken so far. The correlations are not computed again from
the residual but updated from the Gram matrix D Dᵀ (Batch-OMP: Rubinstein, Zibulevsky and Elad
2008, "Efficient implementation of the K-SVD algorithm using batch orthogonal matching pursuit").
With non-negative coefficients only positive correlations count and the least-squares problem is
constrained (Bruckstein, Elad and Zibulevsky 2008, "On the uniqueness of nonnegative sparse
solutions to underdetermined systems of equations"): the active-set method of Lawson and Hanson
(1974), stopped as soon as max_nnz atoms are in the support.

Correlations are single precision, as they only rank the atoms; the factor of the support, the
coefficients and the residual norm are double precision until the coefficients are returned.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError

# A correlation below this share of the norm of the token is rounding of single precision.
_NEGLIGIBLE = 1e-6
# An atom whose squared distance from the span of the support is below this depends on it.
_DEPENDENT = 1e-6
# Stands for a squared distance that rounding has made zero or negative.
_TINY = 1e-30
# Atoms may miss unit norm by this much.
_NORM_SLACK = 1e-4
# Steps of the non-negative pursuit per place in the code; atoms that leave cost extra steps.
_STEPS_PER_PLACE = 3


def omp(
    tokens: ArrayLike,
    atoms: ArrayLike,
    max_nnz: int,
    *,
    nonnegative: bool = False,
    tolerance: float = 0.0,
    block_size: int = 256,
    gram: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Code tokens by orthogonal matching pursuit.

    Parameters
    ----------
    tokens : array-like of shape (n_samples, n_features)
        Tokens, already centred. Computed with as float32.
    atoms : array-like of shape (n_atoms, n_features)
        Atoms of unit norm.
    max_nnz : int
        Largest number of nonzeros of a code, at most ``min(n_atoms, n_features)``.
    nonnegative : bool
        Whether coefficients must not be negative.
    tolerance : float
        A token is done when the norm of its residual is at most this share of its own norm.
        0 leaves the number of nonzeros as the only limit.
    block_size : int
        Rows whose correlations are computed at a time; bounds the memory.
    gram : float32 ndarray of shape (n_atoms, n_atoms), optional
        ``atoms @ atoms.T``, for callers who code many small batches with the same atoms.

    Returns
    -------
    indices : int32 ndarray of shape (n_samples, max_nnz)
        Atoms of each code in the order in which they were taken, each at most once; unused
        places at the end hold -1.
    coefficients : float32 ndarray of shape (n_samples, max_nnz)
        Their coefficients, never zero; 0 in unused places.

    Raises
    ------
    DataError
        If tokens or atoms are not finite matrices of the same width, an atom is not of unit
        norm, or a number is out of range.

    Notes
    -----
    A code is shorter than `max_nnz` where the tolerance is met, where no atom is correlated with
    the residual (a zero token has the empty code) or where the best atom depends linearly on
    those taken. An atom whose coefficient ends at zero, but for rounding, is left out. Signed codes
    are nested: the first m atoms taken are those that ``max_nnz = m`` takes. Of atoms that are
    correlated equally the first wins.

    Rows are handled one by one, except for their correlations with the atoms, whose last bits
    may depend on the shape of the matrix product. The last block is therefore filled up to full
    size, so that all products have the same shape: cutting `tokens` at multiples of
    `block_size` gives the same bits as coding them at once, on one machine with one number of
    BLAS threads.
    """
    tokens = as_matrix(tokens, "tokens")
    atoms = as_matrix(atoms, "atoms")
    _check(tokens, atoms, max_nnz, tolerance, block_size, gram)
    if gram is None:
        gram = atoms @ atoms.T
    n_samples, n_features = tokens.shape
    indices = np.full((n_samples, max_nnz), -1, dtype=np.int32)
    coefficients = np.zeros((n_samples, max_nnz), dtype=np.float32)
    padded = np.zeros((block_size, n_features), dtype=np.float32)
    correlations = np.empty((block_size, len(atoms)), dtype=np.float32)
    for start in range(0, n_samples, block_size):
        rows = slice(start, min(start + block_size, n_samples))
        n_rows = rows.stop - start
        padded[:n_rows] = tokens[rows]
        np.matmul(padded, atoms.T, out=correlations)
        _code_block(
            tokens[rows],
            atoms,
            gram,
            correlations,
            nonnegative,
            tolerance,
            indices[rows],
            coefficients[rows],
        )
    return indices, coefficients


def as_matrix(values: ArrayLike, name: str) -> NDArray[np.float32]:
    """Check that values are a finite matrix and give them as contiguous float32.

    Parameters
    ----------
    values : array-like of shape (n_rows, n_columns)
    name : str
        What the values are, for the message.

    Raises
    ------
    DataError
        If the values are not a matrix with at least one column, or not finite.
    """
    # A number too large for float32 becomes infinite and is refused below.
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise DataError(
            f"{name} has the shape {matrix.shape}; it must be a matrix with one vector a row."
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise DataError(
            f"{name} has values that are not finite in {bad.size} of {len(matrix)} rows, the first "
            f"in row {bad[0]}. Leave these rows out, or compute them again."
        )
    return matrix


def check_max_nnz(max_nnz: int, n_atoms: int, n_features: int) -> None:
    """Refuse more nonzeros than linearly independent atoms can have.

    Raises
    ------
    DataError
        If `max_nnz` is below 1 or above ``min(n_atoms, n_features)``.
    """
    if not 1 <= max_nnz <= min(n_atoms, n_features):
        raise DataError(
            f"max_nnz is {max_nnz}, but with {n_atoms} atoms of {n_features} features it must lie "
            f"between 1 and {min(n_atoms, n_features)}."
        )


def _check(
    tokens: NDArray[np.float32],
    atoms: NDArray[np.float32],
    max_nnz: int,
    tolerance: float,
    block_size: int,
    gram: NDArray[np.float32] | None,
) -> None:
    if tokens.shape[1] != atoms.shape[1]:
        raise DataError(
            f"tokens have {tokens.shape[1]} features but atoms {atoms.shape[1]}. Take the "
            "dictionary of the layer and model that the tokens come from."
        )
    norms = np.linalg.norm(atoms, axis=1)
    bad = np.flatnonzero(np.abs(norms - 1) > _NORM_SLACK)
    if bad.size:
        raise DataError(
            f"{bad.size} of {len(atoms)} atoms are not of unit norm; the first, in row {bad[0]}, "
            f"has norm {norms[bad[0]]:.6g}. Divide every atom by its norm."
        )
    check_max_nnz(max_nnz, *atoms.shape)
    if not 0 <= tolerance < 1:
        raise DataError(
            f"tolerance is {tolerance}; it must be at least 0 and below 1, a share of the norm of "
            "the token."
        )
    if block_size < 1:
        raise DataError(f"block_size is {block_size}; it must be at least 1.")
    if gram is not None and (gram.shape != (len(atoms),) * 2 or gram.dtype != np.float32):
        raise DataError(
            f"gram is a {gram.dtype} array of shape {gram.shape}, but {len(atoms)} atoms need a "
            f"float32 array of shape ({len(atoms)}, {len(atoms)})."
        )


class _Support(NamedTuple):
    """The atoms taken for one token so far; the first n places are in use.

    With L the Cholesky factor of the Gram matrix of these atoms, y solves L y = D_support z, the
    rows of `directions` are L⁻¹ D_support Dᵀ and alpha = D (z - x D_support) = D z - y directions.
    """

    atoms: NDArray[np.int64]
    factor: NDArray[np.float64]
    y: NDArray[np.float64]
    directions: NDArray[np.float32]
    alpha: NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return the inner product of two vectors in double precision; for compiled callers."""
    total = 0.0
    for m in range(left.shape[0]):
        total += np.float64(left[m]) * np.float64(right[m])
    return total


# "nnan" is safe: finite tokens and unit-norm atoms have finite correlations.
@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _strongest(alpha: NDArray[np.float32], nonnegative: bool) -> int:
    """Return the first atom of the largest (absolute) correlation."""
    best = np.float32(0.0)
    # The largest value first, then its place: faster than one loop that tracks both.
    if nonnegative:
        for a in range(alpha.shape[0]):
            best = max(best, alpha[a])
        for a in range(alpha.shape[0]):
            if alpha[a] == best:
                return a
    else:
        for a in range(alpha.shape[0]):
            best = max(best, abs(alpha[a]))
        for a in range(alpha.shape[0]):
            if abs(alpha[a]) == best:
                return a
    return 0


@njit(cache=True, nogil=True)
def _extend_factor(
    token: NDArray[np.float32], atoms: NDArray[np.float32], j: int, n: int, support: _Support
) -> bool:
    """Put atom j in place n of the factor; return whether it is independent of those before."""
    squared_norm = dot(atoms[j], atoms[j])
    distance = squared_norm
    gain = dot(token, atoms[j])
    for u in range(n):
        w = dot(atoms[support.atoms[u]], atoms[j])
        for v in range(u):
            w -= support.factor[u, v] * support.factor[n, v]
        w /= support.factor[u, u]
        support.factor[n, u] = w
        distance -= w * w
        gain -= w * support.y[u]
    support.atoms[n] = j
    support.factor[n, n] = math.sqrt(max(distance, _TINY))
    support.y[n] = gain / support.factor[n, n]
    return distance > _DEPENDENT * squared_norm


@njit(cache=True, nogil=True)
def _update_correlations(gram: NDArray[np.float32], n: int, support: _Support) -> None:
    """Take the atom in place n out of the correlations."""
    directions, alpha = support.directions, support.alpha
    direction = directions[n]
    direction[:] = gram[support.atoms[n]]
    for u in range(n):
        earlier, w = directions[u], np.float32(support.factor[n, u])
        for a in range(direction.shape[0]):
            direction[a] -= w * earlier[a]
    scale, y = np.float32(1.0 / support.factor[n, n]), np.float32(support.y[n])
    for a in range(direction.shape[0]):
        direction[a] *= scale
        alpha[a] -= y * direction[a]
    for u in range(n + 1):
        alpha[support.atoms[u]] = 0.0  # what rounding leaves must not be taken again


@njit(cache=True, nogil=True)
def _solve(n: int, support: _Support, solution: NDArray[np.float64]) -> None:
    """Find the least-squares coefficients of the support: Lᵀ solution = y."""
    for u in range(n - 1, -1, -1):
        total = support.y[u]
        for v in range(u + 1, n):
            total -= support.factor[v, u] * solution[v]
        solution[u] = total / support.factor[u, u]


@njit(cache=True, nogil=True)
def _step_within_bounds(
    n: int, x: NDArray[np.float64], solution: NDArray[np.float64], support: _Support
) -> int:
    """Go from x, which is feasible, towards the solution until coefficients reach zero.

    The inner loop of Lawson and Hanson. Atoms at zero leave the support; returns how many stay.
    """
    step, first_out = 1.0, -1
    for u in range(n):
        if solution[u] <= 0.0:
            reach = x[u] / (x[u] - solution[u]) if x[u] > 0.0 else 0.0
            if first_out < 0 or reach < step:
                step, first_out = reach, u
    kept = 0
    for u in range(n):
        value = x[u] + step * (solution[u] - x[u])
        if u != first_out and value > 0.0:
            x[kept], support.atoms[kept] = value, support.atoms[u]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _pursue(
    token: NDArray[np.float32],
    atoms: NDArray[np.float32],
    gram: NDArray[np.float32],
    correlations: NDArray[np.float32],
    nonnegative: bool,
    tolerance: float,
    support: _Support,
    x: NDArray[np.float64],
    solution: NDArray[np.float64],
) -> int:
    """Code one token; return how many atoms it took, their coefficients in x.

    A coefficient that only rounding keeps from zero is set to zero.
    """
    max_nnz = x.shape[0]
    energy = dot(token, token)
    negligible = _NEGLIGIBLE * math.sqrt(energy)
    support.alpha[:] = correlations
    n = 0
    for _ in range(max_nnz * _STEPS_PER_PLACE if nonnegative else max_nnz):
        j = _strongest(support.alpha, nonnegative)
        if not _extend_factor(token, atoms, j, n, support):
            break
        correlation = support.y[n] * support.factor[n, n]
        if correlation <= negligible and (nonnegative or correlation >= -negligible):
            break
        x[n] = 0.0
        n += 1
        _solve(n, support, solution)
        first_new = n - 1
        while nonnegative and solution[:n].min() <= 0.0:
            n = _step_within_bounds(n, x, solution, support)
            first_new = 0
            for u in range(n):
                _extend_factor(token, atoms, support.atoms[u], u, support)
            _solve(n, support, solution)
        x[:n] = solution[:n]
        residual = energy
        for u in range(n):
            residual -= support.y[u] * support.y[u]
        if n == max_nnz or residual <= tolerance * tolerance * energy:
            break
        if first_new == 0:
            support.alpha[:] = correlations
        for u in range(first_new, n):
            _update_correlations(gram, u, support)
    for u in range(n):
        if abs(x[u]) <= negligible:
            x[u] = 0.0
    return n


@njit(cache=True, nogil=True)
def _code_block(
    tokens: NDArray[np.float32],
    atoms: NDArray[np.float32],
    gram: NDArray[np.float32],
    correlations: NDArray[np.float32],
    nonnegative: bool,
    tolerance: float,
    indices: NDArray[np.int32],
    coefficients: NDArray[np.float32],
) -> None:
    """Code the rows of one block; indices hold -1 and coefficients 0 on entry."""
    n_atoms, max_nnz = atoms.shape[0], indices.shape[1]
    support = _Support(
        np.empty(max_nnz, np.int64),
        np.empty((max_nnz, max_nnz), np.float64),
        np.empty(max_nnz, np.float64),
        np.empty((max_nnz, n_atoms), np.float32),
        np.empty(n_atoms, np.float32),
    )
    x, solution = np.empty(max_nnz, np.float64), np.empty(max_nnz, np.float64)
    for i in range(tokens.shape[0]):
        n = _pursue(
            tokens[i],
            atoms,
            gram,
            correlations[i],
            nonnegative,
            tolerance,
            support,
            x,
            solution,
        )
        place = 0
        for u in range(n):
            coefficient = np.float32(x[u])
            if coefficient != 0.0:
                indices[i, place], coefficients[i, place] = support.atoms[u], coefficient
                place += 1
