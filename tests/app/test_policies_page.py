"""The Policies page without a browser: texts, verdicts, radii, and whatever is wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_pages import click, payloads, run_page, text
from planted_outputs import planted_outputs
from planted_study import write_study
from streamlit.testing.v1 import AppTest

from cgraph.concept import ConceptId
from cgraph.edits import Edit, RolloutSettings
from cgraph.errors import ConfigError, PolicyError
from cgraph.flip_radius import layer_radii
from cgraph.policy_file import read_policy
from cgraph.policy_rules import KINDS
from cgraph.rollout import rollout
from cgraph.study import Study
from cgraph.ui import edit_link, graph_query, policy_looks, policy_state, policy_texts, radii
from cgraph.ui.policy_state import PolicyRun, checked, subject
from cgraph.ui.policy_texts import SetChoice, typed_choice, with_rule

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "pages" / "5_Policies.py"
HEAVY = ("torch", "transformers", "numba", "sklearn", "scipy", "pandas", "networkx")
HOSTILE = "<img src=x onerror=alert(1)>"

VIOLATED = """
[sets.early]
ids = ["L1/0"]
[sets.late]
ids = ["L3/0"]
[[rules]]
id = "no-path"
kind = "no-path"
from = "early"
to = "late"
"""


def run(**query: str) -> AppTest:
    """Run the page with a query; it must not raise."""
    return run_page("pages/5_Policies.py", **query)


def body(app: AppTest) -> str:
    """Return what the page says, without its style sheets."""
    return "\n".join(part for part in text(app).split("<style>") if "</style>" not in part) + (
        "\n".join(part.split("</style>")[-1] for part in text(app).split("<style>"))
    )


def write(app: AppTest, policy: str) -> AppTest:
    app.text_area[0].set_value(policy).run()
    assert not app.exception
    return app


def type_into(app: AppTest, key: str, value: str) -> None:
    """Type what a box does not offer; AppTest itself only knows what is offered."""
    box = app.selectbox(key=key)
    box.options.append(value)
    box.set_value(value).run()
    assert not app.exception


def check(app: AppTest, study: Study) -> PolicyRun:
    """Check the rules on show, and wait for the last verdict."""
    click(app, "Check the rules")
    check = app.session_state["policies.runs"][study.name]
    assert check.wait(60)
    app.run()
    assert not app.exception
    return check


def query(app: AppTest, key: str) -> str:
    found = app.query_params[key]
    return found if isinstance(found, str) else found[0]


def links(app: AppTest, label: str) -> list[dict[str, str]]:
    """Return the queries of all links to pages with that label."""
    found = [element.proto for element in app.get("page_link")]
    return [
        dict(pair.split("=", 1) for pair in proto.query_string.lstrip("?").split("&"))
        for proto in found
        if proto.label == label
    ]


@pytest.fixture
def planted(app_environment: pytest.MonkeyPatch, studies_folder: Path) -> Study:
    return Study.open(studies_folder / "planted")


@pytest.fixture
def with_outputs(planted: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    made = planted_outputs(planted, "approved", HOSTILE)
    monkeypatch.setattr(Study, "outputs", property(lambda self: made))
    return planted


class TestTexts:
    @pytest.mark.parametrize("outputs", [False, True])
    def test_every_example_means_something_in_the_study(
        self, planted: Study, outputs: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if outputs:
            made = planted_outputs(planted, "approved")
            monkeypatch.setattr(Study, "outputs", property(lambda self: made))
        found = subject(planted)
        examples = policy_state.examples_of(found)
        assert set(examples) == {"several", *KINDS}
        for name, example in examples.items():
            said = checked(found, example)
            assert said.problems == (), name
            kinds = {rule.kind for rule in read_policy(example).rules}
            assert kinds == {name} if name in KINDS else len(kinds) == 3
        assert ("approved" in examples["no-path"]) == outputs

    def test_a_study_of_one_layer_has_no_examples(self, tmp_path: Path) -> None:
        study = Study.open(write_study(tmp_path / "one", n_layers=1))
        assert policy_texts.examples(subject(study)) == {}

    def test_a_rule_is_added_with_the_sets_that_it_lacks(self) -> None:
        a, b = typed_choice("L1/0"), SetChoice("output", (("outputs", ["approved"]),), "approved")
        once = with_rule("", "no-path", {"from": a, "to": b}, {"max_length": 2})
        twice = with_rule(once, "no-path", {"from": a, "to": b}, {})
        policy = read_policy(twice)
        assert [rule.id for rule in policy.rules] == ["no-path", "no-path-2"]
        assert [rule.max_length for rule in policy.rules] == [2, None]
        assert {one.name for one in policy.sets} == {"l1-0", "approved"}  # none is there twice
        assert twice.startswith(once.strip())

    def test_a_set_of_another_meaning_gets_another_name(self) -> None:
        policy = "[sets.purple]\nids = ['L1/0']\n"
        made = with_rule(
            policy,
            "never-together",
            {"from": typed_choice("purple"), "to": typed_choice("L2/1")},
            {},
        )
        assert {one.name for one in read_policy(made).sets} == {"purple", "purple-2", "l2-1"}

    @pytest.mark.parametrize(
        "name", [HOSTILE, 'a "quoted" name', "a\\b", "über", "a\x7fb", "\n", "]]", "'''"]
    )
    def test_names_are_quoted_as_toml_wants_it(self, name: str) -> None:
        choice = SetChoice(name, (("attribute", name), ("value", [name])), name)
        made = with_rule("", "no-path", {"from": choice, "to": typed_choice("L2/0")}, {})
        import tomllib

        (one,) = [v for v in tomllib.loads(made)["sets"].values() if "attribute" in v]
        assert one == {"attribute": name, "value": [name]}

    def test_nothing_is_added_to_what_is_no_toml(self) -> None:
        with pytest.raises(ConfigError, match="no TOML"):
            with_rule("[[rules", "no-path", {}, {})

    @pytest.mark.parametrize(
        "raw, said",
        [
            (b"\xff\xfe", "no UTF-8"),
            (b"a = 1\nb = '\xe9'", "line 2"),
            (b"x" * 1_000_001, "at most 1 MB"),
            (b"a\x00b", "zero bytes"),
        ],
    )
    def test_files_that_are_no_text_are_refused(self, raw: bytes, said: str) -> None:
        with pytest.raises(PolicyError, match=said):
            policy_state.uploaded_text(raw)

    def test_a_mark_of_utf8_and_other_ends_of_lines_are_taken(self) -> None:
        assert policy_state.uploaded_text(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n") == "a = 1\nb = 2\n"


class TestEditor:
    def test_it_opens_on_an_example_whose_names_are_found(self, planted: Study) -> None:
        app = run()
        assert "3 rules, 2 sets, every name found" in body(app)
        assert "No rule was checked yet" in body(app)
        assert app.text_area[0].value == policy_state.examples_of(subject(planted))["several"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_link_chooses_the_example(self, planted: Study, kind: str) -> None:
        app = run(example=kind)
        assert f'kind = "{kind}"' in app.text_area[0].value
        assert "1 rule, " in body(app)

    def test_what_somebody_writes_stays_beside_the_examples(self, planted: Study) -> None:
        app = write(run(), VIOLATED)
        assert "1 rule, 2 sets, every name found" in body(app)
        assert query(app, "example") == "own"
        app.selectbox[0].set_value("flips").run()
        assert 'kind = "flips"' in app.text_area[0].value
        app.selectbox[0].set_value("own").run()
        assert app.text_area[0].value == VIOLATED

    @pytest.mark.parametrize(
        "policy, line, said",
        [
            ("", 0, "The policy is empty"),
            ("   \n\t", 0, "The policy is empty"),
            ("a = ", 1, "This is no TOML"),
            (VIOLATED.replace('no-path"', 'no-paths"', 2), 8, "Did you mean"),
            (VIOLATED.replace("L3/0", "L3/999"), 5, "L3/999"),
            (VIOLATED.replace("L3/0", "L99/0"), 5, "L99"),
            (VIOLATED.replace('to = "late"', 'to = "lat"'), 10, "Did you mean &#x27;late&#x27;"),
            (VIOLATED.replace('ids = ["L3/0"]', 'outputs = ["approved"]'), 5, "no output"),
            (VIOLATED.replace('ids = ["L3/0"]', f'names = ["{HOSTILE}"]'), 5, "&lt;img"),
            (VIOLATED.replace('id = "no-path"', f'"{HOSTILE}" = 1'), 7, "&lt;img"),
        ],
    )
    def test_mistakes_are_listed_with_their_lines(
        self, planted: Study, policy: str, line: int, said: str
    ) -> None:
        app = write(run(), policy)
        assert "to mend" in body(app) and said in body(app)
        if line:
            assert f"<b>line {line}</b>" in body(app)
            assert f"<i class='pl-wrong'>{line}</i>" in body(app)
        assert HOSTILE not in body(app)
        button = next(button for button in app.button if button.label == "Check the rules")
        assert button.disabled

    def test_all_mistakes_are_told_at_once(self, planted: Study) -> None:
        app = write(run(), VIOLATED.replace("L1/0", "L1/999").replace("L3/0", "L3/999"))
        assert "2 things to mend" in body(app)

    def test_the_form_completes_names_and_appends_the_rule(self, with_outputs: Study) -> None:
        app = write(run(), VIOLATED)
        app.session_state["policies.add"] = True
        app.run()
        options = app.selectbox(key="policies.add.to").options
        assert "output O/approved" in options
        app.selectbox(key="policies.add.kind").set_value("influence").run()
        app.selectbox(key="policies.add.to").set_value("output O/approved").run()
        type_into(app, "policies.add.from", "L1/3")
        click(app, "Add to the text")
        rules = read_policy(app.text_area[0].value).rules
        assert [rule.kind for rule in rules] == ["no-path", "influence"]
        assert "2 rules, 4 sets, every name found" in body(app)

    def test_a_link_to_somebody_elses_text_opens_an_example(self, planted: Study) -> None:
        assert "3 rules" in body(run(example="own"))

    def test_an_example_that_is_not_there_is_named(self, planted: Study) -> None:
        app = run(example=HOSTILE)
        assert "is not there" in app.warning[0].value
        assert "<img" not in app.warning[0].value.replace(r"\<img", "")


class TestVerdicts:
    def test_a_violated_rule_shows_its_witness(self, planted: Study) -> None:
        app = write(run(), VIOLATED)
        done = check(app, planted)
        (verdict,) = done.report.verdicts
        assert verdict.outcome == "violated"
        assert "pl-badge pl-violated'><b>✗</b> violated" in body(app)
        assert "random sets" in body(app).lower()
        (table,) = payloads(app, "cgraph_concept_table")
        path = [concept.id for concept in verdict.witnesses[0].concepts]
        assert [cell[0][0] for cell in table["rows"][0]["cells"] if cell] == path

    def test_links_lead_to_the_path_and_to_the_edit(self, planted: Study) -> None:
        from urllib.parse import unquote

        app = write(run(), VIOLATED)
        witness = check(app, planted).report.verdicts[0].witnesses[0]
        graph = {k: unquote(v) for k, v in links(app, "Open the path on the Graph page")[0].items()}
        asked, remarks = graph_query.parse(graph)
        assert not remarks and asked.view == "paths"
        assert (asked.sources, asked.targets) == ("L1/0", "L3/0")
        edit = {
            k: unquote(v) for k, v in links(app, "Try it on the Counterfactual page")[0].items()
        }
        view, remarks = edit_link.parse(edit, planted.name, lambda _: None)
        assert not remarks and view.edit == Edit((), (ConceptId(1, 0),))
        assert edit["image"] == witness.images[0].image_id

    def test_another_text_makes_verdicts_stale(self, planted: Study) -> None:
        app = write(run(), VIOLATED)
        check(app, planted)
        assert "of another text" not in body(app)
        write(app, VIOLATED + "max_length = 1\n")
        assert "of another text" in body(app)
        check(app, planted)
        assert "of another text" not in body(app)
        assert "pl-badge pl-holds" in body(app)

    def test_what_is_finished_stays_when_somebody_stops(
        self, planted: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cgraph import policy as module

        before = module.check_rule

        def slow(*args: Any, **kwargs: Any) -> Any:
            if args[2].id != "no-path":
                time.sleep(1.0)
            return before(*args, **kwargs)

        monkeypatch.setattr(module, "check_rule", slow)
        second = VIOLATED.partition("[[rules]]")[2].replace('"no-path"', '"second"', 1)
        app = write(run(), f"{VIOLATED}[[rules]]{second}")
        click(app, "Check the rules")
        done = app.session_state["policies.runs"]["planted"]
        for _ in range(100):
            if done.n_done == 1:
                break
            time.sleep(0.05)
        app.run()
        assert done.is_running
        click(app, "Stop")
        assert "stopped after 1 of 2 rules" in app.info[0].value
        assert [v.outcome for v in done.report.verdicts] == ["violated", "inconclusive"]
        assert "pl-badge pl-inconclusive'><b>?</b>" in body(app)

    def test_a_rule_that_fails_costs_no_other(
        self, planted: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        later = VIOLATED.partition("[[rules]]")[2].replace('"no-path"', '"second"', 1)
        policy = f"{VIOLATED}time_limit = 0.001\n[[rules]]{later}"
        app = write(run(), policy)
        done = check(app, planted)
        assert [v.outcome for v in done.report.verdicts][1] == "violated"
        assert not app.exception

    def test_a_fault_in_the_check_is_told_and_keeps_what_is_there(
        self, planted: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cgraph import policy as module

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("out of order")

        monkeypatch.setattr(module, "check_rule", broken)
        app = write(run(), VIOLATED)
        check(app, planted)
        assert "RuntimeError: out of order" in app.error[0].value

    def test_reports_of_every_form_can_be_taken_along(self, planted: Study) -> None:
        app = write(run(), VIOLATED)
        check(app, planted)
        labels = [element.proto.label for element in app.get("download_button")]
        for label in ("HTML, with pictures", "Markdown", "JSON", "JUnit XML"):
            assert label in labels

    def test_hostile_names_stay_text(self, with_outputs: Study) -> None:
        policy = VIOLATED.replace('ids = ["L3/0"]', f"outputs = ['{HOSTILE}']").replace(
            'id = "no-path"', f"id = '{HOSTILE}'\nnote = '{HOSTILE}'"
        )
        app = write(run(), policy)
        assert check(app, with_outputs).report.verdicts[0].outcome == "violated"
        assert HOSTILE not in body(app) and "&lt;img" in body(app)

    def test_a_path_into_an_output_opens_on_the_graph_page_up_to_the_concept_before(
        self, with_outputs: Study
    ) -> None:
        policy = VIOLATED.replace('ids = ["L3/0"]', 'outputs = ["approved"]')
        app = write(run(), policy)
        witness = check(app, with_outputs).report.verdicts[0].witnesses[0]
        asked = graph_query.parse(
            policy_looks.graph_query(with_outputs, _selection(with_outputs), witness)
        )[0]
        assert asked.targets == "L12/0"
        (table,) = payloads(app, "cgraph_concept_table")
        assert table["heads"][-1]["text"] == "Output"
        assert "O/approved" in {name for _, name, _ in table["concepts"]}


def _selection(study: Study) -> Any:
    from cgraph.ui.state import Selection

    return Selection(study=study.name)


class TestRadius:
    @pytest.fixture(autouse=True)
    def patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # On a fresh machine kernels are compiled first, which is no reason to leave layers out.
        monkeypatch.setattr(radii, "PATIENCE", 600.0)

    def test_it_opens_with_radii_from_every_layer(self, planted: Study) -> None:
        app = run(view="radius", concept="L5/3")
        said = body(app)
        for layer in range(1, 5):
            assert f">Layer {layer}</th>" in said
        assert ">Layer 5</th>" not in said
        assert "was not measured of this study" in said

    def test_one_layer_is_the_closed_form(self, planted: Study) -> None:
        row = planted.rows("held-out")[0]
        app = run(view="radius", concept="L5/3", image=planted.image_ids[row])
        labels = planted.codes(4).dense_labels(np.array([row]))
        exact = layer_radii(planted.graph, labels, 4)
        assert exact.lower[0, 3] > 0
        first = body(app).split(">Layer 4</th>")[1].split("</tr>")[0]
        assert f"<b>{exact.lower[0, 3]}</b>, exact" in first

    def test_every_row_changes_the_concept_and_its_link_is_that_edit(self, planted: Study) -> None:
        from urllib.parse import unquote

        row = planted.rows("held-out")[0]
        app = run(view="radius", concept="L5/3", image=planted.image_ids[row])
        n_links = 0
        for start in range(1, 5):
            for raw in links(app, f"from layer {start}"):
                asked = {key: unquote(value) for key, value in raw.items()}
                view, remarks = edit_link.parse(asked, planted.name, lambda _: None)
                assert not remarks and view.edit is not None
                assert (view.settings.rule, view.settings.start) == ("max", start)
                labels = planted.codes(start).dense_labels(np.array([row]))
                settings = RolloutSettings(rule="max", start=start)
                ends = [
                    rollout(planted.graph, labels, start, settings, edit).labels[5 - start][0, 3]
                    for edit in (Edit(), view.edit)
                ]
                assert ends[0] != ends[1]
                n_links += 1
        assert n_links >= 3

    def test_outputs_have_radii_too(self, with_outputs: Study) -> None:
        app = run(view="radius", output="approved")
        said = body(app)
        assert "of O/approved, layer by layer" in said and ">Layer 12</th>" in said
        assert "In the network it is <b>" in said

    def test_a_typed_concept_is_searched_for(self, planted: Study) -> None:
        app = run(view="radius", concept="L5/3")
        type_into(app, "policies.concept", "L7/2")
        assert query(app, "concept") == "L7/2" and ">Layer 6</th>" in body(app)
        type_into(app, "policies.concept", HOSTILE)
        assert "No concept behind layer 1" in app.warning[0].value

    @pytest.mark.parametrize("output", ["nothing", HOSTILE])
    def test_outputs_that_are_not_there_are_named(self, planted: Study, output: str) -> None:
        app = run(view="radius", output=output)
        assert "has no outputs" in app.warning[0].value

    def test_a_concept_of_layer_one_is_answered_with_another(self, planted: Study) -> None:
        app = run(view="radius", concept="L1/3")
        assert "nothing before it can flip" in app.info[0].value
        assert ">Layer 11</th>" in body(app)

    def test_layers_come_bit_by_bit_where_they_take_long(
        self, planted: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(radii, "PATIENCE", 0.0)
        app = run(view="radius", concept="L9/4")
        assert ">Layer 8</th>" in body(app) and ">Layer 7</th>" not in body(app)
        click(app, "Go on with 7 layers further back")
        assert ">Layer 7</th>" in body(app)

    def test_a_view_that_is_not_there_is_named(self, planted: Study) -> None:
        app = run(view="nothing")
        assert "is not there" in app.warning[0].value and app.text_area


class TestStudies:
    def test_a_study_of_one_layer_says_that_it_has_no_edges(
        self, app_environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write_study(tmp_path / "studies" / "one", n_layers=1)
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "studies"))
        assert "no edges" in run().info[0].value

    def test_a_damaged_graph_is_told(
        self, app_environment: pytest.MonkeyPatch, studies_folder: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(studies_folder, tmp_path / "studies")
        (tmp_path / "studies" / "planted" / "graph" / "edges.arrow").write_bytes(b"nothing")
        app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "studies"))
        assert run().error


def test_the_page_shows_without_what_takes_long_to_load(
    studies_folder: Path, tmp_path: Path
) -> None:
    program = f"""
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(PAGE)!r}, default_timeout=60).run()
assert not app.exception and app.text_area
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "CGRAPH_STUDIES": str(studies_folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
