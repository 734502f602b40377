import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_images import encoded
from local_server import Answer, Server, serving
from PIL import Image

from cgraph.errors import ImageError
from cgraph.image_set import ImageSet
from cgraph.images import open_images


def png(level: int) -> bytes:
    return encoded(Image.new("RGB", (4, 3), (level, 0, 0)), "PNG")


def level(images: ImageSet, row: int) -> int:
    return images.read(row).image.getpixel((0, 0))[0]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", "1000")
    monkeypatch.setenv("CGRAPH_DOWNLOAD_ATTEMPTS", "1")
    with serving({f"/{n}.png": Answer(png(n)) for n in range(9)}) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for n, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        (folder / name).write_bytes(png(n))
    return folder


# Paths


def test_a_csv_of_paths_and_captions(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "list.csv").write_text(
        'file_name,caption,year\nsub/c.png,"a dog, asleep",1999\na.png,,\nb.png,"two\nlines",07\n'
    )
    monkeypatch.chdir(photos.parent)
    images = open_images("photos/list.csv")
    monkeypatch.chdir("/")
    assert images.kind == "list of images" and images.name == "list.csv"
    assert images.image_ids == ["sub/c.png", "a.png", "b.png"]
    assert images.attribute_names == ["caption", "year"]
    assert [level(images, row) for row in range(3)] == [2, 0, 1]
    assert [images.read(row).attributes for row in range(3)] == [
        {"caption": "a dog, asleep", "year": "1999"},
        {"caption": None, "year": None},
        {"caption": "two\nlines", "year": "07"},
    ]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_cells_may_be_divided_otherwise(photos: Path, sign: str) -> None:
    rows = [["path", "caption"], ["a.png", "one"], ["b.png", "two"]]
    (photos / "list.csv").write_text("\n".join(sign.join(row) for row in rows))
    images = open_images(photos / "list.csv")
    assert images.read(1).attributes == {"caption": "two"}


def test_quotation_marks_are_letters_between_tabs(photos: Path) -> None:
    (photos / "list.tsv").write_bytes(
        b'\xef\xbb\xbfimage\tcaption\r\na.png\t"so" he said\r\nb.png\t5" disk\r\n'
    )
    images = open_images(photos / "list.tsv")
    assert images.read(0).attributes == {"caption": '"so" he said'}
    assert images.read(1).attributes == {"caption": '5" disk'}


def test_a_list_without_a_head(photos: Path) -> None:
    (photos / "list.tsv").write_text("a dog\ta.png\na cat\tb.png\n")
    images = open_images(photos / "list.tsv")
    assert images.image_ids == ["a.png", "b.png"]
    assert images.read(0).attributes == {"caption": "a dog"}
    (photos / "list.csv").write_text("a.png,1,x\nb.png,2,y\n")
    assert open_images(photos / "list.csv").attribute_names == ["column_2", "column_3"]


def test_objects_of_json(photos: Path) -> None:
    rows = [{"file_name": "a.png", "tags": ["x", "y"], "n": 1}, {"file_name": "b.png"}]
    (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (photos / "list.json").write_text(json.dumps(rows))
    for name in ("metadata.jsonl", "list.json"):
        images = open_images(photos / name)
        assert images.image_ids == ["a.png", "b.png"]
        assert images.read(0).attributes == {"tags": ("x", "y"), "n": 1}
        assert images.read(1).attributes == {"tags": None, "n": None}


def test_parquet_of_paths(photos: Path) -> None:
    table = pa.table({"path": ["a.png", "b.png"], "image_id": [7, 8], "label": ["x", "y"]})
    pq.write_table(table, photos / "list.parquet")
    images = open_images(photos / "list.parquet")
    assert images.read(1).attributes == {"image_id": 8, "label": "y"}
    assert level(images, 1) == 1


def test_what_cannot_be_read_is_named_when_it_is_read(photos: Path) -> None:
    places = ["a.png", "gone.png", "", "ftp://host/x.png", "sub", "a\0b.png", "list.csv"]
    pq.write_table(pa.table({"path": places, "n": range(7)}), photos / "list.parquet")
    (photos / "list.csv").write_text("x")
    images = open_images(photos / "list.parquet")
    assert level(images, 0) == 0
    for row, words in enumerate(
        [
            "gone.png cannot be read: No such file",
            "row-0000002 has neither path nor address",
            "ftp://host/x.png is no address of http or https",
            "sub cannot be read: Is a directory",
            "holds a zero byte",
            "list.csv is not an accepted image",
        ],
        start=1,
    ):
        with pytest.raises(ImageError, match=words):
            images.read(row)


def test_places_that_repeat_are_rows(photos: Path) -> None:
    (photos / "list.csv").write_text("path,n\na.png,1\nb.png,2\na.png,3\nrow-0000001,4\n")
    images = open_images(photos / "list.csv")
    assert images.image_ids == ["row-0000000", "b.png", "row-0000002", "row-0000003"]
    assert level(images, 2) == 0


def test_the_fingerprint_of_a_list(photos: Path) -> None:
    path, seen = photos / "list.csv", set()
    for text in ("path,n\na.png,1", "path,n\na.png,2", "path,m\na.png,1", "path,n\nb.png,1"):
        path.write_text(text)
        seen.add(open_images(path).listing_fingerprint())
    (photos / "b.png").write_bytes(png(1) + b"x")
    seen.add(open_images(path).listing_fingerprint())
    (photos / "b.png").unlink()
    seen.add(open_images(path).listing_fingerprint())
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "colour,size\nred,1\n", "no column of images, paths or addresses, but: colour"),
        ("a.csv", "path,n\n", "lists no image"),
        ("a.csv", "\npath\n", "begins with an empty line"),
        ("a.csv", "", "begins with an empty line"),
        ("a.csv", "path,n\na.png,1,2\n", "cannot be read as a table of text: .*3"),
        ("a.csv", "path,n,n\na.png,1,2\n", "several columns named 'n'"),
        ("a.csv", b"path,n\n\xff.png,1\n", "cannot be read as a table of text"),
        ("a.csv", b"\xff\xfep\0a\0t\0h\0", "is not text in UTF-8"),
        ("a.jsonl", "{", "cannot be read as a list of images"),
        ("a.jsonl", '["a.png"]', "it is no list of objects"),
        ("a.json", '{"image_url": ["a"], "caption": []}', "its arrays are not equally long"),
        ("a.json", '[{"colour": "red"}]', "no column of images, paths or addresses"),
        ("a.txt", "a.png", "is a single file of another kind; give a folder of images, a zip"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ImageError, match=words):
        open_images(tmp_path / name)


def test_a_folder_with_a_list_says_so(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image_url\nhttp://host/a.png\n")
    with pytest.raises(ImageError, match=r"has no images but 1 other files.*Did you mean .*list"):
        open_images(tmp_path)


# Addresses


def test_a_list_of_addresses(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        f"caption,URL\none,{server.url}/3.png\ntwo,{server.url}/gone.png\nthree,{server.url}/5.png\n"
    )
    images = open_images(tmp_path / "list.csv")
    assert images.image_ids[1] == f"{server.url}/gone.png"
    assert not server.asked, "listing asks for nothing"
    assert level(images, 0) == 3
    assert images.read(2).attributes == {"caption": "three"}
    with pytest.raises(ImageError, match=r"gone\.png is a dead link: the server answers 404"):
        images.read(1)
    again = open_images(tmp_path / "list.csv")
    assert level(again, 0) == 3
    with pytest.raises(ImageError, match=r"gone\.png is a dead link: the server answers 404"):
        again.read(1)
    assert len(server.asked) == 3


def test_prefetch_fetches_ahead(server: Server, tmp_path: Path) -> None:
    places = [f"{server.url}/{n}.png" for n in range(8)]
    pq.write_table(pa.table({"url": places}), tmp_path / "list.parquet")
    images = open_images(tmp_path / "list.parquet")
    images.prefetch(range(2, 7))
    assert [level(images, row) for row in range(2, 7)] == [2, 3, 4, 5, 6]
    assert sorted(asked.path for asked in server.asked) == [f"/{n}.png" for n in range(2, 7)]


# SBU


def sbu(server: Server) -> tuple[bytes, bytes]:
    urls = "".join(f"{server.url}/{n}.png\r\n" for n in range(4)).encode()
    return urls, b"a dog .\na caf\xe9 .\n\nfour\n"


def test_sbu_in_a_folder(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    urls, captions = sbu(server)
    (folder / "SBU_captioned_photo_dataset_urls.txt").write_bytes(urls)
    (folder / "SBU_captioned_photo_dataset_captions.txt").write_bytes(captions)
    check_sbu(open_images(folder), server)
    (folder / "SBU_captioned_photo_dataset_captions.txt").write_bytes(b"one\n")
    with pytest.raises(ImageError, match="holds 4 addresses and 1 captions"):
        open_images(folder)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "zip"])
def test_sbu_in_an_archive(server: Server, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sbu.{suffix}"
    names = [f"dataset/SBU_captioned_photo_dataset_{what}.txt" for what in ("urls", "captions")]
    content = dict(zip(names, sbu(server), strict=True))
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w" if suffix == "tar" else "w:gz") as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    check_sbu(open_images(path), server)


def check_sbu(images: ImageSet, server: Server) -> None:
    assert images.image_ids == [f"{server.url}/{n}.png" for n in range(4)]
    assert images.attribute_names == ["caption"]
    assert [level(images, row) for row in range(4)] == [0, 1, 2, 3]
    captions = [images.read(row).attributes["caption"] for row in range(4)]
    assert captions == ["a dog .", "a caf\ufffd .", None, "four"]


def test_sbu_as_hugging_face_has_it(server: Server, tmp_path: Path) -> None:
    urls = [f"{server.url}/{n}.png" for n in range(3)]
    table = pa.table({"image_url": urls, "user_id": ["1", "2", "3"], "caption": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "train.parquet")
    columns = {"image_urls": urls, "user_ids": ["1", "2", "3"], "captions": ["a", "b", "c"]}
    (tmp_path / "all.json").write_text(json.dumps(columns))
    (tmp_path / "rows.json").write_text(json.dumps(table.to_pylist()))
    for name in ("train.parquet", "all.json", "rows.json"):
        images = open_images(tmp_path / name)
        assert images.image_ids == urls
        assert images.read(2).attributes == {"user_id": "3", "caption": "c"}
        assert level(images, 2) == 2


def test_a_list_from_an_archive_reads_no_file_of_this_machine(
    server: Server, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("list.csv", f"path\n/etc/hostname\n{server.url}/2.png\n")
    images = open_images(tmp_path / "a.zip")
    assert level(images, 1) == 2
    with pytest.raises(ImageError, match="/etc/hostname is a path, and a list from an archive"):
        images.read(0)


def test_archives_without_a_list(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = len(png(1))
        tar.addfile(member, io.BytesIO(png(1)))
    with pytest.raises(ImageError, match=r"1 images and 0 other files, but no list.*zip file"):
        open_images(tmp_path / "a.tar")
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(b"no tar at all"))
    with pytest.raises(ImageError, match="cannot be read as a tar file"):
        open_images(tmp_path / "b.tar.gz")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a.csv", "path\n")
        archive.writestr("b.csv", "path\n")
    with pytest.raises(ImageError, match=r"holds 2 lists \(a\.csv, b\.csv\), so it is ambiguous"):
        open_images(tmp_path / "c.zip")


@pytest.mark.parametrize("reference", ["http://host/a.zip", "https://host/list.csv", "s3://b/c"])
def test_a_set_is_no_address(reference: str) -> None:
    with pytest.raises(ImageError, match="is an address, and images are listed from files"):
        open_images(reference)
