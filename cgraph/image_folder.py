"""A folder of image files, in sub-folders or not.

The folders that an image lies in say what is in it: they are its attributes, as with the
``ImageFolder`` of torchvision and of Hugging Face.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from cgraph.decoding import load_image
from cgraph.errors import ImageError
from cgraph.image_set import (
    ID_COLUMN,
    AttributeValue,
    ImageRecord,
    ImageSet,
    Texts,
    checked_row,
    facts_of,
    ids_at,
    with_facts,
)

FOLDER_ATTRIBUTE = "folder"
"""The sub-folder that an image lies in: ``dog``, or ``dog/old``."""

LABEL_ATTRIBUTE = "label"
"""Where folders lie in folders: the names of all that the image lies in, ``dog`` and ``old``."""


class FolderSet(ImageSet):
    """Image files of a folder, in the order of their ids.

    Parameters
    ----------
    root : Path
    image_ids : sequence of str
        Paths of the files within the folder, sorted.
    attribute_names : list of str, optional
        From `folder_attributes` if left out.
    """

    kind = "image files"

    def __init__(
        self, root: Path, image_ids: Sequence[str], attribute_names: list[str] | None = None
    ) -> None:
        self.path = root
        self.image_ids = image_ids
        self.attribute_names = (
            folder_attributes(image_ids) if attribute_names is None else attribute_names
        )

    def read(self, row: int) -> ImageRecord:
        """Read the image of one row; see `ImageSet.read`."""
        image_id = self.image_ids[checked_row(row, len(self))]
        image = load_image(self.path / image_id, image_id)
        return ImageRecord(image_id, image, attributes_of(image_id, self.attribute_names))

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`."""
        digest = hashlib.sha256()
        root = str(self.path)
        for image_id in self.image_ids:
            try:
                size = os.stat(f"{root}/{image_id}").st_size
            except OSError as error:
                raise ImageError(
                    f"{image_id} cannot be read: {error.strerror}. It was there when the folder "
                    f"{self.path} was listed."
                ) from error
            digest.update(f"{image_id}\0{size}\n".encode())
        return digest.hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to read some rows; see `ImageSet.listing`."""
        table = pa.table({ID_COLUMN: ids_at(self.image_ids, rows)})
        return with_facts(table, path=str(self.path), attribute_names=self.attribute_names)

    @classmethod
    def from_listing(cls, table: pa.Table) -> FolderSet:
        """Return the set of the listed rows; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        ids = Texts(table.column(ID_COLUMN))
        return cls(Path(facts["path"]), ids, facts["attribute_names"])


def folder_attributes(image_ids: Iterable[str]) -> list[str]:
    """Return the attributes that images have by the folders they lie in.

    Parameters
    ----------
    image_ids : iterable of str
        Paths with ``/`` between folders.
    """
    depth = max((image_id.count("/") for image_id in image_ids), default=0)
    return [FOLDER_ATTRIBUTE, LABEL_ATTRIBUTE][: min(depth, 2)]


def attributes_of(image_id: str, names: list[str]) -> dict[str, AttributeValue]:
    """Return the attributes of one image by the folders it lies in; missing at the top."""
    folder = image_id.rpartition("/")[0]
    values: dict[str, AttributeValue] = {
        FOLDER_ATTRIBUTE: folder or None,
        LABEL_ATTRIBUTE: tuple(dict.fromkeys(folder.split("/"))) if folder else (),
    }
    return {name: values[name] for name in names}


def list_files(root: Path) -> tuple[list[str], int]:
    """List the regular files of a folder.

    Returns
    -------
    files : list of str
        Their paths within the folder, sorted.
    n_leading_out : int
        Links that were left out because they lead out of the folder.

    Raises
    ------
    ImageError
        If a folder cannot be listed, or a name is no text.
    """
    inside = root.resolve()
    files: list[str] = []
    n_leading_out = 0
    folders = [""]
    while folders:
        within = folders.pop()
        try:
            entries = os.scandir(root / within)
        except OSError as error:
            place = root / within
            raise ImageError(f"The folder {place} cannot be listed: {error.strerror}.") from error
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    if not Path(os.path.realpath(entry.path)).is_relative_to(inside):
                        n_leading_out += 1
                    elif os.path.isfile(entry.path):
                        files.append(within + entry.name)
                elif entry.is_dir():
                    folders.append(f"{within}{entry.name}/")
                elif entry.is_file():
                    files.append(within + entry.name)
    return sorted(files), n_leading_out


def check_names(files: Iterable[str]) -> None:
    """Refuse file names that are no text.

    Raises
    ------
    ImageError
    """
    for name in files:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ImageError(
                f"The file name {os.fsencode(name)!r} is not valid UTF-8; rename the file."
            ) from error
