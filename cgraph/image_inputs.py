"""What one image gives to the predictors of each layer: labels, codes or pre-activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import Inputs
from cgraph.errors import ConfigError, DataError
from cgraph.graph import ConceptGraph


def checked_codes(
    graph: ConceptGraph, codes_by_layer: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the codes of one image with rising indices, or refuse them.

    Parameters
    ----------
    graph : ConceptGraph
    codes_by_layer : sequence of (indices, coefficients)
        Active concepts of layers 1..L and their coefficients.

    Raises
    ------
    ConfigError
        If a concept does not exist.
    DataError
        If there is not one code a layer, a concept is named twice, or a coefficient is not finite.
    """
    if len(codes_by_layer) != graph.n_layers:
        raise wrong_length("codes_by_layer", len(codes_by_layer), str(graph.n_layers))
    codes = []
    for layer, pair in enumerate(codes_by_layer, start=1):
        indices, coefficients = np.asarray(pair[0], dtype=np.int64), np.asarray(pair[1], float)
        order = np.argsort(indices)
        indices = indices[order]
        for index in (*indices[:1], *indices[-1:]):
            graph.concept_row(ConceptId(layer, int(index)))
        if coefficients.shape != indices.shape or (indices[1:] == indices[:-1]).any():
            raise DataError(
                f"The code of layer {layer} names {len(indices)} concepts with coefficients of "
                f"shape {coefficients.shape}. Name each active concept once, with one coefficient."
            )
        if not np.isfinite(coefficients).all():
            raise DataError(
                f"The code of layer {layer} has a coefficient that is not a finite number. Check "
                "the tokens for infinite or missing values."
            )
        codes.append((indices, coefficients[order]))
    return codes


def inputs_of_left_layers(
    graph: ConceptGraph,
    codes: list[tuple[np.ndarray, np.ndarray]],
    inputs: Inputs,
    input_scales: Sequence[float] | None,
    pre_activations: Sequence[np.ndarray] | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each layer 1..L-1 which concepts have an input, and these inputs.

    Parameters
    ----------
    graph : ConceptGraph
    codes : list of (indices, coefficients)
        From `checked_codes`.
    inputs : {"labels", "codes", "pre-activations"}
    input_scales : sequence of float or None
        What codes and pre-activations of layers 1..L-1 are divided by; needed for both.
    pre_activations : sequence of ndarray of shape (n_concepts,), or None
        Encoder output of layers 1..L-1 in full.

    Raises
    ------
    ConfigError
        If `inputs` is unknown, or what it needs is not given.
    DataError
        If scales or pre-activations do not fit the graph.
    """
    n_left = graph.n_layers - 1
    if inputs == "labels":
        return [(indices, np.ones(len(indices))) for indices, _ in codes[:n_left]]
    if inputs not in ("codes", "pre-activations"):
        raise ConfigError(f"inputs is {inputs!r}. Allowed: labels, codes, pre-activations.")
    scales = _per_left_layer("input_scales", input_scales, n_left, inputs)
    if not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise DataError(f"input_scales are {[*scales]}: each must be a number above 0.")
    if inputs == "codes":
        pairs = zip(codes[:n_left], scales, strict=True)
        return [(indices, coefficients / scale) for (indices, coefficients), scale in pairs]
    dense = _per_left_layer("pre_activations", pre_activations, n_left, inputs)
    result = []
    for layer, (values, scale) in enumerate(zip(dense, scales, strict=True), start=1):
        n = graph.n_concepts(layer)
        if np.shape(values) != (n,) or not np.isfinite(values).all():
            raise DataError(
                f"The pre-activations of layer {layer} have shape {np.shape(values)}. Give one "
                f"finite number for each of its {n} concepts."
            )
        result.append((np.arange(n), np.asarray(values, dtype=np.float64) / scale))
    return result


def _per_left_layer(name: str, values: Sequence[Any] | None, n_left: int, inputs: str) -> list[Any]:
    if values is None:
        raise ConfigError(f"inputs {inputs!r} needs {name}, one for each layer but the last.")
    if len(values) not in (n_left, n_left + 1):
        raise wrong_length(name, len(values), f"{n_left} or {n_left + 1}")
    return list(values)[:n_left]


def wrong_length(name: str, given: int, wanted: str) -> DataError:
    """Return the error for a list that has not one entry for each layer."""
    return DataError(f"{name} has {given} entries, one a layer; this graph needs {wanted}.")
