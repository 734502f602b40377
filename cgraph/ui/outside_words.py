"""What lies outside the graph, in sentences: of a layer, of a rollout, and of one concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cgraph.concept_truth import ConceptTruth
from cgraph.outside import Outside
from cgraph.ui import words
from cgraph.ui.terms import term


def outside_lines(found: Outside) -> list[str]:
    """Say what the graph cannot see of a layer, a line each."""
    lines = [
        f"measured: {words.percent(found.from_patches)} of what makes its token comes from patches"
    ]
    if words.known(found.labels_from_patches):
        lost = words.percent(found.labels_from_patches)
        lines.append(f"{lost} of its active concepts fall silent without them")
    if words.known(found.left_out):
        lines.append(f"its code leaves out {words.percent(found.left_out)} of the token")
    return lines


def outside_node(found: Outside) -> dict[str, Any]:
    """Return what the browser needs to draw the node beneath a layer."""
    lines = outside_lines(found)
    return {
        "share": round(found.from_patches, 3),
        "text": words.percent(found.from_patches),
        "label": f"Outside the graph, layer {found.layer}: {', '.join(lines)}",
        "lines": [*lines, "no edge shows this; it is no concept"],
    }


def outside_sentence(found: Outside) -> str:
    """Say in HTML what the graph cannot see of a layer."""
    share = words.percent(found.from_patches)
    text = (
        f"{term('outside', 'Outside the graph')}: <b>{share}</b> of what "
        "makes the token of this layer comes from patches, which no edge shows"
    )
    if words.known(found.left_out):
        text += f", and its code leaves out {words.percent(found.left_out)} of the token"
    text += "."
    if words.known(found.labels_from_patches):
        text += (
            f" Without the patches {words.percent(found.labels_from_patches)} of its active "
            "concepts fall silent."
        )
    if words.known(found.auc_graph) and words.known(found.auc_token):
        graph, token = words.fraction(found.auc_graph), words.fraction(found.auc_token)
        text += (
            f" Its concepts are predicted with an {term('auc')} of {graph} by their parents and of "
            f"{token} by the whole token before."
        )
    return text


def rollout_sentence(leakage: Mapping[int, Outside], start: int) -> str:
    """Say in HTML how far a rollout depends on what the graph cannot see; empty if not measured.

    Parameters
    ----------
    leakage : mapping of int to Outside
    start : int
        Layer whose labels are given.
    """
    found = [leakage[layer] for layer in sorted(leakage) if layer > start]
    if not found:
        return ""
    shares = words.span([of_layer.from_patches for of_layer in found])
    last = found[-1].layer
    where = f"layers {start + 1} to {last}" if last > start + 1 else f"layer {last}"
    return (
        f"What lies {term('outside')} stays as it is: in {where} {shares} of what makes the token "
        "comes from patches, which an edit of concepts does not reach."
    )


def concept_rows(found: ConceptTruth | None) -> list[tuple[str, str, str]]:
    """Return what was measured of a concept as label in HTML, value and note; what is known."""
    if found is None:
        return []
    rows = []
    if found.found_again is not None:
        value = "yes" if found.found_again else "no"
        note = f"(cosine {words.fraction(found.cosine)} with another seed)"
        rows.append((term("found_again", "Found again"), value, note))
    if words.known(found.gap):
        note = f"({words.signed(found.gap)} beside its parents)"
        rows.append(
            (term("outside", "AUC of the whole token"), words.fraction(found.auc_token), note)
        )
    return rows
