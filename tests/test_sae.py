"""The TopK autoencoder: planted dictionaries, the folded encoder, messages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cgraph.dictionary import topk_codes
from cgraph.errors import ConfigError, DataError
from cgraph.sae import TopKSAE

torch = pytest.importorskip("torch")

N_ATOMS, N_FEATURES, MAX_NNZ = 48, 40, 4


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _planted(n_samples, *, noise=0.0, n_rare=0, rare_share=0.1, seed=0):
    """Non-negative sparse codes over random unit atoms; the first `n_rare` atoms are rare."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((N_ATOMS, N_FEATURES))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    weight = np.ones(N_ATOMS)
    weight[:n_rare] = rare_share
    # Gumbel top-k: MAX_NNZ different atoms a sample, in proportion to their weight.
    keys = np.log(weight) + rng.gumbel(size=(n_samples, N_ATOMS))
    chosen = np.argsort(-keys, axis=1)[:, :MAX_NNZ]
    codes = np.zeros((n_samples, N_ATOMS))
    np.put_along_axis(codes, chosen, rng.uniform(0.5, 1.5, chosen.shape), axis=1)
    X = codes @ atoms + noise * rng.standard_normal((n_samples, N_FEATURES))
    mean = X.mean(axis=0)
    return (X - mean).astype(np.float32), atoms, codes


def _share_recovered(learned, planted, cosine=0.9):
    return float(((learned @ planted.T).max(axis=0) > cosine).mean())


def _sae(**settings_):
    return TopKSAE(N_ATOMS, **{"max_nnz": MAX_NNZ, "max_steps": 1500, **settings_})


@pytest.fixture(scope="module")
def clean():
    X, atoms, codes = _planted(4000)
    return X, atoms, codes, _sae().fit(X[:3000], X_tune=X[3000:])


def _topk_by_loop(pre, selection_bias, max_nnz):
    rows = []
    for row in pre:
        ranked = sorted(
            (j for j in range(len(row)) if row[j] > 0), key=lambda j: -(row[j] + selection_bias[j])
        )
        rows.append(sorted(ranked[:max_nnz]))
    return rows


class TestTopkCodes:
    def test_hand_computed(self):
        pre = np.array([[3.0, -1.0, 1.0, 2.0], [-1.0, -2.0, 0.5, 0.0]], np.float32)
        bias = np.array([0.0, 9.0, 1.5, 0.0], np.float32)
        indices, coefficients = topk_codes(pre, bias, 2)
        np.testing.assert_array_equal(indices, [[0, 2], [2, -1]])
        np.testing.assert_array_equal(coefficients, np.array([[3.0, 1.0], [0.5, 0.0]]))
        assert indices.dtype == np.int32 and coefficients.dtype == np.float32

    def test_above_a_threshold(self):
        pre = np.array([[3.0, -1.0, 1.0, 2.0], [-1.0, -2.0, 0.5, 0.0]], np.float32)
        bias = np.array([0.0, 9.0, 1.5, 0.0], np.float32)
        indices, coefficients = topk_codes(pre, bias, 3, threshold=2.0)
        np.testing.assert_array_equal(indices, [[0, 2, -1], [-1, -1, -1]])
        np.testing.assert_array_equal(coefficients, np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))

    @settings(max_examples=60, deadline=None)
    @given(
        pre=arrays(np.float32, (3, 7), elements=st.floats(-4, 4, width=32), unique=True),
        bias=arrays(np.float32, 7, elements=st.sampled_from([0.0, 0.0, 16.0])),
        max_nnz=st.integers(1, 7),
    )
    def test_same_as_sorting(self, pre, bias, max_nnz):
        scores = np.where(pre > 0, pre + bias, 0)
        if any(len(set(row[row > 0])) < (row > 0).sum() for row in scores):
            return  # rounding made a tie, for which either answer is right
        indices, coefficients = topk_codes(pre, bias, max_nnz)
        for row, (found, values) in enumerate(zip(indices, coefficients, strict=True)):
            active = found[found >= 0].tolist()
            assert active == _topk_by_loop(pre, bias, max_nnz)[row]
            np.testing.assert_array_equal(values[: len(active)], pre[row, active])
            assert not values[len(active) :].any()

    @pytest.mark.parametrize("max_nnz", [0, 5])
    def test_refuses_impossible_max_nnz(self, max_nnz):
        with pytest.raises(ConfigError, match=f"max_nnz is {max_nnz}.*number of atoms, 4"):
            topk_codes(np.ones((2, 4), np.float32), np.zeros(4, np.float32), max_nnz)


class TestPlanted:
    def test_recovers_atoms_without_noise(self, clean):
        _, atoms, _, sae = clean
        assert _share_recovered(sae.components_, atoms) >= 0.9
        assert sae.history_[-1]["explained_variance_tune"] > 0.9

    def test_recovers_atoms_with_noise(self):
        X, atoms, _ = _planted(3000, noise=0.08)
        assert _share_recovered(_sae().fit(X).components_, atoms) >= 0.9

    def test_labels_follow_planted_codes(self, clean):
        X, atoms, codes, sae = clean
        match = (sae.components_ @ atoms.T).argmax(axis=0)
        found = sae.transform(X[3000:]).toarray()[:, match] > 0
        truth = codes[3000:] > 0
        agreement = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert agreement > 0.85

    def test_selection_bias_keeps_rare_concepts(self):
        X, atoms, _ = _planted(4000, n_rare=16, rare_share=0.12)
        without, with_bias = (
            _sae(usage_target=target, max_bias=0.3).fit(X) for target in (0.0, 0.25)
        )
        used = [np.asarray((sae.transform(X) > 0).sum(axis=0))[0] for sae in (without, with_bias)]
        assert (used[0] == 0).any()
        assert (used[1] > 0).all()
        rare = [_share_recovered(sae.components_, atoms[:16]) for sae in (without, with_bias)]
        assert rare[1] >= rare[0] + 0.2


class TestContract:
    def test_learned_shapes_and_types(self, clean):
        sae = clean[3]
        assert sae.components_.shape == sae.encoder_weight_.shape == (N_ATOMS, N_FEATURES)
        assert sae.encoder_bias_.shape == sae.selection_bias_.shape == (N_ATOMS,)
        for name in ("components_", "encoder_weight_", "encoder_bias_", "selection_bias_"):
            assert getattr(sae, name).dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(sae.components_, axis=1), 1, atol=1e-5)
        assert (sae.selection_bias_ >= 0).all()

    def test_transform_is_sparse_and_non_negative(self, clean):
        X, _, _, sae = clean
        codes = sae.transform(X)
        assert sp.issparse(codes) and codes.format == "csr" and codes.dtype == np.float32
        assert codes.shape == (len(X), N_ATOMS)
        assert np.diff(codes.indptr).max() <= MAX_NNZ
        assert (codes.data > 0).all()
        assert codes.has_sorted_indices

    def test_transform_follows_the_published_formula(self, clean):
        X, _, _, sae = clean
        pre = X[:200] @ sae.encoder_weight_.T + sae.encoder_bias_
        codes = sae.transform(X[:200]).toarray()
        for row, active in enumerate(_topk_by_loop(pre, sae.selection_bias_, MAX_NNZ)):
            assert np.flatnonzero(codes[row]).tolist() == active
            np.testing.assert_allclose(codes[row, active], pre[row, active], rtol=1e-5)

    def test_folded_encoder_is_the_trained_one(self, clean):
        """The figure of merit computed while training must come out of the folded arrays too."""
        X, _, _, sae = clean
        tune = X[3000:]
        rest = tune - sae.transform(tune) @ sae.components_
        explained = 1 - np.square(rest).sum() / np.square(tune).sum()
        assert explained == pytest.approx(sae.history_[-1]["explained_variance_tune"], abs=1e-5)

    def test_units_of_the_input(self, clean):
        X, _, _, _ = clean
        small, large = (_sae(max_steps=60).fit(factor * X) for factor in (1.0, 64.0))
        np.testing.assert_array_equal(small.components_, large.components_)
        np.testing.assert_array_equal(small.encoder_weight_, large.encoder_weight_)
        np.testing.assert_array_equal(64 * small.encoder_bias_, large.encoder_bias_)
        np.testing.assert_array_equal(64 * small.selection_bias_, large.selection_bias_)

    def test_same_seed_same_bytes(self, clean):
        X, _, _, _ = clean
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the global state must not matter
        one = _sae(max_steps=80, random_state=3).fit(X)
        torch.manual_seed(2)
        two = _sae(max_steps=80, random_state=3).fit(X)
        other = _sae(max_steps=80, random_state=4).fit(X)
        for name in ("components_", "encoder_weight_", "encoder_bias_", "selection_bias_"):
            assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
        assert one.components_.tobytes() != other.components_.tobytes()

    def test_leaves_global_random_state_alone(self, clean):
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        _sae(max_steps=5).fit(clean[0])
        assert torch.equal(before, torch.random.get_rng_state())

    def test_tune_samples_take_no_part_in_the_fit(self, clean):
        X = clean[0]
        alone = _sae(max_steps=50).fit(X[:3000])
        beside = _sae(max_steps=50).fit(X[:3000], X_tune=X[3000:])
        np.testing.assert_array_equal(alone.components_, beside.components_)

    def test_more_active_atoms_than_there_are_are_all_of_them(self, clean):
        X = clean[0][:200]
        possible, more = (TopKSAE(3, max_nnz=n, max_steps=20).fit(X) for n in (3, 50))
        np.testing.assert_array_equal(more.components_, possible.components_)
        np.testing.assert_array_equal(more.transform(X).toarray(), possible.transform(X).toarray())

    def test_decoding_is_linear(self, clean):
        X, _, _, sae = clean
        codes = sae.transform(X[:50])
        expected = codes.toarray() @ sae.components_
        for given_codes in (codes, codes.toarray()):
            decoded = sae.inverse_transform(given_codes)
            assert decoded.dtype == np.float32
            np.testing.assert_allclose(decoded, expected, atol=1e-5)
        with pytest.raises(DataError, match=r"shape \(50, 3\).*each of the 48 atoms"):
            sae.inverse_transform(codes[:, :3])

    def test_history_and_progress(self, clean):
        X = clean[0]
        seen = []
        sae = _sae(max_steps=250, record_every=100).fit(X, X_tune=X[:500], on_step=seen.append)
        assert seen == sae.history_
        assert [record["step"] for record in seen] == [100, 200, 250]
        explained = [record["explained_variance_tune"] for record in seen]
        assert explained == sorted(explained)
        assert sae.n_steps_ == 250
        assert sae.stopped_because_ == "All 250 steps were made."

    def test_an_error_in_on_step_stops_the_fit(self, clean):
        def cancel(record):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            _sae(record_every=1).fit(clean[0], on_step=cancel)

    def test_encoding_needs_no_torch(self):
        code = (
            "import sys\n"
            "import numpy as np\n"
            "from cgraph.sae import TopKSAE\n"
            "sae = TopKSAE(2, max_nnz=1)\n"
            "sae.components_ = sae.encoder_weight_ = np.eye(2, dtype=np.float32)\n"
            "sae.encoder_bias_ = sae.selection_bias_ = np.zeros(2, np.float32)\n"
            "sae.n_features_in_ = 2\n"
            "print(sae.transform([[1, 3]]).toarray().tolist(), 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[[0.0, 3.0]] False", done.stderr


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"n_components": 0}, "n_components is 0; it must be at least 1"),
            ({"n_components": 2.5}, "n_components is 2.5; it must be a whole number"),
            ({"n_components": 2, "max_nnz": "ten"}, "max_nnz is 'ten'; it must be a whole number"),
            ({"n_components": 2, "random_state": -1}, "random_state is -1; it must be a whole"),
            ({"n_components": 5, "max_nnz": 2, "batch_size": 0}, "batch_size is 0"),
            ({"n_components": 5, "max_nnz": 2, "learning_rate": 0.0}, "learning_rate is 0.0"),
            ({"n_components": 5, "max_nnz": 2, "usage_target": 1.0}, "usage_target is 1.0"),
            ({"n_components": 5, "max_nnz": 2, "input_noise": -1.0}, "input_noise is -1.0"),
            ({"n_components": 5, "max_nnz": 2, "encoder_penalty": -1.0}, "encoder_penalty is -1.0"),
        ],
    )
    def test_settings(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            TopKSAE(**settings_).fit(np.eye(6))

    def test_fewer_samples_than_atoms(self):
        with pytest.raises(DataError, match=r"4 samples for 5 atoms.*ask for fewer atoms"):
            TopKSAE(5, max_nnz=2).fit(np.eye(4))

    def test_constant_samples(self):
        with pytest.raises(DataError, match="Only 0 of 9 samples of X differ from the mean"):
            TopKSAE(5, max_nnz=2).fit(np.zeros((9, 3)))

    def test_not_finite(self, clean):
        X = clean[0][:100].copy()
        X[7, 3] = np.nan
        X[9, 0] = np.inf
        with pytest.raises(DataError, match=r"in 2 of 100 samples, the first in row 7"):
            _sae().fit(X)
        with pytest.raises(DataError, match="X_tune was refused: X has values that are not finite"):
            _sae().fit(clean[0], X_tune=X)
        with pytest.raises(DataError, match="not finite"):
            clean[3].transform(X)

    def test_shapes(self, clean):
        with pytest.raises(DataError, match="Expected 2D array, got 1D array"):
            _sae().fit(np.ones(3))
        with pytest.raises(DataError, match="X_tune was refused: X has 3 features, but TopKSAE is"):
            _sae().fit(clean[0], X_tune=np.ones((5, 3)))
        with pytest.raises(DataError, match=r"X has 3 features.*expecting 40.*the same way"):
            clean[3].transform(np.ones((5, 3)))
