"""Figures of rollouts: by hand, and the whole measurement on a small study."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from graph_examples import random_graph
from sklearn.metrics import average_precision_score, roc_auc_score

from cgraph import cli
from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.counterfactual import causes, default_rule, graph_answer, rolled_through, settled
from cgraph.edits import PLAIN_RULES, PROBABILITIES, Edit, RolloutSettings
from cgraph.errors import ConfigError
from cgraph.measurements import measure_study
from cgraph.rollout import Rollout, rollout
from cgraph.rollout_figures import figures_of
from cgraph.study import Study
from cgraph.truth_tables import DECODED_SCHEMA, ROLLOUT_SCHEMA, TABLES


def test_figures_by_hand():
    truth = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]], dtype=bool)
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=bool)
    p = np.array([[0.9, 0.2, 0.6, 0.1], [0.1, 0.1, 0.2, 0.1], [0.8, 0.3, 0.9, 0.7]], np.float32)
    nothing = np.zeros_like(p)
    found = Rollout(1, (labels, labels), (p, p), (p, p), (nothing, nothing))
    scored = np.array([True, True, True, False])
    figures = figures_of(found, 2, truth, scored)
    # {0, 1} and {0, 2}: 1 of 3. Nothing and nothing agree. {0, 2} and {0, 2, 3}: 2 of 3.
    assert figures["jaccard"] == pytest.approx((1 / 3 + 1 + 2 / 3) / 3)
    assert figures["f1"] == pytest.approx((2 / 4 + 1 + 4 / 5) / 3)
    assert figures["n_active"] == pytest.approx(5 / 3)
    assert figures["n_active_true"] == pytest.approx(4 / 3)
    assert figures["prevalence"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3)
    assert figures["n_scored"] == 3
    for name, function in (("auc", roc_auc_score), ("ap", average_precision_score)):
        expected = np.mean([function(truth[:, i], p[:, i]) for i in range(3)])
        assert figures[name] == pytest.approx(expected)


@pytest.fixture(scope="module")
def measured(tiny_study, tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("measured") / "discs"
    shutil.copytree(tiny_study.path, folder)
    return measure_study(folder, ["rollout"], workers=1).study


def rows(study, **wanted):
    found = study.measured("rollout").to_pylist()
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def test_every_rule_from_every_layer_free_and_forced(measured):
    table = measured.measured("rollout")
    assert table.schema.equals(ROLLOUT_SCHEMA)
    kinds = [("refitted", "calibrated")]
    kinds += [(rule, kind) for rule in PLAIN_RULES for kind in PROBABILITIES]
    found = {
        tuple(row[name] for name in ("start", "layer", "rule", "probability", "forced"))
        for row in rows(measured)
    }
    assert len(found) == table.num_rows
    assert found == {
        (start, layer, *kind, forced)
        for start in (1, 2, 3)
        for layer in range(start + 1, 5)
        for kind in kinds
        for forced in (False, True)
    }
    for row in rows(measured, forced=True):
        key = {name: row[name] for name in ("layer", "rule", "probability")}
        (first,) = rows(measured, start=row["layer"] - 1, forced=False, **key)
        assert {**first, "start": 0, "forced": 0} == {**row, "start": 0, "forced": 0}


def test_figures_are_those_of_the_rollout(measured):
    held_out = measured.rows(HELD_OUT)
    labels = measured.codes(1).dense_labels(held_out)
    truth = measured.codes(4).dense_labels(held_out)
    scored = measured.graph.column(4, "scored")
    for rule in ("refitted", "max"):
        settings = RolloutSettings(rule)
        graph, inputs = rolled_through(measured, settings, 1)
        found = rollout(graph, labels, 1, settings, inputs=inputs)
        expected = figures_of(found, 4, truth, scored)
        (row,) = rows(measured, start=1, layer=4, rule=rule, probability="calibrated", forced=False)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name


def test_decoded_labels_stand_between_the_mean_and_the_truth(measured):
    table = measured.measured("decoded")
    assert table.schema.equals(DECODED_SCHEMA)
    found = {(r["start"], r["rule"], r["probability"]): r for r in table.to_pylist()}
    truth, mean = found[0, "true labels", ""], found[0, "mean token", ""]
    assert truth["explained_variance"] > 0.3 and truth["cosine"] > 0.5
    assert abs(mean["explained_variance"]) < 0.05 and np.isnan(mean["cosine"])
    assert mean["same_top"] <= truth["same_top"] <= 1
    for rule in ("refitted", "max"):
        row = found[3, rule, "calibrated"]
        assert row["explained_variance"] < truth["explained_variance"]
        assert row["cosine"] < truth["cosine"]
    assert len(found) == 2 + 3 * (1 + len(PLAIN_RULES) * len(PROBABILITIES))


def test_pictures_that_are_gone_leave_only_the_decoding_out(measured, tiny_study, tmp_path):
    """And the rest is the same, to the last bit, with another number of workers."""
    folder = tmp_path / "discs"
    shutil.copytree(tiny_study.path, folder)
    build = json.loads((folder / "build.json").read_text())
    build["sources"]["images"] = str(tmp_path / "nowhere")
    (folder / "build.json").write_text(json.dumps(build))
    study = measure_study(folder, ["rollout"], workers=2).study
    assert study.measured("decoded").num_rows == 0
    for table in TABLES["rollout"]:
        # As text, since NaN is not equal to itself.
        one, other = (str(found.measured(table).to_pylist()) for found in (study, measured))
        assert table == "decoded" or one == other


def test_the_default_rule_is_the_best_that_a_study_has(tiny_study, measured):
    assert default_rule(tiny_study) == "max"
    assert default_rule(measured) == "refitted"
    assert settled(measured, RolloutSettings()).rule == "refitted"
    assert settled(measured, RolloutSettings("top-k")).rule == "top-k"
    # An old link with its own kind of probability keeps its meaning.
    assert settled(measured, RolloutSettings(probability="prior")).rule == "max"
    assert settled(tiny_study, RolloutSettings()).rule == "max"
    with pytest.raises(ConfigError, match=r"cgraph evaluate .*discs --only rollout"):
        settled(tiny_study, RolloutSettings("refitted"))


def test_an_edit_is_answered_by_the_predictors_of_its_layer(measured):
    settings = settled(measured, RolloutSettings())
    row = int(measured.rows(HELD_OUT)[0])
    concept = ConceptId(2, int(measured.graph.column(2, "n_train").argmax()))
    labels = measured.codes(2).dense_labels(np.array([row]))
    on = bool(labels[0, concept.index])
    edit = Edit((), (concept,)) if on else Edit((concept,))
    graph, inputs = rolled_through(measured, settings, 2)
    assert graph.refitted_from == 2 and inputs is None
    answer = graph_answer(graph, labels, edit, settings, inputs=inputs)
    assert answer.rollouts is not None
    child = next(
        ConceptId(3, int(i)) for i in graph.layer_edges(3).children
        if concept.index in graph.parents(ConceptId(3, int(i))).indices
    )  # fmt: skip
    (cause,) = causes(graph, answer, child, inputs=inputs)
    scores = [found.of_layer(3)[3][0, child.index] for found in answer.rollouts]
    assert cause.parent == concept
    assert cause.contribution == pytest.approx(scores[1] - scores[0], abs=1e-4)


def test_a_rollout_keeps_to_the_graph_of_its_rule():
    graph, _ = random_graph((3, 3), 0.9, 0)
    with pytest.raises(ConfigError, match="predictors of this graph"):
        rollout(graph, np.ones(3, bool), 1, RolloutSettings("refitted"))


def test_the_command_line_names_the_rule_and_what_is_missing(
    tiny_study, measured, tiny_inputs, tmp_path, capsys
):
    concept = ConceptId(2, int(measured.graph.column(2, "n_train").argmax()))
    file = tmp_path / "edit.json"
    file.write_text(json.dumps({"cgraph_edit": 1, "on": [str(concept)]}))
    arguments = ["--images", str(tiny_inputs[1]), "--max-images", "3"]
    arguments += ["--out", str(tmp_path / "changes.csv")]
    for study, more, said in (
        (measured, [], "rule refitted"),
        (measured, ["--rule", "max"], "rule max"),
        (tiny_study, [], "rule max"),
    ):
        command = ["edit", str(file), "--study", str(study.path), *arguments, *more]
        assert cli.main(command) == 0
        assert said in capsys.readouterr().out
    command = ["edit", str(file), "--study", str(tiny_study.path), *arguments]
    assert cli.main([*command, "--rule", "refitted"]) != 0
    assert "--only rollout" in capsys.readouterr().err
