"""Studies that were unpacked from a zip file for reading: who may not write into them, and why.

A zip is opened by unpacking it into a cache. What is written there would be lost with the cache and
would never reach the zip, so the folder carries a mark, and whoever wants to write is told what to
do instead.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from cgraph.errors import StudyError
from cgraph.store import read_json, to_json, write_bytes

MARK = ".unpacked.json"
"""File in a study folder that says from which zip file it was unpacked."""


def mark_unpacked(folder: Path, archive: Path) -> None:
    """Mark a folder as unpacked from a zip file for reading."""
    write_bytes(folder / MARK, to_json({"archive": str(archive)}))


def archive_of(folder: Path) -> Path | None:
    """Return the zip file that a folder was unpacked from for reading, or None."""
    if not (folder / MARK).is_file():
        return None
    try:
        return Path(read_json(folder / MARK)["archive"])
    except (StudyError, KeyError, TypeError):
        return folder  # damaged, and still nothing to write into


def refuse_unpacked(folder: Path, what: str) -> None:
    """Refuse to write into a folder that was unpacked from a zip file for reading.

    Parameters
    ----------
    folder : Path
    what : str
        What would be written, such as ``no name can be kept``.

    Raises
    ------
    StudyError
        That says how to get a folder to write into.
    """
    archive = archive_of(folder)
    if archive is not None:
        name = shlex.quote(str(archive))
        raise StudyError(
            f"This study is read from {archive}, which is not changed: {what} in it. Unpack it "
            f"first, with `cgraph import {name} FOLDER`, and go on with that folder."
        )
