"""What K-SVD tells of its iterations, and why it stops.

Figures are shares of the squared norm of all samples, the energy.
"""

from __future__ import annotations

from typing import NamedTuple

from cgraph.ksvd_steps import EXACT

Record = dict[str, float]


class Iteration(NamedTuple):
    """Squared errors after coding and after the update, and how they came about."""

    coded: float
    after: float  # at most the error before the iteration
    kept: int  # tokens that kept an old code
    extrapolated: bool


def history_of_one(iteration: int, made: Iteration, energy: float, *, unused: int) -> Record:
    """Return the entry of one iteration; `replaced` is still zero."""
    return {
        "iteration": iteration,
        # A chunk of zeros is explained by no atoms at all.
        "explained_variance_coded": 1 - made.coded / energy if energy else 1.0,
        "explained_variance": 1 - made.after / energy if energy else 1.0,
        "kept": made.kept,
        "extrapolated": int(made.extrapolated),
        "unused": unused,
        "replaced": 0,
    }


def reason_to_stop(
    iteration: int, unexplained: float, gain: float, *, max_iter: int, tol: float
) -> str:
    """Say why a fit ends after this iteration; empty if it goes on."""
    if unexplained <= EXACT:
        return f"The codes explain the tokens exactly after {iteration} iterations."
    if iteration > 1 and gain <= tol:
        return (
            f"Iteration {iteration} raised the explained variance by {max(gain, 0):.2g}, not "
            f"more than tol, {tol:g}."
        )
    if iteration == max_iter:
        return f"All {max_iter} iterations were made."
    return ""
