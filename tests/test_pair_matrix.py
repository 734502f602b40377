"""Order and cells of a pair of layers: planted blocks, scikit-learn, dense sums."""

from __future__ import annotations

import numpy as np
import pytest
from graph_examples import concept_table, edge_table, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import SpectralCoclustering
from sklearn.metrics import adjusted_rand_score

from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.pair_matrix import bin_matrix, seriate


def planted_blocks(n_blocks, side, *, noise=0.0, seed=0):
    """Return edges with dense blocks hidden by shuffling, and the block of parents and children."""
    rng = np.random.default_rng(seed)
    n = n_blocks * side
    blocks = [rng.permutation(np.repeat(np.arange(n_blocks), side)) for _ in range(2)]
    inside = blocks[1][:, None] == blocks[0][None]
    present = np.where(inside, rng.random((n, n)) < 0.8, rng.random((n, n)) < noise)
    dense = np.where(present, rng.normal(size=(n, n)) + 2, 0).astype(np.float32)
    edges = [
        (1, int(p), int(c), float(dense[c, p]), 1.0) for c, p in np.argwhere(dense)
    ]  # fmt: skip
    graph = ConceptGraph.from_tables(concept_table([n, n]), edge_table(edges))
    return graph.layer_edges(2), dense, blocks


def groups_of(order, side):
    concepts = getattr(order, side)
    found = np.empty(len(concepts), dtype=int)
    found[concepts] = order.parent_groups if side == "parents" else order.child_groups
    return found


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_planted_blocks_are_found(noise):
    edges, dense, (parents, children) = planted_blocks(8, 8, noise=noise)
    order = seriate(edges)
    assert adjusted_rand_score(parents, groups_of(order, "parents")) > 0.95
    assert adjusted_rand_score(children, groups_of(order, "children")) > 0.95
    # A group of parents has the number of the children that it predicts.
    shown = np.abs(dense[np.ix_(order.children, order.parents)])
    alike = order.child_groups[:, None] == order.parent_groups[None]
    assert shown[alike].sum() > 0.8 * shown.sum()


def test_groups_agree_with_scikit_learn():
    edges, dense, _ = planted_blocks(8, 8, noise=0.02, seed=4)
    model = SpectralCoclustering(8, random_state=0).fit(np.abs(dense))
    order = seriate(edges)
    assert adjusted_rand_score(model.column_labels_, groups_of(order, "parents")) > 0.9
    assert adjusted_rand_score(model.row_labels_, groups_of(order, "children")) > 0.9


def test_a_hidden_diagonal_comes_to_light():
    # A banded matrix, shuffled: in the order found, partners stand nearly beside one another.
    rng = np.random.default_rng(1)
    n = 60
    shuffles = rng.permutation(n), rng.permutation(n)
    edges = [
        (1, int(shuffles[0][p]), int(shuffles[1][c]), 3.0 if p == c else 1.0, 1.0)
        for c in range(n)
        for p in range(max(0, c - 2), min(n, c + 3))
    ]
    graph = ConceptGraph.from_tables(concept_table([n, n]), edge_table(edges))
    order = seriate(graph.layer_edges(2))
    place = [np.argsort(order.parents), np.argsort(order.children)]
    apart = np.abs(place[0][shuffles[0]] - place[1][shuffles[1]])
    by_chance = np.abs(rng.permutation(n) - np.arange(n))
    assert np.median(apart) <= 3 < np.median(by_chance)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 2**16),
    most=st.integers(1, 10),
)
def test_cells_agree_with_dense_sums(sizes, density, seed, most):
    graph, (dense,) = random_graph(list(sizes), density, seed)
    edges = graph.layer_edges(2)
    order = seriate(edges)
    for side, n in (("parents", sizes[0]), ("children", sizes[1])):
        assert sorted(getattr(order, side).tolist()) == list(range(n))
        groups = order.parent_groups if side == "parents" else order.child_groups
        known = groups[groups >= 0]
        assert (np.diff(known) >= 0).all() and (groups[len(known) :] == -1).all()
        dead = ~dense.any(axis=0 if side == "parents" else 1)
        assert sorted(getattr(order, side)[groups == -1]) == np.flatnonzero(dead).tolist()
    cells = bin_matrix(edges, order, most)
    n_rows, n_columns = len(cells.row_bounds) - 1, len(cells.column_bounds) - 1
    assert (n_rows, n_columns) == (min(sizes[0], most), min(sizes[1], most))
    shown = dense[np.ix_(order.children, order.parents)].T.astype(float)
    found = {cell: i for i, cell in enumerate(zip(cells.row, cells.column, strict=True))}
    for row in range(n_rows):
        for column in range(n_columns):
            part = shown[
                cells.row_bounds[row] : cells.row_bounds[row + 1],
                cells.column_bounds[column] : cells.column_bounds[column + 1],
            ]
            assert part.size > 0
            if not part.any():
                assert (row, column) not in found
                continue
            i = found[row, column]
            assert cells.n_edges[i] == np.count_nonzero(part)
            assert cells.raising[i] == pytest.approx(part[part > 0].sum())
            assert cells.lowering[i] == pytest.approx(-part[part < 0].sum())
            assert abs(edges.weights[cells.strongest[i]]) == pytest.approx(np.abs(part).max())


def test_the_order_is_the_same_every_time():
    edges, _, _ = planted_blocks(4, 6, noise=0.1, seed=2)
    first, second = seriate(edges), seriate(edges)
    np.testing.assert_array_equal(first.parents, second.parents)
    np.testing.assert_array_equal(first.child_groups, second.child_groups)


def test_no_cells_are_refused():
    graph, _ = random_graph([2, 2], 1.0, 0)
    edges = graph.layer_edges(2)
    with pytest.raises(ConfigError, match="0 cells along a side are asked for: at least 1"):
        bin_matrix(edges, seriate(edges), 0)
