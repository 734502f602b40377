"""Dictionaries made elsewhere, turned into cgraph's own: equal codes, atoms of unit length.

Three layouts are read:

- plain: ``atoms (n_atoms, d_model)``, optionally ``mean``, and either nothing more (codes by
  orthogonal matching pursuit) or ``encoder.weight``, ``encoder.bias`` and ``encoder.threshold``;
  also what cgraph itself writes;
- SAELens and Prisma: ``W_enc``, ``b_enc``, ``W_dec``, ``b_dec`` and, for JumpReLU, ``threshold``,
  with ``cfg.json`` or ``config.json``;
- overcomplete: the state of a ``TopKSAE`` or ``BatchTopKSAE`` with a linear encoder.

Each is a linear map, a bias and a rule for which outputs are active, which is what
`cgraph.dictionary.TopKEncoder` computes. Atoms are brought to unit length and coefficients
multiplied by the former lengths, so that the sum stays the same; the ranking is by the coefficients
as they were. What cannot be brought to this form without changing codes is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.dictionary import Dictionary, PursuitEncoder, TopKEncoder
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.foreign_files import LayerArrays, read_layers

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5  # of torch.nn.BatchNorm1d
_UNIT = 1e-3


class ForeignDictionary:
    """Dictionaries made elsewhere, one for each layer of a model.

    Parameters
    ----------
    path : str or Path
        A file or folder, as `cgraph.foreign_files.read_layers` takes it.
    max_nnz : int, optional
        Most active concepts of a token. Needed where the files do not say it; where the number of
        active concepts varies, the largest so many are kept.
    on_note : callable, optional
        Called with a sentence for what a user should know of how the files were read.

    Attributes
    ----------
    to_centre : dict of int to ndarray, shape (d_model,)
        Filled by `read`: by layer, the decoder's bias where tokens are brought to mean 0 and
        deviation 1 first; see `cgraph.imported.centred_on`.
    """

    def __init__(
        self,
        path: str | Path,
        max_nnz: int | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_nnz = max_nnz
        self.to_centre: dict[int, np.ndarray] = {}
        self._on_note = on_note

    def read(
        self, n_layers: int, d_model: int, *, nonnegative: bool = True, usual_nnz: int = 10
    ) -> list[Dictionary]:
        """Read the dictionaries of all layers.

        Parameters
        ----------
        n_layers, d_model : int
            Of the model.
        nonnegative : bool
            For atoms without an encoder: whether the pursuit takes positive coefficients only.
        usual_nnz : int
            Most active concepts where neither the files nor `max_nnz` say it.

        Raises
        ------
        ConfigError, DataError
            If the files are not there, damaged, of another model, or of a kind that cannot be
            taken over without changing what it computes.
        """
        found, notes = [], []
        for layer in read_layers(self.path, n_layers):
            reader = _Reader(layer, d_model, self.max_nnz, nonnegative, usual_nnz)
            found.append(reader.dictionary())
            notes.append(reader.notes)
            if reader.scales_tokens:
                self.to_centre[layer.layer] = found[-1].mean
        sizes = sorted({dictionary.n_atoms for dictionary in found})
        if len(sizes) > 1:
            raise DataError(
                f"The dictionaries in {self.path} have {' and '.join(map(str, sizes))} atoms. All "
                "layers need the same number."
            )
        if self._on_note is not None:
            for note in dict.fromkeys(note for own in notes for note in own):
                layers = [n for n, own in enumerate(notes, start=1) if note in own]
                whole = len(layers) == n_layers
                where = "All layers" if whole else f"Layers {', '.join(map(str, layers))}"
                self._on_note(f"{where}: {note}.")
        return found


class _Reader:
    """Turns the arrays of one layer into a dictionary."""

    def __init__(
        self,
        source: LayerArrays,
        d_model: int,
        max_nnz: int | None,
        nonnegative: bool,
        usual_nnz: int,
    ) -> None:
        self.place = source.place
        self.arrays = dict(source.arrays)
        self.said = source.description
        self.d_model = d_model
        self.wanted_nnz = max_nnz
        self.nonnegative = nonnegative
        self.usual_nnz = usual_nnz
        self.notes: list[str] = []
        self.scales_tokens = False

    def dictionary(self) -> Dictionary:
        """Return the dictionary.

        Raises
        ------
        ConfigError, DataError
        """
        names = set(self.arrays)
        try:
            if {"W_enc", "W_dec"} <= names:
                found = self._saelens()
            elif "dictionary._weights" in names:
                found = self._overcomplete()
            elif {"atoms", "mean", "max_nnz", "encoder.gain"} <= names:
                found = self._own()
            elif "atoms" in names:
                found = self._plain()
            else:
                raise DataError(
                    f"{self.place} holds {', '.join(sorted(names)[:4]) or 'nothing'}: that is none "
                    "of the layouts that are read. They are atoms (with mean and encoder.weight, "
                    "encoder.bias), SAELens and Prisma (W_enc, b_enc, W_dec, b_dec), and "
                    "overcomplete (dictionary._weights, encoder.final_block.0.weight)."
                )
            return Dictionary.from_tensors(found.to_tensors())
        except StudyError:
            raise DataError(
                f"The arrays in {self.place} do not fit together. Get the files from where they "
                "came from once more."
            ) from None

    def _own(self) -> Dictionary:
        found = Dictionary.from_tensors(self.arrays)
        self._check("atoms", found.atoms, (found.n_atoms, self.d_model))
        if self.wanted_nnz not in (None, found.max_nnz):
            raise ConfigError(
                f"--max-nnz is {self.wanted_nnz}, and {self.place} was learned for "
                f"{found.max_nnz}. Leave --max-nnz out."
            )
        return found

    def _plain(self) -> Dictionary:
        atoms = self._array("atoms")
        n_atoms = len(atoms)
        self._check("atoms", atoms, (n_atoms, self.d_model))
        mean = self._optional("mean", (self.d_model,))
        if mean is None:
            self.notes.append("there is no mean, and none is subtracted")
            mean = np.zeros(self.d_model)
        said = self._count("max_nnz", self.arrays.get("max_nnz"))
        if "encoder.weight" not in self.arrays:
            return self._pursuit(atoms, mean, said)
        weight = self._array("encoder.weight", (n_atoms, self.d_model))
        bias = self._optional("encoder.bias", (n_atoms,))
        threshold = self.arrays.get("encoder.threshold")
        if threshold is not None:
            threshold = np.broadcast_to(np.ravel(threshold), (n_atoms,))
        nnz = self._most(said, n_atoms, varying=threshold is not None)
        return self._linear(atoms, mean, weight, bias, nnz, threshold)

    def _pursuit(self, atoms: np.ndarray, mean: np.ndarray, said: int | None) -> Dictionary:
        nnz = self.wanted_nnz or said or self.usual_nnz
        if nnz > min(atoms.shape):
            raise ConfigError(
                f"max_nnz is {nnz}, and {self.place} has {len(atoms)} atoms of {self.d_model} "
                "numbers: a pursuit finds no more active concepts than that. Lower --max-nnz."
            )
        sign = "non-negative" if self.nonnegative else "signed"
        self.notes.append(
            f"there is no encoder; codes are made by {sign} orthogonal matching pursuit, with at "
            f"most {nnz} active concepts"
        )
        unit = (atoms / self._lengths(atoms)[:, None]).astype(np.float32)
        encoder = PursuitEncoder(unit, None, np.ones(len(unit), np.float32), self.nonnegative)
        return Dictionary(unit, mean.astype(np.float32), nnz, encoder)

    def _saelens(self) -> Dictionary:
        n_atoms = len(self._array("W_dec"))
        atoms = self._array("W_dec", (n_atoms, self.d_model))
        weight = self._array("W_enc", (self.d_model, n_atoms)).T
        bias = self._array("b_enc", (n_atoms,))
        mean = self._array("b_dec", (self.d_model,))
        kind, k = self._activation()
        subtracted = bool(self.said.get("apply_b_dec_to_input", True))
        self.scales_tokens = self.said.get("normalize_activations") == "layer_norm"
        if self.scales_tokens and subtracted:
            # Here the token itself is scaled, and its mean taken off afterwards.
            bias = bias - weight @ mean
        elif not self.scales_tokens and not subtracted:
            # It encodes z, and this encoder z − mean.
            bias = bias + weight @ mean
        threshold = self._array("threshold", (n_atoms,)) if kind == "jumprelu" else None
        nnz = self._most(k, n_atoms, varying=kind != "topk")
        ranked_by_length = bool(self.said.get("rescale_acts_by_decoder_norm"))
        return self._linear(atoms, mean, weight, bias, nnz, threshold, ranked_by_length)

    def _activation(self) -> tuple[str, int | None]:
        """Return ``topk``, ``relu`` or ``jumprelu``, and k, as the description says."""
        said = self.said
        if not said:
            raise DataError(
                f"{self.place} has no cfg.json or config.json beside it, so it is not known which "
                "concepts are active. Put the one it was saved with there."
            )
        normalised = said.get("normalize_activations", "none")
        if normalised not in ("none", None, False, "layer_norm"):
            advice = (
                "Fold it into the weights with fold_activation_norm_scaling_factor and save again."
                if normalised == "expected_average_only_in"
                else "It scales every token by itself, which no fixed atoms and mean can do."
            )
            raise DataError(
                f"{self.place} was trained with normalize_activations {normalised!r}, which is not "
                f"read. {advice}"
            )
        for name in ("finetuning_scaling_factor", "is_transcoder"):
            if said.get(name):
                raise DataError(f"{self.place} uses {name}, which is not read.")
        if said.get("use_patches_only"):
            self.notes.append("it was trained on patch tokens alone, and codes class tokens here")
        architecture = str(said.get("architecture", "standard"))
        named = said.get("activation_fn_str") or said.get("activation_fn") or "relu"
        options = said.get("activation_fn_kwargs") or {}
        k = said.get("k", options.get("k") if isinstance(options, Mapping) else None)
        kind = {"standard": str(named), "topk": "topk", "jumprelu": "jumprelu"}.get(architecture)
        if kind not in ("topk", "relu", "jumprelu"):
            raise DataError(
                f"{self.place} is of architecture {architecture!r} with activation {named!r}, "
                "which is not read. Those that are: standard with relu or topk, topk, jumprelu."
            )
        if said.get("rescale_acts_by_decoder_norm") and kind != "topk":
            raise DataError(
                f"{self.place} uses rescale_acts_by_decoder_norm with {kind}, which is not read."
            )
        return kind, self._count("k", k) if kind == "topk" else None

    def _overcomplete(self) -> Dictionary:
        atoms = self._array("dictionary._weights")
        n_atoms = len(atoms)
        self._check("dictionary._weights", atoms, (n_atoms, self.d_model))
        if abs(np.linalg.norm(atoms, axis=1) - 1).max() > _UNIT:
            raise DataError(
                f"The rows of dictionary._weights in {self.place} are not of length 1, and it is "
                "not known how overcomplete would normalise them. Encode one token with it, which "
                "normalises them, and save the state again."
            )
        block = "encoder.final_block"
        weight = self._array(f"{block}.0.weight", (n_atoms, self.d_model)).astype(np.float64)
        bias = self._array(f"{block}.0.bias", (n_atoms,)).astype(np.float64)
        norm = {p: self._optional(f"{block}.1.{p}", (n_atoms,)) for p in _BATCH_NORM}
        known = {"dictionary._weights", f"{block}.0.weight", f"{block}.0.bias",
                 f"{block}.1.num_batches_tracked", "running_threshold", "top_k",
                 *(f"{block}.1.{p}" for p in _BATCH_NORM)}  # fmt: skip
        others = sorted(set(self.arrays) - known)
        if others or (any(v is not None for v in norm.values()) and norm["running_var"] is None):
            other = others[0] if others else f"{block}.1 without running_var"
            raise DataError(
                f"{self.place} holds {other}, which no TopKSAE or BatchTopKSAE with a linear "
                "encoder has. Others are not read."
            )
        if norm["running_var"] is not None and norm["running_mean"] is not None:
            scale = 1 / np.sqrt(norm["running_var"] + _EPSILON)
            if norm["weight"] is not None:
                scale = scale * norm["weight"]
            weight, bias = weight * scale[:, None], (bias - norm["running_mean"]) * scale
            if norm["bias"] is not None:
                bias = bias + norm["bias"]
        mean = np.zeros(self.d_model)
        above = self.arrays.get("running_threshold", self.said.get("running_threshold"))
        if above is not None:
            # It is active at the threshold, and here above it.
            threshold = np.nextafter(np.float32(np.ravel(above)[0]), np.float32(-np.inf))
            nnz = self._most(None, n_atoms, varying=True)
            each = np.full(n_atoms, threshold, np.float32)
            return self._linear(atoms, mean, weight, bias, nnz, each)
        k = self._count("top_k", self.arrays.get("top_k", self.said.get("top_k")))
        if k is None and self.wanted_nnz is None:
            raise DataError(
                f"{self.place} does not say how many concepts are active, which overcomplete keeps "
                "out of its state. Give --max-nnz with the top_k of a TopKSAE; of a BatchTopKSAE, "
                'put {"running_threshold": …} into a cfg.json beside it.'
            )
        return self._linear(atoms, mean, weight, bias, self._most(k, n_atoms, varying=False), None)

    def _linear(
        self,
        atoms: np.ndarray,
        mean: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        max_nnz: int,
        threshold: np.ndarray | None,
        ranked_by_length: bool = False,
    ) -> Dictionary:
        """Bring atoms to unit length and multiply coefficients by what they were longer."""
        lengths = self._lengths(atoms)
        bias = np.zeros(len(atoms)) if bias is None else bias
        gain = np.ones(len(atoms)) if ranked_by_length else lengths
        encoder = TopKEncoder(
            np.ascontiguousarray(weight * lengths[:, None], dtype=np.float32),
            (bias * lengths).astype(np.float32),
            # Above its own threshold: above 0 once that is taken off.
            np.zeros(len(atoms), np.float32)
            if threshold is None
            else -np.asarray(threshold, dtype=np.float32),
            gain.astype(np.float32),
            None if threshold is None else 0.0,
            np.asarray(mean, dtype=np.float32) if self.scales_tokens else None,
        )
        unit = (atoms / lengths[:, None]).astype(np.float32)
        return Dictionary(unit, np.asarray(mean, dtype=np.float32), max_nnz, encoder)

    def _lengths(self, atoms: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(atoms.astype(np.float64), axis=1)
        if lengths.min() <= 0:
            raise DataError(
                f"Atom {int(lengths.argmin())} of {self.place} has length 0 and can stand for "
                "nothing. Take such atoms out, with their encoder rows."
            )
        if abs(lengths - 1).max() > _UNIT:
            self.notes.append(
                "atoms were not of length 1; they are now, and coefficients were multiplied by "
                "the former length"
            )
        return lengths

    def _most(self, said: int | None, n_atoms: int, *, varying: bool) -> int:
        """Return how many concepts are active at most."""
        if varying:
            if self.wanted_nnz is None:
                return n_atoms
            self.notes.append(
                f"the number of active concepts varies; the largest {self.wanted_nnz} are kept"
            )
            return min(self.wanted_nnz, n_atoms)
        if said is not None and self.wanted_nnz not in (None, said):
            raise ConfigError(
                f"--max-nnz is {self.wanted_nnz}, and {self.place} was learned for {said}. Leave "
                "--max-nnz out."
            )
        nnz = self.wanted_nnz or said or self.usual_nnz
        if nnz > n_atoms:
            raise ConfigError(
                f"max_nnz is {nnz}, and {self.place} has {n_atoms} atoms. Lower --max-nnz."
            )
        return nnz

    def _count(self, name: str, value: Any) -> int | None:
        if value is None:
            return None
        number = np.ravel(np.asarray(value))
        if number.size != 1 or number.dtype.kind not in "iuf" or number[0] != int(number[0]):
            raise DataError(f"{self.place} says {name} = {value!r}, which is no whole number.")
        if number[0] < 1:
            raise DataError(f"{self.place} says {name} = {int(number[0])}: it must be at least 1.")
        return int(number[0])

    def _array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        if name not in self.arrays:
            raise DataError(
                f"{self.place} has no array {name}. Get the file from where it came from once more."
            )
        array = self.arrays[name]
        if shape is not None:
            self._check(name, array, shape)
        elif array.ndim != 2 or not array.size:
            raise DataError(f"{name} in {self.place} has shape {array.shape}, not two axes.")
        return array

    def _optional(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        return self._array(name, shape) if name in self.arrays else None

    def _check(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise DataError(
                f"{name} in {self.place} has shape {array.shape}, and this model, whose tokens "
                f"have {self.d_model} numbers, needs {shape}. Give dictionaries of this model."
            )
