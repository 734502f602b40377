"""What is opened once and shared by everybody: the list of studies and open studies."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cgraph.errors import StudyError
from cgraph.job_status import STUDIES_VARIABLE, search_folders
from cgraph.manifest import MANIFEST, STAGES
from cgraph.study import Study
from cgraph.study_archive import SUFFIX, holds_study, read_manifest

__all__ = ["STUDIES_VARIABLE", "search_folders"]

OPENS_FIRST = "demo"
"""Folder of a study that comes before its neighbours: of the bundled ones, where the app opens."""


@dataclass(frozen=True)
class StudyEntry:
    """A study folder, or the zip file of a study, that was found.

    Attributes
    ----------
    name : str
        Slug from the manifest.
    folder : Path
    stamp : int
        When the manifest or the zip was written (nanoseconds); a study built anew is opened anew.
    """

    name: str
    folder: Path
    stamp: int


@dataclass(frozen=True)
class StudyList:
    """Every study that was found, and what was passed over.

    Attributes
    ----------
    entries : tuple of StudyEntry
        In the order in which they were found; names differ.
    problems : tuple of str
        One sentence for each folder whose manifest cannot be read.
    hidden : tuple of Path
        Folders whose name an earlier study already has.
    searched : tuple of Path
        Folders that were looked in, whether they exist or not.
    unfinished : tuple of StudyEntry
        Studies that are still being built, or whose build was interrupted.
    """

    entries: tuple[StudyEntry, ...] = ()
    problems: tuple[str, ...] = ()
    hidden: tuple[Path, ...] = ()
    searched: tuple[Path, ...] = ()
    unfinished: tuple[StudyEntry, ...] = ()

    def find(self, name: str | None) -> StudyEntry | None:
        """Return the study of that name, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)


def find_studies(folders: tuple[Path, ...]) -> StudyList:
    """Look for studies.

    Parameters
    ----------
    folders : tuple of Path
        Each is a study or holds studies, in the order of their names but for `OPENS_FIRST`. A study
        is a folder with a ``study.json``, or a zip file of one.

    Returns
    -------
    StudyList
        A folder that cannot be read costs a sentence, never the other studies.
    """
    entries: dict[str, StudyEntry] = {}
    problems, hidden, unfinished, seen = [], [], [], set()
    candidates: list[Path] = []
    for root in folders:
        try:
            candidates += _candidates(root)
        except StudyError as error:  # an object store that does not answer
            problems.append(str(error))
    for folder in candidates:
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        try:
            manifest = read_manifest(folder)
            name = manifest.name
            stamp = (folder if folder.is_file() else folder / MANIFEST).stat().st_mtime_ns
        except (StudyError, OSError) as error:
            problems.append(str(error))
            continue
        if not set(STAGES) <= set(manifest.stages):
            unfinished.append(StudyEntry(name, folder, stamp))
        elif name in entries:
            hidden.append(folder)
        else:
            entries[name] = StudyEntry(name, folder, stamp)
    return StudyList(
        tuple(entries.values()), tuple(problems), tuple(hidden), folders, tuple(unfinished)
    )


def _candidates(root: Path) -> list[Path]:
    if (root / MANIFEST).is_file() or root.is_file():
        return [root]
    try:
        found = (place for place in root.iterdir() if _is_study(place))
        return sorted(found, key=lambda place: (place.name != OPENS_FIRST, place))
    except OSError:
        return []


def _is_study(place: Path) -> bool:
    if place.suffix.lower() == SUFFIX and place.is_file():
        return not place.name.startswith(".") and holds_study(place)
    return (place / MANIFEST).is_file()


@st.cache_data(ttl=10, show_spinner=False)
def studies(folders: tuple[Path, ...]) -> StudyList:
    """Look for studies at most every ten seconds."""
    return find_studies(folders)


@st.cache_resource(max_entries=8, show_spinner="Opening the study …")
def open_study(entry: StudyEntry) -> Study:
    """Open a study once for everybody.

    Raises
    ------
    StudyError
        If it is unfinished, altered, or lacks a file.
    """
    study = Study.open(entry.folder)
    study.graph.n_concepts()  # what the first page needs, so that a damaged graph shows here
    gc.freeze()  # without the collection, which takes longer than opening
    return study


def spare_from_collection() -> None:
    """Take what is here to stay out of the garbage collector's way.

    Streamlit collects after every answer, and looking through all libraries and studies again
    takes longer than the answer.
    """
    gc.collect()
    gc.freeze()
