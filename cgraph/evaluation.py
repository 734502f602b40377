"""Held-out figures of every predicted concept, and their averages for pairs of layers.

Everything here is measured on held-out images, except where a name says train. A concept is
*scored* when it has enough positives to be judged and is not active nearly everywhere
(`scored_mask`); averages are over scored concepts and come with how many there were, of how many
alive, of how many. What could not be computed is NaN for a concept and null in the averages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cgraph.codes import CodeCounts, Codes
from cgraph.config import MAX_SCORED_PREVALENCE, MIN_HELD_OUT_POSITIVES, MIN_TRAIN_POSITIVES
from cgraph.errors import DataError
from cgraph.metrics import (
    F1_ALL_POSITIVE,
    Figures,
    auc,
    average_precision,
    f1_balanced,
    f1_natural,
)

if TYPE_CHECKING:
    from scipy import sparse

    from cgraph.predictor import InputRows, Predictors

ScoreSource: TypeAlias = "NDArray[Any] | Callable[[NDArray[np.intp]], NDArray[Any]]"

FIGURE_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("prevalence", pa.float64()),
        ("auc", pa.float64()),
        ("ap", pa.float64()),
        ("f1_balanced", pa.float64()),
        ("f1_natural", pa.float64()),
        ("n_parents", pa.int32()),
        ("auc_best_parent", pa.float64()),
        ("auc_nearest", pa.float64()),
        ("nearest", pa.int32()),
        ("nearest_cosine", pa.float64()),
    ]
)
"""Columns of ``evaluation/concepts.arrow``, sorted by (layer, index), from layer 2 on."""

PAIR_SCHEMA = pa.schema(
    [
        ("left", pa.int16()),
        ("right", pa.int16()),
        ("auc_mean", pa.float64()),
        ("auc_std", pa.float64()),
        ("auc_median", pa.float64()),
        ("ap_mean", pa.float64()),
        ("prevalence_mean", pa.float64()),
        ("f1_balanced_mean", pa.float64()),
        ("f1_balanced_std", pa.float64()),
        ("f1_balanced_median", pa.float64()),
        ("f1_balanced_all_positive", pa.float64()),
        ("f1_natural_mean", pa.float64()),
        ("parents_mean", pa.float64()),
        ("parents_median", pa.float64()),
        ("parents_max", pa.int32()),
        ("auc_best_parent_mean", pa.float64()),
        ("auc_nearest_mean", pa.float64()),
        ("n_scored", pa.int32()),
        ("n_alive", pa.int32()),
        ("n_concepts", pa.int32()),
        ("n_unconverged", pa.int32()),
    ]
)
"""Columns of ``evaluation/pairs.arrow``, one row for each pair of adjacent layers."""

LAYER_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("explained_variance", pa.float64()),
        ("nonzeros_mean", pa.float64()),
        ("n_concepts", pa.int32()),
        ("n_dead", pa.int32()),
        ("n_rare", pa.int32()),
        ("max_prevalence", pa.float64()),
        ("minority_sign_share", pa.float64()),
        ("median_positives", pa.float64()),
    ]
)
"""Columns of ``evaluation/layers.arrow``, one row for each layer."""

# Concepts whose scores, or counts with all left concepts, are dense at a time; bounds memory.
_CONCEPTS_AT_ONCE = 256


def scored_mask(
    n_train: NDArray[Any], n_held_out: NDArray[Any], n_train_images: int, fitted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which concepts have figures that averages may be taken over.

    Those with a predictor, at least `MIN_TRAIN_POSITIVES` and `MIN_HELD_OUT_POSITIVES` positives
    and a training prevalence below `MAX_SCORED_PREVALENCE`.

    Parameters
    ----------
    n_train, n_held_out : ndarray of int, shape (n_concepts,)
        Training and held-out images in which each concept is active.
    n_train_images : int
    fitted : ndarray of bool, shape (n_concepts,)
        Whether it has a predictor.

    Returns
    -------
    ndarray of bool, shape (n_concepts,)
    """
    enough = (n_train >= MIN_TRAIN_POSITIVES) & (n_held_out >= MIN_HELD_OUT_POSITIVES)
    return enough & (n_train / max(1, n_train_images) < MAX_SCORED_PREVALENCE) & fitted


def evaluate_pair(
    left_layer: int,
    predictors: Predictors,
    inputs: InputRows,
    labels: Codes,
    *,
    nearest: NDArray[Any],
    nearest_cosine: NDArray[Any],
    nearest_scores: ScoreSource,
    left_labels: Codes,
    train_labels: Codes,
    train_left_labels: Codes,
    kind: str = "class",
) -> pa.Table:
    """Measure every predictor of a layer, and two baselines, on held-out images.

    Parameters
    ----------
    left_layer : int
        Layer of the parents, 1..L-1; the predicted concepts are those of the next layer.
    predictors : Predictors
        Predictors of the right layer's concepts.
    inputs : InputRows
        Their inputs for the held-out images.
    labels, left_labels : Codes
        Right and left codes of the same held-out images, in the same order.
    nearest : ndarray of int, shape (n_concepts,)
        Left atom with the largest cosine to each right atom.
    nearest_cosine : ndarray of float, shape (n_concepts,)
        That cosine, in [-1, 1].
    nearest_scores : ndarray of shape (n_samples, n_concepts), or callable
        Pre-activations of the nearest left atom of each right concept for the held-out images; a
        callable gets indices of right concepts and returns these columns.
    train_labels, train_left_labels : Codes
        Right and left codes of the training images. On them the best single parent is chosen.
    kind : str
        Kind of the right layer's concepts.

    Returns
    -------
    pyarrow.Table
        Columns of `FIGURE_SCHEMA`, one row for each right concept by rising index. `prevalence`
        is the held-out one, which `ap` is to be read beside. Figures are NaN where there is no
        predictor or the class they need is missing among the held-out images.

    Raises
    ------
    DataError
        If the arguments do not have the same images or concepts.
    """
    n_concepts = labels.n_atoms
    _check_shapes(labels, left_labels, train_labels, train_left_labels)
    for name, values in (("nearest", nearest), ("nearest_cosine", nearest_cosine)):
        if np.shape(values) != (n_concepts,):
            raise DataError(
                f"{name} has the shape {np.shape(values)}, and the right layer {n_concepts} "
                "concepts. Give one value for each of them."
            )
    truth = labels.to_csr(binary=True).tocsc()
    children = np.asarray(predictors.children)
    fitted = np.flatnonzero(predictors.fitted)
    blocks = [np.full((4, 0), np.nan)]
    for start in range(0, len(fitted), _CONCEPTS_AT_ONCE):
        block = predictors.take(fitted[start : start + _CONCEPTS_AT_ONCE])
        scores, of_block = block.decision(inputs), truth[:, block.children]
        figures = [figure(scores, of_block) for figure in (auc, average_precision, f1_balanced)]
        blocks.append(np.array([*figures, f1_natural(block.labels_of(scores), of_block)]))
    areas, precisions, balanced, natural = np.concatenate(blocks, axis=1)

    def placed(of_fitted: Figures) -> Figures:
        values = np.full(n_concepts, np.nan)
        values[children[fitted]] = of_fitted
        return values

    n_parents = np.zeros(n_concepts, dtype=np.int32)
    n_parents[children] = np.diff(predictors.offsets)
    every = np.arange(n_concepts)
    columns = {
        "kind": [kind] * n_concepts,
        "layer": np.full(n_concepts, left_layer + 1),
        "index": every,
        "prevalence": _shares(labels),
        "auc": placed(areas),
        "ap": placed(precisions),
        "f1_balanced": placed(balanced),
        "f1_natural": placed(natural),
        "n_parents": n_parents,
        "auc_best_parent": _best_parent_auc(train_left_labels, train_labels, left_labels, labels),
        "auc_nearest": _by_blocks(auc, nearest_scores, every, truth),
        "nearest": np.asarray(nearest),
        "nearest_cosine": np.asarray(nearest_cosine, dtype=np.float64),
    }
    return pa.table(columns).cast(FIGURE_SCHEMA)


def summarise_pairs(figures: pa.Table, concepts: pa.Table) -> pa.Table:
    """Average the figures of each pair of layers over its scored concepts.

    Parameters
    ----------
    figures : pyarrow.Table
        Columns of `FIGURE_SCHEMA`, sorted by (layer, index): the tables of `evaluate_pair` joined.
    concepts : pyarrow.Table
        The graph's concepts of at least these layers, sorted in the same way. Of its columns,
        layer, index, alive, scored, fitted and converged are used.

    Returns
    -------
    pyarrow.Table
        Columns of `PAIR_SCHEMA`, by rising layer. Standard deviations are over the concepts
        (divided by their number). Means, medians and maxima are null when no concept was scored.
        `n_unconverged` counts predictors that stopped early, scored or not.

    Raises
    ------
    DataError
        If the two tables do not hold the same concepts.
    """
    of_figures = _columns(figures)
    of_concepts = _columns(
        concepts.select(["layer", "index", "alive", "scored", "fitted", "converged"])
    )
    rows = []
    for right in np.unique(of_figures["layer"]):
        figure = {n: v[of_figures["layer"] == right] for n, v in of_figures.items()}
        concept = {n: v[of_concepts["layer"] == right] for n, v in of_concepts.items()}
        if not np.array_equal(figure["index"], concept["index"]):
            raise DataError(
                f"The figures of layer {right} and the graph do not hold the same concepts. "
                "Evaluate the graph again."
            )
        rows.append(_summarise_pair(int(right), figure, concept))
    return pa.Table.from_pylist(rows, schema=PAIR_SCHEMA)


def summarise_layer(
    layer: int, train: Codes | CodeCounts, held_out: Codes | CodeCounts, explained_variance: float
) -> dict[str, Any]:
    """Describe the codes of one layer.

    Parameters
    ----------
    layer : int
    train, held_out : Codes or CodeCounts
        Codes of the training and of the held-out images, or what was counted of them.
    explained_variance : float
        Share of the held-out tokens' variance that their codes explain.

    Returns
    -------
    dict
        The columns of `LAYER_SCHEMA`. On held-out images: `explained_variance` and
        `nonzeros_mean`, the active concepts of an image. On training images: `n_dead` concepts
        never active; `n_rare` active in fewer than `MIN_TRAIN_POSITIVES`, the dead included;
        `max_prevalence`; `median_positives` of all concepts, to be a few hundred;
        `minority_sign_share`, the share of uses with the sign that their concept has less often,
        in [0, .5] and 0 for non-negative codes. None where there are no images.
    """
    learned, judged = (
        codes if isinstance(codes, CodeCounts) else CodeCounts.of(codes)
        for codes in (train, held_out)
    )
    counts, n_images = learned.active, judged.n_samples
    minority = np.minimum(learned.positive, counts - learned.positive).sum()
    return {
        "layer": layer,
        "explained_variance": _reduced(np.mean, np.array([explained_variance])),
        "nonzeros_mean": float(judged.active.sum() / n_images) if n_images else None,
        "n_concepts": len(counts),
        "n_dead": int((counts == 0).sum()),
        "n_rare": int((counts < MIN_TRAIN_POSITIVES).sum()),
        "max_prevalence": _reduced(np.max, counts / (learned.n_samples or np.nan)),
        "minority_sign_share": float(minority / max(1, counts.sum())),
        "median_positives": _reduced(np.median, counts),
    }


def _summarise_pair(
    right: int, figure: dict[str, NDArray[Any]], concept: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    scored = {name: values[concept["scored"]] for name, values in figure.items()}
    return {
        "left": right - 1,
        "right": right,
        "auc_mean": _reduced(np.mean, scored["auc"]),
        "auc_std": _reduced(np.std, scored["auc"]),
        "auc_median": _reduced(np.median, scored["auc"]),
        "ap_mean": _reduced(np.mean, scored["ap"]),
        "prevalence_mean": _reduced(np.mean, scored["prevalence"]),
        "f1_balanced_mean": _reduced(np.mean, scored["f1_balanced"]),
        "f1_balanced_std": _reduced(np.std, scored["f1_balanced"]),
        "f1_balanced_median": _reduced(np.median, scored["f1_balanced"]),
        "f1_balanced_all_positive": F1_ALL_POSITIVE,
        "f1_natural_mean": _reduced(np.mean, scored["f1_natural"]),
        "parents_mean": _reduced(np.mean, scored["n_parents"]),
        "parents_median": _reduced(np.median, scored["n_parents"]),
        "parents_max": _reduced(np.max, scored["n_parents"]),
        "auc_best_parent_mean": _reduced(np.mean, scored["auc_best_parent"]),
        "auc_nearest_mean": _reduced(np.mean, scored["auc_nearest"]),
        "n_scored": int(concept["scored"].sum()),
        "n_alive": int(concept["alive"].sum()),
        "n_concepts": len(concept["index"]),
        "n_unconverged": int((concept["fitted"] & ~concept["converged"]).sum()),
    }


def _reduced(function: Callable[..., Any], values: NDArray[Any]) -> float | int | None:
    """Apply a function to the defined values; None where there is none."""
    values = values[np.isfinite(values)]
    return function(values).item() if len(values) else None


def _by_blocks(
    figure: Callable[..., Figures],
    scores: ScoreSource,
    columns: NDArray[np.intp],
    truth: sparse.csc_array,
) -> Figures:
    """Apply a metric to some columns of the scores, of which `truth` holds the labels."""
    figures = np.full(len(columns), np.nan)
    for start in range(0, len(columns), _CONCEPTS_AT_ONCE):
        block = slice(start, start + _CONCEPTS_AT_ONCE)
        values = scores(columns[block]) if callable(scores) else scores[:, columns[block]]
        figures[block] = figure(values, truth[:, block])
    return figures


def _best_parent_auc(
    train_left: Codes, train_right: Codes, held_out_left: Codes, held_out_right: Codes
) -> Figures:
    """AUC of the left label that separates each right concept best on the training images.

    A label alone has the area .5 + (TPR − FPR) / 2, and TPR − FPR = (n · both − left · right) / PN
    of the numbers of images with both labels and with each. Ties go to the lower index.
    """
    left, right = train_left.to_csr(binary=True).T.tocsr(), train_right.to_csr(binary=True).tocsc()
    n_left, n_right = train_left.counts(), train_right.counts()
    best = np.zeros(train_right.n_atoms, dtype=np.intp)
    for start in range(0, train_right.n_atoms, _CONCEPTS_AT_ONCE):
        block = slice(start, start + _CONCEPTS_AT_ONCE)
        # Whole numbers, so that ties are exact.
        both = (left @ right[:, block]).toarray().astype(np.int64)
        both *= train_right.n_samples
        best[block] = (both - n_left[:, None] * n_right[block]).argmax(axis=0)
    chosen = held_out_left.to_csr(binary=True).tocsc()[:, best]
    both = chosen.multiply(held_out_right.to_csr(binary=True).tocsc()).sum(axis=0)
    n_samples, n_pos = held_out_right.n_samples, held_out_right.counts()
    covariance = n_samples * both.astype(np.int64) - held_out_left.counts()[best] * n_pos
    known = (n_right > 0) & (n_right < train_right.n_samples) & (n_pos > 0) & (n_pos < n_samples)
    areas = np.full(len(best), np.nan)
    np.divide(covariance, 2 * n_pos * (n_samples - n_pos), out=areas, where=known)
    return areas + 0.5


def _shares(codes: Codes) -> Figures:
    """Return the share of the rows in which each atom is active, NaN if there are no rows."""
    return codes.counts() / (codes.n_samples or np.nan)


def _columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    return {name: table[name].to_numpy() for name in table.column_names}


def _check_shapes(right: Codes, left: Codes, train_right: Codes, train_left: Codes) -> None:
    if (right.n_samples, train_right.n_samples) != (left.n_samples, train_left.n_samples):
        raise DataError(
            f"The right layer has codes of {train_right.n_samples} training and "
            f"{right.n_samples} held-out images, the left one of {train_left.n_samples} and "
            f"{left.n_samples}. Pass the same images of both layers."
        )
    if (right.n_atoms, left.n_atoms) != (train_right.n_atoms, train_left.n_atoms):
        raise DataError(
            f"The training codes have {train_left.n_atoms} left and {train_right.n_atoms} right "
            f"concepts, the held-out codes {left.n_atoms} and {right.n_atoms}. Pass codes of the "
            "same two layers."
        )
