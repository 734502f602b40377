"""Autoencoders with a varying number of active atoms, and when a training ends."""

from __future__ import annotations

import numpy as np
import pytest

from cgraph.dictionary import Dictionary
from cgraph.errors import ConfigError
from cgraph.preparation import Preparation
from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE

N_ATOMS, N_FEATURES = 48, 40
VARYING = [BatchTopKSAE, ReluSAE]
ARRAYS = ("components_", "encoder_weight_", "encoder_bias_", "selection_bias_")


def _planted(n_samples, seed=0):
    """Between one and seven of 48 atoms a sample, four on average, and a little noise."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((N_ATOMS, N_FEATURES))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    keys = rng.random((n_samples, N_ATOMS))
    ranks = keys.argsort(axis=1).argsort(axis=1)
    mask = ranks < rng.integers(1, 8, n_samples)[:, None]
    codes = np.where(mask, rng.uniform(0.5, 1.5, mask.shape), 0)
    X = codes @ atoms + 0.02 * rng.standard_normal((n_samples, N_FEATURES))
    return (X - X.mean(axis=0)).astype(np.float32), atoms


@pytest.fixture(scope="module")
def planted():
    return _planted(5000)


@pytest.fixture(scope="module", params=VARYING, ids=lambda kind: kind.__name__)
def fitted(request, planted):
    X, _ = planted
    sae = request.param(N_ATOMS, max_nnz=8, mean_nnz=4, max_steps=2500)
    return sae.fit(X[:4000], X_tune=X[4000:4500])


def _explained(sae, X):
    rest = X - sae.inverse_transform(sae.transform(X))
    return 1 - np.square(rest).sum() / np.square(X).sum()


def test_recovers_planted_atoms(fitted, planted):
    X, atoms = planted
    found = (fitted.components_ @ atoms.T).max(axis=0)
    assert (found > 0.9).mean() >= 0.9
    assert _explained(fitted, X[4500:]) > 0.8


def test_cap_and_mean_hold_on_held_out_samples(fitted, planted):
    codes = fitted.transform(planted[0][4500:])
    lengths = np.diff(codes.indptr)
    assert lengths.max() <= 8
    assert lengths.std() > 0.5
    assert lengths.mean() == pytest.approx(4, rel=0.1)
    assert (codes.data > 0).all()


def test_at_most_two_percent_are_dead(fitted, planted):
    used = np.bincount(fitted.transform(planted[0][:4000]).indices, minlength=N_ATOMS)
    assert (used == 0).mean() <= 0.02


def test_atoms_have_unit_norm(fitted):
    np.testing.assert_allclose(np.linalg.norm(fitted.components_, axis=1), 1, atol=1e-5)
    assert all(getattr(fitted, name).dtype == np.float32 for name in ARRAYS)


def test_recorded_figures_are_those_of_the_fitted_estimator(fitted, planted):
    expected = fitted.history_[-1]["explained_variance_tune"]
    assert _explained(fitted, planted[0][4000:4500]) == pytest.approx(expected, abs=1e-4)


def test_codes_of_a_batch_are_those_of_its_samples(fitted, planted):
    X = planted[0][4500:4530]
    whole = fitted.transform(X).toarray()
    alone = np.vstack([fitted.transform(row[None]).toarray() for row in X])
    np.testing.assert_array_equal(alone != 0, whole != 0)


@pytest.mark.parametrize("whiten", [0, 30])
def test_as_a_dictionary(planted, whiten):
    tokens = planted[0] + 3
    preparation = Preparation.fit(tokens, center=True, whiten=whiten)
    X = preparation.apply(tokens)
    sae = BatchTopKSAE(N_ATOMS, max_nnz=8, mean_nnz=4, max_steps=150).fit(X)
    parts = [getattr(sae, name) for name in ARRAYS]
    dictionary = Dictionary.from_autoencoder(preparation, *parts, 8, sae.threshold_)
    assert sae.threshold_ > 0
    stored = dictionary.to_tensors()
    assert stored["encoder.threshold"].shape == (1,)
    expected = sae.transform(X).toarray() > 0
    for each in (dictionary, Dictionary.from_tensors(stored)):
        labels = each.encode(tokens).dense_labels()
        assert (labels != expected).mean() < 1e-4  # rounding may move a value across the bar


def test_l1_takes_nothing_from_the_length_in_the_end(planted):
    """Of all factors on an atom's coefficients, one is nearly the best."""
    X = planted[0][:4000]
    sae = ReluSAE(N_ATOMS, max_nnz=8, mean_nnz=4, max_steps=1000).fit(X)
    decoded = sae.inverse_transform(sae.transform(X))
    assert float((X * decoded).sum() / (decoded**2).sum()) == pytest.approx(1, abs=0.02)


def test_mean_of_half_the_most_unless_told(planted):
    X = planted[0][:1500]
    sae = BatchTopKSAE(N_ATOMS, max_nnz=8, max_steps=100).fit(X)
    assert sae.transform(X).nnz / len(X) == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("kind", [TopKSAE, *VARYING])
def test_same_seed_same_bytes(kind, planted):
    X = planted[0][:1000]
    one, two, other = (
        kind(N_ATOMS, max_nnz=6, max_steps=220, random_state=seed).fit(X) for seed in (3, 3, 4)
    )
    for name in ARRAYS:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.threshold_ == two.threshold_
    assert one.components_.tobytes() != other.components_.tobytes()


@pytest.mark.parametrize("kind", VARYING)
@pytest.mark.parametrize("mean_nnz", [0, -1, 7, "few", float("nan")])
def test_impossible_means(kind, mean_nnz, planted):
    with pytest.raises(ConfigError, match=r"mean_nnz is .*at most max_nnz, which is 6. Lower"):
        kind(N_ATOMS, max_nnz=6, mean_nnz=mean_nnz).fit(planted[0])


class TestEarlyStop:
    def test_when_nothing_rises_any_more(self, planted):
        X = planted[0]
        sae = TopKSAE(N_ATOMS, max_nnz=4, tol=0.5, patience=200, max_steps=5000)
        sae.fit(X[:4000], X_tune=X[4000:])
        assert sae.n_steps_ == 600
        assert [record["step"] for record in sae.history_][-1] == 600
        assert sae.stopped_because_ == (
            "After 300 steps the explained variance of the tune samples had risen by less than "
            "0.5 over 200 steps; the learning rate then fell over as many more."
        )

    def test_without_tune_samples_by_the_batches(self, planted):
        sae = TopKSAE(N_ATOMS, max_nnz=4, tol=0.5, patience=200).fit(planted[0])
        assert sae.n_steps_ == 600
        assert "explained variance of the training batches" in sae.stopped_because_

    def test_the_cap_stays_the_cap(self, planted):
        sae = TopKSAE(N_ATOMS, max_nnz=4, tol=0.0, patience=10_000, max_steps=301)
        sae.fit(planted[0])
        assert sae.n_steps_ == 301
        assert sae.stopped_because_ == "All 301 steps were made."

    def test_costs_hardly_anything(self, planted):
        X = planted[0]
        stopped, whole = (
            TopKSAE(N_ATOMS, max_nnz=4, patience=patience).fit(X[:4000], X_tune=X[4000:4500])
            for patience in (500, None)
        )
        assert stopped.n_steps_ < whole.n_steps_ == 6000
        assert _explained(stopped, X[4500:]) > _explained(whole, X[4500:]) - 0.01

    def test_records_change_nothing(self, planted):
        X = planted[0]
        often, seldom = (
            BatchTopKSAE(N_ATOMS, max_nnz=6, max_steps=250, record_every=every).fit(X, X_tune=X)
            for every in (7, 1000)
        )
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(often, name), getattr(seldom, name))

    @pytest.mark.parametrize(
        ("name", "value"), [("patience", 0), ("tol", -1.0), ("max_bias", -0.1)]
    )
    def test_settings(self, name, value, planted):
        with pytest.raises(ConfigError, match=rf"{name} is {value}"):
            TopKSAE(2, max_nnz=1, **{name: value}).fit(planted[0])
