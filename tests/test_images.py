import json
import os
import pickle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_images import encoded, photo
from PIL import Image

from cgraph.errors import ConfigError, ImageError
from cgraph.images import ImageSet, open_images, pixel_hash, sample_rows

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(level: int) -> bytes:
    return encoded(Image.new("RGB", (4, 3), (level, 0, 0)), "PNG")


def level(images: ImageSet, row: int) -> int:
    return images.read(row).image.getpixel((0, 0))[0]


def write(folder: Path, **files: int) -> Path:
    """Write images; ``__`` in a name is a folder, and the suffix is left out."""
    for name, value in files.items():
        file = folder / (name.replace("__", "/") + ".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(value))
    return folder


def table(levels: range | list[int], paths: list | None = None, **columns: object) -> pa.Table:
    paths = paths or [f"{value}.png" for value in levels]
    cells = [{"bytes": png(v), "path": p} for v, p in zip(levels, paths, strict=True)]
    return pa.table({"image": pa.array(cells, IMAGE_TYPE), **columns})


# Folders


def test_a_flat_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    images = open_images(write(tmp_path, b=2, a=1, c=3))
    assert images.image_ids == ["a.png", "b.png", "c.png"]
    assert len(images) == 3
    assert images.attribute_names == []
    assert [level(images, row) for row in range(3)] == [1, 2, 3]
    assert images.read(0).image_id == "a.png"
    assert images.read(0).attributes == {}


def test_sub_folders_become_an_attribute(tmp_path: Path) -> None:
    images = open_images(write(tmp_path, cat__a=1, dog__a=2, dog__old__a=3, top=4))
    assert images.image_ids == ["cat/a.png", "dog/a.png", "dog/old/a.png", "top.png"]
    assert images.attribute_names == ["folder", "label"]
    found = [images.read(row).attributes for row in range(4)]
    assert [values["folder"] for values in found] == ["cat", "dog", "dog/old", None]
    assert [values["label"] for values in found] == [("cat",), ("dog",), ("dog", "old"), ()]


def test_folders_of_one_level_are_one_attribute(tmp_path: Path) -> None:
    images = open_images(write(tmp_path, cat__a=1, dog__a=2))
    assert images.attribute_names == ["folder"]
    assert images.read(1).attributes == {"folder": "dog"}


def test_suffixes_count_in_any_case_and_other_files_do_not(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.jpeg", "c.WebP", "d.tif", "e.gif", "f.bmp", "g.txt", "h", "i.json"):
        (tmp_path / name).write_bytes(png(1))
    names = ["a.JPG", "b.jpeg", "c.WebP", "d.tif", "e.gif", "f.bmp"]
    assert open_images(str(tmp_path)).image_ids == names


def test_hidden_files_and_links_that_lead_out_are_left_out(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", secret=9)
    inside = write(tmp_path / "set", a=1, sub__b=2)
    write(inside, **{".hidden": 3, ".cache__c": 4})
    (inside / "out.png").symlink_to(outside / "secret.png")
    (inside / "out").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "broken.png").symlink_to(inside / "gone.png")
    (inside / "self.png").symlink_to(inside / "self.png")
    (inside / "link.png").symlink_to(inside / "a.png")
    assert open_images(inside).image_ids == ["a.png", "link.png", "sub/b.png"]


def test_an_unreadable_image_is_named_when_read_not_before(tmp_path: Path) -> None:
    write(tmp_path, a=1)
    (tmp_path / "bad.png").write_bytes(b"%PDF-1.7")
    images = open_images(tmp_path)
    assert level(images, 0) == 1
    with pytest.raises(ImageError, match=r"bad\.png is not an accepted image.*PDF"):
        images.read(1)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png cannot be read: No such file"):
        images.read(0)
    with pytest.raises(ImageError, match=r"a\.png cannot be read.*was there when"):
        images.listing_fingerprint()


def test_a_file_name_that_is_not_text_is_named(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(png(1))
    except OSError:
        pytest.skip("this file system only takes names that are text")
    with pytest.raises(ImageError, match=r"caf\\xe9\.png' is not valid UTF-8; rename"):
        open_images(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no images at .*gone: No such file"):
        open_images(tmp_path / "gone")
    with pytest.raises(ImageError, match=r"has no images but no files; files count that end in"):
        open_images(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "out.png").symlink_to(__file__)
    with pytest.raises(ImageError, match=r"1 other files and 1 links leading out.*\.jpg.*parquet"):
        open_images(tmp_path)
    with pytest.raises(ImageError, match=r"notes\.txt is a single file"):
        open_images(tmp_path / "notes.txt")


def test_both_kinds_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    write(tmp_path, a=1)
    pq.write_table(table([1]), tmp_path / "b.parquet")
    with pytest.raises(ImageError, match=r"1 image files and 1 Parquet files, so it is ambiguous"):
        open_images(tmp_path)


# Parquet


def test_parquet_rows_are_read_across_row_groups_and_files(tmp_path: Path) -> None:
    pq.write_table(table(range(7)), tmp_path / "b.parquet", row_group_size=3)
    pq.write_table(table(range(7, 12)), tmp_path / "c.parquet", row_group_size=2)
    (tmp_path / "a").mkdir()
    pq.write_table(table([99]), tmp_path / "a" / "z.parquet")
    images = open_images(tmp_path)
    assert images.image_ids == ["99.png", *(f"{value}.png" for value in range(12))]
    order = np.random.default_rng(0).permutation(13)
    assert [level(images, row) for row in order] == [[99, *range(12)][row] for row in order]
    assert len(open_images(tmp_path / "b.parquet")) == 7


def test_scalar_columns_become_attributes(tmp_path: Path) -> None:
    columns = {
        "label": pa.array(["cat", None]),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "count": pa.array([3, 4], pa.uint8()),
        "score": [0.5, float("nan")],
        "indoor": [True, False],
        "box": [[1, 2], [3]],
        "mask": pa.array([b"1", b"2"]),
    }
    pq.write_table(table([1, 2], **columns), tmp_path / "a.parquet")
    images = open_images(tmp_path / "a.parquet")
    assert images.attribute_names == ["label", "kind", "count", "score", "indoor"]
    expected = {"label": "cat", "kind": "x", "count": 3, "score": 0.5, "indoor": True}
    assert images.read(0).attributes == expected
    expected = {"label": None, "kind": "y", "count": 4, "score": None, "indoor": False}
    assert images.read(1).attributes == expected


def test_class_numbers_are_named_where_the_names_are_known(tmp_path: Path) -> None:
    feature = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    info = {"info": {"features": {"label": feature, "image": {"_type": "Image"}}}}
    labelled = table([1, 2, 3], label=[1, 0, -1]).replace_schema_metadata(
        {"huggingface": json.dumps(info)}
    )
    pq.write_table(labelled, tmp_path / "a.parquet")
    images = open_images(tmp_path)
    assert [images.read(row).attributes["label"] for row in range(3)] == ["dog", "cat", None]


def test_files_may_have_different_attributes(tmp_path: Path) -> None:
    pq.write_table(table([1], label=["cat"]), tmp_path / "a.parquet")
    pq.write_table(table([2], size=[5]), tmp_path / "b.parquet")
    images = open_images(tmp_path)
    assert images.read(0).attributes == {"label": "cat", "size": None}
    assert images.read(1).attributes == {"label": None, "size": 5}


def test_paths_that_are_missing_repeated_or_look_like_row_ids_are_not_ids(tmp_path: Path) -> None:
    paths = ["a", None, "", "b", "b", "row-0000000"]
    pq.write_table(table(range(6), paths), tmp_path / "a.parquet")
    images = open_images(tmp_path)
    rows = [f"row-000000{row}" for row in (1, 2, 3, 4, 5)]
    assert images.image_ids == ["a", *rows]
    assert [level(images, row) for row in range(6)] == list(range(6))


def test_other_forms_of_the_image_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [png(5)], "n": [1]}), tmp_path / "plain.parquet")
    images = open_images(tmp_path / "plain.parquet")
    assert images.image_ids == ["row-0000000"]
    assert level(images, 0) == 5
    renamed = table([6]).rename_columns(["img"])
    pq.write_table(renamed, tmp_path / "renamed.parquet")
    assert level(open_images(tmp_path / "renamed.parquet"), 0) == 6
    pathless = pa.table(
        {"image": pa.array([{"bytes": png(7)}], pa.struct([("bytes", pa.binary())]))}
    )
    pq.write_table(pathless, tmp_path / "pathless.parquet")
    assert level(open_images(tmp_path / "pathless.parquet"), 0) == 7


def test_parquet_without_images_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    words = r"a\.parquet has no columns that could be the images: text \(string\), label \(int64\)"
    with pytest.raises(ImageError, match=words):
        open_images(tmp_path)
    pq.write_table(pa.table({"front": [png(1)], "back": [png(1)]}), tmp_path / "a.parquet")
    with pytest.raises(ImageError, match=r"has 2 columns that could be .* Name one column 'image'"):
        open_images(tmp_path)
    pq.write_table(table([]), tmp_path / "a.parquet")
    with pytest.raises(ImageError, match="has a column of images but no rows"):
        open_images(tmp_path)


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    for content in (b"", b"PAR1", b"not parquet at all"):
        file.write_bytes(content)
        with pytest.raises(ImageError, match=r"a\.parquet is not a readable Parquet file: "):
            open_images(file)
    pq.write_table(table(range(5)), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"a\.parquet is not a readable Parquet file: "):
        open_images(file)
    file.write_bytes(whole)
    images = open_images(file)
    file.write_bytes(whole[:40] + bytes(200) + whole[240:])
    with pytest.raises(ImageError):
        images.read(0)


def test_parquet_with_text_that_is_no_text(tmp_path: Path) -> None:
    text = pa.array([b"cat", b"\xff"]).view(pa.string())
    pq.write_table(table([1, 2], label=text), tmp_path / "a.parquet")
    images = open_images(tmp_path)
    assert images.read(0).attributes == {"label": "cat"}
    with pytest.raises(ImageError, match=r"a\.parquet is not a readable Parquet file: 'utf-8'"):
        images.read(1)


def test_parquet_that_changed_after_it_was_listed(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(table(range(6)), file, row_group_size=2)
    images = open_images(file)
    for content in (table([1]), table([1]).rename_columns(["picture"])):
        pq.write_table(content, file)
        with pytest.raises(ImageError, match=r"a\.parquet is not a readable Parquet file: "):
            images.read(5)
    with pytest.raises(ImageError, match=r"a\.parquet is not a readable Parquet file: "):
        images.read(1)


def test_rows_without_bytes_and_with_bad_bytes_are_named(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": "/etc/hostname"}, {"bytes": b"%PDF", "path": "b"}, None]
    pq.write_table(pa.table({"image": pa.array(cells, IMAGE_TYPE)}), tmp_path / "a.parquet")
    images = open_images(tmp_path)
    with pytest.raises(ImageError, match=r"/etc/hostname has no bytes in a\.parquet; save"):
        images.read(0)
    with pytest.raises(ImageError, match="b is not an accepted image"):
        images.read(1)
    with pytest.raises(ImageError, match="row-0000002 has no bytes"):
        images.read(2)


def test_only_the_needed_row_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table(range(20)), tmp_path / "a.parquet", row_group_size=5)
    images = open_images(tmp_path)
    read = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, index: int, **options: object) -> pa.Table:
        read.append(index)
        return original(self, index, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for row in (6, 7, 9, 15, 16):
        assert level(images, row) == row
    assert read == [1, 3]


# Both kinds


@pytest.fixture(params=["folder", "parquet"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return write(tmp_path, a=1, b=2, c=3)
    pq.write_table(table([1, 2, 3]), tmp_path / "a.parquet", row_group_size=2)
    return tmp_path


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_outside_of_the_set(both: Path, row: int) -> None:
    with pytest.raises(IndexError, match="of a set of 3 images"):
        open_images(both).read(row)


def test_a_set_reads_the_same_after_pickling_and_in_another_process(both: Path) -> None:
    images = open_images(both)
    images.read(0)
    sent = pickle.dumps(images)
    assert png(1) not in sent
    copy = pickle.loads(sent)
    assert copy.image_ids == images.image_ids
    assert copy.listing_fingerprint() == images.listing_fingerprint()
    with get_context("spawn").Pool(1) as pool:
        records = pool.map(images.read, range(3))
    hashes = [pixel_hash(record.image) for record in records]
    assert hashes == [pixel_hash(images.read(row).image) for row in range(3)]


def test_relative_paths_survive_a_change_of_folder(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(both.parent)
    images = open_images(both.name)
    monkeypatch.chdir("/")
    assert level(images, 2) == 3


def test_the_fingerprint_is_the_listing_not_the_place(both: Path, tmp_path: Path) -> None:
    before = open_images(both).listing_fingerprint()
    assert open_images(both).listing_fingerprint() == before
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert open_images(moved).listing_fingerprint() == before


def test_the_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    seen = {open_images(write(tmp_path, a=1, b=2)).listing_fingerprint()}
    seen.add(open_images(write(tmp_path, c=3)).listing_fingerprint())
    (tmp_path / "c.png").rename(tmp_path / "d.png")
    seen.add(open_images(tmp_path).listing_fingerprint())
    (tmp_path / "d.png").write_bytes(encoded(photo(), "PNG"))
    seen.add(open_images(tmp_path).listing_fingerprint())
    assert len(seen) == 4
    seen = set()
    for levels, paths in [([1, 2], ["a", "b"]), ([1, 2], ["a", "c"]), ([1], ["a"])]:
        (tmp_path / "p").mkdir(exist_ok=True)
        pq.write_table(table(levels, paths), tmp_path / "p" / "p.parquet")
        seen.add(open_images(tmp_path / "p").listing_fingerprint())
    assert len(seen) == 3


def test_samples_are_seeded_ascending_and_spread_over_the_set() -> None:
    rows = sample_rows(10_000, 500, seed=3)
    assert rows.dtype == np.int64
    assert len(np.unique(rows)) == 500
    assert (np.diff(rows) > 0).all()
    assert rows.min() >= 0
    assert rows.max() < 10_000
    # 500 uniform draws: the mean has a standard error of 129.
    assert abs(rows.mean() - 5000) < 5 * 129
    np.testing.assert_array_equal(rows, sample_rows(10_000, 500, seed=3))
    assert not np.array_equal(rows, sample_rows(10_000, 500, seed=4))


def test_a_sample_of_all() -> None:
    for most in (None, 7, 8):
        np.testing.assert_array_equal(sample_rows(7, most, seed=0), np.arange(7))
    assert sample_rows(7, None, seed=0).dtype == np.int64
    for most in (0, -1):
        with pytest.raises(ConfigError, match=f"max_images is {most}; it must be at least 1"):
            sample_rows(7, most, seed=0)


def test_real_photographs(real_dir: Path) -> None:
    photos = open_images(real_dir / "photos-64px.parquet")
    assert len(photos) == len(set(photos.image_ids)) == 10_000
    assert photos.attribute_names == ["wnid", "label"]
    for row in sample_rows(10_000, 40, seed=0):
        record = photos.read(int(row))
        assert record.image.size == (64, 64)
        assert record.image.mode == "RGB"
        assert isinstance(record.attributes["label"], str)
    scenes = open_images(real_dir / "scenes")
    assert len(scenes) == 1800
    folders = {scenes.read(row).attributes["folder"] for row in range(0, 1800, 100)}
    assert folders == {"buildings", "forest", "glacier", "mountain", "sea", "street"}


def test_lists_of_text_are_attributes_of_several_values(tmp_path: Path) -> None:
    colours = pa.array([["red", "blue"], [], None], pa.list_(pa.string()))
    pq.write_table(table([1, 2, 3], colour=colours), tmp_path / "images.parquet")
    images = open_images(tmp_path / "images.parquet")
    assert images.attribute_names == ["colour"]
    found = [images.read(row).attributes["colour"] for row in range(3)]
    assert found == [("red", "blue"), (), None]
