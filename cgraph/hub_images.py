"""Images of a data set of the Hugging Face Hub, fetched row group by row group.

Of the Parquet files only the footers are read to list the set, and then only the row groups that
the sampled rows lie in, by ranges of bytes. What was read is kept in the cache, so that a build
that is run again, and the app, ask for nothing twice. Nothing of a data set's own code is ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cgraph.download_cache import write_whole
from cgraph.errors import ImageError
from cgraph.hub_listing import (
    HubListing,
    Shard,
    endpoint,
    find_shards,
    hub_errors,
    open_shard,
    read_footer,
    read_footers,
    shard_folder,
)
from cgraph.image_lists import ListSet
from cgraph.image_reference import HubReference, parse_reference
from cgraph.image_set import ID_COLUMN, ImageSet, RowIds, Texts, facts_of, with_facts
from cgraph.image_tables import (
    RowGroups,
    RowGroupSet,
    group_sizes,
    image_column,
    image_columns,
    naming_file,
    needed_columns,
    places_in,
)
from cgraph.list_files import read_parquet_lists, text_place_column
from cgraph.prefetching import Prefetcher
from cgraph.table_attributes import class_names, table_attributes

KIND = "Hub data set"
_GROUPS_AT_A_TIME = 4


def open_hub(reference: HubReference) -> ImageSet:
    """List a data set of the Hub.

    Parameters
    ----------
    reference : HubReference

    Returns
    -------
    ImageSet
        Of the pictures in its Parquet files, with the ids ``row-0000000`` and so on; or, where
        these hold addresses, of what they list.

    Raises
    ------
    ImageError
        If there is no such data set, or it holds neither pictures nor addresses.
    FetchError
        If the Hub cannot be reached.
    """
    listing = find_shards(reference)
    footers = read_footers(listing)
    schema = footers[0].schema.to_arrow_schema()
    if image_columns(schema):
        return HubSet.of(listing, footers)
    if text_place_column(schema) is None:
        image_column(schema, f"{reference.id} on the Hub")
    return _list_set(listing)


def _list_set(listing: HubListing) -> ListSet:
    """Open the list of addresses that a data set is, as SBU's."""
    from huggingface_hub import hf_hub_download

    reference = listing.reference
    with hub_errors(reference):
        files = [
            hf_hub_download(
                reference.id,
                shard.path,
                repo_type="dataset",
                revision=reference.revision,
                endpoint=endpoint(),
            )
            for shard in listing.shards
        ]
    found = read_parquet_lists([Path(file) for file in files])
    return ListSet.of(found, None, reference=str(reference), name=reference.id, kind=KIND)


class HubSet(RowGroupSet):
    """Rows of the Parquet files of a data set of the Hub, with a column of pictures.

    Parameters
    ----------
    listing : HubListing
    image_ids : sequence of str
    attribute_names : list of str
    classes : dict
    """

    kind = KIND

    def __init__(
        self,
        listing: HubListing,
        image_ids: Sequence[str],
        attribute_names: list[str],
        classes: dict[str, list[str]],
    ) -> None:
        files = [shard.path for shard in listing.shards]
        super().__init__(files, image_ids, attribute_names, classes)
        self._listing = listing
        self._rows: RowGroups | None = None
        self._places: np.ndarray | None = None
        self._background: Prefetcher[tuple[int, int]] | None = None

    @classmethod
    def of(cls, listing: HubListing, footers: list[pq.FileMetaData]) -> HubSet:
        """List the rows that footers speak of.

        Raises
        ------
        ImageError
            If a file has no column of pictures, or there are no rows.
        """
        classes: dict[str, list[str]] = {}
        schemas = [footer.schema.to_arrow_schema() for footer in footers]
        for schema in schemas:
            classes.update(class_names(schema))
        names: dict[str, None] = {}
        for shard, schema in zip(listing.shards, schemas, strict=True):
            column = image_column(schema, f"{shard.path} of {listing.reference.id}")
            found = table_attributes(schema, classes, {column})
            names.update((attribute.name, None) for attribute in found)
        rows = RowGroups([group_sizes(footer) for footer in footers])
        if not rows.n_rows:
            raise ImageError(f"{listing.reference} has a column of images but no rows.")
        found_set = cls(listing, RowIds(rows.n_rows), list(names), classes)
        found_set._rows = rows
        return found_set

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_background": None}

    @property
    def name(self) -> str:
        """The data set's id."""
        return self._listing.reference.id

    @property
    def reference(self) -> str:
        """The data set with the commit that was found; see `ImageSet.reference`."""
        return str(self._listing.reference)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows lie; see `RowGroupSet.places`."""
        if self._places is not None:
            return self._places[rows]
        if self._rows is None:
            raise RuntimeError("a set that was neither listed nor restored")
        return self._rows.places(rows)

    def prefetch(self, rows: Sequence[int] | np.ndarray) -> None:
        """Begin to fetch the row groups of some rows; see `ImageSet.prefetch`."""
        places = self.places(np.asarray(rows, dtype=np.int64))
        for file, group in dict.fromkeys((int(f), int(g)) for f, g, _ in places):
            if not self._group_path(file, group).exists():
                self._fetching.begin((file, group))

    @property
    def _fetching(self) -> Prefetcher[tuple[int, int]]:
        if self._background is None:
            self._background = Prefetcher(self._fetch, _GROUPS_AT_A_TIME)
        return self._background

    def naming(self, file: int) -> contextlib.AbstractContextManager[None]:
        """Name the file in errors; see `RowGroupSet.naming`."""
        return naming_file(f"{self.files[file]} of {self._listing.reference.id}")

    def read_group(self, file: int, group: int) -> pa.Table:
        """Read one row group from the cache, where it is fetched to; see `RowGroupSet`."""
        path = self._group_path(file, group)
        with suppress(OSError, pa.ArrowException):
            return _map(path)
        with suppress(OSError):
            path.unlink()  # damaged on disk
        self._fetching.finish((file, group))
        return _map(path)

    def _group_path(self, file: int, group: int) -> Path:
        folder = shard_folder(self._listing.reference, self._listing.shards[file])
        return folder / f"group-{group:05d}.arrow"

    def _fetch(self, place: tuple[int, int]) -> None:
        file, group = place
        path = self._group_path(file, group)
        if path.exists():  # another process was first
            return
        shard, reference = self._listing.shards[file], self._listing.reference
        footer = read_footer(reference, shard)
        with (
            hub_errors(reference),
            self._naming_damage(file),
            open_shard(reference, shard) as source,
            pq.ParquetFile(source, metadata=footer, pre_buffer=True) as parquet,
        ):
            columns = needed_columns(parquet.schema_arrow, shard.path, self.classes)
            table = parquet.read_row_group(group, columns=columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        write_whole(path, memoryview(sink.getvalue()))

    @contextlib.contextmanager
    def _naming_damage(self, file: int) -> Iterator[None]:
        # Of trouble with the net, which is no damage, `hub_errors` speaks.
        try:
            yield
        except pa.ArrowException as error:
            shard = self._listing.shards[file]
            raise ImageError(
                f"{shard.path} of {self._listing.reference.id} is not a readable Parquet file: "
                f"{error}"
            ) from None

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`.

        By the content of the shards: a commit that changes other files does not matter.
        """
        digest = hashlib.sha256()
        for shard in self._listing.shards:
            digest.update(f"{shard.path}\0{shard.size}\0{shard.oid}\n".encode())
        return digest.hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to read some rows; see `ImageSet.listing`."""
        shards = [[shard.path, shard.size, shard.oid] for shard in self._listing.shards]
        return with_facts(
            self.places_table(rows),
            reference=self.reference,
            shards=shards,
            attribute_names=self.attribute_names,
            classes=self.classes,
        )

    @classmethod
    def from_listing(cls, table: pa.Table) -> HubSet:
        """Return the set of the listed rows; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        reference = parse_reference(facts["reference"])
        if not isinstance(reference, HubReference):
            raise TypeError(f"{facts['reference']!r} is no data set of the Hub")
        listing = HubListing(reference, tuple(Shard(*shard) for shard in facts["shards"]))
        ids = Texts(table.column(ID_COLUMN))
        found = cls(listing, ids, facts["attribute_names"], facts["classes"])
        found._places = places_in(table)
        return found


def _map(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
