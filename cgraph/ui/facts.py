"""What the panels of the Trace page say about one concept or one layer of a traced image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.edge_index import EdgeList
from cgraph.errors import StudyError
from cgraph.study import Study
from cgraph.trace import Absence, ActiveConcept, Trace
from cgraph.ui import words
from cgraph.ui.lighting import LitPaths


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
    contribution : float or None
        Weight times input of the parent; ``None`` if one end is not active.
    share : float or None
        Contribution over the sum of positive contributions to the child; ``None`` likewise.
    """

    concept: ConceptId
    weight: float
    active: bool
    contribution: float | None
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
    probability : float or None
        What its parents give it in the image; ``None`` in layer 1, without a predictor, or if the
        image's inputs were not kept.
    is_absent : bool
        Whether it was expected in the image, but is not active.
    figures : dict
        Row of ``evaluation/concepts.arrow``: held-out AUC, average precision, prevalence; empty
        where it was not scored, since too few or too many images have the concept.
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
    probability: float | None
    is_absent: bool
    figures: dict[str, Any]
    parents: tuple[Relation, ...]
    children: tuple[Relation, ...]
    carried: tuple[float, ...]

    @property
    def lift(self) -> float | None:
        """Probability over prevalence, if both are known."""
        if self.here is not None:
            return self.here.lift
        if self.probability is None or not self.prevalence:
            return None
        return self.probability / self.prevalence


@dataclass(frozen=True)
class LayerFacts:
    """What the panel says about one layer.

    Attributes
    ----------
    layer : int
    n_concepts : int
        Concepts of the layer, active or not.
    active : tuple of ActiveConcept
        By rising lift, so that surprises come first; those without a prediction come last.
    absent : tuple of Absence
        Most probable first.
    explained : float or None
        Share of the token that the code explains; ``None`` if the token was not kept.
    usual : tuple of float or None
        What 5 % and 95 % of the study's tune images lie below.
    """

    layer: int
    n_concepts: int
    active: tuple[ActiveConcept, ...]
    absent: tuple[Absence, ...]
    explained: float | None
    usual: tuple[float, float] | None

    @property
    def n_surprises(self) -> int:
        """Number of concepts that are active though their parents make them rarer than usual."""
        return sum(active.is_surprise for active in self.active)


def concept_facts(
    study: Study, trace: Trace, lights: dict[ConceptId, LitPaths], concept: ConceptId
) -> ConceptFacts:
    """Collect what is known of a concept of the study, active in the image or not."""
    layer = trace.layers[concept.layer - 1]
    ranked = [active.concept for active in layer]
    here = trace.active(concept) if concept in ranked else None
    absent = trace.absences[concept.layer - 1] if trace.absences else ()
    edges = {
        (edge.parent, edge.child): edge
        for edge in trace.edges
        if concept in (edge.parent, edge.child)
    }
    active = {found.concept for of_layer in trace.layers for found in of_layer}

    def relate(found: EdgeList, *, are_parents: bool) -> tuple[Relation, ...]:
        relations = []
        for index, weight in zip(found.indices.tolist(), found.weights.tolist(), strict=True):
            other = ConceptId(found.layer, index, concept.kind)
            edge = edges.get((other, concept) if are_parents else (concept, other))
            acts = (None, None) if edge is None else (edge.contribution, edge.share)
            relations.append(Relation(other, weight, other in active, *acts))
        return tuple(relations)

    n_train, record = max(1, len(study.rows(TRAIN))), study.graph.record(concept)
    figures = held_out_figures(study).get((concept.layer, concept.index), {})
    return ConceptFacts(
        concept=concept,
        here=here,
        rank=ranked.index(concept) + 1 if here else None,
        prevalence=record.n_train / n_train,
        probability=here.probability if here else _probability(study, trace, concept),
        is_absent=any(absence.concept == concept for absence in absent),
        figures=figures if record.scored else {},
        parents=relate(study.graph.parents(concept), are_parents=True),
        children=relate(study.graph.children(concept), are_parents=False),
        carried=lights[concept].carried if here else (),
    )


def _probability(study: Study, trace: Trace, concept: ConceptId) -> float | None:
    """Return what the active concepts of the layer before make of a silent concept."""
    settings = study.manifest.graph
    if concept.layer == 1 or settings["inputs"] == "pre-activations":
        return None
    before = trace.layers[concept.layer - 2]
    values = None
    if settings["inputs"] == "codes":
        scale = settings["input_scales"][concept.layer - 2]
        values = np.array([active.coefficient for active in before]) / scale
    indices = np.array([active.concept.index for active in before], dtype=np.int64)
    child = np.array([concept.index])
    probability = float(study.graph.probability(concept.layer, indices, values, child)[0])
    return probability if words.known(probability) else None


def layer_facts(study: Study, trace: Trace, layer: int) -> LayerFacts:
    """Collect what is known of a layer of a traced image."""

    def by_lift(active: ActiveConcept) -> tuple[bool, float]:
        return active.lift is None, active.lift or 0.0

    usual = None
    if trace.explained is not None:
        usual = study.usual.explained_low[layer - 1], study.usual.explained_high[layer - 1]
    return LayerFacts(
        layer=layer,
        n_concepts=study.graph.n_concepts(layer),
        active=tuple(sorted(trace.layers[layer - 1], key=by_lift)),
        absent=trace.absences[layer - 1] if trace.absences else (),
        explained=None if trace.explained is None else trace.explained[layer - 1],
        usual=usual,
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
