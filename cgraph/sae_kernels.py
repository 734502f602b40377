"""One step of an autoencoder's training, compiled: only what is active is touched.

Of the four products with a matrix of all codes that a dense step makes (decoding, and the gradients
of codes, atoms and encoder), nearly all terms are products with zero. Here each active pair of a
sample and an atom costs one pass over a vector in each of the four, so that beside the
pre-activations, a product of dense matrices, a step costs little more than reading what it
learns once. With residual r = x - x̂ of a batch of B samples, active coefficients c and the noisy
input u, the gradients of the mean squared error, plus λ times the sum of the coefficients, are::

    slope_ij = ∂/∂c_ij = (λ - 2 r_i · d_j) / B
    ∂/∂d_j  = -2/B Σ_i c_ij r_i
    ∂/∂w_j  = Σ_i slope_ij u_i              ∂/∂b_j = Σ_i slope_ij

The kernels run in one thread and add in a fixed order, so that equal inputs give equal bytes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Decay of the two moments of Adam (Kingma and Ba 2015), and what keeps its quotient finite.
_DECAY_1, _DECAY_2, _EPSILON = np.float32(0.9), np.float32(0.99), np.float32(1e-8)
# Pre-activations that are searched at a time for one that is large enough.
_BLOCK = 32


class Parameters(NamedTuple):
    """What the gradient steps change; all float32, `n_atoms` rows each."""

    encoder: NDArray[np.float32]
    atoms: NDArray[np.float32]
    bias: NDArray[np.float32]

    def zeros(self) -> Parameters:
        """Return zeros of the same shapes."""
        return Parameters(*(np.zeros_like(array) for array in self))


class Active(NamedTuple):
    """Active atoms of a batch, `(n_samples, max_nnz)` each; -1 marks an unused place."""

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]
    values: NDArray[np.float32]

    @classmethod
    def empty(cls, n_samples: int, max_nnz: int) -> Active:
        """Reserve the places of a batch."""
        shape = n_samples, max_nnz
        return cls(
            np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(shape, np.float32)
        )

    def rows(self, start: int, stop: int) -> Active:
        """Return the places of some samples, not copied."""
        some = slice(start, stop)
        return Active(self.indices[some], self.scores[some], self.values[some])


@njit(cache=True, nogil=True)
def gather(
    X: NDArray[np.float32],
    rows: NDArray[np.int64],
    scale: float,
    noise: NDArray[np.float32],
    noise_scale: float,
    batch: NDArray[np.float32],
    noisy: NDArray[np.float32],
) -> None:
    """Write some rows of X times a factor, and the same with noise added.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    rows : ndarray of shape (n_rows,)
    scale : float
    noise : ndarray of shape (n_rows * n_features,)
    noise_scale : float
        What the noise is multiplied by.
    batch, noisy : ndarray of shape (n_rows, n_features)
        Are overwritten.
    """
    factor, loudness = np.float32(scale), np.float32(noise_scale)
    n_features = X.shape[1]
    for i in range(rows.shape[0]):
        given, clean, heard = X[rows[i]], batch[i], noisy[i]
        added = noise[i * n_features : (i + 1) * n_features]
        for f in range(n_features):
            clean[f] = factor * given[f]
            heard[f] = clean[f] + loudness * added[f]


@njit(cache=True, nogil=True)
def select(
    pre: NDArray[np.float32],
    bias: NDArray[np.float32],
    selection: NDArray[np.float32],
    active: Active,
) -> None:
    """Choose the atoms with the largest scores of every sample, among positive pre-activations.

    Parameters
    ----------
    pre : ndarray of shape (n_samples, n_atoms)
        Pre-activations without their bias.
    bias, selection : ndarray of shape (n_atoms,)
        A pre-activation is ``pre + bias``, a score ``pre + bias + selection``.
    active : Active
        Is overwritten. Scores of a sample do not rise; of equal ones the first atom wins. Values
        are pre-activations, 0 in unused places.
    """
    n_samples, n_atoms = pre.shape
    max_nnz = active.indices.shape[1]
    score = np.empty(_BLOCK, np.float32)
    for i in range(n_samples):
        indices, scores, values = active.indices[i], active.scores[i], active.values[i]
        n = 0
        bar = np.float32(-np.inf)  # what a score must exceed
        for start in range(0, n_atoms, _BLOCK):
            size = min(_BLOCK, n_atoms - start)
            some = pre[i, start : start + size]
            b = bias[start : start + size]
            s = selection[start : start + size]
            above = 0
            for m in range(size):
                value = some[m] + b[m]
                score[m] = value + s[m] if value > 0 else np.float32(-np.inf)
                above += score[m] > bar
            if above == 0:
                continue
            for m in range(size):
                if not score[m] > bar:
                    continue
                place = n if n < max_nnz else max_nnz - 1
                while place > 0 and scores[place - 1] < score[m]:
                    scores[place] = scores[place - 1]
                    values[place] = values[place - 1]
                    indices[place] = indices[place - 1]
                    place -= 1
                scores[place] = score[m]
                values[place] = some[m] + b[m]
                indices[place] = start + m
                n = min(n + 1, max_nnz)
                if n == max_nnz:
                    bar = scores[max_nnz - 1]
        indices[n:] = -1
        scores[n:] = -np.inf
        values[n:] = 0


@njit(cache=True, nogil=True)
def drop_below(active: Active, threshold: float) -> None:
    """Take out the atoms whose score is not above a threshold."""
    n_samples, max_nnz = active.indices.shape
    for i in range(n_samples):
        for m in range(max_nnz):
            if not active.scores[i, m] > threshold:
                active.indices[i, m] = -1
                active.scores[i, m] = -np.inf
                active.values[i, m] = 0


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def decode(
    batch: NDArray[np.float32],
    active: Active,
    atoms: NDArray[np.float32],
    residual: NDArray[np.float32],
) -> float:
    """Write what the atoms leave of a batch, and return the sum of its squares.

    Parameters
    ----------
    batch, residual : ndarray of shape (n_samples, n_features)
    active : Active
    atoms : ndarray of shape (n_atoms, n_features)
    """
    total = 0.0
    for i in range(batch.shape[0]):
        rest = residual[i]
        rest[:] = batch[i]
        for m in range(active.indices.shape[1]):
            if active.indices[i, m] < 0:
                continue
            atom, value = atoms[active.indices[i, m]], active.values[i, m]
            for f in range(rest.shape[0]):
                rest[f] -= value * atom[f]
        squares = np.float32(0)
        for f in range(rest.shape[0]):
            squares += rest[f] * rest[f]
        total += float(squares)
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def slopes_of(
    residual: NDArray[np.float32],
    active: Active,
    atoms: NDArray[np.float32],
    l1: NDArray[np.float32],
    slopes: NDArray[np.float32],
) -> None:
    """Write the derivative of the loss by every active coefficient.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_features)
    active : Active
    atoms : ndarray of shape (n_atoms, n_features)
    l1 : ndarray of shape (n_atoms,)
        Weight λ of each atom's coefficients.
    slopes : ndarray of shape (n_samples, max_nnz)
        Is overwritten; 0 in unused places.
    """
    weight = np.float32(1 / residual.shape[0])
    for i in range(residual.shape[0]):
        rest = residual[i]
        for m in range(active.indices.shape[1]):
            j = active.indices[i, m]
            if j < 0:
                slopes[i, m] = 0
                continue
            atom = atoms[j]
            product = np.float32(0)
            for f in range(rest.shape[0]):
                product += rest[f] * atom[f]
            slopes[i, m] = weight * (l1[j] - np.float32(2) * product)


@njit(cache=True, nogil=True)
def group_by_atom(
    indices: NDArray[np.int32], starts: NDArray[np.int64], places: NDArray[np.int64]
) -> None:
    """List for each atom the places of `indices` where it stands, in their order.

    Parameters
    ----------
    indices : ndarray of shape (n_samples, max_nnz)
    starts : ndarray of shape (n_atoms + 1,)
        Is overwritten: those of atom j are ``places[starts[j] : starts[j + 1]]``.
    places : ndarray of shape (n_samples * max_nnz,)
        Is overwritten, as far as it is used.
    """
    flat = indices.ravel()
    starts[:] = 0
    for place in range(flat.shape[0]):
        if flat[place] >= 0:
            starts[flat[place] + 1] += 1
    for j in range(1, starts.shape[0]):
        starts[j] += starts[j - 1]
    for place in range(flat.shape[0]):
        if flat[place] >= 0:
            places[starts[flat[place]]] = place
            starts[flat[place]] += 1
    for j in range(starts.shape[0] - 1, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def gradient_of(
    j: int,
    noisy: NDArray[np.float32],
    residual: NDArray[np.float32],
    active: Active,
    slopes: NDArray[np.float32],
    starts: NDArray[np.int64],
    places: NDArray[np.int64],
    of_encoder: NDArray[np.float32],
    of_atom: NDArray[np.float32],
) -> np.float32:
    """Write the gradient by one atom and its row of the encoder; return that by its bias."""
    max_nnz = active.indices.shape[1]
    weight = np.float32(-2 / noisy.shape[0])
    of_bias = np.float32(0)
    of_encoder[:] = 0
    of_atom[:] = 0
    for entry in range(starts[j], starts[j + 1]):
        i, m = divmod(places[entry], max_nnz)
        slope, value = slopes[i, m], weight * active.values[i, m]
        given, rest = noisy[i], residual[i]
        of_bias += slope
        for f in range(of_atom.shape[0]):
            of_encoder[f] += slope * given[f]
            of_atom[f] += value * rest[f]
    return of_bias


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _adam(
    values: NDArray[np.float32],
    gradient: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    step_size: np.float32,
    correction: np.float32,
) -> None:
    for f in range(values.shape[0]):
        g = gradient[f]
        first[f] = _DECAY_1 * first[f] + (np.float32(1) - _DECAY_1) * g
        second[f] = _DECAY_2 * second[f] + (np.float32(1) - _DECAY_2) * g * g
        values[f] -= step_size * first[f] / (correction * np.sqrt(second[f]) + _EPSILON)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def update(
    parameters: Parameters,
    first: Parameters,
    second: Parameters,
    noisy: NDArray[np.float32],
    residual: NDArray[np.float32],
    active: Active,
    slopes: NDArray[np.float32],
    penalty: NDArray[np.float32],
    starts: NDArray[np.int64],
    places: NDArray[np.int64],
    learning_rate: float,
    step: int,
) -> None:
    """Make one step of Adam, atom by atom, and bring the atoms back to unit norm.

    The gradient of an atom never leaves the nearest cache: it is made, used and forgotten.

    Parameters
    ----------
    parameters : Parameters
        Are changed.
    first, second : Parameters
        Moments of the gradients; are changed.
    noisy, residual : ndarray of shape (n_samples, n_features)
        What the encoder saw, and what the decoder left.
    active : Active
    slopes : ndarray of shape (n_samples, max_nnz)
    penalty : ndarray of shape (n_atoms,)
        Weight of half the squared norm of each row of the encoder.
    starts, places : ndarray
        Active places of each atom, as by `group_by_atom`.
    learning_rate : float
    step : int
        Steps made, this one counted.
    """
    n_atoms, n_features = parameters.atoms.shape
    of_encoder = np.empty(n_features, np.float32)
    of_atom = np.empty(n_features, np.float32)
    step_size = np.float32(learning_rate / (1 - float(_DECAY_1) ** step))
    correction = np.float32(1 / math.sqrt(1 - float(_DECAY_2) ** step))
    of_bias = np.empty(n_atoms, np.float32)
    for j in range(n_atoms):
        of_bias[j] = gradient_of(
            j, noisy, residual, active, slopes, starts, places, of_encoder, of_atom
        )
        row, atom = parameters.encoder[j], parameters.atoms[j]
        weight = penalty[j]
        for f in range(n_features):
            of_encoder[f] += weight * row[f]
        _adam(row, of_encoder, first.encoder[j], second.encoder[j], step_size, correction)
        _adam(atom, of_atom, first.atoms[j], second.atoms[j], step_size, correction)
        squares = np.float32(0)
        for f in range(n_features):
            squares += atom[f] * atom[f]
        scale = np.float32(1) / max(np.sqrt(squares), np.float32(1e-12))
        for f in range(n_features):
            atom[f] *= scale
    _adam(parameters.bias, of_bias, first.bias, second.bias, step_size, correction)
