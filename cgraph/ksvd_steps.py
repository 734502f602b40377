"""The steps of one K-SVD iteration, each a function on the arrays of a running fit.

The notation is that of `cgraph.ksvd`: tokens Z, codes X, atoms D.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from cgraph.codes import Codes
from cgraph.errors import DataError
from cgraph.pursuit import as_matrix
from cgraph.pursuit_kernels import dot

# Replacements are sought among this many of the worst tokens for each atom that is to go.
_TOKENS_PER_REPLACEMENT = 4

# An atom that has turned farther than this cosine in one iteration is another one.
_SAME_ATOM = 0.5

EXACT = 1e-10
"""Tokens whose squared residual is below this share of their energy are explained exactly."""


class Fit(NamedTuple):
    """Arrays of a running fit, changed in place; residual = tokens - codes times atoms."""

    tokens: NDArray[np.float32]
    atoms: NDArray[np.float32]
    indices: NDArray[np.int32]
    coefficients: NDArray[np.float32]
    residual: NDArray[np.float32]


def start(
    tokens: NDArray[np.float32],
    n_atoms: int,
    max_nnz: int,
    seed: int,
    atoms: NDArray[np.float32] | None = None,
) -> Fit:
    """Take the atoms given, or random tokens as atoms, and empty codes."""
    if atoms is None:
        atoms = _unit(tokens[_random_rows(tokens, n_atoms, seed)])
    shape = (len(tokens), max_nnz)
    return Fit(
        tokens=tokens,
        atoms=atoms.copy(),
        indices=np.full(shape, -1, dtype=np.int32),
        coefficients=np.zeros(shape, dtype=np.float32),
        residual=tokens.copy(),
    )


def _random_rows(tokens: NDArray[np.float32], n_atoms: int, seed: int) -> NDArray[np.int64]:
    if len(tokens) < n_atoms:
        raise DataError(
            f"X has {len(tokens)} samples for {n_atoms} atoms; K-SVD starts from one sample per "
            "atom. Give more samples, ask for fewer atoms, or give atoms to start from as init."
        )
    usable = np.flatnonzero(tokens.any(axis=1))
    if len(usable) < n_atoms:
        raise DataError(
            f"Only {len(usable)} of {len(tokens)} samples of X differ from the mean, for "
            f"{n_atoms} atoms. Ask for fewer atoms, or check how X was made."
        )
    return np.random.default_rng(seed).choice(usable, n_atoms, replace=False)


def starting_atoms(init: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Check the atoms that a fit is to start from, and scale them to unit norm."""
    atoms = as_matrix(init, "init")
    if atoms.shape != shape:
        raise DataError(
            f"init has the shape {atoms.shape}; {shape[0]} atoms of {shape[1]} features are "
            "needed. Set n_components to the number of its rows, or leave init out."
        )
    if not atoms.any(axis=1).all():
        row = int(np.flatnonzero(~atoms.any(axis=1))[0])
        raise DataError(f"init is zero in row {row}; an atom needs a direction. Leave it out.")
    return _unit(atoms)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = vectors.astype(np.float64)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def _squared_norms(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)


def count_uses(fit: Fit) -> NDArray[np.int64]:
    """Count the tokens that use each atom."""
    return np.bincount(fit.indices[fit.indices >= 0], minlength=len(fit.atoms))


def codes_of(fit: Fit) -> sparse.csr_array:
    """Give the codes as sparse rows, (n_samples, n_atoms)."""
    return Codes.from_padded(fit.indices, fit.coefficients, len(fit.atoms)).to_csr()


def squared_error(fit: Fit) -> float:
    """Return the sum of all squared residuals."""
    return float(_squared_norms(fit.residual).sum())


def left_unexplained(
    fit: Fit, indices: NDArray[np.int32], coefficients: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Subtract from the tokens what codes stand for."""
    codes = Codes.from_padded(indices, coefficients, len(fit.atoms))
    return fit.tokens - codes.to_csr() @ fit.atoms


def take_better(fit: Fit, indices: NDArray[np.int32], coefficients: NDArray[np.float32]) -> int:
    """Give every token the better of its old and its new code; count the old ones kept."""
    old = _squared_norms(left_unexplained(fit, fit.indices, fit.coefficients))
    better = _squared_norms(left_unexplained(fit, indices, coefficients)) <= old
    fit.indices[better] = indices[better]
    fit.coefficients[better] = coefficients[better]
    return int((~better).sum())


def extrapolated(
    atoms: NDArray[np.float32], previous: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Carry atoms on in the direction in which they moved; one that was replaced stays."""
    cosines = np.einsum("ij,ij->i", atoms, previous, dtype=np.float64)[:, None]
    moved = np.where(np.abs(cosines) < _SAME_ATOM, 0, atoms - np.sign(cosines) * previous)
    return _unit((atoms + share * moved).astype(np.float32))


def update_atoms(
    fit: Fit,
    nonnegative: bool,
    exact: bool,
    power_steps: int = 1,
    past: NDArray[np.float32] | None = None,
) -> None:
    """Pass over the atoms once; improve each one together with its coefficients.

    Where the sums Eᵀx of earlier tokens are given as the past of each atom, those of these tokens
    are added to it, and the atom points along both.
    """
    entries = np.flatnonzero(fit.indices.ravel() >= 0)
    atom_of_entry = fit.indices.ravel()[entries]
    entries = entries[np.argsort(atom_of_entry, kind="stable")]
    rows, places = np.divmod(entries, fit.indices.shape[1])
    starts = np.searchsorted(np.sort(atom_of_entry), np.arange(len(fit.atoms) + 1))
    if not exact:
        _power_steps(
            fit.residual,
            fit.atoms,
            fit.coefficients,
            starts.astype(np.uint32),
            rows.astype(np.uint32),
            places.astype(np.uint32),
            nonnegative,
            power_steps,
            np.zeros_like(fit.atoms) if past is None else past,
        )
        return
    for j in np.flatnonzero(np.diff(starts)):
        users = rows[starts[j] : starts[j + 1]], places[starts[j] : starts[j + 1]]
        E = fit.residual[users[0]] + np.outer(fit.coefficients[users], fit.atoms[j])
        fit.atoms[j] = _unit(np.linalg.svd(E, full_matrices=False).Vh[0])
        x = E @ fit.atoms[j]
        fit.coefficients[users] = x
        fit.residual[users[0]] = E - np.outer(x, fit.atoms[j])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _power_steps(
    residual: NDArray[np.float32],
    atoms: NDArray[np.float32],
    coefficients: NDArray[np.float32],
    starts: NDArray[np.uint32],
    rows: NDArray[np.uint32],
    places: NDArray[np.uint32],
    nonnegative: bool,
    n_steps: int,
    past: NDArray[np.float32],
) -> None:
    """Make power steps for each atom; rows and places list the entries of atom after atom.

    Sums are single precision: each assignment is a minimum, so a rounding of it raises the error
    by its square alone.
    """
    n_atoms, n_features = atoms.shape
    direction = np.empty(n_features, np.float32)
    for j in range(n_atoms):
        d = atoms[j]
        users = rows[starts[j] : starts[j + 1]]
        user_places = places[starts[j] : starts[j + 1]]
        for step in range(n_steps):
            direction[:] = past[j]
            for e in range(users.shape[0]):
                E = residual[users[e]]
                if step == 0:
                    x = coefficients[users[e], user_places[e]]
                    for m in range(E.shape[0]):
                        E[m] += x * d[m]
                else:
                    x = np.float32(0.0)
                    for m in range(E.shape[0]):
                        x += E[m] * d[m]
                    if nonnegative and x <= 0.0:
                        continue
                for m in range(E.shape[0]):
                    direction[m] += x * E[m]
            norm = math.sqrt(dot(direction, direction))
            if norm > 0.0 and users.shape[0] > 0:
                for m in range(d.shape[0]):
                    d[m] = direction[m] / norm
        for e in range(users.shape[0]):
            E = residual[users[e]]
            x = np.float32(0.0)
            for m in range(E.shape[0]):
                x += E[m] * d[m]
            if nonnegative and x < 0.0:
                x = np.float32(0.0)
            coefficients[users[e], user_places[e]] = x
            for m in range(E.shape[0]):
                E[m] -= x * d[m]


def replace_atoms(
    fit: Fit,
    min_use: float,
    max_coherence: float,
    nonnegative: bool,
    uses: NDArray[np.floating] | NDArray[np.int64] | None = None,
) -> int:
    """Replace duplicate and rarely used atoms where that lowers the error; count them.

    The new atom is a badly represented token, which it then represents alone and exactly. Uses
    are those of the fit unless they are given.
    """
    if uses is None:
        uses = count_uses(fit)
    twins = _twins(fit.atoms, uses, max_coherence, nonnegative)
    leaving = np.flatnonzero((twins >= 0) | (uses < min_use))
    if not leaving.size:
        return 0
    leaving = leaving[np.argsort(uses[leaving], kind="stable")]
    newcomers = _newcomers(fit, len(leaving), max_coherence, nonnegative)
    newcomer = next(newcomers, None)
    n_replaced = 0
    for j in leaving.tolist():
        if newcomer is None:
            break
        if _replace(fit, j, int(twins[j]), newcomer, nonnegative):
            n_replaced += 1
            newcomer = next(newcomers, None)
    fit.indices[fit.coefficients == 0] = -1
    return n_replaced


def _twins(
    atoms: NDArray[np.float32],
    uses: NDArray[np.floating] | NDArray[np.int64],
    max_coherence: float,
    nonnegative: bool,
) -> NDArray[np.int64]:
    """Give for each duplicate the more used atom that it resembles most, -1 for the others."""
    similarity = atoms @ atoms.T
    if not nonnegative:
        np.abs(similarity, out=similarity)
    np.fill_diagonal(similarity, -1)
    twins = np.full(len(atoms), -1, dtype=np.int64)
    # All others stay, and are no twins of anyone; they are nearly all.
    alike = np.flatnonzero(similarity.max(axis=1) > max_coherence)
    staying = np.zeros(len(atoms), dtype=bool)
    for j in alike[np.argsort(-uses[alike], kind="stable")]:
        candidates = np.where(staying, similarity[j], -1)
        if candidates.max() > max_coherence:
            twins[j] = candidates.argmax()
        else:
            staying[j] = True
    return twins


def _newcomers(fit: Fit, n_leaving: int, max_coherence: float, nonnegative: bool) -> Iterator[int]:
    """Yield badly represented tokens, worst first, that resemble no atom of the moment."""
    errors = _squared_norms(fit.residual)
    worst = np.argsort(-errors, kind="stable")[: _TOKENS_PER_REPLACEMENT * n_leaving]
    for token in worst[errors[worst] > EXACT * _squared_norms(fit.tokens[worst])]:
        cosines = fit.atoms @ _unit(fit.tokens[token])
        if (cosines if nonnegative else np.abs(cosines)).max() <= max_coherence:
            yield int(token)


def _replace(fit: Fit, j: int, twin: int, newcomer: int, nonnegative: bool) -> bool:
    """Make a token the atom j if that lowers the error; say whether it was done.

    Tokens that used j go over to its twin if it has one, and do without otherwise.
    """
    users, places = np.nonzero(fit.indices == j)
    residual = fit.residual[users] + np.outer(fit.coefficients[users, places], fit.atoms[j])
    if twin >= 0:
        has_twin = fit.indices[users] == twin
        own = (fit.coefficients[users] * has_twin).sum(axis=1)
        extra = residual @ fit.atoms[twin]
        if nonnegative:
            extra = np.maximum(extra, -own)
        residual -= np.outer(extra, fit.atoms[twin])
    touched = np.union1d(users, newcomer)
    error = _squared_norms(residual)[users != newcomer].sum()
    if error >= _squared_norms(fit.residual[touched]).sum():
        return False
    fit.residual[users] = residual
    fit.indices[users, places] = -1
    fit.coefficients[users, places] = 0
    if twin >= 0:
        places = np.where(has_twin.any(axis=1), has_twin.argmax(axis=1), places)
        fit.indices[users, places] = twin
        fit.coefficients[users, places] = own + extra
    fit.atoms[j] = _unit(fit.tokens[newcomer])
    fit.indices[newcomer] = -1
    fit.coefficients[newcomer] = 0
    fit.indices[newcomer, 0] = j
    fit.coefficients[newcomer, 0] = np.linalg.norm(fit.tokens[newcomer])
    fit.residual[newcomer] = fit.tokens[newcomer] - fit.coefficients[newcomer, 0] * fit.atoms[j]
    return True
