"""The l1-logistic fits of the graph against scikit-learn's liblinear, on the same bags.

First it is checked that the answers agree (`tests.benchmarks.gates`; tolerance 1e-6,
intercept_scaling 100). Only then is anything timed: one thread, the two taking turns target by
target, processor time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from cgraph.bag_fits import BagRows, bag_rows, fit_bags
from cgraph.bagging import draw_bags
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.proximal_newton import Settings
from tests.benchmarks.gates import Fit, Gate, compare_bags, liblinear
from tests.benchmarks.planted_pair import PlantedPair, plant_pair

N_BAGS = 20


@dataclass(frozen=True)
class Regime:
    """A kind of problem: its planted data, its inputs and its penalty."""

    name: str
    binary: bool
    penalty: float
    planted: dict[str, Any]


def regimes(quick: bool) -> list[Regime]:
    """Return the kinds of problem; the quick ones have fewer targets, not smaller ones."""
    n_targets = 24 if quick else 160
    size = {"n_samples": 100_000, "n_features": 3072, "n_targets": n_targets}
    dense = size | {
        "n_targets": 6 if quick else 150,
        "n_parents": (60, 80),
        "prevalence": (0.02, 0.05),
    }
    return [
        Regime("binary", True, 5.0, size),
        Regime("real", False, 5.0, size),
        Regime("dense", True, 3.0, dense),
    ]


class Target:
    """One target: its bags, and the two ways to fit them."""

    def __init__(
        self, pair: PlantedPair, regime: Regime, column: int, rows: BagRows, X: sparse.csr_array
    ) -> None:
        positives = np.flatnonzero(pair.targets[:, column])
        rng = np.random.default_rng([1, column])
        self.n_positive = len(positives)
        self.bags = draw_bags(positives, len(pair.targets), self.n_positive, N_BAGS, rng)
        self.y = np.arange(self.bags.shape[1]) < self.n_positive
        self._rows, self._X, self._penalty = rows, X, regime.penalty
        self._allowed = np.ones(X.shape[1], dtype=bool)
        self._settings = Settings(regime.penalty, TOLERANCE, MAX_ITER)

    def ours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit all bags with cgraph."""
        return fit_bags(self._rows, self.bags, self.n_positive, self._allowed, self._settings)

    def theirs(self, bag: int) -> Fit:
        """Fit one bag with liblinear, copying its rows out as its users must."""
        return liblinear(self._X[self.bags[bag]], self.y, self._penalty)

    def compare(self) -> tuple[Gate, float]:
        """Compare all bags; return what came out and our worst optimality violation."""
        fits = self.ours()
        gate = compare_bags(self._X, self.bags, self.n_positive, self._penalty, fits)
        return gate, float(fits[2].max())


def measure(quick: bool) -> dict[str, Any]:
    """Compare, then time.

    Returns
    -------
    dict
        ``answers_equal``, a ratio for each regime (``graph_binary_vs_liblinear``, …: the time of
        liblinear divided by ours) and ``rows``, the table.
    """
    rows, result, equal = [], {}, True
    for regime in regimes(quick):
        pair = plant_pair(**regime.planted)
        X = pair.labels if regime.binary else pair.codes
        narrow = bag_rows(X)
        targets = [
            Target(pair, regime, column, narrow, X) for column in range(pair.targets.shape[1])
        ]
        checked = [target.compare() for target in targets]
        gates = [gate for gate, _ in checked]
        violation = max(worst for _, worst in checked)
        equal &= all(gate.equal for gate in gates) and violation <= TOLERANCE
        ours, theirs, ratios = 0.0, 0.0, []
        timed_bags = range(0, N_BAGS, 10 if quick else 4)
        for target in targets:
            start = time.process_time()
            target.ours()
            middle = time.process_time()
            for bag in timed_bags:
                target.theirs(bag)
            end = time.process_time()
            one = (middle - start) / N_BAGS
            other = (end - middle) / len(timed_bags)
            ours, theirs = ours + one, theirs + other
            ratios.append(other / one)
        n = len(targets)
        result[f"graph_{regime.name}_vs_liblinear"] = round(theirs / ours, 2)
        rows.append(
            {
                "inputs": regime.name,
                "targets": n,
                "positives": int(np.median([target.n_positive for target in targets])),
                "nonzeros": round(float(np.median([gate.nonzeros for gate in gates])), 1),
                "largest gap": f"{max(gate.gap for gate in gates):.1e}",
                "kept": sum(gate.kept for gate in gates),
                "differ": sum(gate.differ for gate in gates),
                "at the border": sum(gate.border for gate in gates),
                "ours, ms a fit": round(1e3 * ours / n, 4),
                "liblinear, ms a fit": round(1e3 * theirs / n, 3),
                "ratio": round(theirs / ours, 1),
                "median ratio": round(float(np.median(ratios)), 1),
            }
        )
    return {"answers_equal": bool(equal), **result, "rows": rows}
