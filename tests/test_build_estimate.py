"""What a build will take: sizes, costs, and the check before it starts."""

import dataclasses
import json
import shutil
import time

import pytest
import tiny

from cgraph import cli
from cgraph.build_estimate import Estimate, _stand_in, estimate, rough_estimate, size, time_span
from cgraph.config import preset
from cgraph.cost_model import (
    Work,
    disk_mb,
    memory_mb,
    reference_speed,
    seconds_span,
    stage_seconds,
)
from cgraph.errors import CgraphError, ModelError, StudyError
from cgraph.job_setup import read_log
from cgraph.manifest import STAGES
from cgraph.model_facts import model_facts
from cgraph.vit import VisionModel

SMALL = preset("default").with_options(n_atoms=16, max_nnz=4)
WORK = Work(
    n_images=10_000, n_layers=12, d_model=192, n_tokens=197, mlp_width=768,
    n_parameters=5_700_000, config=preset("default"),
)  # fmt: skip


# ---- what files say of a model


def test_sizes_are_those_of_the_model(tiny_inputs):
    from transformers import ViTForImageClassification

    network = ViTForImageClassification.from_pretrained(tiny_inputs[0])
    facts = model_facts(tiny_inputs[0])
    assert facts.n_parameters == sum(p.numel() for p in network.parameters())
    assert (facts.n_layers, facts.d_model, facts.mlp_width) == (4, 24, 48)
    assert facts.n_tokens == (32 // 8) ** 2 + 1
    assert facts.family == "vit"


def test_of_a_model_of_images_and_text_the_vision_part_counts(tmp_path):
    vision = {"hidden_size": 96, "num_hidden_layers": 12, "image_size": 64, "patch_size": 8}
    config = {"model_type": "clip", "vision_config": {**vision, "intermediate_size": 192}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    facts = model_facts(tmp_path)
    assert (facts.n_layers, facts.d_model, facts.mlp_width, facts.n_tokens) == (12, 96, 192, 65)
    assert facts.n_parameters == 0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (None, r"has no config\.json"),
        ("[]", "is not a JSON object"),
        ("{", "is not readable JSON"),
        ('{"model_type": "bert"}', "'bert', names no num_hidden_layers"),
        ('{"hidden_size": -3, "num_hidden_layers": "x"}', "names no num_hidden_layers"),
    ],
)
def test_a_folder_that_says_no_sizes(config, sentence, tmp_path):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=sentence):
        model_facts(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]"])
def test_damaged_weights_count_nothing(damage, tiny_inputs, tmp_path):
    shutil.copytree(tiny_inputs[0], tmp_path / "model")
    (tmp_path / "model/model.safetensors").write_bytes(damage)
    assert model_facts(tmp_path / "model").n_parameters == 0


# ---- costs


@pytest.mark.parametrize(
    "more",
    [
        {"n_images": 20_000},
        {"n_layers": 24},
        {"d_model": 768, "mlp_width": 3072},
        {"config": preset("default").with_options(n_atoms=768)},
    ],
)
@pytest.mark.parametrize("method", ["topk-sae", "ksvd"])
def test_more_costs_more(more, method):
    def of_method(work):
        return dataclasses.replace(work, config=work.config.with_options(method=method))

    less, larger = of_method(WORK), of_method(dataclasses.replace(WORK, **more))
    for cost in (
        lambda w: sum(stage_seconds(w, reference_speed(w)).values()),
        lambda w: disk_mb(w)[0],
        lambda w: disk_mb(w)[1],
    ):
        assert cost(larger) > cost(less)
    assert set(stage_seconds(less, reference_speed(less))) == set(STAGES)


def test_workers_take_memory_and_save_time():
    two = dataclasses.replace(WORK, workers=2)
    speed = reference_speed(WORK)
    one_seconds, two_seconds = (sum(stage_seconds(w, speed).values()) for w in (WORK, two))
    assert 0.5 * one_seconds < two_seconds < 0.8 * one_seconds
    assert memory_mb(two, speed) > 1.5 * memory_mb(WORK, speed)


def test_a_worker_takes_a_whole_part():
    """One part of images is no quicker with two workers."""
    small = dataclasses.replace(WORK, n_images=1000)
    speed = reference_speed(small)
    alone = stage_seconds(small, speed)["tokens"]
    assert stage_seconds(dataclasses.replace(small, workers=2), speed)["tokens"] >= alone


def test_what_is_not_measured_says_so_by_a_wide_range():
    rough = reference_speed(WORK)
    low, high = seconds_span(WORK, rough)
    measured = dataclasses.replace(rough, is_measured=True)
    closer = seconds_span(WORK, measured)
    assert low < closer[0] < closer[1] < high
    slower = dataclasses.replace(measured, forward=10 * measured.forward)
    assert seconds_span(WORK, slower)[0] > 3 * closer[0]


def test_disk_is_about_that_of_a_real_study(tiny_study):
    real = sum(f.stat().st_size for f in tiny_study.path.rglob("*") if f.is_file()) / 2**20
    config = tiny_study.manifest.config
    work = Work(480, tiny.N_LAYERS, 24, 17, 48, 20_000, config)
    finished, most = disk_mb(work)
    assert real / 2 < finished < real * 2
    assert most > finished


# ---- the check before a build


@pytest.fixture(scope="module")
def measured(tiny_inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("none") / "study"
    found = estimate(*tiny_inputs, out, SMALL, workers=1)
    assert not out.exists(), "nothing is written"
    return found


def test_this_machine_is_timed(measured, tiny_inputs, tmp_path):
    assert measured.is_measured
    assert 0 < measured.seconds_low < measured.seconds_high
    assert measured.facts["n_images"] == measured.facts["n_listed"] == 480
    assert measured.facts["n_layers"] == 4
    assert measured.memory_mb > 100
    assert Estimate.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured
    text = "\n".join(measured.lines())
    assert "4 layers of width 24" in text
    assert "measured on this machine" in text
    rough = rough_estimate(tiny_inputs[0], 480, tmp_path / "study", SMALL, 1)
    assert not rough.is_measured
    assert rough.disk_mb == measured.disk_mb


def test_a_slower_model_is_noticed(measured, tiny_inputs, tmp_path, monkeypatch):
    real = VisionModel.class_tokens

    def slow(self, pixels, change=None):
        time.sleep(0.05 * len(pixels))
        return real(self, pixels, change)

    monkeypatch.setattr(VisionModel, "class_tokens", slow)
    found = estimate(*tiny_inputs, tmp_path / "study", SMALL, workers=1)
    assert 480 * 0.05 < found.stages["tokens"] < 480 * 0.05 * 3
    assert measured.stages["tokens"] < 480 * 0.05


@pytest.mark.parametrize("case", ["atoms", "model", "images", "stranger", "another study", "file"])
def test_it_refuses_what_the_build_refuses(case, tiny_inputs, tiny_study, tmp_path):
    from cgraph.pipeline import build_study

    model, images = tiny_inputs
    folder, config = tmp_path / "study", SMALL
    if case == "atoms":
        config = SMALL.with_options(n_atoms=400)
    elif case == "model":
        model = images
    elif case == "images":
        images = model
    elif case == "stranger":
        folder.mkdir()
        (folder / "letter.txt").write_text("dear")
    elif case == "another study":
        shutil.copytree(tiny_study.path, folder)
    elif case == "file":
        folder.write_text("x")
    said = []
    for run in (lambda: estimate(model, images, folder, config, workers=1),
                lambda: build_study(model, images, folder, config, workers=1)):  # fmt: skip
        with pytest.raises(CgraphError) as caught:
            run()
        said.append((type(caught.value), str(caught.value)))
    if case == "file":
        assert said[0][0] is said[1][0] is StudyError
    else:
        assert said[0] == said[1]


def test_it_knows_what_a_build_began_with(tmp_path):
    """The record says with which commit of a data set, which may have changed since."""
    (tmp_path / "study").mkdir()
    (tmp_path / "other").mkdir()
    record = {"sources": {"images": "hub:owner/name@" + "0" * 40}, "stages": []}
    (tmp_path / "study/build.json").write_text(json.dumps(record))
    assert read_log(_stand_in(tmp_path / "study", tmp_path / "other", ())) == record


def test_a_build_of_a_moment_names_no_stages(measured):
    moment = dataclasses.replace(measured, stages=dict.fromkeys(STAGES, 0.1))
    assert "(measured on this machine)" in moment.lines()[2]


def test_images_that_cannot_be_read_are_mentioned(tiny_inputs, tmp_path):
    shutil.copytree(tiny_inputs[1], tmp_path / "images")
    for path in sorted((tmp_path / "images").rglob("*.png"))[::2]:
        path.write_bytes(b"no picture")
    found = estimate(tiny_inputs[0], tmp_path / "images", tmp_path / "study", SMALL, workers=1)
    assert "images that were tried could not be read" in found.warnings[0]
    for path in (tmp_path / "images").rglob("*.png"):
        path.write_bytes(b"no picture")
    found = estimate(tiny_inputs[0], tmp_path / "images", tmp_path / "study", SMALL, workers=1)
    assert found.warnings[0].startswith("32 of 32 images")


def test_scarce_disk_and_memory(measured, tmp_path):
    full = dataclasses.replace(measured, disk_free_mb=measured.disk_peak_mb)
    with pytest.raises(StudyError, match=r"free, and the build needs about .* Free some space"):
        full.check_disk(tmp_path)
    tight = dataclasses.replace(
        measured, disk_free_mb=1.5 * measured.disk_peak_mb, memory_free_mb=measured.memory_mb
    )
    tight.check_disk(tmp_path)
    assert len(tight.warnings) == 2
    assert measured.warnings == []


def test_on_the_command_line(tiny_inputs, tmp_path, capsys):
    arguments = ["build", "--model", str(tiny_inputs[0]), "--images", str(tiny_inputs[1])]
    arguments += ["--out", str(tmp_path / "x"), "--n-atoms", "16", "--max-nnz", "4"]
    assert cli.main([*arguments, "--estimate", "--json", "--workers", "1"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert Estimate.from_dict(values).facts["n_images"] == 480
    assert cli.main([*arguments, "--dry-run", "--max-images", "300"]) == 0
    assert "images  300 of 480 images" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--json", "--model", "m", "--images", "i"], "--json goes with --estimate"),
        (["--estimate", "--model", "m"], "--images is missing"),
        (["--estimate"], "--model is missing"),
        (["--background", "--images", "i"], "--model is missing"),
        (["--background"], "holds no build to go on with"),
        (["--background", "--workers", "0"], "--workers is 0"),
        (["--background", "--workers", "2", "--cluster", "tcp://there:1"], "Give one of them"),
        (["--background", "--n-atoms", "32"], "Leave all settings away to go on"),
        (["--background", "--dictionary", "d.npz"], "Leave all settings away to go on"),
        (["--background", "--model", "nowhere", "--images", "i"], "There are no images at"),
    ],
)
def test_wrong_options_are_sentences(options, sentence, tmp_path, capsys):
    assert cli.main(["build", "--out", str(tmp_path / "x"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# ---- words


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (2.2, 6.4, "2 to 6 s"),
        (0.1, 0.4, "about 1 s"),
        (30, 80, "30 to 80 s"),
        (62, 130, "1 to 2 min"),
        (40, 300, "0.5 to 5 min"),
        (1500, 4000, "25 to 65 min"),
        (5000, 20_000, "1.5 to 6 h"),
        (40_000, 9e5, "11 to 250 h"),
    ],
)
def test_times_are_rounded_as_people_do(low, high, text):
    assert time_span(low, high) == text


def test_amounts():
    assert [size(x) for x in (0.2, 12.3, 999, 3500, 2e5)] == [
        "under 1 MB", "12 MB", "999 MB", "3.4 GB", "195 GB",
    ]  # fmt: skip
