"""The made-up tables hold together as measured ones do, and none is left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import truth_example
from planted_study import write_study

from cgraph import truth_tables as words
from cgraph.study import Study
from cgraph.truth_tables import TABLES


def test_every_table_is_filled(tmp_path: Path) -> None:
    plain = Study.open(write_study(tmp_path / "planted", n_layers=4))
    study = truth_example.measured_copy(plain, tmp_path / "copy" / "planted")
    for name, tables in TABLES.items():
        assert study.is_measured(name) and not plain.is_measured(name)
        for table in tables:
            assert study.measured(table).num_rows > 0, table
    evidence = study.measured("evidence")
    assert evidence.num_rows == study.graph.n_edges
    verdicts = evidence.column("verdict").to_pylist()
    pairs = study.measured("evidence-pairs").to_pylist()
    assert sum(row["n_specific"] for row in pairs) == verdicts.count(words.SPECIFIC)
    assert study.truth["edges_measured"] == len(verdicts) - verdicts.count(words.NOT_MEASURED)
    study.verify()


def test_a_table_of_unknown_columns_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.open(write_study(tmp_path / "planted", n_layers=2))
    known = pa.schema([("layer", pa.int16()), ("verdict", pa.string()), ("x", pa.float64())])
    monkeypatch.setitem(TABLES, "leakage", {"new": known})
    assert truth_example.example_tables(study, "leakage")["new"].num_rows == 2
    monkeypatch.setitem(TABLES, "leakage", {"new": known.append(pa.field("odd", pa.string()))})
    with pytest.raises(LookupError, match="'odd'"):
        truth_example.example_tables(study, "leakage")
    monkeypatch.setitem(TABLES, "leakage", {"new": pa.schema([("odd", pa.float64())])})
    with pytest.raises(LookupError, match="new"):
        truth_example.example_tables(study, "leakage")
