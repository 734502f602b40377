"""What the concepts of a study are called: by hand, else by attribute, else by text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, TypeVar

import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.given_names import GivenName, GivenNames, NameScope
from cgraph.manifest import DICTIONARIES, NAMES, TEXT_NAMES, Manifest
from cgraph.naming import NAME_SCHEMA, ConceptName, names_from_table
from cgraph.store import read_table
from cgraph.study_checks import check_columns, fitting
from cgraph.text_names import TEXT_SCHEMA, TextName, texts_from_table

Name: TypeAlias = GivenName | ConceptName | TextName
"""Every kind has a ``text``; `marked` says with it which kind it is."""

BY_HAND = "\N{LOWER RIGHT PENCIL}"
"""Stands behind a name that somebody gave."""

BY_TEXT = "\N{ALMOST EQUAL TO}"
"""Stands before a name that was found by text."""

_T = TypeVar("_T")


def marked(name: Name) -> str:
    """Return a name as it is shown, with the mark of its kind; names by attribute have none."""
    if isinstance(name, GivenName):
        return f"{name.text} {BY_HAND}"
    return f"{BY_TEXT} {name.text}" if isinstance(name, TextName) else name.text


class StudyNames:
    """All names of a study's concepts. Those given by hand are always the ones of this moment.

    Parameters
    ----------
    folder : Path
        The study folder.
    manifest : Manifest
    file : callable
        Returns the path of a file of the study, checked against its hash.
    sizes : callable
        Returns the number of concepts of each layer.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        file: Callable[[str], Path],
        sizes: Callable[[], tuple[int, ...]],
    ) -> None:
        self._manifest, self._file, self._sizes = manifest, file, sizes
        self._given = GivenNames(folder)

    @cached_property
    def by_attribute(self) -> dict[ConceptId, ConceptName]:
        """Names from what is known of the images."""
        return self._read(NAMES, NAME_SCHEMA, names_from_table)

    @cached_property
    def by_text(self) -> dict[ConceptId, TextName]:
        """What concepts are like by text; empty unless ``cgraph names text`` was run."""
        if TEXT_NAMES not in self._manifest.files:
            return {}
        return self._read(TEXT_NAMES, TEXT_SCHEMA, texts_from_table)

    def _read(
        self, relative: str, schema: pa.Schema, read: Callable[[pa.Table], dict[ConceptId, _T]]
    ) -> dict[ConceptId, _T]:
        path = self._file(relative)
        table = read_table(path)
        with fitting(path):
            check_columns(table, schema)
            return read(table)

    @cached_property
    def scope(self) -> NameScope:
        """What names given by hand belong to."""
        dictionaries = self._manifest.files[DICTIONARIES].sha256
        return NameScope(self._manifest.name, dictionaries, self._sizes())

    @property
    def by_hand(self) -> dict[ConceptId, GivenName]:
        """Names given by hand, as they are now."""
        return self._given.current(lambda: self.scope)[0]

    @property
    def problem(self) -> str:
        """Why names given by hand cannot be shown; empty if they can."""
        return self._given.current(lambda: self.scope)[1]

    @property
    def revision(self) -> str:
        """Changes when a name given by hand does: what shows names is kept by it."""
        return self._given.revision

    def measured(self, concept: ConceptId) -> ConceptName | TextName | None:
        """Return the name that was found, whatever people call the concept."""
        by_text = self.by_text.get(concept)
        return self.by_attribute.get(concept) or (by_text if by_text and by_text.text else None)

    def of(self, concept: ConceptId) -> Name | None:
        """Return what a concept is called; ``None`` for one without a name."""
        return self.by_hand.get(concept) or self.measured(concept)

    def all(self) -> dict[ConceptId, Name]:
        """Return every concept that has a name, sorted."""
        by_text = {concept: name for concept, name in self.by_text.items() if name.text}
        named: dict[ConceptId, Name] = {**by_text, **self.by_attribute, **self.by_hand}
        return dict(sorted(named.items()))
