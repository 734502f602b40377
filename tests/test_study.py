import json
import shutil

import pytest

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, StudyError
from cgraph.manifest import Manifest, slug
from cgraph.study import Study


@pytest.fixture
def copy(tiny_study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.path, folder)
    return folder


def rewrite(folder, **changes):
    path = folder / "study.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("deit", "deit"), ("My Study (2)", "my-study-2"), ("--ä b_c--", "b-c"), ("x" * 99, "x" * 64)],
)
def test_slugs(text, expected):
    assert slug(text) == expected


def test_a_name_without_letters():
    with pytest.raises(ConfigError, match="cannot be named after '///'"):
        slug("///")


def test_an_unknown_schema_is_refused(copy):
    rewrite(copy, schema=99)
    with pytest.raises(StudyError, match="has schema 99; this version of cgraph reads schema 1"):
        Study.open(copy)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 1}', "null"])
def test_a_damaged_manifest(copy, content):
    (copy / "study.json").write_text(content)
    with pytest.raises(StudyError, match=r"study\.json"):
        Study.open(copy)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "..\\outside"])
def test_a_manifest_cannot_lead_out_of_its_folder(copy, path):
    values = json.loads((copy / "study.json").read_text())
    values["files"][path] = {"sha256": "0" * 64, "size": 1, "stage": "tokens"}
    (copy / "study.json").write_text(json.dumps(values))
    with pytest.raises(StudyError, match="leads out of the study"):
        Study.open(copy)


def test_a_study_name_must_be_a_slug(copy):
    rewrite(copy, name="../../etc")
    with pytest.raises(StudyError, match="is not a slug"):
        Study.open(copy)


def test_no_folder_and_no_study(tmp_path):
    with pytest.raises(StudyError, match="There is no folder"):
        Study.open(tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"is not a study: it has no study\.json"):
        Study.open(tmp_path)


def test_the_manifest_round_trips(tiny_study):
    assert Manifest.read(tiny_study.path) == tiny_study.manifest
    written = json.loads((tiny_study.path / "study.json").read_text())
    assert tiny_study.manifest.to_dict() == written


def test_rows_layers_and_images_that_do_not_exist(tiny_study):
    with pytest.raises(ConfigError, match="There is no layer 5: this model has 1 to 4"):
        tiny_study.codes(5)
    with pytest.raises(ConfigError, match="has no image 'nobody'"):
        tiny_study.row("nobody")
    with pytest.raises(StudyError, match="holds no file graph/rollout"):
        tiny_study.file("graph/rollout")
    image_id = tiny_study.image_ids[7]
    assert tiny_study.row(image_id) == 7


def test_exemplars_are_the_strongest_training_images(tiny_study):
    concept = ConceptId(3, 2)
    codes = tiny_study.codes(3).to_csr().toarray()[:, 2]
    train = tiny_study.rows("train")
    expected = sorted((-codes[row], row) for row in train if codes[row])[:5]
    found = tiny_study.exemplars(concept, 5)
    assert [row for row, _ in found] == [row for _, row in expected]
    assert [value for _, value in found] == pytest.approx([-value for value, _ in expected])


def test_attributes_and_thumbnails(tiny_study):
    assert tiny_study.attributes(0)["folder"] in ("grass", "sand", "sky")
    assert tiny_study.thumbnail(0)[:2] == b"\xff\xd8"


def test_the_manifest_names_no_path_of_this_machine(tiny_study):
    text = (tiny_study.path / "study.json").read_text()
    assert str(tiny_study.path.parent) not in text


def test_reading_changes_nothing(tiny_study):
    before = {p: p.stat().st_mtime_ns for p in tiny_study.path.rglob("*")}
    study = Study.open(tiny_study.path)
    study.verify()
    study.info()
    study.exemplars(ConceptId(1, 0), 3)
    assert {p: p.stat().st_mtime_ns for p in tiny_study.path.rglob("*")} == before
