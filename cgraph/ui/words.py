"""Numbers and sentences as people read them, the same on every page."""

from __future__ import annotations

import math
import re

_MARKS = re.compile(r"[\\\[\]<>*~$#|]|(?<![^\W_])_|_(?![^\W_])")
_ADDRESSES = re.compile(
    r"(`[^`\n]*`)|((?:https?://|www\.|mailto:)[^\s`]+|[^\s`@]+@[^\s`@]+\.[^\s`@]+)", re.I
)
_LONGEST = 480
_GAP = "\N{NO-BREAK SPACE}"  # a number never parts from its unit at the end of a line


def known(value: float | None) -> bool:
    """Return whether a figure is there: neither None nor NaN."""
    return value is not None and math.isfinite(value)


def percent(share: float | None) -> str:
    """Return a share as a percentage with two telling digits, such as ``4.8 %``."""
    if share is None or not math.isfinite(share):
        return "unknown"
    value = 100 * share
    size = abs(value)
    if 0 < size < 0.1:
        return f"under 0.1{_GAP}%"
    if 99.95 <= size < 100:
        return f"over 99.9{_GAP}%"
    digits = 1 if 0 < size < 9.95 or 99.5 <= size < 100 else 0
    return f"{value:.{digits}f}{_GAP}%".replace("-", "−")


def fine_percent(share: float) -> str:
    """Return a share that may be tiny, with one telling digit below 0.1 %: ``0.004 %``."""
    if not 1e-8 <= share < 0.001:
        return percent(share)
    digits = -math.floor(math.log10(100 * share))
    return f"{100 * share:.{digits}f}{_GAP}%"


def signed(value: float, digits: int = 2) -> str:
    """Return a weight with its sign, such as ``+1.34``."""
    return f"{value:+.{digits}f}".replace("-", "−")


def times(ratio: float) -> str:
    """Return a ratio, such as ``7.9 ×``."""
    return f"{ratio:.0f}{_GAP}×" if ratio >= 9.95 else f"{ratio:.1f}{_GAP}×"


def fraction(value: float | None) -> str:
    """Return a figure between 0 and 1 with two digits, such as ``0.94``."""
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.2f}"


def thousandths(value: float) -> str:
    """Return a figure between 0 and 1 with three digits; 1.000 only if it is 1."""
    if 0.9995 <= value < 1:
        return "over 0.999"
    return "unknown" if not math.isfinite(value) else f"{value:.3f}"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as ``1 edge`` or ``1,204 edges``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def span(values: list[float]) -> str:
    """Return the range of some shares, such as ``57 to 91 %``."""
    low, high = percent(min(values)), percent(max(values))
    return high if low == high else f"{low.removesuffix(_GAP + '%')} to {high}"


def plain(text: str) -> str:
    """Return a sentence in which Markdown finds nothing but its code spans.

    Sentences repeat what stands in a link or a file; a picture or link hidden there must not be
    loaded or drawn. An address becomes a code span, since Markdown would make a link of it however
    it is escaped; a long sentence loses its middle.
    """
    text = re.sub(r"\s+", " ", text)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
    text = _ADDRESSES.sub(lambda found: found[1] or f"`{found[2]}`", text)
    pieces = re.split(r"(`[^`\n]*`)", text)
    return "".join(
        piece if place % 2 else _MARKS.sub(r"\\\g<0>", piece).replace("`", r"\`")
        for place, piece in enumerate(pieces)
    )
