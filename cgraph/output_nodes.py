"""What the model says in the end as nodes of the graph: ``O/tench``, ``O/approved``.

An output is a class of the model's head, or the likeness of an image to a typed text above a
threshold. It is a concept of one more layer, L + 1, predicted from the labels of layer L like any
child. `OutputNodes.extended` returns the graph with that layer, through which labels are rolled,
paths are followed and bounds are taken as through any other. Of the network they are measured:
`OutputNodes.labels` are what the whole model said of each image of the study.

People write ``O/`` and the name. In a `ConceptId` the kind is ``output``, the layer L + 1, and the
index the place among the study's outputs.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.edge_index import LayerEdges
from cgraph.errors import ConfigError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.graph_tables import (
    CONCEPT_SCHEMA,
    OUTPUT,
    check_predictors,
    read_columns,
    read_edges,
)
from cgraph.output_tables import (
    CLASS_SOURCE,
    FILES,
    FITTED_ON,
    LABEL_SCHEMA,
    OUTPUT_LABELS,
    OUTPUT_SCHEMA,
    OUTPUTS,
    REFITTED_FILES,
    RULES,
    SOURCES,
    TOP_CLASS,
    fitted_on,
)
from cgraph.refitted_predictors import FIELDS, Arrays, refitted_part
from cgraph.store import FileRecord, as_array, read_table
from cgraph.study_checks import check_columns, fitting

PREFIX = "O/"
"""What a written name begins with."""

LONGEST_NAME = 60


@dataclass(frozen=True)
class OutputNode:
    """One output; the fields are columns of ``outputs/outputs.arrow``."""

    name: str
    source: str
    text: str
    against: tuple[str, ...]
    class_index: int
    rule: str
    threshold: float
    separation: float
    n_train: int
    n_tune: int
    n_held_out: int
    n_parents: int
    auc: float
    ap: float
    f1: float

    @property
    def written(self) -> str:
        """The name as people write it, such as ``O/approved``."""
        return PREFIX + self.name

    @property
    def meaning(self) -> str:
        """When it is on, in words."""
        if self.rule == TOP_CLASS:
            return f"the likeliest class is {self.text}"
        what = f"p({self.text})" if self.source == CLASS_SOURCE else f"likeness to “{self.text}”"
        others = ", ".join(f"“{other}”" for other in self.against)
        above = f" less the mean to {others}" if len(self.against) > 1 else f" less to {others}"
        return f"{what}{above if others else ''} ≥ {self.threshold:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; None for what is not known."""
        return {name: None if value != value else value for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class OutputNodes:
    """All outputs of a study. Read them with `read_outputs`, or as `Study.outputs`.

    Attributes
    ----------
    nodes : tuple of OutputNode
        At least one.
    layer : int
        L + 1.
    labels : ndarray of bool, shape (n_images, n_outputs)
        What the model said of each image of the study.
    values : ndarray of float32, shape (n_images, n_outputs)
        Probability of the class, or cosine of image and text, less the mean cosine of texts that it
        is held against.
    columns : dict of str to ndarray, shape (n_outputs,)
        Counts and edge predictors: the columns of ``graph/concepts.arrow`` but ``kind``.
    edges : LayerEdges
        From layer L.
    refits : mapping of int to dict of str to ndarray
        By start layer, 1 … L: ``weight`` of each edge, and `FIELDS` of each output, of predictors
        refitted on what is passed on. Empty where the study has none.
    """

    nodes: tuple[OutputNode, ...]
    layer: int
    labels: np.ndarray
    values: np.ndarray
    columns: Mapping[str, np.ndarray]
    edges: LayerEdges
    refits: Mapping[int, Arrays]

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, without ``O/``, in the order of their indices."""
        return tuple(node.name for node in self.nodes)

    @cached_property
    def ids(self) -> tuple[ConceptId, ...]:
        """Ids of all outputs."""
        return tuple(ConceptId(self.layer, place, OUTPUT) for place in range(len(self.nodes)))

    def id_of(self, name: str) -> ConceptId:
        """Return the id of an output by its name, with or without ``O/``.

        Raises
        ------
        ConfigError
            If there is none; the message says which there are.
        """
        wanted = name.strip()
        for form in (wanted, wanted.removeprefix(PREFIX)):
            if form in self.names:
                return self.ids[self.names.index(form)]
        raise ConfigError(no_such_output(wanted.removeprefix(PREFIX), self.names))

    def node(self, concept: ConceptId) -> OutputNode:
        """Return an output by its id.

        Raises
        ------
        ConfigError
            If it is the id of another concept.
        """
        if concept not in self.ids:
            raise ConfigError(f"{concept} is none of the study's outputs.")
        return self.nodes[concept.index]

    def written(self, concept: ConceptId) -> str:
        """Return how people write a concept: an output by its name, others as they always are."""
        return self.node(concept).written if concept.kind == OUTPUT else str(concept)

    def extended(self, graph: ConceptGraph) -> ConceptGraph:
        """Return a graph of the study with the outputs as one more layer.

        Parameters
        ----------
        graph : ConceptGraph
            The study's own, one with some of its edges, or one refitted for rollouts. The outputs
            of a refitted graph are predicted by what was refitted for the same start layer, those
            of any other by their edge predictors.

        Raises
        ------
        ConfigError
            If it is not a graph of this study, or has its outputs already.
        StudyError
            If the graph is a refitted one, and no predictors of outputs were refitted for it.
        """
        return _extended(self, graph)


@lru_cache(maxsize=64)
def _extended(outputs: OutputNodes, graph: ConceptGraph) -> ConceptGraph:
    last = graph.n_layers if graph.output_layer is None else graph.n_layers - 1
    if last != outputs.layer - 1 or graph.n_concepts(last) != outputs.edges.n_parents:
        raise ConfigError(
            f"The graph has {graph.n_concepts(last)} concepts in layer {last}, and the outputs are "
            f"predicted from {outputs.edges.n_parents} in layer {outputs.layer - 1}. Extend a "
            "graph of the study that the outputs belong to."
        )
    if graph.refitted_from is None:
        return graph.extended(dict(outputs.columns), outputs.edges)
    part = outputs.refits.get(graph.refitted_from)
    if part is None:
        raise StudyError(
            "The outputs of this study have no predictors for the rule refitted from layer "
            f"{graph.refitted_from}. Run `cgraph outputs STUDY --refit`, which needs no pictures."
        )
    columns = {**outputs.columns, **{name: part[name] for name in FIELDS}}
    return graph.extended(columns, dataclasses.replace(outputs.edges, weights=part["weight"]))


def no_such_output(name: str, names: tuple[str, ...]) -> str:
    """Return the sentence about an output that is not there."""
    near = difflib.get_close_matches(name, names, 1)
    guess = f" Did you mean {PREFIX}{near[0]}?" if near else ""
    known = ", ".join(PREFIX + other for other in names)
    return f"There is no output {PREFIX}{name}: the study has {known}.{guess}"


def check_name(name: str) -> str:
    """Return the name of an output without blanks around it.

    Raises
    ------
    ConfigError
        If it is empty, too long, holds signs that cannot be seen, or begins with ``O/``.
    """
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name.startswith(PREFIX):
        raise ConfigError(
            f"{name[:80]!r} cannot be the name of an output: 1 to {LONGEST_NAME} visible "
            f"characters are allowed, and no {PREFIX} at its beginning, which is put there anyway. "
            "Give another with --name."
        )
    return name


def stored_outputs(
    files: Mapping[str, FileRecord],
    file: Callable[[str], Path],
    graph: ConceptGraph,
    n_images: int,
    folder: Path,
) -> OutputNodes:
    """Read the outputs of a study folder.

    Parameters
    ----------
    files : mapping of str to FileRecord
        Of the manifest.
    file : callable
        Returns the path of a file of the study, checked against its hash.
    graph : ConceptGraph
        The study's own.
    n_images : int
        Images of the study.
    folder : Path
        Of the study, for messages.

    Raises
    ------
    StudyError
        If a file was changed, or does not fit the rest of the study.
    """
    tables = {Path(name).stem: read_table(file(name)) for name in FILES}
    for name, schema in ((OUTPUTS, OUTPUT_SCHEMA), (OUTPUT_LABELS, LABEL_SCHEMA)):
        with fitting(folder / name):
            check_columns(tables[Path(name).stem], schema)
    refitted = None
    if all(name in files for name in REFITTED_FILES):
        edges, concepts = (read_table(file(name)) for name in REFITTED_FILES)
        # Of a study whose rollout was measured again, they say nothing any more.
        if (edges.schema.metadata or {}).get(FITTED_ON) == fitted_on(files):
            refitted = edges, concepts
    with fitting(folder / Path(OUTPUTS).parent):
        return read_outputs(tables, graph, n_images, refitted)


def read_outputs(
    tables: Mapping[str, pa.Table],
    graph: ConceptGraph,
    n_images: int,
    refitted: tuple[pa.Table, pa.Table] | None = None,
) -> OutputNodes:
    """Check the tables of the outputs and put them together.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        ``outputs``, ``concepts``, ``edges`` and ``labels``, with the columns of their schemas.
    graph : ConceptGraph
        The study's own.
    n_images : int
        Images of the study.
    refitted : pair of pyarrow.Table, optional
        Edges and concepts of predictors refitted for rollouts.

    Raises
    ------
    ValueError, StudyError
        If a table is not what it should be.
    """
    rows = tables["outputs"].to_pylist()
    nodes = tuple(OutputNode(**{**row, "against": tuple(row["against"])}) for row in rows)
    n_outputs, layer = len(nodes), graph.n_layers + 1
    if not nodes or len({node.name for node in nodes}) != n_outputs:
        raise ValueError("there are no outputs, or two of one name")
    for node in nodes:
        check_name(node.name)
        if node.source not in SOURCES or node.rule not in RULES:
            raise ValueError(f"the output {node.name!r} is a {node.source!r} by {node.rule!r}")
    columns = read_columns(tables["concepts"], CONCEPT_SCHEMA, "outputs", {"kind": OUTPUT})
    wanted = np.full(n_outputs, layer), np.arange(n_outputs)
    if not all(map(np.array_equal, (columns["layer"], columns["index"]), wanted)):
        raise ValueError(f"its concepts are not 0 to {n_outputs - 1} of layer {layer}")
    check_predictors(columns)
    sizes = [graph.n_concepts(place) for place in range(1, layer)]
    starts = np.cumsum([0, *sizes, n_outputs])
    edge_columns, edge_starts = read_edges(tables["edges"], starts, OUTPUT)
    if (edge_columns["child_layer"] != layer).any():
        raise ValueError(f"it has edges into other layers than {layer}")
    edges = LayerEdges.index(edge_columns, edge_starts[starts[-2] :], sizes[-1])
    labels, values = _labels(tables["labels"], n_images, n_outputs)
    refits: dict[int, Arrays] = {}
    for start in range(1, layer) if refitted is not None else ():
        assert refitted is not None
        part = refitted_part(*refitted, start)
        found = len(part["weight"]), *(len(part[name]) for name in FIELDS)
        if found != (len(edges.weights), *[n_outputs] * len(FIELDS)):
            raise ValueError(f"refitted predictors from layer {start} are not those of its edges")
        refits[start] = part
    return OutputNodes(nodes, layer, labels, values, columns, edges, refits)


def _labels(table: pa.Table, n_images: int, n_outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and values, ``(n_images, n_outputs)``."""
    columns = {name: as_array(table.column(name).combine_chunks()) for name in table.column_names}
    keys = columns["output"].astype(np.int64) * n_images + columns["row"]
    if not np.array_equal(keys, np.arange(n_images * n_outputs)):
        raise ValueError(f"there are not {n_outputs} labels of each of {n_images} images")
    if not np.isfinite(columns["value"]).all():
        raise ValueError("a value is not a finite number")
    shape = n_outputs, n_images
    return columns["label"].reshape(shape).T, columns["value"].reshape(shape).T
