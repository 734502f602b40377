"""How few labels must flip before a concept changes in an image, from every layer before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edits import Rule
from cgraph.errors import CgraphError, ConfigError
from cgraph.study import Study
from cgraph.ui import frame, policy_state, radii, state, words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import pills
from cgraph.ui.models import shelf
from cgraph.ui.policy_looks import COUNTERFACTUAL_PAGE, called, edit_query, looks, page_link
from cgraph.ui.radii import Asked, Found
from cgraph.ui.traced import TracedImage
from cgraph.ui.views.image_choice import image_choice
from cgraph.ui.views.radius_figure import (
    changes_of,
    choose_change,
    measured_flips,
    radius_figure,
    reading_aid,
    really,
)
from cgraph.ui.views.trace import image_on_show

_CONCEPT = "policies.concept"
_TABLE = "policies.radii"
_PICKED = "policies.radius-picked"
_PROBLEM = "policies.radius-problem"
_MOST_OFFERED = 300
_MOST_FLIPS = 8
_RULE_WORDS = {
    "max": "labels passed on (max)",
    "refitted": "probabilities passed on (refitted)",
}


def radius_view(opened: OpenStudy) -> None:
    """Draw the view.

    Parameters
    ----------
    opened : OpenStudy
    """
    try:
        traced = image_on_show(opened)
    except CgraphError as error:
        st.error(words.plain(f"The image cannot be traced. {error}"))
        return
    with st.container(key="cg-top", horizontal=True, gap="medium"):
        alternative = escape(f"The image: {traced.title}", quote=True)
        st.html(
            f"<img class='cg-picture cg-small' src='{traced.picture}' alt='{alternative}'>",
            width="content",
        )
        with st.container(key="cg-about"):
            about = " · ".join(escape(text) for text in traced.details)
            st.html(f"<p class='cg-eyebrow'>{about}</p><p><b>{escape(traced.title)}</b></p>")
            image_choice(opened.study, traced, on_image=lambda chosen: _go(opened, chosen))
    _explore(opened, traced)


def _go(opened: OpenStudy, image_id: str) -> None:
    state.change(opened.study, image=image_id)


@st.fragment
def _explore(opened: OpenStudy, traced: TracedImage) -> None:
    shelf.note_request()
    study = opened.study
    concept = _concept(opened, traced)
    with st.container(key="pl-radius-tools", horizontal=True, vertical_alignment="bottom"):
        _choose_concept(study, concept)
        rules = radii.rules_of(study)
        rule: Rule = rules[0]
        if len(rules) > 1:
            rule = pills(
                study, "Rule", "rule", list(rules), key="policies.rule",
                says=_RULE_WORDS.__getitem__,
            )  # type: ignore[assignment]  # fmt: skip
        changes = changes_of(study)
        change = choose_change(study, changes) if changes else ""
    if problem := st.session_state.pop(_PROBLEM, None):
        st.warning(words.plain(problem))
    active = tuple(
        tuple(sorted(found.concept.index for found in layer)) for layer in traced.trace.layers
    )
    asked = Asked(study, traced.image_id, active, concept, rule)
    found = radii.known(asked)
    if not found:
        with st.spinner("Looking for the cheapest flips …"):
            found = radii.compute(asked)
    measured = measured_flips(study, change)
    radius_figure(study, asked, found, measured, really(study, traced, asked))
    if len(found) < len(asked.starts):
        left = len(asked.starts) - len(found)
        st.button(
            f"Go on with {words.count(left, 'layer')} further back",
            on_click=_further,
            args=(asked,),
            key="policies.further",
        )
    _cheapest(opened, traced, asked, found)
    reading_aid(study)


def _further(asked: Asked) -> None:
    radii.compute(asked)


# ---- the concept


def _concept(opened: OpenStudy, traced: TracedImage) -> ConceptId:
    """Return the concept on show: the link's output or concept, or what is there to begin with."""
    study = opened.study
    text = st.query_params.get("output")
    selection, _ = state.check(state.read()[0], study)
    if text:
        try:
            if study.outputs is None:
                raise ConfigError("This study has no outputs. `cgraph outputs` adds some.")
            return study.outputs.id_of(text)
        except ConfigError as error:
            st.warning(words.plain(f"The output of the link was left out. {error}"))
    if selection.concept is not None:
        if selection.concept.layer > 1:
            return selection.concept
        st.info(
            f"{selection.concept} lies in layer 1, and nothing before it can flip. Another concept "
            "is shown."
        )
    if study.outputs is not None:
        return study.outputs.ids[0]
    return traced.landmark or ConceptId(study.n_layers, 0)


def _choose_concept(study: Study, concept: ConceptId) -> None:
    texts = _offered(study, study.naming.revision)
    now = called(study, concept)
    options = texts if now in texts else [now, *texts]
    st.session_state[_CONCEPT] = now
    st.selectbox(
        "Concept",
        options,
        key=_CONCEPT,
        accept_new_options=True,
        on_change=_concept_chosen,
        args=(study, options),
        help="Search the list, or type an id such as L7/12 or a part of a name.",
        width=320,
    )


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs={Study: id})
def _offered(study: Study, names: str) -> list[str]:
    """Return outputs, then named concepts, those of late layers first."""
    outputs = [node.written for node in study.outputs.nodes] if study.outputs else []
    found = policy_state.subject(study).named
    concepts = sorted({*found.names, *found.others}, key=lambda c: (-c.layer, c.index))
    named = [called(study, concept) for concept in concepts if concept.layer > 1]
    return [*outputs, *named][:_MOST_OFFERED]


def _concept_chosen(study: Study, options: Sequence[str]) -> None:
    """Put the chosen or typed concept into the link; a callback."""
    text = (st.session_state[_CONCEPT] or "").strip()
    if text.startswith("O/"):
        if study.outputs is not None and text.removeprefix("O/") in study.outputs.names:
            state.write(state.changed(study), {"output": text.removeprefix("O/")})
        else:
            st.session_state[_PROBLEM] = f"This study has no output {text!r}."
        return
    wanted = text.rpartition("(")[2].rstrip(")") if text in options else text
    later = [c for c in policy_state.subject(study).named.search(wanted) if c.layer > 1]
    if not later:
        st.session_state[_PROBLEM] = (
            f"No concept behind layer 1 is called {text!r}. Write an id such as L7/12, or part of "
            "a name."
        )
        return
    # A name that several have means the one nearest the end.
    concept = max(later, key=lambda c: c.layer) if text not in options else later[0]
    state.write(state.changed(study, concept=concept), {"output": None})


# ---- the flips


def _cheapest(opened: OpenStudy, traced: TracedImage, asked: Asked, found: Sequence[Found]) -> None:
    study = opened.study
    rows, links = [], []
    for one in found:
        radius = one.radius
        if radius is None or not radius.indices:
            continue
        active = set(asked.active[one.start - 1])
        on = [ConceptId(one.start, i) for i in radius.indices if i not in active]
        off = [ConceptId(one.start, i) for i in radius.indices if i in active]
        more = max(0, len(on) - _MOST_FLIPS) + max(0, len(off) - _MOST_FLIPS)
        note = "fewest possible" if radius.exact else f"at least {radius.lower}"
        rows.append(
            TableRow(
                f"Layer {one.start}",
                f"{words.count(len(radius.indices), 'flip')}, {note}"
                + (f", {more} not drawn" if more else ""),
                None,
                [on[:_MOST_FLIPS], off[:_MOST_FLIPS]],
            )
        )
        if radius.flips is not None:
            links.append((one.start, radius.rule, radius.flips))
    if not rows:
        return
    goes = "off" if found[0].radius is not None and found[0].radius.before else "on"
    st.html(
        "<h3 class='cg-section'>The cheapest flips that were found</h3><p class='cg-quiet'>Each "
        f"row changes {escape(called(study, asked.concept))} by itself, in the graph. From layer "
        f"{found[0].start} it goes {goes}; further back the graph may start from the other side, "
        "since it runs on its own predictions.</p>"
    )

    def pick() -> None:
        st.session_state[_PICKED] = st.session_state[_TABLE]["picked"]

    concept_table(
        [TableHead("Switch on"), TableHead("Switch off")],
        rows,
        looks(study),
        label=f"Flips that change {called(study, asked.concept)}, a row for each layer",
        key=_TABLE,
        on_pick=pick,
        wide=True,
    )
    if picked := st.session_state.get(_PICKED):
        concept = ConceptId.parse(picked)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            name = escape(called(study, concept))
            st.html(f"<p class='cg-quiet'><b>{name}</b></p>", width="content")
            frame.onward_links(state.changed(study, concept=concept), "Policies")
    selection = dataclasses.replace(state.changed(study), image=traced.image_id)
    st.html("<p class='cg-quiet pl-try'>Try the flips on the Counterfactual page, in the network "
            "too:</p>")  # fmt: skip
    with st.container(horizontal=True, gap="small", key="pl-tries"):
        for start, rule, flips in links:
            page_link(
                COUNTERFACTUAL_PAGE,
                f"from layer {start}",
                edit_query(
                    study, selection,
                    flips,
                    rule=rule, start=start,
                    concept=asked.concept,
                ),
            )  # fmt: skip
