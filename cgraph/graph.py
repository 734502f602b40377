"""The concept graph: which concepts of one layer predict which concepts of the next.

Edge direction: an edge goes from a *parent* in layer ``l`` to a *child* in layer ``l + 1``, never
otherwise. Node order: concepts are sorted by (layer, index), layers are 1..L, and indices of a
layer are 0..n-1 without gaps. Edge order: by (child layer, child, parent). Every array of this
module keeps these orders unless its docstring says otherwise.

The weight of an edge is the child's logistic weight on that parent (paper, section 3.3), so the
balanced log-odds of a child are its intercept plus the sum of weight times input over its parents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.edge_index import EdgeList, LayerEdges, no_edges, strongest_first
from cgraph.errors import ConfigError, DataError
from cgraph.graph_tables import (
    CLASS,
    CONCEPT_SCHEMA,
    OUTPUT,
    ConceptRecord,
    read_concepts,
    read_edges,
)

if TYPE_CHECKING:
    from scipy import sparse


class ConceptGraph:
    """The concepts of every layer and the edges between adjacent layers; immutable.

    Use `ConceptGraph.from_tables`; the constructor takes parts that were checked there.

    Attributes
    ----------
    refitted_from : int or None
        Start layer of the rollouts that the predictors were refitted for; None where weights and
        intercepts are those of the edges that people read.
    output_layer : int or None
        The last layer, if what the model says in the end was put there by `extended`.
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        layer_starts: np.ndarray,
        layers: tuple[LayerEdges, ...],
        n_train_images: int | None,
        refitted_from: int | None = None,
        output_layer: int | None = None,
    ) -> None:
        self.refitted_from = refitted_from
        self.output_layer = output_layer
        self._columns = columns
        self._layer_starts = layer_starts
        self._layers = layers
        self._n_train_images = n_train_images

    @classmethod
    def from_tables(cls, concepts: pa.Table, edges: pa.Table) -> ConceptGraph:
        """Check the two tables and index them; numeric columns are used without a copy.

        Parameters
        ----------
        concepts, edges : pyarrow.Table
            Columns of `CONCEPT_SCHEMA` and `EDGE_SCHEMA`, in any order. The number of training
            images is read from the metadata of `concepts`; without it prevalences are unknown.

        Raises
        ------
        StudyError
            If a table is not what it should be; `read_concepts` and `read_edges` say when.
        """
        columns, layer_starts, n_train_images = read_concepts(concepts)
        edge_columns, starts = read_edges(edges, layer_starts)
        layers = []
        for layer in range(2, len(layer_starts)):
            before, first, end = layer_starts[layer - 2 : layer + 1]
            layers.append(LayerEdges.index(edge_columns, starts[first : end + 1], first - before))
        return cls(columns, layer_starts, tuple(layers), n_train_images)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self._layer_starts) - 1

    @property
    def n_edges(self) -> int:
        """Number of edges over all layers."""
        return sum(len(edges.weights) for edges in self._layers)

    def layer_edges(self, child_layer: int) -> LayerEdges:
        """Return the edges into a layer, 2..L.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        self._check_layer(child_layer, 2)
        return self._layers[child_layer - 2]

    def with_edges(self, layers: Sequence[LayerEdges]) -> ConceptGraph:
        """Return a graph of the same concepts with some of the edges, those into layers 2..L.

        Scores and probabilities of such a graph leave out what the other edges say: it is for
        looking at and for following paths.
        """
        return ConceptGraph(
            self._columns,
            self._layer_starts,
            tuple(layers),
            self._n_train_images,
            output_layer=self.output_layer,
        )

    def extended(self, columns: dict[str, np.ndarray], edges: LayerEdges) -> ConceptGraph:
        """Return a graph with one more layer, of outputs: what the model says in the end.

        Parameters
        ----------
        columns : dict of str to ndarray, shape (n_outputs,)
            Every column of the table of concepts but ``kind``.
        edges : LayerEdges
            From the last layer to the outputs.

        Raises
        ------
        ConfigError
            If the graph has a layer of outputs already.
        """
        if self.output_layer is not None:
            raise ConfigError("This graph has its outputs already. Extend the study's own graph.")
        n_outputs = len(columns["index"])
        return ConceptGraph(
            {name: np.concatenate([own, columns[name]]) for name, own in self._columns.items()},
            np.append(self._layer_starts, self._layer_starts[-1] + n_outputs),
            (*self._layers, edges),
            self._n_train_images,
            self.refitted_from,
            self.n_layers + 1,
        )

    def until(self, layer: int) -> ConceptGraph:
        """Return the graph without the layers after one, 2..L, so that rollouts end there."""
        self._check_layer(layer, 2)
        starts, layers = self._layer_starts[: layer + 1], self._layers[: layer - 1]
        return ConceptGraph(self._columns, starts, layers, self._n_train_images, self.refitted_from)

    def refitted(
        self, start: int, weights: Sequence[np.ndarray], columns: dict[str, np.ndarray]
    ) -> ConceptGraph:
        """Return a graph of the same edges with the predictors of rollouts from one layer.

        Parameters
        ----------
        start : int
            1 … L.
        weights : sequence of ndarray of float32
            Of the edges into layers start + 1 … L, each in the order of this graph.
        columns : dict of str to ndarray
            Columns such as ``intercept`` over the concepts of these layers.
        """
        self._check_layer(start, 1)
        first = self._layer_starts[start]
        replaced = {
            name: np.concatenate([self._columns[name][:first], values])
            for name, values in columns.items()
        }
        later = [
            dataclasses.replace(edges, weights=values)
            for edges, values in zip(self._layers[start - 1 :], weights, strict=True)
        ]
        return ConceptGraph(
            {**self._columns, **replaced},
            self._layer_starts,
            (*self._layers[: start - 1], *later),
            self._n_train_images,
            start,
            self.output_layer,
        )

    def concept(self, layer: int, index: int) -> ConceptId:
        """Return the id of a concept by its place; of the layer of outputs, of kind ``output``."""
        return ConceptId(layer, index, OUTPUT if layer == self.output_layer else CLASS)

    def n_concepts(self, layer: int | None = None) -> int:
        """Return the number of concepts of a layer, or of all layers.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        if layer is None:
            return int(self._layer_starts[-1])
        self._check_layer(layer, 1)
        return int(self._layer_starts[layer] - self._layer_starts[layer - 1])

    def concept_row(self, concept: ConceptId) -> int:
        """Return the row of a concept in the sorted table of concepts.

        Raises
        ------
        ConfigError
            If there is no such concept; the message says which exist.
        """
        is_output = concept.kind == OUTPUT and concept.layer == self.output_layer
        if concept.kind != CLASS and not is_output:
            raise ConfigError(
                f"{concept} is a {concept.kind} concept. This graph holds concepts of the class "
                "token only, such as L1/0."
            )
        self._check_layer(concept.layer, 1)
        if not 0 <= concept.index < self.n_concepts(concept.layer):
            raise self._no_such(concept.layer, concept.index)
        return int(self._layer_starts[concept.layer - 1]) + concept.index

    def record(self, concept: ConceptId) -> ConceptRecord:
        """Return the counts and the predictor of a concept; floats are NaN without a predictor.

        Raises
        ------
        ConfigError
            If there is no such concept.
        """
        row = self.concept_row(concept)
        fields = CONCEPT_SCHEMA.names[3:]
        return ConceptRecord(concept, **{name: self._columns[name][row].item() for name in fields})

    def column(self, layer: int, name: str) -> np.ndarray:
        """Return one column of the concepts of a layer, such as ``threshold``, by rising index."""
        self._check_layer(layer, 1)
        rows = slice(self._layer_starts[layer - 1], self._layer_starts[layer])
        return self._columns[name][rows]

    def prevalence(self, layer: int) -> np.ndarray:
        """Return the share of training images in which each concept of a layer is active.

        Returns
        -------
        ndarray of float64, shape (n_concepts,)
            NaN if the number of training images was not given.
        """
        return self.column(layer, "n_train") / (self._n_train_images or np.nan)

    def parents(self, concept: ConceptId) -> EdgeList:
        """Return the parents of a concept; in layer 1 it has none.

        Raises
        ------
        ConfigError
            If there is no such concept.
        """
        self.concept_row(concept)
        if concept.layer == 1:
            return no_edges(concept.layer - 1)
        edges = self._layers[concept.layer - 2]
        entries = slice(edges.starts[concept.index], edges.starts[concept.index + 1])
        return strongest_first(
            concept.layer - 1,
            edges.parents[entries],
            edges.weights[entries],
            edges.selection_rates[entries],
        )

    def children(self, concept: ConceptId) -> EdgeList:
        """Return the children of a concept; in the last layer it has none.

        Raises
        ------
        ConfigError
            If there is no such concept.
        """
        self.concept_row(concept)
        if concept.layer == self.n_layers:
            return no_edges(concept.layer + 1)
        edges = self._layers[concept.layer - 1]
        first, last = edges.by_parent_starts[concept.index : concept.index + 2]
        entries = edges.by_parent_entries[first:last]
        return strongest_first(
            concept.layer + 1,
            edges.by_parent_children[first:last],
            edges.weights[entries],
            edges.selection_rates[entries],
        )

    def edges_into(
        self, children: np.ndarray, child_layer: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return every edge into some concepts of a layer.

        Parameters
        ----------
        children : ndarray of int, shape (n_children,)
            Indices of concepts, each once.
        child_layer : int
            Their layer, 2..L.

        Returns
        -------
        parent : ndarray of int32, shape (n_edges,)
        place : ndarray of int64, shape (n_edges,)
            Place in `children` of each edge's child, rising; for one child parents rise.
        weight : ndarray of float32, shape (n_edges,)

        Raises
        ------
        ConfigError
            If there is no such layer or concept.
        """
        self._check_layer(child_layer, 2)
        children = self._check_indices(child_layer, children)
        edges = self._layers[child_layer - 2]
        place, entries = edges.into(children)
        return edges.parents[entries], place, edges.weights[entries]

    def edges_among(
        self, active_left: np.ndarray, active_right: np.ndarray, child_layer: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the edges from some concepts of a layer to some of the next.

        Parameters
        ----------
        active_left : ndarray of int, shape (n_left,)
            Indices of concepts in layer ``child_layer - 1``.
        active_right : ndarray of int, shape (n_right,)
            Indices of concepts in layer `child_layer`.
        child_layer : int
            2..L.

        Returns
        -------
        parent, child : ndarray of int32, shape (n_edges,)
        weight : ndarray of float32, shape (n_edges,)
            Sorted by (child, parent).

        Raises
        ------
        ConfigError
            If there is no such layer or concept.
        """
        children = np.unique(np.asarray(active_right, dtype=np.int32))
        parent, place, weight = self.edges_into(children, child_layer)
        is_active = np.zeros(self.n_concepts(child_layer - 1), dtype=bool)
        is_active[self._check_indices(child_layer - 1, active_left)] = True
        among = is_active[parent]
        return parent[among], children[place[among]], weight[among]

    def weight_matrix(self, child_layer: int) -> sparse.csr_array:
        """Return the weights into a layer, shape ``(n_children, n_parents)``, without a copy."""
        self._check_layer(child_layer, 2)
        from scipy import sparse

        edges = self._layers[child_layer - 2]
        shape = (self.n_concepts(child_layer), self.n_concepts(child_layer - 1))
        return sparse.csr_array((edges.weights, edges.parents, edges.starts), shape=shape)

    def score(
        self,
        child_layer: int,
        indices: np.ndarray,
        values: np.ndarray | None = None,
        children: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return balanced log-odds of the concepts of a layer, given one image's inputs.

        Balanced means: in a world where half the images have the concept, the world in which its
        predictor was fitted (paper, section 3.3).

        Parameters
        ----------
        child_layer : int
            2..L.
        indices : ndarray of int, shape (n_inputs,)
            Concepts of layer ``child_layer - 1`` whose input is not zero, each once.
        values : ndarray of float, shape (n_inputs,), optional
            Their inputs; without it 1 each, as for labels.
        children : ndarray of int, shape (n_children,), optional
            Concepts to score; all of the layer if not given.

        Returns
        -------
        ndarray of float32, shape (n_children,)
            NaN where no predictor was fitted.

        Raises
        ------
        ConfigError
            If there is no such layer or concept.
        DataError
            If there are not as many values as indices.
        """
        self._check_layer(child_layer, 2)
        indices = self._check_indices(child_layer - 1, indices)
        if values is not None and np.shape(values) != indices.shape:
            raise DataError(
                f"{len(indices)} inputs were named and values of shape {np.shape(values)} given. "
                "Give one value for each."
            )
        inputs = np.zeros(self.n_concepts(child_layer - 1), dtype=np.float32)
        inputs[indices] = 1.0 if values is None else values
        intercepts = self.column(child_layer, "intercept")
        if children is None:
            # Over the edges from the inputs alone: of a code's few concepts they are few.
            edges = self._layers[child_layer - 2]
            child, entry = edges.from_parents(indices)
            summands = edges.weights[entry] * inputs[edges.parents[entry]]
            return intercepts + np.bincount(child, summands, len(intercepts)).astype(np.float32)
        children = np.asarray(children, dtype=np.int64)
        parent, place, weight = self.edges_into(children, child_layer)
        sums = np.bincount(place, weights=weight * inputs[parent], minlength=len(children))
        return intercepts[children] + sums.astype(np.float32)

    def probability(
        self,
        child_layer: int,
        indices: np.ndarray,
        values: np.ndarray | None = None,
        children: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return calibrated probabilities of the concepts of a layer: how often they are active.

        The Platt pair of each concept maps its balanced log-odds to its natural prevalence.
        Parameters and errors are those of `score`.

        Returns
        -------
        ndarray of float32, shape (n_children,)
            NaN where no predictor was fitted.
        """
        score = self.score(child_layer, indices, values, children)
        chosen = slice(None) if children is None else np.asarray(children, dtype=np.int64)
        slope = self.column(child_layer, "slope")[chosen]
        with np.errstate(over="ignore"):  # the exponential of a large number is infinite, and p 0
            return 1 / (1 + np.exp(-(slope * score + self.column(child_layer, "offset")[chosen])))

    def _check_layer(self, layer: int, lowest: int) -> None:
        if not lowest <= layer <= self.n_layers:
            what = "children are" if lowest == 2 else "concepts are"
            raise ConfigError(
                f"There is no layer {layer} here: {what} in layers {lowest} to {self.n_layers}."
            )

    def _check_indices(self, layer: int, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices, dtype=np.int64)
        n = self.n_concepts(layer)
        if len(indices) and (indices.min() < 0 or indices.max() >= n):
            raise self._no_such(layer, int(indices[(indices < 0) | (indices >= n)][0]))
        return indices

    def _no_such(self, layer: int, index: int) -> ConfigError:
        last = self.n_concepts(layer) - 1
        return ConfigError(
            f"There is no concept L{layer}/{index}: layer {layer} has L{layer}/0 to "
            f"L{layer}/{last}, and the layers are 1 to {self.n_layers}."
        )
