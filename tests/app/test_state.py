"""What a link may say, and what is left out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgraph.concept import ConceptId
from cgraph.study import Study
from cgraph.ui.state import Selection, check, parse


@pytest.fixture(scope="module")
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


def test_a_selection_survives_the_link() -> None:
    selection = Selection("deit", "photos/1 ä.png", concept=ConceptId(7, 60))
    query = selection.to_query()
    assert query == {"study": "deit", "image": "photos/1 ä.png", "concept": "L7/60"}
    assert parse(query) == (selection, [])


def test_a_layer_is_written_only_without_a_concept() -> None:
    assert Selection(layer=3).to_query() == {"layer": "3"}
    assert "layer" not in Selection(layer=7, concept=ConceptId(7, 60)).to_query()


@pytest.mark.parametrize("layer", ["0", "-1", "seven", "²", "3.0", "99999", "1e2"])
def test_a_layer_that_is_no_number_is_left_out(layer: str) -> None:
    selection, remarks = parse({"layer": layer})
    assert selection.layer is None
    assert len(remarks) == 1 and repr(layer) in remarks[0]


@pytest.mark.parametrize("concept", ["60", "L0/1", "L7-60", "X7/60", "../../etc/passwd"])
def test_a_concept_in_another_form_is_left_out(concept: str) -> None:
    selection, remarks = parse({"concept": concept})
    assert selection.concept is None
    assert len(remarks) == 1 and "such as L7/609" in remarks[0]


def test_what_the_study_has_is_kept(study: Study) -> None:
    beside = study.image_ids[6], study.image_ids[8]
    asked = Selection("other", study.image_ids[5], beside, 2, ConceptId(12, 3))
    assert check(asked, study) == (
        Selection("planted", study.image_ids[5], beside, 12, ConceptId(12, 3)),
        [],
    )


@pytest.mark.parametrize(
    "beside", [("a.png",), ("a, b.png", "c%2C.png"), ("100 %.png", "ä=1&x.png", "photos/1.png")]
)
def test_images_beside_survive_the_link(beside: tuple[str, ...]) -> None:
    query = Selection(beside=beside).to_query()
    assert parse(query) == (Selection(beside=beside), [])


def test_more_images_than_fit_beside_are_left_out() -> None:
    selection, remarks = parse({"with": "a,b,c,d,e"})
    assert selection.beside == ("a", "b", "c")
    assert remarks == ["The link compares with 5 images; the first 3 are shown."]


def test_an_upload_of_another_session_is_told(study: Study) -> None:
    kept, remarks = check(Selection(image="upload:0123456789ab"), study)
    assert kept == Selection("planted")
    assert "upload the image again" in remarks[0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Selection(image="nowhere.png"), "has no image 'nowhere.png'"),
        (Selection(beside=("nowhere.png",)), "has no image 'nowhere.png'"),
        (Selection(layer=13), "There is no layer 13: this model has 1 to 12."),
        (Selection(concept=ConceptId(3, 24)), "There is no concept L3/24"),
        (Selection(concept=ConceptId(13, 0)), "There is no layer 13"),
        (Selection(concept=ConceptId(3, 0, "patch")), "P3/0 is a patch concept"),
    ],
)
def test_what_the_study_lacks_is_left_out(study: Study, asked: Selection, sentence: str) -> None:
    kept, remarks = check(asked, study)
    assert kept == Selection("planted")
    assert len(remarks) == 1 and sentence in remarks[0]
