"""What labels of the last layer mean for the model: a class token made of them, and its top class.

A decoder is linear: a mean, and for each concept of layer L what it adds. Two are tried, and the
one that explains more of the tune images' tokens is taken: the concept's atom at its usual
coefficient, as the dictionary would have it, or a ridge regression of the train tokens on their
true labels, with a penalty chosen on the tune images, too. Probabilities go through it like labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.attributes import attribute_table
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.errors import ModelError
from cgraph.metrics import ExplainedVariance
from cgraph.naming import text_of
from cgraph.outputs import TEXTS, Output, load_output
from cgraph.text_naming import TEMPLATES
from cgraph.text_tower import TextTower

if TYPE_CHECKING:
    from cgraph.study import Study
    from cgraph.workbench import Workbench

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Of the ridge regression, beside a sum of squares over the images."""

RIDGE, ATOMS = "ridge", "usual coefficients"

MOST_IMAGES = 2_000
"""Most held-out images whose tokens are decoded."""


@dataclass(frozen=True)
class Decoder:
    """From labels of the last layer to its class token.

    Attributes
    ----------
    name : str
        `RIDGE` or `ATOMS`.
    bias : ndarray of float64, shape (d_model,)
    weights : ndarray of float64, shape (n_concepts, d_model)
    mean : ndarray of float64, shape (d_model,)
        Of the train tokens.
    """

    name: str
    bias: np.ndarray
    weights: np.ndarray
    mean: np.ndarray

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Return tokens, float32 ``(n_images, d_model)``, of labels or probabilities."""
        return (labels.astype(np.float64) @ self.weights + self.bias).astype(np.float32)


def fit_decoder(
    study: Study, train: np.ndarray, tune: np.ndarray, labels: tuple[np.ndarray, np.ndarray]
) -> Decoder:
    """Return the better of the two decoders on the tune images.

    Parameters
    ----------
    study : Study
    train, tune : ndarray of float32, shape (n_images, d_model)
        Tokens of layer L.
    labels : tuple of ndarray of bool, shape (n_images, n_concepts)
        True labels of layer L of the same images.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    tried = [_by_atoms(study, mean), *_ridges(train, labels[0], mean)]
    worth = [explained(tune, decoder(labels[1]), mean) for decoder in tried]
    return tried[int(np.argmax(worth))]


def _by_atoms(study: Study, mean: np.ndarray) -> Decoder:
    dictionary, codes = study.dictionary(study.n_layers), study.training_codes(study.n_layers)
    usual = np.zeros(dictionary.n_atoms)
    for atom in np.flatnonzero(codes.counts()).tolist():
        usual[atom] = np.median(codes.exemplars(atom, codes.n_samples)[1])
    bias = dictionary.mean.astype(np.float64)
    return Decoder(ATOMS, bias, usual[:, None] * dictionary.atoms.astype(np.float64), mean)


def _ridges(tokens: np.ndarray, labels: np.ndarray, mean: np.ndarray) -> list[Decoder]:
    inputs = labels.astype(np.float64)
    centre = inputs.mean(axis=0)
    inputs -= centre
    square, moment = inputs.T @ inputs, inputs.T @ (tokens - mean)
    found = []
    for penalty in PENALTIES:
        weights = np.linalg.solve(square + penalty * np.eye(len(square)), moment)
        found.append(Decoder(RIDGE, mean - centre @ weights, weights, mean))
    return found


def explained(tokens: np.ndarray, decoded: np.ndarray, mean: np.ndarray) -> float:
    """Return the explained variance of tokens."""
    variance = ExplainedVariance(mean)
    variance.add(tokens, decoded)
    return variance.value


def cosine(tokens: np.ndarray, decoded: np.ndarray, mean: np.ndarray) -> float:
    """Return the mean cosine of tokens and decoded ones, less the mean; NaN if one is the mean."""
    real, made = tokens - mean, decoded - mean
    lengths = np.linalg.norm(real, axis=1) * np.linalg.norm(made, axis=1)
    least = 1e-6 * float(np.square(real).sum(axis=1).mean())
    if (lengths <= least).all():
        return float("nan")
    return float(((real * made).sum(axis=1) / np.maximum(lengths, least)).mean())


class TopClass:
    """Which class or text a model puts first, from class tokens of its last layer.

    Parameters
    ----------
    output : Output
    pixels : ndarray of float32, shape (1, *pixel_shape)
    texts : ndarray of float32, shape (n_texts, n_dimensions), or None
        Embeddings of the texts of a model without classes.
    """

    def __init__(self, output: Output, pixels: np.ndarray, texts: np.ndarray | None) -> None:
        self._output, self._pixels, self._texts = output, pixels, texts

    def __call__(self, tokens: np.ndarray) -> np.ndarray | None:
        """Return the number of the top class for each token; None if tokens do not decide it."""
        made = self._output.of_last_tokens(tokens, self._pixels)
        if made is None:
            return None
        return (made if self._texts is None else made @ self._texts.T).argmax(axis=1)


def top_class(bench: Workbench) -> TopClass | None:
    """Return what says a model's top class; None if it has neither head nor texts.

    The texts are what is known of the study's images: every value of an attribute that the model
    has words for, as in names by text.
    """
    output = load_output(bench.model)
    if output is None:
        return None
    pixels = bench.source.pixels(bench.study.rows(HELD_OUT)[:1])
    if output.kind != TEXTS:
        return TopClass(output, pixels, None)
    study = bench.study
    tower = TextTower.load(bench.model.path)
    table = attribute_table([study.attributes(row) for row in range(len(study.image_ids))])
    words = dict.fromkeys(text_of(*column) for column in table.columns)
    known = [word for word in words if tower.knows(word)]
    if len(known) < 2:
        return None
    return TopClass(output, pixels, tower.embed_texts(known, TEMPLATES))


@dataclass(frozen=True)
class Decoding:
    """All that is needed to say what rolled-out labels mean for the model.

    Attributes
    ----------
    decoder : Decoder
    tokens : ndarray of float32, shape (n_images, d_model)
        Real tokens of layer L, of some held-out images.
    top : TopClass or None
    real_top : ndarray of int, shape (n_images,), or None
    """

    decoder: Decoder
    tokens: np.ndarray
    top: TopClass | None
    real_top: np.ndarray | None

    @classmethod
    def prepare(cls, bench: Workbench, places: np.ndarray) -> Decoding:
        """Read tokens and fit the decoder.

        Parameters
        ----------
        bench : Workbench
        places : ndarray of int
            Places of the images among the held-out ones.

        Raises
        ------
        ImageError, ModelError
            If the pictures or the model cannot be had.
        """
        bench.need_pictures()
        study, last = bench.study, bench.study.n_layers
        codes = study.codes(last)
        labels = codes.dense_labels(study.rows(TRAIN)), codes.dense_labels(study.rows(TUNE))
        tokens = bench.tokens(TRAIN, last), bench.tokens(TUNE, last)
        decoder = fit_decoder(study, *tokens, labels)
        real = bench.tokens(HELD_OUT, last)[places]
        try:
            top = top_class(bench)
        except ModelError:
            top = None  # no output that can be loaded, so no class
        return cls(decoder, real, top, None if top is None else top(real))

    def figures(self, labels: np.ndarray | None) -> dict[str, float]:
        """Return the figures of labels, or of the mean token if None: columns of `decoded`."""
        mean = self.decoder.mean
        made = np.repeat(mean[None].astype(np.float32), len(self.tokens), axis=0)
        if labels is not None:
            made = self.decoder(labels)
        top = None if self.top is None or self.real_top is None else self.top(made)
        return {
            "cosine": cosine(self.tokens, made, mean),
            "explained_variance": explained(self.tokens, made, mean),
            "same_top": float("nan") if top is None else float((top == self.real_top).mean()),
        }
