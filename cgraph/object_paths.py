"""Study folders that lie in an object store: paths over fsspec with what `pathlib` would offer.

An object store (S3, Google Cloud Storage, Azure, ``memory://`` in tests) keeps whole objects by
name. A put is atomic, so that files are whole or absent without a temporary name; there are no
folders, only names with a common start; and nothing maps into memory, so that files are read.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import IO, Any, cast

from cgraph.errors import StudyError

_LOCAL = ("file", "local")
_NO_WHOLE_PUT = frozenset(
    [
        "arrow_hdfs",
        "ftp",
        "git",
        "github",
        "hdfs",
        "http",
        "https",
        "libarchive",
        "sftp",
        "smb",
        "ssh",
        "tar",
        "webhdfs",
        "zip",
    ]
)
# Read-only, or a reader may see half a file.

_COLLAPSED = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")  # what pathlib makes of s3://…


def study_path(place: str | Path) -> Path:
    """Return the path of a study folder: a folder of this machine, or one in an object store.

    Parameters
    ----------
    place : str or Path
        A path, or a URL that fsspec knows, such as ``s3://bucket/study``.

    Returns
    -------
    Path
        For a URL, an `ObjectPath`: it has those methods of a path that study folders need.

    Raises
    ------
    StudyError
        If it is a `Path` made of a URL, which is no URL any more. Whether a URL can be used shows
        when it is.
    """
    if isinstance(place, ObjectPath):
        return place
    text = str(place)
    if isinstance(place, Path):
        if _COLLAPSED.match(text):
            raise StudyError(
                f"{text} was a URL before it was made a Path, which removes a slash. Give the URL "
                "as a string."
            )
        return place
    scheme, mark, _ = text.partition("://")
    if not mark:
        return Path(text)
    if scheme in _LOCAL:
        from fsspec.implementations.local import LocalFileSystem

        return Path(LocalFileSystem._strip_protocol(text))
    return cast(Path, ObjectPath(text))


def is_remote(path: object) -> bool:
    """Return whether a path lies in an object store."""
    return isinstance(path, ObjectPath)


def as_object(path: object) -> ObjectPath | None:
    """Return a path as one in an object store, or None if it lies on this machine."""
    return path if isinstance(path, ObjectPath) else None


@dataclass(frozen=True)
class ObjectStat:
    """Size of an object in bytes, and when it was written (nanoseconds)."""

    st_size: int
    st_mtime_ns: int
    st_ino: int = 0


@total_ordering
class ObjectPath:
    """Name of an object, or the common start of several, in the manner of `pathlib.Path`.

    Parameters
    ----------
    url : str
        With its protocol.

    Notes
    -----
    Small and sent to workers as the URL alone. Credentials and end points come from where the
    store's own package looks for them on each machine, or from fsspec's configuration.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._scheme, self._rest = scheme, rest.rstrip("/")

    def __str__(self) -> str:
        return f"{self._scheme}://{self._rest}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __reduce__(self) -> tuple[type[ObjectPath], tuple[str]]:
        return ObjectPath, (str(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __lt__(self, other: ObjectPath) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, other: str | Path) -> Any:
        """Return a path below this one; an absolute path stands for itself, as in `pathlib`."""
        text = str(other)
        if "://" in text or Path(text).is_absolute():
            return study_path(text)
        return ObjectPath(f"{self}/{text}")

    @property
    def name(self) -> str:
        """Last part of the name."""
        return posixpath.basename(self._rest)

    @property
    def suffix(self) -> str:
        """What follows the last point of the name, with the point."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> ObjectPath:
        """What comes before the last part."""
        return ObjectPath(f"{self._scheme}://{posixpath.dirname(self._rest)}")

    def as_posix(self) -> str:
        """Return the URL."""
        return str(self)

    def absolute(self) -> ObjectPath:
        """Return this path: a URL is never relative."""
        return self

    resolve = expanduser = absolute

    def _target(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        if "::" in str(self):
            raise StudyError(
                f"{self} joins several addresses with '::', which a study folder cannot. Give one "
                "URL, such as s3://bucket/study."
            )
        try:
            # A listing kept from before would hide what other machines have written since.
            return url_to_fs(str(self), use_listings_cache=False)
        except ImportError as error:
            raise StudyError(
                f"{self} cannot be used: {error}. Install the package that fsspec names for "
                f"{self._scheme}:// and try again."
            ) from None
        except ValueError as error:
            raise StudyError(
                f"{self} cannot be used ({error}). Give a folder, or a URL that fsspec knows, such "
                "as s3://bucket/study."
            ) from None

    def refuse_unless_whole(self) -> None:
        """Refuse to write where files are not put as a whole.

        Raises
        ------
        StudyError
        """
        if self._scheme in _NO_WHOLE_PUT:
            raise StudyError(
                f"A study cannot be written to {self}: files there are not put whole or absent. "
                "Give the URL of an object store, such as s3:// or gs://, or mount it as a folder."
            )

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        """Say of which object it is that the store did not answer as hoped."""
        try:
            yield self._target()
        except (FileNotFoundError, FileExistsError, StudyError):
            raise
        except Exception as error:  # each store has its own
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise StudyError(
                f"{self} cannot be reached ({reason}). Check the address, the credentials and the "
                "network, then run the same command again: finished work is kept."
            ) from None

    def _info(self) -> dict[str, Any] | None:
        with self._reaching() as (system, path):
            try:
                return system.info(path)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self) -> bool:
        """Return whether there is such an object, or one whose name goes on from here."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        info = self._info()
        return info is not None and info["type"] == "file"

    def is_dir(self) -> bool:
        """Return whether there are objects whose names go on from here."""
        info = self._info()
        return info is not None and info["type"] == "directory"

    def stat(self) -> ObjectStat:
        """Return size and time of an object.

        Raises
        ------
        FileNotFoundError
        """
        info = self._info()
        if info is None or info["type"] != "file":
            raise FileNotFoundError(str(self))
        with self._reaching() as (system, path):
            try:
                written = int(system.modified(path).timestamp() * 1e9)
            except NotImplementedError:
                written = int(system.ukey(path)[:12], 16)  # differs when the object does
        return ObjectStat(int(info["size"]), written)

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield what lies directly below; nothing where nothing is."""
        with self._reaching() as (system, path):
            try:
                found = system.ls(path, detail=False)
            except FileNotFoundError:
                found = []
        names = {posixpath.basename(entry.rstrip("/")) for entry in found if entry != path}
        yield from (self / name for name in sorted(names - {""}))

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield the objects anywhere below whose last part matches a pattern."""
        for relative in self.sizes():
            if fnmatch.fnmatchcase(posixpath.basename(relative), pattern):
                yield self / relative

    def sizes(self) -> dict[str, int]:
        """Return the size of every object below, by the rest of its name, in one listing."""
        with self._reaching() as (system, path):
            found = system.find(path, detail=True)
            start = len(path.rstrip("/")) + 1
        return {name[start:]: int(info["size"]) for name, info in sorted(found.items())}

    def relative_to(self, other: ObjectPath) -> Path:
        """Return the rest of the name after that of `other`.

        Raises
        ------
        ValueError
            If it does not start so.
        """
        if not str(self).startswith(f"{other}/"):
            raise ValueError(f"{self} does not lie in {other}")
        return Path(str(self)[len(str(other)) + 1 :])

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open an object for reading.

        Raises
        ------
        FileNotFoundError
        """
        if mode != "rb":
            raise ValueError(f"mode is {mode!r}: objects are opened for reading, 'rb'")
        with self._reaching() as (system, path):
            return system.open(path, "rb")

    def read_bytes(self) -> bytes:
        """Return an object.

        Raises
        ------
        FileNotFoundError
        """
        with self._reaching() as (system, path):
            return system.cat_file(path)

    def write_bytes(self, data: bytes, *, new: bool = False) -> None:
        """Put a whole object.

        Parameters
        ----------
        data : bytes
        new : bool
            Only if there is none of that name yet.

        Raises
        ------
        FileExistsError
            If `new` is set and there is one.
        """
        with self._reaching() as (system, path):
            system.pipe_file(path, data, mode="create" if new else "overwrite")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object.

        Raises
        ------
        FileNotFoundError
            If there is none and `missing_ok` is not set.
        """
        try:
            with self._reaching() as (system, path):
                system.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_all(self) -> None:
        """Remove every object below."""
        with self._reaching() as (system, path):
            try:
                system.rm(path, recursive=True)
            except FileNotFoundError:
                return
