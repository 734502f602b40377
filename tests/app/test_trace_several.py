"""The Trace page with several images, a selected layer, silent concepts, and odd states."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from app_pages import concept_list, grid, html, jpeg, payloads, run, selected, text
from PIL import Image
from planted_study import write_study

from cgraph import tracing
from cgraph.concept import ConceptId
from cgraph.errors import ImageError
from cgraph.study import Study
from cgraph.trace import Absence, ActiveConcept, Trace

NB = "\N{NO-BREAK SPACE}"


@pytest.fixture
def study(studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@pytest.fixture
def with_model(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model that traces every upload like a stored image of its own; names in order of call."""
    calls: list[str] = []

    def trace_image(of: Study, model: object, image: Image.Image, image_id: str) -> Trace:
        calls.append(image_id)
        if image_id == "cursed.jpg":
            raise ImageError("The model refused cursed.jpg.")
        return dataclasses.replace(tracing.trace_row(of, 9 + len(calls)), image_id=image_id)

    monkeypatch.setattr(tracing, "load_model", lambda of: "the model")
    monkeypatch.setattr(tracing, "trace_image", trace_image)
    return calls


def files(*names: str) -> list[tuple[str, bytes, str]]:
    """Return files for the uploader, each another picture; those called ``.txt`` are none."""
    return [
        (
            name,
            b"words" if name.endswith(".txt") else jpeg((9 * place, 200 - 7 * place, 90)),
            "image/jpeg",
        )
        for place, name in enumerate(names)
    ]


@pytest.mark.usefixtures("app_environment")
class TestUploads:
    def test_bad_files_are_named_and_the_others_traced(self, with_model: list[str]) -> None:
        app = run()
        names = ("one.jpg", "note.txt", "cursed.jpg", "two.jpg", "list.txt")
        app.file_uploader[0].set_value(files(*names)).run()
        assert not app.exception
        assert with_model == ["one.jpg", "cursed.jpg", "two.jpg"]
        errors = [error.value for error in app.error]
        assert len(errors) == 3
        for name, error in zip(("note.txt", "list.txt", "cursed.jpg"), errors, strict=True):
            assert name in error
        assert "uploaded image" in text(app) and "one.jpg" in text(app)
        strip = grid(app, "Your uploads")
        assert [item["label"] for item in strip["items"]] == ["one.jpg", "two.jpg"]
        assert strip["selected"] == strip["items"][0]["id"] == app.query_params["image"]

    def test_uploads_of_one_go_are_put_side_by_side(self, with_model: list[str]) -> None:
        app = run()
        app.file_uploader[0].set_value(files(*(f"{i}.jpg" for i in range(6)))).run()
        assert not app.exception and not app.error
        assert len(with_model) == 6
        heads = payloads(app, "cgraph_concept_table")[-1]["heads"]
        assert [head["text"] for head in heads] == [
            "In several",
            *(f"Only in {place + 1}: {place}.jpg" for place in range(4)),
        ]
        assert all(head["image"].startswith("data:image/") for head in heads[1:])

    def test_the_uploader_is_empty_again(self, with_model: list[str]) -> None:
        app = run()
        app.file_uploader[0].set_value(files("one.jpg")).run()
        assert not app.file_uploader[0].value
        app.run()
        assert with_model == ["one.jpg"]

    def test_the_oldest_upload_gives_way(self, with_model: list[str]) -> None:
        app = run()
        names = [f"{i}.jpg" for i in range(26)]
        app.file_uploader[0].set_value(files(*names)).run()
        assert not app.exception
        assert len(with_model) == 24
        assert "26 files were brought at once; the first 24" in app.error[0].value
        app.file_uploader[0].set_value(files(*names)[24:]).run()
        labels = [item["label"] for item in grid(app, "Your uploads")["items"]]
        assert labels == names[2:]

    def test_a_link_to_an_upload_says_that_it_stays_here(self, study: Study) -> None:
        app = run(image="upload:0123456789ab")
        assert "upload the image again" in app.warning[0].value
        assert "held-out image" in text(app)


@pytest.mark.usefixtures("app_environment")
class TestSideBySide:
    def test_the_link_decides_which_images(self, study: Study) -> None:
        first, *others = study.image_ids[7:10]
        app = run(image=first, **{"with": ",".join(others)})
        assert not app.warning
        table = payloads(app, "cgraph_concept_table")[-1]
        traces = [tracing.trace_row(study, row) for row in (7, 8, 9)]
        assert len(table["rows"]) == 12
        for row, *layers in zip(table["rows"], *(trace.layers for trace in traces), strict=True):
            sets = [{str(active.concept) for active in layer} for layer in layers]
            cells = [{concept for concept, _ in cell} for cell in row["cells"]]
            several = (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])
            assert cells == [several, *(each - several for each in sets)]
        assert "They share most in layer" in text(app)
        ticked = grid(app, "Images to compare with")["ticked"]
        assert ticked == others

    def test_nothing_is_compared_unless_asked(self) -> None:
        app = run()
        assert grid(app, "Images to compare with")["ticked"] == []
        assert "They share" not in text(app)

    def test_an_image_is_not_compared_with_itself(self, study: Study) -> None:
        app = run(image=study.image_ids[7], **{"with": study.image_ids[7]})
        assert "They share" not in text(app)
        offered = [item["id"] for item in grid(app, "Images to compare with")["items"]]
        assert study.image_ids[7] not in offered

    def test_a_missing_image_costs_a_sentence(self) -> None:
        app = run(**{"with": "nowhere.png"})
        assert "has no image 'nowhere.png'" in app.warning[0].value


@pytest.mark.usefixtures("app_environment")
class TestExpectation:
    @pytest.fixture
    def odd(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> Trace:
        """The trace of row 7 with one surprise and one absence in layer 5, and known tokens."""
        whole = tracing.trace_row(study, 7)
        calm = [
            dataclasses.replace(active, probability=0.5, prevalence=0.25)
            for active in whole.layers[4]
        ]
        calm[2] = dataclasses.replace(calm[2], probability=0.1)
        taken = {active.concept.index for active in calm}
        silent = next(ConceptId(5, i) for i in range(24) if i not in taken)
        absences = tuple(
            (Absence(silent, 0.6, 0.2),) if layer == 5 else () for layer in range(1, 13)
        )
        trace = dataclasses.replace(
            whole,
            layers=(*whole.layers[:4], tuple(calm), *whole.layers[5:]),
            absences=absences,
            explained=(0.9,) * 6 + (0.4,) + (0.9,) * 5,
        )
        monkeypatch.setattr(tracing, "trace_row", lambda *_: trace)
        return trace

    def test_a_surprise_is_marked_and_said(self, study: Study, odd: Trace) -> None:
        concept = odd.layers[4][2].concept
        app = run(image=study.image_ids[7], concept=str(concept))
        assert "A surprise: it is active" in text(app) and f"(0.4{NB}× as likely" in text(app)
        app = run(image=study.image_ids[7], concept=str(odd.layers[4][0].concept))
        assert "A surprise" not in text(app)

    def test_an_absence_is_shown_as_a_ghost_with_what_led_to_it(
        self, study: Study, odd: Trace
    ) -> None:
        silent = odd.absences[4][0].concept
        app = run(image=study.image_ids[7], concept=str(silent))
        assert "Expected but absent: its parents make it likely here" in text(app)
        assert "silent in this image" in text(app)
        told = payloads(app, "cgraph_trace_selection")[0]
        assert [ghost["id"] for ghost in told["ghosts"]] == [str(silent)]
        assert told["ghosts"][0]["absent"]
        active = {str(found.concept) for found in odd.layers[3]}
        assert {parent for parent, _, _ in told["edges"]} <= active
        assert {child for _, child, _ in told["edges"]} == {str(silent)}

    def test_strong_silent_parents_are_sent_as_ghosts(self, study: Study) -> None:
        trace = tracing.trace_row(study, 7)
        active = {found.concept for layer in trace.layers for found in layer}
        for concept in (found.concept for found in trace.layers[6]):
            edges = study.graph.parents(concept)
            strongest = abs(edges.weights[0])
            expected = [
                str(ConceptId(6, index))
                for index, weight in zip(edges.indices.tolist(), edges.weights, strict=True)
                if ConceptId(6, index) not in active and abs(weight) >= strongest / 4
            ]
            app = run(image=study.image_ids[7], concept=str(concept))
            told = payloads(app, "cgraph_trace_selection")[0]
            assert [ghost["id"] for ghost in told["ghosts"]] == expected[:3]
            if expected:
                return
        raise AssertionError("no concept of layer 7 has a strong silent parent")

    def test_a_layer_lists_surprises_first(self, study: Study, odd: Trace) -> None:
        app = run(image=study.image_ids[7], layer="5")
        assert selected(app) == "layer-5"
        body = text(app)
        assert "<h3 class='cg-concept'>Layer 5</h3>" in body
        assert f"1 surprise among {len(odd.layers[4])} concepts, 1 expected but absent" in body
        rows = concept_list(app, "Active concepts")["items"]
        assert rows[0]["id"] == str(odd.layers[4][2].concept)
        assert rows[0]["note"].startswith("surprise, predicted at 10")
        assert [row["text"] for row in rows] == [f"0.4{NB}×"] + [f"2.0{NB}×"] * (len(rows) - 1)
        absent = concept_list(app, "Expected but absent")["items"]
        assert [row["id"] for row in absent] == [str(odd.absences[4][0].concept)]

    def test_the_explained_share_is_held_against_what_is_usual(
        self, study: Study, odd: Trace
    ) -> None:
        app = run(image=study.image_ids[7], layer="7")
        assert "unusually little" in text(app)
        assert "less than usual in 1 layer" in text(app)
        assert "unusually little" not in text(run(image=study.image_ids[7], layer="8"))

    def test_the_first_layer_expects_nothing(self, study: Study) -> None:
        app = run(image=study.image_ids[7], layer="1")
        assert "Layer 1 has no parents, so nothing is expected of it." in text(app)
        assert "Of this image the token was not kept" in text(app)

    def test_a_selected_layer_has_no_paths(self, study: Study) -> None:
        assert "Strongest paths" not in text(run(image=study.image_ids[7], layer="6"))


@pytest.mark.usefixtures("app_environment")
class TestPaths:
    def test_rows_are_the_strongest_paths_with_what_comes_along(self, study: Study) -> None:
        trace = tracing.trace_row(study, 7)
        concept = next(a.concept for a in trace.layers[8] if trace.paths_to(a.concept).paths)
        found = trace.paths_to(concept, n=6)
        app = run(image=study.image_ids[7], concept=str(concept))
        table = payloads(app, "cgraph_concept_table")[0]
        assert table["joined"] and table["selected"] == str(concept)
        assert len(table["rows"]) == len(found.paths)
        shares = {(edge.parent, edge.child): edge.share for edge in trace.edges}
        for row, path in zip(table["rows"], found.paths, strict=True):
            shown = [concept for cell in row["cells"] for concept, _ in cell]
            assert shown == [str(concept) for concept in path.concepts]
            assert row["note"] == f"from layer {path.concepts[0].layer}"
            # The last step alone carries the share of its edge.
            last = row["cells"][-2][0][1]
            share = shares[path.concepts[-2], path.concepts[-1]]
            assert float(last.split(NB)[0]) == pytest.approx(100 * share, rel=0.06)

    def test_a_concept_that_nothing_speaks_for_says_so(self, study: Study) -> None:
        trace = tracing.trace_row(study, 7)
        concept = next(a.concept for a in trace.layers[8] if not trace.paths_to(a.concept).paths)
        app = run(image=study.image_ids[7], concept=str(concept))
        assert "No active parent speaks for it here." in text(app)


@pytest.mark.usefixtures("app_environment")
class TestOddStates:
    def test_nothing_active(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        nothing = Trace(((),) * 12, (), None, "x", "planted", None, ((),) * 12)
        monkeypatch.setattr(tracing, "trace_row", lambda *_: nothing)
        app = run(image=study.image_ids[7])
        assert "0 active concepts" in text(app)
        assert "No concept is selected" in text(app)
        assert "Nothing that was expected here is missing." in text(
            run(image=study.image_ids[7], layer="4")
        )

    def test_most_concepts_hidden(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = tracing.trace_row(study, 7)
        crowd = tuple(
            tuple(ActiveConcept(ConceptId(layer, i), 1.0, None, None, 0, 0) for i in range(24))
            for layer in range(1, 13)
        )
        trace = dataclasses.replace(whole, layers=crowd, edges=())
        monkeypatch.setattr(tracing, "trace_row", lambda *_: trace)
        app = run(image=study.image_ids[7])
        assert "288 active concepts, the 144 strongest shown" in text(app)
        picture = json.loads(payloads(app, "cgraph_trace_graph")[0]["picture"])
        assert [layer["hidden"] for layer in picture["layers"]] == [12] * 12

    def test_one_pair_of_layers(self, tmp_path: Path, app_environment: pytest.MonkeyPatch) -> None:
        write_study(tmp_path / "pair" / "two-layers", n_layers=2)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "pair"))
        app = run()
        assert not app.error
        assert "2 layers" in text(app)
        assert selected(app).startswith("L2/")

    def test_meanings_hold_no_markup(self) -> None:
        body = html(run())
        assert body.count("class='cg-meaning'") >= 10
        assert "<script" not in body
