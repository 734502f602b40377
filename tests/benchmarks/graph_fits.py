"""The l1-logistic fits of the graph against liblinear and imbalanced-learn, on the same bags.

First it is checked that the answers agree: the objective of every fit is within 1e-5 of
liblinear's (tolerance 1e-6, intercept_scaling 100), and the features kept over the bags are the
same, those aside whose gradient lies within 0.01 μ of the threshold in a bag that decides; how many
these are is counted. Only then is anything timed: one thread, the two taking turns target by
target, processor time.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cgraph.bag_fits import BagRows, bag_rows, fit_bags
from cgraph.bagging import draw_bags
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.proximal_newton import Settings
from tests.benchmarks.planted_pair import PlantedPair, plant_pair

N_BAGS = 20
KEEP_SHARE = 0.8
OBJECTIVE_TOLERANCE = 1e-5
BORDER = 0.01


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


def liblinear(X: sparse.csr_array, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Fit with scikit-learn's liblinear, its penalty on the intercept made negligible."""
    model = LogisticRegression(
        l1_ratio=1, solver="liblinear", C=1 / penalty, tol=1e-6, intercept_scaling=100,
        max_iter=5000, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return model.coef_[0], float(model.intercept_[0])


def objective(
    X: sparse.csr_array, y: np.ndarray, theta: np.ndarray, intercept: float, penalty: float
) -> float:
    """Return the minimised sum, penalty included."""
    score = X @ theta + intercept
    loss = np.logaddexp(0, np.where(y, -score, score)).sum()
    return float(loss + penalty * np.abs(theta).sum())


def at_the_border(
    X: sparse.csr_array, y: np.ndarray, theta: np.ndarray, intercept: float, penalty: float
) -> np.ndarray:
    """Return the features that are as good as undecided between zero and a small weight."""
    gradient = X.T @ (expit(X @ theta + intercept) - y)
    return np.abs(np.abs(gradient) - penalty) <= BORDER * penalty


def _kept(used: np.ndarray) -> np.ndarray:
    return used > KEEP_SHARE * N_BAGS + 1e-9


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

    def theirs(self, bag: int) -> tuple[np.ndarray, float]:
        """Fit one bag with liblinear, copying its rows out as its users must."""
        return liblinear(self._X[self.bags[bag]], self.y, self._penalty)

    def compare(self) -> dict[str, float]:
        """Compare objectives of all bags and the kept features."""
        weights, intercepts, violations = self.ours()
        worst, used, border = 0.0, np.zeros(len(self._allowed), int), np.zeros_like(self._allowed)
        nonzeros = []
        for bag in range(N_BAGS):
            X = self._X[self.bags[bag]]
            theta, intercept = self.theirs(bag)
            reference = objective(X, self.y, theta, intercept, self._penalty)
            ours = objective(X, self.y, weights[bag], intercepts[bag], self._penalty)
            worst = max(worst, ours / reference - 1)
            used += theta != 0
            nonzeros.append(np.count_nonzero(theta))
            border |= at_the_border(X, self.y, theta, intercept, self._penalty) & (
                (theta != 0) != (weights[bag] != 0)
            )
        kept, reference = _kept(np.count_nonzero(weights, axis=0)), _kept(used)
        differ = kept != reference
        return {
            "gap": worst,
            "violation": float(violations.max()),
            "kept": int(reference.sum()),
            "differ": int((differ & ~border).sum()),
            "border": int((differ & border).sum()),
            "nonzeros": float(np.mean(nonzeros)),
        }


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
        gap = max(check["gap"] for check in checked)
        differ = sum(check["differ"] for check in checked)
        violation = max(check["violation"] for check in checked)
        equal &= gap <= OBJECTIVE_TOLERANCE and differ == 0 and violation <= TOLERANCE
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
                "nonzeros": round(float(np.median([check["nonzeros"] for check in checked])), 1),
                "largest gap": f"{gap:.1e}",
                "kept": sum(check["kept"] for check in checked),
                "differ": differ,
                "at the border": sum(check["border"] for check in checked),
                "ours, ms a fit": round(1e3 * ours / n, 4),
                "liblinear, ms a fit": round(1e3 * theirs / n, 3),
                "ratio": round(theirs / ours, 1),
                "median ratio": round(float(np.median(ratios)), 1),
            }
        )
    return {"answers_equal": bool(equal), **result, "rows": rows}
