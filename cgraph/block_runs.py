"""Blocks of a network handed over while it runs, with what it takes to run one of them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    Read = Callable[[torch.Tensor, int], np.ndarray]


@dataclass(frozen=True)
class BlockRun:
    """One block in the middle of a run of the network, to be run again on other tokens.

    Attributes
    ----------
    layer
        Of its output, 1 … L.
    block
        The module. Its ``forward`` runs it without the hooks of the run that goes on.
    args, kwargs
        What it was called with. The first tensor among them are the tokens of all images,
        ``(n, tokens, d_model)``.
    output
        Tokens that came out, of the same shape.
    class_row
        Place of the class token; None if another token is read.
    patch_rows
        Places of the patches.
    read
        Returns the token that is read of ``(m, tokens, d_model)`` tokens of one image, given the
        image's place in the batch: ``(m, d_model)``.
    """

    layer: int
    block: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: torch.Tensor
    class_row: int | None
    patch_rows: slice
    read: Read

    @property
    def tokens(self) -> torch.Tensor:
        """Tokens that went in."""
        found: torch.Tensor = next(
            value for value in (*self.args, *self.kwargs.values()) if hasattr(value, "shape")
        )
        return found

    def again(self, pick: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Run the block with other tensors in place of those it was called with."""
        output = self.block.forward(
            *(_mapped(value, pick) for value in self.args),
            **{name: _mapped(value, pick) for name, value in self.kwargs.items()},
        )
        tokens: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return tokens


def _mapped(value: Any, pick: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if hasattr(value, "shape"):
        return pick(value)
    if type(value) in (tuple, list):
        return type(value)(_mapped(each, pick) for each in value)
    return value


@contextmanager
def watched(
    blocks: torch.nn.ModuleList,
    watch: Callable[[BlockRun], None],
    class_row: int | None,
    patch_rows: slice,
    read: Read,
) -> Iterator[None]:
    """Hand over every block after it ran; parameters as in `BlockRun`."""

    def hook_of(layer: int) -> Callable[..., None]:
        def hook(block: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tokens = output[0] if isinstance(output, tuple) else output
            watch(BlockRun(layer, block, args, kwargs, tokens, class_row, patch_rows, read))

        return hook

    handles = [
        block.register_forward_hook(hook_of(layer), with_kwargs=True)
        for layer, block in enumerate(blocks, start=1)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
