"""Stages on executors of `concurrent.futures`: bounded, cancelled, one thread, small results."""

import concurrent.futures
import dataclasses
import os
import pickle
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import tiny
from joblib.externals.loky import get_reusable_executor
from jobs import contents
from worker_tasks import at_once, die, double, threads

from cgraph import futures
from cgraph.errors import ClusterError, ConfigError
from cgraph.executors import LOOK_AHEAD, ProcessExecutor, WorkerLost
from cgraph.futures import USUAL_WORKERS, FuturesExecutor
from cgraph.pipeline import build_study
from cgraph.shared_folder import objection, shared_terms


class Measured(ThreadPoolExecutor):
    """Threads that send what they are given and what they give through pickle, as processes do."""

    def __init__(self):
        super().__init__(2)
        self.results, self.tasks = [], []

    def submit(self, function, *arguments):
        packed = pickle.dumps((function, arguments))
        self.tasks.append(len(packed))

        def call():
            restored, given = pickle.loads(packed)
            answer = pickle.dumps(restored(*given))
            self.results.append(len(answer))
            return pickle.loads(answer)

        return super().submit(call)


def test_a_pool_of_threads_gives_the_same_bytes_and_receipts_alone(
    tiny_inputs, tiny_study, tmp_path
):
    folder = tmp_path / tiny_study.path.name
    with Measured() as executor:
        build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor)
        assert executor.submit(double, 2).result() == 4, "it is left open"
    assert contents(folder) == contents(tiny_study.path)
    assert len(executor.results) > 30
    assert max(executor.results) < 4096 and max(executor.tasks) < 4096
    layer = (folder / "codes/layer-01/part-00000.arrow").stat().st_size
    assert layer > 4096, "no result could have held even one part of one layer"


class Counting(concurrent.futures.Executor):
    """Runs nothing by itself; counts what is out."""

    def __init__(self):
        self.out, self.most = [], 0

    def submit(self, function, *arguments):
        future = Future()
        self.out.append((future, function, arguments))
        self.most = max(self.most, len(self.out))
        if len(self.out) >= 8:  # finish the latest first
            self.finish()
        return future

    def finish(self):
        while self.out:
            future, function, arguments = self.out.pop()
            future.set_result(function(*arguments))


def test_results_bear_the_number_of_their_call():
    found = dict(FuturesExecutor(Counting()).run(double, [(n,) for n in range(64)]))
    assert found == {n: 2 * n for n in range(64)}


def test_a_million_calls_are_not_handed_over_at_once():
    class Endless(Counting):
        def submit(self, function, *arguments):
            future = Future()
            self.out.append(future)
            if len(self.out) == limit:
                self.out[0].set_result(None)
            return future

    executor, limit = Endless(), LOOK_AHEAD * USUAL_WORKERS
    results = FuturesExecutor(executor).run(double, [(n,) for n in range(1_000_000)])
    next(results)
    assert len(executor.out) == limit
    results.close()
    assert sum(future.cancelled() for future in executor.out) == limit - 1


def test_what_is_waiting_is_cancelled_after_an_error():
    started, go = [], threading.Event()

    def work(number):
        started.append(number)
        if number == 0:
            raise ZeroDivisionError
        go.wait(10)

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ZeroDivisionError):
            list(FuturesExecutor(pool).run(work, [(n,) for n in range(100)]))
        go.set()
    assert len(started) <= 4, "not all that were handed over began"


def test_ctrl_c_cancels_what_is_waiting():
    started = []

    def work(number):
        started.append(number)
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        list(FuturesExecutor(pool).run(work, [(n,) for n in range(100)]))
        time.sleep(5)
    assert len(started) <= 8


@pytest.mark.parametrize("kind", ["threads", "loky"])
def test_workers_use_one_thread(kind, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    pools_of = {
        "threads": lambda: ThreadPoolExecutor(1),
        "loky": lambda: get_reusable_executor(max_workers=1, reuse=False),
    }
    with pools_of[kind]() as pool:
        [(_, (pid, torch_threads, pools))] = FuturesExecutor(pool).run(threads, [()])
    assert (pid == os.getpid()) == (kind == "threads")
    assert torch_threads == 1
    assert pools and set(pools) == {1}


def test_no_workers_at_all():
    with pytest.raises(ConfigError, match="workers is 0: it must be at least 1"):
        build_study("model", "images", "nowhere", workers=0)
    assert not Path("nowhere").exists()


def test_a_broken_pool_is_a_sentence(monkeypatch):
    monkeypatch.setattr(futures, "alone", at_once)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(WorkerLost, match=r"The executor broke .* Finished work is kept"),
    ):
        list(FuturesExecutor(pool).run(die, [()]))


def test_processes_of_this_machine_are_given_a_bounded_number(monkeypatch):
    handed = []
    real = ProcessPoolExecutor.submit

    def submit(self, function, *arguments):
        handed.append(arguments)
        return real(self, function, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    results = ProcessExecutor(1).run(double, [(n,) for n in range(1000)])
    next(results)
    assert len(handed) == LOOK_AHEAD
    results.close()


class TestTerms:
    """What workers are asked before they are given work."""

    def test_a_worker_that_has_everything(self, tmp_path):
        (tmp_path / "model").mkdir()
        places = (tmp_path / "model", Path("no path, but a hub id"))
        with shared_terms(tmp_path / "study", ".building", places) as terms:
            assert objection(terms) == ""
            assert terms.places == places[:1]
        assert not list((tmp_path / "study/.building").iterdir())

    @pytest.mark.parametrize("left", ["nothing", "another token"])
    def test_another_folder_of_the_same_name(self, left, tmp_path):
        with shared_terms(tmp_path / "study", ".building", ()) as terms:
            terms.token_file.unlink()
            if left != "nothing":
                terms.token_file.write_text('"other"')
            assert f"does not see the study folder {terms.folder}" in objection(terms)

    def test_a_model_that_is_not_there(self, tmp_path):
        (tmp_path / "model").mkdir()
        with shared_terms(tmp_path / "study", ".building", (tmp_path / "model",)) as terms:
            (tmp_path / "model").rmdir()
            assert f"does not see {tmp_path / 'model'}" in objection(terms)

    def test_other_versions(self, tmp_path):
        with shared_terms(tmp_path / "study", ".building", ()) as terms:
            others = tuple(
                (name, "1.0" if name == "numpy" else number) for name, number in terms.versions
            )
            terms = dataclasses.replace(terms, versions=others)
            assert f"numpy {dict(own())['numpy']} there and 1.0 here" in objection(terms)

    def test_a_worker_that_joins_later_is_asked_with_its_first_task(self, tmp_path):
        with (
            ThreadPoolExecutor(1) as pool,
            shared_terms(tmp_path / "study", ".building", ()) as terms,
        ):
            executor = FuturesExecutor(pool)
            executor.meet(terms)
            others = dataclasses.replace(terms, versions=(("python", "2.7"),))
            executor._terms = others
            with pytest.raises(ClusterError, match=r"python 3.* there and 2\.7 here"):
                list(executor.run(double, [(1,)]))


def own():
    from cgraph.shared_folder import own_versions

    return own_versions()
