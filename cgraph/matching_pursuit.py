"""Matching pursuit: orthogonal matching pursuit without its least squares.

For a token z and unit-norm atoms D (rows), with residual r = z at first, each step is (Mallat and
Zhang 1993, "Matching pursuits with time-frequency dictionaries")::

    j = argmax |d_j · r|,    x_j ← x_j + d_j · r,    r ← r - (d_j · r) d_j

With non-negative coefficients only positive correlations count. The correlations are updated from
the Gram matrix D Dᵀ, as in `cgraph.pursuit`. A step costs less than one of orthogonal matching
pursuit but leaves the coefficients of the other atoms as they were, which are wrong as soon as
atoms are not orthogonal; the same atom may then be taken again to mend its coefficient.
docs/pursuit.md says what that means on real layers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError
from cgraph.matching_kernels import match_block
from cgraph.pursuit import check_pursuit


def mp(
    tokens: ArrayLike,
    atoms: ArrayLike,
    max_nnz: int,
    *,
    nonnegative: bool = False,
    tolerance: float = 0.0,
    max_steps: int | None = None,
    block_size: int = 256,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Code tokens by plain matching pursuit.

    Parameters
    ----------
    tokens : array-like of shape (n_samples, n_features)
        Tokens, already centred. Computed with as float32.
    atoms : array-like of shape (n_atoms, n_features)
        Atoms of unit norm.
    max_nnz : int
        Largest number of nonzeros of a code, at most ``min(n_atoms, n_features)``. A token is done
        when its next atom would be one more.
    nonnegative : bool
        Whether coefficients must not be negative; they then only grow.
    tolerance : float
        A token is done when the norm of its residual is at most this share of its own norm.
    max_steps : int, optional
        Largest number of steps for a token; a step that takes an atom again counts, too. None:
        10 times `max_nnz`.
    block_size : int
        Rows whose correlations are computed at a time; bounds the memory.

    Returns
    -------
    indices : int32 ndarray of shape (n_samples, max_nnz)
        Atoms of each code in the order in which they were first taken, each at most once; unused
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
    Of atoms that are correlated equally the first wins. Correlations and the residual norm are
    single precision of the token's norm: a `tolerance` below 1e-3 may be met a step late.
    """
    tokens, atoms = check_pursuit(tokens, atoms, max_nnz, tolerance, block_size)
    if max_steps is None:
        max_steps = 10 * max_nnz
    if max_steps < 1:
        raise DataError(f"max_steps is {max_steps}; it must be at least 1, or None.")
    gram = atoms @ atoms.T
    n_samples, n_features = tokens.shape
    indices = np.full((n_samples, max_nnz), -1, dtype=np.int32)
    coefficients = np.zeros((n_samples, max_nnz), dtype=np.float32)
    # All products have the same shape, as in omp, so that blocks have the same bits alone.
    padded = np.zeros((block_size, n_features), dtype=np.float32)
    correlations = np.empty((block_size, len(atoms)), dtype=np.float32)
    for start in range(0, n_samples, block_size):
        rows = slice(start, min(start + block_size, n_samples))
        padded[: rows.stop - start] = tokens[rows]
        np.matmul(padded, atoms.T, out=correlations)
        match_block(
            tokens[rows],
            gram,
            correlations,
            nonnegative,
            tolerance,
            max_steps,
            indices[rows],
            coefficients[rows],
        )
    return indices, coefficients
