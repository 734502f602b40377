"""Autoencoders: speed against dense autograd, and what their concepts are worth on real tokens.

``python -m tests.benchmarks.autoencoders [speed] [paper] [real]`` prints Markdown tables, all
three if none is named. One thread: set ``OMP_NUM_THREADS=1``. The real part reads a model and
photographs from the folder named by CGRAPH_REAL_DIR; ``--cache FILE.npz`` keeps their tokens for
the next run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.bagging import fit_predictors
from cgraph.codes import Codes
from cgraph.config import PredictorConfig
from cgraph.dictionary import Dictionary, topk_codes
from cgraph.evaluation import scored_mask
from cgraph.ksvd import KSVD
from cgraph.metrics import auc
from cgraph.predictor import SparseInputs
from cgraph.preparation import Preparation
from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE
from tests.benchmarks.machine import describe, table
from tests.benchmarks.real_tokens import real_tokens

N_FEATURES, N_ATOMS, MAX_NNZ = 768, 3072, 10
SAME = 0.01  # largest difference of explained variances that still counts as equal
NONZEROS = (4, 10, 20, 32)
LAYERS = (3, 6, 11, 12)  # the last two give the pair of which a graph is made
REAL_ATOMS, REAL_BAGS = 192, 5
METHODS = ("K-SVD", "TopK", "BatchTopK", "ReLU", "TopK, codes by OMP")


def plant(n_tokens: int, seed: int) -> np.ndarray:
    """Return tokens, each a positive sum of ten of 3,072 atoms and noise, centred.

    Atoms are used unequally, the most common about thirty times as often as the rarest.
    """
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((N_ATOMS, N_FEATURES), dtype=np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    shares = np.exp(rng.uniform(0, np.log(30), N_ATOMS))
    ends = np.cumsum(shares / shares.sum())
    rng = np.random.default_rng(seed)
    tokens = 0.02 * rng.standard_normal((n_tokens, N_FEATURES), dtype=np.float32)
    for token in tokens:
        chosen = np.unique(np.searchsorted(ends, rng.random(MAX_NNZ)))
        values = rng.lognormal(0, 0.5, len(chosen)).astype(np.float32)
        token += values @ atoms[np.minimum(chosen, N_ATOMS - 1)]
    return tokens - tokens.mean(axis=0)


def explained(X: np.ndarray, decoded: np.ndarray) -> float:
    """Return the explained variance of centred vectors."""
    return float(1 - np.square(X - decoded).sum() / np.square(X).sum())


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the processor seconds it took."""
    start = time.process_time()
    found = function()
    return found, time.process_time() - start


def speed(n_steps: int = 1000) -> str:
    """Compare cgraph with dense autograd after as many steps: first the answers, then the time."""
    import torch

    from tests.benchmarks.dense_autoencoder import train

    torch.set_num_threads(1)
    tokens, held_out = plant(20_000, 1), plant(4000, 2)
    sae = TopKSAE(N_ATOMS, max_nnz=MAX_NNZ, max_steps=n_steps, patience=None, record_every=n_steps)
    TopKSAE(4, max_nnz=2, max_steps=2).fit(tokens[:100])  # compiles
    _, ours = timed(lambda: sae.fit(tokens))
    found, theirs = timed(lambda: train(tokens, N_ATOMS, MAX_NNZ, n_steps))
    atoms, weight, bias, selection = found
    own = explained(held_out, sae.inverse_transform(sae.transform(held_out)))
    padded = topk_codes(held_out @ weight.T + bias, selection, MAX_NNZ)
    codes = Codes.from_padded(*padded, N_ATOMS)
    other = explained(held_out, codes.to_csr() @ atoms)
    rows = [
        ("cgraph", own, ours),
        ("dense PyTorch autograd", other, theirs),
    ]
    verdict = "equal" if own >= other - SAME else "DIFFERENT"
    return f"Held-out explained variances are {verdict}.\n\n" + table(
        [
            {
                "training": name,
                "steps": n_steps,
                "held-out explained variance": f"{value:.4f}",
                "CPU seconds": round(seconds, 1),
                "ms a step": round(1e3 * seconds / n_steps, 1),
                "time over ours": round(seconds / ours, 2),
            }
            for name, value, seconds in rows
        ]
    )


def paper_size() -> str:
    """Train one layer of the paper's size with the default settings."""
    tokens, tune, held_out = plant(100_000, 1), plant(15_000, 3), plant(15_000, 2)
    sae = TopKSAE(N_ATOMS, max_nnz=MAX_NNZ)
    _, seconds = timed(lambda: sae.fit(tokens, X_tune=tune))
    codes = sae.transform(held_out)
    used = np.bincount(sae.transform(tokens).indices, minlength=N_ATOMS)
    row = {
        "tokens": len(tokens),
        "features, atoms, nonzeros": f"{N_FEATURES}, {N_ATOMS}, {MAX_NNZ}",
        "steps": sae.n_steps_,
        "CPU seconds": round(seconds, 1),
        "held-out explained variance": f"{explained(held_out, sae.inverse_transform(codes)):.4f}",
        "dead": f"{(used == 0).mean():.2%}",
    }
    return f"{table([row])}\n\n{sae.stopped_because_}"


def fitted(
    method: str, nonzeros: int, train: np.ndarray, tune: np.ndarray, budget: float
) -> tuple[Dictionary, float]:
    """Learn a dictionary within about `budget` processor seconds; return it and the seconds."""
    preparation = Preparation.fit(train, center=True, whiten=0)
    X, X_tune = preparation.apply(train), preparation.apply(tune)
    if method == "K-SVD":

        class Enough(Exception):
            pass

        def stop(*_: Any) -> None:
            if time.process_time() - start > budget:
                raise Enough

        start = time.process_time()
        n_done = 0

        def count(iteration: int, *_: Any) -> None:
            nonlocal n_done
            n_done = iteration
            stop()

        model = KSVD(REAL_ATOMS, max_nnz=nonzeros, nonnegative=True, max_iter=1000, tol=0)
        try:
            model.fit(X, on_iteration=count)
        except Enough:
            model.set_params(max_iter=n_done).fit(X)
        seconds = min(budget, time.process_time() - start)
        atoms = model.components_
        return Dictionary.from_pursuit(preparation, atoms, nonzeros, nonnegative=True), seconds
    options: dict[str, Any] = {"max_nnz": nonzeros, "record_every": 10_000, "patience": None}
    estimator: Any = TopKSAE
    if method in ("BatchTopK", "ReLU"):
        estimator = BatchTopKSAE if method == "BatchTopK" else ReluSAE
        options |= {"max_nnz": 2 * nonzeros, "mean_nnz": nonzeros}
    _, trial = timed(lambda: estimator(REAL_ATOMS, max_steps=200, **options).fit(X))
    sae = estimator(REAL_ATOMS, max_steps=max(200, int(200 * budget / trial)), **options)
    _, seconds = timed(lambda: sae.fit(X, X_tune=X_tune))
    if method == "TopK, codes by OMP":
        atoms = sae.components_
        return Dictionary.from_pursuit(preparation, atoms, nonzeros, nonnegative=True), seconds
    parts = (sae.components_, sae.encoder_weight_, sae.encoder_bias_, sae.selection_bias_)
    folded = Dictionary.from_autoencoder(preparation, *parts, options["max_nnz"], sae.threshold_)
    return folded, seconds


def graph_auc(left: list[Codes], right: list[Codes]) -> tuple[float, int]:
    """Return the held-out AUC of the graph between two layers, and of how many concepts.

    Both layers are given by their codes of the training and of the held-out images.
    """
    config = PredictorConfig(n_bags=REAL_BAGS)
    children = np.arange(right[0].n_atoms)
    inputs = [SparseInputs(codes, binary=True) for codes in left]
    predictors = fit_predictors(inputs[0], right[0], children, config, entropy=(0, 12))
    scores = predictors.decision(inputs[1])
    counts = [codes.counts()[predictors.children] for codes in right]
    scored = scored_mask(*counts, right[0].n_samples, np.ones(len(scores.T), dtype=bool))
    areas = auc(scores, right[1].dense_labels()[:, predictors.children])
    return float(areas[scored].mean()), int(scored.sum())


def real(cache: Path | None, budget: float = 6.0) -> str:
    """Compare methods on real class tokens, at equal processor time."""
    tokens = real_tokens(10_000, cache)
    order = np.random.default_rng(0).permutation(tokens.shape[1])
    train, tune, held_out = np.split(order, [int(0.7 * len(order)), int(0.85 * len(order))])
    rows = []
    for method in METHODS:
        for nonzeros in NONZEROS:
            codes: dict[int, list[Codes]] = {}
            row: dict[str, Any] = {"dictionary": method, "nonzeros asked": nonzeros}
            means, longest, dead, spent = [], [], 0, []
            for layer in LAYERS:
                z = tokens[layer - 1]
                dictionary, seconds = fitted(method, nonzeros, z[train], z[tune], budget)
                spent.append(seconds)
                codes[layer] = [dictionary.encode(z[part]) for part in (train, held_out)]
                own = codes[layer][1]
                rest = z[held_out] - dictionary.decode(own)
                about = z[held_out] - dictionary.mean
                row[f"EV, layer {layer}"] = f"{1 - np.square(rest).sum() / (about**2).sum():.3f}"
                means.append(own.nnz / own.n_samples)
                longest.append(int(np.diff(own.offsets).max()))
                dead += int((codes[layer][0].counts() == 0).sum())
            area, n_scored = graph_auc(codes[11], codes[12])
            row |= {
                "nonzeros, mean (most)": f"{np.mean(means):.1f} ({max(longest)})",
                "dead": f"{dead / (len(LAYERS) * REAL_ATOMS):.1%}",
                "AUC 11→12": f"{area:.3f}",
                "scored": n_scored,
                "CPU seconds a layer": round(float(np.mean(spent)), 1),
            }
            print(row, flush=True)
            rows.append(row)
    return table(rows)


PARTS = ("speed", "paper", "real")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--cache", type=Path, help="where the real tokens are kept, an .npz file")
    options = parser.parse_args()
    print(f"Measured on: {describe()}.")
    for name in options.parts or PARTS:
        print(f"\n### {name}\n", flush=True)
        if name != "real":
            print({"speed": speed, "paper": paper_size}[name]())
        elif options.cache is None and not os.environ.get("CGRAPH_REAL_DIR"):
            print("CGRAPH_REAL_DIR is not set: no real tokens.")
        else:
            print(real(options.cache))


if __name__ == "__main__":
    main()
