"""What a card says about a concept, made only for those of the page on show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import TRAIN
from cgraph.exemplars import bands
from cgraph.given_names import GivenName
from cgraph.layer_catalogue import LayerCatalogue, layer_catalogue
from cgraph.study import Study
from cgraph.study_graph import measured_concepts
from cgraph.ui import words
from cgraph.ui.components.card_grid import ConceptCard
from cgraph.ui.gallery import concept_name
from cgraph.ui.thumbnails import strip_uri

N_EACH = 2
"""Exemplars of each band on a card."""

N_RELATIVES = 2

_TILE_PX = 48


@lru_cache(maxsize=64)
def catalogue(study: Study, layer: int, names: str) -> LayerCatalogue:
    """Return the concepts of a layer; `names` is the revision of the names given by hand."""
    return layer_catalogue(study, layer)


def concept_cards(
    study: Study, listed: LayerCatalogue, indices: Sequence[int]
) -> list[ConceptCard]:
    """Return the cards of some concepts of a layer."""
    training = study.rows(TRAIN)
    return [_card(study, listed, index, training) for index in indices]


def _card(study: Study, listed: LayerCatalogue, index: int, training: np.ndarray) -> ConceptCard:
    concept = ConceptId(listed.layer, index)
    name = concept_name(study, concept)
    of_bands = bands(study.training_codes(concept.layer), concept.index, N_EACH)
    rows = tuple(int(row) for band in of_bands for row in training[band.rows])
    shown = tuple((band.name, len(band.rows)) for band in of_bands if len(band.rows))
    figures = [("active in", words.percent(float(listed.prevalence[index])))]
    if listed.layer > 1:
        auc = float(listed.auc[index])
        figures.append(("AUC", words.fraction(auc) if words.known(auc) else "not scored"))
    found = measured_concepts(study).of(concept)
    if found is not None and words.known(found.gap):
        figures.append(("whole token", words.fraction(found.auc_token)))
    if found is not None and found.found_again is not None:
        again = "yes" if found.found_again else "no"
        figures.append(("found again", f"{again}, cosine {words.fraction(found.cosine)}"))
    relations = []
    for kind, edges, total in (
        ("parents", study.graph.parents(concept), listed.n_parents[index]),
        ("children", study.graph.children(concept), listed.n_children[index]),
    ):
        if total:
            counted = words.count(int(total), kind[:-1] if kind == "parents" else "child", kind)
            relations.append(
                (counted, _relatives(study, edges.layer, edges.indices, edges.weights))
            )
    said = [f"{what} {value}" for what, value in figures]
    said += [
        f"{kind}, strongest {', '.join(f'{who} {weight}' for who, weight in relatives)}"
        for kind, relatives in relations
    ]
    called = f"{name}, {concept}" if name else str(concept)
    if isinstance(listed.names[index], GivenName):
        called += ", named by hand"
    return ConceptCard(
        id=str(concept),
        name=name,
        strip=strip_uri(study, rows, _TILE_PX) if rows else "",
        bands=shown,
        figures=tuple(figures),
        relations=tuple(relations),
        label=f"{called}: {'; '.join(said)}",
    )


def _relatives(
    study: Study, layer: int, indices: np.ndarray, weights: np.ndarray
) -> tuple[tuple[str, str], ...]:
    concepts = [ConceptId(layer, index) for index in indices[:N_RELATIVES].tolist()]
    return tuple(
        (concept_name(study, concept) or str(concept), words.signed(weight))
        for concept, weight in zip(concepts, weights[:N_RELATIVES].tolist(), strict=True)
    )
