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
coefficients and the residual norm are double precision until the coefficients are returned. The
kernels are in `cgraph.pursuit_kernels`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import ConfigError, DataError
from cgraph.pursuit_kernels import code_block

# Atoms may miss unit norm by this much.
_NORM_SLACK = 1e-4


def omp(
    tokens: ArrayLike,
    atoms: ArrayLike,
    max_nnz: int,
    *,
    nonnegative: bool = False,
    tolerance: float = 0.0,
    block_size: int = 256,
    gram: NDArray[np.float32] | None = None,
    device: str | None = None,
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
        ``atoms @ atoms.T``, for callers who code many small batches with the same atoms. Not used
        where a device is given.
    device : str, optional
        Where torch codes the tokens, ``cuda`` for example; all rows of a block take a step
        together there, so give blocks of thousands. None, the compiled loop of this machine, is
        faster than ``cpu``.

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
    ConfigError
        If torch cannot use the device.

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
    tokens, atoms = check_pursuit(tokens, atoms, max_nnz, tolerance, block_size, gram)
    if device is not None:
        return _on_device(tokens, atoms, max_nnz, nonnegative, tolerance, block_size, device)
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
        code_block(
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


def _on_device(
    tokens: NDArray[np.float32],
    atoms: NDArray[np.float32],
    max_nnz: int,
    nonnegative: bool,
    tolerance: float,
    block_size: int,
    device: str,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    import torch

    from cgraph.pursuit_torch import omp_torch

    try:
        there = torch.from_numpy(atoms).to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ConfigError(
            f"The device {device!r} cannot be used: {reason}. Use 'cuda' where there is an "
            "accelerator, or None for the compiled loop of this machine."
        ) from error
    indices, coefficients = omp_torch(
        torch.from_numpy(tokens),
        there,
        max_nnz,
        nonnegative=nonnegative,
        tolerance=tolerance,
        block_size=block_size,
    )
    return indices.numpy(), coefficients.numpy()


def check_pursuit(
    tokens: ArrayLike,
    atoms: ArrayLike,
    max_nnz: int,
    tolerance: float,
    block_size: int,
    gram: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Check the input of a pursuit and give tokens and atoms as contiguous float32.

    Parameters
    ----------
    tokens, atoms, max_nnz, tolerance, block_size, gram
        As for `omp`.

    Raises
    ------
    DataError
        If tokens or atoms are not finite matrices of the same width, an atom is not of unit
        norm, or a number is out of range.
    """
    tokens = as_matrix(tokens, "tokens")
    atoms = as_matrix(atoms, "atoms")
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
    return tokens, atoms
