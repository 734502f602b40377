"""Images in a zip file, read where they are: nothing is unpacked to disk.

The table of contents is read once. After that every image is read on its own, from its place in
the file, so that threads and processes do not share anything. What is in a zip was made by others:
an entry that leads out of the archive, is a link, is encrypted or unpacks to more than an image may
have is listed and cannot be read, which a build counts and reports like any unreadable image.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from cgraph.decoding import MAX_BYTES, SUFFIXES, load_image
from cgraph.errors import ImageError
from cgraph.image_folder import attributes_of, folder_attributes
from cgraph.image_set import (
    ID_COLUMN,
    ImageRecord,
    ImageSet,
    Texts,
    checked_row,
    facts_of,
    ids_at,
    with_facts,
)

_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of what follows it
_ENCRYPTED = 0x1
_COLUMNS = ("start", "packed", "size", "crc", "method")


class ZipSet(ImageSet):
    """Images in a zip file, in the order of their ids.

    Attributes
    ----------
    n_leading : int
        Folders at the start of every id that all images lie in; they are no attribute.
    """

    kind = "zip of images"

    def __init__(
        self,
        path: Path,
        image_ids: Sequence[str],
        places: pa.Table,
        attribute_names: list[str],
        n_leading: int,
    ) -> None:
        self.path = path
        self.image_ids = image_ids
        self.attribute_names = attribute_names
        self.n_leading = n_leading
        self._places = places

    @classmethod
    def open(cls, path: Path, entries: list[zipfile.ZipInfo]) -> ZipSet:
        """List the images among the entries of a zip file.

        Raises
        ------
        ImageError
            If there are none.
        """
        rows: dict[str, tuple[zipfile.ZipInfo, str | None]] = {}
        for entry in entries:
            if not is_image_entry(entry):
                continue
            image_id = entry.filename.replace("\\", "/")
            problem = _problem(entry)
            number = 1
            while image_id in rows:
                number += 1
                image_id = f"{entry.filename}#{number}"
                problem = "the archive holds another entry of the same name"
            rows[image_id] = (entry, problem)
        if not rows:
            raise ImageError(
                f"{path} holds no image, but {len(entries)} other entries. Entries count that end "
                f"in {', '.join(SUFFIXES)}; hidden ones and __MACOSX do not."
            )
        ids = sorted(rows)
        found = [rows[image_id] for image_id in ids]
        values = {
            "start": [entry.header_offset for entry, _ in found],
            "packed": [entry.compress_size for entry, _ in found],
            "size": [entry.file_size for entry, _ in found],
            "crc": [entry.CRC for entry, _ in found],
            "method": [entry.compress_type for entry, _ in found],
        }
        places = pa.table(
            {
                **{name: pa.array(column, type=pa.int64()) for name, column in values.items()},
                "problem": pa.array([problem for _, problem in found], type=pa.string()),
            }
        )
        n_leading = _common_folders(ids)
        names = folder_attributes(_below(image_id, n_leading) for image_id in ids)
        return cls(path, ids, places, names, n_leading)

    def read(self, row: int) -> ImageRecord:
        """Read the image of one row; see `ImageSet.read`."""
        image_id = self.image_ids[checked_row(row, len(self))]
        entry = self._places.slice(row, 1).to_pylist()[0]
        if entry["problem"] is not None:
            raise ImageError(f"{image_id} in {self.path.name} is left out: {entry['problem']}.")
        try:
            data = self._data(entry)
        except (OSError, zlib.error, struct.error, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{image_id} cannot be read from {self.path}: {reason}.") from None
        image = load_image(data, image_id)
        attributes = attributes_of(_below(image_id, self.n_leading), self.attribute_names)
        return ImageRecord(image_id, image, attributes)

    def _data(self, entry: dict[str, int]) -> bytes:
        # Opened for every image: an open file has one position, which threads would share, and no
        # meaning in another process. It takes some microseconds.
        with open(self.path, "rb") as file:
            file.seek(entry["start"])
            magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if magic != b"PK\x03\x04":
                raise ValueError("the archive was changed or is damaged")
            file.seek(name_length + extra_length, 1)
            packed = file.read(entry["packed"])
        if len(packed) != entry["packed"]:
            raise ValueError("the archive ends before the image does")
        data = packed
        if entry["method"] == _DEFLATED:
            # One byte more than announced is enough to know that the announcement was wrong.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry["size"] + 1)
        if len(data) != entry["size"] or zlib.crc32(data) != entry["crc"]:
            raise ValueError("what it unpacks to is not what the archive announces")
        return data

    def listing_fingerprint(self) -> str:
        """Fingerprint of the listing; see `ImageSet.listing_fingerprint`."""
        digest = hashlib.sha256()
        sizes, sums = (self._places.column(name).to_pylist() for name in ("size", "crc"))
        for image_id, size, crc in zip(self.image_ids, sizes, sums, strict=True):
            digest.update(f"{image_id}\0{size}\0{crc}\n".encode())
        return digest.hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to read some rows; see `ImageSet.listing`."""
        places = self._places.take(pa.array(rows))
        table = places.add_column(0, ID_COLUMN, ids_at(self.image_ids, rows))
        return with_facts(
            table,
            path=str(self.path),
            attribute_names=self.attribute_names,
            n_leading=self.n_leading,
        )

    @classmethod
    def from_listing(cls, table: pa.Table) -> ZipSet:
        """Return the set of the listed rows; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        return cls(
            Path(facts["path"]),
            Texts(table.column(ID_COLUMN)),
            table.select([*_COLUMNS, "problem"]),
            facts["attribute_names"],
            facts["n_leading"],
        )


def zip_entries(path: Path) -> list[zipfile.ZipInfo]:
    """Read the table of contents of a zip file; hidden entries and folders are left out.

    Raises
    ------
    ImageError
        If the file cannot be read or is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path} cannot be read as a zip file ({reason}). It may be damaged, or not copied to "
            "its end."
        ) from None
    return [entry for entry in entries if not entry.is_dir() and not _is_hidden(entry.filename)]


def is_image_entry(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry's name is that of an image."""
    return entry.filename.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(p == "__MACOSX" or (p.startswith(".") and p not in (".", "..")) for p in parts)


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Say why an entry is not to be read, if so."""
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts:
        return "its name leads out of the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a link, not an image"
    if entry.flag_bits & _ENCRYPTED:
        return "it is encrypted; write the archive again without a password"
    if entry.compress_type not in (_STORED, _DEFLATED):
        return (
            f"it is compressed by method {entry.compress_type}, and cgraph reads stored (0) and "
            "deflated (8) entries; write the archive again with one of them"
        )
    if entry.file_size > MAX_BYTES or entry.compress_size > MAX_BYTES:
        return (
            f"it unpacks to {entry.file_size / 2**20:.0f} MiB, and at most "
            f"{MAX_BYTES // 2**20} MiB are allowed"
        )
    return None


def _common_folders(image_ids: Sequence[str]) -> int:
    """Return how many folders at the start all images lie in."""
    first, last = image_ids[0].split("/")[:-1], image_ids[-1].split("/")[:-1]
    n = 0
    # Ids are sorted, so what the first and the last share is shared by all between them.
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return n


def _below(image_id: str, n_leading: int) -> str:
    return image_id.split("/", n_leading)[-1]
