"""What a policy is made of: sets of concepts, and rules about them, as somebody wrote them.

A rule says of its sets A (``from``), B (``to``) and M (``via``) one of five things:

- ``no-path``: no path of edges leads from A to B;
- ``through``: every path from A to B passes M;
- ``influence``: B's probability changes by at most so much when A is flipped;
- ``flips``: flipping at most k concepts of A at one layer never switches B on or off;
- ``never-together``: A and B are never active in the same image.

docs/policies.md tells the language; `cgraph.policy_file` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from cgraph.config import HELD_OUT, TRAIN, TUNE
from cgraph.toml_lines import Lines

Kind = Literal["no-path", "through", "influence", "flips", "never-together"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Where = Literal["graph", "network", "both"]
WHERE: tuple[Where, ...] = get_args(Where)

Flip = Literal["out", "each"]
FLIPS: tuple[Flip, ...] = get_args(Flip)
"""How A is flipped: all that is active taken out together, or each concept by itself."""

DIRECTION = "direction"
EVIDENCE = ("supported", "specific", "computed", DIRECTION)
"""What a path must have to count: of every edge, and of the path as a whole."""

EVERY_IMAGE = "all"
PARTS = (HELD_OUT, TUNE, TRAIN, EVERY_IMAGE)
"""Which images a rule looks at."""

TIME_LIMIT = 120.0
"""Seconds that a rule may take."""


@dataclass(frozen=True)
class ConceptSet:
    """Concepts by what people call them; all that one of the fields names.

    Attributes
    ----------
    name : str
    ids : tuple of str
        Concepts one by one, such as ``L7/609``: a group made by hand.
    names : tuple of str
        What concepts are called, as on the Graph page: ``purple``, ``colour=purple``,
        ``purple in L7``, ``L7``.
    attribute : str or None
        Of the images; concepts that go with it are meant.
    values : tuple of str
        Values of the attribute; any if empty.
    strength : float
        Least correlation, on the tune images, of concept and value.
    layers : (int, int) or None
        First and last layer of concepts found by name or attribute.
    outputs : tuple of str
        Names of output nodes.
    """

    name: str
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    attribute: str | None = None
    values: tuple[str, ...] = ()
    strength: float = 0.3
    layers: tuple[int, int] | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One rule, as it was written.

    Attributes
    ----------
    id : str
    kind : str
        One of `KINDS`.
    source, target : str
        Names of the sets A and B.
    via : str
        Name of the set M of ``through``; else empty.
    note : str
        Why somebody wants it.
    line : int
        Where it begins in the file.
    max_length : int or None
        Most edges of a path that counts.
    min_weight : float
        Least absolute weight of each of its edges.
    min_strength : float
        Least strength of the path, 0 to 1.
    evidence : tuple of str
        Out of `EVIDENCE`; what counts must have all of it.
    at_most : float
        ``influence``: largest mean change of probability. ``never-together``: largest share of
        images with both.
    worst_at_most : float or None
        ``influence``: largest change in any image.
    where : {"graph", "network", "both"}
        ``influence``: where the change is found.
    flip : {"out", "each"}
    layer : int or None
        ``flips``: where A is flipped; None for the one layer that A lies in.
    budget : int
        ``flips``: most concepts that are flipped.
    images : str
        One of `PARTS`.
    max_images : int
        Most images that are run through the network, or certified one by one; a seeded sample.
    max_outside : float or None
        Largest share of B's layer that may come from outside the graph.
    max_unknown : float
        Largest share of the concepts looked at for A, B or M of which nothing is known.
    time_limit : float
        Seconds.
    """

    id: str
    kind: Kind
    source: str
    target: str
    via: str = ""
    note: str = ""
    line: int = 0
    max_length: int | None = None
    min_weight: float = 0.0
    min_strength: float = 0.0
    evidence: tuple[str, ...] = ()
    at_most: float = 0.0
    worst_at_most: float | None = None
    where: Where = "graph"
    flip: Flip = "out"
    layer: int | None = None
    budget: int = 1
    images: str = HELD_OUT
    max_images: int = 256
    max_outside: float | None = None
    max_unknown: float = 0.5
    time_limit: float = TIME_LIMIT

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of its sets: A, B and M where there is one."""
        return (self.source, self.target, *([self.via] if self.via else []))


@dataclass(frozen=True)
class Policy:
    """A policy file.

    Attributes
    ----------
    name : str
    study : str or None
        The only study that it may be checked on.
    note : str
    seed : int
        Of every random step.
    draws : int
        Random sets that each rule is also tried on.
    sets : tuple of ConceptSet
    rules : tuple of Rule
    origin : str
        What the file is called in messages.
    lines : Lines
        Where in the file everything stands.
    """

    name: str
    study: str | None = None
    note: str = ""
    seed: int = 0
    draws: int = 200
    sets: tuple[ConceptSet, ...] = ()
    rules: tuple[Rule, ...] = ()
    origin: str = "The policy"
    lines: Lines = field(default_factory=Lines, compare=False, repr=False)

    def set_of(self, name: str) -> ConceptSet:
        """Return a set by its name."""
        return next(one for one in self.sets if one.name == name)
