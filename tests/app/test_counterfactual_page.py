"""The Counterfactual page without a browser: what it says, what it refuses, what it keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from app_pages import click, jpeg, payloads, text
from planted_study import write_study
from streamlit.testing.v1 import AppTest

from cgraph.concept import ConceptId
from cgraph.counterfactual import dense_labels, graph_answer, rolled_through, settled
from cgraph.edits import Edit, RolloutSettings, SavedEdit
from cgraph.measurements import measure_study
from cgraph.redrawing import SceneChange, edit_of_change, scene_of
from cgraph.study import Study
from cgraph.study_graph import StudyGraph
from cgraph.ui.models import shelf
from cgraph.ui.resources import find_studies

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "pages" / "3_Counterfactual.py"
DEMO = ROOT / "data" / "demo"
HEAVY = ("torch", "transformers", "numba", "sklearn", "scipy", "pandas", "networkx")


def run(**query: str) -> AppTest:
    """Run the page with a query; it must not raise."""
    app = AppTest.from_file(str(PAGE), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def summary(app: AppTest) -> str:
    body = text(app)
    return body.split("cf-summary' role='status'>")[1].split("</p>")[0]


def table(app: AppTest) -> dict[str, Any]:
    (found,) = payloads(app, "cgraph_concept_table")
    return found


def cells(app: AppTest, column: int) -> dict[str, list[str]]:
    """Return the concepts of one column of the table, by the lead of each row."""
    return {row["lead"]: [c[0] for c in row["cells"][column]] for row in table(app)["rows"]}


def pills(app: AppTest, label: str) -> Any:
    return next(group for group in app.button_group if group.label.startswith(label))


def query(app: AppTest, key: str) -> str:
    """Return a query parameter; of one that the page wrote AppTest gives the text itself."""
    found = app.query_params[key]
    return found if isinstance(found, str) else found[0]


def edit_of(app: AppTest) -> str:
    return query(app, "edit")


@pytest.fixture
def planted(app_environment: pytest.MonkeyPatch, studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@pytest.fixture
def demo(app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(DEMO))
    return Study.open(DEMO)


@pytest.fixture
def demo_model(demo: Study) -> None:
    """Load the model before the page asks for it."""
    (entry,) = find_studies((DEMO,)).entries
    shelf.get(entry, demo)


def expected(study: Study, row: int, edit: Edit, **settings: Any) -> Any:
    chosen = settled(study, RolloutSettings(**settings))
    start = chosen.start_of(edit, study.n_layers)
    labels = dense_labels(study.graph, start, study.codes(start).row(row)[0])
    graph, inputs = rolled_through(study, chosen, start)
    return graph_answer(graph, labels, edit, chosen, key=row, inputs=inputs)


def assert_cells(app: AppTest, answer: Any) -> None:
    """Check what the table says of the layers after the edit."""
    for layer in range(answer.layers[0] + 1, answer.layers[-1] + 1):
        changed = {
            str(c.concept) for kind in ("appeared", "vanished")
            for c in answer.changes(layer, kind)
        }  # fmt: skip
        assert set(cells(app, 0)[f"Layer {layer}"]) == changed


class TestDemo:
    def test_it_opens_on_an_edit_that_is_already_answered(self, demo: Study) -> None:
        app = run()
        row = demo.examples[0]
        scene = scene_of(demo, row)
        change = SceneChange("colour", "purple", 0)  # green is there already
        edit = edit_of_change(demo, 8, scene, change.apply(scene), demo.codes(8).row(row)[0])
        answer = expected(demo, row, edit)
        assert answer.n_changed
        assert "<b>" in summary(app) and "predicts" in summary(app)
        for layer in range(9, 13):
            changed = {
                str(c.concept) for kind in ("appeared", "vanished")
                for c in answer.changes(layer, kind)
            }  # fmt: skip
            assert set(cells(app, 0)[f"Layer {layer}"]) == changed
        assert "edit" not in app.query_params  # a proposal, not yet somebody's choice
        assert "The model is being loaded in the background" in text(app)

    @pytest.mark.usefixtures("demo_model")
    def test_three_answers_stand_side_by_side(self, demo: Study) -> None:
        app = run()
        heads = [head["text"] for head in table(app)["heads"]]
        assert [head[0] for head in heads] == ["◇", "●", "●"]
        assert [head.partition(": ")[2] for head in heads] == ["predicted", "measured", "measured"]
        assert any(cells(app, 1).values()) and any(cells(app, 2).values())
        assert "such changes were measured" in summary(app)
        assert "the class token of its layer" in text(app)
        assert "rank correlation" in text(app)
        assert app.expander[0].label.startswith("How far the answers agree")

    def test_a_search_finds_what_the_graph_page_finds(self, demo: Study) -> None:
        app = run(layer="8")
        app.text_input(key="cf.find").set_value("colour=blue").run()
        found = [c for c in StudyGraph(demo).named.search("colour=blue") if c.layer == 8]
        offered = [option for pills in app.get("button_group") for option in pills.options]
        assert found
        for concept in found[:10]:
            assert any(str(concept) in str(option) for option in offered), (concept, offered)

    @pytest.mark.usefixtures("demo_model")
    def test_every_view_can_be_opened(self, demo: Study) -> None:
        assert "cosine of image and text" in text(run(view="output"))
        assert "a yellow heart" in text(run(view="output", texts="a yellow heart|a red star"))
        app = run(view="graph")
        (picture,) = payloads(app, "cgraph_change_graph")
        drawn = json.loads(picture["picture"])
        assert len(drawn["layers"]) == 12
        app = run(view="states")
        assert [h["text"] for h in table(app)["heads"]] == [
            "Only before: vanished", "Unchanged", "Only after: appeared",
            "Silent both times, moved most",
        ]  # fmt: skip
        assert "No second edit is kept" in text(run(view="two"))
        app = run(view="two", edit="-L8/11", other="-L8/13")
        assert len(table(app)["heads"]) == 4
        app = click(run(view="often"), "Measure")
        assert "64 scenes" in text(app)
        assert "graph beside" in text(app) and "by chance" in text(app)

    @pytest.mark.usefixtures("demo_model")
    def test_a_picture_brought_to_an_empty_slate_takes_its_place(self, demo: Study) -> None:
        app = run(slate="empty", edit="L8/11")
        app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run()
        assert not app.exception and not app.error
        assert "red.jpg" in text(app) and "slate" not in app.query_params
        assert any(cells(app, 1).values())  # the network answers about it

    @pytest.mark.usefixtures("demo_model")
    def test_another_change_of_the_picture(self, demo: Study) -> None:
        app = run(image=demo.image_ids[demo.examples[1]])
        value = next(box for box in app.selectbox if box.label == "New value")
        assert value.value == "green"
        value.select("blue").run()
        assert query(app, "redraw") == "0.colour.blue"
        thing = next(box for box in app.selectbox if box.label == "What is changed")
        thing.select(-1).run()
        assert query(app, "redraw").startswith("background.")
        click(app, "Switch concepts of layer 8 to match")
        names = {demo.names[concept].attribute for concept in Edit.parse(edit_of(app))}
        assert names == {"background"}
        assert any(cells(app, 2).values())

    def test_a_change_that_the_scene_does_not_have_is_said(self, demo: Study) -> None:
        app = run(redraw="2.colour.red", image=demo.image_ids[demo.examples[1]])
        assert "There is no object 2" in app.warning[0].value
        app = run(redraw="0.colour.mauve")
        assert "The colour is 'mauve'" in app.warning[0].value


class TestPlanted:
    def test_the_strongest_concept_is_switched_off_first(self, planted: Study) -> None:
        app = run()
        assert "L8/" in table(app)["rows"][0]["cells"][0][0][0]
        assert "Network, edited: nothing was measured" in text(app)

    def test_the_link_decides(self, planted: Study) -> None:
        row, edit = 7, Edit((ConceptId(3, 1),), (ConceptId(5, 2),))
        app = run(image=planted.image_ids[row], edit=edit.to_text(), rule="top-k", k="8")
        answer = expected(planted, row, edit, rule="top-k", k=8)
        for layer in range(4, 13):
            changed = {
                str(c.concept) for kind in ("appeared", "vanished")
                for c in answer.changes(layer, kind)
            }  # fmt: skip
            shown = {c for c in cells(app, 0)[f"Layer {layer}"] if c not in ("L5/2",)}
            assert shown == changed - {"L5/2"} or len(changed) > 10
        assert "only because k concepts are kept active" in text(app)

    def test_pills_switch_and_undo_takes_it_back(self, planted: Study) -> None:
        app = run(image=planted.image_ids[7], edit="none", layer="6")
        assert "Nothing is set by hand" in summary(app)
        group = pills(app, "Concepts of layer 6")
        on = list(group.value)
        assert {ConceptId.parse(c).index for c in on} == set(planted.codes(6).row(7)[0].tolist())
        group.set_value(on[1:]).run()
        assert edit_of(app) == f"-{on[0]}"
        other = next(f"L6/{i}" for i in range(24) if f"L6/{i}" not in on)
        app.text_input[0].set_value(other.partition("/")[2]).run()
        group = pills(app, "Concepts of layer 6")
        group.set_value([*group.value, other]).run()
        assert set(edit_of(app).split(",")) == {f"-{on[0]}", other}
        click(app, "Undo")
        assert edit_of(app) == f"-{on[0]}"
        click(app, "Undo")
        assert edit_of(app) == "none"
        pills(app, "Concepts of layer 6").set_value(on[2:]).run()
        click(app, "Reset")
        assert edit_of(app) == "none"

    def test_what_is_set_can_be_left_alone_again(self, planted: Study) -> None:
        app = run(edit="L6/1,-L7/2")
        pills(app, "Set by hand").set_value(["L7/2"]).run()
        assert edit_of(app) == "-L7/2"

    def test_the_panel_says_what_caused_a_change(self, planted: Study) -> None:
        row = 7
        active = planted.codes(5).row(row)[0]
        edit = Edit((), (ConceptId(5, int(active[0])),))
        answer = expected(planted, row, edit)
        child = next(
            c.concept for kind in ("vanished", "appeared", "unchanged", "silent")
            for c in answer.changes(6, kind) if c.before != c.after
        )  # fmt: skip
        app = run(image=planted.image_ids[row], edit=edit.to_text(), concept=str(child))
        assert "What moved it" in text(app)
        (causes,) = payloads(app, "cgraph_concept_list")
        assert [item["id"] for item in causes["items"]] == [str(edit.off[0])]
        click(app, "Switch it off" if answer.change(child).kind in ("unchanged", "appeared")
              else "Switch it on")  # fmt: skip
        assert str(child) in edit_of(app)
        assert "It is set by hand, so nothing else decides it" in text(app)

    def test_rules_and_the_start_layer_can_be_chosen(self, planted: Study) -> None:
        app = run(edit="-L8/2")
        rule = next(radio for radio in app.radio if radio.label == "Rule")
        rule.set_value("sample").run()
        assert query(app, "rule") == "sample"
        draws, seed = app.number_input
        assert (draws.label, seed.label) == ("Draws", "Seed")
        seed.set_value(5).run()
        assert query(app, "seed") == "5"
        start = next(box for box in app.selectbox if box.label.startswith("Start layer"))
        start.select(4).run()
        assert query(app, "start") == "4"
        assert "Layer 8" in cells(app, 0)

    def test_a_rule_that_was_not_measured_is_not_offered(self, planted: Study) -> None:
        app = run(edit="-L8/2")
        rule = next(radio for radio in app.radio if radio.label == "Rule")
        assert rule.value == "max" and not any("refitted" in option for option in rule.options)

    def test_the_rule_of_a_measured_study_is_refitted(
        self, planted: Study, app_environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = tmp_path / "planted"
        shutil.copytree(planted.path, folder)
        study = measure_study(folder, ["rollout"], workers=1).study
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path))
        row = 7
        edit = Edit((), (ConceptId(5, int(study.codes(5).row(row)[0][0])),))
        app = run(image=study.image_ids[row], edit=edit.to_text())
        rule = next(radio for radio in app.radio if radio.label == "Rule")
        assert rule.value == "refitted" and "rule" not in app.query_params
        assert not any(radio.label == "Probabilities" for radio in app.radio)
        assert_cells(app, expected(study, row, edit))
        rule.set_value("max").run()
        assert query(app, "rule") == "max"
        assert_cells(app, expected(study, row, edit, rule="max"))

    def test_an_empty_slate(self, planted: Study) -> None:
        app = click(run(), "Start from an empty slate")
        assert "Empty slate" in text(app)
        app = run(slate="empty", edit="L2/3")
        labels = dense_labels(planted.graph, 2, [])
        answer = graph_answer(planted.graph, labels, Edit((ConceptId(2, 3),)), RolloutSettings())
        appeared = [str(c.concept) for c in answer.changes(3, "appeared")]
        assert appeared and cells(app, 0)["Layer 3"] == appeared
        assert "Without an image there is nothing to run through the network" in text(app)

    def test_an_edit_is_saved_and_loaded(self, planted: Study) -> None:
        app = run(edit="none")
        saved = SavedEdit(Edit((ConceptId(4, 1),)), RolloutSettings("top-k", k=5), planted.name)
        file = next(f for f in app.file_uploader if f.label == "Load an edit")
        file.set_value(("mine.json", saved.to_json().encode(), "application/json")).run()
        assert not app.exception
        assert edit_of(app) == "L4/1"
        assert (query(app, "rule"), query(app, "k")) == ("top-k", "5")
        assert any(b.label == "Save this edit as JSON" for b in app.get("download_button"))

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (b"no json", "not readable JSON"),
            (b'{"cgraph_edit": 1, "on": ["L40/1"]}', "There is no layer 40"),
            (b'{"cgraph_edit": 1, "on": ["L4/1"], "study": "x"}', "about study 'x'"),
        ],
    )
    def test_a_file_that_is_no_edit_is_told(
        self, planted: Study, data: bytes, sentence: str
    ) -> None:
        app = run(edit="none")
        file = next(f for f in app.file_uploader if f.label == "Load an edit")
        file.set_value(("mine.json", data, "application/json")).run()
        assert not app.exception
        assert "mine.json was not loaded" in app.error[0].value and sentence in app.error[0].value

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ({"edit": "L4/1,seven"}, "'seven' is not a concept"),
            ({"edit": "L4/99"}, "There is no concept L4/99"),
            ({"edit": "L4/1,-L4/1"}, "switches L4/1 on and off"),
            ({"rule": "min"}, "rule is 'min'"),
            ({"rule": "refitted"}, "--only rollout"),
            ({"draws": "many"}, "draws is 'many': a whole number is needed"),
            ({"start": "44"}, "There is no start layer 44"),
            ({"edit": "L4/1", "start": "9"}, "it starts at layer 4"),
            ({"view": "pie"}, "There is no view 'pie'"),
            ({"edit": "L4/1", "about": "other"}, "is about study 'other'"),
            ({"other": "x"}, "second edit of the link was left out"),
        ],
    )  # fmt: skip
    def test_what_the_link_cannot_mean_is_said(
        self, planted: Study, query: dict[str, str], sentence: str
    ) -> None:
        app = run(**query)
        assert any(sentence in w.value.replace("\\", "") for w in app.warning)

    @pytest.mark.parametrize(
        ("edit", "other", "more", "start"),
        [
            ("none", "none", {}, 1),
            ("none", "none", {"start": "5"}, 5),
            ("none", "-L7/3", {"layer": "9"}, 7),
            ("-L7/3", "none", {"layer": "9"}, 7),
        ],
    )
    def test_an_edit_that_sets_nothing_can_be_compared(
        self, planted: Study, edit: str, other: str, more: dict[str, str], start: int
    ) -> None:
        app = run(edit=edit, other=other, view="two", **more)
        assert not app.error
        assert f"both from the labels of layer {start};" in text(app)

    def test_edits_of_another_study_cannot_be_undone(self, planted: Study) -> None:
        app = run(edit="-L7/3")
        click(app, "Reset")
        assert not next(button for button in app.button if button.label == "Undo").disabled
        app.session_state["edit.past"] = {"another": app.session_state["edit.past"]["planted"]}
        app.run()
        assert next(button for button in app.button if button.label == "Undo").disabled

    def test_two_edits_can_be_compared(self, planted: Study) -> None:
        app = run(edit="-L8/2")
        click(app, "Keep this edit to compare with")
        assert query(app, "other") == "-L8/2"
        app = run(edit="-L7/3", other="-L8/2", view="two")
        assert "both from the labels of layer 7" in text(app)
        assert [h["text"].partition(":")[0] for h in table(app)["heads"]] == [
            "◇ This edit", "◇ Kept edit",
        ]  # fmt: skip


def test_a_study_with_one_layer_pair(app_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_study(tmp_path / "pair", n_layers=2)
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "pair"))
    app = run()
    assert set(cells(app, 0)) == {"Layer 1", "Layer 2"}
    for view in ("states", "graph", "output", "two", "often"):
        run(view=view)
    assert "nothing comes after it" in summary(run(edit="L2/1"))


_FIRST_PAINT = f"""
import sys
from streamlit.testing.v1 import AppTest

app = AppTest.from_file({str(PAGE)!r}, default_timeout=60).run()
assert not app.exception and not app.error
assert app.get("bidi_component"), "the table was not drawn"
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_the_first_paint_loads_nothing_that_takes_long(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_PAINT],
        cwd=tmp_path,
        env={**os.environ, "CGRAPH_STUDIES": str(DEMO)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_without_a_study_the_page_says_how_to_build_one(
    app_environment: pytest.MonkeyPatch,
) -> None:
    app_environment.setenv("CGRAPH_STUDIES", "/nowhere/at/all")
    app = run()
    assert app.subheader[0].value == "There is no study to show yet"
