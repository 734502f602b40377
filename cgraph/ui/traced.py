"""One traced image and what the Trace page says about it, computed once and kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.errors import StudyError
from cgraph.study import Study
from cgraph.trace import ActiveConcept, Trace
from cgraph.ui import gallery, words
from cgraph.ui.components.trace_graph import GraphPicture, draw
from cgraph.ui.lighting import LitPaths, light


@dataclass(frozen=True)
class Relation:
    """A parent or child of a concept, and what it does in one image.

    Attributes
    ----------
    concept : ConceptId
    weight : float
        Log-odds of the child per unit of the parent's input.
    active : bool
        Whether it is active in the image.
    share : float or None
        Contribution over the sum of positive contributions to the child; ``None`` if one end is
        not active.
    """

    concept: ConceptId
    weight: float
    active: bool
    share: float | None


@dataclass(frozen=True)
class ConceptFacts:
    """What the panel says about one concept.

    Attributes
    ----------
    concept : ConceptId
    here : ActiveConcept or None
        What it does in the image; ``None`` if it is not active.
    rank : int or None
        1 for the largest coefficient of its layer.
    prevalence : float
        Share of the training images in which it is active.
    figures : dict
        Row of ``evaluation/concepts.arrow``: held-out AUC, average precision, prevalence; NaN
        where too few or too many images have the concept.
    parents, children : tuple of Relation
        Largest absolute weight first.
    carried : tuple of float
        Part of what raised it that the lit paths carry from each earlier layer (see `LitPaths`);
        empty if it is not active, or no active parent speaks for it.
    """

    concept: ConceptId
    here: ActiveConcept | None
    rank: int | None
    prevalence: float
    figures: dict[str, Any]
    parents: tuple[Relation, ...]
    children: tuple[Relation, ...]
    carried: tuple[float, ...]


@dataclass(frozen=True)
class TracedImage:
    """An image of a study, or an uploaded one, with its trace.

    Attributes
    ----------
    study : Study
    trace : Trace
    title : str
        What to call the image.
    details : tuple of str
        Further things that are known of it.
    picture : str
        Data URI.
    row : int or None
        Row in the study; ``None`` for an uploaded image.
    """

    study: Study
    trace: Trace
    title: str
    details: tuple[str, ...]
    picture: str
    row: int | None

    @cached_property
    def graph(self) -> GraphPicture:
        """The drawing of the trace."""
        return draw(
            self.trace,
            self.lights,
            lambda concept: gallery.concept_image(self.study, concept),
            self.name,
        )

    def name(self, concept: ConceptId) -> str:
        """Return what people call a concept, or nothing if it has no name."""
        return gallery.concept_name(self.study, concept)

    @property
    def has_large_picture(self) -> bool:
        """Whether the picture is more than a thumbnail: that of an example or an upload."""
        return self.row is None or self.row in self.study.examples

    @property
    def is_unusual(self) -> bool:
        """Whether it was uploaded and is unlike all that the study has seen."""
        return self.row is None and bool(self.trace.unusual)

    @cached_property
    def lights(self) -> dict[ConceptId, LitPaths]:
        """What lights up with each active concept."""
        return light(self.trace)

    @cached_property
    def json(self) -> bytes:
        """The trace as a JSON file."""
        return (json.dumps(self.trace.to_dict(), indent=1, ensure_ascii=False) + "\n").encode()

    @cached_property
    def _facts(self) -> dict[ConceptId, ConceptFacts]:
        return {}

    @property
    def landmark(self) -> ConceptId | None:
        """The concept to begin with: strong in the last layer, and rare enough to tell something.

        Like a word's weight in a text: coefficient times the logarithm of one over the prevalence.
        A concept with a name goes before all others, and counts by how well the name holds.
        """
        last = self.trace.layers[-1] if self.trace.layers else ()
        n_train = max(1, len(self.study.rows(TRAIN)))
        counts = self.study.graph.column(len(self.trace.layers), "n_train")

        def weight(active: ActiveConcept) -> tuple[bool, float]:
            name = self.study.name_of(active.concept)
            held = max(name.strength, 0.0) if name else 1.0
            rarity = math.log((n_train + 1) / (counts[active.concept.index] + 1))
            return name is not None, abs(active.coefficient) * rarity * held

        return max(last, key=weight).concept if last else None

    def is_active(self, concept: ConceptId) -> bool:
        """Return whether a concept is active in the image."""
        return any(active.concept == concept for active in self.trace.layers[concept.layer - 1])

    def facts(self, concept: ConceptId) -> ConceptFacts:
        """Return what is known of a concept of the study, active in the image or not."""
        if concept not in self._facts:
            self._facts[concept] = self._collect(concept)
        return self._facts[concept]

    def _collect(self, concept: ConceptId) -> ConceptFacts:
        graph, layers = self.study.graph, self.trace.layers
        here = self.trace.active(concept) if self.is_active(concept) else None
        ranked = [active.concept for active in layers[concept.layer - 1]]
        shares = {
            (edge.parent, edge.child): edge.share
            for edge in self.trace.edges
            if concept in (edge.parent, edge.child)
        }

        def relate(edges: Any, *, are_parents: bool) -> tuple[Relation, ...]:
            relations = []
            for index, weight in zip(edges.indices.tolist(), edges.weights.tolist(), strict=True):
                other = ConceptId(edges.layer, index, concept.kind)
                ends = (other, concept) if are_parents else (concept, other)
                relations.append(Relation(other, weight, self.is_active(other), shares.get(ends)))
            return tuple(relations)

        return ConceptFacts(
            concept=concept,
            here=here,
            rank=ranked.index(concept) + 1 if here else None,
            prevalence=graph.record(concept).n_train / max(1, len(self.study.rows(TRAIN))),
            figures=held_out_figures(self.study).get((concept.layer, concept.index), {}),
            parents=relate(graph.parents(concept), are_parents=True),
            children=relate(graph.children(concept), are_parents=False),
            carried=self.lights[concept].carried if here else (),
        )


@lru_cache(maxsize=8)
def held_out_figures(study: Study) -> dict[tuple[int, int], dict[str, Any]]:
    """Return the held-out figures of each concept by (layer, index); empty if there are none."""
    try:
        rows = study.evaluation("concepts").to_pylist()
    except StudyError:
        return {}
    return {(row["layer"], row["index"]): row for row in rows}


@lru_cache(maxsize=8)
def held_out_explained(study: Study) -> tuple[float, ...]:
    """Return the share of the held-out tokens that each layer's codes explain, if it is known."""
    try:
        rows = study.evaluation("layers").to_pylist()
    except StudyError:
        return ()
    values = [row["explained_variance"] for row in sorted(rows, key=lambda row: row["layer"])]
    return tuple(value for value in values if words.known(value))
