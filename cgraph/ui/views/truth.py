"""Does the graph tell the truth about the network? What was measured of it, topic by topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import streamlit as st

from cgraph.errors import CgraphError
from cgraph.progress import duration
from cgraph.truth_tables import TABLES
from cgraph.ui import measured, words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import pills
from cgraph.ui.models import shelf
from cgraph.ui.terms import MEASURED, PREDICTED
from cgraph.ui.truth_topics import command, hindrance, measurement
from cgraph.ui.views.truth_direction import direction
from cgraph.ui.views.truth_evidence import evidence
from cgraph.ui.views.truth_factors import factors
from cgraph.ui.views.truth_outside import outside
from cgraph.ui.views.truth_references import references
from cgraph.ui.views.truth_rollout import rollout
from cgraph.ui.views.truth_stability import stability

_KNOWN = "<span class='cg-mark'>○ concepts held against what is known of the images</span>"
_COMPARED = "<span class='cg-mark'>○ two fits compared</span>"


@dataclass(frozen=True)
class Topic:
    """One part of the answer.

    Attributes
    ----------
    label, question : str
        What it is called where it is chosen, and above its figures.
    mark : str
        HTML: whether its figures are predicted by the graph or measured in the network.
    show : callable
        Draws it; called only if the measurement of the same name was taken.
    """

    label: str
    question: str
    mark: str
    show: Callable[[OpenStudy], None]


TOPICS = {
    "rollout": Topic("Rollout over depth", "How far do predictions carry?", PREDICTED, rollout),
    "references": Topic("References", "What are the figures worth?", PREDICTED, references),
    "evidence": Topic("Evidence on edges", "Do the edges hold in the network?", MEASURED, evidence),
    "leakage": Topic("Outside the graph", "What can the graph not see?", MEASURED, outside),
    "direction": Topic("Direction", "Which concept moves which?", MEASURED, direction),
    "factors": Topic("Factors", "Has every factor its own concept?", _KNOWN, factors),
    "stability": Topic("Stability", "Would another seed find it again?", _COMPARED, stability),
}
"""Topics by the measurement that each shows, in the order in which they are offered."""


@st.fragment
def truth(opened: OpenStudy) -> None:
    """Show one topic; only this runs again for a choice in it.

    Parameters
    ----------
    opened : OpenStudy
    """
    shelf.note_request()
    study = opened.study
    _guarded(_in_short, opened)
    name = pills(
        study,
        "Topic",
        "topic",
        list(TOPICS),
        key="truth.topic",
        says=lambda topic: TOPICS[topic].label + ("" if study.is_measured(topic) else " · not yet"),
        hidden=True,
    )
    topic = TOPICS[name]
    st.html(
        f"<h3 class='cg-section'>{escape(topic.question)}</h3><p class='cg-quiet'>{topic.mark}</p>"
    )
    if study.is_measured(name):
        _guarded(topic.show, opened)
    else:
        _not_measured(opened, name)
    _what_was_measured(opened)


def _guarded(show: Callable[[OpenStudy], None], opened: OpenStudy) -> None:
    """Show something; a table that cannot be read does not take the others with it."""
    try:
        show(opened)
    except CgraphError as error:
        again = f"Measure it again: `{command(opened.entry)} --again`."
        st.error(words.plain(f"What was measured cannot be shown. {error} {again}"))


def _in_short(opened: OpenStudy) -> None:
    """Say in a few sentences what the measurements add up to."""
    found = measured.truth(opened.entry)
    said = []
    if (n := found.get("edges_measured")) and "edges_supported_share" in found:
        text = (
            f"Of {words.count(int(n), 'edge')} tested in the network, from the second pair on "
            f"<b>{words.percent(found['edges_supported_share'])}</b> of those of positive weight "
            f"are supported and <b>{words.percent(found.get('edges_specific_share'))}</b> go "
            "beyond geometry"
        )
        if "controls_supported_share" in found:
            controls = words.percent(found["controls_supported_share"])
            text += f"; <b>{controls}</b> of the non-edges pass the same test"
        said.append(f"{text}.")
    if "rollout_gap_to_direct" in found:
        gap = found["rollout_gap_to_direct"]
        way = "below" if gap >= 0 else "above"
        said.append(
            f"Run from layer 1 to the last, predictions end <b>{abs(gap):.3f}</b> AUC {way} a fit "
            "straight from layer 1."
        )
    if "atoms_matched_share" in found:
        share = words.percent(found["atoms_matched_share"])
        said.append(f"Another seed finds <b>{share}</b> of the concepts again.")
    if said:
        st.html(f"<p class='cg-sentence'>{' '.join(said)}</p>")


def _not_measured(opened: OpenStudy, name: str) -> None:
    about = measurement(name)
    if why := hindrance(opened.study, opened.entry, name):
        st.info(words.plain(f"This was not measured. {why}"))
        return
    needs = "It needs the images and the model" if about.pictures else "It needs no images"
    st.info(
        f"This was not measured yet: {about.question}. {needs}; {about.takes}. Measure it in a "
        "terminal, then reload this page:"
    )
    st.code(command(opened.entry, name), language="bash")


def _what_was_measured(opened: OpenStudy) -> None:
    """List every measurement with what it takes."""
    study, seconds = opened.study, measured.seconds_taken(opened.entry)
    lines = []
    for name in TABLES:
        about = measurement(name)
        if study.is_measured(name):
            taken = f"measured in {duration(seconds[name])}" if name in seconds else "measured"
        else:
            taken = "cannot be measured" if hindrance(study, opened.entry, name) else "not yet"
        needs = "images and model" if about.pictures else "the study alone"
        lines.append(
            f"<tr><th scope='row'>{escape(name)}</th><td>{escape(about.question)}</td>"
            f"<td>{escape(about.takes)}</td><td>{needs}</td><td>{taken}</td></tr>"
        )
    with st.expander("What was measured, and what it takes"):
        st.html(
            "<div class='cg-scroll'><table class='cg-table cg-words'><thead><tr><td></td>"
            "<th scope='col'>answers</th><th scope='col'>what is done</th><th scope='col'>needs"
            f"</th><th scope='col'></th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
        missing = [name for name in TABLES if not study.is_measured(name)]
        if any(not hindrance(study, opened.entry, name) for name in missing):
            st.code(command(opened.entry), language="bash")
