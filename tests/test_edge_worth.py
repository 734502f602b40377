"""What an edge is worth: against hand-computed areas, and against leaving it out and sorting."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from cgraph.config import HELD_OUT
from cgraph.edge_worth import measure, worths
from cgraph.executors import SerialExecutor
from cgraph.study import Study
from cgraph.workbench import Workbench


def naive(starts, parents, weights, X, Y) -> np.ndarray:
    """Leave each summand out and let scikit-learn sort; weights are sixteenths, so sums are
    exact."""
    drops = np.full((len(parents), 2), np.nan)
    for child in range(len(starts) - 1):
        edges, y = np.arange(starts[child], starts[child + 1]), Y[:, child]
        if not 0 < y.sum() < len(y):
            continue
        summands = X[:, parents[edges]] * weights[edges]
        for figure, column in ((roc_auc_score, 0), (average_precision_score, 1)):
            whole = figure(y, summands.sum(axis=1))
            for place, edge in enumerate(edges):
                rest = np.delete(summands, place, axis=1).sum(axis=1)
                drops[edge, column] = whole - figure(y, rest)
    return drops


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_images=st.integers(2, 40),
    n_parents=st.integers(1, 6),
    real=st.booleans(),
)
def test_as_if_left_out_and_sorted_again(
    seed: int, n_images: int, n_parents: int, real: bool
) -> None:
    rng = np.random.default_rng(seed)
    n_children = 4
    X = (rng.random((n_images, n_parents)) < rng.random(n_parents)).astype(float)
    if real:
        X *= rng.integers(-8, 9, X.shape) / 16
    Y = rng.random((n_images, n_children)) < [0.05, 0.3, 0.5, 0.9]
    chosen = [np.flatnonzero(rng.random(n_parents) < 0.7) for _ in range(n_children)]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in chosen])])
    parents = np.concatenate(chosen).astype(np.int32)
    weights = (rng.integers(-40, 41, len(parents)) / 16).astype(np.float32)
    found = worths(starts, parents, weights, sparse.csr_array(X), sparse.csr_array(Y))
    np.testing.assert_allclose(found, naive(starts, parents, weights, X, Y), atol=1e-12)


def test_by_hand() -> None:
    # Scores 2, 1, 1, 0 of a positive, a positive, a negative and a negative: 3.5 of 4 pairs right.
    # Without parent 0 they are 1, 1, 0, 0: 4 of 4. Without parent 1: 1, 0, 1, 0: 2 of 4.
    X = sparse.csr_array(np.array([[1, 1], [0, 1], [1, 0], [0, 0]]))
    Y = sparse.csr_array(np.array([[1], [1], [0], [0]]))
    found = worths(np.array([0, 2]), np.array([0, 1]), np.array([1.0, 1.0]), X, Y)
    np.testing.assert_allclose(found[:, 0], [3.5 / 4 - 1, 3.5 / 4 - 0.5])
    precision = (1 + 2 / 3) / 2
    np.testing.assert_allclose(found[:, 1], [precision - 1, precision - 0.5])


def test_images_that_cannot_be_told_apart_stay_ties() -> None:
    # 0.1 + 0.2 - 0.2 is not 0.1 in floating point: both images score the same without parent 1.
    X = sparse.csr_array(np.array([[1, 1], [1, 0]]))
    Y = sparse.csr_array(np.array([[1], [0]]))
    found = worths(np.array([0, 2]), np.array([0, 1]), np.array([0.1, 0.2]), X, Y)
    assert found[1, 0] == 0.5


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e9, 1e15])
def test_weights_of_any_size(size: float) -> None:
    X = sparse.csr_array(np.array([[1, 1], [0, 1], [1, 0], [0, 0]]))
    Y = sparse.csr_array(np.array([[1], [1], [0], [0]]))
    found = worths(np.array([0, 2]), np.array([0, 1]), np.array([size, size]), X, Y)
    np.testing.assert_allclose(found[:, 0], [3.5 / 4 - 1, 3.5 / 4 - 0.5])


def test_no_edges_and_no_parent_active() -> None:
    Y = sparse.csr_array(np.array([[1], [0]]))
    nothing = sparse.csr_array((2, 3))
    assert worths(np.array([0, 0]), np.empty(0, int), np.empty(0), nothing, Y).shape == (0, 2)
    assert (worths(np.array([0, 1]), np.array([2]), np.array([1.5]), nothing, Y) == 0).all()


def test_of_a_study(tiny_study: Study, tmp_path: Path) -> None:
    tiny_study = Study.open(shutil.copytree(tiny_study.path, tmp_path / "discs"))
    table = measure(Workbench(tiny_study, SerialExecutor()))["worth"]
    rows = table.to_pylist()
    edges = [
        (layer - 1, int(parent), layer, child)
        for layer in range(2, tiny_study.n_layers + 1)
        for child in range(tiny_study.graph.n_concepts(layer))
        for parent in tiny_study.graph.edges_into(np.array([child]), layer)[0]
    ]
    ends = ("parent_layer", "parent", "child_layer", "child")
    assert [tuple(row[name] for name in ends) for row in rows] == edges and edges
    held_out = tiny_study.rows(HELD_OUT)
    checked = 0
    for row in rows[:: max(1, len(rows) // 30)]:
        layer, child, parent = row["child_layer"], row["child"], row["parent"]
        weights = tiny_study.graph.weight_matrix(layer)[[child]].toarray()[0]
        X = tiny_study.codes(layer - 1).dense_labels(held_out).astype(float)
        y = tiny_study.codes(layer).dense_labels(held_out)[:, child]
        if not 0 < y.sum() < len(y):
            assert math.isnan(row["auc_drop"])
            continue
        rest = np.where(np.arange(len(weights)) == parent, 0, weights)
        # Sums in the same order, so that equal images score equally.
        scores, without = (np.round(X @ w.astype(np.float64), 9) for w in (weights, rest))
        assert row["auc_drop"] == pytest.approx(
            roc_auc_score(y, scores) - roc_auc_score(y, without), abs=1e-7
        )
        assert row["ap_drop"] == pytest.approx(
            average_precision_score(y, scores) - average_precision_score(y, without), abs=1e-7
        )
        checked += 1
    assert checked > 5
