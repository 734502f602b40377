"""Names of a study as a file for people: written as CSV or JSON, and read again.

A file holds every concept that has a name, however it came by it. Read again, names that were
given by hand are given again, with their author and date; a measured name that somebody changed in
the file becomes a name by hand; one that was left as it was stays measured. A file is taken as a
whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, DataError
from cgraph.given_names import GivenName, NameScope, change_given_names
from cgraph.naming import ConceptName
from cgraph.study import Study
from cgraph.study_names import Name

COLUMNS = (
    "concept",
    "name",
    "source",
    "author",
    "date",
    "attribute",
    "value",
    "strength",
    "study",
    "dictionary",
)
"""Columns of the CSV. ``source`` is ``hand``, ``attribute`` or ``text``; ``strength`` is the
correlation on held-out images by which a measured name holds."""

SUFFIXES = (".csv", ".json")

_SCHEMA = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class ImportedNames:
    """What an import did: how many names are new, changed, and as they were before."""

    n_new: int
    n_changed: int
    n_unchanged: int


def names_csv(study: Study) -> str:
    """Return all names of a study as CSV with a head of `COLUMNS`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    scope = study.naming.scope
    for row in _rows(study):
        row |= {"study": scope.study, "dictionary": scope.dictionary}
        writer.writerow([_guarded(row.get(column)) for column in COLUMNS])
    return buffer.getvalue()


def names_json(study: Study) -> str:
    """Return all names of a study as a JSON object."""
    scope = study.naming.scope
    values = {
        "schema": _SCHEMA,
        "study": scope.study,
        "dictionary": scope.dictionary,
        "names": list(_rows(study)),
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _rows(study: Study) -> Iterator[dict[str, Any]]:
    for concept, name in study.naming.all().items():
        row: dict[str, Any] = {"concept": str(concept), "name": name.text, "source": source(name)}
        if isinstance(name, GivenName):
            row |= {"author": name.author, "date": name.date}
        else:
            row["strength"] = round(name.strength, 4)
        if isinstance(name, ConceptName):
            row |= {"attribute": name.attribute, "value": name.value}
        yield row


def source(name: Name) -> str:
    """Return how a concept came by a name: ``hand``, ``attribute`` or ``text``."""
    if isinstance(name, GivenName):
        return "hand"
    return "attribute" if isinstance(name, ConceptName) else "text"


def _guarded(value: Any) -> Any:
    """Return a cell that no spreadsheet program takes for a formula."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _unguarded(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


def import_names(study: Study, path: Path, *, author: str | None = None) -> ImportedNames:
    """Give the names of a file to the concepts of a study.

    Parameters
    ----------
    study : Study
    path : Path
        A ``.csv`` or ``.json`` file as `names_csv` and `names_json` write them. Only ``concept``
        and ``name`` are needed.
    author : str, optional
        Whose names they are where the file does not say.

    Raises
    ------
    DataError
        If the file cannot be read, a row is wrong, or it is about another study. Nothing is
        changed then.
    StudyError
        If the study folder cannot be written.
    """
    scope, naming = study.naming.scope, study.naming
    changes: dict[ConceptId, GivenName] = {}
    for place, row in _read(path, scope):
        try:
            concept = ConceptId.parse(_text(row, "concept"))
            scope.check(concept)
            measured = naming.measured(concept)
            text = _text(row, "name")
            kept = row.get("source") in ("attribute", "text")
            if kept and measured is not None and measured.text == " ".join(text.split()):
                continue
            by = None if kept else row.get("author")
            given = GivenName.of(text, by or author or _no_author(), _date(row, kept))
        except ConfigError as error:
            raise DataError(f"{path}, {place}: {error} Nothing was changed.") from None
        if changes.setdefault(concept, given) != given:
            raise DataError(
                f"{path}, {place}: {concept} has two names in this file, "
                f"{changes[concept].text!r} and {given.text!r}. Leave one. Nothing was changed."
            )
    before = naming.by_hand
    n_new = sum(concept not in before for concept in changes)
    n_same = sum(before.get(concept) == name for concept, name in changes.items())
    if n_same < len(changes):
        change_given_names(study.path, scope, changes)
    return ImportedNames(n_new, len(changes) - n_new - n_same, n_same)


def _no_author() -> str:
    raise ConfigError("It has no author. Fill in the column author, or give --author.")


def _date(row: dict[str, Any], kept: bool) -> str | None:
    return None if kept else row.get("date") or None


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"It has no {key}.")
    return value


def _read(path: Path, scope: NameScope) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row with its place in the file; refuse files that are about another study."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is no file of names: its name must end in .csv or .json.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes: too many for names.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(f"{path} cannot be read ({reason}). Save it as UTF-8.") from None
    rows = _of_json(path, text) if path.suffix.lower() == ".json" else _of_csv(path, text)
    for place, row in rows:
        dictionary = row.get("dictionary")
        if dictionary and dictionary != scope.dictionary:
            named = f"{row['study']!r}" if row.get("study") else "another study"
            raise DataError(
                f"{path}, {place}: it names concepts of {named}, whose dictionaries are not those "
                f"of {scope.study!r}: the same number means another concept there. Import it into "
                "its own study. Nothing was changed."
            )
        yield place, row


def _of_json(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        values = json.loads(text)
        if values["schema"] != _SCHEMA:
            raise DataError(f"{path} has schema {values['schema']!r}; schema {_SCHEMA} is read.")
        about = {key: values.get(key) for key in ("study", "dictionary")}
        return [(f"name {n}", {**row, **about}) for n, row in enumerate(values["names"], start=1)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is not a file of names ({error!r}). Write it with `cgraph names export`."
        ) from None


def _of_csv(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    head: Sequence[str] = text.partition("\n")[0]
    # Spreadsheet programs of some countries write semicolons.
    separator = max(",;\t", key=lambda sign: head.count(sign))
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file ({error}). Save it again as CSV.") from None
    missing = [name for name in ("concept", "name") if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}. Its first line must name the columns; concept "
            "and name are needed."
        )
    return [
        (
            place,
            {k: _unguarded(v) for k, v in row.items() if isinstance(k, str) and v is not None},
        )
        for place, row in rows
    ]
