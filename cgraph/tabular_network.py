"""A layer as a Bayesian network over the layer before: greedy parents and a table for each concept.

The paper says of Bayesian networks that it "typically boils down to some kind of greedy search and
tabular lookup", and that they "might be worth a shot". This is that shot, for one pair of layers,
where the order of the concepts is given. A concept y with parents x_1 … x_k has a table of 2^k
entries; with N_c rows in cell c, of which n_c have the concept, and prevalence π::

    p_c = (n_c + s π) / (N_c + s)                        Dirichlet prior of strength s, mean π

Parents are added one at a time, the one first that raises the log-likelihood of the training rows
most (Cooper and Herskovits 1992, K2, with the likelihood for a score)::

    ℓ = Σ_c n_c log(n_c / N_c) + (N_c − n_c) log(1 − n_c / N_c)

All candidates of a step add the same number of entries, so the BIC, ``ℓ − 2^k/2 · log n`` (Schwarz
1978), ranks them alike: it decides when to stop and not whom to take. A greedy search is blind to
parents that say nothing alone: the exclusive or of two labels that are on half the time is found
only by luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from cgraph.codes import Codes
from cgraph.errors import ConfigError, DataError

MAX_PARENTS = 5
"""Default of the most parents: a table of 32 entries."""

STRENGTH = 2.0
"""Default strength of the prior, in rows: that of Laplace's rule."""

MOST_PARENTS = 16
"""No more than so many parents are allowed: tables double with each."""


@dataclass(frozen=True)
class GreedyTable:
    """One concept, and its tables for the first 0, 1, … of its parents.

    Attributes
    ----------
    parents : ndarray of int, shape (n_parents,)
        Concepts of the layer before in the order in which they were taken.
    likelihoods : ndarray of float64, shape (n_parents + 1,)
        ℓ of the training rows with the first k parents, in nats; rises.
    bics : ndarray of float64, shape (n_parents + 1,)
        ``ℓ − 2^k/2 · log n``; the larger the better.
    tables : tuple of ndarray of float64
        Of 2^k probabilities each. Bit j of an entry's index is the label of parent j.
    """

    parents: np.ndarray
    likelihoods: np.ndarray
    bics: np.ndarray
    tables: tuple[np.ndarray, ...]

    @property
    def n_by_bic(self) -> int:
        """Parents at which a search by BIC stops: before the first that does not raise it."""
        falls = np.flatnonzero(np.diff(self.bics) <= 0)
        return int(falls[0]) if len(falls) else len(self.parents)

    def probabilities(self, columns: np.ndarray, n_parents: int) -> np.ndarray:
        """Return the probability of the concept in some rows.

        Parameters
        ----------
        columns : ndarray of bool, shape (n_samples, len(parents))
            Labels of `parents`, in their order.
        n_parents : int
            How many of them are looked at.

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        cells = columns[:, :n_parents].astype(np.int64) @ (1 << np.arange(n_parents))
        return self.tables[n_parents][cells]


def fit_tables(
    inputs: Codes,
    labels: Codes,
    children: Sequence[int] | np.ndarray,
    *,
    max_parents: int = MAX_PARENTS,
    strength: float = STRENGTH,
) -> list[GreedyTable]:
    """Choose parents and fill the tables of some concepts.

    Parameters
    ----------
    inputs : Codes
        The layer before; labels count, coefficients do not.
    labels : Codes
        The layer of the children, the same images.
    children : sequence of int
        Atoms of `labels`.
    max_parents : int
        0 to `MOST_PARENTS`. Fewer are taken when no further one changes the likelihood.
    strength : float
        Of the prior, in rows, above 0.

    Returns
    -------
    list of GreedyTable
        In the order of the children. Equal gains go to the lower index.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    DataError
        If there are no rows, or inputs and labels differ in length.
    """
    if not 0 <= max_parents <= MOST_PARENTS:
        raise ConfigError(f"max_parents is {max_parents}. Allowed: 0 to {MOST_PARENTS}.")
    if not (np.isfinite(strength) and strength > 0):
        raise ConfigError(f"The strength of the prior is {strength}: it must be above 0.")
    if inputs.n_samples != labels.n_samples or not labels.n_samples:
        raise DataError(
            f"There are inputs of {inputs.n_samples} images and labels of {labels.n_samples}: "
            "give both for the same images, at least one."
        )
    rows = np.repeat(np.arange(inputs.n_samples), np.diff(inputs.offsets))
    return [
        _fit_table(inputs, rows, labels.positives(int(child)), max_parents, strength)
        for child in children
    ]


def _fit_table(
    inputs: Codes, rows: np.ndarray, positives: np.ndarray, max_parents: int, strength: float
) -> GreedyTable:
    n, n_atoms = inputs.n_samples, inputs.n_atoms
    target = np.zeros(n, dtype=np.int64)
    target[positives] = 1
    share = target.mean()
    cells = np.zeros(n, dtype=np.int64)
    parents: list[int] = []
    counts = np.bincount(target, minlength=2).reshape(1, 2)
    likelihoods = [float(_likelihoods(counts[:, :, None])[0])]
    tables = [_table(counts, share, strength)]
    for k in range(min(max_parents, n_atoms)):
        # Rows of each (cell, target) in which each candidate is on; the others are the rest.
        place = 2 * cells + target
        on = np.bincount(place[rows] * n_atoms + inputs.indices, minlength=2 ** (k + 1) * n_atoms)
        on = on.reshape(2**k, 2, n_atoms)
        off = counts[:, :, None] - on
        likelihood = _likelihoods(on) + _likelihoods(off)
        likelihood[parents] = -np.inf
        best = int(likelihood.argmax())
        # Rounding alone may seem to raise it.
        if not likelihood[best] > likelihoods[-1] + 1e-9 * max(1.0, abs(likelihoods[-1])):
            break
        parents.append(best)
        counts = np.concatenate([off[:, :, best], on[:, :, best]])
        cells[inputs.positives(best)] += 2**k
        likelihoods.append(float(likelihood[best]))
        tables.append(_table(counts, share, strength))
    found = np.array(likelihoods)
    bics = found - 0.5 * np.log(n) * 2.0 ** np.arange(len(found))
    return GreedyTable(np.array(parents, dtype=np.int64), found, bics, tuple(tables))


def _likelihoods(counts: np.ndarray) -> np.ndarray:
    """Return ℓ for each of some candidates, of counts of shape (cells, 2, n_candidates)."""
    whole = counts.sum(axis=1)
    return (xlogy(counts, counts).sum(axis=1) - xlogy(whole, whole)).sum(axis=0)


def _table(counts: np.ndarray, share: float, strength: float) -> np.ndarray:
    return (counts[:, 1] + strength * share) / (counts.sum(axis=1) + strength)
