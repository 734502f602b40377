"""What one image does in the graph: active concepts, the edges between them, and its paths.

The *contribution* of an active parent to a child is weight times input: what it adds to the
child's log-odds. The *share* of an edge is its contribution divided by the sum of all positive
contributions to that child, so positive shares into one child add up to 1 (less, if inputs that
are not drawn contribute too), and parents that speak against it have negative shares. The strength
of a path is the product of its shares; paths into one concept never add up to more than 1.

Whether a concept was expected is judged by the *lift* of the probability that its parents give it
over its prevalence, not by whether the probability passes one half: rare concepts hardly ever reach
that. A *surprise* is active although its parents make it rarer than usual; an *absence* is inactive
although its parents make it one of the most likely concepts of its layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError, ConfigError, StudyError

SCHEMA = 3
"""Version of the dictionary that `Trace.to_dict` writes."""


@dataclass(frozen=True)
class ActiveConcept:
    """A concept that is active in the image.

    Attributes
    ----------
    concept : ConceptId
    coefficient : float
        In the code of its layer.
    probability : float or None
        Calibrated probability that the inputs of the layer before give it; None in layer 1 and
        where no predictor was fitted.
    prevalence : float or None
        Share of training images in which it is active; None if the graph does not know.
    n_parents_active, n_parents : int
        Parents that are active in the image, and all parents.
    """

    concept: ConceptId
    coefficient: float
    probability: float | None
    prevalence: float | None
    n_parents_active: int
    n_parents: int

    @property
    def lift(self) -> float | None:
        """Probability over prevalence: above 1 its parents speak for it; None if unknown."""
        return _lift(self.probability, self.prevalence)

    @property
    def is_surprise(self) -> bool:
        """Whether its parents make it rarer than usual."""
        return self.lift is not None and self.lift < 1


@dataclass(frozen=True)
class Absence:
    """A concept that is not active, though its parents make it one of the most likely.

    In a layer with n active concepts these are the inactive ones among the n most probable, as far
    as their probability is above their prevalence.

    Attributes
    ----------
    concept : ConceptId
    probability : float
        Calibrated probability that the inputs of the layer before give it.
    prevalence : float
        Share of training images in which it is active.
    """

    concept: ConceptId
    probability: float
    prevalence: float

    @property
    def lift(self) -> float | None:
        """Probability over prevalence, above 1."""
        return _lift(self.probability, self.prevalence)


@dataclass(frozen=True)
class TraceEdge:
    """An edge between two concepts that are both active.

    Attributes
    ----------
    parent, child : ConceptId
    weight : float
        Log-odds of the child per unit of the parent's input.
    contribution : float
        Weight times input of the parent.
    share : float
        Contribution over the sum of positive contributions to the child: at most 1, negative for
        a negative contribution, and 0 if no contribution to the child is positive.
    """

    parent: ConceptId
    child: ConceptId
    weight: float
    contribution: float
    share: float


@dataclass(frozen=True)
class Path:
    """Concepts of consecutive layers, from a root on, and the product of the shares between."""

    concepts: tuple[ConceptId, ...]
    strength: float


@dataclass(frozen=True)
class PathSet:
    """Paths into one concept, strongest first, and the total share that they carry (0 to 1)."""

    paths: tuple[Path, ...]
    share: float


@dataclass(frozen=True)
class Trace:
    """One image in the graph.

    Attributes
    ----------
    layers : tuple of tuple of ActiveConcept
        Active concepts of layers 1..L, each layer by falling absolute coefficient.
    edges : tuple of TraceEdge
        Every edge among them, sorted by (child layer, child, parent).
    explained : tuple of float or None
        For each layer the share of the token that its code explains,
        ``1 - ‖z - ẑ‖² / ‖z - mean‖²``; None for images whose tokens were not kept.
    image_id, study : str
    unusual : bool or None
        Whether its tokens are unlike those of the study's images; None where `explained` is.
    absences : tuple of tuple of Absence
        Of layers 1..L, most probable first; layer 1 has no parents, and so none.
    """

    layers: tuple[tuple[ActiveConcept, ...], ...]
    edges: tuple[TraceEdge, ...]
    explained: tuple[float, ...] | None
    image_id: str
    study: str
    unusual: bool | None = None
    absences: tuple[tuple[Absence, ...], ...] = ()

    @cached_property
    def _active(self) -> dict[ConceptId, ActiveConcept]:
        return {active.concept: active for layer in self.layers for active in layer}

    @cached_property
    def _speaking_for(self) -> dict[ConceptId, list[TraceEdge]]:
        """Edges with a positive share into each concept that has any."""
        edges: dict[ConceptId, list[TraceEdge]] = {}
        for edge in self.edges:
            if edge.share > 0:
                edges.setdefault(edge.child, []).append(edge)
        return edges

    def active(self, concept: ConceptId) -> ActiveConcept:
        """Return what the image does with an active concept.

        Raises
        ------
        ConfigError
            If the concept is not active; the message lists those of its layer that are.
        """
        if concept in self._active:
            return self._active[concept]
        if not 1 <= concept.layer <= len(self.layers):
            raise ConfigError(
                f"{concept} is not in this trace: its layers are 1 to {len(self.layers)}."
            )
        others = ", ".join(str(active.concept) for active in self.layers[concept.layer - 1])
        raise ConfigError(
            f"{concept} is not active in this image. Active in layer {concept.layer}: "
            f"{others or 'none'}."
        )

    def paths_to(self, concept: ConceptId, *, beam: int = 12, n: int = 12) -> PathSet:
        """Find the strongest paths into a concept, each from its earliest root.

        Paths grow backwards from the concept, one layer a step, along edges with a positive share;
        after each step only the `beam` strongest unfinished ones go on. A path is finished at a
        concept for which no active parent speaks. With a beam as wide as the number of paths the
        result is exact.

        Parameters
        ----------
        concept : ConceptId
            An active concept.
        beam : int
            Unfinished paths kept in each layer.
        n : int
            Most paths returned.

        Returns
        -------
        PathSet
            Empty if no active parent speaks for the concept.

        Raises
        ------
        ConfigError
            If the concept is not active, or `beam` or `n` is below 1.
        """
        self.active(concept)
        _at_least_one("beam", beam)
        _at_least_one("n", n)
        growing = [Path((concept,), 1.0)]
        finished: list[Path] = []
        while growing:
            longer = [
                Path((edge.parent, *path.concepts), path.strength * edge.share)
                for path in growing
                for edge in self._speaking_for.get(path.concepts[0], [])
            ]
            longer.sort(key=_strongest_path_first)
            finished += [path for path in longer if path.concepts[0] not in self._speaking_for]
            growing = [path for path in longer if path.concepts[0] in self._speaking_for][:beam]
        paths = sorted(finished, key=_strongest_path_first)[:n]
        return PathSet(tuple(paths), math.fsum(path.strength for path in paths))

    def lit_edges(
        self, concept: ConceptId, *, beam: int = 12, n: int = 12, n_downstream: int = 3
    ) -> tuple[TraceEdge, ...]:
        """Return the edges to light up with a concept, in the order of `edges`.

        These are the edges on the paths that `paths_to` finds, and the `n_downstream` edges from
        the concept with the largest absolute contributions. Errors are those of `paths_to`.
        """
        lit: set[tuple[ConceptId, ConceptId]] = set()
        for path in self.paths_to(concept, beam=beam, n=n).paths:
            lit.update(zip(path.concepts[:-1], path.concepts[1:], strict=True))
        downstream = sorted(
            (edge for edge in self.edges if edge.parent == concept), key=_strongest_edge_first
        )
        lit.update((edge.parent, edge.child) for edge in downstream[: max(n_downstream, 0)])
        return tuple(edge for edge in self.edges if (edge.parent, edge.child) in lit)

    def strongest_edges(self, limit: int) -> tuple[tuple[TraceEdge, ...], int]:
        """Return the edges worth drawing, largest absolute contribution first.

        Parameters
        ----------
        limit : int
            Most edges returned.

        Returns
        -------
        edges : tuple of TraceEdge
        n_hidden : int
            Edges left out.

        Raises
        ------
        ConfigError
            If `limit` is below 1.
        """
        _at_least_one("limit", limit)
        edges = tuple(sorted(self.edges, key=_strongest_edge_first)[:limit])
        return edges, len(self.edges) - len(edges)

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain JSON values, with keys in a fixed order."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "image_id": self.image_id,
            "layers": [
                [{**vars(active), "concept": str(active.concept)} for active in layer]
                for layer in self.layers
            ],
            "edges": [
                {**vars(edge), "parent": str(edge.parent), "child": str(edge.child)}
                for edge in self.edges
            ],
            "explained": None if self.explained is None else list(self.explained),
            "unusual": self.unusual,
            "absences": [
                [{**vars(absence), "concept": str(absence.concept)} for absence in layer]
                for layer in self.absences
            ],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trace:
        """Read a trace that `to_dict` wrote.

        Raises
        ------
        StudyError
            If the values are of another schema or are no trace.
        """
        schema = values.get("schema") if isinstance(values, dict) else None
        if schema != SCHEMA:
            raise StudyError(
                f"The trace has schema {schema!r}; this version of cgraph reads schema {SCHEMA}. "
                "Trace the image again."
            )
        try:
            layers = _read_layers(ActiveConcept, values["layers"])
            edges = tuple(map(_read_edge, values["edges"]))
            explained = values["explained"]
            return cls(
                layers=layers,
                edges=edges,
                explained=None if explained is None else tuple(explained),
                image_id=values["image_id"],
                study=values["study"],
                unusual=values["unusual"],
                absences=_read_layers(Absence, values["absences"]),
            )
        except (KeyError, TypeError, AttributeError, CgraphError) as error:
            raise StudyError(
                f"The trace is damaged ({type(error).__name__}: {error}). Trace the image again."
            ) from None


_ENDS = ("parent", "child")
_MEASURED = "measured"  # what a file may say of an edge; it belongs to the study, not to the image
_T = TypeVar("_T", ActiveConcept, Absence)


def _read_edge(values: dict[str, Any]) -> TraceEdge:
    values = values | {end: ConceptId.parse(values[end]) for end in _ENDS}
    values.pop(_MEASURED, None)
    return TraceEdge(**values)


def _read_layers(kind: type[_T], values: list[list[dict[str, Any]]]) -> tuple[tuple[_T, ...], ...]:
    return tuple(
        tuple(kind(**{**entry, "concept": ConceptId.parse(entry["concept"])}) for entry in layer)
        for layer in values
    )


def _lift(probability: float | None, prevalence: float | None) -> float | None:
    return probability / prevalence if probability is not None and prevalence else None


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}: it must be at least 1.")


def _strongest_path_first(path: Path) -> tuple[float, tuple[ConceptId, ...]]:
    return -path.strength, path.concepts


def _strongest_edge_first(edge: TraceEdge) -> tuple[float, ConceptId, ConceptId]:
    return -abs(edge.contribution), edge.child, edge.parent
