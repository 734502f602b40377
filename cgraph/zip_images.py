"""The images of an uploaded zip, unpacked into a folder with nothing of it outside.

Names in a zip say what they like: they may lead out of the folder, be links, or promise a few bytes
and unpack to many. So only files of images are taken, their names are checked, and bytes are
counted as they come.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cgraph.decoding import SUFFIXES
from cgraph.errors import ImageError

MOST_FILES = 20_000
"""Most images of an upload."""

MOST_MB = 2048
"""Most megabytes of an upload, unpacked."""

_AT_ONCE = 2**20


def unpack_images(
    data: BinaryIO, folder: Path, *, most_files: int = MOST_FILES, most_mb: float = MOST_MB
) -> int:
    """Unpack the images of a zip into a new folder, which is whole or absent.

    Parameters
    ----------
    data : binary file
        The zip, seekable.
    folder : Path
        Made by this call; the sub-folders of the zip are kept. What was there is replaced.
    most_files : int
    most_mb : float
        Limits of what is unpacked.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    ImageError
        If it is no zip, is damaged or locked by a password, holds no images, exceeds a limit or
        leads out of the folder, or the disk has no room.
    """
    advice = "Put the images into a folder on this machine and give its path instead."
    try:
        with zipfile.ZipFile(data) as archive:
            entries = [entry for entry in archive.infolist() if _is_image(entry)]
            if not entries:
                raise ImageError(
                    f"The zip holds {len(archive.infolist())} files and no image among them; "
                    f"files count that end in {', '.join(SUFFIXES)}."
                )
            if len(entries) > most_files:
                raise ImageError(
                    f"The zip holds {len(entries):,} images; an upload may hold {most_files:,}. "
                    f"{advice}"
                )
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as place:
                new = Path(place) / folder.name
                _unpack(archive, entries, new, most_mb, advice)
                if folder.exists():
                    shutil.rmtree(folder)
                new.rename(folder)
            return len(entries)
    except zipfile.BadZipFile:
        raise ImageError("The file is no zip, or is damaged. Zip the images again.") from None
    except RuntimeError as error:  # zipfile's word for a password
        raise ImageError(
            f"The zip cannot be read ({error}). Zip the images without a password."
        ) from None
    except (NotImplementedError, EOFError, ValueError, zlib.error) as error:
        raise ImageError(f"The zip cannot be read ({error}). Zip the images again.") from None
    except OSError as error:
        raise ImageError(
            f"The images could not be stored in {folder} ({error.strerror or error}). {advice}"
        ) from None


def _is_image(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    return not (entry.is_dir() or hidden or is_link or path.suffix.lower() not in SUFFIXES)


def _unpack(
    archive: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    folder: Path,
    most_mb: float,
    advice: str,
) -> None:
    left = int(most_mb * 2**20)
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
            raise ImageError(
                f"The zip names a file outside of itself ({entry.filename[:80]!r}). Zip the images "
                "again."
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "wb") as file:
            while piece := source.read(_AT_ONCE):
                left -= len(piece)
                if left < 0:
                    raise ImageError(
                        f"The zip unpacks to more than {most_mb:,.0f} MB, the most that an upload "
                        f"may hold. {advice}"
                    )
                file.write(piece)
