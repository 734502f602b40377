"""Why one held-out image is predicted to have a concept, or not: what its parents add."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from cgraph.held_out import ConceptScores, HeldOutPair
from cgraph.study import Study
from cgraph.ui import gallery, state, words
from cgraph.ui.components.concept_list import ConceptRow, concept_list
from cgraph.ui.gallery import concept_image, concept_name
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import thumbnail_uri

_PARENTS = "evaluation.evidence"
_MOST = 8


def image_evidence(
    study: Study,
    pair: HeldOutPair,
    scores: ConceptScores,
    place: int,
    *,
    on_concept: Callable[[str | None], None],
) -> None:
    """Show an image, what was predicted and measured of it, and its active parents.

    Parameters
    ----------
    study : Study
    pair : HeldOutPair
    scores : ConceptScores
        The concept on every held-out image.
    place : int
        Place of the image among them.
    on_concept : callable
        Called with the id of a parent that somebody chose.
    """
    row = int(scores.rows[place])
    title, _ = gallery.image_title(study, row)
    active = pair.contributions(scores.concept.index, place)
    p = float(scores.probabilities[place])
    has = "has it" if scores.positive[place] else "does not have it"
    n_parents = len(study.graph.parents(scores.concept))
    intercept = study.graph.record(scores.concept).intercept
    left, right, _ = st.columns([0.15, 0.6, 0.25], gap="small")
    with left:
        st.html(
            f"<img class='cg-picture cg-small' src='{thumbnail_uri(study, row)}' "
            f"alt='{escape(title, quote=True)}'>"
        )
    with right:
        st.html(
            f"<p class='cg-sentence'><b>{escape(title)}</b>: the graph predicts "
            f"{words.fine_percent(p)}; the network {has}. "
            f"{len(active)} of {words.count(n_parents, 'parent')} active, with their "
            f"{term('contribution')}s; the intercept is {words.signed(intercept)}.</p>"
        )
        concept_list(
            [
                ConceptRow(
                    id=str(parent),
                    name=concept_name(study, parent),
                    image=concept_image(study, parent),
                    note="raises it" if value > 0 else "lowers it",
                    weight=value,
                    text=words.signed(value),
                    share=None,
                    active=True,
                )
                for parent, value in active[:_MOST]
            ],
            label=f"Active parents of {scores.concept} in {title}",
            key=_PARENTS,
            on_pick=lambda: on_concept(st.session_state[_PARENTS]["picked"]),
        )
        shown = state.Selection(study.name, study.image_ids[row], (), None, scores.concept)
        st.page_link("app.py", label="Open this image in Trace", query_params=shown.to_query())
