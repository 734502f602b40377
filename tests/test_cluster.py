"""The stages on a real Dask scheduler and worker processes: same bytes, whatever happens."""

import os
import signal
import socket
import subprocess
import sys

import dask
import dask_cluster
import fsspec
import pytest
import tiny
import whole_objects
from distributed import Client, LocalCluster
from jobs import contents
from worker_tasks import at_once, die

from cgraph import cluster as cluster_module
from cgraph.cli import main
from cgraph.errors import ClusterError, ConfigError
from cgraph.executors import WorkerLost
from cgraph.pipeline import build_study, resume_study


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler with two workers, which know the object store of tests."""
    package, objects = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("objects")
    environment = {
        "PYTHONPATH": whole_objects.install(package),
        whole_objects.ROOT: str(objects),
    }
    found = dask_cluster.Cluster(tmp_path_factory.mktemp("dask"), **environment)
    found.objects = objects
    try:
        for name in ("one", "two"):
            found.add_worker(name)
        yield found
    finally:
        found.close()


@pytest.fixture
def client(cluster):
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(len(cluster.workers), timeout=dask_cluster.PATIENCE)
        yield client


def test_a_cluster_gives_the_bytes_of_the_local_run(client, tiny_inputs, tiny_study, tmp_path):
    folder = tmp_path / tiny_study.path.name
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=client.get_executor())
    assert contents(folder) == contents(tiny_study.path)


def test_a_cluster_writes_to_an_object_store(cluster, client, tiny_inputs, tiny_study, monkeypatch):
    monkeypatch.setenv(whole_objects.ROOT, str(cluster.objects))
    fsspec.register_implementation("whole", whole_objects.WholeObjects, clobber=True)
    study = build_study(
        *tiny_inputs, "whole://dask/discs", tiny.CONFIG, executor=client.get_executor()
    )
    assert contents(study.path) == contents(tiny_study.path)


def test_workers_that_share_nothing_are_named(client, tiny_inputs):
    """What is in the memory of this process is in that of no other."""
    with pytest.raises(ClusterError, match=r"^2 of 2 workers .* does not see the study folder mem"):
        build_study(
            *tiny_inputs, "memory://unshared/discs", tiny.CONFIG, executor=client.get_executor()
        )


def test_a_worker_of_another_version_is_named(cluster, client, tiny_inputs, tmp_path):
    other = tmp_path / "cgraph-0.0.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: cgraph\nVersion: 0.0.9\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    cluster.add_worker("other", PYTHONPATH=path)
    client.wait_for_workers(3, timeout=dask_cluster.PATIENCE)
    with pytest.raises(ClusterError, match=r"1 of 3 workers .*cgraph 0\.0\.9 there and"):
        build_study(*tiny_inputs, tmp_path / "s", tiny.CONFIG, executor=client.get_executor())
    cluster.kill_worker("other")
    dask_cluster.wait_for(lambda: len(client.scheduler_info()["workers"]) == 2)


def test_the_command_is_stopped_by_ctrl_c_and_goes_on(
    cluster, client, tiny_inputs, tiny_study, tmp_path
):
    model, images = map(str, tiny_inputs)
    folder = tmp_path / tiny_study.path.name
    arguments = ["build", "--out", str(folder), "--cluster", cluster.address]
    # The settings of the tiny study are not all on the command line: start it from here.
    with pytest.raises(Interrupted):
        build_study(model, images, folder, tiny.CONFIG, workers=1, on_progress=_stop_early)
    process = subprocess.Popen(
        [sys.executable, "-m", "cgraph.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "dictionary" in line:
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "Finished work is kept" in said and "Traceback" not in said
    dask_cluster.wait_for(lambda: not any(client.processing().values()))
    assert main(arguments) == 0
    assert contents(folder) == contents(tiny_study.path)


def _stop_early(progress):
    if (progress.stage, progress.done) == ("tokens", 1):
        raise Interrupted


def test_a_worker_killed_mid_stage_loses_nothing(
    cluster, client, tiny_inputs, tiny_study, tmp_path
):
    """One worker stands still with its tasks, is killed while it has them, and is not missed.

    The other one is alone afterwards, and does the rest of this file.
    """
    folder = tmp_path / tiny_study.path.name
    victim = cluster.workers["two"]
    held = []

    def harm(progress):
        if (progress.stage, progress.done) == ("codes", 0):
            victim.send_signal(signal.SIGSTOP)
        if (progress.stage, progress.done) == ("codes", 3):
            tasks = client.processing()
            held.extend(tasks[address_of("two")])
            cluster.kill_worker("two")

    def address_of(name):
        workers = client.scheduler_info()["workers"]
        return next(address for address, facts in workers.items() if facts["name"] == name)

    executor = client.get_executor()
    build_study(*tiny_inputs, folder, tiny.CONFIG, executor=executor, on_progress=harm)
    assert held, "it was killed with work in its hands"
    assert contents(folder) == contents(tiny_study.path)


def test_a_lost_scheduler_ends_the_build_and_it_goes_on_here(
    cluster, client, tiny_inputs, tiny_study, tmp_path, capsys
):
    """The last test of this file: there is no scheduler afterwards."""
    folder = tmp_path / tiny_study.path.name

    def harm(progress):
        if (progress.stage, progress.done) == ("graph", 1):
            cluster.scheduler.kill()
            cluster.scheduler.wait()

    with pytest.raises(WorkerLost, match=r"connection to the scheduler tcp://.* was lost\. Fin"):
        build_study(
            *tiny_inputs,
            folder,
            tiny.CONFIG,
            executor=client.get_executor(),
            on_progress=harm,
        )
    seen = []
    resume_study(folder, workers=1, on_progress=seen.append)
    assert seen[0].stage == "graph" and seen[0].done >= 1, "what was finished is not done again"
    assert contents(folder) == contents(tiny_study.path)


class TestBeforeItStarts:
    def test_no_scheduler_answers(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1.0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        assert main(["build", "--out", str(tmp_path), "--cluster", address]) == 2
        said = capsys.readouterr().err
        assert f"No scheduler of Dask answers at {address} within 1 s" in said
        assert len(said.splitlines()) == 1

    @pytest.mark.parametrize("address", ["nonsense://x:1", "tcp://no-port", "127.0.0.1:1"])
    def test_an_address_that_is_none(self, address, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1.0)
        assert main(["build", "--out", str(tmp_path), "--cluster", address]) == 2
        assert f"No scheduler of Dask answers at {address}" in capsys.readouterr().err

    def test_a_schedulers_file_that_is_not_there(self, tmp_path, capsys):
        place = str(tmp_path / "scheduler.json")
        assert main(["build", "--out", str(tmp_path / "s"), "--cluster", place]) == 2
        assert f"There is no file {place}. Start the scheduler with" in capsys.readouterr().err

    def test_dask_is_not_installed(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "distributed", None)
        assert main(["build", "--out", str(tmp_path), "--cluster", "tcp://x:1"]) == 2
        assert 'pip install "cgraph[cluster]"' in capsys.readouterr().err

    def test_workers_here_and_there(self, tmp_path):
        arguments = ["build", "--out", str(tmp_path), "--cluster", "tcp://x:1", "--workers", "2"]
        with pytest.raises(ConfigError, match="Give one of them"):
            from cgraph.cli import _parser

            options = _parser().parse_args(arguments)
            options.run(options)

    def test_no_worker_joins(self, tiny_inputs, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster_module, "FIRST_WORKER_SECONDS", 0.5)
        with (
            LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local,
            Client(local) as client,
            pytest.raises(ClusterError, match=r"No worker has joined .* within"),
        ):
            build_study(*tiny_inputs, tmp_path / "s", tiny.CONFIG, executor=client.get_executor())


def test_a_task_that_takes_its_workers_with_it(monkeypatch):
    monkeypatch.setattr(cluster_module, "alone", at_once)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
        Client(local) as client,
        pytest.raises(WorkerLost, match=r"^1 worker died .* same part .*127\.0\.0\.1:\d+; most"),
    ):
        list(cluster_module.DaskExecutor(client.get_executor()).run(die, [()]))


def test_no_worker_is_left(tiny_inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "NO_WORKER_SECONDS", 1.0)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as local,
        Client(local) as client,
    ):

        def leave(progress):
            if (progress.stage, progress.done) == ("codes", 0):
                local.scale(0)
                dask_cluster.wait_for(lambda: not client.nthreads())

        with pytest.raises(WorkerLost, match=r"^The scheduler .* has had no worker for 1 s"):
            build_study(
                *tiny_inputs,
                tmp_path / "s",
                tiny.CONFIG,
                executor=client.get_executor(),
                on_progress=leave,
            )
