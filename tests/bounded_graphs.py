"""Random graphs whose concepts can mostly be switched, and all that flips do to them."""

from __future__ import annotations

import itertools

import numpy as np
from graph_examples import concept_table, edge_table

from cgraph.graph import ConceptGraph


def switchable_graph(sizes, seed, *, density=0.7, unfitted=0.1, grid=False):
    """Return a random graph; thresholds lie near what an average labelling reaches.

    With `grid` weights are whole numbers, so that many sets of flips reach the very same score, and
    thresholds lie at p = ½, which some scores reach exactly.
    """
    rng = np.random.default_rng(seed)
    edges, middles = [], [np.zeros(sizes[0])]
    for layer in range(1, len(sizes)):
        shape = sizes[layer], sizes[layer - 1]
        dense = rng.normal(size=shape) * np.exp(rng.normal(size=shape) / 2)
        dense = np.rint(dense * 2) if grid else dense
        dense[rng.random(shape) >= density] = 0
        edges += [
            (layer, int(parent), int(child), float(dense[child, parent]), 1.0)
            for child, parent in np.argwhere(dense)
        ]
        middles.append(dense.sum(axis=1) / 2 + rng.normal(size=sizes[layer]) / 2)
    n, middle = sum(sizes), np.concatenate(middles)
    fitted = (np.arange(n) >= sizes[0]) & (rng.random(n) >= unfitted)
    slope = np.where(rng.random(n) < 0.1, -1.0, 1.0) * rng.choice([0.5, 1.0, 1.7], n)
    slope[rng.random(n) < 0.05] = 0
    drawn = {
        "intercept": -np.rint(middle) if grid else -middle,
        "slope": np.ones(n) if grid else slope,
        "offset": np.zeros(n) if grid else rng.normal(size=n) / 3,
        "threshold": np.full(n, 0.5) if grid else rng.uniform(0.3, 0.7, n),
    }
    columns = {name: np.where(fitted, values, np.nan) for name, values in drawn.items()}
    known = {"n_train": rng.integers(1, 99, n), "fitted": fitted, "scored": fitted}
    edges = [edge for edge in edges if fitted[sum(sizes[: edge[0]]) + edge[2]]]
    return ConceptGraph.from_tables(concept_table(sizes, **known, **columns), edge_table(edges))


def all_flips(labels, flippable, most=None):
    """Return every labelling that flips reach, and how many each takes."""
    places = np.flatnonzero(flippable)
    most = len(places) if most is None else min(most, len(places))
    rows = [
        np.isin(np.arange(len(labels)), chosen)
        for n in range(most + 1)
        for chosen in itertools.combinations(places, n)
    ]
    flips = np.array(rows, dtype=bool)
    return labels ^ flips, flips.sum(axis=1)
