"""K-SVD on tokens that come in chunks: what is kept between them.

The power step d ← Eᵀx / ‖Eᵀx‖ needs one sum over the tokens that use an atom. So of the tokens
already seen only that sum is kept, `past` (n_atoms, n_features), and a chunk adds its own to it::

    d ← (past + Eᵀx) / ‖past + Eᵀx‖

Sums of earlier chunks belong to earlier atoms and codes. Before each chunk they fade, to
window / (window + size of the chunk) of what they were: the tokens of about one window count, as
the averages of an online expectation-maximisation (Cappé and Moulines 2009, "On-line
expectation-maximization algorithm for latent data models"). Where sums no longer change with the
chunk, an atom is what K-SVD on all tokens would leave as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgraph import ksvd_steps as steps


class Past(NamedTuple):
    """What chunks already seen left behind; changed in place."""

    sums: NDArray[np.float32]  # Eᵀx, (n_atoms, n_features)
    uses: NDArray[np.float64]  # (n_atoms,), faded like the sums


def no_past(atoms: NDArray[np.float32]) -> Past:
    """Return what is known before the first chunk."""
    return Past(np.zeros_like(atoms), np.zeros(len(atoms)))


def fade(past: Past, n_samples: int, window: int) -> None:
    """Let older tokens count less before a chunk of so many samples."""
    share = window / (window + n_samples)
    past.sums[:] *= np.float32(share)
    past.uses[:] *= share


def remember(fit: steps.Fit, past: Past) -> None:
    """Add the sums of a chunk whose atoms are updated."""
    past.sums[:] += _sums(fit)
    past.uses[:] += steps.count_uses(fit)


def _sums(fit: steps.Fit) -> NDArray[np.float32]:
    """Return Eᵀx of each atom: with residual R and codes X, XᵀR + d times the squared norm of x."""
    codes = steps.codes_of(fit)
    squares = np.asarray(codes.multiply(codes).sum(axis=0)).reshape(-1, 1)
    return np.asarray(codes.T @ fit.residual + squares * fit.atoms, dtype=np.float32)


def replace(
    fit: steps.Fit, past: Past, min_use: float, max_coherence: float, nonnegative: bool
) -> int:
    """Replace atoms as within a fit, judged by the uses remembered; count them."""
    before = fit.atoms.copy()
    n_replaced = steps.replace_atoms(fit, min_use, max_coherence, nonnegative, past.uses)
    new = (fit.atoms != before).any(axis=1)
    past.sums[new] = 0
    past.uses[new] = steps.count_uses(fit)[new]
    # A newcomer starts with its own token, so that its sum is not zero.
    past.sums[new] = _sums(fit)[new]
    return n_replaced
