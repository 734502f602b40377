"""The strongest paths to a chosen concept, each a row of pictures from its earliest root."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import pairwise

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.trace import Path, PathSet
from cgraph.ui import words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.edge_words import evidence_words, mark, marks_sentence
from cgraph.ui.terms import term
from cgraph.ui.traced import TracedImage

N_PATHS = 6

_PATHS = "trace.paths"


def strongest_paths(
    traced: TracedImage,
    concept: ConceptId | None,
    *,
    on_concept: Callable[[str | None], None],
) -> None:
    """Show the strongest paths to a concept.

    Parameters
    ----------
    traced : TracedImage
        The image on show.
    concept : ConceptId or None
        The concept that is selected.
    on_concept : callable
        Called with the id of a concept that somebody chose.
    """
    if concept is None or concept.layer == 1 or traced.facts(concept).here is None:
        return  # the panel says why nothing leads here
    found = traced.trace.paths_to(concept, n=N_PATHS)
    called = escape(traced.name(concept) or str(concept), quote=True)
    head = f"<h3 class='cg-section'>Strongest paths to {called}</h3>"
    if not found.paths:
        st.html(f"{head}<p class='cg-quiet'>No active parent speaks for it here.</p>")
        return
    st.html(
        f"{head}<p class='cg-quiet'>{_which(found)} The figure of a row is the "
        f"{term('path_share')}; that of a concept is what comes along the path from there on."
        f"{marks_sentence(traced.edges)}</p>"
    )
    first = min(path.concepts[0].layer for path in found.paths)
    layers = range(first, concept.layer + 1)
    concept_table(
        [TableHead(f"Layer {layer}") for layer in layers],
        [_row(traced, path, layers, found.paths[0].strength) for path in found.paths],
        traced.looks,
        label=f"The strongest paths to {traced.name(concept) or concept}, a row each",
        key=_PATHS,
        on_pick=lambda: on_concept(st.session_state[_PATHS]["picked"]),
        selected=concept,
        joined=True,
    )


def _which(found: PathSet) -> str:
    root, share = term("root"), words.fine_percent(found.share)
    if len(found.paths) == 1:
        return f"One path, from its {root}: it carries {share} of what raised the concept."
    return (
        f"The {len(found.paths)} paths that carry most, each from its earliest {root}: together "
        f"{share} of what raised the concept."
    )


def _row(traced: TracedImage, path: Path, layers: range, strongest: float) -> TableRow:
    by_layer = {concept.layer: concept for concept in path.concepts}
    notes, spoken = _carried(traced, path)
    return TableRow(
        lead=words.fine_percent(path.strength),
        note=f"from layer {path.concepts[0].layer}",
        share=path.strength / strongest,
        cells=[[by_layer[layer]] if layer in by_layer else [] for layer in layers],
        notes=notes,
        cell_labels=[spoken] * len(layers) if spoken != notes else (),
    )


def _carried(traced: TracedImage, path: Path) -> tuple[dict[ConceptId, str], dict[ConceptId, str]]:
    """Return what comes along a path from each of its concepts on: with marks, and in words."""
    shares, facts = traced.shares, traced.edges
    carried, notes, spoken = 1.0, {}, {}
    for parent, child in reversed(list(pairwise(path.concepts))):
        carried *= shares[parent, child]
        share, fact = words.fine_percent(carried), facts.of(parent, child)
        notes[parent] = f"{share} {mark(fact)}".rstrip()
        spoken[parent] = ", ".join(filter(None, (share, evidence_words(fact))))
    return notes, spoken
