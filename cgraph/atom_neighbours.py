"""Atoms of the layers before and after that point the way of a concept's atom.

The class token is passed on from block to block by addition, so a direction can live on: the
cosine of two atoms of adjacent layers says how alike the two directions are. That is geometry and
no prediction. Parents may lie in quite other directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cgraph.dictionary import Dictionary, PursuitEncoder


@dataclass(frozen=True)
class NearAtom:
    """An atom of another layer and its cosine with the one asked about, in [-1, 1]."""

    index: int
    cosine: float


def nearest_atoms(atom: np.ndarray, others: Dictionary, n: int) -> list[NearAtom]:
    """Return the atoms of a dictionary that are nearest to an atom.

    Parameters
    ----------
    atom : ndarray of float, shape (d_model,)
        Not 0; its length does not matter.
    others : Dictionary
        Of the layer to look in.
    n : int

    Returns
    -------
    list of NearAtom
        By falling cosine, or by its absolute value where the dictionary's codes are signed:
        there an atom and its opposite stand for the same concept. Ties go to the lower index.
    """
    lengths = np.linalg.norm(others.atoms, axis=1) * np.linalg.norm(atom)
    cosines = np.clip(others.atoms @ atom / lengths, -1, 1)
    signed = isinstance(others.encoder, PursuitEncoder) and not others.encoder.nonnegative
    order = np.argsort(-np.abs(cosines) if signed else -cosines, kind="stable")[:n]
    return [NearAtom(int(index), float(cosines[index])) for index in order]


def chance_cosine(n_atoms: int, d_model: int) -> float:
    """Return about how near the nearest of unrelated directions would be.

    The median of the largest of `n_atoms` cosines with a fixed direction, if the atoms were drawn
    at random: a cosine is then about normal with variance ``1 / d_model``.

    Returns
    -------
    float
        In (0, 1]. Trained atoms share directions of large variance, so a cosine above this says
        that something is shared, not that the concept is the same.
    """
    quantile = 0.5 ** (1 / n_atoms)
    return min(1.0, max(0.0, NormalDist().inv_cdf(quantile)) / d_model**0.5)
