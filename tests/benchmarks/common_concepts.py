"""Fits on labels of a real study: are they right where concepts are common, and what do they cost?

``CGRAPH_REAL_DIR=… python -m tests.benchmarks.common_concepts [--cache TOKENS.npz]``

Autoencoders of 48 and of 192 atoms are learned on class tokens of photographs, three pairs of
layers each. The concepts are grouped by prevalence. For each the bags of the default settings,
which cap the positives at 1,000, are compared with bags of as many positives as there are:

- gate: objective within 1e-5 of liblinear's and the same features kept, in capped and in full
  bags, `tests.benchmarks.gates`;
- cost: milliseconds a fit, one thread;
- answer: the parents both have, out of those either has, beside the same number for two seeds of
  the full bags, and the held-out AUC.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.bag_fits import fit_bags
from cgraph.bagging import draw_bags, fit_predictors
from cgraph.codes import Codes
from cgraph.config import PredictorConfig
from cgraph.dictionary import Dictionary
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.metrics import auc
from cgraph.predictor import Predictors, SparseInputs
from cgraph.preparation import Preparation
from cgraph.proximal_newton import Settings
from cgraph.sae import TopKSAE
from tests.benchmarks.gates import Gate, compare_bags
from tests.benchmarks.machine import describe, table
from tests.benchmarks.real_tokens import real_tokens

N_IMAGES, N_HELD_OUT = 10_000, 1500
ATOMS = (48, 192)
PAIRS = ((1, 2), (5, 6), (11, 12))
BANDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 1.0)
GATED = 6  # concepts of a band and pair that liblinear fits too
CAPPED = PredictorConfig()
FULL = dataclasses.replace(CAPPED, bag_cap=None)


def learned(tokens: np.ndarray, n_atoms: int) -> tuple[Codes, Codes]:
    """Return codes of the training and of the held-out images of one layer."""
    train, held_out = tokens[:-N_HELD_OUT], tokens[-N_HELD_OUT:]
    preparation = Preparation.fit(train, center=True, whiten=0)
    sae = TopKSAE(n_atoms, max_nnz=10).fit(preparation.apply(train))
    parts = (sae.components_, sae.encoder_weight_, sae.encoder_bias_, sae.selection_bias_)
    dictionary = Dictionary.from_autoencoder(preparation, *parts, 10)
    return dictionary.encode(train), dictionary.encode(held_out)


def gated(inputs: SparseInputs, labels: Codes, child: int, config: PredictorConfig) -> Gate:
    """Compare the bags of one concept with liblinear."""
    positives = labels.positives(child)
    n_draw = min(len(positives), config.bag_cap or len(positives))
    bags = draw_bags(
        positives, labels.n_samples, n_draw, config.n_bags, np.random.default_rng(child)
    )
    penalty = config.penalty * n_draw
    every = np.ones(inputs.n_features, dtype=np.bool_)
    settings = Settings(penalty, TOLERANCE, MAX_ITER)
    fits = fit_bags(inputs.narrow, bags, n_draw, every, settings)
    return compare_bags(inputs.csr, bags, n_draw, penalty, fits)


def timed_fit(
    inputs: SparseInputs, labels: Codes, child: int, config: PredictorConfig, seed: int = 0
) -> tuple[Predictors, float]:
    """Fit one concept; return it and the seconds for one of its fits."""
    start = time.process_time()
    fitted = fit_predictors(inputs, labels, np.array([child]), config, entropy=(seed,))
    return fitted, (time.process_time() - start) / (config.n_bags + 1)


def shared(one: Predictors, other: Predictors) -> float:
    """Return how many parents both have, as a share of those either has."""
    either = np.union1d(one.parents, other.parents)
    return len(np.intersect1d(one.parents, other.parents)) / max(len(either), 1)


def measure_pair(left: tuple[Codes, Codes], right: tuple[Codes, Codes]) -> list[dict[str, Any]]:
    """Return a row for each concept of one pair of layers."""
    inputs, unseen = (SparseInputs(codes, binary=True) for codes in left)
    labels, truth = right[0], right[1].dense_labels()
    n_positives = labels.counts()
    band = np.digitize(n_positives / labels.n_samples, BANDS) - 1
    timed_fit(inputs, labels, int(n_positives.argmax()), CAPPED)  # compiles
    rows = []
    for child in np.flatnonzero(n_positives >= CAPPED.min_positives).tolist():
        row: dict[str, Any] = {"band": band[child], "positives": n_positives[child]}
        capped, row["capped"] = timed_fit(inputs, labels, child, CAPPED)
        full, row["full"] = timed_fit(inputs, labels, child, FULL)
        again, _ = timed_fit(inputs, labels, child, FULL, seed=1)
        row |= {"shared": shared(capped, full), "seeds": shared(full, again)}
        for name, fitted in (("auc capped", capped), ("auc full", full)):
            row[name] = auc(fitted.decision(unseen), truth[:, [child]])[0]
        if sum(other["band"] == band[child] for other in rows) < GATED:
            row["gates"] = [gated(inputs, labels, child, config) for config in (CAPPED, FULL)]
        rows.append(row)
    return rows


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the table for one band."""
    gates = [gate for row in rows for gate in row.get("gates", [])]

    def mean(key: str) -> float:
        return float(np.mean([row[key] for row in rows]))

    change = np.array([row["auc capped"] - row["auc full"] for row in rows])
    return {
        "prevalence": name,
        "concepts": len(rows),
        "rows of a full bag": int(2 * np.median([row["positives"] for row in rows])),
        "fits checked": 20 * len(gates),
        "largest gap": f"{max(gate.gap for gate in gates):.1e}",
        "kept": sum(gate.kept for gate in gates),
        "differ": sum(gate.differ for gate in gates),
        "at the border": sum(gate.border for gate in gates),
        "capped, ms a fit": round(1e3 * mean("capped"), 2),
        "full, ms a fit": round(1e3 * mean("full"), 2),
        "parents shared, capped and full": f"{mean('shared'):.2f}",
        "full, two seeds": f"{mean('seeds'):.2f}",
        "AUC capped": f"{mean('auc capped'):.4f}",
        "AUC full": f"{mean('auc full'):.4f}",
        "largest change of AUC": f"{np.abs(change).max():.4f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="where the tokens are kept, an .npz file")
    tokens = real_tokens(N_IMAGES, parser.parse_args().cache)
    print(f"Measured on: {describe()}.")
    for n_atoms in ATOMS:
        rows = []
        for pair in PAIRS:
            left, right = (learned(tokens[layer - 1], n_atoms) for layer in pair)
            rows += measure_pair(left, right)
        lines = []
        for place, (low, high) in enumerate(pairwise(BANDS)):
            of_band = [row for row in rows if row["band"] == place]
            if of_band:
                lines.append(summary(f"{low:.0%} to {high:.0%}", of_band))
        print(f"\n### {n_atoms} atoms\n\n{table(lines)}", flush=True)


if __name__ == "__main__":
    main()
