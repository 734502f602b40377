"""What the Graph page shows beside the shared selection, kept in the link like that.

As in `state`, the query parameters are the only copy, and a value that means nothing is left out
with a sentence that says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_filter import (
    ANY,
    EDGE_ORIGINS,
    EVERYTHING,
    EVIDENCE,
    FOUND_AGAIN,
    EdgeFilter,
    check_measured,
)
from cgraph.edge_index import SIGNS
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.graph_paths import MOST_PATHS
from cgraph.neighbourhood import MOST_BEAM, MOST_HOPS
from cgraph.study_graph import StudyGraph
from cgraph.ui import state
from cgraph.ui.state import Selection

PAIR, AROUND, PATHS, PINNED = "pair", "around", "paths", "pinned"
VIEWS = {
    PAIR: "Layer pair",
    AROUND: "Neighbourhood",
    PATHS: "Paths",
    PINNED: "Scratch graph",
}
"""Views of the page, and what they are called."""

LONGEST_SET = 1000
"""Most signs of what names an end of paths, or of what is searched for."""

_MEASURED = {
    "evidence": ("evidence", EVIDENCE),
    "origin": ("origin", EDGE_ORIGINS),
    "again": ("found_again", FOUND_AGAIN),
}
# Query parameters of what must have been measured: the field of the filter, and what is allowed.

_T = TypeVar("_T")


@dataclass(frozen=True)
class GraphQuery:
    """What the page shows.

    Attributes
    ----------
    view : str or None
        A key of `VIEWS`; ``None`` for the page's own choice.
    find : str
        What is searched for.
    pair : int or None
        Child layer of the pair of layers, 2..L.
    cell : tuple of (int, int) or None
        Row and column of the cell that is selected in its matrix.
    centre : ConceptId or None
        Centre of the neighbourhood; ``None`` for the selected concept.
    hops, beam : int
        How far it reaches, and how many concepts of each layer it keeps.
    sources, targets : str
        Between what paths run, as `Named.read_set` reads it.
    n_paths : int
    both : bool
        Whether paths may follow edges that lower.
    wanted : EdgeFilter
    """

    view: str | None = None
    find: str = ""
    pair: int | None = None
    cell: tuple[int, int] | None = None
    centre: ConceptId | None = None
    hops: int = 2
    beam: int = 8
    sources: str = ""
    targets: str = ""
    n_paths: int = 6
    both: bool = False
    wanted: EdgeFilter = EVERYTHING


def parse(query: Mapping[str, str]) -> tuple[GraphQuery, list[str]]:
    """Read what to show from query parameters.

    Parameters
    ----------
    query : mapping of str to str

    Returns
    -------
    GraphQuery
        What could be read; nothing is checked against a study yet.
    remarks : list of str
        One sentence for each value that was left out.
    """
    remarks: list[str] = []

    def take(key: str, read: Callable[[str], _T], default: _T, allowed: str) -> _T:
        text = query.get(key)
        if not text:
            return default
        try:
            return read(text)
        except (ValueError, KeyError):
            remarks.append(
                f"The link says {key}={text!r}, which is not {allowed}; it was left out."
            )
            return default

    def take_text(key: str) -> str:
        text = query.get(key, "").strip()
        if len(text) > LONGEST_SET:
            remarks.append(
                f"The link's {key!r} has {len(text):,} letters, and at most {LONGEST_SET:,} fit; "
                "it was left out."
            )
            return ""
        return text

    share = _number(0.0, 1.0)
    values: dict[str, Any] = {
        "sign": take("sign", _one_of(SIGNS), EdgeFilter.sign, f"one of {', '.join(SIGNS)}"),
        "min_weight": take("weight", _number(0.0, 1e6), 0.0, "a number from 0 on"),
        "min_auc": take("auc", share, 0.0, "a number between 0 and 1"),
        "min_prevalence": take("rarest", share, 0.0, "a share between 0 and 1"),
        "max_prevalence": take("commonest", share, 1.0, "a share between 0 and 1"),
        "min_selection_rate": take("rate", share, 0.0, "a number between 0 and 1"),
        **{
            field: take(key, _one_of(allowed), ANY, f"one of {', '.join(allowed)}")
            for key, (field, allowed) in _MEASURED.items()
        },
    }
    try:
        wanted = EdgeFilter(**values)
    except ConfigError as error:
        remarks.append(f"The bounds of the link were left out. {error}")
        wanted = EdgeFilter(**{**values, "min_prevalence": 0.0, "max_prevalence": 1.0})
    view = take("view", _one_of(VIEWS), "", f"one of {', '.join(VIEWS)}")
    plain = GraphQuery()
    return GraphQuery(
        view=view or None,
        find=take_text("find"),
        pair=take("pair", _whole(2, 9999), None, "the number of a layer from 2 on"),
        cell=take("cell", _cell, None, "a row and a column, such as 3.7"),
        centre=take("centre", ConceptId.parse, None, "a concept such as L7/609"),
        hops=take("hops", _whole(1, MOST_HOPS), plain.hops, f"a number from 1 to {MOST_HOPS}"),
        beam=take("beam", _whole(1, MOST_BEAM), plain.beam, f"a number from 1 to {MOST_BEAM}"),
        sources=take_text("from"),
        targets=take_text("to"),
        n_paths=take("n", _whole(1, MOST_PATHS), plain.n_paths, f"a number up to {MOST_PATHS}"),
        both=take("follow", _one_of(("both",)), "", "both") == "both",
        wanted=wanted,
    ), remarks


def _one_of(allowed: Any) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], Any]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 7 and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return read


def _cell(text: str) -> tuple[int, int]:
    row, column = text.split(".")
    return _whole(0, 9999)(row), _whole(0, 9999)(column)


def to_query(shown: GraphQuery) -> dict[str, str]:
    """Return the query parameters that stand for what is shown; what is usual is left out."""
    plain, wanted = GraphQuery(), shown.wanted
    values = {
        "view": (shown.view, None),
        "find": (shown.find, ""),
        "pair": (shown.pair, None),
        "cell": (shown.cell and f"{shown.cell[0]}.{shown.cell[1]}", None),
        "centre": (shown.centre, None),
        "hops": (shown.hops, plain.hops),
        "beam": (shown.beam, plain.beam),
        "from": (shown.sources, ""),
        "to": (shown.targets, ""),
        "n": (shown.n_paths, plain.n_paths),
        "follow": ("both" if shown.both else "", ""),
        "sign": (wanted.sign, EdgeFilter.sign),
        "weight": (f"{wanted.min_weight:g}", "0"),
        "auc": (f"{wanted.min_auc:g}", "0"),
        "rarest": (f"{wanted.min_prevalence:g}", "0"),
        "commonest": (f"{wanted.max_prevalence:g}", "1"),
        "rate": (f"{wanted.min_selection_rate:g}", "0"),
        **{key: (getattr(wanted, field), ANY) for key, (field, _) in _MEASURED.items()},
    }
    return {key: str(value) for key, (value, usual) in values.items() if value != usual}


KEYS = (
    *("view", "find", "pair", "cell", "centre", "hops", "beam", "from", "to", "n", "follow"),
    *("sign", "weight", "auc", "rarest", "commonest", "rate", *_MEASURED),
)
"""Query parameters of the page."""


def check(shown: GraphQuery, graph: ConceptGraph) -> tuple[GraphQuery, list[str]]:
    """Leave out what a graph does not have; see `state.check`."""
    remarks = []
    if shown.pair is not None and shown.pair > graph.n_layers:
        remarks.append(
            f"There is no pair of layers {shown.pair - 1} and {shown.pair}: the last layer is "
            f"{graph.n_layers}."
        )
        shown = dataclasses.replace(shown, pair=None, cell=None)
    if shown.centre is not None:
        try:
            graph.concept_row(shown.centre)
        except ConfigError as error:
            remarks.append(f"{error} The centre of the link was left out.")
            shown = dataclasses.replace(shown, centre=None)
    return shown, remarks


def check_wanted(shown: GraphQuery, of: StudyGraph) -> tuple[GraphQuery, list[str]]:
    """Leave out filters that ask for what was not measured in a study; see `state.check`."""
    remarks = []
    for field, _ in _MEASURED.values():
        anything: dict[str, Any] = {field: ANY}
        try:
            check_measured(
                EdgeFilter(**{field: getattr(shown.wanted, field)}), of.facts, of.concepts
            )
        except ConfigError as error:
            remarks.append(f"{error} That filter of the link was left out.")
            wanted = dataclasses.replace(shown.wanted, **anything)
            shown = dataclasses.replace(shown, wanted=wanted)
    return shown, remarks


def read() -> tuple[GraphQuery, list[str]]:
    """Return what the address asks for, and a sentence for each value that was left out."""
    return parse(st.query_params.to_dict())


def change(selection: Selection | None = None, **changes: Any) -> None:
    """Change a part of what is shown and keep the rest; for the callbacks of widgets.

    Parameters
    ----------
    selection : Selection, optional
        Takes the place of the one in the address. Both are written at once, so that the back
        button undoes both.
    **changes
        Fields of `GraphQuery`.
    """
    before = st.query_params.to_dict()
    query = {k: v for k, v in before.items() if k not in KEYS}
    if selection is not None:
        query = {k: v for k, v in query.items() if k not in state.KEYS} | selection.to_query()
    query |= to_query(dataclasses.replace(read()[0], **changes))
    if query != before:
        st.query_params.from_dict(query)
