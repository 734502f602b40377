import numpy as np
import pytest

from cgraph.codes import Codes
from cgraph.errors import DataError
from cgraph.text_names import (
    MIN_MARGIN,
    TextName,
    name_by_text,
    text_scores,
    texts_from_table,
    texts_to_table,
)

WORDS = ("red", "blue", "green", "noise", "more noise", "last noise")
TUNE, HELD_OUT = np.arange(0, 400), np.arange(400, 800)


@pytest.fixture(scope="module")
def planted():
    """Concept n goes with word n, for the first three; concepts 3 and 4 with none; 5 is rare."""
    rng = np.random.default_rng(2)
    truth = rng.random((800, 3)) < 0.3
    likeness = rng.normal(0, 0.05, (800, len(WORDS)))
    likeness[:, :3] += 0.3 * truth
    values = np.zeros((800, 7), dtype=np.float32)
    values[:, :3] = truth * rng.gamma(4, 1, (800, 3))
    values[:, 3:5] = (rng.random((800, 2)) < 0.2) * rng.gamma(4, 1, (800, 2))
    values[:5, 5] = 1
    values[:, 6] = truth[:, 0] * (rng.random(800) < 0.7)  # a sibling of concept 0
    codes = Codes.from_padded(np.tile(np.arange(7), (800, 1)), values, 7)
    # Some images are a little like every word: that must not count.
    return codes, values, likeness + rng.normal(0, 1, (800, 1))


def test_scores_are_correlations(planted):
    codes, values, likeness = planted
    centred = likeness - likeness.mean(axis=1, keepdims=True)
    expected = np.corrcoef(np.abs(values).T, centred.T)[:7, 7:]
    np.testing.assert_allclose(text_scores(codes, likeness), expected, atol=1e-6)


def test_a_constant_correlates_with_nothing():
    codes = Codes.from_padded(np.zeros((30, 1), int), np.ones((30, 1)), 2)
    likeness = np.random.default_rng(0).random((30, 3))
    assert (text_scores(codes, likeness) == 0).all()
    assert (text_scores(codes, np.full((30, 3), 0.1)) == 0).all()


def test_planted_words_are_found_and_others_have_no_name(planted):
    codes, _, likeness = planted
    found = name_by_text(codes, likeness, WORDS, TUNE, HELD_OUT)
    assert [name.text for name in found] == ["red 1", "blue", "green", "", "", "", "red 2"]
    assert [name.matches[0].text for name in found[:3]] == ["red", "blue", "green"]
    assert found[5] == TextName("", ())  # too rare to be compared
    assert len(found[3].matches) == 3


def test_words_are_chosen_on_tune_and_measured_on_held_out_images(planted):
    codes, _, likeness = planted
    spoiled = likeness.copy()
    spoiled[HELD_OUT] = spoiled[HELD_OUT][:, ::-1]
    before = name_by_text(codes, likeness, WORDS, TUNE, HELD_OUT)
    after = name_by_text(codes, spoiled, WORDS, TUNE, HELD_OUT)
    assert [name.text for name in after] == [name.text for name in before]
    assert before[0].strength > 0.5 and after[0].strength < 0
    on_tune = text_scores(codes.take(TUNE), likeness[TUNE])
    on_held_out = text_scores(codes.take(HELD_OUT), likeness[HELD_OUT])
    for index in range(5):
        order = np.argsort(-on_tune[index])
        for place, match in enumerate(before[index].matches):
            word, after_it = order[place], order[place + 1]
            assert match.text == WORDS[word]
            assert match.score_tune == pytest.approx(on_tune[index, word])
            assert match.score == pytest.approx(on_held_out[index, word])
            gap = on_tune[index, word] - on_tune[index, after_it]
            assert match.margin_tune == pytest.approx(gap)
            gap = on_held_out[index, word] - on_held_out[index, after_it]
            assert match.margin == pytest.approx(gap)


def test_two_words_that_fit_alike_give_no_name(planted):
    codes, _, likeness = planted
    twins = np.concatenate([likeness, likeness[:, :1]], axis=1)
    found = name_by_text(codes, twins, (*WORDS, "crimson"), TUNE, HELD_OUT)
    assert found[0].text == "" and found[0].matches[0].margin_tune < MIN_MARGIN
    assert {match.text for match in found[0].matches[:2]} == {"red", "crimson"}


def test_the_table_round_trips(planted):
    codes, _, likeness = planted
    found = name_by_text(codes, likeness, WORDS, TUNE, HELD_OUT)
    read = texts_from_table(texts_to_table({3: found}))
    assert {c.index: name for c, name in read.items()} == {
        index: name for index, name in enumerate(found) if name.matches
    }
    assert {(c.layer, c.kind) for c in read} == {(3, "class")}


@pytest.mark.parametrize("likeness", [np.zeros((3, 2)), np.full((4, 2), np.nan)])
def test_likeness_that_does_not_fit(likeness):
    codes = Codes.from_padded(np.zeros((4, 1), int), np.ones((4, 1)), 1)
    with pytest.raises(DataError, match="does not fit codes of 4 images, or is not finite"):
        text_scores(codes, likeness)
