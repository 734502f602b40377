"""How cost grows with the size of a study: ``python -m tests.benchmarks.growth``.

Pursuit, one iteration of K-SVD and the fit of the graph, each at three sizes of images, atoms,
nonzeros and layers, the others held at a base. One thread, processor time, the median of some
repeats. The exponent is the slope of log time over log size: 1 is in proportion, 2 is with the
square. For the graph, layers are counted as pairs of neighbours, of which there is one less.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cgraph.bagging import fit_predictors
from cgraph.config import preset
from cgraph.ksvd import KSVD
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.predictor import SparseInputs
from cgraph.pursuit import omp
from tests.benchmarks.machine import describe, table


@dataclass(frozen=True)
class Size:
    """What a study has."""

    images: int
    atoms: int
    nonzeros: int
    layers: int


def _tokens(rng: np.random.Generator, n: int, n_features: int) -> np.ndarray:
    return rng.standard_normal((n, n_features), dtype=np.float32)


def pursuit(size: Size) -> Callable[[], None]:
    """Return what codes the tokens of all layers; 768 features."""
    rng = np.random.default_rng(0)
    tokens, atoms = _tokens(rng, size.images, 768), _tokens(rng, size.atoms, 768)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)

    def run() -> None:
        for _ in range(size.layers):
            omp(tokens, atoms, size.nonzeros)

    return run


def ksvd(size: Size) -> Callable[[], None]:
    """Return what makes the second iteration of K-SVD for all layers; 192 features."""
    tokens = _tokens(np.random.default_rng(0), size.images, 192)
    options = {"max_nnz": size.nonzeros, "max_iter": 1, "tol": 0}
    first = KSVD(size.atoms, **options).fit(tokens)

    def run() -> None:
        for _ in range(size.layers):
            KSVD(size.atoms, init=first.components_, **options).fit(tokens)

    return run


def graph(size: Size) -> Callable[[], None]:
    """Return what fits the predictors of all concepts from layer 2 on, as Figure 1 says."""
    config = PlantedConfig(
        n_layers=size.layers, n_images=size.images, n_atoms=size.atoms, max_nnz=size.nonzeros
    )
    codes = plant_codes(config, plant_graph(config))
    settings = preset("paper").predictor

    def run() -> None:
        for layer, (left, right) in enumerate(pairwise(codes), start=2):
            inputs = SparseInputs(left, binary=True)
            fit_predictors(inputs, right, np.arange(size.atoms), settings, entropy=(0, layer))

    return run


PARTS: tuple[tuple[str, Callable[[Size], Callable[[], None]], Size, int], ...] = (
    ("pursuit", pursuit, Size(images=2000, atoms=1536, nonzeros=10, layers=1), 5),
    ("K-SVD, one iteration", ksvd, Size(images=4000, atoms=1024, nonzeros=10, layers=1), 5),
    ("graph", graph, Size(images=20_000, atoms=512, nonzeros=10, layers=2), 1),
)


def sizes(base: Size) -> Iterator[tuple[str, list[Size]]]:
    """Yield the base with one of its numbers halved and doubled."""
    for field in dataclasses.fields(Size):
        value = getattr(base, field.name)
        values = [value // 2, value, value * 2]
        if field.name == "layers":
            pairs = base.layers - 1
            values = [pairs + 1, 2 * pairs + 1, 4 * pairs + 1] if pairs else [1, 2, 4]
        yield (
            field.name,
            [dataclasses.replace(base, **{field.name: one}) for one in values],
        )


def seconds(run: Callable[[], None], repeats: int) -> float:
    """Return the median processor time."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return float(np.median(times))


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    rows: list[dict[str, Any]] = []
    known: dict[tuple[str, Size], float] = {}
    for part, make, base, repeats in PARTS:
        make(base)()  # compiles, or reads what was compiled
        for what, of_part in sizes(base):
            for size in of_part:
                if (part, size) not in known:
                    known[part, size] = seconds(make(size), repeats)
            values = [getattr(size, what) for size in of_part]
            times = [known[part, size] for size in of_part]
            lengths = np.array(values) - (part == "graph" and what == "layers")
            rows.append(
                {
                    "part": part,
                    "grows": what,
                    "sizes": " / ".join(f"{value:,}" for value in values),
                    "CPU seconds": " / ".join(f"{value:.2f}" for value in times),
                    "exponent": f"{np.polyfit(np.log(lengths), np.log(times), 1)[0]:.2f}",
                    "held": ", ".join(
                        f"{name} {value:,}"
                        for name, value in dataclasses.asdict(base).items()
                        if name != what
                    ),
                }
            )
    print(f"Measured on: {describe()}.\n")
    print(table(rows))


if __name__ == "__main__":
    main()
