"""Ten times more images take no more memory, in any stage.

The small test counts every allocation of each stage exactly, on tokens that no model made. The slow
one builds studies of 2,000 and of 20,000 images in processes of their own, the second within the
address space of the first.
"""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from PIL import Image

from cgraph import (
    dealing,
    dictionary_stages,
    example_stages,
    graph_stages,
    image_parts,
    row_samples,
    stages,
)
from cgraph.config import BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.manifest import tokens_file
from cgraph.stages import Job
from cgraph.store import write_array, write_table
from cgraph.token_feed import Ready

WIDTH, PART = 64, 250

CONFIG = BuildConfig(
    part_size=PART,
    thumbnail_px=32,
    dictionary=DictionaryConfig(n_atoms=16, max_nnz=4, steps=100, max_tokens=600),
    predictor=PredictorConfig(n_bags=3, min_positives=10, max_train=600, max_measured=200),
)

CONSTANTS = {
    (dealing, "AT_ONCE"): 500,
    (image_parts, "BATCH_BYTES"): 200_000,
    (graph_stages, "_ALL_ATTRIBUTES"): 200,
    (example_stages, "MAX_CANDIDATES"): 200,
    (row_samples, "_CHUNK"): 1000,
}
"""What is held at a time where no setting says so, made as small as the settings here are."""


class _Pictures:
    def __init__(self, n):
        self.image_ids = [f"image {row:06d}" for row in range(n)]

    def picture(self, row, size):
        return Image.new("RGB", (size, size))


def _write_parts(folder: Path, n: int) -> Job:
    """Write what the token stage would have: two layers of tokens in a few directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((12, WIDTH)).astype(np.float32)
    n_parts = n // PART
    for part in range(n_parts):
        active = rng.random((PART, 12)) < 0.25
        for layer in (1, 2):
            noise = 0.1 * rng.standard_normal((PART, WIDTH))
            tokens = ((1 + active) * active) @ directions + noise
            write_array(folder / tokens_file(layer, part), tokens.astype(np.float32))
        rows = range(part * PART, (part + 1) * PART)
        ready = [
            Ready(
                f"image {row:06d}",
                json.dumps(
                    {"caption": f"a caption of image {row}", "first": bool(active[place, 0])}
                ),
                f"{row:064d}",
                rng.bytes(800),
            )
            for place, row in enumerate(rows)
        ]
        write_table(folder / stages.image_part(part), image_parts.image_table(ready, []))
    return Job(folder, folder, folder, CONFIG, 2, n_parts, "", "", (1.0,))


def _peaks(job: Job) -> dict[str, float]:
    """Run every stage after the tokens; return the most bytes that each has held at a time."""
    facts = {}

    def evaluate():
        facts["layers"] = [graph_stages.evaluate_layer(job, layer).facts for layer in (1, 2)]

    def learn():
        found = [dictionary_stages.learn_dictionary(job, layer).facts for layer in (1, 2)]
        dictionary_stages.join_dictionaries(job, found)

    def encode():
        for layer in (1, 2):
            for part in range(job.n_parts):
                stages.encode_part(job, layer, part)

    def name():
        for layer in (1, 2):
            graph_stages.name_layer(job, layer)
        graph_stages.join_names(job)

    calls = {
        "split": lambda: stages.split_images(job),
        "dictionary": learn,
        "codes": encode,
        "graph": lambda: graph_stages.fit_block(job, 2, 0),
        "join graph": lambda: graph_stages.join_graph(job, [(2, 0)]),
        "evaluation": evaluate,
        "join evaluation": lambda: graph_stages.join_evaluation(
            job, [fact["layer"] and fact for fact in facts["layers"]]
        ),
        "names": name,
        "examples": lambda: example_stages.store_examples(job, "study"),
    }
    found = {}
    default = pa.default_memory_pool()
    for stage, call in calls.items():
        pool = pa.proxy_memory_pool(default)
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            call()
            found[stage] = tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(default)
    return found


def test_no_stage_holds_more_for_ten_times_more_images(tmp_path, monkeypatch):
    for (module, name), value in CONSTANTS.items():
        monkeypatch.setattr(module, name, value)
    few, many = 1500, 15_000
    peaks = {}
    for n in (few, few, many):  # the first time also loads and compiles
        folder = tmp_path / f"{n}-{len(peaks)}"
        job = _write_parts(folder, n)
        pictures = _Pictures(n)
        monkeypatch.setattr(example_stages, "images_of", lambda _, pictures=pictures: pictures)
        peaks[n] = _peaks(job)
    growth = {stage: peaks[many][stage] - peaks[few][stage] for stage in peaks[few]}
    # Where a byte or two an image are held, they are named in docs/scale.md: the part of the split
    # (1 byte, and as many truth values), and the number and length of each part on disk.
    bound = 12 * (many - few)
    assert max(growth.values()) < bound, growth
    # Any table of all images would not pass: a layer of tokens alone has 256 bytes an image.
    assert bound < 4 * WIDTH * (many - few) / 20


_BUILD = """
import json, resource, sys
from cgraph import dealing, example_stages, graph_stages, image_parts, row_samples
from cgraph.config import BuildConfig
from cgraph.pipeline import build_study

def peak_of_address_space():
    for line in open("/proc/self/status"):
        if line.startswith("VmPeak:"):
            return int(line.split()[1]) * 1024

if __name__ == "__main__":
    model, images, out, config, limit = sys.argv[1:]
    dealing.AT_ONCE, image_parts.BATCH_BYTES = 2000, 2**21
    graph_stages._ALL_ATTRIBUTES = example_stages.MAX_CANDIDATES = 1000
    if int(limit):
        resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    build_study(model, images, out, BuildConfig.from_dict(json.loads(config)), workers=1)
    print(peak_of_address_space())
"""


def _write_pictures(path: Path, n: int) -> Path:
    """Write a Parquet file of small pictures, each another one, with captions."""
    import io

    rng = np.random.default_rng(0)
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("caption", pa.string()),
            ("ground", pa.string()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, 500):
            rows = []
            for number in range(start, start + 500):
                ground, image = tiny.picture(rng)
                file = io.BytesIO()
                image.save(file, "PNG", compress_level=1)
                rows.append(
                    {
                        "image": {"bytes": file.getvalue(), "path": f"{number:06d}.png"},
                        "caption": f"picture {number}: something round on {ground}",
                        "ground": ground,
                    }
                )
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks and limits are read from Linux")
def test_a_build_of_ten_times_more_images_in_the_same_memory(tmp_path):
    model = tiny.write_model(tmp_path / "model", width=768, n_layers=2)
    settings = CONFIG.to_dict() | {"part_size": 500}
    settings["dictionary"]["max_tokens"] = settings["predictor"]["max_train"] = 1400
    config, script = json.dumps(settings), tmp_path / "builder.py"
    script.write_text(_BUILD)
    peaks, limit = {}, 0
    for n in (2000, 20_000):
        images = _write_pictures(tmp_path / f"{n}.parquet", n)
        out = tmp_path / f"study-{n}"
        arguments = [sys.executable, str(script), str(model), str(images), str(out), config]
        done = subprocess.run([*arguments, str(limit)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        limit = int(done.stdout.split()[-1]) + 48 * 2**20
        stages_of = json.loads((out / "build.json").read_text())["stages"]
        peaks[n] = {entry["stage"]: entry["peak_memory_mb"] for entry in stages_of}
    growth = {stage: peaks[20_000][stage] - peaks[2000][stage] for stage in peaks[2000]}
    print(peaks)
    # The tokens of one layer alone have 61 MB, in double precision 123. What is left is the list of
    # the images, and memory that allocators keep.
    assert max(growth.values()) < 40, growth
