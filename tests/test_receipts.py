"""What finished parts of a build leave behind."""

import subprocess
import sys

import numpy as np
import pytest

from cgraph.receipts import peak_memory_mb


def test_peak_memory_counts_what_is_held():
    before = peak_memory_mb()
    held = np.ones(int((before + 100) * 2**20) // 8)
    assert peak_memory_mb() >= held.nbytes / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child does not inherit the peak")
def test_peak_memory_of_a_worker_is_its_own():
    held = np.ones(400 * 2**20 // 8)
    program = "from cgraph.receipts import peak_memory_mb; print(peak_memory_mb())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 5 < float(done.stdout) < held.nbytes / 2**20
