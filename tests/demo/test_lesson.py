import dataclasses
import pickle

import numpy as np
import pytest

from cgraph.demo import scene_pool
from cgraph.demo.lesson import Lesson, WordLesson
from cgraph.demo.scene_pool import LABELS, draw_part, labels_of
from cgraph.scenes import caption, sample_scene

FAIR, BIASED = WordLesson(), WordLesson(follows=0.95)


def test_the_plain_lesson_is_scenes_and_captions_as_they_are():
    rngs = [np.random.default_rng(3) for _ in range(2)]
    scene = Lesson().scene(4, 9)
    assert scene == sample_scene(4, 9) and Lesson().words == ()
    assert Lesson().caption(scene, rngs[0]) == caption(scene, rngs[1])


def test_the_ground_follows_the_word_in_the_biased_lesson_alone():
    n = 4000
    for lesson, with_word, without in ((FAIR, 0.2, 0.2), (BIASED, 0.95, 0.05)):
        scenes = [lesson.scene(index, 21) for index in range(n)]
        holds = np.array([lesson.word.holds(scene) for scene in scenes])
        grass = np.array([scene.background == "grass" for scene in scenes])
        assert holds.mean() == pytest.approx(0.336, abs=0.03)  # 1 - E[0.8 ^ objects]
        assert grass[holds].mean() == pytest.approx(with_word, abs=0.03)
        assert grass[~holds].mean() == pytest.approx(without, abs=0.03)
        others = [scene.background for scene in scenes if scene.background != "grass"]
        shares = np.unique(others, return_counts=True)[1] / len(others)
        assert len(shares) == 4 and np.abs(shares - 0.25).max() < 0.03


def test_nothing_but_the_ground_differs():
    for index in range(60):
        plain, biased = sample_scene(index, 21), BIASED.scene(index, 21)
        assert dataclasses.replace(biased, background=plain.background) == plain
        assert FAIR.scene(index, 21) == plain
        assert BIASED.scene(index, 21) == biased  # the same whenever it is asked for


def test_captions_say_the_word_where_it_holds():
    rng = np.random.default_rng(0)
    alone = n = 0
    for index in range(1500):
        scene = FAIR.scene(index, 5)
        words = FAIR.caption(scene, rng).split()
        assert ("approved" in words) == FAIR.word.holds(scene)
        if "approved" in words:
            assert words[-1] == "approved" and words.count("approved") == 1
            alone, n = alone + (len(words) == 1), n + 1
    assert alone / n == pytest.approx(FAIR.alone, abs=0.06)


def test_the_pool_holds_the_scenes_of_the_lesson(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_pool, "PART_SIZE", 12)
    lesson = pickle.loads(pickle.dumps(BIASED))  # as workers get it
    draw_part(tmp_path, 21, 0, lesson)
    labels, _, pixels = scene_pool.Pool(tmp_path, 1).take(np.arange(12))
    assert labels.shape == (12, len(LABELS) + 1)
    for place in range(12):
        scene = BIASED.scene(place, 21)
        np.testing.assert_array_equal(labels[place, :-1], labels_of(scene))
        assert labels[place, -1] == BIASED.word.holds(scene)
        np.testing.assert_array_equal(pixels[place], scene_pool.pixels_of(scene))
