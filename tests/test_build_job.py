"""Builds as jobs: started, found again, stopped, killed, gone on with."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from jobs import QUICK, contents, finished, wait_for

from cgraph import build_job, cli, job_status
from cgraph.errors import ConfigError, StudyError
from cgraph.manifest import STAGES
from cgraph.store import to_json, write_bytes
from cgraph.study import Study


def settings(inputs, folder, **changed):
    return {
        "model": str(inputs[0]),
        "images": str(inputs[1]),
        "out": str(folder),
        **QUICK,
        **changed,
    }


def kill(job):
    """Kill a build with its workers, as a machine that runs out of memory does."""
    os.killpg(job.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tiny_inputs, tmp_path_factory):
    """A study built by the command line in the foreground, and what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    options = []
    for name, value in settings(tiny_inputs, folder).items():
        options += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(
        [sys.executable, "-m", "cgraph.cli", "build", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_build_in_the_foreground_leaves_the_same_record(undisturbed, tiny_inputs):
    folder, done = undisturbed
    job = job_status.status(folder)
    assert job.state == "finished"
    assert job.settings["model"] == str(tiny_inputs[0])
    assert job.settings["max_images"] == 240
    assert job.stages_done == STAGES
    assert job.share_done == 1
    assert job.ended > job.started
    assert set(job.estimate["stages"]) == set(STAGES)
    log = job_status.log_tail(folder)
    for stage in STAGES:
        assert f"] {stage}: " in log
    assert "finished after" in log
    assert "time    " in done.stderr
    assert "[1/8] tokens: 0 of 1 parts" in done.stderr
    assert job_status.list_jobs([folder.parent])[0] == job_status.list_jobs([folder])[0]
    assert set(job_status.stage_times(folder)) == set(STAGES)


def test_a_job_runs_by_itself_and_one_folder_has_one(undisturbed, tiny_inputs, tmp_path, capsys):
    folder = tmp_path / "study"
    begun = time.monotonic()
    job = build_job.start(settings(tiny_inputs, folder))
    assert time.monotonic() - begun < 20
    assert job.state == "running"
    assert job.pid != os.getpid()
    assert os.getsid(job.pid) == job.pid, "a session of its own, which no terminal takes down"
    for again in (build_job.start, lambda _: build_job.resume(folder)):
        with pytest.raises(StudyError, match="Another build is working on"):
            again(settings(tiny_inputs, folder))
    arguments = ["build", "--out", str(folder), "--model", str(tiny_inputs[0])]
    assert cli.main([*arguments, "--images", str(tiny_inputs[1])]) == 2
    assert f"stop it with `cgraph stop {folder}`" in capsys.readouterr().err
    assert job_status.status(folder).pid == job.pid, "the record is that of the first"
    seen = wait_for(folder, lambda job: job.progress is not None)
    assert seen.memory_mb() > 50
    assert seen.seconds_left >= 0
    assert 0 <= seen.share_done < 1
    assert cli.main(["jobs", str(tmp_path)]) == 0
    assert f"{folder}: running (process {job.pid})" in capsys.readouterr().out
    finished(folder)
    assert contents(folder) == contents(undisturbed[0])
    with pytest.raises(StudyError, match="nothing to stop"):
        build_job.stop(folder)
    with pytest.raises(StudyError, match="is finished: there is nothing to go on with"):
        build_job.resume(folder)


def _given(values):
    return {name: value for name, value in values.items() if value not in (None, False)}


def test_stopped_and_gone_on_with(undisturbed, tiny_inputs, tmp_path, capsys):
    folder = tmp_path / "study"
    build_job.start(settings(tiny_inputs, folder, workers=2))
    wait_for(folder, lambda job: job.progress is not None and job.progress.stage == "dictionary")
    assert cli.main(["stop", str(folder)]) == 0
    assert "was stopped. Finished work is kept" in capsys.readouterr().out
    stopped = job_status.status(folder)
    assert stopped.state == "stopped"
    assert stopped.stages_done == ("tokens", "split")
    assert "stopped after" in job_status.log_tail(folder)
    assert cli.main(["jobs", str(folder), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["state"], listed["folder"]) == ("stopped", str(folder))
    assert cli.main(["build", "--out", str(folder), "--background", "--workers", "1"]) == 0
    assert "runs in the background" in capsys.readouterr().out
    gone_on = finished(folder)
    assert gone_on.estimate == stopped.estimate, "what was measured at first is kept"
    assert _given(gone_on.settings) == {**_given(stopped.settings), "workers": 1}
    assert contents(folder) == contents(undisturbed[0])


def test_one_that_does_not_answer_is_killed(tmp_path):
    """A build deep in a compiled loop hears nothing."""
    code = (
        "import signal, sys, time\n"
        "from pathlib import Path\n"
        "from cgraph.job_record import recorded\n"
        "with recorded(Path(sys.argv[1]), {'out': sys.argv[1]}):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "study"])
    wait_for(tmp_path / "study", lambda job: job.state == "running")
    time.sleep(0.2)
    build_job.ask_to_stop(tmp_path / "study")
    assert job_status.status(tmp_path / "study").state == "stopping"
    job = build_job.stop(tmp_path / "study", grace=0.5)
    assert job.state == "stopped"
    assert process.wait(timeout=10) == -signal.SIGKILL


def killed_and_resumed(inputs, folder, expected, moments, workers):
    """Kill a build whenever a moment has come, go on, and compare every file in the end.

    Parameters
    ----------
    moments : list of (str, float)
        A stage, and seconds after it was entered.
    """
    job = build_job.start(settings(inputs, folder, workers=workers))
    n_kills = 0
    for stage, later in moments:
        wanted = STAGES.index(stage)

        def come(job, wanted=wanted):
            at = job.progress and STAGES.index(job.progress.stage)
            return not job.is_active or (at is not None and at >= wanted)

        wait_for(folder, come)
        time.sleep(later)
        job = job_status.status(folder)
        if not job.is_active:
            break
        kill(job)
        n_kills += 1
        job = wait_for(folder, lambda job: not job.is_active)
        assert job.state in ("interrupted", "finished")
        if job.state == "finished":
            break
        assert job.can_resume
        job = build_job.resume(folder)
    finished(folder)
    Study.open(folder).verify()
    assert contents(folder) == expected
    return n_kills


def test_killed_in_two_stages_the_result_is_the_same(undisturbed, tiny_inputs, tmp_path):
    rng = random.Random(7)
    stages = sorted(rng.sample(["tokens", "dictionary", "graph", "names"], 2), key=STAGES.index)
    moments = [(stage, rng.uniform(0, 0.4)) for stage in stages]
    folder = tmp_path / "study"
    expected = contents(undisturbed[0])
    # A machine that is quick may be past a moment before it comes; the bytes are compared inside.
    assert killed_and_resumed(tiny_inputs, folder, expected, moments, workers=1) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_many_moments_the_result_is_the_same(seed, undisturbed, tiny_inputs, tmp_path):
    """Every stage is killed in, at random moments, with one worker and with two."""
    rng = random.Random(seed)
    moments = [
        (stage, rng.uniform(0, 2.0 if stage != "split" else 0.05))
        for stage in STAGES
        for _ in range(rng.randint(1, 2))
    ]
    expected = contents(undisturbed[0])
    n_kills = killed_and_resumed(
        tiny_inputs, tmp_path / "study", expected, moments, workers=1 + seed % 2
    )
    assert n_kills >= 4  # a quick machine is past some moments before they come


def test_it_goes_on_where_it_is_told_to(tmp_path, monkeypatch):
    first = {"model": "m", "images": "i", "workers": 2}
    write_record(tmp_path, settings=first, state="stopped", pid=1)
    started = []
    monkeypatch.setattr(build_job, "start", started.append)
    build_job.resume(tmp_path)
    build_job.resume(tmp_path, cluster="tcp://there:8786")
    write_record(tmp_path, settings={**first, "workers": None, "cluster": "tcp://there:8786"})
    build_job.resume(tmp_path)
    build_job.resume(tmp_path, workers=1)
    where = [(settings.get("workers"), settings.get("cluster")) for settings in started]
    there = (None, "tcp://there:8786")
    assert where == [(2, None), there, there, (1, None)]


def test_a_study_that_was_moved_goes_on_in_the_background(tiny_study, tmp_path, monkeypatch):
    shutil.copy(tiny_study.path / "study.json", tmp_path)
    gone = {"model": "/gone/model", "images": "hub:owner/name", "seed": 1, "workers": 2}
    write_record(tmp_path, settings=gone, state="stopped", pid=1)
    values = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps({**values, "stages": ["tokens"]}))
    started = []
    monkeypatch.setattr(build_job, "start", started.append)
    build_job.resume(tmp_path)
    assert started.pop()["model"] == "/gone/model", "nothing else says what it was started with"
    sources = {"model": "model", "images": "hub:owner/name@" + "0" * 40}
    (tmp_path / "build.json").write_text(json.dumps({"sources": sources, "stages": []}))
    build_job.resume(tmp_path)
    assert started == [{"out": str(tmp_path), "workers": 2, "cluster": None}]


def test_killed_before_the_study_began(undisturbed, tiny_inputs, tmp_path, capsys):
    """`cgraph jobs` says how to go on, and that must be true of every build."""
    folder = tmp_path / "study"
    write_record(folder, settings=settings(tiny_inputs, folder), pid=1, birth="0", host="x")
    assert cli.main(["jobs", str(folder)]) == 0
    assert f"`cgraph build --out {folder}` goes on" in capsys.readouterr().out
    assert cli.main(["build", "--out", str(folder)]) == 0
    assert contents(folder) == contents(undisturbed[0])


def test_a_build_that_fails_says_why(tiny_inputs, tmp_path, capsys):
    folder = tmp_path / "study"
    build_job.start(settings(tiny_inputs, folder, max_images=10))
    job = wait_for(folder, lambda job: not job.is_active)
    assert job.state == "failed"
    assert job.error.startswith("n_atoms is 16, and 10 images leave only about 7 for training")
    assert "Traceback" not in job_status.log_tail(folder)
    assert cli.main(["jobs", str(folder)]) == 0
    assert "failed after" in capsys.readouterr().out


def test_a_defect_is_told_too(tiny_inputs, tmp_path, monkeypatch):
    from cgraph import pipeline

    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(pipeline, "resume_study", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["build", "--out", str(tmp_path / "study")])
    job = job_status.status(tmp_path / "study")
    assert job.state == "failed"
    assert "an error of its own (ZeroDivisionError: oh)" in job.error


def write_record(folder, **values):
    write_bytes(folder / ".job/job.json", to_json({"state": "running", "settings": {}, **values}))


def test_a_process_number_used_again_is_no_build(tmp_path):
    import socket

    write_record(tmp_path, pid=os.getpid(), birth="another boot 5", host=socket.gethostname())
    assert job_status.status(tmp_path).state == "interrupted"


@pytest.mark.parametrize(
    "record",
    [b"", b"[]", b"{", b'{"state": 3}', b'{"state": "running", "pid": "x", "settings": 1}'],
)
def test_a_damaged_record_is_an_interrupted_build(record, tmp_path):
    write_bytes(tmp_path / ".job/job.json", record)
    (tmp_path / "study.json").write_text('{"stages": ["tokens"]}')
    job = job_status.status(tmp_path)
    assert (job.state, job.settings, job.stages_done) == ("interrupted", {}, ("tokens",))


def test_how_much_is_done_is_weighed_by_time(tmp_path):
    stages = {"tokens": 60.0, "dictionary": 30.0, "graph": 10.0}
    write_record(
        tmp_path, state="stopped", estimate={"stages": {**dict.fromkeys(STAGES, 0.0), **stages}}
    )
    assert job_status.status(tmp_path).share_done == 0
    (tmp_path / "study.json").write_text('{"stages": ["tokens", "split"]}')
    assert job_status.status(tmp_path).share_done == pytest.approx(0.6)
    progress = {
        "stage": "dictionary", "stage_number": 3, "n_stages": 8, "done": 6, "total": 12,
        "seconds": 1.0, "seconds_left": 5.0, "build_seconds_left": 1.0,
    }  # fmt: skip
    write_bytes(tmp_path / "progress.json", to_json(progress))
    job = job_status.status(tmp_path)
    assert job.share_done == pytest.approx(0.75)
    assert job.seconds_left is None, "nobody is at work"
    states = dict(job_status.stage_states(job))
    assert [states[s] for s in ("tokens", "split", "dictionary", "codes")] == [
        "done", "done", "now", "later",
    ]  # fmt: skip


def test_what_is_no_job(tmp_path, tiny_study):
    assert job_status.status(tmp_path) is None
    assert job_status.status(tiny_study.path).state == "finished"
    assert job_status.list_jobs([tiny_study.path.parent]) == [], "it was built from Python"
    assert job_status.log_tail(tmp_path) == ""
    with pytest.raises(StudyError, match="holds no build to go on with"):
        build_job.resume(tmp_path)
    with pytest.raises(ConfigError, match="out is missing"):
        build_job.start({"model": "x"})


def test_a_build_elsewhere_is_found_by_its_lock(tmp_path):
    from cgraph.store import folder_lock

    write_record(tmp_path, host="elsewhere")
    assert job_status.status(tmp_path).state == "interrupted"
    with folder_lock(tmp_path / ".job"):
        job = job_status.status(tmp_path)
    assert job.state == "running"
    with pytest.raises(StudyError, match="nothing to stop"):
        build_job.stop(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tiny_inputs, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    arguments = ["--model", str(tiny_inputs[0]), "--images", str(tiny_inputs[1])]
    assert cli.main(["build", *arguments, "--out", str(tmp_path)]) == 2
    assert "holds letter.txt but no study" in capsys.readouterr().err
    assert not (tmp_path / ".job").exists()


def test_where_studies_are_looked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CGRAPH_STUDIES", f"{tmp_path}{os.pathsep}~/more")
    monkeypatch.chdir(tmp_path)
    assert [str(folder) for folder in job_status.search_folders()] == [
        str(tmp_path), os.path.expanduser("~/more"), "studies", "data",
    ]  # fmt: skip
    assert cli.main(["jobs"]) == 0
    assert "No builds were found" in capsys.readouterr().out
    assert cli.main(["jobs", str(tmp_path / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err
