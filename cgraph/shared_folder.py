"""What workers on other machines must have in common before they are given any work.

They need the same versions, or the bytes would depend on who did what; the same study folder, or
results would lie on a disk that nobody else sees; and the model and the images at the same place.
A file with a random token is laid into the study folder, and every worker must read that token.
"""

from __future__ import annotations

import platform
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cgraph.errors import StudyError
from cgraph.store import read_json, to_json, write_bytes

PACKAGES = (
    "cgraph",
    "numba",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
    "transformers",
)
"""Packages that can change a figure: they must be the same everywhere."""


def own_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of Python and of the packages in this process."""
    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "none"))
    return tuple(found)


@dataclass(frozen=True)
class Terms:
    """What every worker must have; small, since it travels with every task.

    Attributes
    ----------
    folder : Path
        The study folder.
    token_file : Path
        File in it with the token.
    token : str
    places : tuple of Path
        The model and the images, where these lie on disk.
    versions : tuple of (str, str)
    """

    folder: Path
    token_file: Path
    token: str
    places: tuple[Path, ...]
    versions: tuple[tuple[str, str], ...]


def different_versions(
    here: Iterable[tuple[str, str]], there: Iterable[tuple[str, str]]
) -> list[str]:
    """Return what differs, such as ``numpy 2.4.6 there and 2.5.0 here``."""
    known = dict(there)
    return [
        f"{name} {known.get(name, 'none')} there and {number} here"
        for name, number in here
        if known.get(name, "none") != number
    ]


@lru_cache(maxsize=4)
def objection(terms: Terms) -> str:
    """Return why this process must not work for a build, as a sentence; empty if it may.

    This is what workers run. The answer is kept: a process is asked once for each build.
    """
    differences = different_versions(terms.versions, own_versions())
    if differences:
        return (
            f"The worker on {socket.gethostname()} has other versions: {', '.join(differences)}. "
            "Results would depend on who did what. Install the same versions everywhere."
        )
    try:
        reason = "" if read_json(terms.token_file) == terms.token else "another file lies there"
    except StudyError as error:
        reason = str(error).rstrip(".")
    if reason:
        return (
            f"The worker on {socket.gethostname()} does not see the study folder {terms.folder}, "
            f"where a file was laid for it to find ({reason}). Choose a folder that all machines "
            "share under the same path, or an object store (--out s3://…)."
        )
    for place in terms.places:
        if not place.exists():
            return (
                f"The worker on {socket.gethostname()} does not see {place}, which the build "
                "reads. Put the model and the images where all machines find them under the same "
                "path."
            )
    return ""


@contextmanager
def shared_terms(folder: Path, work: str, places: Iterable[str | Path]) -> Iterator[Terms]:
    """Lay a token into a study folder for as long as workers are asked.

    Parameters
    ----------
    folder : Path
    work : str
        Folder in it for working files.
    places : iterable of str or Path
        What else workers must see. What is no path of this machine, such as a URL, is passed over.
    """
    token = secrets.token_hex(16)
    token_file = folder / f"{work}/shared-{token[:8]}.json"
    write_bytes(token_file, to_json(token))
    here = tuple(path for path in map(Path, places) if path.exists())
    try:
        yield Terms(folder, token_file, token, here, own_versions())
    finally:
        with suppress(OSError, StudyError):
            token_file.unlink(missing_ok=True)
