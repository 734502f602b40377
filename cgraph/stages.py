"""The stages of a build as functions of parts.

Each function reads what earlier stages wrote, does one part of the work in one thread, writes
files that no other call touches, and returns an `Outcome`. Nothing here knows about processes,
progress or resuming: `cgraph.pipeline` does, and any executor can call these functions.

Working files that no reader needs lie under ``.building`` and are removed at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cgraph.codes import CodeCounts, Codes
from cgraph.config import SPLIT_SHARES, TRAIN, TUNE, BuildConfig, Precision, Token
from cgraph.dictionary import Dictionary, PursuitEncoder, layer_prefix
from cgraph.errors import DataError, ImageError, ModelError
from cgraph.image_parts import SKIPPED, image_table, sampled_rows, split_parts, stored_split
from cgraph.image_sample import read_sample
from cgraph.images import ImageSet, open_images
from cgraph.manifest import DICTIONARIES, IMAGES, codes_file, tokens_file
from cgraph.part_reading import StoredTokens, codes_of_rows, count_codes
from cgraph.store import (
    codes_to_table,
    read_array,
    read_tensors,
    write_array,
    write_table,
)
from cgraph.token_feed import Ready, batches
from cgraph.vit import VisionModel

WORK = ".building"
SAMPLE = f"{WORK}/sample.arrow"
"""The working file with all that is needed to read the sampled images."""


@dataclass(frozen=True)
class Job:
    """What every part of a build needs to know; small enough to send to any worker.

    Attributes
    ----------
    folder, model : Path
        The study folder, the model folder.
    images : str
        What `cgraph.images.open_images` opens the set of images from.
    config : BuildConfig
    n_layers : int
    n_parts : int
        Parts into which the sampled images are cut.
    model_fingerprint, listing : str
        Of the model and of the image set at the start of the build.
    input_scales : tuple of float
        What the inputs from each layer but the last are divided by, once they are measured.
    """

    folder: Path
    model: Path
    images: str
    config: BuildConfig
    n_layers: int
    n_parts: int
    model_fingerprint: str
    listing: str
    input_scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Files that a call wrote, relative to the study folder, and facts for the manifest."""

    files: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


# The fingerprints are part of the key, so that a folder that changed is read again.
@lru_cache(maxsize=1)
def _model(
    folder: Path, fingerprint: str, device: str, precision: Precision, token: Token
) -> VisionModel:
    model = VisionModel.load(folder, device=device, precision=precision, token=token)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"The model in {folder} was changed while the study was built. Put the former one "
            "back and run the same command again: finished work is kept."
        )
    return model


def model_of(job: Job) -> VisionModel:
    """Return the model of a build, as its settings want it."""
    config = job.config
    return _model(job.model, job.model_fingerprint, config.device, config.precision, config.token)


@lru_cache(maxsize=1)
def _images(path: Path, *key: object) -> ImageSet:
    return read_sample(path)


def open_same_images(reference: str, listing: str) -> ImageSet:
    """Open the set of images that the build was started with.

    Raises
    ------
    ImageError
        If images were added, removed, renamed or resized, or are gone.
    """
    try:
        image_set = open_images(reference)
        reason = "" if image_set.listing_fingerprint() == listing else "other names or sizes"
    except ImageError as error:
        reason = str(error)
    if reason:
        raise ImageError(
            f"The images in {reference} were changed while the study was built ({reason}). Put the "
            "former ones back and run the same command again: finished work is kept."
        )
    return image_set


def images_of(job: Job) -> ImageSet:
    """Return the sampled images of a build, in the order of the sample; nothing is listed again."""
    key = job.images, job.listing, job.config.max_images, job.config.seed
    return _images(job.folder / SAMPLE, *key)


def image_part(part: int) -> str:
    """Return the working file with the ids, hashes and thumbnails of one part."""
    return f"{WORK}/images/part-{part:05d}.arrow"


def collect_tokens(job: Job, part: int) -> Outcome:
    """Read one part of the images and write its class tokens, thumbnails and hashes.

    Images that cannot be read are left out and listed with the reason. Which images share a
    forward pass depends on their place in the sample alone. While the model works, threads make
    the next images ready.
    """
    config = job.config
    image_set = images_of(job)
    first = part * config.part_size
    rows = range(first, min(first + config.part_size, len(image_set)))
    image_set.prefetch(rows)
    model = model_of(job)
    # Filled batch by batch: a part is the most that is held, and is held once.
    tokens = np.empty((job.n_layers, len(rows), model.d_model), dtype=np.float32)
    kept: list[Ready] = []
    skipped: list[Ready] = []
    for batch in batches(
        image_set,
        rows,
        model.preprocess,
        batch_size=config.batch_size,
        thumbnail_px=config.thumbnail_px,
    ):
        pixels = [ready.pixels for ready in batch if ready.pixels is not None]
        skipped += [ready for ready in batch if ready.pixels is None]
        if pixels:
            start = len(kept)
            kept += [ready.without_pixels() for ready in batch if ready.pixels is not None]
            tokens[:, start : len(kept)] = model.class_tokens(np.stack(pixels))
    tokens = tokens[:, : len(kept)]
    _refuse_non_finite(tokens)
    write_table(job.folder / image_part(part), image_table(kept, skipped))
    files = [image_part(part)]
    for layer in range(1, job.n_layers + 1):
        write_array(job.folder / tokens_file(layer, part), tokens[layer - 1])
        files.append(tokens_file(layer, part))
    return Outcome(tuple(files), {"n": len(kept), "n_skipped": len(skipped)})


def _refuse_non_finite(tokens: np.ndarray) -> None:
    finite = np.isfinite(tokens).all(axis=(1, 2))
    if not finite.all():
        raise DataError(
            f"The class tokens of layer {int(np.argmin(finite)) + 1} are not all finite. The "
            "model's weights may be damaged."
        )


def split_images(job: Job) -> Outcome:
    """Deal the images to train, tune and held-out, and join their parts into one table.

    Identical images go to the same part: the deal is by hash of the pixels.

    Raises
    ------
    DataError
        If too few different images are left to fill all three parts.
    """
    paths = [job.folder / image_part(part) for part in range(job.n_parts)]
    facts = split_parts(job.folder, paths, job.folder / WORK / "images/keys.bin", job.config.seed)
    return Outcome((IMAGES, SKIPPED), {"images": facts})


def split_of(job: Job) -> np.ndarray:
    """Return the part of the split of every image: uint8, its place in `SPLIT_SHARES`."""
    return stored_split(job.folder)


def rows_of(job: Job, *parts: str, split: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the images that predictors are fitted on, calibrated with and measured on.

    Parameters
    ----------
    job : Job
    parts : str
        Parts of the split. Of a part with more images than the settings allow a seeded sample is
        taken, the same for every layer.
    split : ndarray of uint8, optional
        What `split_of` returns.
    """
    split, config = split_of(job) if split is None else split, job.config.predictor
    return [
        sampled_rows(
            split, part, config.max_train if part == TRAIN else config.max_measured, job.config.seed
        )
        for part in parts
    ]


def learning_rows(job: Job, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the train and tune images whose tokens dictionaries are learned with."""
    most = job.config.dictionary.max_tokens
    return (
        sampled_rows(split, TRAIN, most, job.config.seed),
        sampled_rows(split, TUNE, most // 4, job.config.seed),
    )


def tokens_of(job: Job, layer: int) -> StoredTokens:
    """Return the class tokens of a layer, which are read as rows are asked for."""
    return StoredTokens(job.folder, layer, job.n_parts)


def codes_of(job: Job, layer: int, *wanted: np.ndarray) -> list[Codes]:
    """Return the codes of several choices of images (rising rows) at a layer."""
    return codes_of_rows(job.folder, layer, job.n_parts, wanted)


def counts_of(job: Job, layer: int, split: np.ndarray) -> dict[str, CodeCounts]:
    """Return how often concepts are active in all images of each part of the split."""
    counts = count_codes(job.folder, layer, job.n_parts, split)
    return dict(zip(SPLIT_SHARES, counts, strict=True))


def dictionary_of(job: Job, layer: int) -> Dictionary:
    """Return a layer's dictionary, once the dictionaries are joined."""
    return Dictionary.of_layer(read_tensors(job.folder / DICTIONARIES, layer_prefix(layer)), layer)


@lru_cache(maxsize=1)
def _encoding(job: Job, layer: int, written: int) -> Dictionary:
    dictionary = dictionary_of(job, layer)
    if isinstance(dictionary.encoder, PursuitEncoder):
        dictionary.encoder.gram  # noqa: B018  takes as long as some thousand tokens: made once
    return dictionary


def encode_part(job: Job, layer: int, part: int) -> Outcome:
    """Encode one part of a layer's tokens."""
    tokens = read_array(job.folder / tokens_file(layer, part))
    written = (job.folder / DICTIONARIES).stat().st_mtime_ns
    codes = _encoding(job, layer, written).encode(tokens)
    write_table(job.folder / codes_file(layer, part), codes_to_table(codes))
    return Outcome((codes_file(layer, part),))
