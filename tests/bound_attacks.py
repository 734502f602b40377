"""Attempts to break bounds: everything on small graphs, a search on large ones; with counts."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from bounded_graphs import all_flips, switchable_graph

from cgraph.bounds import label_bounds, probability_bounds
from cgraph.edits import PROBABILITIES, RolloutSettings
from cgraph.rollout import rollout

BROKEN = "broken"
"""Key of a count: bounds that a rollout left. It must stay 0."""


def check_rollouts(bounds, rows, graph, rule, kind, inputs=None):
    """Count the bounds that rollouts of some labellings leave, and what was held against them."""
    found = rollout(
        graph, rows, bounds.start, RolloutSettings(rule, probability=kind), inputs=inputs
    )
    counts = Counter(bounds=0, decided=0, rollouts=len(rows), **{BROKEN: 0})
    for layer in range(bounds.start, bounds.until + 1):
        labels, probabilities, _, _ = found.of_layer(layer)
        known = bounds.of_layer(layer)[0]
        wrong = (known == 1) & ~labels.all(axis=0) | (known == 0) & labels.any(axis=0)
        if rule != "max":
            low, high = (side[0] for side in bounds.between(layer))
            wrong |= (probabilities < low).any(axis=0) | (probabilities > high).any(axis=0)
        if layer > bounds.start:
            counts.update(bounds=len(known), decided=int((known >= 0).sum()))
        counts[BROKEN] += int(wrong.sum())
    return counts


def break_small(seed):
    """Try every allowed labelling of a small random graph, by each rule and kind of probability."""
    rng = np.random.default_rng(seed)
    sizes = tuple(int(n) for n in rng.integers(2, 8, size=rng.integers(2, 6)))
    graph = switchable_graph(sizes, seed, grid=seed % 3 == 0)
    labels = rng.random(sizes[0]) < 0.5
    flippable = rng.random(sizes[0]) < 0.8
    free = np.zeros(sizes[0], dtype=bool)
    if seed % 2:  # flips are followed through the layers where no label is free
        free = rng.random(sizes[0]) < 0.3
    budget = int(rng.integers(0, 4))
    fixed = np.where(free, -1, labels).astype(np.int8)
    rows, _ = all_flips(labels, flippable & ~free, budget)
    ways = np.array(list(itertools.product([False, True], repeat=int(free.sum()))), dtype=bool)
    ways = ways.reshape(2 ** int(free.sum()), int(free.sum()))
    rows = np.repeat(rows, len(ways), axis=0)
    rows[:, free] = np.tile(ways, (len(rows) // len(ways), 1))
    inputs = [rng.uniform(-0.5, 2, n) for n in sizes] if seed % 5 == 0 else None
    counts = Counter(graphs=1)
    for kind, run in itertools.product(PROBABILITIES, (label_bounds, probability_bounds)):
        bounds = run(
            graph, 1, fixed, budget=budget, flippable=flippable, probability=kind, inputs=inputs
        )
        counts.update(check_rollouts(bounds, rows, graph, bounds.rule, kind, inputs))
    return counts


def attack(graph, labels, start, budget, rng, n_random=100, rule="max"):
    """Attack bounds of one labelling by random flips and by those that move the most scores.

    Flips are drawn among all concepts, and among those with the largest effects on concepts that
    are said to be certain.
    """
    run = label_bounds if rule == "max" else probability_bounds
    bounds = run(graph, start, labels, budget=budget)
    strong = np.zeros(len(labels))
    edges = graph.layer_edges(start + 1)
    np.add.at(strong, edges.parents, np.abs(edges.weights) ** 3)
    active = np.flatnonzero(labels)
    near = np.unique(np.concatenate([_relatives(edges, active), active]))
    rows = np.repeat(labels[None], 3 * n_random, axis=0)
    for n, row in enumerate(rows):
        pool = (np.arange(len(labels)), np.argsort(-strong)[: 4 * budget + 8], near)[n % 3]
        row[rng.choice(pool, min(budget, len(pool)), replace=False)] ^= True
    return check_rollouts(bounds, rows, graph, rule, "calibrated")


def _relatives(edges, parents):
    """Return the concepts that share a strong child with some parents."""
    children = np.unique(edges.from_parents(parents)[0])
    strong = np.abs(edges.weights) > 2
    own = np.isin(edges.children, children) & strong
    return edges.parents[own]
