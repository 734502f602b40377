"""Edits as files, and one that is kept to compare with."""

from __future__ import annotations

import dataclasses
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.counterfactual import settled
from cgraph.edits import SavedEdit
from cgraph.errors import CgraphError, ConfigError
from cgraph.redrawing import SceneChange
from cgraph.study import Study
from cgraph.ui import edit_link, gallery
from cgraph.ui.answers import Question
from cgraph.ui.edit_link import EditView

PROBLEM = "cf.problem"
"""Key in the session: what went wrong in a callback, said once."""

_LOAD = "cf.load"


def called(study: Study, concept: ConceptId) -> str:
    """Return a concept as pills and sentences name it."""
    name = gallery.concept_name(study, concept)
    return f"{name} {concept}" if name else str(concept)


def edit_files(asking: Question, view: EditView) -> None:
    """Offer the edit as JSON, read one, and keep one to compare with."""
    study = asking.study
    st.download_button(
        "Save this edit as JSON",
        # With the rule named, so that it gives the same answers wherever it is run.
        lambda: (
            dataclasses.replace(view, settings=asking.settings).saved(study.name).to_json().encode()
        ),
        file_name=f"edit-{study.name}.json",
        mime="application/json",
        on_click="ignore",
        width="stretch",
        key="cf.save",
        disabled=not len(asking.edit),
    )
    st.caption("Run it over a whole image set:")
    st.code(
        f"cgraph edit edit-{study.name}.json --images FOLDER --study STUDY --out changes.csv",
        language="bash",
        wrap_lines=True,
    )
    st.file_uploader(
        "Load an edit", key=_LOAD, max_upload_size=20, on_change=_load, args=(study, view)
    )
    kept = view.other is not None
    st.button(
        "Keep this edit to compare with" if not kept else "Keep this edit instead",
        on_click=_keep,
        args=(study, view),
        disabled=not len(asking.edit),
        width="stretch",
        key="cf.keep",
        help="Then change the edit: the view “Two edits” shows both side by side.",
    )
    if kept:
        assert view.other is not None
        other = ", ".join(
            f"{called(study, c)} {'on' if view.other.label(c) else 'off'}" for c in view.other
        )
        st.html(f"<p class='cg-quiet'>Kept: {escape(other or 'nothing set')}</p>")


def _keep(study: Study, view: EditView) -> None:
    edit_link.write(study, dataclasses.replace(view, other=view.edit), remember=False)


def _load(study: Study, view: EditView) -> None:
    file = st.session_state[_LOAD]
    if file is None:
        return
    try:
        saved = SavedEdit.from_json(file.getvalue())
        _check_loaded(saved, study)
    except CgraphError as error:
        st.session_state[PROBLEM] = f"{file.name} was not loaded. {error}"
        return
    edit_link.write(
        study,
        dataclasses.replace(view, edit=saved.edit, settings=saved.settings, redraw=saved.redraw),
    )


def _check_loaded(saved: SavedEdit, study: Study) -> None:
    if saved.study is not None and saved.study != study.name:
        raise ConfigError(
            f"It is about study {saved.study!r}, whose concepts mean nothing in {study.name!r}."
        )
    for concept in saved.edit:
        study.graph.concept_row(concept)
    saved.settings.start_of(saved.edit, study.n_layers)
    settled(study, saved.settings)
    if saved.redraw is not None:
        SceneChange.parse(saved.redraw)
