"""``cgraph check``: exit codes, files, the network, outputs, and what it does when stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cgraph import cli, intervention
from cgraph import policy as policy_module
from cgraph.concept import ConceptId
from cgraph.concept_sets import resolve
from cgraph.edits import Edit
from cgraph.policy import check
from cgraph.policy_file import read_policy
from cgraph.policy_subject import subject_of
from cgraph.study import Study
from cgraph.study_graph import edge_facts
from cgraph.workbench import Source

DEMO = Path(__file__).parents[1] / "data" / "demo"


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write(folder, *rules, sets="", head=""):
    path = folder / "policy.toml"
    path.write_text(f'[policy]\nname = "Test"\ndraws = 5\n{head}\n{sets}\n' + "\n".join(rules))
    return path


DEMO_SETS = """
[sets.ground]
attribute = "background"
strength = 0.5
layers = [5, 6]
[sets.sky]
attribute = "background"
value = "sky"
strength = 0.5
layers = [8, 9]
[sets.striped]
attribute = "texture"
value = "striped"
strength = 0.5
layers = [10, 12]
"""
VIOLATED = '[[rules]]\nid = "way"\nkind = "no-path"\nfrom = "ground"\nto = "sky"'
HOLDS = VIOLATED.replace("way", "strong").replace("sky", "striped") + "\nmin_strength = 0.5"
OPEN = VIOLATED.replace("way", "slow") + "\ntime_limit = 0.001"


def test_the_demo_study_from_end_to_end(tmp_path, capsys):
    policy = write(tmp_path, VIOLATED, HOLDS, sets=DEMO_SETS)
    files = {name: tmp_path / f"out.{name}" for name in ("junit", "markdown", "html")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    code, out, err = run(capsys, "check", DEMO, policy, "--json", *options)
    assert code == 1
    values = json.loads(out)
    assert [one["verdict"] for one in values["verdicts"]] == ["violated", "holds"]
    witness = values["verdicts"][0]["witnesses"][0]
    assert witness["concepts"][0]["layer"] in (5, 6)
    assert all(image["image_id"].startswith("scene-") for image in witness["images"])
    assert values["verdicts"][0]["baselines"][0]["draws"] == 5
    assert values["verdicts"][1]["prediction"]["n_images"] == 1125
    assert "[2/2]" in err
    assert ElementTree.parse(files["junit"]).getroot().get("failures") == "1"
    assert files["markdown"].read_text().startswith("# Test")
    assert "data:image/jpeg;base64," in files["html"].read_text()


def test_what_was_measured_of_the_demo_study_counts(tmp_path, capsys):
    rules = [
        VIOLATED.replace("way", word) + f'\nevidence = "{word}"'
        for word in ("supported", "computed", "direction")
    ]
    code, out, _ = run(
        capsys, "check", DEMO, write(tmp_path, *rules, VIOLATED, sets=DEMO_SETS), "--json"
    )
    verdicts = {one["id"]: one for one in json.loads(out)["verdicts"]}
    facts = edge_facts(Study.open(DEMO))
    for witness in verdicts["supported"]["witnesses"]:
        concepts = [ConceptId.parse(one["id"]) for one in witness["concepts"]]
        found = [facts.of(*ends).verdict for ends in itertools.pairwise(concepts)]
        assert set(found) <= {"supported", "specific"}
    assert code == 1 and verdicts["direction"]["verdict"] in ("violated", "inconclusive")
    strongest = {
        name: next(f["value"] for f in one["figures"] if f["name"] == "strongest_path")
        for name, one in verdicts.items()
    }
    assert all(value <= strongest["way"] for value in strongest.values())
    assert {"edges_supported_share", "rollout_auc"} <= {
        one["name"] for one in verdicts["way"]["distance"]
    }


@pytest.mark.parametrize(
    ("rules", "code"), [((HOLDS,), 0), ((HOLDS, OPEN), 2), ((OPEN, VIOLATED), 1)]
)
def test_exit_codes(rules, code, tmp_path, capsys):
    found, out, _ = run(capsys, "check", DEMO, write(tmp_path, *rules, sets=DEMO_SETS))
    assert found == code
    assert f"{len(rules)} rule" in out.splitlines()[0]


def test_mistakes_are_told_with_their_line(tmp_path, capsys):
    wrong = VIOLATED.replace("ground", "grund")
    code, out, err = run(capsys, "check", DEMO, write(tmp_path, wrong, sets=DEMO_SETS))
    assert (code, out) == (2, "")
    assert "policy.toml has a mistake:\n  line 24: There is no set 'grund'" in err
    assert "Did you mean 'ground'?" in err
    sets = DEMO_SETS.replace('"sky"', '"skye"')
    code, _, err = run(capsys, "check", DEMO, write(tmp_path, VIOLATED, sets=sets))
    assert code == 2 and "Did you mean 'sky'?" in err
    code, _, err = run(capsys, "check", DEMO, tmp_path / "none.toml")
    assert code == 2 and "cannot be read" in err


def test_verdicts_that_are_finished_are_told_when_it_is_stopped(tmp_path, capsys, monkeypatch):
    once = policy_module.check_rule

    def stop(subject, policy, rule, sets, **more):
        if rule.id == "strong":
            raise KeyboardInterrupt
        return once(subject, policy, rule, sets, **more)

    monkeypatch.setattr(policy_module, "check_rule", stop)
    policy, out_file = write(tmp_path, VIOLATED, HOLDS, sets=DEMO_SETS), tmp_path / "out.xml"
    code, out, err = run(capsys, "check", DEMO, policy, "--json", "--junit", out_file)
    assert code == 130 and "stopped" in err
    verdicts = json.loads(out)["verdicts"]
    assert [one["verdict"] for one in verdicts] == ["violated", "inconclusive"]
    assert "stopped before it was done" in verdicts[1]["reason"]
    assert ElementTree.parse(out_file).getroot().get("errors") == "1"


def test_the_example_of_the_docs_means_something():
    text = (DEMO.parents[1] / "docs" / "policies.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    found = resolve(subject_of(Study.open(DEMO)), read_policy(example))
    assert set(found) == {"background", "striped", "suspects"}


# ---- the network, on a study of a tiny model


def frequent(study, layer):
    """Return the concept of a layer whose labels come nearest to half of the images."""
    share = study.graph.prevalence(layer)
    return ConceptId(layer, int(np.abs(share - 0.5).argmin()))


def network_rule(study, **more):
    a, b = frequent(study, 2), frequent(study, 4)
    lines = [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    return read_policy(
        f'[sets.a]\nids = ["{a}"]\n[sets.b]\nids = ["{b}"]\n[policy]\ndraws = 3\n'
        '[[rules]]\nkind = "influence"\nfrom = "a"\nto = "b"\n' + "\n".join(lines)
    ), (a, b)


def test_the_network_is_asked(tiny_study):
    policy, (a, b) = network_rule(tiny_study, at_most=0.0, where="network")
    verdict = check(tiny_study, policy).verdicts[0]
    rows = tiny_study.rows("held-out")
    rows = rows[tiny_study.codes(2).dense_labels(rows)[:, a.index]]
    source = Source(tiny_study.path)
    pixels = source.pixels(rows)
    plain = intervention.run(tiny_study, source.model, pixels)
    edited = intervention.run(tiny_study, source.model, pixels, Edit(off=(a,)))
    on, still = (run.codes[3].dense_labels()[:, b.index] for run in (plain, edited))
    figures = {one.name: one.value for one in verdict.figures}
    assert figures["n_run"] == len(rows)
    assert figures["network_change"] == pytest.approx((on != still).mean())
    moved = [tiny_study.dictionary(4).pre_activations(run.tokens[3]) for run in (plain, edited)]
    mean = (moved[1] - moved[0])[:, b.index].mean()
    assert figures["network_move"] == pytest.approx(mean, abs=1e-4)
    assert verdict.outcome == ("violated" if (on != still).any() else "holds")
    assert verdict.speaks_of == ("network",) and not verdict.distance
    changed = {tiny_study.image_ids[row] for row in rows[on != still]}
    assert {image.image_id for one in verdict.witnesses for image in one.images} <= changed
    assert verdict.baselines[0].of == "network" and verdict.baselines[0].draws == 3


def test_graph_and_network_together(tiny_study):
    policy, _ = network_rule(tiny_study, at_most=1.0, where="both", flip="each")
    verdict = check(tiny_study, policy).verdicts[0]
    assert verdict.outcome == "holds" and verdict.speaks_of == ("graph", "network")
    assert verdict.outcomes == ("holds", "holds")
    assert verdict.headline.startswith("Holds in the graph, holds in the network. ")
    assert [one.of for one in verdict.baselines] == ["graph", "network"]
    assert "In the graph" in verdict.headline and "In the network" in verdict.headline


def test_a_sample_that_is_too_small_says_nothing(tiny_study):
    policy, _ = network_rule(tiny_study, at_most=0.2, where="network", max_images=3)
    verdict = check(tiny_study, policy).verdicts[0]
    figures = {one.name: one.value for one in verdict.figures}
    assert figures["n_run"] == 3
    low, high = figures["network_change_low"], figures["network_change_high"]
    assert low < figures["network_change"] + 1e-9 and high > figures["network_change"]
    assert verdict.outcome == ("violated" if low > 0.2 else "inconclusive")


def test_outputs_can_stand_in_rules(tiny_study, tmp_path, capsys):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.path, folder)
    model = json.loads((folder / "build.json").read_text())["sources"]["model"]
    assert model
    name = "LABEL_0"
    code, _, err = run(
        capsys, "outputs", folder, "--class", name, "--name", "zero", "--threshold", "0.3",
        "--images", image_place(tiny_study), "--workers", "1",
    )  # fmt: skip
    assert code == 0, err
    study = Study.open(folder)
    node = study.outputs.nodes[0]
    a = frequent(study, 4)
    rules = [
        f'[[rules]]\nid = "{kind}"\nkind = "{kind}"\nfrom = "a"\nto = "zero"\n{more}'
        for kind, more in (
            ("influence", 'at_most = 0.5\nwhere = "both"'),
            ("flips", "budget = 1\nmax_images = 20"),
            ("no-path", ""),
            ("never-together", "at_most = 1.0"),
        )
    ]
    sets = f'[sets.a]\nids = ["{a}"]\n[sets.zero]\noutputs = ["zero"]'
    policy = write(tmp_path, *rules, sets=sets)
    place = image_place(tiny_study)
    page = tmp_path / "out.html"
    code, out, _ = run(
        capsys, "check", folder, policy, "--json", "--images", place, "--html", page
    )  # fmt: skip
    verdicts = {one["id"]: one for one in json.loads(out)["verdicts"]}
    assert all("could not be checked" not in one["headline"] for one in verdicts.values()), out
    figures = {one["name"]: one["value"] for one in verdicts["influence"]["figures"]}
    rows = study.rows("held-out")
    rows = rows[study.codes(4).dense_labels(rows)[:, a.index]]
    assert figures["n_run"] == len(rows)
    both = study.outputs.labels[rows, 0].sum()
    figures = {one["name"]: one["value"] for one in verdicts["never-together"]["figures"]}
    assert figures["n_together"] == both
    has_edge = any(index == a.index for index in study.outputs.edges.parents)
    assert (verdicts["no-path"]["verdict"] == "violated") == has_edge
    assert verdicts["no-path"]["sets"][1]["concepts"][0]["id"] == "O/zero"
    assert node.name == "zero" and "O/zero" in page.read_text()
    assert "zero stay" in verdicts["no-path"]["baselines"][0]["note"]


def image_place(study):
    """Return where the pictures of a study lie."""
    from cgraph.manifest import BUILD_RECORD
    from cgraph.store import read_json

    return (study.path / read_json(study.path / BUILD_RECORD)["sources"]["images"]).resolve()
