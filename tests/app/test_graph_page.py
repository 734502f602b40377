"""The Graph page without a browser: its views, filters, search, pins, files and refusals."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from app_pages import APP, click, concept_list, html, payloads, text
from planted_study import parents_of, write_study
from streamlit.testing.v1 import AppTest

from cgraph.concept import ConceptId
from cgraph.given_names import GivenName, change_given_names
from cgraph.graph_export import FORMATS
from cgraph.study import Study

PAGE = "pages/1_Graph.py"


def run(**query: str) -> AppTest:
    """Run the page with a query; it must not raise."""
    app = AppTest.from_file(str(APP), default_timeout=30)
    app.switch_page(PAGE)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def query(app: AppTest) -> dict[str, str]:
    found = app.query_params.items()
    return {key: value if isinstance(value, str) else value[0] for key, value in found}


def part(app: AppTest) -> dict[str, Any]:
    """Return the part of the graph that is drawn."""
    return json.loads(payloads(app, "cgraph_part_graph")[0]["picture"])


def drawn(app: AppTest) -> dict[str, list[str]]:
    """Return the concepts that are drawn, by the name of their layer."""
    return {
        layer["name"]: sorted(node["id"] for node in layer["nodes"])
        for layer in part(app)["layers"]
    }


def matrix(app: AppTest) -> dict[str, Any]:
    return json.loads(payloads(app, "cgraph_pair_matrix")[0]["picture"])


def table(app: AppTest) -> list[dict[str, Any]]:
    return payloads(app, "cgraph_concept_table")[0]["rows"]


def ids(row: dict[str, Any]) -> list[str]:
    return [shown[0] for cell in row["cells"] for shown in cell]


@pytest.fixture
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@pytest.mark.usefixtures("app_environment")
class TestPlantedStudy:
    def test_it_opens_on_the_last_pair(self, study: Study) -> None:
        app = run()
        assert "12 layers" in text(app) and f"{study.graph.n_edges:,} edges" in text(app)
        shown = matrix(app)
        assert shown["layers"] == [11, 12]
        assert len(shown["cells"]) == 24 * 3
        first = table(app)[0]
        edges = study.graph.layer_edges(12)
        strongest = abs(edges.weights).max()
        assert first["lead"] == f"+{strongest:.2f}"
        parent, child = map(ConceptId.parse, ids(first))
        assert parent.layer == 11 and parents_of(child.index)[parent.index] == 3.0
        # The panel is about something from the beginning.
        assert "<h3 class='cg-concept'>" in html(app)
        assert len(payloads(app, "cgraph_image_grid")[0]["items"]) == 9

    def test_a_concept_opens_its_neighbourhood(self) -> None:
        app = run(concept="L6/4", hops="1", beam="20")
        assert drawn(app) == {
            "Layer 5": sorted(f"L5/{parent}" for parent in parents_of(4)),
            "Layer 6": ["L6/4"],
            "Layer 7": sorted(f"L7/{child}" for child in range(24) if 4 in parents_of(child)),
        }
        rows = concept_list(app, "Parents")["items"]
        assert {row["id"]: row["weight"] for row in rows} == {
            f"L5/{parent}": pytest.approx(weight) for parent, weight in parents_of(4).items()
        }
        assert payloads(app, "cgraph_trace_selection")[0]["selected"] == "L6/4"

    def test_what_a_beam_leaves_out_is_counted(self) -> None:
        app = run(concept="L6/4", hops="2", beam="2")
        assert "layer 5: 2 of 3 parents" in text(app)
        hidden = {layer["name"]: layer["hidden"] for layer in part(app)["layers"]}
        assert hidden["Layer 5"] == 1 and hidden["Layer 6"] == 0
        assert all(len(found) <= 2 for found in drawn(app).values())

    def test_the_neighbourhood_stays_while_concepts_of_it_are_chosen(self) -> None:
        app = run(view="around", centre="L6/4", concept="L5/4")
        assert "L6/4" in drawn(app)["Layer 6"] and len(drawn(app)["Layer 6"]) == 1
        assert "<h3 class='cg-concept'>L5/4</h3>" in text(app)
        # One that is not in it becomes the centre itself.
        app = run(view="around", centre="L6/4", concept="L12/4")
        assert drawn(app)["Layer 12"] == ["L12/4"]

    def test_paths_between_two_concepts(self) -> None:
        app = run(view="paths", **{"from": "L1/4", "to": "L3/4"})
        rows = table(app)
        # Positive parents of 4: 4 itself with 3.0, 9 with 0.9; of an odd child the same, scaled.
        assert ids(rows[0]) == ["L1/4", "L2/4", "L3/4"]
        assert rows[0]["lead"].startswith("59") and "weakest 3.00" in rows[0]["note"]
        assert "The only path from L1/4 to L3/4" in text(app)
        assert drawn(app) == {"Layer 1": ["L1/4"], "Layer 2": ["L2/4"], "Layer 3": ["L3/4"]}

    def test_no_path_is_an_answer(self) -> None:
        app = run(view="paths", **{"from": "L1/0", "to": "L2/1"})
        assert "There is no path from L1/0 to L2/1" in app.info[0].value
        assert "Every edge that raises was followed" in app.info[0].value
        app = run(view="paths", **{"from": "L4/0", "to": "L2/1"})
        assert "layer 2 does not lie behind layer 4" in app.info[0].value
        app = run(view="paths", weight="50", **{"from": "L1/4", "to": "L2/4"})
        assert "Without the filters there is one" in app.info[0].value
        app = run(view="paths", **{"from": "L1/15", "to": "L2/4"})
        assert "Along edges of either sign there is one" in app.info[0].value
        app = run(view="paths", follow="both", **{"from": "L1/15", "to": "L2/4"})
        assert table(app)[0]["lowering"] == [1] and "lowers in all" in table(app)[0]["note"]

    def test_ends_that_mean_nothing_are_told(self) -> None:
        app = run(view="paths", **{"from": "![x](y)", "to": "L2/4"})
        assert "is no concept, group, attribute or name here" in app.warning[0].value
        assert "![" not in app.warning[0].value.replace("\\[", "")
        app = run(view="paths", **{"from": "L1/4"})
        assert "The end of the paths is missing" in app.warning[0].value

    def test_ends_can_be_typed_and_swapped(self) -> None:
        app = run(view="paths", concept="L12/4")
        start, end = (
            next(box for box in app.text_input if box.label == label) for label in ("From", "To")
        )
        assert (start.value, end.value) == ("L1", "L12/4")
        start.set_value("L11/4").run()
        assert query(app)["from"] == "L11/4" and query(app)["to"] == "L12/4"
        assert ids(table(app)[0]) == ["L11/4", "L12/4"]
        click(app, "Swap")
        assert query(app)["from"] == "L12/4"
        assert "There is no path" in app.info[0].value

    def test_filters_reach_every_view(self, study: Study) -> None:
        app = run(sign="lowers", weight="1")
        assert all(cell[3] == 0 and cell[4] >= 1 for cell in matrix(app)["cells"])
        n = sum(int((study.graph.layer_edges(layer).weights <= -1).sum()) for layer in range(2, 13))
        assert f"<b>{n:,} kept</b>" in html(app)
        assert "lowers only" in text(app) and "weight at least 1" in text(app)
        app = run(sign="lowers", concept="L6/4", hops="1")
        assert drawn(app)["Layer 5"] == ["L5/15"]
        assert "the filters hide 2" in text(app)

    def test_filters_are_set_in_the_page(self) -> None:
        app = run(concept="L6/4")
        box = next(box for box in app.number_input if box.label == "Weight at least")
        box.set_value(2.0).run()
        assert not app.exception and query(app)["weight"] == "2"
        assert drawn(app)["Layer 5"] == ["L5/4"]
        most = next(b for b in app.number_input if b.label.startswith("Active in at most"))
        least = next(b for b in app.number_input if b.label.startswith("Active in at least"))
        most.set_value(10.0).run()
        assert query(app)["commonest"] == "0.1"
        least = next(b for b in app.number_input if b.label.startswith("Active in at least"))
        least.set_value(40.0).run()
        assert "which none is" in app.error[0].value and "rarest" not in query(app)
        click(app, "Clear all")
        assert "weight" not in query(app) and "commonest" not in query(app)

    def test_a_filter_that_keeps_nothing_is_survived_by_every_view(self) -> None:
        for view in ("pair", "around", "paths", "pinned"):
            app = run(view=view, weight="100", concept="L6/4", pins="L6/4,L5/4")
            assert not app.error
        assert "0 edges among them that the filters keep" in text(app)
        app = run(view="around", weight="100")
        assert "no edge passes the filters" in text(app)

    def test_search_by_id_layer_and_index(self) -> None:
        for asked, expected in (("L6/4", 1), ("L6", 24), ("6", 12), ("nothing", 0)):
            app = run(find=asked)
            if not expected:
                assert "Nothing fits" in text(app)
                continue
            found = concept_list(app, "Concepts found")["items"]
            assert len(found) == min(expected, 24)

    def test_pinning_reaches_the_link_and_the_scratch_graph(self) -> None:
        app = run(concept="L6/4")
        click(app, "Pin")
        assert query(app)["pins"] == "L6/4"
        assert query(app)["view"] == "around"
        click(app, "Unpin")
        assert "pins" not in query(app)
        app = run(view="pinned", concept="L6/4")
        assert "Nothing is pinned yet" in text(app)
        next(b for b in app.button if b.label.startswith("Begin with L6/4")).click().run()
        assert {"L6/4", "L5/4"} <= {i for found in drawn(app).values() for i in found}

    def test_groups_get_a_label(self) -> None:
        app = run(view="pinned", pins="L5/4,L6/4,L7/4")
        app.multiselect[0].set_value([ConceptId(5, 4), ConceptId(7, 4)]).run()
        next(box for box in app.text_input if box.label == "Label").set_value("my ring").run()
        click(app, "Group under this label")
        assert query(app)["pins"] == "L6/4;my ring:L5/4,L7/4"
        marks = {
            node["id"]: node.get("mark") for layer in part(app)["layers"] for node in layer["nodes"]
        }
        assert marks == {"L5/4": "1", "L6/4": None, "L7/4": "1"}
        app = run(view="paths", pins=query(app)["pins"], **{"from": "my ring", "to": "L8/4"})
        assert [ids(row) for row in table(app)] == [["L7/4", "L8/4"]]
        app = run(view="pinned", pins="L6/4;my ring:L5/4,L7/4")
        app.multiselect[0].set_value([ConceptId(5, 4)]).run()
        click(app, "Unpin")
        assert query(app)["pins"] == "L6/4;my ring:L7/4"

    def test_the_concepts_of_paths_are_pinned_together(self) -> None:
        app = run(view="paths", pins="ring:L2/4", **{"from": "L1/4", "to": "L3/4"})
        click(app, "Pin these 3 concepts")
        assert query(app)["pins"] == "L1/4,L3/4;ring:L2/4"
        pin = next(button for button in app.button if button.label == "Pin these 3 concepts")
        assert pin.disabled

    def test_too_many_pins_are_refused(self) -> None:
        many = ",".join(f"L{layer}/{i}" for layer in (1, 2, 3) for i in range(20))
        app = run(pins=many, concept="L6/4", view="around")
        click(app, "Pin")
        assert "61 concepts would be pinned: at most 60 fit" in app.error[0].value
        assert "L6/4" not in query(app)["pins"]

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"view": "matrix"}, "view='matrix', which is not one of"),
            ({"pair": "13"}, "no pair of layers 12 and 13"),
            ({"cell": "99.0", "view": "pair"}, "cell 99.0; this matrix has 24 rows"),
            ({"centre": "L6/99", "view": "around"}, "There is no concept L6/99"),
            ({"weight": "<img src=x>"}, "weight="),
            ({"pins": "L6/99,L5/4"}, "This study has no L6/99"),
            ({"concept": "L6/99"}, "There is no concept L6/99"),
        ],
    )
    def test_a_link_that_asks_for_nonsense_is_told(
        self, asked: dict[str, str], sentence: str
    ) -> None:
        app = run(**asked)
        assert sentence in "\n".join(warning.value for warning in app.warning)
        assert "Which concepts lead to which" in html(app)

    def test_the_view_and_the_whole_graph_can_be_downloaded(self, study: Study) -> None:
        app = run(concept="L6/4", hops="1")
        assert next(b for b in app.get("download_button")).proto.label == "Save as GraphML"
        edges = len(part(app)["edges"])
        said = f"around L6/4 and {edges} edges"
        assert said in "\n".join(caption.value for caption in app.caption)
        for kind, chosen in FORMATS.items():
            app.selectbox(key="graph.export-format").select(kind).run()
            assert app.get("download_button")[0].proto.label == f"Save as {chosen.label}"
        app.radio(key="graph.export-what").set_value("the whole graph").run()
        assert f"{study.graph.n_edges:,} edges" in "\n".join(c.value for c in app.caption)

    def test_exemplars_are_images_of_the_concept(self, study: Study) -> None:
        app = run(concept="L6/4")
        found = {item["id"] for item in payloads(app, "cgraph_image_grid")[0]["items"]}
        assert found == {study.image_ids[r] for r, _ in study.exemplars(ConceptId(6, 4), 9)}


@pytest.mark.usefixtures("app_environment")
def test_a_study_with_one_pair_of_layers(
    tmp_path: Path, app_environment: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path / "small" / "pair", n_layers=2)
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "small"))
    app = run()
    assert matrix(app)["layers"] == [1, 2]
    app = run(concept="L1/4", hops="3")
    assert list(drawn(app)) == ["Layer 1", "Layer 2"]
    app = run(view="paths", concept="L2/4")
    assert ids(table(app)[0])[1] == "L2/4"
    assert drawn(run(view="pinned", pins="L1/4,L2/4")) == {"Layer 1": ["L1/4"], "Layer 2": ["L2/4"]}


def test_without_a_study_the_page_says_how_to_build_one(
    app_environment: pytest.MonkeyPatch,
) -> None:
    app_environment.setenv("CGRAPH_STUDIES", "/nowhere/at/all")
    app = run()
    assert app.subheader[0].value == "There is no study to show yet"


class TestDemo:
    @pytest.fixture(autouse=True)
    def demo(self, app_environment: pytest.MonkeyPatch) -> Study:
        folder = Path(__file__).parents[2] / "data" / "demo"
        app_environment.setenv("CGRAPH_STUDIES", str(folder))
        return Study.open(folder)

    def test_names_lead_to_concepts_and_sets(self, demo: Study) -> None:
        name = next(n for c, n in sorted(demo.names.items()) if c.layer == 12)
        app = run(find=f"{name.attribute}={name.value}")
        found = [item["id"] for item in concept_list(app, "Concepts found")["items"]]
        assert found
        for concept in map(ConceptId.parse, found):
            called = demo.names[concept]
            pairs = [(called.attribute, called.value), called.second]
            assert (name.attribute, name.value) in pairs
        app = run(view="paths", **{"from": f"{name.value} in L9", "to": f"{name.value} in L12"})
        ends = {(ids(row)[0].split("/")[0], ids(row)[-1].split("/")[0]) for row in table(app)}
        assert ends == {("L9", "L12")}
        for row in table(app):
            for end in (ids(row)[0], ids(row)[-1]):
                assert name.value in (demo.names[ConceptId.parse(end)].value,)

    def test_every_view_of_the_demo_opens(self) -> None:
        for view in ("pair", "around", "paths", "pinned"):
            app = run(view=view, pins="L7/2;ring:L8/25")
            assert not app.warning and not app.error


def test_files_of_the_page_hold_what_is_drawn(
    studies_folder: Path, app_environment: pytest.MonkeyPatch
) -> None:
    """What the button saves is opened by networkx, and is what the page draws."""
    saved: list[bytes] = []

    def keep(label: str, data: Any, **_: Any) -> bool:
        saved.append(data())
        return False

    app_environment.setattr("streamlit.download_button", keep)
    app = run(concept="L6/4", hops="1", beam="20")
    made = nx.read_graphml(io.BytesIO(saved[-1]))
    assert set(made) == {i for found in drawn(app).values() for i in found}
    names = [node["id"] for layer in part(app)["layers"] for node in layer["nodes"]]
    shown = {(names[p], names[c]): w for p, c, w, _ in part(app)["edges"]}
    assert {(a, b): pytest.approx(v["weight"], abs=1e-3) for a, b, v in made.edges(data=True)} == (
        shown
    )
    app = run(view="pair", pair="3", sign="lowers")
    made = nx.read_graphml(io.BytesIO(saved[-1]))
    assert len(made.edges) == len(matrix(app)["cells"]) == 24
    assert re.fullmatch(r"L2/\d+", next(iter(made.edges))[0])


def test_a_name_given_by_hand_is_found(
    app_environment: pytest.MonkeyPatch, studies_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(studies_folder / "planted", tmp_path / "mine")
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "mine"))
    concept, scope = ConceptId(5, 3), Study.open(tmp_path / "mine").naming.scope
    assert "Nothing fits" in text(run(find="wheels"))
    change_given_names(tmp_path / "mine", scope, {concept: GivenName.of("wheels", "Ada")})
    rows = concept_list(run(find="wheel"), "Concepts found for wheel")["items"]
    assert [(row["id"], row["name"]) for row in rows] == [("L5/3", "wheels ✎")]
    ends = run(view="paths", **{"from": "L1", "to": "wheels"})
    assert not ends.warning and "L5/3" in str(payloads(ends, "cgraph_concept_table"))


def test_a_name_is_no_markdown(
    app_environment: pytest.MonkeyPatch, studies_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(studies_folder / "planted", tmp_path / "mine")
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "mine"))
    name = GivenName.of("![x](http://a.example/x.png)", "Ada")
    scope = Study.open(tmp_path / "mine").naming.scope
    change_given_names(tmp_path / "mine", scope, {ConceptId(5, 3): name})
    app = run(view="pinned", concept="L5/3")
    label = next(b.label for b in app.button if b.label.startswith("Begin with"))
    assert "![x]" not in label and "x.png" in label
