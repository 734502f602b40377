"""What was measured of the graph's truth, on the Evaluation page without a browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import truth_example
from app_pages import payloads, run_page, text
from streamlit.testing.v1 import AppTest

from cgraph import truth_tables as names
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study
from cgraph.truth_tables import TABLES, truth_file
from cgraph.ui.charts.rollout_depth import QUANTITIES
from cgraph.ui.views.truth import TOPICS

ROOT = Path(__file__).parents[2]
PAGE = "pages/2_Evaluation.py"


def run(topic: str = "", **query: str) -> AppTest:
    return run_page(PAGE, view="truth", **({"topic": topic} if topic else {}), **query)


def figures(app: AppTest) -> dict[str, dict[str, Any]]:
    """Return the figures of the page by their titles."""
    found = [json.loads(sent["figure"]) for sent in payloads(app, "cgraph_figure")]
    return {figure["title"]: figure for figure in found}


def options(app: AppTest, key: str) -> Any:
    return app.button_group(key=key)


def one(app: AppTest, key: str) -> str:
    """Return a query parameter, which is a list or not, whoever set it last."""
    value = app.query_params[key]
    return value if isinstance(value, str) else value[0]


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    truth_example.measured_copy(ROOT / "data" / "demo", folder / "demo")
    return folder


@pytest.fixture
def demo(demo_folder: Path, app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(demo_folder))
    return Study.open(demo_folder / "demo")


@pytest.fixture(scope="module")
def unmeasured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unmeasured") / "demo"
    return truth_example.unmeasured_copy(ROOT / "data" / "demo", folder).path


@pytest.fixture
def unmeasured(unmeasured_folder: Path, app_environment: pytest.MonkeyPatch) -> Path:
    app_environment.setenv("CGRAPH_STUDIES", str(unmeasured_folder))
    return unmeasured_folder


class TestMeasured:
    def test_every_topic_is_drawn_and_says_whether_it_was_measured(self, demo: Study) -> None:
        marks = {
            "rollout": "◇ predicted by the graph",
            "references": "◇ predicted by the graph",
            "evidence": "● measured in the network",
            "leakage": "● measured in the network",
            "direction": "● measured in the network",
            "factors": "○ concepts held against what is known of the images",
            "stability": "○ two fits compared",
        }
        for name, topic in TOPICS.items():
            app = run(name)
            body = text(app)
            assert not app.error and not app.warning and not app.info
            head = body[body.index(topic.question) :]
            assert marks[name] in head[:200]
            others = {other.question for other in TOPICS.values()} - {topic.question}
            assert not any(question in body for question in others), "only one topic is drawn"

    def test_in_short_it_says_the_stored_figures(self, demo: Study) -> None:
        body, truth = text(run()), demo.truth
        assert f"Of {truth['edges_measured']:,} edges" in body
        assert f"<b>{100 * truth['edges_supported_share']:.0f}" in body
        assert f"<b>{truth['rollout_gap_to_direct']:.3f}</b> AUC below" in body
        assert f"<b>{100 * truth['atoms_matched_share']:.0f}" in body

    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_curves_are_the_stored_ones(self, demo: Study, quantity: str) -> None:
        app = run("rollout", start="4", figure=quantity, probability="prior")
        (figure,) = figures(app).values()
        stored = [
            row
            for row in demo.measured("rollout").to_pylist()
            if row["start"] == 4 and row["probability"] == "prior"
        ]
        curves = [m for m in figure["marks"] if m["mark"] == "curve" and len(m["x"]) == 8]
        curves = [curve for curve in curves if curve["style"] != "pale"]
        assert len(curves) == 10, "five rules, free-running and teacher-forced"
        for curve in curves:
            assert curve["x"] == list(range(5, 13))
        drawn = sorted(tuple(curve["y"]) for curve in curves)
        wanted = sorted(
            tuple(
                round(row[quantity], 5)
                for row in sorted(stored, key=lambda row: row["layer"])
                if (row["rule"], row["forced"]) == (rule, forced)
            )
            for rule in truth_example.RULES
            for forced in (False, True)
        )
        np.testing.assert_allclose(drawn, wanted, atol=1e-5)
        assert len({(curve["marker"], curve["hollow"]) for curve in curves}) == 10
        assert "From the true labels of layer 4, refitted probabilities reach" in figure["summary"]

    def test_references_stand_at_the_last_layer(self, demo: Study) -> None:
        (figure,) = figures(run("rollout", start="3")).values()
        stored = {
            row["reference"]: row["auc"]
            for row in demo.measured("references").to_pylist()
            if (row["start"], row["layer"]) == (3, 12)
        }
        points = {
            mark["label"]: (mark["x"], mark["y"])
            for mark in figure["marks"]
            if mark["mark"] == "curve" and len(mark["x"]) == 1
        }
        assert len(points) == 3
        direct = points["a fit straight from the start"]
        assert direct[1] == [round(stored[names.DIRECT], 5)]
        assert 12 < direct[0][0] < figure["x"]["high"]
        assert f"raw token reaches {stored[names.TOKEN]:.2f}" in figure["summary"]

    def test_without_teacher_forcing_half_of_the_curves_go(self, demo: Study) -> None:
        app = run("rollout")
        app.checkbox(key="truth.forced").uncheck().run()
        assert one(app, "forced") == "no"
        (figure,) = figures(app).values()
        assert not any(mark.get("hollow") for mark in figure["marks"])

    def test_choices_are_kept_in_the_link(self, demo: Study) -> None:
        app = run("rollout")
        app.select_slider(key="truth.start").set_value(5).run()
        options(app, "truth.figure").set_value("ap").run()
        options(app, "truth.probability").set_value("balanced").run()
        query = {key: one(app, key) for key in app.query_params}
        assert query | {"start": "5", "figure": "ap", "probability": "balanced"} == query
        assert "Average precision of rollouts from layer 5" in figures(app)
        again = run_page(PAGE, **query)
        assert figures(again) == figures(app)

    def test_a_link_that_means_nothing_is_told_and_left(self, demo: Study) -> None:
        app = run("rollout", start="12", figure="beauty")
        said = " ".join(warning.value for warning in app.warning)
        assert "the start '12'" in said and "the figure 'beauty'" in said
        assert "AUC of rollouts from layer 1" in figures(app)

    def test_the_table_of_references_is_sorted(self, demo: Study) -> None:
        app = run("references")
        app.selectbox(key="truth.sort").set_value(names.NEAREST).run()
        body = text(app)
        table = body[body.index("Table of references'") :]
        stored = [
            (row["auc"], f"{row['start']} → {row['layer']}")
            for row in demo.measured("references").to_pylist()
            if row["reference"] == names.NEAREST
        ]
        wanted = [pair for _, pair in sorted(stored, reverse=True)]
        places = [table.index(f"<th scope='row'>{pair}</th>") for pair in wanted]
        assert places == sorted(places)

    def test_verdicts_add_up_and_match_the_table(self, demo: Study) -> None:
        shown = figures(run("evidence"))
        figure = shown["Verdicts on the edges"]
        stored = demo.measured("evidence-pairs").to_pylist()
        for row, pair in zip(figure["rows"], stored, strict=True):
            left, right, n, *counts = row
            assert (left, right, n) == (pair["left"], pair["right"], pair["n_edges"])
            assert sum(counts) == n and counts[0] == pair["n_specific"]
        top = [mark for mark in figure["marks"] if mark["mark"] == "blocks"][-1]
        np.testing.assert_allclose(top["high"], 1, atol=1e-4)
        patterns = [mark["style"] for mark in figure["marks"] if mark["mark"] == "blocks"]
        assert len(set(patterns)) == len(patterns) == 5
        controls = shown["Edges against controls"]["marks"][-1]
        assert controls["y"][3] == pytest.approx(
            stored[3]["n_controls_supported"] / stored[3]["n_controls"], abs=1e-4
        )

    def test_pairs_of_concepts_are_filtered(self, demo: Study) -> None:
        stored = demo.measured("direction").to_pylist()
        app = run("direction", verdict=names.A_TO_B)
        (table,) = payloads(app, "cgraph_concept_table")
        wanted = sum(row["verdict"] == names.A_TO_B for row in stored)
        assert len(table["rows"]) == min(20, wanted)
        assert {row["lead"] for row in table["rows"]} == {names.A_TO_B}
        drawn = [row for row in stored if row["drawn"]]
        agree = sum(row["drawn"] == row["verdict"] for row in drawn)
        assert f"in {len(drawn)} of them; the network agrees in {agree}" in text(app)
        app.selectbox(key="truth.layers").set_value("3 → 4").run()
        tables = payloads(app, "cgraph_concept_table")
        shown = tables[0]["rows"] if tables else []
        of_layers = [row for row in stored if row["lower"] == 3 and row["verdict"] == names.A_TO_B]
        assert len(shown) == len(of_layers)
        assert bool(shown) != bool(app.info)

    def test_a_chosen_concept_leads_to_other_pages(self, demo: Study) -> None:
        app = run("direction", concept="L3/5")
        labels = [link.proto.label for link in app.get("page_link")]
        assert "Open in Graph" in labels and "Open in Concepts" in labels
        assert "L3/5" in text(app)

    @pytest.mark.parametrize("table", ["leakage", "evidence-pairs"])
    def test_a_table_that_was_altered_is_told(
        self, demo: Study, tmp_path: Path, app_environment: pytest.MonkeyPatch, table: str
    ) -> None:
        folder = tmp_path / "altered"
        shutil.copytree(demo.path, folder)
        file = folder / truth_file(table)
        file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run(names.measurement_of(table))
        said = " ".join(error.value for error in app.error)
        assert f"{table}.arrow" in said and "--again" in said
        assert figures(run("stability")), "the other topics are there"


class TestNotMeasured:
    def test_each_topic_says_how_to_measure_it(self, unmeasured: Path) -> None:
        for name in TOPICS:
            app = run(name)
            assert not app.error and not figures(app)
            assert "not measured yet" in app.info[0].value
            assert app.code[0].value == f"cgraph evaluate {unmeasured} --only {name}"
            assert app.code[-1].value == f"cgraph evaluate {unmeasured}"

    def test_every_measurement_is_listed_with_what_it_takes(self, unmeasured: Path) -> None:
        body = text(run())
        for name in TABLES:
            assert f"<th scope='row'>{name}</th>" in body
        assert "not yet" in body

    def test_a_rollout_without_references_stands_alone(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "demo"
        truth_example.measured_copy(ROOT / "data" / "demo", folder, ["rollout"])
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        (figure,) = figures(run("rollout")).values()
        assert not any(mark["mark"] == "curve" and len(mark["x"]) == 1 for mark in figure["marks"])
        assert "straight" not in figure["summary"]
        assert "measured in 12" in text(run())

    def test_a_planted_study_says_why(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        config = PlantedConfig(n_layers=3, n_atoms=64, d_model=16, max_nnz=4, n_images=600)
        write_planted_study(tmp_path / "planted", config)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "planted"))
        app = run("evidence")
        assert "planted, not read from pictures" in app.info[0].value
        assert not any("--only evidence" in code.value for code in app.code)
        assert "cannot be measured" in text(app)
        assert run("rollout").code[0].value.endswith("planted --only rollout")

    def test_the_other_view_is_as_it_was(self, unmeasured: Path) -> None:
        app = run_page(PAGE)
        assert options(app, "evaluation.view").value == "pairs"
        options(app, "evaluation.view").set_value("truth").run()
        assert one(app, "view") == "truth"
        assert TOPICS["rollout"].question in text(app)
