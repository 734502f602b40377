"""What the image processors of transformers do where their files are silent.

Values are those of the classes of transformers; the tests compare them.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

COMMON: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_convert_rgb": True,
}
_CLIP_DEFAULTS = COMMON | {
    "size": {"shortest_edge": 224},
    "resample": Image.Resampling.BICUBIC,
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": _CLIP_MEAN,
    "image_std": _CLIP_STD,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": COMMON
    | {
        "size": 224,
        "resample": Image.Resampling.BILINEAR,
        "do_center_crop": False,
        "crop_size": None,
        "image_mean": _HALF,
        "image_std": _HALF,
    },
    "DeiT": COMMON
    | {
        "size": 256,
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": True,
        "crop_size": 224,
        "image_mean": _HALF,
        "image_std": _HALF,
    },
    "CLIP": _CLIP_DEFAULTS,
    "Bit": _CLIP_DEFAULTS,
    "Beit": COMMON
    | {
        "size": 224,
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": False,
        "crop_size": 224,
        "image_mean": _HALF,
        "image_std": _HALF,
    },
    "Siglip": COMMON
    | {
        "size": {"height": 224, "width": 224},
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": False,
        "crop_size": None,
        "image_mean": _HALF,
        "image_std": _HALF,
    },
    "DINOv3ViT": COMMON
    | {
        "size": 224,
        "resample": Image.Resampling.BILINEAR,
        "do_center_crop": False,
        "crop_size": None,
        "image_mean": _IMAGENET_MEAN,
        "image_std": _IMAGENET_STD,
    },
}
SHORTEST_EDGE_PROCESSORS = ("CLIP", "Bit", "Siglip")
RESCALES_FIRST = ("DINOv3ViT",)

PATCHES = "Siglip2"
"""Processor that keeps the shape of a picture and cuts it up; `cgraph.patch_preprocessing`."""

# Processor class of the model types whose file does not name one.
PROCESSOR_OF_MODEL = {
    "vit": "ViT",
    "deit": "DeiT",
    "clip": "CLIP",
    "clip_vision_model": "CLIP",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "dinov3_vit": "DINOv3ViT",
    "beit": "Beit",
    "data2vec-vision": "Beit",
    "vit_mae": "ViT",
    "vit_msn": "ViT",
    "ijepa": "ViT",
    "siglip": "Siglip",
    "siglip_vision_model": "Siglip",
    "siglip2": "Siglip2",
    "siglip2_vision_model": "Siglip2",
}

# Keys that say how a processor is called or what it returns, not what it does to pixels.
WITHOUT_EFFECT = {
    "_valid_processor_keys",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_reduce_labels",
    "feature_extractor_type",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "processor_class",
    "reduce_labels",
    "return_tensors",
}
