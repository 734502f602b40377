"""Names of concepts by text: which words of a vocabulary a concept's images are like.

A model of images and texts says how alike an image and a word are. A concept's score for a word is
the correlation of its coefficients (0 where it is silent, without their sign) with that likeness
over many images. Of each likeness the image's mean over the vocabulary is taken off first: some
images are a little like every word.

Words are chosen on the tune images; how well the choice holds is measured on held-out images,
which take no part in it. A concept has a name by text only where its best word is well above what
the best of so many words reaches by chance, and well ahead of the next word; others have three
candidates and no name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.errors import DataError
from cgraph.naming import MIN_POSITIVES, least_correlation

N_TEXTS = 3
"""Candidates that are kept of each concept."""

MIN_SCORE = 0.3
"""Least correlation on tune images of a name by text."""

MIN_MARGIN = 0.05
"""How far, on tune images, its correlation must be ahead of the next word's."""


@dataclass(frozen=True)
class TextMatch:
    """One word, and how well it goes with a concept.

    Attributes
    ----------
    text : str
    score_tune, score : float
        Correlation on tune images, by which it was chosen, and on held-out images, in [-1, 1].
    margin_tune, margin : float
        How far that is ahead of the next word of the same concept on the same images.
    """

    text: str
    score_tune: float
    score: float
    margin_tune: float
    margin: float


@dataclass(frozen=True)
class TextName:
    """What a concept is called by text, or might be.

    Attributes
    ----------
    text : str
        The name, unique in its layer; empty where no word fits well enough.
    matches : tuple of TextMatch
        At most `N_TEXTS`, the best on tune images first.
    """

    text: str
    matches: tuple[TextMatch, ...]

    @property
    def strength(self) -> float:
        """Correlation with the best word on held-out images."""
        return self.matches[0].score if self.matches else 0.0


def text_scores(codes: Codes, likeness: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the score of every concept for every word.

    Parameters
    ----------
    codes : Codes
        Of some images at one layer.
    likeness : ndarray of float, shape (n_samples, n_words)
        How alike each image and each word are, such as a cosine.

    Returns
    -------
    ndarray of float64, shape (n_atoms, n_words)
        Pearson correlations; 0 where one of the two does not vary.

    Raises
    ------
    DataError
        If the numbers of images differ or a likeness is not finite.
    """
    n = codes.n_samples
    if likeness.shape[0] != n or not np.isfinite(likeness).all():
        raise DataError(
            f"The likeness of {likeness.shape[0]} images to words does not fit codes of {n} "
            "images, or is not finite. Pass finite numbers for the same images."
        )
    values = likeness.astype(np.float64)
    values = values - values.mean(axis=1, keepdims=True)
    values -= values.mean(axis=0)
    rows = codes.to_csr()
    rows.data = np.abs(rows.data).astype(np.float64)
    # The words are centred, so the concepts need not be.
    products = np.asarray(rows.T @ values)
    squares = np.asarray(rows.multiply(rows).sum(axis=0)).ravel()
    sums = np.asarray(rows.sum(axis=0)).ravel()
    of_concepts = np.sqrt(np.maximum(squares - sums**2 / max(1, n), 0))
    of_words = np.sqrt((values**2).sum(axis=0))
    # What rounding leaves of a constant is no variation.
    of_words[of_words <= 1e-12 * max(1.0, float(np.abs(likeness).max(initial=0)) * n)] = 0
    spread = np.outer(of_concepts, of_words)
    return np.divide(products, spread, out=np.zeros_like(products), where=spread > 0)


def name_by_text(
    codes: Codes,
    likeness: NDArray[np.floating],
    vocabulary: Sequence[str],
    tune: NDArray[np.intp],
    held_out: NDArray[np.intp],
) -> list[TextName]:
    """Find the words for the concepts of one layer.

    Parameters
    ----------
    codes : Codes
        Of all images.
    likeness : ndarray of float, shape (n_samples, n_words)
        Rows of images that are neither tune nor held-out are not looked at.
    vocabulary : sequence of str
    tune, held_out : ndarray of int
        Rows by which words are chosen, and on which they are measured.

    Returns
    -------
    list of TextName
        One for each concept; without matches where too few tune images have it.
    """
    own = codes.take(tune)
    on_tune = text_scores(own, likeness[tune])
    on_held_out = text_scores(codes.take(held_out), likeness[held_out])
    counts = own.counts()
    enough = (counts >= MIN_POSITIVES) & (counts <= len(tune) - MIN_POSITIVES)
    least = least_correlation(MIN_SCORE, len(tune), len(vocabulary))
    found: list[list[TextMatch]] = []
    for concept in range(codes.n_atoms):
        order = np.argsort(-on_tune[concept], kind="stable")[: N_TEXTS + 1]
        found.append(
            [
                TextMatch(
                    text=vocabulary[word],
                    score_tune=float(on_tune[concept, word]),
                    score=float(on_held_out[concept, word]),
                    margin_tune=_ahead(on_tune[concept], order, place),
                    margin=_ahead(on_held_out[concept], order, place),
                )
                for place, word in enumerate(order[:N_TEXTS])
            ]
            if enough[concept]
            else []
        )
    named = [bool(m) and m[0].score_tune >= least and m[0].margin_tune >= MIN_MARGIN for m in found]
    texts = _numbered([m[0].text if n else "" for m, n in zip(found, named, strict=True)], counts)
    return [TextName(text, tuple(m)) for text, m in zip(texts, found, strict=True)]


def _ahead(scores: NDArray[np.float64], order: NDArray[np.intp], place: int) -> float:
    """Return how far a word is ahead of the next; of the last there is, its whole score."""
    after = scores[order[place + 1]] if place + 1 < len(order) else 0.0
    return float(scores[order[place]] - after)


def _numbered(texts: list[str], counts: NDArray[np.int64]) -> list[str]:
    """Return the texts with a number where concepts share one, the most frequent first."""
    times, seen = Counter(texts), Counter[str]()
    named = list(texts)
    for concept in sorted(range(len(texts)), key=lambda concept: (-counts[concept], concept)):
        text = texts[concept]
        if text and times[text] > 1:
            seen[text] += 1
            named[concept] = f"{text} {seen[text]}"
    return named


TEXT_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("name", pa.string()),
        ("rank", pa.int8()),
        ("text", pa.string()),
        ("score_tune", pa.float64()),
        ("score", pa.float64()),
        ("margin_tune", pa.float64()),
        ("margin", pa.float64()),
    ]
)
"""Columns of ``graph/text-names.arrow``: one row for each candidate, the best first."""


def texts_to_table(layers: Mapping[int, Sequence[TextName]]) -> pa.Table:
    """Return the words of all layers as rows of `TEXT_SCHEMA`."""
    rows = [
        {
            "kind": "class",
            "layer": layer,
            "index": index,
            "name": name.text,
            "rank": rank,
            **vars(match),
        }
        for layer, names in sorted(layers.items())
        for index, name in enumerate(names)
        for rank, match in enumerate(name.matches, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=TEXT_SCHEMA)


def texts_from_table(table: pa.Table) -> dict[ConceptId, TextName]:
    """Read what `texts_to_table` returned."""
    matches: dict[ConceptId, list[TextMatch]] = {}
    names = {}
    for row in table.to_pylist():
        concept = ConceptId(row["layer"], row["index"], row["kind"])
        names[concept] = row["name"]
        matches.setdefault(concept, []).append(
            TextMatch(
                row["text"], row["score_tune"], row["score"], row["margin_tune"], row["margin"]
            )
        )
    return {concept: TextName(names[concept], tuple(m)) for concept, m in matches.items()}
