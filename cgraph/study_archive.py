"""Studies as zip files: written with the same bytes each time, and opened without trusting them.

Files are stored as they are, not deflated: pictures and codes hardly shrink, and a zip that only
stores is read as fast as the folder. Order, times and modes are fixed, so that the same study gives
the same zip. What belongs to one machine (``build.json``, with times and paths) stays there.

A zip is opened by unpacking it once into a cache, in a folder named by the sha256 of the zip, every
file checked against the manifest on the way. Readers then map tables into memory as in any study.
Nothing is written outside of that folder: names that lead out, links, files that are not a study's,
and more bytes than the manifest speaks of are refused or left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import IO

from cgraph.download_cache import cache_folder
from cgraph.errors import StudyError
from cgraph.manifest import MANIFEST, STAGES, Manifest
from cgraph.object_paths import is_remote, study_path
from cgraph.store import TEMPORARY_SUFFIX
from cgraph.study_files import (
    MODEL,
    FolderFiles,
    StudyFiles,
    is_model_file,
    pieces,
    travelling,
)
from cgraph.study_zip import ArchiveFiles, readable
from cgraph.unpacked import archive_of, mark_unpacked

SUFFIX = ".zip"

CACHE_VARIABLE = "CGRAPH_CACHE"
"""Environment variable with the folder for what can be made again at any time."""

_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_LARGE = 1 << 31
_SPARE_BYTES = 64 << 20
_LONGEST_UNPACKING = 24 * 3600.0


def export_study(
    study: str | Path,
    out: str | Path,
    *,
    model: Path | None = None,
    with_model: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a study as one zip file.

    Parameters
    ----------
    study : str or Path
        A study folder, of this machine or of an object store.
    out : str or Path
        The zip file to write, on this machine; it is whole or absent.
    model : Path, optional
        A folder of the model from elsewhere, to be taken along as ``model/``.
    with_model : bool
        Whether the model in the study folder, if there is one, comes along.
    on_progress : callable, optional
        Called with the bytes written and the bytes to write.

    Returns
    -------
    Path
        Of the zip file.

    Raises
    ------
    StudyError
        If the study is unfinished, lacks a file or was changed, or the zip cannot be written.
    """
    folder, out = study_path(study), on_this_machine(out)
    if out.suffix.lower() != SUFFIX:
        raise StudyError(f"The zip file to write is {str(out)!r}: its name must end in {SUFFIX}.")
    if out.is_dir():
        raise StudyError(f"{out} is a folder. Give the name of a zip file to write.")
    if folder.is_file():
        raise StudyError(f"{folder} is one file already. Copy it, or give a study folder.")
    manifest = Manifest.read(folder)
    found = FolderFiles(folder)
    names = travelling(found, manifest, with_model=with_model and model is None)
    sources: dict[str, tuple[StudyFiles, str]] = {name: (found, name) for name in names}
    if model is not None:
        elsewhere = FolderFiles(model)
        for name in sorted(elsewhere.sizes()):
            if is_model_file(f"{MODEL}/{name}"):
                sources[f"{MODEL}/{name}"] = (elsewhere, name)
    known = {id(files): files.sizes() for files, _ in sources.values()}
    sizes = {name: known[id(files)][own] for name, (files, own) in sources.items()}
    advance = _counted(on_progress, sum(sizes.values()))
    temporary = out.with_name(f".{out.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, (files, own) in sources.items():
                info = zipfile.ZipInfo(name, _TIME)
                info.create_system, info.external_attr = 3, _MODE
                info.file_size = sizes[name]
                with archive.open(info, "w", force_zip64=sizes[name] >= _LARGE) as target:
                    digest = _copy(pieces(files, own), target, advance)
                record = manifest.files.get(name)
                if record is not None and digest != record.sha256:
                    raise StudyError(
                        f"{folder / name} was changed after it was written, so {out} was not made. "
                        f"`cgraph verify {folder}` lists all that is wrong."
                    )
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, out)
    except OSError as error:
        raise StudyError(
            f"{out} could not be written ({error.strerror or error}). Free some space or choose "
            "another place."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out


def import_study(
    archive: str | Path,
    folder: str | Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Unpack the zip file of a study into a folder of its own, to go on with.

    Parameters
    ----------
    archive : str or Path
    folder : str or Path
        The folder to write, which must not exist yet or be empty.
    on_progress : callable, optional
        Called with the bytes written and the bytes to write.

    Raises
    ------
    StudyError
        If the zip is damaged or no study, or the folder cannot be written.
    """
    archive, folder = on_this_machine(archive), on_this_machine(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} is there already. Choose a new folder to unpack to.")
    with _temporary_folder(folder) as temporary:
        _unpack(archive, temporary, on_progress)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
    return folder


def on_this_machine(place: str | Path) -> Path:
    """Return a path of this machine.

    Raises
    ------
    StudyError
        If it is a URL: zip files are read and written in places, which objects are not.
    """
    path = study_path(place)
    if is_remote(path):
        raise StudyError(
            f"{path} lies in an object store, and only a study folder may lie there. Give a path "
            "of this machine."
        )
    return path


def unpack_to_cache(archive: Path) -> Path:
    """Return a folder with the study of a zip file, unpacked the first time.

    Raises
    ------
    StudyError
        If the file is damaged or no study, or the cache cannot be written.
    """
    archive = on_this_machine(archive).absolute()
    with readable(archive):
        found = archive.stat()
        if not zipfile.is_zipfile(archive):
            raise zipfile.BadZipFile("File is not a zip file")
        key = _sha256(archive, found.st_size, found.st_mtime_ns, found.st_ino)
    folder = cache_folder() / "studies" / key
    if archive_of(folder) is None:
        _remove_left(folder)
        with _temporary_folder(folder) as temporary:
            _unpack(archive, temporary, None)
            for path in temporary.rglob("*"):
                if path.is_file():
                    path.chmod(0o444)
            mark_unpacked(temporary, archive)
            try:
                os.replace(temporary, folder)
            except OSError:
                # Somebody else was faster; the same zip gives the same files.
                if archive_of(folder) is None:
                    raise
    return folder


def _remove_left(folder: Path) -> None:
    """Remove what a process that was killed left of unpacking, unless somebody may be at it."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LONGEST_UNPACKING:
                shutil.rmtree(left, ignore_errors=True)


def read_manifest(place: Path) -> Manifest:
    """Read the manifest of a study folder or of the zip file of a study.

    Raises
    ------
    StudyError
        If there is none, it is damaged, or it has a schema this version does not know.
    """
    if not place.is_file():
        return Manifest.read(place)
    with ArchiveFiles(place) as files:
        return files.manifest


def holds_study(archive: Path) -> bool:
    """Return whether a zip file is a study, or too damaged to tell."""
    try:
        found = archive.stat()
    except OSError:
        return True
    return _holds_study(archive, found.st_size, found.st_mtime_ns)


# The app looks every few seconds, and a zip of a million photographs takes a second to list.
@lru_cache(maxsize=256)
def _holds_study(archive: Path, size: int, modified: int) -> bool:
    try:
        with zipfile.ZipFile(archive) as found:
            return any(PurePosixPath(name).name == MANIFEST for name in found.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return True


# Hashing takes about as long as reading; one process asks again and again.
@lru_cache(maxsize=64)
def _sha256(archive: Path, size: int, modified: int, inode: int) -> str:
    with open(archive, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _temporary_folder(beside: Path) -> Iterator[Path]:
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{beside.name}.", dir=beside.parent))
        temporary.chmod(0o755)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StudyError(
            f"{beside} could not be written ({error.strerror or error}). Free some space or choose "
            f"another place; the place of the cache is set by {CACHE_VARIABLE}."
        ) from None


def _counted(on_progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """Return what is told of every piece that was copied, and tells how much of all that is."""
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if on_progress is not None:
            on_progress(done, total)

    return advance


def _copy(source: Iterable[bytes], target: IO[bytes], advance: Callable[[int], None]) -> str:
    """Copy a file piece by piece; return its sha256, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in source:
        digest.update(piece)
        target.write(piece)
        advance(len(piece))
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """Write the files of a study that a zip holds, each checked against the manifest."""
    with ArchiveFiles(archive) as files:
        manifest = files.manifest
        unfinished = [stage for stage in STAGES if stage not in manifest.stages]
        if unfinished:
            raise StudyError(
                f"The study in {archive} is not finished: {unfinished[0]} is still to be done. "
                "Build it to the end where it was started, and export it again."
            )
        names = travelling(files, manifest, with_model=True)
        total = sum(files.sizes()[name] for name in names)
        advance = _counted(on_progress, total)
        free = shutil.disk_usage(folder).free - _SPARE_BYTES
        if total > free:
            raise StudyError(
                f"{archive} unpacks to {total >> 20} MB, and {folder.parent} has {free >> 20} MB "
                "left. Free some space or choose another place; the place of the cache is set by "
                f"{CACHE_VARIABLE}."
            )
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with readable(archive), open(target, "xb") as out:
                digest = _copy(pieces(files, name), out, advance)
            record = manifest.files.get(name)
            if record is not None and digest != record.sha256:
                raise StudyError(
                    f"{name} in {archive} was changed: its hash differs from the one in "
                    f"{MANIFEST}. Get the zip file from where it came from once more."
                )
