"""Blocks run again on other tokens, for every family, against the network's own runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from vision_models import ALL_FAMILIES, D_MODEL, N_LAYERS, OTHER_FAMILIES, build, pixels_for, save

from cgraph.block_inputs import BlockInputs, check_blocks
from cgraph.errors import DataError, ModelError
from cgraph.vit import VisionModel

FAMILIES = [*ALL_FAMILIES, *OTHER_FAMILIES]
POOLED = [family for family in FAMILIES if family.pooled]


def model_of(kind: str, folder: Path, token: str = "auto") -> VisionModel:
    return VisionModel.load(save(build(kind), folder, kind), token=token)


@pytest.mark.parametrize(
    ("kind", "token"),
    [*((f.kind, "auto") for f in FAMILIES), *((f.kind, "pooled") for f in POOLED)],
)
def test_every_family_runs_on_from_a_changed_layer(tmp_path: Path, kind: str, token: str) -> None:
    """A batch, and several versions of one image, against `VisionModel.class_tokens`."""
    model = model_of(kind, tmp_path, token)
    pixels, _ = pixels_for(kind)
    check_blocks(model, pixels)
    added = np.random.default_rng(0).standard_normal((len(pixels), D_MODEL)).astype(np.float32)
    wanted = model.class_tokens(pixels, lambda layer, _: added if layer == 1 else None)

    kept = BlockInputs.of(model, pixels)
    plain = model.class_tokens(pixels)
    for layer in range(1, N_LAYERS + 1):
        np.testing.assert_array_equal(kept.read(kept.output(layer)), plain[layer - 1])
    output = kept.run(2, model.add_to_tokens(kept.output(1), added), N_LAYERS)
    np.testing.assert_allclose(kept.read(output), wanted[-1], rtol=1e-4, atol=1e-5)
    assert abs(wanted[-1] - plain[-1]).max() > 1e-2

    one = BlockInputs.of(model, pixels[:1])
    twice = one.output(1).repeat(2, 1, 1)
    both = model.add_to_tokens(twice, np.stack([np.zeros(D_MODEL, np.float32), added[0]]))
    found = one.read(one.run(2, both, N_LAYERS))
    np.testing.assert_allclose(found, [plain[-1, 0], wanted[-1, 0]], rtol=1e-4, atol=1e-5)


def test_what_is_kept_is_not_changed_by_a_run(tmp_path: Path) -> None:
    model = model_of("vit", tmp_path)
    kept = BlockInputs.of(model, pixels_for("vit")[0])
    before = [kept.output(layer).clone() for layer in range(N_LAYERS + 1)]
    kept.run(1, torch.zeros_like(kept.output(0)), N_LAYERS)
    for layer, tokens in enumerate(before):
        assert torch.equal(kept.output(layer), tokens)


def test_another_number_of_images_is_refused(tmp_path: Path) -> None:
    kept = BlockInputs.of(model_of("vit", tmp_path), pixels_for("vit")[0])
    with pytest.raises(DataError, match="tokens of 2 images, and the inputs are of 3"):
        kept.run(1, kept.output(0)[:2])


def test_a_network_that_does_something_between_its_blocks_is_refused(tmp_path: Path) -> None:
    model = model_of("vit", tmp_path)
    pixels, _ = pixels_for("vit", n=1)

    class EverySecond(torch.nn.Module):
        """Does nothing every second time, so that a run again ends elsewhere."""

        def __init__(self, block: torch.nn.Module) -> None:
            super().__init__()
            self.block, self.calls = block, 0

        def forward(self, *args, **kwargs):
            self.calls += 1
            return self.block(*args, **kwargs) if self.calls % 2 else args[0]

    model.blocks[1] = EverySecond(model.blocks[1])
    with pytest.raises(ModelError, match="called one by one"):
        check_blocks(model, pixels)
