"""Everything that is known of one concept apart from a traced image, computed once and kept."""

from __future__ import annotations

import csv
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cgraph.atom_neighbours import NearAtom, chance_cosine, nearest_atoms
from cgraph.attribute_match import AttributeMatch, attribute_matches
from cgraph.attributes import AttributeTable, attribute_table
from cgraph.coactivity import CoActive, co_active
from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT, TRAIN
from cgraph.edge_facts import EdgeFact
from cgraph.edge_index import EdgeList
from cgraph.errors import CgraphError, StudyError
from cgraph.exemplars import ActivationHistogram, Band, activation_histogram, bands
from cgraph.layer_catalogue import concept_figures
from cgraph.study import Study
from cgraph.study_graph import edge_facts, measured_concepts
from cgraph.trace_export import cell_text
from cgraph.ui.gallery import concept_name

N_EXEMPLARS = 6
"""Images of each band."""

N_CO_ACTIVE = 8
"""Most concepts that go with it, and most that avoid it."""

N_NEAR = 6
"""Nearest atoms of each neighbouring layer."""

_QUIET_SECONDS = 0.7


@dataclass(frozen=True)
class Edge:
    """A parent or child: its weight, in which share of the bags it was kept, what was measured."""

    concept: ConceptId
    weight: float
    selection_rate: float
    fact: EdgeFact | None = None

    @property
    def known(self) -> dict[str, Any]:
        """What was measured, for a file."""
        return self.fact.known() if self.fact else {}


@dataclass(frozen=True)
class Near:
    """The atoms of a neighbouring layer that are nearest to the concept's.

    Attributes
    ----------
    layer : int
    atoms : tuple of NearAtom
    chance : float
        Cosine that the nearest of as many random directions would have.
    """

    layer: int
    atoms: tuple[NearAtom, ...]
    chance: float


@dataclass(frozen=True)
class ConceptSheet:
    """What the page says of one concept.

    Attributes
    ----------
    study : Study
    concept : ConceptId
    n_train, n_active : int
        Training images, and those in which it is active.
    figures : dict
        Its row of ``evaluation/concepts.arrow``; empty in layer 1.
    bands : tuple of Band
        High, middle and low; rows are those of the study.
    histogram : ActivationHistogram
        Over the training images.
    together, apart : tuple of CoActive
        Chosen on training images, measured on held-out ones.
    attributes : tuple of AttributeMatch
        On held-out images; empty where nothing is known of the images.
    near : tuple of Near
        Before and after, as far as there are such layers.
    near_problem : str
        Why there are none; empty if there are.
    parents, children : tuple of Edge
        Largest absolute weight first.
    """

    study: Study
    concept: ConceptId
    n_train: int
    n_active: int
    figures: dict[str, Any]
    bands: tuple[Band, ...]
    histogram: ActivationHistogram
    together: tuple[CoActive, ...]
    apart: tuple[CoActive, ...]
    attributes: tuple[AttributeMatch, ...]
    near: tuple[Near, ...]
    near_problem: str
    parents: tuple[Edge, ...]
    children: tuple[Edge, ...]

    @property
    def file_stem(self) -> str:
        """Study and concept as a part of a file name."""
        return f"{self.study.name}-L{self.concept.layer}-{self.concept.index}"

    def named(self, concept: ConceptId) -> str:
        """Return what a concept is called, or nothing."""
        return concept_name(self.study, concept)

    def sibling(self, index: int) -> ConceptId:
        """Return another concept of the layer."""
        return ConceptId(self.concept.layer, index)

    def relations_csv(self) -> str:
        """Return parents and children as CSV, with what was measured of the edges."""
        fields = edge_facts(self.study).fields
        rows = [
            (
                kind,
                edge.concept,
                cell_text(self.named(edge.concept)),
                edge.weight,
                edge.selection_rate,
                *(edge.known.get(field) for field in fields),
            )
            for kind, edges in (("parent", self.parents), ("child", self.children))
            for edge in edges
        ]
        head = ("relation", "concept", "name", "weight", "selection_rate", *fields)
        return _csv(head, rows)

    @property
    def _truth(self) -> dict[str, Any]:
        """What was measured of the concept, for a file; nothing if nothing was."""
        found = measured_concepts(self.study).of(self.concept)
        return {} if found is None else {"measured": asdict(found)}

    def co_active_csv(self) -> str:
        """Return the co-active concepts as CSV."""
        rows = [
            (
                self.sibling(other.index),
                cell_text(self.named(self.sibling(other.index))),
                other.n_both,
                other.share,
                other.lift,
                other.correlation,
            )
            for other in (*self.together, *self.apart)
        ]
        head = ("concept", "name", "held_out_images_with_both", "share", "lift", "correlation")
        return _csv(head, rows)

    def attributes_csv(self) -> str:
        """Return the attribute table as CSV."""
        rows = [
            (cell_text(m.attribute), cell_text(m.value), m.n_images, m.correlation, m.auc, m.share)
            for m in self.attributes
        ]
        head = ("attribute", "value", "held_out_images", "correlation", "auc", "share_active")
        return _csv(head, rows)

    def histogram_csv(self) -> str:
        """Return the bars of the histogram as CSV."""
        edges = self.histogram.edges.tolist()
        counts = self.histogram.counts.tolist()
        return _csv(("from", "to", "images"), zip(edges, edges[1:], counts, strict=False))

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        name = self.study.name_of(self.concept)
        values = {
            "study": self.study.name,
            "concept": str(self.concept),
            "name": None if name is None else asdict(name),
            "training_images": self.n_train,
            "active_in": self.n_active,
            **self._truth,
            "held_out": {k: v for k, v in self.figures.items() if k != "kind"},
            "exemplars": {
                band.name: [
                    {"image": self.study.image_ids[row], "coefficient": value}
                    for row, value in zip(
                        band.rows.tolist(), band.coefficients.tolist(), strict=True
                    )
                ]
                for band in self.bands
            },
            "histogram": {
                "edges": self.histogram.edges.tolist(),
                "images": self.histogram.counts.tolist(),
                "silent": self.histogram.n_silent,
            },
            "co_active": [self._of(o) for o in self.together],
            "avoided": [self._of(o) for o in self.apart],
            "attributes": [asdict(match) for match in self.attributes],
            "nearest_atoms": [
                {"concept": f"L{near.layer}/{atom.index}", "cosine": atom.cosine}
                for near in self.near
                for atom in near.atoms
            ],
            **{
                kind: [
                    {
                        "concept": str(edge.concept),
                        "weight": edge.weight,
                        "selection_rate": edge.selection_rate,
                        **edge.known,
                    }
                    for edge in edges
                ]
                for kind, edges in (("parents", self.parents), ("children", self.children))
            },
        }
        return json.dumps(_finite(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _of(self, other: CoActive) -> dict[str, Any]:
        figures = asdict(other)
        del figures["index"]
        return {"concept": str(self.sibling(other.index)), **figures}


def _finite(value: Any) -> Any:
    """Return plain values in which a number that is not known is None."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()


@lru_cache(maxsize=8)
def known_attributes(study: Study) -> AttributeTable:
    """Return what is known of the study's images, read once."""
    return attribute_table([study.attributes(row) for row in range(len(study.image_ids))])


@lru_cache(maxsize=8)
def prepare(study: Study) -> None:
    """Read in the background what the first concept in full would have to wait for."""

    def read() -> None:
        time.sleep(_QUIET_SECONDS)  # the page that asks for it shows first
        with suppress(CgraphError):  # the concept in full meets the same, and says so
            known_attributes(study)
            study.dictionary(1)

    # No daemon: the interpreter waits for it at its end, and never stops it within an import.
    threading.Thread(target=read, name="cgraph-concepts").start()


@lru_cache(maxsize=8)
def _held_out_codes(study: Study, layer: int) -> Any:
    return study.codes(layer).take(study.rows(HELD_OUT))


@lru_cache(maxsize=256)
def concept_sheet(study: Study, concept: ConceptId) -> ConceptSheet:
    """Collect what is known of a concept of a study."""
    training, rows = study.training_codes(concept.layer), study.rows(TRAIN)
    found = tuple(
        Band(band.name, rows[band.rows], band.coefficients)
        for band in bands(training, concept.index, N_EXEMPLARS)
    )
    held_out = _held_out_codes(study, concept.layer)
    together, apart = co_active(training, held_out, concept.index, N_CO_ACTIVE)
    matches = attribute_matches(
        study.codes(concept.layer), concept.index, known_attributes(study), study.rows(HELD_OUT)
    )
    near, problem = _near(study, concept)
    return ConceptSheet(
        study=study,
        concept=concept,
        n_train=len(rows),
        n_active=int(study.graph.record(concept).n_train),
        figures=concept_figures(study, concept),
        bands=found,
        histogram=activation_histogram(training, concept.index),
        together=tuple(together),
        apart=tuple(apart),
        attributes=tuple(matches),
        near=near,
        near_problem=problem,
        parents=_edges(
            study.graph.parents(concept), lambda other: edge_facts(study).of(other, concept)
        ),
        children=_edges(
            study.graph.children(concept), lambda other: edge_facts(study).of(concept, other)
        ),
    )


def _near(study: Study, concept: ConceptId) -> tuple[tuple[Near, ...], str]:
    found = []
    try:
        atom = study.dictionary(concept.layer).atoms[concept.index]
        for layer in (concept.layer - 1, concept.layer + 1):
            if 1 <= layer <= study.n_layers:
                others = study.dictionary(layer)
                atoms = nearest_atoms(atom, others, N_NEAR)
                found.append(Near(layer, tuple(atoms), chance_cosine(*others.atoms.shape)))
    except StudyError as error:
        return (), str(error)
    return tuple(found), ""


def _edges(found: EdgeList, fact: Callable[[ConceptId], EdgeFact | None]) -> tuple[Edge, ...]:
    columns = (np.asarray(found.indices), found.weights, found.selection_rates)
    others = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(
        Edge(other, weight, rate, fact(other))
        for index, weight, rate in others
        for other in (ConceptId(found.layer, index),)
    )
