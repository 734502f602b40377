"""Small vision transformers with random weights, saved as Hugging Face folders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGE_SIZE = 32
N_LAYERS = 3
D_MODEL = 32
PATCH = 8
MOST_PATCHES = 20

_COMMON: dict[str, Any] = {
    "hidden_size": D_MODEL,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "attention_dropout": 0.5,
    "initializer_range": 0.2,
}
_VISION = _COMMON | {"image_size": IMAGE_SIZE, "patch_size": PATCH}
_DROPOUT = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}

PREPROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": IMAGE_SIZE},
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": 36, "crop_size": IMAGE_SIZE},
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": 32, "crop_size": IMAGE_SIZE},
    "dinov2": {"image_processor_type": "BitImageProcessor", "size": 36, "crop_size": IMAGE_SIZE},
    "dinov3": {"image_processor_type": "DINOv3ViTImageProcessor", "size": IMAGE_SIZE},
    "siglip": {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    },
    "siglip2": {
        "image_processor_type": "Siglip2ImageProcessor",
        "patch_size": PATCH,
        "max_num_patches": MOST_PATCHES,
    },
    "beit": {"image_processor_type": "BeitImageProcessor", "size": IMAGE_SIZE},
    "data2vec": {"image_processor_type": "BeitImageProcessor", "size": IMAGE_SIZE},
}
PREPROCESSORS |= dict.fromkeys(
    ("aimv2", "mlcd", "altclip", "chineseclip", "metaclip2"), PREPROCESSORS["clip"]
)

FAMILIES = (
    "vit",
    "vit-classifier",
    "deit",
    "clip",
    "clip-vision",
    "clip-projection",
    "dinov2",
    "dinov2-registers",
)


@dataclass(frozen=True)
class Family:
    """A family of models as it is tested, and as docs/models.md shows it."""

    title: str
    kind: str
    classifier: str | None
    """Kind with a head for classes, if transformers has one."""
    n_before: int = 1
    """Tokens before those of the patches."""
    class_token: str | None = "cls_token"
    """Parameter that the class token starts as."""
    pooled: bool = False
    """Whether it has a pooling head."""
    texts: bool = False
    """Whether it knows texts."""


ALL_FAMILIES = (
    Family("CLIP", "clip", "clip-classifier", class_token="class_embedding", texts=True),
    Family("SigLIP; SigLIP2 of one size", "siglip", "siglip-classifier", 0, None,
           pooled=True, texts=True),
    Family("SigLIP2 for any aspect ratio", "siglip2", "siglip2-classifier", 0, None,
           pooled=True, texts=True),
    Family("ViT", "vit", "vit-classifier"),
    Family("DeiT", "deit", "deit-classifier", 2),
    Family("DINOv2", "dinov2", "dinov2-classifier"),
    Family("DINOv2 with registers", "dinov2-registers", "dinov2-registers-classifier", 5),
    Family("DINOv3", "dinov3", None, 5),
    Family("BEiT", "beit", "beit-classifier"),
    Family("data2vec-vision", "data2vec", "data2vec-classifier"),
    Family("ViT-MAE", "mae", None),
    Family("ViT-MSN", "msn", "msn-classifier"),
    Family("I-JEPA", "ijepa", "ijepa-classifier", 0, None),
)  # fmt: skip
"""Families that the issue of models names."""

OTHER_FAMILIES = (
    Family("AIMv2", "aimv2", None, 0, None, pooled=True),
    Family("MLCD", "mlcd", None, class_token="class_embedding"),
    Family("AltCLIP", "altclip", None, class_token="class_embedding"),
    Family("Chinese-CLIP", "chineseclip", None, class_token="class_embedding"),
    Family("MetaCLIP 2", "metaclip2", None, class_token="class_embedding"),
)  # fmt: skip
"""Families that nothing in cgraph was written for."""


def build(kind: str, **overrides: Any) -> Any:
    """Make a model of `transformers`, the same weights every time."""
    import torch
    import transformers as hf

    vision = _VISION | overrides
    text = _COMMON | {
        "vocab_size": 9,
        "max_position_embeddings": 8,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        match kind:
            case "vit":
                return hf.ViTModel(hf.ViTConfig(**vision | _DROPOUT))
            case "vit-classifier":
                return hf.ViTForImageClassification(hf.ViTConfig(**vision | _DROPOUT))
            case "deit":
                return hf.DeiTModel(hf.DeiTConfig(**vision | _DROPOUT))
            case "clip":
                config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
                return hf.CLIPModel(config)
            case "clip-vision":
                return hf.CLIPVisionModel(hf.CLIPVisionConfig(**vision))
            case "clip-projection":
                return hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**vision))
            case "dinov2":
                # Published with larger pictures than it is used with.
                larger = vision | _DROPOUT | {"image_size": 48, "drop_path_rate": 0.5}
                return hf.Dinov2Model(hf.Dinov2Config(**larger))
            case "dinov2-registers":
                return hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**vision))
            case "siglip-vision":
                return hf.SiglipVisionModel(hf.SiglipVisionConfig(**vision))
            case "siglip" | "siglip-classifier":
                config = hf.SiglipConfig(text_config=text, vision_config=vision)
                whole = kind == "siglip"
                return hf.SiglipModel(config) if whole else hf.SiglipForImageClassification(config)
            case "siglip2" | "siglip2-classifier":
                vision["num_patches"] = 16
                del vision["image_size"]
                config = hf.Siglip2Config(
                    text_config=text | {"projection_size": D_MODEL}, vision_config=vision
                )
                whole = kind == "siglip2"
                return (
                    hf.Siglip2Model(config) if whole else hf.Siglip2ForImageClassification(config)
                )
            case "clip-classifier":
                config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
                return hf.CLIPForImageClassification(config)
            case "deit-classifier":
                return hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**vision | _DROPOUT))
            case "dinov2-classifier":
                return hf.Dinov2ForImageClassification(hf.Dinov2Config(**vision | _DROPOUT))
            case "dinov2-registers-classifier":
                config = hf.Dinov2WithRegistersConfig(**vision)
                return hf.Dinov2WithRegistersForImageClassification(config)
            case "dinov3":
                return hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**vision | {"num_register_tokens": 4}))
            case "beit":
                shared = {"use_relative_position_bias": True}
                return hf.BeitModel(hf.BeitConfig(**vision | _DROPOUT | shared))
            case "beit-classifier":
                return hf.BeitForImageClassification(hf.BeitConfig(**vision | _DROPOUT))
            case "data2vec":
                shared = {"use_shared_relative_position_bias": True}
                return hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**vision | shared))
            case "data2vec-classifier":
                config = hf.Data2VecVisionConfig(**vision | _DROPOUT)
                return hf.Data2VecVisionForImageClassification(config)
            case "mae":
                return hf.ViTMAEModel(hf.ViTMAEConfig(**vision))
            case "msn":
                return hf.ViTMSNModel(hf.ViTMSNConfig(**vision | _DROPOUT))
            case "msn-classifier":
                return hf.ViTMSNForImageClassification(hf.ViTMSNConfig(**vision | _DROPOUT))
            case "ijepa":
                return hf.IJepaModel(hf.IJepaConfig(**vision | _DROPOUT))
            case "ijepa-classifier":
                return hf.IJepaForImageClassification(hf.IJepaConfig(**vision | _DROPOUT))
            case "aimv2":
                return hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**vision))
            case "mlcd":
                return hf.MLCDVisionModel(hf.MLCDVisionConfig(**vision))
            case "altclip":
                config = hf.AltCLIPConfig(text_config=text, vision_config=vision)
                return hf.AltCLIPModel(config)
            case "chineseclip":
                config = hf.ChineseCLIPConfig(text_config=text, vision_config=vision)
                return hf.ChineseCLIPModel(config)
            case "metaclip2":
                config = hf.MetaClip2Config(text_config=text, vision_config=vision)
                return hf.MetaClip2Model(config)
            case "pixio":
                return hf.PixioModel(hf.PixioConfig(**vision))
            case "sam":
                small = vision | {"output_channels": 16, "mlp_dim": 64, "window_size": 2}
                return hf.SamModel(hf.SamConfig(vision_config=small))
            case "convnext":
                config = hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
                return hf.ConvNextModel(config)
            case "bert":
                return hf.BertModel(hf.BertConfig(**text))
            case "gpt2":
                return hf.GPT2Model(hf.GPT2Config(vocab_size=9, n_embd=8, n_layer=2, n_head=2))
            case "resnet":
                config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
                return hf.ResNetModel(config)
            case "swin":
                config = hf.SwinConfig(
                    image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
                )
                return hf.SwinModel(config)
    raise ValueError(kind)


def save(model: Any, folder: Path, kind: str, **options: Any) -> Path:
    """Save a model with the preprocessing of its family; return `folder`."""
    model.save_pretrained(folder, **options)
    family = kind.partition("-")[0]
    content = PREPROCESSORS.get(family, PREPROCESSORS["vit"])
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder


def pixels_for(kind: str, n: int = 3, seed: int = 1) -> tuple[np.ndarray, dict[str, Any]]:
    """Random pixels as `VisionModel` takes them, and as a network of transformers does."""
    import torch

    rng = np.random.default_rng(seed)
    if not kind.startswith("siglip2"):
        pixels = rng.standard_normal((n, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
        inputs = {"pixel_values": torch.tensor(pixels)}
        if kind == "mae":
            inputs["noise"] = torch.arange((IMAGE_SIZE // PATCH) ** 2).float().expand(n, -1)
        return pixels, inputs
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    from cgraph.patch_preprocessing import PatchPreprocessing

    shapes = [(20, 60, 3), (40, 41, 3), (90, 30, 3)]
    images = [
        Image.fromarray(rng.integers(0, 256, shapes[i % 3], dtype=np.uint8)) for i in range(n)
    ]
    content = {k: v for k, v in PREPROCESSORS["siglip2"].items() if k != "image_processor_type"}
    inputs = dict(Siglip2ImageProcessorPil(**content)(images, return_tensors="pt"))
    return PatchPreprocessing.from_description(content)(images), inputs
