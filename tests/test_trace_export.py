"""Traces as CSV: what was written can be read back, and no cell is a formula."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pandas as pd
from measured_graph import hand_facts
from test_trace import hand_trace

from cgraph.concept import ConceptId
from cgraph.edge_facts import FIELDS
from cgraph.trace import Absence, Trace
from cgraph.trace_export import (
    CONCEPT_COLUMNS,
    EDGE_COLUMNS,
    concepts_csv,
    edges_csv,
    trace_values,
)

NAMES = {ConceptId(3, 0): 'red, "round"\nball', ConceptId(3, 1): "=cmd()"}


def name_of(concept: ConceptId) -> str:
    return NAMES.get(concept, "")


def test_concepts_can_be_read_back():
    absent = Absence(ConceptId(2, 2), 0.5, 0.25)
    trace = dataclasses.replace(hand_trace(), absences=((), (absent,), ()))
    table = pd.read_csv(io.StringIO(concepts_csv([trace], name_of)), keep_default_na=False)
    assert tuple(table.columns) == CONCEPT_COLUMNS
    assert table["concept"].tolist() == [
        *(str(active.concept) for layer in trace.layers for active in layer),
        "L2/2",
    ]
    row = table[table["concept"] == "L3/0"].iloc[0]
    active = trace.active(ConceptId(3, 0))
    assert (row["image_id"], row["layer"], row["state"]) == ("apple.png", 3, "active")
    assert row["name"] == NAMES[ConceptId(3, 0)]
    assert float(row["coefficient"]) == active.coefficient
    assert float(row["probability"]) == active.probability
    assert float(row["lift"]) == active.lift
    assert (row["parents_active"], row["parents"]) == ("2", "3")
    first = table[table["layer"] == 1].iloc[0]
    assert first["probability"] == first["lift"] == first["surprise"] == ""
    last = table.iloc[-1]
    assert (last["state"], float(last["coefficient"]), float(last["lift"])) == ("absent", 0, 2)


def test_edges_can_be_read_back():
    trace = hand_trace()
    other = hand_trace(image_id="pear.png")
    table = pd.read_csv(io.StringIO(edges_csv([trace, other], name_of)), keep_default_na=False)
    assert tuple(table.columns) == EDGE_COLUMNS
    assert len(table) == 2 * len(trace.edges)
    for (_, row), edge in zip(table.iterrows(), (*trace.edges, *other.edges), strict=True):
        assert (row["parent"], row["child"]) == (str(edge.parent), str(edge.child))
        assert (row["weight"], row["contribution"], row["share"]) == (
            edge.weight,
            edge.contribution,
            edge.share,
        )
    assert set(table["image_id"]) == {"apple.png", "pear.png"}


def test_words_are_no_formulas_to_a_spreadsheet():
    trace = dataclasses.replace(hand_trace(), image_id="=HYPERLINK(1).png")
    for text in (concepts_csv([trace], name_of), edges_csv([trace], name_of)):
        for row in list(csv.reader(io.StringIO(text)))[1:]:
            assert row[0] == "'=HYPERLINK(1).png"
            assert not any(cell.startswith(("=", "@", "+")) for cell in row)


def test_edges_say_what_was_measured():
    trace, facts = hand_trace(), hand_facts()
    table = pd.read_csv(io.StringIO(edges_csv([trace], name_of, facts)))
    assert tuple(table.columns) == (*EDGE_COLUMNS, *FIELDS)
    rows = {(row["parent"], row["child"]): row for _, row in table.iterrows()}
    assert len(rows) == len(trace.edges)
    assert rows["L1/2", "L2/0"]["verdict"] == "contradicted"
    assert rows["L2/1", "L3/1"]["effect"] == 0.375
    alone = pd.read_csv(io.StringIO(edges_csv([trace], name_of, hand_facts("worth"))))
    assert tuple(alone.columns) == (*EDGE_COLUMNS, "worth")
    assert edges_csv([trace], name_of, hand_facts("leakage")) == edges_csv([trace], name_of)


def test_a_trace_with_measurements_is_still_one():
    trace = hand_trace()
    values = json.loads(json.dumps(trace_values(trace, hand_facts()), allow_nan=False))
    measured = {(e["parent"], e["child"]): e["measured"] for e in values["edges"]}
    assert measured["L1/0", "L2/0"]["effect"] == 0.5
    assert measured["L2/1", "L3/0"] | {"worth": 0.0} == measured["L2/1", "L3/0"]
    assert measured["L2/1", "L3/0"]["effect"] is None
    assert Trace.from_dict(values) == trace
    assert trace_values(trace) == trace_values(trace, hand_facts("leakage")) == trace.to_dict()
