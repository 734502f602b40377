"""The Evaluation page without a browser: what it says, of which world, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_pages import click, concept_list, payloads, run_page, text
from planted_study import write_study
from sklearn.metrics import average_precision_score, roc_auc_score
from streamlit.testing.v1 import AppTest

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.held_out import HeldOutPair
from cgraph.manifest import IMAGES, evaluation_file
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study
from cgraph.ui import paper

ROOT = Path(__file__).parents[2]
PAGE = "pages/2_Evaluation.py"

CONFIG = PlantedConfig(
    n_layers=3, n_atoms=96, d_model=24, max_nnz=5, n_images=900, n_examples=2, thumbnail_px=48
)


def run(**query: str) -> AppTest:
    return run_page(PAGE, **query)


def figures(app: AppTest) -> dict[str, dict[str, Any]]:
    """Return every figure of the page by the end of its file name."""
    found = [json.loads(sent["figure"]) for sent in payloads(app, "cgraph_figure")]
    return {figure["file"]: figure for figure in found}


def figure(app: AppTest, ending: str) -> dict[str, Any]:
    return next(found for file, found in figures(app).items() if file.endswith(ending))


def threshold(app: AppTest) -> dict[str, Any]:
    return json.loads(payloads(app, "cgraph_threshold")[0]["facts"])


@pytest.fixture
def demo(app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(ROOT / "data" / "demo"))
    return Study.open(ROOT / "data" / "demo")


class TestDemo:
    def test_every_figure_says_its_world(self, demo: Study) -> None:
        app = run()
        worlds = {file.split("-", 1)[1]: f["world"] for file, f in figures(app).items()}
        pair = "layers-11-12"
        assert worlds[f"{pair}-roc"] == worlds[f"{pair}-auc"] == "both"
        assert worlds[f"{pair}-f1-balanced"] == "balanced"
        assert worlds[f"{pair}-f1-natural"] == "natural"
        assert worlds[f"{pair}-parents"] == worlds["explained-variance"] == "none"
        concept = [name for name in worlds if name.startswith("L12-")]
        assert {worlds[name] for name in concept if name.endswith("-roc")} == {"both"}
        assert {worlds[name] for name in concept if not name.endswith("-roc")} == {"natural"}
        assert f"{len(demo.rows(HELD_OUT)):,} held-out images" in text(app)

    def test_the_virtual_curve_has_the_median_area(self, demo: Study) -> None:
        from cgraph.roc import virtual_roc, virtual_roc_exponent

        found = figure(run(), "layers-11-12-roc")
        table = demo.evaluation("pairs").to_pylist()
        median = next(row["auc_median"] for row in table if row["right"] == 12)
        k = virtual_roc_exponent(median)
        label = next(m["label"] for m in found["marks"] if m.get("style") == "virtual")
        assert label == f"virtual curve, k = {k:.3f}"
        virtual = np.array([row[4] for row in found["rows"]])
        fpr = np.linspace(0, 1, 257)
        np.testing.assert_allclose([row[0] for row in found["rows"]], fpr, atol=1e-5)
        np.testing.assert_allclose(virtual, virtual_roc(fpr, k), atol=1e-5)
        low, middle, high = (np.array([row[i] for row in found["rows"]]) for i in (1, 2, 3))
        assert (low <= middle).all() and (middle <= high).all()

    def test_the_table_is_the_stored_one_with_the_papers_row(self, demo: Study) -> None:
        body = text(run())
        for row in demo.evaluation("pairs").to_pylist():
            assert f"{row['auc_mean']:.3f} ± {row['auc_std']:.3f}" in body
            assert f"{row['f1_balanced_mean']:.3f} ± {row['f1_balanced_std']:.3f}" in body
            assert f"{row['parents_median']:.0f}, {row['parents_max']}" in body
        assert "0.897 ± 0.073" in body and "0.84 ± 0.09" in body
        assert "the paper, 11 → 12" in body
        assert "…</td>" not in body, "the balanced average precision was not filled in"
        for _, theirs, ours in paper.differences(demo):
            assert theirs.split("(")[0].strip() in body
            assert ours.split("(")[0].strip() in body

    def test_a_concept_shows_its_own_figures_and_mistakes(self, demo: Study) -> None:
        app = run(concept="L7/9")
        found = HeldOutPair(demo, 7).concept(9)
        facts = threshold(app)
        place = np.searchsorted(-np.array(facts["levels"]), -facts["tau"], side="right") - 1
        wanted = found.points.confusion(found.threshold)
        assert (facts["tp"][place], facts["fp"][place]) == (wanted.tp, wanted.fp)
        assert (facts["nPos"], facts["nNeg"]) == (found.positive.sum(), (~found.positive).sum())
        without, having = found.most_confident_mistakes(12)
        for kind, places in (("fp_images", without), ("fn_images", having)):
            ids = [demo.image_ids[found.rows[p]] for p in places]
            assert [image["id"] for image in facts[kind]] == ids
        area = roc_auc_score(found.positive, found.scores)
        assert f"AUC {area:.3f} over" in figure(app, "L7-9-roc")["summary"]
        precision = average_precision_score(found.positive, found.scores)
        assert f"{precision:.3f}" in figure(app, "L7-9-precision-recall")["summary"]
        groups = figure(app, "L7-9-calibration")["rows"]
        assert sum(row[0] for row in groups) == len(found.rows)
        assert sum(row[1] for row in groups) == found.positive.sum()

    def test_a_wrong_image_is_explained_by_its_parents(self, demo: Study) -> None:
        pair = HeldOutPair(demo, 7)
        found = pair.concept(9)
        place = int(found.most_confident_mistakes(1)[0][0])
        app = run(concept="L7/9", image=demo.image_ids[found.rows[place]])
        assert "the network does not have it" in text(app)
        rows = concept_list(app, "Active parents of L7/9")["items"]
        assert [(row["id"], row["weight"]) for row in rows] == [
            (str(parent), pytest.approx(value))
            for parent, value in pair.contributions(9, place)[: len(rows)]
        ]

    def test_the_list_is_sorted_searched_and_turned(self, demo: Study) -> None:
        app = run(layer="7")
        first = [item["id"] for item in concept_list(app, "Concepts of layer 7")["items"]]
        app.selectbox(key="evaluation.sort").select("AUC, highest first").run()
        best = [item["id"] for item in concept_list(app, "Concepts of layer 7")["items"]]
        table = demo.evaluation("concepts").to_pydict()
        areas = {
            f"L7/{index}": area
            for layer, index, area in zip(table["layer"], table["index"], table["auc"], strict=True)
            if layer == 7
        }
        ranked = sorted(areas, key=lambda name: areas[name])
        assert first == ranked[:8] and best == ranked[::-1][:8]
        click(app, "Next →")
        assert [i["id"] for i in concept_list(app, "Concepts")["items"]] == ranked[::-1][8:16]
        app.text_input(key="evaluation.search").input("l7/9").run()
        assert [i["id"] for i in concept_list(app, "Concepts")["items"]] == ["L7/9"]
        name = next(name.text for c, name in demo.names.items() if c.layer == 7)
        app.text_input(key="evaluation.search").input(name.upper()[:4]).run()
        found = concept_list(app, "Concepts")["items"]
        assert found and all(name[:4].casefold() in i["name"].casefold() for i in found)
        app.text_input(key="evaluation.search").input("<b>nothing</b>").run()
        assert not app.exception
        assert "No scored concept of layer 7 is called so" in text(app)

    def test_the_pair_is_chosen_and_stands_in_the_link(self, demo: Study) -> None:
        app = run()
        assert "Layers 11 → 12" in text(app)
        app.button_group(key="evaluation.pair").set_value(4).run()
        assert not app.exception
        assert app.query_params["layer"] in ("4", ["4"])
        assert "Layers 3 → 4" in text(app)
        assert figure(app, "layers-3-4-roc")["rows"]

    def test_the_papers_question_is_answered_from_the_concepts(self, demo: Study) -> None:
        from scipy.stats import spearmanr

        app = run()
        found = figure(app, "parents-AUC")
        parents, areas = np.array([(row[2], row[3]) for row in found["rows"]]).T
        rho = spearmanr(parents, areas).statistic
        assert f"Rank correlation {rho:+.2f}".replace("-", "−") in found["summary"]
        assert "for equal prevalence" in found["summary"]
        assert len(found["rows"]) == 64
        assert figure(app, "parents-match")["world"] == "natural"
        assert "one peak only" in text(app)

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ({"concept": "L12/7", "threshold": "2"}, "must be a number between 0 and 1"),
            ({"concept": "L12/7", "threshold": "![x](http://a.b/c)"}, "must be a number between"),
            ({"concept": "L12/7", "threshold": "nan"}, "must be a number between 0 and 1"),
            ({"layer": "99"}, "There is no layer 99"),
            ({"concept": "L12/9999"}, "The concept of the link was left out"),
            ({"concept": "nonsense"}, "The concept of the link was left out"),
            ({"image": "nowhere"}, "The image of the link was left out"),
        ],
    )
    def test_a_bad_link_costs_a_sentence(
        self, demo: Study, query: dict[str, str], sentence: str
    ) -> None:
        app = run(**query)
        assert any(sentence in warning.value for warning in app.warning)
        assert figure(app, "layers-11-12-parents")["rows"]

    def test_layer_one_is_said_to_have_no_predictors(self, demo: Study) -> None:
        app = run(concept="L1/3")
        assert any("nothing predicts its concepts" in info.value for info in app.info)
        assert "Layers 1 → 2" in text(app)

    def test_a_threshold_in_the_link_is_kept(self, demo: Study) -> None:
        app = run(concept="L7/9", threshold="0.25")
        assert payloads(app, "cgraph_threshold")[0]["threshold"] == 0.25
        assert not app.warning
        # Without its concept it would be that of another.
        assert payloads(run(threshold="0.25"), "cgraph_threshold")[0]["threshold"] is None

    def test_tables_are_taken_away(self, demo: Study) -> None:
        labels = {button.proto.label for button in run().get("download_button")}
        assert labels == {
            "Every curve as CSV",
            "Every concept as CSV",
            "Every held-out image as CSV",
            "Table as CSV",
            "Differences as CSV",
        }

    def test_a_concepts_images_as_csv(self, demo: Study) -> None:
        from cgraph.ui.views.concept_evaluation import _images_csv

        found = HeldOutPair(demo, 7).concept(9)
        rows = list(csv.DictReader(io.StringIO(_images_csv(demo, found).decode())))
        assert [row["image_id"] for row in rows] == [demo.image_ids[r] for r in found.rows]
        active = np.array([row["active"] == "True" for row in rows])
        predicted = np.array([row["predicted_at_tau"] == "True" for row in rows])
        table = found.points.confusion(found.threshold)
        assert ((active & predicted).sum(), (~active & predicted).sum()) == (table.tp, table.fp)

    def test_a_training_image_is_not_judged(self, demo: Study) -> None:
        row = int(demo.rows("train")[0])
        assert "took part in the fits" in text(run(concept="L7/9", image=demo.image_ids[row]))


@pytest.mark.usefixtures("app_environment")
class TestOtherStudies:
    def test_two_peaks_divide_the_concepts(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        folder = write_planted_study(tmp_path / "sizes", CONFIG)
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert "planted, not fitted" in text(app)
        found = figure(app, "layers-2-3-parents")
        n_scored = int(Study.open(folder).graph.column(3, "scored").sum())
        assert sum(row[2] for row in found["rows"]) == n_scored

    def test_one_pair_of_layers(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        write_study(tmp_path / "pair", n_layers=2)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path))
        app = run()
        assert "Layers 1 → 2" in text(app)
        assert len(figure(app, "layers-1-2-roc")["rows"]) == 257
        assert not app.error

    def test_one_layer(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        write_study(tmp_path / "single", n_layers=1)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path))
        app = run()
        assert any("has one layer" in info.value for info in app.info)

    def test_no_study(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "nothing"))
        app = run()
        assert "There is no study to show yet" in [head.value for head in app.subheader]

    def test_images_without_attributes_leave_the_second_explanation_open(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        import pyarrow as pa
        from planted_study import seal

        from cgraph.store import read_table, write_table

        folder = write_study(tmp_path / "bare", n_layers=2)
        table = read_table(folder / IMAGES)
        place = table.column_names.index("attributes")
        bare = table.set_column(place, "attributes", pa.array(["{}"] * table.num_rows))
        write_table(folder / IMAGES, bare)
        seal(folder, 2)
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert "Match with attributes: cannot be asked." in text(app)
        assert not any(file.endswith("parents-match") for file in figures(app))

    def test_pre_activations_show_what_is_stored_and_say_what_is_not(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        folder = write_study(tmp_path / "pre", n_layers=2)
        manifest = json.loads((folder / "study.json").read_text())
        manifest["graph"]["inputs"] = "pre-activations"
        (folder / "study.json").write_text(json.dumps(manifest))
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert sum("take pre-activations" in info.value for info in app.info) == 2
        assert figure(app, "layers-1-2-auc")["rows"]
        assert not any(file.endswith("-roc") for file in figures(app))

    def test_nothing_scored_says_what_to_do(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        import pyarrow as pa
        from planted_study import seal

        from cgraph.manifest import CONCEPTS
        from cgraph.store import read_table, write_table

        folder = write_study(tmp_path / "few", n_layers=2)
        table = read_table(folder / CONCEPTS)
        place = table.column_names.index("scored")
        none = table.set_column(place, "scored", pa.array([False] * table.num_rows))
        write_table(folder / CONCEPTS, none)
        seal(folder, 2)
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert any("No concept of this pair was scored" in info.value for info in app.info)
        app = run(concept="L2/3")
        assert "It was not scored" in text(app)
        assert threshold(app)["nPos"] > 0
        for other in ("app.py", "pages/1_Graph.py", "pages/4_Concepts.py"):
            assert "not scored" in text(run_page(other, concept="L2/3"))
        cards = payloads(run_page("pages/4_Concepts.py", layer="2"), "cgraph_card_grid")[0]
        assert all(["AUC", "not scored"] in card["figures"] for card in cards["items"])

    def test_an_altered_table_of_figures_is_named(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        folder = write_study(tmp_path / "altered", n_layers=2)
        path = folder / evaluation_file("concepts")
        changed = bytearray(path.read_bytes())
        changed[len(changed) // 2] ^= 1
        path.write_bytes(bytes(changed))
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert any("was changed after it was written" in error.value for error in app.error)

    def test_figures_of_another_graph_are_refused(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        from planted_study import seal

        from cgraph.store import read_table, write_table

        folder = write_study(tmp_path / "other", n_layers=2)
        path = folder / evaluation_file("concepts")
        write_table(path, read_table(path).slice(0, 20))
        seal(folder, 2)
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        app = run()
        assert any(
            "has 20 rows of layer 2, not one for each of its 24" in e.value for e in app.error
        )

    def test_a_concept_that_was_not_fitted_says_why(self, studies_folder: Path) -> None:
        study = Study.open(studies_folder / "planted")
        assert not study.graph.record(ConceptId(1, 0)).fitted
        app = run(concept="L6/0")
        assert "It was not scored" in text(app)


_LOADED = """
import sys
from streamlit.testing.v1 import AppTest

app = AppTest.from_file(sys.argv[1], default_timeout=60).switch_page("pages/2_Evaluation.py").run()
assert not app.exception and not app.error
print([name for name in sys.argv[2:] if name in sys.modules])
"""


def test_the_page_is_shown_without_what_takes_long_to_load(
    studies_folder: Path, tmp_path: Path
) -> None:
    heavy = ("torch", "transformers", "numba", "sklearn", "scipy.stats", "pandas", "networkx")
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(ROOT / "app.py"), *heavy],
        cwd=tmp_path,
        env={**os.environ, "CGRAPH_STUDIES": str(studies_folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
