"""How far a rollout comes: from every start layer, by every rule, on held-out images.

For each layer after the start, the probabilities are judged by AUC and average precision, means
over the scored concepts, and the labels that the rule puts on by F1 and Jaccard against the true
active set, means over images. Beside them what a *teacher-forced* rollout reaches, where every
layer is predicted from the true labels of the one before: that is the first step of a rollout from
there, whatever the rule. At the end, what the last layer's labels mean for the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cgraph.config import HELD_OUT
from cgraph.counterfactual import passed_on
from cgraph.edits import (
    PLAIN_RULES,
    PROBABILITIES,
    REFITTED_RULE,
    Probability,
    RolloutSettings,
    Rule,
)
from cgraph.errors import ImageError, ModelError
from cgraph.metrics import auc, average_precision
from cgraph.refitted_predictors import FIELDS, graph_of_part
from cgraph.rollout import Rollout, rollout
from cgraph.rollout_decoding import MOST_IMAGES, Decoding
from cgraph.rollout_refit import refit, tables_of
from cgraph.study import Study
from cgraph.truth_tables import DECODED_SCHEMA, MEAN_TOKEN, ROLLOUT_SCHEMA, TRUE_LABELS
from cgraph.workbench import Arrays, Source, Workbench

N_DRAWS = 20
"""Draws of the rule ``sample``."""

FIGURES = ("auc", "ap", "prevalence", "f1", "jaccard", "n_active", "n_active_true", "n_scored")


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Refit the predictors of rollouts, and measure rollouts by every rule.

    Returns
    -------
    dict of str to pyarrow.Table
        ``rollout``, ``decoded`` (empty where pictures or model cannot be had), ``refitted-edges``
        and ``refitted-concepts``.
    """
    parts = refit(bench)
    places = _places(bench)
    kinds = _kinds(bench.study)
    keys = [
        (start, rule, probability)
        for start in range(1, bench.study.n_layers)
        for rule, probability in kinds
    ]
    calls = [(*key, bench.seed, places, *_arrays(parts, *key[:2])) for key in keys]
    found = bench.run("rollouts", roll, calls)
    edges, concepts = tables_of(bench, parts)
    return {
        "rollout": _rollout_table(keys, found, bench.study.n_layers),
        "decoded": _decoded_table(bench, keys, found, places),
        "refitted-edges": edges,
        "refitted-concepts": concepts,
    }


def _kinds(study: Study) -> list[tuple[Rule, Probability]]:
    """Return the rules and probabilities that can be rolled out in a study."""
    kinds: list[tuple[Rule, Probability]] = [(REFITTED_RULE, "calibrated")]
    if study.manifest.graph["inputs"] == "pre-activations":
        return kinds  # edges that take those say nothing of labels
    return [*kinds, *((rule, kind) for rule in PLAIN_RULES for kind in PROBABILITIES)]


def _arrays(parts: list[Arrays], start: int, rule: str) -> list[np.ndarray]:
    if rule != REFITTED_RULE:
        return []
    return [parts[start - 1][name] for name in ("weight", *FIELDS)]


def _places(bench: Workbench) -> np.ndarray:
    """Return the places of held-out images that are decoded: all, or a seeded sample."""
    n_images = len(bench.study.rows(HELD_OUT))
    if n_images <= MOST_IMAGES:
        return np.arange(n_images)
    rng = np.random.default_rng((bench.seed, n_images))
    return np.sort(rng.choice(n_images, MOST_IMAGES, replace=False))


def roll(
    source: Source,
    start: int,
    rule: Rule,
    probability: Probability,
    seed: int,
    places: np.ndarray,
    *refitted: np.ndarray,
) -> Arrays:
    """Roll the held-out images out from one layer by one rule.

    Returns
    -------
    dict of str to ndarray
        `FIGURES`, each of shape ``(L - start,)``, and ``passed``: what the last layer would pass
        on, of the images in `places`, in half precision.
    """
    study = source.study
    rows = study.rows(HELD_OUT)
    graph, inputs = study.graph, None
    if refitted:
        part = dict(zip(("weight", *FIELDS), refitted, strict=True))
        graph = graph_of_part(graph, part, start)
    else:
        inputs = passed_on(study)
    settings = RolloutSettings(rule, n_draws=N_DRAWS, seed=seed, probability=probability)
    labels = study.codes(start).dense_labels(rows)
    keys = rows.tolist()
    found = rollout(graph, labels, start, settings, keys=keys, inputs=inputs)
    figures = [
        figures_of(
            found, layer, study.codes(layer).dense_labels(rows), graph.column(layer, "scored")
        )
        for layer in range(start + 1, study.n_layers + 1)
    ]
    passed = found.passed[-1][places].astype(np.float16)
    return {name: np.array([row[name] for row in figures]) for name in FIGURES} | {"passed": passed}


def figures_of(
    found: Rollout, layer: int, truth: np.ndarray, scored: np.ndarray
) -> dict[str, float]:
    """Judge one layer of a rollout.

    Parameters
    ----------
    found : Rollout
    layer : int
        After its start layer.
    truth : ndarray of bool, shape (n_images, n_concepts)
    scored : ndarray of bool, shape (n_concepts,)

    Returns
    -------
    dict of str to float
        `FIGURES`. Active sets are of all concepts of the layer; two empty ones agree.
    """
    labels, probabilities = found.of_layer(layer)[:2]
    both = (labels & truth).sum(axis=1)
    n_on, n_true = labels.sum(axis=1), truth.sum(axis=1)
    either = n_on + n_true - both
    empty = either == 0
    return {
        "auc": _mean(auc(probabilities[:, scored], truth[:, scored])),
        "ap": _mean(average_precision(probabilities[:, scored], truth[:, scored])),
        "prevalence": _mean(truth[:, scored].mean(axis=0)),
        "f1": _mean(np.where(empty, 1.0, 2 * both / np.maximum(n_on + n_true, 1))),
        "jaccard": _mean(np.where(empty, 1.0, both / np.maximum(either, 1))),
        "n_active": _mean(n_on),
        "n_active_true": _mean(n_true),
        "n_scored": float(scored.sum()),
    }


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _rollout_table(
    keys: Sequence[tuple[int, str, str]], found: list[Arrays], n_layers: int
) -> pa.Table:
    rows = []
    of = dict(zip(keys, found, strict=True))
    for (start, rule, probability), figures in of.items():
        for layer in range(start + 1, n_layers + 1):
            # Forced: the first step of the rollout that starts in the layer before.
            sources = (
                (False, figures, layer - start - 1),
                (True, of[layer - 1, rule, probability], 0),
            )
            for forced, values, place in sources:
                row = {name: values[name][place] for name in FIGURES}
                row |= {"start": start, "layer": layer, "rule": rule, "probability": probability}
                rows.append(row | {"forced": forced, "n_scored": int(row["n_scored"])})
    return pa.Table.from_pylist(rows, schema=ROLLOUT_SCHEMA)


def _decoded_table(
    bench: Workbench,
    keys: Sequence[tuple[int, str, str]],
    found: list[Arrays],
    places: np.ndarray,
) -> pa.Table:
    try:
        decoding = Decoding.prepare(bench, places)
    except (ImageError, ModelError):
        return DECODED_SCHEMA.empty_table()
    study = bench.study
    truth = study.codes(study.n_layers).dense_labels(study.rows(HELD_OUT)[places])
    entries = [((0, TRUE_LABELS, ""), truth), ((0, MEAN_TOKEN, ""), None)]
    entries += [(key, values["passed"]) for key, values in zip(keys, found, strict=True)]
    rows = [
        {
            **dict(zip(("start", "rule", "probability"), key, strict=True)),
            **decoding.figures(labels),
            "n_images": len(places),
            "decoder": "" if labels is None else decoding.decoder.name,
        }
        for key, labels in entries
    ]
    return pa.Table.from_pylist(rows, schema=DECODED_SCHEMA)
