"""Pages of a study with measurements beside those of the same study without: what is added."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from app_pages import concept_list, payloads, run, run_page, text
from planted_study import write_study
from truth_example import measured_copy

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFacts
from cgraph.edge_filter import EdgeFilter
from cgraph.manifest import MANIFEST
from cgraph.store import to_json, write_bytes
from cgraph.study import Study
from cgraph.study_archive import read_manifest
from cgraph.study_graph import StudyGraph
from cgraph.ui.edge_words import edge_words

GRAPH, EDIT, CONCEPTS = "pages/1_Graph.py", "pages/3_Counterfactual.py", "pages/4_Concepts.py"
CHILD = "L3/4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    plain = write_study(root / "plain", n_layers=4)
    measured_copy(plain, root / "measured")
    manifest = replace(read_manifest(root / "measured"), name="measured")
    write_bytes(root / "measured" / MANIFEST, to_json(manifest.to_dict()))
    return root


@pytest.fixture
def measured(folder: Path, app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(folder))
    return Study.open(folder / "measured")


def facts_of(study: Study) -> EdgeFacts:
    return EdgeFacts.read(study.graph, study.measured)


def without(value: Any) -> Any:
    """Return a payload without what measurements add, and without what follows from the bytes."""
    if isinstance(value, dict):
        return {
            key: without(part)
            for key, part in value.items()
            if key not in ("measured", "outside", "notes", "words", "revision", "caption")
        }
    return [without(part) for part in value] if isinstance(value, list) else value


def trace_picture(study: str, **query: str) -> dict[str, Any]:
    (payload,) = payloads(run(study=study, **query), "cgraph_trace_graph")
    return json.loads(payload["picture"])


@pytest.mark.usefixtures("measured")
class TestTrace:
    def test_edges_have_their_evidence_and_layers_what_lies_outside(self, measured: Study) -> None:
        drawing, facts = trace_picture("measured"), facts_of(measured)
        ids = [node["id"] for layer in drawing["layers"] for node in layer["nodes"]]
        marked = 0
        for parent, child, _, _, *rest in drawing["edges"]:
            fact = facts.of(ConceptId.parse(ids[parent]), ConceptId.parse(ids[child]))
            assert bool(rest) == fact.has_effect
            if rest:
                marked += 1
                assert rest[0][2] == pytest.approx(fact.effect, abs=0.006)
        assert marked > 5
        shares = measured.measured("leakage").column("outside").to_pylist()
        found = [layer.get("outside", {}).get("share") for layer in drawing["layers"]]
        assert found == [None, *(pytest.approx(share, abs=6e-4) for share in shares[1:])]

    def test_without_measurements_nothing_of_it_shows(self) -> None:
        plain, drawing = trace_picture("plain"), trace_picture("measured")
        for edge in plain["edges"]:
            assert len(edge) == 4
        drawing["edges"] = [edge[:4] for edge in drawing["edges"]]
        drawing["file"] = plain["file"]
        assert without(drawing) == without(plain)
        assert "evidence" not in plain["words"] and "notes" not in plain
        page = text(run(study="plain", concept=CHILD))
        for word in ("found again", "Found again", "whole token", "Outside the graph", "evidence"):
            assert word not in page

    def test_lists_say_what_was_measured(self, measured: Study) -> None:
        app = run(study="measured", concept=CHILD)
        rows = concept_list(app, "Parents")["items"]
        facts = facts_of(measured)
        assert rows
        for row in rows:
            fact = facts.of(ConceptId.parse(row["id"]), ConceptId.parse(CHILD))
            assert row["measured"] == edge_words(fact) != ""
        bare = concept_list(run(study="plain", concept=CHILD), "Parents")["items"]
        assert without(rows) == bare
        assert "Found again" in text(app) and "AUC of the whole token" in text(app)

    def test_a_layer_says_what_lies_outside(self) -> None:
        page = text(run(study="measured", layer="3"))
        assert re.search(r"Outside the graph.*of what makes the token of this layer", page)
        first = text(run(study="measured", layer="1"))
        assert "makes the token" not in first


@pytest.mark.usefixtures("measured")
class TestGraph:
    def test_the_filter_of_a_link_keeps_what_it_asks_for(self, measured: Study) -> None:
        app = run_page(GRAPH, study="measured", view="pair", pair="3", evidence="specific")
        of = StudyGraph(measured)
        n_kept = of.filtered(EdgeFilter(evidence="specific")).n_edges
        assert 0 < n_kept < of.graph.n_edges
        assert f"<b>{n_kept:,} kept</b> by the filters: evidence: specific" in text(app)
        rows = payloads(app, "cgraph_concept_table")[0]["rows"]
        assert rows and all(re.search(r"[●■] specific", row["note"]) for row in rows)
        assert not app.warning

    def test_choosing_evidence_filters_and_stands_in_the_link(self) -> None:
        app = run_page(GRAPH, study="measured", view="pair")
        boxes = {box.key: box for box in app.selectbox}
        boxes["graph.evidence"].select("supported").run()
        assert not app.exception
        assert app.query_params["evidence"] in ("supported", ["supported"])
        assert "evidence: supported or better" in text(app)

    @pytest.mark.parametrize(
        ("key", "value", "command"),
        [
            ("evidence", "specific", "cgraph evaluate STUDY --only evidence"),
            ("origin", "carried", "cgraph evaluate STUDY --only evidence"),
            ("again", "concepts", "cgraph evaluate STUDY --only stability"),
        ],
    )
    def test_what_was_not_measured_is_said(self, key: str, value: str, command: str) -> None:
        app = run_page(GRAPH, study="plain", view="pair", weight="0.5", **{key: value})
        assert command in app.warning[0].value
        assert "kept</b> by the filters: weight at least 0.5" in text(app)
        assert not {box.key for box in app.selectbox} & {"graph.evidence", "graph.origin"}

    def test_neighbourhood_and_paths_are_marked(self) -> None:
        for view in ("around", "paths"):
            app = run_page(GRAPH, study="measured", view=view, concept=CHILD)
            drawing = json.loads(payloads(app, "cgraph_part_graph")[0]["picture"])
            assert any(len(edge) == 5 for edge in drawing["edges"])
            bare = run_page(GRAPH, study="plain", view=view, concept=CHILD)
            plain = json.loads(payloads(bare, "cgraph_part_graph")[0]["picture"])
            drawing["edges"] = [edge[:4] for edge in drawing["edges"]]
            drawing["file"] = plain["file"]
            assert without(drawing) == without(plain)


@pytest.mark.usefixtures("measured")
class TestOtherPages:
    def test_the_counterfactual_page_says_what_it_depends_on(self) -> None:
        page = text(run_page(EDIT, study="measured", edit="L2/4", view="graph"))
        assert re.search(r"What lies outside the graph stays as it is: in layers 3 to 4", page)
        drawing = self._changes("measured")
        assert any(len(edge) == 5 for edge in drawing["edges"])
        plain_drawing = self._changes("plain")
        drawing["edges"] = [edge[:4] for edge in drawing["edges"]]
        drawing["file"] = plain_drawing["file"]
        assert without(drawing) == without(plain_drawing)
        plain = text(run_page(EDIT, study="plain", edit="L2/4", view="graph"))
        assert "What lies" not in plain

    def _changes(self, study: str) -> dict[str, Any]:
        # A measured study has another default rule.
        app = run_page(EDIT, study=study, edit="L2/4", view="graph", rule="max")
        return json.loads(payloads(app, "cgraph_change_graph")[0]["picture"])

    def test_what_moved_a_concept_says_what_was_measured_of_it(self, measured: Study) -> None:
        edits = [f"L2/{index}" for index in range(0, 24, 2)]
        app = run_page(EDIT, study="measured", edit=",".join(edits), concept=CHILD)
        facts = facts_of(measured)
        rows = concept_list(app, "Parents whose change")["items"]
        assert rows
        for row in rows:
            fact = facts.of(ConceptId.parse(row["id"]), ConceptId.parse(CHILD))
            assert row["measured"] == edge_words(fact) != ""

    def test_cards_and_sheets_say_what_another_seed_finds(self, measured: Study) -> None:
        app = run_page(CONCEPTS, study="measured", layer="3")
        rows = {
            (row["layer"], row["index"]): row
            for row in measured.measured("stable-concepts").to_pylist()
        }
        for card in payloads(app, "cgraph_card_grid")[0]["items"]:
            concept = ConceptId.parse(card["id"])
            row = rows[concept.layer, concept.index]
            said = "yes" if row["found_again"] else "no"
            assert dict(card["figures"])["found again"] == f"{said}, cosine {row['cosine']:.2f}"
        sheet = run_page(CONCEPTS, study="measured", concept=CHILD)
        assert "Found again" in text(sheet)
        facts = facts_of(measured)
        for row in concept_list(sheet, "parent")["items"]:
            fact = facts.of(ConceptId.parse(row["id"]), ConceptId.parse(CHILD))
            assert row["measured"] == edge_words(fact)
        plain = run_page(CONCEPTS, study="plain", layer="3")
        for card in payloads(plain, "cgraph_card_grid")[0]["items"]:
            assert [name for name, _ in card["figures"]] == ["active in", "AUC"]
