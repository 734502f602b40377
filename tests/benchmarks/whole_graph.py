"""The whole graph at the paper's size, fitted: ``python -m tests.benchmarks.whole_graph``.

Plants the codes of all layers (`cgraph.planted`), then fits the predictors of every concept of
every pair as Figure 1 of the paper says: 20 bags, the features kept in more than 80 % of them, one
final fit. The first pair is fitted by one worker as well: its result must be the same, bit for
bit, and the ratio of both times is the scaling.

With many active concepts a row little can be screened away, as it will be with concepts of patches:
``--images 10000 --atoms 576 --active 120 --preset default`` shows what that costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from cgraph.bagging import fit_predictors
from cgraph.codes import Codes
from cgraph.config import PRESETS, PredictorConfig, preset
from cgraph.planted import plant_codes, plant_graph
from cgraph.planted_config import PlantedConfig
from cgraph.predictor import Predictors, SparseInputs
from tests.benchmarks.machine import describe, table

BLOCK = 32


def fit_pair(
    left: Codes, right: Codes, config: PredictorConfig, layer: int, n_workers: int
) -> Predictors:
    """Fit the predictors of all concepts of a layer in blocks."""
    inputs = SparseInputs(left, binary=True)
    inputs.narrow  # noqa: B018 (made once, before threads ask for it)
    blocks = np.split(np.arange(right.n_atoms), range(BLOCK, right.n_atoms, BLOCK))
    with ThreadPoolExecutor(n_workers) as pool:
        parts = pool.map(
            lambda block: fit_predictors(inputs, right, block, config, entropy=(0, layer)), blocks
        )
        return Predictors.concatenate(list(parts))


def equal(one: Predictors, other: Predictors) -> bool:
    """Return whether two results are the same, bit for bit."""
    names = [field.name for field in dataclasses.fields(Predictors)]
    return all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in names)


def n_bytes(codes: Codes) -> int:
    """Return the size of codes in memory."""
    return sum(a.nbytes for a in (codes.offsets, codes.indices, codes.coefficients))


def megabytes() -> float:
    """Return the most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--atoms", type=int, default=3072)
    parser.add_argument("--active", type=int, default=10)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    config = preset(options.preset).predictor
    planted = PlantedConfig(
        n_layers=options.layers,
        n_images=options.images,
        n_atoms=options.atoms,
        max_nnz=options.active,
    )
    codes = plant_codes(planted, plant_graph(planted))
    small = [of_layer.take(np.arange(2000)) for of_layer in codes[:2]]
    fit_pair(*small, config, 1, 1)  # compiles, or reads what was compiled
    before = megabytes()

    start = time.perf_counter()
    alone = fit_pair(codes[0], codes[1], config, 2, 1)
    one_worker = time.perf_counter() - start
    start = time.perf_counter()
    first = fit_pair(codes[0], codes[1], config, 2, options.workers)
    scaling = one_worker / (time.perf_counter() - start)
    if not equal(alone, first):
        raise SystemExit("The result depends on the number of workers.")

    wall, cpu = time.perf_counter(), time.process_time()
    n_fitted, converged, worst = 0, True, 0.0
    for layer, (left, right) in enumerate(pairwise(codes), start=2):
        predictors = fit_pair(left, right, config, layer, options.workers)
        n_fitted += int(predictors.fitted.sum())
        converged &= bool(predictors.converged.all())
        worst = max(worst, float(np.nanmax(predictors.violation)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n_fits = n_fitted * (config.n_bags + 1)
    print(f"Measured on: {describe()}.\n")
    print(
        table(
            [
                {
                    "images": f"{options.images:,}",
                    "concepts": f"{options.layers} x {options.atoms:,}",
                    "active": options.active,
                    "fits": f"{n_fits:,}",
                    "converged": "all" if converged else "NOT ALL",
                    "worst violation, μ": f"{worst:.4f}",
                    "workers": options.workers,
                    "wall": f"{wall:.1f} s",
                    "CPU": f"{cpu:.1f} s",
                    "CPU a fit": f"{1e6 * cpu / n_fits:.0f} µs",
                    "scaling": f"{scaling:.2f}",
                    "codes": f"{sum(map(n_bytes, codes)) / 1e6:.0f} MB",
                    "memory beyond": f"{megabytes() - before:.0f} MB",
                }
            ]
        )
    )


if __name__ == "__main__":
    main()
