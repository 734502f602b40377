"""Where studies are looked for, and which of two with one name counts."""

from __future__ import annotations

import gc
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from app_pages import run, text

from cgraph.object_paths import study_path
from cgraph.study import Study
from cgraph.study_archive import export_study
from cgraph.ui.resources import find_studies, open_study, search_folders, studies


def test_folders_of_the_variable_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRAPH_STUDIES", os.pathsep.join(["one", "", "two"]))
    assert search_folders() == (Path("one"), Path("two"), Path("studies"), Path("data"))
    monkeypatch.delenv("CGRAPH_STUDIES")
    assert search_folders() == (Path("studies"), Path("data"))


def test_a_folder_is_a_study_or_holds_studies(studies_folder: Path) -> None:
    for folders in [(studies_folder,), (studies_folder / "planted",)]:
        found = find_studies(folders)
        assert [entry.name for entry in found.entries] == ["planted"]
        assert found.problems == ()
        assert found.find("planted") == found.entries[0]
        assert found.find("missing") is None


def test_the_first_of_a_name_counts(studies_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(studies_folder / "planted", tmp_path / "copy")
    found = find_studies((studies_folder, tmp_path))
    assert [entry.folder for entry in found.entries] == [studies_folder / "planted"]
    assert found.hidden == (tmp_path / "copy",)
    assert find_studies((studies_folder, studies_folder)).hidden == ()


def test_the_bundled_study_comes_before_its_neighbours(
    studies_folder: Path, tmp_path: Path
) -> None:
    for name in ("biased", "demo", "fair"):
        shutil.copytree(studies_folder / "planted", tmp_path / name)
        manifest = tmp_path / name / "study.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": name}))
    assert [entry.name for entry in find_studies((tmp_path,)).entries] == ["demo", "biased", "fair"]


def test_a_broken_study_does_not_hide_the_others(studies_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{")
    (tmp_path / "no-study").mkdir()
    found = find_studies((tmp_path, studies_folder, tmp_path / "absent"))
    assert [entry.name for entry in found.entries] == ["planted"]
    assert len(found.problems) == 1 and "broken" in found.problems[0]


def test_an_open_study_is_spared_from_garbage_collection(
    studies_folder: Path, app_environment: object
) -> None:
    gc.unfreeze()
    try:
        open_study(find_studies((studies_folder,)).entries[0])
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_zip_files_of_studies_are_found(studies_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    shelf = tmp_path / "shelf"
    archive = export_study(studies_folder / "planted", shelf / "planted.zip")
    with zipfile.ZipFile(shelf / "photos.zip", "w") as photos:
        photos.writestr("a.png", b"x")
    (shelf / "cut.zip").write_bytes(archive.read_bytes()[:5000])
    for folders in ((shelf,), (archive,)):
        found = find_studies(folders)
        assert [(e.name, e.folder) for e in found.entries] == [("planted", archive)]
    assert [problem for problem in find_studies((shelf,)).problems if "cut.zip" in problem]
    assert not [problem for problem in find_studies((shelf,)).problems if "photos" in problem]
    study = open_study(found.entries[0])
    assert study.path.is_relative_to(tmp_path / "cache")
    assert study.image_ids == Study.open(studies_folder / "planted").image_ids
    folder = find_studies((studies_folder, shelf))
    assert folder.hidden == (archive,)


def test_urls_stand_among_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.pathsep.join(["s3://bucket/a", "one", "memory://b", "/two"])
    monkeypatch.setenv("CGRAPH_STUDIES", listed)
    assert [str(folder) for folder in search_folders()[:4]] == [
        "s3://bucket/a",
        "one",
        "memory://b",
        "/two",
    ]


def test_the_app_opens_a_study_in_an_object_store(
    studies_folder: Path, app_environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (studies_folder / "planted").rglob("*"):
        if path.is_file():
            relative = path.relative_to(studies_folder)
            (study_path("memory://app") / str(relative)).write_bytes(path.read_bytes())
    monkeypatch.setenv("CGRAPH_STUDIES", "memory://app")
    app = run(study="planted")
    assert "12 layers" in text(app)
    found = studies(search_folders())
    assert str(found.find("planted").folder) == "memory://app/planted"
    assert open_study(found.find("planted")).path == study_path("memory://app/planted")


def test_a_store_that_does_not_answer_does_not_hide_the_others(studies_folder: Path) -> None:
    found = find_studies((study_path("nothing://x"), studies_folder))
    assert [entry.name for entry in found.entries] == ["planted"]
    assert len(found.problems) == 1 and "nothing://x" in found.problems[0]
