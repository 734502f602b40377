"""``cgraph graph``: the graph of a study, or a part of it, as a file for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cgraph.errors import ConfigError, DataError

_FORMATS = ("graphml", "gexf", "json", "parquet", "csv")
_SIGNS = ("both", "raises", "lowers")
_MEASURED = {
    "evidence": (
        ("any", "supported", "specific", "no effect", "contradicted", "not measured"),
        "what taking the parent out of the network showed; supported: or better",
    ),
    "origin": (
        ("any", "carried", "computed"),
        "what makes the effect: the residual stream, or the block",
    ),
    "found-again": (
        ("any", "concepts", "edges"),
        "what another seed must have: both concepts, or the edge",
    ),
}
# As in `cgraph.edge_filter`, without loading it.


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    graph = commands.add_parser(
        "graph",
        help="write the graph, or a part of it, for other programs",
        description="Write all concepts and edges of a study, those that filters keep, one pair of "
        "layers, what lies around a concept, or the strongest paths between sets of concepts.",
    )
    graph.add_argument("study", help="a study folder or zip file")
    graph.add_argument("--format", choices=_FORMATS, required=True, help="kind of file")
    graph.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    graph.add_argument("--sign", choices=_SIGNS, default="both", help="keep edges of one sign")
    for name, meaning in _FILTERS.items():
        graph.add_argument(f"--{name}", type=float, metavar="X", help=meaning[1])
    for name, (choices, help_text) in _MEASURED.items():
        graph.add_argument(f"--{name}", choices=choices, default="any", help=help_text)
    graph.add_argument("--pair", type=int, metavar="L", help="only the edges into layer L")
    graph.add_argument("--around", metavar="CONCEPT", help="only what lies around L7/609")
    graph.add_argument("--hops", type=int, default=2, metavar="N", help="layers each way, 1 to 3")
    graph.add_argument("--beam", type=int, default=8, metavar="N", help="concepts of each layer")
    graph.add_argument(
        "--from", dest="sources", metavar="SET", help="only paths from here: L1, L3/7, a name …"
    )
    graph.add_argument("--to", dest="targets", metavar="SET", help="and to here")
    graph.add_argument("--paths", type=int, default=6, metavar="N", help="how many paths")
    graph.set_defaults(run=_graph)


_FILTERS = {
    "min-weight": ("min_weight", "least absolute weight"),
    "min-auc": ("min_auc", "least held-out AUC of the child"),
    "min-prevalence": ("min_prevalence", "least share of images in which both ends are active"),
    "max-prevalence": ("max_prevalence", "greatest such share"),
    "min-rate": ("min_selection_rate", "least selection rate over the bags"),
}
# Options: the field of the filter that each is, and what it means.


def _graph(options: argparse.Namespace) -> int:
    from cgraph.edge_filter import EdgeFilter
    from cgraph.graph_export import export, part_tables, whole_tables
    from cgraph.store import write_pieces
    from cgraph.study import Study
    from cgraph.study_graph import StudyGraph

    parts = {
        "--pair": options.pair is not None,
        "--around": options.around is not None,
        "--from and --to": options.sources is not None or options.targets is not None,
    }
    given = [name for name, is_given in parts.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} ask for different parts. Give one of them.")
    if (options.sources is None) != (options.targets is None):
        missing = "--from" if options.sources is None else "--to"
        raise ConfigError(f"{missing} is missing: paths need a start and an end.")
    if not options.out.name or options.out.is_dir():
        raise ConfigError(f"--out is {options.out}: give the name of a file to write.")
    values = {
        field: getattr(options, name.replace("-", "_")) for name, (field, _) in _FILTERS.items()
    }
    wanted = EdgeFilter(
        sign=options.sign,
        evidence=options.evidence,
        origin=options.origin,
        found_again=options.found_again,
        **{name: value for name, value in values.items() if value is not None},
    )
    of = StudyGraph(Study.open(options.study))
    graph = of.filtered(wanted)
    tables = part_tables(of, _part(options, of, graph)) if given else whole_tables(of, graph)
    write_pieces(options.out, export(tables, options.format))
    print(f"{options.out}: {tables.nodes.num_rows:,} concepts, {len(tables.weight):,} edges")
    return 0


def _part(options: argparse.Namespace, of: Any, graph: Any) -> Any:
    import numpy as np

    from cgraph.concept import ConceptId
    from cgraph.graph_paths import strongest_paths
    from cgraph.neighbourhood import neighbourhood
    from cgraph.subgraph import Subgraph, edges_at

    if options.pair is not None:
        edges = edges_at(
            graph, options.pair, np.arange(len(graph.layer_edges(options.pair).weights))
        )
        ends = sorted({concept for edge in edges for concept in edge.ends})
        return Subgraph(tuple(ends), tuple(edges))
    if options.around is not None:
        centre = ConceptId.parse(options.around)
        hops = {"up": options.hops, "down": options.hops}
        return neighbourhood(graph, centre, **hops, beam=options.beam, sign=options.sign).part
    named = of.named
    sources, targets = named.read_set(options.sources), named.read_set(options.targets)
    sign = "raises" if options.sign == "both" else options.sign
    answer = strongest_paths(graph, sources, targets, n=options.paths, sign=sign)
    if not answer.paths:
        raise DataError(
            f"There is no path from {options.sources} to {options.targets} along edges that "
            f"{'raise' if sign == 'raises' else 'lower'}: every one was followed, and none leads "
            "there. Ask for other ends, or for fewer filters."
        )
    return answer.part
