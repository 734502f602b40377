"""Outputs as children of the last layer: when they are on, and the predictors of that.

An output is predicted like any concept, by `cgraph.bagging.fit_predictors` and
`cgraph.predictor.calibrate` with the settings of the study: on its training images, calibrated on
tune images, judged on held-out ones. Only the training images choose a threshold.

What the predictors take is divided by its root mean square over the training images, as at every
other layer, where it is not a label. The weights that are kept are per unit of what is not divided,
so that the last layer, from which no other concept is predicted, needs no scale.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.bagging import fit_predictors
from cgraph.codes import Codes
from cgraph.config import HELD_OUT, TRAIN, TUNE, PredictorConfig
from cgraph.errors import ConfigError, DataError
from cgraph.evaluation import scored_mask
from cgraph.graph_stages import PreActivationInputs
from cgraph.image_parts import sampled_rows, stored_split
from cgraph.metrics import auc, average_precision, f1_natural
from cgraph.output_nodes import OutputNode
from cgraph.output_tables import CLASS_SOURCE, GIVEN, TOP_CLASS, TWO_GROUPS
from cgraph.output_values import Asked
from cgraph.predictor import InputRows, Predictors, SparseInputs, calibrate
from cgraph.study import Study
from cgraph.two_groups import two_groups
from cgraph.workbench import Workbench

PARTS = (TRAIN, TUNE, HELD_OUT)


@dataclass(frozen=True)
class OutputLabels:
    """When an output is on.

    Attributes
    ----------
    rule : str
        Of `cgraph.output_tables.RULES`.
    threshold, separation : float
        NaN where there is none.
    labels : ndarray of bool, shape (n_images,)
    """

    rule: str
    threshold: float
    separation: float
    labels: np.ndarray


def labels_of(
    asked: Asked, values: np.ndarray, likeliest: np.ndarray, train: np.ndarray
) -> OutputLabels:
    """Say in which images an output is on.

    Parameters
    ----------
    asked : Asked
    values : ndarray of float32, shape (n_images,)
    likeliest : ndarray of bool, shape (n_images,)
        Whether the class is the likeliest of all.
    train : ndarray of int
        Rows of the training images.

    Raises
    ------
    ConfigError
        If it is on in all training images, or in none.
    """
    threshold, separation = np.nan, np.nan
    if asked.threshold is not None:
        rule, threshold = GIVEN, asked.threshold
    elif asked.source == CLASS_SOURCE:
        rule = TOP_CLASS
    else:
        rule = TWO_GROUPS
        try:
            threshold, separation = two_groups(values[train])
        except DataError:
            raise ConfigError(
                f"All {len(train)} training images are equally like “{asked.text}”: there is no "
                "threshold between them. Ask for another text."
            ) from None
    labels = likeliest if rule == TOP_CLASS else values >= threshold
    n_on = int(labels[train].sum())
    if n_on in (0, len(train)):
        how_many = "none" if n_on == 0 else "all"
        low, high = values[train].min(), values[train].max()
        raise ConfigError(
            f"{asked.name!r} would be on in {how_many} of the {len(train)} training images, where "
            f"its values lie between {low:.4g} and {high:.4g}. Give a --threshold between them."
        )
    return OutputLabels(rule, float(threshold), float(separation), labels)


@dataclass(frozen=True)
class OutputInputs:
    """What predictors of outputs take: layer L of some images of each part.

    Attributes
    ----------
    rows : dict of str to ndarray of int
        By part, rows of the study; of a part with very many images a sample, as for concepts.
    inputs : dict of str to InputRows
        The same images, divided by `scale`.
    scale : float
    """

    rows: dict[str, np.ndarray]
    inputs: dict[str, InputRows]
    scale: float


def output_inputs(bench: Workbench) -> OutputInputs:
    """Read what the outputs of a study are predicted from.

    Raises
    ------
    ImageError, ModelError
        If predictors take pre-activations, and pictures or model cannot be had.
    """
    study = bench.study
    layer, config = study.n_layers, study.config.predictor
    split = stored_split(study.path)
    rows = {
        part: sampled_rows(
            split,
            part,
            config.max_train if part == TRAIN else config.max_measured,
            study.config.seed,
        )
        for part in PARTS
    }
    if config.inputs == "pre-activations":
        dictionary, found, scale = study.dictionary(layer), {}, 1.0
        for part in PARTS:
            tokens = _Tokens(bench.tokens(part, layer))
            places = np.searchsorted(study.rows(part), rows[part])
            if part == TRAIN:
                plain = PreActivationInputs(tokens, places, dictionary, 1.0)
                total = sum(
                    float((plain.rows(some).data ** 2).sum())
                    for some in np.array_split(np.arange(len(places)), 1 + len(places) // 1024)
                )
                scale = float(np.sqrt(total / (len(places) * dictionary.n_atoms)))
            found[part] = PreActivationInputs(tokens, places, dictionary, scale)
        return OutputInputs(rows, dict(found), scale)
    codes = {part: study.codes(layer).take(rows[part]) for part in PARTS}
    binary, scale = config.inputs == "labels", 1.0
    if not binary:
        squares = codes[TRAIN].coefficients.astype(np.float64) ** 2
        scale = float(np.sqrt(squares.sum() / max(1, len(squares))))
    return OutputInputs(
        rows, {part: SparseInputs(codes[part], binary, scale) for part in PARTS}, scale
    )


class _Tokens:
    """Tokens in memory, given for the rows that are asked for."""

    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = tokens

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self._tokens[rows]


def fit_output(
    inputs: OutputInputs,
    labels: np.ndarray,
    config: PredictorConfig,
    entropy: Sequence[int],
) -> tuple[Predictors, dict[str, float]]:
    """Fit the predictor of one output and judge it on held-out images.

    Parameters
    ----------
    inputs : OutputInputs
    labels : ndarray of bool, shape (n_images,)
        Of all images of the study.
    config : PredictorConfig
        Settings of the study.
    entropy : sequence of int
        Seed of the bags.

    Returns
    -------
    predictors : Predictors
        Of one child, calibrated.
    figures : dict of str to float
        ``auc``, ``ap`` and ``f1`` at the threshold τ; NaN if it is not scored.
    """
    codes = {part: _one_concept(labels[rows]) for part, rows in inputs.rows.items()}
    found = fit_predictors(
        inputs.inputs[TRAIN], codes[TRAIN], np.zeros(1, np.int32), config, entropy=tuple(entropy)
    )
    found = calibrate(found, inputs.inputs[TUNE], codes[TUNE], config.threshold)
    scores = found.decision(inputs.inputs[HELD_OUT])
    truth = labels[inputs.rows[HELD_OUT]][:, None]
    figures = {
        "auc": float(auc(scores, truth)[0]),
        "ap": float(average_precision(scores, truth)[0]),
        "f1": float(f1_natural(found.labels_of(scores), truth)[0]),
    }
    counts = {part: codes[part].counts() for part in PARTS}
    n_train = len(inputs.rows[TRAIN])
    if not scored_mask(counts[TRAIN], counts[HELD_OUT], n_train, found.fitted)[0]:
        figures = dict.fromkeys(figures, np.nan)
    weights = (found.weights / np.float32(inputs.scale)).astype(np.float32)
    return dataclasses.replace(found, weights=weights), figures


def _one_concept(labels: np.ndarray) -> Codes:
    """Return labels as the codes of a layer with one concept."""
    offsets = np.concatenate([[0], np.cumsum(labels)]).astype(np.int64)
    n = int(offsets[-1])
    return Codes(offsets, np.zeros(n, np.int32), np.ones(n, np.float32), 1)


def entropy_of(study: Study, asked: Asked) -> tuple[int, ...]:
    """Return the seed of an output's bags: its own, whatever outputs there are besides."""
    named = ":".join((asked.source, asked.text, *asked.against)).encode()
    return (study.config.seed, study.n_layers + 1, zlib.crc32(named))


def node_of(
    study: Study,
    asked: tuple[Asked, int],
    own: OutputLabels,
    predictors: Predictors,
    figures: dict[str, float],
) -> OutputNode:
    """Put together what is known of an output."""
    what, place = asked
    counts = {part: int(own.labels[study.rows(part)].sum()) for part in PARTS}
    assert what.name is not None  # `resolved` has filled it in
    return OutputNode(
        name=what.name,
        source=what.source,
        text=what.text,
        against=what.against,
        class_index=place,
        rule=own.rule,
        threshold=own.threshold,
        separation=own.separation,
        n_train=counts[TRAIN],
        n_tune=counts[TUNE],
        n_held_out=counts[HELD_OUT],
        n_parents=len(predictors.parents),
        **figures,
    )
