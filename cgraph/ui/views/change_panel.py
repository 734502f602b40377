"""One concept and the edit: before and after in each answer, what caused it, a switch."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.counterfactual import Answer
from cgraph.study_graph import edge_facts
from cgraph.ui import gallery, state, words
from cgraph.ui.answers import LOADING, Measured, Question
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.edge_words import column_words, edge_words
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri
from cgraph.ui.views.agreement_table import MEASURED, PREDICTED
from cgraph.ui.views.change_tables import BECAME
from cgraph.ui.views.edit_controls import is_on

N_EXEMPLARS = 6
N_CAUSES = 10

_CAUSES = "cf.causes"
_EXEMPLARS = "cf.exemplars"


def change_panel(
    asking: Question,
    concept: ConceptId | None,
    *,
    on_flip: Callable[[ConceptId], None],
    on_concept: Callable[[str | None], None],
) -> None:
    """Show the panel.

    Parameters
    ----------
    asking : Question
    concept : ConceptId or None
        The concept that is selected; the first that is set by hand if none is.
    on_flip : callable
        Called with a concept that is to be switched.
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    concept = concept or next(iter(asking.edit), None)
    if concept is None:
        st.html(
            "<h3 class='cg-concept'>No concept is selected</h3><p class='cg-quiet'>Choose one to "
            "see what becomes of it, and why.</p>"
        )
        return
    study = asking.study
    name = gallery.concept_name(study, concept)
    title = escape(name or str(concept), quote=True)
    small = f" <small>{concept}</small>" if name else ""
    st.html(
        f"<h3 class='cg-concept' title='{title} ({concept})'><span>{title}</span>{small}</h3>"
        f"<p class='cg-quiet'>active in {words.percent(_prevalence(asking, concept))} of training "
        "images</p>"
    )
    by_hand = asking.edit.label(concept) is not None
    on = is_on(asking, concept)
    st.button(
        "Leave it alone" if by_hand else "Switch it off" if on else "Switch it on",
        on_click=on_flip,
        args=(concept,),
        type="primary",
        key="cf.flip",
    )
    st.html(_table(asking, concept))
    _causes(asking, concept, on_concept)
    rows = exemplar_rows(study, concept, N_EXEMPLARS)
    if rows:
        st.html(
            f"<p class='cg-quiet'>{term('exemplar', 'Exemplars')}, the strongest first; choose one "
            "to edit it</p>"
        )
        image_grid(
            [
                GridImage(
                    study.image_ids[row], gallery.image_title(study, row)[0],
                    thumbnail_uri(study, row),
                )
                for row in rows
            ],
            label=f"Training images in which {name or concept} is strongest",
            columns=3,
            key=_EXEMPLARS,
            on_pick=lambda: _look_at(asking, concept),
        )  # fmt: skip


def _look_at(asking: Question, concept: ConceptId) -> None:
    image_id = st.session_state[_EXEMPLARS]["picked"]
    if image_id:
        state.change(asking.study, image=image_id, concept=concept)


def _prevalence(asking: Question, concept: ConceptId) -> float:
    return float(asking.study.graph.prevalence(concept.layer)[concept.index])


def _table(asking: Question, concept: ConceptId) -> str:
    """Return before and after in each answer, as an HTML table."""
    rows = [_line(f"{PREDICTED} Graph", Measured(asking.graph), concept)]
    rows.append(_line(f"{MEASURED} Network, edited", asking.network, concept))
    if asking.redraw is not None:
        rows.append(_line(f"{MEASURED} Picture drawn again", asking.redrawn, concept))
    return (
        "<table class='cf-table'><thead><tr><th scope='col'>answer</th><th scope='col'>before</th>"
        "<th scope='col'>after</th><th scope='col'></th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table>"
    )


def _line(label: str, found: Measured, concept: ConceptId) -> str:
    head = f"<th scope='row'>{label}</th>"
    answer = found.answer
    if answer is None:
        why = "loading" if found.problem == LOADING else "not measured"
        return f"<tr>{head}<td colspan='3'>{why}</td></tr>"
    if not answer.states.has_layer(concept.layer):
        return f"<tr>{head}<td colspan='3'>before the start: as it is</td></tr>"
    change = answer.change(concept)
    became = "set by hand" if change.by_hand and answer.source == "graph" else BECAME[change.kind]
    if change.from_fixed_number:
        became += " (only by k)"
    return (
        f"<tr>{head}<td>{_number(answer, change.before)}</td><td>{_number(answer, change.after)}"
        f"</td><td>{became}</td></tr>"
    )


def _number(answer: Answer, value: float) -> str:
    if answer.source == "graph":
        return words.percent(value)
    return f"{value:.2f}".replace("-", "−")


def _causes(asking: Question, concept: ConceptId, on_concept: Callable[[str | None], None]) -> None:
    if asking.edit.label(concept) is not None:
        st.html("<p class='cg-quiet'>It is set by hand, so nothing else decides it.</p>")
        return
    if concept.layer <= asking.start:
        st.html(
            f"<p class='cg-quiet'>Labels up to layer {asking.start} are given: nothing is "
            "predicted there.</p>"
        )
        return
    found = asking.causes(concept)
    if not found:
        st.html(
            "<p class='cg-quiet'>None of its parents changed, so the graph predicts the same as "
            "before.</p>"
        )
        return
    shown = found[:N_CAUSES]
    whole = sum(cause.contribution for cause in found)
    number = f"{len(shown)} of {len(found)} " if len(shown) < len(found) else ""
    st.html(
        f"<p class='cg-sentence'>What moved it: {number}changed {term('parent', 'parents')}, "
        f"together <b>{words.signed(whole)}</b> log-odds.</p>"
    )
    largest = max(abs(cause.contribution) for cause in shown)
    study = asking.study
    facts = edge_facts(study)
    if said := column_words(facts):
        st.html(said)
    concept_list(
        [
            ConceptRow(
                id=str(cause.parent),
                name=gallery.concept_name(study, cause.parent),
                image=gallery.concept_image(study, cause.parent),
                note=_became(asking, cause.parent),
                weight=cause.contribution,
                text=words.signed(cause.contribution),
                share=cause.contribution / largest,
                active=is_on(asking, cause.parent),
                measured=edge_words(facts.of(cause.parent, concept)),
            )
            for cause in shown
        ],
        label=f"Parents whose change moved {gallery.concept_name(study, concept) or concept}",
        key=_CAUSES,
        on_pick=lambda: on_concept(st.session_state[_CAUSES]["picked"]),
    )


def _became(asking: Question, parent: ConceptId) -> str:
    change = asking.graph.change(parent)
    if change.by_hand:
        return f"set {'on' if change.after >= 0.5 else 'off'} by hand"
    if change.kind in ("appeared", "vanished"):
        return BECAME[change.kind]
    return f"{words.percent(change.before)} before, {words.percent(change.after)} after"
