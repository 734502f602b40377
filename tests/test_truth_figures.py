"""A few numbers for the whole study, against hand-computed ones."""

import pyarrow as pa
import pytest

from cgraph.truth_figures import truth_figures
from cgraph.truth_tables import (
    DIRECT,
    EVIDENCE_PAIR_SCHEMA,
    REFERENCE_SCHEMA,
    REFITTED,
    ROLLOUT_SCHEMA,
    STABLE_CONCEPT_SCHEMA,
    TABLES,
    measurement_of,
)


def _table(schema, *rows):
    empty = {field.name: _empty(field.type) for field in schema}
    return pa.Table.from_pylist([empty | row for row in rows], schema)


def _empty(kind):
    if pa.types.is_string(kind):
        return ""
    return float("nan") if pa.types.is_floating(kind) else 0


def _pair(right, **counts):
    return {"left": right - 1, "right": right, **counts}


def test_nothing_measured_gives_no_figure():
    assert truth_figures(lambda name: None, REFITTED) == {}


def test_shares_are_over_the_pairs_from_the_second_on():
    pairs = _table(
        EVIDENCE_PAIR_SCHEMA,
        _pair(2, n_measured=50, n_positive=40, n_positive_contradicted=40, n_joint=9, n_controls=9),
        _pair(3, n_measured=20, n_positive=10, n_positive_specific=2, n_positive_supported=5,
              n_positive_contradicted=1, n_controls=8, n_controls_supported=1,
              joint_lost=0.5, n_joint=10),
        _pair(4, n_measured=30, n_positive=30, n_positive_specific=10, n_positive_supported=3,
              n_controls=12, n_controls_supported=2, joint_lost=0.8, n_joint=30),
    )  # fmt: skip
    assert truth_figures({"evidence-pairs": pairs}.get, REFITTED) == pytest.approx(
        {
            "edges_measured": 100,
            "edges_supported_share": (2 + 5 + 10 + 3) / 40,
            "edges_specific_share": 12 / 40,
            "edges_contradicted_share": 1 / 40,
            "controls_supported_share": 3 / 20,
            "joint_removal_lost_share": (0.5 * 10 + 0.8 * 30) / 40,
        }
    )


def test_a_pair_that_was_not_measured_gives_no_share():
    pairs = _table(EVIDENCE_PAIR_SCHEMA, _pair(2, n_positive=5), _pair(3))
    assert truth_figures({"evidence-pairs": pairs}.get, REFITTED) == {"edges_measured": 0}


def test_the_gap_is_from_layer_1_to_the_last_by_the_default_rule():
    def row(start, layer, rule, auc, forced=False, probability="calibrated"):
        return {"start": start, "layer": layer, "rule": rule, "auc": auc, "forced": forced,
                "probability": probability}  # fmt: skip

    rollout = _table(
        ROLLOUT_SCHEMA,
        row(1, 2, REFITTED, 0.9),
        row(1, 3, "max", 0.5),
        row(1, 3, REFITTED, 0.99, forced=True),
        row(1, 3, REFITTED, 0.7),
        row(2, 3, REFITTED, 0.8),
    )
    references = _table(
        REFERENCE_SCHEMA,
        {"start": 2, "layer": 3, "reference": DIRECT, "auc": 0.95},
        {"start": 1, "layer": 3, "reference": "prevalence alone", "auc": 0.5},
        {"start": 1, "layer": 3, "reference": DIRECT, "auc": 0.72},
    )
    tables = {"rollout": rollout, "references": references}
    assert truth_figures(tables.get, REFITTED) == pytest.approx({"rollout_gap_to_direct": 0.02})
    assert truth_figures({"rollout": rollout}.get, REFITTED) == {}
    assert truth_figures(tables.get, "top-k") == {}


def test_dead_atoms_are_not_counted():
    stable = _table(
        STABLE_CONCEPT_SCHEMA,
        *({"match": m, "found_again": f} for m, f in ((3, True), (0, False), (-1, False))),
    )
    assert truth_figures({"stable-concepts": stable}.get, REFITTED) == {"atoms_matched_share": 0.5}


def test_every_table_belongs_to_one_measurement():
    names = [table for tables in TABLES.values() for table in tables]
    assert len(names) == len(set(names))
    assert all(table in TABLES[measurement_of(table)] for table in names)
