"""Naming a concept on the page: save, rename, clear, undo, and what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from app_pages import html, payloads, run, run_page, text
from streamlit.testing.v1 import AppTest

from cgraph.concept import ConceptId
from cgraph.given_names import GIVEN_NAMES, GivenName, change_given_names
from cgraph.store import LOCK_NAME
from cgraph.study import Study

PAGE = "pages/4_Concepts.py"
CONCEPT = ConceptId(12, 3)


@pytest.fixture
def folder(studies_folder: Path, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> Path:
    """A copy of the planted study, in which nothing has a name."""
    shutil.copytree(studies_folder / "planted", tmp_path / "mine" / "planted")
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "mine"))
    return tmp_path / "mine" / "planted"


def stored(folder: Path) -> dict[ConceptId, GivenName]:
    return Study.open(folder).naming.by_hand


def write(app: AppTest, name: str, author: str = "Ada") -> AppTest:
    app.text_input(key=f"naming.text.planted.{CONCEPT}").set_value(name)
    app.text_input(key=f"naming.author.planted.{CONCEPT}").set_value(author)
    return press(app, "Save" if "Save" in labels(app) else "Rename")


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def typed(app: AppTest) -> str:
    return app.text_input(key=f"naming.text.planted.{CONCEPT}").value


def test_a_name_is_stored_and_shown_as_given_by_hand(folder: Path) -> None:
    app = write(run_page(PAGE, concept=str(CONCEPT)), " red  wheels ")
    name = stored(folder)[CONCEPT]
    assert (name.text, name.author) == ("red wheels", "Ada")
    body = text(app)
    assert "red wheels ✎ <small>L12/3</small>" in body
    assert f"Named by hand by Ada on {name.date[:10]}." in body
    assert "Named ‘red wheels’." in body
    assert {"Rename", "Clear the name", "Undo"} <= set(labels(app))
    Study.open(folder).verify()


def test_rename_clear_and_undo(folder: Path) -> None:
    app = write(run_page(PAGE, concept=str(CONCEPT)), "wheels")
    app = write(app, "tyres")
    assert stored(folder)[CONCEPT].text == "tyres"
    app = press(app, "Undo")
    assert stored(folder)[CONCEPT].text == "wheels" == typed(app)
    assert "Undo" not in labels(app)
    app = press(app, "Clear the name")
    assert stored(folder) == {} and typed(app) == ""
    assert "The name ‘wheels’ was cleared." in text(app)
    before = press(app, "Undo")
    assert stored(folder)[CONCEPT].text == "wheels" and "wheels ✎" in text(before)


def test_the_same_name_again_changes_nothing(folder: Path) -> None:
    app = write(run_page(PAGE, concept=str(CONCEPT)), "wheels")
    before = (folder / GIVEN_NAMES).read_bytes()
    app = write(app, " wheels ")
    assert "It is named ‘wheels’ already: nothing was changed." in text(app)
    assert (folder / GIVEN_NAMES).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "author", "sentence"),
    [
        ("", "Ada", "The name is empty"),
        ("wheels", "", "write your own name beside it"),
        ("wh\u202eeels", "Ada", "which cannot be seen"),
    ],
)
def test_a_wrong_name_stays_in_the_box(folder: Path, name: str, author: str, sentence: str) -> None:
    app = write(run_page(PAGE, concept=str(CONCEPT)), name, author)
    assert sentence in app.error[0].value
    assert typed(app) == name and stored(folder) == {}


def test_a_folder_that_cannot_be_written_keeps_what_was_typed(folder: Path) -> None:
    (folder / LOCK_NAME).unlink(missing_ok=True)
    (folder / LOCK_NAME).mkdir()
    app = write(run_page(PAGE, concept=str(CONCEPT)), "wheels")
    assert "The name was not stored." in app.error[0].value
    assert "Choose one you may write to" in app.error[0].value
    assert typed(app) == "wheels" and not (folder / GIVEN_NAMES).exists()


def test_somebody_elses_name_is_not_overwritten(folder: Path) -> None:
    app = run_page(PAGE, concept=str(CONCEPT))
    theirs = GivenName.of("tyres", "Bob")
    change_given_names(folder, Study.open(folder).naming.scope, {CONCEPT: theirs})
    app = write(app, "wheels")
    assert "was named 'tyres' by Bob meanwhile" in app.error[0].value
    assert stored(folder)[CONCEPT] == theirs and typed(app) == "wheels"
    write(app, "wheels")
    assert stored(folder)[CONCEPT].text == "wheels"


def test_names_are_shown_on_cards_lists_and_the_trace_page(folder: Path) -> None:
    trace_before = payloads(run(), "cgraph_trace_graph")[0]["picture"]
    scope = Study.open(folder).naming.scope
    named = {ConceptId(12, n): GivenName.of(f"wheels {n}", "Ada") for n in range(24)}
    change_given_names(folder, scope, named)
    cards = payloads(run_page(PAGE, layer="12"), "cgraph_card_grid")[0]["items"]
    assert {card["name"] for card in cards} == {f"wheels {n} ✎" for n in range(24)}
    assert all("named by hand" in card["label"] for card in cards)
    only = payloads(run_page(PAGE, layer="12", show="by hand"), "cgraph_card_grid")[0]["items"]
    assert len(only) == 24
    lists = payloads(run_page(PAGE, concept="L11/3"), "cgraph_concept_list")
    assert any(item["name"].startswith("wheels") for part in lists for item in part["items"])
    app = run()
    assert "wheels" not in trace_before
    assert "wheels" in payloads(app, "cgraph_trace_graph")[0]["picture"].replace("\\u", "")
    assert "Named by hand by Ada" in text(app)


def test_a_damaged_file_is_said_on_every_page(folder: Path) -> None:
    (folder / GIVEN_NAMES).write_text("{")
    for app in (run(), run_page(PAGE)):
        assert "Names given by hand are not shown." in app.warning[0].value
    app = write(run_page(PAGE, concept=str(CONCEPT)), "wheels")
    assert "The name was not stored." in app.error[0].value
    assert (folder / GIVEN_NAMES).read_text() == "{"


def test_markup_in_a_name_stays_text(folder: Path) -> None:
    app = write(run_page(PAGE, concept=str(CONCEPT)), "<b>&amp; *x*", "<i>Eve")
    assert "&lt;b&gt;&amp;amp; *x* ✎" in html(app) and "<i>Eve" not in html(app)


class TestWords:
    @pytest.fixture
    def demo(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> Path:
        """A copy of the bundled study, of which a few images are looked at."""
        folder = tmp_path / "demo" / "demo"
        shutil.copytree(Path(__file__).parents[2] / "data" / "demo", folder)
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        every = Study.rows
        app_environment.setattr(Study, "rows", lambda study, part: every(study, part)[:130])
        return folder

    def test_the_page_finds_words_when_it_is_asked(self, demo: Path) -> None:
        app = run_page(PAGE, concept="L12/11")
        app.default_timeout = 200
        app = press(app, "Find words for all concepts")
        assert not app.error
        assert "Find words for all concepts" not in labels(app)
        assert "<th scope='row'>purple</th>" in text(app)
        assert "The first is far enough ahead to be a name." in text(app)
        again = Study.open(demo)
        again.verify()
        assert again.naming.by_text[ConceptId(12, 11)].text.startswith("purple")

    def test_what_goes_wrong_is_said_and_can_be_tried_again(self, demo: Path) -> None:
        (demo / "build.json").unlink()
        app = run_page(PAGE, concept="L12/11")
        app.default_timeout = 200
        app = press(app, "Find words for all concepts")
        assert "No words were stored. It is not known where the images" in app.error[0].value
        assert "Find words for all concepts" in labels(app)
