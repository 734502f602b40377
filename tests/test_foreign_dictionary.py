"""Dictionaries made elsewhere: the codes are those of each layout's own forward pass."""

import json
import re

import numpy as np
import pytest
from foreign_layouts import (
    D_MODEL,
    N_ATOMS,
    N_LAYERS,
    check_same,
    jumprelu,
    keep_top,
    plain_arrays,
    read,
    relu,
    saelens_arrays,
    saelens_forward,
    some_tokens,
    top5,
    write_saelens,
)
from safetensors.numpy import save_file

from cgraph.dictionary import Dictionary, TopKEncoder
from cgraph.errors import CgraphError, DataError
from cgraph.foreign_dictionary import ForeignDictionary
from cgraph.imported import centred_on


@pytest.fixture
def tokens():
    return some_tokens()


OLD_TOPK = {"architecture": "standard", "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 5}}  # fmt: skip


@pytest.mark.parametrize(
    ("cfg", "activation", "nnz"),
    [
        ({"architecture": "standard"}, relu, N_ATOMS),
        ({"architecture": "standard", "activation_fn_str": "relu"}, relu, N_ATOMS),
        ({"architecture": "topk", "k": 5}, top5, 5),
        (OLD_TOPK, top5, 5),
        ({"architecture": "jumprelu"}, jumprelu, N_ATOMS),
    ],
)
@pytest.mark.parametrize("subtract", [True, False])
def test_saelens(tmp_path, tokens, cfg, activation, nnz, subtract):
    cfg = {**cfg, "apply_b_dec_to_input": subtract, "normalize_activations": "none"}
    layers = write_saelens(tmp_path, cfg, threshold=activation is jumprelu)
    for arrays, dictionary in zip(layers, read(tmp_path), strict=True):
        acts, decoded = saelens_forward(arrays, tokens, activation, subtract)
        lengths = np.linalg.norm(arrays["W_dec"], axis=1)
        check_same(dictionary, tokens, acts, decoded, acts * lengths)
        assert dictionary.max_nnz == nnz
        assert (dictionary.encode(tokens).to_csr().toarray() != 0).sum(axis=1).max() <= nnz


def test_saelens_topk_by_length(tmp_path, tokens):
    """With rescale_acts_by_decoder_norm other concepts win."""
    cfg = {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True}
    layers = write_saelens(tmp_path, cfg)
    for arrays, dictionary in zip(layers, read(tmp_path), strict=True):
        acts, decoded = saelens_forward(arrays, tokens, top5, by_length=True)
        check_same(dictionary, tokens, acts, decoded, acts)
        plain, _ = saelens_forward(arrays, tokens, top5)
        assert ((plain > 0) != (acts > 0)).any()


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    ("cfg", "activation"),
    [({"architecture": "topk", "k": 5}, top5), ({"architecture": "jumprelu"}, jumprelu)],
)
def test_tokens_that_are_scaled_first(tmp_path, tokens, cfg, activation, subtract):
    """Prisma's default, layer_norm: the same concepts, coefficients in the units of the tokens."""
    tokens = tokens * np.linspace(0.5, 3, len(tokens), dtype=np.float32)[:, None]
    cfg = {**cfg, "normalize_activations": "layer_norm", "apply_b_dec_to_input": subtract}
    layers = write_saelens(tmp_path, cfg, threshold=activation is jumprelu)
    source = ForeignDictionary(tmp_path)
    found = source.read(N_LAYERS, D_MODEL)
    wide = tokens.astype(np.float64)
    mu = wide.mean(axis=1, keepdims=True)
    std = (wide - mu).std(axis=1, ddof=1, keepdims=True)
    scaled = (wide - mu) / (std + 1e-5)
    for layer, (arrays, read_in) in enumerate(zip(layers, found, strict=True), start=1):
        acts, out = saelens_forward(arrays, scaled, activation, subtract)
        decoded = out * std + mu
        lengths = np.linalg.norm(arrays["W_dec"], axis=1)
        settled = centred_on(read_in, source.to_centre[layer], tokens)
        added = arrays["b_dec"] * std + mu  # what the decoder adds, token by token
        assert np.allclose(settled.mean, added.mean(axis=0), atol=1e-5)
        again = Dictionary.from_tensors(settled.to_tensors())
        for dictionary in (read_in, settled, again):
            codes = dictionary.encode(tokens)
            dense = codes.to_csr().toarray()
            assert np.array_equal(dense != 0, acts > 0)
            assert np.allclose(dense, acts * lengths * std, rtol=1e-3, atol=1e-3)
            assert np.allclose(dense @ dictionary.atoms + added, decoded, atol=1e-2)
            pre = dictionary.pre_activations(tokens)
            assert np.allclose(pre[dense != 0], dense[dense != 0], rtol=1e-3, atol=1e-3)
            some = dictionary.pre_activations(tokens, np.array([3, 1]))
            assert np.allclose(some, pre[:, [3, 1]], rtol=1e-4, atol=1e-4)


def test_prisma(tmp_path, tokens):
    """Its config.json has a layer and what of it; folders may be called anything."""
    layers, notes = [], []
    for block in range(N_LAYERS):
        folder = tmp_path / f"run-{7 - block}"
        folder.mkdir()
        layers.append(saelens_arrays(block))
        save_file(layers[-1], folder / "weights.safetensors")
        said = {
            "model_name": "open-clip:some/model",
            "hook_point_layer": block,
            "layer_subtype": "hook_resid_post",
            "d_in": D_MODEL,
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 5},
            "cls_token_only": False,
            "use_patches_only": block == 1,
            "normalize_activations": "none",
            "dtype": {"__type__": "torch.dtype", "value": "torch.float32"},
            "architecture": "standard",
            "is_transcoder": False,
        }
        (folder / "config.json").write_text(json.dumps(said))
    found = ForeignDictionary(tmp_path, on_note=notes.append).read(N_LAYERS, D_MODEL)
    for arrays, dictionary in zip(layers, found, strict=True):
        check_same(dictionary, tokens, *saelens_forward(arrays, tokens, top5))
    assert any(note.startswith("Layers 2: it was trained on patch tokens") for note in notes)


def test_the_largest_are_kept_where_the_number_varies(tmp_path, tokens):
    notes = []
    layers = write_saelens(tmp_path, {"architecture": "standard"})
    found = ForeignDictionary(tmp_path, 5, notes.append).read(N_LAYERS, D_MODEL)
    check_same(found[1], tokens, *saelens_forward(layers[1], tokens, top5))
    assert "All layers: the number of active concepts varies; the largest 5 are kept." in notes
    assert any(note.startswith("All layers: atoms were not of length 1") for note in notes)


@pytest.mark.parametrize(
    ("cfg", "sentence"),
    [
        ({"normalize_activations": "constant_norm_rescale"}, "scales every token by itself"),
        ({"normalize_activations": "expected_average_only_in"}, "fold_activation_norm_scaling"),
        ({"architecture": "gated"}, "is of architecture 'gated'"),
        ({"activation_fn_str": "tanh-relu"}, "with activation 'tanh-relu'"),
        ({"finetuning_scaling_factor": True}, "uses finetuning_scaling_factor"),
        ({"is_transcoder": True}, "uses is_transcoder"),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm with relu"),
        ({"hook_name": "blocks.1.hook_mlp_out"}, "what flows through 'blocks.1.hook_mlp_out'"),
        ({"hook_name": "blocks.7.hook_resid_post"}, "is for layer 8, counted from 1"),
        ({"architecture": "topk", "k": 2.5}, "says k = 2.5, which is no whole number"),
        ({"architecture": "topk", "k": 99}, "max_nnz is 99, and"),
    ],
)
def test_saelens_that_cannot_be_taken_over(tmp_path, cfg, sentence):
    write_saelens(tmp_path, {"architecture": "standard", **cfg})
    with pytest.raises(CgraphError, match=re.escape(sentence)):
        read(tmp_path)


def test_without_a_description(tmp_path):
    write_saelens(tmp_path, {})
    for place in tmp_path.rglob("cfg.json"):
        place.unlink()
    with pytest.raises(DataError, match=r"has no cfg\.json or config\.json beside it"):
        read(tmp_path)


def overcomplete_state(seed, norm):
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((N_ATOMS, D_MODEL))
    state = {
        "dictionary._weights": atoms / np.linalg.norm(atoms, axis=1, keepdims=True),
        "encoder.final_block.0.weight": rng.standard_normal((N_ATOMS, D_MODEL)),
        "encoder.final_block.0.bias": rng.standard_normal(N_ATOMS),
    }
    if norm:
        state |= {
            "encoder.final_block.1.weight": rng.uniform(0.5, 2, N_ATOMS),
            "encoder.final_block.1.bias": rng.standard_normal(N_ATOMS),
            "encoder.final_block.1.running_mean": rng.standard_normal(N_ATOMS),
            "encoder.final_block.1.running_var": rng.uniform(1, 9, N_ATOMS),
        }
    state = {name: array.astype(np.float32) for name, array in state.items()}
    if norm:
        state["encoder.final_block.1.num_batches_tracked"] = np.array(7)
    return state


def overcomplete_codes(state, tokens):
    """Linear, BatchNorm in evaluation, ReLU: by torch's own modules."""
    import torch

    linear = torch.nn.Linear(D_MODEL, N_ATOMS).double()
    modules = [linear, torch.nn.ReLU()]
    if "encoder.final_block.1.weight" in state:
        modules.insert(1, torch.nn.BatchNorm1d(N_ATOMS).double())
    network = torch.nn.Sequential(*modules).eval()
    start = "encoder.final_block."
    own = {n.removeprefix(start): torch.tensor(a) for n, a in state.items() if n.startswith(start)}
    network.load_state_dict(own)
    with torch.no_grad():
        return network(torch.tensor(tokens).double()).numpy()


@pytest.mark.parametrize("norm", [True, False])
def test_overcomplete_topk(tmp_path, tokens, norm):
    states = [overcomplete_state(layer, norm) for layer in range(N_LAYERS)]
    for layer, state in enumerate(states, start=1):
        save_file(state, tmp_path / f"layer-{layer:02d}.safetensors")
    with pytest.raises(DataError, match="Give --max-nnz with the top_k of a TopKSAE"):
        read(tmp_path)
    for state, dictionary in zip(states, read(tmp_path, max_nnz=6), strict=True):
        acts = keep_top(overcomplete_codes(state, tokens), 6)
        check_same(dictionary, tokens, acts, acts @ state["dictionary._weights"], acts)


def test_overcomplete_batch_topk(tmp_path, tokens):
    """Active at the running threshold or above it; the threshold is no part of the state."""
    states = [overcomplete_state(layer, norm=True) for layer in range(N_LAYERS)]
    for layer, state in enumerate(states, start=1):
        folder = tmp_path / f"layer{layer}"
        folder.mkdir()
        save_file(state, folder / "state.safetensors")
        (folder / "cfg.json").write_text('{"running_threshold": 1.25}')
    for state, dictionary in zip(states, read(tmp_path), strict=True):
        codes = overcomplete_codes(state, tokens)
        acts = codes * (codes >= 1.25)
        check_same(dictionary, tokens, acts, acts @ state["dictionary._weights"], acts)


def test_at_the_threshold_itself(tmp_path):
    """Powers of two, so that nothing is rounded: 1.5 is active at a threshold of 1.5."""
    eye = np.eye(2, 2, dtype=np.float32)
    for layer in (1, 2):
        state = {
            "dictionary._weights": eye,
            "encoder.final_block.0.weight": eye,
            "encoder.final_block.0.bias": np.zeros(2, np.float32),
            "running_threshold": np.array([1.5], np.float32),
        }
        save_file(state, tmp_path / f"layer-{layer}.safetensors")
    dictionary = ForeignDictionary(tmp_path).read(2, 2)[0]
    tokens = np.array([[1.5, 1.4999999]], np.float32)
    assert dictionary.encode(tokens).to_csr().toarray().tolist() == [[1.5, 0]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoder.mlp_blocks.0.0.weight": np.ones((2, 2))}, "holds encoder.mlp_blocks.0.0.weight"),
        ({"thresholds": np.ones(2)}, "holds thresholds, which no TopKSAE"),
        ({"dictionary._weights": 2 * np.ones((N_ATOMS, D_MODEL))}, "are not of length 1"),
        ({"encoder.final_block.1.weight": np.ones(N_ATOMS)}, "without running_var"),
    ],
)
def test_overcomplete_that_cannot_be_taken_over(tmp_path, change, sentence):
    state = {**overcomplete_state(0, norm=False), **change}
    for layer in range(N_LAYERS):
        save_file(state, tmp_path / f"{layer}.safetensors")
    with pytest.raises(DataError, match=re.escape(sentence)):
        read(tmp_path, max_nnz=5)


def test_atoms_alone_are_coded_by_pursuit(tmp_path, tokens):
    from sklearn.linear_model import orthogonal_mp

    for layer in range(1, N_LAYERS + 1):
        arrays = plain_arrays(layer)
        del arrays["mean"]
        save_file(arrays, tmp_path / f"layer_{layer}.safetensors")
    notes = []
    source = ForeignDictionary(tmp_path, on_note=notes.append)
    found = source.read(N_LAYERS, D_MODEL, nonnegative=False, usual_nnz=4)
    assert "All layers: there is no mean, and none is subtracted." in notes
    assert any("signed orthogonal matching pursuit, with at most 4" in note for note in notes)
    expected = orthogonal_mp(
        found[0].atoms.T.astype(float), tokens[:50].T.astype(float), n_nonzero_coefs=4
    ).T
    dense = found[0].encode(tokens[:50]).to_csr().toarray()
    assert np.allclose(dense, expected, atol=1e-4)


@pytest.mark.parametrize("threshold", [None, "one", "each"])
def test_a_plain_encoder(tmp_path, tokens, threshold):
    layers = [plain_arrays(layer, encoder=True) for layer in range(N_LAYERS)]
    above = {"one": np.array([2.0]), "each": np.linspace(0, 4, N_ATOMS)}.get(threshold)
    for layer, own in enumerate(layers):
        extra = {} if above is None else {"encoder.threshold": above.astype(np.float32)}
        np.savez(tmp_path / f"{layer}.npz", **own, **extra)
    for own, dictionary in zip(layers, read(tmp_path), strict=True):
        pre = (tokens - own["mean"]) @ own["encoder.weight"].T + own["encoder.bias"]
        acts = keep_top(pre, 10) if above is None else np.maximum(pre, 0) * (pre > above)
        check_same(dictionary, tokens, acts, acts @ own["atoms"] + own["mean"])


def test_one_that_cgraph_made(tmp_path, tiny_study, tokens):
    """The dictionaries of one study for another image set."""
    found = ForeignDictionary(tiny_study.path / "dictionary.safetensors").read(4, 24)
    for layer in range(1, 5):
        own = tiny_study.dictionary(layer)
        ours, theirs = (d.encode(tokens).to_csr() for d in (own, found[layer - 1]))
        assert (ours != theirs).nnz == 0


def test_as_many_rows_at_a_time_as_memory_allows(tmp_path, tokens, monkeypatch):
    """With many atoms fewer tokens are encoded at a time, and codes are the same."""
    write_saelens(tmp_path, {"architecture": "standard"})
    dictionary = read(tmp_path)[0]
    whole = dictionary.encode(tokens)
    seen = []
    encode = TopKEncoder.encode

    def counted(self, centred, max_nnz):
        seen.append(len(centred))
        return encode(self, centred, max_nnz)

    monkeypatch.setattr(TopKEncoder, "encode", counted)
    monkeypatch.setattr("cgraph.dictionary._SCORES", 70 * N_ATOMS)
    parts = dictionary.encode(tokens)
    assert seen == [70, 70, 70, 70, 20]
    assert np.array_equal(parts.indices, whole.indices)
    assert np.allclose(parts.coefficients, whole.coefficients, rtol=1e-5)
