"""Tests of K-SVD that starts from given atoms, goes on with a fit, or learns from chunks."""

from __future__ import annotations

import numpy as np
import pytest

from cgraph import ksvd_online, ksvd_steps
from cgraph.errors import ConfigError, DataError
from cgraph.ksvd import KSVD

OPTIONS = {"max_nnz": 3, "tol": 0}


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _planted(n_samples, seed=0, *, nonnegative=False):
    """Three nonzeros a sample over 50 random atoms in 20 dimensions."""
    atoms = _unit(np.random.default_rng(99).standard_normal((50, 20)))
    rng = np.random.default_rng(seed)
    chosen = np.argsort(rng.random((n_samples, 50)), axis=1)[:, :3]
    weights = rng.uniform(0.5, 1.5, chosen.shape)
    if not nonnegative:
        weights *= rng.choice([-1, 1], chosen.shape)
    codes = np.zeros((n_samples, 50))
    np.put_along_axis(codes, chosen, weights, axis=1)
    return (codes @ atoms).astype(np.float32), atoms


def _explained(model, X):
    unexplained = X - model.inverse_transform(model.transform(X))
    return 1 - (unexplained**2).sum() / (X**2).sum()


def _share_recovered(model, atoms):
    return (np.abs(model.components_ @ atoms.T).max(axis=0) > 0.95).mean()


def test_fit_from_the_planted_atoms_stays_there():
    X, atoms = _planted(600)
    model = KSVD(50, max_nnz=3, init=-7 * atoms).fit(X)
    np.testing.assert_allclose(np.abs((model.components_ * atoms).sum(axis=1)), 1, atol=0.02)
    assert model.history_[0]["explained_variance"] > 0.95
    # Given atoms need no samples to start from.
    few = KSVD(50, max_nnz=3, init=atoms).fit(X[:20])
    assert few.components_.shape == (50, 20)


def test_warm_start_goes_on_where_the_fit_before_ended():
    X, _ = _planted(600)
    model = KSVD(50, max_iter=3, warm_start=True, extrapolation=0, **OPTIONS).fit(X)
    first = model.components_.copy()
    record = model.history_[-1]
    model.fit(X)
    assert model.history_[0]["explained_variance"] > record["explained_variance"]
    assert _explained(KSVD(50, init=first, max_iter=3, extrapolation=0, **OPTIONS).fit(X), X) == (
        _explained(model, X)
    )
    cold = KSVD(50, max_iter=3, **OPTIONS).fit(X)
    bytes_of_first = cold.components_.tobytes()
    assert cold.fit(X).components_.tobytes() == bytes_of_first


@pytest.mark.parametrize("nonnegative", [False, True])
def test_chunks_recover_planted_atoms_though_one_chunk_does_not(nonnegative):
    X, atoms = _planted(3000, nonnegative=nonnegative)
    held_out, _ = _planted(500, seed=1, nonnegative=nonnegative)
    model = KSVD(50, nonnegative=nonnegative, **OPTIONS)
    for _ in range(12):
        for chunk in np.split(X, 30):
            model.partial_fit(chunk)
    alone = KSVD(50, max_iter=40, nonnegative=nonnegative, **OPTIONS).fit(X[:100])
    assert _explained(model, held_out) > 0.9
    assert _explained(alone, held_out) < 0.85
    assert _share_recovered(model, atoms) > 0.7
    assert _share_recovered(alone, atoms) < 0.3
    assert model.n_iter_ == len(model.history_) == 360
    assert model.stopped_because_ == "partial_fit was given 360 chunks."
    assert np.abs(np.linalg.norm(model.components_, axis=1) - 1).max() < 1e-5


def test_what_is_remembered_is_the_sum_of_the_power_step():
    X, atoms = _planted(200)
    fit = ksvd_steps.start(X, 50, 3, 0, atoms[:, :].astype(np.float32))
    rng = np.random.default_rng(0)
    fit.indices[:] = np.argsort(rng.random((200, 50)), axis=1)[:, :3]
    fit.coefficients[:] = rng.standard_normal((200, 3))
    fit.residual[:] = ksvd_steps.left_unexplained(fit, fit.indices, fit.coefficients)
    past = ksvd_online.no_past(fit.atoms)
    ksvd_online.remember(fit, past)
    codes = np.zeros((200, 50))
    np.put_along_axis(codes, fit.indices.astype(int), fit.coefficients, axis=1)
    for j in range(50):
        others = codes.copy()
        others[:, j] = 0
        np.testing.assert_allclose(past.sums[j], codes[:, j] @ (X - others @ atoms), atol=1e-4)
    np.testing.assert_array_equal(past.uses, (codes != 0).sum(axis=0))
    ksvd_online.fade(past, 300, 100)
    np.testing.assert_allclose(past.uses, (codes != 0).sum(axis=0) / 4)


def test_the_past_of_an_atom_decides_where_the_chunk_says_little():
    e = np.eye(3, dtype=np.float32)
    fit = ksvd_steps.start(3 * e[[1]], 1, 1, 0, e[[0]])
    fit.indices[:], fit.coefficients[:] = 0, 1
    fit.residual[:] = fit.tokens - e[[0]]
    # Eᵀx of the chunk is (0, 3, 0).
    ksvd_steps.update_atoms(fit, False, False, 1, 4 * e[[0]])
    np.testing.assert_allclose(fit.atoms, [[0.8, 0.6, 0]], atol=1e-6)
    np.testing.assert_allclose(fit.coefficients, [[1.8]], atol=1e-6)


def test_an_atom_that_no_chunk_uses_is_replaced():
    X, atoms = _planted(400)
    lost = np.zeros((1, 21))
    lost[0, 20] = 1
    wide = np.hstack([X, np.zeros((400, 1))])
    init = np.vstack([np.hstack([atoms[:49], np.zeros((49, 1))]), lost])
    model = KSVD(50, init=init, **OPTIONS)
    for chunk in np.split(wide, 8):
        model.partial_fit(chunk)
    assert sum(record["replaced"] for record in model.history_) >= 1
    assert np.abs(model.components_[:, 20]).max() < 1e-3


def test_chunks_give_the_same_bytes_again_and_go_on_after_a_fit():
    X, _ = _planted(600)
    one, two = (KSVD(50, **OPTIONS) for _ in range(2))
    for model in (one, two):
        for chunk in np.split(X, 4):
            model.partial_fit(chunk)
    assert one.components_.tobytes() == two.components_.tobytes()
    assert one.history_ == two.history_
    fitted = KSVD(50, max_iter=5, **OPTIONS).fit(X)
    before = _explained(fitted, X)
    fitted.partial_fit(X)
    assert _explained(fitted, X) > before - 0.02
    assert fitted.n_iter_ == 1
    # A later fit forgets the chunks.
    assert one.fit(X).components_.tobytes() == KSVD(50, **OPTIONS).fit(X).components_.tobytes()


def test_a_device_gives_what_the_compiled_pursuit_gives():
    pytest.importorskip("torch")
    X, _ = _planted(300)
    here, there = (KSVD(20, max_iter=2, device=name, **OPTIONS).fit(X) for name in (None, "cpu"))
    np.testing.assert_allclose(here.components_, there.components_, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"init": np.ones((3, 20))}, DataError, r"init has the shape \(3, 20\); 50 atoms of 20"),
        ({"init": np.zeros((50, 20))}, DataError, "init is zero in row 0; an atom needs a"),
        ({"init": np.full((50, 20), np.nan)}, DataError, "init has values that are not finite"),
        ({"device": "abacus"}, ConfigError, "The device 'abacus' cannot be used"),
    ],
)
def test_wrong_starts_are_refused_in_a_sentence(settings, error, message):
    X, _ = _planted(100)
    with pytest.raises(error, match=message):
        KSVD(50, **OPTIONS, **settings).partial_fit(X)


def test_what_does_not_fit_together_is_refused_in_a_sentence():
    X, atoms = _planted(100)
    model = KSVD(50, warm_start=True, max_iter=1, **OPTIONS).fit(X)
    with pytest.raises(
        ConfigError, match=r"the fit before have the shape \(50, 20\), but 40 atoms"
    ):
        model.set_params(n_components=40).fit(X)
    with pytest.raises(DataError, match="All 100 samples of X are zero, so there is nothing"):
        KSVD(50, init=atoms, max_nnz=3).fit(0 * X)
    with pytest.raises(DataError, match="X has 20 samples for 50 atoms"):
        KSVD(50, max_nnz=3).partial_fit(X[:20])
    with pytest.raises(DataError, match="X has 10 features, but KSVD is expecting 20"):
        KSVD(50, max_nnz=3).partial_fit(X).partial_fit(X[:, :10])
