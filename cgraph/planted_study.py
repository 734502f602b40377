"""A whole study folder of any size, written from planted codes and a planted graph.

Nothing in it is learned and no figure is invented: the edges are the planted ones; calibration,
thresholds, held-out figures, names and what is usual are measured on planted codes and tokens by
the functions that measure them in a build. A study of the paper's size takes minutes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.attributes import attribute_table
from cgraph.codes import Codes
from cgraph.dictionary import Dictionary
from cgraph.errors import StudyError
from cgraph.evaluation import LAYER_SCHEMA, summarise_pairs
from cgraph.examples import choose_examples
from cgraph.graph import ConceptGraph
from cgraph.manifest import CONCEPTS, EDGES, MANIFEST, NAMES, Manifest, evaluation_file, slug
from cgraph.novelty import Usual
from cgraph.planted import (
    PlantedGraph,
    plant_codes,
    plant_dictionaries,
    plant_graph,
    plant_images,
    plant_tokens,
)
from cgraph.planted_config import PlantedConfig
from cgraph.planted_measures import (
    LayerSignals,
    PlantedLayer,
    Rows,
    calibrated,
    figures,
    layer_facts,
    names,
    usual_of,
)
from cgraph.planted_topics import attributes
from cgraph.planted_writer import PlantedWriter, image_id
from cgraph.predictor_tables import concept_table, edge_table
from cgraph.progress import Progress
from cgraph.signals import explained_share
from cgraph.store import LOCK_NAME, folder_lock
from cgraph.trace import Trace
from cgraph.trace_codes import surprises, trace_codes

COMMAND = "cgraph planted"
"""What makes a planted study again, with its sizes, ``--out`` and its folder."""

_STEPS = ("model", "planting", "pictures", "layers", "examples")


def write_planted_study(
    folder: str | Path,
    config: PlantedConfig | None = None,
    *,
    model: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Write a finished study of planted concepts.

    Parameters
    ----------
    folder : str or Path
        New or empty, or a planted study of the same sizes, which is made again. The study is
        called as the folder is.
    config : PlantedConfig, optional
        Sizes; the paper's if left out.
    model : bool
        Whether a random vision transformer of these sizes is put into the study, so that uploads
        can be traced. Planted tokens share with its tokens the mean and the length about it and
        nothing else: what is found in an upload means nothing, and it is called unusual.
    on_progress : callable, optional
        Called with a `Progress`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    StudyError
        If the folder holds something else, or cannot be written.
    ConfigError
        If the folder's name cannot be one of a study.
    """
    folder, config = Path(folder).absolute(), config or PlantedConfig()
    slug(folder.name)  # refused before the folder is made
    steps = _Steps(_STEPS if model else _STEPS[1:], on_progress)
    with folder_lock(folder):
        writer = PlantedWriter(folder, config, _claim(folder, config, model))
        means = lengths = None
        if model:
            steps.start("model", 1)
            means, lengths = writer.add_model()
            steps.advance()
        steps.start("planting", 2 + config.n_layers)
        graph = plant_graph(config)
        steps.advance()
        codes = plant_codes(config, graph)
        steps.advance()
        if lengths is not None:
            codes = [_scaled(*pair) for pair in zip(codes, lengths, strict=True)]
        dictionaries = plant_dictionaries(config, means)
        writer.add_dictionaries(dictionaries)
        for layer, of_layer in enumerate(codes, start=1):
            writer.add_codes(layer, of_layer)
            steps.advance()
        steps.start("pictures", len(writer.parts))
        rows = Rows.of(writer.add_images(steps.advance))
        steps.start("layers", config.n_layers)
        tables, layers, usual = _measure(config, graph, codes, dictionaries, rows, steps.advance)
        for relative, table in tables.items():
            writer.add_table(relative, table)
        writer.add_usual(usual)
        steps.start("examples", 1)
        concept_graph = ConceptGraph.from_tables(tables[CONCEPTS], tables[EDGES])
        areas = tables[evaluation_file("concepts")].column("auc").to_numpy()[-config.n_atoms :]
        # It is worth to show a concept as far as its predictor beats chance.
        worth = np.maximum(np.nan_to_num(2 * areas - 1), 0)
        chosen = choose_examples(codes[-1], rows.held_out, worth, config.n_examples)
        examples = [
            (row, _trace(concept_graph, layers, row, rows, usual, writer.name)) for row in chosen
        ]
        writer.add_examples(examples)
        steps.advance()
        writer.finish()
    return folder


def planted_command(config: PlantedConfig, model: bool) -> str:
    """Return the command that makes a study of these sizes, without its folder."""
    options = {
        "layers": config.n_layers,
        "atoms": config.n_atoms,
        "width": config.d_model,
        "active": config.max_nnz,
        "images": config.n_images,
        "edges": config.total_edges,
        "seed": config.seed,
    }
    text = " ".join(f"--{name} {value}" for name, value in options.items())
    return f"{COMMAND} {text}{' --model' if model else ''}"


def _claim(folder: Path, config: PlantedConfig, model: bool) -> dict[str, Any]:
    """Return the origin of the study to be; refuse a folder that holds something else."""
    settings = {**config.to_dict(), "model": model}
    origin = {"command": planted_command(config, model), "settings": settings}
    stranger = next((entry for entry in folder.iterdir() if entry.name != LOCK_NAME), None)
    if stranger is None:
        return origin
    if not (folder / MANIFEST).is_file():
        raise StudyError(
            f"{folder} is not empty: it holds {stranger.name}. Choose a new folder for --out."
        )
    found = Manifest.read(folder).origin
    if found != origin:
        raise StudyError(
            f"{folder} holds a study that was made by `{found.get('command', 'cgraph build')}` or "
            "with other settings. Choose a new folder for --out, or delete it."
        )
    return origin


def _scaled(codes: Codes, length: np.float32) -> Codes:
    """Bring codes to the length that tokens of the model have about their mean."""
    own = np.sqrt((codes.coefficients.astype(np.float64) ** 2).sum() / codes.n_samples)
    values = codes.coefficients * np.float32(length / own)
    return dataclasses.replace(codes, coefficients=values)


def _measure(
    config: PlantedConfig,
    graph: PlantedGraph,
    codes: Sequence[Codes],
    dictionaries: Sequence[Dictionary],
    rows: Rows,
    advance: Callable[[], None],
) -> tuple[dict[str, pa.Table], list[PlantedLayer], Usual]:
    """Measure everything that a build measures, layer by layer; return tables by their places."""
    known = attribute_table([attributes(shown) for shown in plant_images(config).tolist()])
    layers: list[PlantedLayer] = []
    signals, facts, concepts, edges, measured, named = [], [], [], [], [], []
    for layer, (of_layer, dictionary) in enumerate(zip(codes, dictionaries, strict=True), start=1):
        tokens = plant_tokens(config, layer, dictionary, of_layer)
        layers.append(PlantedLayer(dictionary, of_layer, tokens[rows.held_out]))
        facts.append(layer_facts(layer, tokens, of_layer, dictionary, rows))
        predictors = None
        if layer > 1:
            left = layers[-2]
            predictors = calibrated(graph.predictors[layer - 2], left.codes, of_layer, rows)
            measured.append(figures(layer, predictors, left, layers[-1], rows))
            edges.append(edge_table(predictors, layer))
        before = codes[layer - 2] if layer > 1 else None
        signals.append(LayerSignals.measure(tokens, of_layer, dictionary, rows, predictors, before))
        concepts.append(concept_table(layer, rows.counts(of_layer), len(rows.train), predictors))
        named.append(names(layer, of_layer, known, rows))
        advance()
    tables = {
        CONCEPTS: pa.concat_tables(concepts),
        EDGES: pa.concat_tables(edges),
        NAMES: pa.concat_tables(named),
        evaluation_file("layers"): pa.Table.from_pylist(facts, schema=LAYER_SCHEMA),
        evaluation_file("concepts"): pa.concat_tables(measured),
    }
    pairs = summarise_pairs(tables[evaluation_file("concepts")], tables[CONCEPTS])
    return {**tables, evaluation_file("pairs"): pairs}, layers, usual_of(signals)


def _trace(
    graph: ConceptGraph,
    layers: Sequence[PlantedLayer],
    row: int,
    rows: Rows,
    usual: Usual,
    study: str,
) -> Trace:
    """Trace a held-out image by its codes and tokens."""
    place = int(np.searchsorted(rows.held_out, row))
    explained = []
    for layer in layers:
        decoded = layer.dictionary.decode(layer.codes.take(np.array([row])))
        token = layer.tokens[[place]]
        explained.append(float(explained_share(token, decoded, layer.dictionary.mean)[0]))
    trace = trace_codes(
        graph,
        [layer.codes.row(row) for layer in layers],
        image_id=image_id(row),
        study=study,
        explained=explained,
    )
    tokens = np.stack([layer.tokens[place] for layer in layers])
    unusual = usual.is_unusual(tokens, explained, surprises(trace))
    return dataclasses.replace(trace, unusual=unusual)


class _Steps:
    """Turns done work into `Progress`."""

    def __init__(
        self, names: tuple[str, ...], on_progress: Callable[[Progress], None] | None
    ) -> None:
        self._names, self._told = names, on_progress or (lambda progress: None)

    def start(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, -1
        self._started = time.monotonic()
        self.advance()

    def advance(self) -> None:
        self._done += 1
        seconds = time.monotonic() - self._started
        left = seconds / self._done * (self._total - self._done) if self._done else None
        self._told(
            Progress(
                self._name,
                self._names.index(self._name) + 1,
                len(self._names),
                self._done,
                self._total,
                round(seconds, 1),
                None if left is None else round(left, 1),
            )
        )
