"""The words of cgraph, each explained in one sentence, for the app and the documentation.

``python -m cgraph.glossary`` prints the page ``docs/glossary.md``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cgraph.errors import ConfigError


@dataclass(frozen=True)
class Term:
    """A word, and what it means in one sentence."""

    word: str
    meaning: str


@cache
def terms() -> dict[str, Term]:
    """Return every term by its key, in alphabetical order of the words."""
    text = files("cgraph").joinpath("glossary.toml").read_text(encoding="utf-8")
    found = {key: Term(**entry) for key, entry in tomllib.loads(text).items()}
    return dict(sorted(found.items(), key=lambda item: item[1].word.lower()))


def term(key: str) -> Term:
    """Return one term.

    Raises
    ------
    ConfigError
        If the glossary has no such key; the message lists those it has.
    """
    if key not in terms():
        raise ConfigError(f"The glossary has no term {key!r}. It has: {', '.join(terms())}.")
    return terms()[key]


def to_markdown() -> str:
    """Return the glossary as a page of the documentation."""
    lines = [
        "# Glossary",
        "",
        "The words of cgraph, one sentence each. The app shows the same sentences where the words "
        "stand.",
        "",
        "<!-- Written by `python -m cgraph.glossary > docs/glossary.md`. -->",
        "",
        "| word | meaning |",
        "| --- | --- |",
    ]
    lines += [f"| {entry.word} | {entry.meaning} |" for entry in terms().values()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
