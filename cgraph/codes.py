"""Codes of many images at one layer, as compressed sparse rows.

A code holds at most a few nonzeros of thousands of atoms, so it is never stored or passed on as
a dense array. Row ``i`` owns the entries ``offsets[i]:offsets[i + 1]`` of `indices` and
`coefficients`; within a row indices rise. The label of a concept is "has an entry", so no entry
is ever zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cgraph.errors import DataError

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Codes:
    """Sparse codes of `n_samples` tokens over `n_atoms` atoms.

    Attributes
    ----------
    offsets : ndarray of int64, shape (n_samples + 1,)
        Where each row starts in the two arrays below.
    indices : ndarray of int32, shape (nnz,)
        Atom of each entry, rising within a row.
    coefficients : ndarray of float32, shape (nnz,)
        Coefficient of each entry, never zero.
    n_atoms : int
        Atoms of the dictionary.
    """

    offsets: np.ndarray
    indices: np.ndarray
    coefficients: np.ndarray
    n_atoms: int

    @classmethod
    def from_padded(cls, indices: np.ndarray, coefficients: np.ndarray, n_atoms: int) -> Codes:
        """Read codes from fixed-width rows in which index -1 marks an unused place.

        Parameters
        ----------
        indices : ndarray of int, shape (n_samples, max_nnz)
        coefficients : ndarray of float, shape (n_samples, max_nnz)
        n_atoms : int

        Raises
        ------
        DataError
            If a coefficient is not finite.
        """
        if not np.isfinite(coefficients).all():
            raise DataError(
                "A code has a coefficient that is not a finite number. Check the tokens for "
                "infinite or missing values."
            )
        used = (indices >= 0) & (coefficients != 0)
        order = np.argsort(np.where(used, indices, n_atoms), axis=1, kind="stable")
        used = np.take_along_axis(used, order, axis=1)
        offsets = np.zeros(len(indices) + 1, dtype=np.int64)
        np.cumsum(used.sum(axis=1), out=offsets[1:])
        return cls(
            offsets=offsets,
            indices=np.take_along_axis(indices, order, axis=1)[used].astype(np.int32),
            coefficients=np.take_along_axis(coefficients, order, axis=1)[used].astype(np.float32),
            n_atoms=n_atoms,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Codes]) -> Codes:
        """Join the rows of several parts, in their order."""
        if not parts:
            raise ValueError("concatenate needs at least one part")
        if len({part.n_atoms for part in parts}) > 1:
            raise ValueError("the parts have different numbers of atoms")
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            indices=np.concatenate([part.indices for part in parts]),
            coefficients=np.concatenate([part.coefficients for part in parts]),
            n_atoms=parts[0].n_atoms,
        )

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def nnz(self) -> int:
        """Number of entries over all rows."""
        return int(self.offsets[-1])

    def row(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the active atoms of one row and their coefficients.

        Raises
        ------
        IndexError
            If there is no such row; rows are not counted from the end.
        """
        if not 0 <= sample < self.n_samples:
            raise IndexError(f"row {sample} of codes with {self.n_samples} rows")
        entries = slice(self.offsets[sample], self.offsets[sample + 1])
        return self.indices[entries], self.coefficients[entries]

    def take(self, rows: np.ndarray) -> Codes:
        """Return the rows of the given numbers, in the given order.

        Raises
        ------
        IndexError
            If there is no such row; rows are not counted from the end.
        """
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_samples):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.n_samples}")
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Codes(offsets, self.indices[entries], self.coefficients[entries], self.n_atoms)

    def counts(self) -> np.ndarray:
        """Return how many rows each atom is active in, shape ``(n_atoms,)``."""
        return np.bincount(self.indices, minlength=self.n_atoms)

    def to_csr(self, *, binary: bool = False) -> sparse.csr_array:
        """Return a ``(n_samples, n_atoms)`` sparse array of coefficients, or of ones.

        Parameters
        ----------
        binary : bool
            Whether to return labels (1 where active) in place of coefficients.
        """
        from scipy import sparse

        values = np.ones(self.nnz, dtype=np.float32) if binary else self.coefficients
        shape = (self.n_samples, self.n_atoms)
        return sparse.csr_array((values, self.indices, self.offsets), shape=shape)

    def dense_labels(self, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """Return labels as a Boolean array; for a few rows, or for tests."""
        codes = self if rows is None else self.take(np.arange(self.n_samples)[rows])
        labels = np.zeros((codes.n_samples, codes.n_atoms), dtype=bool)
        labels[np.repeat(np.arange(codes.n_samples), np.diff(codes.offsets)), codes.indices] = True
        return labels

    @cached_property
    def _by_atom(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First place of each atom in the two others: its rows, rising, and its coefficients."""
        starts = np.concatenate([[0], np.cumsum(self.counts())])
        entries = stable_order(self.indices, self.n_atoms)
        rows = np.repeat(np.arange(self.n_samples, dtype=np.int32), np.diff(self.offsets))
        return starts, rows[entries], self.coefficients[entries]

    def _entries(self, atom: int) -> tuple[np.ndarray, np.ndarray]:
        starts, rows, values = self._by_atom
        entries = slice(starts[atom], starts[atom + 1])
        return rows[entries], values[entries]

    def positives(self, atom: int) -> np.ndarray:
        """Return the rows, rising, in which an atom is active."""
        return self._entries(atom)[0]

    def exemplars(self, atom: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in which an atom is strongest, and its coefficients there.

        Signed codes are ranked by absolute value; ties go to the earlier row.
        """
        rows, values = self._entries(atom)
        order = np.argsort(-np.abs(values), kind="stable")[:n]
        return rows[order], values[order]


@dataclass
class CodeCounts:
    """How often the concepts of a layer are active in some images, added up part by part.

    Attributes
    ----------
    n_samples : int
        Images that were counted.
    active, positive : ndarray of int64, shape (n_atoms,)
        Images in which each concept is active, and in which its coefficient is above 0.
    """

    n_samples: int
    active: np.ndarray
    positive: np.ndarray

    @classmethod
    def of(cls, codes: Codes) -> CodeCounts:
        """Count some codes."""
        above = codes.indices[codes.coefficients > 0]
        return cls(codes.n_samples, codes.counts(), np.bincount(above, minlength=codes.n_atoms))

    def __add__(self, other: CodeCounts) -> CodeCounts:
        """Return the counts of both sets of images."""
        return CodeCounts(
            self.n_samples + other.n_samples,
            self.active + other.active,
            self.positive + other.positive,
        )


def stable_order(numbers: np.ndarray, below: int) -> np.ndarray:
    """Return the order that sorts whole numbers from 0 to `below` - 1, equal ones as they come."""
    # NumPy sorts numbers of 16 bits by counting, which is many times faster.
    small = numbers.astype(np.uint16) if below <= 2**16 else numbers
    return np.argsort(small, kind="stable")
