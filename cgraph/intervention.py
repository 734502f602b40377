"""Edits made in the real network: the token of a layer changed, and the blocks after it run.

To switch a concept on, its atom is added to the class token at its usual coefficient, the median
over the training images that have it. To switch it off, the atom is taken away at the coefficient
that it has in this very token. Patch tokens stay as they are at that layer; the blocks after it run
on all tokens, and every later token is encoded again. Concepts that already are as wished change
nothing.

Where the mean of the patch tokens is read in place of a class token, the same is added to or taken
from every patch token, so that the mean moves by as much. Where a pooling head is read, it is added
to every patch token, too; but what the head makes of that is not the token and the atom added up.

Whether a concept is active depends on the whole token. So an edit need not take: the changed token
is encoded too, and what did not become as wished is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.edits import Edit
from cgraph.errors import ConfigError, DataError
from cgraph.study import Study
from cgraph.vit import VisionModel

CLASS_TOKEN, EVERY_PATCH_TOKEN = "class token", "every patch token"
"""What an edit is added to."""


@dataclass(frozen=True)
class NetworkRun:
    """Some images run through the network, encoded at every layer.

    Attributes
    ----------
    tokens : ndarray of float32, shape (n_layers, n_images, d_model)
    codes : tuple of Codes
        Of layers 1..L, a row for each image.
    added : dict of int to ndarray, shape (n_images, d_model)
        What was added to the tokens of edited layers.
    not_taken : tuple of tuple of ConceptId
        For each image the concepts that are not as the edit wishes after all.
    target : str
        `CLASS_TOKEN` or `EVERY_PATCH_TOKEN`: what an edit is added to.
    """

    tokens: np.ndarray
    codes: tuple[Codes, ...]
    added: dict[int, np.ndarray]
    not_taken: tuple[tuple[ConceptId, ...], ...]
    target: str


def usual_coefficient(study: Study, concept: ConceptId) -> float:
    """Return the median coefficient of a concept over the training images that have it.

    Raises
    ------
    ConfigError
        If there is no such concept, or no training image has it.
    """
    study.graph.concept_row(concept)
    return _usual_coefficient(study, concept)


@lru_cache(maxsize=4096)
def _usual_coefficient(study: Study, concept: ConceptId) -> float:
    found = study.exemplars(concept, len(study.image_ids))
    if not found:
        raise ConfigError(
            f"{concept} is active in no training image, so nothing is usual for it and it cannot "
            "be switched on in the network. Choose a concept that occurs."
        )
    return float(np.median([value for _, value in found]))


def run(
    study: Study,
    model: VisionModel,
    pixels: np.ndarray,
    edits: Edit | Sequence[Edit] = (),
) -> NetworkRun:
    """Run images through the network, edited or as they are.

    Parameters
    ----------
    study : Study
    model : VisionModel
        The model that the study was built with.
    pixels : ndarray of float32, shape (n_images, 3, height, width)
        As `VisionModel.preprocess` returns them; one batch.
    edits : Edit or sequence of Edit
        One for all images, or one for each; nothing is edited if left out.

    Returns
    -------
    NetworkRun

    Raises
    ------
    ConfigError
        If a concept does not exist, or one that no training image has is to be switched on.
    DataError
        If the number of edits does not fit.
    """
    n_images = len(pixels)
    edits = [edits] * n_images if isinstance(edits, Edit) else list(edits) or [Edit()] * n_images
    if len(edits) != n_images:
        raise DataError(f"There are {len(edits)} edits for {n_images} images.")
    for concept in {concept for edit in edits for concept in edit}:
        study.graph.concept_row(concept)
    added: dict[int, np.ndarray] = {}

    def change(layer: int, tokens: np.ndarray) -> np.ndarray | None:
        parts = [edit.of_layer(layer) for edit in edits]
        if not any(map(len, parts)):
            return None
        added[layer] = _addition(study, layer, tokens, parts)
        return added[layer]

    tokens = model.class_tokens(pixels, change if any(map(len, edits)) else None)
    codes = tuple(
        study.dictionary(layer).encode(tokens[layer - 1]) for layer in range(1, study.n_layers + 1)
    )
    not_taken = tuple(
        tuple(
            concept
            for concept in edit
            if edit.label(concept) != (concept.index in codes[concept.layer - 1].row(row)[0])
        )
        for row, edit in enumerate(edits)
    )
    target = CLASS_TOKEN if model.reads_class_token else EVERY_PATCH_TOKEN
    return NetworkRun(tokens, codes, added, not_taken, target)


def _addition(study: Study, layer: int, tokens: np.ndarray, parts: Sequence[Edit]) -> np.ndarray:
    """Return what the edits of one layer add to its tokens, shape ``(n_images, d_model)``."""
    dictionary = study.dictionary(layer)
    codes = dictionary.encode(tokens)
    addition = np.zeros_like(tokens)
    for row, part in enumerate(parts):
        active = dict(zip(*(values.tolist() for values in codes.row(row)), strict=True))
        for concept in part.on:
            if concept.index not in active:
                usual = usual_coefficient(study, concept)
                addition[row] += np.float32(usual) * dictionary.atoms[concept.index]
        for concept in part.off:
            own = active.get(concept.index, 0.0)
            addition[row] -= np.float32(own) * dictionary.atoms[concept.index]
    return addition
