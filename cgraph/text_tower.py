"""The text side of a model of images and texts, such as CLIP: how alike an image and a word are.

Both sides end in one space; the likeness of an image and a text is the cosine of the two vectors
there. Folders are read, never the network, and torch is imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.checkpoint import (
    CONFIG_NAME,
    first_line,
    quiet_transformers,
    read_json,
    weight_files,
)
from cgraph.errors import ConfigError, ModelError
from cgraph.model_inputs import knows, names_of_text_inputs, network_inputs, padding_of_texts

_BATCH = 64


def has_text_tower(folder: Path) -> bool:
    """Return whether a model folder says that it has a text side; nothing is loaded."""
    try:
        config = read_json(folder / CONFIG_NAME)
        # A classifier made of such a model keeps its configuration, and nothing of its text side.
        kinds = str(config.get("architectures"))
        return isinstance(config.get("text_config"), dict) and "Classification" not in kinds
    except ModelError:
        return False


class TextTower:
    """A model of images and texts, frozen and in evaluation mode. Use `load`."""

    def __init__(self, network: Any, tokenizer: Any, path: Path) -> None:
        self._network, self._tokenizer, self._path = network, tokenizer, path

    @classmethod
    def load(cls, folder: str | Path) -> TextTower:
        """Load the model and its tokenizer from a folder in the layout of Hugging Face.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        ModelError
            If the model knows no texts, or is incomplete or damaged.
        """
        path = Path(folder).absolute()
        config = read_json(path / CONFIG_NAME)
        if not isinstance(config.get("text_config"), dict):
            raise ModelError(
                f"The {config.get('model_type')!r} model in {path} knows no texts. Names by text "
                "need a model of images and texts, such as CLIP; name concepts by hand instead."
            )
        if "auto_map" in config:
            raise ModelError(
                f"{path / CONFIG_NAME} asks for code of its own (auto_map), which cgraph never "
                "runs; use the version of the model that transformers itself supports."
            )
        weight_files(path)
        import torch
        from transformers import AutoModel, AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            with torch.random.fork_rng(devices=[]), quiet_transformers():
                network, report = AutoModel.from_pretrained(
                    str(path),
                    dtype=torch.float32,
                    use_safetensors=True,
                    output_loading_info=True,
                    **options,
                )
                tokenizer = AutoTokenizer.from_pretrained(str(path), **options)
        except Exception as error:  # transformers reports by many kinds of exception
            raise ModelError(
                f"The texts of the model in {path} cannot be read: {first_line(error)} The folder "
                "must hold the model with its tokenizer, as save_pretrained writes both."
            ) from error
        if report["missing_keys"] or not hasattr(network, "get_text_features"):
            raise ModelError(
                f"{path} lacks parts of its text side: they would be random. Check that "
                f"{CONFIG_NAME} belongs to these weights."
            )
        return cls(network.eval().requires_grad_(False), tokenizer, path)

    def knows(self, text: str) -> bool:
        """Return whether the tokenizer has every word of a text, and the text is not empty."""
        return knows(self._tokenizer, text)

    def embed_texts(self, texts: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        """Return the vector of every text, shape ``(n_texts, n_dimensions)``, of length 1.

        Parameters
        ----------
        texts : sequence of str
        templates : sequence of str
            Sentences with ``{}`` in place of the text; the mean over them is taken.

        Raises
        ------
        ConfigError
            If there is no template, or one has no ``{}``.
        """
        wrong = [template for template in templates if template.count("{}") != 1]
        if wrong or not templates:
            raise ConfigError(
                f"The template {(wrong or ['none'])[0]!r} cannot be used: write a sentence with "
                "{} in the place of the word, such as 'a photo of a {}'."
            )
        import torch

        means = []
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                batch = texts[start : start + _BATCH]
                vectors = [
                    _unit(self._text_features([t.replace("{}", word) for word in batch]))
                    for t in templates
                ]
                means.append(_unit(torch.stack(vectors).mean(dim=0)).numpy())
        return np.concatenate(means) if means else np.empty((0, 0), dtype=np.float32)

    def _text_features(self, sentences: list[str]) -> Any:
        config = self._network.config
        given = self._tokenizer(sentences, return_tensors="pt", **padding_of_texts(config))
        given = {name: given[name] for name in names_of_text_inputs(config) if name in given}
        return _features(self._network.get_text_features(**given))

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the vector of every image, shape ``(n_images, n_dimensions)``, of length 1.

        Parameters
        ----------
        pixels : ndarray of float32, shape (n_images, *pixel_shape)
            What `VisionModel.preprocess` of the same model returned; one batch.
        """
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
            inputs = network_inputs(self._network, given)
            return _unit(_features(self._network.get_image_features(**inputs))).numpy()


def _features(output: Any) -> Any:
    """Return the vectors in the shared space, which newer versions wrap."""
    return getattr(output, "pooler_output", output)


def _unit(vectors: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1)
