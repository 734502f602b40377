"""Pinned concepts, some of them under a label: a scratch graph that lives in the link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError

MOST_PINNED = 60
"""Most pinned concepts: a link has to hold them, and a drawing to stay readable."""

LONGEST_LABEL = 40
"""Most signs of a label."""


@dataclass(frozen=True)
class Pins:
    """Pinned concepts.

    Attributes
    ----------
    groups : tuple of (str, tuple of ConceptId)
        Label and members of each group, in the order in which they were pinned; those without a
        group come first, under an empty label. Every concept is there once.
    """

    groups: tuple[tuple[str, tuple[ConceptId, ...]], ...] = ()

    def __len__(self) -> int:
        return sum(len(members) for _, members in self.groups)

    def __contains__(self, concept: object) -> bool:
        return any(concept in members for _, members in self.groups)

    @property
    def concepts(self) -> tuple[ConceptId, ...]:
        """All pinned concepts."""
        return tuple(concept for _, members in self.groups for concept in members)

    @property
    def labels(self) -> dict[ConceptId, str]:
        """Label of each concept that is in a group."""
        return {concept: label for label, members in self.groups if label for concept in members}

    @property
    def sets(self) -> dict[str, tuple[ConceptId, ...]]:
        """Members of each group with a label."""
        return {label: members for label, members in self.groups if label}

    def pin(self, concepts: Iterable[ConceptId], label: str = "") -> Pins:
        """Return the pins with some concepts added, or moved, to a group.

        Parameters
        ----------
        concepts : iterable of ConceptId
        label : str
            Of the group; empty for none. Spaces at its ends are dropped.

        Raises
        ------
        ConfigError
            If more would be pinned than fit, or the label is too long.
        """
        label = " ".join(label.split())
        if len(label) > LONGEST_LABEL:
            raise ConfigError(
                f"The label has {len(label)} letters: at most {LONGEST_LABEL} fit. Shorten it."
            )
        added = tuple(dict.fromkeys(concepts))
        groups = {name: members for name, members in self.unpin(added).groups}
        groups[label] = groups.get(label, ()) + added
        pins = _ordered(groups)
        if len(pins) > MOST_PINNED:
            raise ConfigError(
                f"{len(pins)} concepts would be pinned: at most {MOST_PINNED} fit. Unpin some "
                "first."
            )
        return pins

    def unpin(self, concepts: Iterable[ConceptId]) -> Pins:
        """Return the pins without some concepts; a group without members is gone."""
        gone = set(concepts)
        return _ordered(
            {
                label: tuple(concept for concept in members if concept not in gone)
                for label, members in self.groups
            }
        )

    def to_text(self) -> str:
        """Return the pins as they stand in a link: ``L3/4;stripes:L7/609,L8/12``."""
        parts = []
        for label, members in self.groups:
            head = f"{_quoted(label)}:" if label else ""
            parts.append(head + ",".join(map(str, members)))
        return ";".join(parts)


NO_PINS = Pins()
"""Nothing is pinned."""


def read_pins(text: str) -> tuple[Pins, list[str]]:
    """Read pins from a link.

    Parameters
    ----------
    text : str

    Returns
    -------
    pins : Pins
    remarks : list of str
        One sentence for what was left out, if anything was.
    """
    pins, wrong, over = Pins(), [], 0
    for part in text.split(";"):
        label, _, members = part.rpartition(":")
        for member in filter(None, members.split(",")):
            try:
                concept = ConceptId.parse(member)
            except ConfigError:
                wrong.append(member)
                continue
            if concept in pins:
                continue
            if len(pins) >= MOST_PINNED:
                over += 1
                continue
            pins = pins.pin([concept], unquote(label)[:LONGEST_LABEL])
    remarks = []
    if wrong:
        remarks.append(
            f"Pinned in the link, but no concept: {', '.join(map(repr, wrong[:5]))}. A concept is "
            "written such as L7/609."
        )
    if over:
        remarks.append(f"The link pins {over} concepts more than the {MOST_PINNED} that fit.")
    return pins, remarks


def _ordered(groups: dict[str, tuple[ConceptId, ...]]) -> Pins:
    filled = [(label, members) for label, members in groups.items() if members]
    return Pins(tuple(sorted(filled, key=lambda group: bool(group[0]))))


def _quoted(label: str) -> str:
    for sign in "%,;:":
        label = label.replace(sign, f"%{ord(sign):02X}")
    return label
