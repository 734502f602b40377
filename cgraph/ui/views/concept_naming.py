"""Giving a concept a name: save, clear, undo. What was typed stays when it cannot be stored."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.given_names import LONGEST, GivenName, change_given_names
from cgraph.study import Study
from cgraph.ui import words

_AUTHOR, _UNDO, _SAID = "naming.author", "naming.undo", "naming.said"


@dataclass(frozen=True)
class _Step:
    """The last change of somebody, so that it can be taken back."""

    study: str
    concept: ConceptId
    before: GivenName | None
    after: GivenName | None


def naming_form(study: Study, concept: ConceptId) -> None:
    """Let people name a concept.

    Parameters
    ----------
    study : Study
    concept : ConceptId
    """
    now = study.naming.by_hand.get(concept)
    place = f"{study.name}.{concept}"
    text_key, author_key = f"naming.text.{place}", f"naming.author.{place}"
    # A box that is drawn again has forgotten its content; then it shows the name that is stored.
    st.session_state.setdefault(text_key, now.text if now else "")
    st.session_state.setdefault(author_key, st.session_state.get(_AUTHOR, ""))
    with (
        st.form(f"naming.form.{place}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        st.text_input(
            "Name it by hand", key=text_key, max_chars=LONGEST, placeholder="such as wheels"
        )
        st.text_input("Your name", key=author_key, max_chars=LONGEST, width=150)
        st.form_submit_button(
            "Rename" if now else "Save",
            on_click=_save,
            args=(study, concept, now, text_key, author_key),
        )
    step = st.session_state.get(_UNDO)
    undoable = step is not None and (step.study, step.concept) == (study.name, concept)
    with st.container(key="cg-naming", horizontal=True, vertical_alignment="center", gap="small"):
        if now:
            st.button(
                "Clear the name",
                on_click=_clear,
                args=(study, concept, now, text_key),
                type="tertiary",
            )
        if undoable:
            st.button("Undo", on_click=_undo, args=(study, step, text_key), type="tertiary")
    _say(study, concept)


def _save(
    study: Study, concept: ConceptId, now: GivenName | None, text_key: str, author_key: str
) -> None:
    try:
        author = st.session_state[author_key]
        if not author.strip():
            _note(
                study, concept, "The name was not stored: write your own name beside it.", bad=True
            )
            return
        name = GivenName.of(st.session_state[text_key], author)
    except CgraphError as error:
        _note(study, concept, f"The name was not stored. {error}", bad=True)
        return
    if now is not None and (now.text, now.author) == (name.text, name.author):
        _note(study, concept, f"It is named ‘{now.text}’ already: nothing was changed.")
        return
    if _change(study, _Step(study.name, concept, now, name), "The name was not stored."):
        st.session_state[_AUTHOR] = name.author
        _note(study, concept, f"Named ‘{name.text}’.")


def _clear(study: Study, concept: ConceptId, now: GivenName, text_key: str) -> None:
    if _change(study, _Step(study.name, concept, now, None), "The name was not cleared."):
        st.session_state[text_key] = ""
        _note(study, concept, f"The name ‘{now.text}’ was cleared.")


def _undo(study: Study, step: _Step, text_key: str) -> None:
    back = _Step(step.study, step.concept, step.after, step.before)
    if _change(study, back, "The change was not taken back."):
        st.session_state[text_key] = step.before.text if step.before else ""
        del st.session_state[_UNDO]
        _note(study, step.concept, "The last change was taken back.")


def _change(study: Study, step: _Step, failed: str) -> bool:
    try:
        change_given_names(
            study.path,
            study.naming.scope,
            {step.concept: step.after},
            expected={step.concept: step.before},
        )
    except CgraphError as error:
        _note(study, step.concept, f"{failed} {error} What you typed is still here.", bad=True)
        return False
    st.session_state[_UNDO] = step
    return True


def _note(study: Study, concept: ConceptId, text: str, *, bad: bool = False) -> None:
    st.session_state[_SAID] = (study.name, concept, text, bad)


def _say(study: Study, concept: ConceptId) -> None:
    """Say once how the last change went."""
    said = st.session_state.get(_SAID)
    if said is None or said[:2] != (study.name, concept):
        return
    del st.session_state[_SAID]
    if said[3]:
        st.error(words.plain(said[2]))
    else:
        st.html(f"<p class='cg-quiet' role='status'>{escape(said[2])}</p>")
