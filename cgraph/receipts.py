"""What one finished call of a stage leaves behind: its files with their hashes, and its facts.

A receipt is written once the files are in place, so that a build that was stopped or killed does
nothing twice. Receipts are working files: a damaged one means that the call is made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.errors import StudyError
from cgraph.stages import WORK, Job, Outcome
from cgraph.store import FileRecord, file_record, read_json, to_json, write_bytes
from cgraph.truth_tables import STAGE, measurement_of_file


@dataclass(frozen=True)
class Receipt:
    """What one finished call left behind."""

    key: str
    files: dict[str, FileRecord]
    facts: dict[str, Any]


def receipts_folder(folder: Path, stage: str) -> Path:
    """Return where the receipts of a stage lie in a study folder."""
    return folder / WORK / "receipts" / stage


def perform(
    job: Job, stage: str, key: str, function: Callable[..., Outcome], arguments: tuple[int, ...]
) -> tuple[Receipt, float]:
    """Run one call and leave its receipt; this is what an executor runs.

    Returns
    -------
    receipt : Receipt
    peak_memory_mb : float
        Most memory that this process has held meanwhile.
    """
    forget_peak_memory()
    outcome = function(job, *arguments)
    files = {path: file_record(job.folder / path, stage) for path in outcome.files}
    values = {"files": {p: vars(r) for p, r in files.items()}, "facts": outcome.facts}
    write_bytes(receipts_folder(job.folder, stage) / f"{key}.json", to_json(values))
    return Receipt(key, files, outcome.facts), peak_memory_mb()


def read_receipt(folder: Path, stage: str, key: str) -> Receipt | None:
    """Return the receipt of a call, or None if it is not there, damaged or its files changed."""
    try:
        values = read_json(receipts_folder(folder, stage) / f"{key}.json")
        files = {name: FileRecord(**record) for name, record in values["files"].items()}
        receipt = Receipt(key, files, dict(values["facts"]))
    except (StudyError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return receipt if all(is_intact(folder, p, r) for p, r in files.items()) else None


def keys_with_receipt(folder: Path, stage: str) -> set[str]:
    """Return the calls of a stage that left a receipt, whatever it is worth.

    One listing, since to look for each of a million takes hours in an object store.
    """
    try:
        entries = list(receipts_folder(folder, stage).iterdir())
    except FileNotFoundError:
        return set()
    return {entry.name.removesuffix(".json") for entry in entries}


def remove_receipt(folder: Path, stage: str, key: str) -> None:
    """Have a call made again."""
    (receipts_folder(folder, stage) / f"{key}.json").unlink(missing_ok=True)


def is_intact(folder: Path, path: str, record: FileRecord) -> bool:
    """Return whether a file is still what its record says."""
    try:
        return file_record(folder / path, record.stage) == record
    except StudyError:
        return False


def intact_measurements(folder: Path, files: Mapping[str, FileRecord]) -> dict[str, FileRecord]:
    """Return the files of the measurements of a study of which every file is what its record says.

    Parameters
    ----------
    folder : Path
    files : mapping of str to FileRecord
        All files of its manifest.
    """
    own = {path: record for path, record in files.items() if record.stage == STAGE}
    damaged = {
        measurement_of_file(path)
        for path, record in own.items()
        if not is_intact(folder, path, record)
    }
    return {p: record for p, record in own.items() if measurement_of_file(p) not in damaged}


def forget_peak_memory() -> None:
    """Have `peak_memory_mb` count from now on; only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """Return the most memory this process has held, in MB; 0 where the system does not tell.

    It counts from the last `forget_peak_memory`, or from the start of the process where that has
    no effect. Pages of mapped files that were touched count too.
    """
    # What Linux tells by getrusage includes the parent's, up to the start of this program.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
