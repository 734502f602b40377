"""One traced image and what the Trace page says about it, computed once and kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.edge_facts import EdgeFacts
from cgraph.given_names import GivenName
from cgraph.output_readings import OutputState
from cgraph.study import Study
from cgraph.study_graph import edge_facts, study_leakage
from cgraph.trace import ActiveConcept, Trace
from cgraph.trace_export import trace_values
from cgraph.ui import gallery, words
from cgraph.ui.drawing import GraphPicture, GraphSelection, Looks, absent_node, draw
from cgraph.ui.facts import ConceptFacts, LayerFacts, Relation, concept_facts, layer_facts
from cgraph.ui.lighting import LitPaths, light
from cgraph.ui.outside_words import outside_node

MAX_SILENT = 3
"""Most silent parents of a concept that are drawn; its panel lists them all."""

STRONG = 0.25
"""Of the largest absolute weight among the parents: a silent parent below it is not drawn."""


@dataclass(frozen=True)
class TracedImage:
    """An image of a study, or an uploaded one, with its trace.

    Attributes
    ----------
    study : Study
    trace : Trace
    image_id : str
        What stands for it in the selection.
    title : str
        What to call the image.
    details : tuple of str
        Further things that are known of it.
    picture : str
        Data URI.
    row : int or None
        Row in the study; ``None`` for an uploaded image.
    outputs : tuple of OutputState
        What the model says in the end, where the study has outputs.
    """

    study: Study
    trace: Trace
    image_id: str
    title: str
    details: tuple[str, ...]
    picture: str
    row: int | None
    outputs: tuple[OutputState, ...] = ()

    @cached_property
    def looks(self) -> Looks:
        """How the concepts of the study look."""
        return gallery.looks(self.study)

    @property
    def edges(self) -> EdgeFacts:
        """What was measured of the edges of the study."""
        return edge_facts(self.study)

    @cached_property
    def graph(self) -> GraphPicture:
        """The drawing of the trace."""
        return draw(
            self.trace,
            self.lights,
            self.looks,
            facts=self.edges,
            outside={n: outside_node(found) for n, found in study_leakage(self.study).items()},
            caption=f"{self.title} · study {self.study.name}",
            file_name=f"trace-{self.file_stem}",
        )

    @property
    def file_stem(self) -> str:
        """Study and image as a part of a file name."""
        text = f"{self.study.name}-{self.trace.image_id}"
        return "".join(letter if letter.isalnum() else "-" for letter in text)[:80].strip("-")

    def name(self, concept: ConceptId) -> str:
        """Return what people call a concept, or nothing if it has no name."""
        return self.looks.name_of(concept)

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
    def shares(self) -> dict[tuple[ConceptId, ConceptId], float]:
        """The share of every edge among active concepts, by parent and child."""
        return {(edge.parent, edge.child): edge.share for edge in self.trace.edges}

    @cached_property
    def json(self) -> bytes:
        """The trace as a JSON file."""
        values = trace_values(self.trace, self.edges)
        return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()

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
            # How well a name given by hand fits was not measured.
            held = 1.0 if name is None or isinstance(name, GivenName) else max(name.strength, 0.0)
            rarity = math.log((n_train + 1) / (counts[active.concept.index] + 1))
            return name is not None, abs(active.coefficient) * rarity * held

        return max(last, key=weight).concept if last else None

    def facts(self, concept: ConceptId) -> ConceptFacts:
        """Return what is known of a concept of the study, active in the image or not."""
        if concept not in self._facts:
            self._facts[concept] = concept_facts(self.study, self.trace, self.lights, concept)
        return self._facts[concept]

    def layer(self, layer: int) -> LayerFacts:
        """Return what is known of a layer."""
        return layer_facts(self.study, self.trace, layer)

    def selection(self, concept: ConceptId | None, layer: int | None) -> GraphSelection:
        """Return what the graph shows of a selected concept, or of a layer."""
        if concept is None:
            return GraphSelection(f"layer-{layer}" if layer else "")
        facts = self.facts(concept)
        if facts.here is None:
            # What would have led to it: the parents that are active.
            active = [parent for parent in facts.parents if parent.active]
            edges = [(str(parent.concept), str(concept), parent.weight) for parent in active]
            return GraphSelection(str(concept), (self._ghost(facts),), edges)
        strongest = max((abs(parent.weight) for parent in facts.parents), default=0.0)
        silent = [
            parent
            for parent in facts.parents
            if not parent.active and abs(parent.weight) >= STRONG * strongest
        ][:MAX_SILENT]
        return GraphSelection(
            str(concept),
            tuple(self._silent_parent(parent, concept) for parent in silent),
            [(str(parent.concept), str(concept), parent.weight) for parent in silent],
        )

    def _ghost(self, facts: ConceptFacts) -> dict[str, object]:
        for absence in self.trace.absences[facts.concept.layer - 1] if facts.is_absent else ():
            if absence.concept == facts.concept:
                return absent_node(absence, self.looks)
        return self.looks(facts.concept, ["silent in this image"])

    def _silent_parent(self, parent: Relation, child: ConceptId) -> dict[str, object]:
        lines = [
            "silent in this image, so it adds nothing",
            f"would add {words.signed(parent.weight)} to {self.name(child) or child}",
        ]
        return self.looks(parent.concept, lines)
