"""Small vision transformers with random weights, saved as Hugging Face folders."""

import json
from pathlib import Path
from typing import Any

IMAGE_SIZE = 32
N_LAYERS = 3
D_MODEL = 32

_COMMON: dict[str, Any] = {
    "hidden_size": D_MODEL,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "attention_dropout": 0.5,
    "initializer_range": 0.2,
}
_VISION = _COMMON | {"image_size": IMAGE_SIZE, "patch_size": 8}
_DROPOUT = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}

PREPROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": IMAGE_SIZE},
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": 36, "crop_size": IMAGE_SIZE},
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": 32, "crop_size": IMAGE_SIZE},
    "dinov2": {"image_processor_type": "BitImageProcessor", "size": 36, "crop_size": IMAGE_SIZE},
}

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
            case "siglip":
                return hf.SiglipVisionModel(hf.SiglipVisionConfig(**vision))
            case "mae":
                return hf.ViTMAEModel(hf.ViTMAEConfig(**vision))
            case "bert":
                return hf.BertModel(hf.BertConfig(**text))
            case "gpt2":
                return hf.GPT2Model(hf.GPT2Config(vocab_size=9, n_embd=8, n_layer=2, n_head=2))
            case "resnet":
                config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
                return hf.ResNetModel(config)
            case "swin":
                config = hf.SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 2])
                return hf.SwinModel(config)
    raise ValueError(kind)


def save(model: Any, folder: Path, kind: str, **options: Any) -> Path:
    """Save a model with the preprocessing of its family; return `folder`."""
    model.save_pretrained(folder, **options)
    family = kind.partition("-")[0]
    content = PREPROCESSORS.get(family, PREPROCESSORS["vit"])
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder
