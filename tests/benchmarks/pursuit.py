"""Orthogonal matching pursuit against SPAMS and scikit-learn, on the same tokens and atoms.

First the supports are compared: those of at least 99.9 % of the tokens are equal, tokens aside in
which two atoms were nearly tied, so that rounding decides. Then the time of one thread, the three
taking turns; each builds its Gram matrix itself and is handed arrays in the order of memory it
wants.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import spams
from scipy import sparse
from sklearn.decomposition import SparseCoder

from cgraph.pursuit import omp

N_FEATURES, N_ATOMS, MAX_NNZ = 768, 3072, 10
LEAST_EQUAL = 0.999
TIE = 1e-4  # relative difference of the two largest correlations

Coder = Callable[[np.ndarray, np.ndarray], Any]


def plant(n_tokens: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens, each a sum of ten atoms and noise, and the atoms."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((N_ATOMS, N_FEATURES)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    tokens = 0.02 * rng.standard_normal((n_tokens, N_FEATURES)).astype(np.float32)
    for token in tokens:
        chosen = rng.choice(N_ATOMS, MAX_NNZ, replace=False)
        values = rng.lognormal(0, 0.5, MAX_NNZ) * rng.choice([-1, 1], MAX_NNZ)
        token += (values @ atoms[chosen]).astype(np.float32)
    return tokens, atoms


def ours(tokens: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Code with cgraph: the atoms of each token, -1 for none."""
    return omp(tokens, atoms, MAX_NNZ)[0]


def of_spams(tokens: np.ndarray, atoms: np.ndarray) -> sparse.csc_matrix:
    """Code with SPAMS: a sparse column for each token."""
    # Both are transposes of arrays by rows, so nothing is copied.
    return spams.omp(tokens.T, atoms.T, L=MAX_NNZ, eps=0.0, return_reg_path=False, numThreads=1)


def of_sklearn(tokens: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Code with scikit-learn: a dense row for each token."""
    coder = SparseCoder(atoms, transform_algorithm="omp", transform_n_nonzero_coefs=MAX_NNZ)
    return coder.transform(tokens)


def _supports(codes: Any) -> np.ndarray:
    """Return which atoms are used, as a Boolean array of shape (n_tokens, n_atoms)."""
    if sparse.issparse(codes):
        return codes.toarray().T != 0
    if codes.dtype != np.int32:
        return codes != 0
    found = np.zeros((len(codes), N_ATOMS + 1), dtype=bool)  # the last place is for "none"
    np.put_along_axis(found, codes, True, axis=1)
    return found[:, :-1]


def tied(tokens: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return in which tokens two atoms were nearly tied in some step."""
    indices, _ = omp(tokens, atoms, MAX_NNZ)
    found = np.zeros(len(tokens), dtype=bool)
    for row, (token, support) in enumerate(zip(tokens, indices, strict=True)):
        residual = token.astype(float)
        for n in range(MAX_NNZ):
            size = np.abs(atoms @ residual)
            second, first = np.partition(size, -2)[-2:]
            found[row] |= first - second < TIE * first
            chosen = atoms[support[: n + 1]].T.astype(float)
            residual = token - chosen @ np.linalg.lstsq(chosen, token.astype(float))[0]
    return found


def _seconds(code: Coder, *data: np.ndarray) -> float:
    start = time.process_time()
    code(*data)
    return time.process_time() - start


def measure(quick: bool) -> dict[str, Any]:
    """Compare, then time.

    Returns
    -------
    dict
        ``answers_equal``; ``omp_vs_spams`` and ``omp_vs_sklearn``, the peer's time for a token
        divided by ours; and ``rows``, the table.
    """
    n_tokens = 10_000 if quick else 20_000
    peers = {"SPAMS": (of_spams, n_tokens), "scikit-learn": (of_sklearn, 100 if quick else 300)}
    checked = plant(200 if quick else 1000, seed=1)
    reference, aside = _supports(ours(*checked)), tied(*checked)
    equal = {}
    for name, (code, _) in peers.items():
        same = (_supports(code(*checked)) == reference).all(axis=1)
        equal[name] = float(same[~aside].mean())
    tokens, atoms = plant(n_tokens)
    times: dict[str, list[float]] = {"cgraph": [], **{name: [] for name in peers}}
    for repeat in range(2 if quick else 5):
        times["cgraph"].append(_seconds(ours, tokens, atoms) / len(tokens))
        for name, (code, n) in peers.items():
            if name == "SPAMS" or repeat < 2:
                times[name].append(_seconds(code, tokens[:n], atoms) / n)
    median = {name: float(np.median(values)) for name, values in times.items()}
    rows = [
        {
            "coder": name,
            "equal supports": "–" if name == "cgraph" else f"{equal[name]:.4f}",
            "tied, aside": "–" if name == "cgraph" else int(aside.sum()),
            "ms for 1,000 tokens": round(1e6 * median[name], 1),
            "time over ours": round(median[name] / median["cgraph"], 2),
        }
        for name in times
    ]
    return {
        "answers_equal": min(equal.values()) >= LEAST_EQUAL,
        "omp_vs_spams": round(median["SPAMS"] / median["cgraph"], 2),
        "omp_vs_sklearn": round(median["scikit-learn"] / median["cgraph"], 1),
        "rows": rows,
    }
