"""The steps of a matching pursuit, compiled; `cgraph.pursuit` states the problem.

What a token costs beyond its correlations with all atoms is memory traffic: rows of the Gram
matrix are read from afar. So each is read when its atom is taken, and again only while it is near;
correlations, their largest value and where it stands come out of one pass, block by block.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# A correlation below this share of the norm of the token is rounding of single precision.
_NEGLIGIBLE = 1e-6
# An atom whose squared distance from the span of the support is below this depends on it.
_DEPENDENT = 1e-6
# Below this share of the token's norm (energy) a correlation (residual) is computed in float64.
_UNSURE = 1e-3
# Below this share of its norm a distance is computed in double precision from the atoms.
_NEAR = 1e-2
# Stands for a squared distance that rounding has made zero or negative.
_TINY = 1e-30
# Steps of the non-negative pursuit per place in the code; atoms that leave cost extra steps.
_STEPS_PER_PLACE = 3
# Correlations that are computed and searched at a time; they stay in the nearest cache.
_BLOCK = 512
_NO_SIGN = np.int32(0x7FFFFFFF)


class _Support(NamedTuple):
    """The atoms taken for one token so far; the first n places are in use.

    With L the Cholesky factor of the Gram matrix of these atoms, y solves L y = D_support z, and
    alpha = D (z - x D_support) = D z - x (D_support Dᵀ).
    """

    atoms: NDArray[np.int64]
    factor: NDArray[np.float64]
    y: NDArray[np.float64]
    weights: NDArray[np.float32]
    alpha: NDArray[np.float32]
    bits: NDArray[np.int32]  # alpha read as whole numbers
    largest: NDArray[np.int32]  # of each block of these, without their signs


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return the inner product of two vectors in double precision; for compiled callers."""
    total = 0.0
    for m in range(left.shape[0]):
        total += np.float64(left[m]) * np.float64(right[m])
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _correlate(
    correlations: NDArray[np.float32],
    gram: NDArray[np.float32],
    nonnegative: bool,
    n: int,
    support: _Support,
) -> None:
    """Write the correlations of the residual with all atoms, and the largest of each block."""
    weights, taken = support.weights, support.atoms
    n_atoms = support.alpha.shape[0]
    for block in range(support.largest.shape[0]):
        start = block * _BLOCK
        end = min(start + _BLOCK, n_atoms)
        # Loops from 0 over views: only these are compiled to vector instructions.
        out = support.alpha[start:end]
        given = correlations[start:end]
        for a in range(out.shape[0]):
            out[a] = given[a]
        u = 0
        while u + 4 <= n:  # four rows at a time: alpha is read and written a quarter as often
            w0, w1, w2, w3 = weights[u], weights[u + 1], weights[u + 2], weights[u + 3]
            g0, g1 = gram[taken[u], start:end], gram[taken[u + 1], start:end]
            g2, g3 = gram[taken[u + 2], start:end], gram[taken[u + 3], start:end]
            for a in range(out.shape[0]):
                out[a] -= w0 * g0[a] + w1 * g1[a] + w2 * g2[a] + w3 * g3[a]
            u += 4
        while u < n:
            w0, g0 = weights[u], gram[taken[u], start:end]
            for a in range(out.shape[0]):
                out[a] -= w0 * g0[a]
            u += 1
        for u in range(n):
            if start <= taken[u] < end:
                out[taken[u] - start] = 0.0  # what rounding leaves must not be taken again
        # Numbers without a sign rank as their bits do, and of whole numbers the largest is found
        # by vector instructions. With a sign they are below 0, and no correlation that counts.
        bits = support.bits[start:end]
        best = np.int32(0)
        if nonnegative:
            for a in range(bits.shape[0]):
                value = bits[a]
                best = value if value > best else best
        else:
            for a in range(bits.shape[0]):
                value = np.int32(bits[a] & _NO_SIGN)
                best = value if value > best else best
        support.largest[block] = best


@njit(cache=True, nogil=True)
def _strongest(nonnegative: bool, support: _Support) -> int:
    """Return the first atom of the largest (absolute) correlation."""
    block = 0
    for other in range(support.largest.shape[0]):
        if support.largest[other] > support.largest[block]:
            block = other
    best = support.largest[block]
    for a in range(block * _BLOCK, min((block + 1) * _BLOCK, support.bits.shape[0])):
        if support.bits[a] == best or (not nonnegative and support.bits[a] & _NO_SIGN == best):
            return a
    return 0


@njit(cache=True, nogil=True)
def _extend_factor(
    token: NDArray[np.float32],
    atoms: NDArray[np.float32],
    gram: NDArray[np.float32],
    correlations: NDArray[np.float32],
    j: int,
    n: int,
    support: _Support,
) -> bool:
    """Put atom j in place n of the factor; return whether it is independent of those before.

    Inner products come from the Gram matrix in single precision. Where the atom is nearly in the
    span of the others, which would magnify their rounding, they are computed in double precision.
    """
    row = gram[j]
    distance = np.float64(row[j])
    gain = np.float64(correlations[j])
    for u in range(n):
        w = np.float64(row[support.atoms[u]])
        for v in range(u):
            w -= support.factor[u, v] * support.factor[n, v]
        w /= support.factor[u, u]
        support.factor[n, u] = w
        distance -= w * w
        gain -= w * support.y[u]
    squared_norm = np.float64(row[j])
    if distance < _NEAR * squared_norm:
        squared_norm = np.float64(dot(atoms[j], atoms[j]))
        distance = squared_norm
        gain = np.float64(dot(token, atoms[j]))
        for u in range(n):
            w = np.float64(dot(atoms[support.atoms[u]], atoms[j]))
            for v in range(u):
                w -= support.factor[u, v] * support.factor[n, v]
            w /= support.factor[u, u]
            support.factor[n, u] = w
            distance -= w * w
            gain -= w * support.y[u]
    support.atoms[n] = j
    support.factor[n, n] = math.sqrt(max(distance, _TINY))
    support.y[n] = gain / support.factor[n, n]
    return bool(distance > _DEPENDENT * squared_norm)


@njit(cache=True, nogil=True)
def _solve(n: int, support: _Support, solution: NDArray[np.float64]) -> None:
    """Find the least-squares coefficients of the support: Lᵀ solution = y."""
    for u in range(n - 1, -1, -1):
        total = support.y[u]
        for v in range(u + 1, n):
            total -= support.factor[v, u] * solution[v]
        solution[u] = total / support.factor[u, u]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _refine(
    token: NDArray[np.float32],
    atoms: NDArray[np.float32],
    n: int,
    support: _Support,
    x: NDArray[np.float64],
) -> None:
    """Correct the coefficients by the residual, in double precision: what the factor lacks.

    One step of iterative refinement: it squares the relative error of the factor.
    """
    residual = token.astype(np.float64)
    for u in range(n):
        atom, weight = atoms[support.atoms[u]], x[u]
        for m in range(residual.shape[0]):
            residual[m] -= weight * atom[m]
    change = np.empty(n)
    for u in range(n):
        atom, total = atoms[support.atoms[u]], 0.0
        for m in range(residual.shape[0]):
            total += residual[m] * atom[m]
        for v in range(u):
            total -= support.factor[u, v] * change[v]
        change[u] = total / support.factor[u, u]
    for u in range(n - 1, -1, -1):
        total = change[u]
        for v in range(u + 1, n):
            total -= support.factor[v, u] * change[v]
        change[u] = total / support.factor[u, u]
        x[u] += change[u]


@njit(cache=True, nogil=True)
def _residual(
    token: NDArray[np.float32],
    atoms: NDArray[np.float32],
    n: int,
    support: _Support,
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what the refined code leaves of the token, in double precision."""
    _refine(token, atoms, n, support, x)
    residual = token.astype(np.float64)
    for u in range(n):
        atom, weight = atoms[support.atoms[u]], x[u]
        for m in range(residual.shape[0]):
            residual[m] -= weight * atom[m]
    return residual


@njit(cache=True, nogil=True)
def _look_closely(
    token: NDArray[np.float32],
    atoms: NDArray[np.float32],
    nonnegative: bool,
    n: int,
    support: _Support,
    x: NDArray[np.float64],
) -> tuple[int, float]:
    """Return the atom most correlated with the residual, and its correlation, in double precision.

    For residuals so small that the rounding of single precision decides. A residual that is
    nothing but rounding has correlation 0.
    """
    residual = _residual(token, atoms, n, support, x)
    if dot(residual, residual) <= _NEGLIGIBLE * _NEGLIGIBLE * dot(token, token):
        return 0, 0.0
    best, largest, signed = 0, 0.0, 0.0
    for a in range(atoms.shape[0]):
        value = dot(residual, atoms[a])
        size = value if nonnegative else abs(value)
        if size > largest:
            taken = False
            for u in range(n):
                taken |= support.atoms[u] == a
            if not taken:
                best, largest, signed = a, size, value
    return best, signed


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
    n = 0
    for _ in range(max_nnz * _STEPS_PER_PLACE if nonnegative else max_nnz):
        for u in range(n):
            support.weights[u] = x[u]
        _correlate(correlations, gram, nonnegative, n, support)
        j = _strongest(nonnegative, support)
        correlation = float(support.alpha[j])
        closely = n > 0 and abs(correlation) < _UNSURE * math.sqrt(energy)
        if closely:
            j, correlation = _look_closely(token, atoms, nonnegative, n, support, x)
            if correlation == 0.0:
                break
        if not _extend_factor(token, atoms, gram, correlations, j, n, support):
            break
        if closely:
            support.y[n] = correlation / support.factor[n, n]
        else:
            correlation = support.y[n] * support.factor[n, n]
        if correlation <= negligible and (nonnegative or correlation >= -negligible):
            break
        x[n] = 0.0
        n += 1
        _solve(n, support, solution)
        while nonnegative and solution[:n].min() <= 0.0:
            n = _step_within_bounds(n, x, solution, support)
            for u in range(n):
                j = support.atoms[u]
                _extend_factor(token, atoms, gram, correlations, j, u, support)
            _solve(n, support, solution)
        x[:n] = solution[:n]
        residual = energy
        for u in range(n):
            residual -= support.y[u] * support.y[u]
        if residual < _UNSURE * energy and n < max_nnz:
            left = _residual(token, atoms, n, support, x)
            residual = dot(left, left)
        if n == max_nnz or residual <= tolerance * tolerance * energy:
            break
    _refine(token, atoms, n, support, x)
    for u in range(n):
        if abs(x[u]) <= negligible:
            x[u] = 0.0
    return n


@njit(cache=True, nogil=True)
def code_block(
    tokens: NDArray[np.float32],
    atoms: NDArray[np.float32],
    gram: NDArray[np.float32],
    correlations: NDArray[np.float32],
    nonnegative: bool,
    tolerance: float,
    indices: NDArray[np.int32],
    coefficients: NDArray[np.float32],
) -> None:
    """Code the rows of one block; indices hold -1 and coefficients 0 on entry; compiled.

    Parameters
    ----------
    tokens, atoms, gram : ndarray of float32
        Shapes ``(n_rows, n_features)``, ``(n_atoms, n_features)`` and ``(n_atoms, n_atoms)``.
    correlations : ndarray of float32, shape (at least n_rows, n_atoms)
        ``tokens @ atoms.T``.
    nonnegative : bool
    tolerance : float
        As for `cgraph.pursuit.omp`.
    indices, coefficients : ndarray of int32 and of float32, shape (n_rows, max_nnz)
        Overwritten by the codes.
    """
    n_atoms, max_nnz = atoms.shape[0], indices.shape[1]
    alpha = np.empty(n_atoms, np.float32)
    support = _Support(
        np.empty(max_nnz, np.int64),
        np.empty((max_nnz, max_nnz), np.float64),
        np.empty(max_nnz, np.float64),
        np.empty(max_nnz, np.float32),
        alpha,
        alpha.view(np.int32),
        np.empty(-(-n_atoms // _BLOCK), np.int32),
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
