"""The files of a planted study: what is written where, and what the manifest says of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from cgraph.codes import Codes
from cgraph.config import SPLIT_SHARES, BuildConfig, DictionaryConfig, PredictorConfig
from cgraph.decoding import pixel_hash, thumbnail
from cgraph.dictionary import Dictionary, layer_prefix
from cgraph.manifest import (
    CONCEPTS,
    DICTIONARIES,
    EDGES,
    EXAMPLES,
    IMAGES,
    MANIFEST,
    NAMES,
    STAGES,
    USUAL,
    Manifest,
    codes_file,
    example_file,
    slug,
)
from cgraph.novelty import Usual
from cgraph.planted import plant_images
from cgraph.planted_config import PlantedConfig, Stream
from cgraph.planted_model import IMAGE_PX, measure_tokens, write_model
from cgraph.planted_topics import attributes, draw
from cgraph.store import (
    FileRecord,
    codes_to_table,
    file_record,
    to_json,
    write_bytes,
    write_table,
    write_tensors,
)
from cgraph.trace import Trace
from cgraph.vit import VisionModel

_MODEL = "model"
_PICTURE_PX = 384
_MODEL_PICTURES = 16  # that say where the tokens of the model lie
_RECORDED_VERSIONS = ("cgraph", "numpy", "pillow", "pyarrow", "scipy", "torch", "transformers")


def image_id(row: int) -> str:
    """Return what an image is called."""
    return f"planted/{row:06d}.png"


class PlantedWriter:
    """Writes the files of one planted study and keeps what its manifest says.

    Parameters
    ----------
    folder : Path
        Its manifest is written at once, unfinished, so that what an interruption leaves is known
        and may be written over.
    config : PlantedConfig
    origin : dict
        For the manifest: the command and the settings that make the study.

    Attributes
    ----------
    parts : list of ndarray
        Rows of the images of each part of the codes.
    """

    def __init__(self, folder: Path, config: PlantedConfig, origin: dict[str, Any]) -> None:
        build = BuildConfig(
            preset="planted",
            seed=config.seed,
            thumbnail_px=config.thumbnail_px,
            dictionary=DictionaryConfig(n_atoms=config.n_atoms, max_nnz=config.max_nnz),
            predictor=PredictorConfig(min_positives=1),
        )
        starts = range(0, config.n_images, build.part_size)
        self.parts = [np.arange(s, min(s + build.part_size, config.n_images)) for s in starts]
        self._folder, self._config = folder, config
        self._files: dict[str, FileRecord] = {}
        identity = hashlib.sha256(to_json(config.to_dict())).hexdigest()
        n = config.n_images
        self._manifest = Manifest(
            name=slug(folder.name),
            model={
                "id": "planted",
                "architecture": "none",
                "family": "planted",
                "weights_sha256": "0" * 64,
                "n_layers": config.n_layers,
                "d_model": config.d_model,
            },
            images={
                "id": "planted",
                "kind": "planted images",
                "listing": identity,
                "n_listed": n,
                "n_sampled": n,
                "n_parts": len(self.parts),
            },
            config=build,
            versions={name: version(name) for name in _RECORDED_VERSIONS},
            graph={"inputs": "labels", "input_scales": [1.0] * (config.n_layers - 1)},
            origin=origin,
        )
        self._write_manifest()
        self._shown = plant_images(config)
        self._jitter = config.rng(Stream.PICTURES).random((n, 1 + 3 * self._shown.shape[1]))

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._manifest.name

    def _write_manifest(self) -> None:
        write_bytes(self._folder / MANIFEST, to_json(self._manifest.to_dict()))

    def _record(self, relative: str, stage: str) -> None:
        self._files[relative] = file_record(self._folder / relative, stage)

    def _picture(self, row: int, px: int) -> Image.Image:
        return draw(self._shown[row].tolist(), self._jitter[row], px)

    def add_model(self) -> tuple[np.ndarray, np.ndarray]:
        """Write the model; return where its tokens lie and how far apart."""
        write_model(self._folder / _MODEL, self._config)
        vision = VisionModel.load(self._folder / _MODEL)
        facts = {
            "id": "planted-vit",
            "architecture": vision.architecture,
            "family": vision.family,
            "weights_sha256": vision.weights_hash,
            "preprocessing_sha256": vision.preprocessing_hash,
        }
        self._manifest = dataclasses.replace(
            self._manifest, model={**self._manifest.model, **facts}
        )
        n = min(_MODEL_PICTURES, self._config.n_images)
        return measure_tokens(vision, [self._picture(row, IMAGE_PX) for row in range(n)])

    def add_codes(self, layer: int, codes: Codes) -> None:
        """Write the codes of a layer in parts."""
        for part, rows in enumerate(self.parts):
            relative = codes_file(layer, part)
            write_table(self._folder / relative, codes_to_table(codes.take(rows)))
            self._record(relative, "codes")

    def add_dictionaries(self, dictionaries: Sequence[Dictionary]) -> None:
        """Write the dictionaries of all layers."""
        tensors = {
            f"{layer_prefix(layer)}{name}": array
            for layer, dictionary in enumerate(dictionaries, start=1)
            for name, array in dictionary.to_tensors().items()
        }
        write_tensors(self._folder / DICTIONARIES, tensors)
        self._record(DICTIONARIES, "dictionary")

    def add_images(self, advance: Callable[[], None]) -> np.ndarray:
        """Draw all thumbnails, deal the images and write their table; return their parts."""
        hashes, thumbnails = [], []
        for rows in self.parts:
            for row in rows.tolist():
                picture = self._picture(row, self._config.thumbnail_px)
                hashes.append(pixel_hash(picture))
                thumbnails.append(thumbnail(picture, self._config.thumbnail_px))
            advance()
        split = _deal(hashes, self._config)
        table = pa.table(
            {
                "image_id": [image_id(row) for row in range(len(hashes))],
                "split": pa.array(split.tolist(), type=pa.string()),
                "attributes": [
                    json.dumps(attributes(shown), sort_keys=True, separators=(",", ":"))
                    for shown in self._shown.tolist()
                ],
                "pixel_hash": hashes,
                "thumbnail": pa.array(thumbnails, type=pa.binary()),
            }
        )
        self.add_table(IMAGES, table)
        facts = {
            "n": len(hashes),
            "n_skipped": 0,
            "n_duplicates": len(hashes) - len(set(hashes)),
            "fingerprint": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
            **{f"n_{p.replace('-', '_')}": int((split == p).sum()) for p in SPLIT_SHARES},
        }
        images = {**self._manifest.images, **facts}
        self._manifest = dataclasses.replace(self._manifest, images=images)
        return split

    def add_table(self, relative: str, table: pa.Table) -> None:
        """Write a table at its place in the folder."""
        write_table(self._folder / relative, table)
        stage = {IMAGES: "split", CONCEPTS: "graph", EDGES: "graph", NAMES: "names"}
        self._record(relative, stage.get(relative, "evaluation"))

    def add_usual(self, usual: Usual) -> None:
        """Write what is usual."""
        write_tensors(self._folder / USUAL, usual.to_tensors())
        self._record(USUAL, "evaluation")

    def add_examples(self, examples: Sequence[tuple[int, Trace]]) -> None:
        """Store pictures and traces of some images, given by their rows."""
        index = []
        for number, (row, trace) in enumerate(examples, start=1):
            picture, text = example_file(number, "jpg"), example_file(number, "json")
            image = self._picture(row, _PICTURE_PX)
            write_bytes(self._folder / picture, thumbnail(image, _PICTURE_PX))
            values = json.dumps(trace.to_dict(), separators=(",", ":"), allow_nan=False)
            write_bytes(self._folder / text, values.encode())
            entry = {"row": row, "image_id": trace.image_id, "picture": picture, "trace": text}
            index.append(entry)
            for relative in (picture, text):
                self._record(relative, "examples")
        write_bytes(self._folder / EXAMPLES, to_json(index))
        self._record(EXAMPLES, "examples")

    def finish(self) -> None:
        """Write the manifest of a finished study."""
        self._manifest = dataclasses.replace(
            self._manifest, stages=STAGES, files=dict(sorted(self._files.items()))
        )
        self._write_manifest()


def _deal(hashes: list[str], config: PlantedConfig) -> np.ndarray:
    """Return the part of each image; identical images go to the same part."""
    different, which = np.unique(hashes, return_inverse=True)
    order = config.rng(Stream.SPLIT).permutation(len(different))
    ends = np.cumsum(list(SPLIT_SHARES.values())) * len(different)
    part = np.searchsorted(ends, order + 0.5)
    return np.array(list(SPLIT_SHARES))[np.minimum(part, len(ends) - 1)[which]]
