"""What goes with a concept, as tabs: parents, children, co-active concepts, nearest atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from cgraph.coactivity import CoActive
from cgraph.concept import ConceptId
from cgraph.study_graph import edge_facts
from cgraph.ui import words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.edge_words import column_words, edge_words
from cgraph.ui.gallery import concept_image
from cgraph.ui.sheet import ConceptSheet, Edge
from cgraph.ui.terms import term

N_RELATIONS = 12

OnConcept = Callable[[str | None], None]


def relation_tabs(sheet: ConceptSheet, on_concept: OnConcept) -> None:
    """Show the tabs.

    Parameters
    ----------
    sheet : ConceptSheet
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    tabs = st.tabs(
        [
            f"Parents ({len(sheet.parents):,})",
            f"Children ({len(sheet.children):,})",
            "Co-active",
            "Nearest atoms",
        ]
    )
    with tabs[0]:
        _edges(sheet, sheet.parents, "parent", on_concept)
    with tabs[1]:
        _edges(sheet, sheet.children, "child", on_concept)
    with tabs[2]:
        _co_active(sheet, on_concept)
    with tabs[3]:
        _near(sheet, on_concept)


def _quiet(text: str) -> None:
    st.html(f"<p class='cg-quiet'>{text}</p>")


def _list(rows: Sequence[ConceptRow], label: str, key: str, on_concept: OnConcept) -> None:
    concept_list(
        rows, label=label, key=key, on_pick=lambda: on_concept(st.session_state[key]["picked"])
    )


def _row(
    sheet: ConceptSheet,
    concept: ConceptId,
    note: str,
    weight: float,
    text: str,
    share: float,
    measured: str = "",
) -> ConceptRow:
    return ConceptRow(
        id=str(concept),
        name=sheet.named(concept),
        image=concept_image(sheet.study, concept),
        note=note,
        weight=weight,
        text=text,
        share=share,
        active=True,
        measured=measured,
    )


def _edges(sheet: ConceptSheet, edges: tuple[Edge, ...], kind: str, on_concept: OnConcept) -> None:
    if not edges:
        _quiet(_why_none(sheet, kind))
        return
    shown = edges[:N_RELATIONS]
    number = f"{len(shown)} of {len(edges):,} " if len(shown) < len(edges) else ""
    words_of = term(kind, "children" if kind == "child" else "parents")
    bagged = all(_bagged(sheet, edge) for edge in shown)
    bags = " Beneath: in how many of the bags it was kept." if bagged else ""
    _quiet(
        f"◇ Predicted by the graph: {number}{words_of} by {term('weight')}; + raises, − lowers "
        f"the odds.{bags}"
    )
    if said := column_words(edge_facts(sheet.study)):
        st.html(said)
    largest = max(abs(edge.weight) for edge in shown)
    rows = [
        _row(
            sheet,
            edge.concept,
            f"kept in {words.percent(edge.selection_rate)} of the bags" if bagged else "",
            edge.weight,
            words.signed(edge.weight),
            edge.weight / largest,
            edge_words(edge.fact),
        )
        for edge in shown
    ]
    _list(rows, f"{kind} concepts of {sheet.concept}", f"sheet.{kind}", on_concept)


def _bagged(sheet: ConceptSheet, edge: Edge) -> bool:
    """Return whether the edge was fitted on bags; planted ones were not."""
    child = max(edge.concept, sheet.concept, key=lambda concept: concept.layer)
    return sheet.study.graph.record(child).bag_positives > 0


def _why_none(sheet: ConceptSheet, kind: str) -> str:
    layer = sheet.concept.layer
    if kind == "child":
        if layer == sheet.study.n_layers:
            return f"It has no children: layer {layer} is the last."
        return f"It has no children: it helps to predict no concept of layer {layer + 1}."
    if layer == 1:
        return "It has no parents: layer 1 is the first, so nothing is expected of it."
    if not sheet.study.graph.record(sheet.concept).fitted:
        return "It has no parents: it is too rare or too common for a predictor of it to be fitted."
    return f"It has no parents: no concept of layer {layer - 1} reliably helps to predict it."


def _co_active(sheet: ConceptSheet, on_concept: OnConcept) -> None:
    if not sheet.together and not sheet.apart:
        _quiet("No concept of its layer is active with it more or less often than by chance.")
        return
    _quiet(
        f"● Measured in the network: concepts of layer {sheet.concept.layer} that are active in "
        f"the same images, those first whose {term('correlation')} with it on training images is "
        f"largest; {term('co_lift', 'lift')} and share on {term('held_out')} ones. The share is "
        f"that of the images with {sheet.concept}."
    )
    for others, key, head in (
        (sheet.together, "together", "More often together than by chance"),
        (sheet.apart, "apart", "More seldom together than by chance"),
    ):
        if others:
            st.html(f"<p class='cg-band'><b>{head}</b></p>")
            rows = [_co_row(sheet, other) for other in others]
            _list(rows, f"{head}: {sheet.concept}", f"sheet.{key}", on_concept)


def _co_row(sheet: ConceptSheet, other: CoActive) -> ConceptRow:
    known = words.known(other.lift)
    # Beside 1, which is chance, 2 × and half are equally far.
    weight = other.lift - 1 if known else 0.0
    share = other.share if words.known(other.share) else 0.0
    return _row(
        sheet,
        sheet.sibling(other.index),
        f"in {words.percent(other.share)} of its images ({other.n_both:,})",
        weight,
        words.times(other.lift) if known else "unknown",
        share if weight >= 0 else -share,
    )


def _near(sheet: ConceptSheet, on_concept: OnConcept) -> None:
    if sheet.near_problem:
        st.error(words.plain(f"The nearest atoms are not shown. {sheet.near_problem}"))
        return
    _quiet(
        "Geometry of the dictionaries, no prediction: atoms of the layers before and after whose "
        f"direction is most like this one's, with the {term('cosine')} of the angle between them."
    )
    for near in sheet.near:
        where = "before" if near.layer < sheet.concept.layer else "after"
        st.html(
            f"<p class='cg-band'><b>Layer {near.layer}, {where}</b> the nearest of as many random "
            f"directions would have {words.fraction(near.chance)}</p>"
        )
        rows = [
            _row(
                sheet,
                ConceptId(near.layer, atom.index),
                "",
                atom.cosine,
                words.signed(atom.cosine),
                atom.cosine,
            )
            for atom in near.atoms
        ]
        _list(rows, f"Nearest atoms of layer {near.layer}", f"sheet.near-{where}", on_concept)
