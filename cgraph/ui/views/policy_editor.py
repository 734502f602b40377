"""The rules of a policy: written, loaded or put together, and checked while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from cgraph.errors import CgraphError, ConfigError, PolicyError, Problem
from cgraph.policy_rules import KINDS, WHERE
from cgraph.policy_subject import Subject
from cgraph.study import Study
from cgraph.ui import policy_state, state, words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import in_link
from cgraph.ui.models import shelf
from cgraph.ui.policy_looks import looks
from cgraph.ui.policy_state import OWN, Checked
from cgraph.ui.policy_texts import KIND_WORDS, SetChoice, typed_choice, with_rule
from cgraph.ui.terms import term
from cgraph.ui.views.policy_results import results

_TEXT = "policies.text"
_EXAMPLE = "policies.example"
_FILE = "policies.file"
_ROUND = "policies.round"
_PROBLEM = "policies.problem"
_ADD = "policies.add"

_SEVERAL = "several"
_NUMBERED = 400
_LINE_PX = 20
_SPARE_LINES = 4
_MOST_PROBLEMS = 12
_MOST_SETS = 8
_N_PICTURES = 5

_LIMITS: dict[str, tuple[tuple[str, str, float, float], ...]] = {
    "no-path": (
        ("max_length", "Most edges of a path that counts", 3, 0),
        ("min_strength", "Least strength of such a path", 0.01, 1),
    ),
    "through": (("min_strength", "Least strength of a path that counts", 0.001, 1),),
    "influence": (("at_most", "Largest mean change of probability", 0.05, 1),),
    "flips": (
        ("budget", "Most concepts that flip", 2, 0),
        ("layer", "Layer that they lie in", 1, 0),
    ),
    "never-together": (("at_most", "Largest share of images with both", 0.0, 1),),
}
# Of each kind: key, label, first value, and the largest where it is no whole number.


@st.fragment
def rules_view(opened: OpenStudy) -> None:
    """Show editor and verdicts; only this runs again for a choice in it.

    Parameters
    ----------
    opened : OpenStudy
    """
    shelf.note_request()
    study = opened.study
    found = policy_state.subject(study)
    examples = policy_state.examples_of(found)
    own = policy_state.own_text(study)
    allowed = [*([OWN] if own is not None else []), *examples]
    first = OWN if own is not None else _SEVERAL
    asked = st.query_params.get("example")
    if asked == OWN and own is None:
        asked = None  # texts of one's own are no part of a link
    chosen = in_link("example", [*examples, OWN], first) if asked else first
    text = own or "" if chosen == OWN else examples[chosen]
    left, right = st.columns([0.42, 0.58], gap="large")
    with left, st.container(key="pl-write"):
        _tools(study, allowed, chosen, text)
        checked = policy_state.checked(found, text)
        _editor(study, text, checked)
        _status(study, text, checked)
        _run_button(study, found, text, checked)
        _add_rule(study, found, text)
    with right, st.container(key="pl-verdicts"):
        results(opened, text)


def _says(example: str) -> str:
    known = {OWN: "Your own text", _SEVERAL: "Several rules", **KIND_WORDS}
    return known.get(example, example)


def _tools(study: Study, allowed: Sequence[str], chosen: str, text: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="pl-tools"):
        # The link decides, also after the back button.
        st.session_state[_EXAMPLE] = chosen
        st.selectbox(
            "Your text, or an example of each rule",
            allowed,
            format_func=_says,
            key=_EXAMPLE,
            on_change=_example_chosen,
            args=(study,),
        )
        with st.popover("Load a file"):
            key = f"{_FILE}.{st.session_state.get(_ROUND, 0)}"
            # Without a list of types: the browser would refuse a file and not say why.
            st.file_uploader(
                "A policy, a TOML file. It stays on this machine.",
                key=key,
                max_upload_size=2,
                on_change=_loaded,
                args=(study, key),
            )
        st.download_button(
            "Save",
            text.encode("utf-8", "replace"),
            file_name="policy.toml",
            mime="application/toml",
            on_click="ignore",
            help="As a file that `cgraph check` takes.",
        )
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(words.plain(problem))


def _example_chosen(study: Study) -> None:
    state.write(state.changed(study), {"example": st.session_state[_EXAMPLE]})


def _loaded(study: Study, key: str) -> None:
    """Take an uploaded file; a callback."""
    file = st.session_state[key]
    if file is None:
        return
    try:
        text = policy_state.uploaded_text(file.getvalue())
    except PolicyError as error:
        st.session_state[_PROBLEM] = f"{file.name} was not loaded. {error}"
    else:
        _write(study, text)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1  # the box is empty again


def _write(study: Study, text: str) -> None:
    policy_state.keep_own(study, text)
    state.write(state.changed(study), {"example": OWN})


def _editor(study: Study, text: str, checked: Checked) -> None:
    n_lines = text.count("\n") + 1
    numbered = n_lines <= _NUMBERED
    st.session_state[_TEXT] = text
    with st.container(key="pl-editor" if numbered else "pl-editor-long"):
        if numbered:
            wrong = {problem.line for problem in checked.problems}
            lines = "".join(
                f"<i class='pl-wrong'>{line}</i>" if line in wrong else f"<i>{line}</i>"
                for line in range(1, n_lines + 60)  # typing adds lines before the server knows
            )
            st.html(f"<div class='pl-gutter' aria-hidden='true'>{lines}</div>")
        st.text_area(
            "Rules as TOML, checked whenever you leave the field or press Ctrl+Enter",
            key=_TEXT,
            height=_LINE_PX * (n_lines + _SPARE_LINES) if numbered else 640,
            on_change=_typed,
            args=(study,),
            label_visibility="collapsed",
        )


def _typed(study: Study) -> None:
    _write(study, st.session_state[_TEXT])


def _status(study: Study, text: str, checked: Checked) -> None:
    """Say what is wrong with the text, or what its sets mean here."""
    if checked.problems:
        lines = text.split("\n")
        items = "".join(_problem(problem, lines) for problem in checked.problems[:_MOST_PROBLEMS])
        more = len(checked.problems) - _MOST_PROBLEMS
        rest = f"<li>and {more} more</li>" if more > 0 else ""
        head = words.count(len(checked.problems), "thing")
        st.html(
            f"<div class='pl-status pl-bad' role='status'><p><b>✗ {head} to mend</b></p>"
            f"<ul>{items}{rest}</ul></div>"
        )
        return
    policy = checked.policy
    assert policy is not None  # there are no problems
    counted = f"{words.count(len(policy.rules), 'rule')}, {words.count(len(policy.sets), 'set')}"
    rows = []
    for name, one in list(checked.sets.items())[:_MOST_SETS]:
        layers = one.layers
        where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
        if one.concepts[0].kind == "output":
            where = "after the last layer"
        strip = "".join(
            f"<img src='{image}' alt='' title='{escape(looks(study).name_of(concept), True)}'>"
            for concept in one.concepts[:: max(1, len(one.concepts) // _N_PICTURES)][:_N_PICTURES]
            if (image := looks(study).image_of(concept))
        )
        rows.append(
            f"<li><span class='pl-strip'>{strip}</span><span><b>{escape(name)}</b> "
            f"{words.count(len(one.concepts), 'concept')}, {where}</span></li>"
        )
    more = len(checked.sets) - _MOST_SETS
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    st.html(
        f"<div class='pl-status pl-good' role='status'><p><b>✓ {counted}, every name found</b></p>"
        f"<ul class='pl-sets'>{''.join(rows)}{rest}</ul></div>"
    )


def _problem(problem: Problem, lines: Sequence[str]) -> str:
    where = f"<b>line {problem.line}</b> " if problem.line else ""
    written = lines[problem.line - 1].strip() if 0 < problem.line <= len(lines) else ""
    code = f"<code>{escape(written[:90])}</code>" if written else ""
    return f"<li>{where}{code}<span>{escape(problem.message)}</span></li>"


def _run_button(study: Study, found: Subject, text: str, checked: Checked) -> None:
    run = policy_state.run_of(study)
    running = run is not None and run.is_running
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pl-run"):
        st.button(
            "Check the rules",
            type="primary",
            disabled=bool(checked.problems) or running,
            on_click=_start,
            args=(study, found, text, checked),
            key="policies.start",
            width="content",
        )
        st.html(
            f"<p class='cg-quiet'>Every rule gets a {term('verdict')} with what it speaks of. In a "
            "terminal: <code>cgraph check</code>.</p>"
        )


def _start(study: Study, found: Subject, text: str, checked: Checked) -> None:
    if checked.policy is not None and not checked.problems:
        # A quick check is answered at once, without the page that waits.
        policy_state.start_run(study, found, text, checked.policy).wait(0.2)


# ---- the form, which completes names


def _add_rule(study: Study, found: Subject, text: str) -> None:
    adding = st.expander("Add a rule", key=_ADD, on_change="rerun")
    if not adding.open:
        return
    with adding:
        kind = st.selectbox(
            "The rule", list(KINDS), format_func=KIND_WORDS.__getitem__, key="policies.add.kind"
        )
        try:
            offered = policy_state.choices_of(found)
        except CgraphError as error:
            st.error(words.plain(str(error)))
            return
        roles = {"from": "A, from", "to": "B, to"}
        if kind == "through":
            roles["via"] = "M, on the way"
        sets: dict[str, SetChoice] = {}
        by_label = {choice.label: choice for choice in offered}
        columns = st.columns(len(roles))
        for (role, label), column in zip(roles.items(), columns, strict=True):
            typed = st.session_state.get(f"policies.add.{role}")
            picked = column.selectbox(
                label,
                [*by_label, *([typed] if typed and typed not in by_label else [])],
                index=None,
                key=f"policies.add.{role}",
                accept_new_options=True,
                placeholder="search or type",
                help="A name, an attribute, an output; or type an id such as L7/12, a layer such "
                "as L7.",
            )
            if picked:
                sets[role] = by_label.get(picked) or typed_choice(picked)
        limits = _limits(kind, study)
        st.button(
            "Add to the text",
            on_click=_added,
            args=(study, text, kind, sets, limits),
            disabled=set(sets) != set(roles),
            key="policies.add.button",
        )


def _limits(kind: str, study: Study) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    asked = _LIMITS[kind]
    columns = st.columns(max(2, len(asked)))
    for (key, label, first, most), column in zip(asked, columns, strict=False):
        name = f"policies.add.{kind}.{key}"
        if most:
            limits[key] = column.number_input(
                label, 0.0, float(most), float(first), step=0.01, format="%.3f", key=name
            )
        else:
            top = study.n_layers if key == "layer" else 99
            limits[key] = int(column.number_input(label, 1, top, int(first), key=name))
    if kind == "influence":
        limits["where"] = columns[1].selectbox(
            "Where it is looked at",
            WHERE,
            key="policies.add.where",
            help="In the network takes longer, and needs the model and the pictures.",
        )
    return limits


def _added(
    study: Study, text: str, kind: str, sets: dict[str, SetChoice], limits: dict[str, Any]
) -> None:
    """Append a rule; a callback."""
    try:
        _write(study, with_rule(text, kind, sets, limits))
    except ConfigError as error:
        st.session_state[_PROBLEM] = str(error)
