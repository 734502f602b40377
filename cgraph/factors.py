"""Whether images are made of few factors, each with a concept of its own (paper, section 1.2).

The paper's fundamental hypothesis is that data comes from generative factors of which few are
active at a time, and that one basis vector can be found for each. Where it is known of images what
they show, it can be tested. A factor is an attribute value, such as "the background is sky". Which
concept stands for it is chosen on training images; all figures are of held-out images.

A factor has a concept of its own when, by the area under the ROC curve of the coefficient,

- its best concept reaches `OWN_AREA`,
- no other concept comes within `OWN_LEAD` of that one, and
- no other factor suits the concept better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import sparse

from cgraph.attributes import AttributeTable, attribute_table
from cgraph.config import HELD_OUT, TRAIN
from cgraph.disentanglement import (
    areas,
    binned,
    correlations,
    dci,
    entropies,
    information,
    information_gaps,
    two_best,
)
from cgraph.errors import DataError
from cgraph.logistic import MAX_ITER, TOLERANCE, fit_rows, sparse_rows
from cgraph.proximal_newton import Settings
from cgraph.readout import rows_of
from cgraph.study import Study
from cgraph.truth_tables import FACTOR_LAYER_SCHEMA, FACTOR_SCHEMA
from cgraph.workbench import Arrays, Source, Workbench

OWN_AREA = 0.9
"""Area under the ROC curve that a factor's own concept must reach."""

OWN_LEAD = 0.05
"""How far it must be ahead of every other concept."""

PENALTY = 0.01
"""l1 penalty of the model that importances are taken from, in units of the factor's images."""

N_BINS = 20
"""Bins of a coefficient for the mutual information."""

MIN_IMAGES = 20
"""Training images that a factor needs."""

MIN_HELD_OUT = 5
"""Held-out images that a factor needs, and that must lack it."""

COMMON = 0.5
"""A value of so large a share of the images is contained in nothing by design, only by chance."""


@dataclass(frozen=True)
class FactorFigures:
    """What the codes of one layer say about the factors.

    Attributes
    ----------
    concepts, runners_up : ndarray of int, shape (n_factors,)
        Best and second-best concept of each factor.
    areas, runner_up_areas : ndarray of float, shape (n_factors,)
        Of their coefficients; of signed ones, in the direction that serves the factor.
    correlations : ndarray of float, shape (n_factors,)
        Of the best concept's coefficient with the factor.
    information : ndarray of float, shape (n_factors,)
        What it knows of the factor, as a share of the factor's entropy.
    gaps : ndarray of float, shape (n_factors,)
        Their mean is the MIG.
    own : ndarray of bool, shape (n_factors,)
    predicted : ndarray of float, shape (n_factors,)
        Area of the sparse logistic model on all concepts.
    disentanglement, completeness : float
    """

    concepts: np.ndarray
    runners_up: np.ndarray
    areas: np.ndarray
    runner_up_areas: np.ndarray
    correlations: np.ndarray
    information: np.ndarray
    gaps: np.ndarray
    own: np.ndarray
    predicted: np.ndarray
    disentanglement: float
    completeness: float

    @property
    def mig(self) -> float:
        """Mutual information gap, mean over the factors."""
        return float(np.nanmean(self.gaps))

    @property
    def informativeness(self) -> float:
        """How well factors are predicted from all concepts: mean area."""
        return float(np.nanmean(self.predicted))

    @property
    def n_reached(self) -> int:
        """Factors of which some concept reaches `OWN_AREA`."""
        return int((self.areas >= OWN_AREA).sum())


def factor_figures(
    train: np.ndarray, train_truth: np.ndarray, held_out: np.ndarray, held_out_truth: np.ndarray
) -> FactorFigures:
    """Compare codes with factors.

    Parameters
    ----------
    train, held_out : ndarray of float, shape (n_images, n_concepts)
        Coefficients, or any other numbers that shall stand for factors.
    train_truth, held_out_truth : ndarray of bool, shape (n_images, n_factors)

    Returns
    -------
    FactorFigures

    Raises
    ------
    DataError
        If there are fewer than two factors or concepts.
    """
    if min(train.shape[1], train_truth.shape[1]) < 2:
        raise DataError(
            f"There are {train_truth.shape[1]} factors and {train.shape[1]} concepts. To tell "
            "whether each has one of its own takes two of both."
        )
    chosen_on, measured = areas(train, train_truth), areas(held_out, held_out_truth)
    if (train < 0).any():
        # The direction of a signed number is free, and is chosen with the concept.
        turned = chosen_on < 0.5
        chosen_on = np.where(turned, 1 - chosen_on, chosen_on)
        measured = np.where(turned, 1 - measured, measured)
    best, second = two_best(chosen_on)
    every = np.arange(len(best))
    area, runner_up = measured[every, best], measured[every, second]
    wanted_by = chosen_on.argmax(axis=0)
    own = (area >= OWN_AREA) & (area - runner_up >= OWN_LEAD) & (wanted_by[best] == every)
    known_train = information(binned(train, N_BINS), train_truth)
    known = information(binned(held_out, N_BINS), held_out_truth)
    entropy = entropies(held_out_truth)
    importance, predicted = _importances(train, train_truth, held_out, held_out_truth)
    disentanglement, completeness = dci(importance)
    return FactorFigures(
        concepts=best,
        runners_up=second,
        areas=area,
        runner_up_areas=runner_up,
        correlations=correlations(held_out, held_out_truth)[every, best],
        information=known[every, best] / entropy,
        gaps=information_gaps(known_train, known, entropy),
        own=own,
        predicted=predicted,
        disentanglement=disentanglement,
        completeness=completeness,
    )


def _importances(
    train: np.ndarray, train_truth: np.ndarray, held_out: np.ndarray, held_out_truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit an l1-logistic model of each factor; return absolute weights and held-out areas.

    Coefficients are divided by their standard deviation, so that weights can be compared, and both
    classes weigh the same.
    """
    spread = train.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, spread, out=np.zeros(len(spread)), where=spread > 0)
    rows = sparse_rows(sparse.csr_array(train * scale))
    every, allowed = np.arange(len(train)), np.ones(train.shape[1], dtype=np.bool_)
    weights = np.zeros((train_truth.shape[1], train.shape[1]))
    for place, positive in enumerate(np.ascontiguousarray(train_truth.T)):
        n_with = int(positive.sum())
        share = np.where(positive, 1.0, n_with / (len(positive) - n_with))
        settings = Settings(PENALTY * n_with, TOLERANCE, MAX_ITER)
        fit_rows(rows, every, positive, share, allowed, settings, weights[place], 0.0)
    scores = held_out @ (scale[:, None] * weights.T)
    own = [areas(scores[:, [k]], held_out_truth[:, [k]])[0, 0] for k in range(len(weights))]
    return np.abs(weights), np.array(own)


def known_factors(study: Study, rows: dict[str, np.ndarray]) -> tuple[AttributeTable, np.ndarray]:
    """Return the attribute values of a study's images that are factors, and which of the rows.

    Parameters
    ----------
    study : Study
    rows : dict of str to ndarray of int
        Images of each part that will be used.

    Returns
    -------
    table : AttributeTable
        Of the images of ``rows[TRAIN]`` followed by ``rows[HELD_OUT]``.
    factors : ndarray of int
        Its columns that are factors: common enough in both parts, and no conjunction.
    """
    wanted = np.concatenate([rows[TRAIN], rows[HELD_OUT]])
    table = attribute_table([study.attributes(int(row)) for row in wanted], MIN_IMAGES)
    n_train = len(rows[TRAIN])
    enough = ~conjunctions(table)
    for part, least in ((slice(0, n_train), MIN_IMAGES), (slice(n_train, None), MIN_HELD_OUT)):
        truth = table.truth[part]
        n_with = np.asarray(truth.sum(axis=0)).ravel()
        enough &= (n_with >= least) & (n_with <= truth.shape[0] - least)
    return table, np.flatnonzero(enough)


def conjunctions(table: AttributeTable) -> np.ndarray:
    """Return which attribute values say two other things at once, such as "red star".

    Every image with such a value also has two values, each of another attribute and of fewer than
    half the images, of which neither contains the other: red, and star. A kind within a family
    within an order is none, since the order contains the family.

    Parameters
    ----------
    table : AttributeTable

    Returns
    -------
    ndarray of bool, shape (n_columns,)
    """
    truth = table.truth.astype(np.int64)
    both = (truth.T @ truth).toarray()
    counts, names = both.diagonal(), table.names
    inside = (both == counts[:, None]) & (names[:, None] != names)
    inside &= counts < COMMON * truth.shape[0]
    found = np.zeros(len(counts), dtype=np.bool_)
    for column in range(len(counts)):
        holders = np.flatnonzero(inside[column])
        nested = inside[np.ix_(holders, holders)]
        apart = ~(nested | nested.T) & (names[holders][:, None] != names[holders])
        found[column] = apart.any()
    return found


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Compare the concepts of every layer with what is known of the images.

    Parameters
    ----------
    bench : Workbench

    Returns
    -------
    dict of str to pyarrow.Table
        ``factors`` and ``factor-layers``; empty if fewer than two factors are known.
    """
    table, factors = known_factors(bench.study, rows_of(bench.study, bench.seed))
    layers = range(1, bench.study.n_layers + 1) if len(factors) > 1 else range(0)
    calls = [(layer, bench.seed) for layer in layers]
    of_factors, of_layers = [], []
    for layer, found in zip(layers, bench.run("factors", _of_layer, calls), strict=True):
        of_factors += [
            {
                "layer": layer,
                "attribute": table.columns[column][0],
                "value": table.columns[column][1],
                **{name: found[name][place].item() for name in _BY_FACTOR},
            }
            for place, column in enumerate(factors)
        ]
        of_layers.append(
            {
                "layer": layer,
                **{name: found[name].item() for name in _BY_LAYER},
                "n_reached": int((found["auc"] >= OWN_AREA).sum()),
                "n_own": int(found["own"].sum()),
                "n_factors": len(factors),
            }
        )
    return {
        "factors": pa.Table.from_pylist(of_factors, schema=FACTOR_SCHEMA),
        "factor-layers": pa.Table.from_pylist(of_layers, schema=FACTOR_LAYER_SCHEMA),
    }


_BY_FACTOR = [
    *("n_images", "concept", "auc", "correlation", "information"),
    *("runner_up", "runner_up_auc", "gap", "predicted", "own"),
]
_BY_LAYER = ["mig", "disentanglement", "completeness", "informativeness"]


def _of_layer(source: Source, layer: int, seed: int) -> Arrays:
    study = source.study
    rows = rows_of(study, seed)
    table, factors = known_factors(study, rows)
    truth = table.truth[:, factors].toarray()
    n_train = len(rows[TRAIN])
    train, held_out = (
        study.codes(layer).take(rows[part]).to_csr().toarray() for part in (TRAIN, HELD_OUT)
    )
    found = factor_figures(train, truth[:n_train], held_out, truth[n_train:])
    return {
        "n_images": truth[n_train:].sum(axis=0),
        "concept": found.concepts,
        "auc": found.areas,
        "correlation": found.correlations,
        "information": found.information,
        "runner_up": found.runners_up,
        "runner_up_auc": found.runner_up_areas,
        "gap": found.gaps,
        "predicted": found.predicted,
        "own": found.own,
        "mig": np.array(found.mig),
        "disentanglement": np.array(found.disentanglement),
        "completeness": np.array(found.completeness),
        "informativeness": np.array(found.informativeness),
    }
