import dataclasses

import numpy as np
import pytest

from cgraph.demo import scene_pool
from cgraph.demo.scene_pool import LABELS, Pool, draw_part, labels_of, patches_of, pixels_of
from cgraph.scenes import COLOURS, SHAPES, TEXTURES, Scene, SceneObject, sample_scene

STAR = SceneObject("star", "red", "striped", "large", "bottom left")
RING = SceneObject("ring", "blue", "plain", "small", "top right")


def test_labels_by_hand():
    found = {
        pair
        for pair, has in zip(LABELS, labels_of(Scene("sand", (STAR, RING))), strict=True)
        if has
    }
    assert found == {
        ("background", "sand"), ("count", "two objects"), ("shape", "star"), ("shape", "ring"),
        ("colour", "red"), ("colour", "blue"), ("texture", "plain"), ("texture", "striped"),
        ("size", "small"), ("size", "large"), ("place", "top right"), ("place", "bottom left"),
        ("object", "red star"), ("object", "blue ring"),
    }  # fmt: skip


def test_patches_by_hand():
    patches = patches_of(Scene("sand", (STAR, RING))).reshape(3, 8, 8)
    star = SHAPES.index("star") + 1, COLOURS.index("red") + 1, TEXTURES.index("striped") + 1
    ring = SHAPES.index("ring") + 1, COLOURS.index("blue") + 1, TEXTURES.index("plain") + 1
    # The star's middle, .265 and .735 of the side, lies in row 5 and column 2 (from 0).
    assert tuple(patches[:, 5, 2]) == star and tuple(patches[:, 2, 5]) == ring
    assert not patches[:, 0, 0].any() and not patches[:, 7, 7].any()
    n_star, n_ring = (patches[0] == star[0]).sum(), (patches[0] == ring[0]).sum()
    assert n_star == pytest.approx(np.pi * (64 * STAR.radius + 1) ** 2 / 64, abs=2.5)
    assert 1 <= n_ring < n_star
    bigger = dataclasses.replace(RING, size="large")
    assert (patches_of(Scene("sand", (bigger,)))[0] > 0).sum() > 2 * n_ring


def test_parts_on_disk_are_the_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_pool, "PART_SIZE", 5)
    for part in range(2):
        draw_part(tmp_path, 9, part)
    pool = Pool(tmp_path, 2)
    assert pool.n_scenes == 10
    labels, patches, pixels = pool.take(np.array([7, 1]))
    for place, index in enumerate((7, 1)):
        scene = sample_scene(index, 9)
        np.testing.assert_array_equal(labels[place], labels_of(scene))
        np.testing.assert_array_equal(patches[place], patches_of(scene))
        np.testing.assert_array_equal(pixels[place], pixels_of(scene))


def test_a_part_that_is_there_is_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_pool, "PART_SIZE", 3)
    draw_part(tmp_path, 9, 0)
    (tmp_path / "pixels-00000.npy").write_bytes(b"")
    draw_part(tmp_path, 9, 0)
    assert (tmp_path / "pixels-00000.npy").stat().st_size == 0
    (tmp_path / "labels-00000.npy").unlink()
    draw_part(tmp_path, 9, 0)
    assert (tmp_path / "pixels-00000.npy").stat().st_size > 0
