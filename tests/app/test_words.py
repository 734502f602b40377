"""Numbers and sentences as people read them."""

from __future__ import annotations

import math

import pytest

from cgraph.ui import words


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.00049, "under 0.1 %"),
        (0.0481, "4.8 %"),
        (0.0996, "10 %"),
        (0.62, "62 %"),
        (0.996, "99.6 %"),
        (0.9999, "over 99.9 %"),
        (1.0, "100 %"),
        (-0.12, "−12 %"),
        (None, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_percentages_have_two_telling_digits(share: float | None, shown: str) -> None:
    assert words.percent(share).replace("\N{NO-BREAK SPACE}", " ") == shown
    assert " %" not in words.percent(share)


def test_other_numbers() -> None:
    assert [words.signed(w) for w in (1.336, -0.5)] == ["+1.34", "−0.50"]
    assert [words.times(r).split() for r in (7.94, 12.4)] == [["7.9", "×"], ["12", "×"]]
    assert [words.fraction(f) for f in (0.944, None)] == ["0.94", "unknown"]
    assert [words.count(n, "edge") for n in (1, 1204)] == ["1 edge", "1,204 edges"]
    assert [words.span(v).split("\N{NO-BREAK SPACE}") for v in ([0.57, 0.91], [0.5])] == [
        ["57 to 91", "%"],
        ["50", "%"],
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Run `cgraph build --out a_b` again.", "Run `cgraph build --out a_b` again."),
        ("CGRAPH_MODEL_DIR", "CGRAPH_MODEL_DIR"),
        ("__x__ *y* [a](b)", r"\_\_x\_\_ \*y\* \[a\](b)"),
        ("one\n\n# two ` three", r"one \# two \` three"),
        ("at https://example.org/_a_ now", "at `https://example.org/_a_` now"),
        ("at www.example.org, a@b.org", "at `www.example.org,` `a@b.org`"),
        ("`https://example.org`", "`https://example.org`"),
    ],
)
def test_sentences_are_not_read_as_markdown(written: str, shown: str) -> None:
    assert words.plain(written) == shown


def test_a_long_sentence_keeps_its_ends() -> None:
    shown = words.plain(f"It asks for {'x' * 3000}. Choose another.")
    assert len(shown) < 500
    assert shown.startswith("It asks for xx") and shown.endswith("xx. Choose another.")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9784, "0.978"), (0.99949, "0.999"), (0.9996, "over 0.999"), (1.0, "1.000"), (0.0, "0.000")],
)
def test_three_digits_are_one_only_for_one(value: float, text: str) -> None:
    assert words.thousandths(value) == text
    assert words.thousandths(float("nan")) == "unknown"
