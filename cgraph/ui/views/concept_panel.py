"""What is known of one concept: exemplars, how often and how well, parents and children."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edge_facts import EdgeFact
from cgraph.given_names import GivenName
from cgraph.study_graph import measured_concepts
from cgraph.study_names import marked
from cgraph.text_names import TextName
from cgraph.ui import words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.edge_words import column_words, edge_words
from cgraph.ui.facts import ConceptFacts, Relation
from cgraph.ui.gallery import concept_image, image_title
from cgraph.ui.outside_words import concept_rows
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri
from cgraph.ui.traced import TracedImage

N_EXEMPLARS = 9
N_RELATIONS = 12
TELLING_SHARE = 0.25
"""Paths that carry less than this from the first layer are told from the layer where they do."""

_MATCHES = ((0.8, "closely"), (0.6, "well"), (0.4, "fairly well"), (-1.0, "loosely"))
"""Lowest correlation of a name with its attribute, and the word for it."""

_EXEMPLARS = "panel.exemplars"
_PARENTS = "panel.parents"
_CHILDREN = "panel.children"


def concept_panel(
    traced: TracedImage,
    concept: ConceptId | None,
    *,
    on_concept: Callable[[str | None], None],
    on_image: Callable[[str], None],
) -> None:
    """Show the panel beside the graph.

    Parameters
    ----------
    traced : TracedImage
        The image on show.
    concept : ConceptId or None
        The concept that is selected; it need not be active in the image.
    on_concept, on_image : callable
        Called with the id of a concept, or of an image, that somebody chose.
    """
    if concept is None:
        st.html(
            "<h3 class='cg-concept'>No concept is selected</h3><p class='cg-quiet'>Choose one in "
            "the graph to see what it stands for and what leads to it.</p>"
        )
        return
    facts = traced.facts(concept)
    st.html(_heading(facts, traced) + _verdict(facts) + _figures(facts, traced))
    _exemplars(traced, facts, on_image)
    if sentence := _path_sentence(facts):
        st.html(f"<p class='cg-sentence'>{escape(sentence)}</p>")
    parents, children = st.tabs([_tab("Parents", facts.parents), _tab("Children", facts.children)])
    with parents:
        if concept.layer == 1:
            _quiet("It has no parents: layer 1 is the first, so nothing is expected of it.")
        else:
            _relations(traced, facts, facts.parents, _PARENTS, on_concept)
    with children:
        if concept.layer == traced.study.n_layers:
            _quiet(f"It has no children: layer {concept.layer} is the last.")
        else:
            _relations(traced, facts, facts.children, _CHILDREN, on_concept)


def _tab(name: str, relations: tuple[Relation, ...]) -> str:
    return f"{name} ({len(relations):,})"


def _quiet(text: str) -> None:
    st.html(f"<p class='cg-quiet'>{escape(text)}</p>")


def _heading(facts: ConceptFacts, traced: TracedImage) -> str:
    if facts.here is None:
        here = "<span class='cg-silent'>silent in this image</span>"
    else:
        n_active = len(traced.trace.layers[facts.concept.layer - 1])
        here = (
            f"{term('active')} here, number {facts.rank} of {n_active} in layer "
            f"{facts.concept.layer}"
        )
    name = traced.study.name_of(facts.concept)
    if name is None:
        return f"<h3 class='cg-concept'>{facts.concept}</h3><p class='cg-quiet'>{here}</p>"
    title = escape(marked(name), quote=True)
    return (
        f"<h3 class='cg-concept' title='{title} ({facts.concept})'><span>{title}</span> "
        f"<small>{facts.concept}</small></h3><p class='cg-quiet'>{here}</p>"
        f"<p class='cg-sentence'>{match_sentence(name)}</p>"
    )


def match_sentence(name: Any) -> str:
    """Say where a name comes from: who gave it, or how well the concept's images agree with it."""
    if isinstance(name, GivenName):
        return escape(f"Named by hand by {name.author} on {name.date[:10]}.")
    if isinstance(name, TextName):
        return (
            f"Named by text: its images are most like ‘{escape(name.matches[0].text)}’, a "
            f"{term('correlation')} of {words.fraction(name.strength)} on {term('held_out')} "
            "images."
        )
    return _attribute_sentence(name)


def _attribute_sentence(name: Any) -> str:
    """Say how well the images of a concept agree with the attribute that gives it its name."""
    how = next(word for least, word in _MATCHES if name.strength >= least)
    return (
        f"It matches {escape(f'{name.attribute} ‘{name.value}’')} {how}: a {term('correlation')} "
        f"of {words.fraction(name.strength)} on {term('held_out')} images."
    )


def _called(traced: TracedImage, concept: ConceptId) -> str:
    name = traced.name(concept)
    return f"{name} ({concept})" if name else str(concept)


def _verdict(facts: ConceptFacts) -> str:
    """Say whether the concept was to be expected here."""
    if facts.is_absent:
        text = f"<b>?</b> {term('absence', 'Expected but absent')}: its parents make it likely here"
    elif facts.here is not None and facts.here.is_surprise:
        text = (
            f"<b>!</b> {term('surprise', 'A surprise')}: it is active, though its parents make it "
            "rarer than usual"
        )
    else:
        return ""
    lift = "" if facts.lift is None else f" ({words.times(facts.lift)} as likely as usual)"
    return f"<p class='cg-sentence cg-verdict'>{text}{lift}.</p>"


def _figures(facts: ConceptFacts, traced: TracedImage) -> str:
    """Return the figures as a list of terms: what the graph predicts, and what was measured."""
    rows = [
        (term("prevalence", "Active in training"), words.percent(facts.prevalence), "of images")
    ]
    if facts.here is not None:
        rows.append((term("coefficient", "Coefficient here"), f"{facts.here.coefficient:.2f}", ""))
    if facts.parents and facts.probability is not None:
        note = "" if facts.lift is None else f"({words.times(facts.lift)} prevalence)"
        rows.append((term("lift", "Parents predict"), words.percent(facts.probability), note))
    figures = facts.figures
    if figures and words.known(figures.get("auc")):
        chance = f"({words.fraction(figures['prevalence'])} by chance)"
        rows.append(
            (term("auc", "AUC, held-out"), words.fraction(figures["auc"]), "(0.50 by chance)")
        )
        precision = term("average_precision", "Average precision")
        rows.append((precision, words.fraction(figures["ap"]), chance))
    elif facts.concept.layer > 1:
        rows.append((term("auc", "AUC, held-out"), "not scored", "(too rare or too common)"))
    rows += concept_rows(measured_concepts(traced.study).of(facts.concept))
    cells = "".join(
        f"<dt>{label}</dt><dd><b>{escape(value)}</b> {escape(note)}</dd>"
        for label, value, note in rows
    )
    return f"<dl class='cg-figures'>{cells}</dl>"


def _exemplars(traced: TracedImage, facts: ConceptFacts, on_image: Callable[[str], None]) -> None:
    study = traced.study
    rows = exemplar_rows(study, facts.concept, N_EXEMPLARS)
    if not rows:
        _quiet("No training image has this concept, so there is nothing to show for it.")
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
        label=f"Training images in which {_called(traced, facts.concept)} is strongest",
        columns=3,
        key=_EXEMPLARS,
        on_pick=lambda: on_image(st.session_state[_EXEMPLARS]["picked"]),
    )


def _path_sentence(facts: ConceptFacts) -> str:
    """Say how much of what raised a concept the lit paths carry."""
    if facts.here is None or facts.concept.layer == 1:
        return ""
    if not facts.parents:
        return ""  # the list of parents says why there are none
    if not facts.carried:
        return "None of the parents that speak for it is active here: the graph did not expect it."
    whole = words.percent(facts.carried[0])
    if facts.carried[0] >= TELLING_SHARE:
        return f"The lit paths carry {whole} of what raised this concept."
    layers = range(1, facts.concept.layer)
    strong = [layer for layer in layers if facts.carried[layer - 1] >= TELLING_SHARE]
    since = min(strong, default=layers[-1])
    return (
        f"The lit paths carry {words.percent(facts.carried[since - 1])} of what raised this "
        f"concept from layer {since} on, and {whole} from layer\N{NO-BREAK SPACE}1."
    )


def _relations(
    traced: TracedImage,
    facts: ConceptFacts,
    relations: tuple[Relation, ...],
    key: str,
    on_concept: Callable[[str | None], None],
) -> None:
    if not relations:
        _quiet(_why_none(traced, facts.concept, of_child=key == _CHILDREN))
        return
    shown = sorted(relations, key=lambda relation: not relation.active)[:N_RELATIONS]
    number = f"{len(shown)} of {len(relations):,} " if len(shown) < len(relations) else ""
    what = term("child", "children") if key == _CHILDREN else term("parent", "parents")
    others = "" if key == _CHILDREN else f"; {term('silent_parent', 'silent ones')} add nothing"
    st.html(
        f"<p class='cg-quiet'>{number}{what} with their {term('weight')}, active ones first with "
        f"their {term('contribution')}{others}</p>"
    )
    if said := column_words(traced.edges):
        st.html(said)
    concept_list(
        [
            ConceptRow(
                id=str(relation.concept),
                name=traced.name(relation.concept),
                image=concept_image(traced.study, relation.concept),
                note=_note(relation, of_child=key == _CHILDREN),
                weight=relation.weight,
                text=words.signed(relation.weight),
                share=relation.share,
                active=relation.active,
                measured=edge_words(_fact(traced, facts.concept, relation, key)),
            )
            for relation in shown
        ],
        label=f"{'Parents' if key == _PARENTS else 'Children'} of {_called(traced, facts.concept)}",
        key=key,
        on_pick=lambda: on_concept(st.session_state[key]["picked"]),
    )


def _fact(traced: TracedImage, concept: ConceptId, relation: Relation, key: str) -> EdgeFact | None:
    ends = (concept, relation.concept) if key == _CHILDREN else (relation.concept, concept)
    return traced.edges.of(*ends)


def _why_none(traced: TracedImage, concept: ConceptId, *, of_child: bool) -> str:
    if of_child:
        return f"It has no children: it helps to predict no concept of layer {concept.layer + 1}."
    if not traced.study.graph.record(concept).fitted:
        return "It has no parents: it is too rare or too common for a predictor of it to be fitted."
    return (
        f"It has no parents: no concept of layer {concept.layer - 1} reliably helps to predict it."
    )


def _note(relation: Relation, *, of_child: bool) -> str:
    if not relation.active:
        return "silent here" if of_child else "not active here"
    if relation.contribution is None or relation.share is None:
        return "active here"
    if relation.contribution < 0:
        return f"active, takes away {-relation.contribution:.2f}"
    text = f"active, adds {words.signed(relation.contribution)}"
    if relation.share <= 0:
        return text
    return (
        f"{text}, {words.percent(relation.share)} of {'what raised it' if of_child else 'its rise'}"
    )
