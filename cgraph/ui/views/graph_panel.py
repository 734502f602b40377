"""What is known of one concept of the graph, without an image: the panel of the Graph page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_index import EdgeList
from cgraph.ui import words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.edge_words import column_words, edge_words
from cgraph.ui.gallery import image_title
from cgraph.ui.graph_facts import Shown
from cgraph.ui.graph_query import AROUND, PATHS
from cgraph.ui.outside_words import concept_rows
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri
from cgraph.ui.views.concept_panel import N_EXEMPLARS, N_RELATIONS, match_sentence

_EXEMPLARS = "graph.panel.exemplars"
_PARENTS = "graph.panel.parents"
_CHILDREN = "graph.panel.children"


def graph_panel(
    shown: Shown,
    *,
    on_concept: Callable[[str | None], None],
    on_image: Callable[[str | None], None],
    on_change: Callable[[dict[str, Any]], None],
) -> None:
    """Show the panel.

    Parameters
    ----------
    shown : Shown
    on_concept, on_image : callable
        Called with the id of a concept, or of an image, that somebody chose.
    on_change : callable
        Called with changes of what is shown.
    """
    concept = shown.concept
    if concept is None:
        st.html(
            "<h3 class='cg-concept'>No concept is selected</h3><p class='cg-quiet'>Choose one in "
            "the view, or search for it.</p>"
        )
        return
    st.html(_heading(shown, concept) + _figures(shown, concept))
    _actions(shown, concept, on_change)
    _exemplars(shown, concept, on_image)
    parents, children = shown.graph.parents(concept), shown.graph.children(concept)
    tabs = st.tabs([f"Parents ({len(parents):,})", f"Children ({len(children):,})"])
    with tabs[0]:
        _relations(shown, concept, parents, _PARENTS, on_concept)
    with tabs[1]:
        _relations(shown, concept, children, _CHILDREN, on_concept)


def _heading(shown: Shown, concept: ConceptId) -> str:
    place = f"concept of layer {concept.layer}"
    if label := shown.selection.pins.labels.get(concept):
        place += f", pinned in group {escape(label)}"
    elif concept in shown.selection.pins:
        place += ", pinned"
    name = shown.study.name_of(concept)
    if name is None:
        return f"<h3 class='cg-concept'>{concept}</h3><p class='cg-quiet'>{place}</p>"
    title = escape(name.text, quote=True)
    return (
        f"<h3 class='cg-concept' title='{title} ({concept})'><span>{title}</span> "
        f"<small>{concept}</small></h3><p class='cg-quiet'>{place}</p>"
        f"<p class='cg-sentence'>{match_sentence(name)}</p>"
    )


def _figures(shown: Shown, concept: ConceptId) -> str:
    of = shown.of
    row = of.graph.concept_row(concept)
    rows = [
        (
            term("prevalence", "Active in training"),
            words.percent(of.prevalence[row]),
            "of images",
        )
    ]
    auc = of.figure("auc", concept)
    if words.known(auc):
        chance = f"({words.fraction(of.figure('prevalence', concept))} by chance)"
        rows.append((term("auc", "AUC, held-out"), words.fraction(auc), "(0.50 by chance)"))
        precision = term("average_precision", "Average precision")
        rows.append((precision, words.fraction(of.figure("ap", concept)), chance))
    elif concept.layer > 1:
        rows.append((term("auc", "AUC, held-out"), "not scored", "(too rare or too common)"))
    rows += concept_rows(of.concepts.of(concept))
    cells = "".join(
        f"<dt>{label}</dt><dd><b>{escape(value)}</b> {escape(note)}</dd>"
        for label, value, note in rows
    )
    return f"<dl class='cg-figures'>{cells}</dl>"


def _actions(shown: Shown, concept: ConceptId, on_change: Callable[[dict[str, Any]], None]) -> None:
    pinned = concept in shown.selection.pins
    start, end = shown.query.sources, shown.query.targets
    # The other end of an earlier question stays, unless it would be the same concept.
    start, end = (text if text != str(concept) else "" for text in (start, end))
    last, first = f"L{shown.graph.n_layers}", "L1"
    with st.container(key="cg-graph-actions", horizontal=True, gap="small"):
        st.button(
            "Unpin" if pinned else "Pin",
            on_click=on_change,
            args=({"unpin": (concept,)} if pinned else {"pin": ((concept,), "")},),
            help="Put it aside for the scratch graph, which stays on every page and in the link.",
        )
        st.button(
            "Neighbourhood",
            on_click=on_change,
            args=({"concept": concept, "view": AROUND, "centre": concept},),
            help="Draw what lies around it.",
        )
        if concept.layer > 1:
            st.button(
                "Paths to it",
                on_click=on_change,
                args=(
                    {
                        "concept": concept,
                        "view": PATHS,
                        "sources": start or first,
                        "targets": str(concept),
                    },
                ),
            )
        if concept.layer < shown.graph.n_layers:
            st.button(
                "Paths from it",
                on_click=on_change,
                args=(
                    {
                        "concept": concept,
                        "view": PATHS,
                        "sources": str(concept),
                        "targets": end or last,
                    },
                ),
            )


def _exemplars(shown: Shown, concept: ConceptId, on_image: Callable[[str | None], None]) -> None:
    study = shown.study
    rows = exemplar_rows(study, concept, N_EXEMPLARS)
    if not rows:
        st.html(
            "<p class='cg-quiet'>No training image has this concept, so there is nothing to show "
            "for it.</p>"
        )
        return
    st.html(
        f"<p class='cg-quiet'>{term('exemplar', 'Exemplars')}, the strongest first; choose one to "
        "trace it</p>"
    )
    image_grid(
        [
            GridImage(study.image_ids[row], image_title(study, row)[0], thumbnail_uri(study, row))
            for row in rows
        ],
        label=f"Training images in which {shown.called(concept)} is strongest",
        columns=3,
        key=_EXEMPLARS,
        on_pick=lambda: on_image(st.session_state[_EXEMPLARS]["picked"]),
    )


def _relations(
    shown: Shown,
    concept: ConceptId,
    found: EdgeList,
    key: str,
    on_concept: Callable[[str | None], None],
) -> None:
    are_parents = key == _PARENTS
    if not len(found):
        st.html(f"<p class='cg-quiet'>{_why_none(shown, concept, are_parents)}</p>")
        return
    n = min(len(found), N_RELATIONS)
    number = f"{n} of {len(found):,} " if n < len(found) else ""
    what = term("parent", "parents") if are_parents else term("child", "children")
    whole = shown.of.graph
    n_all = len(whole.parents(concept) if are_parents else whole.children(concept))
    hidden = f"; the filters hide {n_all - len(found):,}" if len(found) < n_all else ""
    st.html(
        f"<p class='cg-quiet'>{number}{what} by {term('weight')}, with their "
        f"{term('selection_rate')}{hidden}</p>"
    )
    largest = float(abs(found.weights[0])) or 1.0
    facts = shown.of.facts
    if said := column_words(facts):
        st.html(said)
    concept_list(
        [
            ConceptRow(
                id=str(other),
                name=shown.looks.name_of(other),
                image=shown.looks.image_of(other),
                note=f"in {words.percent(float(rate))} of the bags",
                weight=float(weight),
                text=words.signed(float(weight)),
                share=float(weight) / largest,
                active=True,
                measured=edge_words(
                    facts.of(other, concept) if are_parents else facts.of(concept, other)
                ),
            )
            for other, weight, rate in zip(
                (ConceptId(found.layer, int(index)) for index in found.indices[:n]),
                found.weights[:n],
                found.selection_rates[:n],
                strict=True,
            )
        ],
        label=f"{'Parents' if are_parents else 'Children'} of {shown.called(concept)}",
        key=key,
        on_pick=lambda: on_concept(st.session_state[key]["picked"]),
    )


def _why_none(shown: Shown, concept: ConceptId, are_parents: bool) -> str:
    whole = shown.of.graph
    n_all = len(whole.parents(concept) if are_parents else whole.children(concept))
    if n_all:
        return f"The filters hide all {n_all:,} of them."
    if are_parents:
        if concept.layer == 1:
            return "It has no parents: layer 1 is the first."
        if not whole.record(concept).fitted:
            return "It has no parents: it is too rare or too common for a predictor of it."
        return f"It has no parents: no concept of layer {concept.layer - 1} reliably predicts it."
    if concept.layer == whole.n_layers:
        return f"It has no children: layer {concept.layer} is the last."
    return f"It has no children: it helps to predict no concept of layer {concept.layer + 1}."
