"""Laying the codes of one image into the graph: from active concepts to a trace."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import Inputs
from cgraph.graph import ConceptGraph
from cgraph.image_inputs import checked_codes, inputs_of_left_layers, wrong_length
from cgraph.signals import surprise
from cgraph.trace import Absence, ActiveConcept, Trace, TraceEdge


def trace_codes(
    graph: ConceptGraph,
    codes_by_layer: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    image_id: str,
    study: str,
    explained: Sequence[float] | None = None,
    unusual: bool | None = None,
    inputs: Inputs = "labels",
    input_scales: Sequence[float] | None = None,
    pre_activations: Sequence[np.ndarray] | None = None,
) -> Trace:
    """Lay the codes of one image into the graph.

    Parameters
    ----------
    graph : ConceptGraph
    codes_by_layer : sequence of (indices, coefficients)
        Active concepts of layers 1..L and their coefficients, as `Codes.row` gives them.
    image_id, study : str
        What the trace is of.
    explained : sequence of float, optional
        Share of each layer's token that the code explains.
    unusual : bool, optional
        Whether the study has seen no such image.
    inputs : {"labels", "codes", "pre-activations"}
        What the predictors were fitted on. The input of an active parent is 1, its coefficient, or
        its pre-activation; with pre-activations inactive parents have inputs too, which count in
        probabilities and shares, but only edges from active parents are listed.
    input_scales : sequence of float, optional
        What codes and pre-activations of layers 1..L-1 are divided by; needed for both. A value
        for layer L may follow and is not read.
    pre_activations : sequence of ndarray of shape (n_concepts,), optional
        Encoder output of layers 1..L-1 in full; one for layer L may follow and is not read.

    Raises
    ------
    ConfigError
        If `inputs` is unknown, what it needs is not given, or a concept does not exist.
    DataError
        If an argument does not fit the layers of the graph, or a coefficient is not finite.
    """
    codes = checked_codes(graph, codes_by_layer)
    if explained is not None and len(explained) != graph.n_layers:
        raise wrong_length("explained", len(explained), str(graph.n_layers))
    left_inputs = inputs_of_left_layers(graph, codes, inputs, input_scales, pre_activations)
    layers: list[tuple[ActiveConcept, ...]] = []
    absences: list[tuple[Absence, ...]] = []
    edges: list[TraceEdge] = []
    for layer, (indices, coefficients) in enumerate(codes, start=1):
        probability = np.full(len(indices), np.nan)
        n_active = n_all = np.zeros(len(indices), dtype=np.int64)
        absent: tuple[Absence, ...] = ()
        if layer > 1:
            names, values = left_inputs[layer - 2]
            of_layer = graph.probability(layer, names, values)
            probability = of_layer[indices]
            absent = _absences(graph, layer, indices, of_layer)
            dense = np.zeros(graph.n_concepts(layer - 1))
            dense[names] = values
            new_edges, n_active, n_all = _edges_into(
                graph, layer, indices, codes[layer - 2][0], dense
            )
            edges += new_edges
        absences.append(absent)
        order = np.lexsort((indices, -np.abs(coefficients)))
        prevalence = graph.prevalence(layer)[indices]
        columns = (indices, coefficients, probability, prevalence, n_active, n_all)
        layers.append(
            tuple(
                ActiveConcept(
                    ConceptId(layer, index), coefficient, _or_none(p), _or_none(share), *counts
                )
                for index, coefficient, p, share, *counts in zip(
                    *(column[order].tolist() for column in columns), strict=True
                )
            )
        )
    known = None if explained is None else tuple(float(value) for value in explained)
    return Trace(tuple(layers), tuple(edges), known, image_id, study, unusual, tuple(absences))


def surprises(trace: Trace) -> list[float]:
    """Return the surprise of the active concepts of each layer; 0 in layer 1."""
    return [
        surprise(np.array([active.probability for active in layer], dtype=np.float64))
        for layer in trace.layers
    ]


def _absences(
    graph: ConceptGraph, layer: int, active: np.ndarray, probability: np.ndarray
) -> tuple[Absence, ...]:
    """Return the inactive concepts among as many of the most probable as are active.

    Parameters
    ----------
    graph : ConceptGraph
    layer : int
    active : ndarray of int
        Active concepts of the layer.
    probability : ndarray of float, shape (n_concepts,)
        NaN where no predictor was fitted.
    """
    known = np.where(np.isnan(probability), -np.inf, probability)
    likely = np.lexsort((np.arange(len(known)), -known))[: len(active)]
    prevalence = graph.prevalence(layer)
    silent = likely[~np.isin(likely, active)]
    silent = silent[known[silent] > prevalence[silent]]
    columns = (silent.tolist(), known[silent].tolist(), prevalence[silent].tolist())
    return tuple(
        Absence(ConceptId(layer, index), p, share) for index, p, share in zip(*columns, strict=True)
    )


def _edges_into(
    graph: ConceptGraph, layer: int, children: np.ndarray, parents: np.ndarray, inputs: np.ndarray
) -> tuple[list[TraceEdge], np.ndarray, np.ndarray]:
    """Return edges from active parents into active children, and how many parents each child has.

    Shares count the contributions of all inputs of the layer before, active or not.

    Returns
    -------
    edges : list of TraceEdge
    n_active, n_all : ndarray of int, shape (n_children,)
        Active parents, and all parents, of each child.
    """
    parent, place, weight = graph.edges_into(children, layer)
    contribution = weight * inputs[parent]
    total = np.bincount(place, np.maximum(contribution, 0), len(children))[place]
    share = np.divide(contribution, total, out=np.zeros_like(contribution), where=total > 0)
    among = np.isin(parent, parents)
    columns = (parent, children[place], weight, contribution, share)
    edges = [
        TraceEdge(ConceptId(layer - 1, parent), ConceptId(layer, child), *numbers)
        for parent, child, *numbers in zip(*(c[among].tolist() for c in columns), strict=True)
    ]
    n_active = np.bincount(place[among], minlength=len(children))
    return edges, n_active, np.bincount(place, minlength=len(children))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
