"""The predictors of rollouts, fitted on what is passed on: for every start layer, layer by layer.

From start layer s, layer s + 1 is predicted from true labels, layer s + 2 from the probabilities
predicted for s + 1, and so on to layer L. Each child is a logistic model of the parents that the
graph names, at natural prevalence, without bags: the parents are chosen already, and a penalty of
`L2` on standardised inputs keeps their weights small. Then Platt's pair and the threshold, on tune
images, as for edge predictors. Calibrated probabilities are passed on, on the train images too on
which they were fitted, where they look a little better than they are. (Predicting each half of the
train images by a fit on the other half came out worse; docs/methods.md has the figures.)

At most `MOST_IMAGES` train images are used, and of these at most `MOST_ROWS` for each child: all
positives if they are not too many, and a seeded sample of the rest, each of whose rows stands for
as many as it was drawn from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from cgraph.calibration import matched_threshold, platt_pair
from cgraph.config import TRAIN, TUNE
from cgraph.newton_logistic import fit_dense
from cgraph.predictor import RAREST
from cgraph.refitted_predictors import FIELDS, refitted_tables

if TYPE_CHECKING:
    import pyarrow as pa

    from cgraph.graph import ConceptGraph
    from cgraph.workbench import Arrays, Source, Workbench

L2 = 10.0
"""Penalty of standardised weights, beside a loss summed over the rows."""

MOST_IMAGES = 20_000
MOST_ROWS = 8_192


def refit(bench: Workbench) -> list[Arrays]:
    """Fit the predictors of all start layers, 1 … L - 1.

    Returns
    -------
    list of dict of str to ndarray
        As `cgraph.refitted_predictors.refitted_tables` takes them.
    """
    # The longest first, so that no worker ends long after the others.
    calls = [(start, bench.seed) for start in range(1, bench.study.n_layers)]
    return bench.run("refit", refit_start, calls)


def tables_of(bench: Workbench, parts: list[Arrays]) -> tuple[pa.Table, pa.Table]:
    """Return what `refit` found as the tables of the study: edges, concepts."""
    return refitted_tables(bench.study.graph, parts)


def refit_start(source: Source, start: int, seed: int) -> Arrays:
    """Fit the predictors of all layers after one start layer."""
    study = source.study
    train, tune = study.rows(TRAIN), study.rows(TUNE)
    if len(train) > MOST_IMAGES:
        rng = np.random.default_rng((seed, 0))
        train = np.sort(rng.choice(train, MOST_IMAGES, replace=False))
    passed = [study.codes(start).dense_labels(rows).astype(np.float32) for rows in (train, tune)]
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("weight", *FIELDS)}
    for layer in range(start + 1, study.n_layers + 1):
        labels = [study.codes(layer).dense_labels(rows) for rows in (train, tune)]
        fits, passed = refit_layer(study.graph, layer, passed, labels, (seed, start, layer))
        for name, values in fits.items():
            found[name].append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def refit_layer(
    graph: ConceptGraph,
    layer: int,
    passed: list[np.ndarray],
    labels: list[np.ndarray],
    entropy: tuple[int, ...],
) -> tuple[Arrays, list[np.ndarray]]:
    """Fit and calibrate the predictors of one layer.

    Parameters
    ----------
    graph : ConceptGraph
        Says which parents each child has, and which children have a predictor at all.
    layer : int
        Of the children.
    passed : list of ndarray of float32, shape (n_images, n_parents)
        What the layer before passes on, for train and for tune images.
    labels : list of ndarray of bool, shape (n_images, n_children)
        Of the children, for the same images.
    entropy : tuple of int
        Seed of the samples of rows.

    Returns
    -------
    fits : dict of str to ndarray of float32
        ``weight`` of each edge, and `FIELDS` of each child; NaN without a predictor.
    passed : list of ndarray of float32, shape (n_images, n_children)
        What this layer passes on: the prevalence of a child without a predictor.
    """
    edges, fitted = graph.layer_edges(layer), graph.column(layer, "fitted")
    weight = np.zeros(len(edges.weights), dtype=np.float32)
    fields = {name: np.full(edges.n_children, np.nan, dtype=np.float32) for name in FIELDS}
    prevalence = graph.prevalence(layer)
    columns = [np.ascontiguousarray(values.T) for values in passed]
    found = [np.repeat(prevalence.astype(np.float32)[:, None], len(v), axis=1) for v in passed]
    for child in np.flatnonzero(fitted).tolist():
        own = slice(edges.starts[child], edges.starts[child + 1])
        inputs = [values[edges.parents[own]] for values in columns]
        positive, positive_tune = (of_part[:, child] for of_part in labels)
        prior = _log_odds(float(prevalence[child]))
        bias = prior
        if positive.any() and not positive.all():
            rows, row_weights = _rows(positive, (*entropy, child))
            fit = fit_dense(inputs[0][:, rows], positive[rows], L2, row_weights)
            weight[own], bias = fit.weights, fit.intercept
        # Less the prior, the score is that of a balanced fit, as calibration takes it.
        intercept = np.float32(bias - prior)
        scores = [weight[own] @ values + intercept for values in inputs]
        pair = np.array(platt_pair(scores[1], positive_tune, prior), dtype=np.float32)
        probabilities = [expit(pair[0] * values + pair[1]) for values in scores]
        wanted = positive_tune.sum() or prevalence[child] * len(positive_tune)
        threshold = matched_threshold(probabilities[1], float(wanted))
        for name, value in zip(FIELDS, (intercept, *pair, threshold), strict=True):
            fields[name][child] = value
        for values, p in zip(found, probabilities, strict=True):
            values[child] = p
    return {"weight": weight, **fields}, [values.T for values in found]


def _rows(positive: np.ndarray, entropy: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows that a fit takes, and how many images each stands for; None if all do 1."""
    if len(positive) <= MOST_ROWS:
        return np.arange(len(positive)), None
    rng = np.random.default_rng(entropy)
    classes = np.flatnonzero(positive), np.flatnonzero(~positive)
    fewer = min(len(classes[0]), len(classes[1]), MOST_ROWS // 2)
    taken, weights = [], []
    for rows in classes:
        n = min(len(rows), MOST_ROWS // 2 if len(rows) == fewer else MOST_ROWS - fewer)
        taken.append(rng.choice(rows, n, replace=False))
        weights.append(np.full(n, len(rows) / n))
    rows = np.concatenate(taken)
    order = np.argsort(rows)
    return rows[order], np.concatenate(weights)[order]


def _log_odds(share: float) -> float:
    return float(logit(np.clip(share, RAREST, 1 - RAREST)))
