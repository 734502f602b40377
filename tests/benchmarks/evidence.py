"""The class token's row against whole blocks: ``python -m tests.benchmarks.evidence MODEL``.

Random changes of the class token of images of noise, at every block from the second on.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cgraph.class_row import NextBlock, run_again
from cgraph.vit import VisionModel
from tests.benchmarks.machine import describe, table

N_IMAGES, N_ROWS, N_WHOLE = 4, 150, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder of a vision transformer")
    import torch

    torch.set_num_threads(1)
    model = VisionModel.load(parser.parse_args().model)
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((N_IMAGES, *model.pixel_shape), dtype=np.float32)
    rows = []

    def visit(block: NextBlock) -> None:
        size = block.before.std()
        added = rng.normal(0, size, (N_ROWS, model.d_model)).astype(np.float32)
        seconds, answers = [], []
        for run, n in ((block.rerun, N_ROWS), (block.whole, N_WHOLE)):
            began = time.process_time()
            found = [run(place, added[:n]) for place in range(N_IMAGES)]
            seconds.append((time.process_time() - began) / n / N_IMAGES)
            answers.append(np.stack([part[:N_WHOLE] for part in found]))
        error = np.abs(answers[0] - answers[1]).max()
        rows.append(
            {
                "layer": block.layer,
                "by row": block.by_row,
                "row µs": round(seconds[0] * 1e6, 1),
                "whole µs": round(seconds[1] * 1e6, 1),
                "times": round(seconds[1] / seconds[0], 1),
                "largest difference": f"{error:.1e}",
                "largest number": round(float(np.abs(block.after).max()), 1),
            }
        )

    run_again(model, pixels, visit)
    print(f"Measured on: {describe()}.\n\n{table(rows)}")


if __name__ == "__main__":
    main()
