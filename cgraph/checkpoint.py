"""What a model folder of Hugging Face transformers holds, checked before anything is believed.

Only safetensors are read, because pickled weights can hold code, and only classes of transformers
itself are used. transformers initialises at random what a file does not hold; here that is an
error, because a token from random weights looks like any other.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph.errors import ModelError

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
WEIGHTS_INDEX_NAME = "model.safetensors.index.json"

WANTED = (
    "cgraph looks for a vision transformer, such as ViT, DeiT, CLIP, SigLIP or DINOv2: a network "
    "that takes pixels, and in it a list of num_hidden_layers blocks that hand one sequence of "
    "tokens of width hidden_size from each to the next"
)
"""End of the messages about models of another kind."""

_PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
# Parts that no token passes through, so that it does no harm if they are random.
_UNUSED_PARTS = {"pooler", "mask_token"}


def first_line(error: Exception) -> str:
    """Cut the message of another library's error to its first line."""
    return str(error).strip().partition("\n")[0]


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; `ModelError` if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.parent} has no {file.name}; give the folder of a model as Hugging Face "
            "transformers saves it."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} is not a JSON object.")
    return content


def weight_files(path: Path) -> list[Path]:
    """List the files that transformers would read weights from, each seen to be whole.

    Raises
    ------
    ModelError
        If there are no safetensors, or one of them is missing, truncated or damaged.
    """
    if (path / WEIGHTS_NAME).is_file():
        files = [path / WEIGHTS_NAME]
    elif (path / WEIGHTS_INDEX_NAME).is_file():
        files = [path / name for name in shard_names(path)]
    else:
        others = sorted(
            file.name
            for file in path.iterdir()
            if file.suffix in (*_PICKLED_SUFFIXES, ".safetensors")
        )
        found = f"found {', '.join(others)}" if others else "found no weights at all"
        raise ModelError(
            f"{path} has no {WEIGHTS_NAME} ({found}). Only safetensors are loaded, because pickled "
            "weights can hold code; load the model with transformers and convert it with "
            "save_pretrained."
        )
    for file in files:
        _check_whole(file)
    return files


def shard_names(path: Path) -> list[str]:
    """Return the names of the files that the index of split weights lists.

    Raises
    ------
    ModelError
        If it lists none, files of another kind, or files elsewhere.
    """
    shards = read_json(path / WEIGHTS_INDEX_NAME).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"{path / WEIGHTS_INDEX_NAME} lists no weights (weight_map).")
    names = sorted({str(name) for name in shards.values()})
    if any(Path(name).name != name for name in names):
        raise ModelError(f"{path / WEIGHTS_INDEX_NAME} lists files outside of its folder.")
    if any(Path(name).suffix != ".safetensors" for name in names):
        raise ModelError(f"{path / WEIGHTS_INDEX_NAME} lists files that are no safetensors.")
    return names


def _check_whole(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ModelError(f"{file.parent} has no {file.name}, which {WEIGHTS_INDEX_NAME} lists.")
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} is truncated or damaged ({error}); copy or download it again."
        ) from error


def hash_files(files: Sequence[Path]) -> str:
    """Fingerprint of weights: sha256 of one file, or of the hashes and names of several."""
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(hashes) == 1:
        return hashes[0]
    listing = "".join(
        f"{digest}  {file.name}\n" for digest, file in zip(hashes, files, strict=True)
    )
    return hashlib.sha256(listing.encode()).hexdigest()


def vision_config(path: Path, model_type: Any) -> Any:
    """Read the configuration of the part of the model that takes pixels.

    Returns
    -------
    transformers.PreTrainedConfig
        With whole numbers ``num_hidden_layers`` and ``hidden_size``.

    Raises
    ------
    ModelError
        If transformers does not know the model, or it is not a vision transformer.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(
                str(path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers checks by many kinds of exception
        raise ModelError(
            f"{path / CONFIG_NAME}, of model type {model_type!r}, is not understood by "
            f"transformers: {first_line(error)}"
        ) from error
    config = getattr(config, "vision_config", None) or config
    n_layers = getattr(config, "num_hidden_layers", None)
    d_model = getattr(config, "hidden_size", None)
    wrong = _not_a_vision_transformer(config, n_layers, d_model)
    if wrong:
        raise ModelError(
            f"The model in {path} is of type {model_type!r}, which is not a vision transformer: "
            f"{wrong}. {WANTED}."
        )
    return config


def _not_a_vision_transformer(config: Any, n_layers: Any, d_model: Any) -> str:
    """Say what was found in place of a vision transformer; nothing if it may be one."""
    network = _network_class(config)
    if network is None:
        return f"transformers has no network without a head for {type(config).__name__}"
    taken = network.main_input_name
    if taken != "pixel_values":
        return f"{network.__name__} takes {taken}, not pixels"
    for name, value in (("num_hidden_layers", n_layers), ("hidden_size", d_model)):
        if not isinstance(value, int):
            others = [n for n in ("depths", "hidden_sizes", "embed_dim") if hasattr(config, n)]
            found = ", ".join(f"{n} = {getattr(config, n)}" for n in others) or "nothing like it"
            return f"the configuration of {network.__name__} has no {name} (found: {found})"
    return ""


def load_network(path: Path, config: Any, precision: str = "float32") -> torch.nn.Module:
    """Load the network that `config` describes, without a head.

    Parameters
    ----------
    path
    config
        What `vision_config` returned.
    precision
        Name of a floating point type of torch.

    Raises
    ------
    ModelError
        If transformers cannot load it, or would fill in weights at random.
    """
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # see cgraph.model_inputs.EXCEPTIONS
    wanted = _network_class(config)
    network, missing = _loaded(path, wanted, precision, config=config)
    if missing:
        # Some classes for the vision side do not find their weights among those of the whole model.
        found = _part_of_whole(path, wanted, precision)
        if found is not None:
            return found
        raise ModelError(
            f"{path} has no weights for {len(missing)} parts of the network, such as {missing[0]}; "
            f"they would be random. Check that {CONFIG_NAME} belongs to these weights."
        )
    return network


def _loaded(path: Path, cls: Any, precision: str, **options: Any) -> tuple[Any, list[str]]:
    """Load a class of transformers; return the names of the weights that would be random, too."""
    import torch

    try:
        # Parts that are missing are initialised at random: not at the expense of the caller's seed.
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            network, report = cls.from_pretrained(
                str(path),
                dtype=getattr(torch, precision),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # transformers reports by many kinds of exception
        raise ModelError(f"The model in {path} cannot be loaded: {first_line(error)}") from error
    missing = (key for key in report["missing_keys"] if not _UNUSED_PARTS & set(key.split(".")))
    return network, sorted(missing)


def _part_of_whole(path: Path, wanted: Any, precision: str) -> Any:
    """Load the whole model and return its part of a class, if all weights of that are there."""
    from transformers import MODEL_MAPPING, AutoConfig

    with quiet_transformers():
        config = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    whole = _network_class(config) if type(config) in MODEL_MAPPING else wanted
    if whole is None or whole is wanted:
        return None
    network, missing = _loaded(path, whole, precision)
    for name, part in network.named_modules():
        if isinstance(part, wanted) and not any(key.startswith(f"{name}.") for key in missing):
            return part
    return None


def _network_class(config: Any) -> Any:
    """Give the class of transformers for a configuration, without a head; None if there is none.

    The vision side of some models of images and texts has no entry of its own in the tables of
    transformers; it is the class beside its configuration that takes it.
    """
    from transformers import MODEL_MAPPING, PreTrainedModel

    if type(config) in MODEL_MAPPING:
        found = MODEL_MAPPING[type(config)]
        return found[0] if isinstance(found, tuple) else found
    module = type(config).__module__.replace(".configuration_", ".modeling_")
    beside = vars(importlib.import_module(module)).values()
    for found in beside:
        if (
            isinstance(found, type)
            and issubclass(found, PreTrainedModel)
            and found.config_class is type(config)
            and found.__name__.endswith("VisionModel")
        ):
            return found
    return None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading report and the progress bar of transformers off the screen."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
