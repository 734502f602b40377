"""The scratch graph: pinned concepts, the edges among them, and groups of them under a label."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.subgraph import Subgraph, induced
from cgraph.ui import words
from cgraph.ui.components.trace_graph import part_graph
from cgraph.ui.drawing import GraphPicture, GraphSelection
from cgraph.ui.graph_facts import Exported, Shown
from cgraph.ui.part_drawing import draw_part
from cgraph.ui.pins import LONGEST_LABEL, MOST_PINNED

N_STARTERS = 3
"""Parents, and children, that are pinned along with a concept to begin with."""

_GRAPH = "graph.scratch"
_CHOSEN = "graph.scratch.chosen"
_LABEL = "graph.scratch.label"


def scratch(
    shown: Shown,
    *,
    on_concept: Callable[[str | None], None],
    on_change: Callable[[dict[str, Any]], None],
) -> Exported | None:
    """Show the pinned concepts; parameters and return are those of `layer_pair`."""
    pins = shown.selection.pins
    if not len(pins):
        _nothing_yet(shown, on_change)
        return None
    part = induced(shown.graph, pins.concepts, shown.query.wanted.sign)
    picture = _draw(shown, part)
    filters = " that the filters keep" if shown.query.wanted.changed else ""
    hidden = f", the {picture.n_edges} strongest drawn" if picture.n_hidden_edges else ""
    st.html(
        f"<p class='cg-quiet'>{len(pins)} of at most {MOST_PINNED} concepts · "
        f"{words.count(len(part.edges), 'edge')} among them{filters}{hidden}</p>"
    )
    part_graph(
        picture,
        GraphSelection(str(shown.concept) if shown.concept in pins else ""),
        key=_GRAPH,
        on_pick=lambda: on_concept(st.session_state[_GRAPH]["picked"]),
    )
    _groups(shown, on_change)
    return Exported(
        lambda: part,
        shown.file_name("scratch"),
        f"{words.count(len(pins), 'pinned concept')} and {words.count(len(part.edges), 'edge')}",
    )


def _nothing_yet(shown: Shown, on_change: Callable[[dict[str, Any]], None]) -> None:
    st.html(
        "<p class='cg-sentence'>Nothing is pinned yet. Pin a concept in its panel, on any view of "
        "this page, to gather here what belongs together.</p>"
    )
    concept = shown.concept
    if concept is None:
        return
    near = [
        *_ends(shown.graph.parents(concept).indices, concept.layer - 1),
        *_ends(shown.graph.children(concept).indices, concept.layer + 1),
    ]
    st.button(
        words.plain(
            f"Begin with {shown.called(concept)} and {words.count(len(near), 'neighbour')}"
        ),
        on_click=on_change,
        args=({"pin": ((concept, *near), "")},),
    )


def _ends(indices: Any, layer: int) -> list[ConceptId]:
    return [ConceptId(layer, int(index)) for index in indices[:N_STARTERS]]


def _draw(shown: Shown, part: Subgraph) -> GraphPicture:
    layers = range(part.concepts[0].layer, part.concepts[-1].layer + 1)
    numbers = {label: str(i) for i, label in enumerate(shown.selection.pins.sets, start=1)}
    labels = shown.selection.pins.labels
    return draw_part(
        [[c for c in part.concepts if c.layer == layer] for layer in layers],
        sorted(part.edges, key=lambda edge: -abs(edge.weight)),
        shown.looks,
        first_layer=layers[0],
        lines={concept: shown.lines(concept) for concept in part.concepts},
        marks={concept: numbers[label] for concept, label in labels.items()},
        facts=shown.of.facts,
        label="Scratch graph",
        caption=f"scratch graph · {shown.caption}"
        + "".join(f" · {number}: {label}" for label, number in numbers.items()),
        file_name=shown.file_name("scratch"),
    )


def _groups(shown: Shown, on_change: Callable[[dict[str, Any]], None]) -> None:
    pins = shown.selection.pins
    st.html("<h3 class='cg-section'>Groups</h3>")
    rows = []
    for number, (label, members) in enumerate(pins.sets.items(), start=1):
        called = ", ".join(escape(shown.called(concept)) for concept in members)
        rows.append(f"<dt><b>{number}</b> {escape(label)}</dt><dd>{called}</dd>")
    if rows:
        st.html(f"<dl class='cg-figures'>{''.join(rows)}</dl>")
    else:
        st.html(
            "<p class='cg-quiet'>None yet. A group can be an end of paths: choose Paths and write "
            "its label.</p>"
        )
    # What was chosen and is no longer pinned would be refused by the widget.
    chosen = [c for c in st.session_state.get(_CHOSEN, []) if c in pins]
    st.session_state[_CHOSEN] = chosen
    with st.container(key="cg-groups", horizontal=True, vertical_alignment="bottom", gap="small"):
        st.multiselect(
            "Pinned concepts",
            sorted(pins.concepts),
            format_func=shown.called,
            key=_CHOSEN,
            placeholder="Choose some",
            width=380,
        )
        st.text_input("Label", key=_LABEL, max_chars=LONGEST_LABEL, width=180)

        def group(label: str) -> None:
            on_change({"view": "pinned", "pin": (tuple(st.session_state[_CHOSEN]), label)})
            st.session_state[_CHOSEN], st.session_state[_LABEL] = [], ""

        def unpin() -> None:
            on_change({"view": "pinned", "unpin": tuple(st.session_state[_CHOSEN])})
            st.session_state[_CHOSEN] = []

        st.button(
            "Group under this label",
            on_click=lambda: group(st.session_state[_LABEL]),
            disabled=not chosen or not st.session_state.get(_LABEL, "").strip(),
        )
        st.button("Take out of groups", on_click=lambda: group(""), disabled=not chosen)
        st.button("Unpin", on_click=unpin, disabled=not chosen)
        st.button(
            "Unpin all",
            on_click=on_change,
            args=({"view": "pinned", "unpin": pins.concepts},),
            type="tertiary",
        )
