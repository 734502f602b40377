"""Outputs put into a study and taken out of it again: what `cgraph outputs` does.

What the model says of every image is measured once, and kept with the study. The manifest is
written before and after the files, so that a study is whole whenever it is interrupted: with the
outputs or without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from cgraph.config import TRAIN
from cgraph.errors import ConfigError, StudyError
from cgraph.executors import local_executor
from cgraph.graph_tables import OUTPUT
from cgraph.manifest import MANIFEST, Manifest
from cgraph.object_paths import is_remote, study_path
from cgraph.output_fits import (
    PARTS,
    OutputLabels,
    entropy_of,
    fit_output,
    labels_of,
    node_of,
    output_inputs,
)
from cgraph.output_nodes import OutputNode, OutputNodes, check_name
from cgraph.output_refits import refitted_outputs
from cgraph.output_tables import (
    GIVEN,
    LABEL_SCHEMA,
    OUTPUT_CONCEPTS,
    OUTPUT_EDGES,
    OUTPUT_LABELS,
    OUTPUT_SCHEMA,
    OUTPUTS,
    REFITTED_FILES,
    SOURCES,
    STAGE,
)
from cgraph.output_values import Asked, measured_values, resolved, whole_model
from cgraph.predictor import Predictors
from cgraph.predictor_tables import concept_table, edge_table, predictors_of_layer
from cgraph.progress import Progress, ProgressWriter
from cgraph.store import (
    file_record,
    folder_lock,
    read_table,
    remove_folder,
    to_json,
    write_bytes,
    write_table,
)
from cgraph.study import Study
from cgraph.unpacked import refuse_unpacked
from cgraph.workbench import WORKING, Workbench

_PROGRESS = "progress.json"
_MARK = "of.json"


@dataclass(frozen=True)
class _Made:
    """Outputs with all that is stored of them; one entry or column for each."""

    nodes: tuple[OutputNode, ...]
    labels: np.ndarray
    values: np.ndarray
    predictors: tuple[Predictors, ...]

    def take(self, places: Sequence[int]) -> _Made:
        return _Made(
            tuple(self.nodes[place] for place in places),
            self.labels[:, places],
            self.values[:, places],
            tuple(self.predictors[place] for place in places),
        )

    def with_more(self, other: _Made) -> _Made:
        return _Made(
            self.nodes + other.nodes,
            np.hstack([self.labels, other.labels]),
            np.hstack([self.values, other.values]),
            self.predictors + other.predictors,
        )


def add_outputs(
    folder: str | Path,
    asked: Sequence[Asked] = (),
    *,
    images: str | None = None,
    workers: int | None = None,
    again: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Study:
    """Measure outputs of a finished study, fit their predictors, and store both.

    Parameters
    ----------
    folder : str or Path
        A study folder of this machine.
    asked : sequence of Asked
        Outputs to add. One that is there already, with the same meaning, stays as it is.
    images : str, optional
        Where the study's images lie now; where they lay when it was built if left out.
    workers : int, optional
        Processes; one for each core if left out. The result is the same for any.
    again : bool
        Also measure what is there already: all outputs if none is asked for.
    on_progress : callable, optional
        Called with a `Progress` whenever a part is finished.

    Returns
    -------
    Study
        Opened anew.

    Raises
    ------
    ConfigError
        If there is no such class, a text or a threshold cannot be used, or a name is taken.
    ModelError, ImageError
        If the model has no output, or model or pictures cannot be had.
    StudyError
        If the folder is no finished study, cannot be written, or somebody else holds it.
    """
    study = _writable(folder)
    with folder_lock(study.path):
        writer = ProgressWriter(study.path / WORKING / _PROGRESS, ["outputs"], on_progress)
        bench = Workbench(
            study,
            local_executor(workers or os.cpu_count() or 1),
            images=images,
            on_start=lambda total, done: writer.start("outputs", total=total, done=done),
            on_advance=writer.advance,
        )
        there = _stored(study)
        if again and not asked and there is not None:
            asked = [_asked_again(node) for node in there.nodes]
        bench.need_pictures()
        wanted = resolved(whole_model(bench.source), asked)
        todo = _to_do(wanted, () if there is None else there.nodes, again)
        if todo:
            made = _make(bench, todo)
            if there is not None:
                names = {node.name for node in made.nodes}
                kept = [n for n, node in enumerate(there.nodes) if node.name not in names]
                made = there.take(kept).with_more(made)
            _store(study, made)
        _clear(study.path)
    return Study.open(study.path)


def remove_outputs(folder: str | Path, names: Sequence[str]) -> Study:
    """Take outputs out of a study.

    Parameters
    ----------
    folder : str or Path
    names : sequence of str
        With or without ``O/``.

    Returns
    -------
    Study
        Opened anew.

    Raises
    ------
    ConfigError
        If there is no such output.
    StudyError
        If the folder cannot be written, or somebody else holds it.
    """
    study = _writable(folder)
    with folder_lock(study.path):
        outputs, there = study.outputs, _stored(study)
        if outputs is None or there is None:
            raise ConfigError(f"The study {study.name!r} has no outputs that could be removed.")
        gone = {outputs.id_of(name).index for name in names}
        _store(study, there.take([n for n in range(len(outputs)) if n not in gone]))
    return Study.open(study.path)


def refit_outputs(folder: str | Path) -> Study:
    """Fit the predictors of outputs for rollouts anew, after those of the study were.

    Nothing is done where the study has no outputs. The caller holds the lock of the folder.

    Raises
    ------
    StudyError
        If a file does not fit the rest.
    """
    study = Study.open(folder)
    if study.outputs is not None:
        _store_refits(study)
    return Study.open(folder)


def _writable(folder: str | Path) -> Study:
    if is_remote(study_path(folder)):
        raise StudyError(
            f"{folder} is not a folder of this machine, where outputs are kept. Copy the study "
            "here first."
        )
    study = Study.open(folder)
    refuse_unpacked(study.path, "no output can be kept")
    return study


def _asked_again(node: OutputNode) -> Asked:
    text = str(node.class_index) if node.class_index >= 0 else node.text
    threshold = node.threshold if node.rule == GIVEN else None
    return Asked(node.source, text, node.name, threshold, node.against)


def _to_do(
    wanted: Sequence[tuple[Asked, int]], there: Sequence[OutputNode], again: bool
) -> list[tuple[Asked, int]]:
    """Return what is to be measured, after checking names against each other and what is there."""
    known = {node.name: node for node in there}
    todo: dict[str, tuple[Asked, int]] = {}
    for one, place in wanted:
        name = check_name(one.name or one.text)
        node = known.get(name)
        same = node is not None and (
            (node.source, node.text, node.against, node.class_index)
            == (one.source, one.text, one.against, place)
            and (node.threshold if node.rule == GIVEN else None) == one.threshold
        )
        if (node is not None and not same) or name in todo:
            meaning = f" ({node.meaning})" if node is not None else ""
            raise ConfigError(
                f"There is an output O/{name} already{meaning}. Give the new one another --name, "
                "or take the old one out with --remove."
            )
        if node is None or again:
            todo[name] = replace(one, name=name), place
    return list(todo.values())


def _make(bench: Workbench, asked: Sequence[tuple[Asked, int]]) -> _Made:
    study = bench.study
    labels: list[OutputLabels] = []
    columns: list[np.ndarray] = []
    ordered: list[tuple[Asked, int]] = []
    for source in SOURCES:
        own = [one for one in asked if one[0].source == source]
        if not own:
            continue
        values, likeliest = measured_values(bench, own)
        for place, one in enumerate(own):
            found = labels_of(one[0], values[:, place], likeliest[:, place], study.rows(TRAIN))
            labels.append(found)
            columns.append(values[:, place])
            ordered.append(one)
    inputs, nodes, predictors = output_inputs(bench), [], []
    for one, own_labels in zip(ordered, labels, strict=True):
        fit, figures = fit_output(
            inputs, own_labels.labels, study.config.predictor, entropy_of(study, one[0])
        )
        predictors.append(fit)
        nodes.append(node_of(study, one, own_labels, fit, figures))
    return _Made(
        tuple(nodes),
        np.column_stack([own.labels for own in labels]),
        np.column_stack(columns),
        tuple(predictors),
    )


def _stored(study: Study) -> _Made | None:
    """Read the outputs of a study back."""
    outputs: OutputNodes | None = study.outputs
    if outputs is None:
        return None
    concepts, edges = (read_table(study.file(name)) for name in (OUTPUT_CONCEPTS, OUTPUT_EDGES))
    all_of_them = predictors_of_layer(concepts, edges, outputs.layer)
    each = tuple(all_of_them.take(np.array([place])) for place in range(len(outputs)))
    return _Made(outputs.nodes, outputs.labels, outputs.values, each)


def _store(study: Study, made: _Made) -> None:
    """Write all outputs of a study; none leaves the study as if it had never had any."""
    folder, layer = study.path, study.n_layers + 1
    _record(folder, {})
    remove_folder(folder / Path(OUTPUTS).parent)
    if not made.nodes:
        return
    joined = Predictors.concatenate(made.predictors)
    joined = replace(joined, children=np.arange(len(made.nodes), dtype=np.int32))
    counts = {part: made.labels[study.rows(part)].sum(axis=0) for part in PARTS}
    n_train, (n_images, n_outputs) = len(study.rows(TRAIN)), made.labels.shape
    labels = {
        "output": np.repeat(np.arange(n_outputs), n_images),
        "row": np.tile(np.arange(n_images), n_outputs),
        "label": made.labels.T.ravel(),
        "value": made.values.T.ravel(),
    }
    tables = {
        OUTPUTS: pa.Table.from_pylist([asdict(node) for node in made.nodes], schema=OUTPUT_SCHEMA),
        OUTPUT_CONCEPTS: concept_table(layer, counts, n_train, joined, kind=OUTPUT),
        OUTPUT_EDGES: edge_table(joined, layer, child_kind=OUTPUT),
        OUTPUT_LABELS: pa.table(labels).cast(LABEL_SCHEMA),
    }
    _record(folder, tables)
    _store_refits(Study.open(folder))


def _store_refits(study: Study) -> None:
    outputs = study.outputs
    assert outputs is not None  # the caller has looked
    kept = {name: r for name, r in study.manifest.files.items() if name not in REFITTED_FILES}
    write_bytes(study.path / MANIFEST, to_json(replace(study.manifest, files=kept).to_dict()))
    found = refitted_outputs(study, outputs)
    if found is not None:
        _record(study.path, dict(zip(REFITTED_FILES, found, strict=True)), keep=True)


def _record(folder: Path, tables: dict[str, pa.Table], *, keep: bool = False) -> None:
    """Write tables and list them in the manifest, in place of all of outputs or beside them."""
    manifest = Manifest.read(folder)
    files = {name: r for name, r in manifest.files.items() if keep or r.stage != STAGE}
    for name, table in tables.items():
        write_table(folder / name, table)
        files[name] = file_record(folder / name, STAGE)
    write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))


def _clear(folder: Path) -> None:
    """Remove what was only kept until it was done; what measurements left stays for them."""
    working = folder / WORKING
    remove_folder(working / "outputs")
    (working / _PROGRESS).unlink(missing_ok=True)
    if not any(path.name != _MARK for path in working.glob("*")):
        remove_folder(working)
