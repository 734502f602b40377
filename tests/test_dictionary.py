import dataclasses

import numpy as np
import pytest

from cgraph.dictionary import Dictionary, PursuitEncoder, layer_prefix
from cgraph.errors import DataError, StudyError
from cgraph.preparation import Preparation


def tokens(n=300, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3).astype(np.float32)


def unit_rows(n, d, seed=1):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def autoencoder(z, *, whiten=0, n_atoms=20, max_nnz=4, seed=2):
    preparation = Preparation.fit(z, center=True, whiten=whiten)
    width = whiten or z.shape[1]
    rng = np.random.default_rng(seed)
    components = unit_rows(n_atoms, width)
    weight = (components + 0.1 * rng.normal(size=components.shape)).astype(np.float32)
    bias = rng.normal(size=n_atoms).astype(np.float32) * 0.1
    selection = rng.uniform(0, 0.3, size=n_atoms).astype(np.float32)
    parts = (components, weight, bias, selection)
    return preparation, parts, Dictionary.from_autoencoder(preparation, *parts, max_nnz)


def test_whitening_gives_uncorrelated_unit_variance():
    z = tokens()
    prepared = Preparation.fit(z, center=True, whiten=5).apply(z)
    np.testing.assert_allclose(prepared.T @ prepared / len(z), np.eye(5), atol=1e-3)
    np.testing.assert_allclose(prepared.mean(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize("whiten", [0, 5])
def test_folding_an_autoencoder_changes_no_code(whiten):
    z = tokens()
    preparation, (components, weight, bias, selection), dictionary = autoencoder(z, whiten=whiten)
    pre = preparation.apply(z) @ weight.T + bias
    scores = np.where(pre > 0, pre + selection, -np.inf)
    expected = np.zeros_like(pre)
    for row, score in enumerate(scores):
        best = [atom for atom in np.argsort(-score)[:4] if np.isfinite(score[atom])]
        expected[row, best] = pre[row, best]
    decoded = expected @ components
    if whiten:
        decoded = decoded @ preparation.unwhitener
    codes = dictionary.encode(z)
    np.testing.assert_array_equal(codes.dense_labels(), expected != 0)
    np.testing.assert_allclose(dictionary.decode(codes), decoded + preparation.mean, atol=2e-3)


@pytest.mark.parametrize("whiten", [0, 5])
def test_atoms_have_unit_norm_and_active_pre_activations_are_the_coefficients(whiten):
    z = tokens()
    _, _, dictionary = autoencoder(z, whiten=whiten)
    np.testing.assert_allclose(np.linalg.norm(dictionary.atoms, axis=1), 1, atol=1e-5)
    codes, pre = dictionary.encode(z), dictionary.pre_activations(z)
    rows = np.repeat(np.arange(len(z)), np.diff(codes.offsets))
    np.testing.assert_allclose(pre[rows, codes.indices], codes.coefficients, rtol=1e-5)
    assert (codes.coefficients > 0).all()


@pytest.mark.parametrize("whiten", [0, 5])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_pursuit_reconstructs_a_token_made_of_its_atoms(whiten, nonnegative):
    z = tokens()
    preparation = Preparation.fit(z, center=True, whiten=whiten)
    components = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0].astype(np.float32)
    if not whiten:
        components = np.eye(z.shape[1], dtype=np.float32)
    dictionary = Dictionary.from_pursuit(preparation, components, 2, nonnegative=nonnegative)
    token = dictionary.mean + 2 * dictionary.atoms[0] + 0.7 * dictionary.atoms[3]
    codes = dictionary.encode(token[None])
    np.testing.assert_array_equal(codes.indices, [0, 3])
    np.testing.assert_allclose(codes.coefficients, [2, 0.7], rtol=1e-3)
    np.testing.assert_allclose(dictionary.decode(codes)[0], token, atol=1e-3)


@pytest.mark.parametrize("kind", ["autoencoder", "pursuit", "whitened pursuit"])
def test_tensors_round_trip(kind):
    z = tokens()
    if kind == "autoencoder":
        _, _, dictionary = autoencoder(z)
    else:
        whiten = 5 if kind == "whitened pursuit" else 0
        preparation = Preparation.fit(z, center=True, whiten=whiten)
        atoms = unit_rows(9, whiten or 12)
        dictionary = Dictionary.from_pursuit(preparation, atoms, 3, nonnegative=True)
    stored = {layer_prefix(7) + name: array for name, array in dictionary.to_tensors().items()}
    back = Dictionary.of_layer(stored, 7)
    for one, two in (
        (dictionary.encode(z).coefficients, back.encode(z).coefficients),
        (dictionary.pre_activations(z), back.pre_activations(z)),
    ):
        np.testing.assert_array_equal(one, two)


def test_errors_say_what_to_do():
    z = tokens()
    _, _, dictionary = autoencoder(z)
    with pytest.raises(DataError, match=r"shape \(1, 7\); this dictionary needs \(n, 12\)"):
        dictionary.encode(np.zeros((1, 7), dtype=np.float32))
    bad = z.copy()
    bad[3, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        dictionary.encode(bad)
    with pytest.raises(DataError, match="not finite"):
        Preparation.fit(bad, center=True, whiten=0)
    flat = np.tile(z[:, :1], (1, 12))
    with pytest.raises(DataError, match="only 1 principal components"):
        Preparation.fit(flat, center=True, whiten=4)
    tensors = dictionary.to_tensors()
    with pytest.raises(StudyError, match="lacks the array 'mean'"):
        Dictionary.from_tensors({k: v for k, v in tensors.items() if k != "mean"})
    for threshold, sentence in (([], "do not fit together"), ([np.nan], "not finite")):
        with pytest.raises(StudyError, match=sentence):
            Dictionary.from_tensors({**tensors, "encoder.threshold": np.array(threshold)})
    with pytest.raises(StudyError, match="do not fit together"):
        Dictionary.from_tensors({**tensors, "mean": np.zeros(3, dtype=np.float32)})


def test_an_uncentred_dictionary_subtracts_nothing():
    preparation = Preparation.fit(tokens(), center=False, whiten=0)
    np.testing.assert_array_equal(preparation.mean, 0)
    assert preparation.mean.dtype == np.float32
    with pytest.raises(dataclasses.FrozenInstanceError):
        preparation.mean = None


def test_pre_activations_of_some_atoms(tiny_study):
    dictionary = tiny_study.dictionary(2)
    tokens = np.random.default_rng(0).normal(size=(9, dictionary.d_model)).astype(np.float32)
    atoms = np.array([7, 2, 2])
    some = dictionary.pre_activations(tokens, atoms=atoms)
    np.testing.assert_allclose(some, dictionary.pre_activations(tokens)[:, atoms], atol=1e-5)


def test_long_arrays_are_encoded_in_pieces(tiny_study, monkeypatch):
    from cgraph import dictionary as module

    dictionary = tiny_study.dictionary(2)
    tokens = np.random.default_rng(0).normal(size=(50, dictionary.d_model)).astype(np.float32)
    whole = dictionary.encode(tokens)
    lengths = []
    encode = type(dictionary.encoder).encode

    def counted(self, centred, max_nnz):
        lengths.append(len(centred))
        return encode(self, centred, max_nnz)

    monkeypatch.setattr(module, "_ROWS", 16)
    monkeypatch.setattr(type(dictionary.encoder), "encode", counted)
    pieces = dictionary.encode(tokens)
    assert lengths == [16, 16, 16, 2]
    np.testing.assert_array_equal(pieces.indices, whole.indices)
    np.testing.assert_allclose(pieces.coefficients, whole.coefficients, atol=1e-5)
    assert dictionary.encode(tokens[:0]).n_samples == 0


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_whitening_of_any_strength_can_be_undone(strength):
    rng = np.random.default_rng(0)
    spread = np.array([9.0, 4.0, 1.0, 0.01])
    tokens = (rng.standard_normal((5000, 4)) * spread + 3).astype(np.float32)
    preparation = Preparation.fit(tokens, center=True, whiten=3, strength=strength)
    prepared = preparation.apply(tokens)
    # The first component has unit variance; the others what the strength leaves of their ratio.
    expected = (spread[:3] / spread[0]) ** (1 - strength)
    np.testing.assert_allclose(prepared.std(axis=0), expected, rtol=0.05)
    back = prepared @ preparation.unwhitener + preparation.mean
    np.testing.assert_allclose(back[:, :3], tokens[:, :3], atol=0.05)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_products_of_atoms_made_beforehand_change_no_code(nonnegative):
    rng = np.random.default_rng(3)
    atoms = rng.standard_normal((40, 12)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    tokens = rng.standard_normal((30, 12)).astype(np.float32)
    plain, kept = (
        PursuitEncoder(atoms, None, np.ones(40, dtype=np.float32), nonnegative) for _ in range(2)
    )
    np.testing.assert_allclose(kept.gram, atoms @ atoms.T)
    for one, other in zip(plain.encode(tokens, 4), kept.encode(tokens, 4), strict=True):
        np.testing.assert_array_equal(one, other)
