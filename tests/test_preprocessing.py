import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cgraph.errors import ModelError
from cgraph.images import open_images
from cgraph.preprocessing import Preprocessing

SIZES = [(64, 64), (150, 100), (100, 150), (31, 300), (257, 255), (1, 40), (500, 333)]
"""Heights and widths."""


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in SIZES
    ]


def reference(name: str, **settings: Any) -> Any:
    """Image processor of transformers that works without torchvision."""
    from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processors = {
        "vit": ViTImageProcessorPil,
        "deit": DeiTImageProcessorPil,
        "clip": CLIPImageProcessorPil,
        "dinov2": BitImageProcessorPil,
        "beit": BeitImageProcessorPil,
        "data2vec-vision": BeitImageProcessorPil,
        "siglip": SiglipImageProcessorPil,
        "vit_mae": ViTImageProcessorPil,
        "vit_msn": ViTImageProcessorPil,
        "ijepa": ViTImageProcessorPil,
    }
    return processors[name](**settings)


def assert_same_pixels(processor: Any, preprocessing: Preprocessing) -> None:
    images = pictures()
    expected = np.stack(processor(images)["pixel_values"])
    result = preprocessing(images)
    assert result.dtype == np.float32
    assert result.shape[2:] == preprocessing.image_size
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("vit", {}),
        ("vit", {"size": {"height": 32, "width": 48}, "resample": 3}),
        ("vit", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7], "resample": 0}),
        ("vit", {"do_normalize": False}),
        ("vit", {"do_rescale": False, "do_normalize": False}),
        ("vit", {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 2.0}),
        ("deit", {}),
        ("deit", {"do_resize": False, "crop_size": 40}),
        ("clip", {}),
        ("clip", {"size": 60, "crop_size": {"height": 41, "width": 58}}),
        ("clip", {"size": {"shortest_edge": 30}, "crop_size": 51}),
        ("dinov2", {"size": {"shortest_edge": 256}, "crop_size": 224}),
        ("dinov2", {"do_center_crop": False, "size": {"height": 20, "width": 20}}),
        ("beit", {}),
        ("beit", {"size": 256, "do_center_crop": True, "crop_size": 224, "resample": 2}),
        ("beit", {"do_reduce_labels": True}),
        ("data2vec-vision", {"size": {"height": 40, "width": 30}}),
        ("siglip", {}),
        ("siglip", {"size": {"height": 48, "width": 48}, "resample": 2}),
        ("vit_mae", {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
        ("dinov2", {"resample": 1, "size": {"shortest_edge": 33}, "crop_size": 32}),
    ],
)
def test_pixels_equal_those_of_transformers(
    tmp_path: Path, model_type: str, settings: dict[str, Any]
) -> None:
    processor = reference(model_type, **settings)
    processor.save_pretrained(tmp_path)
    assert_same_pixels(processor, Preprocessing.load(tmp_path, model_type))


DEFAULTED = [
    "vit", "deit", "clip", "dinov2", "beit", "data2vec-vision", "siglip", "vit_mae", "vit_msn",
    "ijepa",
]  # fmt: skip


@pytest.mark.parametrize("model_type", DEFAULTED)
def test_a_silent_file_means_the_defaults_of_the_model_s_processor(model_type: str) -> None:
    assert_same_pixels(reference(model_type), Preprocessing.from_description({}, model_type))


@pytest.mark.parametrize(
    ("name", "description", "settings"),
    [
        # As published with ViT, DeiT and CLIP before processors had their present names.
        ("vit", {"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {}),
        (
            "deit",
            {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224},
            {},
        ),
        ("clip", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224}, {}),
        ("clip", {"size": [40, 50], "do_center_crop": False}, None),
        ("vit", {"image_processor_type": "ViTImageProcessorFast", "size": 40}, {"size": 40}),
    ],
)
def test_older_and_newer_forms(
    name: str, description: dict[str, Any], settings: dict[str, Any] | None
) -> None:
    if settings is None:
        settings = {"size": {"height": 40, "width": 50}, "do_center_crop": False}
    assert_same_pixels(
        reference(name, **settings), Preprocessing.from_description(description, name)
    )


def test_the_named_processor_overrides_that_of_the_model_type() -> None:
    description = {"image_processor_type": "CLIPImageProcessor"}
    assert_same_pixels(reference("clip"), Preprocessing.from_description(description, "vit"))


def test_a_description_within_that_of_a_whole_processor(tmp_path: Path) -> None:
    inner = json.loads(reference("clip").to_json_string())
    content = {"image_processor": inner, "processor_class": "CLIPProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(content))
    assert_same_pixels(reference("clip"), Preprocessing.load(tmp_path, "clip"))


def test_known_values() -> None:
    description = {
        "do_resize": False,
        "do_center_crop": True,
        "crop_size": 3,
        "image_mean": [0, 0.5, 1],
        "image_std": [1, 0.5, 0.25],
    }
    preprocessing = Preprocessing.from_description(description, "clip")
    # One pixel in the middle of black: 51 / 255 = 0.2, 204 / 255 = 0.8.
    pixels = preprocessing([Image.new("RGB", (1, 1), (51, 204, 255))])
    assert pixels.shape == (1, 3, 3, 3)
    np.testing.assert_allclose(pixels[0, :, 1, 1], [0.2, 0.6, 0], atol=1e-6)
    np.testing.assert_allclose(pixels[0, :, 0, 0], [0, -1, -4], atol=1e-6)


def test_no_images_give_no_pixels() -> None:
    assert Preprocessing.from_description({}, "vit")([]).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"crop_pct": 0.875}, "'crop_pct' = 0.875, a step that cgraph does not know"),
        ({"do_flip_channel_order": True}, "'do_flip_channel_order' = True, a step"),
        ({"do_pad": True}, "'do_pad' = True, a step"),
        ({"auto_map": {"AutoImageProcessor": "x.y"}}, "asks for code of its own"),
        ({"image_processor_type": "LevitImageProcessor"}, "processor 'LevitImageProcessor' of"),
        ({"size": {"longest_edge": 224}}, "'size' = {'longest_edge': 224}; known are"),
        ({"size": {"shortest_edge": 224, "longest_edge": 500}}, "'longest_edge': 500}; known"),
        ({"size": 0}, "'size' = 0; known are"),
        ({"size": "224"}, "'size' = '224'; known are"),
        ({"size": True}, "'size' = True; known are"),
        ({"do_center_crop": True}, "'crop_size' = None; known are"),
        ({"do_resize": False}, "images would have different sizes"),
        ({"size": {"shortest_edge": 224}}, "images would have different sizes"),
        ({"resample": 9}, "'resample' = 9; Pillow's filters"),
        ({"rescale_factor": "x"}, "'rescale_factor' = 'x'; give a number"),
        ({"image_mean": [0.5, 0.5]}, "'image_mean' = [0.5, 0.5]; give one number"),
        ({"image_mean": "half"}, "'image_mean' = 'half'; give one number"),
        ({"image_std": [0.5, 0.5, 0]}, "'image_std' = [0.5, 0.5, 0]; every one must be above 0"),
        ({"image_mean": [0.5, 0.5, float("nan")]}, "must be finite"),
    ],
)
def test_unknown_steps_and_values_are_refused(description: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as error:
        Preprocessing.from_description(description, "vit")
    assert words in str(error.value)


def test_a_step_that_is_switched_off_does_no_harm() -> None:
    description = {"do_pad": False, "crop_pct": None, "do_resize": None, "device": None}
    preprocessing = Preprocessing.from_description(description, "vit")
    assert_same_pixels(reference("vit"), preprocessing)


def test_an_unknown_model_needs_a_named_processor() -> None:
    with pytest.raises(ModelError, match="processor None of a model of type 'sam'; known are"):
        Preprocessing.from_description({}, "sam")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json, so it is unknown how"):
        Preprocessing.load(tmp_path, "vit")
    file = tmp_path / "preprocessor_config.json"
    file.write_text("{")
    with pytest.raises(ModelError, match=r"preprocessor_config\.json is not readable JSON"):
        Preprocessing.load(tmp_path, "vit")
    file.write_text("[]")
    with pytest.raises(ModelError, match="does not describe an image processor"):
        Preprocessing.load(tmp_path, "vit")


def test_real_photographs(real_dir: Path) -> None:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(real_dir / "deit-tiny")
    preprocessing = Preprocessing.load(real_dir / "deit-tiny", "vit")
    for name in ("photos-64px.parquet", "scenes"):
        images = open_images(real_dir / name)
        batch = [images.read(row).image for row in range(0, len(images), len(images) // 8)]
        expected = np.stack(processor(batch)["pixel_values"])
        np.testing.assert_allclose(preprocessing(batch), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "size", "mode"),
    [
        ({}, (224, 224), "bilinear"),
        ({"size": {"height": 48, "width": 32}, "resample": 3}, (48, 32), "bicubic"),
    ],
)
def test_numbers_are_resized_as_torch_does_where_rescaling_comes_first(
    settings: dict[str, Any], size: tuple[int, int], mode: str
) -> None:
    """DINOv3's processor needs torchvision, which resizes numbers with this very function."""
    import torch

    preprocessing = Preprocessing.from_description(settings, "dinov3_vit")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for image in pictures():
        numbers = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255
        resized = torch.nn.functional.interpolate(
            numbers, size=size, mode=mode, align_corners=False, antialias=True
        )[0].numpy()
        expected = (resized - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
        np.testing.assert_allclose(preprocessing([image])[0], expected, atol=1e-4)
    rounded = Preprocessing.from_description(
        {"image_processor_type": "ViTImageProcessor", "image_mean": mean, "image_std": std}, "vit"
    )
    plain = Preprocessing.from_description({}, "dinov3_vit")
    assert abs(rounded(pictures()) - plain(pictures())).max() > 1e-3
    assert rounded.fingerprint() != plain.fingerprint()


def test_a_small_picture_is_padded_with_black_where_rescaling_comes_first() -> None:
    description = {"do_resize": False, "do_center_crop": True, "crop_size": 41}
    image = pictures()[3]
    found = Preprocessing.from_description(description, "dinov3_vit")([image])
    same = description | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    expected = Preprocessing.from_description(same, "vit")([image])
    np.testing.assert_array_equal(found, expected)
