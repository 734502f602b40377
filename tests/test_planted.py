"""Planted graphs and codes: the answer that was put in is the one that is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.bagging import fit_predictors
from cgraph.concept import ConceptId
from cgraph.config import PredictorConfig
from cgraph.errors import ConfigError
from cgraph.metrics import auc
from cgraph.planted import (
    plant_codes,
    plant_dictionaries,
    plant_graph,
    plant_images,
    plant_tokens,
)
from cgraph.planted_config import PAPER_MEAN_PARENTS, PlantedConfig
from cgraph.planted_topics import NO_TOPIC
from cgraph.predictor import SparseInputs

TWIN = PlantedConfig(n_layers=4, n_atoms=240, d_model=64, max_nnz=6, n_images=3000)
"""The paper's proportions at a size that takes a second."""

sizes = st.builds(
    lambda n_layers, n_atoms, share, n_images, edges, seed: PlantedConfig(
        n_layers=n_layers,
        n_atoms=n_atoms,
        d_model=8,
        max_nnz=max(1, int(share * n_atoms)),
        n_images=n_images,
        n_edges=int((n_layers - 1) * n_atoms * (1 + edges * max(0, n_atoms / 2 - 1))),
        seed=seed,
        n_examples=2,
    ),
    st.integers(2, 4),
    st.integers(2, 40),
    st.floats(0, 0.5),
    st.integers(20, 60),
    st.floats(0, 1),
    st.integers(0, 2**63 - 1),
)


class TestGraph:
    @given(sizes)
    @settings(max_examples=40, deadline=None)
    def test_graph_holds_the_planted_edges(self, config):
        planted = plant_graph(config)
        graph = planted.concept_graph()
        assert graph.n_layers == config.n_layers
        assert graph.n_edges == config.total_edges == config.n_edges
        for layer, predictors in enumerate(planted.predictors, start=2):
            for child in range(config.n_atoms):
                entries = slice(*predictors.offsets[child : child + 2])
                given = dict(
                    zip(predictors.parents[entries], predictors.weights[entries], strict=True)
                )
                found = graph.parents(ConceptId(layer, child))
                assert len(found) >= 1
                assert dict(zip(found.indices, found.weights, strict=True)) == given

    def test_numbers_of_parents_have_the_two_peaks_of_the_paper(self):
        config = PlantedConfig(n_layers=4, n_atoms=3072, max_nnz=10)
        counts = np.concatenate([np.diff(p.offsets) for p in plant_graph(config).predictors])
        assert counts.mean() == pytest.approx(PAPER_MEAN_PARENTS, abs=0.01)
        smooth = np.convolve(np.bincount(counts, minlength=140), np.ones(7) / 7, "same")
        valley = 30 + smooth[30:60].argmin()
        assert smooth[:valley].argmax() == pytest.approx(24, abs=4)
        assert valley + smooth[valley:].argmax() == pytest.approx(66, abs=5)
        assert smooth[valley] < 0.5 * min(smooth[:valley].max(), smooth[valley:].max())
        assert (counts < 100).mean() > 0.99

    def test_weights_are_mostly_positive(self):
        for predictors in plant_graph(TWIN).predictors:
            assert 0.55 < (predictors.weights > 0).mean() < 0.95
            assert (predictors.weights != 0).all()


class TestCodes:
    @given(sizes)
    @settings(max_examples=40, deadline=None)
    def test_every_code_has_max_nnz_positive_entries(self, config):
        for codes in plant_codes(config, plant_graph(config)):
            assert (np.diff(codes.offsets) == config.max_nnz).all()
            assert (codes.coefficients > 0).all()
            assert np.isfinite(codes.coefficients).all()
            rows = codes.indices.reshape(config.n_images, config.max_nnz)
            assert (np.diff(rows, axis=1) > 0).all()

    @pytest.mark.parametrize(
        "config",
        [TWIN, PlantedConfig(n_layers=3, n_atoms=24, d_model=8, max_nnz=3, n_images=2000)],
        ids=["twin", "few atoms"],
    )
    def test_planted_predictors_predict_the_labels(self, config):
        _check_predictable(config)

    @pytest.mark.parametrize("n_atoms", [96, 960])
    def test_natural_probabilities_are_right(self, n_atoms):
        config = PlantedConfig(n_layers=2, n_atoms=n_atoms, d_model=8, max_nnz=6, n_images=4000)
        planted = plant_graph(config)
        left, right = plant_codes(config, planted)
        inputs = SparseInputs(left, binary=True)
        p = planted.predictors[0].probabilities(inputs, "calibrated")
        labels = right.dense_labels()
        for low, high in ((0.01, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.01)):
            inside = (p >= low) & (p < high)
            assert labels[inside].mean() == pytest.approx(p[inside].mean(), abs=0.12)

    def test_labels_without_their_graph_are_not_predicted(self):
        planted = plant_graph(TWIN)
        codes = plant_codes(TWIN, planted)
        other = codes[0].take(np.random.default_rng(0).permutation(TWIN.n_images))
        scores = planted.predictors[0].decision(SparseInputs(other, binary=True))
        assert np.nanmean(auc(scores, codes[1])) == pytest.approx(0.5, abs=0.02)

    def test_prevalences_are_skewed_and_near_the_planned_ones(self):
        planted = plant_graph(TWIN)
        for codes, planned in zip(plant_codes(TWIN, planted), planted.prevalence, strict=True):
            shares = codes.counts() / TWIN.n_images
            low, high = np.quantile(shares, [0.1, 0.9])
            assert high > 3 * low
            assert np.corrcoef(np.log(shares + 1e-3), np.log(planned))[0, 1] > 0.6

    def test_concepts_are_active_where_their_topic_is_shown(self):
        planted, shown = plant_graph(TWIN), plant_images(TWIN)
        for layer, codes in enumerate(plant_codes(TWIN, planted)):
            topics = planted.topic_of[layer][codes.indices].reshape(TWIN.n_images, -1)
            on = (topics[:, :, None] == shown[:, None, :]).any(axis=2)
            assert on.mean() > 0.6

    def test_a_fit_finds_the_strong_parents(self):
        config = PlantedConfig(
            n_layers=2, n_atoms=40, d_model=8, max_nnz=4, n_images=4000, n_edges=400
        )
        planted = plant_graph(config)
        codes = plant_codes(config, planted)
        inputs = SparseInputs(codes[0], binary=True)
        fitted = fit_predictors(
            inputs, codes[1], np.arange(40), PredictorConfig(n_bags=5), entropy=(0, 2)
        )
        true = planted.predictors[0]
        found = total = 0
        for child in np.flatnonzero(fitted.fitted):
            entries = slice(*true.offsets[child : child + 2])
            strong = set(true.parents[entries][true.weights[entries] > 3].tolist())
            kept = slice(*fitted.offsets[child : child + 2])
            positive = fitted.parents[kept][fitted.weights[kept] > 0]
            found += len(strong & set(positive.tolist()))
            total += len(strong)
        assert total > 60
        assert found > 0.9 * total


def _check_predictable(config):
    planted = plant_graph(config)
    codes = plant_codes(config, planted)
    for layer, predictors in enumerate(planted.predictors, start=2):
        scores = predictors.decision(SparseInputs(codes[layer - 2], binary=True))
        frequent = codes[layer - 1].counts() >= 10
        areas = auc(scores, codes[layer - 1])[frequent]
        assert frequent.mean() > 0.5
        assert np.mean(areas > 0.8) > 0.9


@pytest.mark.slow
def test_the_papers_size():
    config = PlantedConfig()
    assert config.total_edges == 1_500_000
    _check_predictable(config)


class TestImages:
    @given(sizes)
    @settings(max_examples=40, deadline=None)
    def test_topics_exist_and_lie_in_different_places(self, config):
        shown = plant_images(config)
        assert shown.shape[0] == config.n_images
        assert ((shown >= NO_TOPIC) & (shown < config.n_topics)).all()
        for row in shown:
            row = row[row != NO_TOPIC]
            places = row % min(4, config.n_topics)
            assert 1 <= len(row) == len(set(places.tolist()))


class TestDictionaries:
    def test_atoms_have_unit_norm_and_find_planted_codes_again(self):
        config = PlantedConfig(n_layers=2, n_atoms=256, d_model=512, max_nnz=5, n_images=200)
        codes = plant_codes(config, plant_graph(config))
        for layer, dictionary in enumerate(plant_dictionaries(config), start=1):
            np.testing.assert_allclose(np.linalg.norm(dictionary.atoms, axis=1), 1, rtol=1e-5)
            own = codes[layer - 1]
            tokens = plant_tokens(config, layer, dictionary, own)
            found = dictionary.encode(tokens)
            assert (np.diff(found.offsets) <= config.max_nnz).all()
            both = (found.dense_labels() & own.dense_labels()).sum()
            assert both > 0.9 * own.nnz

    def test_noise_has_the_length_that_was_asked_for(self):
        config = PlantedConfig(n_layers=2, n_atoms=64, d_model=128, max_nnz=4, noise=0.5)
        dictionary = plant_dictionaries(config)[0]
        codes = plant_codes(config, plant_graph(config))[0]
        decoded = dictionary.decode(codes)
        rest = plant_tokens(config, 1, dictionary, codes) - decoded
        share = np.sqrt((rest**2).sum() / ((decoded - dictionary.mean) ** 2).sum())
        assert share == pytest.approx(0.5, rel=0.02)


def test_the_same_sizes_give_the_same_numbers_and_another_seed_others():
    config = PlantedConfig(n_layers=3, n_atoms=60, d_model=8, max_nnz=4, n_images=300)
    first, again = (plant_codes(config, plant_graph(config)) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.indices, two.indices)
        np.testing.assert_array_equal(one.coefficients, two.coefficients)
    other = PlantedConfig(n_layers=3, n_atoms=60, d_model=8, max_nnz=4, n_images=300, seed=1)
    changed = plant_codes(other, plant_graph(other))
    assert not np.array_equal(first[2].indices, changed[2].indices)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_layers": 1}, "n_layers is 1: it must be a whole number from 2 to 999."),
        ({"n_images": 19}, "n_images is 19: it must be a whole number from 20 to"),
        ({"seed": -1}, "seed is -1"),
        ({"d_model": True}, "d_model is True"),
        ({"n_atoms": 30, "max_nnz": 16}, "Lower max_nnz to at most 15 or raise n_atoms."),
        ({"n_images": 50}, "n_examples is 6 and n_images 50"),
        ({"noise": math.nan}, "noise is nan: it must be a number from 0 to 10."),
        ({"noise": "much"}, "noise is 'much'"),
        ({"n_edges": 33_791}, "n_edges is 33791: it must be a whole number from 33792 to"),
        ({"n_edges": 33_792 * 1536 + 1}, "to 51904512."),
        ({"n_edges": 1.5e6}, "n_edges is 1500000.0"),
    ],
)
def test_impossible_sizes_are_refused(settings, sentence):
    with pytest.raises(ConfigError) as error:
        PlantedConfig(**settings)
    assert sentence in str(error.value)
