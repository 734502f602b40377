"""Patches of pictures of any aspect ratio, against the processor of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cgraph.errors import ModelError
from cgraph.patch_preprocessing import PatchPreprocessing


def picture(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def assert_same_patches(images: list[Image.Image], description: dict[str, Any]) -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    expected = Siglip2ImageProcessorPil(**description)(images, return_tensors="np")
    found = PatchPreprocessing.from_description(description)
    patches = found(images)
    assert patches.dtype == np.float32 and patches.shape[1:] == found.pixel_shape
    np.testing.assert_allclose(patches[:, :, :-2], expected["pixel_values"], rtol=1e-6, atol=1e-6)
    seen = expected["pixel_attention_mask"].astype(bool)
    np.testing.assert_array_equal(patches[:, :, -1] >= 0, seen)
    for image, (rows, columns) in enumerate(expected["spatial_shapes"]):
        places = patches[image, seen[image], -2:]
        grid = [(row, column) for row in range(rows) for column in range(columns)]
        np.testing.assert_array_equal(places, grid)
        assert (patches[image, ~seen[image]] == [0] * (patches.shape[2] - 2) + [-1, -1]).all()


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"patch_size": 8, "max_num_patches": 20},
        {"patch_size": 14, "max_num_patches": 9, "resample": 3, "image_mean": [0.1, 0.2, 0.3]},
    ],
)
def test_patches_equal_those_of_transformers(description: dict[str, Any]) -> None:
    sizes = [(64, 64), (150, 100), (31, 300), (1, 40), (500, 333)]
    assert_same_patches([picture(*size) for size in sizes], description)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(4, 20), st.integers(1, 60))
def test_any_picture_and_any_number_of_patches(
    height: int, width: int, patch: int, most: int
) -> None:
    description = {"patch_size": patch, "max_num_patches": most}
    assert_same_patches([picture(height, width)], description)


def test_fingerprints_and_what_is_refused() -> None:
    one = PatchPreprocessing.from_description({})
    assert (
        one.fingerprint() == PatchPreprocessing.from_description({"patch_size": 16}).fingerprint()
    )
    other = PatchPreprocessing.from_description({"max_num_patches": 255})
    assert one.fingerprint() != other.fingerprint()
    for description, words in [
        ({"patch_size": 0}, "'patch_size' = 0; give a number"),
        ({"do_resize": False}, "does not resize"),
        ({"do_flip": True}, "'do_flip' = True, a step that cgraph does not know"),
    ]:
        with pytest.raises(ModelError, match=words):
            PatchPreprocessing.from_description(description)
