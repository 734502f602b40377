import numpy as np
import pytest

from cgraph.planted_topics import (
    COLOURS,
    MAX_TOPICS,
    NO_TOPIC,
    PLACES,
    attributes,
    draw,
    look,
    related_topics,
)


def test_topics_look_different_and_neighbours_lie_apart():
    looks = [look(topic) for topic in range(MAX_TOPICS)]
    assert len(set(looks)) == MAX_TOPICS
    for first in range(0, MAX_TOPICS, len(PLACES)):
        assert {place for _, _, place in looks[first : first + len(PLACES)]} == set(PLACES)


def test_few_topics_show_many_shapes_and_colours():
    looks = [look(topic) for topic in range(32)]
    assert len({shape for shape, _, _ in looks}) == 8
    assert len({colour for _, colour, _ in looks}) == 8


def test_attributes_name_what_is_shown():
    shape, colour, place = look(7)
    assert attributes([7, NO_TOPIC]) == {
        "caption": f"{colour} {shape} {place}",
        "thing": [f"{colour} {shape} {place}"],
        "shape": [shape],
        "colour": [colour],
        "place": [place],
    }


def test_related_topics_share_a_shape_or_a_colour():
    related = related_topics(64)
    for one, two in ((0, 1), (3, 40), (17, 63)):
        shared = look(one)[0] == look(two)[0] or look(one)[1] == look(two)[1]
        assert related[one, two] == related[two, one] == shared
    assert related.diagonal().all()


@pytest.mark.parametrize("px", [8, 64, 224])
def test_a_topic_is_drawn_in_its_place_and_colour(px):
    for topic in range(0, MAX_TOPICS, 13):
        shape, colour, place = look(topic)
        pixels = np.asarray(draw([topic], np.full(4, 0.5), px)).astype(int)
        assert pixels.shape == (px, px, 3)
        near = (np.abs(pixels - COLOURS[colour]).sum(axis=2) < 60).nonzero()
        if px > 8 or shape in ("disc", "square"):
            assert len(near[0]) > 0
            assert (near[0].mean() < px / 2) == ("top" in place)
            assert (near[1].mean() < px / 2) == ("left" in place)


def test_pictures_depend_on_their_numbers_alone():
    jitter = np.random.default_rng(0).random((2, 7))
    first, again, other = (
        draw([3, 9], jitter[0], 64).tobytes(),
        draw([3, 9], jitter[0], 64).tobytes(),
        draw([3, 9], jitter[1], 64).tobytes(),
    )
    assert first == again != other
