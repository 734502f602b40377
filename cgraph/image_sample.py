"""The sample of a set that a build works on, written once and mapped into memory by every worker.

Listing a large set takes long, so one process does it, once: it chooses the sample and stores what
is needed to read these rows and no others. A worker opens that file and has a set of just the
sample, in the order of the sample.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgraph.errors import StudyError
from cgraph.hub_images import HubSet
from cgraph.image_archives import ZipSet
from cgraph.image_folder import FolderSet
from cgraph.image_lists import ListSet
from cgraph.image_set import ImageSet
from cgraph.image_tables import ParquetSet
from cgraph.scene_set import SceneSet
from cgraph.store import read_table, write_table

_KINDS: dict[str, type[ImageSet]] = {
    kind.__name__: kind for kind in (FolderSet, HubSet, ListSet, ParquetSet, SceneSet, ZipSet)
}
_KIND = b"cgraph.class"


def write_sample(path: Path, image_set: ImageSet, rows: np.ndarray) -> None:
    """Store what is needed to read some rows of a set.

    Parameters
    ----------
    path : Path
    image_set : ImageSet
    rows : np.ndarray, int64
        Rising rows, from `cgraph.images.sample_rows`.

    Raises
    ------
    StudyError
        If the file cannot be written.
    """
    table = image_set.listing(rows)
    metadata = {**(table.schema.metadata or {}), _KIND: type(image_set).__name__}
    write_table(path, table.replace_schema_metadata(metadata))


def read_sample(path: Path) -> ImageSet:
    """Return the set of the sampled rows alone; row 0 is the first of the sample.

    Raises
    ------
    StudyError
        If the file is missing or no sample.
    """
    table = read_table(path)
    try:
        kind = _KINDS[(table.schema.metadata or {})[_KIND].decode()]
        return kind.from_listing(table)
    except (KeyError, ValueError, TypeError) as error:
        raise StudyError(
            f"{path} holds no sample of images ({error}). Run the same command again: it is "
            "written anew, and finished work is kept."
        ) from None
