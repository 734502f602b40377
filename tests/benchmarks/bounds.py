"""Bounds and flip radii at the paper's size: ``python -m tests.benchmarks.bounds``.

On a planted graph (`cgraph.planted`): one-layer radii of all concepts of the last layer; bounds of
the last layer from five layers before, in time and tightness beside interval and CROWN bounds in
torch (`tests.benchmarks.crown`) of the same graph seen as a network; and what is reached at all, by
every single flip or by many random sets of flips. Torch's intervals in double precision must lie
within ours, which have margins for rounding, and be nearly the same; what is reached must lie
within every bound.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from cgraph.bounds import LabelBounds, ProbabilityBounds, label_bounds, probability_bounds
from cgraph.bounds_exact import solve
from cgraph.concept import ConceptId
from cgraph.edits import RolloutSettings
from cgraph.flip_radius import layer_radii, radius
from cgraph.graph import ConceptGraph
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.rollout import rollout
from tests.benchmarks.crown import crown, intervals, network
from tests.benchmarks.machine import describe, table

_ROWS = 256
_SETS = 3000
_LIMIT = 30.0  # seconds for each programme


def timed(run: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """Return a result, and the least seconds of some runs; the first of them compiles."""
    found, times = None, []
    for _ in range(repeats):
        began = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - began)
    return found, min(times)


def reached(
    graph: ConceptGraph, start: int, labels: np.ndarray, sets: list[np.ndarray], rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the most of p, or of labels, of the last layer, over sets of flips."""
    low, high = np.full(graph.n_concepts(graph.n_layers), np.inf), None
    high = -low
    for first in range(0, len(sets), _ROWS):
        part = sets[first : first + _ROWS]
        rows = np.repeat(labels[None], len(part), axis=0)
        for row, flips in zip(rows, part, strict=True):
            row[flips] ^= True
        found = rollout(graph, rows, start, RolloutSettings(rule)).of_layer(graph.n_layers)
        values = found[0].astype(np.float32) if rule == "max" else found[1]
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    return low, high


def sets_of(flippable: np.ndarray, budget: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return all single flips, or some sets of as many as the budget allows."""
    places = np.flatnonzero(flippable)
    nothing = [places[:0]]
    if budget == 1:
        return nothing + [places[n : n + 1] for n in range(len(places))]
    return nothing + [rng.choice(places, budget, replace=False) for _ in range(_SETS)]


def compare(
    graph: ConceptGraph, start: int, labels: np.ndarray, flippable: np.ndarray, budget: int
) -> list[dict[str, Any]]:
    """Return a row for each way to bound the last layer."""
    last, rng = graph.n_layers, np.random.default_rng(0)
    net = network(
        graph, start, last, torch.tensor(labels, dtype=torch.float32),
        torch.tensor(np.flatnonzero(flippable)), budget,
    )  # fmt: skip
    options: dict[str, Any] = {"budget": budget, "flippable": flippable}
    what = f"{budget} of {int(flippable.sum()):,}"
    rows = []

    def add(rule: str, method: str, low: Any, high: Any, decided: Any, seconds: float) -> None:
        rows.append(
            {
                "flips": what,
                "passed on": rule,
                "bounds": method,
                "decided": f"{np.mean(np.asarray(decided)):.1%}",
                "mean width": f"{np.mean(np.asarray(high) - np.asarray(low)):.4f}",
                "seconds": f"{seconds:.2f}" if seconds else "",
            }
        )

    tau = graph.column(last, "threshold")
    sets = sets_of(flippable, budget, rng)
    name = "reached by every flip" if budget == 1 else f"reached by {_SETS:,} sets"
    for rule in ("max", "probabilities"):
        run = label_bounds if rule == "max" else probability_bounds
        passed = "labels" if rule == "max" else "p"
        within: list[tuple[np.ndarray, np.ndarray]] = []
        for tighten, method in ((False, "intervals"), (True, "flips followed")):
            bounds, seconds = timed(
                lambda r=run, t=tighten: r(graph, start, labels, tighten=t, **options)
            )
            low, high = between(bounds, last)
            within.append((low, high))
            add(passed, method, low, high, bounds.of_layer(last) >= 0, seconds)
            if method == "intervals" and rule != "max":
                least, most = (side.numpy() for side in intervals(net.double()))
                assert (low <= least).all() and (high >= most).all(), "intervals lack a margin"
                assert max((least - low).max(), (high - most).max()) < 1e-3, "intervals differ"
        if rule != "max":
            peers = (
                ("intervals, torch", intervals),
                ("CROWN, torch", crown),
                ("CROWN and intervals, torch", partial(crown, met=True)),
            )
            for method, peer in peers:
                (low, high), seconds = timed(lambda p=peer: p(net), 2)
                low, high = low.numpy(), high.numpy()
                within.append((low, high))
                add("p", method, low, high, (low >= tau) | (high < tau), seconds)
        low, high = reached(graph, start, labels, sets, rule)
        for least, most in within:  # CROWN's bounds are of single precision, without a margin
            assert (low >= least - 1e-4).all() and (high <= most + 1e-4).all(), "a bound is broken"
        decided = (low == high) if rule == "max" else (low >= tau) | (high < tau)
        add(passed, name, low, high, decided, 0)
    return rows


def between(bounds: LabelBounds, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of what is passed on by a layer, of the one row."""
    if isinstance(bounds, ProbabilityBounds):
        low, high = bounds.between(layer)
        return low[0], high[0]
    labels = bounds.of_layer(layer)[0]
    return (labels == 1).astype(np.float32), (labels != 0).astype(np.float32)


def radii(graph: ConceptGraph, labels: np.ndarray, start: int, n: int) -> list[dict[str, Any]]:
    """Return how radii of some concepts of the last layer end, by search and by programme."""
    drawn, rows = np.random.default_rng(1).random(graph.n_concepts(start)), []
    for share, method in itertools.product((1.0, 0.5, 0.25), ("search", "programme")):
        found, times = [], []
        for index in range(n):
            concept, flippable = ConceptId(graph.n_layers, index), drawn < share
            began = time.perf_counter()
            if method == "search":
                found.append(radius(graph, labels, start, concept, flippable, most=3))
            else:
                found.append(solve(graph, labels, start, concept, flippable, time_limit=_LIMIT))
            times.append(time.perf_counter() - began)
        enclosed = [f"{answer.lower} to {answer.upper}" for answer in found if not answer.exact]
        rows.append(
            {
                "flippable": f"{int((drawn < share).sum()):,}",
                "radii by": "bounds and search" if method == "search" else "and the programme",
                "concepts": n,
                "exact": f"{sum(answer.exact for answer in found)}",
                "of them never": sum(answer.never for answer in found),
                "others lie in": "; ".join(enclosed).replace("to None", "or more"),
                "median seconds": f"{np.median(times):.1f}",
                "most seconds": f"{max(times):.1f}",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--atoms", type=int, default=3072, help="concepts of each layer")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--only-radii", action="store_true", help="leave the comparison out")
    parser.add_argument("--radii", type=int, default=6, help="concepts whose radius is solved")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    config = PlantedConfig(options.layers, options.atoms, n_images=120)
    planted = plant_graph(config)
    graph = planted.concept_graph()
    codes = plant_codes(config, planted)
    last, start = graph.n_layers, graph.n_layers - 5
    print(f"Measured on: {describe()}.\n")
    labels = codes[last - 2].dense_labels().astype(bool)
    rows = []
    for n_images in (1, 100):
        found, seconds = timed(lambda n=n_images: layer_radii(graph, labels[:n], last - 1))
        rows.append(
            {
                "one-layer radii": f"{found.lower.shape[1]:,} concepts, images: {n_images}",
                "exact": f"{found.exact.mean():.2%}",
                "seconds": f"{seconds:.3f}",
            }
        )
    print(table(rows), "\n", flush=True)
    labels = codes[start - 1].dense_labels().astype(bool)[0]
    every = np.ones(len(labels), dtype=bool)
    drawn = np.random.default_rng(1).random(len(labels))
    rows = []
    # Last some that are free: as many flips as there are concepts.
    few = drawn < 0.01
    asked = [(every, 1), (every, 2), (drawn < 0.1, 3), (few, int(few.sum()))]
    for flippable, budget in [] if options.only_radii else asked:
        rows += compare(graph, start, labels, flippable, budget)
    if rows:
        print(table(rows), "\n", flush=True)
    print(table(radii(graph, labels, start, options.radii)))


if __name__ == "__main__":
    main()
