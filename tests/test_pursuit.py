"""Tests of the matching pursuit: parity with scikit-learn and SciPy, brute force, properties."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from scipy.optimize import nnls
from sklearn.linear_model import orthogonal_mp

from cgraph.errors import DataError
from cgraph.pursuit import omp


def _unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _problem(seed, n_samples=40, n_atoms=30, n_features=12):
    rng = np.random.default_rng(seed)
    atoms = _unit(rng.standard_normal((n_atoms, n_features)))
    return rng.standard_normal((n_samples, n_features)).astype(np.float32), atoms


def _dense(indices, coefficients, n_atoms):
    codes = np.zeros((len(indices), n_atoms))
    for row, atoms, values in zip(codes, indices, coefficients, strict=True):
        row[atoms[atoms >= 0]] = values[atoms >= 0]
    return codes


def _residual_norms(tokens, atoms, indices, coefficients):
    return np.linalg.norm(tokens - _dense(indices, coefficients, len(atoms)) @ atoms, axis=1)


def _slow_nonnegative_omp(token, atoms, max_nnz):
    """Take the atom of the largest positive correlation, solve by SciPy, drop zeros, repeat."""
    token, atoms = token.astype(float), atoms.astype(float)
    support, x = [], np.zeros(0)
    while len(support) < max_nnz:
        correlations = atoms @ (token - x @ atoms[support])
        correlations[support] = 0
        if correlations.max() <= 1e-6 * np.linalg.norm(token):
            break
        support.append(int(correlations.argmax()))
        x, _ = nnls(atoms[support].T, token)
        support, x = [j for j, value in zip(support, x, strict=True) if value > 0], x[x > 0]
    code = np.zeros(len(atoms))
    code[support] = x
    return code


# Every atom of the first basis has the same cosine, 1/4, with all of the second. Below
# (1 + 4) / 2 nonzeros the pursuit provably finds the sparsest code (Tropp 2004).
TWO_BASES = np.vstack([np.eye(16), hadamard(16) / 4]).astype(np.float32)


@pytest.mark.parametrize(
    ("n_atoms", "n_features", "max_nnz"), [(30, 12, 1), (30, 12, 5), (30, 12, 12), (8, 40, 8)]
)
def test_signed_codes_equal_those_of_scikit_learn(n_atoms, n_features, max_nnz):
    tokens, atoms = _problem(max_nnz, 200, n_atoms, n_features)
    codes = _dense(*omp(tokens, atoms, max_nnz), n_atoms)
    theirs = orthogonal_mp(atoms.T.astype(float), tokens.T.astype(float), n_nonzero_coefs=max_nnz).T
    np.testing.assert_array_equal(codes != 0, theirs != 0)
    np.testing.assert_allclose(codes, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_nnz", [1, 3, 6, 12])
def test_nonnegative_codes_equal_a_slow_pursuit(max_nnz):
    # Few atoms and a common direction: tokens leave the cone, and atoms leave the support.
    tokens, atoms = _problem(5, 200, 25, 12)
    atoms = _unit(atoms + 0.3)
    codes = _dense(*omp(tokens, atoms, max_nnz, nonnegative=True), 25)
    slow = np.array([_slow_nonnegative_omp(token, atoms, max_nnz) for token in tokens])
    np.testing.assert_array_equal(codes != 0, slow != 0)
    np.testing.assert_allclose(codes, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_nonnegative_codes_of_full_length_solve_nonnegative_least_squares(seed):
    tokens, atoms = _problem(seed, 100, 15, 20)
    codes = _dense(*omp(tokens, atoms, 15, nonnegative=True), 15)
    solution = np.array([nnls(atoms.T.astype(float), token.astype(float))[0] for token in tokens])
    assert 0 < (solution > 0).mean() < 1
    np.testing.assert_array_equal(codes > 0, solution > 0)
    np.testing.assert_allclose(codes, solution, atol=1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_planted_codes_on_two_bases_are_the_best_of_all_pairs(nonnegative):
    rng = np.random.default_rng(0)
    for _ in range(10):
        pair = np.sort(rng.choice(32, 2, replace=False))
        weights = rng.uniform(0.5, 1.5, 2) * (1 if nonnegative else rng.choice([-1, 1], 2))
        token = (weights @ TWO_BASES[pair]).astype(np.float32)
        errors = {
            support: nnls(TWO_BASES[list(support)].T, token)[1]
            if nonnegative
            else np.linalg.norm(
                token
                - np.linalg.lstsq(TWO_BASES[list(support)].T, token)[0] @ TWO_BASES[list(support)]
            )
            for support in combinations(range(32), 2)
        }
        assert min(errors, key=errors.get) == tuple(pair)
        indices, coefficients = omp(token[None], TWO_BASES, 8, nonnegative=nonnegative)
        found = _dense(indices, coefficients, 32)[0]
        np.testing.assert_array_equal(np.flatnonzero(found), pair)
        np.testing.assert_allclose(found[pair], weights, rtol=1e-5)


DIAGONAL_AND_AXES = np.array([[1, 1, 1], [3**0.5, 0, 0], [0, 3**0.5, 0]]) / 3**0.5


def test_an_atom_whose_coefficient_turns_negative_leaves_the_support():
    # The diagonal is taken first, but the three atoms fit (1, 1, -0.1) with -0.17 times it.
    indices, coefficients = omp([[1, 1, -0.1]], DIAGONAL_AND_AXES, 3, nonnegative=True)
    np.testing.assert_array_equal(indices, [[1, 2, -1]])
    np.testing.assert_allclose(coefficients, [[1, 1, 0]], rtol=1e-6)
    indices, coefficients = omp([[1, 1, -0.1]], DIAGONAL_AND_AXES, 3)
    np.testing.assert_array_equal(indices, [[0, 1, 2]])
    np.testing.assert_allclose(coefficients, [[-0.1 * 3**0.5, 1.1, 1.1]], rtol=1e-5)


def test_an_atom_whose_coefficient_ends_at_zero_is_left_out():
    indices, coefficients = omp([[1, 1, 0]], DIAGONAL_AND_AXES, 3)
    np.testing.assert_array_equal(indices, [[1, 2, -1]])
    np.testing.assert_allclose(coefficients, [[1, 1, 0]], rtol=1e-6)


def test_nonnegative_code_is_empty_where_all_correlations_are_negative():
    indices, coefficients = omp([[-1, -2, -3]], DIAGONAL_AND_AXES, 2, nonnegative=True)
    assert (indices == -1).all()
    assert (coefficients == 0).all()


@pytest.mark.parametrize("nonnegative", [False, True])
def test_zero_token_has_the_empty_code(nonnegative):
    indices, coefficients = omp(np.zeros((2, 3)), DIAGONAL_AND_AXES, 2, nonnegative=nonnegative)
    assert (indices == -1).all()
    assert (coefficients == 0).all()


@pytest.mark.parametrize("nonnegative", [False, True])
def test_linearly_dependent_atoms_are_never_taken_together(nonnegative):
    tokens, plane = _problem(3, n_atoms=2)
    atoms = _unit(np.random.default_rng(0).uniform(0.1, 1, (20, 2)) @ plane)
    indices, _ = omp(tokens, np.vstack([atoms, atoms]), 6, nonnegative=nonnegative)
    lengths = (indices >= 0).sum(axis=1)
    assert lengths.max() == 2
    for row in indices:
        taken = row[row >= 0] % 20
        assert len(set(taken)) == len(taken)


def test_an_atom_that_nearly_repeats_another_is_not_taken_for_huge_coefficients():
    atoms = _unit(np.array([[1, 0, 0], [1, 1e-4, 0]]))
    indices, coefficients = omp([[10, -1, 0]], atoms, 2)
    np.testing.assert_array_equal(indices, [[0, -1]])
    np.testing.assert_allclose(coefficients, [[10, 0]])


def test_tolerance_stops_as_soon_as_the_residual_is_small_enough():
    tokens, atoms = _problem(1, n_samples=100)
    indices, coefficients = omp(tokens, atoms, 12, tolerance=0.3)
    allowed = 0.3 * np.linalg.norm(tokens, axis=1)
    lengths = (indices >= 0).sum(axis=1)
    assert len(set(lengths)) > 2
    assert (_residual_norms(tokens, atoms, indices, coefficients) <= allowed * 1.0001).all()
    for token, length, limit in zip(tokens, lengths, allowed, strict=True):
        shorter = omp(token[None], atoms, max(length - 1, 1))
        if length > 1:
            assert _residual_norms(token[None], atoms, *shorter)[0] > limit


@pytest.mark.parametrize("nonnegative", [False, True])
def test_pieces_cut_at_block_borders_have_the_same_bits(nonnegative):
    tokens, atoms = _problem(2, n_samples=150)
    whole = omp(tokens, atoms, 5, nonnegative=nonnegative, block_size=32)
    pieces = [
        omp(piece, atoms, 5, nonnegative=nonnegative, block_size=32)
        for piece in np.split(tokens, [32, 96, 128])
    ]
    for together, parts in zip(whole, zip(*pieces, strict=True), strict=True):
        assert together.tobytes() == np.concatenate(parts).tobytes()


def test_given_gram_matrix_changes_nothing():
    tokens, atoms = _problem(4)
    for mine, given_ in zip(
        omp(tokens, atoms, 5), omp(tokens, atoms, 5, gram=atoms @ atoms.T), strict=True
    ):
        assert mine.tobytes() == given_.tobytes()


def test_no_tokens_have_no_codes():
    indices, coefficients = omp(np.zeros((0, 3)), DIAGONAL_AND_AXES, 2)
    assert indices.shape == coefficients.shape == (0, 2)
    assert (indices.dtype, coefficients.dtype) == (np.int32, np.float32)


problems = st.builds(
    _problem,
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.just(4),
    n_atoms=st.integers(6, 24),
    n_features=st.integers(6, 16),
)


@settings(deadline=None)
@given(problems, st.booleans())
def test_longer_codes_never_leave_a_larger_residual(problem, nonnegative):
    tokens, atoms = problem
    previous = np.linalg.norm(tokens, axis=1)
    for max_nnz in range(1, 7):
        code = omp(tokens, atoms, max_nnz, nonnegative=nonnegative)
        norms = _residual_norms(tokens, atoms, *code)
        assert (norms <= previous + 1e-5).all()
        previous = norms


@settings(deadline=None)
@given(problems)
def test_signed_codes_are_nested(problem):
    tokens, atoms = problem
    indices, _ = omp(tokens, atoms, 6)
    for max_nnz in range(1, 6):
        np.testing.assert_array_equal(omp(tokens, atoms, max_nnz)[0], indices[:, :max_nnz])


@settings(deadline=None)
@given(problems, st.booleans())
def test_residual_is_orthogonal_to_the_atoms_taken(problem, nonnegative):
    tokens, atoms = problem
    indices, coefficients = omp(tokens, atoms, 5, nonnegative=nonnegative)
    assert not nonnegative or (coefficients >= 0).all()
    assert ((indices >= 0) == (coefficients != 0)).all()
    codes = _dense(indices, coefficients, len(atoms))
    assert ((codes != 0).sum(axis=1) == (indices >= 0).sum(axis=1)).all()
    correlations = (tokens - codes @ atoms) @ atoms.T
    sizes = np.abs(codes).sum(axis=1, keepdims=True) + 1
    assert np.abs(correlations / sizes)[codes != 0].max(initial=0) < 1e-5


@settings(deadline=None)
@given(problems, st.booleans(), st.randoms(use_true_random=False))
def test_permuted_atoms_permute_the_codes(problem, nonnegative, random):
    tokens, atoms = problem
    order = np.array(random.sample(range(len(atoms)), len(atoms)))
    codes = _dense(*omp(tokens, atoms, 4, nonnegative=nonnegative), len(atoms))
    permuted = _dense(*omp(tokens, atoms[order], 4, nonnegative=nonnegative), len(atoms))
    np.testing.assert_allclose(permuted, codes[:, order], rtol=1e-3, atol=1e-4)


@settings(deadline=None)
@given(problems, st.booleans(), st.integers(-20, 20))
def test_scaled_tokens_have_scaled_codes(problem, nonnegative, exponent):
    tokens, atoms = problem
    indices, coefficients = omp(tokens, atoms, 4, nonnegative=nonnegative)
    scaled = omp(tokens * np.float32(2.0**exponent), atoms, 4, nonnegative=nonnegative)
    np.testing.assert_array_equal(scaled[0], indices)
    np.testing.assert_array_equal(scaled[1], coefficients * np.float32(2.0**exponent))


NAN_ROW = np.array([[1, 0, 0], [0, np.nan, 0]])


@pytest.mark.parametrize(
    ("tokens", "atoms", "options", "message"),
    [
        (NAN_ROW, np.eye(3), {}, "tokens has values that are not finite in 1 of 2 rows, the first "
         "in row 1"),
        (np.eye(3), NAN_ROW, {}, "atoms has values that are not finite"),
        ([[1e39, 0, 0]], np.eye(3), {}, "tokens has values that are not finite"),
        (np.ones(3), np.eye(3), {}, r"tokens has the shape \(3,\); it must be a matrix"),
        (np.ones((2, 4)), np.eye(3), {}, "tokens have 4 features but atoms 3. Take the dictionary"),
        (np.eye(3), 2 * np.eye(3), {}, "3 of 3 atoms are not of unit norm; the first, in row 0, "
         "has norm 2. Divide"),
        (np.eye(3), np.eye(3), {"max_nnz": 0}, "max_nnz is 0, but with 3 atoms of 3 features"),
        (np.eye(3), np.eye(3)[:2], {"max_nnz": 3}, "it must lie between 1 and 2"),
        (np.eye(3), np.eye(3), {"tolerance": 1}, "tolerance is 1; it must be at least 0 and below"),
        (np.eye(3), np.eye(3), {"tolerance": np.nan}, "tolerance is nan"),
        (np.eye(3), np.eye(3), {"block_size": 0}, "block_size is 0; it must be at least 1"),
        (np.eye(3), np.eye(3), {"gram": np.eye(3)}, "gram is a float64 array of shape"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_a_sentence(tokens, atoms, options, message):
    with pytest.raises(DataError, match=message):
        omp(tokens, atoms, **{"max_nnz": 2, **options})
