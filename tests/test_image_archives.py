import os
import pickle
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from bad_images import encoded
from PIL import Image

from cgraph.decoding import MAX_BYTES
from cgraph.errors import ImageError
from cgraph.images import ImageSet, open_images


def png(level: int) -> bytes:
    return encoded(Image.new("RGB", (4, 3), (level, 0, 0)), "PNG")


def level(images: ImageSet, row: int) -> int:
    return images.read(row).image.getpixel((0, 0))[0]


def write(path: Path, **entries: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            archive.writestr(name.replace("__", "/") + ".png", png(value))
    return path


def test_a_zip_is_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "set.zip", b=2, a=1, c=3)
    before = sorted(tmp_path.rglob("*"))
    images = open_images(path)
    assert images.image_ids == ["a.png", "b.png", "c.png"]
    assert images.kind == "zip of images" and images.name == "set.zip"
    assert [level(images, row) for row in range(3)] == [1, 2, 3]
    assert images.read(0).attributes == {}
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(IndexError):
        images.read(3)


def test_folders_are_attributes_below_those_that_all_images_share(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", top__cat__a=1, top__dog__b=2)
    images = open_images(path)
    assert images.image_ids == ["top/cat/a.png", "top/dog/b.png"]
    assert [images.read(row).attributes for row in range(2)] == [
        {"folder": "cat"},
        {"folder": "dog"},
    ]
    images = open_images(write(tmp_path / "b.zip", top__dog__old__b=2, top__cat__a=1))
    assert images.read(1).attributes == {"folder": "dog/old", "label": ("dog", "old")}
    assert open_images(write(tmp_path / "c.zip", top__a=1)).attribute_names == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_after_other_bytes(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for n in range(5):
            archive.writestr(zipfile.ZipInfo(f"{n}.png"), png(n), method)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    images = open_images(path)
    assert [level(images, row) for row in (4, 0, 2)] == [4, 0, 2]


def test_hidden_entries_and_what_is_no_image_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=1, **{".b": 2, ".git__c": 3, "__MACOSX/._a": 4})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._d.png", b"x")
        archive.writestr("notes.txt", "x")
        archive.mkdir("empty.png")
    assert open_images(path).image_ids == ["a.png"]


def reasons(path: Path) -> dict[str, str]:
    """Return what reading says of every image that cannot be read."""
    images, found = open_images(path), {}
    for row, image_id in enumerate(images.image_ids):
        try:
            images.read(row)
        except ImageError as error:
            found[image_id] = str(error)
    return found


def test_names_that_lead_out_are_refused_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    names = ["good.png", "../up.png", "a/../../b.png", "/etc/c.png", "C:/d.png", "..\\e.png"]
    with zipfile.ZipFile(path, "w") as archive:
        for n, name in enumerate(names):
            archive.writestr(name, png(n))
    found = reasons(path)
    assert len(open_images(path)) == 6
    assert len(found) == 5 and "good.png" not in found
    assert all("its name leads out of the archive" in said for said in found.values())
    assert sorted(os.listdir(tmp_path)) == ["a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=1)
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/hostname")
    assert list(reasons(path)) == ["link.png"]
    assert "it is a link, not an image" in reasons(path)["link.png"]


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=1, b=2)
    data = bytearray(path.read_bytes())
    # The flag stands in the table of contents, 8 bytes after the signature of the entry.
    place = data.rindex(b"PK\x01\x02") + 8
    data[place] |= 1
    path.write_bytes(data)
    assert "it is encrypted; write the archive again" in reasons(path)["b.png"]


def test_other_compressions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", png(1))
    assert "compressed by method 14" in reasons(path)["a.png"]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.png", png(1))
        with archive.open("b.png", "w") as entry:
            for _ in range(MAX_BYTES // 2**20 + 2):
                entry.write(bytes(2**20))
    assert "it unpacks to 66 MiB, and at most 64 MiB are allowed" in reasons(path)["b.png"]


def test_an_entry_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10**7))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", data, place) == (10**7,)
    struct.pack_into("<I", data, place, 1000)
    path.write_bytes(data)
    assert "what it unpacks to is not what the archive announces" in reasons(path)["a.png"]


def test_damaged_entries_are_named_and_others_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=1, b=2)
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x03\x04") + 30 + len("a.png")
    data[start + 10 : start + 20] = bytes(10)
    path.write_bytes(data)
    assert list(reasons(path)) == ["a.png"]
    assert level(open_images(path), 1) == 2


def test_entries_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=1)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.png", png(2))
    images = open_images(path)
    assert images.image_ids == ["a.png", "a.png#2"] and level(images, 0) == 1
    assert "another entry of the same name" in reasons(path)["a.png#2"]


def test_what_is_no_zip_or_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ImageError, match="cannot be read as a zip file"):
        open_images(tmp_path / "a.zip")
    whole = write(tmp_path / "b.zip", a=1).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:-30])
    with pytest.raises(ImageError, match=r"b\.zip cannot be read as a zip file.*copied"):
        open_images(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(ImageError, match=r"c\.zip holds no image, but 1 other entries"):
        open_images(tmp_path / "c.zip")


def test_threads_and_processes_read_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", **{f"{n:03d}": n for n in range(60)})
    images = open_images(path)
    rows = [row for _ in range(4) for row in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: level(images, row), rows)) == rows
    copy = pickle.loads(pickle.dumps(images))
    with get_context("spawn").Pool(1) as workers:
        records = workers.map(copy.read, [7, 59])
    assert [record.image.getpixel((0, 0))[0] for record in records] == [7, 59]


def test_the_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    seen = set()
    for entries in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}):
        seen.add(open_images(write(tmp_path / "a.zip", **entries)).listing_fingerprint())
    assert len(seen) == 4
    again = open_images(write(tmp_path / "other.zip", b=1, a=1)).listing_fingerprint()
    assert again == open_images(write(tmp_path / "a.zip", a=1, b=1)).listing_fingerprint()
