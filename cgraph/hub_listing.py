"""Which Parquet files of a data set of the Hugging Face Hub are meant, and what their footers say.

The Hub is asked through its own client, which knows the user's token and ``HF_ENDPOINT``. What it
answered about one commit never changes and is kept in the cache.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cgraph.download_cache import cache_folder, write_whole
from cgraph.errors import FetchError, ImageError
from cgraph.image_reference import HubReference

CONVERTED = "refs/convert/parquet"
"""The branch where the Hub itself keeps its Parquet form of data sets of other forms."""

DEFAULT = "default"

_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test",
}  # fmt: skip
_SHARD = re.compile(r"(?P<split>[\w.]+)-\d{5}-of-\d{5}[^/]*")
_FOOTER_THREADS = 8


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a data set, at one commit.

    Attributes
    ----------
    path : str
        Within the repository.
    size : int
        Bytes.
    oid : str
        Hash of the content.
    """

    path: str
    size: int
    oid: str


@dataclass(frozen=True)
class HubListing:
    """What a reference means.

    Attributes
    ----------
    reference : HubReference
        With the commit, configuration and split that were found.
    shards : tuple of Shard
        In the order of their paths.
    """

    reference: HubReference
    shards: tuple[Shard, ...]


def endpoint() -> str | None:
    """Return the address of the Hub that ``HF_ENDPOINT`` names, or None for the usual one."""
    return os.environ.get("HF_ENDPOINT") or None


def repository_folder(repository: str) -> Path:
    """Return the folder of the cache for one data set."""
    return cache_folder() / "hub" / repository.replace("/", "--")


def shard_folder(reference: HubReference, shard: Shard) -> Path:
    """Return the folder of the cache for one shard."""
    # Of the hash that a server sends a hash is taken, so that it cannot lead out of the cache.
    name = hashlib.sha256(shard.oid.encode()).hexdigest()
    return repository_folder(reference.id) / name


@contextmanager
def hub_errors(reference: HubReference) -> Iterator[None]:
    """Turn what the Hub's client raises into one sentence.

    Raises
    ------
    ImageError
        If there is no such data set, revision or file, or it may not be read.
    FetchError
        If the Hub cannot be reached, or is switched off.
    """
    from huggingface_hub import errors

    try:
        yield
    except (ImageError, FetchError):
        raise
    except errors.GatedRepoError:
        raise ImageError(
            f"The data set {reference.id} on the Hub is shown to those only who accepted its terms "
            f"there. Accept them at https://huggingface.co/datasets/{reference.id}, then log in "
            "with `hf auth login`."
        ) from None
    except errors.RevisionNotFoundError:
        raise ImageError(
            f"The data set {reference.id} on the Hub has no revision {reference.revision!r}. Give "
            "a branch, tag or commit of it, or none for the newest."
        ) from None
    except errors.RepositoryNotFoundError:
        raise ImageError(
            f"There is no data set {reference.id} on the Hub that you may read, and no file or "
            f"folder of that name here. Check the spelling; for a private one log in with "
            "`hf auth login`."
        ) from None
    except errors.OfflineModeIsEnabled:
        raise FetchError(_unreachable(reference, "HF_HUB_OFFLINE is set")) from None
    except errors.HFValidationError as error:
        raise ImageError(f"{reference} is no data set of the Hub: {error}") from None
    except Exception as error:
        # Its HTTP client has errors of its own, and which client it is differs by version.
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise FetchError(_unreachable(reference, cause)) from None


def _unreachable(reference: HubReference, cause: str) -> str:
    return (
        f"The data set {reference.id} on the Hub cannot be read ({cause}). Check the connection "
        "and run the same command again: finished work and all that was fetched are kept. If "
        "images on this machine are meant, nothing lies at that path."
    )


def find_shards(reference: HubReference) -> HubListing:
    """Find the commit and the Parquet files that a reference means.

    Raises
    ------
    ImageError, FetchError
        See `hub_errors`; also if there are no Parquet files, or several configurations or splits.
    """
    if reference.is_pinned and reference.split:
        kept = _read_listing(reference)
        if kept is not None:
            return kept
    with hub_errors(reference):
        found = _ask(reference)
    path = _listing_path(found.reference)
    values = {"shards": [asdict(shard) for shard in found.shards]}
    write_whole(path, json.dumps(values, sort_keys=True).encode())
    return found


def _ask(reference: HubReference) -> HubListing:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    info = api.dataset_info(reference.id, revision=reference.revision)
    shards = _parquet_files(api, reference.id, info.sha)
    card: Mapping[str, Any] = dict(info.card_data.to_dict()) if info.card_data else {}
    if not shards and reference.revision is None:
        card = {}
        with suppress(FileNotFoundError, ImageError):
            info = _converted(api, reference)
            shards = _parquet_files(api, reference.id, info.sha)
    if not shards:
        raise ImageError(
            f"The data set {reference.id} on the Hub has no Parquet files"
            f"{f' at {reference.revision}' if reference.revision else ''}, and the Hub has not "
            "made any of it. Download it and give its folder or zip file."
        )
    configs = _declared(card, shards) or _inferred(shards)
    config = _choose_config(reference, configs, card)
    splits = configs[config]
    split = _choose_split(reference, splits, config)
    found = HubReference(reference.id, info.sha, config, split)
    return HubListing(found, tuple(sorted(splits[split], key=lambda shard: shard.path)))


def _converted(api: Any, reference: HubReference) -> Any:
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return api.dataset_info(reference.id, revision=CONVERTED)
    except RevisionNotFoundError:
        raise FileNotFoundError(CONVERTED) from None


def _parquet_files(api: Any, repository: str, commit: str | None) -> list[Shard]:
    tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
    return [
        Shard(item.path, item.size, item.lfs.sha256 if item.lfs else item.blob_id)
        for item in tree
        if getattr(item, "blob_id", None) and item.path.lower().endswith(".parquet")
    ]


def _declared(card: Mapping[str, Any], shards: list[Shard]) -> dict[str, dict[str, list[Shard]]]:
    """Return configurations and splits as the data set's card declares them (``configs``)."""
    found: dict[str, dict[str, list[Shard]]] = {}
    configs = card.get("configs")
    for entry in configs if isinstance(configs, list) else []:
        if not isinstance(entry, dict) or "data_files" not in entry:
            continue
        files = entry["data_files"]
        parts = files if isinstance(files, list) else [files]
        splits: dict[str, list[Shard]] = {}
        for part in parts:
            split, paths = "train", part
            if isinstance(part, dict):
                split, paths = str(part.get("split", "train")), part.get("path", [])
            patterns = [paths] if isinstance(paths, str) else paths
            splits.setdefault(split, []).extend(
                shard for shard in shards if any(_fits(shard.path, str(p)) for p in patterns)
            )
        splits = {split: files for split, files in splits.items() if files}
        if splits:
            found[str(entry.get("config_name", DEFAULT))] = splits
    return found


def _fits(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern.removeprefix("./").replace("**/", "*"))


def _inferred(shards: list[Shard]) -> dict[str, dict[str, list[Shard]]]:
    """Return configurations and splits by the names of files and folders."""
    found: dict[str, dict[str, list[Shard]]] = {}
    for shard in shards:
        *folders, name = shard.path.split("/")
        stem = name.rpartition(".")[0]
        sharded = _SHARD.fullmatch(stem)
        if sharded:
            split = sharded["split"]
        elif len(folders) == 2 and stem.isdigit():  # how the Hub's own converted files lie
            split = folders[1]
        else:
            split = next((s for s in map(_split_in, (stem, *folders[::-1])) if s), "train")
        outer = [f for f in folders if f != "data" and f != split and not _split_in(f)]
        found.setdefault(outer[0] if outer else DEFAULT, {}).setdefault(split, []).append(shard)
    return found


def _split_in(text: str) -> str | None:
    words = re.split(r"[^a-z]+", text.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _choose_config(
    reference: HubReference, configs: Mapping[str, Any], card: Mapping[str, Any]
) -> str:
    if reference.config is not None:
        if reference.config in configs:
            return reference.config
        raise ImageError(
            f"The data set {reference.id} has no configuration {reference.config!r}, but: "
            f"{', '.join(configs)}."
        )
    if len(configs) == 1:
        return next(iter(configs))
    declared = card.get("configs")
    for entry in declared if isinstance(declared, list) else []:
        if isinstance(entry, dict) and entry.get("default") and entry["config_name"] in configs:
            return str(entry["config_name"])
    if DEFAULT in configs:
        return DEFAULT
    raise ImageError(
        f"The data set {reference.id} has {len(configs)} configurations: {', '.join(configs)}. "
        f"Say which, and which split: hub:{reference.id}:{next(iter(configs))}/"
        f"{next(iter(next(iter(configs.values()))))}."
    )


def _choose_split(reference: HubReference, splits: Mapping[str, list[Shard]], config: str) -> str:
    if reference.split is not None:
        if reference.split in splits:
            return reference.split
        raise ImageError(
            f"The data set {reference.id} has no split {reference.split!r} in its configuration "
            f"{config!r}, but: {', '.join(splits)}."
        )
    if "train" in splits:
        return "train"
    if len(splits) == 1:
        return next(iter(splits))
    raise ImageError(
        f"The data set {reference.id} has {len(splits)} splits and none is called train: "
        f"{', '.join(splits)}. Say which: hub:{reference.id}:{next(iter(splits))}."
    )


def _listing_path(reference: HubReference) -> Path:
    name = f"{reference.revision}-{reference.config}-{reference.split}.json"
    return repository_folder(reference.id) / "listings" / name.replace("/", "_")


def _read_listing(reference: HubReference) -> HubListing | None:
    try:
        values = json.loads(_listing_path(reference).read_bytes())
        return HubListing(reference, tuple(Shard(**shard) for shard in values["shards"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def open_shard(reference: HubReference, shard: Shard) -> Any:
    """Open a shard as a file of which only what is read is fetched, by ranges of bytes."""
    from huggingface_hub import HfFileSystem

    files = HfFileSystem(endpoint=endpoint())
    path = f"datasets/{reference.id}/{shard.path}"
    # Arrow asks for what belongs together in one piece, so nothing more is read ahead.
    return files.open(path, "rb", revision=reference.revision, size=shard.size, cache_type="none")


def read_footers(listing: HubListing) -> list[pq.FileMetaData]:
    """Read the footers of all shards, several at a time."""
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        return list(pool.map(lambda shard: read_footer(listing.reference, shard), listing.shards))


def read_footer(reference: HubReference, shard: Shard) -> pq.FileMetaData:
    """Read the footer of one shard, from the cache or the Hub.

    Raises
    ------
    ImageError, FetchError
        See `hub_errors`; also if the file is damaged.
    """
    path = shard_folder(reference, shard) / "footer.parquet"
    with suppress(OSError, pa.ArrowException):
        return pq.read_metadata(path)
    with hub_errors(reference):
        try:
            with open_shard(reference, shard) as file:
                footer = pq.read_metadata(file)
        except pa.ArrowException as error:
            raise ImageError(
                f"{shard.path} of {reference.id} is not a readable Parquet file: {error}"
            ) from None
    sink = pa.BufferOutputStream()
    footer.write_metadata_file(sink)
    write_whole(path, memoryview(sink.getvalue()))
    return footer
