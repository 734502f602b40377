import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.scene_drawing import draw
from cgraph.scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    SceneObject,
    sample_scene,
)

PLAIN = SceneObject("square", "red", "plain", "large", "top left")


def pixels(scene, size=128):
    return np.asarray(draw(scene, size)).astype(int)


@given(
    st.integers(0, 10**6),
    st.sampled_from(
        [("shape", SHAPES), ("colour", COLOURS), ("texture", TEXTURES), ("size", SIZES)]
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_changing_one_object_leaves_all_else_as_it_was(index, attribute, data):
    name, values = attribute
    scene = sample_scene(index)
    place = data.draw(st.integers(0, len(scene.objects) - 1))
    value = data.draw(st.sampled_from(values))
    thing = scene.objects[place]
    changed = dataclasses.replace(thing, **{name: value})
    objects = (*scene.objects[:place], changed, *scene.objects[place + 1 :])
    before, after = pixels(scene), pixels(dataclasses.replace(scene, objects=objects))
    differs = (before != after).any(axis=2)
    assert differs.any() == (value != getattr(thing, name))
    # Nothing changes beyond the object, its tips and its shadow.
    y, x = np.nonzero(differs)
    middle_x, middle_y = (128 * c for c in thing.centre)
    reach = 128 * 1.2 * max(thing.radius, changed.radius) + 20
    assert (np.abs(x - middle_x) < reach).all() and (np.abs(y - middle_y) < reach).all()


def test_changing_the_ground_leaves_the_objects():
    scene = Scene("sand", (PLAIN,))
    other = dataclasses.replace(scene, background="night")
    inside = np.s_[24:44, 24:44]
    np.testing.assert_array_equal(pixels(scene)[inside], pixels(other)[inside])
    assert (pixels(scene) != pixels(other)).any(axis=2).mean() > 0.7


@pytest.mark.parametrize("size", [16, 64, 128, 300])
def test_the_same_scene_gives_the_same_picture_at_any_size(size):
    scene = sample_scene(5)
    picture = draw(scene, size)
    assert picture.mode == "RGB" and picture.size == (size, size)
    np.testing.assert_array_equal(pixels(scene, size), pixels(scene, size))
    if size >= 64:
        small = np.asarray(picture.resize((32, 32))).astype(int)
        usual = np.asarray(draw(scene, 128).resize((32, 32))).astype(int)
        assert np.abs(small - usual).mean() < 6


def test_colours_are_what_they_are_called():
    def middle(colour):
        return pixels(Scene("night", (dataclasses.replace(PLAIN, colour=colour),)))[28:40, 28:40]

    red, green, blue, white = (
        middle(c).mean(axis=(0, 1)) for c in ("red", "green", "blue", "white")
    )
    assert red.argmax() == 0 and green.argmax() == 1 and blue.argmax() == 2
    assert white.min() > 200
    means = np.array([middle(colour).mean(axis=(0, 1)) for colour in COLOURS])
    gaps = np.abs(means[:, None] - means[None]).max(axis=2) + 255 * np.eye(len(COLOURS))
    assert gaps.min() > 40


def test_grounds_can_be_told_apart():
    def ground(name):
        return pixels(Scene(name, (PLAIN,)))[70:, 70:].mean(axis=(0, 1))

    means = np.array([ground(name) for name in BACKGROUNDS])
    gaps = np.abs(means[:, None] - means[None]).max(axis=2) + 255 * np.eye(len(BACKGROUNDS))
    assert gaps.min() > 40


def test_sizes_cover_more_and_more():
    empty = pixels(Scene("wood", (dataclasses.replace(PLAIN, place="bottom right"),)))
    covered = []
    for size in SIZES:
        scene = Scene("wood", (dataclasses.replace(PLAIN, size=size, shape="circle"),))
        covered.append((pixels(scene)[:64, :64] != empty[:64, :64]).any(axis=2).mean())
    assert covered[0] < 0.75 * covered[1] < 0.75 * 0.75 * covered[2]


def test_every_object_lies_in_its_quarter():
    for place, (row, column) in zip(PLACES, np.ndindex(2, 2), strict=True):
        scene = Scene("night", (dataclasses.replace(PLAIN, place=place, colour="white"),))
        bright = pixels(scene).min(axis=2) > 190
        y, x = np.nonzero(bright)
        assert (np.median(y) > 64) == row and (np.median(x) > 64) == column


@pytest.mark.parametrize("size", [15, 1025, 64.0, True, "64"])
def test_sizes_out_of_range(size):
    with pytest.raises(DataError, match="whole numbers from 16 to 1024"):
        draw(sample_scene(0), size)
