"""What each stage costs, per image, layer, atom and nonzero: ``python -m tests.benchmarks.scale``.

``--part growth`` runs the stages after the tokens on tokens that no model made, each at three sizes
of images, atoms, nonzeros and layers, the others held at a base. The exponent is the slope of log
time over log size: 0 where size does not matter, 1 in proportion. ``--part paper`` runs them at the
size of the paper's recipe (width 768, 3,072 atoms, ten nonzeros, K-SVD) for three numbers of
images, and gives the cost of one more image, that is the slope, and what is left with none.
``--part tokens`` runs the token stage with random weights of exactly the size of CLIP ViT-B/32, on
JPEG photographs of 500 × 375 pixels, for three numbers of images.

One process, one thread, processor time. Bytes are those of the files that a stage leaves.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgraph import dictionary_stages, graph_stages, image_parts, stages
from cgraph.config import BuildConfig, DictionaryConfig, preset
from cgraph.executors import single_thread
from cgraph.job_setup import prepare
from cgraph.manifest import tokens_file
from cgraph.receipts import forget_peak_memory, peak_memory_mb
from cgraph.stages import Job, image_part
from cgraph.store import write_array, write_table
from cgraph.token_feed import Ready
from tests.benchmarks.machine import describe, table


@dataclasses.dataclass(frozen=True)
class Size:
    """What a study has."""

    images: int = 8000
    atoms: int = 256
    nonzeros: int = 8
    layers: int = 3
    width: int = 128


@contextmanager
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="cgraph-scale-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def write_tokens(place: Path, size: Size, config: BuildConfig) -> Job:
    """Write what the token stage would leave: tokens that are sums of a few of many directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((size.atoms, size.width)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    n_parts = -(-size.images // config.part_size)
    for part in range(n_parts):
        first = part * config.part_size
        n = min(config.part_size, size.images - first)
        active = rng.integers(size.atoms, size=(n, size.nonzeros))
        for layer in range(1, size.layers + 1):
            # A layer passes on most of what the one before it has.
            new = rng.random(active.shape) < 0.3
            active = np.where(new, rng.integers(size.atoms, size=active.shape), active)
            weights = 1 + rng.random((*active.shape, 1), dtype=np.float32)
            tokens = (weights * directions[active]).sum(axis=1)
            tokens += 0.02 * rng.standard_normal(tokens.shape, dtype=np.float32)
            write_array(place / tokens_file(layer, part), tokens.astype(np.float32))
        ready = [
            Ready(
                f"{first + row:09d}.jpg",
                json.dumps({"caption": f"picture {first + row}", "label": f"class {row % 20}"}),
                f"{first + row:064x}",
                bytes(3000),
            )
            for row in range(n)
        ]
        write_table(place / image_part(part), image_parts.image_table(ready, []))
    scales = (1.0,) * (size.layers - 1)
    return Job(place, place, place, config, size.layers, n_parts, "", "", scales)


def run_stages(job: Job, size: Size) -> dict[str, tuple[float, float, float]]:
    """Run the stages after the tokens; return processor seconds, bytes and peak MB of each."""
    layers = range(1, size.layers + 1)
    blocks = range(graph_stages.n_blocks(size.atoms))
    pairs = [(layer, block) for layer in layers[1:] for block in blocks]
    facts: dict[str, list[dict[str, Any]]] = {}

    def dictionary() -> None:
        facts["d"] = [dictionary_stages.learn_dictionary(job, layer).facts for layer in layers]
        dictionary_stages.join_dictionaries(job, facts["d"])

    def codes() -> None:
        for layer in layers:
            for part in range(job.n_parts):
                stages.encode_part(job, layer, part)

    def graph() -> None:
        for layer, block in pairs:
            graph_stages.fit_block(job, layer, block)
        graph_stages.join_graph(job, pairs)

    def evaluation() -> None:
        facts["e"] = [graph_stages.evaluate_layer(job, layer).facts for layer in layers]
        graph_stages.join_evaluation(job, facts["e"])

    def names() -> None:
        for layer in layers:
            graph_stages.name_layer(job, layer)
        graph_stages.join_names(job)

    calls: dict[str, Callable[[], Any]] = {
        "split": lambda: stages.split_images(job),
        "dictionary": dictionary,
        "codes": codes,
        "graph": graph,
        "evaluation": evaluation,
        "names": names,
    }
    found = {}
    for stage, call in calls.items():
        before = _bytes(job.folder)
        forget_peak_memory()
        start = time.process_time()
        call()
        seconds = time.process_time() - start
        found[stage] = seconds, _bytes(job.folder) - before, peak_memory_mb()
    return found


def _bytes(place: Path) -> float:
    files = (p for p in place.rglob("*") if p.is_file())
    return float(sum(p.stat().st_size for p in files if stages.WORK not in p.parts))


def settings(size: Size, **dictionary: Any) -> BuildConfig:
    return BuildConfig(
        dictionary=DictionaryConfig(n_atoms=size.atoms, max_nnz=size.nonzeros, **dictionary),
        predictor=preset("paper").predictor,
    )


def growth(base: Size, method: str, steps: int) -> None:
    """Print how the time of each stage grows."""
    known: dict[Size, dict[str, tuple[float, float, float]]] = {}

    def run(size: Size) -> dict[str, tuple[float, float, float]]:
        if size not in known:
            with folder() as place:
                config = settings(size, method=method, steps=steps, nonnegative=method != "ksvd")
                known[size] = run_stages(write_tokens(place, size, config), size)
        return known[size]

    run(dataclasses.replace(base, images=max(1000, 3 * base.atoms)))  # compiles
    rows = []
    for what in ("images", "atoms", "nonzeros", "layers"):
        value = getattr(base, what)
        values = [2, 3, 5] if what == "layers" else [value // 2, value, value * 2]
        found = [run(dataclasses.replace(base, **{what: one})) for one in values]
        for stage in found[0]:
            times = [max(one[stage][0], 1e-4) for one in found]
            lengths = np.array(values) - (what == "layers" and stage == "graph")
            rows.append(
                {
                    "stage": stage,
                    "grows": what,
                    "sizes": " / ".join(f"{one:,}" for one in values),
                    "CPU s": " / ".join(f"{one:.2f}" for one in times),
                    "exponent": f"{np.polyfit(np.log(lengths), np.log(times), 1)[0]:.2f}",
                    "MB on disk": " / ".join(f"{one[stage][1] / 1e6:.2f}" for one in found),
                }
            )
    rows.sort(key=lambda row: list(found[0]).index(row["stage"]))
    print(f"Base: {base}, {method}, {steps} steps.\n\n{table(rows)}\n", flush=True)


def paper(counts: list[int], iterations: int) -> None:
    """Print what one more image costs at the size of the paper's recipe."""
    found = {}
    for n in [4500, *counts]:  # the first time compiles
        size = Size(images=n, atoms=3072, nonzeros=10, layers=2, width=768)
        config = settings(size, method="ksvd", steps=iterations, nonnegative=False)
        with folder() as place:
            found[n] = run_stages(write_tokens(place, size, config), size)
    rows = []
    for stage in found[counts[0]]:
        seconds, written, peaks = ([found[n][stage][place] for n in counts] for place in range(3))
        slope, rest = np.polyfit(counts, seconds, 1)
        rows.append(
            {
                "stage": stage,
                "images": " / ".join(f"{n:,}" for n in counts),
                "CPU s": " / ".join(f"{one:.2f}" for one in seconds),
                "µs an image": f"{1e6 * slope:.0f}",
                "s with none": f"{rest:.2f}",
                "bytes an image": f"{np.polyfit(counts, written, 1)[0]:.0f}",
                "peak MB": " / ".join(f"{one:.0f}" for one in peaks),
            }
        )
    print(
        f"Width 768, 3,072 atoms, ten nonzeros, 2 layers, {iterations} iterations of K-SVD.\n\n"
        f"{table(rows)}\n",
        flush=True,
    )


def write_clip(place: Path) -> Path:
    """Save random weights of exactly the size of the vision part of CLIP ViT-B/32."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=32,
        hidden_act="quick_gelu",
    )
    CLIPVisionModel(config).save_pretrained(place)
    (place / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor"})
    )
    return place


def write_photographs(place: Path, n: int) -> Path:
    """Write smooth noise of 500 × 375 pixels as JPEG files of some 60 kB."""
    rng = np.random.default_rng(0)
    place.mkdir()
    for number in range(n):
        small = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (place / f"{number:05d}.jpg").write_bytes(file.getvalue())
    return place


def tokens(counts: list[int], model: Path | None, images: Path | None) -> None:
    """Print what the token stage costs an image."""
    rows = []
    with folder() as place:
        weights = write_clip(place / "clip") if model is None else model
        pictures = (
            write_photographs(place / "photographs", max(counts)) if images is None else images
        )
        for n in [32, *counts]:  # the first time loads
            config = dataclasses.replace(
                BuildConfig(max_images=n),
                part_size=64,
                dictionary=DictionaryConfig(n_atoms=8, max_nnz=4),
            )
            out = place / f"study-{n}-{len(rows)}"
            out.mkdir()
            job, _ = prepare(weights, pictures, out, config)
            network = stages._model(job.model, job.model_fingerprint)
            forward, spent = network.class_tokens, [0.0]

            def timed(pixels: np.ndarray, forward: Any = forward, spent: Any = spent) -> np.ndarray:
                start = time.thread_time()
                result: np.ndarray = forward(pixels)
                spent[0] += time.thread_time() - start
                return result

            network.class_tokens = timed  # type: ignore[assignment,method-assign]
            forget_peak_memory()
            start = time.process_time()
            for part in range(job.n_parts):
                stages.collect_tokens(job, part)
            seconds = time.process_time() - start
            network.class_tokens = forward  # type: ignore[method-assign]
            written = sum(p.stat().st_size for p in (out / "tokens").rglob("*.npy"))
            rows.append(
                {
                    "images": n,
                    "CPU s": f"{seconds:.2f}",
                    "CPU ms an image": f"{1000 * seconds / n:.1f}",
                    "forward pass": f"{1000 * spent[0] / n:.1f}",
                    "feeding": f"{1000 * (seconds - spent[0]) / n:.2f}",
                    "forward, share": f"{spent[0] / seconds:.1%}",
                    "bytes an image": f"{written / n:.0f}",
                    "peak MB": f"{peak_memory_mb():.0f}",
                }
            )
    print(table(rows[1:]) + "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=["growth", "paper", "tokens"], nargs="+")
    parser.add_argument("--counts", type=int, nargs=3, help="numbers of images")
    parser.add_argument("--model", type=Path, help="in place of random weights")
    parser.add_argument("--images", type=Path, help="in place of drawn photographs")
    parser.add_argument("--iterations", type=int, default=2, help="of K-SVD")
    options = parser.parse_args()
    print(f"Measured on: {describe()}.\n", flush=True)
    with single_thread():
        for part in options.part or ("tokens", "growth", "paper"):
            if part == "growth":
                growth(Size(), "topk-sae", 300)
            elif part == "paper":
                paper(options.counts or [10_000, 15_000, 20_000], options.iterations)
            else:
                tokens(options.counts or [64, 128, 256], options.model, options.images)


if __name__ == "__main__":
    main()
