"""How many labels flip when a picture is changed: the changes, the attack, the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cgraph import cli, flips
from cgraph.config import HELD_OUT
from cgraph.errors import ModelError
from cgraph.flip_attack import FlipCount, attack, pixel_gradient, pre_activation_directions
from cgraph.flips import attacked_pictures, changed_pictures, rms
from cgraph.measurements import measure_study
from cgraph.perturbations import SIZES, Perturbation, as_levels, plain_perturbations, random_signs
from cgraph.picture_source import picture
from cgraph.study import Study
from cgraph.truth_figures import truth_figures
from cgraph.truth_tables import (
    ATTACK,
    BLUR,
    FLIP_SCHEMA,
    JPEG,
    NOISE,
    PERTURBATIONS,
    REFITTED,
    SIGNS,
    TABLES,
)
from cgraph.vit import VisionModel
from cgraph.workbench import Source


@pytest.fixture(scope="module")
def source(tiny_study: Study) -> Source:
    return Source(tiny_study.path)


@pytest.fixture(scope="module")
def rows(tiny_study: Study) -> tuple[int, ...]:
    return tuple(map(int, tiny_study.rows(HELD_OUT)[:8]))


@pytest.fixture(scope="module")
def scales(source: Source, rows: tuple[int, ...]) -> list[np.ndarray]:
    found = changed_pictures(source, rows, 0, [Perturbation(BLUR, 1)])
    layers = range(1, source.study.n_layers + 1)
    means = [found[f"sum-{layer}"] / len(rows) for layer in layers]
    squares = [found[f"square-{layer}"] / len(rows) for layer in layers]
    return [np.sqrt(s - m**2) for m, s in zip(means, squares, strict=True)]


# ---- changes of a picture


def test_changes_are_as_large_as_they_say() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = Perturbation(NOISE, 5)(grey, rng).astype(float) - 128
    assert noisy.std() == pytest.approx(5, rel=0.03) and abs(noisy.mean()) < 0.2
    signs = Perturbation(SIGNS, 4)(grey, rng).astype(float) - 128
    assert set(np.unique(signs)) == {-4, 4} and abs(signs.mean()) < 0.2
    assert (Perturbation(BLUR, 2)(grey, rng) == grey).all(), "nothing to blur"
    edge = grey.copy()
    edge[:, 32:] = 255
    near, far = (Perturbation(BLUR, radius)(edge, rng)[32, :, 0] for radius in (1, 2))
    assert near[31] > 128 and far[28] > near[28] >= 128 and near[0] == 128
    busy = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    lost = [rms(busy[None], Perturbation(JPEG, q)(busy, rng)[None])[0] for q in (90, 75, 50, 25)]
    assert lost == sorted(lost) and lost[0] > 1
    stored = Perturbation(JPEG, 75)(busy, rng)
    assert stored.dtype == np.uint8 and stored.shape == busy.shape


def test_levels_stay_within_those_of_a_picture() -> None:
    assert as_levels(np.array([-3.2, 0.5, 1.5, 254.6, 999])).tolist() == [0, 0, 2, 255, 255]
    bright = np.full((4, 4, 3), 254, np.uint8)
    assert Perturbation(SIGNS, 4)(bright, np.random.default_rng(0)).max() == 255


def test_every_kind_but_the_attack_needs_no_model() -> None:
    kinds = {change.kind for change in plain_perturbations()}
    assert kinds == set(PERTURBATIONS) - {ATTACK} and set(SIZES) == set(PERTURBATIONS)
    assert all(size > 0 for sizes in SIZES.values() for size in sizes)


def test_what_is_shown_is_what_the_network_sees(source: Source, rows) -> None:
    levels = source.shown(rows)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(source.model.levels.of_shown(levels), source.pixels(rows))
    np.testing.assert_array_equal(
        levels[0], np.asarray(picture(source.study, rows[0]).resize(levels.shape[2:0:-1], 2))
    )


def test_models_of_patches_are_refused(tmp_path: Path) -> None:
    from vision_models import build, save

    model = VisionModel.load(save(build("siglip2"), tmp_path, "siglip2"))
    if model.pixel_shape[0] == 3:
        pytest.fail("the model should take patches")
    with pytest.raises(ModelError, match="no picture of one size"):
        model.levels.shown([Image.new("RGB", (8, 8))])


# ---- counting


def test_nothing_flips_where_nothing_changes(source: Source, rows) -> None:
    none = [Perturbation(kind, 0) for kind in (NOISE, BLUR, SIGNS)]
    found = changed_pictures(source, rows, 0, none)
    assert not found["rms"].any()
    for layer in range(1, source.study.n_layers + 1):
        assert not found[f"on-{layer}"].any() and not found[f"off-{layer}"].any()
        stored = source.study.codes(layer).dense_labels(np.array(rows)).sum(axis=1)
        np.testing.assert_array_equal(found[f"active-{layer}"], stored)


def test_flips_are_those_of_the_network_run_by_hand(source: Source, rows) -> None:
    found = changed_pictures(source, rows, 3, [Perturbation(JPEG, 25), Perturbation(NOISE, 10)])
    levels = source.shown(rows)
    for place, row in enumerate(rows):
        rng = np.random.default_rng((3, row, 1))
        noisy = as_levels(levels[place] + 10 * rng.standard_normal(levels[place].shape))
        both = source.model.class_tokens(
            source.model.levels.of_shown(np.stack([levels[place], noisy]))
        )
        assert found["rms"][place, 1] == pytest.approx(rms(levels[[place]], noisy[None])[0])
        for layer in (1, source.study.n_layers):
            dictionary = source.study.dictionary(layer)
            before, after = dictionary.encode(both[layer - 1]).dense_labels()
            assert found[f"on-{layer}"][place, 1] == (after & ~before).sum()
            assert found[f"off-{layer}"][place, 1] == (before & ~after).sum()


def test_pictures_do_not_depend_on_each_other(source: Source, rows) -> None:
    changes = [Perturbation(NOISE, 5)]
    whole = changed_pictures(source, rows, 0, changes)
    parts = [changed_pictures(source, part, 0, changes) for part in (rows[:3], rows[3:])]
    np.testing.assert_array_equal(whole["rms"], np.concatenate([p["rms"] for p in parts]))
    other = changed_pictures(source, rows, 1, changes)
    assert (other["rms"] != whole["rms"]).any(), "another seed"


# ---- the attack


def test_the_gradient_is_that_of_finite_differences(source: Source, rows) -> None:
    model, layer = source.model, 3
    pixels = source.pixels(rows[:2])
    direction = np.random.default_rng(0).standard_normal((2, model.d_model)).astype(np.float32)
    gradient = pixel_gradient(model, pixels, layer, lambda tokens: direction)
    assert gradient.shape == pixels.shape

    def value(values):
        tokens = model.class_tokens(values)[layer - 1].astype(np.float64)
        return (tokens * direction).sum(axis=1)

    move = np.random.default_rng(1).standard_normal(pixels.shape).astype(np.float32)
    step = 1e-3
    slope = (value(pixels + step * move) - value(pixels - step * move)) / (2 * step)
    expected = (gradient.astype(float) * move).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(slope, expected, rtol=0.02, atol=0.02)
    # Nothing of it stays with the model, and tokens are read as ever.
    assert not any(p.requires_grad for p in model.network.parameters())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    np.testing.assert_allclose(
        model.class_tokens(pixels)[layer - 1],
        pixel_gradient_tokens(model, pixels, layer),
        atol=1e-5,
    )


def pixel_gradient_tokens(model, pixels, layer):
    seen = []

    def note(tokens):
        seen.append(tokens)
        return np.zeros_like(tokens)

    assert not pixel_gradient(model, pixels, layer, note).any(), "no direction, no gradient"
    return seen[0]


def test_the_smooth_count_has_the_slope_that_it_says(source: Source, rows, scales) -> None:
    layer = 2
    dictionary, scale = source.study.dictionary(layer), scales[layer - 1]
    tokens = source.model.class_tokens(source.pixels(rows))[layer - 1]
    count = FlipCount(dictionary, tokens, scale)

    def smooth(values):
        away = (dictionary.pre_activations(values) / scale - count._cut[:, None]) / 0.5
        turned = 1 / (1 + np.exp(-away.astype(np.float64)))
        return np.where(count.labels, 1 - turned, turned).sum(axis=1) * 0.5

    move = np.random.default_rng(0).standard_normal(tokens.shape).astype(np.float32)
    step = 1e-2 * tokens.std()
    slope = (smooth(tokens + step * move) - smooth(tokens - step * move)) / (2 * step)
    expected = (count.direction(tokens) * move).sum(axis=1)
    np.testing.assert_allclose(slope, expected, rtol=0.02, atol=0.02 * abs(expected).max())
    assert not count.flips(tokens).any()


def test_directions_are_the_rows_of_the_encoder(source: Source, rows) -> None:
    dictionary = source.study.dictionary(4)
    tokens = source.model.class_tokens(source.pixels(rows))[3]
    found = pre_activation_directions(dictionary, tokens)
    moved = tokens + np.random.default_rng(0).standard_normal(tokens.shape).astype(np.float32)
    change = dictionary.pre_activations(moved) - dictionary.pre_activations(tokens)
    np.testing.assert_allclose((moved - tokens) @ found.T, change, atol=1e-3)


@pytest.mark.parametrize("layer", [1, 4])
def test_an_attack_is_never_worse_than_the_signs_it_starts_from(
    source: Source, rows, scales, layer: int
) -> None:
    levels, size = source.shown(rows), 2
    signs = np.stack(
        [random_signs(levels.shape[1:], 1, np.random.default_rng((0, row))) for row in rows]
    )
    dictionary, scale = source.study.dictionary(layer), scales[layer - 1]
    best, flipped, labels = attack(source.model, dictionary, layer, levels, signs, size, scale)
    moved = best.astype(int) - levels
    assert abs(moved).max() == size and best.dtype == np.uint8

    def labels_of(pictures):
        tokens = source.model.class_tokens(source.model.levels.of_shown(pictures))[layer - 1]
        return dictionary.encode(tokens).dense_labels()

    np.testing.assert_array_equal(labels, labels_of(levels))
    np.testing.assert_array_equal(labels ^ flipped, labels_of(best))
    at_random = (labels_of(as_levels(levels + size * signs)) != labels).sum(axis=1)
    assert (flipped.sum(axis=1) >= at_random).all()
    assert flipped.sum() > at_random.sum(), "the gradient finds more than chance"
    start, *_ = attack(source.model, dictionary, layer, levels, signs, size, scale, steps=0)
    kept = (start != levels).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(kept, at_random > 0)


def test_an_attack_of_no_size_flips_nothing(source: Source, rows, scales) -> None:
    levels = source.shown(rows)
    dictionary = source.study.dictionary(2)
    best, flipped, _ = attack(
        source.model, dictionary, 2, levels, np.ones(levels.shape), 0, scales[1]
    )
    assert not flipped.any() and (best == levels).all()


def test_larger_attacks_find_at_least_about_as_much(source: Source, rows, scales) -> None:
    found = attacked_pictures(source, rows, 0, 3, scales[2])
    flipped = (found["on"] + found["off"]).mean(axis=0)
    assert flipped[0] < flipped[-1]
    assert (found["rms"] <= np.array(SIZES[ATTACK]) + 1e-9).all()


# ---- the measurement


@pytest.fixture(scope="module")
def measured(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("flips") / "discs"
    shutil.copytree(tiny_study.path, folder)
    return measure_study(folder, ["flips"], workers=1).study


def test_the_table_of_a_study(measured: Study) -> None:
    table = measured.measured("flips")
    assert table.schema.equals(FLIP_SCHEMA)
    found = table.to_pylist()
    per_layer = sum(map(len, SIZES.values()))
    assert [row["layer"] for row in found] == np.repeat([1, 2, 3, 4], per_layer).tolist()
    for row in found:
        kind, size = row["perturbation"], row["size"]
        assert size in SIZES[kind]
        wanted = flips.MOST_ATTACKED if kind == ATTACK else flips.MOST_IMAGES
        assert row["n_images"] == min(wanted, len(measured.rows(HELD_OUT)))
        assert 0 <= row["median"] <= row["high"] <= row["most"]
        assert row["mean"] == pytest.approx(row["turned_on"] + row["turned_off"])
        if kind != ATTACK:
            codes = measured.codes(row["layer"]).take(measured.rows(HELD_OUT))
            assert row["n_active"] == pytest.approx(codes.nnz / codes.n_samples, abs=0.02)
    of = {(r["layer"], r["perturbation"], r["size"]): r for r in found}
    for layer in (1, 4):
        assert of[layer, JPEG, 90]["rms"] < of[layer, JPEG, 25]["rms"]
        assert of[layer, NOISE, 2]["mean"] < of[layer, NOISE, 10]["mean"]
        assert of[layer, SIGNS, 4]["mean"] < of[layer, ATTACK, 4]["mean"]
        assert of[layer, SIGNS, 4]["rms"] == pytest.approx(4, abs=0.1)
    figures = measured.truth
    assert figures == {
        "flips_under_jpeg": of[4, JPEG, 75]["median"],
        "flips_under_noise": of[4, NOISE, 5]["median"],
        "flips_under_attack": of[4, ATTACK, 1]["median"],
    }


def test_neither_workers_nor_another_time_change_it(measured: Study, tiny_study, tmp_path) -> None:
    folder = shutil.copytree(tiny_study.path, tmp_path / "discs")
    again = measure_study(folder, ["flips"], workers=2).study
    path = Path("truth/flips.arrow")
    assert (again.path / path).read_bytes() == (measured.path / path).read_bytes()


def test_studies_measured_without_it_stay_as_they_are(
    tiny_study: Study, tmp_path: Path, capsys
) -> None:
    from truth_example import measured_copy

    others = [name for name in TABLES if name != "flips"]
    study = measured_copy(tiny_study, tmp_path / "before", others)
    assert study.measured("flips") is None and not study.is_measured("flips")
    assert all(study.is_measured(name) for name in others)
    before = {name: r for name, r in study.manifest.files.items() if r.stage == "truth"}
    assert not any(name.startswith("flips") for name in study.truth)
    done = measure_study(study.path, ["flips"], workers=1)
    after = done.study.manifest.files
    assert all(after[name] == record for name, record in before.items())
    assert cli.main(["info", str(study.path)]) == 0
    out = capsys.readouterr().out
    assert "labels of the last layer that flip under JPEG of quality 75" in out
    assert cli.main(["info", str(study.path), "--json"]) == 0
    assert "flips_under_attack" in json.loads(capsys.readouterr().out)["truth"]


def test_a_table_without_a_size_gives_no_figure() -> None:
    assert truth_figures({"flips": FLIP_SCHEMA.empty_table()}.get, REFITTED) == {}
