"""A build whose dictionaries were made elsewhere: taken over at its start, used by its stages.

What was read is kept in cgraph's own form among the working files until the study's dictionaries
are written, so that a build goes on wherever the files are by then. Its sha256 is part of the
settings: another dictionary is another study.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from cgraph.config import IMPORTED, TRAIN, BuildConfig
from cgraph.dictionary import Dictionary, PursuitEncoder, TopKEncoder, layer_prefix
from cgraph.errors import CgraphError, StudyError
from cgraph.foreign_dictionary import ForeignDictionary
from cgraph.image_parts import sampled_rows
from cgraph.stages import WORK, Job, split_of, tokens_of
from cgraph.store import read_tensors, write_bytes

_TAKEN = f"{WORK}/imported.safetensors"
_BIAS = "decoder_bias"  # of those that scale tokens
_MOST_TOKENS = 100_000


def take_dictionary(
    config: BuildConfig, source: ForeignDictionary, n_layers: int, d_model: int
) -> tuple[BuildConfig, bytes]:
    """Read dictionaries made elsewhere.

    Parameters
    ----------
    config : BuildConfig
        Settings of all that is not the dictionary.
    source : ForeignDictionary
    n_layers, d_model : int
        Of the model.

    Returns
    -------
    config : BuildConfig
        That says what was taken.
    content : bytes
        For `keep_dictionary`.

    Raises
    ------
    CgraphError
        If the files cannot be taken over.
    """
    from safetensors.numpy import save

    wanted = config.dictionary
    found = source.read(n_layers, d_model, nonnegative=wanted.nonnegative, usual_nnz=wanted.max_nnz)
    tensors = {
        f"{layer_prefix(layer)}{name}": array
        for layer, dictionary in enumerate(found, start=1)
        for name, array in dictionary.to_tensors().items()
    }
    for layer, bias in source.to_centre.items():
        tensors[f"{layer_prefix(layer)}{_BIAS}"] = bias
    content = save(tensors)
    first = found[0]
    signed = isinstance(first.encoder, PursuitEncoder) and not first.encoder.nonnegative
    taken = dataclasses.replace(
        wanted,
        method=IMPORTED,
        imported=hashlib.sha256(content).hexdigest(),
        n_atoms=first.n_atoms,
        max_nnz=max(dictionary.max_nnz for dictionary in found),
        mean_nnz=None,
        encoder="own",
        nonnegative=not signed,
        center=True,
        whiten=0,
        whiten_strength=1.0,
        starts=1,
        steps=None,
    )
    return dataclasses.replace(config, dictionary=taken), content


def keep_dictionary(folder: Path, content: bytes) -> None:
    """Keep what was taken among the working files of a study folder."""
    write_bytes(folder / _TAKEN, content)


def find_again(folder: Path, config: BuildConfig, path: Path | None, size: tuple[int, int]) -> None:
    """Have the dictionaries of a build that goes on at hand again, if they can still be had.

    Parameters
    ----------
    folder : Path
        The study folder.
    config : BuildConfig
    path : Path or None
        Where they lay when the build was started.
    size : (n_layers, d_model)
    """
    if _is_taken(folder, config) or path is None:
        return
    settings = config.dictionary
    # Whether --max-nnz was given is not written down: the hash tells.
    for asked in (None, settings.max_nnz):
        try:
            taken, content = take_dictionary(config, ForeignDictionary(path, asked), *size)
        except CgraphError:
            continue  # the stage that needs them says what is missing, if it has to run at all
        if taken.dictionary.imported == settings.imported:
            keep_dictionary(folder, content)
            return


def _is_taken(folder: Path, config: BuildConfig) -> bool:
    try:
        content = (folder / _TAKEN).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == config.dictionary.imported


def centred_on(dictionary: Dictionary, decoder_bias: np.ndarray, tokens: np.ndarray) -> Dictionary:
    """Put what a decoder of scaled tokens adds on average in the place of the mean.

    It adds its bias times the deviation of the token, and the token's mean.

    Parameters
    ----------
    dictionary : Dictionary
        Whose encoder scales tokens; its codes stay the same.
    decoder_bias : ndarray of float32, shape (d_model,)
    tokens : ndarray of float32, shape (n_samples, d_model)
    """
    if not isinstance(dictionary.encoder, TopKEncoder):
        raise TypeError("only an autoencoder scales tokens")
    wide = tokens.astype(np.float64)
    deviation = wide.std(axis=1, ddof=1).mean()
    mean = (decoder_bias * deviation + wide.mean()).astype(np.float32)
    encoder = dataclasses.replace(dictionary.encoder, shift=mean)
    return dataclasses.replace(dictionary, mean=mean, encoder=encoder)


def imported_dictionary(job: Job, layer: int) -> Dictionary:
    """Return the dictionary of a layer, 1..n_layers.

    Raises
    ------
    StudyError
        If what was taken over is gone.
    """
    if not (job.folder / _TAKEN).is_file():
        raise StudyError(
            f"The dictionaries that {job.folder} was started with are gone. Run the first command "
            "again, with --model, --images and --dictionary: finished work is kept."
        )
    tensors = read_tensors(job.folder / _TAKEN)
    dictionary = Dictionary.of_layer(tensors, layer)
    bias = tensors.get(f"{layer_prefix(layer)}{_BIAS}")
    if bias is None:
        return dictionary
    rows = sampled_rows(split_of(job), TRAIN, _MOST_TOKENS, job.config.seed)
    return centred_on(dictionary, bias, tokens_of(job, layer).take(rows))
