"""Processes of this machine: which one a number stands for, how much memory it holds, its end.

A process number is given to another process once its owner has ended. So a process is written
down together with the moment it started, which no two processes of one number share.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LOOK_EVERY = 0.05


def birth_of(pid: int) -> str | None:
    """Return what tells a process from all others of its number, now and later.

    Parameters
    ----------
    pid : int

    Returns
    -------
    str or None
        The start of the machine and of the process; ``None`` if there is no such process, it has
        ended and only waits to be noticed, or the system does not tell.
    """
    if pid <= 0:
        return None
    if (_PROC / "self/stat").is_file():
        fields = _stat(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return f"{_boot()} {fields[19]}"
    if sys.platform == "win32":  # pragma: no cover
        return None
    told = subprocess.run(  # pragma: no cover
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.split(maxsplit=1)
    return told[1].strip() if len(told) == 2 and not told[0].startswith("Z") else None


def is_alive(pid: int, birth: str | None) -> bool:
    """Return whether the very process runs that had this number and birth."""
    return birth is not None and birth_of(pid) == birth


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` after the name, which may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it; only itself where the system does not tell."""
    children: dict[int, list[int]] = {}
    with suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def memory_mb(pid: int) -> float | None:
    """Return the memory that a process and its descendants hold together, in MB.

    What several of them share counts once. ``None`` where the system does not tell.
    """
    total = 0
    for member in family(pid):
        try:
            text = (_PROC / str(member) / "smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 2**10 if total else None


def own_and_shared_mb() -> tuple[float, float] | None:
    """Return the memory of this process: its own, and that of files that others may share.

    In MB; ``None`` where the system does not tell.
    """
    try:
        text = (_PROC / "self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Rss"))
    if not {"RssAnon", "RssFile"} <= found.keys():
        return None
    own, shared = (int(found[name].split()[0]) / 2**10 for name in ("RssAnon", "RssFile"))
    return own, shared


def end(pid: int, birth: str, grace: float) -> bool:
    """End a process: ask it, wait, and kill it with its descendants if it does not answer.

    Parameters
    ----------
    pid : int
    birth : str
        From `birth_of`; another process of the same number is left alone.
    grace : float
        Seconds between the question and the kill.

    Returns
    -------
    bool
        Whether it ended when it was asked.
    """
    if not is_alive(pid, birth):
        return True
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _wait(pid, birth, grace):
        return True
    members = family(pid)
    for member in members:
        if is_alive(pid, birth) or member != pid:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, getattr(signal, "SIGKILL", signal.SIGTERM))
    _wait(pid, birth, 10.0)
    return False


def _wait(pid: int, birth: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid, birth):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY)
    return True
