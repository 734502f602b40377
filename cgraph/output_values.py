"""What the whole model says of every image of a study: probabilities of classes, or likeness."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from cgraph.errors import ConfigError, ModelError
from cgraph.output_readings import contrasts
from cgraph.output_tables import CLASS_SOURCE, TEXT_SOURCE
from cgraph.outputs import CLASSES, MOST_TEXTS, Output, check_texts, load_output
from cgraph.workbench import BATCH, Arrays, Source, Workbench

_CALL = 4 * BATCH  # images of one call


@dataclass(frozen=True)
class Asked:
    """An output that somebody asks for.

    Attributes
    ----------
    source : str
        ``class`` or ``text``.
    text : str
        Name or number of the class, or the text.
    name : str or None
        What to call the output; the name of the class, or the text, if left out.
    threshold : float or None
        From which value on it is on. If left out, a class is on where it is the likeliest, and a
        text where the likeness lies in the upper of two groups of training images.
    against : tuple of str
        Of a text: others, whose mean likeness is taken off.

    Raises
    ------
    ConfigError
        If the threshold is none, or a class is held against texts.
    """

    source: str
    text: str
    name: str | None = None
    threshold: float | None = None
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source == CLASS_SOURCE and self.against:
            raise ConfigError(
                f"The class {self.text!r} cannot be held against texts: its probability is among "
                "all classes already. Leave --against out."
            )
        if self.text.strip() in self.against:
            raise ConfigError(f"“{self.text}” is held against itself, which leaves nothing of it.")
        if self.threshold is None:
            return
        low, high, what = -1, 1, "a cosine"
        if self.source == CLASS_SOURCE:
            low, what = 0, "a probability"
        elif self.against:
            low, high, what = -2, 2, "a difference of cosines"
        if not low < self.threshold < high:
            raise ConfigError(
                f"The threshold of “{self.text}” is {self.threshold:g}: of {what} it must lie "
                f"between {low} and {high}."
            )


def whole_model(source: Source) -> Output:
    """Return the whole model of a study, loaded once in each process.

    Raises
    ------
    ModelError
        If the model has neither a head for classes nor a text side.
    """
    return _whole_model(source.folder)


@lru_cache(maxsize=2)
def _whole_model(folder: Path) -> Output:
    source = Source(folder)
    found = load_output(source.model)
    if found is None:
        raise ModelError(
            f"The model {source.study.manifest.model['id']!r} has neither a head for classes nor a "
            "text side, and so nothing that could be an output. Build a study of a classifier, or "
            "of a model of images and texts such as CLIP."
        )
    return found


def resolved(output: Output, asked: Sequence[Asked]) -> list[tuple[Asked, int]]:
    """Return what was asked for with the place of its class, -1 for a text; names are filled in.

    Raises
    ------
    ConfigError
        If the model has no such class, does not know a word, or cannot be asked so.
    """
    texts = [one for one in asked if one.source == TEXT_SOURCE]
    classes = [one for one in asked if one.source == CLASS_SOURCE]
    if texts and output.kind == CLASSES:
        raise ConfigError(
            "The model has a head for classes and knows no texts. Ask for a class with --class, "
            f"such as {output.class_names[0]!r}."
        )
    if classes and output.kind != CLASSES:
        raise ConfigError(
            "The model has no head for classes; it compares images with texts. Ask for a text with "
            "--text, such as 'a photo of a dog'."
        )
    every = tuple(dict.fromkeys(text for one in texts for text in (one.text, *one.against)))
    if every:
        check_texts(every)
    for text in every:
        if not output.knows(text):
            raise ConfigError(
                f"The model does not know every word of {text!r}, so that its likeness would say "
                "nothing. Write it in words that the model was trained on."
            )
    if len(classes) > MOST_TEXTS:
        raise ConfigError(f"{len(classes)} classes were asked for: at most {MOST_TEXTS} at once.")
    found = []
    for one in asked:
        place = -1
        text = one.text.strip()
        if one.source == CLASS_SOURCE:
            place = _class_of(text, output.class_names)
            text = output.class_names[place]
        against = tuple(dict.fromkeys(other.strip() for other in one.against))
        found.append((replace(one, text=text, name=one.name or text, against=against), place))
    return found


def _class_of(text: str, names: Sequence[str]) -> int:
    """Return the place of a class by its name, or its number where no class is called so."""
    folded = [name.casefold() for name in names]
    places = [place for place, name in enumerate(folded) if name == text.casefold()]
    if len(places) == 1:
        return places[0]
    if places:
        numbers = ", ".join(map(str, places))
        raise ConfigError(
            f"{len(places)} classes are called {text!r}. Give one by its number: {numbers}."
        )
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    near = difflib.get_close_matches(text.casefold(), folded, 1)
    guess = f" Did you mean {names[folded.index(near[0])]!r}?" if near else ""
    raise ConfigError(
        f"The model has no class {text!r} among {len(names)}, such as {names[0]!r}.{guess}"
    )


def measured_values(
    bench: Workbench, asked: Sequence[tuple[Asked, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Run the whole model on every image of a study.

    Parameters
    ----------
    bench : Workbench
    asked : sequence of (Asked, int)
        As `resolved` returns them; of one source.

    Returns
    -------
    values : ndarray of float32, shape (n_images, n_asked)
        Probabilities of classes, or cosines of image and text.
    likeliest : ndarray of bool, shape (n_images, n_asked)
        Whether the class is the likeliest of all; false for texts.

    Raises
    ------
    ImageError, ModelError
        If pictures or model cannot be had.
    """
    n_images = len(bench.study.image_ids)
    texts = tuple((one.text, one.against) for one, place in asked if place < 0)
    places = tuple(place for _, place in asked if place >= 0)
    calls = [
        (texts, places, start, min(start + _CALL, n_images)) for start in range(0, n_images, _CALL)
    ]
    found = bench.run("outputs", values_of_rows, calls)
    values, likeliest = (
        np.concatenate([part[name] for part in found]) for name in ("value", "likeliest")
    )
    return values, likeliest


def values_of_rows(
    source: Source,
    texts: tuple[tuple[str, tuple[str, ...]], ...],
    places: tuple[int, ...],
    start: int,
    end: int,
) -> Arrays:
    """Run the whole model on some consecutive images; see `measured_values`.

    Parameters
    ----------
    source : Source
    texts : tuple of (str, tuple of str)
        Each with those that it is held against; of a model without a head for classes.
    places : tuple of int
        Classes, of a model with one.
    start, end : int
        Rows.

    Returns
    -------
    dict of str to ndarray
        ``value`` and ``likeliest``, shape (n_images, n_asked).
    """
    output = whole_model(source)
    values, likeliest = [], []
    all_texts, weights = contrasts(texts)
    for first in range(start, end, BATCH):
        rows = range(first, min(first + BATCH, end))
        scores = output.scores(source.pixels(rows), texts=all_texts)
        if texts:
            values.append(scores @ weights)
            likeliest.append(np.zeros((len(scores), len(texts)), dtype=bool))
        else:
            values.append(scores[:, places])
            likeliest.append(scores.argmax(axis=1)[:, None] == np.array(places))
    return {"value": np.concatenate(values), "likeliest": np.concatenate(likeliest)}
