"""The class token's row of a block against the whole block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vision_models import ALL_FAMILIES, OTHER_FAMILIES, build, pixels_for, save

from cgraph.class_row import NextBlock, run_again
from cgraph.vit import VisionModel

KINDS = [family.kind for family in (*ALL_FAMILIES, *OTHER_FAMILIES)]
WITHOUT_CLASS_TOKEN = {"siglip", "siglip2", "ijepa", "aimv2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_as_the_whole_block(tmp_path: Path, kind: str) -> None:
    """Tokens changed at layer l come out of block l + 1 as when the whole network is run on."""
    model = VisionModel.load(save(build(kind), tmp_path, kind))
    pixels = pixels_for(kind)[0]
    rng = np.random.default_rng(0)
    added = rng.standard_normal((len(pixels), model.d_model)).astype(np.float32) * 3
    visited = []

    def visit(block: NextBlock) -> None:
        assert block.by_row == (kind not in WITHOUT_CLASS_TOKEN), block.layer
        expected = model_after(model, pixels, block.layer, added)
        for place in range(len(pixels)):
            both = np.stack([added[place], np.zeros_like(added[place]), -added[place]])
            found = block.rerun(place, both)
            np.testing.assert_allclose(found[0], expected[place], rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(found[1], block.after[place], rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(found, block.whole(place, both), rtol=2e-4, atol=2e-5)
            assert np.abs(found[0] - found[1]).max() > 0.01
        visited.append(block.layer)

    # The network is asked again while it is watched: by another object, for it is locked.
    other = VisionModel.load(tmp_path)

    def model_after(_: VisionModel, pixels: np.ndarray, layer: int, added: np.ndarray):
        return other.class_tokens(pixels, lambda at, __: added if at == layer - 1 else None)[
            layer - 1
        ]

    run_again(model, pixels, visit)
    assert visited == [2, 3]
