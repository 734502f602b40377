"""What rules are checked on: a graph with its outputs, and what the network said of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cgraph.attributes import AttributeTable, attribute_table
from cgraph.concept import ConceptId
from cgraph.concept_search import Named
from cgraph.counterfactual import passed_on, rolled_through, settled
from cgraph.edge_facts import EdgeFacts
from cgraph.edits import RolloutSettings
from cgraph.graph import ConceptGraph
from cgraph.outside import Outside
from cgraph.policy_rules import EVERY_IMAGE
from cgraph.policy_verdicts import ShownConcept
from cgraph.study_graph import StudyGraph, edge_facts, study_leakage
from cgraph.truth_tables import A_TO_B, B_TO_A, BOTH_WAYS

if TYPE_CHECKING:
    from cgraph.study import Study

Segment = tuple[ConceptId, ConceptId]
"""A concept at one layer, and one at a deeper layer."""


@dataclass(frozen=True)
class Rolled:
    """How labels run through the graph from a start layer."""

    graph: ConceptGraph
    settings: RolloutSettings
    inputs: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Reach:
    """The concepts of two sets that can have to do with each other.

    Attributes
    ----------
    sources, targets : tuple of ConceptId
        Sources before the last target; targets after the first source.
    start : int
        First layer of the sources.
    """

    sources: tuple[ConceptId, ...]
    targets: tuple[ConceptId, ...]
    start: int


@dataclass(frozen=True, eq=False)
class Subject:
    """What rules are checked on.

    Attributes
    ----------
    name : str
        Of the study.
    graph : ConceptGraph
        With a last layer of outputs if there are any.
    named : Named
        What concepts of the class token are called.
    image_ids : sequence of str
    split : ndarray of str, shape (n_images,)
    labels : callable
        Of a layer and rows: bool ``(n_rows, n_concepts)``, what the network said.
    known : callable
        Returns what is known of the images.
    rolled : callable
        Of a start layer, and whether outputs are wanted: `Rolled`.
    outputs : tuple of str
        Names of outputs, by rising index.
    facts : EdgeFacts or None
        What was measured of the edges between layers of concepts; None if nothing was.
    directions : mapping of Segment to bool, or None
        Whether the second was measured to move when the first was taken out; None if that was
        measured of no pair.
    leakage : mapping of int to Outside
    study : Study or None
        The folder behind it: pictures, the network, measurements.
    """

    name: str
    graph: ConceptGraph
    named: Named
    image_ids: Sequence[str]
    split: np.ndarray
    labels: Callable[[int, np.ndarray], np.ndarray]
    known: Callable[[], AttributeTable]
    rolled: Callable[[int, bool], Rolled]
    outputs: tuple[str, ...] = ()
    facts: EdgeFacts | None = None
    directions: dict[Segment, bool] | None = None
    leakage: dict[int, Outside] = field(default_factory=dict)
    study: Study | None = None

    @property
    def n_layers(self) -> int:
        """Layers of the model: all of the graph but that of the outputs."""
        return self.graph.n_layers - bool(self.outputs)

    def rows(self, part: str) -> np.ndarray:
        """Return the rows of a part of the images, or of all."""
        if part == EVERY_IMAGE:
            return np.arange(len(self.split))
        return np.flatnonzero(self.split == part)

    def columns(self, concepts: Sequence[ConceptId], rows: np.ndarray) -> np.ndarray:
        """Return the labels of some concepts, bool ``(n_rows, n_concepts)``."""
        found = np.zeros((len(rows), len(concepts)), dtype=bool)
        layers = np.array([concept.layer for concept in concepts], dtype=int)
        indices = np.array([concept.index for concept in concepts], dtype=int)
        for layer in np.unique(layers).tolist():
            places = np.flatnonzero(layers == layer)
            found[:, places] = self.labels(layer, rows)[:, indices[places]]
        return found

    @cached_property
    def passed_on(self) -> list[np.ndarray] | None:
        """What active concepts pass on along the predictors of edges; None for 1 each.

        Raises
        ------
        StudyError
            If the study's predictors take pre-activations.
        """
        return None if self.study is None else passed_on(self.study)

    def is_output(self, concept: ConceptId) -> bool:
        """Return whether a concept is an output."""
        return concept.layer > self.n_layers

    def called(self, concept: ConceptId) -> str:
        """Return what people call a concept; nothing if it has no name."""
        if self.is_output(concept):
            return self.outputs[concept.index]
        other = self.named.others.get(concept)
        name = self.named.names.get(concept)
        return other or (name.text if name else "")

    def reach(self, sources: Sequence[ConceptId], targets: Sequence[ConceptId]) -> Reach:
        """Return which of two sets can matter: sources before the last target, and so on."""
        last = max(concept.layer for concept in targets)
        before = tuple(concept for concept in sources if concept.layer < last)
        start = min(concept.layer for concept in before)
        return Reach(before, tuple(c for c in targets if c.layer > start), start)

    def shown(self, concept: ConceptId, why: str = "") -> ShownConcept:
        """Return a concept as reports show it."""
        if self.is_output(concept):
            name = self.outputs[concept.index]
            return ShownConcept(f"O/{name}", name, concept.layer, concept.index, "output", why)
        text, name = str(concept), self.called(concept)
        return ShownConcept(text, name, concept.layer, concept.index, concept.kind, why)


def subject_of(study: Study) -> Subject:
    """Return a study as rules see it."""
    outputs = study.outputs
    graph = study.graph if outputs is None else outputs.extended(study.graph)

    def labels(layer: int, rows: np.ndarray) -> np.ndarray:
        if outputs is not None and layer == outputs.layer:
            return outputs.labels[rows]
        return study.codes(layer).dense_labels(rows)

    def known() -> AttributeTable:
        return attribute_table([study.attributes(row) for row in range(len(study.image_ids))])

    def rolled(start: int, with_outputs: bool) -> Rolled:
        settings = settled(study, RolloutSettings())
        through, inputs = rolled_through(study, settings, start)
        if with_outputs and outputs is not None:
            through = outputs.extended(through)
        return Rolled(through, replace(settings, start=start), inputs)

    facts = edge_facts(study)
    return Subject(
        name=study.name,
        graph=graph,
        named=StudyGraph(study).named,
        image_ids=study.image_ids,
        split=study.split,
        labels=labels,
        known=known,
        rolled=rolled,
        outputs=() if outputs is None else outputs.names,
        facts=facts if facts.has("verdict") else None,
        directions=_directions(study),
        leakage=study_leakage(study),
        study=study,
    )


def _directions(study: Study) -> dict[Segment, bool] | None:
    table = study.measured("direction")
    if table is None:
        return None
    found: dict[Segment, bool] = {}
    for row in table.to_pylist():
        lower, upper = row["lower"], row["upper"]
        a_to_b = (ConceptId(lower, row["a_lower"]), ConceptId(upper, row["b_upper"]))
        b_to_a = (ConceptId(lower, row["b_lower"]), ConceptId(upper, row["a_upper"]))
        found[a_to_b] = row["verdict"] in (A_TO_B, BOTH_WAYS)
        found[b_to_a] = row["verdict"] in (B_TO_A, BOTH_WAYS)
    return found
