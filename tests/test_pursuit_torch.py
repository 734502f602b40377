"""Tests of the pursuit in torch: it takes the atoms that the compiled pursuit takes."""

from __future__ import annotations

import numpy as np
import pytest

from cgraph.errors import ConfigError
from cgraph.pursuit import omp

torch = pytest.importorskip("torch")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def _problem(seed, n_samples, n_atoms, n_features, common=0.0):
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((n_atoms, n_features)) + common
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    tokens = rng.standard_normal((n_samples, n_features)) + common
    return tokens.astype(np.float32), atoms.astype(np.float32)


def _tied(tokens, atoms, indices, nonnegative):
    """Tokens in which the two best atoms of some step of the pursuit are equal to rounding."""
    found = np.zeros(len(tokens), dtype=bool)
    for row, (token, support) in enumerate(zip(tokens.astype(float), indices, strict=True)):
        for n in range((support >= 0).sum()):
            chosen = atoms[support[:n]].T.astype(float)
            residual = token - chosen @ np.linalg.lstsq(chosen, token)[0] if n else token
            sizes = atoms @ residual if nonnegative else np.abs(atoms @ residual)
            second, first = np.partition(sizes, -2)[-2:]
            found[row] |= first - second < 1e-5 * first
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.4])
@pytest.mark.parametrize(
    ("n_atoms", "n_features", "max_nnz", "common"),
    [(30, 12, 1, 0), (30, 12, 8, 0), (25, 12, 12, 0.3), (8, 40, 8, 0), (300, 64, 10, 0.1)],
)
def test_codes_equal_those_of_the_compiled_pursuit(
    device, nonnegative, tolerance, n_atoms, n_features, max_nnz, common
):
    tokens, atoms = _problem(max_nnz, 300, n_atoms, n_features, common)
    options = {"nonnegative": nonnegative, "tolerance": tolerance}
    expected = omp(tokens, atoms, max_nnz, **options)
    found = omp(tokens, atoms, max_nnz, device=device, block_size=128, **options)
    assert [part.dtype for part in found] == [np.int32, np.float32]
    clear = ~_tied(tokens, atoms, expected[0], nonnegative)
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(found[0][clear], expected[0][clear])
    np.testing.assert_allclose(found[1][clear], expected[1][clear], rtol=1e-4, atol=1e-5)


DIAGONAL_AND_AXES = np.array([[1, 1, 1], [3**0.5, 0, 0], [0, 3**0.5, 0]]) / 3**0.5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("token", "nonnegative", "expected"),
    [
        ([0, 0, 0], False, [-1, -1, -1]),
        ([0, 0, 0], True, [-1, -1, -1]),
        ([-1, -2, -3], True, [-1, -1, -1]),
        # The diagonal is taken first, and leaves as its coefficient turns negative.
        ([1, 1, -0.1], True, [1, 2, -1]),
        ([1, 1, -0.1], False, [0, 1, 2]),
        # The diagonal is taken first, and its coefficient ends at zero.
        ([1, 1, 0], False, [1, 2, -1]),
    ],
)
def test_hand_computed_cases(device, token, nonnegative, expected):
    tokens = np.array([token, [5, 0, 0]])
    indices, coefficients = omp(
        tokens, DIAGONAL_AND_AXES, 3, nonnegative=nonnegative, device=device
    )
    np.testing.assert_array_equal(indices, [expected, [1, -1, -1]])
    assert ((coefficients != 0) == (indices >= 0)).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nonnegative", [False, True])
def test_dependent_atoms_are_never_taken_together(device, nonnegative):
    tokens, plane = _problem(3, 40, 2, 12)
    mixed = np.random.default_rng(0).uniform(0.1, 1, (20, 2)) @ plane
    atoms = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    indices, _ = omp(tokens, np.vstack([atoms, atoms]), 6, nonnegative=nonnegative, device=device)
    assert (indices >= 0).sum(axis=1).max() == 2


@pytest.mark.parametrize("device", DEVICES)
def test_longer_blocks_change_no_support(device):
    tokens, atoms = _problem(2, 150, 30, 12)
    one, two = (omp(tokens, atoms, 5, device=device, block_size=size) for size in (7, 1000))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_allclose(one[1], two[1], rtol=1e-5)


def test_no_tokens_have_no_codes():
    indices, coefficients = omp(np.zeros((0, 3)), DIAGONAL_AND_AXES, 2, device="cpu")
    assert indices.shape == coefficients.shape == (0, 2)


def test_a_device_that_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(
        ConfigError, match=r"The device 'abacus' cannot be used: .*Use 'cuda' where"
    ):
        omp(np.eye(3), np.eye(3), 2, device="abacus")
