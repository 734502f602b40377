"""Predictors of rollouts: refitted for each start layer, and kept apart from the edges.

A rollout passes probabilities on, which are no labels: what they say grows weaker from layer to
layer. For each start layer the predictors of all later layers are fitted again on what is passed
on, with the parents that the graph's edges name. Here is how they are stored, and how a graph for
rollouts is made of them; `cgraph.rollout_refit` fits them.

They always take labels and probabilities, whatever the edges take.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from cgraph.graph import ConceptGraph
from cgraph.store import as_array
from cgraph.truth_tables import REFITTED_CONCEPT_SCHEMA, REFITTED_EDGE_SCHEMA

FIELDS = ("intercept", "slope", "offset", "threshold")
"""What is fitted of a concept besides its weights."""

Arrays = dict[str, np.ndarray]


def refitted_tables(graph: ConceptGraph, parts: Sequence[Arrays]) -> tuple[pa.Table, pa.Table]:
    """Return the two tables of refitted predictors.

    Parameters
    ----------
    graph : ConceptGraph
    parts : sequence of dict of str to ndarray
        For start layers 1 … L - 1: ``weight``, of the edges into all later layers in the graph's
        order, and `FIELDS`, of their concepts.

    Returns
    -------
    edges, concepts : pyarrow.Table
    """
    edges = [REFITTED_EDGE_SCHEMA.empty_table()]
    concepts = [REFITTED_CONCEPT_SCHEMA.empty_table()]
    for start, part in enumerate(parts, start=1):
        layers = range(start + 1, graph.n_layers + 1)
        n_edges = [len(graph.layer_edges(layer).weights) for layer in layers]
        sizes = [graph.n_concepts(layer) for layer in layers]
        columns = {
            "start": np.full(sum(n_edges), start),
            "child_layer": np.repeat(layers, n_edges),
            "weight": part["weight"],
        }
        edges.append(pa.table(columns).cast(REFITTED_EDGE_SCHEMA))
        columns = {
            "start": np.full(sum(sizes), start),
            "layer": np.repeat(layers, sizes),
            "index": np.concatenate([np.arange(size) for size in sizes]),
            **{name: part[name] for name in FIELDS},
        }
        concepts.append(pa.table(columns).cast(REFITTED_CONCEPT_SCHEMA))
    return pa.concat_tables(edges), pa.concat_tables(concepts)


def refitted_part(edges: pa.Table, concepts: pa.Table, start: int) -> Arrays:
    """Return what was fitted for one start layer; see `refitted_tables`."""
    part = {"weight": as_array(_of_start(edges, start).column("weight").combine_chunks())}
    own = _of_start(concepts, start)
    return part | {name: as_array(own.column(name).combine_chunks()) for name in FIELDS}


def _of_start(table: pa.Table, start: int) -> pa.Table:
    starts = as_array(table.column("start").combine_chunks())
    first, end = np.searchsorted(starts, [start, start + 1])
    return table.slice(first, end - first)


def graph_of_part(graph: ConceptGraph, part: Arrays, start: int) -> ConceptGraph:
    """Return the graph of rollouts from one layer.

    Raises
    ------
    ValueError
        If the arrays are not of this graph.
    """
    layers = range(start + 1, graph.n_layers + 1)
    n_edges = [len(graph.layer_edges(layer).weights) for layer in layers]
    n_concepts = sum(graph.n_concepts(layer) for layer in layers)
    found = len(part["weight"]), *(len(part[name]) for name in FIELDS)
    if found != (sum(n_edges), *[n_concepts] * len(FIELDS)):
        raise ValueError(
            f"there are {found[0]} weights and {found[1]} concepts for rollouts from layer {start},"
            f" and the graph has {sum(n_edges)} edges and {n_concepts} concepts there"
        )
    cuts = np.cumsum([0, *n_edges])
    weights = [part["weight"][first:end] for first, end in pairwise(cuts)]
    return graph.refitted(start, weights, {name: part[name] for name in FIELDS})


def refitted_graph(
    graph: ConceptGraph, edges: pa.Table, concepts: pa.Table, start: int
) -> ConceptGraph:
    """Return the graph of rollouts from one layer, out of the stored tables.

    Raises
    ------
    ValueError
        If the tables are not those of this graph.
    """
    return graph_of_part(graph, refitted_part(edges, concepts, start), start)
