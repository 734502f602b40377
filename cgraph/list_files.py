"""Files that list images by path or address: CSV, TSV, JSON, Parquet, and the two texts of SBU.

Whatever the form, the result is one table with a column of places, paths or addresses, and others
that become attributes.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cgraph.decoding import SUFFIXES
from cgraph.errors import ImageError
from cgraph.image_tables import naming_file
from cgraph.table_attributes import is_text

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
"""Endings of files that may be lists; Parquet may be one too."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")

PLACE_COLUMNS = (
    "image_url", "img_url", "url", "file_name", "filename", "image_path", "img_path", "file_path",
    "filepath", "path", "image", "img", "image_file", "file", "uri", "image_uri", "link",
)  # fmt: skip
"""Names of the column with paths or addresses, in any case; the first that is there counts."""

SBU_URLS = "_urls.txt"
SBU_CAPTIONS = "_captions.txt"
"""How the names of SBU's two files end, whose lines belong together."""

CAPTION = "caption"

_PLURALS = {"image_urls": "image_url", "user_ids": "user_id", "captions": CAPTION}
"""Names in the one JSON file that SBU also comes as, and what Hugging Face calls them."""


@dataclass(frozen=True)
class ImageList:
    """What a list says.

    Attributes
    ----------
    table : pyarrow.Table
        A row for each image.
    column : str
        Which column holds the paths or addresses.
    """

    table: pa.Table
    column: str


def place_column(names: Sequence[str]) -> str | None:
    """Return which of some columns holds paths or addresses, or None."""
    by_name = {name.strip().lower(): name for name in reversed(names)}
    return next((by_name[name] for name in PLACE_COLUMNS if name in by_name), None)


def text_place_column(schema: pa.Schema) -> str | None:
    """Return which column of text of a table holds paths or addresses, or None."""
    return place_column([field.name for field in schema if is_text(field.type)])


def read_list(path: Path) -> ImageList:
    """Read a list of images from a file.

    Parameters
    ----------
    path : Path
        Ends in .csv, .tsv, .jsonl or .json.

    Raises
    ------
    ImageError
        If it cannot be read or is no such list.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_list(data, str(path))


def parse_list(data: bytes, name: str) -> ImageList:
    """Read a list of images from the bytes of a file; see `read_list`."""
    suffix = name.lower().rpartition(".")[2]
    if suffix in ("json", "jsonl"):
        table = _json_table(data, name)
        column = text_place_column(table.schema)
        if column is None:
            raise ImageError(_no_place(name, table.column_names))
    else:
        table, column = _delimited_table(data, name, suffix == "tsv")
    if not table.num_rows:
        raise ImageError(f"{name} lists no image: it has a head and no rows.")
    return ImageList(table, column)


def read_parquet_lists(files: list[Path]) -> ImageList:
    """Read Parquet files that list images by path or address as one list.

    Raises
    ------
    ImageError
        If one is damaged or has no column of paths or addresses.
    """
    tables, column = [], None
    for file in files:
        with naming_file(file):
            table = pq.read_table(file, partitioning=None)
        found = text_place_column(table.schema)
        if found is None or column not in (None, found):
            raise ImageError(_no_place(str(file), table.column_names))
        column = found
        tables.append(table)
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise ImageError(
            f"The files in {files[0].parent} have columns of one name and different types "
            f"({error}), so they are not one list. Give one file."
        ) from None
    if not table.num_rows:
        raise ImageError(f"{files[0]} lists no image: it has no rows.")
    # What the first file says of its features speaks for all.
    return ImageList(table.replace_schema_metadata(tables[0].schema.metadata), str(column))


def sbu_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the names of SBU's two files among others, or None."""
    for urls in sorted(names):
        if urls.lower().endswith(SBU_URLS):
            captions = urls[: -len(SBU_URLS)] + SBU_CAPTIONS
            if captions in names:
                return urls, captions
    return None


def parse_sbu(urls: bytes, captions: bytes, name: str) -> ImageList:
    """Join SBU's two files, of which a line in each belongs to one image.

    Source: Ordonez, Kulkarni and Berg, "Im2Text", 2011, in the form it is offered for download.

    Raises
    ------
    ImageError
        If one has more lines than the other.
    """
    import pyarrow.compute as pc

    places, words = _lines(urls), _lines(captions)
    if len(places) != len(words):
        raise ImageError(
            f"{name} holds {len(places)} addresses and {len(words)} captions: line by line they "
            "belong together, so there must be as many. Fetch both files again."
        )
    if not pc.any(pc.not_equal(places, "")).as_py():
        raise ImageError(f"{name} lists no image: its files are empty.")
    words = pc.if_else(pc.equal(words, ""), None, words)
    return ImageList(pa.table({"image_url": places, CAPTION: words}), "image_url")


def _lines(data: bytes) -> pa.Array:
    """Return the lines of a text without spaces around them."""
    import pyarrow.compute as pc

    # A byte of a caption that is no UTF-8 costs one letter, not the set.
    text = data.decode("utf-8", errors="replace").rstrip()
    # A million Python strings would take several times the memory of the text.
    lines = pc.split_pattern(pa.array([text], type=pa.large_string()), "\n")
    return pc.utf8_trim_whitespace(lines.flatten())


def list_in_archive(
    names: Sequence[str], read: Callable[[str], bytes], path: Path
) -> ImageList | None:
    """Read the list in an archive: SBU's two files, or the only list; None if there is none.

    Parameters
    ----------
    names : sequence of str
        Of its members.
    read : callable
        Returns the bytes of one.
    path : Path
        Of the archive, for errors.

    Raises
    ------
    ImageError
        If there are several, or it is no list.
    """
    pair = sbu_pair(names)
    if pair is not None:
        return parse_sbu(read(pair[0]), read(pair[1]), str(path))
    lists = [name for name in names if name.lower().endswith(TEXT_SUFFIXES)]
    if not lists:
        return None
    if len(lists) > 1:
        raise ImageError(
            f"{path} holds {len(lists)} lists ({', '.join(sorted(lists)[:4])}), so it is ambiguous "
            "which is meant. Unpack it and give one."
        )
    return parse_list(read(lists[0]), f"{path}/{lists[0]}")


MOST_LIST_BYTES = 4 * 2**30
"""Most bytes of a list in an archive; one that unpacks to more is refused before it is read."""


def list_in_zip(path: Path, entries: list[zipfile.ZipInfo]) -> ImageList | None:
    """Read the list in a zip file; see `list_in_archive`."""
    sizes = {entry.filename: entry.file_size for entry in entries}

    def read(name: str) -> bytes:
        _check_list_size(path, name, sizes[name])
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ImageError(f"{name} in {path} cannot be read ({error}).") from None

    return list_in_archive(list(sizes), read, path)


def list_in_tar(path: Path) -> ImageList:
    """Read the list in a tar file, packed or not; see `list_in_archive`.

    Raises
    ------
    ImageError
        If it cannot be read or holds no list.
    """
    try:
        with tarfile.open(path) as archive:
            members = {m.name: m for m in archive.getmembers() if m.isfile()}
            hidden = [n for n in members if any(p.startswith("._") for p in n.split("/"))]
            for name in hidden:
                del members[name]

            def read(name: str) -> bytes:
                _check_list_size(path, name, members[name].size)
                file = archive.extractfile(members[name])
                return b"" if file is None else file.read()

            found = list_in_archive(list(members), read, path)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ImageError(f"{path} cannot be read as a tar file ({error}).") from None
    if found is None:
        images = sum(name.lower().endswith(SUFFIXES) for name in members)
        raise ImageError(
            f"{path} holds {images} images and {len(members) - images} other files, but no list of "
            f"addresses: from a tar file are read a pair of *{SBU_URLS} and *{SBU_CAPTIONS}, or "
            "one list. Unpack it, or write the images into a zip file."
        )
    return found


def _check_list_size(path: Path, name: str, size: int) -> None:
    if size > MOST_LIST_BYTES:
        raise ImageError(
            f"{name} in {path} unpacks to {size / 2**30:.1f} GiB, and at most "
            f"{MOST_LIST_BYTES // 2**30} GiB are allowed. Unpack it and write it as Parquet."
        )


def _no_place(name: str, columns: Sequence[str]) -> str:
    return (
        f"{name} has no column of images, paths or addresses, but: {', '.join(columns)}. Name one "
        f"column of text {', '.join(PLACE_COLUMNS[:4])} or path, or one column of pictures image."
    )


def _json_table(data: bytes, name: str) -> pa.Table:
    """Read rows of objects, an array of objects, or one object of equally long arrays."""
    try:
        text = data.decode("utf-8-sig")
        if name.lower().endswith(".jsonl"):
            rows: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
        if isinstance(rows, dict):
            columns = {_PLURALS.get(key, key): values for key, values in rows.items()}
            if not all(isinstance(values, list) for values in columns.values()):
                raise ValueError("it is an object of single values")
            if len({len(values) for values in columns.values()}) > 1:
                raise ValueError("its arrays are not equally long")
            return pa.table(columns)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is no list of objects")
        names = dict.fromkeys(key for row in rows for key in row)
        return pa.table({key: [row.get(key) for row in rows] for key in names})
    except (ValueError, RecursionError, pa.ArrowException) as error:
        raise ImageError(
            f"{name} cannot be read as a list of images ({str(error)[:200]}). Write one object for "
            'each image, such as {"image_url": "https://…", "caption": "…"}: in .jsonl one a line, '
            "in .json an array of them."
        ) from None


def _delimited_table(data: bytes, name: str, tabs: bool) -> tuple[pa.Table, str]:
    import pyarrow.csv

    delimiter, head = _head(data, name, tabs)
    column = place_column(head)
    options: dict[str, Any] = {}
    if column is None:
        names = _names_without_head(head)
        if names is None:
            raise ImageError(_no_place(name, head))
        column = names[0]
        head = names[1]
        options["column_names"] = head
    twice = sorted({title for title in head if head.count(title) > 1})
    if twice:
        raise ImageError(f"{name} has several columns named {twice[0]!r}. Rename all but one.")
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")),
            pyarrow.csv.ReadOptions(**options),
            # Captions hold quotation marks: in tab-separated files they are letters like others.
            pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, quote_char=False if tabs else '"'
            ),
            # Every cell is text as it stands, so that no number loses its zeros.
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(head, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, OSError) as error:
        raise ImageError(f"{name} cannot be read as a table of text: {error}") from None
    return table, column


def _head(data: bytes, name: str, tabs: bool) -> tuple[str, list[str]]:
    """Return what stands between the cells, and the cells of the first line."""
    try:
        line = data[: 2**20].partition(b"\n")[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise ImageError(f"{name} is not text in UTF-8. Save it as CSV in UTF-8.") from None
    if not line.strip():
        raise ImageError(f"{name} begins with an empty line; the first line names the columns.")
    if tabs:
        return "\t", line.split("\t")
    delimiter = max(",;\t|", key=lambda sign: len(next(csv.reader([line], delimiter=sign))))
    return delimiter, next(csv.reader([line], delimiter=delimiter))


def _names_without_head(cells: list[str]) -> tuple[str, list[str]] | None:
    """Name the columns of a file whose first line is an image already, as Conceptual Captions."""
    places = [n for n, cell in enumerate(cells) if is_address(cell) or _is_file_name(cell)]
    if len(places) != 1:
        return None
    names = [CAPTION if len(cells) == 2 else f"column_{n + 1}" for n in range(len(cells))]
    names[places[0]] = "image_url" if is_address(cells[places[0]]) else "file_name"
    return names[places[0]], names


def is_address(text: str) -> bool:
    """Return whether a text is an address in the net."""
    return text.lower().startswith(("http://", "https://"))


def _is_file_name(text: str) -> bool:
    return text.lower().endswith(SUFFIXES)
