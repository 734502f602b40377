"""Kinds of matching pursuit on real layers: ``python -m tests.benchmarks.pursuit_kinds``.

Makes the table of docs/pursuit.md. For each layer a K-SVD dictionary of 768 atoms, signed and
non-negative, is fitted on class tokens of DeiT-tiny; the others are coded by every pursuit. Needs
`CGRAPH_REAL_DIR`; ``--cache FILE`` keeps the tokens for the next time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.ksvd import KSVD
from cgraph.matching_pursuit import mp
from cgraph.pursuit import omp
from tests.benchmarks.machine import describe, table
from tests.benchmarks.real_tokens import real_tokens, split

N_IMAGES, N_HELD_OUT, N_ATOMS = 10_000, 1000, 768
LAYERS = (3, 7, 12)
LENGTHS = (4, 10, 20)
REPEATS = 3

Codes = tuple[np.ndarray, np.ndarray]
Pursuit = Callable[[np.ndarray, np.ndarray, int], Codes]


def mp_once(tokens: np.ndarray, atoms: np.ndarray, nnz: int, nonnegative: bool) -> Codes:
    """Matching pursuit with as many steps as nonzeros."""
    return mp(tokens, atoms, nnz, nonnegative=nonnegative, max_steps=nnz)


KINDS: tuple[tuple[str, bool, Pursuit], ...] = (
    ("OMP", False, omp),
    ("MP, a step a nonzero", False, partial(mp_once, nonnegative=False)),
    ("MP, to the last place", False, mp),
    ("non-negative OMP", True, partial(omp, nonnegative=True)),
    ("non-negative MP, a step a nonzero", True, partial(mp_once, nonnegative=True)),
    ("non-negative MP, to the last place", True, partial(mp, nonnegative=True)),
)


def explained(tokens: np.ndarray, atoms: np.ndarray, codes: Codes) -> float:
    """Return the explained variance of centred tokens."""
    indices, coefficients = codes
    decoded = np.einsum("nk,nkd->nd", coefficients, atoms[np.maximum(indices, 0)])
    return 1 - float(((tokens - decoded) ** 2).sum() / (tokens**2).sum())


def agreement(indices: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean share of the reference's atoms that are also taken here."""
    shares = [
        len(set(row[row >= 0]) & set(other[other >= 0])) / (other >= 0).sum()
        for row, other in zip(indices, reference, strict=True)
    ]
    return float(np.mean(shares))


def rows_of(layer: int, train: np.ndarray, held_out: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of the table for one layer."""
    atoms = {
        nonnegative: KSVD(N_ATOMS, nonnegative=nonnegative).fit(train).components_
        for nonnegative in (False, True)
    }
    rows: list[dict[str, Any]] = []
    for name, nonnegative, pursuit in KINDS:
        row: dict[str, Any] = {"layer": layer, "pursuit": name}
        for nnz in LENGTHS:
            seconds = []
            for _ in range(REPEATS):
                start = time.process_time()
                codes = pursuit(held_out, atoms[nonnegative], nnz)
                seconds.append(time.process_time() - start)
            reference = omp(held_out, atoms[nonnegative], nnz, nonnegative=nonnegative)
            row[f"explained, {nnz}"] = f"{explained(held_out, atoms[nonnegative], codes):.3f}"
            row[f"same atoms, {nnz}"] = f"{agreement(codes[0], reference[0]):.2f}"
            row[f"µs, {nnz}"] = round(1e6 * float(np.median(seconds)) / len(held_out), 1)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="an .npz file for the tokens")
    options = parser.parse_args()
    tokens = real_tokens(N_IMAGES, options.cache)
    rows = []
    for layer in LAYERS:
        rows += rows_of(layer, *split(tokens[layer - 1], N_HELD_OUT))
    heads = ["layer", "pursuit"]
    for kind in ("explained", "same atoms", "µs"):
        heads += [f"{kind}, {nnz}" for nnz in LENGTHS]
    print(f"Measured on: {describe()}.\n")
    print(table([{head: row[head] for head in heads} for row in rows]))


if __name__ == "__main__":
    main()
