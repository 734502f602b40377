"""What was fetched from the net, kept on disk: images, and which links are dead.

The cache is a folder, by default the user's own, or the one that ``CGRAPH_CACHE`` names. It may be
deleted at any time. Files are whole or absent, so any number of processes may share it.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from cgraph.errors import FetchError

_LONGEST_QUEUE = 3600.0
"""Seconds. A turn later than that was written under another clock."""


def cache_folder() -> Path:
    """Return the folder of what can be had again: ``CGRAPH_CACHE``, or the user's own."""
    given = os.environ.get("CGRAPH_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cgraph"


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file of the cache so that it is whole or absent.

    Raises
    ------
    FetchError
        If the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(suffix=".partial", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise FetchError(
            f"{path} could not be written ({error.strerror}). Free some space, or let CGRAPH_CACHE "
            "name a folder you may write to; then run the same command again: finished work is "
            "kept."
        ) from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


class DownloadCache:
    """Images by their address, and which addresses have none.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, url: str) -> Path:
        """Return where the image of an address lies, once it is there."""
        name = hashlib.sha256(url.encode()).hexdigest()
        return self.folder / "downloads" / name[:2] / name

    def read(self, url: str) -> bytes | None:
        """Return the bytes that were fetched, or None."""
        try:
            return self.path(url).read_bytes()
        except OSError:
            return None

    def write(self, url: str, data: bytes) -> None:
        """Keep what was fetched."""
        write_whole(self.path(url), data)

    def forget(self, url: str) -> None:
        """Remove an image that turned out to be damaged on disk."""
        with suppress(OSError):
            self.path(url).unlink()

    def dead(self, url: str) -> str | None:
        """Return why an address has no image, if it was found to have none."""
        try:
            record = json.loads(self._record(url).read_bytes())
            return record["reason"] if record["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def mark_dead(self, url: str, reason: str) -> None:
        """Remember that an address has no image, and will not have one."""
        record = json.dumps({"url": url, "reason": reason}, sort_keys=True)
        write_whole(self._record(url), record.encode())

    def _record(self, url: str) -> Path:
        return self.path(url).with_suffix(".dead.json")

    def answered(self) -> None:
        """Remember that some server answered just now."""
        marker = self.folder / "answered"
        with suppress(OSError):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    def last_answer(self) -> float:
        """Return when a server answered last, in seconds since 1970; 0 for never."""
        try:
            return (self.folder / "answered").stat().st_mtime
        except OSError:
            return 0.0


class HostTurns:
    """Spreads the requests to a host over time, whatever threads and processes make them.

    When the next request may start stands in a small file for each host, under a lock: so the rate
    holds for all builds on this machine that share the cache.

    Parameters
    ----------
    folder : Path
        The cache.
    rate : float
        Most requests to one host in a second.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self._folder = folder / "hosts"
        self._interval = 1 / rate
        self._mutex = threading.Lock()
        self._made = False

    def wait(self, host: str) -> None:
        """Sleep until a request may be made."""
        now = time.time()
        time.sleep(max(0.0, self._move(host, now, now, self._interval) - now))

    def hold(self, host: str, seconds: float) -> None:
        """Have all requests to a host wait, as the host asked."""
        now = time.time()
        self._move(host, now, now + seconds, 0.0)

    def _move(self, host: str, now: float, earliest: float, step: float) -> float:
        """Return when the next turn is, not before `earliest`, and put off the one after."""
        path = self._folder / hashlib.sha256(host.encode()).hexdigest()[:32]
        # Threads wait at the first lock, without asking the disk again and again.
        with self._mutex:
            try:
                if not self._made:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._made = True
                with FileLock(f"{path}.lock", poll_interval=0.005):
                    turn = earliest
                    with suppress(OSError, ValueError):
                        planned = float(path.read_text())
                        if planned < now + _LONGEST_QUEUE:
                            turn = max(planned, earliest)
                    path.write_text(repr(turn + step))
            except OSError as error:
                raise FetchError(
                    f"{path} could not be written ({error.strerror}). Free some space, or let "
                    "CGRAPH_CACHE name a folder you may write to."
                ) from None
        return turn


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks to wait, or None.

    Source: RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())
