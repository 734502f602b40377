"""What an edit changed, as a table: a row for each concept that changed in any answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from cgraph.agreement import LayerStates, States
from cgraph.concept import ConceptId
from cgraph.edits import Edit
from cgraph.trace_export import cell_text

ANSWERS = ("graph", "network", "redrawn")

COLUMNS = (
    "image_id",
    "layer",
    "concept",
    "name",
    "by_hand",
    *(f"{answer}_{what}" for answer in ANSWERS for what in ("change", "before", "after")),
    "from_fixed_number",
    "graph_and_network",
)
"""Columns of `changes_csv`. The graph's numbers are predicted probabilities; those of the network
and of the redrawn picture are measured pre-activations."""

_CHANGES = {1: "appeared", -1: "vanished", 0: ""}


def changed_rows(
    image_ids: Sequence[str],
    edits: Sequence[Edit],
    answers: dict[str, States],
    name_of: Callable[[ConceptId], str],
    without: Mapping[str, Collection[int]] | None = None,
) -> Iterable[Sequence[object]]:
    """Return a row of `COLUMNS` for every concept that changed in any answer.

    Parameters
    ----------
    image_ids : sequence of str
    edits : sequence of Edit
        One for each image.
    answers : dict of str to States
        By names of `ANSWERS`, about these images.
    name_of : callable
        What people call a concept; empty for one without a name.
    without : mapping of str to collection of int, optional
        Places of images that an answer says nothing about; their cells stay empty.
    """
    layers = sorted({s.first + place for s in answers.values() for place in range(len(s.layers))})
    for row, (image_id, edit) in enumerate(zip(image_ids, edits, strict=True)):
        for layer in layers:
            there = {
                name: states.of_layer(layer)
                for name, states in answers.items()
                if states.has_layer(layer) and row not in (without or {}).get(name, ())
            }
            if not there:
                continue
            changed = np.zeros(next(iter(there.values())).before.shape[1], dtype=bool)
            for state in there.values():
                changed |= state.flips[row] != 0
            for index in np.flatnonzero(changed):
                concept = ConceptId(layer, int(index))
                cells: list[object] = [
                    cell_text(image_id), layer, concept, cell_text(name_of(concept)),
                    edit.label(concept) is not None,
                ]  # fmt: skip
                for name in ANSWERS:
                    if name not in there:
                        cells += ["", "", ""]
                        continue
                    state = there[name]
                    cells += [
                        _CHANGES[int(state.flips[row, index])],
                        float(state.value_before[row, index]),
                        float(state.value_after[row, index]),
                    ]
                coupled = there["graph"].from_fixed_number if "graph" in there else None
                cells.append("" if coupled is None else bool(coupled[row, index]))
                cells.append(_verdict(there, row, int(index)))
                yield cells


def _verdict(there: dict[str, LayerStates], row: int, index: int) -> str:
    if "graph" not in there or "network" not in there:
        return ""
    graph, network = (int(there[name].flips[row, index]) for name in ("graph", "network"))
    if graph == network:
        return "agree" if graph else ""
    if graph and network:
        return "opposed"
    return "only graph" if graph else "only network" if network else ""


def changes_csv(
    image_ids: Sequence[str],
    edits: Sequence[Edit],
    answers: dict[str, States],
    name_of: Callable[[ConceptId], str],
    *,
    head: bool = True,
    without: Mapping[str, Collection[int]] | None = None,
) -> str:
    """Return the changes of some images as CSV; see `changed_rows`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    if head:
        writer.writerow(COLUMNS)
    writer.writerows(changed_rows(image_ids, edits, answers, name_of, without))
    return buffer.getvalue()
