"""The edit that the page opens with, so that there is something to see before anybody clicks."""

from __future__ import annotations

import dataclasses

from cgraph.edits import Edit
from cgraph.errors import CgraphError
from cgraph.redrawing import SceneChange, edit_of_change, is_drawn, scene_of
from cgraph.scenes import COLOURS, Scene
from cgraph.study import Study
from cgraph.ui.edit_link import EditView
from cgraph.ui.traced import TracedImage


def editing_layer(study: Study) -> int:
    """Return the layer that the page opens at: two thirds of the way, with layers after it."""
    return max(1, min(study.n_layers - 1, round(2 * study.n_layers / 3)))


def first_layer(study: Study, view: EditView) -> int:
    """Return the layer whose concepts are offered first: the first edited one, if any."""
    if view.edit is not None and view.edit.layers:
        return view.edit.layers[0]
    return view.settings.start or editing_layer(study)


def proposed(study: Study, traced: TracedImage | None, view: EditView) -> EditView:
    """Return a view with an edit to begin with.

    Of a drawn scene the first object gets another colour, and the concepts named after the two
    colours are switched. Of any other image the strongest concept of the layer is switched off.

    Parameters
    ----------
    study : Study
    traced : TracedImage or None
        None for an empty slate, which is proposed nothing.
    view : EditView
        As the link says.
    """
    if traced is None:
        return dataclasses.replace(view, edit=Edit())
    layer = view.settings.start or editing_layer(study)
    active = traced.trace.layers[layer - 1]
    if traced.row is not None and is_drawn(study):
        try:
            scene = scene_of(study, traced.row)
            change = SceneChange.parse(view.redraw) if view.redraw else first_change(scene)
            indices = [found.concept.index for found in active]
            edit = edit_of_change(study, layer, scene, change.apply(scene), indices)
        except CgraphError:
            edit = Edit()  # the link's own change does not fit this scene; the controls say so
        else:
            view = dataclasses.replace(view, redraw=change.to_text())
        if len(edit):
            return dataclasses.replace(view, edit=edit)
    strongest = max(active, key=lambda found: abs(found.coefficient), default=None)
    edit = Edit() if strongest is None else Edit((), (strongest.concept,))
    return dataclasses.replace(view, edit=edit)


def first_change(scene: Scene) -> SceneChange:
    """Return the change to begin with: the first object in a colour that the scene lacks."""
    there = {thing.colour for thing in scene.objects}
    colour = next(colour for colour in ("green", "purple", *COLOURS) if colour not in there)
    return SceneChange("colour", colour, 0)
