"""Push and pull against a stand-in of the Hub: what arrives is what was there, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
import study_hub_api

from cgraph import cli
from cgraph.errors import StudyError
from cgraph.hub_access import repository_name
from cgraph.study import Study


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    with study_hub_api.serve() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Large files by LFS: the other way needs a server of its own.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", study_hub_api.TOKEN)
        # Whatever is not this machine is asked of a proxy that is not there.
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()  # one that was opened before knows of no proxy
        yield found
        huggingface_hub.close_session()


@pytest.fixture
def copy(tiny_study, tiny_inputs, tmp_path):
    """A study with its model, a name by hand and a file that is nobody's business."""
    folder = tmp_path / "discs"
    shutil.copytree(tiny_study.path, folder)
    shutil.copytree(tiny_inputs[0], folder / "model")
    (folder / "model" / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "secret.txt").write_text("private")
    (folder / "names.json").write_text("{}")
    return folder


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("build.json", ".lock")
    }


def test_a_study_comes_back_as_it_went(hub, copy, tmp_path, capsys):
    code, out, err = run(capsys, "push", copy, "me/discs")
    assert (code, err) == (0, "")
    repository = hub.repositories["me/discs"]
    assert repository.private
    assert f"{hub.url}/datasets/me/discs (private), revision {repository.head}." in out
    expected = contents(copy)
    for stranger in ("secret.txt", "model/pytorch_model.bin"):
        del expected[stranger]
    pushed = repository.files()
    assert set(pushed) == {*expected, "README.md", ".gitattributes"}
    assert len(repository.commits) == 2  # one commit, after the one that made the repository

    code, out, err = run(capsys, "pull", "hub:me/discs", tmp_path / "here")
    assert (code, err) == (0, "")
    assert repository.head in out
    assert contents(tmp_path / "here") == expected
    assert Study.open(tmp_path / "here").image_ids == Study.open(copy).image_ids
    assert not list(tmp_path.glob(".here*"))
    code, out, _ = run(capsys, "verify", tmp_path / "here")
    assert code == 0
    assert "with its model" in out


def test_a_study_in_a_zip_is_pushed_alike(hub, copy, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "export", copy, tmp_path / "discs.zip")[0] == 0
    assert run(capsys, "push", copy, "me/folder")[0] == 0
    assert run(capsys, "push", tmp_path / "discs.zip", "me/zip")[0] == 0
    folder, packed = (hub.repositories[name].files() for name in ("me/folder", "me/zip"))
    card = packed.pop("README.md").replace(b"me/zip", b"me/folder")
    assert card == folder.pop("README.md")
    assert packed == folder


def test_the_card(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs", "--public")[0] == 0
    assert not hub.repositories["me/discs"].private
    card = hub.repositories["me/discs"].files()["README.md"].decode()
    assert re.match(r'---\ntags:\n- cgraph\n- interpretability\n- "vit"\n', card)
    pairs = Study.open(copy).evaluation("pairs").to_pylist()
    for pair in pairs:
        assert f"| {pair['left']}→{pair['right']} | {pair['auc_mean']:.3f} |" in card
    assert "cgraph pull me/discs studies/discs" in card
    # A card that somebody wrote stays.
    hub.commit("me/discs", {"README.md": b"mine"})
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    assert hub.repositories["me/discs"].files()["README.md"] == b"mine"


def test_without_the_model(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs", "--without-model")[0] == 0
    assert not [p for p in hub.repositories["me/discs"].files() if p.startswith("model/")]
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    assert run(capsys, "pull", "me/discs", tmp_path / "here", "--without-model")[0] == 0
    assert not (tmp_path / "here" / "model").exists()


def test_a_model_from_elsewhere_comes_along(hub, tiny_study, capsys):
    assert run(capsys, "push", tiny_study.path, "me/discs")[0] == 0
    assert not [p for p in hub.repositories["me/discs"].files() if p.startswith("model/")]
    assert run(capsys, "push", tiny_study.path, "me/discs", "--with-model")[0] == 0
    assert "model/model.safetensors" in hub.repositories["me/discs"].files()
    assert not (tiny_study.path / "model").exists()


def test_a_push_that_was_cut_off_sends_nothing_twice(hub, copy, capsys):
    hub.stop_after = 3
    code, _, err = run(capsys, "push", copy, "me/discs")
    assert code == 2
    assert "with status 400" in err
    assert "what was transferred is kept" in err
    assert set(hub.repositories["me/discs"].files()) == {".gitattributes"}
    deadline = time.monotonic() + 2  # what other threads were sending may still arrive
    while len(hub.objects) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = len(hub.objects)
    assert 1 <= sent <= 3
    hub.stop_after = None
    hub.requests.clear()
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    large = {
        d for d in hub.repositories["me/discs"].files().values() if len(d) > study_hub_api.SMALL
    }
    assert hub.asked("PUT", "/lfs/") == len(large) - sent
    hub.requests.clear()
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    assert hub.asked("PUT", "/lfs/") == 0
    assert len(hub.repositories["me/discs"].commits) == 2  # nothing new to say


def test_files_that_a_later_build_has_not_are_removed(hub, copy, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    shutil.rmtree(copy / "model")
    (copy / "names.json").unlink()
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    files = hub.repositories["me/discs"].files()
    assert "model/config.json" not in files
    assert "names.json" in files  # names that others gave are kept


def test_a_pull_that_was_cut_off_goes_on(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    n_files = len(hub.repositories["me/discs"].files()) - 2
    hub.stop_after = 20
    code, _, err = run(capsys, "pull", "me/discs", tmp_path / "here")
    assert code == 2
    assert "what was transferred is kept" in err
    assert not (tmp_path / "here").exists()
    kept = len([p for p in contents(tmp_path / ".here.pull") if not p.startswith(".cache/")])
    assert 0 < kept < n_files
    hub.stop_after = None
    hub.requests.clear()
    assert run(capsys, "pull", "me/discs", tmp_path / "here")[0] == 0
    assert hub.asked("GET", "/resolve/") == n_files - kept


def test_a_revision_is_pinned(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    first = hub.repositories["me/discs"].head
    hub.commit("me/discs", {"graph/edges.arrow": None})
    code, _, err = run(capsys, "pull", "me/discs", tmp_path / "here")
    assert code == 2
    assert "me/discs is no whole study: graph/edges.arrow is missing" in err
    assert run(capsys, "pull", "me/discs", tmp_path / "here", "--revision", first)[0] == 0
    code, _, err = run(capsys, "pull", "me/discs", tmp_path / "x", "--revision", "0" * 40)
    assert code == 2
    assert "has no such revision" in err


def test_a_file_that_was_changed_on_the_hub(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    edges = bytearray(hub.repositories["me/discs"].files()["graph/edges.arrow"])
    edges[-100] ^= 1
    hub.commit("me/discs", {"graph/edges.arrow": bytes(edges)})
    code, _, err = run(capsys, "pull", "me/discs", tmp_path / "here")
    assert code == 2
    assert "graph/edges.arrow in me/discs at" in err
    assert not (tmp_path / "here").exists()


def test_only_files_of_the_study_are_pulled(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    hub.commit("me/discs", {"model/evil.bin": b"x", "code.py": b"x", "model/a/b.json": b"{}"})
    assert run(capsys, "pull", "me/discs", tmp_path / "here")[0] == 0
    assert not (tmp_path / "here" / "code.py").exists()
    assert not (tmp_path / "here" / "model" / "evil.bin").exists()
    assert not (tmp_path / "here" / "model" / "a").exists()


def test_a_manifest_that_leads_out(hub, copy, tmp_path, capsys):
    assert run(capsys, "push", copy, "me/discs")[0] == 0
    values = json.loads(hub.repositories["me/discs"].files()["study.json"])
    values["files"]["../../outside"] = {"sha256": "0" * 64, "size": 1, "stage": "tokens"}
    hub.commit("me/discs", {"study.json": json.dumps(values).encode()})
    code, _, err = run(capsys, "pull", "me/discs", tmp_path / "here")
    assert code == 2
    assert "leads out of the study" in err


def test_other_peoples_repositories(hub, copy, capsys):
    hub.create("me/photos", private=False)
    hub.commit("me/photos", {"train.parquet": b"x"})
    code, _, err = run(capsys, "push", copy, "me/photos")
    assert code == 2
    assert "me/photos holds other files, such as train.parquet, and no study" in err
    hub.create("me/other", private=False)
    hub.commit("me/other", {"study.json": b'{"name": "cats"}'})
    code, _, err = run(capsys, "push", copy, "me/other")
    assert code == 2
    assert "holds the study 'cats', and this one is called 'discs'" in err
    code, _, err = run(capsys, "push", copy, "locked/discs")
    assert code == 2
    assert "The Hub refuses your login for locked/discs (status 403)" in err


@pytest.mark.parametrize(
    ("token", "sentence"),
    [(None, "You are not logged in to the Hub"), ("hf_other", "refuses your login")],
)
def test_who_may_not(hub, copy, capsys, monkeypatch, tmp_path, token, sentence):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "none"))
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    code, _, err = run(capsys, "push", copy, "me/discs")
    assert code == 2
    assert sentence in err
    assert "hf auth login" in err


def test_what_is_not_there(hub, tmp_path, capsys, monkeypatch):
    code, _, err = run(capsys, "pull", "me/nothing", tmp_path / "x")
    assert code == 2
    assert "There is no dataset repository me/nothing on the Hub" in err
    hub.create("me/empty", private=False)
    code, _, err = run(capsys, "pull", "me/empty", tmp_path / "x")
    assert code == 2
    assert "me/empty holds no study" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    code, _, err = run(capsys, "pull", "me/empty", tmp_path / "full")
    assert code == 2
    assert "is there already" in err
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, _, err = run(capsys, "pull", "me/empty", tmp_path / "x")
    assert code == 2
    assert "The transfer for me/empty did not succeed" in err
    assert not (tmp_path / "x").exists()


def test_an_altered_study_is_not_pushed(hub, copy, capsys):
    data = bytearray((copy / "graph/edges.arrow").read_bytes())
    data[-100] ^= 1
    (copy / "graph/edges.arrow").write_bytes(data)
    code, _, err = run(capsys, "push", copy, "me/discs")
    assert code == 2
    assert "is not whole, so nothing was uploaded" in err
    assert hub.requests == []


@pytest.mark.parametrize("name", ["discs", "a/b/c", "me/", "/x", "../x", "me/a--b", "me/..", ""])
def test_names_of_no_repository(name):
    with pytest.raises(Exception, match="is not the name of a repository"):
        repository_name(name)


def test_the_command_line_alone(hub, copy, tmp_path):
    """What the user does: HF_ENDPOINT and HF_TOKEN in the environment, a process of its own."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    for arguments in (["push", copy, "me/discs"], ["pull", "me/discs", tmp_path / "here"]):
        command = [sys.executable, "-m", "cgraph.cli", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    Study.open(tmp_path / "here").verify()


def test_errors_are_study_errors(hub, copy):
    from cgraph.study_hub import pull_study

    with pytest.raises(StudyError):
        pull_study("me/nothing", copy / "x")
