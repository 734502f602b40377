"""How far a study's graph tells the truth: measurements taken one after another, and stored.

Each measurement is a module with a function ``measure(bench)`` that returns the tables which
`cgraph.truth_tables.TABLES` names for it. A measurement is stored as a whole, recorded in the
manifest, and not taken again unless that is asked for. What needs pictures or the model is left out
with the reason where they cannot be had.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from cgraph.errors import ConfigError, ImageError, ModelError, StudyError
from cgraph.executors import local_executor, single_thread
from cgraph.manifest import BUILD_RECORD, MANIFEST, Manifest
from cgraph.object_paths import is_remote, study_path
from cgraph.output_making import refit_outputs
from cgraph.progress import Progress, ProgressWriter
from cgraph.receipts import intact_measurements
from cgraph.store import (
    file_record,
    folder_lock,
    read_json,
    remove_folder,
    to_json,
    write_bytes,
    write_table,
)
from cgraph.study import Study
from cgraph.truth_tables import STAGE, TABLES, truth_file
from cgraph.unpacked import refuse_unpacked
from cgraph.workbench import WORKING, Workbench

MODULES = {
    "rollout": "cgraph.rollout_figures",
    "references": "cgraph.references",
    "evidence": "cgraph.evidence",
    "worth": "cgraph.edge_worth",
    "stability": "cgraph.stability",
    "leakage": "cgraph.leakage",
    "direction": "cgraph.direction",
    "factors": "cgraph.factors",
    "flips": "cgraph.flips",
}
"""Measurements in the order in which they are taken, and where each is made."""


@dataclass(frozen=True)
class Measured:
    """What `measure_study` did.

    Attributes
    ----------
    study : Study
        Opened anew.
    seconds : dict of str to float
        Of the measurements that were taken now, by the clock.
    there : tuple of str
        Measurements that the study held already.
    left_out : dict of str to str
        Why a measurement could not be taken.
    """

    study: Study
    seconds: dict[str, float]
    there: tuple[str, ...]
    left_out: dict[str, str]


def measure_study(
    folder: str | Path,
    wanted: Sequence[str] = (),
    *,
    images: str | None = None,
    workers: int | None = None,
    again: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Measured:
    """Measure a finished study, or go on with measurements that were interrupted.

    Parameters
    ----------
    folder : str or Path
        A study folder of this machine.
    wanted : sequence of str
        Names out of `MODULES`; all if left out.
    images : str, optional
        Where the study's images lie now; where they lay when it was built if left out.
    workers : int, optional
        Processes; one for each core if left out. The result is the same for any.
    again : bool
        Also take those again that the study holds.
    on_progress : callable, optional
        Called with a `Progress` whenever a part is finished.

    Returns
    -------
    Measured

    Raises
    ------
    ConfigError
        If a name is unknown.
    StudyError
        If the folder is no finished study, cannot be written, or somebody else holds it.
    ImageError, ModelError
        If a measurement that was asked for by name needs what cannot be had.
    """
    strangers = [name for name in wanted if name not in MODULES]
    if strangers:
        raise ConfigError(
            f"There is no measurement {strangers[0]!r}. Allowed: {', '.join(MODULES)}."
        )
    if is_remote(study_path(folder)):
        raise StudyError(
            f"{folder} is not a folder of this machine, where measurements are kept. Copy the "
            "study here first."
        )
    path = study_path(folder)
    if path.is_file():
        path = Study.open(path).path  # of a zip file, the folder that it was unpacked into
    refuse_unpacked(path, "no measurement can be kept")
    Manifest.read(path)  # no lock is left in a folder that is no study
    names = [name for name in MODULES if name in (wanted or MODULES)]
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with folder_lock(path):
        _forget_damaged(path)
        study = Study.open(path)
        there = tuple(name for name in names if not again and study.is_measured(name))
        progress = path / WORKING / "progress.json"
        stopped = _stopped(study, progress, names)
        writer = ProgressWriter(progress, names, on_progress)
        for name in (name for name in names if name not in there):
            bench = Workbench(
                study,
                local_executor(workers or os.cpu_count() or 1),
                images=images,
                on_start=partial(_start, writer, name),
                on_advance=writer.advance,
            )
            began = time.monotonic()
            try:
                with single_thread():  # sums do not depend on the number of cores
                    tables = import_module(MODULES[name]).measure(bench)
            except (ImageError, ModelError) as error:
                if wanted:
                    raise
                left_out[name] = str(error)
                continue
            seconds[name] = round(time.monotonic() - began, 2)
            keep_tables(study.path, name, tables, seconds[name])
            if "refitted-edges" in TABLES[name]:
                refit_outputs(study.path)  # they follow what was refitted of the concepts
        writer.clear()
        if stopped is None:
            remove_folder(path / WORKING)
        else:
            write_bytes(progress, stopped)
    return Measured(Study.open(study.path), seconds, there, left_out)


def _start(writer: ProgressWriter, name: str, total: int, done: int) -> None:
    writer.start(name, total=total, done=done)


def _stopped(study: Study, progress: Path, names: Sequence[str]) -> bytes | None:
    """Return how far a measurement came that was stopped, and is to go on some other time."""
    if not progress.is_file():
        return None
    with suppress(StudyError, KeyError, TypeError):
        name = read_json(progress)["stage"]
        if name in MODULES and name not in names and not study.is_measured(name):
            return progress.read_bytes()
    return None


def _forget_damaged(folder: Path) -> None:
    """Take out of the manifest what was measured and is no longer whole, to be measured again."""
    manifest = Manifest.read(folder)
    kept = intact_measurements(folder, manifest.files)
    files = {p: r for p, r in manifest.files.items() if r.stage != STAGE} | kept
    if files != manifest.files:
        write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))


def keep_tables(folder: Path, name: str, tables: dict[str, pa.Table], seconds: float) -> None:
    """Store the tables of one measurement, then say so in the manifest.

    Parameters
    ----------
    folder : Path
        A study, whose lock the caller holds.
    name : str
        Out of `MODULES`.
    tables : dict of str to pyarrow.Table
        One for each name in `TABLES` under the measurement; further columns are left out.
    seconds : float
        How long it took.
    """
    manifest = Manifest.read(folder)
    tables_of = {truth_file(table) for table in TABLES[name]}
    files = {path: record for path, record in manifest.files.items() if path not in tables_of}
    if files != manifest.files:
        # Whoever is stopped from here on leaves a study without this measurement, not a broken one.
        write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))
    for table, schema in TABLES[name].items():
        path = truth_file(table)
        write_table(folder / path, tables[table].select(schema.names).cast(schema), small=True)
        files[path] = file_record(folder / path, STAGE)
    write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))
    _note(folder, name, seconds)


def _note(folder: Path, name: str, seconds: float) -> None:
    """Add how long it took to the record of how the study was made; no part of its identity."""
    record: dict[str, Any] = {}
    with suppress(StudyError, json.JSONDecodeError):
        record = read_json(folder / BUILD_RECORD)
    taken = {**record.get("measurements", {}), name: seconds}
    write_bytes(folder / BUILD_RECORD, to_json({**record, "measurements": taken}))
