"""The graph, or a part of it, as a file for other programs.

==========  ==================================================================================
GraphML     for networkx (``read_graphml``), Gephi, yEd, Cytoscape and igraph
GEXF 1.2    for Gephi and networkx (``read_gexf``)
JSON        networkx's node-link form: ``node_link_graph(json.load(file), edges="edges")``
Parquet     one row an edge, with what is known of both ends
CSV         the same for spreadsheets
==========  ==================================================================================

Nodes are called by their ids (``L7/609``) and edges point from parent to child. A weight is written
with as many digits as bring back the same single-precision number. What is not known is left out.
Files are written in pieces, since the whole graph of a large study is hundreds of megabytes of XML.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa

from cgraph.concept import ConceptId
from cgraph.edge_facts import FIELDS, EdgeFacts
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.study_graph import StudyGraph
from cgraph.subgraph import GraphEdge, Subgraph
from cgraph.trace_export import cell_text


@dataclass(frozen=True)
class Format:
    """A kind of file: what people call it, how its name ends, and its media type."""

    label: str
    suffix: str
    mime: str


FORMATS = {
    "graphml": Format("GraphML", ".graphml", "application/graphml+xml"),
    "gexf": Format("GEXF", ".gexf", "application/gexf+xml"),
    "json": Format("JSON", ".json", "application/json"),
    "parquet": Format("Parquet", ".parquet", "application/vnd.apache.parquet"),
    "csv": Format("CSV", ".csv", "text/csv"),
}

_PIECE = 50_000  # edges written at once

_NODE_FIELDS = {
    "layer": "int",
    "index": "int",
    "name": "string",
    "prevalence": "double",
    "auc": "double",
    "group": "string",
}
_EDGE_FIELDS = {"weight": "double", "selection_rate": "double"}


@dataclass(frozen=True)
class ExportTables:
    """Nodes and edges, ready to be written.

    Attributes
    ----------
    name : str
        Name of the study.
    nodes : pyarrow.Table
        ``id``, ``layer``, ``index``, ``name``, ``prevalence`` (share of training images), ``auc``
        (held-out) and ``group`` (label under which it is pinned); null where not known.
    source, target : ndarray of int64
        Rows of `nodes`, for each edge.
    weight, selection_rate : ndarray of float32
    facts : mapping of str to pyarrow.Array
        What was measured of each edge, as `EdgeFacts.taken` returns it.
    """

    name: str
    nodes: pa.Table
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    selection_rate: np.ndarray
    facts: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def edges(self) -> pa.Table:
        """One row an edge, with what is known of both ends."""
        columns: dict[str, Any] = {}
        for end, rows in (("source", self.source), ("target", self.target)):
            taken = self.nodes.take(pa.array(rows))
            columns[end] = taken.column("id")
            for name in ("layer", "name", "prevalence", "auc", "group"):
                columns[f"{end}_{name}"] = taken.column(name)
        order = ["source", "target", "weight", "selection_rate", *self.facts]
        columns["weight"] = pa.array(self.weight)
        columns["selection_rate"] = pa.array(self.selection_rate)
        columns |= self.facts
        return pa.table({n: columns[n] for n in [*order, *(c for c in columns if c not in order)]})


def whole_tables(of: StudyGraph, graph: ConceptGraph | None = None) -> ExportTables:
    """Return all concepts of a study, with all edges or those that a filter keeps.

    Parameters
    ----------
    of : StudyGraph
    graph : ConceptGraph, optional
        As `StudyGraph.filtered` returns it.
    """
    graph = graph or of.graph
    sizes = [graph.n_concepts(layer) for layer in range(1, graph.n_layers + 1)]
    concepts = [ConceptId(layer, i) for layer, n in enumerate(sizes, start=1) for i in range(n)]
    first = np.cumsum([0, *sizes])
    pairs = [graph.layer_edges(layer) for layer in range(2, graph.n_layers + 1)]

    def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)

    places = [
        of.facts.places(layer, edges.parents, edges.children)
        for layer, edges in enumerate(pairs if of.facts else (), start=2)
    ]
    return ExportTables(
        name=of.study.name,
        nodes=_nodes(of, concepts, {}),
        source=joined([e.parents + first[i] for i, e in enumerate(pairs)], np.int64),
        target=joined([e.children + first[i + 1] for i, e in enumerate(pairs)], np.int64),
        weight=joined([edges.weights for edges in pairs], np.float32),
        selection_rate=joined([edges.selection_rates for edges in pairs], np.float32),
        facts=of.facts.taken(joined(places, np.int64)),
    )


def part_tables(
    of: StudyGraph, part: Subgraph, groups: Mapping[ConceptId, str] | None = None
) -> ExportTables:
    """Return a part of the graph.

    Parameters
    ----------
    of : StudyGraph
    part : Subgraph
    groups : mapping of ConceptId to str, optional
        Labels of groups.
    """
    place = {concept: i for i, concept in enumerate(part.concepts)}
    edges = part.edges
    return ExportTables(
        name=of.study.name,
        nodes=_nodes(of, part.concepts, groups or {}),
        source=np.array([place[edge.parent] for edge in edges], dtype=np.int64),
        target=np.array([place[edge.child] for edge in edges], dtype=np.int64),
        weight=np.array([edge.weight for edge in edges], dtype=np.float32),
        selection_rate=np.array([edge.selection_rate for edge in edges], dtype=np.float32),
        facts=of.facts.taken(_places(of.facts, edges)),
    )


def _places(facts: EdgeFacts, edges: Sequence[GraphEdge]) -> np.ndarray:
    return np.array([facts.place(*edge.ends) for edge in edges if facts], dtype=np.int64)


def _nodes(
    of: StudyGraph, concepts: Sequence[ConceptId], groups: Mapping[ConceptId, str]
) -> pa.Table:
    rows = np.array([of.graph.concept_row(concept) for concept in concepts], dtype=np.int64)

    def known(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=~np.isfinite(values))

    return pa.table(
        {
            "id": pa.array([str(concept) for concept in concepts], pa.string()),
            "layer": pa.array([concept.layer for concept in concepts], pa.int32()),
            "index": pa.array([concept.index for concept in concepts], pa.int32()),
            "name": pa.array([of.name(concept) or None for concept in concepts], pa.string()),
            "prevalence": known(of.prevalence[rows]),
            "auc": known(of.auc[rows]),
            "group": pa.array([groups.get(concept) or None for concept in concepts], pa.string()),
        }
    )


def export(tables: ExportTables, kind: str) -> Iterator[bytes]:
    """Write a graph.

    Parameters
    ----------
    tables : ExportTables
    kind : str
        A key of `FORMATS`.

    Yields
    ------
    bytes
        The file, piece by piece.

    Raises
    ------
    ConfigError
        If there is no such format.
    """
    if kind not in _WRITERS:
        raise ConfigError(f"The format is {kind!r}: choose one of {', '.join(FORMATS)}.")
    yield from _WRITERS[kind](tables)


def _json(tables: ExportTables) -> Iterator[bytes]:
    head = {"directed": True, "multigraph": False, "graph": {"name": tables.name}}
    nodes = [
        json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False)
        for row in tables.nodes.to_pylist()
    ]
    yield (json.dumps(head, ensure_ascii=False)[:-1] + ',\n"nodes": [\n').encode()
    yield ",\n".join(nodes).encode()
    yield b'\n],\n"edges": [\n'
    before = b""
    for lines in _lines(
        tables,
        ('{"source": "', '", "target": "', '", "weight": ', ', "selection_rate": ', ""),
        end="}",
        known=(', "{name}": ', ""),
        quote='"',
        separator=",\n",
    ):
        yield before + lines
        before = b",\n"
    yield b"\n]}\n"


def _graphml(tables: ExportTables) -> Iterator[bytes]:
    keys = [
        f'<key id="{name}" for="{what}" attr.name="{name}" attr.type="{kind}"/>'
        for what, fields in (("node", _NODE_FIELDS), ("edge", _edge_fields(tables)))
        for name, kind in fields.items()
    ]
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
        + "\n".join(keys)
        + f'\n<graph id={quoteattr(_clean(tables.name))} edgedefault="directed">\n'
    ).encode()
    for row in tables.nodes.to_pylist():
        data = "".join(
            f'<data key="{name}">{_xml(row[name])}</data>'
            for name in _NODE_FIELDS
            if row[name] is not None
        )
        yield f'<node id="{row["id"]}">{data}</node>\n'.encode()
    yield from _lines(
        tables,
        (
            '<edge source="',
            '" target="',
            '"><data key="weight">',
            '</data><data key="selection_rate">',
            "</data>",
        ),
        known=('<data key="{name}">', "</data>"),
        end="</edge>\n",
    )
    yield b"</graph>\n</graphml>\n"


def _gexf(tables: ExportTables) -> Iterator[bytes]:
    kinds = {"int": "integer"}

    def declared(fields: Mapping[str, str]) -> str:
        return "".join(
            f'<attribute id="{name}" title="{name}" type="{kinds.get(kind, kind)}"/>\n'
            for name, kind in fields.items()
        )

    of_edges = {name: kind for name, kind in _edge_fields(tables).items() if name != "weight"}
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gexf xmlns="http://www.gexf.net/1.2draft" version="1.2">\n'
        f"<meta><description>{_xml(tables.name)}</description></meta>\n"
        '<graph defaultedgetype="directed" mode="static">\n'
        f'<attributes class="node" mode="static">\n{declared(_NODE_FIELDS)}</attributes>\n'
        f'<attributes class="edge" mode="static">\n{declared(of_edges)}</attributes>\n<nodes>\n'
    ).encode()
    for row in tables.nodes.to_pylist():
        values = "".join(
            f'<attvalue for="{name}" value={quoteattr(_clean(str(row[name])))}/>'
            for name in _NODE_FIELDS
            if row[name] is not None
        )
        label = quoteattr(_clean(row["name"] or row["id"]))
        yield (
            f'<node id="{row["id"]}" label={label}><attvalues>{values}</attvalues></node>\n'
        ).encode()
    yield b"</nodes>\n<edges>\n"
    yield from _lines(
        tables,
        (
            '<edge source="',
            '" target="',
            '" weight="',
            '"><attvalues><attvalue for="selection_rate" value="',
            '"/>',
        ),
        known=('<attvalue for="{name}" value="', '"/>'),
        end="</attvalues></edge>\n",
        number='" id="',
    )
    yield b"</edges>\n</graph>\n</gexf>\n"


def _edge_fields(tables: ExportTables) -> dict[str, str]:
    return _EDGE_FIELDS | {name: FIELDS[name] for name in tables.facts}


def _lines(
    tables: ExportTables,
    pieces: tuple[str, str, str, str, str],
    *,
    known: tuple[str, str],
    quote: str = "",
    end: str = "",
    separator: str = "",
    number: str = "",
) -> Iterator[bytes]:
    """Write every edge as source, target, weight and selection rate with text around them.

    What was measured and is known follows with the text of `known` around it, words in a `quote`,
    and then the `end`. With `number` a running number follows the target,
    after that text.
    """
    import pyarrow.compute as pc

    ids = tables.nodes.column("id").combine_chunks()
    before, between, then, last, after = pieces
    for start in range(0, len(tables.weight), _PIECE):
        span = slice(start, start + _PIECE)
        # A single-precision number becomes the shortest text that reads back as itself.
        columns: list[Any] = [
            before,
            ids.take(pa.array(tables.source[span])),
            between,
            ids.take(pa.array(tables.target[span])),
        ]
        if number:
            places = np.arange(start, start + len(tables.weight[span]))
            columns += [number, pa.array(places).cast(pa.string())]
        columns += [
            then,
            pa.array(tables.weight[span]).cast(pa.string()),
            last,
            pa.array(tables.selection_rate[span]).cast(pa.string()),
        ]
        facts = []
        for name, values in tables.facts.items():
            mark = quote if FIELDS[name] == "string" else ""
            text = values[span].cast(pa.string())
            whole = pc.binary_join_element_wise(
                known[0].format(name=name) + mark, text, mark + known[1], ""
            )
            facts.append(pc.fill_null(whole, ""))
        lines = pc.binary_join_element_wise(*columns, after, *facts, end, "")
        yield separator.join(lines.to_pylist()).encode()


def _parquet(tables: ExportTables) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(tables.edges.replace_schema_metadata({"study": tables.name}), sink)
    yield sink.getvalue()


def _csv(tables: ExportTables) -> Iterator[bytes]:
    import pyarrow.csv as pcsv

    edges = tables.edges
    for name in ("source_name", "target_name", "source_group", "target_group"):
        place = edges.schema.get_field_index(name)
        texts = [text and cell_text(text) for text in edges.column(name).to_pylist()]
        edges = edges.set_column(place, name, pa.array(texts, pa.string()))
    sink = io.BytesIO()
    pcsv.write_csv(edges, sink)
    yield sink.getvalue()


_WRITERS = {
    "graphml": _graphml,
    "gexf": _gexf,
    "json": _json,
    "parquet": _parquet,
    "csv": _csv,
}


def _clean(text: str) -> str:
    """Return a text without the signs that XML cannot hold."""
    return "".join(sign for sign in text if sign >= " " or sign in "\t\n\r").replace("\ufffe", "")


def _xml(value: object) -> str:
    return escape(_clean(str(value)))
