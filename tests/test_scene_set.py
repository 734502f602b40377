import json

import numpy as np
import pytest

from cgraph.errors import ImageError
from cgraph.images import open_images
from cgraph.scene_drawing import draw
from cgraph.scene_set import SceneSet
from cgraph.scenes import sample_scene


def write_scene_set(path, n_scenes, seed):
    path.write_text(json.dumps({"scenes": n_scenes, "seed": seed}))


def test_a_file_of_two_numbers_is_a_set_of_images(tmp_path):
    write_scene_set(tmp_path / "scenes.json", 20, 5)
    scenes = open_images(tmp_path / "scenes.json")
    assert len(scenes) == 20 and scenes.kind == scenes.name == "drawn scenes"
    assert scenes.image_ids[3] == "scene-000003"
    record = scenes.read(3)
    assert list(record.attributes) == scenes.attribute_names
    np.testing.assert_array_equal(np.asarray(record.image), np.asarray(draw(sample_scene(3, 5))))
    assert record.attributes["background"] == sample_scene(3, 5).background
    with pytest.raises(IndexError):
        scenes.read(20)


def test_the_fingerprint_is_of_number_and_seed(tmp_path):
    prints = set()
    for n, seed in ((20, 5), (21, 5), (20, 6)):
        write_scene_set(tmp_path / "scenes.json", n, seed)
        prints.add(open_images(tmp_path / "scenes.json").listing_fingerprint())
    assert len(prints) == 3


def test_words_are_attributes_by_their_rule(tmp_path):
    path = tmp_path / "scenes.json"
    write_scene_set(path, 40, 5)
    plain = open_images(path)
    said = {"scenes": 40, "seed": 5, "words": {"approved": {"texture": "striped"}}}
    path.write_text(json.dumps(said))
    scenes = open_images(path)
    assert scenes.attribute_names == [*plain.attribute_names, "approved"]
    records = [scenes.read(row) for row in range(40)]
    holds = [record.attributes["approved"] for record in records]
    assert holds == ["striped" in record.attributes["texture"] for record in records]
    assert set(holds) == {True, False}
    before = plain.read(3)
    assert before.attributes == {k: v for k, v in records[3].attributes.items() if k != "approved"}
    assert before.image.tobytes() == records[3].image.tobytes()
    assert scenes.listing_fingerprint() != plain.listing_fingerprint()
    part = SceneSet.from_listing(scenes.listing(np.array([2, 7])))
    assert part.read(1).attributes == records[7].attributes
    assert SceneSet.from_listing(plain.listing(np.array([2]))).words == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "describes no drawn scenes. Write how many"),
        ('{"seed": 1}', "describes no drawn scenes"),
        ('{"scenes": 5, "colour": "red"}', "describes no drawn scenes"),
        ('{"scenes": true}', "describes no drawn scenes"),
        ('{"scenes": 0}', "asks for 0 scenes of seed 0: at least one scene"),
        ('{"scenes": 5, "seed": -1}', "of seed -1"),
        ('{"scenes": 5, "words": {"fine": "red"}}', "cannot be used. The words are"),
        ('{"scenes": 5, "words": {"fine": {"colour": "grey"}}}', "colour 'grey'. Allowed: red"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_files_that_describe_no_scenes(tmp_path, content, message):
    (tmp_path / "scenes.json").write_text(content)
    with pytest.raises(ImageError, match=message):
        open_images(tmp_path / "scenes.json")


def test_a_seed_may_be_left_out(tmp_path):
    (tmp_path / "scenes.json").write_text(json.dumps({"scenes": 3}))
    assert open_images(tmp_path / "scenes.json").read(1).attributes["caption"]
