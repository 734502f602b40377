"""What is read part by part is what all parts together hold."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.codes import CodeCounts, Codes
from cgraph.errors import StudyError
from cgraph.evaluation import summarise_layer
from cgraph.manifest import IMAGES, codes_file, tokens_file
from cgraph.part_reading import StoredAttributes, StoredTokens, codes_of_rows, count_codes
from cgraph.signals import Cloud
from cgraph.store import codes_to_table, write_array, write_table

LENGTHS = (5, 0, 7, 1, 4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with parts of tokens and codes of one layer, one of them empty, and the whole."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    tokens = rng.standard_normal((sum(LENGTHS), 3)).astype(np.float32)
    dense = rng.standard_normal((sum(LENGTHS), 6)) * (rng.random((sum(LENGTHS), 6)) < 0.4)
    rows = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    codes = Codes(offsets, rows[1].astype(np.int32), dense[rows].astype(np.float32), 6)
    first = 0
    for part, n in enumerate(LENGTHS):
        write_array(folder / tokens_file(1, part), tokens[first : first + n])
        own = codes.take(np.arange(first, first + n))
        write_table(folder / codes_file(1, part), codes_to_table(own))
        first += n
    return folder, tokens, codes


@settings(deadline=None)
@given(st.lists(st.integers(0, sum(LENGTHS) - 1), max_size=30))
def test_tokens_of_any_rows(parts, rows):
    folder, tokens, _ = parts
    stored = StoredTokens(folder, 1, len(LENGTHS))
    assert stored.shape == tokens.shape
    np.testing.assert_array_equal(stored.take(np.array(rows, dtype=int)), tokens[rows])


@pytest.mark.parametrize("size", [1, 4, 100])
def test_chunks_are_the_rows_in_order(parts, size):
    folder, tokens, _ = parts
    rows = np.array([0, 2, 3, 9, 11, 16])
    chunks = list(StoredTokens(folder, 1, len(LENGTHS)).chunks(rows, size))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    np.testing.assert_array_equal(np.concatenate(chunks), tokens[rows])


@pytest.mark.parametrize("row", [-1, sum(LENGTHS)])
def test_rows_that_do_not_exist(parts, row):
    with pytest.raises(IndexError, match="of 17"):
        StoredTokens(parts[0], 1, len(LENGTHS)).take(np.array([row]))
    if row > 0:
        with pytest.raises(IndexError, match="of 17"):
            codes_of_rows(parts[0], 1, len(LENGTHS), [np.array([row])])


def test_a_missing_part_is_named(parts, tmp_path):
    with pytest.raises(StudyError, match=r"part-00000\.npy is missing"):
        StoredTokens(tmp_path, 1, 1)


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, sum(LENGTHS) - 1)), min_size=1, max_size=3))
def test_codes_of_several_choices_in_one_pass(parts, choices):
    folder, _, codes = parts
    wanted = [np.array(sorted(rows), dtype=int) for rows in choices]
    for rows, found in zip(wanted, codes_of_rows(folder, 1, len(LENGTHS), wanted), strict=True):
        expected = codes.take(rows)
        for name in ("offsets", "indices", "coefficients"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).dtype == getattr(expected, name).dtype


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=sum(LENGTHS), max_size=sum(LENGTHS)))
def test_counts_added_up_are_counts_of_all(parts, split):
    folder, _, codes = parts
    split = np.array(split, dtype=np.uint8)
    counts = count_codes(folder, 1, len(LENGTHS), split)
    for part, found in enumerate(counts):
        own = codes.take(np.flatnonzero(split == part))
        dense = own.to_csr().toarray()
        assert found.n_samples == own.n_samples
        np.testing.assert_array_equal(found.active, (dense != 0).sum(axis=0))
        np.testing.assert_array_equal(found.positive, (dense > 0).sum(axis=0))
        assert summarise_layer(1, found, found, 0.5) == summarise_layer(1, own, own, 0.5)


def test_counts_of_no_images():
    none = CodeCounts.of(Codes(np.zeros(1, int), np.empty(0, np.int32), np.empty(0, "f4"), 4))
    assert none.n_samples == 0 and not none.active.any()
    assert summarise_layer(1, none, none, 0.5)["nonzeros_mean"] is None


def test_attributes_of_some_images(tmp_path):
    texts = [json.dumps({"label": f"class {n}"}) for n in range(9)]
    table = pa.table({"attributes": pa.array(texts), "thumbnail": pa.array([b"x"] * 9)})
    write_table(tmp_path / IMAGES, table)
    found = StoredAttributes(tmp_path / IMAGES, np.array([7, 0, 3]))
    assert len(found) == 3
    assert [record["label"] for record in found] == ["class 7", "class 0", "class 3"]
    assert found[1] == {"label": "class 0"}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 5))
def test_a_cloud_of_chunks_is_that_of_all_tokens(n_chunks, seed):
    rng = np.random.default_rng(seed)
    tokens = (rng.standard_normal((120, 5)) * [5, 3, 1, 1, 0.2] + 2).astype(np.float32)
    whole, chunked = Cloud.fit(tokens), Cloud.fit_chunks(lambda: np.array_split(tokens, n_chunks))
    np.testing.assert_allclose(chunked.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(chunked.deviations, whole.deviations, rtol=1e-5)
    np.testing.assert_allclose(chunked.distance(tokens), whole.distance(tokens), rtol=1e-4)
    # By the definition: the eigenvalues of the covariance.
    values = np.linalg.eigvalsh(np.cov(tokens.T, bias=True))[::-1]
    np.testing.assert_allclose(whole.deviations[:4], np.sqrt(values[:4]), rtol=1e-4)
