"""How far off estimates are: ``python tests/benchmarks/estimates.py MODEL IMAGES [OPTION ...]``.

The build is estimated from sizes alone, then measured as ``cgraph build`` does before it starts,
and then really made, in a temporary folder; further options are those of ``cgraph build``. Times
are by the clock, so other work on the machine counts: its load is printed, and the processor time,
which that touches less, beside what follows from sizes alone.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cgraph import job_status, processes
from cgraph.build_estimate import Estimate, rough_estimate
from cgraph.cli import _parser
from cgraph.cost_model import REFERENCE
from cgraph.images import open_images
from cgraph.job_commands import config_of
from cgraph.manifest import STAGES


def main(arguments: list[str]) -> None:
    """Estimate, build, and print a table."""
    model, images, *options = arguments
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "study"
        given = ["build", "--model", model, "--images", images, "--out", str(folder), *options]
        parsed = _parser().parse_args(given)
        workers = parsed.workers or os.cpu_count() or 1
        places = (model, len(open_images(images)), folder, config_of(parsed))
        rough, alone = (rough_estimate(*places, n) for n in (workers, 1))
        peak = [0.0, 0.0]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "cgraph.cli", *given])
        watcher = threading.Thread(target=_watch, args=(process, folder, peak), daemon=True)
        watcher.start()
        assert process.wait() == 0
        seconds = time.perf_counter() - began
        watcher.join()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        job = job_status.status(folder)
        assert job is not None
        measured = Estimate.from_dict(job.estimate)
        times = job_status.stage_times(folder)
        done = [file for file in folder.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in done) / 2**20
    print(f"load {os.getloadavg()}, {workers} workers: {' '.join(arguments)}")
    print("| | from sizes alone | measured before | real |\n| --- | --- | --- | --- |")
    for stage in STAGES:
        row = (rough.stages[stage], measured.stages[stage], times[stage])
        print(f"| {stage} | {' | '.join(f'{value:.1f} s' for value in row)} |")
    starts = REFERENCE.process_start * (1 + (6 * workers if workers > 1 else 0))
    foretold = sum(alone.stages.values()) + starts
    print(f"| processor | {foretold:.0f} s | | {used.ru_utime + used.ru_stime:.0f} s |")
    spans = [f"{e.seconds_low:.0f} to {e.seconds_high:.0f} s" for e in (rough, measured)]
    print(f"| all | {' | '.join(spans)} | {seconds:.0f} s |")
    print(f"| memory | {rough.memory_mb:.0f} MB | {measured.memory_mb:.0f} MB | {peak[0]:.0f} MB |")
    print(f"| disk | {rough.disk_mb:.1f} MB | {measured.disk_mb:.1f} MB | {size:.1f} MB |")
    most = f"{rough.disk_peak_mb:.1f} MB | {measured.disk_peak_mb:.1f} MB | {peak[1]:.1f} MB"
    print(f"| disk meanwhile | {most} |")


def _watch(process: subprocess.Popen[bytes], folder: Path, peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], processes.memory_mb(process.pid) or 0.0)
        total = 0
        for file in folder.rglob("*"):
            try:
                total += file.stat().st_size if file.is_file() else 0
            except OSError:
                continue
        peak[1] = max(peak[1], total / 2**20)
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1:])
