"""Edits that switch a whole set off, however large; those that people write have a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cgraph.concept import ConceptId
from cgraph.edits import Edit


@dataclass(frozen=True)
class SetEdit(Edit):
    """An edit without a limit to the number of concepts; `switched_off` makes it."""

    def __post_init__(self) -> None:
        """Take the concepts as they are: sorted, each once, none on."""

    def of_layer(self, layer: int) -> SetEdit:
        """Return the part of the edit that is made in one layer."""
        return SetEdit(off=tuple(concept for concept in self.off if concept.layer == layer))


def switched_off(concepts: Iterable[ConceptId]) -> SetEdit:
    """Return the edit that switches all of some concepts off."""
    return SetEdit(off=tuple(sorted(set(concepts))))
