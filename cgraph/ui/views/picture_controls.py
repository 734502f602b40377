"""Changing a drawn picture: one attribute of the scene, and the concepts named after it."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import streamlit as st

from cgraph.errors import CgraphError
from cgraph.redrawing import OBJECT_VALUES, SceneChange, edit_of_change, is_drawn, scene_of
from cgraph.scene_drawing import draw
from cgraph.scenes import BACKGROUNDS, Scene
from cgraph.study import Study
from cgraph.ui import edit_link, words
from cgraph.ui.answers import Question
from cgraph.ui.edit_link import EditView
from cgraph.ui.thumbnails import picture_uri
from cgraph.ui.views.edit_files import PROBLEM

_THING = "cf.thing"
_ATTRIBUTE = "cf.attribute"
_VALUE = "cf.value"
_SHOWN_PX = 96

GROUND, GROUND_NAME = -1, "the background"
"""What stands for the background in the box; one that holds None shows nothing as chosen."""


def picture_controls(asking: Question, view: EditView, layer: int) -> None:
    """Show what can be changed in the picture; nothing for an image that was not drawn.

    Parameters
    ----------
    asking : Question
    view : EditView
    layer : int
        Layer in which concepts are switched to match.
    """
    study, traced = asking.study, asking.traced
    if traced is None or traced.row is None or not is_drawn(study):
        return
    try:
        scene = scene_of(study, traced.row)
    except CgraphError as error:
        st.warning(words.plain(str(error)))
        return
    change = None
    if view.redraw is not None:
        try:
            change = SceneChange.parse(view.redraw)
            redrawn = change.apply(scene)
        except CgraphError as error:
            st.warning(words.plain(f"The picture cannot be changed like this. {error}"))
            change = None
    with st.container(
        key="cf-picture-row", horizontal=True, vertical_alignment="center", gap="small"
    ):
        st.html("<p class='cf-label'>Change the picture</p>", width="content")
        _boxes(study, view, scene, change)
        if change is not None:
            st.html(_pictures(scene, redrawn), width="content")
            st.button(
                f"Switch concepts of layer {layer} to match",
                on_click=_match,
                args=(asking, view, layer, change),
                type="tertiary",
                key="cf.match",
                help="Concepts named after what is gone go off, those named after what is new on.",
            )


def _boxes(study: Study, view: EditView, scene: Scene, change: SceneChange | None) -> None:
    things = [*range(len(scene.objects)), GROUND]
    thing = change.thing if change else 0
    st.session_state[_THING] = GROUND if thing is None else thing
    st.selectbox(
        "What is changed",
        things,
        format_func=lambda n: GROUND_NAME if n == GROUND else f"the {_called(scene, n)}",
        key=_THING,
        on_change=_changed,
        args=(study, view, scene),
        label_visibility="collapsed",
        width=230,
    )
    attribute = change.attribute if change else "colour"
    if thing is not None:
        st.session_state[_ATTRIBUTE] = attribute
        st.selectbox(
            "Attribute",
            list(OBJECT_VALUES),
            key=_ATTRIBUTE,
            on_change=_changed,
            args=(study, view, scene),
            label_visibility="collapsed",
            width=120,
        )
    own = _own_value(scene, thing, attribute)
    values = [own, *(v for v in _values(scene, thing, attribute) if v != own)]
    st.session_state[_VALUE] = change.value if change else own
    st.selectbox(
        "New value",
        values,
        format_func=lambda value: f"{value}, as it is" if value == own else f"→ {value}",
        key=_VALUE,
        on_change=_value_chosen,
        args=(study, view, scene, thing, attribute),
        label_visibility="collapsed",
        width=150,
    )


def _called(scene: Scene, n: int) -> str:
    thing = scene.objects[n]
    texture = "" if thing.texture == "plain" else f"{thing.texture} "
    return f"{thing.colour} {texture}{thing.shape}"


def _own_value(scene: Scene, thing: int | None, attribute: str) -> str:
    owner: Any = scene if thing is None else scene.objects[thing]
    return str(getattr(owner, "background" if thing is None else attribute))


def _values(scene: Scene, thing: int | None, attribute: str) -> list[str]:
    """Return the values that can be chosen: a place must be free."""
    if thing is None:
        return list(BACKGROUNDS)
    taken = {o.place for n, o in enumerate(scene.objects) if n != thing}
    values = OBJECT_VALUES[attribute]
    return [value for value in values if attribute != "place" or value not in taken]


def _changed(study: Study, view: EditView, scene: Scene) -> None:
    """Take up another object or attribute, with the first value that it does not have."""
    chosen = st.session_state[_THING]
    thing = None if chosen == GROUND else chosen
    attribute = "background" if thing is None else st.session_state.get(_ATTRIBUTE, "colour")
    own = _own_value(scene, thing, attribute)
    others = [value for value in _values(scene, thing, attribute) if value != own]
    redraw = SceneChange(attribute, others[0], thing).to_text() if others else None
    edit_link.write(study, dataclasses.replace(view, redraw=redraw))


def _value_chosen(
    study: Study, view: EditView, scene: Scene, thing: int | None, attribute: str
) -> None:
    value = st.session_state[_VALUE]
    name = "background" if thing is None else attribute
    same = value == _own_value(scene, thing, attribute)
    redraw = None if same else SceneChange(name, value, thing).to_text()
    edit_link.write(study, dataclasses.replace(view, redraw=redraw))


def _match(asking: Question, view: EditView, layer: int, change: SceneChange) -> None:
    traced = asking.traced
    if traced is None or traced.row is None:
        return
    scene = scene_of(asking.study, traced.row)
    active = [concept.index for concept in asking.given[layer - 1]]
    edit = edit_of_change(asking.study, layer, scene, change.apply(scene), active)
    if not len(edit):
        st.session_state[PROBLEM] = (
            f"No concept of layer {layer} is named after what changes in the picture. Choose "
            "another layer."
        )
        return
    settings = dataclasses.replace(view.settings, start=None)
    edit_link.write(asking.study, dataclasses.replace(view, edit=edit, settings=settings))


@lru_cache(maxsize=64)
def _pictures(before: Scene, after: Scene) -> str:
    shown = (
        (draw(before, _SHOWN_PX), "as it is"), (draw(after, _SHOWN_PX), "drawn again")
    )  # fmt: skip
    images = [
        f"<img src='{picture_uri(image, _SHOWN_PX)}' alt='The scene {what}' title='{what}'>"
        for image, what in shown
    ]
    return f"<div class='cf-pair'>{'<span aria-hidden=true>→</span>'.join(images)}</div>"
