"""Figures as data: what is drawn and what is saved are the numbers they stand for."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import auc as area_under

from cgraph.held_out import HeldOutPair
from cgraph.operating_points import operating_points
from cgraph.pair_curves import measure_curves
from cgraph.parent_question import Relation, ask_about_parents
from cgraph.peaks import find_peaks
from cgraph.reliability import reliability
from cgraph.study import Study
from cgraph.ui import pair_table, paper
from cgraph.ui.charts import concept_curves, histograms, layers, relations
from cgraph.ui.charts.figure import Axis, Figure, line, points, ticks
from cgraph.ui.charts.roc_picture import density_uri, roc_figure
from cgraph.ui.pair_facts import PairFacts, layer_rows, pair_facts

DEMO = Path(__file__).parents[2] / "data" / "demo"


@pytest.fixture(scope="module")
def demo() -> Study:
    return Study.open(DEMO)


def made_facts(n_parents: np.ndarray, **columns: np.ndarray) -> PairFacts:
    n = len(n_parents)
    zeros = dict.fromkeys(("auc", "prevalence", "f1_balanced", "f1_natural", "ap"), np.zeros(n))
    index = np.arange(n)
    return PairFacts(
        "made", 4, 5, n, n, index, {**zeros, "index": index, "n_parents": n_parents, **columns}
    )


def mark(figure: Figure, kind: str) -> Any:
    return next(found for found in figure.marks if found["mark"] == kind)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4), st.integers(2, 9))
def test_ticks_are_few_round_and_inside(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert len(found) <= most
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)
    steps = np.diff(found)
    if len(steps):
        assert np.allclose(steps, steps[0])
        mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
        assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 1e-4


def test_what_is_unknown_is_null_in_the_browser() -> None:
    axis = Axis("x", 0, 1, (0, 1))
    made = Figure(
        "t", "a", "both", axis, axis, [line([0, 1], [np.nan, 1], "middle")], ("x",),
        [(np.float64("nan"),), (np.int64(3),)], "s", "f",
    )  # fmt: skip
    sent = json.loads(made.to_json())
    assert sent["marks"][0]["y"] == [None, 1.0]
    assert sent["rows"] == [[None], [3]]


def test_the_density_picture_is_upside_up_and_logarithmic() -> None:
    density = np.zeros((8, 8), dtype=int)
    density[0, 7], density[7, 0], density[3, 3] = 1, 1000, 30
    uri = density_uri(density)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert picture.shape == (8, 8, 2)
    alpha = picture[..., 1]
    # Row 0 of the picture is its top, where the true-positive rate is 1.
    assert alpha[0, 0] == 255
    assert 0 < alpha[7, 7] < alpha[4, 3] < 255
    assert (alpha > 0).sum() == 3
    share = np.log1p(30) / np.log1p(1000)
    assert alpha[4, 3] == pytest.approx(28 + 227 * share, abs=3)
    assert (picture[..., 0] == 255).all()


def test_all_curves_of_a_pair(demo: Study) -> None:
    facts = pair_facts(demo, 9)
    found = roc_figure(facts, measure_curves(HeldOutPair(demo, 9), facts.scored))
    assert found.square and found.world == "both"
    assert [len(m["x"]) for m in found.marks if m.get("style") in ("edge", "middle")] == [257] * 3
    virtual = next(m for m in found.marks if m.get("style") == "virtual")
    assert area_under(virtual["x"], virtual["y"]) == pytest.approx(
        np.median(facts.columns["auc"]), abs=2e-3
    )
    assert len(found.rows) == 257 and all(len(row) == len(found.columns) for row in found.rows)


def test_a_median_area_of_one_has_no_virtual_curve(demo: Study) -> None:
    facts = pair_facts(demo, 9)
    perfect = made_facts(facts.columns["n_parents"], auc=np.ones(len(facts.scored)))
    found = roc_figure(perfect, measure_curves(HeldOutPair(demo, 9), facts.scored))
    assert not [m for m in found.marks if m.get("style") == "virtual"]
    assert "No virtual curve has the median AUC, 1.000" in found.summary
    assert np.isnan(found.rows[0][4])


@given(st.lists(st.integers(0, 130), min_size=1, max_size=80))
def test_parents_are_counted_once_each(counts: list[int]) -> None:
    values = np.array(counts)
    peaks = find_peaks(values)
    found = histograms.parents_figure(made_facts(values), peaks)
    assert sum(row[2] for row in found.rows) == len(counts)
    for low, high, n in found.rows:
        assert n == ((values >= low) & (values <= high)).sum()
    assert [m["at"] for m in found.marks if m["mark"] == "rule"] == list(peaks.at)
    assert mark(found, "bars")["heights"] == [row[2] for row in found.rows]
    assert max(mark(found, "bars")["heights"]) <= found.y.high


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=60))
def test_histograms_of_shares_hold_every_known_value(drawn: list[float]) -> None:
    values = np.array(drawn)
    found = histograms.f1_balanced_figure(made_facts(np.ones(len(values), int), f1_balanced=values))
    known = values[np.isfinite(values)]
    assert sum(row[2] for row in found.rows) == len(known)
    assert found.world == "balanced"
    if len(known):
        assert f"{known.mean():.3f} ± {known.std():.3f}" in found.summary


def relation_of(parents: np.ndarray, values: np.ndarray) -> Relation:
    answer = ask_about_parents(parents, {"prevalence": values})
    return answer.relations[0]


def relation(
    parents: np.ndarray, values: np.ndarray, names: dict[str, str] | None = None
) -> Figure:
    return relations.relation_figure(
        made_facts(parents),
        values,
        relation_of(parents, values),
        label="prevalence",
        world="natural",
        names=names or {},
    )


def test_few_concepts_are_points_that_can_be_chosen() -> None:
    rng = np.random.default_rng(0)
    parents, values = rng.poisson(20, 50), rng.random(50)
    values[7] = np.nan
    found = relation(parents, values, {"L5/3": "red"})
    drawn = mark(found, "points")
    assert drawn["ids"] == [f"L5/{i}" for i in range(50) if i != 7]
    assert drawn["tips"][3].startswith("red (L5/3): ")
    assert [row[2] for row in found.rows] == parents[np.isfinite(values)].tolist()


def test_many_concepts_are_counted_on_a_grid() -> None:
    rng = np.random.default_rng(1)
    parents, values = rng.poisson(40, 2000), rng.random(2000) ** 3
    found = relation(parents, values)
    drawn = mark(found, "cells")
    assert sum(cell[2] for cell in drawn["cells"]) == 2000
    assert len(drawn["tips"]) == len(drawn["cells"]) == len(found.rows)
    first, last, low, high, n = found.rows[len(found.rows) // 2]
    inside = (
        (parents >= first) & (parents <= last) & (values >= low - 1e-4) & (values < high + 1e-4)
    )
    assert abs(inside.sum() - n) <= 2  # the ends are rounded to four digits
    assert "2,000 concepts" in found.summary


@pytest.mark.parametrize(
    ("slope", "word"),
    [(-0.02, "worse, as"), (0.02, "better, against"), (0.0, "nothing here speaks")],
)
def test_what_the_match_means_is_read_from_its_interval(slope: float, word: str) -> None:
    rng = np.random.default_rng(3)
    parents = rng.poisson(30, 300)
    figures = {"prevalence": rng.random(300), "match": slope * parents + rng.normal(size=300) / 5}
    match = ask_about_parents(parents, figures).relations[1]
    assert word in relations.reading(match)
    assert "cannot be tested here" in relations.reading(None)


def test_a_relation_that_cannot_be_told_says_why() -> None:
    found = relation(np.array([3, 5, 8]), np.array([0.1, 0.2, 0.3]))
    assert "known of 3 concepts" in found.summary


@given(st.integers(0, 10_000))
def test_thinned_curves_keep_their_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = np.concatenate([[True, False], rng.random(98) < 0.2])
    scores = np.round(rng.normal(size=100) + positive, 1)
    found = operating_points(scores, positive)
    drawn = concept_curves.roc_of_concept("a", "a", found, 0.5)
    curve = drawn.marks[1]
    assert area_under(curve["x"], curve["y"]) == pytest.approx(
        area_under(found.fpr, found.tpr), abs=1e-3
    )
    assert len(curve["x"]) <= len(found.fpr) == len(drawn.rows)


def test_a_long_curve_is_drawn_with_few_points() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(20_000) < 0.3
    found = operating_points(rng.normal(size=20_000) + positive, positive)
    curve = concept_curves.roc_of_concept("a", "a", found, 0.5).marks[1]
    assert len(curve["x"]) <= 701
    assert (curve["x"][-1], curve["y"][-1]) == (1, 1)
    assert area_under(curve["x"], curve["y"]) == pytest.approx(
        area_under(found.fpr, found.tpr), abs=1e-3
    )


def test_precision_stands_still_between_recalls() -> None:
    found = operating_points(np.array([4.0, 3, 2, 1]), np.array([True, False, True, False]))
    curve = concept_curves.precision_recall_of_concept("a", "a", found, 0.8).marks[1]
    pairs = list(zip(curve["x"], curve["y"], strict=True))
    # The step to a recall has the precision there: average precision is the area below.
    assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert pairs[-1] == (1, 0.5)


def test_calibration_points_are_the_groups() -> None:
    p = np.array([0.1, 0.1, 0.6, 0.8])
    found = reliability(p, np.array([False, True, True, True]), [0.5])
    drawn = concept_curves.calibration_of_concept("a", "a", found)
    assert mark(drawn, "points")["x"] == [0.1, 0.7]
    assert mark(drawn, "points")["y"] == [0.5, 1.0]
    assert drawn.rows[0][:4] == [2, 1, 0.1, 0.5]
    assert drawn.summary.startswith("3 of 4 images have it and 2 were predicted")


def test_layers_are_the_stored_ones(demo: Study) -> None:
    stored = demo.evaluation("layers").to_pylist()
    explained = layers.explained_figure("demo", layer_rows(demo))
    assert [row[:2] for row in explained.rows] == [
        [row["layer"], row["explained_variance"]] for row in stored
    ]
    dead = layers.dead_figure("demo", layer_rows(demo))
    assert mark(dead, "bars")["heights"] == [row["n_dead"] for row in stored]
    assert mark(dead, "bars")["edges"] == [0.5 + place for place in range(13)]


def test_points_of_layers_without_a_figure_are_left_out() -> None:
    row = {"layer": 1, "explained_variance": None, "nonzeros_mean": 3.0}
    assert "not known" in layers.explained_figure("s", [row]).summary
    assert points([1], [np.nan], ["t"])["x"] == [1.0]


def test_the_table_of_pairs_as_csv(demo: Study) -> None:
    rows = [pair_table.pair_row(demo, right) for right in range(2, 13)]
    table = list(csv.DictReader(io.StringIO(pair_table.to_csv(rows))))
    for stored, row in zip(demo.evaluation("pairs").to_pylist(), table, strict=False):
        for name in ("auc_mean", "auc_std", "auc_median", "f1_balanced_std", "f1_natural_mean"):
            assert float(row[name]) == pytest.approx(stored[name])
        assert float(row["ap_mean"]) == pytest.approx(stored["ap_mean"])
        assert int(row["n_scored"]) == stored["n_scored"]
        assert row["ap_balanced_mean"] == ""
    last = table[-1]
    assert (last["source"], float(last["auc_mean"])) == ("the paper", paper.AUC_MEAN)
    assert "'=1+1" in pair_table.csv_text(("a",), [("=1+1",)])


def test_cells_of_the_papers_row_have_a_head_each(demo: Study) -> None:
    row = pair_table.pair_row(demo, 12)
    n = len(pair_table.HEADS)
    assert len(pair_table.PAPER_CELLS) == len(row.cells(waiting=True)) == n
    assert sum(width for _, width in pair_table.GROUPS) == n
    assert "…" in row.cells(waiting=True) and "–" in row.cells(waiting=False)
