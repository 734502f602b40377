"""Files of dictionaries made elsewhere: arrays by layer, whatever the files are called.

A dictionary of one layer is a group of arrays with a description. Groups are found in one file, in
a folder of files, or in a folder of folders; the layer stands in the description (a hook point), in
the names of the arrays or in those of files and folders. Nothing is read that can hold code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.errors import ConfigError, DataError

_SUFFIXES = (".safetensors", ".npz")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npy", ".h5")
_DESCRIPTIONS = ("cfg.json", "config.json")
_NO_DICTIONARY = ("sparsity", "optimizer", "activations")

# "layer-07.atoms", "layers.7.atoms", "blocks.6.hook_resid_post/atoms", "7.atoms"
_KEY = re.compile(
    r"(?:(layers?|blocks?|L)[-_. ]?)?(\d+)(\.hook_resid_(?:pre|post))?[-_./](.+)", re.I
)
_PLACE = re.compile(r"(?:^|[^a-z])(layers?|blocks?|l)[-_. ]?(\d+)(\.hook_[a-z_]+)?", re.I)
_HOOK = re.compile(r"blocks\.(\d+)\.(hook_[a-z_]+(?:\.[a-z_]+)*)")


@dataclass(frozen=True)
class LayerArrays:
    """The arrays of one layer.

    Attributes
    ----------
    layer : int
        From 1: the output of the transformer block of that number.
    arrays : mapping of str to ndarray
        As in the file, without what names the layer.
    description : mapping
        What ``cfg.json`` or ``config.json`` beside it says; empty without one.
    place : str
        Of the file, and of the arrays in it, for messages.
    """

    layer: int
    arrays: Mapping[str, np.ndarray]
    description: Mapping[str, Any]
    place: str


@dataclass(frozen=True)
class _Group:
    number: int
    counts_from: int | None  # None: 0 or 1, which all groups together tell
    arrays: Mapping[str, np.ndarray]
    description: Mapping[str, Any]
    place: str


def read_layers(path: Path, n_layers: int) -> list[LayerArrays]:
    """Read the arrays of all layers of a model.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` or ``.npz`` file, or a folder of such files.
    n_layers : int
        Of the model.

    Returns
    -------
    list of LayerArrays
        Of layers 1..n_layers.

    Raises
    ------
    ConfigError
        If nothing is there, or only pickled files.
    DataError
        If a file is damaged, a layer is missing, there twice or not one of the model, or a
        dictionary belongs to something else than the output of a block.
    """
    groups = [group for file in _files(path) for group in _groups(file, path)]
    # All layers are needed, so that numbers of either kind give themselves away: there is a 0, or
    # there is the number of layers.
    from_zero = any(group.number == 0 for group in groups if group.counts_from is None)
    found: dict[int, LayerArrays] = {}
    for group in groups:
        first = group.counts_from if group.counts_from is not None else int(not from_zero)
        layer = group.number + 1 - first
        if not 1 <= layer <= n_layers:
            raise DataError(
                f"{group.place} is for layer {layer}, counted from 1, and the model has layers 1 "
                f"to {n_layers}. Give dictionaries of this model, one for each of its layers."
            )
        if layer in found:
            raise DataError(
                f"{found[layer].place} and {group.place} are both for layer {layer}, counted from "
                "1. Leave one of them."
            )
        found[layer] = LayerArrays(layer, group.arrays, group.description, group.place)
    missing = [layer for layer in range(1, n_layers + 1) if layer not in found]
    if missing:
        raise DataError(
            f"{path} has no dictionary for {'layer' if len(missing) == 1 else 'layers'} "
            f"{', '.join(map(str, missing))} of {n_layers}, counted from 1. A study needs one for "
            "each layer of the model."
        )
    return [found[layer] for layer in sorted(found)]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        _refuse_pickled(path)
        return [path]
    if not path.is_dir():
        raise ConfigError(f"There is no file or folder {path}. Give the place of a dictionary.")
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.suffix.lower() in _SUFFIXES
        and not any(word in file.stem.lower() for word in _NO_DICTIONARY)
    ]
    if not files:
        for file in sorted(path.rglob("*")):
            _refuse_pickled(file)
        raise ConfigError(
            f"{path} holds no dictionaries: neither .safetensors nor .npz files. Give a file or "
            "folder that does."
        )
    return files


def _refuse_pickled(file: Path) -> None:
    if file.suffix.lower() in _PICKLED:
        target = file.with_suffix(".safetensors").name
        raise ConfigError(
            f"{file} may hold code, and is not read. Where you trust it, convert it: load it with "
            "`torch.load(…, weights_only=True)` and write its state_dict with "
            f"`safetensors.torch.save_file(state, '{target}')`; put its settings beside it as "
            "cfg.json."
        )
    if file.is_file() and file.suffix.lower() not in _SUFFIXES and file.suffix != ".json":
        raise ConfigError(f"{file} is no dictionary: its name must end in .safetensors or .npz.")


def _groups(file: Path, root: Path) -> Iterator[_Group]:
    arrays = _read(file)
    description = _description(file)
    hook = _hook(description)
    by_number: dict[tuple[int, int | None], dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if found := _KEY.fullmatch(name):
            word, number, point, rest = found.groups()
            key = _counting(word, int(number), point)
            by_number.setdefault(key, {})[rest] = array
    if by_number and sum(map(len, by_number.values())) == len(arrays):
        for (number, counts_from), own in by_number.items():
            yield _Group(number, counts_from, own, description, f"{file}, {number}")
        return
    if hook is not None:
        yield _Group(*_read_by(hook, file), arrays, description, str(file))
        return
    inside = file.relative_to(root).with_suffix("").as_posix() if file != root else file.stem
    places = list(_PLACE.finditer(inside))
    if places:
        word, number, point = places[-1].groups()
        yield _Group(*_counting(word, int(number), point), arrays, description, str(file))
    elif number_alone := re.search(r"(\d+)\D*$", inside):
        yield _Group(int(number_alone[1]), None, arrays, description, str(file))
    else:
        raise DataError(
            f"It is not known for which layer {file} is. Name it, such as layer-07.safetensors, or "
            "put a cfg.json with its hook_name beside it."
        )


def _counting(word: str | None, number: int, point: str | None) -> tuple[int, int | None]:
    if point is not None or (word or "").lower().startswith("block"):
        hook = f"blocks.{number}.{(point or '.hook_resid_post')[1:]}"
        return _read_by(hook, Path(hook))
    return number, None


def _read_by(hook: str, file: Path) -> tuple[int, int]:
    """Return the number of a hook point's block and from what it counts, as if read after it."""
    found = _HOOK.fullmatch(hook)
    if found is None or found[2] not in ("hook_resid_post", "hook_resid_pre"):
        raise DataError(
            f"{file} codes what flows through {hook!r}, and cgraph codes the class token after a "
            "block, blocks.N.hook_resid_post. Give dictionaries for that."
        )
    number = int(found[1])
    if found[2] == "hook_resid_post":
        return number, 0
    if number == 0:
        raise DataError(
            f"{file} codes what goes into the first block (blocks.0.hook_resid_pre), which is no "
            "layer's output. Leave it out."
        )
    return number - 1, 0


def _description(file: Path) -> dict[str, Any]:
    for name in (*_DESCRIPTIONS, f"{file.stem}.json"):
        place = file.with_name(name)
        if not place.is_file():
            continue
        try:
            values = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{place} cannot be read as JSON ({error}).") from None
        if not isinstance(values, dict):
            raise DataError(f"{place} is not a JSON object.")
        return values
    return {}


def _hook(description: Mapping[str, Any]) -> str | None:
    layer = None
    for part in (description, description.get("metadata"), description.get("meta")):
        if isinstance(part, Mapping):
            layer = part.get("hook_layer", part.get("hook_point_layer", layer))
            hook = part.get("hook_name") or part.get("hook_point")
            if isinstance(hook, str):
                return hook.replace("{layer}", str(layer))
    if isinstance(description.get("layer_subtype"), str) and layer is not None:  # Prisma
        return f"blocks.{layer}.{description['layer_subtype']}"
    return None


def _read(file: Path) -> dict[str, np.ndarray]:
    """Read arrays; those of half precision become float32."""
    try:
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            from safetensors.torch import load_file  # NumPy has no bfloat16

            arrays = {}
            for name, tensor in load_file(file).items():
                wide = tensor.float() if tensor.is_floating_point() else tensor
                arrays[name] = wide.numpy()
    except Exception as error:  # the libraries raise many kinds for damaged files
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"{file} cannot be read ({first}).") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise DataError(f"{name} in {file} holds {array.dtype}, not numbers.")
        if not np.isfinite(array).all():
            raise DataError(f"{name} in {file} holds numbers that are not finite.")
    return arrays
