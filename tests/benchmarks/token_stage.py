"""How much of the class-token stage is the model: ``python -m tests.benchmarks.token_stage``.

The stage runs as a build runs it, one process with one torch thread for each worker, and beside it
a plain loop of the same model over pixels that lie ready in memory, as many loops side by side as
there are workers. *Ratio* is the stage's speed over the loop's. *Forward, wall* is the share of a
worker's time, from its first part to its last, in which the model was at work or ready to be;
*forward, CPU* the share of all processor time of the workers that the forward passes took, start
of the processes aside; *start* is what it takes until all workers have loaded the model.

Stage and loop take turns, so that other work on the machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cgraph import stages, token_feed
from cgraph.config import preset
from cgraph.executors import THREAD_VARIABLES, _start_worker
from cgraph.job_setup import prepare
from cgraph.stages import Job
from tests.benchmarks.machine import describe, table

BATCH = 32


class _Watched:
    """The model's forward pass with a clock on it."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.images = 0

    def around(self, forward: Any) -> Any:
        def timed(pixels: np.ndarray, *rest: Any) -> np.ndarray:
            wall, cpu = time.perf_counter(), time.thread_time()
            tokens = forward(pixels, *rest)
            self.wall += time.perf_counter() - wall
            self.cpu += time.thread_time() - cpu
            self.images += len(pixels)
            return tokens

        return timed


def _load(job: Job) -> None:
    model = stages._model(job.model, job.model_fingerprint)
    stages.images_of(job)
    model.class_tokens(np.zeros((BATCH, 3, *model.image_size), dtype=np.float32))


def stage_part(job: Job, parts: list[int], readers: int) -> dict[str, float]:
    """Do some parts of the stage; return where the time of this process went."""
    _load(job)
    model, watched = stages._model(job.model, job.model_fingerprint), _Watched()
    forward = model.class_tokens
    model.class_tokens = watched.around(forward)  # type: ignore[method-assign]
    token_feed.READERS = readers
    batches = stages.batches
    stages.batches = lambda *a, **k: batches(*a, **{**k, "n_threads": readers})  # type: ignore
    wall, cpu = time.perf_counter(), time.process_time()
    for part in parts:
        stages.collect_tokens(job, part)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    model.class_tokens, stages.batches = forward, batches  # type: ignore[method-assign]
    return {
        "images": watched.images,
        "wall": wall,
        "cpu": cpu,
        "forward wall": watched.wall,
        "forward cpu": watched.cpu,
    }


def plain_loop(job: Job, n_batches: int) -> dict[str, float]:
    """Run the model over pixels that lie in memory."""
    _load(job)
    model, image_set = stages._model(job.model, job.model_fingerprint), stages.images_of(job)
    pictures = [image_set.read(row).image for row in range(min(BATCH, len(image_set)))]
    pixels = model.preprocess(pictures)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(n_batches):
        model.class_tokens(pixels)
    return {
        "images": n_batches * len(pixels),
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
    }


def measure(job: Job, workers: int, readers: int, rounds: int) -> dict[str, Any]:
    """Return one row of the table."""
    import os

    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    start = time.perf_counter()
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    ) as pool:
        every = range(workers)
        list(pool.map(_waiting_load, [job] * workers))
        started = time.perf_counter() - start
        of_stage: list[dict[str, float]] = []
        of_loop: list[dict[str, float]] = []
        per_round = job.n_parts // (workers * rounds)
        for turn in range(rounds):
            first = turn * workers * per_round
            shares = [list(range(first + n, first + workers * per_round, workers)) for n in every]
            of_stage += pool.map(stage_part, [job] * workers, shares, [readers] * workers)
            n_batches = per_round * job.config.part_size // BATCH
            of_loop += pool.map(plain_loop, [job] * workers, [n_batches] * workers)
    stage, loop = (
        {name: sum(one[name] for one in found) for name in found[0]}
        for found in (of_stage, of_loop)
    )
    per_second = {
        "wall": [workers * one["images"] / one["wall"] for one in (stage, loop)],
        "cpu": [one["images"] / one["cpu"] for one in (stage, loop)],
    }
    return {
        "workers": workers,
        "readers": readers,
        "images": int(stage["images"]),
        "stage, images/s": f"{per_second['wall'][0]:.1f}",
        "loop, images/s": f"{per_second['wall'][1]:.1f}",
        "ratio": f"{per_second['wall'][0] / per_second['wall'][1]:.3f}",
        "ratio by CPU": f"{per_second['cpu'][0] / per_second['cpu'][1]:.3f}",
        "forward, wall": f"{stage['forward wall'] / stage['wall']:.1%}",
        "forward, CPU": f"{stage['forward cpu'] / stage['cpu']:.1%}",
        "CPU ms an image": f"{1000 * stage['cpu'] / stage['images']:.1f}",
        "of it feeding": f"{1000 * (stage['cpu'] - stage['forward cpu']) / stage['images']:.2f}",
        "start, s": f"{started:.1f}",
    }


def _waiting_load(job: Job) -> None:
    _load(job)
    time.sleep(0.5)  # so that every worker gets one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--max-images", type=int, default=2048)
    parser.add_argument("--part-size", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--readers", type=int, nargs="+", default=[0, token_feed.READERS])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config = preset("default").with_options(max_images=options.max_images, n_atoms=8, max_nnz=4)
    config = type(config)(**{**vars(config), "part_size": options.part_size})
    folder = Path(tempfile.mkdtemp())
    try:
        job, _ = prepare(options.model, options.images, folder, config)
        rows = [
            measure(job, workers, readers, options.rounds)
            for workers in options.workers
            for readers in options.readers
        ]
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(rows))
    else:
        print(f"Measured on: {describe()}.\n\n{table(rows)}")


if __name__ == "__main__":
    main()
