"""The files of a study, wherever they lie: which belong to it, and whether they are still the same.

A study lies in a folder or in a zip file. `StudyFiles` is what both offer: names, sizes and bytes.
The manifest lists every file that was measured, with its hash. Beside them may lie names given by
hand, how many drawn scenes the images are, and the model; everything else is additional.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from cgraph.errors import StudyError
from cgraph.given_names import GIVEN_NAMES
from cgraph.manifest import BUILD_RECORD, MANIFEST, PROGRESS, STAGES, Manifest
from cgraph.object_paths import as_object
from cgraph.store import LOCK_NAME
from cgraph.unpacked import MARK

MODEL = "model"
"""Sub-folder of a study with its model."""

SCENES = "scenes.json"
"""How many drawn scenes of which seed are the images of a study."""

BESIDE = (GIVEN_NAMES, SCENES)
"""Files that belong to a study and travel with it, though the manifest does not list them."""

_OF_THIS_MACHINE = (BUILD_RECORD, PROGRESS, LOCK_NAME, MARK)
_WORKING_FOLDERS = (".building", ".cache", ".job", ".measuring")
_MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_WEIGHTS = f"{MODEL}/model.safetensors"
_PIECE = 1 << 20


class StudyFiles(Protocol):
    """The files of a study that lies somewhere."""

    place: Path

    def sizes(self) -> Mapping[str, int]:
        """Return the size in bytes of every file, by its path with forward slashes."""

    def open(self, relative: str) -> BinaryIO:
        """Open a file for reading."""


class FolderFiles:
    """The files of a study folder, of this machine or of an object store.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.place = folder

    def sizes(self) -> Mapping[str, int]:
        """Return the size in bytes of every file, by its path with forward slashes."""
        remote = as_object(self.place)
        if remote is not None:
            return remote.sizes()
        return {
            path.relative_to(self.place).as_posix(): path.stat().st_size
            for path in sorted(self.place.rglob("*"))
            if path.is_file()
        }

    def open(self, relative: str) -> BinaryIO:
        """Open a file for reading."""
        return (self.place / relative).open("rb")


@dataclass(frozen=True)
class Verification:
    """What the files of a study are, against its manifest.

    Attributes
    ----------
    name : str
        The study's slug.
    n_files, n_bytes : int
        Of the files that the manifest lists.
    missing, altered, additional : tuple of str
        Files that are listed and not there; that are listed with another hash; that are there and
        belong to nothing.
    unfinished : tuple of str
        Stages of the build that are still to be done.
    model : str
        ``none``: the study comes without its model. ``same``: with the weights it was built with.
        ``altered``: with other ones.
    """

    name: str
    n_files: int
    n_bytes: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    additional: tuple[str, ...]
    unfinished: tuple[str, ...]
    model: str

    @property
    def whole(self) -> bool:
        """Whether everything that belongs to the study is there and unchanged."""
        return not (self.missing or self.altered or self.unfinished or self.model == "altered")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        lists = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        return {**lists, "whole": self.whole}


def verify_files(
    files: StudyFiles, manifest: Manifest, on_progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Compare every file with the manifest by its hash.

    Parameters
    ----------
    files : StudyFiles
    manifest : Manifest
    on_progress : callable, optional
        Called with the bytes read and the bytes to read.

    Returns
    -------
    Verification

    Raises
    ------
    StudyError
        If a file that is there cannot be read.
    """
    sizes = files.sizes()
    weights = [name for name in sizes if _is_weights(name)]
    listed = manifest.files
    missing = [name for name in listed if name not in sizes]
    altered = [name for name, r in listed.items() if sizes.get(name, r.size) != r.size]
    to_read = [name for name in listed if name in sizes and name not in altered] + weights
    total, done = sum(sizes[name] for name in to_read), 0
    digests = {}
    for name in to_read:
        digest = hashlib.sha256()
        try:
            for piece in pieces(files, name):
                digest.update(piece)
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, total)
            digests[name] = digest.hexdigest()
        except (zipfile.BadZipFile, zlib.error):
            digests[name] = ""  # the zip's own checksum differs
    altered += [n for n, r in listed.items() if n in digests and digests[n] != r.sha256]
    return Verification(
        name=manifest.name,
        n_files=len(listed),
        n_bytes=sum(record.size for record in listed.values()),
        missing=tuple(sorted(missing)),
        altered=tuple(sorted(altered)),
        additional=tuple(sorted(name for name in sizes if not _belongs(name, manifest))),
        unfinished=tuple(stage for stage in STAGES if stage not in manifest.stages),
        model=_model_state(files, digests, weights, manifest),
    )


def pieces(files: StudyFiles, relative: str) -> Iterator[bytes]:
    """Yield the bytes of a file, a piece at a time.

    Raises
    ------
    StudyError
        If it cannot be read.
    """
    try:
        with files.open(relative) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except OSError as error:
        reason = error.strerror or error
        raise StudyError(f"{relative} of {files.place} cannot be read ({reason}).") from None


def _is_weights(relative: str) -> bool:
    path = PurePosixPath(relative)
    return path.parent == PurePosixPath(MODEL) and path.suffix == ".safetensors"


def _belongs(relative: str, manifest: Manifest) -> bool:
    parts = PurePosixPath(relative).parts
    return (
        relative in manifest.files
        or relative == MANIFEST
        or relative in BESIDE
        or relative in _OF_THIS_MACHINE
        or parts[0] in _WORKING_FOLDERS
        or is_model_file(relative)
    )


def is_model_file(relative: str) -> bool:
    """Return whether a path is that of a file of a model that travels: no pickle, no code."""
    path = PurePosixPath(relative)
    return path.parent == PurePosixPath(MODEL) and path.suffix in _MODEL_SUFFIXES


def _model_state(
    files: StudyFiles, digests: Mapping[str, str], weights: list[str], manifest: Manifest
) -> str:
    if not weights:
        return "none"
    if _WEIGHTS in weights:
        found = digests[_WEIGHTS]
    else:
        # As cgraph.checkpoint.hash_files does it for weights in several files.
        names = sorted(_shards(files) & {PurePosixPath(name).name for name in weights})
        lines = [f"{digests[f'{MODEL}/{name}']}  {name}\n" for name in names]
        found = hashlib.sha256("".join(lines).encode()).hexdigest()
        if len(names) == 1:
            found = digests[f"{MODEL}/{names[0]}"]
    return "same" if found == manifest.model["weights_sha256"] else "altered"


def _shards(files: StudyFiles) -> set[str]:
    try:
        index = b"".join(pieces(files, f"{MODEL}/model.safetensors.index.json"))
        return set(json.loads(index)["weight_map"].values())
    except (StudyError, KeyError, TypeError, ValueError, AttributeError):
        return set()


def travelling(files: StudyFiles, manifest: Manifest, *, with_model: bool) -> list[str]:
    """Return the files of a study that travel, the manifest first.

    Parameters
    ----------
    files : StudyFiles
    manifest : Manifest
    with_model : bool
        Whether the files of ``model/``, if there are any, come along.

    Raises
    ------
    StudyError
        If the study is unfinished or lacks a file.
    """
    sizes = files.sizes()
    unfinished = [stage for stage in STAGES if stage not in manifest.stages]
    if unfinished:
        raise StudyError(
            f"The study in {files.place} is not finished: {unfinished[0]} is still to be done. "
            "Finish it with `cgraph build --out` first."
        )
    for name, record in manifest.files.items():
        if sizes.get(name) != record.size:
            raise StudyError(
                f"{name} of the study in {files.place} is missing or was cut off. "
                f"`cgraph verify {files.place}` lists all that is wrong."
            )
    besides = [name for name in BESIDE if name in sizes]
    model = [name for name in sizes if with_model and is_model_file(name)]
    return [MANIFEST, *sorted([*manifest.files, *besides, *model])]
