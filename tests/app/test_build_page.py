"""The Build page without a browser: its form, its checks, and builds in every state."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from app_pages import APP, click, html, run, run_page
from PIL import Image
from streamlit.testing.v1 import AppTest

from cgraph import processes
from cgraph.build_estimate import Estimate
from cgraph.errors import ConfigError, ImageError
from cgraph.images import open_images
from cgraph.object_paths import study_path
from cgraph.store import to_json, write_bytes
from cgraph.ui import build_choices
from cgraph.ui.resources import StudyList

PAGE = "pages/6_Build.py"

ESTIMATE = Estimate(
    seconds_low=60.0, seconds_high=130.0, stages={"tokens": 50.0, "dictionary": 40.0},
    memory_mb=900.0, memory_free_mb=8000.0, disk_mb=10.0, disk_peak_mb=30.0, disk_free_mb=5000.0,
    is_measured=True, facts={"n_images": 60, "n_listed": 60},
)  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twelve pictures in two sub-folders."""
    for n in range(12):
        folder = tmp_path / "pictures" / ("red", "blue")[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30), (250 * (n % 2), 10 * n, 60)).save(folder / f"{n:02d}.png")
    return tmp_path / "pictures"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that says the sizes of a model, and holds no weights."""
    folder = tmp_path / "small-vit"
    folder.mkdir()
    sizes = {"model_type": "vit", "hidden_size": 24, "num_hidden_layers": 4}
    (folder / "config.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture
def home(app_environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of studies of its own, which is empty."""
    folder = tmp_path / "own"
    folder.mkdir()
    app_environment.setenv("CGRAPH_STUDIES", str(folder))
    return folder


def fill(app: AppTest, **values: Any) -> AppTest:
    """Fill fields by the last part of their keys."""
    for name, value in values.items():
        fields = [*app.text_input, *app.number_input]
        next(f for f in fields if f.key and f.key.startswith(f"build.{name}")).set_value(value)
    app.run()
    assert not app.exception
    return app


def errors(app: AppTest) -> str:
    return "\n".join(element.value for element in app.error)


def button(app: AppTest, key: str) -> Any:
    return next(button for button in app.button if button.key and button.key.startswith(key))


def write_job(folder: Path, state: str = "running", **values: Any) -> Path:
    record = {
        "state": state, "pid": 1, "birth": "x", "host": socket.gethostname(),
        "started": time.time(),
        "settings": {"model": "/models/deit-tiny", "images": "/sets/birds", "out": str(folder)},
        **values,
    }  # fmt: skip
    write_bytes(folder / ".job/job.json", to_json(record))
    write_bytes(folder / ".job/build.log", b"one line\nthe last line\n")
    return folder


def write_stages(folder: Path, *stages: str) -> None:
    (folder / "study.json").write_text(json.dumps({"stages": stages}))


# ---- the form


def test_without_any_study_the_page_is_there(home: Path) -> None:
    app = run_page(PAGE)
    assert "Build a study" in html(app)
    assert str(home) in html(app)
    assert "Still needed: a model, images and a name." in html(app)
    assert button(app, "build.check").disabled
    assert not app.error


def test_the_empty_app_leads_here(home: Path) -> None:
    app = run()
    assert app.subheader[0].value == "There is no study to show yet"
    assert any(link.proto.label == "Build a study" for link in app.get("page_link"))


def test_models_of_studies_and_of_builds_are_at_hand(home: Path, model: Path) -> None:
    write_job(home / "old", "stopped", settings={"model": str(model), "images": "/x"})
    app = run_page(PAGE)
    click(app, "small\\-vit" if any("\\" in b.label for b in app.button) else "small-vit")
    assert app.text_input(key="build.model").value == str(model)
    assert "4 layers of width 24" in html(app)


def test_images_are_counted_and_shown(home: Path, model: Path, pictures: Path) -> None:
    app = fill(run_page(PAGE), model=str(model), images=f" {pictures} ", name="My birds")
    page = html(app)
    assert "<b>12</b> in pictures" in page
    assert page.count("<img src='data:image/jpeg;base64,") == 8
    assert "Roughly, from sizes alone" in page
    assert not button(app, "build.check").disabled
    assert not app.error


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model": "/nowhere/at/all"}, "is no folder"),
        ({"model": "{tmp}"}, "has no config.json"),
        ({"images": "/nowhere/at/all"}, "There are no images at"),
        ({"images": "{tmp}/small-vit"}, "has no images but"),
        ({"name": "???"}, "cannot be named after"),
        ({"name": "uploads"}, "is where uploaded images lie"),
        ({"name": "taken"}, "is taken"),
        ({"max_nnz": 300}, "max_nnz is 300 and n_atoms 192"),
    ],
)
def test_wrong_inputs_are_sentences(
    values: dict[str, Any], sentence: str, home: Path, model: Path, pictures: Path, tmp_path: Path
) -> None:
    (home / "taken").mkdir()
    (home / "taken" / "notes.txt").write_text("mine")
    good = {"model": str(model), "images": str(pictures), "name": "birds"}
    wrong = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in values.items()}
    app = fill(run_page(PAGE), **{**good, **wrong})
    assert sentence in errors(app).replace("\\", "")
    assert button(app, "build.check").disabled
    fill(app, **good, **({"max_nnz": 10} if "max_nnz" in values else {}))
    assert not app.error
    assert not button(app, "build.check").disabled


def test_an_id_of_the_hub_is_left_to_the_check(home: Path, pictures: Path) -> None:
    app = fill(run_page(PAGE), model="facebook/deit-tiny", images=str(pictures), name="birds")
    assert "from the Hub" in html(app)
    assert not button(app, "build.check").disabled


def test_a_preset_brings_its_settings(home: Path) -> None:
    app = run_page(PAGE)
    assert app.number_input(key="build.n_atoms.default").value == 192
    app.segmented_control(key="build.preset").set_value("paper").run()
    assert app.number_input(key="build.n_atoms.paper").value is None
    assert app.selectbox(key="build.method.paper").value == "ksvd"


def test_the_check_is_kept_until_something_changes(
    home: Path, model: Path, pictures: Path, app_environment: pytest.MonkeyPatch
) -> None:
    asked, started = [], []
    app_environment.setattr(
        build_choices, "check", lambda s: asked.append(dict(s)) or ESTIMATE.to_dict()
    )
    from cgraph.ui.views import build_form

    app_environment.setattr(
        build_form, "start", lambda s, estimate: started.append((dict(s), estimate))
    )
    app = fill(run_page(PAGE), model=str(model), images=str(pictures), name="birds")
    click(app, "Check and estimate")
    assert "Measured on this machine a moment ago" in html(app)
    assert "1 to 2 min" in html(app)
    fill(app, name="other birds")
    assert not any(b.key == "build.start" for b in app.button)
    fill(app, name="birds")
    click(app, "Start the build")
    (settings,), ((given, estimate),) = asked, started
    assert settings == given
    assert given["out"] == str(home / "birds")
    assert given["images"] == str(pictures)
    assert (given["preset"], given["n_atoms"], given["max_nnz"]) == ("default", 192, 10)
    assert estimate == ESTIMATE.to_dict()


def test_a_refusal_of_the_check_is_its_sentence(
    home: Path, model: Path, pictures: Path, app_environment: pytest.MonkeyPatch
) -> None:
    app = fill(run_page(PAGE), model=str(model), images=str(pictures), name="birds")
    click(app, "Check and estimate")  # the real one: this model has no weights
    assert "small-vit has no model.safetensors" in errors(app).replace("\\", "")
    assert not any(b.key == "build.start" for b in app.button)
    assert not (home / "birds").exists()


def test_a_disk_without_room_is_refused(
    home: Path, model: Path, pictures: Path, app_environment: pytest.MonkeyPatch
) -> None:
    full = {**ESTIMATE.to_dict(), "disk_free_mb": 3.0}
    app_environment.setattr(build_choices, "check", lambda _: full)
    app = fill(run_page(PAGE), model=str(model), images=str(pictures), name="birds")
    click(app, "Check and estimate")
    assert "has 3 MB free, and the build needs about 33 MB" in errors(app)
    assert not any(b.key == "build.start" for b in app.button)


# ---- builds in every state


def test_a_running_build_is_found_by_anybody(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        folder = write_job(
            home / "birds", pid=process.pid, birth=processes.birth_of(process.pid),
            estimate={"stages": {"tokens": 100.0, "dictionary": 100.0}},
        )  # fmt: skip
        write_stages(folder, "tokens", "split")
        progress = {
            "stage": "dictionary", "stage_number": 3, "n_stages": 8, "done": 3, "total": 12,
            "seconds": 20.0, "seconds_left": 60.0, "build_seconds_left": 95.0,
        }  # fmt: skip
        write_bytes(folder / "progress.json", to_json(progress))
        app = run_page(PAGE)
        page = html(app)
        assert "about 1 min 3" in page
        assert "deit-tiny on birds" in page
        assert "<li class='cg-done'><i aria-hidden='true'>✓</i><span>Class tokens" in page
        assert "<li class='cg-now' aria-current='step'>" in page
        assert "Dictionaries<small>3 of 12</small>" in page
        assert "the last line" in app.code[0].value
        button(app, "build.stop").click().run()
        assert not app.exception
        assert process.wait(timeout=20) != 0
    deadline = time.monotonic() + 20
    while json.loads((folder / ".job/job.json").read_text())["state"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    app = run_page(PAGE)
    assert "<p class='cg-eyebrow'>stopped" in html(app)
    assert button(app, "build.resume").label == "Resume"


def test_a_build_that_takes_longer_says_so(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        folder = write_job(
            home / "birds", pid=process.pid, birth=processes.birth_of(process.pid),
            estimate={"stages": {"tokens": 100.0, "dictionary": 100.0}},
        )  # fmt: skip
        progress = {
            "stage": "tokens", "stage_number": 1, "n_stages": 8, "done": 1, "total": 4,
            "seconds": 20.0, "seconds_left": 60.0, "build_seconds_left": 95.0,
        }  # fmt: skip
        write_bytes(folder / "progress.json", to_json(progress))
        long_ago = time.time() - 1000
        os.utime(folder / "progress.json", (long_ago, long_ago))
        page = html(run_page(PAGE))
        process.kill()
    assert "taking longer than was expected" in page
    share = int(page.split("aria-valuenow='")[1].split("'")[0])
    assert 12 <= share <= 25, "at most the part that is being made is counted"


@pytest.mark.parametrize(
    ("state", "error", "told", "label"),
    [
        ("running", None, "interrupted: its process is gone", "Resume"),
        ("stopped", None, "stopped", "Resume"),
        ("failed", "There is no model in <b>x</b>.", "failed", "Try again"),
    ],
)
def test_builds_that_ended_early(
    state: str, error: str | None, told: str, label: str, home: Path,
    app_environment: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = write_job(home / "birds", state, error=error, ended=time.time() - 7300)
    write_stages(folder, "tokens", "split", "dictionary")
    app = run_page(PAGE)
    assert told in html(app)
    assert "2 hours ago" in html(app)
    assert button(app, "build.resume").label == label
    assert ("There is no model" in errors(app)) == (error is not None)
    assert "<b>x</b>" not in errors(app), "nothing in a sentence is drawn"
    from cgraph.ui.views import build_jobs

    resumed: list[str] = []
    app_environment.setattr(build_jobs, "resume", resumed.append)
    button(app, "build.resume").click().run()
    assert resumed == [str(folder)]


def test_going_on_that_is_refused_is_a_sentence(home: Path) -> None:
    write_job(home / "birds", "stopped", settings={"out": "x"})
    app = run_page(PAGE)
    write_stages(home / "birds", "tokens")
    button(app, "build.resume").click().run()
    assert not app.exception
    deadline = time.monotonic() + 30
    while "failed" not in html(app):
        assert time.monotonic() < deadline
        time.sleep(0.2)
        app.run()
    assert "birds" in errors(app)
    assert "Traceback" not in errors(app)


def test_finished_builds_are_opened(
    app_environment: pytest.MonkeyPatch, studies_folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(studies_folder, tmp_path / "copy")
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "copy"))
    write_job(tmp_path / "copy/planted", "finished", ended=time.time())
    app = run_page(PAGE)
    (link,) = [link for link in app.get("page_link") if link.proto.label == "Open planted"]
    assert "study=planted" in link.proto.query_string
    assert "planted" in html(app)


def test_other_pages_pass_over_a_study_that_is_being_built(
    app_environment: pytest.MonkeyPatch, studies_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "studies" / "another"
    folder.mkdir(parents=True)
    manifest = json.loads((studies_folder / "planted/study.json").read_text())
    manifest |= {"name": "another", "stages": ["tokens"]}
    (folder / "study.json").write_text(json.dumps(manifest))
    app_environment.setenv("CGRAPH_STUDIES", f"{folder.parent}{os.pathsep}{studies_folder}")
    app = run()
    assert not app.error
    app = run(study="another")
    assert "is not finished yet" in app.info[0].value
    assert any(link.proto.label == "See how far it is" for link in app.get("page_link"))


# ---- what lies behind the form


def test_the_server_takes_uploads_of_the_size_that_is_promised() -> None:
    import tomllib

    config = tomllib.loads((APP.parent / ".streamlit/config.toml").read_text())
    assert config["server"]["maxUploadSize"] == build_choices.MOST_UPLOAD_MB


def test_uploads_lie_beside_the_studies(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        picture = io.BytesIO()
        Image.new("RGB", (9, 9)).save(picture, "PNG")
        archive.writestr("a/1.png", picture.getvalue())
    called = build_choices.upload_name("My Birds.zip", buffer.getvalue())
    assert called.startswith("my-birds-") and called.endswith(".zip")
    assert build_choices.upload_name("???.zip", b"").startswith("images-")
    place = build_choices.store_upload(buffer.getvalue(), tmp_path, called)
    assert place == tmp_path / "uploads" / called
    assert list(open_images(place).image_ids) == ["a/1.png"]
    with pytest.raises(ImageError, match="zip"):
        build_choices.store_upload(b"x", tmp_path, "b.zip")
    assert not (tmp_path / "uploads" / "b.zip").exists()


@pytest.mark.parametrize("text", ["hub:owner/name", "owner/name:valid", "hub:owner/name@v1"])
def test_data_sets_of_the_hub_are_left_to_the_check(
    text: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_choices, "look_at_images", lambda place: pytest.fail("it was asked"))
    app = fill(run_page(PAGE), images=text)
    assert f"<b>{text}</b>: counted when you check the build" in html(app)
    assert not app.error


def test_an_address_is_no_set_of_images(home: Path) -> None:
    assert "is an address, and images are listed" in errors(
        fill(run_page(PAGE), images="https://example.org/photos.zip")
    )


def test_new_studies_lie_on_this_machine(tmp_path: Path) -> None:
    searched = (study_path("s3://bucket/studies"), tmp_path)
    assert build_choices.new_studies_folder(searched) == tmp_path


def test_names_that_are_taken(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    assert build_choices.study_folder("Birds", tmp_path, StudyList()) == tmp_path / "birds"
    (tmp_path / "birds/study.json").write_text("{}")
    with pytest.raises(ConfigError, match="'birds' is taken"):
        build_choices.study_folder("Birds", tmp_path, StudyList())
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="'file' is taken"):
        build_choices.study_folder("file", tmp_path, StudyList())


def test_new_studies_go_where_studies_are(tmp_path: Path) -> None:
    single = tmp_path / "single"
    single.mkdir()
    (single / "study.json").write_text("{}")
    folders = (single, tmp_path / "many", tmp_path / "more")
    assert build_choices.new_studies_folder(folders) == tmp_path / "many"


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("facebook/deit", True),
        ("a/b/c", False),
        ("/abs/b", False),
        ("plain", False),
        ("~/x", False),
    ],
)
def test_ids_of_the_hub(text: str, is_id: bool) -> None:
    assert build_choices.is_hub_id(text) == is_id
