import io
import json
import pickle
import shutil
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_images import encoded
from data_set_hub import Hub, commit_of, hub
from local_server import Answer
from PIL import Image

from cgraph.errors import FetchError, ImageError
from cgraph.image_set import ImageSet
from cgraph.images import open_images

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CONVERTED = "refs/convert/parquet"


def png(level: int) -> bytes:
    # Noise in the other channels, so that a row group has some weight.
    pixels = np.random.default_rng(level).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels[..., 0] = level
    return encoded(Image.fromarray(pixels), "PNG")


def level(images: ImageSet, row: int) -> int:
    return images.read(row).image.getpixel((0, 0))[0]


def parquet(levels: range, group: int = 5) -> bytes:
    feature = {"names": ["even", "odd"], "_type": "ClassLabel"}
    info = {"info": {"features": {"label": feature}}}
    cells = [{"bytes": png(n), "path": f"{n}.png"} for n in levels]
    table = pa.table(
        {"image": pa.array(cells, IMAGE_TYPE), "label": [n % 2 for n in levels]}
    ).replace_schema_metadata({"huggingface": json.dumps(info)})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    return sink.getvalue()


SHARDS = {
    "data/train-00000-of-00002-ab.parquet": parquet(range(10)),
    "data/train-00001-of-00002-cd.parquet": parquet(range(10, 17)),
    "data/test-00000-of-00001.parquet": parquet(range(17, 20)),
    "README.md": b"x",
}
COMMIT = commit_of("main", SHARDS)
TABLES = {
    "large/train/0000.parquet": parquet(range(3)),
    "small/train/0000.parquet": parquet(range(3, 5)),
    "small/test/0000.parquet": parquet(range(5, 6)),
}
CARD = {
    "configs": [
        {"config_name": "a", "data_files": [{"split": "train", "path": "one/*"}]},
        {
            "config_name": "b",
            "default": True,
            "data_files": [
                {"split": "first", "path": ["two/x-*.parquet"]},
                {"split": "second", "path": "two/**/y.parquet"},
            ],
        },
    ]
}
DECLARED = {
    "one/anything.parquet": parquet(range(1)),
    "two/x-1.parquet": parquet(range(1, 3)),
    "two/deep/y.parquet": parquet(range(3, 6)),
}


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    repositories = {
        "owner/photos": {"main": (SHARDS, {}), "v1": ({"a.parquet": parquet(range(30, 32))}, {})},
        "owner/other": {"main": ({"images/1.png": png(1)}, {}), CONVERTED: (TABLES, {})},
        "owner/bare": {"main": ({"images/1.png": png(1)}, {})},
        "owner/declared": {"main": (DECLARED, CARD)},
    }
    with hub(repositories) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.server.url)
        monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.chdir(tmp_path)
        yield running


def test_a_data_set_is_listed_by_its_footers_and_read_by_row_groups(net: Hub) -> None:
    images = open_images("owner/photos")
    assert len(images) == 17 and images.kind == "Hub data set" and images.name == "owner/photos"
    assert images.reference == f"hub:owner/photos@{COMMIT}:default/train"
    assert images.image_ids[3] == "row-0000003" and images.image_ids[15:] == [
        "row-0000015",
        "row-0000016",
    ]
    assert images.attribute_names == ["label"]
    net.sent.clear()
    assert level(images, 12) == 12
    whole = len(SHARDS["data/train-00001-of-00002-cd.parquet"])
    assert net.fetched("train-00001") < whole, "only one of two row groups"
    assert net.fetched("train-00000") == 0
    assert images.read(11).attributes == {"label": "odd"}
    assert [level(images, row) for row in (16, 0, 9)] == [16, 0, 9]


def test_nothing_is_fetched_twice(net: Hub) -> None:
    for row in (12, 3):
        level(open_images("owner/photos"), row)
    net.sent.clear()
    pinned = open_images("owner/photos").reference
    assert not net.sent
    net.server.asked.clear()
    images = open_images(pinned)
    assert [level(images, row) for row in (10, 14, 0)] == [10, 14, 0]
    assert not net.server.asked, "a commit that is in the cache needs no net"


def test_splits_revisions_and_configurations(net: Hub) -> None:
    assert len(open_images("owner/photos:test")) == 3
    assert len(open_images("hub:owner/photos:default/test")) == 3
    assert level(open_images("owner/photos@v1"), 1) == 31
    assert level(open_images("hub:owner/other:small/test"), 0) == 5
    assert level(open_images("hub:owner/other:small/train"), 0) == 3
    declared = open_images("owner/declared:second")
    assert declared.reference.endswith(":b/second") and len(declared) == 3
    assert level(open_images("owner/declared:a/train"), 0) == 0


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("owner/nothing", "no data set owner/nothing on the Hub .* no file or folder of that name"),
        ("owner/photos@v9", "has no revision 'v9'"),
        ("owner/photos:valid", "no split 'valid' in its configuration 'default', but: train, test"),
        ("owner/photos:large/train", "no configuration 'large', but: default"),
        ("owner/other", "has 2 configurations: large, small. Say which.* hub:owner/other:large/tr"),
        ("owner/declared", "has 2 splits and none is called train: first, second. Say which"),
        ("owner/bare", "has no Parquet files, and the Hub has not made any"),
        ("owner/closed", "accepted its terms"),
        ("hub:photos", "is no data set of the Hub. Write hub:owner/name"),
        ("hub:owner/photos:a:b", "is no data set of the Hub. Write hub:owner/name"),
    ],
)
def test_what_is_not_there_is_named(net: Hub, reference: str, words: str) -> None:
    net.gated.add("owner/closed")
    with pytest.raises(ImageError, match=words):
        open_images(reference)


def test_what_lies_here_is_not_asked_for_on_the_hub(net: Hub, tmp_path: Path) -> None:
    (tmp_path / "owner/photos").mkdir(parents=True)
    (tmp_path / "owner/photos/a.png").write_bytes(png(1))
    assert open_images("owner/photos").kind == "image files"
    with pytest.raises(ImageError, match=r"no images at .*owner/other: No such file.*hub:owner"):
        open_images("owner/other")
    with pytest.raises(ImageError, match="no images at"):
        open_images(Path("else/where"))
    assert not net.server.asked
    assert len(open_images("hub:owner/photos")) == 17


def test_without_a_connection(net: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = open_images("owner/photos").reference
    level(open_images(pinned), 1)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match=r"owner/photos on the Hub cannot be read \(.*Check the"):
        open_images("owner/photos")
    assert level(open_images(pinned), 2) == 2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE is set"):
        open_images("owner/photos")


def test_a_net_that_fails_is_no_unreadable_image(net: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_images("owner/photos")
    fallback = net.server.fallback
    net.server.fallback = lambda asked: Answer(b"", 410)
    with pytest.raises(FetchError, match="cannot be read"):
        images.read(0)
    net.server.fallback = fallback
    assert level(images, 0) == 0


def test_a_damaged_file_of_the_cache_is_fetched_again(net: Hub, tmp_path: Path) -> None:
    images = open_images("owner/photos")
    level(images, 0)
    (group,) = (tmp_path / "cache").rglob("group-*.arrow")
    group.write_bytes(group.read_bytes()[:100])
    assert level(open_images("owner/photos"), 1) == 1
    shutil.rmtree(tmp_path / "cache")
    assert level(images, 7) == 7


def test_prefetch_fetches_the_row_groups_of_rows(net: Hub, tmp_path: Path) -> None:
    images = open_images("owner/photos")
    images.prefetch([1, 2, 11])
    assert [level(images, row) for row in (1, 2, 11)] == [1, 2, 11]
    assert len(list((tmp_path / "cache").rglob("group-*.arrow"))) == 2


def test_the_fingerprint_is_of_the_files_that_count(net: Hub) -> None:
    before = open_images("owner/photos").listing_fingerprint()
    files = {**SHARDS, "README.md": b"other"}
    net.repositories["owner/photos"]["main"] = (files, {})
    again = open_images("owner/photos")
    assert again.reference != f"hub:owner/photos@{COMMIT}:default/train"
    assert again.listing_fingerprint() == before
    files["data/train-00001-of-00002-cd.parquet"] = parquet(range(40, 47))
    assert open_images("owner/photos").listing_fingerprint() != before


def test_a_set_is_read_in_another_process(net: Hub) -> None:
    images = open_images("owner/photos")
    images.prefetch([0])
    copy = pickle.loads(pickle.dumps(images))
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(copy.read, [8])[0].image.getpixel((0, 0))[0] == 8


def test_a_data_set_of_addresses(net: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """SBU's form: the pictures are fetched from where the table says."""
    monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", "1000")
    urls = [f"{net.server.url}/{n}.png" for n in range(3)]
    net.server.answers.update({f"/{n}.png": Answer(png(n)) for n in range(2)})
    table = pa.table({"image_url": urls, "user_id": ["a"] * 3, "caption": ["x", "y", "z"]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    files = {"data/train-00000-of-00001.parquet": sink.getvalue()}
    net.repositories["owner/sbu"] = {"main": (files, {})}
    images = open_images("owner/sbu")
    assert images.image_ids == urls
    assert images.reference == f"hub:owner/sbu@{commit_of('main', files)}:default/train"
    assert level(images, 1) == 1
    assert images.read(1).attributes == {"user_id": "a", "caption": "y"}
    with pytest.raises(ImageError, match=r"2\.png is a dead link"):
        images.read(2)


def test_a_data_set_without_pictures(net: Hub) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), sink)
    net.repositories["owner/texts"] = {"main": ({"a.parquet": sink.getvalue()}, {})}
    with pytest.raises(ImageError, match=r"owner/texts on the Hub has no columns that could be"):
        open_images("owner/texts")
