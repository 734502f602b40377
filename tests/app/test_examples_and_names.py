"""Examples to open on, names of concepts, and what is said of an image unlike all others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from app_pages import grid, jpeg, payloads, run, selected, text
from PIL import Image
from planted_study import seal

from cgraph import tracing
from cgraph.concept import ConceptId
from cgraph.study import Study
from cgraph.trace import Trace
from cgraph.ui.gallery import image_title
from cgraph.ui.views import concept_panel, unlike

NAMED = ConceptId(12, 3)


@pytest.fixture
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@pytest.fixture
def with_examples(study: Study, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three examples, whose stored traces are those of their rows and say so by their edges."""
    rows = study.rows("held-out")[[5, 2, 9]].tolist()
    monkeypatch.setattr(Study, "examples", rows)
    monkeypatch.setattr(Study, "example_trace", tracing.trace_row)
    monkeypatch.setattr(Study, "example_picture", lambda *_: jpeg(side=384))
    return rows


@pytest.fixture
def with_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def name_of(study: Study, concept: ConceptId) -> Any:
        if concept.index % 2 == 0:
            return None
        return SimpleNamespace(
            text=f"<i>tone {concept.index}", attribute="colour", value="purple", strength=0.934
        )

    monkeypatch.setattr(Study, "name_of", name_of)


@pytest.mark.usefixtures("app_environment")
class TestExamples:
    def test_the_page_opens_on_the_first(
        self, study: Study, with_examples: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def not_stored(*_: object) -> Trace:
            raise AssertionError("an example has a stored trace")

        monkeypatch.setattr(tracing, "trace_row", not_stored)
        app = run()
        assert study.image_ids[with_examples[0]] in text(app)
        assert "example, held-out image" in text(app)
        assert "class='cg-picture'" in text(app)
        items = grid(app, "Examples")
        assert [item["id"] for item in items["items"]] == [
            study.image_ids[row] for row in with_examples
        ]
        assert items["selected"] == study.image_ids[with_examples[0]]

    def test_every_held_out_image_stays_within_reach(
        self, study: Study, with_examples: list[int]
    ) -> None:
        app = run()
        held_out = study.rows("held-out").tolist()
        other = next(row for row in held_out if row not in with_examples)
        assert [tab.label for tab in app.tabs][:3] == [
            "Examples",
            "All held-out images",
            "Upload your own",
        ]
        seen = set()
        for _ in range(-(-len(held_out) // 14)):
            seen |= {item["id"] for item in grid(app, "Held-out images")["items"]}
            next(button for button in app.button if "Next" in button.label).click().run()
        assert seen == {study.image_ids[row] for row in held_out}
        app = run(image=study.image_ids[other])
        assert "example" not in text(app)
        assert "cg-picture cg-small" in text(app)

    def test_without_examples_there_is_no_tab_for_them(self, study: Study) -> None:
        app = run()
        assert next(tab.label for tab in app.tabs) == "All held-out images"
        assert study.image_ids[int(study.rows("held-out")[0])] in text(app)


@pytest.mark.usefixtures("app_environment", "with_names")
class TestNames:
    def test_nodes_carry_name_and_id(self) -> None:
        graph = json.loads(payloads(run(), "cgraph_trace_graph")[0]["picture"])
        nodes = [node for layer in graph["layers"] for node in layer["nodes"]]
        for node in nodes:
            index = int(node["id"].split("/")[1])
            assert node["name"] == (f"<i>tone {index}" if index % 2 else "")
            called = f"{node['name']}, {node['id']}" if index % 2 else node["id"]
            assert node["label"].startswith(f"Concept {called}: coefficient")

    def test_the_panel_says_how_strong_the_match_is(self) -> None:
        body = text(run(concept=str(NAMED)))
        assert "<span>&lt;i&gt;tone 3</span> <small>L12/3</small></h3>" in body
        assert "It matches colour ‘purple’ closely: a correlation of 0.93 on held-out" in body
        assert "<i>" not in body

    def test_a_concept_without_a_name_shows_its_id(self) -> None:
        body = text(run(concept="L12/4"))
        assert "<h3 class='cg-concept'>L12/4</h3>" in body
        assert "It matches" not in body

    def test_lists_carry_names(self) -> None:
        rows = payloads(run(concept=str(NAMED)), "cgraph_concept_list")[0]["items"]
        assert rows
        for row in rows:
            index = int(row["id"].split("/")[1])
            assert row["name"] == (f"<i>tone {index}" if index % 2 else "")

    def test_the_page_begins_with_a_named_concept(self) -> None:
        chosen = selected(run())
        assert int(chosen.split("/")[1]) % 2 == 1


@pytest.mark.parametrize(
    ("strength", "word"), [(0.8, "closely"), (0.79, "well"), (0.4, "fairly well"), (0.1, "loosely")]
)
def test_correlations_have_words(strength: float, word: str) -> None:
    name = SimpleNamespace(text="red", attribute="colour", value="red", strength=strength)
    sentence = concept_panel.match_sentence(name)
    assert f"It matches colour ‘red’ {word}: a " in sentence
    assert f" of {strength:.2f} on " in sentence


class TestUnlikeAnything:
    @pytest.fixture(autouse=True)
    def two_studies(
        self,
        studies_folder: Path,
        tmp_path: Path,
        app_environment: pytest.MonkeyPatch,
    ) -> None:
        """Uploads whose name says so are unlike the images of the first study, not the second."""
        for name in ("first", "second"):
            shutil.copytree(studies_folder / "planted", tmp_path / "two" / name)
            seal(tmp_path / "two" / name)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "two"))

        def trace_image(study: Study, model: object, image: Image.Image, name: str) -> Trace:
            odd = name == "odd.jpg" and study.name == "first"
            return replace(tracing.trace_row(study, 9), image_id=name, unusual=odd)

        app_environment.setattr(tracing, "load_model", lambda study: "the model")
        app_environment.setattr(tracing, "trace_image", trace_image)

    def test_it_is_said_and_the_other_study_takes_the_upload(self) -> None:
        app = run()
        app.file_uploader[0].set_value(("odd.jpg", jpeg(), "image/jpeg")).run()
        assert not app.exception and not app.error
        assert "This image is unlike the 400 images this study was built from." in text(app)
        assert "read it with care" in text(app)
        assert any("cgraph build --model" in code.value for code in app.code)
        way = next(button for button in app.button if button.label == "Trace it in study second")
        way.click().run()
        assert not app.exception and not app.error
        assert app.query_params["study"] == "second"
        assert "study second · uploaded image" in text(app) and "odd.jpg" in text(app)
        assert "is unlike the" not in text(app)

    def test_an_image_like_the_others_is_not_flagged(self) -> None:
        app = run()
        app.file_uploader[0].set_value(("plain.jpg", jpeg(), "image/jpeg")).run()
        assert "uploaded image" in text(app)
        assert "is unlike the" not in text(app)
        assert all("Trace it in" not in button.label for button in app.button)


def test_drawn_scenes_are_called_so(study: Study) -> None:
    drawn = SimpleNamespace(manifest=SimpleNamespace(images={"kind": "drawn scenes", "n": 3}))
    first, second = unlike.sentences(drawn, unusual=True)
    assert first == "This study has only seen drawn scenes."
    assert "A photograph gets a trace all the same" in second
    first, second = unlike.sentences(drawn, unusual=False)
    assert first.startswith("This study has only seen drawn scenes")
    assert "If it is a photograph" in second
    assert unlike.sentences(study, unusual=True)[0].startswith("This image is unlike the 400")


@pytest.mark.parametrize(
    ("attributes", "title", "details"),
    [
        ({}, "a.png", ()),
        ({"colour": ["red", "blue", "red"]}, "a.png", ("colour red, blue",)),
        (
            {
                "caption": "a red square on sand",
                "colour": ["red"],
                "object": ["red square"],
                "texture": ["plain"],
                "place": [],
                "n": 1,
                "odd": {"x": 1},
            },
            "a red square on sand",
            ("image a.png", "texture plain", "n 1"),
        ),
        ({"label": "cat", "kept": True}, "cat", ("image a.png", "kept True")),
    ],
)
def test_titles_come_from_attributes(
    attributes: dict[str, Any], title: str, details: tuple[str, ...]
) -> None:
    study = SimpleNamespace(attributes=lambda row: attributes, image_ids=["a.png"])
    assert image_title(study, 0) == (title, details)
