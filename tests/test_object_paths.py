"""Paths in object stores, against the same files seen by pathlib."""

import pickle
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cgraph.errors import StudyError
from cgraph.object_paths import ObjectPath, is_remote, study_path
from cgraph.store import file_record, file_sizes, read_table, remove_folder, write_bytes

FILES = {
    "study.json": b"{}",
    "codes/layer-01/part.arrow": b"12345",
    "codes/other": b"",
    ".lock": b"x",
}


@pytest.fixture
def folders(tmp_path):
    """The same files on disk and in a store."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    local, remote = tmp_path / "study", study_path("memory://bucket/study")
    for folder in (local, remote):
        for name, data in FILES.items():
            write_bytes(folder / name, data)
    return local, remote


@pytest.mark.parametrize("name", [*FILES, "codes", "codes/layer-01", "none", "codes/none", "."])
def test_what_is_there(folders, name):
    if name == ".":
        one, two = folders
    else:
        one, two = (folder / name for folder in folders)
    assert (one.exists(), one.is_file(), one.is_dir()) == (
        two.exists(),
        two.is_file(),
        two.is_dir(),
    )
    if one.is_file():
        assert two.stat().st_size == one.stat().st_size
        assert abs(two.stat().st_mtime_ns - one.stat().st_mtime_ns) < 60e9
        assert two.read_bytes() == one.read_bytes()
        assert file_record(two, "tokens") == file_record(one, "tokens")
        assert (two.name, two.suffix, two.parent.name) == (one.name, one.suffix, one.parent.name)


def test_what_lies_below(folders):
    local, remote = folders
    assert [p.name for p in remote.iterdir()] == sorted(p.name for p in local.iterdir())
    assert [p.relative_to(remote) for p in remote.rglob("*")] == sorted(
        p.relative_to(local) for p in local.rglob("*") if p.is_file()
    )
    assert [p.name for p in remote.rglob("*.arrow")] == ["part.arrow"]
    assert list((remote / "none").iterdir()) == []
    names = [*FILES, "none", "codes"]
    assert file_sizes(remote, names) == file_sizes(local, names)


def test_what_is_removed(folders):
    for folder in folders:
        (folder / "study.json").unlink()
        (folder / "none").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            (folder / "none").unlink()
        remove_folder(folder / "codes")
        remove_folder(folder / "none")
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_it_is_small_and_equal_when_it_arrives(folders):
    path = folders[1] / "codes"
    sent = pickle.dumps(path)
    assert len(sent) < 200
    assert pickle.loads(sent) == path and hash(pickle.loads(sent)) == hash(path)
    assert path != folders[1] and folders[1] < path


def test_an_absolute_path_stands_for_itself(folders):
    assert folders[1] / "/models/vit" == Path("/models/vit")
    assert str(folders[1] / "s3://other/x") == "s3://other/x"
    assert is_remote(folders[1]) and not is_remote(folders[0])
    assert study_path(folders[0]) is folders[0] and study_path("a/b") == Path("a/b")


def test_a_url_that_was_made_a_path_is_refused():
    with pytest.raises(StudyError, match="Give the URL as a string"):
        study_path(Path("s3://bucket/study"))


def test_only_once(folders):
    path = ObjectPath("memory://bucket/new")
    path.write_bytes(b"1", new=True)
    with pytest.raises(FileExistsError):
        path.write_bytes(b"2", new=True)
    assert path.read_bytes() == b"1"


def test_damaged_objects_are_named(folders):
    with pytest.raises(StudyError, match=r"memory://bucket/study/study\.json is not an Arrow file"):
        read_table(folders[1] / "study.json")
    with pytest.raises(StudyError, match=r"memory://bucket/study/none is missing"):
        read_table(folders[1] / "none")


def test_a_store_that_does_not_answer_is_named(folders, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", fail)
    for call in (folders[1].exists, lambda: write_bytes(folders[1] / "x", b"")):
        with pytest.raises(StudyError, match=r"cannot be reached \(ConnectionError: no route\)"):
            call()
