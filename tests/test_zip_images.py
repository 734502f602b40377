"""Uploaded zips: their images are stored, and nothing gets out of the folder."""

import io
import stat
import zipfile

import pytest
from PIL import Image

from cgraph.errors import ImageError
from cgraph.images import open_images
from cgraph.zip_images import unpack_images


def png(colour=(200, 30, 30), side=8):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    buffer.seek(0)
    return buffer


def test_folders_within_are_kept_and_the_rest_left_out(tmp_path):
    data = zipped(**{
        "red/1.png": png(), "blue/2.PNG": png((0, 0, 200)), "notes.txt": b"x",
        "__MACOSX/red/._1.png": b"x", ".hidden.png": png(),
    })  # fmt: skip
    assert unpack_images(data, tmp_path / "set") == 2
    found = open_images(tmp_path / "set")
    assert sorted(found.image_ids) == ["blue/2.PNG", "red/1.png"]
    assert found.read(0).attributes == {"folder": "blue"}


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "C:\\out.png"])
def test_nothing_leads_out(name, tmp_path):
    data = zipped(**{"in.png": png(), name: png()})
    with pytest.raises(ImageError, match="names a file outside of itself"):
        unpack_images(data, tmp_path / "deep" / "set")
    assert not list(tmp_path.rglob("*.png"))
    assert not (tmp_path / "deep" / "set").exists()


def test_links_are_not_followed(tmp_path):
    buffer = zipped(**{"1.png": png()})
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    buffer.seek(0)
    assert unpack_images(buffer, tmp_path / "set") == 1
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["1.png"]


def test_a_bomb_is_stopped_where_the_limit_is(tmp_path):
    data = zipped(**{"big.png": bytes(30 << 20)})
    assert len(data.getvalue()) < 1 << 20
    with pytest.raises(ImageError, match="unpacks to more than 5 MB"):
        unpack_images(data, tmp_path / "set", most_mb=5)
    assert list(tmp_path.iterdir()) == []


def test_too_many_files(tmp_path):
    data = zipped(**{f"{n}.png": b"" for n in range(5)})
    with pytest.raises(ImageError, match="holds 5 images; an upload may hold 4"):
        unpack_images(data, tmp_path / "set", most_files=4)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (io.BytesIO(b"no zip"), "is no zip, or is damaged"),
        (io.BytesIO(b""), "is no zip, or is damaged"),
        (zipped(**{"a.txt": b"x", "b.csv": b"y"}), "holds 2 files and no image among them"),
        (zipped(), "holds 0 files"),
    ],
)
def test_what_holds_no_images(data, sentence, tmp_path):
    with pytest.raises(ImageError, match=sentence):
        unpack_images(data, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_damage_in_the_middle_leaves_nothing(tmp_path):
    data = bytearray(zipped(**{f"{n}.png": png(side=200) for n in range(3)}).getvalue())
    for place in range(60, 200):
        data[place] ^= 0x5A
    with pytest.raises(ImageError):
        unpack_images(io.BytesIO(bytes(data)), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_password_is_asked_to_be_left_away(tmp_path):
    data = bytearray(zipped(**{"1.png": png()}).getvalue())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    with pytest.raises(ImageError, match="without a password"):
        unpack_images(io.BytesIO(bytes(data)), tmp_path / "set")


def test_an_upload_again_replaces_the_one_before(tmp_path):
    unpack_images(zipped(**{"1.png": png(), "2.png": png()}), tmp_path / "set")
    unpack_images(zipped(**{"3.png": png()}), tmp_path / "set")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["3.png"]
