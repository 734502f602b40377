"""The counterfactual in the link: what is edited, how it is rolled out, what is on show.

As in `cgraph.ui.state` the address is the only copy. What somebody typed there is checked before it
is used; a value that means nothing is left out, with a sentence that says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from cgraph.counterfactual import settled
from cgraph.edits import Edit, RolloutSettings, SavedEdit
from cgraph.errors import CgraphError, ConfigError
from cgraph.redrawing import SceneChange

KEYS = (
    *("about", "edit", "rule", "start", "draws", "seed", "k", "p", "redraw", "slate"),
    *("view", "other", "texts"),
)
"""Query parameters of this page, besides those that all pages share."""

VIEWS = {
    "changes": "What changes",
    "states": "Before and after",
    "graph": "Graph",
    "output": "Output",
    "two": "Two edits",
    "often": "How often they agree",
}
"""Views of the page by their key in the link."""

NOTHING = "none"
"""Written in place of an edit that sets nothing; without an edit the page proposes one."""

MOST_UNDONE = 50

_PAST = "edit.past"
_SEPARATOR = "|"


@dataclass(frozen=True)
class EditView:
    """What the page is about, besides study, image and concept.

    Attributes
    ----------
    edit : Edit or None
        None if the link says nothing, so that the page may propose one.
    settings : RolloutSettings
    redraw : str or None
        How the picture is changed, such as ``0.colour.green``.
    slate : bool
        Whether to start from nothing in place of an image.
    view : str
        A key of `VIEWS`.
    other : Edit or None
        The edit that this one is compared with.
    texts : tuple of str
        What the image is compared with by a model that reads text.
    """

    edit: Edit | None = None
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    redraw: str | None = None
    slate: bool = False
    view: str = "changes"
    other: Edit | None = None
    texts: tuple[str, ...] = ()

    def to_query(self, study: str) -> dict[str, str]:
        """Return the query parameters that stand for this view of a study."""
        usual, chosen = RolloutSettings(), self.settings
        values: dict[str, Any] = {
            "about": study,
            "edit": None if self.edit is None else self.edit.to_text() or NOTHING,
            "redraw": self.redraw,
            "slate": "empty" if self.slate else None,
            "view": None if self.view == "changes" else self.view,
            "other": None if self.other is None else self.other.to_text() or NOTHING,
            "texts": _SEPARATOR.join(self.texts) or None,
        }
        for key, name in _SETTINGS.items():
            value = getattr(chosen, name)
            values[key] = None if value == getattr(usual, name) else value
        return {key: str(values[key]) for key in KEYS if values[key] is not None}

    def saved(self, study: str) -> SavedEdit:
        """Return the edit as `cgraph edit` takes it."""
        return SavedEdit(self.edit or Edit(), self.settings, study, self.redraw)


_SETTINGS = {
    "rule": "rule",
    "start": "start",
    "draws": "n_draws",
    "seed": "seed",
    "k": "k",
    "p": "probability",
}
"""Field of `RolloutSettings` for each query parameter."""


def parse(
    query: Mapping[str, str], study: str, check_edit: Callable[[Edit], None]
) -> tuple[EditView, list[str]]:
    """Read the view from query parameters.

    Parameters
    ----------
    query : mapping of str to str
    study : str
        Name of the study on show. An edit of another study is left out: its concepts mean nothing
        here.
    check_edit : callable
        Raises a `CgraphError` if the study lacks a concept of an edit.

    Returns
    -------
    view : EditView
    remarks : list of str
        One sentence for each value that was left out.
    """
    remarks: list[str] = []
    about = query.get("about")
    if about is not None and about != study:
        if query.get("edit"):
            remarks.append(
                f"The edit of the link is about study {about!r}, so it was left out in {study!r}."
            )
        query = {}

    def attempt(what: str, read: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return read()
        except CgraphError as error:
            remarks.append(f"The {what} of the link was left out. {error}")
            return otherwise

    def edit_of(key: str) -> Edit | None:
        text = query.get(key)
        if not text:
            return None
        edit = Edit() if text == NOTHING else Edit.parse(text)
        check_edit(edit)
        return edit

    settings = RolloutSettings()
    for key, name in _SETTINGS.items():
        if text := query.get(key):
            try:
                value: Any = _number(key, text) if key not in ("rule", "p") else text
                settings = dataclasses.replace(settings, **{name: value})
            except CgraphError as error:
                remarks.append(f"The {key} of the link was left out. {error}")
    edit = attempt("edit", lambda: edit_of("edit"), None)
    if edit is not None and settings.start and edit.layers and edit.layers[0] < settings.start:
        remarks.append(
            f"The link starts at layer {settings.start} and sets {min(edit)} before it; it starts "
            f"at layer {edit.layers[0]}."
        )
        settings = dataclasses.replace(settings, start=None)
    view = query.get("view") or "changes"
    if view not in VIEWS:
        remarks.append(f"There is no view {view!r}. There is: {', '.join(VIEWS)}.")
        view = "changes"
    texts = tuple(t.strip()[:300] for t in (query.get("texts") or "").split(_SEPARATOR))
    redraw = query.get("redraw") or None
    return EditView(
        edit=edit,
        settings=settings,
        redraw=attempt("change of the picture", lambda: _change(redraw), None),
        slate=query.get("slate") == "empty",
        view=view,
        other=attempt("second edit", lambda: edit_of("other"), None),
        texts=tuple(text for text in texts if text)[:24],
    ), remarks


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ConfigError(f"{key} is {text!r}: a whole number is needed.")
    return int(text)


def _change(text: str | None) -> str | None:
    return None if text is None else SceneChange.parse(text).to_text()


def read(study: Any) -> tuple[EditView, list[str]]:
    """Return the view in the address, and a sentence for each value that was left out."""

    def check_edit(edit: Edit) -> None:
        for concept in edit:
            study.graph.concept_row(concept)

    view, remarks = parse(st.query_params.to_dict(), study.name, check_edit)
    if view.settings.start is not None and view.settings.start > study.n_layers:
        remarks.append(f"There is no start layer {view.settings.start}; it was left out.")
        view = dataclasses.replace(view, settings=dataclasses.replace(view.settings, start=None))
    try:
        settled(study, view.settings)
    except ConfigError as error:
        remarks.append(f"The rule of the link was left out. {error}")
        view = dataclasses.replace(view, settings=dataclasses.replace(view.settings, rule=None))
    return view, remarks


def write(study: Any, view: EditView, *, remember: bool = True) -> None:
    """Put a view into the address, and note the former one so that it can be undone."""
    former = st.query_params.to_dict()
    others = {key: value for key, value in former.items() if key not in KEYS}
    wanted = {**others, **view.to_query(study.name)}
    if wanted == former:
        return
    if remember:
        past = _past_of(study)
        past.append({key: value for key, value in former.items() if key in KEYS})
        del past[:-MOST_UNDONE]
    st.query_params.from_dict(wanted)


def _past_of(study: Any) -> list[dict[str, str]]:
    """Return what can be undone in a study: the edits of another mean nothing in it."""
    past: list[dict[str, str]] = st.session_state.setdefault(_PAST, {}).setdefault(study.name, [])
    return past


def can_undo(study: Any) -> bool:
    """Return whether there is something to undo in a study."""
    return bool(_past_of(study))


def undo(study: Any) -> None:
    """Go back to what was before the last change in a study; a callback."""
    past = _past_of(study)
    if past:
        former = past.pop()
        others = {k: v for k, v in st.query_params.to_dict().items() if k not in KEYS}
        st.query_params.from_dict({**others, **former})
