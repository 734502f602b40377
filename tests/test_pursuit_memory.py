"""Tests that a pursuit's memory is bounded by its blocks, not by the number of tokens."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from cgraph.matching_pursuit import mp
from cgraph.pursuit import omp


def _problem(n_samples, n_atoms, n_features):
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((n_atoms, n_features), dtype=np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return rng.standard_normal((n_samples, n_features), dtype=np.float32), atoms


@pytest.mark.parametrize("pursuit", [omp, mp])
def test_memory_beyond_tokens_and_codes_is_that_of_a_block(pursuit):
    n_atoms, n_features, nnz, block = 512, 64, 4, 128
    peaks = {}
    for n_samples in (4000, 16_000):
        tokens, atoms = _problem(n_samples, n_atoms, n_features)
        pursuit(tokens[:10], atoms, nnz)  # compiled before anything is counted
        tracemalloc.start()
        codes = pursuit(tokens, atoms, nnz, block_size=block)
        peaks[n_samples] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(part.nbytes for part in codes) == n_samples * nnz * 8
    # The check for finite numbers takes a byte for each and is gone before codes are there.
    gram, correlations = 4 * n_atoms**2, 4 * block * n_atoms
    for n_samples, peak in peaks.items():
        codes = n_samples * nnz * 8
        assert peak <= max(codes + 1.5 * (gram + correlations), 1.1 * n_samples * n_features) + 1e5
    # All correlations at once would take 32 MB.
    assert peaks[16_000] < 4 * 16_000 * n_atoms / 8


_AT_FULL_SIZE = """
import numpy as np
from cgraph.pursuit import omp
from cgraph.receipts import peak_memory_mb
rng = np.random.default_rng(0)
atoms = rng.standard_normal((3072, 768), dtype=np.float32)
atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
tokens = rng.standard_normal((100_000, 768), dtype=np.float32)
indices, _ = omp(tokens, atoms, 10)
assert (indices >= 0).all()
print(peak_memory_mb() * 2**20)
"""


@pytest.mark.slow
def test_100_000_tokens_and_3_072_atoms_take_less_than_a_gigabyte():
    """The whole process: interpreter, libraries, tokens, atoms, codes."""
    done = subprocess.run(
        [sys.executable, "-c", _AT_FULL_SIZE], capture_output=True, text=True, check=True
    )
    print(f"{float(done.stdout) / 1e6:.0f} MB")
    assert 0 < float(done.stdout) <= 1_000_000_000
