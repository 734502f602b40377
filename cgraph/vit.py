"""Any local Hugging Face vision transformer with a class token, and that token at every layer.

The token can also be changed on its way: `VisionModel.class_tokens` adds to it after any layer, and
the blocks that are left run on what came of it.

Layers are numbered 1 to L for people: layer l is the output of transformer block l. This is the
one place that converts them to 0-based lists: row ``l - 1`` of what `VisionModel.class_tokens`
returns, and ``blocks[l - 1]``, belong to layer l.

A model is described by its structure, not by a list of classes: pixels go in, and a list of
``num_hidden_layers`` blocks maps token sequences ``(n, tokens, d_model)`` to the same shape. Tokens
are taken by hooks at the blocks, because ``last_hidden_state`` of ViT and DINOv2 is not the output
of the last block (a layer norm comes after).

Folders are read, never the network, and only weights that cannot hold code: no pickle, no remote
code. torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.checkpoint import (
    CONFIG_NAME,
    WANTED,
    first_line,
    hash_files,
    load_network,
    read_json,
    vision_config,
    weight_files,
)
from cgraph.errors import ConfigError, DataError, ModelError
from cgraph.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from PIL import Image

    BlockHook = Callable[[int, torch.Tensor], torch.Tensor | None]

_CLASS_TOKEN_NAMES = ("cls_token", "class_token", "class_embedding")

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
    image_size
        Height and width of the preprocessed pixels.
    weights_hash
        sha256, in hexadecimal, of the weights file; of several files, of their names and hashes.
    preprocessing_hash
        sha256, in hexadecimal, of what is done to a picture before the network sees it.
    device
        Where the network runs.
    network
        The vision part of the model, a ``torch.nn.Module``.
    blocks
        Its transformer blocks, in order.
    has_class_token
        Whether a class token is read; otherwise the mean of the patch tokens.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        network: torch.nn.Module,
        blocks: torch.nn.ModuleList,
        d_model: int,
        preprocessing: Preprocessing,
        weights_hash: str,
        device: torch.device,
        has_class_token: bool = True,
    ) -> None:
        self.path = path
        self.family = str(config["model_type"])
        architectures = config.get("architectures") or [type(network).__name__]
        self.architecture = str(architectures[0])
        self.n_layers = len(blocks)
        self.d_model = d_model
        self.image_size = preprocessing.image_size
        self.weights_hash = weights_hash
        self.preprocessing_hash = preprocessing.fingerprint()
        self.device = device
        self.network = network
        self.blocks = blocks
        self.has_class_token = has_class_token
        self._preprocessing = preprocessing
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "cpu", mean_of_patches: bool = False
    ) -> VisionModel:
        """Load a model from a folder in the layout of Hugging Face transformers.

        Parameters
        ----------
        folder
            With ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``, which may
            be split in several files by an index. Of a model of images and text, such as CLIP, the
            vision part is taken; heads are ignored.
        device
            ``cpu``, ``cuda`` or another name that torch knows.
        mean_of_patches
            Read a model without a class token by the mean of its patch tokens, in place of
            refusing it.

        Returns
        -------
        VisionModel

        Raises
        ------
        ModelError
            If the folder is missing, incomplete or damaged, asks for code of its own, has pickled
            weights or weights for only a part of the network, or holds another kind of model.
        ConfigError
            If the device is unknown or absent.
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
        model_type = config.get("model_type")
        vision = vision_config(path, model_type)
        weights = weight_files(path)
        preprocessing = Preprocessing.load(path, str(model_type))
        target = _usable_device(device)
        network = load_network(path, vision).to(target).eval().requires_grad_(False)
        has_class_token = _has_class_token(network)
        if not has_class_token and not mean_of_patches:
            raise ModelError(
                f"The {model_type!r} model in {path} has no class token. Models read by the mean "
                f"of their patch tokens are not supported yet; {WANTED}."
            )
        blocks = _find_blocks(
            path, network, preprocessing.image_size, vision.num_hidden_layers, vision.hidden_size
        )
        return cls(
            path,
            config,
            network,
            blocks,
            vision.hidden_size,
            preprocessing,
            hash_files(weights),
            target,
            has_class_token,
        )

    @property
    def fingerprint(self) -> str:
        """Hashes of the weights and of the preprocessing: what tokens depend on."""
        return f"{self.weights_hash} {self.preprocessing_hash}"

    def preprocess(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Prepare pictures as the model's folder says.

        Parameters
        ----------
        images
            Pictures of any sizes, mode ``RGB``.

        Returns
        -------
        np.ndarray, shape (n, 3, height, width), float32
        """
        return self._preprocessing(images)

    def class_tokens(self, pixels: np.ndarray, change: TokenChange | None = None) -> np.ndarray:
        """Class token after every transformer block.

        A change is made while the network runs: what it returns for a layer is added to the class
        token there, the patch tokens stay as they are, and the blocks after it run on both. Without
        a class token it is added to every patch token, which moves their mean as far.

        The numbers depend on the pixels of the batch alone. The same image in a batch of another
        size, or with another number of torch threads, may differ in its last bits.

        Parameters
        ----------
        pixels
            What `preprocess` returned, shape ``(n, 3, height, width)``, float32; one batch.
        change
            Called for layers 1, 2, … L in turn, with the layer and its class tokens.

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

        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        if pixels.ndim != 4 or pixels.shape[1:] != (3, *self.image_size):
            raise DataError(
                f"The pixels have shape {pixels.shape}; the model takes "
                f"(n, 3, {self.image_size[0]}, {self.image_size[1]})."
            )
        tokens = np.empty((self.n_layers, len(pixels), self.d_model), dtype=np.float32)
        if not len(pixels):
            return tokens

        def note(index: int, output: torch.Tensor) -> torch.Tensor | None:
            read = self._read(output)
            added = None if change is None else change(index + 1, read)
            if added is None:
                tokens[index] = read
                return None
            output = self.add_to_tokens(output, added)
            tokens[index] = self._read(output)
            return output

        with self._lock:
            _run(self.network, self.blocks, torch.tensor(pixels, device=self.device), note)
        return tokens

    def _read(self, output: torch.Tensor) -> np.ndarray:
        read = output[:, 0] if self.has_class_token else output.mean(dim=1)
        return read.cpu().numpy()

    def add_to_tokens(self, output: torch.Tensor, added: np.ndarray) -> torch.Tensor:
        """Return a block's output ``(n, tokens, d_model)`` with something added to what is read."""
        import torch

        output = output.clone()
        moved = torch.as_tensor(added, dtype=output.dtype, device=output.device)
        if self.has_class_token:
            output[:, 0] += moved
        else:
            output += moved[:, None]
        return output


def _usable_device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device {name!r} cannot be used: {first_line(error)} Use 'cpu', or "
            "'cuda' where there is an accelerator."
        ) from error
    return device


def _has_class_token(network: torch.nn.Module) -> bool:
    names = (name.rpartition(".")[2] for name, _ in network.named_parameters())
    return any(name in _CLASS_TOKEN_NAMES for name in names)


def _find_blocks(
    path: Path,
    network: torch.nn.Module,
    image_size: tuple[int, int],
    n_layers: int,
    d_model: int,
) -> torch.nn.ModuleList:
    """Find the list of blocks by what they do with one image of noise.

    Parameters
    ----------
    path
        For messages.
    network
        Takes pixels.
    image_size
        Height and width of the pixels.
    n_layers, d_model
        Number of blocks and width of a token, as the configuration says.

    Raises
    ------
    ModelError
        If the network refuses pixels of this size, has no list of `n_layers` blocks that run
        one after another and give tokens of the same shape, or gives tokens that are not finite or
        differ when asked again.
    """
    import torch

    noise = np.random.default_rng(0).standard_normal((1, 3, *image_size), dtype=np.float32)
    pixels = torch.tensor(noise, device=next(network.parameters()).device)
    for blocks in network.modules():
        if not isinstance(blocks, torch.nn.ModuleList) or len(blocks) != n_layers:
            continue
        try:
            first, again = (_block_outputs(network, blocks, pixels) for _ in range(2))
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"The model in {path} does not take the {image_size[0]} × {image_size[1]} "
                f"pixels that its preprocessing gives: {first_line(error)}"
            ) from error
        shapes = {tuple(tokens.shape) for tokens in first.values()}
        if list(first) != list(range(n_layers)) or len(shapes) != 1:
            continue
        shape = shapes.pop()
        if len(shape) != 3 or shape[0] != 1 or shape[2] != d_model:
            continue
        if not all(tokens.isfinite().all() for tokens in first.values()):
            raise ModelError(
                f"The model in {path} gives tokens that are not finite; its weights are damaged."
            )
        if not all(torch.equal(first[index], again[index]) for index in first):
            raise ModelError(
                f"The model in {path} gives other tokens when it sees the same image again, as "
                "masked autoencoders do; use the encoder of such a model saved as a ViT."
            )
        return blocks
    raise ModelError(
        f"The model in {path} has no list of {n_layers} blocks that pass on tokens of width "
        f"{d_model}; {WANTED}."
    )


def _block_outputs(
    network: torch.nn.Module, blocks: torch.nn.ModuleList, pixels: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Tokens after every block, by the block's index and in the order of running."""
    outputs: dict[int, torch.Tensor] = {}

    def note(index: int, output: torch.Tensor) -> None:
        outputs[index] = output.clone()  # nothing later writes into it

    _run(network, blocks, pixels, note)
    return outputs


def _run(
    network: torch.nn.Module,
    blocks: torch.nn.ModuleList,
    pixels: torch.Tensor,
    note: BlockHook,
) -> None:
    """Run the network, and hand the output of each block to a function that may replace it."""
    import torch

    with hooked(blocks, note), torch.inference_mode():
        network(pixel_values=pixels)


@contextmanager
def hooked(blocks: torch.nn.ModuleList, note: BlockHook) -> Iterator[None]:
    """Hand the output of each block to a function, which may return what goes on in its place."""

    def hook_of(index: int) -> Callable[..., Any]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
            whole = isinstance(output, tuple)
            replaced = note(index, output[0] if whole else output)
            if replaced is None:
                return None
            return (replaced, *output[1:]) if whole else replaced

        return hook

    handles = [block.register_forward_hook(hook_of(i)) for i, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
