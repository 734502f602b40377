"""A build with more images than its settings let it use at a time."""

import dataclasses

import numpy as np
import pytest
import tiny

from cgraph.pipeline import build_study
from cgraph.store import read_table


def limited(max_tokens, max_train, max_measured):
    return dataclasses.replace(
        tiny.CONFIG,
        dictionary=dataclasses.replace(tiny.CONFIG.dictionary, max_tokens=max_tokens),
        predictor=dataclasses.replace(
            tiny.CONFIG.predictor, max_train=max_train, max_measured=max_measured
        ),
    )


@pytest.fixture(scope="module")
def sampled(tiny_inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "discs"
    return build_study(*tiny_inputs, folder, limited(160, 250, 50), workers=2)


def test_it_says_how_many_images_stood_for_each_part(sampled):
    assert sampled.manifest.graph["samples"] == {
        "dictionary": {"train": 160, "tune": 40},
        "predictors": {"train": 250, "tune": 50, "held-out": 50},
    }
    assert sampled.manifest.config.dictionary.max_tokens == 160
    sampled.verify()


def test_what_is_counted_is_counted_on_all_images(sampled):
    layers = sampled.evaluation("layers").to_pylist()
    concepts = read_table(sampled.file("graph/concepts.arrow")).to_pylist()
    for layer in range(1, tiny.N_LAYERS + 1):
        codes = sampled.codes(layer)
        assert codes.n_samples == 480
        own = [row for row in concepts if row["layer"] == layer]
        for part, column in (("train", "n_train"), ("tune", "n_tune"), ("held-out", "n_held_out")):
            counts = codes.take(sampled.rows(part)).counts()
            assert [row[column] for row in own] == counts.tolist()
        held_out = codes.take(sampled.rows("held-out"))
        assert layers[layer - 1]["nonzeros_mean"] == np.diff(held_out.offsets).mean()


def test_predictors_are_fitted_on_no_more_than_the_sample(sampled):
    concepts = read_table(sampled.file("graph/concepts.arrow")).to_pylist()
    fitted = [row for row in concepts if row["fitted"]]
    assert fitted
    assert all(row["bag_positives"] <= min(250, row["n_train"]) for row in fitted)
    common = [row for row in fitted if row["n_train"] > 100]
    assert common and all(row["bag_positives"] < row["n_train"] for row in common)


def test_the_number_of_workers_does_not_change_the_sample(sampled, tiny_inputs, tmp_path):
    other = tmp_path / sampled.path.name
    build_study(*tiny_inputs, other, limited(160, 250, 50), workers=1)
    assert (other / "study.json").read_bytes() == (sampled.path / "study.json").read_bytes()


def test_limits_that_bind_nothing_change_nothing_but_the_settings(
    tiny_study, tiny_inputs, tmp_path
):
    other = build_study(
        *tiny_inputs, tmp_path / tiny_study.path.name, limited(2000, 1000, 500), workers=1
    )
    assert other.manifest.files == tiny_study.manifest.files
    assert "samples" not in other.manifest.graph
