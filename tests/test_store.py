import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph import store
from cgraph.codes import Codes
from cgraph.errors import StudyError


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    store.write_bytes(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match=r"No space left on device.*finished work is kept"):
        store.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_table_maps_back_and_has_the_same_bytes_each_time(tmp_path):
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "ü"]})
    store.write_table(tmp_path / "one", table)
    store.write_table(tmp_path / "two", pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    assert store.read_table(tmp_path / "one").equals(table)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "read", [store.read_table, store.read_array, store.read_tensors, store.read_json]
)
def test_missing_and_damaged_files_are_named(tmp_path, read):
    path = tmp_path / "thing"
    with pytest.raises(StudyError, match=r"thing is missing"):
        read(path)
    path.write_bytes(b"\x00nonsense" * 5)
    with pytest.raises(StudyError, match="thing"):
        read(path)


def test_arrays_are_read_without_pickle(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(StudyError, match="cannot be read as an array"):
        store.read_array(path)


@st.composite
def padded_codes(draw):
    n_atoms = draw(st.integers(1, 40))
    n_samples = draw(st.integers(0, 8))
    rows = draw(
        st.lists(
            st.lists(st.integers(0, n_atoms - 1), unique=True, max_size=5),
            min_size=n_samples,
            max_size=n_samples,
        )
    )
    indices = np.full((n_samples, 5), -1)
    for place, row in enumerate(rows):
        indices[place, : len(row)] = row
    coefficients = np.where(indices >= 0, indices + 0.5, 0.0)
    return Codes.from_padded(indices, coefficients, n_atoms)


@settings(max_examples=40)
@given(codes=padded_codes())
def test_codes_round_trip(codes, tmp_path_factory):
    path = tmp_path_factory.mktemp("codes") / "part"
    store.write_table(path, store.codes_to_table(codes))
    back = store.codes_from_table(store.read_table(path), path)
    for name in ("offsets", "indices", "coefficients"):
        np.testing.assert_array_equal(getattr(back, name), getattr(codes, name))
    assert back.n_atoms == codes.n_atoms


def test_codes_out_of_range_are_refused(tmp_path):
    codes = Codes.from_padded(np.array([[7]]), np.array([[1.0]]), 8)
    table = store.codes_to_table(codes).replace_schema_metadata({b"n_atoms": b"5"})
    with pytest.raises(StudyError, match="names concept 7; the layer has 5"):
        store.codes_from_table(table, tmp_path / "part")


def test_a_table_without_codes_is_refused(tmp_path):
    with pytest.raises(StudyError, match="does not hold codes"):
        store.codes_from_table(pa.table({"a": [1]}), tmp_path / "part")


def test_a_second_builder_is_refused(tmp_path):
    with (
        store.folder_lock(tmp_path),
        pytest.raises(StudyError, match="Another build is working on"),
        store.folder_lock(tmp_path),
    ):
        pass
    with store.folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("start", [0, 3])
def test_arrow_columns_become_arrays(start: int) -> None:
    flags = [True, False, False, True, True, False, True, False, False, True, True]
    for values, kind in [
        (flags, pa.bool_()),
        ([5, -2, 7, 0, 1], pa.int16()),
        ([0.5] * 4, pa.float32()),
    ]:
        array = store.as_array(pa.array(values, kind).slice(start))
        assert array.tolist() == values[start:]
        assert array.dtype == kind.to_pandas_dtype()
    assert store.as_array(pa.array([], pa.int32())).dtype == np.int32


@pytest.mark.parametrize("n", [4, 60_000])
def test_the_different_texts_of_a_column(n: int) -> None:
    column = pa.chunked_array([["a", "b"] * (n // 2), [None, "c"]])
    assert store.distinct(column) == {"a", "b", "c", None}


def test_pieces_that_break_off_leave_the_old_file(tmp_path):
    path = tmp_path / "graph.json"
    store.write_pieces(path, [b"one ", b"two"])
    assert path.read_bytes() == b"one two"

    def broken():
        yield b"three"
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        store.write_pieces(path, broken())
    assert path.read_bytes() == b"one two"
    assert list(tmp_path.iterdir()) == [path]
