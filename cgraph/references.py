"""What figures of rollouts and of pairs of layers are to be read beside.

Is a mean AUC of .9 much? It is compared with less than the graph (nothing but the prevalence, one
parent, the same number of random parents, the atom that points the same way), with other forms of
it (a table for each concept, a logistic model on all labels, one that skips the layers between) and
with what the class token itself would allow. Every reference is fitted on training images, chooses
on tune images, and is judged on held-out images over the scored concepts of its layer.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from cgraph.bagging import bag_size, fit_predictors
from cgraph.codes import Codes
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.logistic import MAX_ITER, TOLERANCE, fit_rows
from cgraph.predictor import SparseInputs
from cgraph.proximal_newton import Settings
from cgraph.readout import (
    codes_of_parts,
    dense_figures,
    figures_of,
    raw_tokens,
    rows_of,
    scored_concepts,
    standard_tokens,
    tokens_written,
)
from cgraph.study import Study
from cgraph.tabular_network import fit_tables
from cgraph.truth_tables import (
    BEST_PARENT,
    DENSE,
    DIRECT,
    NEAREST,
    PREVALENCE,
    RANDOM_PARENTS,
    REFERENCE_SCHEMA,
    TABULAR,
    TOKEN,
)
from cgraph.workbench import Arrays, Source, Workbench

BAG_CAP = 1000
"""Most positives in a bag of the direct reference, if the graph's own bags have no lower cap."""

N_DRAWS = 3
"""Draws of random parents, whose figures are averaged."""


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Measure every reference.

    Parameters
    ----------
    bench : Workbench

    Returns
    -------
    dict of str to pyarrow.Table
        ``references``. Rows on class tokens are missing where the tokens cannot be computed, for
        want of the pictures or of the model; the nearest atom then has the area that was measured
        when the study was built, and no average precision.
    """
    last, seed = bench.study.n_layers, bench.seed
    adjacent = [(left, left + 1, seed) for left in range(1, last)]
    to_last = sorted({*adjacent, *((start, last, seed) for start in range(1, last))})
    every = [
        (start, layer, seed) for start in range(1, last) for layer in range(start + 1, last + 1)
    ]
    runs = [
        (adjacent, bench.run("reference-parents", _parents, adjacent)),
        (to_last, bench.run("reference-labels", _labels, to_last)),
        (every, bench.run("reference-direct", _direct, every)),
    ]
    if tokens_written(bench):
        runs.append((to_last, bench.run("reference-tokens", _tokens, to_last)))
    else:
        runs.append((adjacent, bench.run("reference-nearest", _stored_nearest, adjacent)))
    rows = [
        _row(bench.study, start, layer, seed, reference, figures)
        for calls, answers in runs
        for (start, layer, _), answer in zip(calls, answers, strict=True)
        for reference, figures in answer.items()
    ]
    return {"references": pa.Table.from_pylist(rows, schema=REFERENCE_SCHEMA)}


def _row(
    study: Study, start: int, layer: int, seed: int, reference: str, figures: np.ndarray
) -> dict[str, object]:
    """Average the figures, of shape (2, n_scored), of one reference."""
    scored = scored_concepts(study, layer, seed)
    labels = study.codes(layer).take(rows_of(study, seed)[HELD_OUT])
    shares = labels.counts()[scored] / (labels.n_samples or np.nan)
    area, precision = (_mean(values) for values in figures)
    return {
        "start": start,
        "layer": layer,
        "reference": reference,
        "auc": area,
        "ap": precision,
        "prevalence": _mean(shares),
        "n_scored": len(scored),
    }


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _parents(source: Source, left: int, right: int, seed: int) -> Arrays:
    """Judge single labels, random parents and tables, from a layer to the next."""
    study = source.study
    inputs, labels = codes_of_parts(study, left, seed), codes_of_parts(study, right, seed)
    scored = scored_concepts(study, right, seed)
    judged = inputs[HELD_OUT].to_csr(binary=True).tocsc()
    best = best_parents(inputs[TRAIN], labels[TRAIN], scored)
    flat = np.zeros((judged.shape[0], len(scored)))
    answers = {
        PREVALENCE: figures_of(flat, labels[HELD_OUT], scored),
        BEST_PARENT: figures_of(judged[:, best].toarray(), labels[HELD_OUT], scored),
    }
    drawn = []
    for draw in range(N_DRAWS):
        weights = _random_parents(study, inputs[TRAIN], labels[TRAIN], right, scored, (seed, draw))
        drawn.append(figures_of(np.asarray(judged @ weights), labels[HELD_OUT], scored))
    answers[RANDOM_PARENTS] = np.mean(drawn, axis=0)
    answers[TABULAR] = figures_of(_table_scores(inputs, labels, scored), labels[HELD_OUT], scored)
    return answers


def best_parents(inputs: Codes, labels: Codes, children: np.ndarray) -> np.ndarray:
    """Return the label of the layer before that separates each child best, alone.

    By TPR − FPR, on which the area of a single label depends; ties go to the lower index.

    Parameters
    ----------
    inputs, labels : Codes
        Of the same images.
    children : ndarray of int, shape (n_children,)

    Returns
    -------
    ndarray of int, shape (n_children,)
    """
    left = inputs.to_csr(binary=True).T.tocsr()
    right = labels.to_csr(binary=True).tocsc()[:, children]
    # Whole numbers, so that ties are exact.
    both = (left @ right).toarray().astype(np.int64) * labels.n_samples
    return (both - inputs.counts()[:, None] * labels.counts()[children]).argmax(axis=0)


def _random_parents(
    study: Study,
    inputs: Codes,
    labels: Codes,
    right: int,
    scored: np.ndarray,
    entropy: tuple[int, ...],
) -> np.ndarray:
    """Return weights, shape (n_atoms, n_scored), on as many random parents as a concept has.

    Drawn from all concepts that are active in training images, true parents among them, and fitted
    as the last fit of `cgraph.bagging` is: all rows, both classes of equal weight, same penalty.
    """
    alive = np.flatnonzero(inputs.counts())
    edges = study.graph.layer_edges(right)
    penalty = study.graph.column(right, "penalty")
    drawn_positives = study.graph.column(right, "bag_positives")
    rows = SparseInputs(inputs, binary=True).arrays
    every = np.arange(inputs.n_samples)
    found = np.zeros((inputs.n_atoms, len(scored)))
    for place, child in enumerate(scored.tolist()):
        rng = np.random.default_rng(np.random.SeedSequence((*entropy, right, child)))
        n_parents = int(edges.starts[child + 1] - edges.starts[child])
        allowed = np.zeros(inputs.n_atoms, dtype=np.bool_)
        allowed[rng.choice(alive, min(n_parents, len(alive)), replace=False)] = True
        positive = np.zeros(inputs.n_samples, dtype=np.bool_)
        positive[labels.positives(child)] = True
        n, n_positive = float(drawn_positives[child]), int(positive.sum())
        strength = float(penalty[child])
        if not n:  # the graph was not fitted: it was planted
            n, strength = bag_size(n_positive, study.config.predictor)
        share = np.where(positive, n / n_positive, n / (len(positive) - n_positive))
        weights = np.zeros(inputs.n_atoms)
        settings = Settings(strength, TOLERANCE, MAX_ITER)
        fit_rows(rows, every, positive, share, allowed, settings, weights, 0.0)
        found[:, place] = weights
    return found


def _table_scores(
    inputs: dict[str, Codes], labels: dict[str, Codes], scored: np.ndarray
) -> np.ndarray:
    """Return held-out probabilities by tables of as many parents as serve the tune images best."""
    columns = {part: inputs[part].to_csr(binary=True).tocsc() for part in (TUNE, HELD_OUT)}
    tables = fit_tables(inputs[TRAIN], labels[TRAIN], scored)
    scores = np.empty((labels[HELD_OUT].n_samples, len(scored)))
    for place, (child, table) in enumerate(zip(scored.tolist(), tables, strict=True)):
        seen = {part: c[:, table.parents].toarray() for part, c in columns.items()}
        positive = np.zeros(labels[TUNE].n_samples, dtype=np.bool_)
        positive[labels[TUNE].positives(child)] = True
        losses = []
        for k in range(len(table.tables)):
            probability = table.probabilities(seen[TUNE], k)
            losses.append(-np.log(np.where(positive, probability, 1 - probability)).sum())
        scores[:, place] = table.probabilities(seen[HELD_OUT], int(np.argmin(losses)))
    return scores


def _labels(source: Source, start: int, layer: int, seed: int) -> Arrays:
    """Judge a dense logistic model on all labels of a layer."""
    inputs = {
        part: codes.dense_labels()
        for part, codes in codes_of_parts(source.study, start, seed).items()
    }
    return {DENSE: dense_figures(source.study, inputs, layer, seed)}


def _direct(source: Source, start: int, layer: int, seed: int) -> Arrays:
    """Judge predictors fitted as the graph's own are, from a layer straight to a later one."""
    study = source.study
    inputs, labels = codes_of_parts(study, start, seed), codes_of_parts(study, layer, seed)
    scored = scored_concepts(study, layer, seed)
    config = study.config.predictor
    cap = min(BAG_CAP, config.bag_cap or BAG_CAP)
    predictors = fit_predictors(
        SparseInputs(inputs[TRAIN], binary=True),
        labels[TRAIN],
        scored,
        dataclasses.replace(config, bag_cap=cap),
        entropy=(seed, layer),
    )
    scores = predictors.decision(SparseInputs(inputs[HELD_OUT], binary=True))
    return {DIRECT: figures_of(scores, labels[HELD_OUT], scored)}


def _tokens(source: Source, start: int, layer: int, seed: int) -> Arrays:
    """Judge what the class token allows: a dense logistic model, and the nearest atom."""
    study = source.study
    answers = {TOKEN: dense_figures(study, standard_tokens(source, start), layer, seed)}
    if layer == start + 1:
        scored = scored_concepts(study, layer, seed)
        nearest = _of_concepts(study, layer, "nearest")[scored]
        dictionary = study.dictionary(start)
        scores = dictionary.pre_activations(raw_tokens(source, start)[HELD_OUT], atoms=nearest)
        labels = codes_of_parts(study, layer, seed)[HELD_OUT]
        answers[NEAREST] = figures_of(scores, labels, scored)
    return answers


def _stored_nearest(source: Source, left: int, right: int, seed: int) -> Arrays:
    scored = scored_concepts(source.study, right, seed)
    areas = _of_concepts(source.study, right, "auc_nearest")[scored]
    return {NEAREST: np.array([areas, np.full(len(areas), np.nan)])}


def _of_concepts(study: Study, layer: int, column: str) -> np.ndarray:
    """Return a column of the stored figures of a layer's concepts, by rising index."""
    figures = study.evaluation("concepts")
    return figures[column].to_numpy()[figures["layer"].to_numpy() == layer]
