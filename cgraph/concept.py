"""The name of a concept: its kind, layer and index, written ``L7/609`` everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cgraph.errors import ConfigError

KIND_LETTERS = {"class": "L", "patch": "P", "output": "O"}
"""Letter that starts a written id, for each kind. People see outputs by their names, ``O/tench``:
`cgraph.output_nodes.OutputNodes.written`."""

_PATTERN = re.compile(r"([A-Z])([0-9]{1,4})/([0-9]{1,9})")


@dataclass(frozen=True, order=True)
class ConceptId:
    """A concept of one layer.

    Attributes
    ----------
    layer : int
        1 is the output of the first transformer block.
    index : int
        Row of the layer's dictionary, from 0.
    kind : str
        ``class`` for concepts of the class token; ``output`` for what the model says in the end,
        in the layer after its last.
    """

    layer: int
    index: int
    kind: str = "class"

    def __str__(self) -> str:
        return f"{KIND_LETTERS[self.kind]}{self.layer}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> ConceptId:
        """Read an id as people write it, such as ``L7/609``.

        Raises
        ------
        ConfigError
            If the text has another form.
        """
        match = _PATTERN.fullmatch(text.strip())
        kinds = {letter: kind for kind, letter in KIND_LETTERS.items()}
        if match is None or match[1] not in kinds or int(match[2]) < 1:
            raise ConfigError(
                f"{text!r} is not a concept. Write the layer and the index, such as L7/609."
            )
        return cls(layer=int(match[2]), index=int(match[3]), kind=kinds[match[1]])
