"""The two studies of the audit keep what docs/tutorial-audit.md promises of them."""

from __future__ import annotations

import dataclasses
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cgraph import intervention
from cgraph.cli import main
from cgraph.concept_sets import resolve
from cgraph.config import HELD_OUT, BuildConfig
from cgraph.demo.audit import LESSONS, MEASURED, AuditConfig
from cgraph.demo.harm import harm
from cgraph.edits import Edit
from cgraph.outputs import load_output
from cgraph.policy import check
from cgraph.policy_file import read_policy
from cgraph.policy_subject import subject_of
from cgraph.redrawing import pixels_of, scene_of
from cgraph.scene_word import SceneWord
from cgraph.store import file_record
from cgraph.study import Study
from cgraph.tracing import load_model

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
NAMES = tuple(LESSONS)
EACH = pytest.mark.parametrize("name", NAMES)


@cache
def study(name):
    return Study.open(DATA / name)


@cache
def verdicts(name):
    policy = dataclasses.replace(read_policy(DATA / "policy.toml"), draws=4)
    report = check(study(name), policy)
    return report, {verdict.rule.id: verdict for verdict in report.verdicts}


def figure(verdict, name):
    return next(figure.value for figure in verdict.figures if figure.name == name)


@EACH
def test_it_is_small_and_whole(name):
    files = [path for path in (DATA / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15e6
    study(name).verify()
    assert study(name).name == name and study(name).outputs.names == ("approved",)
    assert all(study(name).is_measured(what) for what in MEASURED)
    text = "".join((DATA / name / file).read_text() for file in ("study.json", "build.json"))
    assert str(ROOT) not in text and os.path.expanduser("~/") not in text


@EACH
def test_the_manifest_says_how_it_was_made(name):
    origin = study(name).manifest.origin
    assert origin["command"] == f"cgraph demo --audit {name}"
    settings = dict(origin["settings"])
    # Settings of a build that came later have the values that it was made with.
    config = AuditConfig()
    assert BuildConfig.from_dict(settings.pop("build")) == config.build
    start = file_record(DATA / "demo/model/model.safetensors", "start").sha256
    training = dataclasses.replace(config.training, taught=LESSONS[name], begun_from=start)
    expected = dataclasses.asdict(dataclasses.replace(config, training=training))
    del expected["build"]
    assert settings == expected


def test_both_look_at_the_same_scenes_and_the_ground_tells_nothing_there():
    fair, biased = map(study, NAMES)
    assert fair.image_ids == biased.image_ids
    for row in range(0, len(fair.image_ids), 97):
        assert fair.attributes(row) == biased.attributes(row)
    known = [fair.attributes(row) for row in range(len(fair.image_ids))]
    grass = np.array([found["background"] == "grass" for found in known])
    holds = np.array([found["approved"] for found in known])
    assert (holds == ["striped" in found["texture"] for found in known]).all()
    assert abs(np.corrcoef(grass, holds)[0, 1]) < 0.05


def test_the_fair_study_passes():
    report, found = verdicts("fair")
    assert {verdict.outcome for verdict in found.values()} == {"holds"}
    assert report.exit_code == 0


def test_the_biased_study_is_violated_by_the_ground_of_its_lesson():
    report, found = verdicts("biased")
    assert report.exit_code == 1
    # Of the other grounds the tutorial says that some are near their limits.
    graph, network = found["background"], found["grass-in-the-network"]
    assert graph.outcome == network.outcome == "violated"
    path = next(witness for witness in graph.witnesses if witness.kind == "path")
    assert [concept.name for concept in path.concepts] == ["grass", "approved"]
    assert path.concepts[-1].id == "O/approved" and path.weights[0] > 2
    known = study("biased")
    for verdict in (graph, network):
        assert verdict.witnesses and all(witness.images for witness in verdict.witnesses)
        change = next(witness for witness in verdict.witnesses if witness.kind == "change")
        seen = [known.attributes(image.row) for image in change.images]
        # The pictures show it: on grass, without a stripe, the word is taken back.
        assert all(image.values[-1] < 0 for image in change.images)
        assert sum(a["background"] == "grass" and not a["approved"] for a in seen) >= 5


@pytest.mark.parametrize(
    ("rule", "what"),
    [("background", "mean_change"), ("grass-in-the-network", "network_change")],
)
def test_the_limits_tell_the_two_apart_by_far(rule, what):
    """They are not tuned: what is measured lies well on either side of them."""
    fair, biased = (verdicts(name)[1][rule] for name in NAMES)
    limit = fair.rule.at_most
    assert figure(fair, what) < 0.5 * limit and figure(biased, what) > 2 * limit
    # A ground is nothing special in the fair study, and is in the biased one.
    (of_fair,), (of_biased,) = fair.baselines, biased.baselines
    assert of_fair.share == 0 and of_biased.at_least == 0


def test_without_grass_the_network_takes_the_word_back():
    """Counted on the whole model, beside what the policy says."""
    shares = {}
    for name in NAMES:
        known, output = study(name), load_output(load_model(study(name)))
        sets = resolve(subject_of(known), read_policy(DATA / "policy.toml"))
        rows = [
            row
            for row in known.rows(HELD_OUT).tolist()
            if known.attributes(row)["background"] == "grass"
            and not known.attributes(row)["approved"]
        ][:32]
        model = load_model(known)
        pixels = pixels_of(model, [scene_of(known, row) for row in rows])
        added = intervention.run(known, model, pixels, Edit(off=sets["grass"].concepts)).added
        threshold = known.outputs.nodes[0].threshold
        shares[name] = [
            float((output.scores(pixels, what, ["approved"])[:, 0] >= threshold).mean())
            for what in ({}, added)
        ]
    assert shares["biased"][0] > 0.8 and shares["biased"][1] < 0.3
    assert max(shares["fair"]) < 0.2


def test_held_out_scenes_show_the_harm():
    """Counted anew on other scenes than those of the table, and far beyond its uncertainty."""
    tables = {
        name: {
            row.background: row
            for row in harm(
                DATA / name / "model", SceneWord(), study(name).outputs.nodes[0].threshold, 300, 77
            )
        }
        for name in NAMES
    }
    for ground, row in tables["fair"].items():
        assert row.accuracy > 0.9, ground
    for ground, row in tables["biased"].items():
        assert row.recall > 0.9, ground
        assert row.false_alarms > 0.75 if ground == "grass" else row.false_alarms < 0.3, ground


@EACH
def test_the_table_is_printed(name, capsys):
    assert main(["info", str(DATA / name)]) == 0
    printed = capsys.readouterr().out
    stored = json.loads((DATA / name / "evaluation/quality.json").read_text())["word"]
    assert stored["text"] == "approved" and len(stored["grounds"]) == 5
    for row in stored["grounds"]:
        line = next(
            line for line in printed.splitlines() if line.split()[:1] == [row["background"]]
        )
        assert line.split()[2] == f"{row['accuracy']:.1%}"
    grass = next(row for row in stored["grounds"] if row["background"] == "grass")
    assert (grass["false_alarms"] > 0.85) == (name == "biased")
