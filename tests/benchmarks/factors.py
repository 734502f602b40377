"""The paper's fundamental hypothesis on drawn scenes: has every factor a concept of its own?

``python -m tests.benchmarks.factors STUDY [--layers 1,4,8,12]``

For the class tokens of each layer of a study whose images have attributes, dictionaries of the
study's own size are learned by every method, on the tokens as the study prepared them, and put
beside what is no dictionary: the numbers of the class token themselves, its principal components
and random directions. Choices are made on training images, figures are of held-out images. The
folder of the study is copied and not written to.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.codes import Codes
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.executors import local_executor
from cgraph.factors import FactorFigures, factor_figures, known_factors
from cgraph.ksvd import KSVD
from cgraph.preparation import Preparation
from cgraph.pursuit import omp
from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE
from cgraph.study import Study
from cgraph.workbench import Workbench
from tests.benchmarks.machine import describe, table

PARTS = (TRAIN, TUNE, HELD_OUT)

Tokens = dict[str, np.ndarray]
Method = Callable[[Tokens, int, int], Tokens]


def autoencoder(estimator: type[Any], varying: bool) -> Method:
    """Return a method that learns an autoencoder and gives its codes.

    One with a varying number of active atoms has as many on average as the others have at most.
    """

    def codes(tokens: Tokens, n_atoms: int, max_nnz: int) -> Tokens:
        if varying:
            model = estimator(n_atoms, max_nnz=4 * max_nnz, mean_nnz=max_nnz, random_state=0)
        else:
            model = estimator(n_atoms, max_nnz=max_nnz, random_state=0)
        model.fit(tokens[TRAIN], X_tune=tokens[TUNE])
        return {part: np.asarray(model.transform(own).toarray()) for part, own in tokens.items()}

    return codes


def ksvd(nonnegative: bool) -> Method:
    """Return a method that learns by K-SVD and codes by orthogonal matching pursuit."""

    def codes(tokens: Tokens, n_atoms: int, max_nnz: int) -> Tokens:
        model = KSVD(n_atoms, max_nnz=max_nnz, nonnegative=nonnegative, random_state=0)
        atoms = model.fit(tokens[TRAIN]).components_

        def coded(own: np.ndarray) -> np.ndarray:
            found = omp(own, atoms, max_nnz, nonnegative=nonnegative)
            return Codes.from_padded(*found, n_atoms).to_csr().toarray()

        return {part: coded(own) for part, own in tokens.items()}

    return codes


def random_directions(tokens: Tokens, n_atoms: int, max_nnz: int) -> Tokens:
    """Project tokens on as many random directions as there would be atoms."""
    directions = np.random.default_rng(0).normal(size=(tokens[TRAIN].shape[1], n_atoms))
    return {part: own @ directions for part, own in tokens.items()}


def components(tokens: Tokens, n_atoms: int, max_nnz: int) -> Tokens:
    """Project tokens on their leading principal components."""
    mean = tokens[TRAIN].mean(axis=0)
    _, _, axes = np.linalg.svd(tokens[TRAIN] - mean, full_matrices=False)
    return {part: (own - mean) @ axes[:n_atoms].T for part, own in tokens.items()}


def unchanged(tokens: Tokens, n_atoms: int, max_nnz: int) -> Tokens:
    """Return the numbers of the class token."""
    return tokens


METHODS: dict[str, Method] = {
    "TopK autoencoder": autoencoder(TopKSAE, varying=False),
    "BatchTopK autoencoder": autoencoder(BatchTopKSAE, varying=True),
    "ReLU autoencoder": autoencoder(ReluSAE, varying=True),
    "K-SVD, non-negative": ksvd(True),
    "K-SVD, signed": ksvd(False),
}
REFERENCES: dict[str, Method] = {
    "class token, its numbers": unchanged,
    "principal components": components,
    "random directions": random_directions,
}


def row_of(
    layer: int, name: str, codes: np.ndarray, found: FactorFigures, seconds: float
) -> dict[str, Any]:
    """Return the row of the table for one layer and method."""
    return {
        "layer": layer,
        "codes": name,
        "active": f"{np.count_nonzero(codes, axis=1).mean():.1f}",
        "own concept": f"{int(found.own.sum())} of {len(found.own)}",
        "some concept": found.n_reached,
        "MIG": f"{found.mig:.2f}",
        "disentanglement": f"{found.disentanglement:.2f}",
        "completeness": f"{found.completeness:.2f}",
        "informativeness": f"{found.informativeness:.3f}",
        "seconds": f"{seconds:.0f}",
    }


def measured(study: Study, tokens: Tokens, layer: int) -> list[dict[str, Any]]:
    """Return the rows of one layer."""
    rows = {part: study.rows(part) for part in PARTS}
    known, factors = known_factors(study, rows)
    truth = known.truth[:, factors].toarray()
    n_train, config = len(rows[TRAIN]), study.config.dictionary
    preparation = Preparation.fit(
        tokens[TRAIN],
        center=config.center,
        whiten=config.whiten,
        strength=config.whiten_strength,
    )
    prepared = {part: preparation.apply(own) for part, own in tokens.items()}
    n_atoms = study.graph.n_concepts(layer)
    stored = {part: study.codes(layer).take(own).to_csr().toarray() for part, own in rows.items()}
    found = []
    for name, method in {"the study's own": None, **METHODS, **REFERENCES}.items():
        start = time.process_time()
        given = tokens if name in REFERENCES else prepared
        codes = method(given, n_atoms, config.max_nnz) if method else stored
        figures = factor_figures(codes[TRAIN], truth[:n_train], codes[HELD_OUT], truth[n_train:])
        seconds = time.process_time() - start
        found.append(row_of(layer, name, codes[HELD_OUT], figures, seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, help="a study folder")
    parser.add_argument("--layers", help="such as 1,4,8,12; first, middle and last if left out")
    options = parser.parse_args()
    print(f"Measured on: {describe()}.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        study = Study.open(shutil.copytree(options.study, Path(folder) / "study"))
        last = study.n_layers
        layers = (
            [int(layer) for layer in options.layers.split(",")]
            if options.layers
            else sorted({1, (last + 1) // 2, last})
        )
        bench = Workbench(study, local_executor(os.cpu_count() or 1))
        for layer in layers:
            rows = measured(study, {part: bench.tokens(part, layer) for part in PARTS}, layer)
            print(f"\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
