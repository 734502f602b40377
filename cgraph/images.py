"""Sets of images, whatever they lie in: a folder, a zip file, tables, a list, the Hub.

`open_images` lists a set without reading a pixel; `ImageSet.read` reads one image by its row. A
set holds paths and ids only, so that it can be sent to worker processes, and may be larger than
memory. What each kind is stands in a file of its own; `decoding` turns the bytes of one file into a
picture.
"""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from cgraph.decoding import SUFFIXES, load_image, pixel_hash, thumbnail
from cgraph.errors import ConfigError, ImageError
from cgraph.image_archives import ZipSet, is_image_entry, zip_entries
from cgraph.image_folder import FolderSet, check_names, list_files
from cgraph.image_lists import ListSet
from cgraph.image_reference import HubReference, parse_reference
from cgraph.image_set import ImageRecord, ImageSet, Scalar
from cgraph.image_tables import ParquetSet, image_columns, naming_file
from cgraph.list_files import (
    SBU_CAPTIONS,
    SBU_URLS,
    TAR_SUFFIXES,
    TEXT_SUFFIXES,
    ImageList,
    list_in_tar,
    list_in_zip,
    parse_sbu,
    read_list,
    read_parquet_lists,
    sbu_pair,
    text_place_column,
)
from cgraph.scene_set import SceneSet, describes_scenes

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

ALLOWED = (
    "a folder of images, a zip file of images, a Parquet file or a folder of them, a list (.csv, "
    ".tsv, .json, .jsonl or Parquet) of paths or addresses, or a data set of the Hugging Face Hub "
    "(hub:owner/name)"
)
"""What image sets may be, for people."""

_PARQUET_SUFFIX = ".parquet"


def open_images(reference: str | Path) -> ImageSet:
    """List a set of images.

    Parameters
    ----------
    reference
        Where the images are:

        - a folder with image files, in sub-folders or not. Hidden files, linked folders and links
          that lead out of the folder do not count;
        - a zip file of images, which is read in place;
        - a Parquet file with a column of pictures, or a folder of such files, which are one set in
          the order of their names;
        - a CSV, TSV, JSON or Parquet file that lists images by path or address;
        - SBU's two files of addresses and captions, in a folder, tar or zip file;
        - a JSON file that asks for drawn scenes (see `cgraph.scene_set`);
        - a data set of the Hugging Face Hub, ``[hub:]owner/name[@revision][:[config/]split]`` (see
          `cgraph.image_reference`).

    Returns
    -------
    ImageSet
        Image files carry the attribute ``folder``, the sub-folder they lie in, where there are
        sub-folders, and ``label``, the names of all their folders, where these lie in one another;
        rows of tables and lists carry their other columns (see `cgraph.table_attributes`). Ids are
        the files' paths within the folder, in lists the paths or addresses, in Parquet the paths
        stored with the images, and ``row-0000012`` where one is missing or stored twice.

    Raises
    ------
    ImageError
        If nothing is there, no image or a mixture of kinds is in the folder, or a file is damaged
        or holds no images.
    FetchError
        If the Hub cannot be reached.
    """
    place = parse_reference(reference)
    if isinstance(place, HubReference):
        from cgraph.hub_images import open_hub  # brings the Hub's client, which takes long to load

        return open_hub(place)
    try:
        mode = place.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"There are no images at {place}: {reason}. Give {ALLOWED}.") from error
    return _open_file(place) if stat.S_ISREG(mode) else _open_folder(place)


def _open_file(path: Path) -> ImageSet:
    name = path.name.lower()
    if name.endswith(_PARQUET_SUFFIX):
        return _open_tables(path, [path])
    if name.endswith(".json") and describes_scenes(path):
        return SceneSet(path)
    if name.endswith(TEXT_SUFFIXES):
        return _list_set(read_list(path), path, path.parent)
    if name.endswith(".zip"):
        entries = zip_entries(path)
        if not any(map(is_image_entry, entries)):
            found = list_in_zip(path, entries)
            if found is not None:
                return _list_set(found, path, None)
        return ZipSet.open(path, entries)
    if name.endswith(TAR_SUFFIXES):
        return _list_set(list_in_tar(path), path, None)
    raise ImageError(f"{path} is a single file of another kind; give {ALLOWED}.")


def _open_folder(root: Path) -> ImageSet:
    files, n_leading_out = list_files(root)
    images = [file for file in files if file.lower().endswith(SUFFIXES)]
    tables = [file for file in files if file.lower().endswith(_PARQUET_SUFFIX)]
    check_names([*images, *tables])
    if images and tables:
        raise ImageError(
            f"{root} holds {len(images)} image files and {len(tables)} Parquet files, so it is "
            "ambiguous which are meant; keep the two kinds in separate folders."
        )
    if tables:
        return _open_tables(root, [root / file for file in tables])
    if images:
        return FolderSet(root, images)
    pair = sbu_pair(files)
    if pair is not None:
        try:
            urls, captions = ((root / file).read_bytes() for file in pair)
        except OSError as error:
            raise ImageError(f"{error.filename} cannot be read: {error.strerror}.") from None
        return _list_set(parse_sbu(urls, captions, str(root)), root, None)
    lists = [file for file in files if file.lower().endswith(TEXT_SUFFIXES)]
    found = f"{len(files)} other files" if files else "no files"
    left_out = f" and {n_leading_out} links leading out of it" if n_leading_out else ""
    advice = f" Did you mean {root / lists[0]}?" if lists else ""
    raise ImageError(
        f"{root} has no images but {found}{left_out}; files count that end in "
        f"{', '.join(SUFFIXES)} or {_PARQUET_SUFFIX}, and a pair of *{SBU_URLS} and "
        f"*{SBU_CAPTIONS}.{advice}"
    )


def _open_tables(root: Path, files: list[Path]) -> ImageSet:
    """Open Parquet files by what the first holds: pictures, or where they are."""
    with naming_file(files[0]):
        schema = pq.read_schema(files[0])
    if not image_columns(schema) and text_place_column(schema) is not None:
        return _list_set(read_parquet_lists(files), root, files[0].parent)
    return ParquetSet(root, files)


def _list_set(found: ImageList, path: Path, base: Path | None) -> ListSet:
    return ListSet.of(found, base, reference=str(path), name=path.resolve().name)


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
