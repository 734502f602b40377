"""The Concepts page without a browser: cards, search, one concept in full."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import truth_example
from app_pages import concept_list, grid, payloads, run_page, text
from planted_study import write_study
from streamlit.testing.v1 import AppTest

from cgraph.atom_neighbours import nearest_atoms
from cgraph.attribute_match import attribute_matches
from cgraph.attributes import attribute_table
from cgraph.coactivity import co_active
from cgraph.exemplars import bands
from cgraph.manifest import codes_file
from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study

PAGE = "pages/4_Concepts.py"
DEMO = Path(__file__).parents[2] / "data" / "demo"
CONFIG = PlantedConfig(
    n_layers=3, n_atoms=60, d_model=24, max_nnz=5, n_images=500, n_examples=2, thumbnail_px=48
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_study(tmp_path_factory.mktemp("studies") / "sizes", CONFIG)


@pytest.fixture
def study(folder: Path, app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(folder))
    return Study.open(folder)


def cards(app: AppTest) -> list[dict[str, Any]]:
    return payloads(app, "cgraph_card_grid")[0]["items"]


def ids(app: AppTest) -> list[str]:
    return [card["id"] for card in cards(app)]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


class TestCards:
    def test_it_opens_on_the_most_frequent_concepts_of_the_last_layer(self, study: Study) -> None:
        app = run_page(PAGE)
        prevalence = study.graph.prevalence(3)
        expected = np.argsort(-prevalence, kind="stable")[:24]
        assert ids(app) == [f"L3/{index}" for index in expected]
        assert "1 to 24 of the 60 concepts of layer 3" in text(app)

    def test_pages_hold_every_concept_once(self, study: Study) -> None:
        app = run_page(PAGE, layer="2", sort="index")
        seen = ids(app)
        for _ in range(2):
            seen += ids(press(app, "Next page →"))
        assert seen == [f"L2/{index}" for index in range(60)]
        assert app.query_params["page"] == "3"
        assert next(b for b in app.button if b.label == "Next page →").disabled
        assert ids(press(app, "⇤ First")) == seen[:24]
        assert "page" not in app.query_params

    def test_a_card_says_what_the_backend_knows(self, study: Study) -> None:
        concept = next(c for c in study.names if c.layer == 2)
        card = next(c for c in cards(run_page(PAGE, find=str(concept), layer="2")))
        assert card["id"] == str(concept) and card["name"] == study.names[concept].text
        figures = dict(card["figures"])
        prevalence = study.graph.prevalence(2)[concept.index]
        assert figures["active in"].startswith(f"{100 * prevalence:.0f}"[:1])
        parents, children = study.graph.parents(concept), study.graph.children(concept)
        kinds = dict(card["relations"])
        assert set(kinds) == {f"{len(parents)} parents", f"{len(children)} children"}
        shown = [weight for _, weight in kinds[f"{len(parents)} parents"]]
        assert shown == [f"{w:+.2f}".replace("-", "−") for w in parents.weights[:2]]
        assert [name for name, _ in card["bands"]] == ["high", "middle", "low"]
        assert card["strip"].startswith("data:image/webp;base64,")
        assert str(concept) in card["label"] and "AUC" in card["label"]

    def test_controls_change_the_link_and_the_order(self, study: Study) -> None:
        app = run_page(PAGE, layer="2", page="2")
        app.selectbox(key="concepts.sort").set_value("name").run()
        assert (app.query_params["sort"], "page" in app.query_params) == ("name", False)
        names = [card["name"].casefold() for card in cards(app)]
        n_named = sum(concept.layer == 2 for concept in study.names)
        assert 5 < n_named < 24 and not any(names[n_named:])  # those without a name come last
        names = names[:n_named]
        assert names == sorted(names) and names[0]
        app.toggle(key="concepts.falling").set_value(True).run()
        assert app.query_params["falling"] == "yes"
        assert cards(app)[0]["name"].casefold() >= names[-1]
        app.selectbox(key="concepts.show").set_value("unnamed").run()
        assert all(not card["name"] for card in cards(app))

    def test_search_by_attribute_and_nothing_found(self, study: Study) -> None:
        app = run_page(PAGE, layer="2")
        app.text_input(key="concepts.find").set_value(" Thing ").run()
        own = {c: name for c, name in study.names.items() if c.layer == 2}
        matching = {c for c, n in own.items() if "thing" in (n.attribute, *(n.second or ()))}
        assert matching and set(ids(app)) == {str(concept) for concept in matching}
        app.text_input(key="concepts.find").set_value("<b>no such</b>").run()
        assert "No concept of layer 2 fits ‘&lt;b&gt;no such&lt;/b&gt;’. Nor does one" in text(app)
        assert len(ids(press(app, "Show all concepts of the layer"))) == 24
        assert "find" not in app.query_params

    def test_what_is_found_in_other_layers_only(self, study: Study) -> None:
        app = run_page(PAGE, layer="2", find="L3/7")
        assert "No concept of layer 2 fits ‘L3/7’. There are in other layers:" in text(app)
        app = press(app, "Layer 3 (1)")
        assert ids(app) == ["L3/7"] and app.query_params["layer"] == "3"

    def test_another_layer_begins_at_its_first_page(self, study: Study) -> None:
        app = run_page(PAGE, layer="2", page="3")
        app.segmented_control(key="concepts.layer").set_value(1).run()
        assert app.query_params["layer"] == "1" and "page" not in app.query_params
        assert ids(app)[0].startswith("L1/") and len(ids(app)) == 24
        assert all(dict(card["figures"]).keys() == {"active in"} for card in cards(app))
        assert "no parents and no AUC in the first layer" in text(app)

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ({"page": "none"}, "asks for page 'none'"),
            ({"sort": "size"}, "says sort 'size', which is none of index, name"),
            ({"show": "some"}, "says show 'some'"),
            ({"falling": "up"}, "says falling 'up'"),
            ({"find": "x" * 300}, "cut to its first 100"),
            ({"layer": "77"}, "There is no layer 77"),
            ({"concept": "L2/999"}, "L2/999"),
        ],
    )
    def test_what_means_nothing_in_a_link_costs_a_sentence(
        self, study: Study, query: dict[str, str], sentence: str
    ) -> None:
        app = run_page(PAGE, **query)
        assert sentence in "\n".join(warning.value for warning in app.warning)

    def test_a_page_beyond_the_last_is_the_last(self, study: Study) -> None:
        assert "49 to 60 of the 60 concepts" in text(run_page(PAGE, page="900"))

    def test_the_list_can_be_taken_away(self, study: Study) -> None:
        from cgraph.layer_catalogue import layer_catalogue
        from cgraph.ui.views.concepts import _csv

        rows = _csv(study, layer_catalogue(study, 2), np.array([5, 0])).splitlines()
        assert rows[0] == "concept,name,prevalence,auc,parents,children"
        assert [row.split(",")[0] for row in rows[1:]] == ["L2/5", "L2/0"]

    def test_the_csv_says_what_another_seed_finds_again(self, study: Study, tmp_path: Path) -> None:
        from cgraph.layer_catalogue import layer_catalogue
        from cgraph.ui.views.concepts import _csv

        measured = truth_example.measured_copy(study, tmp_path / "copy", ["stability"])
        rows = _csv(measured, layer_catalogue(measured, 2), np.arange(3)).splitlines()
        assert rows[0].endswith(",found_again,cosine_again")
        table = measured.measured("stable-concepts").to_pylist()
        truth = {row["index"]: row for row in table if row["layer"] == 2}
        for index, line in enumerate(rows[1:]):
            again, cosine = line.split(",")[-2:]
            if truth[index]["match"] < 0:
                assert (again, cosine) == ("", "")
            else:
                assert again == ("yes" if truth[index]["found_again"] else "no")
                assert float(cosine) == truth[index]["cosine"]


class TestInFull:
    def test_exemplars_are_those_of_the_three_bands(self, study: Study) -> None:
        concept = next(c for c in study.names if c.layer == 2)
        app = run_page(PAGE, concept=str(concept))
        assert study.names[concept].text in text(app)
        training = study.rows("train")
        for band in bands(study.training_codes(2), concept.index, 6):
            shown = grid(app, f"{band.name.capitalize()} activation")["items"]
            assert [s["id"] for s in shown] == [study.image_ids[r] for r in training[band.rows]]
        chart = payloads(app, "cgraph_bar_chart")[0]
        assert sum(chart["counts"]) == study.graph.record(concept).n_train
        assert {mark["name"] for mark in chart["marks"]} == {"high", "middle", "low"}

    def test_lists_are_those_of_the_backend(self, study: Study) -> None:
        concept = next(c for c in study.names if c.layer == 2)
        app = run_page(PAGE, concept=str(concept))
        for label, edges in (
            ("parent", study.graph.parents(concept)),
            ("child", study.graph.children(concept)),
        ):
            shown = [item["id"] for item in concept_list(app, label)["items"]]
            assert shown == [f"L{edges.layer}/{n}" for n in edges.indices[:12]]
        held_out = study.codes(2).take(study.rows("held-out"))
        together, _ = co_active(study.training_codes(2), held_out, concept.index, 8)
        items = concept_list(app, "More often together")["items"]
        assert [item["id"] for item in items] == [f"L2/{other.index}" for other in together]
        for item, other in zip(items, together, strict=True):
            assert item["text"] in (
                f"{other.lift:.1f}\N{NO-BREAK SPACE}×",
                f"{other.lift:.0f}\N{NO-BREAK SPACE}×",
            )
            assert f"({other.n_both:,})" in item["note"]
        for label, layer in (("Nearest atoms of layer 1", 1), ("Nearest atoms of layer 3", 3)):
            atom = study.dictionary(2).atoms[concept.index]
            expected = nearest_atoms(atom, study.dictionary(layer), 6)
            items = concept_list(app, label)["items"]
            assert [item["id"] for item in items] == [f"L{layer}/{a.index}" for a in expected]
            assert [item["weight"] for item in items] == pytest.approx([a.cosine for a in expected])

    def test_attributes_are_those_of_the_backend(self, study: Study) -> None:
        concept = next(c for c in study.names if c.layer == 2)
        app = run_page(PAGE, concept=str(concept))
        table = attribute_table([study.attributes(row) for row in range(len(study.image_ids))])
        codes, rows = study.codes(2), study.rows("held-out")
        found = attribute_matches(codes, concept.index, table, rows)
        body = text(app)
        assert f"10 of {len(found)} values" in body
        places = [body.index(f"<th scope='row'>{match.value}</th>") for match in found[:3]]
        assert places == sorted(places)
        assert body.count("<th scope='row'>") == 10
        app.toggle(key="sheet.all-attributes").set_value(True).run()
        assert text(app).count("<th scope='row'>") == len(found)

    def test_a_concept_that_no_image_has(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cgraph.codes import Codes

        silent = Codes.from_padded(np.full((500, 1), -1), np.zeros((500, 1)), 60)
        monkeypatch.setattr(Study, "codes", lambda study, layer: silent)
        record = type(study.graph).record
        monkeypatch.setattr(
            type(study.graph),
            "record",
            lambda graph, concept: dataclasses.replace(record(graph, concept), n_train=0),
        )
        body = text(run_page(PAGE, concept="L2/3"))
        assert "No training image has this concept" in body
        assert "It is active in no held-out image" in body
        assert "No concept of its layer is active with it" in body

    def test_predicted_and_measured_are_told_apart(self, study: Study) -> None:
        body = text(run_page(PAGE, concept="L2/3"))
        assert "● measured in the network" in body and "◇ predicted by the graph" in body
        assert "layer 1 has no layer before it" in text(run_page(PAGE, concept="L1/3"))

    def test_before_and_after_keep_the_order_of_the_list(self, study: Study) -> None:
        app = run_page(PAGE, concept="L2/7", sort="index")
        assert "8 of 60" in text(app)
        assert press(app, "Next →").query_params["concept"] == "L2/8"
        app = press(press(app, "← Previous"), "← Previous")
        assert app.query_params["concept"] == "L2/6"
        app = press(app, "← All concepts of layer 2")
        assert "concept" not in app.query_params and app.query_params["layer"] == "2"
        assert ids(app)[0] == "L2/0"

    def test_the_way_back_is_to_the_page_of_the_concept(self, study: Study) -> None:
        app = press(run_page(PAGE, concept="L2/50", sort="index"), "← All concepts of layer 2")
        assert app.query_params["page"] == "3" and "L2/50" in ids(app)

    def test_everything_can_be_taken_away(self, study: Study) -> None:
        from cgraph.ui.sheet import concept_sheet

        concept = next(c for c in study.names if c.layer == 2)
        sheet = concept_sheet(study, concept)
        values = json.loads(sheet.to_json())
        assert values["name"]["text"] == study.names[concept].text
        assert len(values["parents"]) == len(study.graph.parents(concept))
        assert sum(values["histogram"]["images"]) == values["active_in"]
        assert len(sheet.relations_csv().splitlines()) == 1 + len(sheet.parents) + len(
            sheet.children
        )
        assert len(sheet.attributes_csv().splitlines()) == 1 + len(sheet.attributes)
        assert len(sheet.co_active_csv().splitlines()) == 1 + len(sheet.together) + len(sheet.apart)
        assert len(sheet.histogram_csv().splitlines()) == 25

    def test_a_model_without_texts_says_so(self, study: Study) -> None:
        assert "By text: not known without the model. The model" in text(
            run_page(PAGE, concept="L2/3")
        )


class TestOtherStudies:
    def test_the_bundled_study(self, app_environment: pytest.MonkeyPatch) -> None:
        app_environment.setenv("CGRAPH_STUDIES", str(DEMO))
        study = Study.open(DEMO)
        app = run_page(PAGE)
        assert len(ids(app)) == 24 and "of the 64 concepts of layer 12" in text(app)
        concept = next(c for c, n in study.names.items() if n.text == "purple" and c.layer == 12)
        app = run_page(PAGE, concept=str(concept))
        body = text(app)
        assert "It matches colour ‘purple’ closely" in body
        assert "<code>cgraph names text" in body and "Find words for all concepts" in [
            button.label for button in app.button
        ]
        assert "<th scope='row'>purple</th>" in body

    def test_one_pair_of_layers(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        write_study(tmp_path / "pair" / "two", n_layers=2)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "pair"))
        assert len(ids(run_page(PAGE, layer="1"))) == 24
        app = run_page(PAGE, concept="L2/3")
        assert "It has no children: layer 2 is the last." in text(app)
        # Its file of dictionaries does not fit; that costs the nearest atoms and a sentence.
        assert "The nearest atoms are not shown." in app.error[0].value
        assert "It has no parents: layer 1 is the first" in text(run_page(PAGE, concept="L1/3"))

    def test_no_study(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "nothing"))
        app = run_page(PAGE)
        assert app.subheader[0].value == "There is no study to show yet"
        assert not app.get("bidi_component")

    @pytest.mark.parametrize("query", [{"layer": "2"}, {"concept": "L2/3"}])
    def test_a_damaged_file_is_named(
        self,
        folder: Path,
        tmp_path: Path,
        app_environment: pytest.MonkeyPatch,
        query: dict[str, str],
    ) -> None:
        shutil.copytree(folder, tmp_path / "bad" / "sizes")
        codes = tmp_path / "bad" / "sizes" / codes_file(2, 0)
        content = bytearray(codes.read_bytes())
        content[len(content) // 2] ^= 1
        codes.write_bytes(content)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "bad"))
        app = run_page(PAGE, **query)
        assert "The concepts cannot be shown." in app.error[0].value
        assert "was changed after it was written" in app.error[0].value

    def test_dead_concepts_say_so(
        self, tmp_path: Path, app_environment: pytest.MonkeyPatch
    ) -> None:
        from cgraph.codes import Codes
        from cgraph.ui import concept_cards

        app_environment.setenv("CGRAPH_STUDIES", str(DEMO))
        silent = Codes.from_padded(np.full((5250, 1), -1), np.zeros((5250, 1)), 64)
        app_environment.setattr(Study, "training_codes", lambda study, layer: silent)
        concept_cards.catalogue.cache_clear()
        card = cards(run_page(PAGE))[0]
        assert (card["strip"], card["bands"]) == ("", [])
