"""Rules that replace atoms, on real layers: ``python -m tests.benchmarks.replacement``.

All rules replace the same atoms, those that fewer than `min_use` tokens use and duplicates, and
differ in what comes instead. Needs `CGRAPH_REAL_DIR`; ``--cache FILE`` keeps the tokens for the
next time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from cgraph import ksvd_steps as steps
from cgraph.ksvd import KSVD
from cgraph.pursuit import omp
from tests.benchmarks.machine import describe, table
from tests.benchmarks.pursuit_kinds import explained
from tests.benchmarks.real_tokens import real_tokens, split

N_IMAGES, N_HELD_OUT = 10_000, 1000
# Layer, atoms, nonzeros, non-negative: few tokens an atom, so that atoms do die. With 768 atoms and
# ten nonzeros hardly any does, in any layer.
CASES = (
    (1, 3072, 10, True),
    (2, 3072, 10, True),
    (1, 1536, 4, True),
    (1, 1536, 4, False),
    (12, 1536, 4, True),
)
SEEDS = 3


class NoReplacement(KSVD):
    """Leaves all atoms as they are."""

    def _replace(self, fit: steps.Fit) -> int:
        return 0


class _Always(KSVD):
    """Replaces whether or not the error falls; tokens that used an atom do without."""

    def _replace(self, fit: steps.Fit) -> int:
        uses = steps.count_uses(fit)
        twins = steps._twins(fit.atoms, uses, self.max_coherence, self.nonnegative)
        leaving = np.flatnonzero((twins >= 0) | (uses < self.min_use))
        if leaving.size:
            gone = np.isin(fit.indices, leaving)
            fit.indices[gone], fit.coefficients[gone] = -1, 0
            fit.residual[:] = steps.left_unexplained(fit, fit.indices, fit.coefficients)
            new = self._newcomers(fit, len(leaving))
            fit.atoms[leaving[: len(new)]] = steps._unit(new)
        return len(leaving)

    def _newcomers(self, fit: steps.Fit, n: int) -> np.ndarray:
        raise NotImplementedError


class WorstSample(_Always):
    """Takes the samples with the largest error."""

    def _newcomers(self, fit: steps.Fit, n: int) -> np.ndarray:
        return fit.tokens[np.argsort(-(fit.residual**2).sum(axis=1), kind="stable")[:n]]


class RandomSample(_Always):
    """Takes random samples."""

    def _newcomers(self, fit: steps.Fit, n: int) -> np.ndarray:
        return fit.tokens[np.random.default_rng(n).choice(len(fit.tokens), n, replace=False)]


class WorstResidual(_Always):
    """Takes the largest residuals."""

    def _newcomers(self, fit: steps.Fit, n: int) -> np.ndarray:
        return fit.residual[np.argsort(-(fit.residual**2).sum(axis=1), kind="stable")[:n]]


class LeadingDirection(_Always):
    """Takes the leading directions of all residuals; at most as many as there are features."""

    def _newcomers(self, fit: steps.Fit, n: int) -> np.ndarray:
        vectors = np.linalg.eigh(fit.residual.T @ fit.residual)[1].T[::-1]
        if self.nonnegative:  # the side on which more of the residuals lie
            vectors = vectors * np.sign((fit.residual @ vectors.T).sum(axis=0))[:, None]
        return vectors[:n]


RULES: tuple[tuple[str, type[KSVD]], ...] = (
    ("none", NoReplacement),
    ("worst sample, if that lowers the error (default)", KSVD),
    ("worst sample", WorstSample),
    ("random sample", RandomSample),
    ("worst residual", WorstResidual),
    ("leading directions of the residuals", LeadingDirection),
)


def fitted(model: KSVD, train: np.ndarray, held_out: np.ndarray, seed: int) -> dict[str, float]:
    """Fit ten iterations and say what came out."""
    start = time.process_time()
    model.set_params(tol=0, random_state=seed).fit(train)
    seconds = time.process_time() - start
    codes = omp(held_out, model.components_, model.max_nnz, nonnegative=model.nonnegative)
    return {
        "replaced": sum(record["replaced"] for record in model.history_),
        "unused": model.history_[-1]["unused"],
        "explained, train": model.history_[-1]["explained_variance"],
        "explained, held out": explained(held_out, model.components_, codes),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="an .npz file for the tokens")
    options = parser.parse_args()
    tokens = real_tokens(N_IMAGES, options.cache)
    fitted(KSVD(20, nonnegative=True), tokens[0, :100], tokens[0, :9], 0)  # compiles
    rows: list[dict[str, Any]] = []
    for layer, n_atoms, nnz, nonnegative in CASES:
        train, held_out = split(tokens[layer - 1], N_HELD_OUT)
        for name, rule in RULES:
            fits = [
                fitted(rule(n_atoms, max_nnz=nnz, nonnegative=nonnegative), train, held_out, seed)
                for seed in range(SEEDS)
            ]
            mean = {key: float(np.mean([fit[key] for fit in fits])) for key in fits[0]}
            spread = np.ptp([fit["explained, held out"] for fit in fits])
            rows.append(
                {
                    "layer": layer,
                    "atoms": n_atoms,
                    "nonzeros": nnz,
                    "codes": "non-negative" if nonnegative else "signed",
                    "replaced by": name,
                    "replaced": f"{mean['replaced']:.0f}",
                    "unused at the end": f"{mean['unused']:.0f}",
                    "explained, train": f"{mean['explained, train']:.4f}",
                    "explained, held out": f"{mean['explained, held out']:.4f}",
                    "range over seeds": f"{spread:.4f}",
                    "CPU seconds": f"{mean['seconds']:.1f}",
                }
            )
    print(f"Measured on: {describe()}.\n")
    print(table(rows))


if __name__ == "__main__":
    main()
