"""One traced image and what the Trace page says about it, computed once and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.errors import StudyError
from cgraph.study import Study
from cgraph.trace import ActiveConcept, PathSet, Trace
from cgraph.ui import words
from cgraph.ui.components.trace_graph import GraphPicture, draw
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri

NODE_PX = 64
"""Side of a concept's thumbnail, for screens with up to 1.5 times the usual pixels."""

BEAM = 12
"""Paths kept while paths into a concept are followed back (see `Trace.paths_to`)."""


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
    n_train : int
        Training images in which it is active.
    prevalence : float
        The same as a share of all training images.
    figures : dict
        Row of ``evaluation/concepts.arrow``: held-out AUC, average precision, prevalence.
    scored : bool
        Whether it has enough positives for these figures to count.
    parents, children : tuple of Relation
        Largest absolute weight first.
    paths : PathSet or None
        Strongest paths into it; ``None`` if it is not active.
    """

    concept: ConceptId
    here: ActiveConcept | None
    rank: int | None
    n_train: int
    prevalence: float
    figures: dict[str, Any]
    scored: bool
    parents: tuple[Relation, ...]
    children: tuple[Relation, ...]
    paths: PathSet | None


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
        return draw(self.trace, lambda concept: concept_image(self.study, concept))

    @cached_property
    def json(self) -> bytes:
        """The trace as a JSON file."""
        return (json.dumps(self.trace.to_dict(), indent=1, ensure_ascii=False) + "\n").encode()

    @cached_property
    def _facts(self) -> dict[ConceptId, ConceptFacts]:
        return {}

    @property
    def landmark(self) -> ConceptId | None:
        """The concept to begin with: the strongest of the last layer."""
        last = self.trace.layers[-1] if self.trace.layers else ()
        return last[0].concept if last else None

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
        record = graph.record(concept)
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
                relations.append(
                    Relation(other, weight, self.is_active(other), shares.get(ends))
                )
            return tuple(relations)

        return ConceptFacts(
            concept=concept,
            here=here,
            rank=ranked.index(concept) + 1 if here else None,
            n_train=record.n_train,
            prevalence=record.n_train / max(1, len(self.study.rows(TRAIN))),
            figures=held_out_figures(self.study).get((concept.layer, concept.index), {}),
            scored=record.scored,
            parents=relate(graph.parents(concept), are_parents=True),
            children=relate(graph.children(concept), are_parents=False),
            paths=self.trace.paths_to(concept, beam=BEAM) if here else None,
        )


def concept_image(study: Study, concept: ConceptId) -> str:
    """Return the thumbnail that stands for a concept, or nothing if no training image has it."""
    rows = exemplar_rows(study, concept, 1)
    return thumbnail_uri(study, rows[0], NODE_PX) if rows else ""


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


def image_title(study: Study, row: int) -> tuple[str, tuple[str, ...]]:
    """Return what to call an image of a study, and what else its attributes say."""
    attributes = {
        key: value
        for key, value in study.attributes(row).items()
        if isinstance(value, str | int | float | bool) and str(value).strip()
    }
    image_id = study.image_ids[row]
    name = next((key for key in ("caption", "label", "name") if key in attributes), None)
    if name is None:
        return image_id, tuple(f"{key} {value}" for key, value in attributes.items())
    title = str(attributes.pop(name))
    rest = tuple(f"{key} {value}" for key, value in attributes.items())
    return title, (f"image {image_id}", *rest)
