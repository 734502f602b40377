"""The small CLIP of the bundled study: its size, its words, and its folder on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.checkpoint import quiet_transformers
from cgraph.errors import ModelError
from cgraph.scenes import vocabulary
from cgraph.store import read_tensors, to_json, write_bytes

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


def new_model(seed: int, words: Sequence[str] = ()) -> CLIPModel:
    """Return an untrained model: 12 layers of width 96 for pictures, 3 for captions.

    Parameters
    ----------
    seed : int
    words : sequence of str
        What captions hold beyond the words of scenes; here and below, they are numbered last.
    """
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
            "vocab_size": len(_words(words)),
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


def load_weights(model: CLIPModel, weights: Path) -> None:
    """Give a model the weights of a trained one, which may know fewer words.

    The vectors of words that the other does not know stay as they are.

    Raises
    ------
    ModelError
        If the file holds another model.
    """
    import torch

    found = read_tensors(weights)
    own = model.state_dict()
    if set(found) != set(own):
        raise ModelError(_OTHER_MODEL.format(weights))
    with torch.no_grad():
        for name, values in own.items():
            given = torch.from_numpy(np.array(found[name]))
            n_known = len(given) if name == _WORD_VECTORS else None
            place = values[:n_known] if values.ndim else values
            if place.shape != given.shape:
                raise ModelError(_OTHER_MODEL.format(weights))
            place.copy_(given)


_WORD_VECTORS = "text_model.embeddings.token_embedding.weight"
_OTHER_MODEL = (
    "{} does not hold a model of the bundled study's shape. Give the folder of the bundled study, "
    "data/demo, or of one that `cgraph demo --out FOLDER` made."
)


def _words(more: Sequence[str]) -> list[str]:
    return [*_SPECIAL, *vocabulary(), *more]


def encode_captions(captions: Sequence[str], words: Sequence[str] = ()) -> torch.Tensor:
    """Return the word ids of captions, shape ``(n, length of the longest)``, padded at the end."""
    import torch

    ids = {word: n for n, word in enumerate(_words(words))}
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


def save_model(model: CLIPModel, folder: Path, words: Sequence[str] = ()) -> None:
    """Write the model, its words and its preprocessing as Hugging Face does."""
    with quiet_transformers():
        model.save_pretrained(folder)
        _tokenizer(words).save_pretrained(folder)
    write_bytes(folder / "preprocessor_config.json", to_json(_PREPROCESSING))
    for file in folder.iterdir():
        os.chmod(file, 0o644)  # weights are written for their owner alone


def _tokenizer(more: Sequence[str]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: n for n, word in enumerate(_words(more))}
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
