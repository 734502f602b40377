"""Dictionaries as others write them, and their own forward passes, written out in float64.

From what SAELens, Prisma and overcomplete publish of theirs.
"""

import json

import numpy as np
from safetensors.numpy import save_file

from cgraph.foreign_dictionary import ForeignDictionary

D_MODEL, N_ATOMS, N_LAYERS = 24, 40, 3


def some_tokens():
    rng = np.random.default_rng(5)
    return (rng.standard_normal((300, D_MODEL)) + 0.5).astype(np.float32)


def saelens_arrays(seed, threshold=False):
    rng = np.random.default_rng(seed)
    arrays = {
        "W_enc": rng.standard_normal((D_MODEL, N_ATOMS)),
        "b_enc": 0.3 * rng.standard_normal(N_ATOMS) - 1,
        "W_dec": rng.standard_normal((N_ATOMS, D_MODEL)) * rng.uniform(0.3, 3, (N_ATOMS, 1)),
        "b_dec": rng.standard_normal(D_MODEL),
    }
    if threshold:
        arrays["threshold"] = rng.uniform(0, 3, N_ATOMS)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_saelens(root, cfg, seed=0, **options):
    """Three folders as SAELens saves them; return the arrays of each layer."""
    layers = []
    for block in range(N_LAYERS):
        folder = root / f"blocks.{block}.hook_resid_post"
        folder.mkdir(parents=True)
        layers.append(saelens_arrays(seed + block, **options))
        save_file(layers[-1], folder / "sae_weights.safetensors")
        hook = {"hook_name": f"blocks.{block}.hook_resid_post", "d_in": D_MODEL, "d_sae": N_ATOMS}
        (folder / "cfg.json").write_text(json.dumps({**hook, **cfg}))
        save_file({"sparsity": np.ones(N_ATOMS)}, folder / "sparsity.safetensors")
    return layers


def keep_top(values, k):
    """torch.topk of each row, then ReLU."""
    kept = np.zeros_like(values)
    for row, own in zip(kept, values, strict=True):
        best = np.argsort(-own, kind="stable")[:k]
        row[best] = np.maximum(own[best], 0)
    return kept


def saelens_forward(arrays, tokens, activation, subtract=True, by_length=False):
    """Feature activations and reconstruction, as SAELens computes them."""
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    pre = (tokens - subtract * wide["b_dec"]) @ wide["W_enc"] + wide["b_enc"]
    lengths = np.linalg.norm(wide["W_dec"], axis=1) if by_length else np.ones(N_ATOMS)
    acts = activation(pre * lengths, wide)
    return acts, acts / lengths @ wide["W_dec"] + wide["b_dec"]


def check_same(dictionary, tokens, acts, decoded, coefficients=None):
    """The same concepts are active, coefficients are in the units of unit atoms."""
    codes = dictionary.encode(tokens)
    dense = codes.to_csr().toarray()
    assert np.array_equal(dense != 0, acts > 0)
    assert (dense != 0).any(axis=1).mean() > 0.9  # the test would notice
    assert np.allclose(np.linalg.norm(dictionary.atoms, axis=1), 1, atol=1e-6)
    assert np.allclose(dictionary.decode(codes), decoded, atol=1e-3)
    if coefficients is not None:
        assert np.allclose(dense, coefficients, rtol=1e-4, atol=1e-4)


def read(path, **options):
    return ForeignDictionary(path, **options).read(N_LAYERS, D_MODEL)


def relu(pre, _):
    return np.maximum(pre, 0)


def jumprelu(pre, arrays):
    return np.maximum(pre, 0) * (pre > arrays["threshold"])


def top5(pre, _):
    return keep_top(pre, 5)


def plain_arrays(seed, encoder=False):
    rng = np.random.default_rng(seed)
    arrays = {"atoms": 2 * rng.standard_normal((N_ATOMS, D_MODEL)),
              "mean": rng.standard_normal(D_MODEL)}  # fmt: skip
    if encoder:
        arrays["encoder.weight"] = rng.standard_normal((N_ATOMS, D_MODEL))
        arrays["encoder.bias"] = rng.standard_normal(N_ATOMS)
    return {name: array.astype(np.float32) for name, array in arrays.items()}
