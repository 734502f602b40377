"""Where a model comes from: a folder on this machine, or the Hugging Face Hub by its id.

A folder that exists is taken, whatever it is called. Only what cannot be a folder and has the form
of a hub id, ``owner/name`` or ``name``, is asked for on the hub, and of the repository only what is
needed: descriptions, safetensors and, where the model knows texts, the tokenizer. Pickled weights
and code are never fetched. The hub's own cache, its settings (``HF_HOME``, ``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HUB_OFFLINE``) and its rule are kept: without a connection, what was fetched
before is used.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.checkpoint import (
    CONFIG_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    first_line,
    read_json,
    shard_names,
    vision_config,
    weight_files,
)
from cgraph.errors import ConfigError, ModelError
from cgraph.preprocessing import DESCRIPTION_NAMES

_TOKENIZER_NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
)
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"(?:{_PART}/)?{_PART}", re.ASCII)
_MANY = 6


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine, and where it came from.

    Attributes
    ----------
    folder : Path
    id : str
        Hub id, or the name of the folder.
    revision : str or None
        Branch, tag or commit that was asked for on the hub; None for a folder.
    commit : str or None
        The commit that was found there.
    """

    folder: Path
    id: str
    revision: str | None = None
    commit: str | None = None

    def to_dict(self) -> dict[str, str]:
        """Return what a study keeps of it; of a folder its name alone."""
        known = {"id": self.id, "revision": self.revision, "commit": self.commit}
        return {name: value for name, value in known.items() if value is not None}


def is_hub_id(reference: str) -> bool:
    """Return whether a text has the form of a hub id, ``owner/name`` or ``name``."""
    plain = "--" not in reference and ".." not in reference and not reference.endswith(".git")
    return plain and _HUB_ID.fullmatch(reference) is not None


def resolve_model(reference: str | Path, revision: str | None = None) -> ModelSource:
    """Find a model, and fetch it if it is on the hub.

    Parameters
    ----------
    reference : str or Path
        A folder, or a hub id. A `Path` is always a folder.
    revision : str, optional
        Branch, tag or commit on the hub; its main branch if left out.

    Returns
    -------
    ModelSource

    Raises
    ------
    ModelError
        If there is no such folder or repository, the hub cannot be reached or wants a permission,
        or the repository has no safetensors, asks for code of its own or holds another kind of
        model. What can be refused is refused before the weights are fetched.
    ConfigError
        If a revision is given for a folder.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(
                f"The revision is {revision!r}, and {folder} is a folder on this machine, which "
                "has no revisions. Leave the revision out, or give a hub id."
            )
        return ModelSource(folder.absolute(), folder.resolve().name)
    if folder.exists():
        raise ModelError(f"{folder} is a file. Give the folder of a model, or a hub id.")
    text = str(reference)
    if isinstance(reference, Path) or not is_hub_id(text):
        no_id = "" if isinstance(reference, Path) else ", and it is no hub id (owner/name) either"
        raise ModelError(f"There is no model folder {folder.absolute()}{no_id}.{_near(folder)}")
    return _fetch(text, revision)


def cached_model(model_id: str, commit: str) -> Path | None:
    """Return the folder of a model that was fetched before; no request is made."""
    from huggingface_hub import try_to_load_from_cache

    if not is_hub_id(model_id):
        return None
    found = try_to_load_from_cache(model_id, CONFIG_NAME, revision=commit)
    return Path(found).parent if isinstance(found, str) else None


def _near(folder: Path) -> str:
    """Name a folder that may have been meant."""
    try:
        names = [entry.name for entry in folder.absolute().parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(folder.name, names, n=1)
    return f" Did you mean {folder.parent / near[0]}?" if near else ""


def _fetch(model_id: str, revision: str | None) -> ModelSource:
    with _explained(model_id, revision):
        from huggingface_hub import hf_hub_download

        folder = Path(hf_hub_download(model_id, CONFIG_NAME, revision=revision)).parent
    source = ModelSource(folder, model_id, revision or "main", folder.name)
    config = read_json(folder / CONFIG_NAME)
    if "auto_map" in config:
        raise ModelError(
            f"{model_id} asks for code of its own (auto_map in {CONFIG_NAME}), which cgraph never "
            "runs; use the version of the model that transformers itself supports."
        )
    names = _listing(source)
    if names is None:
        _check_cached(source)
        return source
    descriptions = [name for name in DESCRIPTION_NAMES if name in names]
    if not descriptions:
        raise ModelError(
            f"{model_id} has no {DESCRIPTION_NAMES[0]} on the hub, so it is unknown how images are "
            "resized and normalised. Fetch it into a folder, add the file, and give the folder."
        )
    weights = WEIGHTS_NAME if WEIGHTS_NAME in names else WEIGHTS_INDEX_NAME
    if weights not in names:
        raise ModelError(_no_safetensors(model_id, names))
    vision_config(folder, config.get("model_type"))
    small = [*descriptions, *(name for name in _text_files(config) if name in names)]
    with _explained(model_id, revision):
        for name in (*small, weights):
            hf_hub_download(model_id, name, revision=source.commit)
        for name in shard_names(folder) if weights == WEIGHTS_INDEX_NAME else ():
            hf_hub_download(model_id, name, revision=source.commit)
    return source


def _listing(source: ModelSource) -> set[str] | None:
    """Return the names of a repository's files; None if the hub cannot be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(source.id, revision=source.commit)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code >= 500:
            return None
        with _explained(source.id, source.revision):
            raise
    except Exception:  # no connection is told by many kinds of exception
        return None
    return {file.rfilename for file in info.siblings or ()}


def _check_cached(source: ModelSource) -> None:
    """Refuse a model of which the cache holds only a part, where the rest cannot be fetched."""
    try:
        weight_files(source.folder)
        complete = any((source.folder / name).is_file() for name in DESCRIPTION_NAMES)
    except ModelError:
        complete = False
    if not complete:
        raise ModelError(
            f"The hub cannot be reached, and only a part of {source.id} was fetched before. "
            "Connect this machine (and unset HF_HUB_OFFLINE), or give a folder."
        )


def _text_files(config: dict[str, Any]) -> tuple[str, ...]:
    classifier = "Classification" in str(config.get("architectures"))
    return (
        _TOKENIZER_NAMES if isinstance(config.get("text_config"), dict) and not classifier else ()
    )


def _no_safetensors(model_id: str, names: set[str]) -> str:
    endings = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx")
    others = sorted(name for name in names if name.endswith(endings))
    found = ", ".join(others[:_MANY]) + (" …" if len(others) > _MANY else "")
    return (
        f"{model_id} has no {WEIGHTS_NAME} on the hub (found {found or 'no weights at all'}). Only "
        "safetensors are loaded, because pickled weights can hold code; look for a revision that "
        "has them, such as refs/pr/1, or convert the model with save_pretrained."
    )


@contextmanager
def _explained(model_id: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into sentences."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{model_id} is gated: its authors want to be asked. Accept their terms on the page of "
            "the model, then sign in with `hf auth login`, or set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no folder {Path(model_id).absolute()}, and the hub has no model "
            f"{model_id!r}, or it is private. Check the spelling; for a private model sign in with "
            f"`hf auth login`, or set HF_TOKEN.{_near(Path(model_id))}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{model_id} has no revision {revision!r} on the hub. Give a branch, a tag or a commit."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"There is no folder {Path(model_id).absolute()}, and the model {model_id!r} cannot be "
            "fetched: the hub cannot be reached (no connection, or HF_HUB_OFFLINE is set), and it "
            f"was not fetched before. Give a folder that exists.{_near(Path(model_id))}"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(
            f"{model_id} is not a model of transformers: {first_line(error)} It must have "
            f"{CONFIG_NAME} and {WEIGHTS_NAME}."
        ) from error
    except Exception as error:  # the hub's client reports by many kinds of exception
        raise ModelError(
            f"{model_id} could not be fetched from the hub: {first_line(error)} Run the same "
            "command again; what has arrived is kept."
        ) from error
