"""The stages of a build as functions of parts.

Each function reads what earlier stages wrote, does one part of the work in one thread, writes
files that no other call touches, and returns an `Outcome`. Nothing here knows about processes,
progress or resuming: `cgraph.pipeline` does, and any executor can call these functions.

Working files that no reader needs lie under ``.building`` and are removed at the end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.codes import Codes
from cgraph.config import SPLIT_SHARES, BuildConfig
from cgraph.dictionary import Dictionary
from cgraph.errors import DataError, ImageError, ModelError
from cgraph.image_sample import read_sample
from cgraph.images import ImageSet, open_images, pixel_hash, thumbnail
from cgraph.manifest import DICTIONARIES, IMAGES, codes_file, tokens_file
from cgraph.store import (
    codes_from_table,
    codes_to_table,
    read_array,
    read_table,
    read_tensors,
    write_array,
    write_table,
)
from cgraph.vit import VisionModel

WORK = ".building"
SKIPPED = "skipped.arrow"
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
def _model(folder: Path, fingerprint: str) -> VisionModel:
    model = VisionModel.load(folder)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"The model in {folder} was changed while the study was built. Put the former one "
            "back and run the same command again: finished work is kept."
        )
    return model


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
    forward pass depends on their place in the sample alone.
    """
    config = job.config
    image_set = images_of(job)
    model = _model(job.model, job.model_fingerprint)
    records, hashes, thumbnails, tokens, skipped = [], [], [], [], []
    first = part * config.part_size
    last = min(first + config.part_size, len(image_set))
    image_set.prefetch(range(first, last))
    for start in range(first, last, config.batch_size):
        batch = []
        for row in range(start, min(start + config.batch_size, last)):
            try:
                record = image_set.read(row)
            except ImageError as error:
                skipped.append({"image_id": image_set.image_ids[row], "reason": str(error)})
                continue
            batch.append(record.image)
            records.append((record.image_id, record.attributes))
            hashes.append(pixel_hash(record.image))
            thumbnails.append(thumbnail(record.image, config.thumbnail_px))
        if batch:
            tokens.append(model.class_tokens(model.preprocess(batch)))
    stacked = (
        np.concatenate(tokens, axis=1)
        if tokens
        else np.zeros((job.n_layers, 0, model.d_model), dtype=np.float32)
    )
    _refuse_non_finite(stacked)
    table = pa.table(
        {
            "image_id": pa.array([image_id for image_id, _ in records], type=pa.string()),
            "attributes": pa.array(
                [
                    json.dumps(attributes, sort_keys=True, separators=(",", ":"))
                    for _, attributes in records
                ],
                type=pa.string(),
            ),
            "pixel_hash": pa.array(hashes, type=pa.string()),
            "thumbnail": pa.array(thumbnails, type=pa.binary()),
        }
    )
    write_table(job.folder / image_part(part), table)
    files = [image_part(part)]
    for layer in range(1, job.n_layers + 1):
        write_array(job.folder / tokens_file(layer, part), stacked[layer - 1])
        files.append(tokens_file(layer, part))
    return Outcome(tuple(files), {"n": len(records), "skipped": skipped})


def _refuse_non_finite(tokens: np.ndarray) -> None:
    finite = np.isfinite(tokens).all(axis=(1, 2))
    if not finite.all():
        raise DataError(
            f"The class tokens of layer {int(np.argmin(finite)) + 1} are not all finite. The "
            "model's weights may be damaged."
        )


def split_images(job: Job, skipped: list[dict[str, str]]) -> Outcome:
    """Deal the images to train, tune and held-out, and join their parts into one table.

    Identical images go to the same part: the deal is by hash of the pixels.

    Raises
    ------
    DataError
        If too few different images are left to fill all three parts.
    """
    parts = [read_table(job.folder / image_part(part)) for part in range(job.n_parts)]
    table = pa.concat_tables(parts)
    if table.num_rows == 0:
        raise DataError(
            f"None of the {len(skipped)} images could be read. The first: {skipped[0]['reason']}"
        )
    split = deal(table.column("pixel_hash").to_pylist(), job.config.seed)
    table = table.add_column(1, "split", pa.array(split, type=pa.string()))
    write_table(job.folder / IMAGES, table)
    schema = pa.schema([("image_id", pa.string()), ("reason", pa.string())])
    write_table(job.folder / SKIPPED, pa.Table.from_pylist(skipped, schema=schema))
    hashes = table.column("pixel_hash").to_pylist()
    facts = {
        "n": table.num_rows,
        "n_skipped": len(skipped),
        "n_duplicates": table.num_rows - len(set(hashes)),
        "fingerprint": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
        **{f"n_{name.replace('-', '_')}": split.count(name) for name in SPLIT_SHARES},
    }
    return Outcome((IMAGES, SKIPPED), {"images": facts})


def deal(hashes: list[str], seed: int) -> list[str]:
    """Return the part of each image: 70 % train, 15 % tune, 15 % held-out.

    Parameters
    ----------
    hashes : list of str
        Equal strings go to the same part.
    seed : int

    Raises
    ------
    DataError
        If one of the parts stays empty.
    """
    groups = sorted(
        set(hashes), key=lambda value: hashlib.sha256(f"{seed}:{value}".encode()).digest()
    )
    sizes = dict.fromkeys(groups, 0)
    for value in hashes:
        sizes[value] += 1
    ends = np.cumsum(list(SPLIT_SHARES.values())) * len(hashes)
    names = list(SPLIT_SHARES)
    part_of, dealt = {}, 0
    for value in groups:
        # The middle of a group decides, so that a group across a border goes where most of it is.
        middle = dealt + sizes[value] / 2
        part_of[value] = names[min(int(np.searchsorted(ends, middle)), len(names) - 1)]
        dealt += sizes[value]
    if len(set(part_of.values())) < len(names):
        raise DataError(
            f"{len(groups)} different images are too few to split into train, tune and held-out "
            "parts. Give at least a few hundred images."
        )
    return [part_of[value] for value in hashes]


def split_of(job: Job) -> np.ndarray:
    """Return the part of the split of every image."""
    return np.array(read_table(job.folder / IMAGES).column("split").to_pylist())


def tokens_of(job: Job, layer: int, rows: np.ndarray) -> np.ndarray:
    """Return the class tokens of some rows (rising) at a layer, shape ``(n, d_model)``."""
    first, filled = 0, 0
    taken = np.empty((len(rows), 0), dtype=np.float32)
    for part in range(job.n_parts):
        tokens = read_array(job.folder / tokens_file(layer, part))
        if part == 0:
            taken = np.empty((len(rows), tokens.shape[1]), dtype=np.float32)
        # Rows rise, so those of a part lie together.
        start, stop = np.searchsorted(rows, [first, first + len(tokens)])
        taken[start:stop] = tokens[rows[start:stop] - first]
        first, filled = first + len(tokens), filled + stop - start
    if filled != len(rows):
        raise IndexError(f"rows up to {rows[-1]} of {first} tokens")
    return taken


def codes_of(job: Job, layer: int) -> Codes:
    """Return the codes of all images at a layer."""
    parts = []
    for part in range(job.n_parts):
        path = job.folder / codes_file(layer, part)
        parts.append(codes_from_table(read_table(path), path))
    return Codes.concatenate(parts)


def dictionary_of(job: Job, layer: int) -> Dictionary:
    """Return a layer's dictionary, once the dictionaries are joined."""
    return Dictionary.of_layer(read_tensors(job.folder / DICTIONARIES), layer)


def encode_part(job: Job, layer: int, part: int) -> Outcome:
    """Encode one part of a layer's tokens."""
    tokens = read_array(job.folder / tokens_file(layer, part))
    codes = dictionary_of(job, layer).encode(tokens)
    write_table(job.folder / codes_file(layer, part), codes_to_table(codes))
    return Outcome((codes_file(layer, part),))
