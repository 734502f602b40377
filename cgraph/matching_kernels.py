"""The steps of plain matching pursuit, compiled; `cgraph.matching_pursuit` states the problem.

Correlations with all atoms are kept for one token at a time and updated by one row of the Gram
matrix a step. They are searched in the pass that updates them, block by block: numbers without a
sign rank as their bits do, and of whole numbers the largest is found by vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cgraph.pursuit_kernels import dot

# A correlation below this share of the norm of the token is rounding of single precision.
_NEGLIGIBLE = 1e-6
# Correlations that are updated and searched at a time; they stay in the nearest cache.
_BLOCK = 512
_NO_SIGN = np.int32(0x7FFFFFFF)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _subtract_and_search(
    alpha: NDArray[np.float32],
    bits: NDArray[np.int32],
    row: NDArray[np.float32],
    weight: np.float32,
    nonnegative: bool,
) -> int:
    """Subtract weight times row from alpha; return the place of the first largest entry."""
    n_atoms = alpha.shape[0]
    largest, block_of_largest = np.int32(-1), 0
    for start in range(0, n_atoms, _BLOCK):
        end = min(start + _BLOCK, n_atoms)
        # Loops from 0 over views: only these are compiled to vector instructions.
        out, given, whole = alpha[start:end], row[start:end], bits[start:end]
        for a in range(out.shape[0]):
            out[a] -= weight * given[a]
        best = np.int32(0)
        if nonnegative:
            for a in range(whole.shape[0]):
                value = whole[a]
                best = value if value > best else best
        else:
            for a in range(whole.shape[0]):
                value = np.int32(whole[a] & _NO_SIGN)
                best = value if value > best else best
        if best > largest:
            largest, block_of_largest = best, start
    for a in range(block_of_largest, min(block_of_largest + _BLOCK, n_atoms)):
        if bits[a] == largest or (not nonnegative and bits[a] & _NO_SIGN == largest):
            return a
    return 0


@njit(cache=True, nogil=True)
def match_block(
    tokens: NDArray[np.float32],
    gram: NDArray[np.float32],
    correlations: NDArray[np.float32],
    nonnegative: bool,
    tolerance: float,
    max_steps: int,
    indices: NDArray[np.int32],
    coefficients: NDArray[np.float32],
) -> None:
    """Code the rows of one block; indices hold -1 and coefficients 0 on entry; compiled.

    Parameters
    ----------
    tokens, gram : ndarray of float32
        Shapes ``(n_rows, n_features)`` and ``(n_atoms, n_atoms)``.
    correlations : ndarray of float32, shape (at least n_rows, n_atoms)
        ``tokens @ atoms.T``; overwritten.
    nonnegative : bool
    tolerance : float
    max_steps : int
        As for `cgraph.matching_pursuit.mp`.
    indices, coefficients : ndarray of int32 and of float32, shape (n_rows, max_nnz)
        Overwritten by the codes.
    """
    max_nnz = indices.shape[1]
    x = np.empty(max_nnz, np.float64)
    for i in range(tokens.shape[0]):
        alpha = correlations[i]
        bits = alpha.view(np.int32)
        energy = dot(tokens[i], tokens[i])
        residual, negligible = energy, _NEGLIGIBLE * np.sqrt(energy)
        n = 0
        j = _subtract_and_search(alpha, bits, gram[0], np.float32(0.0), nonnegative)
        for _ in range(max_steps):
            value = np.float64(alpha[j])
            if value <= negligible and (nonnegative or value >= -negligible):
                break
            place = 0
            while place < n and indices[i, place] != j:
                place += 1
            if place == max_nnz:
                break
            if place == n:
                indices[i, n], x[n] = j, 0.0
                n += 1
            x[place] += value
            residual -= value * value
            if residual <= tolerance * tolerance * energy:
                break
            j = _subtract_and_search(alpha, bits, gram[j], np.float32(value), nonnegative)
        kept = 0
        for u in range(n):
            coefficient = np.float32(x[u])
            atom = indices[i, u]
            indices[i, u] = -1
            if abs(x[u]) > negligible:
                indices[i, kept], coefficients[i, kept] = atom, coefficient
                kept += 1
