"""Studies in an object store: same bytes as in a folder, by several processes, after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys

import dask_cluster
import fsspec
import pytest
import tiny
import whole_objects
from fsspec.implementations.memory import MemoryFileSystem

from cgraph import cli
from cgraph.cli import main
from cgraph.concept import ConceptId
from cgraph.errors import ClusterError, StudyError
from cgraph.given_names import GivenName, change_given_names
from cgraph.object_paths import ObjectPath, study_path
from cgraph.pipeline import build_study, resume_study
from cgraph.study import Study
from cgraph.tracing import model_folder, trace_row


class Interrupted(Exception):
    pass


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("build.json", ".lock")
    }


@pytest.fixture(autouse=True)
def memory():
    """An empty store in the memory of this process."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store that other processes reach too; returns where its objects lie."""
    (tmp_path / "objects").mkdir()
    (tmp_path / "package").mkdir()
    monkeypatch.setenv(whole_objects.ROOT, str(tmp_path / "objects"))
    # A new interpreter looks in PYTHONPATH, a worker process where this one looks.
    monkeypatch.setenv("PYTHONPATH", whole_objects.install(tmp_path / "package"))
    monkeypatch.syspath_prepend(tmp_path / "package")
    fsspec.register_implementation("whole", whole_objects.WholeObjects, clobber=True)
    return tmp_path / "objects"


@pytest.fixture
def in_memory(tiny_study):
    """The tiny study, copied to a store."""
    for name, data in contents(tiny_study.path).items():
        study_path(f"memory://studies/discs/{name}").write_bytes(data)
    return Study.open("memory://studies/discs")


def test_a_build_in_memory_is_that_of_a_folder(tiny_inputs, tiny_study):
    seen = []
    study = build_study(
        *tiny_inputs, "memory://b/discs", tiny.CONFIG, workers=1, on_progress=seen.append
    )
    study.verify()
    assert contents(study.path) == contents(tiny_study.path)
    assert not any(".building" in name or ".lock" in name for name in MemoryFileSystem.store)
    assert {progress.stage for progress in seen} >= {"tokens", "dictionary", "graph"}


def test_a_build_that_stopped_goes_on_in_memory(tiny_inputs, tiny_study):
    def stop(progress):
        if (progress.stage, progress.done) == ("codes", 3):
            raise Interrupted

    with pytest.raises(Interrupted):
        build_study(*tiny_inputs, "memory://b/discs", tiny.CONFIG, workers=1, on_progress=stop)
    study_path("memory://b/discs/codes/layer-01/part-00000.arrow").write_bytes(b"changed")
    seen = []
    study = resume_study("memory://b/discs", workers=1, on_progress=seen.append)
    assert (seen[0].stage, seen[0].done) == ("codes", 2), "what was changed is made again"
    assert contents(study.path) == contents(tiny_study.path)


def test_processes_share_no_memory(tiny_inputs):
    with pytest.raises(ClusterError, match=r"does not see .* Or use one process: --workers 1"):
        build_study(*tiny_inputs, "memory://b/discs", tiny.CONFIG, workers=2)


def test_a_kill_of_several_processes_loses_nothing(store, tiny_inputs, tiny_study):
    """SIGKILL to the build and all its workers; the lock it leaves is known to be nobody's."""
    with pytest.raises(Interrupted):  # its settings are not all on the command line
        build_study(*tiny_inputs, "whole://b/discs", tiny.CONFIG, workers=1, on_progress=_at_once)
    command = [sys.executable, "-m", "cgraph.cli", "build", "--out", "whole://b/discs"]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        dask_cluster.wait_for(lambda: any("receipts" in name for name in os.listdir(store)))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lock = json.loads(ObjectPath("whole://b/discs/.lock").read_bytes())
    assert lock["pid"] == process.pid
    assert not is_finished()
    assert main([*command[3:], "--workers", "1"]) == 0
    study = Study.open("whole://b/discs")
    assert contents(study.path) == contents(tiny_study.path)
    assert not [name for name in os.listdir(store) if ".lock" in name or ".building" in name]


def _at_once(progress):
    raise Interrupted


def is_finished():
    try:
        Study.open("whole://b/discs")
    except StudyError:
        return False
    return True


class TestReading:
    def test_everything_is_as_in_the_folder(self, in_memory, tiny_study):
        in_memory.verify()
        info = in_memory.info()
        assert {**info, "build": None} == {**tiny_study.info(), "build": None}
        row = in_memory.examples[0]
        assert in_memory.example_trace(row) == tiny_study.example_trace(row)
        assert in_memory.example_picture(row) == tiny_study.example_picture(row)
        assert trace_row(in_memory, 5) == trace_row(tiny_study, 5)

    def test_the_model_may_lie_elsewhere(self, in_memory, tiny_study, monkeypatch, tiny_inputs):
        monkeypatch.setenv("CGRAPH_MODEL_DIR", str(tiny_inputs[0]))
        assert model_folder(in_memory) == tiny_inputs[0]

    def test_a_changed_object_is_refused(self, in_memory):
        graph = study_path("memory://studies/discs/graph/edges.arrow")
        data = bytearray(graph.read_bytes())
        data[100] ^= 1
        graph.write_bytes(bytes(data))
        with pytest.raises(StudyError, match=r"memory://studies/discs/graph/edges\.arrow was chan"):
            Study.open("memory://studies/discs").verify()

    def test_a_missing_object_is_refused(self, in_memory):
        study_path("memory://studies/discs/images.arrow").unlink()
        with pytest.raises(StudyError, match=r"images\.arrow is missing\. Run `cgraph build --out"):
            Study.open("memory://studies/discs")

    def test_names_are_kept_there(self, in_memory):
        concept = ConceptId.parse("L2/3")
        name = GivenName.of("disc", "me", "2026-11-25")
        change_given_names(in_memory.path, in_memory.naming.scope, {concept: name})
        again = Study.open("memory://studies/discs")
        assert again.name_of(concept).text == "disc"

    def test_the_command_line_reads_it(self, in_memory, capsys):
        assert main(["info", "memory://studies/discs"]) == 0
        assert "discs" in capsys.readouterr().out
        assert main(["info", "memory://studies/none"]) == 2
        assert "There is no folder memory://studies/none" in capsys.readouterr().err


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("nothing://x/y", r"nothing://x/y cannot be used \(Protocol not known"),
            ("simplecache::s3://x/y", "joins several addresses with '::'"),
            ("dropbox://x/y", "dropbox://x/y cannot be used: .*dropbox"),
        ],
    )
    def test_one_that_cannot_be_used(self, url, message, tiny_inputs, capsys):
        with pytest.raises(StudyError, match=message):
            Study.open(url)
        model, images = map(str, tiny_inputs)
        assert main(["build", "--model", model, "--images", images, "--out", url]) == 2
        assert "Traceback" not in capsys.readouterr().err

    def test_where_files_are_not_put_whole(self, tiny_inputs):
        with pytest.raises(StudyError, match="not put whole or absent"):
            build_study(*tiny_inputs, "sftp://host/study", tiny.CONFIG)

    def test_a_folder_as_an_address(self, tiny_study, tmp_path):
        copy = tmp_path / "a study"
        shutil.copytree(tiny_study.path, copy)
        assert Study.open(f"file://{copy}").path == copy
        assert Study.open(f"local://{copy}").path == copy


def test_a_study_in_a_store_is_verified_and_exported(in_memory, tiny_study, tmp_path, capsys):
    place = str(in_memory.path)
    assert cli.main(["verify", place]) == 0
    assert capsys.readouterr().out.startswith("discs is whole")
    for study, out in ((place, "a.zip"), (str(tiny_study.path), "b.zip")):
        assert cli.main(["export", study, str(tmp_path / out), "--without-model"]) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    (in_memory.path / "dictionary.safetensors").write_bytes(b"other")
    assert cli.main(["verify", place]) == 1
    assert "altered    dictionary.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("push {} owner/name", "`cgraph export memory://studies/discs discs.zip` writes"),
        ("export {} memory://elsewhere/discs.zip", "Give a path of this machine"),
        ("import discs.zip {}", "Give a path of this machine"),
        ("pull owner/name {}", "Give a path of this machine"),
        ("info {}.zip", "Give a path of this machine"),
        ("stop {}", "Stop it where it was started"),
    ],
)
def test_what_needs_a_disk_says_so(command, sentence, in_memory, capsys):
    study_path(f"{in_memory.path}.zip").write_bytes(b"a zip file")
    assert cli.main(command.format(in_memory.path).split()) == 2
    assert sentence in capsys.readouterr().err
    assert cli.main(["jobs", str(in_memory.path)]) == 0
    assert "No builds were found in memory://studies/discs" in capsys.readouterr().out
