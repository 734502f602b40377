"""The third answer: a drawn scene with one attribute changed, drawn again, through the network.

A picture is known here down to its last pixel, so "what if the square were green" has a true
answer: draw the scene again with all else equal. Beside it stand two guesses, the graph's and the
edited network's, in which the concepts named after the old value are switched off and those named
after the new one on. `many_scenes` asks how often the three agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cgraph import intervention
from cgraph.agreement import Agreement, States, agreement
from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.counterfactual import rolled_through, settled, states_of_rollouts, states_of_runs
from cgraph.edits import Edit, RolloutSettings
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.naming import ConceptName
from cgraph.rollout import rollout
from cgraph.scene_drawing import draw
from cgraph.scene_set import SceneSet
from cgraph.scenes import (
    ATTRIBUTE_VALUES,
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    attributes,
    sample_scene,
)
from cgraph.study import Study
from cgraph.vit import VisionModel

SCENES = "scenes.json"
"""File of a study that says which drawn scenes its images are."""

OBJECT_VALUES = {
    "colour": COLOURS,
    "shape": SHAPES,
    "texture": TEXTURES,
    "size": SIZES,
    "place": PLACES,
}
"""What can be changed of an object, and to what; the ground can be changed too."""

ANSWERS = ("graph", "network", "redrawn")

BATCH = 32
"""Scenes that go through the network at a time."""


@dataclass(frozen=True)
class SceneChange:
    """One attribute of a scene set to another value.

    Attributes
    ----------
    attribute : str
        ``background``, or a key of `OBJECT_VALUES`.
    value : str
    thing : int or None
        Which object of the scene, from 0; None for the background.
    """

    attribute: str
    value: str
    thing: int | None = None

    def __post_init__(self) -> None:
        if (self.attribute == "background") != (self.thing is None):
            raise ConfigError(
                f"{self.attribute!r} of object {self.thing}: an object has "
                f"{', '.join(OBJECT_VALUES)}, the scene has a background."
            )
        allowed = {"background": BACKGROUNDS, **OBJECT_VALUES}
        if self.attribute not in allowed:
            raise ConfigError(
                f"The attribute is {self.attribute!r}. Allowed: {', '.join(allowed)}."
            )
        if self.value not in allowed[self.attribute]:
            raise ConfigError(
                f"The {self.attribute} is {self.value!r}. Allowed: "
                f"{', '.join(allowed[self.attribute])}."
            )

    def to_text(self) -> str:
        """Return the change in short, such as ``0.colour.green`` or ``background.night``."""
        place = "" if self.thing is None else f"{self.thing}."
        return f"{place}{self.attribute}.{self.value}"

    @classmethod
    def parse(cls, text: str) -> SceneChange:
        """Read what `to_text` wrote.

        Raises
        ------
        ConfigError
            If the text has another form, or an attribute or value is unknown.
        """
        parts = text.split(".")
        if len(parts) == 2:
            return cls(parts[0], parts[1])
        if len(parts) == 3 and parts[0].isascii() and parts[0].isdigit() and len(parts[0]) < 3:
            return cls(parts[1], parts[2], int(parts[0]))
        raise ConfigError(
            f"{text!r} changes no scene. Write object, attribute and value, such as "
            "0.colour.green, or background.night."
        )

    def apply(self, scene: Scene) -> Scene:
        """Return the scene with the change made and all else equal.

        Raises
        ------
        ConfigError
            If the scene has no such object.
        DataError
            If two objects would share a place.
        """
        if self.thing is None:
            return dataclasses.replace(scene, background=self.value)
        if self.thing >= len(scene.objects):
            raise ConfigError(
                f"There is no object {self.thing}: this scene has objects 0 to "
                f"{len(scene.objects) - 1}."
            )
        objects = list(scene.objects)
        wanted: dict[str, Any] = {self.attribute: self.value}
        objects[self.thing] = dataclasses.replace(objects[self.thing], **wanted)
        return dataclasses.replace(scene, objects=tuple(objects))


def is_drawn(study: Study) -> bool:
    """Return whether the images of a study are drawn scenes that can be drawn again."""
    return (study.path / SCENES).is_file()


def scene_of(study: Study, row: int) -> Scene:
    """Return the scene of one image of a study.

    Raises
    ------
    StudyError
        If its images are no drawn scenes, or not those that `SCENES` says.
    """
    if not is_drawn(study):
        raise StudyError(
            f"The images of {study.name!r} are no drawn scenes, so none of them can be drawn again."
        )
    scenes = SceneSet(study.path / SCENES)
    if scenes.listing_fingerprint() != study.manifest.images["listing"]:
        raise StudyError(
            f"{study.path / SCENES} does not describe the images of {study.name!r}. Put the file "
            "back that the study was built with."
        )
    return sample_scene(scenes.image_ids.index(study.image_ids[row]), scenes.seed)


def edit_of_change(
    study: Study, layer: int, before: Scene, after: Scene, active: Collection[int] | np.ndarray
) -> Edit:
    """Return the edit that says the same as a change of the picture, by the names of concepts.

    Concepts of the layer that are active and named after a value that is gone are switched off. For
    each value that is new, the concept named after it that holds it best is switched on.

    Parameters
    ----------
    study : Study
    layer : int
    before, after : Scene
    active : collection of int
        Active concepts of the layer.

    Returns
    -------
    Edit
        Empty if no concept of the layer is named after what changed.
    """
    old, new = (_values(scene) for scene in (before, after))
    there = {int(index) for index in active}
    named: dict[tuple[str, str], list[ConceptId]] = {}
    for concept, name in study.names.items():
        if concept.layer == layer and isinstance(name, ConceptName):
            named.setdefault((name.attribute, name.value), []).append(concept)
    off = [c for value in old - new for c in named.get(value, ()) if c.index in there]
    on = [
        max(named[value], key=lambda concept: study.names[concept].strength_tune)
        for value in sorted(new - old)
        if value in named
    ]
    return Edit(tuple(c for c in on if c.index not in there), tuple(off))


def _values(scene: Scene) -> set[tuple[str, str]]:
    values = set()
    for name in ATTRIBUTE_VALUES:
        found = attributes(scene)[name]
        values |= {(name, value) for value in ((found,) if isinstance(found, str) else found)}
    return values


def pixels_of(model: VisionModel, scenes: Sequence[Scene]) -> np.ndarray:
    """Draw scenes as the study's images were drawn, and prepare them for the network."""
    return model.preprocess([draw(scene) for scene in scenes])


# ---- many scenes


@dataclass(frozen=True)
class ManyScenes:
    """Three answers about many scenes, each changed in one attribute.

    Attributes
    ----------
    layer : int
        Layer in which concepts were switched.
    rows : tuple of int
        Images of the study.
    changes : tuple of SceneChange
    edits : tuple of Edit
    n_without_edit : int
        Scenes that were passed over, because no concept of the layer is named after what changed.
    states : dict of str to States
        By answer; layers after `layer`.
    """

    layer: int
    rows: tuple[int, ...]
    changes: tuple[SceneChange, ...]
    edits: tuple[Edit, ...]
    n_without_edit: int
    states: dict[str, States]

    def table(self) -> list[tuple[str, str, Agreement]]:
        """Return how far each two answers agree in each later layer."""
        first = self.states["graph"]
        return [
            (one, other, agreement(self.states[one], self.states[other], layer))
            for one, other in combinations(ANSWERS, 2)
            for layer in range(first.first, first.first + len(first.layers))
        ]


def random_change(scene: Scene, rng: np.random.Generator) -> SceneChange:
    """Return a change of one attribute, chosen at random, to another value."""
    names = [name for name in OBJECT_VALUES if name != "place"] + ["background"]
    name = names[rng.integers(len(names))]
    thing = None if name == "background" else int(rng.integers(len(scene.objects)))
    owner = scene if thing is None else scene.objects[thing]
    values = BACKGROUNDS if thing is None else OBJECT_VALUES[name]
    others = [value for value in values if value != getattr(owner, name)]
    return SceneChange(name, others[rng.integers(len(others))], thing)


def many_scenes(
    study: Study,
    model: VisionModel,
    layer: int,
    *,
    n_scenes: int = 64,
    seed: int = 0,
    settings: RolloutSettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ManyScenes:
    """Change many held-out scenes, each in a random attribute, and answer three times.

    Parameters
    ----------
    study : Study
        Of drawn scenes.
    model : VisionModel
    layer : int
        Layer in which concepts are switched, 1 … L-1.
    n_scenes : int
        Scenes that are wanted; those without a named concept do not count.
    seed : int
        Of scenes and changes.
    settings : RolloutSettings, optional
        Of the graph's answer; its start layer is not read.
    on_progress : callable, optional
        Called with scenes done and wanted.

    Raises
    ------
    ConfigError
        If the layer has none after it, or `n_scenes` is below 1.
    StudyError
        If the images are no drawn scenes.
    DataError
        If no concept of the layer is named after anything that was changed.
    """
    if not 1 <= layer < study.n_layers:
        raise ConfigError(
            f"The layer is {layer}: concepts can be switched in layers 1 to {study.n_layers - 1} "
            "so that something comes after them."
        )
    if n_scenes < 1:
        raise ConfigError(f"n_scenes is {n_scenes}: it must be at least 1.")
    settings = settled(study, settings or RolloutSettings())
    graph, inputs = rolled_through(study, settings, layer)
    rng = np.random.default_rng(seed)
    waiting = rng.permutation(study.rows(HELD_OUT)).tolist()
    rows: list[int] = []
    changes: list[SceneChange] = []
    edits: list[Edit] = []
    parts: dict[str, list[States]] = {name: [] for name in ANSWERS}
    n_without = 0
    while waiting and len(rows) < n_scenes:
        batch: list[int] = []
        scenes, redrawn, of_batch = [], [], []
        while waiting and len(batch) < min(BATCH, n_scenes - len(rows)):
            row = waiting.pop()
            scene = scene_of(study, row)
            change = random_change(scene, rng)
            changed = change.apply(scene)
            edit = edit_of_change(study, layer, scene, changed, study.codes(layer).row(row)[0])
            if not len(edit):
                n_without += 1
                continue
            batch.append(row)
            scenes.append(scene)
            redrawn.append(changed)
            changes.append(change)
            of_batch.append(edit)
        if not batch:
            break
        pixels = pixels_of(model, scenes)
        before = intervention.run(study, model, pixels)
        edited = intervention.run(study, model, pixels, of_batch)
        again = intervention.run(study, model, pixels_of(model, redrawn))
        labels = before.codes[layer - 1].dense_labels()
        plain, rolled = (
            rollout(graph, labels, layer, settings, part, keys=batch, inputs=inputs)
            for part in (Edit(), of_batch)
        )
        parts["graph"].append(_later(states_of_rollouts(plain, rolled, settings), layer + 1))
        parts["network"].append(states_of_runs(study, before, edited, layer + 1))
        parts["redrawn"].append(states_of_runs(study, before, again, layer + 1))
        rows += batch
        edits += of_batch
        if on_progress is not None:
            on_progress(len(rows), n_scenes)
    if not rows:
        raise DataError(
            f"No concept of layer {layer} is named after anything that was changed in "
            f"{n_without} scenes. Choose a later layer."
        )
    states = {name: _joined(found) for name, found in parts.items()}
    return ManyScenes(layer, tuple(rows), tuple(changes), tuple(edits), n_without, states)


def _later(states: States, first: int) -> States:
    return States(first, states.layers[first - states.first :])


def _joined(parts: Sequence[States]) -> States:
    """Join the images of several answers to the same layers."""
    layers = []
    for pieces in zip(*(part.layers for part in parts), strict=True):
        names = ("before", "after", "value_before", "value_after", "moves")
        layers.append(
            type(pieces[0])(
                **{name: np.concatenate([getattr(p, name) for p in pieces]) for name in names}
            )
        )
    return States(parts[0].first, tuple(layers))
