"""Studies as zip files: the same bytes, opened everywhere, and never trusted."""

import json
import os
import shutil
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from cgraph import cli
from cgraph.concept import ConceptId
from cgraph.errors import StudyError
from cgraph.given_names import GivenName, change_given_names
from cgraph.study import Study
from cgraph.study_archive import export_study, import_study, read_manifest, unpack_to_cache
from cgraph.study_files import FolderFiles, verify_files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def copy(tiny_study, tiny_inputs, tmp_path):
    folder = tmp_path / "discs"
    shutil.copytree(tiny_study.path, folder)
    shutil.copytree(tiny_inputs[0], folder / "model")
    return folder


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def give(study, names):
    return change_given_names(study.path, study.naming.scope, names)


def rewrite(source, target, change):
    """Write a zip again, with some of its entries changed: a dict of name to bytes or None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change.get(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name in set(change) - set(old.namelist()):
            new.writestr(name, change[name])
    return target


def test_the_same_study_gives_the_same_bytes(copy, tmp_path):
    first = export_study(copy, tmp_path / "a.zip")
    moved = tmp_path / "elsewhere"
    shutil.copytree(copy, moved, copy_function=shutil.copy)  # other times
    (moved / "build.json").write_text("{}")  # another machine
    (moved / "notes.txt").write_text("mine")
    for path in moved.rglob("*"):
        path.chmod(0o700)
    second = export_study(moved, tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_what_is_in_it(copy, tiny_study, tmp_path):
    (copy / "names.json").write_text("{}")
    (copy / "secret.txt").touch()
    (copy / "model" / "weights.bin").touch()
    with zipfile.ZipFile(export_study(copy, tmp_path / "a.zip")) as archive:
        names = archive.namelist()
        infos = archive.infolist()
    expected = {"study.json", "names.json", *tiny_study.manifest.files}
    expected |= {f"model/{n}" for n in os.listdir(copy / "model") if n != "weights.bin"}
    assert set(names) == expected
    assert names[0] == "study.json"
    assert names[1:] == sorted(names[1:])
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    with zipfile.ZipFile(export_study(copy, tmp_path / "b.zip", with_model=False)) as archive:
        assert not [name for name in archive.namelist() if name.startswith("model/")]


def test_files_beyond_four_gigabytes_have_zip64(copy, tmp_path, monkeypatch):
    """The limit is lowered: what matters is that the larger form is written and read."""
    monkeypatch.setattr("cgraph.study_archive._LARGE", 5000)
    archive = export_study(copy, tmp_path / "a.zip")
    extra = struct.pack("<H", 1)
    with zipfile.ZipFile(archive) as found:
        forms = {}
        for info in found.infolist():
            with open(archive, "rb") as raw:
                raw.seek(info.header_offset + 26)
                name_length, extra_length = struct.unpack("<HH", raw.read(4))
                raw.seek(name_length, os.SEEK_CUR)
                forms[info.file_size >= 5000] = raw.read(extra_length)[:2]
    assert forms == {True: extra, False: b""}
    assert Study.open(archive).image_ids == Study.open(copy).image_ids


def test_a_study_opens_from_its_zip(copy, tmp_path, cache, capsys):
    archive = export_study(copy, tmp_path / "discs.zip")
    study, folder = Study.open(archive), Study.open(copy)
    study.verify()
    assert study.manifest == folder.manifest
    assert study.path.is_relative_to(cache)
    for layer in range(1, study.n_layers + 1):
        assert (study.codes(layer).to_csr() != folder.codes(layer).to_csr()).nnz == 0
    assert study.thumbnail(3) == folder.thumbnail(3)
    before = {p: p.stat().st_mtime_ns for p in cache.rglob("*")}
    assert Study.open(archive).path == study.path  # unpacked once
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*")} == before
    from_zip, from_folder = (run(capsys, "info", place, "--json") for place in (archive, copy))
    assert from_zip[0] == 0
    without = [{k: v for k, v in json.loads(x[1]).items() if k != "build"}
               for x in (from_zip, from_folder)]  # fmt: skip
    assert without[0] == without[1]


def test_many_open_the_same_zip_at_once(copy, tmp_path, cache):
    archive = export_study(copy, tmp_path / "discs.zip")
    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(lambda _: Study.open(archive).path, range(12)))
    assert len(folders) == 1
    assert [p.name for p in (cache / "studies").iterdir()] == [folders.pop().name]


def test_what_a_killed_process_left_of_an_unpacking_goes(copy, tmp_path, cache):
    archive = export_study(copy, tmp_path / "discs.zip")
    folder = Study.open(archive).path
    shutil.rmtree(folder)
    left = folder.with_name(f".{folder.name}.abc")
    (left / "codes").mkdir(parents=True)
    os.utime(left, (0, 0))
    Study.open(archive)
    assert not left.exists()


def test_an_upload_works_from_a_zip_with_its_model(copy, tiny_inputs, tmp_path, capsys):
    archive = export_study(copy, tmp_path / "discs.zip")
    image = tiny_inputs[1] / Study.open(copy).image_ids[3]
    code, out, _ = run(capsys, "trace", image, "--study", archive)
    assert code == 0
    assert out == run(capsys, "trace", image, "--study", copy)[1]


def test_a_zip_is_read_only(copy, tmp_path, capsys):
    archive = export_study(copy, tmp_path / "my discs.zip")
    study = Study.open(archive)
    data = archive.read_bytes()
    for path in study.path.rglob("*"):
        if path.is_file() and path.name != ".unpacked.json":
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
    with pytest.raises(StudyError, match=r"no name can be kept in it.*cgraph import"):
        give(study, {ConceptId(1, 0): GivenName.of("red", "me")})
    csv = tmp_path / "names.csv"
    assert run(capsys, "names", "export", archive, "--out", csv)[0] == 0
    code, _, err = run(capsys, "names", "text", archive)
    assert code == 2
    assert f"cgraph import '{archive}' FOLDER" in err
    assert archive.read_bytes() == data


def test_names_by_hand_travel_and_can_be_given_after_unpacking(copy, tmp_path, capsys):
    first, second = ConceptId(1, 0), ConceptId(2, 3)
    give(Study.open(copy), {first: GivenName.of("red", "me")})
    archive = export_study(copy, tmp_path / "discs.zip")
    assert Study.open(archive).naming.by_hand[first].text == "red"
    code, *_ = run(capsys, "import", archive, tmp_path / "mine")
    assert code == 0
    study = Study.open(tmp_path / "mine")
    give(study, {second: GivenName.of("blue", "you")})
    assert {c: n.text for c, n in Study.open(tmp_path / "mine").naming.by_hand.items()} == {
        first: "red",
        second: "blue",
    }
    code, _, err = run(capsys, "import", archive, tmp_path / "mine")
    assert code == 2
    assert "is there already" in err


def test_a_cache_that_was_damaged_is_named(copy, tmp_path):
    archive = export_study(copy, tmp_path / "discs.zip")
    folder = Study.open(archive).path
    (folder / "graph/edges.arrow").unlink()
    with pytest.raises(StudyError, match=rf"Delete {folder}: it is unpacked again from {archive}"):
        Study.open(archive)
    shutil.rmtree(folder)
    assert Study.open(archive).graph.n_edges == Study.open(copy).graph.n_edges


def test_a_zip_that_somebody_packed_himself(copy, tmp_path):
    """With a folder on top, deflated, and with what an archiver adds."""
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("discs")
        archive.writestr("__MACOSX/discs/._study.json", "x")
        for name in FolderFiles(copy).sizes():
            archive.write(copy / name, f"discs/{name}")
    study = Study.open(packed)
    study.verify()
    assert not (study.path / "build.json").exists()


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt", "..\\outside", "C:/x"]
)
def test_a_name_that_leads_out(copy, tmp_path, cache, name):
    archive = export_study(copy, tmp_path / "a.zip")
    evil = rewrite(archive, tmp_path / "evil.zip", {name: b"x"})
    for act in (unpack_to_cache, read_manifest, lambda zip: import_study(zip, tmp_path / "out")):
        with pytest.raises(StudyError, match="leads out of the folder"):
            act(evil)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("outside*"))
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_a_link(copy, tmp_path):
    evil = export_study(copy, tmp_path / "evil.zip")
    with zipfile.ZipFile(evil, "a") as archive:
        info = zipfile.ZipInfo("names.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(StudyError, match=r"holds a link, names\.json"):
        Study.open(evil)


def test_a_bomb(copy, tmp_path):
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(copy / "study.json", "study.json")
        archive.writestr("names.json", bytes(200 << 20))
    assert evil.stat().st_size < 1 << 20
    with pytest.raises(StudyError, match=r"claims to unpack to \d{9}: that is no study"):
        Study.open(evil)


def test_more_than_the_disk_has(copy, tmp_path, monkeypatch):
    archive = export_study(copy, tmp_path / "a.zip")
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StudyError, match=r"has -?\d+ MB left. Free some space"):
        Study.open(archive)


def test_what_is_no_whole_zip(copy, tmp_path, capsys):
    archive = export_study(copy, tmp_path / "a.zip")
    data = archive.read_bytes()
    for name, content in {"cut": data[: len(data) // 2], "text": b"hello", "empty": b""}.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        code, out, err = run(capsys, "info", tmp_path / f"{name}.zip")
        assert (code, out) == (2, "")
        assert "neither a folder nor a whole zip file" in err
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as photos:
        photos.writestr("a.png", b"x")
    code, _, err = run(capsys, "info", tmp_path / "photos.zip")
    assert code == 2
    assert "holds no study: there is no study.json in it" in err


def test_a_file_changed_in_the_zip(copy, tmp_path, capsys):
    archive = export_study(copy, tmp_path / "a.zip")
    edges = bytearray((copy / "graph/edges.arrow").read_bytes())
    edges[-100] ^= 1
    changed = rewrite(archive, tmp_path / "b.zip", {"graph/edges.arrow": bytes(edges)})
    with pytest.raises(StudyError, match=r"graph/edges\.arrow in .* was changed"):
        Study.open(changed)
    code, out, _ = run(capsys, "verify", changed)
    assert code == 1
    assert "altered    graph/edges.arrow" in out
    # A byte that fell over on the way: the zip's own checksum tells.
    data = bytearray(archive.read_bytes())
    data[data.index(bytes(edges[200:260]))] ^= 1
    (tmp_path / "c.zip").write_bytes(data)
    with pytest.raises(StudyError, match="neither a folder nor a whole zip file"):
        Study.open(tmp_path / "c.zip")
    code, out, _ = run(capsys, "verify", tmp_path / "c.zip", "--json")
    assert (code, json.loads(out)["altered"]) == (1, ["graph/edges.arrow"])


def test_what_is_not_exported(copy, tmp_path, capsys):
    whole = export_study(copy, tmp_path / "whole" / "discs.zip")
    code, _, err = run(capsys, "export", whole, tmp_path / "a.zip")
    assert code == 2
    assert "is one file already" in err
    for out, sentence in [("a.tar", "must end in .zip"), ("discs", "must end in .zip")]:
        code, _, err = run(capsys, "export", copy, tmp_path / out)
        assert code == 2
        assert sentence in err
    values = json.loads((copy / "study.json").read_text())
    (copy / "study.json").write_text(json.dumps({**values, "stages": values["stages"][:3]}))
    code, _, err = run(capsys, "export", copy, tmp_path / "a.zip")
    assert code == 2
    assert "is not finished: codes is still to be done" in err
    (copy / "study.json").write_text(json.dumps(values))
    edges = bytearray((copy / "graph/edges.arrow").read_bytes())
    edges[-100] ^= 1
    (copy / "graph/edges.arrow").write_bytes(edges)
    code, _, err = run(capsys, "export", copy, tmp_path / "a.zip")
    assert code == 2
    assert "was changed after it was written" in err
    assert [p.name for p in tmp_path.iterdir() if "zip" in p.name] == []


def test_the_model_from_elsewhere(tiny_study, tmp_path, capsys):
    plain, full = tmp_path / "plain.zip", tmp_path / "full.zip"
    assert run(capsys, "export", tiny_study.path, plain)[0] == 0
    assert run(capsys, "export", tiny_study.path, full, "--with-model")[0] == 0
    code, out, _ = run(capsys, "verify", plain)
    assert (code, "without a model" in out) == (0, True)
    code, out, _ = run(capsys, "verify", full)
    assert (code, "with its model" in out) == (0, True)


def test_verify_says_what_is_missing_altered_and_additional(copy, capsys):
    # What a build notes of itself is no part of the study, and no stranger in it.
    (copy / ".job").mkdir()
    (copy / ".job/build.log").write_text("started")
    assert run(capsys, "verify", copy)[0] == 0
    (copy / "graph/edges.arrow").unlink()
    (copy / "images.arrow").write_bytes((copy / "images.arrow").read_bytes()[:-1])
    thumbnails = bytearray((copy / "codes/layer-01/part-00000.arrow").read_bytes())
    thumbnails[-50] ^= 1
    (copy / "codes/layer-01/part-00000.arrow").write_bytes(thumbnails)
    (copy / "notes.txt").touch()
    (copy / "names.json").write_text("{}")
    weights = bytearray((copy / "model/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model/model.safetensors").write_bytes(weights)
    code, out, err = run(capsys, "verify", copy)
    assert (code, err) == (1, "")
    assert out.splitlines()[:6] == [
        "missing    graph/edges.arrow",
        "altered    codes/layer-01/part-00000.arrow",
        "altered    images.arrow",
        "additional notes.txt",
        "altered    model/: its weights are not those that the study was built with",
        out.splitlines()[5],
    ]
    assert "1 are missing and 2 altered" in out
    code, out, _ = run(capsys, "verify", copy, "--json")
    values = json.loads(out)
    assert code == 1
    assert (values["missing"], values["additional"]) == (["graph/edges.arrow"], ["notes.txt"])
    assert (values["model"], values["whole"]) == ("altered", False)


def test_verify_what_is_no_study(tmp_path, capsys):
    for place in (tmp_path, tmp_path / "nowhere"):
        code, out, err = run(capsys, "verify", place)
        assert (code, out) == (2, "")
        assert err.startswith("cgraph: ")


def test_progress_of_verify_ends_at_the_whole(copy):
    told = []
    manifest = read_manifest(copy)
    verify_files(FolderFiles(copy), manifest, lambda *pair: told.append(pair))
    assert told[-1][0] == told[-1][1]
    weights = (copy / "model/model.safetensors").stat().st_size
    assert told[-1][1] == sum(r.size for r in manifest.files.values()) + weights


def test_weights_in_several_files(copy, tiny_study):
    """As VisionModel hashes them, which is what the manifest holds."""
    from safetensors.numpy import load_file, save_file

    from cgraph.checkpoint import hash_files, weight_files

    tensors = load_file(copy / "model/model.safetensors")
    names = sorted(tensors)
    (copy / "model/model.safetensors").unlink()
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, own in shards.items():
        save_file({name: tensors[name] for name in own}, copy / "model" / shard)
    index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
    (copy / "model/model.safetensors.index.json").write_text(json.dumps(index))
    values = json.loads((copy / "study.json").read_text())
    assert verify_files(FolderFiles(copy), read_manifest(copy)).model == "altered"
    values["model"]["weights_sha256"] = hash_files(weight_files(copy / "model"))
    (copy / "study.json").write_text(json.dumps(values))
    assert verify_files(FolderFiles(copy), read_manifest(copy)).model == "same"
