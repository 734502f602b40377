"""The lock of a study in an object store: one writer, found out to be gone, taken over once."""

import json
import os
import subprocess
import sys
import threading
import time

import fsspec
import pytest
import whole_objects
from dask_cluster import wait_for
from fsspec.implementations.memory import MemoryFileSystem

from cgraph import object_lock as module
from cgraph.errors import StudyError
from cgraph.object_paths import ObjectPath
from cgraph.store import LOCK_NAME, folder_lock

FOLDER = ObjectPath("memory://locked/study")
LOCK = FOLDER / LOCK_NAME


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    MemoryFileSystem.store.clear()
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.05)


def write(**changes):
    """Write a lock of this process, changed."""
    with folder_lock(FOLDER):
        values = json.loads(LOCK.read_bytes())
    LOCK.write_bytes(json.dumps(values | {"owner": "somebody"} | changes).encode())


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_writer_at_a_time():
    with folder_lock(FOLDER) as check:
        check()
        with (
            pytest.raises(StudyError, match=f"memory://locked/study: process {os.getpid()} on "),
            folder_lock(FOLDER),
        ):
            pass
        assert LOCK.exists(), "who was refused does not take the lock away"
    assert not LOCK.exists()


def test_one_of_many_gets_it(tmp_path, monkeypatch):
    """In a store that refuses to create an object that exists, which memory:// does not quite."""
    monkeypatch.setenv(whole_objects.ROOT, str(tmp_path))
    fsspec.register_implementation("whole", whole_objects.WholeObjects, clobber=True)
    held, refused, go = [], [], threading.Barrier(8)

    def take():
        go.wait()
        try:
            with folder_lock(ObjectPath("whole://locked/study")):
                held.append(1)
                wait_for(lambda: len(refused) + len(held) == 8)  # until all have tried
        except StudyError:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1 and len(refused) == 7


def test_who_waits_gets_it_next():
    got = threading.Event()

    def later():
        with folder_lock(FOLDER, wait=10):
            got.set()

    with folder_lock(FOLDER):
        thread = threading.Thread(target=later)
        thread.start()
        time.sleep(0.3)
        assert not got.is_set()
    thread.join()
    assert got.is_set()


def test_a_writer_elsewhere_is_believed_until_its_lock_lapses():
    write(machine="elsewhere", host="node7", beat=time.time() - 30)
    with pytest.raises(StudyError, match=r"on node7, last heard of 3\d s ago"), folder_lock(FOLDER):
        pass
    write_again = json.loads(LOCK.read_bytes())
    write_again["beat"] -= module.LAPSE_SECONDS
    LOCK.write_bytes(json.dumps(write_again).encode())
    with folder_lock(FOLDER):
        assert json.loads(LOCK.read_bytes())["owner"] != "somebody"


def test_a_writer_that_was_killed_here_is_known_to_be_gone():
    write(pid=dead_process())
    with folder_lock(FOLDER):
        pass
    write(pid=os.getpid())
    with pytest.raises(StudyError, match="Another build"), folder_lock(FOLDER):
        pass


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[1]", b'{"owner": 1, "pid": "x"}'])
def test_a_damaged_lock_holds_nobody_off(damaged):
    LOCK.write_bytes(damaged)
    with folder_lock(FOLDER):
        pass


def test_the_heart_beats(monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with folder_lock(FOLDER):
        first = json.loads(LOCK.read_bytes())
        time.sleep(0.2)
        assert json.loads(LOCK.read_bytes())["beat"] > first["beat"]


def test_a_lock_that_was_lost_stops_the_writer_and_is_left_to_its_new_owner(monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with folder_lock(FOLDER) as check:
        check()
        values = json.loads(LOCK.read_bytes())
        LOCK.write_bytes(json.dumps(values | {"owner": "other", "host": "node8"}).encode())
        time.sleep(0.2)
        with pytest.raises(StudyError, match=r"was lost meanwhile .*on node8"):
            check()
    assert json.loads(LOCK.read_bytes())["owner"] == "other"


def test_a_store_that_does_not_answer_for_long_ends_the_hold(monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "LAPSE_SECONDS", 0.1)
    with folder_lock(FOLDER) as check:
        with monkeypatch.context() as patch:
            patch.setattr(MemoryFileSystem, "pipe_file", fail)
            time.sleep(0.3)
        with pytest.raises(StudyError, match="could not be renewed"):
            check()


def fail(*_, **__):
    raise ConnectionError("no network")
