"""A study folder: one model, one image set, their dictionaries, codes, graph and figures.

`Study` reads a finished folder. Every file is checked against the hash in the manifest before it
is first used, so that a figure never comes from a file that somebody changed. The layout on disk
is specified in docs/study-format.md; `cgraph.pipeline` writes it.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.config import TRAIN, BuildConfig
from cgraph.dictionary import Dictionary
from cgraph.errors import ConfigError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.manifest import (
    BUILD_RECORD,
    CONCEPTS,
    DICTIONARIES,
    EDGES,
    EXAMPLES,
    IMAGES,
    MANIFEST,
    QUALITY,
    SCHEMA,
    STAGES,
    USUAL,
    Manifest,
    codes_file,
    evaluation_file,
    rebuild_advice,
    rebuild_command,
)
from cgraph.naming import ConceptName
from cgraph.novelty import Usual
from cgraph.object_paths import study_path
from cgraph.output_nodes import OutputNodes, stored_outputs
from cgraph.output_tables import OUTPUTS
from cgraph.refitted_predictors import refitted_graph
from cgraph.store import (
    codes_from_table,
    file_record,
    file_sizes,
    plain_rows,
    read_json,
    read_table,
    read_tensors,
)
from cgraph.study_archive import unpack_to_cache
from cgraph.study_checks import (
    EVALUATION_SCHEMAS,
    check_codes,
    check_columns,
    check_finished,
    check_images,
    fitting,
)
from cgraph.study_names import Name, StudyNames
from cgraph.trace import Trace
from cgraph.truth_figures import truth_figures
from cgraph.truth_tables import REFITTED, TABLES, measurement_of, truth_file


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
        self._training_codes: dict[int, Codes] = {}
        self._refitted: dict[int, ConceptGraph] = {}

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """Open a study folder, or a zip file that `cgraph export` wrote.

        Parameters
        ----------
        folder : str or Path
            A folder of this machine, or the URL of one in an object store (``s3://…``). A zip file
            is unpacked into a cache first, once; see `cgraph.study_archive`.

        Raises
        ------
        StudyError
            If the folder is no study, is unfinished, has another schema, or lacks a file.
        """
        folder = study_path(folder)
        if folder.is_file():
            folder = unpack_to_cache(folder)
        manifest = Manifest.read(folder)
        missing_stages = [stage for stage in STAGES if stage not in manifest.stages]
        if missing_stages:
            raise StudyError(
                f"The study in {folder} is not finished: {missing_stages[0]} is still to be done. "
                f"Run `{rebuild_command(folder, manifest.origin)}` to go on where it stopped."
            )
        try:
            check_finished(manifest.model, manifest.images, manifest.graph)
        except (KeyError, ValueError) as error:
            raise StudyError(
                f"{folder / MANIFEST} is damaged ({error}). Restore it from a copy or build the "
                "study again."
            ) from None
        sizes = file_sizes(folder, manifest.files)
        for relative, record in manifest.files.items():
            path, size = folder / relative, sizes[relative]
            if size is None:
                advice = rebuild_advice(folder, manifest.origin, relative)
                raise StudyError(f"{path} is missing. {advice}")
            if size != record.size:
                raise StudyError(
                    f"{path} has {size} bytes in place of {record.size}: it was "
                    f"cut off or changed. {rebuild_advice(folder, manifest.origin, relative)}"
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
                    f"{MANIFEST}. {rebuild_advice(self.path, self.manifest.origin, relative)}"
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
        with fitting(self.path / "graph"):
            graph = ConceptGraph.from_tables(
                read_table(self.file(CONCEPTS)), read_table(self.file(EDGES))
            )
            if graph.n_layers != self.n_layers:
                raise ValueError(f"it has {graph.n_layers} layers, the model {self.n_layers}")
        return graph

    @cached_property
    def naming(self) -> StudyNames:
        """What concepts are called, by hand, by attribute and by text."""
        layers = range(1, self.n_layers + 1)
        return StudyNames(
            self.path,
            self.manifest,
            file=self.file,
            sizes=lambda: tuple(map(self.graph.n_concepts, layers)),
        )

    @property
    def names(self) -> dict[ConceptId, ConceptName]:
        """Names of the concepts that have one, from what is known of the images."""
        return self.naming.by_attribute

    def name_of(self, concept: ConceptId) -> Name | None:
        """Return what a concept is called: by hand, else by attribute, else by text, else None."""
        return self.naming.of(concept)

    @cached_property
    def _dictionaries(self) -> list[Dictionary]:
        tensors = read_tensors(self.file(DICTIONARIES))
        found = []
        for layer in range(1, self.n_layers + 1):
            dictionary = Dictionary.of_layer(tensors, layer)
            with fitting(self.path / DICTIONARIES):
                sizes = dictionary.n_atoms, dictionary.d_model
                wanted = self.graph.n_concepts(layer), self.d_model
                if sizes != wanted:
                    raise ValueError(f"layer {layer} has {sizes} atoms and numbers, not {wanted}")
            found.append(dictionary)
        return found

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
            with fitting(self.path / f"codes/layer-{layer:02d}"):
                check_codes(parts, len(self.image_ids), self.graph.n_concepts(layer))
            self._codes[layer] = Codes.concatenate(parts)
        return self._codes[layer]

    def _layer(self, layer: int) -> int:
        if not 1 <= layer <= self.n_layers:
            raise ConfigError(f"There is no layer {layer}: this model has 1 to {self.n_layers}.")
        return layer

    @cached_property
    def _images(self) -> pa.Table:
        table = read_table(self.file(IMAGES))
        with fitting(self.path / IMAGES):
            check_images(table, self.manifest.images["n"])
        return table

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
        with fitting(self.path / IMAGES):
            values = json.loads(self._images.column("attributes")[row].as_py())
            if not isinstance(values, dict):
                raise ValueError(f"the attributes of row {row} are {values!r}")
        return values

    @property
    def pixel_hashes(self) -> list[str]:
        """Hash of the pixels of every image, in the order of `image_ids`."""
        return self._images.column("pixel_hash").to_pylist()

    def thumbnail(self, row: int) -> bytes:
        """Return a small JPEG of one image."""
        return self._images.column("thumbnail")[row].as_py()

    def training_codes(self, layer: int) -> Codes:
        """Return the codes of the training images at a layer; rows as in ``rows(TRAIN)``."""
        if layer not in self._training_codes:
            self._training_codes[layer] = self.codes(layer).take(self.rows(TRAIN))
        return self._training_codes[layer]

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
        places, values = self.training_codes(concept.layer).exemplars(concept.index, n)
        rows = self.rows(TRAIN)[places]
        return [(int(row), float(value)) for row, value in zip(rows, values, strict=True)]

    def evaluation(self, name: str) -> pa.Table:
        """Return a table of held-out figures: ``pairs``, ``concepts`` or ``layers``."""
        table = read_table(self.file(evaluation_file(name)))
        if name in EVALUATION_SCHEMAS:
            with fitting(self.path / evaluation_file(name)):
                check_columns(table, EVALUATION_SCHEMAS[name])
        return table

    def is_measured(self, measurement: str) -> bool:
        """Return whether `cgraph evaluate` took a measurement of this study."""
        return all(truth_file(table) in self.manifest.files for table in TABLES[measurement])

    def measured(self, table: str) -> pa.Table | None:
        """Return a table that `cgraph evaluate` wrote; None if it was not measured.

        Parameters
        ----------
        table : str
            A name in `cgraph.truth_tables.TABLES`, such as ``evidence``.
        """
        measurement = measurement_of(table)
        if not self.is_measured(measurement):
            return None
        path = truth_file(table)
        found = read_table(self.file(path))
        with fitting(self.path / path):
            check_columns(found, TABLES[measurement][table])
        return found

    def refitted(self, start: int) -> ConceptGraph | None:
        """Return the graph with the predictors of rollouts from a layer; None if not measured.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        if self._layer(start) not in self._refitted:
            edges = self.measured("refitted-edges")
            concepts = self.measured("refitted-concepts")
            if edges is None or concepts is None:
                return None
            with fitting(self.path / truth_file("refitted-edges")):
                self._refitted[start] = refitted_graph(self.graph, edges, concepts, start)
        return self._refitted[start]

    @cached_property
    def outputs(self) -> OutputNodes | None:
        """What the model says in the end, as nodes after the last layer; None if there are none.

        `cgraph outputs` makes them.
        """
        if OUTPUTS not in self.manifest.files:
            return None
        return stored_outputs(
            self.manifest.files, self.file, self.graph, len(self.image_ids), self.path
        )

    @property
    def truth(self) -> dict[str, float | int]:
        """How far the graph tells the truth about the network; see `truth_figures`."""
        return truth_figures(self.measured, REFITTED)

    @cached_property
    def usual(self) -> Usual:
        """What is usual for images of this study."""
        with fitting(self.path / USUAL):
            usual = Usual.from_tensors(read_tensors(self.file(USUAL)))
            sizes, wanted = usual.sizes, (self.n_layers, self.d_model)
            if sizes != wanted:
                raise ValueError(f"it has {sizes} layers and numbers, the model {wanted}")
        return usual

    @cached_property
    def _examples(self) -> dict[int, dict[str, Any]]:
        with fitting(self.path / EXAMPLES):
            entries = {int(entry["row"]): entry for entry in read_json(self.file(EXAMPLES))}
            strangers = set(entries) - set(range(len(self.image_ids)))
            if strangers:
                raise ValueError(f"there are no images {sorted(strangers)}")
        return entries

    @property
    def examples(self) -> tuple[int, ...]:
        """Rows of the images to show first, traced and stored in full."""
        return tuple(self._examples)

    def example_picture(self, row: int) -> bytes:
        """Return the picture of an example as a JPEG."""
        return self.file(self._example(row)["picture"]).read_bytes()

    def example_trace(self, row: int) -> Trace:
        """Return the finished trace of an example."""
        return Trace.from_dict(read_json(self.file(self._example(row)["trace"])))

    def _example(self, row: int) -> dict[str, Any]:
        if row not in self._examples:
            raise ConfigError(
                f"Image {row} of the study {self.name!r} is none of its examples: "
                f"{', '.join(map(str, self.examples))}."
            )
        return self._examples[row]

    def info(self) -> dict[str, Any]:
        """Return the study's description and held-out figures as plain JSON values."""
        try:
            build = read_json(self.path / BUILD_RECORD)
        except StudyError:
            # It tells how the study was made, and no study depends on it.
            build = {}
        stages = build.get("stages") if isinstance(build, dict) else None
        layers = range(1, self.n_layers + 1)
        quality = {}
        if QUALITY in self.manifest.files:
            quality["quality"] = read_json(self.file(QUALITY))
        return {
            "schema": SCHEMA,
            "name": self.name,
            "origin": self.manifest.origin,
            "model": {**self.manifest.model, "token": self.manifest.token},
            "token_words": self.manifest.token_words,
            "images": self.manifest.images,
            "config": self.config.to_dict(),
            "versions": self.manifest.versions,
            "n_edges": self.graph.n_edges,
            "layers": plain_rows(self.evaluation("layers")),
            "pairs": plain_rows(self.evaluation("pairs")),
            "n_named": [sum(c.layer == layer for c in self.names) for layer in layers],
            **quality,
            "outputs": [node.to_dict() for node in self.outputs.nodes] if self.outputs else [],
            "truth": self.truth,
            "build": stages,
        }
