"""Names that people give to concepts, kept in the study in a file of their own.

``names.json`` lies beside the manifest and is not part of it: whoever names a concept changes no
measured file and no hash. It says which dictionaries its names belong to, since a concept is an
atom, and the same index means something else once the dictionaries are learned anew.

A change is made under the lock of the folder: the file is read, changed and replaced as a whole,
so that two people who name concepts at the same time both keep their names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, StudyError
from cgraph.store import folder_lock, is_writable, read_json, to_json, write_bytes
from cgraph.unpacked import refuse_unpacked

GIVEN_NAMES = "names.json"
"""Place of the file in a study folder."""

SCHEMA = 1
"""Version of the file."""

LONGEST = 60
"""Most characters of a name, and of an author."""

WAIT_SECONDS = 5.0
"""How long somebody waits for others who are naming concepts of the same study."""

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # parts of words, and of signs
_LATER = "Names of theirs are kept there and not shown"


@dataclass(frozen=True)
class GivenName:
    """What somebody calls a concept.

    Attributes
    ----------
    text : str
        At most `LONGEST` characters, on one line.
    author : str
        Who says so.
    date : str
        When, in universal time: ``2026-11-25T21:04:09Z``.
    """

    text: str
    author: str
    date: str

    @classmethod
    def of(cls, text: str, author: str, date: str | None = None) -> GivenName:
        """Return a name in the form in which it is kept.

        Parameters
        ----------
        text, author : str
            Spaces around and in a row are dropped.
        date : str, optional
            ISO 8601, in universal time if it names no zone; now if left out.

        Raises
        ------
        ConfigError
            If one of them is empty, too long, not readable, or no date.
        """
        return cls(_clean(text, "name"), _clean(author, "author"), _moment(date))


@dataclass(frozen=True)
class NameScope:
    """What names of a study belong to.

    Attributes
    ----------
    study : str
        Slug, for people.
    dictionary : str
        sha256 of the dictionaries' file: what makes a concept this concept.
    sizes : tuple of int
        Concepts of each layer.
    """

    study: str
    dictionary: str
    sizes: tuple[int, ...]

    def check(self, concept: ConceptId) -> None:
        """Refuse a concept that the study does not have.

        Raises
        ------
        ConfigError
            That says which exist.
        """
        known = concept.kind == "class" and 1 <= concept.layer <= len(self.sizes)
        if not known or not 0 <= concept.index < self.sizes[concept.layer - 1]:
            last = f"L{len(self.sizes)}/{self.sizes[-1] - 1}"
            raise ConfigError(
                f"The study {self.study!r} has no concept {concept}: its concepts are L1/0 to "
                f"{last}."
            )


def _clean(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"The {what} is {text!r}, which is no text.")
    text = " ".join(text.split())
    if not text:
        raise ConfigError(f"The {what} is empty. Write 1 to {LONGEST} characters.")
    if len(text) > LONGEST:
        raise ConfigError(
            f"The {what} {text[:20]!r}… has {len(text)} characters: {LONGEST} are allowed. "
            "Shorten it."
        )
    for sign in text:
        if unicodedata.category(sign)[0] == "C" and sign not in _JOINERS:
            raise ConfigError(
                f"The {what} {text!r} holds the character U+{ord(sign):04X}, which cannot be "
                "seen. Write it without."
            )
    return text


def _moment(date: str | None) -> str:
    if date is None:
        moment = datetime.now(UTC)
    else:
        try:
            moment = datetime.fromisoformat(date)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"The date is {date!r}. Write it like 2026-11-25 or 2026-11-25T21:04:09Z."
            ) from None
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def read_given_names(folder: Path, scope: NameScope) -> dict[ConceptId, GivenName]:
    """Return the names that were given to concepts of a study; none without the file.

    Raises
    ------
    StudyError
        If the file is damaged, of a later version, or about other dictionaries.
    """
    path = folder / GIVEN_NAMES
    if not path.exists():
        return {}
    values = read_json(path)
    try:
        if values["schema"] != SCHEMA:
            raise StudyError(
                f"{path} has schema {values['schema']!r}; this version of cgraph reads schema "
                f"{SCHEMA}. Use the version that wrote it."
            )
        if values["dictionary"] != scope.dictionary:
            raise StudyError(
                f"{path} holds names for other dictionaries: the study was built anew since. "
                f"{_LATER}; move the file away to name concepts again."
            )
        names = {}
        for entry in values["names"]:
            concept = ConceptId.parse(entry["concept"])
            scope.check(concept)
            names[concept] = GivenName.of(entry["name"], entry["author"], entry["date"])
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise StudyError(
            f"{path} is damaged ({reason}). Restore it from a copy, or move it away to name "
            "concepts again."
        ) from None
    return names


def change_given_names(
    folder: Path,
    scope: NameScope,
    changes: Mapping[ConceptId, GivenName | None],
    *,
    expected: Mapping[ConceptId, GivenName | None] | None = None,
) -> dict[ConceptId, GivenName]:
    """Give, change or take back names; all of them or none.

    Parameters
    ----------
    folder : Path
        The study folder.
    scope : NameScope
    changes : mapping of ConceptId to GivenName or None
        ``None`` takes a name back.
    expected : mapping of ConceptId to GivenName or None, optional
        The names that the changes were decided by. Where one differs by now, nothing is changed.

    Returns
    -------
    dict of ConceptId to GivenName
        All names that the study has now.

    Raises
    ------
    ConfigError
        If the study has no such concept.
    StudyError
        If the folder cannot be written, somebody else holds it, its names cannot be read, or one
        of them was changed meanwhile.
    """
    for concept in changes:
        scope.check(concept)
    refuse_unpacked(folder, "no name can be kept")
    if not is_writable(folder):
        raise StudyError(
            f"{folder} cannot be written, so no name can be kept in it. Copy the study to a folder "
            "you may write to and name concepts there."
        )
    with folder_lock(folder, wait=WAIT_SECONDS):
        names = read_given_names(folder, scope)
        for concept, before in (expected or {}).items():
            if names.get(concept) != before:
                raise StudyError(_overtaken(concept, names.get(concept)))
        names.update({c: name for c, name in changes.items() if name is not None})
        for concept in [c for c, name in changes.items() if name is None]:
            names.pop(concept, None)
        write_bytes(folder / GIVEN_NAMES, to_json(to_values(scope, names)))
    return names


def _overtaken(concept: ConceptId, now: GivenName | None) -> str:
    if now is None:
        return f"The name of {concept} was taken back by somebody else meanwhile. Try again."
    return (
        f"{concept} was named {now.text!r} by {now.author} meanwhile. Look at that name first; "
        "then save yours again if you still want it."
    )


def to_values(scope: NameScope, names: Mapping[ConceptId, GivenName]) -> dict[str, Any]:
    """Return what the file holds, as plain JSON values sorted by concept."""
    return {
        "schema": SCHEMA,
        "study": scope.study,
        "dictionary": scope.dictionary,
        "names": [
            {
                "concept": str(concept),
                "name": name.text,
                "author": name.author,
                "date": name.date,
            }
            for concept, name in sorted(names.items())
        ],
    }


class GivenNames:
    """The names of one study folder as they are now, read again only when the file was replaced.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / GIVEN_NAMES
        self._read: tuple[str, dict[ConceptId, GivenName], str] = ("", {}, "")

    @property
    def revision(self) -> str:
        """Changes when the file does; empty without one. What shows names is kept by it."""
        try:
            found = self._path.stat()
        except OSError:
            return ""
        return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"

    def current(self, scope: Any) -> tuple[dict[ConceptId, GivenName], str]:
        """Return the names, and a sentence if there is a file that cannot be used.

        Parameters
        ----------
        scope : callable
            Returns the `NameScope` of the study; called only when the file has to be read.
        """
        revision = self.revision
        if revision != self._read[0]:
            try:
                names, problem = read_given_names(self._path.parent, scope()), ""
            except StudyError as error:
                names, problem = {}, str(error)
            # One assignment, since one study serves many people.
            self._read = (revision, names, problem)
        return self._read[1:]
