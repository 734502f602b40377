"""What lies around a concept: parents and children, one to three layers far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.neighbourhood import MOST_BEAM, MOST_HOPS, Neighbourhood, neighbourhood
from cgraph.ui import words
from cgraph.ui.components.trace_graph import part_graph
from cgraph.ui.drawing import MAX_EDGES, GraphPicture, GraphSelection
from cgraph.ui.graph_facts import Exported, Shown
from cgraph.ui.part_drawing import draw_part

_GRAPH = "graph.around"
_HOPS = "graph.hops"
_BEAM = "graph.beam"


def around(
    shown: Shown,
    *,
    on_concept: Callable[[str | None], None],
    on_change: Callable[[dict[str, Any]], None],
) -> Exported | None:
    """Show the neighbourhood of a concept; parameters and return are those of `layer_pair`."""
    found = neighbourhood_of(shown)
    if found is None:
        st.html(
            "<p class='cg-quiet'>No concept is selected, and no edge passes the filters. Search "
            "for a concept, or clear the filters.</p>"
        )
        return None
    _limits(shown, on_change)
    picture = _draw(shown, found)
    st.html(f"<p class='cg-quiet'>{_about(shown, found, picture)}</p>")
    if len(found.part.concepts) == 1:
        by = " that the filters keep" if shown.query.wanted.changed else ""
        st.html(f"<p class='cg-quiet'>No edge{by} leads to it or from it.</p>")
    part_graph(
        picture,
        GraphSelection(str(shown.concept)),
        key=_GRAPH,
        on_pick=lambda: on_concept(st.session_state[_GRAPH]["picked"]),
    )
    return Exported(
        lambda: found.part,
        shown.file_name(f"around-{found.centre}"),
        f"{words.count(len(found.part.concepts), 'concept')} around {shown.called(found.centre)} "
        f"and {words.count(len(found.part.edges), 'edge')}",
    )


def neighbourhood_of(shown: Shown) -> Neighbourhood | None:
    """Return what is drawn: around the link's centre if that reaches the selected concept.

    Otherwise it is drawn around the concept itself.
    """
    query, concept = shown.query, shown.concept
    if concept is None:
        return None

    def find(centre: ConceptId) -> Neighbourhood:
        return neighbourhood(
            shown.graph,
            centre,
            up=query.hops,
            down=query.hops,
            beam=query.beam,
            sign=query.wanted.sign,
        )

    if query.centre is not None:
        found = find(query.centre)
        if concept in found.strength:
            return found
    return find(concept)


def _limits(shown: Shown, on_change: Callable[[dict[str, Any]], None]) -> None:
    st.session_state[_HOPS] = shown.query.hops
    st.session_state[_BEAM] = shown.query.beam
    with st.container(key="cg-limits", horizontal=True, vertical_alignment="center", gap="medium"):
        st.segmented_control(
            "Layers each way",
            range(1, MOST_HOPS + 1),
            format_func=lambda hops: "1 layer each way" if hops == 1 else f"{hops} layers",
            key=_HOPS,
            required=True,
            on_change=lambda: on_change({"view": "around", "hops": st.session_state[_HOPS]}),
            label_visibility="collapsed",
        )
        st.number_input(
            "Beam",
            1,
            MOST_BEAM,
            key=_BEAM,
            on_change=lambda: on_change({"view": "around", "beam": st.session_state[_BEAM]}),
            help="Concepts kept in each layer: those with the strongest paths.",
            width=130,
        )


def _about(shown: Shown, found: Neighbourhood, picture: GraphPicture) -> str:
    """Say what is drawn, what is not, and why."""
    parts = []
    for ring in found.rings:
        if ring.layer == found.centre.layer:
            continue
        step = abs(ring.layer - found.centre.layer)
        up = ring.layer < found.centre.layer
        kind = ("parents" if up else "children") + (" of those" if step > 1 else "")
        n, total = len(ring.concepts), ring.n_found
        number = f"{n} of {total:,}" if n < total else "no" if total == 0 else f"all {total:,}"
        parts.append(f"layer {ring.layer}: {number} {kind}")
    edges = words.count(picture.n_edges, "edge")
    if picture.n_hidden_edges:
        edges += f" drawn, those of the paths first, and {picture.n_hidden_edges:,} hidden"
    return " · ".join([*parts, edges])


def _draw(shown: Shown, found: Neighbourhood) -> GraphPicture:
    strengths = found.strength
    edges, n_hidden = found.strongest_edges(MAX_EDGES)
    lines, shares = {}, {}
    largest = {ring.layer: max(ring.strengths, default=0.0) or 1.0 for ring in found.rings}
    for concept, strength in strengths.items():
        lines[concept] = shown.lines(concept)
        if concept == found.centre:
            lines[concept].append("centre of the neighbourhood")
            continue
        ends = (
            f"to {shown.called(found.centre)}"
            if concept.layer < found.centre.layer
            else f"from {shown.called(found.centre)}"
        )
        lines[concept].append(f"strongest path {ends}: strength {words.fine_percent(strength)}")
        shares[concept] = strength / largest[concept.layer]
    return draw_part(
        [ring.concepts for ring in found.rings],
        edges,
        shown.looks,
        first_layer=found.rings[0].layer,
        n_hidden={ring.layer: ring.n_found - len(ring.concepts) for ring in found.rings},
        n_hidden_edges=n_hidden,
        lines=lines,
        shares=shares,
        paths={concept: found.path(concept) for concept in strengths if concept != found.centre},
        facts=shown.of.facts,
        label=f"Neighbourhood of {shown.called(found.centre)}",
        caption=f"around {shown.called(found.centre)} · {shown.caption}",
        file_name=shown.file_name(f"around-{found.centre}"),
    )
