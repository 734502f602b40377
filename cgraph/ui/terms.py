"""Words with their meaning in place: HTML for the pages, from the one glossary."""

from __future__ import annotations

from html import escape

from cgraph import glossary

MEASURED = "<span class='cg-mark'>● measured in the network</span>"
"""HTML of the mark of figures that were measured on what the network does."""

PREDICTED = "<span class='cg-mark cg-predicted'>◇ predicted by the graph</span>"
"""HTML of the mark of what the graph predicts, or how well it does."""


def term(key: str, label: str | None = None) -> str:
    """Return a word as HTML that shows its meaning when it is pointed at, tapped or focused.

    Parameters
    ----------
    key : str
        Key of the glossary.
    label : str, optional
        What stands on the page; the glossary's word if left out.
    """
    entry = glossary.term(key)
    shown = escape(label or entry.word)
    # A screen reader reads the meaning with the word: it is part of it, only not drawn.
    return (
        f"<span class='cg-term' tabindex='0'>{shown}"
        f"<span class='cg-meaning' role='tooltip'>{escape(entry.meaning)}</span></span>"
    )
