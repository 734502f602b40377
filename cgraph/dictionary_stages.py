"""The stage that learns the dictionaries, as functions of layers.

Same rules as in `cgraph.stages`: one call, one thread, files of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cgraph.attributes import MIN_IMAGES, AttributeTable, attribute_table
from cgraph.config import IMPORTED, BuildConfig
from cgraph.dictionary import Dictionary, layer_prefix
from cgraph.errors import DataError
from cgraph.imported import imported_dictionary
from cgraph.manifest import DICTIONARIES, IMAGES, evaluation_file
from cgraph.metrics import matthews
from cgraph.part_reading import StoredAttributes
from cgraph.preparation import Preparation
from cgraph.stages import WORK, Job, Outcome, learning_rows, split_of, tokens_of
from cgraph.store import read_tensors, write_table, write_tensors

if TYPE_CHECKING:
    from cgraph.sae_base import SparseAutoencoder

TRAINING_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("n_steps", pa.int64()),
        ("stopped_because", pa.string()),
        ("start", pa.int16()),
        ("match", pa.float64()),
    ]
)
"""Columns of ``evaluation/training.arrow``: which of the starts was kept, and how well its concepts
stand for attribute values on tune images."""


def _work_dictionary(layer: int) -> str:
    return f"{WORK}/dictionary/layer-{layer:02d}.safetensors"


def learn_dictionary(job: Job, layer: int) -> Outcome:
    """Learn the dictionary of one layer on the training tokens, or on a sample of them.

    One that was made elsewhere is taken over.
    """
    if job.config.dictionary.method == IMPORTED:
        dictionary = imported_dictionary(job, layer)
        write_tensors(job.folder / _work_dictionary(layer), dictionary.to_tensors())
        nothing = {"n_steps": 0, "stopped_because": "imported", "start": 0, "match": None}
        return Outcome((_work_dictionary(layer),), {"layer": layer, **nothing})
    train_rows, tune_rows = learning_rows(job, split_of(job))
    tokens = tokens_of(job, layer)
    train, tune = tokens.take(train_rows), tokens.take(tune_rows)
    known = None
    if job.config.dictionary.starts > 1:
        known = attribute_table(StoredAttributes(job.folder / IMAGES, tune_rows), MIN_IMAGES // 2)
    dictionary, facts = learn(train, tune, layer, job.config, known)
    write_tensors(job.folder / _work_dictionary(layer), dictionary.to_tensors())
    return Outcome((_work_dictionary(layer),), {"layer": layer, **facts})


def learn(
    train: np.ndarray,
    tune: np.ndarray,
    layer: int,
    config: BuildConfig,
    known: AttributeTable | None,
) -> tuple[Dictionary, dict[str, Any]]:
    """Learn a dictionary from tokens.

    Parameters
    ----------
    train, tune : ndarray of float32, shape (n, d_model)
    layer : int
        Goes into the seed, beside that of the settings.
    config : BuildConfig
    known : AttributeTable or None
        What is known of the tune images; asked only if there is more than one start.

    Returns
    -------
    dictionary : Dictionary
    facts : dict
        Columns of `TRAINING_SCHEMA` but for the layer.

    Raises
    ------
    DataError
        If there are fewer training tokens than atoms, or nothing to choose among starts by.
    """
    settings = config.dictionary
    n_atoms = settings.n_atoms or 4 * train.shape[1]
    if n_atoms > len(train):
        raise DataError(
            f"n_atoms is {n_atoms}, and only {len(train)} images are left for training: a "
            "dictionary needs at least one for each atom. Run the same command with a lower "
            "--n-atoms: finished work is kept."
        )
    if settings.starts > 1 and not (known and known.columns):
        raise DataError(
            f"starts is {settings.starts}, and no attribute value is shared by "
            f"{MIN_IMAGES // 2} of {len(tune)} tune images, so nothing says which "
            "dictionary is the best. Run the same command with starts set to 1."
        )
    preparation = Preparation.fit(
        train,
        center=settings.center,
        whiten=settings.whiten,
        strength=settings.whiten_strength,
    )
    found = []
    seeds = np.random.SeedSequence([config.seed, layer]).generate_state(settings.starts)
    for start, seed in enumerate(seeds.tolist()):
        dictionary, facts = _fit(settings.method, preparation, train, tune, n_atoms, config, seed)
        facts["start"] = start
        facts["match"] = _match(dictionary, tune, known) if known is not None else None
        found.append((facts["match"] or 0.0, -start, dictionary, facts))
    *_, dictionary, facts = max(found, key=lambda entry: entry[:2])
    return dictionary, facts


def _match(dictionary: Dictionary, tune: np.ndarray, known: AttributeTable) -> float:
    """Return how well the concepts of a dictionary stand for attribute values: 0 to 1."""
    best = matthews(dictionary.encode(tune), known.truth).max(axis=0)
    names = known.names
    return float(np.mean([best[names == name].mean() for name in sorted(set(names))]))


def _fit(
    method: str,
    preparation: Preparation,
    train: np.ndarray,
    tune: np.ndarray,
    n_atoms: int,
    config: BuildConfig,
    seed: int,
) -> tuple[Dictionary, dict[str, Any]]:
    max_nnz, steps = config.dictionary.max_nnz, config.dictionary.steps
    prepared = preparation.apply(train)
    if method == "ksvd":
        from cgraph.ksvd import KSVD

        options: dict[str, Any] = {} if steps is None else {"max_iter": steps}
        nonnegative = config.dictionary.nonnegative
        ksvd = KSVD(
            n_atoms, max_nnz=max_nnz, nonnegative=nonnegative, random_state=seed, **options
        ).fit(prepared)
        dictionary = Dictionary.from_pursuit(
            preparation, ksvd.components_, max_nnz, nonnegative=nonnegative
        )
        return dictionary, {"n_steps": ksvd.n_iter_, "stopped_because": ksvd.stopped_because_}
    from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE

    options = {} if steps is None else {"max_steps": steps}
    sae: SparseAutoencoder
    if method == "topk-sae":
        sae = TopKSAE(n_atoms, max_nnz=max_nnz, random_state=seed, **options)
    else:
        estimator = BatchTopKSAE if method == "batch-topk-sae" else ReluSAE
        options["mean_nnz"] = config.dictionary.mean_nnz
        sae = estimator(n_atoms, max_nnz=max_nnz, random_state=seed, **options)
    sae.fit(prepared, X_tune=preparation.apply(tune))
    if config.dictionary.encoder == "omp":
        dictionary = Dictionary.from_pursuit(
            preparation, sae.components_, max_nnz, nonnegative=True
        )
    else:
        dictionary = Dictionary.from_autoencoder(
            preparation,
            sae.components_,
            sae.encoder_weight_,
            sae.encoder_bias_,
            sae.selection_bias_,
            max_nnz,
            sae.threshold_,
        )
    return dictionary, {"n_steps": sae.n_steps_, "stopped_because": sae.stopped_because_}


def join_dictionaries(job: Job, facts: Sequence[Mapping[str, Any]]) -> Outcome:
    """Write the dictionaries of all layers into one file."""
    tensors: dict[str, np.ndarray] = {}
    for layer in range(1, job.n_layers + 1):
        for name, array in read_tensors(job.folder / _work_dictionary(layer)).items():
            tensors[f"{layer_prefix(layer)}{name}"] = array
    write_tensors(job.folder / DICTIONARIES, tensors)
    training = sorted(facts, key=lambda fact: fact["layer"])
    write_table(
        job.folder / evaluation_file("training"),
        pa.Table.from_pylist(training, schema=TRAINING_SCHEMA),
    )
    return Outcome((DICTIONARIES, evaluation_file("training")))
