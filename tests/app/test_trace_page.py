"""The Trace page without a browser: what it says, what it refuses, what it keeps."""

from __future__ import annotations

import dataclasses
import shutil
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest
import streamlit as st
from app_pages import APP, click, concept_list, grid, html, jpeg, run, selected, text
from PIL import Image
from planted_study import parents_of, seal
from streamlit.testing.v1 import AppTest

from cgraph import glossary, tracing
from cgraph.concept import ConceptId
from cgraph.errors import ModelError
from cgraph.graph import ConceptGraph
from cgraph.study import Study
from cgraph.ui.models import shelf


@pytest.fixture
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


def held_out_title(study: Study) -> str:
    return study.attributes(int(study.rows("held-out")[0]))["label"]


@pytest.mark.usefixtures("app_environment")
class TestPlantedStudy:
    def test_opens_on_a_held_out_image(self, study: Study) -> None:
        app = run()
        assert held_out_title(study) in text(app)
        assert "12 layers" in text(app)
        assert selected(app).startswith("L12/")
        assert len(grid(app, "Training images")["items"]) == 9

    def test_the_link_decides_image_and_concept(self, study: Study) -> None:
        row = 7
        concept = tracing.trace_row(study, row).layers[4][2].concept
        app = run(study="planted", image=study.image_ids[row], concept=str(concept))
        assert study.image_ids[row] in text(app)
        assert selected(app) == str(concept)
        assert f"<h3 class='cg-concept'>{concept}</h3>" in text(app)
        assert not app.warning

    def test_parents_are_the_planted_ones(self, study: Study) -> None:
        app = run(concept="L6/4")
        rows = concept_list(app, "Children")
        children = {f"L7/{child}" for child in range(24) if 4 in parents_of(child)}
        assert {row["id"] for row in rows["items"]} == children

    def test_a_silent_concept_is_shown_and_said_to_be_silent(self, study: Study) -> None:
        trace = tracing.trace_row(study, 7)
        active = {a.concept.index for a in trace.layers[2]}
        silent = ConceptId(3, next(i for i in range(24) if i not in active))
        app = run(image=study.image_ids[7], concept=str(silent))
        assert "silent in this image" in text(app)
        assert len(grid(app, "Training images")["items"]) == 9

    def test_what_the_lit_paths_carry_is_said(self, study: Study) -> None:
        trace = tracing.trace_row(study, 7)
        raised = {edge.child for edge in trace.edges if edge.share > 0}
        last = [active.concept for active in trace.layers[-1]]
        expected = next(concept for concept in last if concept in raised)
        surprise = next(concept for concept in last if concept not in raised)
        app = run(image=study.image_ids[7], concept=str(expected))
        assert "The lit paths carry" in text(app)
        app = run(image=study.image_ids[7], concept=str(surprise))
        assert "the graph did not expect it" in text(app)

    def test_words_are_explained_beside_the_figures(self) -> None:
        app = run()
        body = html(app)
        assert "by chance)" in body
        for key in ("concept", "class_token", "prevalence", "coefficient", "lift", "auc"):
            assert escape(glossary.term(key).meaning) in body

    def test_missing_edges_are_told_in_words(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = tracing.trace_row(study, 7)
        few = tuple(edge for edge in whole.edges if edge.child.layer == 12)
        monkeypatch.setattr(tracing, "trace_row", lambda *_: dataclasses.replace(whole, edges=few))
        app = run(image=study.image_ids[7])
        assert "none between 10 of 11 pairs of layers" in text(app)

    def test_a_concept_without_parents_says_why(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        active = tracing.trace_row(study, 7).layers[4][0].concept
        none = study.graph.parents(ConceptId(1, 0))
        monkeypatch.setattr(ConceptGraph, "parents", lambda *_: none)
        monkeypatch.setattr(ConceptGraph, "children", lambda *_: none)
        app = run(image=study.image_ids[7], concept=str(active))
        assert "no concept of layer 4 reliably helps to predict it" in text(app)
        assert "it helps to predict no concept of layer 6" in text(app)
        assert "Parents predict</dt><dd><b>" not in text(app)
        assert "did not expect it" not in text(app)
        rare = dataclasses.replace(study.graph.record(active), fitted=False)
        monkeypatch.setattr(ConceptGraph, "record", lambda *_: rare)
        assert "too rare or too common for a predictor" in text(
            run(image=study.image_ids[8], concept=str(active))
        )

    def test_the_first_layer_says_why_it_has_no_parents(self, study: Study) -> None:
        app = run(concept="L1/3")
        assert "layer 1 is the first, so nothing is expected of it." in text(app)

    def test_the_last_layer_says_why_it_has_no_children(self) -> None:
        assert "It has no children: layer 12 is the last." in text(run(concept="L12/3"))

    def test_a_concept_that_was_not_scored_says_so(self) -> None:
        assert "not scored" in text(run(concept="L6/0"))
        assert "not scored" not in text(run(concept="L6/1"))

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ({"study": "../secret"}, "No study is called '../secret'. There is: planted."),
            ({"image": "nowhere.png"}, "has no image 'nowhere.png'"),
            ({"concept": "L99/1"}, "There is no layer 99"),
            ({"concept": "<b>x</b>"}, "is not a concept"),
            ({"layer": "x"}, "asks for layer 'x'"),
        ],
    )
    def test_a_bad_link_costs_a_sentence(
        self, study: Study, query: dict[str, str], sentence: str
    ) -> None:
        app = run(**query)
        assert any(sentence in warning.value for warning in app.warning)
        assert held_out_title(study) in text(app)

    @pytest.mark.parametrize("key", ["study", "image", "concept", "layer"])
    def test_a_link_cannot_smuggle_in_a_picture(self, key: str) -> None:
        app = run(**{key: "x\n\n![x](https://example.org/x.png) <img src=x> `a"})
        assert len(app.warning) == 1
        assert "![" not in app.warning[0].value.replace("\\[", "")
        assert "<img" not in app.warning[0].value.replace("\\<", "")

    def test_the_trace_can_be_downloaded(self, study: Study) -> None:
        app = run()
        labels = [button.proto.label for button in app.get("download_button")]
        assert labels == ["Trace as JSON", "Concepts as CSV", "Edges as CSV"]

    def test_paging_keeps_the_image(self, study: Study) -> None:
        app = run()
        next(button for button in app.button if "Next" in button.label).click().run()
        assert not app.exception
        assert held_out_title(study) in text(app)

    def test_a_random_image_is_held_out(self, study: Study) -> None:
        app = run()
        click(app, "Random image")
        image_id = app.query_params["image"]
        assert study.row(image_id) in study.rows("held-out")
        assert image_id in text(app)

    def test_a_bad_upload_keeps_the_trace(self, study: Study) -> None:
        app = run()
        app.file_uploader[0].set_value(("broken.png", b"no picture", "image/png")).run()
        assert not app.exception
        assert len(app.error) == 1 and "broken.png" in app.error[0].value
        assert held_out_title(study) in text(app)

    def test_an_upload_without_a_model_says_where_it_was_looked_for(self, study: Study) -> None:
        app = run()
        app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run()
        assert not app.exception
        assert len(app.error) == 1
        assert "'red.jpg' was not traced" in app.error[0].value
        assert "CGRAPH_MODEL_DIR" in app.error[0].value
        assert held_out_title(study) in text(app)

    def test_an_upload_is_traced(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def trace_image(of: Study, model: object, image: Image.Image, image_id: str) -> object:
            calls.append((model, image.size, image_id))
            return tracing.trace_row(of, 9)

        monkeypatch.setattr(tracing, "load_model", lambda of: "the model")
        monkeypatch.setattr(tracing, "trace_image", trace_image)
        app = run(image=study.image_ids[7])
        app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run()
        assert not app.exception and not app.error
        assert calls == [("the model", (40, 60), "red.jpg")]
        assert "red.jpg" in text(app) and "uploaded image" in text(app)
        upload = app.query_params["image"]
        assert upload.startswith("upload:")
        click(app, "Random image")
        assert "uploaded image" not in text(app)
        app.query_params["image"] = upload  # as the back button does
        app.run()
        assert "uploaded image" in text(app) and "red.jpg" in text(app)
        assert len(calls) == 1

    def test_an_upload_that_cannot_be_traced_again_gives_way(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tracing, "load_model", lambda of: "the model")
        monkeypatch.setattr(tracing, "trace_image", lambda of, *_: tracing.trace_row(of, 9))
        app = run()
        app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run()
        assert "uploaded image" in text(app)

        def gone(of: Study) -> object:
            raise ModelError("The model was not found.")

        monkeypatch.setattr(tracing, "load_model", gone)
        st.cache_resource.clear()
        shelf.clear()
        app.run()
        assert not app.exception
        assert "'red.jpg' was not traced again. The model was not found." in app.error[0].value
        assert held_out_title(study) in text(app)
        assert not app.run().error

    def test_any_file_reaches_the_sentence_that_refuses_it(self) -> None:
        app = run()
        assert list(app.file_uploader[0].proto.type) == []
        app.file_uploader[0].set_value(("note.txt", b"a note", "text/plain")).run()
        assert "note.txt is not an accepted image" in app.error[0].value


def test_without_a_study_the_page_says_how_to_build_one(
    app_environment: pytest.MonkeyPatch,
) -> None:
    app_environment.setenv("CGRAPH_STUDIES", "/nowhere/at/all")
    app = run()
    assert app.subheader[0].value == "There is no study to show yet"
    assert app.code[0].value.startswith("cgraph build --model")
    here = Path.cwd()
    for place in (
        "/nowhere/at/all",
        f"`{here / 'studies'}`",
        f"`{here / 'data'}`",
        "CGRAPH_STUDIES",
    ):
        assert place in text(app)


def test_pages_that_exist_are_linked(app_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(APP, tmp_path / "app.py")
    app = AppTest.from_file(str(tmp_path / "app.py"), default_timeout=30).run()
    assert app.get("page_link") == []
    (tmp_path / "pages").mkdir()
    page = "from cgraph.ui import frame\n\nframe.open_page('Graph')\n"
    (tmp_path / "pages" / "1_Graph.py").write_text(page)
    app = AppTest.from_file(str(tmp_path / "app.py"), default_timeout=30).run()
    assert not app.exception
    links = [element.proto for element in app.get("page_link")]
    assert [(link.label, link.disabled) for link in links] == [
        ("Trace", True),
        ("Graph", False),
        ("Open in Graph", False),
    ]
    assert f"concept={quote(selected(app), safe='')}" in links[-1].query_string
    assert "image=drawn" in links[-1].query_string


class TestTwoStudies:
    @pytest.fixture
    def folder(
        self, studies_folder: Path, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> Path:
        for name in ("first", "second"):
            shutil.copytree(studies_folder / "planted", tmp_path / "two" / name)
            seal(tmp_path / "two" / name)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "two"))
        return tmp_path / "two"

    @pytest.mark.usefixtures("folder")
    def test_another_study_can_be_chosen(self) -> None:
        app = run()
        assert "study first" in text(app)
        app.selectbox[0].select("second").run()
        assert not app.exception
        assert app.query_params["study"] == "second"
        assert "study second" in text(app)

    def test_a_broken_study_leaves_the_other_usable(self, folder: Path) -> None:
        (folder / "first" / "images.arrow").unlink()
        app = run()
        assert len(app.error) == 1
        assert "'first' cannot be shown" in app.error[0].value
        assert "images.arrow is missing" in app.error[0].value
        assert "study second" in text(app)
        app = run(study="first")
        assert "'first' cannot be shown" in app.error[0].value
        app.selectbox[0].select("second").run()
        assert "study second" in text(app) and not app.error

    def test_a_folder_that_is_no_study_is_mentioned(self, folder: Path) -> None:
        (folder / "first" / "study.json").write_text("{")
        app = run()
        assert app.expander[0].label == "1 study folder could not be read"
        assert "cannot be read as JSON" in app.expander[0].markdown[0].value
        assert "study second" in text(app)

    def test_a_damaged_file_is_told_not_raised(self, folder: Path) -> None:
        edges = folder / "first" / "graph" / "edges.arrow"
        data = bytearray(edges.read_bytes())
        data[len(data) // 2] ^= 1
        edges.write_bytes(data)
        app = run(study="first")
        assert "edges.arrow was changed" in app.error[0].value

    def test_damaged_codes_are_told_not_raised(self, folder: Path) -> None:
        for part in (folder / "first" / "codes").rglob("*.arrow"):
            part.write_bytes(part.read_bytes()[:-64] + bytes(64))
        app = run(study="first")
        assert len(app.error) == 1
        assert "codes" in app.error[0].value
