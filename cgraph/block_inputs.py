"""What goes into each transformer block, kept, so that a block can be run again on something else.

A network is run once as always, and the arguments of every block are noted: the tokens, and what
else its family passes on (masks, positions, shared biases). A block is then called with the same
arguments and other tokens, and the blocks after it on what comes out. So a change in one layer
costs the blocks after it and not the whole network.

Kept of a single image, the arguments serve any number of changes of that image at once, because
what a block takes beside the tokens is then the same for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.errors import DataError, ModelError
from cgraph.model_inputs import network_inputs
from cgraph.model_structure import hooked
from cgraph.vit import VisionModel

if TYPE_CHECKING:
    import torch

_CLOSE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.3}
# By the precision of the network: largest difference of a block run again, in deviations of all
# numbers of the last layer. Batches of another size are summed in another order.


@dataclass(frozen=True)
class _Call:
    """Arguments of a block and which of them the tokens are."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: int | str

    @property
    def tokens(self) -> torch.Tensor:
        found: torch.Tensor = (
            self.args[self.place] if isinstance(self.place, int) else self.kwargs[self.place]
        )
        return found

    def replaced(self, tokens: torch.Tensor) -> _Call:
        if isinstance(self.place, str):
            return _Call(self.args, {**self.kwargs, self.place: tokens}, self.place)
        args = (*self.args[: self.place], tokens, *self.args[self.place + 1 :])
        return _Call(args, self.kwargs, self.place)


class BlockInputs:
    """Inputs of all blocks for one batch. Use `of`.

    Attributes
    ----------
    model : VisionModel
    n_images : int
    """

    def __init__(
        self,
        model: VisionModel,
        calls: Sequence[_Call],
        last: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> None:
        self.model = model
        self.n_images = len(last)
        self._calls, self._last, self._mask = calls, last, mask

    @classmethod
    def of(cls, model: VisionModel, pixels: np.ndarray) -> BlockInputs:
        """Run images through the network and keep what went into every block.

        Parameters
        ----------
        model : VisionModel
        pixels : ndarray of float32, shape (n_images, *model.pixel_shape)
        """
        import torch

        inputs = network_inputs(model.network, torch.tensor(pixels, device=model.device))
        calls: list[_Call] = []
        outputs: list[torch.Tensor] = []

        def before(_: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
            place = next(place for place, value in given if hasattr(value, "shape"))
            call = _Call(args, kwargs, place)
            calls.append(call.replaced(call.tokens.clone()))  # nothing later writes into it

        def after(index: int, output: torch.Tensor) -> None:
            if index == model.n_layers - 1:
                outputs.append(output.clone())

        with ExitStack() as stack:
            stack.enter_context(model.running())
            stack.enter_context(hooked(model.blocks, after))
            for block in model.blocks:
                handle = block.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
            model.network(**inputs)
        return cls(model, calls, outputs[0], inputs.get("pixel_attention_mask"))

    def output(self, layer: int) -> torch.Tensor:
        """Return all tokens after a layer, ``(n_images, tokens, d_model)``; 0 is the embedding."""
        return self._calls[layer].tokens if layer < len(self._calls) else self._last

    def run(self, first: int, tokens: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """Run blocks on other tokens than those that went into them.

        Parameters
        ----------
        first : int
            Layer whose block is given the tokens, 1 … L.
        tokens : Tensor, shape (n, tokens, d_model)
            Of the same images in the same order; of one image, any number of versions of it.
        last : int, optional
            Layer at which to stop; `first` if left out.

        Returns
        -------
        Tensor, shape (n, tokens, d_model)
            Output of block `last`.

        Raises
        ------
        DataError
            If the number of images is another.
        """
        if self.n_images not in (1, len(tokens)):
            raise DataError(
                f"There are tokens of {len(tokens)} images, and the inputs are of {self.n_images}. "
                "Keep the inputs of a single image to change it in several ways."
            )
        with self.model.running():
            for layer in range(first, (first if last is None else last) + 1):
                call = self._calls[layer - 1].replaced(tokens)
                output = self.model.blocks[layer - 1](*call.args, **call.kwargs)
                tokens = output[0] if isinstance(output, tuple) else output
        return tokens

    def read(self, output: torch.Tensor) -> np.ndarray:
        """Read the token of each image out of a block's output, ``(n, d_model)`` float32."""
        mask = None if self._mask is None else self._mask.expand(len(output), -1)
        with self.model.running():
            return self.model.read(output, mask)


def check_blocks(model: VisionModel, pixels: np.ndarray) -> None:
    """Refuse a model whose blocks do not give the same again when they are called one by one.

    Parameters
    ----------
    model : VisionModel
    pixels : ndarray of float32, shape (1, *model.pixel_shape)

    Raises
    ------
    ModelError
        If two copies of an image, run block by block, end elsewhere than the image itself.
    """
    kept = BlockInputs.of(model, pixels[:1])
    again = kept.run(1, kept.output(0).repeat(2, 1, 1), model.n_layers)
    wanted = kept.output(model.n_layers).float()
    apart = float((again.float() - wanted).abs().max() / wanted.std())
    if not apart <= _CLOSE[model.precision]:
        raise ModelError(
            f"The blocks of the {model.family!r} model in {model.path} give other tokens when they "
            f"are called one by one (by {apart:.2g} deviations): something happens between them "
            "that cgraph does not know. Measurements that change what goes into a block cannot be "
            "taken of it."
        )
