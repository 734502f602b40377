"""What is known of the images, as yes-or-no columns: which image has which value.

An attribute may have one value for each image (``label``: "tench") or several (``colour``: red and
blue). Numbers of many different values, captions and ids have no value that enough images share,
and so no column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

MIN_IMAGES = 20
"""Images that a value needs, and that must lack it, to be a column."""


YES = "yes"
"""The value of a truth value that is true; false is no value."""


@dataclass(frozen=True)
class AttributeTable:
    """Which images have which values.

    Attributes
    ----------
    columns : tuple of (str, str)
        Attribute and value of each column, sorted in the order in which they were first seen.
    truth : sparse array of bool, shape (n_images, n_columns)
    """

    columns: tuple[tuple[str, str], ...]
    truth: sparse.csr_array

    def take(self, rows: np.ndarray) -> sparse.csr_array:
        """Return the columns of some images."""
        return self.truth[rows]

    @property
    def names(self) -> np.ndarray:
        """The attribute of each column."""
        return np.array([name for name, _ in self.columns], dtype=object)


def attribute_table(
    records: Sequence[Mapping[str, Any]], min_images: int = MIN_IMAGES
) -> AttributeTable:
    """Turn the attributes of images into columns.

    Parameters
    ----------
    records : sequence of mapping
        Attributes of each image: text, truth values, whole numbers, or sequences of text.
        Anything else is left out.
    min_images : int
        See `MIN_IMAGES`.

    Returns
    -------
    AttributeTable
        Of columns that are the same for all images, the one whose value reads like words is kept
        ("tench" rather than "n01440764", "striped" rather than "yes").
    """
    from scipy import sparse

    rows: dict[tuple[str, str], list[int]] = {}
    for place, record in enumerate(records):
        for name, value in record.items():
            for text in dict.fromkeys(_values(value)):
                rows.setdefault((name, text), []).append(place)
    kept: dict[tuple[int, ...], tuple[str, str]] = {}
    for column, places in rows.items():
        if not min_images <= len(places) <= len(records) - min_images:
            continue
        rival = kept.get(tuple(places))
        if rival is None or _reads_like_words(rival) < _reads_like_words(column):
            kept[tuple(places)] = column
    # A column that took another's place stands where that one stood.
    columns = tuple(kept.values())
    lengths = [len(places) for places in kept]
    indices = np.concatenate([np.array(p, dtype=np.int64) for p in kept] or [np.empty(0, int)])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    by_column = sparse.csc_array(
        (np.ones(len(indices), dtype=bool), indices, offsets), shape=(len(records), len(columns))
    )
    return AttributeTable(columns, by_column.tocsr())


def _values(value: Any) -> list[str]:
    if isinstance(value, bool):
        return [YES] if value else []
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, list | tuple):
        return [text for item in value if isinstance(item, str) for text in _values(item)]
    return []


def _reads_like_words(column: tuple[str, str]) -> int:
    """Return how much a value says by itself: of digits, such as a number, least."""
    if any(letter.isdigit() for letter in column[1]):
        return 0
    return 1 if column[1] == YES else 2
