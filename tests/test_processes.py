"""Processes told apart from others of the same number, and ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cgraph import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    "while True: time.sleep(1)",
]


@pytest.fixture
def sleeper():
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def test_a_process_is_known_by_its_birth(sleeper):
    birth = processes.birth_of(sleeper.pid)
    assert birth
    assert processes.is_alive(sleeper.pid, birth)
    assert birth == processes.birth_of(sleeper.pid)
    assert birth != processes.birth_of(os.getpid())


def test_another_process_of_the_same_number_is_not_mistaken(sleeper):
    assert not processes.is_alive(sleeper.pid, "boot 12")
    assert not processes.is_alive(sleeper.pid, None)
    assert processes.end(sleeper.pid, "boot 12", 0.1)
    assert sleeper.poll() is None, "the other process was left alone"


def test_one_that_ended_and_was_not_waited_for_is_dead(sleeper):
    birth = processes.birth_of(sleeper.pid)
    sleeper.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes.is_alive(sleeper.pid, birth) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes.is_alive(sleeper.pid, birth)  # it is a zombie now
    assert processes.birth_of(sleeper.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 5])
def test_no_process(pid):
    assert processes.birth_of(pid) is None
    assert processes.memory_mb(2**22 + 5) is None


def test_one_that_answers_is_asked_only(sleeper):
    assert processes.end(sleeper.pid, processes.birth_of(sleeper.pid), 10)
    assert sleeper.wait() == -signal.SIGTERM


def test_one_that_does_not_answer_is_killed():
    with subprocess.Popen(STUBBORN, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert not processes.end(process.pid, processes.birth_of(process.pid), 0.3)
        assert process.wait() == -signal.SIGKILL


def test_memory_of_a_process_and_its_children():
    code = "import subprocess, sys; b = bytearray(80 << 20); print(1, flush=True); sys.stdin.read()"
    nested = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdin=sys.stdin); p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", nested, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert len(processes.family(process.pid)) == 2
        assert 80 <= processes.memory_mb(process.pid) <= 160
        process.stdin.close()


def test_own_and_shared_memory_of_this_process():
    own, shared = processes.own_and_shared_mb()
    block = bytearray(64 << 20)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    more, same = processes.own_and_shared_mb()
    assert 60 < more - own < 70
    assert shared > 1
    assert abs(same - shared) < 5
