"""Predictors of outputs for rollouts: refitted on what is passed on to the last layer.

Rollouts by the rule ``refitted`` pass probabilities on, and have predictors of their own for every
start layer (`cgraph.rollout_refit`). From each of them the outputs' predictors are fitted in the
same way, by the same function, on what the study's refitted predictors pass on to layer L; from
start layer L, on the true labels there. Labels of the outputs are stored, so no picture is needed.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cgraph.config import TRAIN, TUNE
from cgraph.edits import REFITTED_RULE, RolloutSettings
from cgraph.output_nodes import OutputNodes
from cgraph.output_tables import FITTED_ON, fitted_on
from cgraph.refitted_predictors import FIELDS
from cgraph.rollout import rollout
from cgraph.rollout_refit import MOST_IMAGES, refit_layer
from cgraph.study import Study
from cgraph.truth_tables import REFITTED_CONCEPT_SCHEMA, REFITTED_EDGE_SCHEMA


def refitted_outputs(study: Study, outputs: OutputNodes) -> tuple[pa.Table, pa.Table] | None:
    """Fit the predictors of outputs for rollouts from every layer.

    Parameters
    ----------
    study : Study
    outputs : OutputNodes
        Of the study; what was refitted of them before is not read.

    Returns
    -------
    edges, concepts : pyarrow.Table, or None
        With the columns of ``truth/refitted-edges.arrow`` and ``truth/refitted-concepts.arrow``.
        None where the study has no refitted predictors of its own.
    """
    follows = fitted_on(study.manifest.files)
    if follows is None:
        return None
    seed, last = study.config.seed, study.n_layers
    train, tune = study.rows(TRAIN), study.rows(TUNE)
    if len(train) > MOST_IMAGES:
        train = np.sort(np.random.default_rng((seed, 0)).choice(train, MOST_IMAGES, replace=False))
    labels = [outputs.labels[rows] for rows in (train, tune)]
    graph = outputs.extended(study.graph)
    edges = [REFITTED_EDGE_SCHEMA.empty_table()]
    concepts = [REFITTED_CONCEPT_SCHEMA.empty_table()]
    for start in range(1, last + 1):
        passed = [passed_to_last(study, start, rows) for rows in (train, tune)]
        fits, _ = refit_layer(graph, last + 1, passed, labels, (seed, start, last + 1))
        n_edges, n_outputs = len(fits["weight"]), len(outputs)
        columns = {
            "start": np.full(n_edges, start),
            "child_layer": np.full(n_edges, last + 1),
            "weight": fits["weight"],
        }
        edges.append(pa.table(columns).cast(REFITTED_EDGE_SCHEMA))
        columns = {
            "start": np.full(n_outputs, start),
            "layer": np.full(n_outputs, last + 1),
            "index": np.arange(n_outputs),
            **{name: fits[name] for name in FIELDS},
        }
        concepts.append(pa.table(columns).cast(REFITTED_CONCEPT_SCHEMA))
    found = pa.concat_tables(edges), pa.concat_tables(concepts)
    marked = [table.replace_schema_metadata({FITTED_ON: follows}) for table in found]
    return marked[0], marked[1]


def passed_to_last(study: Study, start: int, rows: np.ndarray) -> np.ndarray:
    """Return what rollouts by the rule ``refitted`` pass on to layer L, from the labels of one.

    Parameters
    ----------
    study : Study
        With refitted predictors.
    start : int
        1 … L.
    rows : ndarray of int
        Images.

    Returns
    -------
    ndarray of float32, shape (n_images, n_concepts)
        Labels as 0 or 1 where `start` is L.
    """
    graph = study.refitted(start)
    assert graph is not None  # the caller has looked
    labels = study.codes(start).dense_labels(rows)
    settings = RolloutSettings(rule=REFITTED_RULE)
    return rollout(graph, labels, start, settings).of_layer(study.n_layers)[2]
