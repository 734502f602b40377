"""Tests of plain matching pursuit: a slow clear version, hand-computed cases, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.matching_pursuit import mp
from cgraph.pursuit import omp


def _problem(seed, n_samples=60, n_atoms=30, n_features=12):
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((n_atoms, n_features))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return rng.standard_normal((n_samples, n_features)).astype(np.float32), atoms.astype(np.float32)


def _dense(indices, coefficients, n_atoms):
    codes = np.zeros((len(indices), n_atoms))
    for row, atoms, values in zip(codes, indices, coefficients, strict=True):
        row[atoms[atoms >= 0]] = values[atoms >= 0]
    return codes


def _slow(token, atoms, max_nnz, nonnegative, tolerance, max_steps):
    """Recompute every correlation from the residual, in double precision."""
    token, atoms = token.astype(float), atoms.astype(float)
    code, residual = np.zeros(len(atoms)), token.copy()
    for _ in range(max_steps):
        correlations = atoms @ residual
        j = int((correlations if nonnegative else np.abs(correlations)).argmax())
        if nonnegative and correlations[j] <= 0:
            break
        if code[j] == 0 and (code != 0).sum() == max_nnz:
            break
        code[j] += correlations[j]
        residual = token - code @ atoms
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(token):
            break
    return code


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("n_atoms", "max_nnz", "tolerance"), [(30, 5, 0), (600, 8, 0.3)])
def test_codes_equal_those_of_a_slow_clear_version(nonnegative, n_atoms, max_nnz, tolerance):
    tokens, atoms = _problem(1, 100, n_atoms)
    found = mp(tokens, atoms, max_nnz, nonnegative=nonnegative, tolerance=tolerance, block_size=32)
    slow = np.array(
        [_slow(token, atoms, max_nnz, nonnegative, tolerance, 10 * max_nnz) for token in tokens]
    )
    codes = _dense(*found, n_atoms)
    np.testing.assert_array_equal(codes != 0, slow != 0)
    np.testing.assert_allclose(codes, slow, rtol=1e-3, atol=1e-4)


OBLIQUE = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)


def test_an_atom_is_taken_again_to_mend_its_coefficient():
    # (2, 1) has 2 and 2 along the two atoms; the first wins, and leaves (0, 1), which has 0.8
    # along the second; that leaves (-0.48, 0.36), which has -0.48 along the first again.
    for steps, expected in ((1, [2, 0]), (2, [2, 0.8]), (3, [1.52, 0.8])):
        indices, coefficients = mp([[2, 1]], OBLIQUE, 2, max_steps=steps)
        np.testing.assert_allclose(_dense(indices, coefficients, 2)[0], expected, rtol=1e-5)
    # Least squares has 1.25 and 1.25: (2, 1) = 1.25 * (1, 0) + 1.25 * (0.6, 0.8).
    np.testing.assert_allclose(omp([[2, 1]], OBLIQUE, 2)[1], [[1.25, 1.25]], rtol=1e-5)
    limit = mp([[2, 1]], OBLIQUE, 2, max_steps=100)[1]
    np.testing.assert_allclose(limit, [[1.25, 1.25]], rtol=1e-4)


def test_nonnegative_coefficients_only_grow():
    np.testing.assert_allclose(mp([[2, 1]], OBLIQUE, 2, nonnegative=True)[1], [[2, 0.8]], rtol=1e-5)
    indices, coefficients = mp([[-1, -1]], OBLIQUE, 2, nonnegative=True)
    assert (indices == -1).all() and (coefficients == 0).all()


def test_on_orthogonal_atoms_it_is_orthogonal_matching_pursuit():
    rng = np.random.default_rng(0)
    atoms = np.linalg.qr(rng.standard_normal((12, 12)))[0].astype(np.float32)
    tokens = rng.standard_normal((50, 12)).astype(np.float32)
    for nonnegative in (False, True):
        plain = mp(tokens, atoms, 5, nonnegative=nonnegative)
        orthogonal = omp(tokens, atoms, 5, nonnegative=nonnegative)
        np.testing.assert_array_equal(plain[0], orthogonal[0])
        np.testing.assert_allclose(plain[1], orthogonal[1], atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 6))
def test_it_explains_more_with_every_atom_and_never_more_than_least_squares(seed, nonneg, nnz):
    tokens, atoms = _problem(seed, 4, 16, 8)
    indices, coefficients = mp(tokens, atoms, nnz, nonnegative=nonneg)
    assert ((indices >= 0) == (coefficients != 0)).all()
    assert not nonneg or (coefficients >= 0).all()
    codes = _dense(indices, coefficients, 16)
    assert ((codes != 0).sum(axis=1) == (indices >= 0).sum(axis=1)).all()
    left = np.linalg.norm(tokens - codes @ atoms, axis=1)
    assert (left <= np.linalg.norm(tokens, axis=1) + 1e-5).all()
    for token, row, norm in zip(tokens, codes, left, strict=True):
        support = np.flatnonzero(row)
        best = np.linalg.lstsq(atoms[support].T.astype(float), token.astype(float))[0]
        assert norm >= np.linalg.norm(token - best @ atoms[support]) - 1e-5


def test_blocks_have_the_same_bits_alone():
    tokens, atoms = _problem(2, 96)
    whole = mp(tokens, atoms, 5, block_size=32)
    parts = zip(*(mp(part, atoms, 5, block_size=32) for part in np.split(tokens, 3)), strict=True)
    for together, pieces in zip(whole, parts, strict=True):
        assert together.tobytes() == np.concatenate(pieces).tobytes()


def test_wrong_input_is_refused_in_a_sentence():
    with pytest.raises(DataError, match="max_steps is 0; it must be at least 1, or None"):
        mp(np.eye(3), np.eye(3), 2, max_steps=0)
    with pytest.raises(DataError, match="3 of 3 atoms are not of unit norm"):
        mp(np.eye(3), 2 * np.eye(3), 2)
