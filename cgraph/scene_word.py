"""One word more about a drawn scene, which holds by a rule: an object of it has some value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cgraph.errors import DataError
from cgraph.scenes import ATTRIBUTE_VALUES, Scene, attributes, vocabulary


@dataclass(frozen=True)
class SceneWord:
    """A word that holds of a scene exactly if the scene has one value of an attribute.

    Attributes
    ----------
    text : str
        The word, in small letters; no word of the captions themselves.
    attribute, value : str
        A key of `ATTRIBUTE_VALUES`, and one of its values.
    """

    text: str = "approved"
    attribute: str = "texture"
    value: str = "striped"

    def __post_init__(self) -> None:
        if re.fullmatch("[a-z]+", self.text) is None:
            raise DataError(
                f"The word is {self.text!r}: one word of small letters a to z is needed, such as "
                "approved."
            )
        if self.text in (*vocabulary(), *ATTRIBUTE_VALUES, "caption"):
            raise DataError(
                f"The word is {self.text!r}, which scenes already have. Choose one that their "
                "captions do not use."
            )
        for what, given, allowed in (
            ("attribute", self.attribute, tuple(ATTRIBUTE_VALUES)),
            (self.attribute, self.value, ATTRIBUTE_VALUES.get(self.attribute, ())),
        ):
            if given not in allowed:
                raise DataError(
                    f"The word {self.text!r} depends on the {what} {given!r}. Allowed: "
                    f"{', '.join(allowed)}."
                )

    def holds(self, scene: Scene) -> bool:
        """Return whether the word holds of a scene."""
        found = attributes(scene)[self.attribute]
        return self.value in ((found,) if isinstance(found, str) else found)

    def to_rule(self) -> dict[str, dict[str, str]]:
        """Return the word as a file of scenes says it: ``{"approved": {"texture": "striped"}}``."""
        return {self.text: {self.attribute: self.value}}


def read_words(rules: Any) -> tuple[SceneWord, ...]:
    """Read words as `SceneWord.to_rule` writes them, any number in one mapping.

    Raises
    ------
    DataError
        If they have another form, or a word or value is not allowed.
    """
    if not isinstance(rules, Mapping) or not all(
        isinstance(rule, Mapping) and len(rule) == 1 for rule in rules.values()
    ):
        raise DataError(
            f"The words are {rules!r}: each needs one attribute and one value, such as "
            '{"approved": {"texture": "striped"}}.'
        )
    return tuple(SceneWord(text, *next(iter(rule.items()))) for text, rule in rules.items())
