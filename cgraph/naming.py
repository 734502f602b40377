"""Names of concepts, from what is known of the images.

A concept is named by the attribute value that it matches best: the largest Matthews correlation of
"the concept is active" with "the image has this value" over the tune images. How well that match
holds is measured on the held-out images, which take no part in the choice. A concept without a
good match has no name.

Concepts of one layer that match the same value are siblings. Each is told apart by a second value
that it prefers among the images that have the first, such as "sand, two objects"; where none does
so, they are numbered, the most frequent first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cgraph.attributes import YES, AttributeTable
from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.metrics import matthews

if TYPE_CHECKING:
    from scipy import sparse

MIN_STRENGTH = 0.3
"""Least Matthews correlation on tune images for a name."""

MIN_SECOND_STRENGTH = 0.2
"""The same for a second value, among the images that have the first."""

MIN_POSITIVES = 10
"""Tune images that must have, and lack, a concept and a value."""

_CHANCE = 0.01
"""How often the best of all values may pass for a match though none means anything."""


@dataclass(frozen=True)
class ConceptName:
    """What a concept is called, and why.

    Attributes
    ----------
    text : str
        Unique in its layer.
    attribute, value : str
        What it matches.
    strength : float
        Matthews correlation with that on held-out images, in [-1, 1].
    strength_tune : float
        The same on the tune images, by which it was chosen.
    second : tuple of (str, str) or None
        Attribute and value that tell it from its siblings.
    """

    text: str
    attribute: str
    value: str
    strength: float
    strength_tune: float
    second: tuple[str, str] | None = None


def best_matches(
    labels: Codes, table: AttributeTable, tune: NDArray[np.intp], held_out: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Find, for every attribute value, the concept that stands for it best.

    Parameters
    ----------
    labels : Codes
        Of all images at one layer.
    table : AttributeTable
    tune, held_out : ndarray of int
        Rows to choose by, and to measure on.

    Returns
    -------
    concepts : ndarray of int, shape (n_columns,)
    on_tune, on_held_out : ndarray of float, shape (n_columns,)
        Matthews correlations.
    """
    on_tune = matthews(labels.take(tune), table.take(tune))
    on_held_out = matthews(labels.take(held_out), table.take(held_out))
    best = on_tune.argmax(axis=0)
    every = np.arange(len(best))
    return best, on_tune[best, every], on_held_out[best, every]


def concept_matches(
    labels: Codes, table: AttributeTable, tune: NDArray[np.intp], held_out: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find, for every concept, the attribute value that it matches best, however badly.

    A name needs a good match (`MIN_STRENGTH`); this says of every concept how good its best is, so
    that concepts can be compared.

    Parameters
    ----------
    labels : Codes
        Of all images at one layer.
    table : AttributeTable
    tune, held_out : ndarray of int
        Rows to choose by, and to measure on.

    Returns
    -------
    columns : ndarray of int, shape (n_concepts,)
        Column of the value; -1 where too few images have or lack the concept or every value.
    on_held_out : ndarray of float, shape (n_concepts,)
        Matthews correlation with it on the held-out images, NaN where there is none.
    """
    columns = np.full(labels.n_atoms, -1, dtype=np.intp)
    measured = np.full(labels.n_atoms, np.nan)
    if not table.columns or not len(tune) or not len(held_out):
        return columns, measured
    own, truth = labels.take(tune), table.take(tune)
    strengths = _enough(matthews(own, truth), own, truth)
    best = strengths.argmax(axis=1)
    known = strengths[np.arange(len(best)), best] > -1
    columns[known] = best[known]
    on_held_out = matthews(labels.take(held_out), table.take(held_out))
    measured[known] = on_held_out[known, best[known]]
    return columns, measured


def name_concepts(
    labels: Codes, table: AttributeTable, tune: NDArray[np.intp], held_out: NDArray[np.intp]
) -> list[ConceptName | None]:
    """Name the concepts of one layer.

    Parameters
    ----------
    labels : Codes
        Of all images.
    table : AttributeTable
    tune, held_out : ndarray of int
        Rows by which names are chosen, and on which they are measured.

    Returns
    -------
    list of ConceptName or None
        One for each concept; ``None`` where nothing matches well.
    """
    names: list[ConceptName | None] = [None] * labels.n_atoms
    if not table.columns or not len(tune):
        return names
    own, truth = labels.take(tune), table.take(tune)
    strengths = _enough(matthews(own, truth), own, truth)
    best = strengths.argmax(axis=1)
    strength = strengths[np.arange(len(best)), best]
    named = np.flatnonzero(
        strength >= least_correlation(MIN_STRENGTH, len(tune), len(table.columns))
    )
    measured = matthews(labels.take(held_out), table.take(held_out))
    families: dict[int, list[int]] = defaultdict(list)
    for concept in named.tolist():
        families[int(best[concept])].append(concept)
    texts = _Texts(table)
    counts = own.counts()
    for column, family in families.items():
        seconds = _tell_apart(own, truth, table, column, family)
        ordered = sorted(family, key=lambda concept: (-counts[concept], concept))
        for concept, text in zip(ordered, texts.of(column, ordered, seconds), strict=True):
            second = seconds[concept]
            names[concept] = ConceptName(
                text=text,
                attribute=table.columns[column][0],
                value=table.columns[column][1],
                strength=float(measured[concept, column]),
                strength_tune=float(strength[concept]),
                second=None if second is None else table.columns[second],
            )
    return names


def _enough(
    strengths: NDArray[np.float64], labels: Codes, truth: sparse.csr_array
) -> NDArray[np.float64]:
    """Let nothing match that too few images have or lack: a handful agree by chance."""
    n = labels.n_samples
    for counts, axis in ((labels.counts(), 0), (np.asarray(truth.sum(axis=0)), 1)):
        rare = (counts < MIN_POSITIVES) | (counts > n - MIN_POSITIVES)
        strengths[(rare, slice(None)) if axis == 0 else (slice(None), rare)] = -1
    return strengths


def least_correlation(wanted: float, n_images: int, n_values: int) -> float:
    """Return the least correlation that counts: `wanted`, or more where chance reaches it.

    Of unrelated variables √n · correlation is about normal; the best of all values must be beyond
    what `_CHANCE` of the concepts would reach.
    """
    beyond = NormalDist().inv_cdf(1 - _CHANCE / max(1, n_values))
    return max(wanted, beyond / np.sqrt(max(1, n_images)))


def _tell_apart(
    own: Codes, truth: sparse.csr_array, table: AttributeTable, column: int, family: Sequence[int]
) -> dict[int, int | None]:
    """Return for each sibling the column of a second value that it alone prefers, or none."""
    if len(family) == 1:
        return {family[0]: None}
    inside = np.flatnonzero(truth[:, [column]].toarray()[:, 0])
    labels, others = own.take(inside), truth[inside]
    strengths = _enough(matthews(labels, others), labels, others)[list(family)]
    best = strengths.argmax(axis=1)
    least = least_correlation(MIN_SECOND_STRENGTH, len(inside), len(table.columns))
    seconds = {
        concept: int(best[n]) if strengths[n, best[n]] >= least else None
        for n, concept in enumerate(family)
    }
    times = Counter(seconds.values())
    return {
        concept: second if second is not None and times[second] == 1 else None
        for concept, second in seconds.items()
    }


class _Texts:
    """Values as people write them; a value of two attributes says which it is of."""

    def __init__(self, table: AttributeTable) -> None:
        plain = [text_of(attribute, value) for attribute, value in table.columns]
        times = Counter(plain)
        self._texts = [
            text if times[text] == 1 else f"{text} ({value if value == YES else attribute})"
            for text, (attribute, value) in zip(plain, table.columns, strict=True)
        ]

    def of(self, column: int, family: Sequence[int], seconds: dict[int, int | None]) -> list[str]:
        """Return the texts of siblings, numbered where nothing tells them apart."""
        texts = []
        for concept in family:
            second = seconds[concept]
            beside = "" if second is None else f", {self._texts[second]}"
            texts.append(f"{self._texts[column]}{beside}")
        times, seen = Counter(texts), Counter[str]()
        for place, text in enumerate(texts):
            if times[text] > 1:
                seen[text] += 1
                texts[place] = f"{text} {seen[text]}"
        return texts


def text_of(attribute: str, value: str) -> str:
    """Return an attribute value as people write it."""
    if value == YES:
        return attribute.replace("_", " ")
    if value.lstrip("-").isdigit():
        return f"{attribute} {value}"
    return value.replace("_", " ")


NAME_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("name", pa.string()),
        ("attribute", pa.string()),
        ("value", pa.string()),
        ("second_attribute", pa.string()),
        ("second_value", pa.string()),
        ("strength", pa.float64()),
        ("strength_tune", pa.float64()),
    ]
)
"""Columns of ``graph/names.arrow``, one row for each concept that has a name."""


def names_to_table(layer: int, names: Sequence[ConceptName | None]) -> pa.Table:
    """Return the names of a layer as rows of `NAME_SCHEMA`."""
    rows = []
    for index, name in enumerate(names):
        if name is not None:
            attribute, value = name.second or (None, None)
            rows.append(
                {
                    "kind": "class",
                    "layer": layer,
                    "index": index,
                    "name": name.text,
                    "attribute": name.attribute,
                    "value": name.value,
                    "second_attribute": attribute,
                    "second_value": value,
                    "strength": name.strength,
                    "strength_tune": name.strength_tune,
                }
            )
    return pa.Table.from_pylist(rows, schema=NAME_SCHEMA)


def names_from_table(table: pa.Table) -> dict[ConceptId, ConceptName]:
    """Read the rows of one or several layers."""
    return {
        ConceptId(row["layer"], row["index"], row["kind"]): ConceptName(
            text=row["name"],
            attribute=row["attribute"],
            value=row["value"],
            strength=row["strength"],
            strength_tune=row["strength_tune"],
            second=None
            if row["second_attribute"] is None
            else (row["second_attribute"], row["second_value"]),
        )
        for row in table.to_pylist()
    }
