"""The Policies page: rules with their verdicts, and how few flips change a concept."""

from __future__ import annotations

from html import escape

import streamlit as st

from cgraph.errors import CgraphError
from cgraph.ui import words
from cgraph.ui.components import static_text
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link, keep
from cgraph.ui.policy_state import subject
from cgraph.ui.terms import term
from cgraph.ui.views.policy_editor import rules_view
from cgraph.ui.views.policy_radius import radius_view

RULES, RADIUS = "rules", "radius"
VIEWS = {RULES: "Rules", RADIUS: "Flip radius"}
"""Views by their key in the link."""

_VIEW = "policies.view"


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    st.html(f"<style>{static_text('policies.css')}</style>")
    study = opened.study
    if study.n_layers < 2:
        st.info("This study has one layer: it has no edges that a rule could be about.")
        return
    try:
        found = subject(study)
    except CgraphError as error:
        st.error(words.plain(f"No rule can be checked on this study. {error}"))
        return
    view = in_link("view", list(VIEWS), RULES)
    model = str(study.manifest.model["id"])
    facts = [
        term("layer", words.count(study.n_layers, "layer")),
        f"{study.graph.n_concepts():,} {term('concept', 'concepts')}",
        words.count(len(found.outputs), "output") if found.outputs else "no outputs yet",
    ]
    title = {
        RULES: "Which rules does the graph keep?",
        RADIUS: "How few flips change a concept?",
    }[view]
    with st.container(key="pl-head", horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.html(
            f"<p class='cg-eyebrow'>study {escape(study.name)} · model {escape(model)}</p>"
            f"<h2 class='cg-title'>{title}</h2><p class='cg-facts'>{' · '.join(facts)}</p>"
        )
        # The link decides, also after the back button: the control only shows what it says.
        st.session_state[_VIEW] = view
        st.segmented_control(
            "View",
            list(VIEWS),
            format_func=VIEWS.__getitem__,
            key=_VIEW,
            required=True,
            on_change=keep,
            args=(study, _VIEW, "view"),
            label_visibility="collapsed",
        )
    if view == RULES:
        rules_view(opened)
    else:
        radius_view(opened)
