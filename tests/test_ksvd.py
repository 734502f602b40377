"""Tests of K-SVD: planted dictionaries, a slow clear version, an error that never rises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import orthogonal_mp

from cgraph import ksvd_steps
from cgraph.errors import ConfigError, DataError
from cgraph.ksvd import KSVD
from cgraph.pursuit import omp


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _planted(n_samples=1500, *, nonnegative=False, decibels=None, seed=0):
    """Three nonzeros a sample over 50 random atoms in 20 dimensions.

    The synthetic experiment of Aharon, Elad and Bruckstein (2006, section V); `decibels` is its
    signal-to-noise ratio.
    """
    rng = np.random.default_rng(seed)
    atoms = _unit(rng.standard_normal((50, 20)))
    chosen = np.argsort(rng.random((n_samples, 50)), axis=1)[:, :3]
    weights = rng.uniform(0.5, 1.5, chosen.shape)
    if not nonnegative:
        weights *= rng.choice([-1, 1], chosen.shape)
    codes = np.zeros((n_samples, 50))
    np.put_along_axis(codes, chosen, weights, axis=1)
    X = codes @ atoms
    if decibels is not None:
        noise = rng.standard_normal(X.shape)
        X += noise * np.linalg.norm(X) / np.linalg.norm(noise) * 10 ** (-decibels / 20)
    return X.astype(np.float32), atoms


def _share_recovered(learned, planted, nonnegative):
    cosines = learned @ planted.T
    return float(((cosines if nonnegative else np.abs(cosines)).max(axis=0) > 0.95).mean())


def _explained(model, X):
    unexplained = X - model.inverse_transform(model.transform(X))
    return 1 - (unexplained**2).sum() / (X**2).sum()


def _slow_ksvd(X, atoms, max_nnz, n_iterations, exact, n_sweeps=1, power_steps=1, beyond=0.0):
    """K-SVD on dense double-precision matrices, without any replacement of atoms."""
    X, atoms = X.astype(float), atoms.astype(float)
    previous = None
    for _ in range(n_iterations):
        start = atoms.copy()
        if previous is not None:
            atoms = _unit(atoms + beyond * (atoms - previous))
        previous = start
        codes = orthogonal_mp(atoms.T, X.T, n_nonzero_coefs=max_nnz).T
        codes[np.abs(codes) < 1e-6] = 0  # a starting atom represents its own token alone
        for j in np.tile(np.arange(len(atoms)), n_sweeps):
            users = codes[:, j] != 0
            if not users.any():
                continue
            others = codes[users].copy()
            others[:, j] = 0
            E = X[users] - others @ atoms
            if exact:
                atoms[j] = np.linalg.svd(E)[2][0]
            else:
                x = codes[users, j]
                for _ in range(power_steps):
                    atoms[j] = _unit((x @ E)[None])[0]
                    x = E @ atoms[j]
            codes[users, j] = E @ atoms[j]
    return atoms, codes


PLAIN = {"n_sweeps": 1, "power_steps": 1, "extrapolation": 0}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("n_sweeps", "power_steps", "beyond"), [(1, 1, 0), (3, 1, 0), (2, 3, 0.5)])
def test_atoms_equal_those_of_a_slow_clear_version(exact, n_sweeps, power_steps, beyond):
    if exact:
        beyond = 0  # the sign of a singular vector is anyone's choice
    X, _ = _planted(150)
    model = KSVD(
        25,
        max_nnz=3,
        max_iter=3,
        n_sweeps=n_sweeps,
        power_steps=power_steps,
        extrapolation=beyond,
        min_use=0,
        max_coherence=1,
        tol=0,
        exact_update=exact,
        random_state=4,
    ).fit(X)
    assert [record["kept"] for record in model.history_] == [0, 0, 0]
    assert [record["extrapolated"] for record in model.history_] == [0, beyond > 0, beyond > 0]
    start = ksvd_steps.start(X, 25, 3, seed=4).atoms
    atoms, codes = _slow_ksvd(X, start, 3, 3, exact, n_sweeps, power_steps, beyond)
    cosines = np.sum(atoms * model.components_, axis=1)
    np.testing.assert_allclose(np.abs(cosines) if exact else cosines, 1, atol=1e-5)
    explained = 1 - ((X - codes @ atoms) ** 2).sum() / (X**2).sum()
    assert model.history_[-1]["explained_variance"] == pytest.approx(explained, abs=1e-5)


def test_power_steps_come_to_the_singular_vector():
    fit, exact = _random_fit(3, False), _random_fit(3, False)
    j = int(np.flatnonzero(ksvd_steps.count_uses(fit))[0])  # none was changed before it
    ksvd_steps.update_atoms(fit, False, False, 1)
    assert abs(fit.atoms[j] @ exact.atoms[j]) < 0.99
    fit = _random_fit(3, False)
    ksvd_steps.update_atoms(fit, False, False, 500)
    ksvd_steps.update_atoms(exact, False, True)
    assert abs(fit.atoms[j] @ exact.atoms[j]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("decibels", "explained"), [(None, 0.95), (20, 0.93), (10, 0.87)])
def test_planted_atoms_are_recovered(nonnegative, decibels, explained):
    shares = []
    for seed in range(4):
        X, atoms = _planted(nonnegative=nonnegative, decibels=decibels, seed=seed)
        model = KSVD(50, max_nnz=3, max_iter=60, n_sweeps=2, nonnegative=nonnegative)
        model.set_params(tol=1e-6, random_state=seed).fit(X)
        shares.append(_share_recovered(model.components_, atoms, nonnegative))
        assert _explained(model, X) > explained
    assert np.mean(shares) > 0.85
    # Untrained atoms do not reach this level: they are mixtures of three planted ones.
    assert _share_recovered(_unit(X[:50]), atoms, nonnegative) < 0.1


@pytest.mark.parametrize("nonnegative", [False, True])
def test_error_never_rises_even_where_a_pursuit_finds_worse_codes(nonnegative):
    X, _ = _planted(400, nonnegative=nonnegative, seed=2)
    model = KSVD(50, max_nnz=3, max_iter=40, nonnegative=nonnegative, tol=0).fit(X)
    explained = np.array([record["explained_variance"] for record in model.history_])
    coded = np.array([record["explained_variance_coded"] for record in model.history_])
    kept = np.array([record["kept"] for record in model.history_])
    assert (np.diff(explained) >= -1e-7).all()
    assert (explained >= coded - 1e-7).all()
    # The case is a hard one: pursuits raised the error, and old codes were kept for it.
    assert kept.any()
    assert (coded[1:][kept[1:] == 0] < explained[:-1][kept[1:] == 0]).any()
    assert (coded[1:][kept[1:] > 0] >= explained[:-1][kept[1:] > 0] - 1e-7).all()


def _random_fit(seed, nonnegative, *, pursued=False, n_samples=30, n_atoms=12, max_nnz=3):
    """A fit in any state: duplicate atoms; codes of a pursuit, or random and unused atoms."""
    n_features = 8
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((n_samples, n_features)).astype(np.float32)
    atoms = _unit(rng.standard_normal((n_atoms, n_features)))
    for j in rng.choice(n_atoms // 2, 4):
        sign = 1 if nonnegative else rng.choice([-1, 1])
        atoms[-1 - j] = sign * _unit(atoms[j : j + 1] + 0.01 * rng.standard_normal(n_features))[0]
    atoms = atoms.astype(np.float32)
    indices = np.argsort(rng.random((n_samples, n_atoms)), axis=1)[:, :max_nnz].astype(np.int32)
    indices[np.isin(indices, rng.choice(n_atoms, 3)) | (rng.random(indices.shape) < 0.2)] = -1
    coefficients = 0.5 * rng.standard_normal(indices.shape).astype(np.float32)
    if nonnegative:
        coefficients = np.abs(coefficients)
    coefficients[indices < 0] = 0
    if pursued:
        indices, coefficients = omp(tokens, atoms, max_nnz, nonnegative=nonnegative)
    fit = ksvd_steps.Fit(tokens, atoms, indices, coefficients, np.empty_like(tokens))
    fit.residual[:] = ksvd_steps.left_unexplained(fit, indices, coefficients)
    return fit


def _assert_consistent(fit, nonnegative):
    for row in fit.indices:
        used = row[row >= 0]
        assert len(set(used)) == len(used)
    assert ((fit.indices >= 0) == (fit.coefficients != 0)).all()
    assert not nonnegative or (fit.coefficients >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(fit.atoms, axis=1), 1, atol=1e-6)
    unexplained = ksvd_steps.left_unexplained(fit, fit.indices, fit.coefficients)
    np.testing.assert_allclose(fit.residual, unexplained, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.integers(0, 12))
def test_replacing_atoms_never_raises_the_error(seed, nonnegative, pursued, min_use):
    fit = _random_fit(seed, nonnegative, pursued=pursued)
    before, unused = ksvd_steps.squared_error(fit), int((ksvd_steps.count_uses(fit) == 0).sum())
    n_replaced = ksvd_steps.replace_atoms(fit, min_use, 0.99, nonnegative)
    _assert_consistent(fit, nonnegative)
    assert ksvd_steps.squared_error(fit) <= before * (1 + 1e-6)
    assert n_replaced >= (unused if min_use else 0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["signed", "nonnegative", "exact"]))
def test_updating_atoms_never_raises_the_error(seed, kind):
    nonnegative = kind == "nonnegative"
    model = KSVD(12, n_sweeps=3, nonnegative=nonnegative, exact_update=kind == "exact")
    fit = _random_fit(seed, nonnegative)
    before, after = model._sweep(fit)
    _assert_consistent(fit, nonnegative)
    assert after <= before * (1 + 1e-6)
    assert after == ksvd_steps.squared_error(fit)


def test_tokens_of_a_duplicate_go_over_to_its_twin():
    e = np.eye(4, dtype=np.float32)
    tokens = np.stack([2 * e[0], e[0] + e[1], 3 * e[0], 5 * e[3]])
    # Atoms 0 and 2 are the same up to sign, and token 3 is not represented at all.
    atoms = np.stack([e[0], e[1], -e[0]])
    indices = np.array([[0, -1], [1, 2], [0, 2], [-1, -1]], dtype=np.int32)
    coefficients = np.array([[2, 0], [1, -1], [1, -2], [0, 0]], dtype=np.float32)
    fit = ksvd_steps.Fit(tokens, atoms, indices, coefficients, np.zeros_like(tokens))
    fit.residual[3] = tokens[3]
    assert ksvd_steps.replace_atoms(fit, 1, 0.99, nonnegative=False) == 1
    np.testing.assert_array_equal(fit.atoms, np.stack([e[0], e[1], e[3]]))
    np.testing.assert_array_equal(fit.indices, [[0, -1], [1, 0], [0, -1], [2, -1]])
    np.testing.assert_array_equal(fit.coefficients, [[2, 0], [1, 1], [3, 0], [5, 0]])
    np.testing.assert_array_equal(fit.residual, 0)


def test_unused_atoms_are_replaced_by_the_worst_tokens_but_not_twice_by_the_same():
    e = np.eye(6, dtype=np.float32)
    tokens = np.stack([9 * e[2], 8 * e[2], 7 * e[3], e[0], e[4]])
    indices = np.array([[-1], [-1], [-1], [0], [-1]], dtype=np.int32)
    coefficients = np.array([[0], [0], [0], [1], [0]], dtype=np.float32)
    fit = ksvd_steps.Fit(tokens, e[[0, 1, 5]].copy(), indices, coefficients, tokens.copy())
    fit.residual[3] = 0
    # The atom of token 3 is rarely used too, but token 4, no worse, would not pay for it.
    assert ksvd_steps.replace_atoms(fit, 2, 0.99, nonnegative=False) == 2
    np.testing.assert_array_equal(fit.atoms, e[[0, 2, 3]])
    np.testing.assert_array_equal(fit.indices, [[1], [-1], [2], [0], [-1]])
    np.testing.assert_array_equal(fit.coefficients, [[9], [0], [7], [1], [0]])


def test_starting_atoms_that_repeat_are_replaced():
    X, _ = _planted(600, seed=1)
    X[200:] = X[0]  # two of three starting atoms are this token
    model = KSVD(30, max_nnz=3, max_iter=15, tol=0).fit(X)
    start = np.abs(ksvd_steps.start(X, 30, 3, seed=0).atoms @ X[0] / np.linalg.norm(X[0]))
    end = np.abs(model.components_ @ X[0] / np.linalg.norm(X[0]))
    assert (start > 0.95).sum() > 10
    assert (end > 0.95).sum() == 1
    assert model.history_[0]["replaced"] > 10
    explained = [record["explained_variance"] for record in model.history_]
    assert (np.diff(explained) >= -1e-7).all()


def test_antiparallel_atoms_are_two_concepts_where_codes_are_nonnegative():
    atoms = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
    uses = np.array([3, 2, 1])
    np.testing.assert_array_equal(
        ksvd_steps._twins(atoms, uses, 0.99, nonnegative=True), [-1, -1, -1]
    )
    np.testing.assert_array_equal(
        ksvd_steps._twins(atoms, uses, 0.99, nonnegative=False), [-1, 0, -1]
    )


def test_same_seed_gives_the_same_bytes():
    X, _ = _planted(300)
    first, second, other = (KSVD(20, max_nnz=3, random_state=s).fit(X) for s in (7, 7, 8))
    assert first.components_.tobytes() == second.components_.tobytes()
    assert first.history_ == second.history_
    assert first.components_.tobytes() != other.components_.tobytes()


@pytest.mark.parametrize("nonnegative", [False, True])
def test_transform_is_the_pursuit_as_sparse_rows(nonnegative):
    X, _ = _planted(300)
    model = KSVD(20, max_nnz=3, nonnegative=nonnegative, residual_tol=0.2).fit(X)
    codes = model.transform(X)
    indices, coefficients = omp(X, model.components_, 3, nonnegative=nonnegative, tolerance=0.2)
    assert isinstance(codes, sp.csr_matrix)
    assert codes.dtype == np.float32
    assert codes.shape == (300, 20)
    assert codes.has_sorted_indices
    assert (codes.data != 0).all()
    rows = np.repeat(np.arange(300), 3).reshape(300, 3)
    np.testing.assert_array_equal(
        codes.toarray()[rows, np.maximum(indices, 0)][indices >= 0], coefficients[indices >= 0]
    )
    assert codes.nnz == (indices >= 0).sum()
    np.testing.assert_allclose(
        model.inverse_transform(codes), codes.toarray() @ model.components_, atol=1e-6
    )


def test_attributes_and_progress():
    X, _ = _planted(300)
    seen = []
    model = KSVD(20, max_nnz=3, max_iter=4, tol=0)
    assert model.fit(X, on_iteration=lambda *progress: seen.append(progress)) is model
    assert seen == [
        (i + 1, 4, record["explained_variance"]) for i, record in enumerate(model.history_)
    ]
    assert model.n_iter_ == len(model.history_) == 4
    assert model.n_features_in_ == 20
    assert model.components_.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(model.components_, axis=1), 1, atol=1e-6)
    assert model.stopped_because_ == "All 4 iterations were made."
    assert clone(model).get_params() == model.get_params()


def test_fit_says_that_it_no_longer_improves():
    X, _ = _planted(300)
    model = KSVD(20, max_nnz=3, max_iter=50, tol=0.01).fit(X)
    assert model.n_iter_ < 50
    assert model.stopped_because_.startswith(f"Iteration {model.n_iter_} raised the explained")
    assert model.stopped_because_.endswith("not more than tol, 0.01.")


def test_fit_stops_where_nothing_is_left_to_explain():
    X = np.repeat(np.eye(5), 4, axis=0) * np.arange(1, 21)[:, None]
    model = KSVD(5, max_nnz=1, max_iter=20, tol=0, min_use=1).fit(X)
    np.testing.assert_allclose(np.sort(model.components_.argmax(axis=1)), np.arange(5))
    assert model.history_[-1]["explained_variance"] == pytest.approx(1, abs=1e-9)
    assert model.stopped_because_ == (
        f"The codes explain the tokens exactly after {model.n_iter_} iterations."
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_components": 0}, "n_components is 0; it must be at least 1"),
        ({"max_nnz": 0}, "max_nnz is 0; it must be at least 1"),
        ({"max_iter": 0}, "max_iter is 0; it must be at least 1"),
        ({"n_sweeps": 0}, "n_sweeps is 0; it must be at least 1"),
        ({"power_steps": 0}, "power_steps is 0; it must be at least 1"),
        ({"window": 0}, "window is 0; it must be at least 1"),
        ({"extrapolation": -1}, "extrapolation is -1; it must not be negative"),
        ({"min_use": -1}, "min_use is -1; it must not be negative"),
        ({"tol": -0.1}, "tol is -0.1; it must not be negative"),
        ({"residual_tol": 1.0}, "residual_tol is 1.0; it must be at least 0 and below 1"),
        ({"max_coherence": 0}, "max_coherence is 0; it must be above 0 and at most 1"),
        ({"exact_update": True, "nonnegative": True}, "exact_update and nonnegative are both set"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(setting, message):
    with pytest.raises(ConfigError, match=message):
        KSVD(**{"n_components": 4, "max_nnz": 2, **setting}).fit(np.eye(8))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.eye(8)[:3], "X has 3 samples for 4 atoms; K-SVD starts from one sample per atom"),
        (np.diag([1, 1, 1, 0, 0]), "Only 3 of 5 samples of X differ from the mean, for 4 atoms"),
        (np.full((9, 3), np.nan), r"not finite \(NaN or infinite\) in 9 of 9 samples, the first"),
        (np.full((9, 3), 1e300), r"not finite \(NaN or infinite\) in 9 of 9 samples, the first"),
        (np.ones(9), "Expected 2D array, got 1D array instead"),
        (sp.csr_array(np.eye(8)), "Sparse data was passed"),
    ],
)
def test_wrong_data_is_refused_in_a_sentence(X, message):
    with pytest.raises(DataError, match=message):
        KSVD(4, max_nnz=2).fit(X)


def test_tokens_of_another_width_are_refused():
    model = KSVD(4, max_nnz=2).fit(np.eye(8))
    with pytest.raises(DataError, match=r"X has 7 features, but KSVD is expecting 8.*same way"):
        model.transform(np.eye(7))


def test_more_nonzeros_than_there_can_be_are_as_many_as_possible():
    X, _ = _planted(100)
    for shape, n_components in ((X.shape, 4), ((100, 3), 6)):
        possible = KSVD(n_components, max_nnz=min(n_components, shape[1])).fit(X[:, : shape[1]])
        model = KSVD(n_components, max_nnz=50).fit(X[:, : shape[1]])
        np.testing.assert_array_equal(model.components_, possible.components_)
        codes, same = (m.transform(X[:, : shape[1]]) for m in (model, possible))
        np.testing.assert_array_equal(codes.toarray(), same.toarray())
