"""The command ``cgraph edit``: one saved edit, run over a whole set of images."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.edits import PLAIN_RULE, REFITTED_RULE, RULES
from cgraph.errors import CgraphError, ConfigError, ImageError

if TYPE_CHECKING:
    from cgraph.agreement import Agreement, States
    from cgraph.edits import SavedEdit
    from cgraph.image_set import ImageSet
    from cgraph.study import Study
    from cgraph.vit import VisionModel

BATCH = 32
"""Images that go through the network at a time."""


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    edit = commands.add_parser(
        "edit",
        help="run a saved edit over images: what the graph predicts, what the network does",
        description="Set concepts on or off in every image of a set, as a saved edit says, and "
        "write what changes in later layers: as the graph predicts it and as it is measured in the "
        "real network. A row for each concept that changed.",
    )
    edit.add_argument("edit", type=Path, metavar="EDIT", help="JSON file, as the app saves it")
    edit.add_argument(
        "--images",
        metavar="SET",
        required=True,
        help="folder or zip file of images, Parquet, a list, drawn scenes or hub:owner/name, as "
        "for cgraph build",
    )
    edit.add_argument("--study", required=True, help="a study folder or zip file")
    edit.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    edit.add_argument("--max-images", type=int, metavar="N", help="size of a seeded sample")
    edit.add_argument(
        "--rule",
        choices=RULES,
        help="how labels run through the graph; what the edit says if left out, and where it says "
        f"nothing, {REFITTED_RULE} if the study has it, else {PLAIN_RULE}",
    )
    edit.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from cgraph.counterfactual import settled
    from cgraph.edit_tables import changes_csv
    from cgraph.edits import SavedEdit
    from cgraph.images import open_images, sample_rows
    from cgraph.outside import caveat
    from cgraph.store import write_bytes
    from cgraph.study import Study
    from cgraph.tracing import load_model

    try:
        text = options.edit.read_bytes()
    except OSError as error:
        raise ConfigError(f"{options.edit} cannot be read: {error.strerror}.") from None
    saved = SavedEdit.from_json(text)
    study = Study.open(options.study)
    _check(saved, study)
    settings = saved.settings
    if options.rule is not None:
        settings = dataclasses.replace(settings, rule=options.rule)
    saved = dataclasses.replace(saved, settings=settled(study, settings))
    images = open_images(options.images)
    rows = sample_rows(len(images), options.max_images, saved.settings.seed)
    model = load_model(study)

    def name_of(concept: Any) -> str:
        name = study.name_of(concept)
        return "" if name is None else name.text

    table: list[str] = []
    sums: dict[int, list[Agreement]] = {}
    n_failed = n_done = 0
    for batch in _batches(images, rows):
        n_failed += batch.n_failed
        if batch.ids:
            answers, without = _answers(study, model, saved, images, batch)
            edits = [saved.edit] * len(batch.ids)
            table.append(
                changes_csv(batch.ids, edits, answers, name_of, head=not table, without=without)
            )
            _add(sums, answers, saved, study.n_layers)
            n_done += len(batch.ids)
        print(f"{n_done} of {len(rows)} images", file=sys.stderr, flush=True)
    if not table:
        raise ImageError(f"None of the {len(rows)} images of {options.images} could be read.")
    write_bytes(options.out, "".join(table).encode())
    _print_summary(sums, n_done, saved, options.out)
    unseen = caveat(study, sums)
    if unseen is not None:
        print(unseen)
    return 1 if n_failed else 0


def _check(saved: SavedEdit, study: Study) -> None:
    if saved.study is not None and saved.study != study.name:
        raise ConfigError(
            f"The edit is about study {saved.study!r}, whose concepts mean nothing in "
            f"{study.name!r}. Give that study, or set study to null in the edit."
        )
    if not len(saved.edit):
        raise ConfigError("The edit sets nothing on or off. Name at least one concept.")
    for concept in saved.edit:
        study.graph.concept_row(concept)
    saved.settings.start_of(saved.edit, study.n_layers)


class _Batch:
    """Some images that could be read."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.ids: list[str] = []
        self.images: list[Any] = []
        self.n_failed = 0


def _batches(images: ImageSet, rows: np.ndarray) -> Iterator[_Batch]:
    for first in range(0, len(rows), BATCH):
        # As long as one batch is worked on, the next is fetched, if the images lie in the net.
        images.prefetch(rows[first : first + 2 * BATCH])
        batch = _Batch()
        for row in rows[first : first + BATCH].tolist():
            try:
                record = images.read(row)
            except ImageError as error:
                print(f"cgraph: {error}", file=sys.stderr)
                batch.n_failed += 1
                continue
            batch.rows.append(row)
            batch.ids.append(record.image_id)
            batch.images.append(record.image)
        yield batch


def _answers(
    study: Study, model: VisionModel, saved: SavedEdit, images: ImageSet, batch: _Batch
) -> tuple[dict[str, States], dict[str, list[int]]]:
    """Return the answers about a batch, and which images an answer says nothing about."""
    from cgraph import intervention
    from cgraph.counterfactual import rolled_through, states_of_rollouts, states_of_runs
    from cgraph.edits import Edit
    from cgraph.rollout import rollout

    edit, settings = saved.edit, saved.settings
    pixels = model.preprocess(batch.images)
    plain = intervention.run(study, model, pixels)
    edited = intervention.run(study, model, pixels, edit)
    start = settings.start_of(edit, study.n_layers)
    labels = plain.codes[start - 1].dense_labels()
    graph, inputs = rolled_through(study, settings, start)
    before, after = (
        rollout(graph, labels, start, settings, part, keys=batch.rows, inputs=inputs)
        for part in (Edit(), edit)
    )
    answers = {
        "graph": states_of_rollouts(before, after, settings),
        "network": states_of_runs(study, plain, edited, edit.layers[0]),
    }
    without: dict[str, list[int]] = {}
    if saved.redraw is not None:
        redrawn, without["redrawn"] = _redrawn(study, model, saved.redraw, images, batch)
        answers["redrawn"] = states_of_runs(study, plain, redrawn, edit.layers[0])
    return answers, without


def _redrawn(
    study: Study, model: VisionModel, redraw: str, images: ImageSet, batch: _Batch
) -> tuple[Any, list[int]]:
    """Run the scenes of a batch with the saved change; also return where it cannot be made."""
    from cgraph import intervention
    from cgraph.redrawing import SceneChange, pixels_of
    from cgraph.scene_set import SceneSet
    from cgraph.scenes import sample_scene

    if not isinstance(images, SceneSet):
        raise ConfigError(
            f"The edit redraws scenes ({redraw}), and {images.reference} holds pictures that "
            "cannot be drawn again. Set redraw to null in the edit, or give a set of drawn scenes."
        )
    change = SceneChange.parse(redraw)
    scenes, impossible = [], []
    for place, row in enumerate(batch.rows):
        scene = sample_scene(row, images.seed)
        try:
            scene = change.apply(scene)
        except CgraphError:
            impossible.append(place)  # it has no such object
        scenes.append(scene)
    return intervention.run(study, model, pixels_of(model, scenes)), impossible


def _add(
    sums: dict[int, list[Agreement]], answers: dict[str, States], saved: SavedEdit, n_layers: int
) -> None:
    from cgraph.agreement import agreement

    graph, network = answers["graph"], answers["network"]
    for layer in range(saved.edit.layers[0] + 1, n_layers + 1):
        left_out = np.zeros(graph.of_layer(layer).before.shape, dtype=bool)
        left_out[:, [concept.index for concept in saved.edit.of_layer(layer)]] = True
        found = agreement(graph, network, layer, left_out=left_out)
        sums.setdefault(layer, []).append(found)


def _print_summary(
    sums: dict[int, list[Agreement]], n_images: int, saved: SavedEdit, out: Path
) -> None:
    from cgraph.agreement import total

    print(f"{saved.edit.to_text()} in {n_images} images, rule {saved.settings.rule}; table: {out}")
    if not sums:
        print("The edit is made in the last layer: nothing comes after it.")
        return
    head = (
        "layer", "predicted", "measured", "shared", "confirmed", "foreseen", "overlap",
        "by chance", "rank corr.",
    )  # fmt: skip
    cells: list[tuple[str, ...]] = [head]
    for layer, parts in sums.items():
        found = total(parts)
        shares = (
            found.confirmed, found.foreseen, found.overlap, found.by_chance,
            found.rank_correlation,
        )  # fmt: skip
        counts = (layer, found.n_first, found.n_second, found.n_shared)
        cells.append((*map(str, counts), *("–" if s is None else f"{s:.2f}" for s in shares)))
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
