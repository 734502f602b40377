"""How few labels must flip before a concept changes in an image, from every layer before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edits import Rule
from cgraph.errors import CgraphError, ConfigError
from cgraph.study import Study
from cgraph.ui import frame, policy_state, radii, state, words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link, keep, pills
from cgraph.ui.models import shelf
from cgraph.ui.policy_looks import COUNTERFACTUAL_PAGE, called, edit_query, looks, page_link
from cgraph.ui.radii import Asked, Found
from cgraph.ui.terms import MEASURED, PREDICTED, term
from cgraph.ui.traced import TracedImage
from cgraph.ui.views.image_choice import image_choice
from cgraph.ui.views.trace import image_on_show

_CONCEPT = "policies.concept"
_CHANGE = "policies.change"
_TABLE = "policies.radii"
_PICKED = "policies.radius-picked"
_PROBLEM = "policies.radius-problem"
_MOST_OFFERED = 300
_MOST_FLIPS = 8
_NO_CHANGE = "none"
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
    if concept is None:
        st.info("No concept lies behind another in this image. Choose one to begin with.")
        return
    with st.container(key="pl-radius-tools", horizontal=True, vertical_alignment="bottom"):
        _choose_concept(study, concept)
        rules = radii.rules_of(study)
        rule: Rule = rules[0]
        if len(rules) > 1:
            rule = pills(
                study, "Rule", "rule", list(rules), key="policies.rule",
                says=_RULE_WORDS.__getitem__,
            )  # type: ignore[assignment]  # fmt: skip
        changes = _changes(study)
        change = _NO_CHANGE
        if changes:
            change = _choose_change(study, changes)
    if problem := st.session_state.pop(_PROBLEM, None):
        st.warning(words.plain(problem))
    active = tuple(
        tuple(sorted(found.concept.index for found in layer)) for layer in traced.trace.layers
    )
    asked = Asked(study, traced.image_id, active, concept, rule)
    n_before = len(radii.known(asked))
    found = radii.known(asked)
    if not n_before:
        with st.spinner("Looking for the cheapest flips …"):
            found = radii.compute(asked)
    measured = _measured(study, change)
    _figure(study, asked, found, measured, _really(study, traced, asked))
    if len(found) < len(asked.starts):
        left = len(asked.starts) - len(found)
        st.button(
            f"Go on with {words.count(left, 'layer')} further back",
            on_click=_further,
            args=(asked,),
            key="policies.further",
        )
    _cheapest(opened, traced, asked, found)
    _reading_aid(study)


def _further(asked: Asked) -> None:
    radii.compute(asked)


# ---- the concept


def _concept(opened: OpenStudy, traced: TracedImage) -> ConceptId | None:
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


# ---- radii as a figure


def _changes(study: Study) -> dict[str, str]:
    """Return what pictures were changed by, by key in the link; empty if it was not measured."""
    table = study.measured("flips")
    if table is None:
        return {}
    found = {}
    for row in table.to_pylist():
        name, size = row["perturbation"], row["size"]
        found[f"{name}-{size:g}".replace(" ", "-")] = f"{name} {size:g}"
    return found


def _first_change(changes: dict[str, str]) -> str:
    return next((key for key in changes if key == "JPEG-50"), next(iter(changes)))


def _choose_change(study: Study, changes: dict[str, str]) -> str:
    change = in_link("change", list(changes), _first_change(changes))
    st.session_state[_CHANGE] = change
    st.selectbox(
        "Held against a picture with",
        list(changes),
        format_func=changes.__getitem__,
        key=_CHANGE,
        on_change=keep,
        args=(study, _CHANGE, "change"),
        width=220,
    )
    return change


def _measured(study: Study, change: str) -> dict[int, dict[str, Any]]:
    table = study.measured("flips")
    if table is None:
        return {}
    return {
        row["layer"]: row
        for row in table.to_pylist()
        if f"{row['perturbation']}-{row['size']:g}".replace(" ", "-") == change
    }


def _figure(
    study: Study,
    asked: Asked,
    found: Sequence[Found],
    measured: dict[int, dict[str, Any]],
    really: str,
) -> None:
    """Draw lower and upper radius of each layer, and beside them what a changed picture flips."""
    concept = asked.concept
    ends = [n for one in found if one.radius for n in (one.radius.lower, one.radius.upper) if n]
    ends += [row["high"] for row in measured.values()]
    most = max([*ends, 4])
    rows = "".join(_bar(one, measured.get(one.start), most) for one in found)
    legend = (
        "<span><i class='pl-key pl-low'></i> no fewer flips do</span>"
        "<span><i class='pl-key pl-gap'></i> between the bounds</span>"
    )
    if measured:
        legend += (
            "<span><i class='pl-key pl-dot'></i> ● labels that a changed picture flips: median, "
            "line to 95 %</span>"
        )
    word = term("flip_radius", "Flip radius")
    head = escape(called(study, concept))
    marks = f"{PREDICTED} {MEASURED if measured else ''}"
    st.html(
        f"<h3 class='cg-section'>{word} of {head}, layer by layer</h3>"
        f"<p class='pl-marks'>{marks}</p>{really}"
        f"<p class='pl-legend cg-quiet'>{legend}</p>"
        "<div class='cg-scroll'><table class='pl-radii'><thead><tr><td></td><th scope='col'>flips "
        f"needed, 0 to {most:g}</th><th scope='col'>radius</th><th scope='col'>without flips</th>"
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _really(study: Study, traced: TracedImage, asked: Asked) -> str:
    """Say what the network itself says of the concept in this image, where that is known."""
    concept = asked.concept
    if concept.kind == "output":
        if study.outputs is None or traced.row is None:
            return ""
        here = bool(study.outputs.labels[traced.row, concept.index])
    else:
        here = concept.index in asked.active[concept.layer - 1]
    return (
        f"<p class='cg-quiet'>In the network it is <b>{'on' if here else 'off'}</b> in this image ●"
        ". Without flips the graph runs from the image’s own labels of a layer, and may end "
        "elsewhere.</p>"
    )


def _bar(one: Found, row: dict[str, Any] | None, most: float) -> str:
    def at(value: float) -> str:
        return f"{100 * min(1.0, value / most):.1f}%"

    track, said, before = "", escape(one.problem), ""
    if (radius := one.radius) is not None:
        said = _radius_words(one)
        before = "on" if radius.before else "off"
        if radius.lower is not None:
            low, high = radius.lower, radius.upper
            track += f"<i class='pl-low' style='width:{at(low)}'></i>"
            until = high if high is not None else most
            if until > low:
                track += f"<i class='pl-gap' style='left:{at(low)};width:{at(until - low)}'></i>"
    if row is not None:
        track += (
            f"<i class='pl-line' style='left:{at(row['median'])};"
            f"width:{at(max(0.0, row['high'] - row['median']))}'></i>"
            f"<i class='pl-dot' style='left:{at(row['median'])}' "
            f"title='median {row['median']:g}, 95 % {row['high']:g}'></i>"
        )
    return (
        f"<tr><th scope='row'>Layer {one.start}</th><td class='pl-wide'><span class='pl-track'>"
        f"{track}</span></td><td>{said}</td><td>{before}</td></tr>"
    )


def _radius_words(one: Found) -> str:
    radius = one.radius
    assert radius is not None
    if radius.constant:
        return "nothing at all switches it"
    if radius.never:
        return "no flips change it"
    if radius.exact:
        return f"<b>{radius.lower}</b>, exact"
    if radius.upper is None:
        return f"<b>{radius.lower}</b> or more; none found"
    return f"<b>{radius.lower} to {radius.upper}</b>"


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


def _reading_aid(study: Study) -> None:
    """Say what a number of flips means for pictures, where that was measured."""
    table = study.measured("flips")
    if table is None:
        st.html(
            "<p class='cg-quiet'>How many labels really flip when a picture is compressed, made "
            "noisy or attacked was not measured of this study: <code>cgraph evaluate STUDY --only "
            "flips</code>.</p>"
        )
        return
    rows = table.to_pylist()
    layers = sorted({row["layer"] for row in rows})
    shown = sorted({layers[0], layers[len(layers) // 2], layers[-1]})
    names = list(dict.fromkeys((row["perturbation"], row["size"]) for row in rows))
    by_place = {(row["perturbation"], row["size"], row["layer"]): row for row in rows}
    lines = []
    for name, size in names:
        cells = "".join(
            f"<td>{row['median']:g} <small>({row['high']:.0f})</small></td>"
            if (row := by_place.get((name, size, layer)))
            else "<td>–</td>"
            for layer in shown
        )
        lines.append(f"<tr><th scope='row'>{escape(name)} {size:g}</th>{cells}</tr>")
    heads = "".join(f"<th scope='col'>layer {layer}</th>" for layer in shown)
    with st.expander("What a number of flips means for pictures"):
        st.html(
            f"<p class='cg-quiet'>{MEASURED} Labels of an image that flip when its picture is "
            "changed: the median, and in brackets what 95 % of the images stay below. A radius "
            "below these numbers can be reached by such a change; whether it is depends on which "
            "labels flip, and the cheapest ones need not be among them.</p>"
            f"<div class='cg-scroll'><table class='cg-table'><thead><tr><td></td>{heads}</tr>"
            f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
