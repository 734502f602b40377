"""One glossary: the documentation says what the app says, in single sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cgraph import glossary
from cgraph.errors import ConfigError

ROOT = Path(__file__).parents[1]


def test_the_documentation_has_the_same_words():
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert page == glossary.to_markdown(), (
        "docs/glossary.md is not what `python -m cgraph.glossary` writes"
    )


@pytest.mark.parametrize("key", glossary.terms())
def test_every_meaning_is_one_sentence(key):
    meaning = glossary.term(key).meaning
    assert meaning[0].isupper() and meaning.endswith(".")
    assert meaning.count(". ") == 0
    assert len(meaning) < 220


def test_words_are_sorted_and_differ():
    words = [term.word.lower() for term in glossary.terms().values()]
    assert words == sorted(set(words))


def test_every_word_is_shown_somewhere():
    source = "\n".join(path.read_text() for path in (ROOT / "cgraph" / "ui").rglob("*.py"))
    unused = [key for key in glossary.terms() if not re.search(f"[\"']{key}[\"']", source)]
    assert unused == []


def test_an_unknown_word_is_refused():
    with pytest.raises(ConfigError, match=r"no term 'brightness'\. It has: active, auc"):
        glossary.term("brightness")
