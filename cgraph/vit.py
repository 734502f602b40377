"""Any Hugging Face vision transformer, and the token that is read of it after every layer.

What is read is the class token where there is one. Otherwise it is the mean of the patch tokens or,
if asked for, what the model's pooling head makes of them: `TOKENS` has the words for it. Everything
called "class token" elsewhere is this token.

The token can also be changed on its way: `VisionModel.class_tokens` adds to it after any layer, and
the blocks that are left run on what came of it.

Layers are numbered 1 to L for people: layer l is the output of transformer block l. This is the
one place that converts them to 0-based lists: row ``l - 1`` of what `VisionModel.class_tokens`
returns, and ``blocks[l - 1]``, belong to layer l.

A model is described by its structure, not by a list of classes; `cgraph.model_structure` finds its
parts. Tokens are taken by hooks at the blocks, because ``last_hidden_state`` of ViT and DINOv2 is
not the output of the last block (a layer norm comes after).

Folders are read, never the network, and only weights that cannot hold code: no pickle, no remote
code. torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cgraph.block_runs import BlockRun, watched
from cgraph.checkpoint import (
    CONFIG_NAME,
    first_line,
    hash_files,
    load_network,
    read_json,
    vision_config,
    weight_files,
)
from cgraph.config import Precision, Token
from cgraph.errors import ConfigError, DataError, ModelError
from cgraph.model_inputs import network_inputs
from cgraph.model_structure import Structure, find_structure, hooked
from cgraph.patch_preprocessing import PatchPreprocessing, load_preprocessing
from cgraph.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from PIL import Image

TOKENS = {"class": "class", "mean": "mean of patches", "pooled": "pooled"}
"""How a token is read, by the setting that asks for it, in the words of studies."""


def setting_of(words: str) -> Token:
    """Return the setting that asks for a token in the words of a study.

    Raises
    ------
    ModelError
        If a newer version reads tokens that this one does not know.
    """
    for setting, found in TOKENS.items():
        if found == words:
            return cast(Token, setting)
    raise ModelError(
        f"The study's tokens are {words!r}; this version of cgraph reads {', '.join(TOKENS)}. Use "
        "the version that wrote the study."
    )


TokenChange = Callable[[int, np.ndarray], np.ndarray | None]
"""What is added to the tokens that are read after a layer, ``(n, d_model)``; None for nothing."""


class VisionModel:
    """A vision transformer, frozen and in evaluation mode.

    Use `load`. One thread at a time runs the network; others wait.

    Attributes
    ----------
    path
        The model's folder.
    family
        ``model_type`` of the folder: ``vit``, ``deit``, ``clip``, ``clip_vision_model``,
        ``dinov2`` and so on.
    architecture
        Class of the saved model, such as ``ViTForImageClassification``.
    n_layers
        Number of transformer blocks, L.
    d_model
        Length of a token.
    pixel_shape
        Shape of one prepared image.
    weights_hash
        sha256, in hexadecimal, of the weights file; of several files, of their names and hashes.
    preprocessing_hash
        sha256, in hexadecimal, of what is done to a picture before the network sees it.
    device
        Where the network runs.
    precision
        Of its numbers: ``float32``, ``float16`` or ``bfloat16``. Tokens are float32 in any case.
    network
        The vision part of the model, a ``torch.nn.Module``.
    blocks
        Its transformer blocks, in order.
    token
        How its token is read: a value of `TOKENS`.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        network: torch.nn.Module,
        structure: Structure,
        token: str,
        d_model: int,
        preprocessing: Preprocessing | PatchPreprocessing,
        weights_hash: str,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.path = path
        self.family = str(config["model_type"])
        architectures = config.get("architectures") or [type(network).__name__]
        self.architecture = str(architectures[0])
        self.blocks = structure.blocks
        self.n_layers = len(self.blocks)
        self.d_model = d_model
        self.pixel_shape = preprocessing.pixel_shape
        self.weights_hash = weights_hash
        self.preprocessing_hash = preprocessing.fingerprint()
        self.device = device
        self.precision = precision
        self.network = network
        self.token = TOKENS[token]
        self._structure = structure
        self._preprocessing = preprocessing
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        precision: Precision = "auto",
        token: Token = "auto",
    ) -> VisionModel:
        """Load a model from a folder in the layout of Hugging Face transformers.

        Parameters
        ----------
        folder
            With ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``, which may
            be split in several files by an index. Of a model of images and text, such as CLIP, the
            vision part is taken; heads are ignored.
        device
            ``cpu``, ``cuda`` or another name that torch knows; ``auto`` takes an accelerator where
            there is one.
        precision
            Of the network's numbers; ``auto`` is float32 on the processor and float16 elsewhere.
        token
            What is read: ``class``, ``mean`` or ``pooled``; ``auto`` takes the class token where
            there is one, and the mean of the patch tokens otherwise.

        Returns
        -------
        VisionModel

        Raises
        ------
        ModelError
            If the folder is missing, incomplete or damaged, asks for code of its own, has pickled
            weights or weights for only a part of the network, or holds another kind of model.
        ConfigError
            If the device is unknown or absent, or the model has no such token.
        """
        path = Path(folder).absolute()
        if not path.is_dir():
            raise ModelError(f"There is no model folder {path}.")
        config = read_json(path / CONFIG_NAME)
        if "auto_map" in config:
            raise ModelError(
                f"{path / CONFIG_NAME} asks for code of its own (auto_map), which cgraph never "
                "runs; use the version of the model that transformers itself supports."
            )
        model_type = str(config.get("model_type"))
        vision = vision_config(path, config.get("model_type"))
        weights = weight_files(path)
        preprocessing = load_preprocessing(path, model_type)
        target = _usable_device(device)
        precision = _usable_precision(precision, target)
        network = load_network(path, vision, precision).to(target).eval().requires_grad_(False)
        structure = find_structure(
            path,
            network,
            preprocessing.pixel_shape,
            vision.num_hidden_layers,
            vision.hidden_size,
        )
        return cls(
            path,
            config,
            network,
            structure,
            structure.reading(token, f"{model_type!r} model in {path}"),
            vision.hidden_size,
            preprocessing,
            hash_files(weights),
            target,
            precision,
        )

    @property
    def fingerprint(self) -> str:
        """Hashes of the weights and of the preprocessing: what tokens depend on."""
        return f"{self.weights_hash} {self.preprocessing_hash}"

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the prepared pixels, of a model that takes pixels."""
        return self.pixel_shape[-2], self.pixel_shape[-1]

    @property
    def reads_class_token(self) -> bool:
        """Whether the token that is read is a class token, so that patches need not change."""
        return self.token == TOKENS["class"]

    def preprocess(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Prepare pictures as the model's folder says.

        Parameters
        ----------
        images
            Pictures of any sizes, mode ``RGB``.

        Returns
        -------
        np.ndarray, shape (n, *pixel_shape), float32
            Pixels ``(n, 3, height, width)``; of a model that takes pictures of any aspect ratio,
            patches with their places, as `PatchPreprocessing` makes them.
        """
        return self._preprocessing(images)

    @property
    def levels(self) -> Preprocessing:
        """How pictures are shown to the network, and prepared from what is shown.

        Raises
        ------
        ModelError
            If the model takes patches of pictures of any size.
        """
        if isinstance(self._preprocessing, Preprocessing):
            return self._preprocessing
        raise ModelError(
            f"The {self.family} model takes patches of pictures of any size, so that there is no "
            "picture of one size that could be changed pixel by pixel."
        )

    def class_tokens(self, pixels: np.ndarray, change: TokenChange | None = None) -> np.ndarray:
        """Token that is read after every transformer block: the class token where there is one.

        A change is made while the network runs: what it returns for a layer is added to the class
        token there, the patch tokens stay as they are, and the blocks after it run on both. If
        another token is read, it is added to every patch token. That moves the mean of them as far;
        what a pooling head makes of it is another matter, and read again.

        The numbers depend on the pixels of the batch alone. The same image in a batch of another
        size, or with another number of torch threads, may differ in its last bits.

        Parameters
        ----------
        pixels
            What `preprocess` returned, shape ``(n, *pixel_shape)``, float32; one batch.
        change
            Called for layers 1, 2, … L in turn, with the layer and its tokens.

        Returns
        -------
        np.ndarray, shape (n_layers, n, d_model), float32
            Row ``l - 1`` is layer l, after what was added there.

        Raises
        ------
        DataError
            If `pixels` have another shape.
        """
        import torch

        pixels = self._checked(pixels)
        tokens = np.empty((self.n_layers, len(pixels), self.d_model), dtype=np.float32)
        if not len(pixels):
            return tokens
        inputs = network_inputs(self.network, torch.tensor(pixels, device=self.device))
        mask = inputs.get("pixel_attention_mask")

        def note(index: int, output: torch.Tensor) -> torch.Tensor | None:
            read = self.read(output, mask)
            added = None if change is None else change(index + 1, read)
            if added is None:
                tokens[index] = read
                return None
            output = self.add_to_tokens(output, added)
            tokens[index] = self.read(output, mask)
            return output

        with self.running(), hooked(self.blocks, note):
            self.network(**inputs)
        return tokens

    def watch_blocks(self, pixels: np.ndarray, watch: Callable[[BlockRun], None]) -> None:
        """Run the network, and hand over every block after it ran.

        Parameters
        ----------
        pixels
            As `class_tokens` takes them; at least one image.
        watch
            Called for the blocks of layers 1, 2, … L in turn. It must not change what it is given.

        Raises
        ------
        DataError
            If `pixels` have another shape.
        """
        import torch

        pixels = self._checked(pixels)
        inputs = network_inputs(self.network, torch.tensor(pixels, device=self.device))
        mask = inputs.get("pixel_attention_mask")

        def read(output: torch.Tensor, place: int) -> np.ndarray:
            own = None if mask is None else mask[place].expand(len(output), -1)
            return self.read(output, own)

        patch_rows = self._structure.patch_rows
        with self.running(), watched(self.blocks, watch, self.class_row, patch_rows, read):
            self.network(**inputs)

    def _checked(self, pixels: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        if pixels.ndim < 2 or pixels.shape[1:] != self.pixel_shape:
            raise DataError(
                f"The pixels have shape {pixels.shape}; the model takes "
                f"(n, {', '.join(map(str, self.pixel_shape))})."
            )
        return pixels

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the network, or blocks of it, for this thread; nothing is kept for gradients."""
        import torch

        with self._lock, torch.inference_mode():
            yield

    @property
    def class_row(self) -> int | None:
        """Place of the class token among all tokens; None if another token is read."""
        return self._structure.class_rows[0] if self.reads_class_token else None

    def read(self, output: torch.Tensor, mask: torch.Tensor | None = None) -> np.ndarray:
        """Read the token of each image out of a block's output ``(n, tokens, d_model)``.

        Parameters
        ----------
        output
        mask
            Which tokens are no padding, ``(n, tokens)``, of a model that pads.

        Returns
        -------
        np.ndarray, shape (n, d_model), float32
        """
        return self.read_tensor(output, mask).cpu().numpy()

    def read_tensor(self, output: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Read the token of each image as `read` does, as a float32 tensor on its device."""
        if self.reads_class_token:
            read = output[:, self._structure.class_rows[0]]
        elif self.token == TOKENS["pooled"]:
            assert self._structure.pooling is not None
            read = self._structure.pooling(output, mask)
        elif mask is None:
            read = output[:, self._structure.patch_rows].float().mean(dim=1)
        else:
            weights = mask[:, :, None].float()
            read = (output.float() * weights).sum(dim=1) / weights.sum(dim=1)
        return read.float()

    def with_class_token(self, output: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return a block's output ``(n, tokens, d_model)`` with other class tokens."""
        output = output.clone()
        output[:, self._structure.class_rows[0]] = tokens
        return output

    def add_to_tokens(self, output: torch.Tensor, added: np.ndarray) -> torch.Tensor:
        """Return a block's output ``(n, tokens, d_model)`` with something added.

        It is added to the class token if that is what is read, and to every patch token otherwise.
        """
        import torch

        output = output.clone()
        moved = torch.as_tensor(added, dtype=output.dtype, device=output.device)
        if self.reads_class_token:
            output[:, self._structure.class_rows[0]] += moved
        else:
            output[:, self._structure.patch_rows] += moved[:, None]
        return output


def _usable_device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device {name!r} cannot be used: {first_line(error).rstrip('.')}. Use 'cpu', or "
            "'cuda' where there is an accelerator."
        ) from error
    return device


def _usable_precision(precision: Precision, device: torch.device) -> Precision:
    import torch

    if precision == "auto":
        precision = "float32" if device.type == "cpu" else "float16"
    if precision == "float32" and device.type == "cuda":
        # The first layer is a convolution, which an accelerator would round to 10 bits.
        torch.backends.cudnn.allow_tf32 = False
    return precision
