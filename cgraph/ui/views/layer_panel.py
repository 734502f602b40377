"""What is known of one layer of a traced image: what it explains, what was expected of it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.study_graph import study_leakage
from cgraph.trace import Absence, ActiveConcept
from cgraph.ui import words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.facts import LayerFacts, held_out_explained
from cgraph.ui.outside_words import outside_sentence
from cgraph.ui.terms import MEASURED, term
from cgraph.ui.traced import TracedImage

MOST_LISTED = 24

_ACTIVE = "layer.active"
_ABSENT = "layer.absent"


def layer_panel(
    traced: TracedImage, layer: int, *, on_concept: Callable[[str | None], None]
) -> None:
    """Show the panel beside the graph.

    Parameters
    ----------
    traced : TracedImage
        The image on show.
    layer : int
        The layer that is selected.
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    facts = traced.layer(layer)
    active = words.count(len(facts.active), "active concept")
    st.html(
        f"<h3 class='cg-concept'>Layer {layer}</h3>"
        f"<p class='cg-quiet'>{active} of {facts.n_concepts:,}</p>"
        f"<p class='cg-sentence'>{_explained_sentence(traced, facts)}</p>"
        f"<p class='cg-sentence'>{_expected_sentence(facts)}</p>{_outside(traced, layer)}"
    )
    tabs = st.tabs([f"Active ({len(facts.active):,})", f"Absent ({len(facts.absent):,})"])
    with tabs[0]:
        _list(traced, facts.active, "Active concepts of the layer", _ACTIVE, on_concept)
    with tabs[1]:
        if facts.absent:
            _list(traced, facts.absent, "Expected but absent", _ABSENT, on_concept)
        else:
            st.html("<p class='cg-quiet'>Nothing that was expected here is missing.</p>")


def _outside(traced: TracedImage, layer: int) -> str:
    found = study_leakage(traced.study).get(layer)
    return f"<p class='cg-sentence'>{outside_sentence(found)} {MEASURED}</p>" if found else ""


def _explained_sentence(traced: TracedImage, facts: LayerFacts) -> str:
    share = term("explained", "explains")
    if facts.explained is not None and facts.usual is not None:
        low, high = facts.usual
        text = (
            f"Its code {share} <b>{words.percent(facts.explained)}</b> of the token; usual in this "
            f"study is {words.span([low, high])}."
        )
        if facts.explained < low:
            text += " That is unusually little: much of this image lies outside the concepts."
        return text
    known = held_out_explained(traced.study)
    if len(known) < facts.layer:
        return "How much of the token its code explains is not known."
    return (
        f"On held-out images its code {share} {words.percent(known[facts.layer - 1])} of the token."
        " Of this image the token was not kept."
    )


def _expected_sentence(facts: LayerFacts) -> str:
    if facts.layer == 1:
        return "Layer 1 has no parents, so nothing is expected of it."
    known = [active for active in facts.active if active.probability is not None]
    if not known:
        return "No predictor was fitted for its active concepts, so nothing is expected of them."
    surprises = term("surprise", words.count(facts.n_surprises, "surprise"))
    absences = term("absence", f"{len(facts.absent)} expected but absent")
    return (
        f"Judged by the layer before: {surprises} among {words.count(len(known), 'concept')}, "
        f"{absences}. The figures are {term('lift')}s."
    )


def _list(
    traced: TracedImage,
    concepts: tuple[ActiveConcept, ...] | tuple[Absence, ...],
    label: str,
    key: str,
    on_concept: Callable[[str | None], None],
) -> None:
    shown = concepts[:MOST_LISTED]
    if len(shown) < len(concepts):
        st.html(f"<p class='cg-quiet'>{len(shown)} of {len(concepts):,}</p>")
    concept_list(
        [_row(traced, concept) for concept in shown],
        label=escape(label),
        key=key,
        on_pick=lambda: on_concept(st.session_state[key]["picked"]),
    )


def _row(traced: TracedImage, found: ActiveConcept | Absence) -> ConceptRow:
    concept: ConceptId = found.concept
    if found.probability is None:
        note, text = ("no predictor" if concept.layer > 1 else ""), ""
    else:
        note = f"predicted at {words.percent(found.probability)}"
        text = "" if found.lift is None else words.times(found.lift)
    if isinstance(found, ActiveConcept):
        note = f"surprise, {note}" if found.is_surprise else note
        note = note or f"coefficient {found.coefficient:.2f}"
    return ConceptRow(
        id=str(concept),
        name=traced.name(concept),
        image=traced.looks.image_of(concept),
        note=note,
        weight=(found.lift if found.lift is not None else 1.0) - 1.0,
        text=text,
        share=None,
        active=isinstance(found, ActiveConcept),
    )
