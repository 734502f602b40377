"""The next block run again for real, on a changed class token: only the class token's own row.

The patch tokens that go into a block do not change when the class token does, and the class token
that comes out depends on its own row of attention alone. So the keys and values of all other tokens
are taken from the run on the whole image, and for a changed class token one query is asked. No part
is written anew: the block itself runs, on a sequence of class tokens, each of which sees itself and
the other tokens of the image; only what it calls attention is answered differently. This is exact
but for rounding, whatever norms, projections, scales and relative positions a block has.

It needs a class token and a block that asks PyTorch's `scaled_dot_product_attention` once. Where
that is not so, or where the answer for the token as it was is not what the whole block gave, whole
blocks are run: slower by the number of tokens, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.block_runs import BlockRun
from cgraph.vit import VisionModel

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
"""Largest difference to a whole block, over the largest number among its tokens."""

_ROWS = 512  # class tokens of one image that go through a block at once
_WHOLE = 16  # whole images that do


@dataclass(frozen=True)
class NextBlock:
    """A block in the middle of a run of the network, to be run again on changed tokens.

    Attributes
    ----------
    layer : int
        Of its output, 2 … L.
    before, after : ndarray of float32, shape (n_images, d_model)
        The token that is read before and after it.
    by_row : bool
        Whether `rerun` runs the class token's row alone.
    rerun : callable
        Takes the place of an image and what is added to its token, ``(m, d_model)``; returns the
        token that is read after the block, ``(m, d_model)``. Where no class token is read, it is
        added to every patch token.
    whole : callable
        The same by whole blocks.
    """

    layer: int
    before: np.ndarray
    after: np.ndarray
    by_row: bool
    rerun: Callable[[int, np.ndarray], np.ndarray]
    whole: Callable[[int, np.ndarray], np.ndarray]


def run_again(
    model: VisionModel,
    pixels: np.ndarray,
    visit: Callable[[NextBlock], None],
    *,
    only_whole: bool = False,
) -> None:
    """Run the network on some images, and visit every block from the second on while it does.

    Parameters
    ----------
    model : VisionModel
    pixels : ndarray of float32, shape (n_images, *model.pixel_shape)
        One batch.
    visit : callable
        Called with a `NextBlock` for the layers 2, 3, … L in turn; it is of use only in there.
    only_whole : bool
        Whether whole blocks are run where a row would do: to measure what that costs.
    """
    attention = _attention_mode()

    def watch(run: BlockRun) -> None:
        calls = attention.take()
        if run.layer == 1:
            return
        tokens = run.tokens

        def whole(place: int, added: np.ndarray) -> np.ndarray:
            return _whole(model, run, place, added)

        before = np.concatenate([run.read(tokens[i : i + 1], i) for i in range(len(tokens))])
        after = np.concatenate([run.read(run.output[i : i + 1], i) for i in range(len(tokens))])
        row = None if only_whole else _row_of(run, calls, attention, after)
        visit(NextBlock(run.layer, before, after, row is not None, row or whole, whole))
        attention.take()  # what was asked meanwhile is not of the next block

    with attention:
        model.watch_blocks(pixels, watch)


def _whole(model: VisionModel, run: BlockRun, place: int, added: np.ndarray) -> np.ndarray:
    """Run a block on all tokens of an image, once for each row of `added`."""
    tokens = run.tokens
    found = [np.empty((0, added.shape[1]), np.float32)]
    for start in range(0, len(added), _WHOLE):
        part = added[start : start + _WHOLE]
        changed = model.add_to_tokens(tokens[place].expand(len(part), -1, -1), part)

        def pick(value: torch.Tensor, changed: torch.Tensor = changed) -> torch.Tensor:
            if value is tokens:
                return changed
            if value.ndim and len(value) == len(tokens) > 1:
                return value[place : place + 1].expand(len(changed), *value.shape[1:])
            return value

        found.append(run.read(run.again(pick), place))
    return np.concatenate(found)


def _row_of(
    run: BlockRun, calls: list[dict[str, Any]], attention: Any, after: np.ndarray
) -> Callable[[int, np.ndarray], np.ndarray] | None:
    """Return `NextBlock.rerun` by the class token's row, or None where that does not fit."""
    if run.class_row is None or len(calls) != 1 or calls[0]["is_causal"]:
        return None
    tokens, row = run.tokens, run.class_row
    n_images, n_tokens = tokens.shape[:2]
    n_patches = len(range(n_tokens)[run.patch_rows])

    def rerun(place: int, added: np.ndarray) -> np.ndarray:
        import torch

        answer = _answer(calls[0], place, row)
        found = [np.empty((0, added.shape[1]), np.float32)]
        for start in range(0, len(added), _ROWS):
            moved = torch.as_tensor(
                added[start : start + _ROWS], dtype=tokens.dtype, device=tokens.device
            )
            changed = (tokens[place, row] + moved)[None]

            def pick(value: torch.Tensor, changed: torch.Tensor = changed) -> torch.Tensor:
                if value is tokens:
                    return changed
                if value.ndim > 2 and len(value) == n_images > 1:
                    value = value[place : place + 1]
                # What is there for every token, such as its position, is kept of the class token;
                # what is there for every patch, of none.
                for axis, length in enumerate(value.shape):
                    if length == n_tokens:
                        return value.narrow(axis, row, 1)
                    if length == n_patches:
                        return value.narrow(axis, 0, 0)
                return value

            with attention.answering(answer):
                found.append(run.again(pick)[0].float().cpu().numpy())
        return np.concatenate(found)

    nothing = np.zeros((1, tokens.shape[2]), np.float32)
    try:
        same = np.concatenate([rerun(place, nothing) for place in range(n_images)])
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None  # the block insists on a whole sequence
    near = np.abs(same - after).max() <= TOLERANCE * np.abs(after).max()
    return rerun if same.shape == after.shape and near else None


def _answer(call: dict[str, Any], place: int, row: int) -> Callable[..., torch.Tensor]:
    """Return attention of class tokens, each to itself and to the other tokens of an image."""
    import torch

    def others(values: torch.Tensor, axis: int) -> torch.Tensor:
        before = values.narrow(axis, 0, row)
        after = values.narrow(axis, row + 1, values.shape[axis] - row - 1)
        return torch.cat([before, after], dim=axis)

    key, value = call["key"][place], call["value"][place]
    keys, values = others(key, 1).transpose(1, 2).contiguous(), others(value, 1).contiguous()
    own_bias: Any = 0.0
    bias: Any = 0.0
    if call["attn_mask"] is not None:
        mask = call["attn_mask"]
        mask = mask.expand(len(call["key"]), key.shape[0], *mask.shape[-2:])[place, :, row]
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask.cpu(), -torch.inf).to(key)
        own_bias, bias = mask[:, row, None, None], others(mask, 1)[:, None]
    scale = key.shape[-1] ** -0.5 if call["scale"] is None else call["scale"]

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = query[0], key[0], value[0]  # (heads, m, width of a head)
        to_self = (query * key).sum(dim=-1, keepdim=True) * scale + own_bias
        to_others = query @ keys * scale + bias
        weights = torch.cat([to_self, to_others], dim=-1).softmax(dim=-1)
        return (weights[..., :1] * value + weights[..., 1:] @ values)[None]

    return attend


def _attention_mode() -> Any:
    """Return a context in which calls of attention are noted, or answered by a function."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Attention(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self._calls: list[dict[str, Any]] = []
            self._answer: Callable[..., torch.Tensor] | None = None

        def take(self) -> list[dict[str, Any]]:
            """Return the calls since the last time."""
            taken, self._calls = self._calls, []
            return taken

        def answering(self, answer: Callable[..., torch.Tensor]) -> AbstractContextManager[None]:
            """Return a context in which `answer` is asked; it nests in the noting one."""
            from contextlib import contextmanager

            @contextmanager
            def context() -> Any:
                self._answer = answer
                try:
                    # A mode is off while it handles a call, and hooks run inside of none.
                    yield
                finally:
                    self._answer = None

            return context()

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func is not torch.nn.functional.scaled_dot_product_attention:
                return func(*args, **kwargs)
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            call = {"attn_mask": None, "is_causal": False, "scale": None}
            call |= dict(zip(names, args, strict=False)) | kwargs
            if self._answer is not None:
                return self._answer(call["query"], call["key"], call["value"])
            self._calls.append(call)
            return func(*args, **kwargs)

    return Attention()
