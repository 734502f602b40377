"""The files of a study in a zip file, none of which is trusted.

Names that lead out, links, encrypted or doubled entries, and an archive that claims to unpack to
much more than it is are refused before a file is read.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from cgraph.errors import StudyError
from cgraph.manifest import MANIFEST, Manifest

_MOST_TIMES = 100  # no study shrinks so far; a zip bomb does
_LINK = 0o120000


class ArchiveFiles:
    """The files of a study in a zip file, its names and sizes checked.

    Parameters
    ----------
    archive : Path

    Attributes
    ----------
    place : Path
    manifest : Manifest
    packed_size : int
        Bytes of the zip file.

    Raises
    ------
    StudyError
        If the file is no zip, holds no study, or holds what no study's zip holds.
    """

    def __init__(self, archive: Path) -> None:
        self.place = archive
        with readable(archive):
            self.packed_size = archive.stat().st_size
            self._zip = zipfile.ZipFile(archive)
            self._members = self._checked_members()
            values = json.loads(self._zip.read(self._members[MANIFEST]))
        self.manifest = Manifest.parse(values, archive / MANIFEST)

    def sizes(self) -> Mapping[str, int]:
        """Return the size in bytes of every file, by its path with forward slashes."""
        return {name: info.file_size for name, info in self._members.items()}

    def open(self, relative: str) -> BinaryIO:
        """Open a file for reading."""
        return cast(BinaryIO, self._zip.open(self._members[relative]))

    def close(self) -> None:
        """Close the zip file."""
        self._zip.close()

    def __enter__(self) -> ArchiveFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        unpacked = packed = 0
        for info in self._zip.infolist():
            name = info.filename
            if info.is_dir():
                continue
            path = PurePosixPath(name)
            if (
                path.is_absolute()
                or ".." in path.parts
                or "\\" in name
                or re.match("[A-Za-z]:", name)
                or not path.parts
            ):
                raise StudyError(
                    f"{self.place} holds a file named {name!r}, which leads out of the folder that "
                    "it would be unpacked to. Nothing was unpacked; get the study from somewhere "
                    "else."
                )
            if (info.external_attr >> 16) & 0o170000 == _LINK:
                raise StudyError(
                    f"{self.place} holds a link, {name}, and no study does. Nothing was unpacked; "
                    "get the study from somewhere else."
                )
            if info.flag_bits & 1:
                raise StudyError(
                    f"{self.place} is encrypted. Unpack it with its password, and open the folder."
                )
            if str(path) in members:
                raise StudyError(
                    f"{self.place} holds {path} twice. Nothing was unpacked; get the study from "
                    "somewhere else."
                )
            members[str(path)] = info
            unpacked, packed = unpacked + info.file_size, packed + info.compress_size
        if packed > self.packed_size or unpacked > _MOST_TIMES * max(self.packed_size, 1 << 16):
            raise StudyError(
                f"{self.place} has {self.packed_size} bytes and claims to unpack to {unpacked}: "
                "that is no study. Nothing was unpacked."
            )
        return _below_one_folder(members, self.place)


def _below_one_folder(
    members: dict[str, zipfile.ZipInfo], archive: Path
) -> dict[str, zipfile.ZipInfo]:
    """Return the files by their path in the study, which may lie in one folder of the zip."""
    if MANIFEST in members:
        return members
    tops = {
        path.parts[0]
        for path in map(PurePosixPath, members)
        if path.name == MANIFEST and len(path.parts) == 2
    }
    if len(tops) != 1:
        raise StudyError(
            f"{archive} holds no study: there is no {MANIFEST} in it. Give a zip file that "
            "`cgraph export` wrote."
        )
    start = f"{tops.pop()}/"
    return {n.removeprefix(start): info for n, info in members.items() if n.startswith(start)}


@contextmanager
def readable(archive: Path) -> Iterator[None]:
    """Say in a sentence that a file is no zip, or a damaged one."""
    try:
        yield
    except (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StudyError(
            f"{archive} is not a study: neither a folder nor a whole zip file ({reason}). Give a "
            "folder that `cgraph build` made or a zip file that `cgraph export` wrote; if it was "
            "copied or downloaded, do that again."
        ) from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{archive / MANIFEST} cannot be read as JSON ({error}).") from None
