"""Sets of images: a folder of image files, or Parquet as Hugging Face datasets write it.

`open_images` lists a set without reading a pixel; `ImageSet.read` reads one image by its row. A
set holds paths and ids only, so that it can be sent to worker processes, and reads a Parquet file
by row group, so that a set may be larger than memory. `decoding` turns the bytes of one file into
a picture.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import numpy as np

from cgraph.decoding import SUFFIXES, load_image, pixel_hash, thumbnail
from cgraph.errors import ConfigError, ImageError
from cgraph.image_set import AttributeValue, ImageRecord, ImageSet, Scalar, checked_row
from cgraph.image_tables import ParquetSet
from cgraph.scene_set import SceneSet

__all__ = [
    "ImageRecord",
    "ImageSet",
    "Scalar",
    "load_image",
    "open_images",
    "pixel_hash",
    "sample_rows",
    "thumbnail",
]

FOLDER_ATTRIBUTE = "folder"

_PARQUET_SUFFIX = ".parquet"
_SCENES_SUFFIX = ".json"


def open_images(path: str | Path) -> ImageSet:
    """List a set of images.

    Parameters
    ----------
    path
        A folder with image files, in sub-folders or not; a Parquet file; a folder of Parquet
        files, which are one set in the order of their names; or a JSON file that asks for drawn
        scenes (see `cgraph.scene_set`). Hidden files, linked folders and links that lead out of
        the folder do not count.

    Returns
    -------
    ImageSet
        Image files carry the attribute ``folder``, the sub-folder they lie in, where there are
        sub-folders; rows of Parquet carry every other column of text, numbers or truth values.
        Ids are the files' paths within the folder, or in Parquet the paths stored with the images,
        and ``row-0000012`` where a path is missing or stored twice.

    Raises
    ------
    ImageError
        If nothing is there, no image or a mixture of both kinds is in the folder, or a Parquet
        file is damaged or has no column of images.
    """
    root = Path(path).absolute()
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise ImageError(
            f"There are no images at {root}: {error.strerror}. Give a folder of images or a "
            "Parquet file."
        ) from error
    if stat.S_ISREG(mode):
        if root.suffix.lower() == _SCENES_SUFFIX:
            return SceneSet(root)
        if root.suffix.lower() != _PARQUET_SUFFIX:
            raise ImageError(
                f"{root} is a single file; give a folder of images or a {_PARQUET_SUFFIX} file."
            )
        return ParquetSet(root, [root])
    files, n_leading_out = _list_files(root)
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    tables = [file for file in files if file.suffix.lower() == _PARQUET_SUFFIX]
    if images and tables:
        raise ImageError(
            f"{root} holds {len(images)} image files and {len(tables)} Parquet files, so it is "
            "ambiguous which are meant; keep the two kinds in separate folders."
        )
    if tables:
        return ParquetSet(root, tables)
    if images:
        return _FolderSet(root, images)
    found = f"{len(files)} other files" if files else "no files"
    left_out = f" and {n_leading_out} links leading out of it" if n_leading_out else ""
    raise ImageError(
        f"{root} has no images but {found}{left_out}; files count that end in "
        f"{', '.join(SUFFIXES)} or {_PARQUET_SUFFIX}."
    )


def sample_rows(n_images: int, max_images: int | None, seed: int) -> np.ndarray:
    """Choose rows of a set at random, over the whole set and without replacement.

    Parameters
    ----------
    n_images
        Images in the set.
    max_images
        Most rows to choose; ``None`` means all.
    seed
        Of the random generator.

    Returns
    -------
    np.ndarray, shape (min(n_images, max_images),), int64
        Ascending rows.

    Raises
    ------
    ConfigError
        If `max_images` is below 1.
    """
    if max_images is not None and max_images < 1:
        raise ConfigError(f"max_images is {max_images}; it must be at least 1, or None for all.")
    if max_images is None or max_images >= n_images:
        return np.arange(n_images, dtype=np.int64)
    rows = np.random.default_rng(seed).choice(n_images, size=max_images, replace=False)
    return np.sort(rows).astype(np.int64)


class _FolderSet(ImageSet):
    """Image files of a folder, in the order of their ids."""

    kind = "image files"

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.path = root
        self.image_ids = sorted(_file_id(root, file) for file in files)
        nested = any("/" in image_id for image_id in self.image_ids)
        self.attribute_names = [FOLDER_ATTRIBUTE] if nested else []

    def read(self, row: int) -> ImageRecord:
        image_id = self.image_ids[checked_row(row, len(self))]
        attributes: dict[str, AttributeValue] = {}
        if self.attribute_names:
            folder = image_id.rpartition("/")[0]
            attributes[FOLDER_ATTRIBUTE] = folder or None
        return ImageRecord(image_id, load_image(self.path / image_id, image_id), attributes)

    def listing_fingerprint(self) -> str:
        digest = hashlib.sha256()
        for image_id in self.image_ids:
            try:
                size = (self.path / image_id).stat().st_size
            except OSError as error:
                raise ImageError(
                    f"{image_id} cannot be read: {error.strerror}. It was there when the folder "
                    f"{self.path} was listed."
                ) from error
            digest.update(f"{image_id}\0{size}\n".encode())
        return digest.hexdigest()


def _list_files(root: Path) -> tuple[list[Path], int]:
    """Regular files under `root`, and the number of links left out because they lead out of it."""
    inside = root.resolve()
    files: list[Path] = []
    n_leading_out = 0
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ImageError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                if not Path(os.path.realpath(path)).is_relative_to(inside):
                    n_leading_out += 1
                elif path.is_file():
                    files.append(path)
            elif entry.is_dir():
                folders.append(path)
            elif entry.is_file():
                files.append(path)
    return files, n_leading_out


def _file_id(root: Path, file: Path) -> str:
    image_id = file.relative_to(root).as_posix()
    try:
        image_id.encode()
    except UnicodeEncodeError as error:
        raise ImageError(
            f"The file name {os.fsencode(image_id)!r} is not valid UTF-8; rename the file."
        ) from error
    return image_id
