import json
import zipfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_images import encoded
from PIL import Image

from cgraph.errors import StudyError
from cgraph.image_sample import read_sample, write_sample
from cgraph.images import open_images, pixel_hash, sample_rows

KINDS = ["folder", "zip", "parquet", "list", "scenes"]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(level: int) -> bytes:
    return encoded(Image.new("RGB", (4, 3), (level, 0, 0)), "PNG")


def write_set(folder: Path, kind: str) -> Path:
    """Write 40 images in two groups."""
    names = [f"{'odd' if n % 2 else 'even'}/x/{n:02d}.png" for n in range(40)]
    if kind == "scenes":
        (folder / "scenes.json").write_text(json.dumps({"scenes": 40, "seed": 3}))
        return folder / "scenes.json"
    if kind == "parquet":
        label = {"names": ["even", "odd"], "_type": "ClassLabel"}
        info = {"info": {"features": {"label": label}}}
        for part in range(2):
            rows = range(part * 20, part * 20 + 20)
            cells = [{"bytes": png(n), "path": names[n] if n % 3 else None} for n in rows]
            table = pa.table(
                {"image": pa.array(cells, IMAGE_TYPE), "label": [n % 2 for n in rows]}
            ).replace_schema_metadata({"huggingface": json.dumps(info)})
            pq.write_table(table, folder / f"{part}.parquet", row_group_size=7)
        return folder
    if kind == "zip":
        with zipfile.ZipFile(folder / "set.zip", "w") as archive:
            for n, name in enumerate(names):
                archive.writestr(name, png(n))
        return folder / "set.zip"
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(n))
    if kind == "folder":
        return folder
    rows = [{"file_name": name, "tags": ["a", str(n % 2)]} for n, name in enumerate(names)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "list.jsonl"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_sampled_rows_of_the_set(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    images = open_images(write_set(tmp_path / "set", kind))
    rows = sample_rows(len(images), 12, seed=1)
    write_sample(tmp_path / "sample.arrow", images, rows)
    # Nothing may be listed again.
    for name in ("os.scandir", "zipfile.ZipFile", "cgraph.images.open_images"):
        monkeypatch.setattr(name, None)
    sample = read_sample(tmp_path / "sample.arrow")
    assert list(sample.image_ids) == [images.image_ids[row] for row in rows]
    assert len(sample) == 12 and sample.attribute_names == images.attribute_names
    for place, row in enumerate(rows):
        found, expected = sample.read(place), images.read(int(row))
        assert found.image_id == expected.image_id and found.attributes == expected.attributes
        assert pixel_hash(found.image) == pixel_hash(expected.image)
    with pytest.raises(IndexError, match="of a set of 12 images"):
        sample.read(12)
    again = sample.listing(np.arange(12))
    assert again.equals(images.listing(rows)), "a sample can be sampled"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_same_bytes_every_time(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    place = write_set(tmp_path / "set", kind)
    written = set()
    for name in ("a", "b"):
        images = open_images(place)
        write_sample(tmp_path / name, images, sample_rows(len(images), 12, seed=1))
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    images = open_images(write_set(tmp_path / "set", "zip"))
    write_sample(tmp_path / "sample.arrow", images, np.array([5, 7]))
    with get_context("spawn").Pool(1) as pool:
        found = pool.map(read_sample, [tmp_path / "sample.arrow"])[0]
    assert pixel_hash(found.read(0).image) == pixel_hash(images.read(5).image)


def test_a_damaged_sample_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sample.arrow"
    with pytest.raises(StudyError, match=r"sample\.arrow is missing"):
        read_sample(path)
    path.write_bytes(b"x")
    with pytest.raises(StudyError, match=r"sample\.arrow is not an Arrow file"):
        read_sample(path)
    table = pa.table({"a": [1]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(StudyError, match=r"holds no sample of images.*same command again"):
        read_sample(path)
