"""Figures of what was measured, from tables whose answers are worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cgraph.truth_tables import DIRECT, REFITTED, TOKEN
from cgraph.ui.charts import edge_evidence, outside, stability
from cgraph.ui.charts.rollout_depth import at_start, rollout_figure

NAN = float("nan")


def rolled(rule: str, layer: int, auc: float, *, forced: bool = False, **more: Any) -> Any:
    row = {"start": 1, "layer": layer, "rule": rule, "probability": "calibrated", "auc": auc}
    figures = {"ap": 0.3, "prevalence": 0.1, "f1": 0.4, "jaccard": 0.25, "n_active": 9.0}
    return row | figures | {"n_active_true": 8.0, "n_scored": 20, "forced": forced} | more


ROWS = [
    rolled("max", 2, 0.7),
    rolled("max", 3, 0.58),
    rolled(REFITTED, 2, 0.8),
    rolled(REFITTED, 3, 0.66),
    rolled("max", 2, 0.7, forced=True),
    rolled("max", 3, 0.83, forced=True),
    rolled(REFITTED, 2, 0.8, forced=True),
    rolled(REFITTED, 3, 0.83, forced=True),
]
REFERENCES = [
    {"start": 1, "layer": 3, "reference": name, "auc": auc, "ap": 0.2, "prevalence": 0.1}
    | {"n_scored": 20}
    for name, auc in ((DIRECT, 0.65), (TOKEN, 0.7))
]


def drawn(
    quantity: str = "auc", references: Any = (), rows: Any = ROWS, forced: bool = True
) -> Any:
    figure = rollout_figure(
        "discs",
        rows,
        references,
        start=1,
        quantity=quantity,
        probability="calibrated",
        forced=forced,
    )
    return json.loads(figure.to_json())


def test_a_rollout_is_told_in_a_sentence():
    summary = drawn(references=REFERENCES)["summary"]
    assert summary == (
        "From the true labels of layer 1, refitted probabilities reach an AUC of 0.66 at layer 3; "
        "a fit straight from the start reaches 0.65, a fit on the raw token reaches 0.70. The "
        "other rules end at 0.58. Given the true labels of layer 2 it would be 0.83 "
        "(teacher-forced)."
    )


def test_guessing_stands_in_every_figure_that_has_it():
    labels = [mark["label"] for mark in drawn("auc")["marks"]]
    assert "guessing 0.5" in labels
    found = drawn("ap")
    prevalence = next(mark for mark in found["marks"] if mark["label"].startswith("prevalence"))
    assert prevalence["y"] == [0.1, 0.1]
    assert "prevalence, which is guessing: 0.10" in found["summary"]
    truth = next(mark for mark in drawn("n_active")["marks"] if mark["label"] == "really active")
    assert truth["y"] == [8.0, 8.0]


def test_a_step_that_all_rules_share_is_drawn_once():
    rows = [row | {"auc": 0.9} if row["forced"] else row for row in ROWS]
    hollow = [mark for mark in drawn(rows=rows)["marks"] if mark.get("hollow")]
    assert [mark["y"] for mark in hollow] == [[0.9, 0.9]]
    assert hollow[0]["label"] == "dashed, hollow: teacher-forced"
    assert len([mark for mark in drawn()["marks"] if mark.get("hollow")]) == 2


def test_a_rule_with_one_kind_of_probability_is_always_shown():
    rows = [*ROWS, rolled("max", 2, 0.6, probability="prior")]
    kept = at_start(rows, 1, "prior")
    assert {(row["rule"], row["probability"]) for row in kept} == {
        ("max", "prior"),
        (REFITTED, "calibrated"),
    }


def test_what_is_not_known_leaves_a_gap():
    rows = [row | {"auc": NAN} if row["layer"] == 3 else row for row in ROWS]
    found = drawn(rows=rows)
    curves = [mark for mark in found["marks"] if mark["mark"] == "curve"]
    assert all(curve["y"][1] is None for curve in curves)
    assert "have an unknown AUC at layer 3" in found["summary"]


PAIR = {
    "left": 2,
    "right": 3,
    "n_edges": 10,
    "n_measured": 8,
    "n_specific": 2,
    "n_supported": 3,
    "n_no_effect": 2,
    "n_contradicted": 1,
    "n_positive": 6,
    "n_positive_specific": 1,
    "n_positive_supported": 2,
    "n_positive_contradicted": 1,
    "n_controls": 5,
    "n_controls_supported": 1,
    "n_carried": 3,
    "n_computed": 1,
    "n_both": 1,
    "weight_effect": 0.4,
    "weight_effect_shuffled": 0.0,
    "weight_effect_shuffled_high": 0.2,
    "joint_lost": 0.5,
    "joint_control_lost": 0.1,
    "n_joint": 40,
    "max_error": 0.0,
}


def test_verdicts_are_stacked_to_one():
    figure = edge_evidence.verdict_figure("discs", [PAIR])
    tops = {mark["label"]: mark["high"][0] for mark in figure.marks}
    assert tops == {
        "specific": 0.2,
        "supported": 0.5,
        "no effect": 0.7,
        "contradicted": 0.8,
        "not measured": 1.0,
    }
    assert figure.summary.startswith("8 of 10 edges were measured")
    assert "specific 25\N{NO-BREAK SPACE}%" in figure.summary
    assert figure.rows == [[2, 3, 10, 2, 3, 2, 1, 2]]


def test_controls_and_origins_are_shares_of_what_was_tested():
    ours, specific, controls = edge_evidence.controls_figure("discs", [PAIR]).marks
    assert (ours["y"], controls["y"]) == ([0.5], [0.2])
    assert specific["y"] == [pytest.approx(1 / 6, abs=1e-4)]
    carried, computed, both = edge_evidence.origin_figure("discs", [PAIR]).marks
    assert (carried["y"], computed["y"], both["y"]) == ([0.6], [0.2], [0.2])


def test_joint_removal_is_weighted_by_its_cases():
    other = PAIR | {"left": 3, "right": 4, "joint_lost": 1.0, "n_joint": 10}
    unknown = PAIR | {"left": 4, "right": 5, "joint_lost": NAN, "n_joint": 0}
    figure = edge_evidence.joint_figure("discs", [PAIR, other, unknown])
    assert "lost in 60\N{NO-BREAK SPACE}% of 50 cases" in figure.summary  # (0.5·40 + 1·10) / 50


def test_pairs_beyond_shuffles_are_counted():
    below = PAIR | {"weight_effect": 0.1}
    unknown = PAIR | {"weight_effect": NAN, "weight_effect_shuffled_high": NAN}
    figure = edge_evidence.order_figure("discs", [PAIR, below, unknown])
    assert "in 1 of 2 pairs" in figure.summary


LAYER = {
    "layer": 2,
    "from_class": 0.6,
    "from_patches": 0.2,
    "labels_from_class": 0.5,
    "labels_from_patches": 0.1,
    "left_out": 0.3,
    "auc_graph": 0.8,
    "auc_token": 0.9,
    "outside": 0.25,
}


def test_outside_the_graph_is_told():
    rows = [LAYER, LAYER | {"layer": 3, "outside": 0.75, "auc_token": 0.9}]
    told = outside.sources_figure("discs", rows).summary
    assert "50\N{NO-BREAK SPACE}%" in told and "layer 3, 75\N{NO-BREAK SPACE}%" in told
    assert "by 0.100 AUC" in outside.gap_figure("discs", rows).summary
    better = [LAYER | {"auc_graph": 0.95}]
    assert outside.gap_figure("discs", better).summary.startswith("The graph predicts concepts")
    no_class_token = [{name: NAN for name in LAYER} | {"layer": 2}]
    for make in (outside.sources_figure, outside.labels_figure, outside.left_out_figure):
        figure = make("discs", no_class_token)
        assert "nan" not in figure.to_json() and "unknown" not in figure.summary, figure.summary
    assert outside.gap_figure("discs", no_class_token).summary == "Neither AUC is known."


def test_edges_found_again_are_of_those_with_both_ends():
    row = {
        "layer": 2,
        "n_alive": 20,
        "n_found_again": 5,
        "n_found_rotated": 0,
        "n_found_tokens": 1,
        "n_edges": 100,
        "n_edges_matched": 10,
        "n_edges_found_again": 4,
        "n_edges_chance": 0.5,
        "n_edges_found_bags": 90,
        "n_edges_chance_bags": 8.0,
    }
    told = stability.edges_figure("discs", [row]).summary
    assert "90\N{NO-BREAK SPACE}% of the edges come back" in told
    assert "10 edges of 100 have both ends" in told and "40\N{NO-BREAK SPACE}% of these" in told
    assert (
        "25\N{NO-BREAK SPACE}% of 20 concepts" in stability.concepts_figure("discs", [row]).summary
    )
