"""What is known of one concept: exemplars, how often and how well, parents and children."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.ui import words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.gallery import concept_image, image_title
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri
from cgraph.ui.traced import ConceptFacts, Relation, TracedImage

N_EXEMPLARS = 9
N_RELATIONS = 12
TELLING_SHARE = 0.25
"""Paths that carry less than this from the first layer are told from the layer where they do."""

_MEANINGS = (
    ("Coefficient", "how much of the concept is in the class token of this image"),
    ("Parents predict", "how likely the concept is, judged by what is active one layer before"),
    ("Prevalence", "the share of images in which the concept is active"),
    (
        "Correlation",
        "how well two things go together over many images: 0 is not at all, 1 is always",
    ),
    (
        "AUC",
        "how often the parents rank an image with the concept above one without: "
        "0.5 is guessing, 1 is perfect",
    ),
    (
        "Average precision",
        "how pure the images are that the parents rank highest; guessing gives the prevalence",
    ),
    ("Held-out", "measured on images that took part in no fit"),
    ("Weight", "what an active parent adds to the log-odds of its child"),
)

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
    st.html(_heading(facts, traced) + _figures(facts))
    _meanings()
    _exemplars(traced, facts, on_image)
    if sentence := _path_sentence(facts):
        st.html(f"<p class='cg-sentence'>{escape(sentence)}</p>")
    parents, children = st.tabs([_tab("Parents", facts.parents), _tab("Children", facts.children)])
    with parents:
        if concept.layer == 1:
            _quiet("It has no parents: layer 1 is the first.")
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
        here = f"active here, number {facts.rank} of {n_active} in layer {facts.concept.layer}"
    name = traced.study.name_of(facts.concept)
    if name is None:
        return f"<h3 class='cg-concept'>{facts.concept}</h3><p class='cg-quiet'>{here}</p>"
    title = escape(name.text, quote=True)
    return (
        f"<h3 class='cg-concept' title='{title} ({facts.concept})'><span>{title}</span> "
        f"<small>{facts.concept}</small></h3><p class='cg-quiet'>{here}</p>"
        f"<p class='cg-sentence'>{escape(_match_sentence(name))}</p>"
    )


def _match_sentence(name: Any) -> str:
    """Say how well the images of a concept agree with the attribute that gives it its name."""
    how = next(word for least, word in _MATCHES if name.strength >= least)
    return (
        f"It matches {name.attribute} ‘{name.value}’ {how}: a correlation of "
        f"{words.fraction(name.strength)} on held-out images."
    )


def _called(traced: TracedImage, concept: ConceptId) -> str:
    name = traced.name(concept)
    return f"{name} ({concept})" if name else str(concept)


def _figures(facts: ConceptFacts) -> str:
    """Return the figures as a list of terms: what the graph predicts, and what was measured."""
    rows = [("Active in training", words.percent(facts.prevalence), "of images")]
    if facts.here is not None:
        rows.append(("Coefficient here", f"{facts.here.coefficient:.2f}", ""))
    if facts.parents and facts.here is not None and facts.here.probability is not None:
        lift = facts.here.probability / facts.prevalence if facts.prevalence else None
        note = f"({words.times(lift)} prevalence)" if lift is not None else ""
        rows.append(("Parents predict", words.percent(facts.here.probability), note))
    figures = facts.figures
    if figures and words.known(figures.get("auc")):
        chance = f"({words.fraction(figures['prevalence'])} by chance)"
        rows.append(("AUC, held-out", words.fraction(figures["auc"]), "(0.50 by chance)"))
        rows.append(("Average precision", words.fraction(figures["ap"]), chance))
    elif facts.concept.layer > 1:
        rows.append(("AUC, held-out", "not scored", "(too rare or too common)"))
    cells = "".join(
        f"<dt>{escape(term)}</dt><dd><b>{escape(value)}</b> {escape(note)}</dd>"
        for term, value, note in rows
    )
    return f"<dl class='cg-figures'>{cells}</dl>"


def _meanings() -> None:
    """Explain the words; a text of its own, so that it stays open from concept to concept."""
    terms = "".join(f"<dt>{term}</dt><dd>{meaning}</dd>" for term, meaning in _MEANINGS)
    summary = "<summary>What these words mean</summary>"
    st.html(f"<details class='cg-help'>{summary}<dl>{terms}</dl></details>")


def _exemplars(traced: TracedImage, facts: ConceptFacts, on_image: Callable[[str], None]) -> None:
    study = traced.study
    rows = exemplar_rows(study, facts.concept, N_EXEMPLARS)
    if not rows:
        _quiet("No training image has this concept, so there is nothing to show for it.")
        return
    image_grid(
        [
            GridImage(study.image_ids[row], image_title(study, row)[0], thumbnail_uri(study, row))
            for row in rows
        ],
        label=f"Training images in which {_called(traced, facts.concept)} is strongest; "
        "choose one to trace it",
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
    if len(shown) < len(relations):
        _quiet(f"{len(shown)} of {len(relations):,}: active ones first, then by weight")
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
            )
            for relation in shown
        ],
        label=f"{'Parents' if key == _PARENTS else 'Children'} of {_called(traced, facts.concept)}",
        key=key,
        on_pick=lambda: on_concept(st.session_state[key]["picked"]),
    )


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
        return "silent here"
    if relation.share is None:
        return "active"
    whose = " of what raised it" if of_child else ""
    if relation.share < 0:
        return "active, speaks against it"
    return f"active, {words.percent(relation.share)}{whose}"
