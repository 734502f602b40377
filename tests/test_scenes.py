import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.scenes import (
    ATTRIBUTE_VALUES,
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    SceneObject,
    attribute_table,
    attributes,
    caption,
    sample_scene,
    vocabulary,
)

STAR = SceneObject("star", "red", "striped", "large", "bottom left")
RING = SceneObject("ring", "blue", "plain", "small", "top right")
DOT = SceneObject("ring", "white", "dotted", "medium", "bottom right")


def test_attributes_by_hand():
    assert attributes(Scene("grass", (STAR, DOT, RING))) == {
        "background": "grass",
        "count": "three objects",
        "shape": ("star", "ring"),
        "colour": ("red", "blue", "white"),
        "texture": ("plain", "striped", "dotted"),
        "size": ("small", "medium", "large"),
        "place": ("top right", "bottom left", "bottom right"),
        "object": ("red star", "blue ring", "white ring"),
        "caption": "a small blue plain ring above a large red striped star left of "
        "a medium white dotted ring on grass",
    }


def test_table_of_attributes():
    table = attribute_table([Scene("night", (STAR,)), Scene("sand", (STAR, RING))])
    assert list(table.columns) == [*ATTRIBUTE_VALUES, "caption"]
    assert table["colour"].tolist() == ["red", "red, blue"]
    assert table["count"].tolist() == ["one object", "two objects"]
    assert table["caption"][0] == "a large red striped star at night"
    assert attribute_table([]).empty


def test_scenes_depend_on_seed_and_index_alone():
    late = [sample_scene(index, 3) for index in (7, 2)]
    assert [sample_scene(index, 3) for index in (2, 7)] == late[::-1]
    assert sample_scene(2, 4) != sample_scene(2, 3)


def test_every_value_turns_up_about_as_often_as_it_should():
    scenes = [sample_scene(index) for index in range(4000)]
    counts = np.bincount([len(scene.objects) for scene in scenes])[1:] / len(scenes)
    np.testing.assert_allclose(counts, [0.35, 0.40, 0.25], atol=0.03)
    things = [thing for scene in scenes for thing in scene.objects]
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)):
        shares = [np.mean([getattr(t, name) == value for t in things]) for value in values]
        np.testing.assert_allclose(shares, 1 / len(values), atol=0.02)
    plain = np.mean([thing.texture == "plain" for thing in things])
    assert plain == pytest.approx(0.4, abs=0.02)
    shares = [np.mean([s.background == value for s in scenes]) for value in BACKGROUNDS]
    np.testing.assert_allclose(shares, 0.2, atol=0.03)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_scene_survives_json(index, seed):
    scene = sample_scene(index, seed)
    assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@given(st.integers(0, 10**6), st.integers(0, 2**32))
def test_captions_only_say_what_is_true(index, seed):
    scene = sample_scene(index)
    said = caption(scene, np.random.default_rng(seed))
    assert set(said.split()) <= set(vocabulary())
    phrases = said.replace(" left of ", " | ").replace(" right of ", " | ")
    for word in (" above ", " below ", " and "):
        phrases = phrases.replace(word, " | ")
    found = []
    for phrase in phrases.split(" | "):
        words = phrase.split(" on ")[0].split(" in the ")[0].split(" at ")[0].split()
        match = [
            thing
            for thing in scene.objects
            if {thing.colour, thing.shape} <= set(words)
            and all(
                word in (thing.size, thing.texture)
                for word in words[1:-1]
                if word in (*SIZES, *TEXTURES)
            )
        ]
        assert match, (said, scene)
        found.append(match)
    assert len(found) == len(scene.objects)


def test_relations_in_captions_are_those_of_the_places():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        said = caption(Scene("sky", (STAR, RING)), rng)
        order = ("star", "ring") if said.index("star") < said.index("ring") else ("ring", "star")
        true = {
            ("star", "ring"): ("below", "left of", " and "),
            ("ring", "star"): ("above", "right of", " and "),
        }[order]
        assert any(word in said for word in true), said


def test_centres_and_radii():
    assert STAR.centre == (0.265, 0.735)
    assert dataclasses.replace(RING, dx=0.01, dy=-0.02).centre == pytest.approx((0.745, 0.245))
    assert STAR.radius > DOT.radius > RING.radius
    # Objects of two quarters never touch the middle line by more than a star's tip.
    assert all(0 < x < 1 for x in STAR.centre)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "blob"}, "The shape of a scene is 'blob'. Allowed: circle, square"),
        ({"colour": "black"}, "The colour of a scene is 'black'. Allowed: red"),
        ({"place": "middle"}, "The place of a scene is 'middle'"),
        ({"stretch": 0.0}, "The stretch of an object is 0.0: it must be above 0"),
        ({"turn": float("nan")}, "The measures of an object are"),
        ({"tint": (1.0, 2.0)}, "eight numbers are needed"),
    ],
)
def test_objects_that_are_none(change, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(STAR, **change)


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (lambda: Scene("moon", (STAR,)), "The background of a scene is 'moon'. Allowed: sky"),
        (lambda: Scene("sky", ()), "objects at no place: it holds one to 3"),
        (lambda: Scene("sky", (STAR, STAR)), "each in a quarter of its own"),
        (lambda: Scene("sky", (STAR,), view=float("inf")), "four numbers are needed"),
        (lambda: sample_scene(-1), "Scene -1 of seed 0: both numbers must be at least 0"),
        (lambda: Scene.from_dict({"background": "sky"}), "This is no scene"),
        (lambda: Scene.from_dict({**Scene("sky", (STAR,)).to_dict(), "x": 1}), "This is no scene"),
    ],
)
def test_scenes_that_are_none(scene, message):
    with pytest.raises(DataError, match=message):
        scene()


def test_vocabulary_has_every_word_once():
    words = vocabulary()
    assert len(words) == len(set(words))
    assert {*COLOURS, *SHAPES, *SIZES, *TEXTURES, "above", "night"} <= set(words)
    assert all(one != other for one, other in pairwise(words))
    assert len(PLACES) == 4 and len(COUNTS) == 3
