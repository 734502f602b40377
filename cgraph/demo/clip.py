"""The small CLIP of the bundled study: its size, its words, and its folder on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph.checkpoint import quiet_transformers
from cgraph.scenes import vocabulary
from cgraph.store import to_json, write_bytes

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, PreTrainedTokenizerFast

IMAGE_SIZE = 64
"""Side of the pictures that the model sees, in pixels."""

PATCH_SIZE = 8
N_LAYERS = 12
WIDTH = 96

_TEXT_LENGTH = 48
_SPECIAL = ("<pad>", "<bos>", "<unk>", "<eos>")
_PAD, _BOS, _UNK, _EOS = range(4)  # CLIP pools at the largest id in place of an end marked by 2
_MEAN = (0.4815, 0.4578, 0.4082)
_STD = (0.2686, 0.2613, 0.2758)


def new_model(seed: int) -> CLIPModel:
    """Return an untrained model: 12 layers of width 96 for pictures, 3 for captions."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        projection_dim=64,
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": N_LAYERS,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
            "projection_dim": 64,
        },
        text_config={
            "vocab_size": len(_words()),
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": _TEXT_LENGTH,
            "bos_token_id": _BOS,
            "eos_token_id": _EOS,
            "pad_token_id": _PAD,
            "projection_dim": 64,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(config)


def _words() -> list[str]:
    return [*_SPECIAL, *vocabulary()]


def encode_captions(captions: Sequence[str]) -> torch.Tensor:
    """Return the word ids of captions, shape ``(n, length of the longest)``, padded at the end."""
    import torch

    ids = {word: n for n, word in enumerate(_words())}
    rows = [
        [_BOS, *(ids.get(word, _UNK) for word in text.split()[: _TEXT_LENGTH - 2]), _EOS]
        for text in captions
    ]
    padded = torch.full((len(rows), max(map(len, rows))), _PAD)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row)
    return padded


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Turn pixels (0 to 255, channels last) into what the model takes, channels first."""
    import torch

    mean, std = torch.tensor(_MEAN).view(3, 1, 1), torch.tensor(_STD).view(3, 1, 1)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def save_model(model: CLIPModel, folder: Path) -> None:
    """Write the model, its words and its preprocessing as Hugging Face does."""
    with quiet_transformers():
        model.save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
    write_bytes(folder / "preprocessor_config.json", to_json(_PREPROCESSING))
    for file in folder.iterdir():
        os.chmod(file, 0o644)  # weights are written for their owner alone


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: n for n, word in enumerate(_words())}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", _BOS), ("<eos>", _EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<bos>",
        unk_token="<unk>",
        eos_token="<eos>",
        model_max_length=_TEXT_LENGTH,
    )


_PREPROCESSING: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": IMAGE_SIZE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(_MEAN),
    "image_std": list(_STD),
}
