"""Paths between concepts or sets of concepts: the strongest ones, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_filter import EdgeFilter
from cgraph.edge_index import BOTH, RAISES
from cgraph.errors import ConfigError
from cgraph.graph_paths import GraphPath, PathAnswer, strongest_paths
from cgraph.path_export import paths_csv
from cgraph.study_graph import StudyGraph
from cgraph.ui import words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.components.trace_graph import part_graph
from cgraph.ui.drawing import GraphPicture, GraphSelection
from cgraph.ui.edge_words import evidence_words, mark, marks_sentence
from cgraph.ui.graph_facts import Exported, Shown, list_of
from cgraph.ui.graph_query import LONGEST_SET
from cgraph.ui.part_drawing import draw_part
from cgraph.ui.terms import term

_TABLE = "graph.paths"
_GRAPH = "graph.paths.graph"
_FROM = "graph.from"
_TO = "graph.to"
_N = "graph.n-paths"
_BOTH = "graph.both"

_NUMBERS = (3, 6, 12, 24)

Concepts = tuple[ConceptId, ...]


def path_finder(
    shown: Shown,
    *,
    on_concept: Callable[[str | None], None],
    on_change: Callable[[dict[str, Any]], None],
) -> Exported | None:
    """Show the strongest paths between two sets; parameters and return are as in `layer_pair`."""
    _controls(shown, on_change)
    try:
        sources, targets = (_read(shown, text, end) for text, end in _ends(shown))
    except ConfigError as error:
        st.warning(words.plain(str(error)))
        return None
    sign = shown.query.wanted.sign if shown.query.wanted.sign != BOTH else RAISES
    if shown.query.both:
        sign = BOTH
    answer = _answer(shown.of, shown.query.wanted, sources, targets, shown.query.n_paths, sign)
    ends = _called(shown, sources), _called(shown, targets)
    if not answer.paths:
        _no_path(shown, answer, sources, targets, ends, sign)
        return None
    _table(shown, answer, ends, sign, on_concept)
    concepts = answer.part.concepts
    with st.container(key="cg-path-tools", horizontal=True, gap="small"):
        st.download_button(
            "Paths as CSV",
            lambda: paths_csv(answer.paths, shown.of.name, shown.of.facts),
            file_name=f"{_file_name(shown)}.csv",
            mime="text/csv",
            on_click="ignore",
            type="tertiary",
        )
        st.button(
            f"Pin these {len(concepts)} concepts",
            on_click=on_change,
            args=({"pin": ([c for c in concepts if c not in shown.selection.pins], "")},),
            disabled=all(concept in shown.selection.pins for concept in concepts),
            type="tertiary",
        )
    selection = GraphSelection(str(shown.concept) if shown.concept else "")
    picture = _draw(shown, answer, ends)
    if picture.n_hidden_nodes or picture.n_hidden_edges:
        st.html(
            f"<p class='cg-quiet'>Drawn are {words.count(picture.n_nodes, 'concept')} of the "
            f"strongest paths and {words.count(picture.n_edges, 'edge')}; "
            f"{picture.n_hidden_nodes:,} more concepts are in the table alone.</p>"
        )
    part_graph(
        picture,
        selection,
        key=_GRAPH,
        on_pick=lambda: on_concept(st.session_state[_GRAPH]["picked"]),
    )
    return Exported(
        lambda: answer.part,
        _file_name(shown),
        f"{words.count(len(answer.paths), 'path')} from {ends[0]} to {ends[1]}",
    )


def _file_name(shown: Shown) -> str:
    return shown.file_name(f"paths-{shown.endpoints[0]}-{shown.endpoints[1]}")


@lru_cache(maxsize=32)
def _answer(
    of: StudyGraph, wanted: EdgeFilter, sources: Concepts, targets: Concepts, n: int, sign: str
) -> PathAnswer:
    return strongest_paths(of.filtered(wanted), sources, targets, n=n, sign=sign)


def _ends(shown: Shown) -> list[tuple[str, str]]:
    return list(zip(shown.endpoints, ("start", "end"), strict=True))


def _read(shown: Shown, text: str, end: str) -> Concepts:
    if not text:
        raise ConfigError(
            f"The {end} of the paths is missing. Write an id such as L7/609, a layer such as L1, "
            "a name, an attribute such as colour=purple, or a group of pinned concepts."
        )
    return shown.named.read_set(text, shown.selection.pins.sets)


def _controls(shown: Shown, on_change: Callable[[dict[str, Any]], None]) -> None:
    start, end = shown.endpoints
    st.session_state[_FROM], st.session_state[_TO] = start, end
    n_paths = shown.query.n_paths
    st.session_state[_N] = n_paths
    st.session_state[_BOTH] = shown.query.both

    def typed() -> None:
        on_change(
            {
                "view": "paths",
                "sources": st.session_state[_FROM].strip(),
                "targets": st.session_state[_TO].strip(),
            }
        )

    with st.container(
        key="cg-path-ends", horizontal=True, vertical_alignment="bottom", gap="small"
    ):
        help_text = (
            "An id such as L7/609, a layer such as L7, a name such as purple, an attribute such "
            "as colour=purple, a group of pinned concepts, or several of these with commas "
            "between. A name can be held to a layer: purple in L7."
        )
        for label, key in (("From", _FROM), ("To", _TO)):
            st.text_input(
                label,
                key=key,
                on_change=typed,
                help=help_text,
                max_chars=LONGEST_SET,
                width=250,
            )
        st.button(
            "Swap",
            on_click=on_change,
            args=({"view": "paths", "sources": end, "targets": start},),
            help="Edges lead to deeper layers only, so paths may run one way and not the other.",
        )
        st.selectbox(
            "Paths",
            sorted({*_NUMBERS, n_paths}),
            key=_N,
            on_change=lambda: on_change({"view": "paths", "n_paths": st.session_state[_N]}),
            width=90,
        )
        if shown.query.wanted.sign == BOTH:
            st.checkbox(
                "Also along edges that lower",
                key=_BOTH,
                on_change=lambda: on_change({"view": "paths", "both": st.session_state[_BOTH]}),
            )


def _called(shown: Shown, concepts: Concepts) -> str:
    """Return what a set is called: its one concept, its first ones, or its layer."""
    layers = {concept.layer for concept in concepts}
    if len(layers) == 1 and len(concepts) > 1:
        layer = next(iter(layers))
        if len(concepts) == shown.graph.n_concepts(layer):
            return f"layer {layer}"
    return list_of([shown.called(concept) for concept in concepts])


_KINDS = {
    "raises": "edges that raise",
    "lowers": "edges that lower",
    "both": "edges of either sign",
}

_EVERY = {
    "raises": "Every edge that raises",
    "lowers": "Every edge that lowers",
    "both": "Every edge, raising or lowering,",
}


def _table(
    shown: Shown,
    answer: PathAnswer,
    ends: tuple[str, str],
    sign: str,
    on_concept: Callable[[str | None], None],
) -> None:
    paths = answer.paths
    first = min(path.concepts[0].layer for path in paths)
    last = max(path.concepts[-1].layer for path in paths)
    total = sum(path.strength for path in paths)
    number = "The only path" if len(paths) == 1 else f"The {len(paths)} strongest paths"
    if 1 < len(paths) < shown.query.n_paths:
        number = f"All {len(paths)} paths"
    st.html(
        f"<h3 class='cg-section'>{number} from {escape(ends[0])} to {escape(ends[1])}</h3>"
        f"<p class='cg-quiet'>Along {_KINDS[sign]}. The figure of a row is the "
        f"{term('path_strength')}, with its smallest {term('weight')} beneath; together "
        f"{words.fine_percent(total)}. It is what the graph's weights allow for, not what one "
        f"image does: for that see the paths on the Trace page.{marks_sentence(shown.of.facts)}</p>"
    )
    concept_table(
        [TableHead(f"Layer {layer}") for layer in range(first, last + 1)],
        [_row(shown, path, range(first, last + 1), paths[0].strength) for path in paths],
        shown.looks,
        label=f"Paths from {ends[0]} to {ends[1]}, a row each",
        key=_TABLE,
        on_pick=lambda: on_concept(st.session_state[_TABLE]["picked"]),
        selected=shown.concept,
        joined=True,
    )


def _row(shown: Shown, path: GraphPath, layers: range, strongest: float) -> TableRow:
    by_layer = {concept.layer: concept for concept in path.concepts}
    notes, spoken = {}, {}
    for edge in path.edges:
        weight, fact = words.signed(edge.weight), shown.of.facts.of(*edge.ends)
        notes[edge.child] = f"{weight} {mark(fact)}".rstrip()
        spoken[edge.child] = ", ".join(filter(None, (weight, evidence_words(fact))))
    lowers = "" if path.raises else ", lowers in all"
    return TableRow(
        lead=words.fine_percent(path.strength),
        note=f"weakest {path.min_weight:.2f}{lowers}",
        share=path.strength / strongest if strongest else None,
        cells=[[by_layer[layer]] if layer in by_layer else [] for layer in layers],
        notes=notes,
        cell_labels=[spoken] * len(layers) if spoken != notes else (),
        lowering=tuple(edge.child.layer - layers[0] for edge in path.edges if edge.weight < 0),
    )


def _draw(shown: Shown, answer: PathAnswer, ends: tuple[str, str]) -> GraphPicture:
    part = answer.part
    layers = range(part.concepts[0].layer, part.concepts[-1].layer + 1)
    rank = {
        concept: place
        for place, path in reversed(list(enumerate(answer.paths)))
        for concept in path.concepts
    }
    columns = [
        sorted((c for c in part.concepts if c.layer == layer), key=lambda c: (rank[c], c))
        for layer in layers
    ]
    through: dict[ConceptId, list[tuple[ConceptId, ConceptId]]] = {}
    for path in answer.paths:
        for concept in path.concepts:
            edges = through.setdefault(concept, [])
            edges += [edge.ends for edge in path.edges if edge.ends not in edges]
    lines = {}
    for concept in part.concepts:
        n = sum(concept in path.concepts for path in answer.paths)
        lines[concept] = [*shown.lines(concept), f"on {n} of {len(answer.paths)} paths"]
    return draw_part(
        columns,
        part.edges,
        shown.looks,
        first_layer=layers[0],
        lines=lines,
        paths=through,
        facts=shown.of.facts,
        label=f"Paths from {ends[0]} to {ends[1]}",
        caption=f"paths from {ends[0]} to {ends[1]} · {shown.caption}",
        file_name=_file_name(shown),
    )


def _no_path(
    shown: Shown,
    answer: PathAnswer,
    sources: Concepts,
    targets: Concepts,
    ends: tuple[str, str],
    sign: str,
) -> None:
    """Say that there is none, how that is known, and what would open one."""
    said = [f"**There is no path from {words.plain(ends[0])} to {words.plain(ends[1])}.**"]
    first = min(concept.layer for concept in sources)
    last = max(concept.layer for concept in targets)
    if last <= first:
        said.append(
            f"Edges lead from a layer to the next deeper one, and layer {last} does not lie "
            f"behind layer {first}. Swap the ends to look the other way."
        )
    else:
        filters = " and passes the filters" if shown.query.wanted.changed else ""
        said.append(
            f"{_EVERY[sign]}{filters} was followed, forwards from the start and backwards from "
            "the end, and no concept was met by both."
        )
        reached = ", ".join(f"{n:,} in layer {layer}" for layer, n in answer.reached if n)
        leading = ", ".join(f"{n:,} in layer {layer}" for layer, n in answer.leading if n)
        said.append(f"Reached from the start: {reached}. Leading to the end: {leading}.")
        said += _what_would_help(shown, sources, targets, sign)
    st.info("\n\n".join(said))


def _what_would_help(shown: Shown, sources: Concepts, targets: Concepts, sign: str) -> list[str]:
    help_texts = []
    if shown.query.wanted.changed:
        free = EdgeFilter(sign=shown.query.wanted.sign)
        graph = shown.of.filtered(free)
        if strongest_paths(graph, sources, targets, n=1, sign=sign).paths:
            help_texts.append("Without the filters there is one.")
    if sign != BOTH and not help_texts:
        graph = shown.of.filtered(replace(shown.query.wanted, sign=BOTH))
        if strongest_paths(graph, sources, targets, n=1, sign=BOTH).paths:
            help_texts.append("Along edges of either sign there is one.")
    return help_texts
