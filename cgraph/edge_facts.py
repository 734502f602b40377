"""What was measured of the edges of a graph: evidence, worth, and whether they are found again.

The tables of `cgraph.truth_tables` that are about edges have one row for each edge of the graph, in
its order, so a measurement is found by where an edge stands in the whole graph. That place is
looked up by the ends of the edge: graphs that filters made and parts of them need to know nothing
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.errors import StudyError
from cgraph.graph import ConceptGraph
from cgraph.store import as_array
from cgraph.truth_tables import EDGE_KEY, NOT_MEASURED, ORIGINS, VERDICTS, measurement_of

FIELDS = {
    "verdict": "string",
    "effect": "double",
    "effect_low": "double",
    "effect_high": "double",
    "n_images": "int",
    "origin": "string",
    "worth": "double",
    "found_again": "boolean",
    "found_again_bags": "boolean",
}
"""What can be known of an edge, in the order of columns in files, and its kind of value."""

# Fields that each table fills, and the columns that they come from.
_SOURCES = {
    "evidence": {
        name: name
        for name in ("verdict", "effect", "effect_low", "effect_high", "n_images", "origin")
    },
    "worth": {"worth": "auc_drop"},
    "stable-edges": {"found_again": "found_again", "found_again_bags": "found_again_bags"},
}
_LONG_COLUMN = 100_000  # rows from which loading Arrow's compute functions pays
_CODED = {"verdict": VERDICTS, "origin": ORIGINS}


@dataclass(frozen=True)
class EdgeFact:
    """What was measured of one edge; None or NaN where nothing was.

    Attributes
    ----------
    verdict : str or None
        One of `cgraph.truth_tables.VERDICTS`; None in a study whose evidence was not measured.
    effect, effect_low, effect_high : float or None
        Change of the child's pre-activation in the weight's direction by what the parent adds, in
        units of its standard deviation, and its 95 % interval.
    n_images : int or None
        Images in which it was measured.
    origin : str or None
        One of `cgraph.truth_tables.ORIGINS`.
    worth : float or None
        AUC that the child loses on held-out images without the edge.
    found_again, found_again_bags : bool or None
        Whether another seed of the dictionary, or of the bags alone, has the edge, too.
    """

    verdict: str | None = None
    effect: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    n_images: int | None = None
    origin: str | None = None
    worth: float | None = None
    found_again: bool | None = None
    found_again_bags: bool | None = None

    @property
    def has_effect(self) -> bool:
        """Whether an effect was measured."""
        return self.verdict not in (None, NOT_MEASURED) and self.effect == self.effect

    def known(self) -> dict[str, Any]:
        """Return the fields that were measured in the study; None for a value not known."""
        return {
            name: None if value != value or value == "" else value
            for name, value in asdict(self).items()
            if value is not None
        }


class EdgeFacts:
    """What was measured of every edge of a graph; immutable.

    Use `EdgeFacts.read`; the constructor takes columns that were checked there.
    """

    def __init__(self, graph: ConceptGraph, columns: Mapping[str, np.ndarray]) -> None:
        self._graph = graph
        self._columns = columns

    @classmethod
    def read(cls, graph: ConceptGraph, table: Callable[[str], pa.Table | None]) -> EdgeFacts:
        """Read what was measured.

        Parameters
        ----------
        graph : ConceptGraph
            The whole graph of the study.
        table : callable
            Returns a table of `cgraph.truth_tables.TABLES` by its name; None if it was not
            measured.

        Raises
        ------
        StudyError
            If a table does not have a row for every edge of the graph, in its order.
        """
        columns: dict[str, np.ndarray] = {}
        for source, fields in _SOURCES.items():
            found = table(source)
            if found is None:
                continue
            _check_edges(graph, found, source)
            for field, name in fields.items():
                column = found.column(name).combine_chunks()
                columns[field] = (
                    _codes(column, _CODED[field]) if field in _CODED else as_array(column)
                )
        return cls(graph, columns)

    def __bool__(self) -> bool:
        return bool(self._columns)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of `FIELDS` that were measured."""
        return tuple(name for name in FIELDS if name in self._columns)

    def has(self, field: str) -> bool:
        """Return whether a field of `FIELDS` was measured."""
        return field in self._columns

    @cached_property
    def _first(self) -> np.ndarray:
        """Place of the first edge into layers 2..L, and the number of edges."""
        layers = range(2, self._graph.n_layers + 1)
        counts = [len(self._graph.layer_edges(layer).weights) for layer in layers]
        return np.cumsum([0, *counts])

    def into(self, child_layer: int, field: str) -> np.ndarray:
        """Return a field of all edges into a layer, in their order; for words, whether each holds.

        Parameters
        ----------
        child_layer : int
            2..L.
        field : str
            A key of `FIELDS` that was measured.

        Returns
        -------
        ndarray, shape (n_edges,)
            Verdicts and origins as places in `cgraph.truth_tables.VERDICTS` and ``ORIGINS``.
        """
        return self._columns[field][slice(*self._first[child_layer - 2 : child_layer])]

    def places(self, child_layer: int, parents: np.ndarray, children: np.ndarray) -> np.ndarray:
        """Return where edges into a layer stand in the whole graph.

        Parameters
        ----------
        child_layer : int
            2..L.
        parents, children : ndarray of int, shape (n_edges,)
            Indices of the ends of edges that the graph has.

        Returns
        -------
        ndarray of int64, shape (n_edges,)
        """
        edges = self._graph.layer_edges(child_layer)
        keys = edges.children.astype(np.int64) * edges.n_parents + edges.parents
        wanted = np.asarray(children, dtype=np.int64) * edges.n_parents + parents
        return self._first[child_layer - 2] + np.searchsorted(keys, wanted)

    def place(self, parent: ConceptId, child: ConceptId) -> int | None:
        """Return where one edge stands in the whole graph; None if there is no such edge."""
        if child.layer != parent.layer + 1 or not 2 <= child.layer <= self._graph.n_layers:
            return None
        edges = self._graph.layer_edges(child.layer)
        first, last = edges.starts[child.index : child.index + 2].tolist()
        # A child's parents rise.
        entry = first + int(np.searchsorted(edges.parents[first:last], parent.index))
        if entry == last or edges.parents[entry] != parent.index:
            return None
        return int(self._first[child.layer - 2]) + entry

    def of(self, parent: ConceptId, child: ConceptId) -> EdgeFact | None:
        """Return what was measured of an edge; None if nothing was, or there is no such edge."""
        place = self.place(parent, child) if self._columns else None
        if place is None:
            return None
        # By way of its shortest text, so that a single-precision .1 is not read as .10000000149.
        values: dict[str, Any] = {
            name: float(str(column[place])) if column.dtype.kind == "f" else column[place].item()
            for name, column in self._columns.items()
        }
        for name, words in _CODED.items():
            if name in values:
                values[name] = words[values[name]]
        return EdgeFact(**values)

    def taken(self, places: np.ndarray) -> dict[str, pa.Array]:
        """Return the columns of some edges for a file, in the order of `FIELDS`.

        Parameters
        ----------
        places : ndarray of int64, shape (n_edges,)
            As `places` returns them.

        Returns
        -------
        dict of str to pyarrow.Array
            The fields that were measured; null where a value is not known.
        """
        found = {}
        for name in self.fields:
            values = self._columns[name][places]
            if name in _CODED:
                words = np.array(_CODED[name], dtype=object)[values]
                found[name] = pa.array(words, pa.string(), mask=words == "")
            elif values.dtype.kind == "f":
                found[name] = pa.array(values, mask=~np.isfinite(values))
            else:
                found[name] = pa.array(values)
        return found


def _check_edges(graph: ConceptGraph, found: pa.Table, source: str) -> None:
    layers = range(2, graph.n_layers + 1)
    edges = [graph.layer_edges(layer) for layer in layers]
    counts = [len(of_layer.weights) for of_layer in edges]
    child_layer = np.repeat(np.array(layers, dtype=np.int64), counts)
    expected = (
        child_layer - 1,
        np.concatenate([np.zeros(0, np.int32), *(of_layer.parents for of_layer in edges)]),
        child_layer,
        np.concatenate([np.zeros(0, np.int32), *(of_layer.children for of_layer in edges)]),
    )
    for (name, _), wanted in zip(EDGE_KEY, expected, strict=True):
        if not np.array_equal(as_array(found.column(name).combine_chunks()), wanted):
            raise StudyError(
                f"The table {source!r} is of other edges than the study's graph ({name} differs). "
                f"Run `cgraph evaluate STUDY --only {measurement_of(source)}` again."
            )


def _codes(column: pa.Array, words: tuple[str, ...]) -> np.ndarray:
    if len(column) <= _LONG_COLUMN:
        place = {word: code for code, word in enumerate(words)}
        codes = np.array([place.get(word, -1) for word in column.to_pylist()], dtype=np.int8)
    else:
        import pyarrow.compute as pc

        found = pc.index_in(column, value_set=pa.array(words)).fill_null(-1)
        codes = as_array(found).astype(np.int8)
    if (codes < 0).any():
        wrong = column[int(np.flatnonzero(codes < 0)[0])].as_py()
        allowed = ", ".join(repr(word) for word in words)
        raise StudyError(
            f"A measured edge says {wrong!r}, where {allowed} are known. Run `cgraph evaluate "
            "STUDY --only evidence` again."
        )
    return codes
