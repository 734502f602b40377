"""Files of dictionaries made elsewhere: which layer each is for, and what is not read."""

import json

import numpy as np
import pytest
from foreign_layouts import (
    D_MODEL,
    N_LAYERS,
    check_same,
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

from cgraph.errors import ConfigError, DataError
from cgraph.foreign_dictionary import ForeignDictionary


@pytest.fixture
def tokens():
    return some_tokens()


def test_an_old_hook_point_with_the_layer_left_open(tmp_path, tokens):
    layers = write_saelens(tmp_path, {"architecture": "topk", "k": 5})
    for block in range(N_LAYERS):
        place = tmp_path / f"blocks.{block}.hook_resid_post" / "cfg.json"
        said = json.loads(place.read_text())
        del said["hook_name"]
        said |= {"hook_point": "blocks.{layer}.hook_resid_post", "hook_point_layer": 2 - block}
        place.write_text(json.dumps(said))
    check_same(read(tmp_path)[0], tokens, *saelens_forward(layers[2], tokens, top5))


def test_what_goes_into_a_block_is_what_came_out_of_the_one_before(tmp_path, tokens):
    layers = write_saelens(tmp_path, {"architecture": "topk", "k": 5})
    for block in range(N_LAYERS):
        place = tmp_path / f"blocks.{block}.hook_resid_post" / "cfg.json"
        said = json.loads(place.read_text())
        said["metadata"] = {"hook_name": f"blocks.{block + 1}.hook_resid_pre"}
        del said["hook_name"]
        place.write_text(json.dumps(said))
    check_same(read(tmp_path)[0], tokens, *saelens_forward(layers[0], tokens, top5))
    said["metadata"] = {"hook_name": "blocks.0.hook_resid_pre"}
    place.write_text(json.dumps(said))
    with pytest.raises(DataError, match="codes what goes into the first block"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize(
    "form", ["layer-{:02d}.{}", "layers.{}.{}", "{}/{}", "blocks.{}.hook_resid_post.{}", "L{}/{}"]
)
def test_all_layers_in_one_file(tmp_path, tokens, suffix, form):
    first = 0 if "blocks" in form or form == "{}/{}" else 1
    layers = [plain_arrays(layer) for layer in range(N_LAYERS)]
    arrays = {form.format(n, name): array for n, own in enumerate(layers, start=first)
              for name, array in own.items()}  # fmt: skip
    path = tmp_path / f"atoms.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    for own, dictionary in zip(layers, read(path, max_nnz=4), strict=True):
        unit = own["atoms"] / np.linalg.norm(own["atoms"], axis=1, keepdims=True)
        assert np.allclose(dictionary.atoms, unit, atol=1e-6)
        assert np.array_equal(dictionary.mean, own["mean"])


def test_half_precision(tmp_path, tokens):
    import torch
    from safetensors.torch import save_file as save_torch

    layers = [saelens_arrays(layer) for layer in range(N_LAYERS)]
    for block, arrays in enumerate(layers):
        folder = tmp_path / f"block{block}"
        folder.mkdir()
        half = {name: torch.tensor(array).bfloat16() for name, array in arrays.items()}
        save_torch(half, folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text('{"architecture": "standard"}')
        layers[block] = {name: tensor.float().numpy() for name, tensor in half.items()}
    for arrays, dictionary in zip(layers, read(tmp_path), strict=True):
        check_same(dictionary, tokens, *saelens_forward(arrays, tokens, relu))


def test_missing_twice_and_other_sizes(tmp_path):
    for layer in (1, 3):
        save_file(plain_arrays(layer), tmp_path / f"layer-{layer}.safetensors")
    with pytest.raises(DataError, match=r"has no dictionary for layer 2 of 3, counted from 1"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"has no dictionary for layers 2, 4, 5 of 5"):
        ForeignDictionary(tmp_path).read(5, D_MODEL)
    save_file(plain_arrays(2), tmp_path / "layer-2.safetensors")
    with pytest.raises(DataError, match=r"atoms in .* has shape \(40, 24\), .* needs \(40, 32\)"):
        ForeignDictionary(tmp_path).read(3, 32)
    np.savez(tmp_path / "layer-2.npz", **plain_arrays(2))
    with pytest.raises(DataError, match=r"are both for layer 2, counted from 1"):
        read(tmp_path)
    (tmp_path / "layer-2.npz").unlink()
    small = {"atoms": plain_arrays(2)["atoms"][:30]}
    save_file(small, tmp_path / "layer-2.safetensors")
    with pytest.raises(DataError, match="have 30 and 40 atoms"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["sae.pt", "sae.pth", "weights.bin"])
def test_pickles_are_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    for place in (tmp_path / name, tmp_path):
        with pytest.raises(ConfigError, match=r"may hold code, and is not read.*save_file"):
            read(place)


def test_what_is_no_dictionary(tmp_path):
    with pytest.raises(ConfigError, match="There is no file or folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"neither \.safetensors nor \.npz files"):
        read(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"must end in \.safetensors or \.npz"):
        read(tmp_path / "notes.txt")
    (tmp_path / "layer-1.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"layer-1\.safetensors cannot be read"):
        read(tmp_path)
    np.savez(tmp_path / "objects.npz", atoms=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"objects\.npz cannot be read"):
        read(tmp_path / "objects.npz")
    np.savez(tmp_path / "other.npz", **{f"layer-{n}.x": np.ones(2) for n in (1, 2, 3)})
    with pytest.raises(DataError, match="holds x: that is none of the layouts"):
        read(tmp_path / "other.npz")
    bad = plain_arrays(0)
    bad["atoms"][3] = 0
    np.savez(tmp_path / "zero.npz", **{f"{n}.{k}": a for n in range(3) for k, a in bad.items()})
    with pytest.raises(DataError, match=r"Atom 3 of .* has length 0"):
        read(tmp_path / "zero.npz")
    np.savez(tmp_path / "a.npz", **plain_arrays(0))
    with pytest.raises(DataError, match="It is not known for which layer"):
        read(tmp_path / "a.npz")
