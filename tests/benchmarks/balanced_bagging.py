"""The bags of one concept against imbalanced-learn's balanced bagging.

imbalanced-learn draws its own bags. They are taken back out of its fitted model and handed to
cgraph, so that the answers can be compared bag by bag: every objective within 1e-5, and the same
features kept over the bags, those aside whose gradient lies within 0.01 μ of the threshold. Its
time is that of its ``fit``; ours that of drawing as many bags and fitting them. One thread, the two
taking turns target by target, processor time.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from cgraph.bag_fits import BagRows, bag_rows, fit_bags
from cgraph.bagging import draw_bags
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.proximal_newton import Settings
from tests.benchmarks.graph_fits import (
    KEEP_SHARE,
    N_BAGS,
    OBJECTIVE_TOLERANCE,
    at_the_border,
    objective,
    regimes,
)
from tests.benchmarks.planted_pair import plant_pair


def _peer(penalty: float) -> Any:
    from imblearn.ensemble import BalancedBaggingClassifier

    solver = LogisticRegression(
        l1_ratio=1, solver="liblinear", C=1 / penalty, tol=1e-6, intercept_scaling=100,
        max_iter=5000, random_state=0,
    )  # fmt: skip
    return BalancedBaggingClassifier(solver, n_estimators=N_BAGS, random_state=0, n_jobs=1)


def _bags(peer: Any, y: np.ndarray) -> list[tuple[np.ndarray, int, np.ndarray, float]]:
    """Return rows (positives first), number of positives, weights and bias of each of its bags."""
    found = []
    for bootstrap, pipeline in zip(peer.estimators_samples_, peer.estimators_, strict=True):
        rows = bootstrap[pipeline.named_steps["sampler"].sample_indices_]
        model = pipeline.named_steps["classifier"]
        ordered = np.concatenate([rows[y[rows]], rows[~y[rows]]])
        found.append((ordered, int(y[rows].sum()), model.coef_[0], float(model.intercept_[0])))
    return found


def _compare(
    peer: Any, rows: BagRows, X: sparse.csr_array, y: np.ndarray, settings: Settings
) -> dict[str, float]:
    allowed = np.ones(X.shape[1], dtype=bool)
    worst, ours_used, used = 0.0, np.zeros(X.shape[1], int), np.zeros(X.shape[1], int)
    border = np.zeros(X.shape[1], dtype=bool)
    for bag, n_positive, theta, intercept in _bags(peer, y):
        weights, intercepts, _ = fit_bags(rows, bag[None], n_positive, allowed, settings)
        inputs, labels = X[bag], np.arange(len(bag)) < n_positive
        reference = objective(inputs, labels, theta, intercept, settings.penalty)
        own = objective(inputs, labels, weights[0], intercepts[0], settings.penalty)
        worst = max(worst, own / reference - 1)
        ours_used += weights[0] != 0
        used += theta != 0
        border |= at_the_border(inputs, labels, theta, intercept, settings.penalty) & (
            (theta != 0) != (weights[0] != 0)
        )
    share = KEEP_SHARE * N_BAGS + 1e-9
    differ = (ours_used > share) != (used > share)
    return {
        "gap": worst,
        "kept": int((used > share).sum()),
        "differ": int((differ & ~border).sum()),
        "border": int((differ & border).sum()),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Compare, then time; binary inputs, as those of the graph.

    Returns
    -------
    dict
        ``answers_equal``, ``graph_binary_vs_imbalanced_learn`` (its time divided by ours) and
        ``rows``, the table.
    """
    regime = regimes(quick)[0]
    pair = plant_pair(**regime.planted | {"n_targets": 6 if quick else 40})
    X, n = pair.labels, len(pair.targets)
    rows, settings = bag_rows(X), Settings(regime.penalty, TOLERANCE, MAX_ITER)
    allowed = np.ones(X.shape[1], dtype=bool)
    checks, ours, theirs, ratios = [], 0.0, 0.0, []
    for column in range(pair.targets.shape[1]):
        y = pair.targets[:, column]
        peer = _peer(regime.penalty)
        start = time.process_time()
        peer.fit(X, y)
        middle = time.process_time()
        positives = np.flatnonzero(y)
        rng = np.random.default_rng([1, column])
        bags = draw_bags(positives, n, len(positives), N_BAGS, rng)
        fit_bags(rows, bags, len(positives), allowed, settings)
        end = time.process_time()
        checks.append(_compare(peer, rows, X, y, settings))
        if column:  # the first compiles and fills caches
            ours, theirs = ours + end - middle, theirs + middle - start
            ratios.append((middle - start) / (end - middle))
    gap, differ = max(c["gap"] for c in checks), sum(c["differ"] for c in checks)
    fits = N_BAGS * len(ratios)
    row = {
        "targets": len(checks),
        "largest gap": f"{gap:.1e}",
        "kept": sum(c["kept"] for c in checks),
        "differ": differ,
        "at the border": sum(c["border"] for c in checks),
        "ours, ms a fit": round(1e3 * ours / fits, 4),
        "imbalanced-learn, ms a fit": round(1e3 * theirs / fits, 2),
        "ratio": round(theirs / ours, 1),
        "median ratio": round(float(np.median(ratios)), 1),
    }
    return {
        "answers_equal": bool(gap <= OBJECTIVE_TOLERANCE and differ == 0),
        "graph_binary_vs_imbalanced_learn": round(theirs / ours, 1),
        "rows": [row],
    }
