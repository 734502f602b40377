"""What a layer gives a model to read: labels or tokens of each part of the images, and figures.

Models are fitted on training images, choose on tune images, and are judged on held-out images over
the scored concepts of a layer. Of many images a seeded sample is taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgraph.codes import Codes
from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.dense_logistic import fit_dense_logistic_path
from cgraph.errors import ImageError, ModelError
from cgraph.metrics import auc, average_precision
from cgraph.row_samples import rows_of_part
from cgraph.store import read_tensors, write_tensors
from cgraph.study import Study
from cgraph.workbench import WORKING, Source, Workbench

PARTS = (TRAIN, TUNE, HELD_OUT)

MAX_IMAGES = {TRAIN: 20_000, TUNE: 10_000, HELD_OUT: 20_000}
"""Most images of each part; a seeded sample beyond."""

_TOKENS = "readout-tokens"


def rows_of(study: Study, seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each part that references are fitted, chosen and judged on."""
    numbers = np.select([study.split == part for part in PARTS], range(len(PARTS)), len(PARTS))
    return {
        part: rows_of_part(numbers.astype(np.uint8), place, MAX_IMAGES[part], (seed, place))
        for place, part in enumerate(PARTS)
    }


def scored_concepts(study: Study, layer: int, seed: int) -> np.ndarray:
    """Return the indices of the scored concepts of a layer that can be fitted on the sample.

    In a sample of many images a rare concept may have fewer positives than a predictor takes.
    """
    scored = np.flatnonzero(study.graph.column(layer, "scored"))
    labels = study.codes(layer).take(rows_of(study, seed)[TRAIN])
    counts, least = labels.counts()[scored], max(1, study.config.predictor.min_positives)
    return scored[(counts >= least) & (counts < labels.n_samples)]


def codes_of_parts(study: Study, layer: int, seed: int) -> dict[str, Codes]:
    """Return the codes of a layer for the images of each part."""
    codes = study.codes(layer)
    return {part: codes.take(rows) for part, rows in rows_of(study, seed).items()}


def figures_of(scores: np.ndarray, labels: Codes, scored: np.ndarray) -> np.ndarray:
    """Return AUC and average precision of each scored concept, shape (2, n_scored)."""
    truth = labels.to_csr(binary=True).tocsc()[:, scored]
    return np.array([auc(scores, truth), average_precision(scores, truth)])


def dense_figures(study: Study, inputs: dict[str, np.ndarray], layer: int, seed: int) -> np.ndarray:
    """Judge dense logistic models of a layer's concepts, with the penalty that suits tune images.

    Parameters
    ----------
    study : Study
    inputs : dict of str to ndarray, shape (n_images, n_features)
        Of each part.
    layer : int
        Whose concepts.
    seed : int

    Returns
    -------
    ndarray of float64, shape (2, n_scored)
        As `figures_of`.
    """
    labels, scored = codes_of_parts(study, layer, seed), scored_concepts(study, layer, seed)
    train, tune = (labels[part].dense_labels()[:, scored] for part in (TRAIN, TUNE))
    fits = fit_dense_logistic_path(inputs[TRAIN], train, inputs[TUNE], tune)
    return figures_of(fits.decision(inputs[HELD_OUT]), labels[HELD_OUT], scored)


def tokens_written(bench: Workbench) -> bool:
    """Write the tokens of every layer for the workers; false where there can be none."""
    study = bench.study
    rows = rows_of(study, bench.seed)
    places = {part: np.searchsorted(study.rows(part), own) for part, own in rows.items()}
    try:
        for layer in range(1, study.n_layers):
            path = _token_file(study.path, layer)
            if not path.is_file():
                tokens = {p: bench.tokens(p, layer)[places[p]] for p in PARTS}
                write_tensors(path, tokens)
    except (ImageError, ModelError):
        return False
    return True


def _token_file(folder: Path, layer: int) -> Path:
    return folder / WORKING / _TOKENS / f"layer-{layer:03d}.safetensors"


def standard_tokens(source: Source, layer: int) -> dict[str, np.ndarray]:
    """Return the tokens that `tokens_written` wrote, each number with mean 0 and deviation 1."""
    tokens = raw_tokens(source, layer)
    mean, spread = (getattr(tokens[TRAIN], f)(axis=0, dtype=np.float64) for f in ("mean", "std"))
    spread[spread == 0] = 1
    return {part: (own - mean) / spread for part, own in tokens.items()}


def raw_tokens(source: Source, layer: int) -> dict[str, np.ndarray]:
    """Return the tokens that `tokens_written` wrote, of each part."""
    return read_tensors(_token_file(source.study.path, layer))
