"""A layer's dictionary: one contract for every way to learn and to encode.

A token is approximated by ``z ≈ mean + x @ atoms`` with unit-norm atoms and a sparse code ``x``.
Two encoders give the code: `TopKEncoder` keeps the largest outputs of a linear map (what a sparse
autoencoder learns), `PursuitEncoder` runs orthogonal matching pursuit (what K-SVD needs). Both
also give a *pre-activation* for every concept, active or not: the linear output before anything
is cut off, in the units of the coefficients.

Dictionaries may be learned in a prepared space (`cgraph.preparation`). Atoms are stored in the
space of the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cgraph.codes import Codes
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.preparation import Preparation

_ROWS = 4096  # tokens encoded at a time, and
_SCORES = 1 << 24  # numbers: both bound the dense scores of all atoms
_DEVIATION = np.float32(1e-5)  # added to a deviation before something is divided by it


@dataclass(frozen=True)
class TopKEncoder:
    """The `max_nnz` largest positive outputs of a linear map, or those of them above a threshold.

    Attributes
    ----------
    weight : ndarray of float32, shape (n_atoms, d_model)
    bias : ndarray of float32, shape (n_atoms,)
        ``pre = (z - mean) @ weight.T + bias`` is the pre-activation and, where chosen, the
        coefficient.
    selection_bias : ndarray of float32, shape (n_atoms,)
        Added to ``pre / gain`` only for ranking, and only where ``pre > 0``: it gives rare
        concepts their turn.
    gain : ndarray of float32, shape (n_atoms,)
    threshold : float or None
        What ``pre / gain + selection_bias`` of an active concept exceeds; ``None`` for no more
        than being among the largest.
    """

    weight: np.ndarray
    bias: np.ndarray
    selection_bias: np.ndarray
    gain: np.ndarray
    threshold: float | None = None
    shift: np.ndarray | None = None
    """For encoders made elsewhere that bring every token to mean 0 and standard deviation 1 over
    its numbers first, shape ``(d_model,)``: what was subtracted from the tokens. The linear output
    is then multiplied by the token's deviation, so that it is in the units of the tokens."""

    def _inputs(self, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the linear map takes, and what its outputs are to be multiplied by."""
        if self.shift is None:
            return centred, None
        tokens = centred + self.shift
        tokens = tokens - tokens.mean(axis=1, keepdims=True)
        deviation = tokens.std(axis=1, ddof=1, keepdims=True)
        return tokens / (deviation + _DEVIATION), np.maximum(deviation, np.float32(1e-12))

    def pre_activations(self, centred: np.ndarray, atoms: np.ndarray | None = None) -> np.ndarray:
        """Return the linear output of every concept, or of some: ``(n_samples, n_atoms)``."""
        inputs, scale = self._inputs(centred)
        if atoms is None:
            pre = inputs @ self.weight.T + self.bias
        else:
            pre = inputs @ self.weight[atoms].T + self.bias[atoms]
        return pre if scale is None else pre * scale

    def encode(self, centred: np.ndarray, max_nnz: int) -> tuple[np.ndarray, np.ndarray]:
        """Return padded indices and coefficients, shapes ``(n_samples, max_nnz)``."""
        inputs, scale = self._inputs(centred)
        prepared = (inputs @ self.weight.T + self.bias) / self.gain
        indices, values = topk_codes(prepared, self.selection_bias, max_nnz, self.threshold)
        values = values * self.gain[indices]
        return indices, values if scale is None else values * scale


@dataclass(frozen=True)
class PursuitEncoder:
    """Orthogonal matching pursuit on the atoms, in the prepared space.

    Attributes
    ----------
    components : ndarray of float32, shape (n_atoms, d_model or r)
        Unit-norm atoms in the prepared space.
    whitener : ndarray of float32, shape (d_model, r), or None
    gain : ndarray of float32, shape (n_atoms,)
    nonnegative : bool
    """

    components: np.ndarray
    whitener: np.ndarray | None
    gain: np.ndarray
    nonnegative: bool

    @cached_property
    def gram(self) -> np.ndarray:
        """Products of all pairs of atoms; once asked for, kept for whoever encodes many parts."""
        return self.components @ self.components.T

    def _prepare(self, centred: np.ndarray) -> np.ndarray:
        return centred if self.whitener is None else centred @ self.whitener

    def pre_activations(self, centred: np.ndarray, atoms: np.ndarray | None = None) -> np.ndarray:
        """Return the correlation of every atom, or of some, with the token."""
        if atoms is None:
            return self._prepare(centred) @ self.components.T * self.gain
        return self._prepare(centred) @ self.components[atoms].T * self.gain[atoms]

    def encode(self, centred: np.ndarray, max_nnz: int) -> tuple[np.ndarray, np.ndarray]:
        """Return padded indices and coefficients, shapes ``(n_samples, max_nnz)``."""
        prepared = self._prepare(centred)
        from cgraph.pursuit import omp  # brings numba, which takes long to load

        gram = vars(self).get("gram")  # only if somebody asked for it before
        indices, values = omp(
            prepared, self.components, max_nnz, nonnegative=self.nonnegative, gram=gram
        )
        return indices, values * np.where(indices >= 0, self.gain[indices], 0)


@dataclass(frozen=True)
class Dictionary:
    """Atoms of one layer with their encoder.

    Attributes
    ----------
    atoms : ndarray of float32, shape (n_atoms, d_model)
        Unit-norm rows.
    mean : ndarray of float32, shape (d_model,)
    max_nnz : int
        Most nonzeros of a code.
    encoder : TopKEncoder or PursuitEncoder
    """

    atoms: np.ndarray
    mean: np.ndarray
    max_nnz: int
    encoder: TopKEncoder | PursuitEncoder

    @classmethod
    def from_autoencoder(
        cls,
        preparation: Preparation,
        components: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        selection_bias: np.ndarray,
        max_nnz: int,
        threshold: float | None = None,
    ) -> Dictionary:
        """Fold an autoencoder trained on prepared vectors into token space."""
        atoms, gain = preparation.to_token_space(components)
        if preparation.whitener is not None:
            weight = weight @ preparation.whitener.T
        encoder = TopKEncoder(
            np.ascontiguousarray(weight * gain[:, None], dtype=np.float32),
            (bias * gain).astype(np.float32),
            np.asarray(selection_bias, dtype=np.float32),
            gain.astype(np.float32),
            threshold,
        )
        return cls(atoms.astype(np.float32), preparation.mean, max_nnz, encoder)

    @classmethod
    def from_pursuit(
        cls,
        preparation: Preparation,
        components: np.ndarray,
        max_nnz: int,
        *,
        nonnegative: bool,
    ) -> Dictionary:
        """Pair atoms learned on prepared vectors with a pursuit in the same space."""
        atoms, gain = preparation.to_token_space(components)
        encoder = PursuitEncoder(
            np.ascontiguousarray(components, dtype=np.float32),
            preparation.whitener,
            gain.astype(np.float32),
            nonnegative,
        )
        return cls(atoms.astype(np.float32), preparation.mean, max_nnz, encoder)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atoms)

    @property
    def d_model(self) -> int:
        """Width of the tokens."""
        return self.atoms.shape[1]

    def encode(self, tokens: np.ndarray) -> Codes:
        """Return the codes of tokens.

        Parameters
        ----------
        tokens : ndarray of float32, shape (n_samples, d_model)

        Raises
        ------
        DataError
            If the tokens have another width or are not finite.
        """
        centred = self._centre(tokens)
        rows = max(1, min(_ROWS, _SCORES // self.n_atoms))
        parts = [
            Codes.from_padded(
                *self.encoder.encode(centred[start : start + rows], self.max_nnz), self.n_atoms
            )
            for start in range(0, max(1, len(centred)), rows)
        ]
        return Codes.concatenate(parts)

    def decode(self, codes: Codes) -> np.ndarray:
        """Return the tokens that codes stand for, shape ``(n_samples, d_model)``."""
        return self.mean + codes.to_csr() @ self.atoms

    def pre_activations(self, tokens: np.ndarray, atoms: np.ndarray | None = None) -> np.ndarray:
        """Return the linear output of every concept, shape ``(n_samples, n_atoms)``.

        Dense: call it for a few tokens at a time, or for a few atoms.

        Parameters
        ----------
        tokens : ndarray of float32, shape (n_samples, d_model)
        atoms : ndarray of int, optional
            The concepts wanted, in this order; all if left out.
        """
        return self.encoder.pre_activations(self._centre(tokens), atoms)

    def _centre(self, tokens: np.ndarray) -> np.ndarray:
        if tokens.ndim != 2 or tokens.shape[1] != self.d_model:
            raise DataError(
                f"Tokens have shape {tokens.shape}; this dictionary needs (n, {self.d_model}). "
                "It was learned on another model or layer."
            )
        if not np.isfinite(tokens).all():
            raise DataError("A token is not finite: the model gave infinite or missing values.")
        return tokens - self.mean

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return every array under a fixed name; the inverse of `from_tensors`."""
        tensors = {
            "atoms": self.atoms,
            "mean": self.mean,
            "max_nnz": np.array([self.max_nnz], dtype=np.int64),
            "encoder.gain": self.encoder.gain,
        }
        if isinstance(self.encoder, TopKEncoder):
            tensors["encoder.weight"] = self.encoder.weight
            tensors["encoder.bias"] = self.encoder.bias
            tensors["encoder.selection_bias"] = self.encoder.selection_bias
            if self.encoder.threshold is not None:
                tensors["encoder.threshold"] = np.array([self.encoder.threshold], dtype=np.float32)
            if self.encoder.shift is not None:
                tensors["encoder.shift"] = self.encoder.shift
        else:
            tensors["encoder.components"] = self.encoder.components
            tensors["encoder.nonnegative"] = np.array([self.encoder.nonnegative], dtype=np.uint8)
            if self.encoder.whitener is not None:
                tensors["encoder.whitener"] = self.encoder.whitener
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Dictionary:
        """Read what `to_tensors` returned.

        Raises
        ------
        StudyError
            If an array is missing or the shapes do not fit together.
        """
        try:
            gain, shape = tensors["encoder.gain"], tensors["atoms"].shape
            width_fits = len(shape) == 2 and gain.shape == shape[:1]
            encoder: TopKEncoder | PursuitEncoder
            if "encoder.weight" in tensors:
                above = tensors.get("encoder.threshold")
                encoder = TopKEncoder(
                    tensors["encoder.weight"],
                    tensors["encoder.bias"],
                    tensors["encoder.selection_bias"],
                    gain,
                    None if above is None else float(above[0]),
                    tensors.get("encoder.shift"),
                )
                if encoder.shift is not None:
                    width_fits = width_fits and encoder.shift.shape == shape[1:]
                biases = encoder.bias.shape, encoder.selection_bias.shape
                width_fits = width_fits and encoder.weight.shape == shape
                width_fits = width_fits and biases == (shape[:1], shape[:1])
            else:
                encoder = PursuitEncoder(
                    tensors["encoder.components"],
                    tensors.get("encoder.whitener"),
                    gain,
                    bool(tensors["encoder.nonnegative"][0]),
                )
                width = (shape[1],)
                if encoder.whitener is not None:
                    width_fits = encoder.whitener.shape == (shape[1], encoder.whitener.shape[1])
                    width = encoder.whitener.shape[1:]
                width_fits = width_fits and encoder.components.shape == (shape[0], *width)
            atoms, mean = tensors["atoms"], tensors["mean"]
            max_nnz = int(tensors["max_nnz"][0])
            width_fits = width_fits and mean.shape == shape[1:] and 1 <= max_nnz <= shape[0]
        except KeyError as error:
            raise StudyError(
                f"A dictionary lacks the array {error}. Build the study again."
            ) from None
        except (IndexError, TypeError, ValueError, OverflowError):
            width_fits = False
        if not width_fits:
            raise StudyError(
                "The arrays of a dictionary do not fit together. Build the study again."
            )
        if not all(np.isfinite(array).all() for array in tensors.values()) or gain.min() <= 0:
            raise StudyError(
                "A dictionary holds numbers that are not finite, or a gain that is not above 0. "
                "Build the study again."
            )
        return cls(atoms, mean, max_nnz, encoder)

    @classmethod
    def of_layer(cls, tensors: Mapping[str, np.ndarray], layer: int) -> Dictionary:
        """Pick one layer's dictionary out of a file that holds those of all layers."""
        prefix = layer_prefix(layer)
        own = {
            name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)
        }
        return cls.from_tensors(own)


def layer_prefix(layer: int) -> str:
    """Return how the names of a layer's arrays start in the file of all dictionaries."""
    return f"layer-{layer:02d}."


def topk_codes(
    pre: np.ndarray, selection_bias: np.ndarray, max_nnz: int, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the active atoms of every sample from its pre-activations.

    Parameters
    ----------
    pre : ndarray of shape (n_samples, n_atoms)
        Pre-activations, in the units of the tokens.
    selection_bias : ndarray of shape (n_atoms,)
        Added to positive pre-activations before they compete, in the units of `pre`.
    max_nnz : int
        Largest number of active atoms of one sample; at most `n_atoms`.
    threshold : float, optional
        What a pre-activation with its selection bias must exceed to be active, in the units of
        `pre`. None: no more than being positive.

    Returns
    -------
    indices : int32 ndarray of shape (n_samples, max_nnz)
        Active atoms of each sample in ascending order; unused places at the end hold -1.
    coefficients : float32 ndarray of shape (n_samples, max_nnz)
        Their pre-activations, all positive; 0 in unused places.

    Raises
    ------
    ConfigError
        If `max_nnz` is below 1 or above the number of atoms.
    """
    n_atoms = pre.shape[1]
    if not 1 <= max_nnz <= n_atoms:
        raise ConfigError(
            f"max_nnz is {max_nnz}, but it must lie between 1 and the number of atoms, {n_atoms}."
        )
    scores = np.where(pre > 0, pre + selection_bias, -np.inf)
    chosen = np.argpartition(scores, n_atoms - max_nnz, axis=1)[:, n_atoms - max_nnz :]
    active = np.take_along_axis(pre, chosen, axis=1) > 0
    if threshold is not None:
        active &= np.take_along_axis(scores, chosen, axis=1) > threshold
    # Inactive places sort behind every atom.
    indices = np.sort(np.where(active, chosen, n_atoms), axis=1)
    active = indices < n_atoms
    coefficients = np.take_along_axis(pre, np.where(active, indices, 0), axis=1)
    return (
        np.where(active, indices, -1).astype(np.int32),
        np.where(active, coefficients, 0).astype(np.float32),
    )
