"""One writer for a study in an object store: a lock object with its owner and a heartbeat.

No store frees a lock when a process ends. So the owner writes the time into the lock again and
again, and a lock whose last beat is older than `LAPSE_SECONDS` is free. A lock whose owner ran on
this machine and is gone is free at once. The clocks of machines that share a store must agree to
well within that time.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.errors import StudyError
from cgraph.object_paths import ObjectPath

BEAT_SECONDS = 20.0
"""How often an owner says that it is still there."""

LAPSE_SECONDS = 120.0
"""Age of the last beat from which on a lock is free."""

_SETTLE_SECONDS = 1.0  # two who take a lapsed lock at once: the later put wins, both look again


@dataclass(frozen=True)
class _Holder:
    owner: str
    host: str
    machine: str
    pid: int
    beat: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether the lock is free: no beat for long, or its process ended on this machine."""
        if time.time() - self.beat > LAPSE_SECONDS:
            return True
        if self.machine != _machine() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def _machine() -> str:
    """Return what tells apart machines, their starts, and what numbers their processes."""
    known = [f"{uuid.getnode():x}"]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        known.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(known)


def _read(path: ObjectPath) -> _Holder | None:
    """Return who holds a lock; None without one, or with one that says nothing sensible."""
    try:
        values: Any = json.loads(path.read_bytes())
        return _Holder(
            str(values["owner"]),
            str(values["host"]),
            str(values["machine"]),
            int(values["pid"]),
            float(values["beat"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class _Lock:
    def __init__(self, path: ObjectPath, folder: ObjectPath) -> None:
        self.path, self.folder = path, folder
        self.owner = secrets.token_hex(16)
        self._stop = threading.Event()
        self._taken_by: str | None = None
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _data(self) -> bytes:
        values = {
            "owner": self.owner,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "beat": time.time(),
        }
        return json.dumps(values).encode()

    def take(self) -> _Holder | None:
        """Take the lock; return who holds it if somebody does."""
        try:
            self.path.write_bytes(self._data(), new=True)
            return None
        except FileExistsError:
            holder = _read(self.path)
        if holder is not None and not holder.is_gone:
            return holder
        self.path.write_bytes(self._data())
        time.sleep(_SETTLE_SECONDS)
        holder = _read(self.path)
        return None if holder is None or holder.owner == self.owner else holder

    def start(self) -> None:
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(StudyError):  # the store may answer again before the lock lapses
                holder = _read(self.path)
                if holder is not None and holder.owner != self.owner:
                    self._taken_by = str(holder)
                    return
                self.path.write_bytes(self._data())
                self._last = time.monotonic()

    def check(self) -> None:
        """Refuse to go on with a lock that was lost."""
        if self._taken_by is None and time.monotonic() - self._last > LAPSE_SECONDS:
            self._taken_by = f"nobody, for it could not be renewed for {LAPSE_SECONDS:.0f} s"
        if self._taken_by is not None:
            raise StudyError(
                f"The lock of {self.folder} was lost meanwhile (it is now held by "
                f"{self._taken_by}). Finished work is kept: let one build go on, or run the same "
                "command again."
            )

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(StudyError, FileNotFoundError):
            holder = _read(self.path)
            if holder is not None and holder.owner == self.owner:
                self.path.unlink()


@contextmanager
def object_lock(folder: ObjectPath, name: str, wait: float = 0) -> Iterator[Callable[[], None]]:
    """Hold a study in an object store for one writer.

    Parameters
    ----------
    folder : ObjectPath
    name : str
        Of the lock object in it.
    wait : float
        Seconds to wait for another who holds it.

    Yields
    ------
    callable
        Raises StudyError once the lock was lost.

    Raises
    ------
    StudyError
        If another writer holds it, or the store cannot be written.
    """
    folder.refuse_unless_whole()
    lock = _Lock(folder / name, folder)
    until = time.monotonic() + wait
    while (holder := lock.take()) is not None:
        if time.monotonic() >= until:
            age = max(0.0, time.time() - holder.beat)
            raise StudyError(
                f"Another build is working on {folder}: {holder}, last heard of {age:.0f} s ago. "
                f"Wait for it, stop it, or choose another folder. If it was killed, its lock "
                f"lapses {LAPSE_SECONDS:.0f} s after that."
            )
        time.sleep(0.2)
    lock.start()
    try:
        yield lock.check
    finally:
        lock.release()
