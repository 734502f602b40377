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

from cgraph.bag_fits import BagRows, bag_rows, fit_bags
from cgraph.bagging import draw_bags
from cgraph.logistic import MAX_ITER, TOLERANCE
from cgraph.proximal_newton import Settings
from tests.benchmarks.gates import Comparison, Gate, liblinear_model
from tests.benchmarks.graph_fits import N_BAGS, regimes
from tests.benchmarks.planted_pair import plant_pair


def _peer(penalty: float) -> Any:
    from imblearn.ensemble import BalancedBaggingClassifier

    solver = liblinear_model(penalty)
    return BalancedBaggingClassifier(solver, n_estimators=N_BAGS, random_state=0, n_jobs=1)


def _compare(
    peer: Any, rows: BagRows, X: sparse.csr_array, y: np.ndarray, settings: Settings
) -> Gate:
    allowed = np.ones(X.shape[1], dtype=bool)
    comparison = Comparison(X.shape[1], settings.penalty)
    for bootstrap, pipeline in zip(peer.estimators_samples_, peer.estimators_, strict=True):
        drawn = bootstrap[pipeline.named_steps["sampler"].sample_indices_]
        bag = np.concatenate([drawn[y[drawn]], drawn[~y[drawn]]])
        weights, intercepts, _ = fit_bags(rows, bag[None], int(y[bag].sum()), allowed, settings)
        model = pipeline.named_steps["classifier"]
        reference = model.coef_[0], float(model.intercept_[0])
        comparison.add(X[bag], y[bag], (weights[0], float(intercepts[0])), reference)
    return comparison.result()


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
    gates, ours, theirs, ratios = [], 0.0, 0.0, []
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
        gates.append(_compare(peer, rows, X, y, settings))
        if column:  # the first compiles and fills caches
            ours, theirs = ours + end - middle, theirs + middle - start
            ratios.append((middle - start) / (end - middle))
    fits = N_BAGS * len(ratios)
    row = {
        "targets": len(gates),
        "largest gap": f"{max(gate.gap for gate in gates):.1e}",
        "kept": sum(gate.kept for gate in gates),
        "differ": sum(gate.differ for gate in gates),
        "at the border": sum(gate.border for gate in gates),
        "ours, ms a fit": round(1e3 * ours / fits, 4),
        "imbalanced-learn, ms a fit": round(1e3 * theirs / fits, 2),
        "ratio": round(theirs / ours, 1),
        "median ratio": round(float(np.median(ratios)), 1),
    }
    return {
        "answers_equal": all(gate.equal for gate in gates),
        "graph_binary_vs_imbalanced_learn": round(theirs / ours, 1),
        "rows": [row],
    }
