"""Files that are whole or absent: atomic writes, hashes, Arrow tables that map into memory.

Every file is written under a temporary name in its folder, synced, and renamed. A reader never
sees half a file, and a power cut leaves the old one or the new one. In an object store
(`cgraph.object_paths`) a file is put as a whole, which is as good, and read in place of mapped.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.codes import Codes
from cgraph.errors import StudyError
from cgraph.object_lock import object_lock
from cgraph.object_paths import as_object

LOCK_NAME = ".lock"
TEMPORARY_SUFFIX = ".partial"

_LONG_COLUMN = 50_000


@dataclass(frozen=True)
class FileRecord:
    """What the manifest keeps of a file: its hash and size, and the stage that wrote it."""

    sha256: str
    size: int
    stage: str


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is whole or absent, whatever happens meanwhile.

    Raises
    ------
    StudyError
        If the disk is full or the folder cannot be written.
    """
    remote = as_object(path)
    if remote is not None:
        remote.write_bytes(bytes(data))
    else:
        write_pieces(path, (data,))


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file piece by piece, so that it is whole or absent; see `write_bytes`."""
    remote = as_object(path)
    if remote is not None:
        remote.write_bytes(b"".join(pieces))
        return
    # Two machines may write the same file at once, when one is taken for dead: the number of the
    # process would not tell them apart.
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{unique}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            for data in pieces:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError, ValueError):
            temporary.unlink()
        if not isinstance(error, OSError | ValueError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise StudyError(
            f"{path} could not be written ({reason}). Free some space or choose "
            "a folder you may write to, then run the same command again: finished work is kept."
        ) from None


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed left of unfinished files, anywhere in a folder."""
    if as_object(folder) is not None:
        return  # an object that was not put whole does not exist
    for path in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that is possible."""
    remote = as_object(folder)
    if remote is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        remote.remove_all()


def is_writable(folder: Path) -> bool:
    """Return whether files may be written to a folder; an object store tells by refusing one."""
    return as_object(folder) is not None or os.access(folder, os.W_OK)


def file_sizes(folder: Path, names: Iterable[str]) -> dict[str, int | None]:
    """Return the size of each file in a folder by its name, and None for one that is not there."""
    remote = as_object(folder)
    if remote is not None:
        found = remote.sizes()
        return {name: found.get(name) for name in names}
    sizes: dict[str, int | None] = {}
    for name in names:
        path = folder / name
        sizes[name] = path.stat().st_size if path.is_file() else None
    return sizes


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: Any) -> bytes:
    """Return JSON with sorted keys, so that equal values are equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StudyError
        If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"{path} cannot be read as JSON ({error}).") from None


def write_table(path: Path, table: pa.Table, *, small: bool = False) -> None:
    """Write an Arrow IPC file, uncompressed, so that a reader can map it into memory.

    A small one is compressed: it takes less room, and is read whole.
    """
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if small else None)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    write_bytes(path, memoryview(sink.getvalue()))


class _Pieces:
    """A file that hands on what is written to it, a piece at a time."""

    closed = False

    def __init__(self) -> None:
        self._length = 0
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        return self._length

    def flush(self) -> None:
        """Do nothing: the pieces are taken."""

    def taken(self) -> list[bytes]:
        """Return what was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces


def write_batches(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables as the record batches of one Arrow IPC file, holding one of them at a time."""

    def pieces() -> Iterator[bytes]:
        sink = _Pieces()
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            for table in tables:
                writer.write_table(table.combine_chunks())
                yield from sink.taken()
        yield from sink.taken()

    write_pieces(path, pieces())


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Map an Arrow IPC file, or some of its columns, into memory.

    Raises
    ------
    StudyError
        If it is missing or not such a file.
    """
    remote = as_object(path)
    try:
        buffer = None if remote is None else remote.read_bytes()
        with pa.memory_map(str(path)) if buffer is None else pa.BufferReader(buffer) as source:
            reader = pa.ipc.open_file(source)
            if columns is not None:
                places = sorted(reader.schema.get_field_index(name) for name in columns)
                options = pa.ipc.IpcReadOptions(included_fields=places)
                reader = pa.ipc.open_file(source, options=options)
            table = reader.read_all()
        table.validate(full=True)
        return table
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except (OSError, pa.ArrowException) as error:
        raise StudyError(f"{path} is not an Arrow file ({error}).") from None


def as_array(column: pa.Array) -> np.ndarray:
    """Return an Arrow array of numbers without nulls as a NumPy array; only Booleans are copied.

    Arrow's own ``to_numpy`` first loads pandas, which takes longer than reading a whole study.
    """
    if not len(column):
        return np.empty(0, dtype=column.type.to_pandas_dtype())
    if pa.types.is_boolean(column.type):
        bits = np.frombuffer(column.buffers()[1], dtype=np.uint8)
        ends = column.offset + len(column)
        return np.unpackbits(bits, count=ends, bitorder="little")[column.offset :].astype(bool)
    return np.from_dlpack(column)


def distinct(column: pa.ChunkedArray) -> set[str | None]:
    """Return the different texts of a column.

    Arrow's own ``unique`` first loads all compute functions, which pays for long columns only.
    """
    values = column.unique() if len(column) > _LONG_COLUMN else column
    return set(values.to_pylist())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getbuffer())


def read_array(path: Path) -> np.ndarray:
    """Read an array written by `write_array`.

    Raises
    ------
    StudyError
        If it is missing or not such a file.
    """
    remote = as_object(path)
    try:
        return np.load(
            path if remote is None else io.BytesIO(remote.read_bytes()), allow_pickle=False
        )
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an array ({error}).") from None


def map_array(path: Path) -> np.ndarray:
    """Map an array written by `write_array` into memory, to be read only; from a store, read it.

    Raises
    ------
    StudyError
        If it is missing or not such a file.
    """
    if as_object(path) is not None:
        return read_array(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an array ({error}).") from None


def map_bytes(path: Path) -> np.ndarray:
    """Map a file that is not empty into memory, as bytes to be read only; from a store, read it."""
    remote = as_object(path)
    if remote is not None:
        return np.frombuffer(remote.read_bytes(), dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r")


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as safetensors."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(a) for name, a in tensors.items()}))


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table, with None for a figure that is not a finite number."""
    return [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in table.to_pylist()
    ]


def read_tensors(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Read the arrays written by `write_tensors` whose names begin with a prefix.

    Raises
    ------
    StudyError
        If the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load, load_file

    remote = as_object(path)
    try:
        if remote is not None:
            tensors = load(remote.read_bytes())
            return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if not prefix:
            return load_file(path)
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except (OSError, SafetensorError) as error:
        raise StudyError(f"{path} is damaged ({error}).") from None


def codes_to_table(codes: Codes) -> pa.Table:
    """Return codes as one list column; the list offsets are the row offsets."""
    index_type = pa.uint16() if codes.n_atoms <= 2**16 else pa.uint32()
    entries = pa.StructArray.from_arrays(
        [
            pa.array(codes.indices.astype(index_type.to_pandas_dtype())),
            pa.array(codes.coefficients),
        ],
        names=["index", "coefficient"],
    )
    rows = pa.LargeListArray.from_arrays(pa.array(codes.offsets), entries)
    metadata = {b"n_atoms": str(codes.n_atoms).encode()}
    return pa.table({"code": rows}).replace_schema_metadata(metadata)


def codes_from_table(table: pa.Table, path: Path) -> Codes:
    """Read codes from a table written by `codes_to_table`.

    Raises
    ------
    StudyError
        If the table has another form or an index is out of range; `path` is named.
    """
    try:
        n_atoms = int(table.schema.metadata[b"n_atoms"])
        rows = table.column("code").combine_chunks()
        if isinstance(rows, pa.ChunkedArray):
            rows = rows.chunk(0)
        offsets = as_array(rows.offsets).astype(np.int64)
        indices = as_array(rows.values.field("index")).astype(np.int32)
        coefficients = as_array(rows.values.field("coefficient")).astype(np.float32, copy=False)
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise StudyError(f"{path} does not hold codes ({error}).") from None
    if rows.null_count or rows.values.null_count or offsets[0] != 0 or offsets[-1] != len(indices):
        raise StudyError(f"{path} does not hold codes (its rows are not complete).")
    if len(indices) and (indices.max() >= n_atoms or indices.min() < 0):
        raise StudyError(f"{path} names concept {indices.max()}; the layer has {n_atoms}.")
    starts = np.zeros(len(indices) + 1, dtype=bool)
    starts[offsets] = True
    if (np.diff(indices) <= 0)[~starts[1:-1]].any():
        raise StudyError(f"{path} does not hold codes (concepts do not rise within a row).")
    if not (np.isfinite(coefficients) & (coefficients != 0)).all():
        raise StudyError(f"{path} does not hold codes (a coefficient is zero or not finite).")
    return Codes(offsets, indices, coefficients, n_atoms)


def file_record(path: Path, stage: str) -> FileRecord:
    """Hash a file that is already in its place.

    Raises
    ------
    StudyError
        If it is missing.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(digest, path.stat().st_size, stage)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing.") from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror or error}).") from None


@contextmanager
def folder_lock(folder: Path, wait: float = 0) -> Iterator[Callable[[], None]]:
    """Hold a study folder for one writer; the system frees it when the process ends.

    In an object store the lock is an object with a heartbeat; see `cgraph.object_lock`.

    Parameters
    ----------
    folder : Path
    wait : float
        Seconds to wait for another who holds it.

    Yields
    ------
    callable
        Raises StudyError once the lock was lost, which only happens in an object store.

    Raises
    ------
    StudyError
        If another writer holds it.
    """
    remote = as_object(folder)
    if remote is not None:
        with object_lock(remote, LOCK_NAME, wait) as check:
            yield check
        return
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=wait)
        lock.acquire()
    except Timeout:
        raise StudyError(
            f"Another build is working on {folder}. Wait for it, stop it, or choose another folder."
        ) from None
    except OSError as error:
        raise StudyError(
            f"{folder} cannot be used ({error.strerror or error}). Choose one you may write to."
        ) from None
    try:
        yield lambda: None
    finally:
        lock.release()
