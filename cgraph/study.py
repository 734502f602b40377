"""A study folder: one model, one image set, their dictionaries, codes, graph and figures.

`Study` reads a finished folder. Every file is checked against the hash in the manifest before it
is first used, so that a figure never comes from a file that somebody changed. The layout on disk
is specified in docs/study-format.md; `cgraph.pipeline` writes it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.config import TRAIN, BuildConfig
from cgraph.dictionary import Dictionary
from cgraph.errors import ConfigError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.store import (
    FileRecord,
    codes_from_table,
    file_record,
    read_json,
    read_table,
    read_tensors,
)

SCHEMA = 1
"""Version of the layout on disk. A folder of another version is refused."""

MANIFEST = "study.json"
BUILD_RECORD = "build.json"
PROGRESS = "progress.json"
DICTIONARIES = "dictionary.safetensors"
IMAGES = "images.arrow"
CONCEPTS = "graph/concepts.arrow"
EDGES = "graph/edges.arrow"

STAGES = ("tokens", "split", "dictionary", "codes", "graph", "evaluation")
"""Stages of a build, in the paper's order."""

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def slug(text: str) -> str:
    """Return a study name made from a folder's name: small letters, digits and hyphens.

    Raises
    ------
    ConfigError
        If nothing is left of the text.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].strip("-")
    if not name:
        raise ConfigError(
            f"A study cannot be named after {text!r}: use letters, digits and hyphens."
        )
    return name


def codes_file(layer: int, part: int) -> str:
    """Return the place of one part of a layer's codes."""
    return f"codes/layer-{layer:02d}/part-{part:05d}.arrow"


def tokens_file(layer: int, part: int) -> str:
    """Return the place of one part of a layer's class tokens."""
    return f"tokens/layer-{layer:02d}/part-{part:05d}.npy"


def evaluation_file(name: str) -> str:
    """Return the place of a table of held-out figures."""
    return f"evaluation/{name}.arrow"


def rebuild_advice(folder: Path) -> str:
    """Return the sentence that tells how to mend a folder."""
    return f"Run `cgraph build --out {folder}` to make it again."


@dataclass(frozen=True)
class Manifest:
    """What ``study.json`` says.

    Attributes
    ----------
    name : str
        The study's slug, used in links.
    model, images : dict
        Identity of the model and of the image set.
    config : BuildConfig
    versions : dict
        Versions of the packages that can change a figure.
    graph : dict
        What the predictors take as inputs, and the scale of each layer's inputs.
    stages : tuple of str
        Finished stages.
    files : dict of str to FileRecord
        Every file of the study by its path, with forward slashes.
    """

    name: str
    model: dict[str, Any]
    images: dict[str, Any]
    config: BuildConfig
    versions: dict[str, str] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    files: dict[str, FileRecord] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "model": self.model,
            "images": self.images,
            "config": self.config.to_dict(),
            "versions": self.versions,
            "graph": self.graph,
            "stages": list(self.stages),
            "files": {path: vars(record) for path, record in self.files.items()},
        }

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises
        ------
        StudyError
            If there is none, it is damaged, or it has a schema this version does not know.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise StudyError(f"There is no folder {folder}. Check the path of the study.")
        if not path.is_file():
            raise StudyError(
                f"{folder} is not a study: it has no {MANIFEST}. Give a folder that "
                "`cgraph build` made."
            )
        values = read_json(path)
        schema = values.get("schema") if isinstance(values, dict) else None
        if schema != SCHEMA:
            raise StudyError(
                f"{path} has schema {schema!r}; this version of cgraph reads schema {SCHEMA}. "
                "Use the version that wrote the study, or build the study again."
            )
        try:
            if not _SLUG.fullmatch(values["name"]):
                raise ValueError(f"the name {values['name']!r} is not a slug")
            files = {
                _inside(relative): FileRecord(**record)
                for relative, record in values["files"].items()
            }
            return cls(
                name=values["name"],
                model=dict(values["model"]),
                images=dict(values["images"]),
                config=BuildConfig.from_dict(values["config"]),
                versions=dict(values["versions"]),
                graph=dict(values["graph"]),
                stages=tuple(values["stages"]),
                files=files,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(
                f"{path} is damaged ({error}). Restore it from a copy or build the study again."
            ) from None


def _inside(relative: str) -> str:
    """Refuse a path in a manifest that leads out of the study folder."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative:
        raise ValueError(f"the path {relative!r} leads out of the study")
    return relative


class Study:
    """A finished study, opened for reading.

    Parameters
    ----------
    folder : Path
    manifest : Manifest

    Notes
    -----
    Open one with `Study.open`. Tables are mapped into memory and kept; a study is never changed
    by reading it, so that one object can serve many people.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.path = folder
        self.manifest = manifest
        self._checked: set[str] = set()
        self._codes: dict[int, Codes] = {}

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """Open a study folder.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        StudyError
            If the folder is no study, is unfinished, has another schema, or lacks a file.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        missing_stages = [stage for stage in STAGES if stage not in manifest.stages]
        if missing_stages:
            raise StudyError(
                f"The study in {folder} is not finished: {missing_stages[0]} is still to be done. "
                f"Run `cgraph build --out {folder}` to go on where it stopped."
            )
        for relative, record in manifest.files.items():
            path = folder / relative
            if not path.is_file():
                raise StudyError(f"{path} is missing. {rebuild_advice(folder)}")
            if path.stat().st_size != record.size:
                raise StudyError(
                    f"{path} has {path.stat().st_size} bytes in place of {record.size}: it was "
                    f"cut off or changed. {rebuild_advice(folder)}"
                )
        return cls(folder, manifest)

    def verify(self) -> None:
        """Check the hash of every file.

        Raises
        ------
        StudyError
            Naming the first file that differs and how to make it again.
        """
        for relative in self.manifest.files:
            self.file(relative)

    def file(self, relative: str) -> Path:
        """Return the path of a file of the study, checked against its hash the first time.

        Raises
        ------
        StudyError
            If the study has no such file or it was changed.
        """
        path = self.path / relative
        if relative not in self._checked:
            record = self.manifest.files.get(relative)
            if record is None:
                raise StudyError(f"The study {self.name!r} holds no file {relative}.")
            if file_record(path, record.stage) != record:
                raise StudyError(
                    f"{path} was changed after it was written: its hash differs from the one in "
                    f"{MANIFEST}. {rebuild_advice(self.path)}"
                )
            self._checked.add(relative)
        return path

    @property
    def name(self) -> str:
        """The study's slug."""
        return self.manifest.name

    @property
    def config(self) -> BuildConfig:
        """The settings it was built with."""
        return self.manifest.config

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks of the model."""
        return int(self.manifest.model["n_layers"])

    @property
    def d_model(self) -> int:
        """Width of the class token."""
        return int(self.manifest.model["d_model"])

    @cached_property
    def graph(self) -> ConceptGraph:
        """The concept graph: all concepts and edges."""
        return ConceptGraph.from_tables(
            read_table(self.file(CONCEPTS)), read_table(self.file(EDGES))
        )

    @cached_property
    def _dictionaries(self) -> list[Dictionary]:
        tensors = read_tensors(self.file(DICTIONARIES))
        return [Dictionary.of_layer(tensors, layer) for layer in range(1, self.n_layers + 1)]

    def dictionary(self, layer: int) -> Dictionary:
        """Return the dictionary of a layer, 1 … n_layers."""
        return self._dictionaries[self._layer(layer) - 1]

    def codes(self, layer: int) -> Codes:
        """Return the codes of all images at a layer, 1 … n_layers; rows as in `image_ids`."""
        if self._layer(layer) not in self._codes:
            parts = []
            for part in range(int(self.manifest.images["n_parts"])):
                path = self.file(codes_file(layer, part))
                parts.append(codes_from_table(read_table(path), path))
            self._codes[layer] = Codes.concatenate(parts)
        return self._codes[layer]

    def _layer(self, layer: int) -> int:
        if not 1 <= layer <= self.n_layers:
            raise ConfigError(f"There is no layer {layer}: this model has 1 to {self.n_layers}.")
        return layer

    @cached_property
    def _images(self) -> pa.Table:
        return read_table(self.file(IMAGES))

    @cached_property
    def image_ids(self) -> list[str]:
        """Id of every image, in the order of the rows of all codes."""
        return self._images.column("image_id").to_pylist()

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def row(self, image_id: str) -> int:
        """Return the row of an image.

        Raises
        ------
        ConfigError
            If the study has no such image.
        """
        if image_id not in self._row_of:
            raise ConfigError(f"The study {self.name!r} has no image {image_id!r}.")
        return self._row_of[image_id]

    @cached_property
    def split(self) -> np.ndarray:
        """Part of each image: ``train``, ``tune`` or ``held-out``."""
        return np.array(self._images.column("split").to_pylist())

    def rows(self, part: str) -> np.ndarray:
        """Return the rows of one part of the split, rising."""
        return np.flatnonzero(self.split == part)

    def attributes(self, row: int) -> dict[str, Any]:
        """Return what the image set says of one image, such as its label."""
        return json.loads(self._images.column("attributes")[row].as_py())

    def thumbnail(self, row: int) -> bytes:
        """Return a small JPEG of one image."""
        return self._images.column("thumbnail")[row].as_py()

    @cached_property
    def _training_codes(self) -> dict[int, Codes]:
        return {}

    def exemplars(self, concept: ConceptId, n: int) -> list[tuple[int, float]]:
        """Return the training images in which a concept is strongest.

        Parameters
        ----------
        concept : ConceptId
        n : int

        Returns
        -------
        list of (row, coefficient)
            Strongest first; fewer than `n` for a rare concept.
        """
        if concept.layer not in self._training_codes:
            training = self.codes(concept.layer).take(self.rows(TRAIN))
            self._training_codes[concept.layer] = training
        places, values = self._training_codes[concept.layer].exemplars(concept.index, n)
        rows = self.rows(TRAIN)[places]
        return [(int(row), float(value)) for row, value in zip(rows, values, strict=True)]

    def evaluation(self, name: str) -> pa.Table:
        """Return a table of held-out figures: ``pairs``, ``concepts`` or ``layers``."""
        return read_table(self.file(evaluation_file(name)))

    def info(self) -> dict[str, Any]:
        """Return the study's description and held-out figures as plain JSON values."""
        build = self.path / BUILD_RECORD
        return {
            "schema": SCHEMA,
            "name": self.name,
            "model": self.manifest.model,
            "images": self.manifest.images,
            "config": self.config.to_dict(),
            "versions": self.manifest.versions,
            "n_edges": self.graph.n_edges,
            "layers": _rows_without_nan(self.evaluation("layers")),
            "pairs": _rows_without_nan(self.evaluation("pairs")),
            "build": read_json(build).get("stages") if build.is_file() else None,
        }


def _rows_without_nan(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows in which a figure that could not be computed is None."""
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
