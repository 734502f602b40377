import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_images import encoded
from PIL import Image

from cgraph import image_tables
from cgraph.image_tables import RowGroups
from cgraph.images import open_images

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(n_rows: int) -> pa.Table:
    pictures = [encoded(Image.new("RGB", (4, 3), (n, 0, 0)), "PNG") for n in range(n_rows)]
    cells = [{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(pictures)]
    return pa.table({"image": pa.array(cells, IMAGE_TYPE)})


def test_threads_share_the_row_groups_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table(60), tmp_path / "a.parquet", row_group_size=10)
    images = open_images(tmp_path)
    read = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, index: int, **options: object) -> pa.Table:
        read.append(index)
        return original(self, index, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    found: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        for first in range(0, 60, 4):
            records = pool.map(images.read, range(first, first + 4))
            found += [record.image.getpixel((0, 0))[0] for record in records]
    assert found == list(range(60))
    assert read == [0, 1, 2, 3, 4, 5], "each once, in order"


def test_rows_of_very_large_sets_are_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table(6), tmp_path / "a.parquet")
    monkeypatch.setattr(image_tables, "MOST_NAMES", 6)
    assert open_images(tmp_path).image_ids[5] == "5.png"
    monkeypatch.setattr(image_tables, "MOST_NAMES", 5)
    images = open_images(tmp_path)
    assert list(images.image_ids) == [f"row-000000{n}" for n in range(6)]
    assert images.read(5).image_id == "row-0000005"


def test_places_of_rows_by_hand() -> None:
    groups = RowGroups([[2, 3], [], [0, 1]])
    assert groups.n_rows == 6
    expected = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 2], [2, 1, 0]]
    np.testing.assert_array_equal(groups.places(np.arange(6)), expected)
    assert RowGroups([]).n_rows == 0


def test_pictures_are_not_read_to_list_them(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(table(20), sink)
    data = bytearray(sink.getvalue())
    start = data.index(b"PNG")
    data[start : start + 40] = bytes(40)
    (tmp_path / "a.parquet").write_bytes(data)
    assert len(open_images(tmp_path)) == 20
