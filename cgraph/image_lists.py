"""Images that a list names by path or address, with captions and whatever else it says of them.

Files are read where they lie; pictures in the net are fetched when they are needed (see
`cgraph.image_downloads`) and kept in a cache. A file that is not there and a dead link are images
that cannot be read: they are counted and listed with the reason, like damaged ones.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from cgraph.decoding import load_image
from cgraph.download_cache import cache_folder
from cgraph.errors import ImageError
from cgraph.image_downloads import Downloader, DownloadSettings, downloader
from cgraph.image_set import (
    ID_COLUMN,
    AttributeValue,
    ImageRecord,
    ImageSet,
    Texts,
    checked_row,
    facts_of,
    ids_at,
    unique_ids,
    with_facts,
)
from cgraph.list_files import ImageList, is_address
from cgraph.table_attributes import attribute_value, class_names, table_attributes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class ListSet(ImageSet):
    """Images of a list, in its order.

    Parameters
    ----------
    found : ImageList
    image_ids : sequence of str
    base : Path or None
        Folder that relative paths start from; None where a list may only name addresses, because
        somebody else wrote it.
    settings : DownloadSettings
    reference : str
        What the list was opened from.
    name : str
        What to call the set.
    kind : str
    """

    def __init__(
        self,
        found: ImageList,
        image_ids: Sequence[str],
        base: Path | None,
        settings: DownloadSettings,
        reference: str,
        name: str,
        kind: str,
    ) -> None:
        self.kind = kind
        self.image_ids = image_ids
        self._list = found
        self._base = base
        self._settings = settings
        self._reference = reference
        self._name = name
        schema = found.table.schema
        self._classes = class_names(schema)
        self._attributes = table_attributes(schema, self._classes, {found.column, ID_COLUMN})
        self.attribute_names = [attribute.name for attribute in self._attributes]

    @classmethod
    def of(
        cls,
        found: ImageList,
        base: Path | None,
        *,
        reference: str,
        name: str,
        kind: str = "list of images",
    ) -> ListSet:
        """Return the set of a list; its ids are the paths or addresses where they are unique."""
        ids = unique_ids(found.table.column(found.column))
        settings = DownloadSettings.from_environment()
        return cls(found, ids, base, settings, reference, name, kind)

    @property
    def name(self) -> str:
        """What to call the set."""
        return self._name

    @property
    def reference(self) -> str:
        """What the list is opened from; see `ImageSet.reference`."""
        return self._reference

    @property
    def _downloader(self) -> Downloader:
        return downloader(self._settings)

    def read(self, row: int) -> ImageRecord:
        """Read the image of one row, or fetch it; see `ImageSet.read`.

        Raises
        ------
        FetchError
            If no server at all can be reached.
        """
        image_id = self.image_ids[checked_row(row, len(self))]
        values = self._list.table.slice(row, 1).to_pylist()[0]
        place = (values.pop(self._list.column) or "").strip()
        if is_address(place):
            image = self._downloader.load(place)
        else:
            image = load_image(self._file(place, image_id), image_id)
        attributes: dict[str, AttributeValue] = {
            a.name: attribute_value(values, a, self._classes) for a in self._attributes
        }
        return ImageRecord(image_id, image, attributes)

    def _file(self, place: str, image_id: str) -> Path:
        if not place:
            raise ImageError(f"{image_id} has neither path nor address in the list.")
        if _SCHEME.match(place):
            raise ImageError(f"{image_id} is no address of http or https, and nothing else counts.")
        if self._base is None:
            raise ImageError(
                f"{image_id} is a path, and a list from an archive or the Hub may only name "
                "addresses of http or https."
            )
        if "\0" in place:
            raise ImageError(f"{image_id!r} is no path: it holds a zero byte.")
        return self._base / place

    def prefetch(self, rows: Sequence[int] | np.ndarray) -> None:
        """Begin to fetch the images of some rows; see `ImageSet.prefetch`."""
        column = self._list.table.column(self._list.column)
        places = column.take(pa.array(np.asarray(rows, dtype=np.int64))).to_pylist()
        addresses = [place.strip() for place in places if place and is_address(place.strip())]
        if addresses:
            self._downloader.prefetch(addresses)

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`.

        Of files it takes the sizes, and whether they are there; of addresses only the text.
        """
        digest = hashlib.sha256()
        table = self._list.table
        digest.update(",".join(table.column_names).encode())
        for batch in table.to_batches(max_chunksize=10_000):
            for values in batch.to_pylist():
                digest.update(f"{list(values.values())!r}\n".encode())
        if self._base is not None:
            for place in table.column(self._list.column).to_pylist():
                if place and not is_address(place.strip()):
                    try:
                        size = os.stat(self._base / place.strip()).st_size
                    except (OSError, ValueError):
                        size = -1
                    digest.update(f"{size}\n".encode())
        return digest.hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to read some rows; see `ImageSet.listing`."""
        table = self._list.table
        metadata = dict(table.schema.metadata or {})
        ids = ids_at(self.image_ids, rows)
        taken = table.take(pa.array(rows)).append_column(ID_COLUMN, ids)
        facts = with_facts(
            taken,
            column=self._list.column,
            base=None if self._base is None else str(self._base),
            settings=self._settings.to_dict(),  # but for the cache: each machine has its own
            reference=self._reference,
            name=self._name,
            kind=self.kind,
        )
        # The names of classes stay with the columns that they belong to.
        return facts.replace_schema_metadata({**metadata, **facts.schema.metadata})

    @classmethod
    def from_listing(cls, table: pa.Table) -> ListSet:
        """Return the set of the listed rows; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        return cls(
            ImageList(table.drop_columns([ID_COLUMN]), facts["column"]),
            Texts(table.column(ID_COLUMN)),
            None if facts["base"] is None else Path(facts["base"]),
            DownloadSettings(str(cache_folder()), **facts["settings"]),
            facts["reference"],
            facts["name"],
            facts["kind"],
        )
