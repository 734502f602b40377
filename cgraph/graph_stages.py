"""The stages that build and measure the graph, as functions of blocks of concepts.

Same rules as in `cgraph.stages`: one call, one thread, files of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy import sparse

from cgraph.attributes import attribute_table
from cgraph.bagging import fit_predictors
from cgraph.codes import Codes
from cgraph.config import HELD_OUT, SPLIT_SHARES, TRAIN, TUNE
from cgraph.dictionary import Dictionary
from cgraph.evaluation import LAYER_SCHEMA, evaluate_pair, summarise_layer, summarise_pairs
from cgraph.manifest import CONCEPTS, EDGES, IMAGES, NAMES, USUAL, evaluation_file
from cgraph.metrics import ExplainedVariance
from cgraph.naming import name_concepts, names_to_table
from cgraph.novelty import Usual
from cgraph.part_reading import CHUNK, StoredAttributes
from cgraph.predictor import InputRows, Predictors, SparseInputs, calibrate
from cgraph.predictor_tables import concept_table, edge_table, predictors_of_layer
from cgraph.signals import Cloud, Signals, explained_share, mean_of, surprise_of_rows
from cgraph.stages import (
    WORK,
    Job,
    Outcome,
    codes_of,
    counts_of,
    dictionary_of,
    learning_rows,
    rows_of,
    split_of,
    tokens_of,
)
from cgraph.store import read_table, read_tensors, write_table, write_tensors

MIN_BLOCK = 64
"""Fewest concepts fitted by one call."""

MAX_BLOCKS = 16
"""Most calls for one layer: each reads the codes anew, which takes as long as some dozen fits."""

_ROWS = 1024  # rows whose pre-activations are dense at a time
_ALL_ATTRIBUTES = 200_000  # images whose attributes are read, whatever part they are in
_PARTS = (TRAIN, TUNE, HELD_OUT)


class TokenRows(Protocol):
    """Tokens of one layer, given for the rows that are asked for."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the tokens of some rows, shape ``(n_rows, d_model)``."""


class PreActivationInputs:
    """Pre-activations of a layer as inputs, computed for the rows that are asked for.

    Parameters
    ----------
    tokens : TokenRows
        Of all images; those of a build stay on disk.
    images : ndarray of int
        The samples, as rows of the tokens.
    dictionary : Dictionary
    scale : float
        Divides every pre-activation.
    """

    def __init__(
        self, tokens: TokenRows, images: np.ndarray, dictionary: Dictionary, scale: float
    ) -> None:
        self._tokens, self._images = tokens, images
        self._dictionary, self._scale = dictionary, scale
        self.n_samples, self.n_features = len(images), dictionary.n_atoms

    def rows(self, rows: np.ndarray) -> sparse.csr_array:
        """Return the inputs of some samples."""
        images = self._images[rows]
        parts = [
            sparse.csr_array(
                self._dictionary.pre_activations(self._tokens.take(images[start : start + _ROWS]))
                / np.float64(self._scale)
            )
            for start in range(0, max(1, len(rows)), _ROWS)
        ]
        return sparse.vstack(parts, format="csr") if len(parts) > 1 else parts[0]


def measure_inputs(job: Job, layer: int) -> Outcome:
    """Measure the number by which real-valued inputs from a layer are divided.

    It is the root mean square over the training images, of the nonzero coefficients or of all
    pre-activations, so that one penalty means the same at every layer. Labels have scale 1.
    """
    (train,) = rows_of(job, TRAIN)
    if job.config.predictor.inputs == "codes":
        (codes,) = codes_of(job, layer, train)
        values = codes.coefficients.astype(np.float64)
        return Outcome((), {"scale": float(np.sqrt((values**2).sum() / max(1, len(values))))})
    dictionary, total = dictionary_of(job, layer), 0.0
    for tokens in tokens_of(job, layer).chunks(train, _ROWS):
        total += float((dictionary.pre_activations(tokens).astype(np.float64) ** 2).sum())
    return Outcome((), {"scale": float(np.sqrt(total / (len(train) * dictionary.n_atoms)))})


def inputs_of(job: Job, layer: int, *wanted: np.ndarray) -> list[InputRows]:
    """Return the predictor inputs that a layer gives for several choices of images."""
    scale = job.input_scales[layer - 1]
    if job.config.predictor.inputs == "pre-activations":
        tokens, dictionary = tokens_of(job, layer), dictionary_of(job, layer)
        return [PreActivationInputs(tokens, rows, dictionary, scale) for rows in wanted]
    binary = job.config.predictor.inputs == "labels"
    return [
        SparseInputs(codes, binary=binary, scale=scale) for codes in codes_of(job, layer, *wanted)
    ]


def _work_table(kind: str, layer: int, block: int) -> str:
    return f"{WORK}/graph/{kind}-{layer:02d}-{block:05d}.arrow"


def block_size(n_atoms: int) -> int:
    """Return the number of concepts of a layer that one call fits."""
    return max(MIN_BLOCK, -(-n_atoms // MAX_BLOCKS))


def n_blocks(n_atoms: int) -> int:
    """Return the number of blocks of a layer with so many concepts."""
    return -(-n_atoms // block_size(n_atoms))


def fit_block(job: Job, layer: int, block: int) -> Outcome:
    """Fit and calibrate the predictors of one block of a layer's concepts (from layer 2)."""
    split = split_of(job)
    train, tune = rows_of(job, TRAIN, TUNE, split=split)
    inputs, tune_inputs = inputs_of(job, layer - 1, train, tune)
    labels, tune_labels = codes_of(job, layer, train, tune)
    size = block_size(labels.n_atoms)
    children = np.arange(block * size, min((block + 1) * size, labels.n_atoms))
    config = job.config.predictor
    predictors = fit_predictors(inputs, labels, children, config, entropy=(job.config.seed, layer))
    predictors = calibrate(predictors, tune_inputs, tune_labels, config.threshold)
    counts = counts_of(job, layer, split)
    own = {part: of_part.active[children] for part, of_part in counts.items()}
    n_train = counts[TRAIN].n_samples
    concepts = concept_table(layer, own, n_train, predictors, first=int(children[0]))
    write_table(job.folder / _work_table("edges", layer, block), edge_table(predictors, layer))
    write_table(job.folder / _work_table("concepts", layer, block), concepts)
    return Outcome((_work_table("edges", layer, block), _work_table("concepts", layer, block)))


def join_graph(job: Job, blocks: list[tuple[int, int]]) -> Outcome:
    """Join the blocks of all layers into the two tables of the graph."""
    split = split_of(job)
    counts = counts_of(job, 1, split)
    own = {part: of_part.active for part, of_part in counts.items()}
    concepts = [concept_table(1, own, counts[TRAIN].n_samples, None)]
    edges = []
    for layer, block in sorted(blocks):
        concepts.append(read_table(job.folder / _work_table("concepts", layer, block)))
        edges.append(read_table(job.folder / _work_table("edges", layer, block)))
    write_table(job.folder / CONCEPTS, pa.concat_tables(concepts))
    write_table(job.folder / EDGES, pa.concat_tables(edges))
    facts = {"inputs": job.config.predictor.inputs, "input_scales": list(job.input_scales)}
    return Outcome((CONCEPTS, EDGES), {"graph": {**facts, **_samples(job, split)}})


def _samples(job: Job, split: np.ndarray) -> dict[str, Any]:
    """Return how many images stood for each part of the split, where it was not all of them."""
    totals = dict(zip(SPLIT_SHARES, np.bincount(split, minlength=3).tolist(), strict=True))
    taken = {
        "dictionary": dict(zip((TRAIN, TUNE), learning_rows(job, split), strict=True)),
        "predictors": dict(zip(_PARTS, rows_of(job, *_PARTS, split=split), strict=True)),
    }
    samples = {}
    for name, rows_of_parts in taken.items():
        fewer = {
            part: len(rows) for part, rows in rows_of_parts.items() if len(rows) < totals[part]
        }
        if fewer:
            samples[name] = fewer
    return {"samples": samples} if samples else {}


def _figures(layer: int) -> str:
    return f"{WORK}/evaluation/layer-{layer:02d}.arrow"


def _usual(layer: int) -> str:
    return f"{WORK}/evaluation/usual-{layer:02d}.safetensors"


def evaluate_layer(job: Job, layer: int) -> Outcome:
    """Measure one layer on held-out images: its dictionary and, from layer 2, its predictors."""
    split = split_of(job)
    train, tune, held_out = rows_of(job, TRAIN, TUNE, HELD_OUT, split=split)
    learned, _ = learning_rows(job, split)
    codes = dict(zip(_PARTS, codes_of(job, layer, train, tune, held_out), strict=True))
    dictionary, tokens = dictionary_of(job, layer), tokens_of(job, layer)
    cloud = Cloud.fit_chunks(lambda: tokens.chunks(learned))
    variance = ExplainedVariance(mean_of(lambda: tokens.chunks(learned))[1])
    inputs: dict[str, InputRows] = {}
    if layer > 1:
        of_parts = inputs_of(job, layer - 1, tune, held_out)
        inputs = dict(zip((TUNE, HELD_OUT), of_parts, strict=True))
    known = dict(vars(cloud))
    for part, rows in ((TUNE, tune), (HELD_OUT, held_out)):
        found = [
            _fit_of(chunk, dictionary, own, cloud, variance if part == HELD_OUT else None)
            for chunk, own in zip(tokens.chunks(rows), _chunks(codes[part]), strict=True)
        ]
        name = part.replace("-", "_")
        known[f"{name}.distance"] = np.concatenate([np.empty(0), *(pair[0] for pair in found)])
        known[f"{name}.explained"] = np.concatenate([np.empty(0), *(pair[1] for pair in found)])
        known[f"{name}.surprise"] = (
            surprise_of_rows(_predictors(job, layer), inputs[part], codes[part])
            if layer > 1
            else np.zeros(len(rows))
        )
    write_tensors(job.folder / _usual(layer), known)
    counts = counts_of(job, layer, split)
    facts = summarise_layer(
        layer,
        train=counts[TRAIN],
        held_out=counts[HELD_OUT],
        explained_variance=variance.value,
    )
    if layer == 1:
        return Outcome((_usual(layer),), {"layer": facts})
    figures = _evaluate_predictors(job, layer, codes, dictionary, inputs[HELD_OUT], train, held_out)
    write_table(job.folder / _figures(layer), figures)
    return Outcome((_figures(layer), _usual(layer)), {"layer": facts})


def _chunks(codes: Codes) -> Iterator[Codes]:
    for start in range(0, codes.n_samples, CHUNK):
        yield codes.take(np.arange(start, min(start + CHUNK, codes.n_samples)))


def _fit_of(
    tokens: np.ndarray,
    dictionary: Dictionary,
    codes: Codes,
    cloud: Cloud,
    variance: ExplainedVariance | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far tokens lie from the cloud, and the share of each that its code explains."""
    decoded = dictionary.decode(codes)
    if variance is not None:
        variance.add(tokens, decoded)
    return cloud.distance(tokens), explained_share(tokens, decoded, dictionary.mean)


def _predictors(job: Job, layer: int) -> Predictors:
    return predictors_of_layer(
        read_table(job.folder / CONCEPTS), read_table(job.folder / EDGES), layer
    )


def _evaluate_predictors(
    job: Job,
    layer: int,
    codes: dict[str, Codes],
    dictionary: Dictionary,
    inputs: InputRows,
    train: np.ndarray,
    held_out: np.ndarray,
) -> pa.Table:
    train_left, left_labels = codes_of(job, layer - 1, train, held_out)
    left = dictionary_of(job, layer - 1)
    cosines = dictionary.atoms @ left.atoms.T
    cosines[:, train_left.counts() == 0] = -1
    nearest = cosines.argmax(axis=1)
    nearest_cosine = cosines[np.arange(len(nearest)), nearest]
    tokens = tokens_of(job, layer - 1)

    def nearest_scores(right: np.ndarray) -> np.ndarray:
        scores = [
            left.pre_activations(chunk, atoms=nearest[right]) for chunk in tokens.chunks(held_out)
        ]
        return np.concatenate(scores)

    return evaluate_pair(
        layer - 1,
        _predictors(job, layer),
        inputs,
        codes[HELD_OUT],
        nearest=nearest,
        nearest_cosine=nearest_cosine,
        nearest_scores=nearest_scores,
        left_labels=left_labels,
        train_labels=codes[TRAIN],
        train_left_labels=train_left,
    )


def _names(layer: int) -> str:
    return f"{WORK}/names/layer-{layer:02d}.arrow"


def name_layer(job: Job, layer: int) -> Outcome:
    """Name the concepts of one layer by what is known of the images."""
    split = split_of(job)
    tune, held_out = rows_of(job, TUNE, HELD_OUT, split=split)
    # Values count by how many of all images have them; of very many, of those that are sampled.
    rows = np.arange(len(split))
    if len(rows) > _ALL_ATTRIBUTES:
        rows = np.sort(np.concatenate([tune, held_out]))
    table = attribute_table(StoredAttributes(job.folder / IMAGES, rows))
    (codes,) = codes_of(job, layer, rows)
    tune, held_out = np.searchsorted(rows, tune), np.searchsorted(rows, held_out)
    names = name_concepts(codes, table, tune, held_out)
    write_table(job.folder / _names(layer), names_to_table(layer, names))
    return Outcome((_names(layer),))


def join_names(job: Job) -> Outcome:
    """Write the names of all layers into one table."""
    layers = range(1, job.n_layers + 1)
    tables = [read_table(job.folder / _names(layer)) for layer in layers]
    write_table(job.folder / NAMES, pa.concat_tables(tables))
    return Outcome((NAMES,))


def join_evaluation(job: Job, facts: list[dict[str, Any]]) -> Outcome:
    """Join the figures of all layers and average them over the scored concepts of each pair."""
    figures = pa.concat_tables(
        [read_table(job.folder / _figures(layer)) for layer in range(2, job.n_layers + 1)]
    )
    layers = sorted((fact["layer"] for fact in facts), key=lambda fact: fact["layer"])
    pairs = summarise_pairs(figures, read_table(job.folder / CONCEPTS))
    write_table(job.folder / evaluation_file("concepts"), figures)
    write_table(
        job.folder / evaluation_file("layers"), pa.Table.from_pylist(layers, schema=LAYER_SCHEMA)
    )
    write_table(job.folder / evaluation_file("pairs"), pairs)
    known = [read_tensors(job.folder / _usual(layer)) for layer in range(1, job.n_layers + 1)]
    clouds = [Cloud(k["mean"], k["directions"], k["deviations"]) for k in known]
    tune, held_out = (
        Signals(
            *(
                np.stack([k[f"{part}.{name}"] for k in known])
                for name in ("distance", "explained", "surprise")
            )
        )
        for part in ("tune", "held_out")
    )
    usual = Usual.measure(clouds, tune, held_out)
    write_tensors(job.folder / USUAL, usual.to_tensors())
    return Outcome((USUAL, *(evaluation_file(name) for name in ("concepts", "layers", "pairs"))))
