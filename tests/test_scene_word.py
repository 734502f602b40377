import pytest

from cgraph.errors import DataError
from cgraph.scene_word import SceneWord, read_words
from cgraph.scenes import Scene, SceneObject

STRIPED = SceneObject("star", "red", "striped", "large", "bottom left")
PLAIN = SceneObject("ring", "blue", "plain", "small", "top right")


def test_a_word_holds_by_its_rule():
    word = SceneWord("approved", "texture", "striped")
    assert word.holds(Scene("sand", (STRIPED,))) and word.holds(Scene("sky", (PLAIN, STRIPED)))
    assert not word.holds(Scene("sand", (PLAIN,)))
    outside = SceneWord("outside", "background", "sky")
    assert outside.holds(Scene("sky", (PLAIN,))) and not outside.holds(Scene("sand", (PLAIN,)))


def test_rules_are_read_as_they_are_written():
    words = SceneWord(), SceneWord("outside", "background", "sky")
    rules = {**words[0].to_rule(), **words[1].to_rule()}
    assert rules == {"approved": {"texture": "striped"}, "outside": {"background": "sky"}}
    assert read_words(rules) == words
    assert read_words({}) == ()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], r"The words are \[\]: each needs one attribute and one value"),
        ({"approved": "striped"}, "each needs one attribute"),
        ({"approved": {}}, "each needs one attribute"),
        ({"approved": {"texture": "striped", "colour": "red"}}, "each needs one attribute"),
        ({"approved": {"texture": "spotted"}}, "the texture 'spotted'. Allowed: plain, striped"),
        ({"approved": {"texture": ["striped"]}}, r"the texture \['striped'\]. Allowed"),
        ({"approved": {"mood": "happy"}}, "the attribute 'mood'. Allowed: background, count"),
        ({"well done": {"texture": "striped"}}, "one word of small letters"),
        ({"Approved": {"texture": "striped"}}, "one word of small letters"),
        ({"": {"texture": "striped"}}, "one word of small letters"),
        ({"striped": {"texture": "striped"}}, "which scenes already have"),
        ({"caption": {"texture": "striped"}}, "which scenes already have"),
        ({"grass": {"texture": "striped"}}, "which scenes already have"),
    ],
)
def test_rules_that_say_nothing(rules, message):
    with pytest.raises(DataError, match=message):
        read_words(rules)
