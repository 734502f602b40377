"""What the drawing says of two ideas: one is changed in the picture, the other is watched.

What an idea stands for is told by the names of its concepts, which must say the same attribute and
value at both layers. Every object that has the value gets another one, the scene is drawn again
with all else equal, and the network looks at it. The control changes another attribute of the same
objects, which neither idea is about. A conjunction, such as ``red star``, is broken by the part
that the other idea is not about. Counts cannot be redrawn, and places are left where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cgraph.concept import ConceptId
from cgraph.direction_runs import MIN_IMAGES, Pair
from cgraph.redrawing import OBJECT_VALUES, SceneChange, pixels_of, scene_of
from cgraph.scenes import BACKGROUNDS, Scene
from cgraph.study import Study
from cgraph.workbench import Arrays, Source, Workbench

DRAWN_IMAGES = 12
"""Scenes of a pair that are drawn again, at most."""

CHANGEABLE = ("colour", "shape", "texture", "size")
"""Attributes of an object that are changed."""

Value = tuple[str, str]  # attribute and value
_IMAGES = 16  # of one call


def meaning(study: Study, pair: Pair, which: int) -> Value | None:
    """Return what A (0) or B (1) stands for; None if its names do not agree or cannot be drawn."""
    found = []
    for layer, index in ((pair.lower, pair.at_lower[which]), (pair.upper, pair.at_upper[which])):
        name = study.names.get(ConceptId(layer, index))
        found.append(None if name is None else (name.attribute, name.value))
    if found[0] is None or found[0] != found[1]:
        return None
    return found[0] if found[0][0] in (*CHANGEABLE, "object", "background") else None


def broken(scene: Scene, idea: Value, other: Value, rng: np.random.Generator) -> list[SceneChange]:
    """Return changes after which a scene no longer has a value.

    Parameters
    ----------
    scene : Scene
    idea : tuple of (str, str)
        Attribute and value.
    other : tuple of (str, str)
        What is to stay, if one can go without the other.
    rng : Generator

    Returns
    -------
    list of SceneChange
        Empty if the scene does not have the value.
    """
    attribute, value = idea
    if attribute == "background":
        others = [ground for ground in BACKGROUNDS if ground != value]
        there = scene.background == value
        return [SceneChange("background", others[rng.integers(len(others))])] if there else []
    holders = [n for n, thing in enumerate(scene.objects) if has(scene, idea, n)]
    if attribute == "object":
        attribute = "colour" if value.split()[1] in other[1].split() else "shape"
    changes = []
    for holder in holders:
        now = getattr(scene.objects[holder], attribute)
        others = [new for new in OBJECT_VALUES[attribute] if new != now]
        changes.append(SceneChange(attribute, others[rng.integers(len(others))], holder))
    return changes


def has(scene: Scene, idea: Value, thing: int) -> bool:
    """Return whether one object of a scene has a value."""
    attribute, value = idea
    one = scene.objects[thing]
    found = f"{one.colour} {one.shape}" if attribute == "object" else getattr(one, attribute)
    return bool(found == value)


def unrelated(
    scene: Scene, changes: Sequence[SceneChange], ideas: Sequence[Value], rng: np.random.Generator
) -> list[SceneChange]:
    """Return changes of the same objects in an attribute that no idea is about."""
    about = {attribute for attribute, _ in ideas}
    if "object" in about:
        about |= {"colour", "shape"}
    free = [name for name in CHANGEABLE if name not in about]
    name = free[rng.integers(len(free))]
    things = [change.thing for change in changes if change.thing is not None]
    found = []
    for thing in things or range(len(scene.objects)):
        now = getattr(scene.objects[thing], name)
        others = [new for new in OBJECT_VALUES[name] if new != now]
        found.append(SceneChange(name, others[rng.integers(len(others))], thing))
    return found


def redrawn_moves(bench: Workbench, pairs: Sequence[Pair]) -> list[np.ndarray | None]:
    """Return what changing one idea in the picture does to the other, beyond the controls.

    Parameters
    ----------
    bench : Workbench
        Of a study of drawn scenes.
    pairs : sequence of Pair
        Of the same two layers.

    Returns
    -------
    list of ndarray, shape (2, n_images), or None
        As `cgraph.direction_runs.moves_of`; None where an idea has no meaning that can be drawn
        again, both stand for the same, or too few of the images have both.
    """
    study = bench.study
    redraws: dict[int, list[tuple[str, ...]]] = {}
    wanted: list[list[tuple[int, list[int]]] | None] = []
    for pair in pairs:
        ideas = [meaning(study, pair, which) for which in range(2)]
        images: list[tuple[int, list[int]]] = []
        if ideas[0] is not None and ideas[1] is not None and ideas[0] != ideas[1]:
            known = (ideas[0], ideas[1])
            rng = np.random.default_rng((bench.seed, pair.upper, *pair.at_lower))
            for row in pair.rows:
                scene = scene_of(study, row)
                changes = [broken(scene, known[way], known[1 - way], rng) for way in range(2)]
                if not all(changes) or len(images) == DRAWN_IMAGES:
                    continue
                both = [(way, unrelated(scene, way, known, rng)) for way in changes]
                texts = [tuple(one.to_text() for one in some) for way in both for some in way]
                of_row = redraws.setdefault(row, [])
                images.append((row, list(range(len(of_row), len(of_row) + len(texts)))))
                of_row += texts
        wanted.append(images if len(images) >= MIN_IMAGES else None)
    if not any(images is not None for images in wanted):
        return [None] * len(pairs)
    targets = np.unique([index for pair in pairs for index in pair.at_upper])
    rows = sorted(redraws)
    calls = []
    for start in range(0, len(rows), _IMAGES):
        some = tuple(rows[start : start + _IMAGES])
        calls.append((pairs[0].upper, some, tuple(tuple(redraws[row]) for row in some), targets))
    found = bench.run("direction-drawn", redrawn, calls)
    drops: dict[int, np.ndarray] = {}
    for (_, some, of_rows, _), arrays in zip(calls, found, strict=True):
        ends = np.cumsum([len(of_row) for of_row in of_rows])[:-1]
        drops |= dict(zip(some, np.split(arrays["drop"], ends), strict=True))
    moves: list[np.ndarray | None] = []
    for pair, images_of in zip(pairs, wanted, strict=True):
        if images_of is None:
            moves.append(None)
            continue
        b, a = (int(np.searchsorted(targets, pair.at_upper[which])) for which in (1, 0))
        falls = []
        for row, places in images_of:
            own_a, control_a, own_b, control_b = drops[row][places]
            falls.append((own_a[b] - control_a[b], own_b[a] - control_b[a]))
        moves.append(np.array(falls).T)
    return moves


def redrawn(
    source: Source,
    layer: int,
    rows: tuple[int, ...],
    changes: tuple[tuple[tuple[str, ...], ...], ...],
    targets: np.ndarray,
) -> Arrays:
    """Draw scenes again and look at some concepts.

    Parameters
    ----------
    source : Source
    layer : int
        Whose concepts are watched.
    rows : tuple of int
        Images.
    changes : tuple
        For each image, and each time that it is drawn again, changes as `SceneChange.to_text`.
    targets : ndarray of int, shape (n_targets,)

    Returns
    -------
    dict of str to ndarray
        ``drop`` (n_redraws, n_targets): how far their pre-activations fall.
    """
    study, model = source.study, source.model
    drops = []
    for row, of_row in zip(rows, changes, strict=True):
        scene = scene_of(study, row)
        scenes = [scene]
        for texts in of_row:
            changed = scene
            for text in texts:
                changed = SceneChange.parse(text).apply(changed)
            scenes.append(changed)
        tokens = model.class_tokens(pixels_of(model, scenes))[layer - 1]
        values = study.dictionary(layer).pre_activations(tokens, targets)
        drops.append(values[0] - values[1:])
    return {"drop": np.concatenate(drops)}
