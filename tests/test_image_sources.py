"""Whole builds from every kind of image set."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from data_set_hub import hub
from local_server import Answer, Server, serving

from cgraph.cli import main
from cgraph.errors import ImageError, StudyError
from cgraph.job_setup import read_sources
from cgraph.picture_source import image_set, picture
from cgraph.pipeline import build_study, resume_study
from cgraph.store import read_json, read_table
from cgraph.study import Study

N_IMAGES = 200
CONFIG = dataclasses.replace(
    tiny.CONFIG,
    part_size=50,
    dictionary=dataclasses.replace(tiny.CONFIG.dictionary, n_atoms=8, steps=20),
)
_IDENTITY = {"study.json", "build.json", ".lock", "skipped.arrow"}
# What names the set differs between kinds; lists of what is left out are compared apart.


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _IDENTITY
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model") / "tiny-vit")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_images(tmp_path_factory.mktemp("photos") / "discs", N_IMAGES)


@pytest.fixture(scope="module")
def expected(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("expected") / "discs"
    return build_study(model, photos, out, CONFIG, workers=1)


@pytest.fixture
def served(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", "10000")
    monkeypatch.setenv("CGRAPH_DOWNLOAD_ATTEMPTS", "1")
    answers = {
        f"/{path.relative_to(photos)}": Answer(path.read_bytes()) for path in photos.rglob("*.png")
    }
    with serving(answers) as running:
        yield running


def test_a_zip_gives_what_its_folder_gives(
    model: Path, photos: Path, expected: Study, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", photos)
    study = build_study(model, archive, tmp_path / "out" / "discs", CONFIG, workers=1)
    assert contents(study.path) == contents(expected.path)
    assert study.manifest.images["kind"] == "zip of images"
    assert picture(study, 7).size == (tiny.SIDE, tiny.SIDE)
    Path(archive).unlink()
    with pytest.raises(StudyError, match=r"set\.zip, where nothing is now"):
        resume_study(study.path)


def test_unreadable_entries_of_a_zip_are_counted_and_listed(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", photos)
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr("../../outside.png", b"x")
        added.writestr("sky/broken.png", b"\x89PNG\r\n\x1a\n and no more")
    out = tmp_path / "study"
    sizes = ["--n-atoms", "8", "--max-nnz", "4"]
    command = ["build", "--model", str(model), "--images", archive, "--out", str(out), *sizes]
    assert main([*command, "--workers", "1"]) == 0
    assert "2 images could not be read and were left out" in capfd.readouterr().err
    reasons = {row["image_id"]: row["reason"] for row in _skipped(out)}
    assert "leads out of the archive" in reasons["../../outside.png"]
    assert "truncated or damaged" in reasons["sky/broken.png"]
    assert Study.open(out).manifest.images["n_skipped"] == 2


def _skipped(folder: Path) -> list[dict[str, str]]:
    return read_table(folder / "skipped.arrow").to_pylist()


def test_addresses_give_the_same_again_and_only_what_may_pass_is_asked_again(
    served: Server, model: Path, photos: Path, tmp_path: Path
) -> None:
    """Dead links, passing failures, a stop in the middle, and a second build of the same list."""
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    dead, busy, page = names[3], names[60], names[120]
    good = dict(served.answers)
    del served.answers[f"/{dead}"]
    served.answers[f"/{busy}"] = Answer(b"", 503)
    served.answers[f"/{page}"] = Answer(b"<html>gone</html>")
    rows = "".join(f"{served.url}/{name},{name.split('/')[0]}\n" for name in names)
    (tmp_path / "list.csv").write_text(f"image_url,caption\n{rows}")
    folder = tmp_path / "one" / "discs"

    def stop(progress: object) -> None:
        if (progress.stage, progress.done) == ("tokens", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_study(model, tmp_path / "list.csv", folder, CONFIG, workers=1, on_progress=stop)
    n_asked = len(served.asked)
    assert n_asked == 100, "what was not needed yet was not asked for"
    study = resume_study(folder, workers=1)
    assert len(served.asked) == N_IMAGES, "nothing was asked for twice"
    reasons = {row["image_id"]: row["reason"] for row in _skipped(folder)}
    assert sorted(reasons) == sorted(f"{served.url}/{name}" for name in (dead, busy, page))
    assert "dead link: the server answers 404" in reasons[f"{served.url}/{dead}"]
    assert (
        "could not be fetched this time: the server answers 503" in reasons[f"{served.url}/{busy}"]
    )
    assert "dead link: what it sends is not an accepted image" in reasons[f"{served.url}/{page}"]
    assert study.manifest.images["n_skipped"] == 3
    assert study.attributes(0)["caption"] == names[0].split("/")[0]

    served.asked.clear()
    again = build_study(model, tmp_path / "list.csv", tmp_path / "two" / "discs", CONFIG, workers=1)
    assert [asked.path for asked in served.asked] == [f"/{busy}"]
    assert contents(again.path) == contents(folder)
    assert _skipped(again.path) == _skipped(folder)

    served.answers.update(good)
    served.asked.clear()
    third = build_study(model, tmp_path / "list.csv", tmp_path / "three", CONFIG, workers=1)
    assert [asked.path for asked in served.asked] == [f"/{busy}"]
    assert third.manifest.images["n_skipped"] == 2
    assert picture(third, 5).size == (tiny.SIDE, tiny.SIDE)
    assert len(served.asked) == 1, "the picture lay in the cache"


@pytest.mark.slow  # its small twin is the stop in the test above
def test_a_build_from_the_net_that_is_killed_again_and_again(
    served: Server, model: Path, photos: Path, expected: Study, tmp_path: Path
) -> None:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    for answer in served.answers.values():
        answer.pause = 0.02
    rows = "".join(f"{served.url}/{name},{name.split('/')[0]}\n" for name in names)
    (tmp_path / "list.csv").write_text(f"image_url,folder\n{rows}")
    folder = tmp_path / "killed" / "discs"
    script = (
        "import json, sys; from cgraph.pipeline import build_study;"
        "from cgraph.config import BuildConfig; model, images, out, config = sys.argv[1:];"
        "build_study(model, images, out, BuildConfig.from_dict(json.loads(config)), workers=1)"
    )
    arguments = [str(model), str(tmp_path / "list.csv"), str(folder), json.dumps(CONFIG.to_dict())]
    for enough in (20, 75, 130):
        child = subprocess.Popen([sys.executable, "-c", script, *arguments])
        while len(served.asked) < enough:
            assert child.poll() is None, "the build ended before it could be killed"
            time.sleep(0.001)
        child.kill()
        child.wait()
    study = resume_study(folder, workers=1)
    ids = {"images.arrow", "examples"}
    found = {p: d for p, d in contents(folder).items() if p.split("/")[0] not in ids}
    assert found == {p: d for p, d in contents(expected.path).items() if p in found}
    assert len(found) > 20 and study.manifest.images["n_skipped"] == 0
    # A kill loses what was on its way, at most one picture for each connection.
    assert len(served.asked) <= N_IMAGES + 3 * 17


def test_a_data_set_of_the_hub(
    model: Path, photos: Path, expected: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(photos.rglob("*.png"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    label = {"names": ["grass", "sand", "sky"], "_type": "ClassLabel"}
    info = {"info": {"features": {"folder": label}}}
    numbers = [label["names"].index(file.parent.name) for file in files]
    table = pa.table({"image": pa.array(cells, kind), "folder": numbers})
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(info)}), sink, row_group_size=30
    )
    data = {"data/train-00000-of-00001.parquet": sink.getvalue().to_pybytes()}
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with hub({"owner/discs": {"main": (data, {})}}) as net:
        monkeypatch.setenv("HF_ENDPOINT", net.server.url)
        folder = tmp_path / "out" / "discs"
        study = build_study(model, "owner/discs", folder, CONFIG, workers=1)
        kept = read_json(folder / "build.json")["sources"]["images"]
        assert kept.startswith("hub:owner/discs@") and kept.endswith(":default/train")
        assert read_sources(folder)[1] == kept
        different = {"images.arrow", "examples"}  # which hold the ids
        same = {p: d for p, d in contents(folder).items() if p.split("/")[0] not in different}
        assert same == {p: d for p, d in contents(expected.path).items() if p in same}
        assert len(same) > 20
        assert [study.attributes(r) for r in range(9)] == [expected.attributes(r) for r in range(9)]
        net.server.asked.clear()
        (folder / "graph/edges.arrow").unlink()
        before = contents(folder)
        resume_study(folder, workers=1)
        assert {**before, "graph/edges.arrow": contents(expected.path)["graph/edges.arrow"]} == (
            contents(folder)
        )
        net.repositories["owner/discs"]["main"] = ({"data/train.parquet": b"another"}, {})
        build_study(model, "owner/discs", folder, CONFIG, workers=1)
        image_set.cache_clear()
        assert picture(study, 11).size == (tiny.SIDE, tiny.SIDE)
        assert not net.server.asked, "the commit that was built from lay in the cache"


@pytest.mark.parametrize("command", ["build", "edit"])
def test_errors_list_what_is_allowed(
    command: str, expected: Study, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.rar").write_bytes(b"Rar!")
    images = ["--images", str(tmp_path / "set.rar")]
    if command == "build":
        arguments = ["--model", str(model), *images, "--out", str(tmp_path / "out")]
    else:
        (tmp_path / "edit.json").write_text('{"cgraph_edit": 1, "on": ["L1/0"]}')
        arguments = [str(tmp_path / "edit.json"), *images, "--study", str(expected.path)]
        arguments += ["--out", str(tmp_path / "out.csv")]
    assert main([command, *arguments]) == 2
    said = capfd.readouterr().err
    for words in ("set.rar is a single file of another kind", "a zip file", "(hub:owner/name)"):
        assert words in said


def test_images_within_the_study_move_with_it(model: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", photos)
    Path(archive).rename(folder / "set.zip")
    study = build_study(model, folder / "set.zip", folder, CONFIG, workers=1)
    assert read_json(folder / "build.json")["sources"]["images"] == "set.zip"
    moved = folder.rename(tmp_path / "moved")
    image_set.cache_clear()
    assert picture(Study.open(moved), 3).size == (tiny.SIDE, tiny.SIDE)
    (moved / "set.zip").unlink()
    image_set.cache_clear()
    with pytest.raises(ImageError, match="are not where they were"):
        picture(Study.open(moved), 3)
    assert study.manifest.images["id"] == "set.zip"
