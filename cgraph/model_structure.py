"""The parts of a vision transformer, found by what they do with an image of noise.

A network is run on noise, and what passes through it is watched:

- the *blocks* are the list of ``num_hidden_layers`` modules that run one after another and pass on
  tokens of one shape, ``(n, tokens, hidden_size)``;
- the *patch rows* are the tokens before the first block that are others when the pixels are;
- the *class row* is the one other token that moves when the class token's parameter is moved. Only
  that parameter is found by its name, and only one that moves a single row is believed: the query
  of a pooling head has such a name, too;
- a *pooling head* is a module with a learned query that makes one vector of all tokens after the
  last block.

So a model of a family that nobody thought of is read as well, and one that is something else gets
a sentence that says what was looked for and what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.checkpoint import WANTED, first_line
from cgraph.errors import CgraphError, ConfigError, ModelError
from cgraph.model_inputs import N_PLACES, network_inputs

if TYPE_CHECKING:
    import torch

    BlockHook = Callable[[int, torch.Tensor], torch.Tensor | None]

CLASS_TOKEN_NAMES = ("cls_token", "class_token", "class_embedding")
"""Names of the parameter that a class token starts as."""


@dataclass(frozen=True)
class PoolingHead:
    """What makes one vector of all tokens: a norm, if there is one, and attention to a query."""

    norm: Any
    head: Any

    def __call__(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Pool tokens ``(n, tokens, d_model)``; the mask tells padding, ``(n, tokens)``."""
        tokens = tokens if self.norm is None else self.norm(tokens)
        pooled: torch.Tensor = self.head(tokens) if mask is None else self.head(tokens, mask)
        return pooled


@dataclass(frozen=True)
class Structure:
    """Parts of a network.

    Attributes
    ----------
    blocks
        The transformer blocks, in order.
    patch_rows
        Places of the patches among the tokens.
    class_rows
        Places of class tokens: one, none, or in a few models several.
    pooling
        The pooling head, if there is one.
    """

    blocks: torch.nn.ModuleList
    patch_rows: slice
    class_rows: tuple[int, ...]
    pooling: PoolingHead | None

    def reading(self, token: str, name: str) -> str:
        """Return how a token is read: ``class``, ``mean`` or ``pooled``.

        Parameters
        ----------
        token
            What is asked for; ``auto`` takes the class token where there is one, and the mean of
            the patches otherwise.
        name
            Of the model, for messages.

        Raises
        ------
        ConfigError
            If the model has no such token.
        """
        if token == "pooled" and self.pooling is None:
            raise ConfigError(
                f"The token is 'pooled', and the {name} has no pooling head: no module with a "
                "learned query makes one vector of all tokens after the last block. Set token to "
                "'auto'."
            )
        if token in ("auto", "class") and len(self.class_rows) > 1:
            raise ConfigError(
                f"The {name} has {len(self.class_rows)} class tokens, and cgraph reads one. Set "
                "token to 'mean', which reads the mean of its patch tokens."
            )
        if token == "class" and not self.class_rows:
            raise ConfigError(
                f"The token is 'class', and the {name} has no class token: none of its tokens "
                f"starts as a parameter called {', '.join(CLASS_TOKEN_NAMES)}. Set token to "
                "'auto', which reads the mean of its patch tokens."
            )
        if token == "auto":
            return "class" if self.class_rows else "mean"
        return token


def find_structure(
    path: Path,
    network: torch.nn.Module,
    pixel_shape: tuple[int, ...],
    n_layers: int,
    d_model: int,
) -> Structure:
    """Find the parts of a network by what they do with noise.

    Parameters
    ----------
    path
        For messages.
    network
        The vision part of a model, on its device and in evaluation mode.
    pixel_shape
        Of one prepared image.
    n_layers, d_model
        Number of blocks and width of a token, as the configuration says.

    Raises
    ------
    ModelError
        If the network refuses pixels of this shape, has no list of `n_layers` blocks that run
        one after another and give tokens of the same shape, or gives tokens that are not finite or
        differ when asked again.
    """
    pixels = _noise(network, pixel_shape, seed=0)
    blocks = _find_blocks(path, network, pixels, n_layers, d_model)
    before = _first_input(network, blocks, pixels)
    moved = _changed_rows(before, _first_input(network, blocks, _noise(network, pixel_shape, 1)))
    if not moved or moved != list(range(moved[0], moved[-1] + 1)):
        raise ModelError(
            f"The patch tokens of the model in {path} do not lie side by side before its first "
            f"block: other pixels change the tokens {moved} of {before.shape[1]}. {WANTED}."
        )
    class_rows = _class_rows(network, blocks, pixels, before, moved)
    pooling = _find_pooling(network, blocks, pixels, d_model)
    return Structure(blocks, slice(moved[0], moved[-1] + 1), class_rows, pooling)


def _noise(network: torch.nn.Module, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    import torch

    noise = np.random.default_rng(seed).standard_normal((1, *shape), dtype=np.float32)
    if len(shape) == 2:  # patches: a grid of one row, so that none is padding
        noise[:, :, -N_PLACES] = 0
        noise[:, :, -N_PLACES + 1] = np.arange(shape[0])
    return torch.tensor(noise, device=next(network.parameters()).device)


def _find_blocks(
    path: Path, network: torch.nn.Module, pixels: torch.Tensor, n_layers: int, d_model: int
) -> torch.nn.ModuleList:
    import torch

    found = []
    for blocks in network.modules():
        if not isinstance(blocks, torch.nn.ModuleList) or len(blocks) != n_layers:
            continue
        try:
            first, again = (_block_outputs(network, blocks, pixels) for _ in range(2))
        except CgraphError:
            raise
        except Exception as error:  # networks refuse what they are given by many kinds of exception
            size = " × ".join(map(str, pixels.shape[2:]))
            raise ModelError(
                f"The model in {path} does not take the {size} pixels that its preprocessing "
                f"gives: {first_line(error)}"
            ) from error
        given = [_first_input(network, blocks, pixels)] if 0 in first else []
        shapes = sorted({tuple(tokens.shape) for tokens in (*given, *first.values())})
        shape = shapes[0] if len(shapes) == 1 else ()
        if list(first) != list(range(n_layers)) or len(shape) != 3 or shape[2] != d_model:
            kind = type(blocks[0]).__name__
            outputs = " and ".join(map(str, shapes)) or "none: they are not run one after another"
            found.append(f"{n_layers} × {kind} with tokens of shape {outputs}")
            continue
        if not all(tokens.isfinite().all() for tokens in first.values()):
            if next(network.parameters()).dtype == torch.float32:
                reason = "its weights are damaged"
            else:
                reason = "its numbers are too large for half precision; set precision to 'float32'"
            raise ModelError(f"The model in {path} gives tokens that are not finite; {reason}.")
        if not all(torch.equal(first[index], again[index]) for index in first):
            raise ModelError(
                f"The model in {path} gives other tokens when it sees the same image again; it "
                "leaves something to chance that cgraph does not know how to switch off."
            )
        return blocks
    raise ModelError(
        f"The model in {path} ({type(network).__name__}) has no list of {n_layers} blocks that "
        f"pass on one sequence of tokens of width {d_model}; found: "
        f"{'; '.join(found) or f'no list of {n_layers} modules'}. {WANTED}."
    )


def _first_input(
    network: torch.nn.Module, blocks: torch.nn.ModuleList, pixels: torch.Tensor
) -> torch.Tensor:
    """Return the tokens that go into the first block."""
    taken: list[torch.Tensor] = []

    def hook(_: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        tokens = next(value for value in (*args, *kwargs.values()) if hasattr(value, "shape"))
        taken.append(tokens.clone())

    handle = blocks[0].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        run_network(network, pixels)
    finally:
        handle.remove()
    return taken[0]


def _changed_rows(one: torch.Tensor, other: torch.Tensor) -> list[int]:
    changed: list[int] = (one != other).any(dim=-1)[0].nonzero()[:, 0].tolist()
    return changed


def _class_rows(
    network: torch.nn.Module,
    blocks: torch.nn.ModuleList,
    pixels: torch.Tensor,
    before: torch.Tensor,
    patches: list[int],
) -> tuple[int, ...]:
    """Return the tokens that move when a parameter with the name of a class token is moved."""
    import torch

    rows: set[int] = set()
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[2] not in CLASS_TOKEN_NAMES:
            continue
        kept = parameter.detach().clone()
        # Not all numbers by as much, which a layer norm would undo.
        steps = torch.linspace(-1, 1, kept.numel(), device=kept.device).view_as(kept)
        try:
            with torch.no_grad():
                parameter.add_(steps.to(kept.dtype))
            rows.update(_changed_rows(before, _first_input(network, blocks, pixels)))
        finally:
            with torch.no_grad():
                parameter.copy_(kept)
    return tuple(sorted(rows - set(patches)))


def _find_pooling(
    network: torch.nn.Module, blocks: torch.nn.ModuleList, pixels: torch.Tensor, d_model: int
) -> PoolingHead | None:
    """Find a module with a learned query that makes one vector of all tokens."""
    candidates = [
        module
        for module in network.modules()
        if any(p.numel() == d_model for _, p in module.named_parameters(recurse=False))
        and next(module.children(), None) is not None
    ]
    if not candidates:
        return None
    makers: dict[int, Any] = {}
    inputs: dict[int, torch.Tensor] = {}
    kept: list[Any] = []  # an id means something only while its object lives

    def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
        tokens = output[0] if isinstance(output, tuple) else output
        if not args or not hasattr(args[0], "shape") or not hasattr(tokens, "shape"):
            return
        kept.append((args[0], tokens))
        inputs[id(module)] = args[0]
        if tokens is not args[0] and makers.get(id(tokens)) is not blocks[-1]:
            makers[id(tokens)] = module  # the outermost, but what holds the last block
        pooled = (1, d_model)
        if module in candidates and args[0].ndim == 3 and tuple(tokens.shape) == pooled:
            heads.append(module)

    heads: list[Any] = []
    handles = [module.register_forward_hook(hook) for module in network.modules()]
    try:
        run_network(network, pixels)
    finally:
        for handle in handles:
            handle.remove()
    for head in heads:
        maker = makers.get(id(inputs[id(head)]))
        if maker is blocks[-1]:
            return PoolingHead(None, head)
        if maker is not None and makers.get(id(inputs[id(maker)])) is blocks[-1]:
            return PoolingHead(maker, head)
    return None


def _block_outputs(
    network: torch.nn.Module, blocks: torch.nn.ModuleList, pixels: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Tokens after every block, by the block's index and in the order of running."""
    outputs: dict[int, torch.Tensor] = {}

    def note(index: int, output: torch.Tensor) -> None:
        outputs[index] = output.clone()  # nothing later writes into it

    with hooked(blocks, note):
        run_network(network, pixels)
    return outputs


def run_network(network: torch.nn.Module, pixels: torch.Tensor) -> Any:
    """Run a network on one batch, and return its output."""
    import torch

    with torch.inference_mode():
        return network(**network_inputs(network, pixels))


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


@contextmanager
def skipped(blocks: torch.nn.ModuleList) -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Let a network run without its blocks: each hands on what it is given, the last what is put.

    Yields a function that takes another one: what stands for the last block, from the tokens that
    come in to those that go out, which may be of another number of images.

    Whether a block returns its tokens alone or with others in a tuple is found when it is first
    left out, by running it once on the same tokens.
    """
    put: dict[str, Callable[..., Any]] = {}

    def forward_of(index: int, block: Any) -> Callable[..., Any]:
        run = block.forward
        extra: list[Any] = []

        def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
            if not extra:
                output = run(hidden, *args, **kwargs)
                extra.append(output[1:] if isinstance(output, tuple) else None)
            if index == len(blocks) - 1:
                hidden = put["last"](hidden)
            return hidden if extra[0] is None else (hidden, *extra[0])

        return forward

    def place(last: Callable[..., Any]) -> None:
        put["last"] = last

    kept = [block.forward for block in blocks]
    for index, block in enumerate(blocks):
        block.forward = forward_of(index, block)
    try:
        yield place
    finally:
        for block, forward in zip(blocks, kept, strict=True):
            block.forward = forward
