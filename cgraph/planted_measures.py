"""What a build would measure of a layer, measured of a planted one by the same functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.attributes import AttributeTable
from cgraph.codes import Codes
from cgraph.config import HELD_OUT, SPLIT_SHARES, TRAIN, TUNE
from cgraph.dictionary import Dictionary
from cgraph.evaluation import evaluate_pair, summarise_layer
from cgraph.metrics import ExplainedVariance
from cgraph.naming import name_concepts, names_to_table
from cgraph.novelty import Usual
from cgraph.predictor import Predictors, SparseInputs, calibrate
from cgraph.signals import Cloud, Signals, explained_share, surprise_of_rows


@dataclass(frozen=True)
class PlantedLayer:
    """Everything that lies in memory of one layer.

    Attributes
    ----------
    dictionary : Dictionary
    codes : Codes
        Of all images.
    tokens : ndarray of float32, shape (n_held_out, d_model)
        Of the held-out images.
    """

    dictionary: Dictionary
    codes: Codes
    tokens: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Rows of the images of each part of the split, rising."""

    train: np.ndarray
    tune: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, split: np.ndarray) -> Rows:
        """Sort out the rows by their part."""
        return cls(*(np.flatnonzero(split == part) for part in (TRAIN, TUNE, HELD_OUT)))

    def counts(self, codes: Codes) -> dict[str, np.ndarray]:
        """Return in how many images of each part every concept is active."""
        parts = (self.train, self.tune, self.held_out)
        return {p: codes.take(rows).counts() for p, rows in zip(SPLIT_SHARES, parts, strict=True)}


@dataclass(frozen=True)
class LayerSignals:
    """Where the tokens of a layer lie, and what gives its tune and held-out images away."""

    cloud: Cloud
    tune: Signals
    held_out: Signals

    @classmethod
    def measure(
        cls,
        tokens: np.ndarray,
        codes: Codes,
        dictionary: Dictionary,
        rows: Rows,
        predictors: Predictors | None,
        left: Codes | None,
    ) -> LayerSignals:
        """Measure the tokens and codes of all images; layer 1 has no predictors and no left."""
        cloud = Cloud.fit(tokens[rows.train])

        def signals(part: np.ndarray) -> Signals:
            own, surprises = codes.take(part), np.zeros(len(part))
            if predictors is not None and left is not None:
                inputs = SparseInputs(left.take(part), binary=True)
                surprises = surprise_of_rows(predictors, inputs, own)
            decoded = dictionary.decode(own)
            explained = explained_share(tokens[part], decoded, dictionary.mean)
            return Signals(cloud.distance(tokens[part]), explained, surprises)

        return cls(cloud, signals(rows.tune), signals(rows.held_out))


def usual_of(layers: Sequence[LayerSignals]) -> Usual:
    """Learn from all layers what is usual."""
    names = [field.name for field in dataclasses.fields(Signals)]
    tune, held_out = (
        Signals(*(np.stack([getattr(part, name) for part in parts]) for name in names))
        for parts in ([layer.tune for layer in layers], [layer.held_out for layer in layers])
    )
    return Usual.measure([layer.cloud for layer in layers], tune, held_out)


def layer_facts(
    layer: int, tokens: np.ndarray, codes: Codes, dictionary: Dictionary, rows: Rows
) -> dict[str, Any]:
    """Describe the codes of a layer, by the tokens of all images; see `summarise_layer`."""
    variance = ExplainedVariance(tokens[rows.train].mean(axis=0, dtype=np.float64))
    held_out = codes.take(rows.held_out)
    variance.add(tokens[rows.held_out], dictionary.decode(held_out))
    return summarise_layer(
        layer,
        train=codes.take(rows.train),
        held_out=held_out,
        explained_variance=variance.value,
    )


def calibrated(planted: Predictors, left: Codes, codes: Codes, rows: Rows) -> Predictors:
    """Calibrate planted predictors on the tune images.

    Parameters
    ----------
    planted : Predictors
    left, codes : Codes
        Of all images, at the layer before and at that of the children.
    rows : Rows
    """
    n_positives = codes.take(rows.train).counts()
    counted = dataclasses.replace(
        planted,
        n_positives=n_positives.astype(np.int32),
        prevalence=(n_positives / len(rows.train)).astype(np.float32),
    )
    inputs = SparseInputs(left.take(rows.tune), binary=True)
    return calibrate(counted, inputs, codes.take(rows.tune), "matched")


def figures(
    layer: int, predictors: Predictors, left: PlantedLayer, own: PlantedLayer, rows: Rows
) -> pa.Table:
    """Measure the predictors of a layer on the held-out images; see `evaluate_pair`."""
    train_left, train = left.codes.take(rows.train), own.codes.take(rows.train)
    cosines = own.dictionary.atoms @ left.dictionary.atoms.T
    cosines[:, train_left.counts() == 0] = -1
    nearest = cosines.argmax(axis=1)
    held_out_left = left.codes.take(rows.held_out)
    return evaluate_pair(
        layer - 1,
        predictors,
        SparseInputs(held_out_left, binary=True),
        own.codes.take(rows.held_out),
        nearest=nearest,
        nearest_cosine=cosines[np.arange(len(nearest)), nearest],
        nearest_scores=lambda right: left.dictionary.pre_activations(left.tokens, nearest[right]),
        left_labels=held_out_left,
        train_labels=train,
        train_left_labels=train_left,
    )


def names(layer: int, codes: Codes, known: AttributeTable, rows: Rows) -> pa.Table:
    """Name the concepts of a layer by the attributes of all images."""
    return names_to_table(layer, name_concepts(codes, known, rows.tune, rows.held_out))
