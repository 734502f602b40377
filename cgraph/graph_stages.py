"""The stages that build and measure the graph, as functions of blocks of concepts.

Same rules as in `cgraph.stages`: one call, one thread, files of its own.
"""

from __future__ import annotations

import json
from typing import Any

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
from cgraph.predictor import InputRows, Predictors, SparseInputs, calibrate
from cgraph.predictor_tables import concept_table, edge_table, predictors_of_layer
from cgraph.signals import Cloud, Signals, explained_share, surprise_of_rows
from cgraph.stages import WORK, Job, Outcome, codes_of, dictionary_of, split_of, tokens_of
from cgraph.store import read_table, read_tensors, write_table, write_tensors

MIN_BLOCK = 64
"""Fewest concepts fitted by one call."""

MAX_BLOCKS = 16
"""Most calls for one layer: each reads the codes anew, which takes as long as some dozen fits."""

_ROWS = 1024  # rows whose pre-activations are dense at a time


class PreActivationInputs:
    """Pre-activations of a layer as inputs, computed for the rows that are asked for.

    Parameters
    ----------
    tokens : ndarray of float32, shape (n_samples, d_model)
    dictionary : Dictionary
    scale : float
        Divides every pre-activation.
    """

    def __init__(self, tokens: np.ndarray, dictionary: Dictionary, scale: float) -> None:
        self._tokens, self._dictionary, self._scale = tokens, dictionary, scale
        self.n_samples, self.n_features = len(tokens), dictionary.n_atoms

    def rows(self, rows: np.ndarray) -> sparse.csr_array:
        """Return the inputs of some samples."""
        parts = [
            sparse.csr_array(
                self._dictionary.pre_activations(self._tokens[rows[start : start + _ROWS]])
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
    train = np.flatnonzero(split_of(job) == TRAIN)
    if job.config.predictor.inputs == "codes":
        values = codes_of(job, layer).take(train).coefficients.astype(np.float64)
        return Outcome((), {"scale": float(np.sqrt((values**2).sum() / max(1, len(values))))})
    dictionary, total = dictionary_of(job, layer), 0.0
    tokens = tokens_of(job, layer, train)
    for start in range(0, len(tokens), _ROWS):
        pre = dictionary.pre_activations(tokens[start : start + _ROWS])
        total += float((pre.astype(np.float64) ** 2).sum())
    return Outcome((), {"scale": float(np.sqrt(total / (len(tokens) * dictionary.n_atoms)))})


def inputs_of(job: Job, layer: int, rows: np.ndarray) -> InputRows:
    """Return the predictor inputs that a layer gives for some images."""
    scale = job.input_scales[layer - 1]
    if job.config.predictor.inputs == "pre-activations":
        return PreActivationInputs(tokens_of(job, layer, rows), dictionary_of(job, layer), scale)
    binary = job.config.predictor.inputs == "labels"
    return SparseInputs(codes_of(job, layer).take(rows), binary=binary, scale=scale)


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
    train, tune = np.flatnonzero(split == TRAIN), np.flatnonzero(split == TUNE)
    codes = codes_of(job, layer)
    size = block_size(codes.n_atoms)
    children = np.arange(block * size, min((block + 1) * size, codes.n_atoms))
    config = job.config.predictor
    predictors = fit_predictors(
        inputs_of(job, layer - 1, train),
        codes.take(train),
        children,
        config,
        entropy=(job.config.seed, layer),
    )
    predictors = calibrate(
        predictors, inputs_of(job, layer - 1, tune), codes.take(tune), config.threshold
    )
    counts = {part: codes.take(np.flatnonzero(split == part)).counts() for part in SPLIT_SHARES}
    own = {part: values[children] for part, values in counts.items()}
    concepts = concept_table(layer, own, len(train), predictors, first=int(children[0]))
    write_table(job.folder / _work_table("edges", layer, block), edge_table(predictors, layer))
    write_table(job.folder / _work_table("concepts", layer, block), concepts)
    return Outcome((_work_table("edges", layer, block), _work_table("concepts", layer, block)))


def join_graph(job: Job, blocks: list[tuple[int, int]]) -> Outcome:
    """Join the blocks of all layers into the two tables of the graph."""
    split = split_of(job)
    codes = codes_of(job, 1)
    counts = {part: codes.take(np.flatnonzero(split == part)).counts() for part in SPLIT_SHARES}
    concepts = [concept_table(1, counts, int((split == TRAIN).sum()), None)]
    edges = []
    for layer, block in sorted(blocks):
        concepts.append(read_table(job.folder / _work_table("concepts", layer, block)))
        edges.append(read_table(job.folder / _work_table("edges", layer, block)))
    write_table(job.folder / CONCEPTS, pa.concat_tables(concepts))
    write_table(job.folder / EDGES, pa.concat_tables(edges))
    inputs = {"inputs": job.config.predictor.inputs, "input_scales": list(job.input_scales)}
    return Outcome((CONCEPTS, EDGES), {"graph": inputs})


def _figures(layer: int) -> str:
    return f"{WORK}/evaluation/layer-{layer:02d}.arrow"


def _usual(layer: int) -> str:
    return f"{WORK}/evaluation/usual-{layer:02d}.safetensors"


def evaluate_layer(job: Job, layer: int) -> Outcome:
    """Measure one layer on held-out images: its dictionary and, from layer 2, its predictors."""
    split = split_of(job)
    train, held_out = np.flatnonzero(split == TRAIN), np.flatnonzero(split == HELD_OUT)
    codes = codes_of(job, layer)
    dictionary = dictionary_of(job, layer)
    variance = ExplainedVariance(tokens_of(job, layer, train).mean(axis=0, dtype=np.float64))
    variance.add(tokens_of(job, layer, held_out), dictionary.decode(codes.take(held_out)))
    cloud = Cloud.fit(tokens_of(job, layer, train))
    known = dict(vars(cloud))
    for part, rows in (("tune", np.flatnonzero(split == TUNE)), ("held_out", held_out)):
        tokens, own = tokens_of(job, layer, rows), codes.take(rows)
        known[f"{part}.distance"] = cloud.distance(tokens)
        decoded = dictionary.decode(own)
        known[f"{part}.explained"] = explained_share(tokens, decoded, dictionary.mean)
        known[f"{part}.surprise"] = np.zeros(len(rows))
        if layer > 1:
            predictors = _predictors(job, layer)
            known[f"{part}.surprise"] = surprise_of_rows(
                predictors, inputs_of(job, layer - 1, rows), own
            )
    write_tensors(job.folder / _usual(layer), known)
    facts = summarise_layer(
        layer,
        train=codes.take(train),
        held_out=codes.take(held_out),
        explained_variance=variance.value,
    )
    if layer == 1:
        return Outcome((_usual(layer),), {"layer": facts})
    figures = _evaluate_predictors(job, layer, codes, dictionary, held_out, split)
    write_table(job.folder / _figures(layer), figures)
    return Outcome((_figures(layer), _usual(layer)), {"layer": facts})


def _predictors(job: Job, layer: int) -> Predictors:
    return predictors_of_layer(
        read_table(job.folder / CONCEPTS), read_table(job.folder / EDGES), layer
    )


def _evaluate_predictors(
    job: Job,
    layer: int,
    codes: Codes,
    dictionary: Dictionary,
    held_out: np.ndarray,
    split: np.ndarray,
) -> pa.Table:
    train = np.flatnonzero(split == TRAIN)
    left_codes = codes_of(job, layer - 1)
    left = dictionary_of(job, layer - 1)
    cosines = dictionary.atoms @ left.atoms.T
    cosines[:, left_codes.take(train).counts() == 0] = -1
    nearest = cosines.argmax(axis=1)
    nearest_cosine = cosines[np.arange(len(nearest)), nearest]
    tokens = tokens_of(job, layer - 1, held_out)
    return evaluate_pair(
        layer - 1,
        _predictors(job, layer),
        inputs_of(job, layer - 1, held_out),
        codes.take(held_out),
        nearest=nearest,
        nearest_cosine=nearest_cosine,
        nearest_scores=lambda right: left.pre_activations(tokens, atoms=nearest[right]),
        left_labels=left_codes.take(held_out),
        train_labels=codes.take(train),
        train_left_labels=left_codes.take(train),
    )


def _names(layer: int) -> str:
    return f"{WORK}/names/layer-{layer:02d}.arrow"


def name_layer(job: Job, layer: int) -> Outcome:
    """Name the concepts of one layer by what is known of the images."""
    split = split_of(job)
    attributes = read_table(job.folder / IMAGES).column("attributes").to_pylist()
    table = attribute_table([json.loads(text) for text in attributes])
    tune, held_out = (np.flatnonzero(split == part) for part in (TUNE, HELD_OUT))
    names = name_concepts(codes_of(job, layer), table, tune, held_out)
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
