"""Factors with a concept of their own: planted ones, conjunctions, and a study's attributes."""

import shutil

import numpy as np
import pytest

from cgraph.attributes import attribute_table
from cgraph.config import HELD_OUT
from cgraph.errors import DataError
from cgraph.executors import SerialExecutor
from cgraph.factors import OWN_AREA, conjunctions, factor_figures, measure
from cgraph.metrics import auc
from cgraph.study import Study
from cgraph.workbench import Workbench


def _planted(seed=0, n=2000):
    """Five factors: two with a code each, one with two alike, one with none, one in two halves."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 5)) < [0.3, 0.2, 0.3, 0.25, 0.3]
    half = rng.random(n) < 0.5
    strength = rng.uniform(1, 2, (n, 7))
    on = np.column_stack(
        [
            *(truth[:, 0], truth[:, 1], truth[:, 2], truth[:, 2]),
            *(rng.random(n) < 0.3, truth[:, 4] & half, truth[:, 4] & ~half),
        ]
    )
    flipped = rng.random(on.shape) < 0.02
    codes = strength * (on ^ flipped)
    return codes[:1500], truth[:1500], codes[1500:], truth[1500:]


def test_planted_factors_have_their_own_concept():
    found = factor_figures(*_planted())
    assert found.concepts[:2].tolist() == [0, 1]
    assert set(found.concepts[[2]]) < {2, 3}
    assert found.own.tolist() == [True, True, False, False, False]
    # The third is found, but twice; the fourth is not there; the fifth takes two concepts.
    assert found.areas[2] > 0.95 and found.runner_up_areas[2] > 0.95
    assert found.n_reached == 3
    assert abs(found.areas[3] - 0.5) < 0.1 and found.predicted[3] < 0.6
    assert found.areas[4] < 0.8 and found.predicted[4] > 0.95
    assert found.gaps[0] > 0.7 and abs(found.gaps[2]) < 0.1 and abs(found.gaps[4]) < 0.1


def test_one_concept_for_two_factors_is_the_own_one_of_at_most_one():
    rng = np.random.default_rng(0)
    first = rng.random(2000) < 0.3
    second = first ^ (rng.random(2000) < 0.01)
    truth = np.column_stack([first, second])
    codes = np.column_stack([first * rng.uniform(1, 2, 2000), rng.random((2000, 2)) < 0.2])
    found = factor_figures(codes[:1500], truth[:1500], codes[1500:], truth[1500:])
    assert (found.areas > OWN_AREA).all() and found.own.tolist() == [True, False]


def test_the_direction_of_signed_numbers_is_free_and_of_others_is_not():
    train, truth, held_out, held_out_truth = _planted()
    turned = factor_figures(-train, truth, -held_out, held_out_truth)
    assert turned.own[:2].tolist() == [True, True]
    away = factor_figures(2 - train.clip(max=2), truth, 2 - held_out.clip(max=2), held_out_truth)
    assert not away.own.any()


def test_figures_do_not_depend_on_the_unit_of_a_code():
    train, truth, held_out, held_out_truth = _planted()
    units = np.array([1.0, 100, 0.01, 3, 1, 7, 0.5])
    one, other = (
        factor_figures(train * unit, truth, held_out * unit, held_out_truth) for unit in (1, units)
    )
    assert one.disentanglement == pytest.approx(other.disentanglement, abs=0.01)
    assert one.mig == pytest.approx(other.mig)
    assert 0.5 < one.completeness < 1 and 0.7 < one.disentanglement < 1


def test_a_single_factor_is_refused():
    train, truth, held_out, held_out_truth = _planted()
    with pytest.raises(DataError, match="1 factors"):
        factor_figures(train, truth[:, :1], held_out, held_out_truth[:, :1])


def test_conjunctions_are_those_of_two_attributes_that_are_not_nested():
    rng = np.random.default_rng(0)
    records = []
    for _ in range(600):
        colour, shape = rng.choice(["red", "blue", "white"]), rng.choice(["star", "ring", "cross"])
        kind = rng.choice(["tench", "carp", "hen", "duck"])
        family = {"tench": "fish", "carp": "fish", "hen": "fowl", "duck": "fowl"}[kind]
        records.append(
            {
                "colour": str(colour),
                "shape": str(shape),
                "object": f"{colour} {shape}",
                "kind": str(kind),
                "family": family,
                "order": "sea" if family == "fish" else str(rng.choice(["land", "air"])),
            }
        )
    table = attribute_table(records)
    of = {
        column: bool(is_one)
        for column, is_one in zip(table.columns, conjunctions(table), strict=True)
    }
    assert {name for (name, _), is_one in of.items() if is_one} == {"object"}
    assert all(is_one for (name, _), is_one in of.items() if name == "object")
    assert sum(of.values()) == 9


def _open(tiny_study, tmp_path):
    return Study.open(shutil.copytree(tiny_study.path, tmp_path / "discs"))


def test_the_grounds_of_a_study(tiny_study, tmp_path):
    study = _open(tiny_study, tmp_path)
    tables = measure(Workbench(study, SerialExecutor()))
    rows = tables["factors"].to_pylist()
    assert {(row["attribute"], row["value"]) for row in rows} == {
        *(("folder", "grass"), ("folder", "sand"), ("folder", "sky"))
    }
    assert [row["layer"] for row in rows] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    held_out = study.rows(HELD_OUT)
    for row in rows:
        values = study.codes(row["layer"]).take(held_out).to_csr().toarray()
        truth = np.array([[study.attributes(int(r))["folder"] == row["value"]] for r in held_out])
        assert row["n_images"] == truth.sum()
        expected = auc(values[:, [row["concept"]]], truth)[0]
        assert row["auc"] == pytest.approx(expected)
        expected = np.corrcoef(values[:, row["concept"]], truth[:, 0])[0, 1]
        assert row["correlation"] == pytest.approx(expected)
        assert 0 <= row["information"] <= 1 + 1e-9  # rounding
    layers = tables["factor-layers"].to_pylist()
    assert [row["layer"] for row in layers] == [1, 2, 3, 4]
    for row in layers:
        own = [r for r in rows if r["layer"] == row["layer"]]
        assert row["n_factors"] == 3 and row["n_own"] == sum(r["own"] for r in own)
        assert row["mig"] == pytest.approx(np.mean([r["gap"] for r in own]))
        assert row["informativeness"] == pytest.approx(np.mean([r["predicted"] for r in own]))


class _Backwards(SerialExecutor):
    def run(self, function, calls):
        for number, call in reversed(list(enumerate(calls))):
            yield number, function(*call)


def test_the_order_of_the_calls_does_not_change_the_figures(tiny_study, tmp_path):
    one = measure(Workbench(_open(tiny_study, tmp_path / "a"), SerialExecutor()))
    two = measure(Workbench(_open(tiny_study, tmp_path / "b"), _Backwards()))
    assert all(one[name].equals(two[name]) for name in one)


def test_a_study_that_knows_nothing_of_its_images_has_empty_tables(
    tiny_study, tmp_path, monkeypatch
):
    monkeypatch.setattr(Study, "attributes", lambda self, row: {})
    tables = measure(Workbench(_open(tiny_study, tmp_path), SerialExecutor()))
    assert tables["factors"].num_rows == tables["factor-layers"].num_rows == 0
