"""Scenes drawn again with one attribute changed, on the bundled study and its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cgraph import intervention
from cgraph.config import HELD_OUT
from cgraph.counterfactual import network_answer, redrawn_answer
from cgraph.edits import Edit, RolloutSettings
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.picture_source import image_set, picture
from cgraph.redrawing import (
    ANSWERS,
    SceneChange,
    edit_of_change,
    many_scenes,
    pixels_of,
    random_change,
    scene_of,
)
from cgraph.scene_drawing import draw
from cgraph.scenes import Scene, SceneObject, attributes
from cgraph.study import Study
from cgraph.tracing import load_model
from cgraph.vit import VisionModel

DEMO = Path(__file__).parents[1] / "data" / "demo"
SQUARE = SceneObject("square", "purple", "striped", "medium", "top left")
STAR = SceneObject("star", "red", "plain", "small", "top right")
SCENE = Scene("sand", (SQUARE, STAR))


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.open(DEMO)


@pytest.fixture(scope="module")
def model(study: Study) -> VisionModel:
    return load_model(study)


def test_one_attribute_changes_and_all_else_stays():
    changed = SceneChange("colour", "green", 0).apply(SCENE)
    assert changed.objects[0].colour == "green"
    assert changed.objects[1] == STAR
    before, after = (np.asarray(draw(scene), dtype=int) for scene in (SCENE, changed))
    differs = (before != after).any(axis=2)
    assert differs[:64, :64].any()  # the quarter of the square
    assert not differs[64:].any() and not differs[:, 64:].any()
    assert SceneChange("background", "night").apply(SCENE).background == "night"


@pytest.mark.parametrize("text", ["0.colour.green", "background.night", "1.place.bottom left"])
def test_the_short_form_is_read_again(text):
    assert SceneChange.parse(text).to_text() == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("green", "changes no scene"),
        ("x.colour.green", "changes no scene"),
        ("0.colour.mauve", "The colour is 'mauve'. Allowed: red, orange"),
        ("0.taste.sweet", "The attribute is 'taste'. Allowed: background, colour"),
        ("colour.green", "an object has colour"),
        ("0.background.night", "the scene has a background"),
    ],
)
def test_what_changes_no_scene_is_refused(text, sentence):
    with pytest.raises(ConfigError) as refusal:
        SceneChange.parse(text)
    assert sentence in str(refusal.value)


def test_what_the_scene_does_not_allow_is_refused():
    with pytest.raises(ConfigError, match="There is no object 2: this scene has objects 0 to 1"):
        SceneChange("colour", "green", 2).apply(SCENE)
    with pytest.raises(DataError, match="each in a quarter of its own"):
        SceneChange("place", "top right", 0).apply(SCENE)


def test_random_changes_change_something():
    rng = np.random.default_rng(0)
    changes = [random_change(SCENE, rng) for _ in range(40)]
    assert all(change.apply(SCENE) != SCENE for change in changes)
    assert {change.attribute for change in changes} == {
        "background", "colour", "shape", "size", "texture",
    }  # fmt: skip


def test_scenes_of_the_study_are_those_it_stores(study: Study):
    for row in (0, 17):
        scene = scene_of(study, row)
        assert attributes(scene)["caption"] == study.attributes(row)["caption"]
        assert np.array_equal(np.asarray(draw(scene)), np.asarray(picture(study, row)))
    assert len(image_set(study)) == len(study.image_ids)


def test_a_study_of_other_images_has_no_scenes(tiny_study: Study):
    with pytest.raises(StudyError, match="no drawn scenes"):
        scene_of(tiny_study, 0)


def test_the_pictures_of_a_folder_are_found_again(tiny_study: Study, tiny_inputs):
    from PIL import Image

    stored = Image.open(tiny_inputs[1] / tiny_study.image_ids[3]).convert("RGB")
    assert np.array_equal(np.asarray(picture(tiny_study, 3)), np.asarray(stored))


def test_names_say_which_concepts_stand_for_a_change(study: Study):
    layer = study.n_layers
    found = edit_of_change(
        study, layer, SCENE, SceneChange("colour", "green", 0).apply(SCENE), range(64)
    )
    names = {study.names[concept].value for concept in found.off}
    assert names <= {"purple", "purple square"} and "purple" in names
    assert found.on == ()  # all are active here, so none needs switching on
    found = edit_of_change(study, layer, SCENE, SceneChange("colour", "green", 0).apply(SCENE), [])
    assert {study.names[concept].value for concept in found.on} <= {"green", "green square"}
    assert "green" in {study.names[concept].value for concept in found.on}
    assert all(concept.layer == layer for concept in found)


def test_the_unchanged_scene_changes_nothing(study: Study, model: VisionModel):
    row = int(study.rows(HELD_OUT)[0])
    scene = scene_of(study, row)
    run = intervention.run(study, model, pixels_of(model, [scene]))
    for layer in (1, 7, 12):
        stored = study.codes(layer).row(row)[0]
        assert set(run.codes[layer - 1].row(0)[0]) == set(stored)
    again = intervention.run(study, model, pixels_of(model, [scene]))
    assert redrawn_answer(study, run, again).n_changed == 0
    assert network_answer(study, Edit(), run, again).n_changed == 0


def test_many_scenes_are_answered_three_times(study: Study, model: VisionModel):
    told = []
    found = many_scenes(
        study, model, 10, n_scenes=12, seed=1, settings=RolloutSettings("max"),
        on_progress=lambda done, wanted: told.append((done, wanted)),
    )  # fmt: skip
    assert told[-1] == (12, 12)
    assert set(found.states) == set(ANSWERS)
    assert len(found.rows) == len(found.changes) == len(found.edits) == 12
    assert {concept.layer for edit in found.edits for concept in edit} == {10}
    table = found.table()
    assert [(one, other, a.layer) for one, other, a in table] == [
        (one, other, layer)
        for one, other in (("graph", "network"), ("graph", "redrawn"), ("network", "redrawn"))
        for layer in (11, 12)
    ]
    # One scene on its own gives what it gave among the others.
    row, change, edit = found.rows[5], found.changes[5], found.edits[5]
    scene = scene_of(study, row)
    runs = [
        intervention.run(study, model, pixels_of(model, [drawn]), wish)
        for drawn, wish in ((scene, Edit()), (scene, edit), (change.apply(scene), Edit()))
    ]
    network = network_answer(study, edit, *runs[:2]).states.of_layer(12)
    redrawn = redrawn_answer(study, runs[0], runs[2]).states.of_layer(12)
    for name, alone in (("network", network), ("redrawn", redrawn)):
        together = found.states[name].of_layer(12)
        np.testing.assert_allclose(together.moves[5], alone.moves[0], atol=1e-3)
    again = many_scenes(study, model, 10, n_scenes=12, seed=1, settings=RolloutSettings("max"))
    assert [a for *_, a in again.table()] == [a for *_, a in table]
    other = many_scenes(study, model, 10, n_scenes=12, seed=2)
    assert other.rows != found.rows


def test_what_cannot_be_asked_is_refused(study: Study, model: VisionModel):
    with pytest.raises(ConfigError, match="layers 1 to 11"):
        many_scenes(study, model, 12)
    with pytest.raises(ConfigError, match="n_scenes is 0"):
        many_scenes(study, model, 3, n_scenes=0)
