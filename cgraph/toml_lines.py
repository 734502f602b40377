"""In which line of a TOML text each key stands; `tomllib` tells it of syntax errors alone.

The text is known to be valid: this only finds its way past strings, comments and brackets. Keys
inside an inline table or an array have the line of the key that holds these.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]
"""Where a value stands: keys, and places in arrays of tables from 0, such as ``rules, 2, kind``."""

_QUOTES = ('"""', "'''", '"', "'")


@dataclass(frozen=True)
class Lines:
    """Lines of the keys and table headers of a text.

    Attributes
    ----------
    text : str
    spans : mapping of tuple to (int, int)
        Where each begins and ends in the text: a key with its value, or a header.
    """

    text: str = ""
    spans: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def of(self, *path: str | int, value: str | None = None) -> int:
        """Return the line of a key, or of what holds it where it has none of its own.

        Parameters
        ----------
        *path : str or int
        value : str, optional
            An entry of the key's list, looked for in it.

        Returns
        -------
        int
            From 1; 0 if nothing on the path is known.
        """
        for end in range(len(path), 0, -1):
            if path[:end] in self.spans:
                start, stop = self.spans[path[:end]]
                if value:
                    found = self.text.find(value, start, stop)
                    start = found if found >= 0 else start
                return self.text.count("\n", 0, start) + 1
        return 0


def key_lines(text: str) -> Lines:
    """Find the keys of a valid TOML text.

    Parameters
    ----------
    text : str
        What `tomllib.loads` reads without an error.
    """
    spans: dict[Path, tuple[int, int]] = {}
    tables: Counter[Path] = Counter()
    header: Path = ()
    place = 0
    while (place := _skip_blank(text, place)) < len(text):
        if text[place] == "[":
            double = text.startswith("[[", place)
            end = _end_of(text, place + 1 + double, "]")
            header = _placed(_key(text[place + 1 + double : end]), tables)
            if double:
                tables[header] += 1
                header = (*header, tables[header] - 1)
            spans.setdefault(header, (place, end))
            place = end + 1 + double
        else:
            equals = _end_of(text, place, "=")
            end = _skip_value(text, equals + 1)
            spans[(*header, *_key(text[place:equals]))] = (place, end)
            place = end
    return Lines(text, spans)


def _key(text: str) -> Path:
    """Read a key, such as ``a."b c".d``."""
    values: Any = tomllib.loads(f"{text.strip()} = 0")
    path: list[str] = []
    while isinstance(values, dict):
        ((name, values),) = values.items()
        path.append(name)
    return tuple(path)


def _placed(path: Path, tables: Counter[Path]) -> Path:
    """Put in the place of each array of tables that a header goes through: its last one."""
    found: Path = ()
    for name in path[:-1]:
        found = (*found, name)
        if tables[found]:
            found = (*found, tables[found] - 1)
    return (*found, path[-1])


def _skip_blank(text: str, place: int) -> int:
    """Return where the next statement begins."""
    while place < len(text):
        if text[place] == "#":
            place = _line_end(text, place)
        elif text[place].isspace():
            place += 1
        else:
            break
    return place


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _skip_string(text: str, place: int) -> int:
    """Return the place after the string that begins here."""
    quote = next(quote for quote in _QUOTES if text.startswith(quote, place))
    place += len(quote)
    while not text.startswith(quote, place):
        place += 2 if text[place] == "\\" and quote[0] == '"' else 1
    place += len(quote)
    # A string in three quotes may end in one or two more of them.
    while len(quote) == 3 and place < len(text) and text[place] == quote[0]:
        place += 1
    return place


def _end_of(text: str, place: int, sign: str) -> int:
    """Return where a sign stands outside of quotes."""
    while text[place] != sign:
        place = _skip_string(text, place) if text[place] in "\"'" else place + 1
    return place


def _skip_value(text: str, place: int) -> int:
    """Return the end of the line, or lines, that a value takes."""
    depth = 0
    while place < len(text):
        sign = text[place]
        if sign in "\"'":
            place = _skip_string(text, place)
            continue
        if sign == "#":
            place = _line_end(text, place)
            continue
        if sign == "\n" and not depth:
            return place
        depth += (sign in "[{") - (sign in "]}")
        place += 1
    return place
