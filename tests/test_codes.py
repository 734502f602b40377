"""Tests of sparse codes against SciPy and dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from cgraph.codes import Codes
from cgraph.errors import DataError

values = st.sampled_from(np.float32([0, 0, 0, 0.5, 1.25, 2, -1.25, -3]).tolist())


def dense_arrays(min_rows=0):
    shapes = st.tuples(st.integers(min_rows, 6), st.integers(1, 7))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))


def padded(dense, seed=0, extra=2):
    """Return the rows of a dense array with their entries shuffled among unused places."""
    rng = np.random.default_rng(seed)
    width = int(np.count_nonzero(dense, axis=1).max(initial=0)) + extra
    indices = np.full((len(dense), width), -1)
    coefficients = np.zeros((len(dense), width), dtype=np.float32)
    for row, line in enumerate(dense):
        active = np.flatnonzero(line)
        places = rng.permutation(width)[: len(active)]
        indices[row, places] = active
        coefficients[row, places] = line[active]
    return indices, coefficients


def codes_of(dense, seed=0):
    return Codes.from_padded(*padded(dense, seed), dense.shape[1])


@settings(deadline=None)
@given(dense=dense_arrays(), seed=st.integers(0, 99))
def test_padded_rows_become_the_rows_of_scipy(dense, seed):
    codes = codes_of(dense, seed)
    expected = sparse.csr_array(dense)
    np.testing.assert_array_equal(codes.offsets, expected.indptr)
    np.testing.assert_array_equal(codes.indices, expected.indices)
    np.testing.assert_array_equal(codes.coefficients, expected.data)
    assert (codes.n_samples, codes.n_atoms) == dense.shape
    assert codes.nnz == expected.nnz
    assert (codes.offsets.dtype, codes.indices.dtype) == (np.int64, np.int32)
    assert codes.coefficients.dtype == np.float32


@settings(deadline=None)
@given(dense=dense_arrays())
def test_matrices_labels_and_counts(dense):
    codes = codes_of(dense)
    np.testing.assert_array_equal(codes.to_csr().toarray(), dense)
    np.testing.assert_array_equal(codes.to_csr(binary=True).toarray(), dense != 0)
    np.testing.assert_array_equal(codes.dense_labels(), dense != 0)
    np.testing.assert_array_equal(codes.dense_labels(slice(1, 3)), dense[1:3] != 0)
    np.testing.assert_array_equal(codes.counts(), np.count_nonzero(dense, axis=0))
    for atom in range(dense.shape[1]):
        np.testing.assert_array_equal(codes.positives(atom), np.flatnonzero(dense[:, atom]))
    for sample, line in enumerate(dense):
        indices, coefficients = codes.row(sample)
        np.testing.assert_array_equal(indices, np.flatnonzero(line))
        np.testing.assert_array_equal(coefficients, line[line != 0])


@settings(deadline=None)
@given(dense=dense_arrays(min_rows=1), data=st.data())
def test_take_agrees_with_scipy(dense, data):
    rows = data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=8))
    rows = np.array(rows, dtype=np.int64)
    taken = codes_of(dense).take(rows)
    np.testing.assert_array_equal(taken.to_csr().toarray(), dense[rows])
    assert taken.n_atoms == dense.shape[1]
    np.testing.assert_array_equal(codes_of(dense).dense_labels(rows), dense[rows] != 0)


@settings(deadline=None)
@given(dense=dense_arrays(), cut=st.integers(0, 6))
def test_parts_join_in_their_order(dense, cut):
    whole = Codes.concatenate([codes_of(dense[:cut]), codes_of(dense[cut:])])
    np.testing.assert_array_equal(whole.to_csr().toarray(), dense)
    assert whole.offsets.dtype == np.int64


def test_joining_nothing_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least one part"):
        Codes.concatenate([])


def test_exemplars_by_hand():
    # Column 0: rows 0..4 hold 1, -3, 0, 3, 2. By absolute value: rows 1 and 3 tie at 3, the
    # earlier first, then row 4, then row 0; row 2 is not active.
    codes = codes_of(np.float32([[1, 0], [-3, 0], [0, 1], [3, 0], [2, 0]]))
    rows, coefficients = codes.exemplars(0, 3)
    assert rows.tolist() == [1, 3, 4]
    assert coefficients.tolist() == [-3, 3, 2]
    rows, coefficients = codes.exemplars(0, 99)
    assert rows.tolist() == [1, 3, 4, 0]
    assert coefficients.tolist() == [-3, 3, 2, 1]


@settings(deadline=None)
@given(dense=dense_arrays(), n=st.integers(0, 7))
def test_exemplars_are_the_strongest_rows(dense, n):
    codes = codes_of(dense)
    for atom, column in enumerate(dense.T):
        rows, coefficients = codes.exemplars(atom, n)
        ranked = sorted(np.flatnonzero(column), key=lambda row: (-abs(column[row]), row))
        assert rows.tolist() == ranked[:n]
        np.testing.assert_array_equal(coefficients, column[rows])


def test_an_atom_that_is_never_active():
    codes = codes_of(np.zeros((3, 2), dtype=np.float32))
    assert codes.nnz == 0
    assert codes.positives(1).size == 0
    assert [part.size for part in codes.exemplars(1, 5)] == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coefficients_must_be_finite(bad):
    indices, coefficients = padded(np.float32([[1, 0, 2]]))
    coefficients[coefficients != 0] = bad
    with pytest.raises(DataError, match=r"not a finite number\. Check the tokens"):
        Codes.from_padded(indices, coefficients, 3)
