"""The hand-computed graph with measurements of its edges and concepts, written down by hand."""

from __future__ import annotations

import pyarrow as pa
from graph_examples import hand_graph

from cgraph import truth_tables as words
from cgraph.concept_truth import MeasuredConcepts
from cgraph.edge_facts import EdgeFacts

NAN = float("nan")

EDGES = [(1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 1, 1), (2, 0, 0), (2, 1, 0), (2, 2, 0), (2, 1, 1)]
"""Parent layer, parent and child in the graph's order: by (child layer, child, parent)."""

VERDICTS = [
    *("specific", "supported", "contradicted", "no effect"),
    *("specific", "not measured", "supported", "supported"),
]
ORIGINS = ["carried", "computed", "", "", "both", "", "carried", "computed"]
EFFECTS = [0.5, 0.25, -0.125, 0.0, 1.0, NAN, 0.75, 0.375]
WORTH = [0.125, 0.0, -0.25, NAN, 0.5, 0.0, 0.0, 0.0625]
AGAIN = [True, False, True, True, False, True, False, True]


def _table(schema: pa.Schema, rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _keys() -> list[dict]:
    names = [name for name, _ in words.EDGE_KEY]
    return [dict(zip(names, (n, p, n + 1, c), strict=True)) for n, p, c in EDGES]


def evidence_table() -> pa.Table:
    """Return evidence whose intervals reach a quarter to each side."""
    rows = []
    for key, verdict, origin, effect in zip(_keys(), VERDICTS, ORIGINS, EFFECTS, strict=True):
        figures = {
            field.name: NAN for field in words.EVIDENCE_SCHEMA if pa.types.is_floating(field.type)
        } | {"effect": effect, "effect_low": effect - 0.25, "effect_high": effect + 0.25}
        n = 3 if verdict == "not measured" else 32
        rows.append(key | figures | {"n_images": n, "origin": origin, "verdict": verdict})
    return _table(words.EVIDENCE_SCHEMA, rows)


def worth_table() -> pa.Table:
    """Return AUC that is lost without each edge."""
    rows = [k | {"auc_drop": w, "ap_drop": 0.0} for k, w in zip(_keys(), WORTH, strict=True)]
    return _table(words.WORTH_SCHEMA, rows)


def stable_edges_table() -> pa.Table:
    """Return which edges are found again; with other bags all are."""
    rows = [
        k | {"found_again": a, "found_again_bags": True}
        for k, a in zip(_keys(), AGAIN, strict=True)
    ]
    return _table(words.STABLE_EDGE_SCHEMA, rows)


def stable_concepts_table() -> pa.Table:
    """Return concepts of which L1/2 and L3/1 are not found again, and L2/2 is dead."""
    rows = [
        {"layer": n, "index": i, "match": -1 if (n, i) == (2, 2) else 7, "label_jaccard": 0.5}
        | {"found_again": (n, i) not in ((1, 2), (2, 2), (3, 1)), "cosine": 0.95}
        for n, i in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)]
    ]
    return _table(words.STABLE_CONCEPT_SCHEMA, rows)


def leakage_concepts_table() -> pa.Table:
    """Return the gap to the raw token of the concepts from layer 2 on, last ones first."""
    rows = [
        {"layer": n, "index": i, "auc_graph": 0.75, "auc_token": 0.875, "lost_from_class": 0.5}
        | {"lost_from_patches": 0.25}
        for n, i in [(3, 1), (3, 0), (2, 2), (2, 1), (2, 0)]
    ]
    return _table(words.LEAKAGE_CONCEPT_SCHEMA, rows)


TABLES = {
    "evidence": evidence_table,
    "worth": worth_table,
    "stable-edges": stable_edges_table,
    "stable-concepts": stable_concepts_table,
    "leakage-concepts": leakage_concepts_table,
}


def table(*names: str):
    """Return what reads the tables of a study that has those of these names; all if none."""
    return lambda name: TABLES[name]() if name in (names or TABLES) else None


def hand_facts(*names: str) -> EdgeFacts:
    """Return what was measured of the edges of the hand-computed graph."""
    return EdgeFacts.read(hand_graph(), table(*names))


def hand_concepts(*names: str) -> MeasuredConcepts:
    """Return what was measured of its concepts."""
    return MeasuredConcepts.read(hand_graph(), table(*names))
