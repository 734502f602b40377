"""The commands beside ``cgraph build`` that take a set of images take every kind."""

import json
import shutil
from pathlib import Path

import pytest
from local_server import Answer, serving

from cgraph.cli import main
from cgraph.images import open_images
from cgraph.study import Study

DEMO = Path(__file__).parents[1] / "data" / "demo"
N_EACH = 20


def test_an_edit_over_a_zip_or_a_list_is_the_same(tiny_study, tiny_inputs, tmp_path) -> None:
    (tmp_path / "edit.json").write_text('{"cgraph_edit": 1, "on": ["L1/0"]}')
    photos = tiny_inputs[1]
    names = open_images(photos).image_ids
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"{photos / name}\n" for name in names))
    sets = {
        "folder": photos,
        "zip": shutil.make_archive(str(tmp_path / "photos"), "zip", photos),
        "list": tmp_path / "list.csv",
    }
    tables = {}
    for kind, place in sets.items():
        out = tmp_path / f"{kind}.csv"
        arguments = [str(tmp_path / "edit.json"), "--images", str(place), "--out", str(out)]
        arguments += ["--study", str(tiny_study.path), "--max-images", "6"]
        assert main(["edit", *arguments]) == 0
        tables[kind] = out.read_text().replace(f"{photos}/", "")
    assert tables["folder"].count("\n") > 6
    assert tables["folder"] == tables["zip"] == tables["list"]


def test_names_by_text_with_images_of_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", "10000")
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    all_rows = Study.rows
    monkeypatch.setattr(Study, "rows", lambda study, part: all_rows(study, part)[:N_EACH])
    study, scenes = Study.open(folder), open_images(DEMO / "scenes.json")
    answers = {}
    for part in ("tune", "held-out"):
        for row in study.rows(part):
            place = scenes.image_ids.index(study.image_ids[row])
            sink = io.BytesIO()
            scenes.read(place).image.save(sink, "PNG")
            answers[f"/{study.image_ids[row]}"] = Answer(sink.getvalue())
    words = tmp_path / "words.txt"
    words.write_text("red\nblue\nstar\n")
    with serving(answers) as server:
        # The ids of a study are its own: a list whose addresses are other ids is another set.
        rows = [{"image_url": f"{server.url}{place}"} for place in answers]
        (tmp_path / "list.json").write_text(json.dumps(rows))
        arguments = ["names", "text", str(folder), "--vocabulary", str(words), "--images"]
        assert main([*arguments, str(tmp_path / "list.json")]) == 2
        said = capsys.readouterr().err
        assert "is missing" in said and "list.json are not those of the study" in said
        assert not server.asked
    for name, answer in answers.items():
        (tmp_path / name.removeprefix("/")).write_bytes(answer.body)
    rows = [{"file_name": name.removeprefix("/")} for name in answers]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert main([*arguments, str(tmp_path / "list.json")]) == 0
    assert capsys.readouterr().out.startswith("3 words; 0 more were left out")
    assert main([*arguments, str(tmp_path / "gone.zip")]) == 2
    assert "There are no images in" in capsys.readouterr().err
