"""Parts of what is known of images become one table, batch by batch."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from cgraph import image_parts
from cgraph.errors import DataError
from cgraph.image_parts import SKIPPED, image_table, sampled_rows, split_parts, stored_split
from cgraph.manifest import IMAGES
from cgraph.store import read_table, write_table
from cgraph.token_feed import Ready


def write_parts(folder, sizes, n_skipped=0):
    paths, first = [], 0
    for part, size in enumerate(sizes):
        rows = range(first, first + size)
        kept = [Ready(f"image {n}", "{}", f"hash {n}", bytes([n % 256]) * 50) for n in rows]
        skipped = [Ready(f"bad {part}-{n}", reason="it is broken") for n in range(n_skipped)]
        paths.append(folder / f"part-{part}.arrow")
        write_table(paths[-1], image_table(kept, skipped))
        first += size
    return paths


def batches_of(path):
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).num_record_batches


def test_a_few_parts_are_one_batch_as_they_were_before_there_were_more(tmp_path):
    paths = write_parts(tmp_path, [30, 0, 40, 30], n_skipped=2)
    facts = split_parts(tmp_path, paths, tmp_path / "keys", 0)
    hashes = [f"hash {n}" for n in range(100)]
    assert facts == {
        "n": 100,
        "n_skipped": 8,
        "n_duplicates": 0,
        "fingerprint": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
        "n_train": 70,
        "n_tune": 15,
        "n_held_out": 15,
    }
    table = read_table(tmp_path / IMAGES)
    assert table.column_names == ["image_id", "split", "attributes", "pixel_hash", "thumbnail"]
    assert table.column("pixel_hash").to_pylist() == hashes
    assert batches_of(tmp_path / IMAGES) == 1
    # The same bytes as of a table that was held as a whole.
    write_table(tmp_path / "whole.arrow", table)
    assert (tmp_path / "whole.arrow").read_bytes() == (tmp_path / IMAGES).read_bytes()
    skipped = read_table(tmp_path / SKIPPED).to_pylist()
    assert len(skipped) == 8
    assert skipped[0] == {"image_id": "bad 0-0", "reason": "it is broken"}


def test_many_parts_are_several_batches_with_the_same_content(tmp_path, monkeypatch):
    paths = write_parts(tmp_path, [40] * 6)
    split_parts(tmp_path, paths, tmp_path / "keys", 1)
    one, split = read_table(tmp_path / IMAGES), stored_split(tmp_path)
    monkeypatch.setattr(image_parts, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(image_parts, "_ROWS", 7)
    split_parts(tmp_path, paths, tmp_path / "keys", 1)
    assert batches_of(tmp_path / IMAGES) == 3
    assert read_table(tmp_path / IMAGES).equals(one)
    np.testing.assert_array_equal(stored_split(tmp_path), split)
    assert np.array(["train", "tune", "held-out"])[split].tolist() == one["split"].to_pylist()


def test_some_columns_alone(tmp_path):
    split_parts(tmp_path, write_parts(tmp_path, [60]), tmp_path / "keys", 0)
    table = read_table(tmp_path / IMAGES, ["split", "image_id"])
    assert set(table.column_names) == {"split", "image_id"}
    assert table["image_id"][7].as_py() == "image 7"


def test_when_nothing_could_be_read(tmp_path):
    paths = write_parts(tmp_path, [0, 0], n_skipped=3)
    with pytest.raises(DataError, match=r"None of the 6 images could be read.*it is broken"):
        split_parts(tmp_path, paths, tmp_path / "keys", 0)


def test_samples_of_parts_are_the_same_for_every_caller(tmp_path):
    split_parts(tmp_path, write_parts(tmp_path, [200]), tmp_path / "keys", 0)
    split = stored_split(tmp_path)
    rows = sampled_rows(split, "held-out", 10, 3)
    assert len(rows) == 10 and (split[rows] == 2).all()
    assert rows.tolist() == sampled_rows(split, "held-out", 10, 3).tolist()
    assert rows.tolist() != sampled_rows(split, "held-out", 10, 4).tolist()
    assert sampled_rows(split, "train", 1000, 3).tolist() == np.flatnonzero(split == 0).tolist()
