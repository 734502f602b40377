"""References of a study against the figures that were measured when it was built."""

import shutil

import numpy as np
import pytest

from cgraph import readout, workbench
from cgraph.config import HELD_OUT, TRAIN
from cgraph.errors import ImageError
from cgraph.executors import SerialExecutor
from cgraph.measurements import measure_study
from cgraph.metrics import average_precision
from cgraph.readout import rows_of, scored_concepts
from cgraph.references import best_parents, measure
from cgraph.study import Study
from cgraph.truth_tables import (
    BEST_PARENT,
    DENSE,
    DIRECT,
    NEAREST,
    PREVALENCE,
    RANDOM_PARENTS,
    REFERENCES,
    TABULAR,
    TOKEN,
)
from cgraph.workbench import Workbench


def _open(tiny_study, folder):
    return Study.open(shutil.copytree(tiny_study.path, folder / "discs"))


@pytest.fixture(scope="module")
def study(tiny_study, tmp_path_factory):
    return _open(tiny_study, tmp_path_factory.mktemp("references"))


@pytest.fixture(scope="module")
def rows(study):
    table = measure(Workbench(study, SerialExecutor()))["references"]
    return {(row["start"], row["layer"], row["reference"]): row for row in table.to_pylist()}


def _pairs(study):
    return [pair for pair in study.evaluation("pairs").to_pylist() if pair["n_scored"]]


def test_which_rows_there_are(study, rows):
    last = study.n_layers
    assert len(_pairs(study)) == last - 1  # or nothing below would be tested
    adjacent = {(left, left + 1) for left in range(1, last)}
    to_last = adjacent | {(start, last) for start in range(1, last)}
    later = {(start, layer) for start in range(1, last) for layer in range(start + 1, last + 1)}
    wanted = dict.fromkeys(REFERENCES, adjacent) | {DENSE: to_last, TOKEN: to_last, DIRECT: later}
    for reference, pairs in wanted.items():
        assert {key[:2] for key in rows if key[2] == reference} == pairs


def test_references_that_the_build_measured_are_the_same(study, rows):
    for pair in _pairs(study):
        key = pair["left"], pair["right"]
        assert rows[*key, BEST_PARENT]["auc"] == pytest.approx(pair["auc_best_parent_mean"])
        assert rows[*key, NEAREST]["auc"] == pytest.approx(pair["auc_nearest_mean"], abs=1e-4)
        # Straight to the next layer, the direct reference is the graph.
        assert rows[*key, DIRECT]["auc"] == pytest.approx(pair["auc_mean"], abs=1e-6)
        assert rows[*key, DIRECT]["ap"] == pytest.approx(pair["ap_mean"], abs=1e-6)
        for reference in REFERENCES:
            row = rows[*key, reference]
            assert row["n_scored"] == pair["n_scored"]
            assert row["prevalence"] == pytest.approx(pair["prevalence_mean"])


def test_the_prevalence_alone_says_nothing(rows):
    for (_, _, reference), row in rows.items():
        if reference == PREVALENCE:
            assert row["auc"] == 0.5 and row["ap"] == pytest.approx(row["prevalence"])


def test_average_precision_of_the_best_parent(study, rows):
    left, right = study.codes(2), study.codes(3)
    scored = scored_concepts(study, 3, study.config.seed)
    train, held_out = study.rows(TRAIN), study.rows(HELD_OUT)
    chosen = best_parents(left.take(train), right.take(train), scored)
    labels = left.dense_labels()
    truth = right.dense_labels()[:, scored]
    for place, child in enumerate(scored):
        gains = [
            labels[train][truth[train, place], j].mean()
            - labels[train][~truth[train, place], j].mean()
            for j in range(left.n_atoms)
        ]
        assert gains[chosen[place]] == pytest.approx(max(gains)), child
    scores = labels[held_out][:, chosen].astype(float)
    expected = average_precision(scores, truth[held_out]).mean()
    assert rows[2, 3, BEST_PARENT]["ap"] == pytest.approx(expected)


def test_more_information_does_not_do_worse(study, rows):
    """On average over the pairs: random parents below the graph, a single parent below tables."""

    def mean(reference):
        return np.mean([rows[p["left"], p["right"], reference]["auc"] for p in _pairs(study)])

    graph = np.mean([pair["auc_mean"] for pair in _pairs(study)])
    assert 0.5 < mean(RANDOM_PARENTS) < graph
    assert mean(BEST_PARENT) < mean(TABULAR)
    assert mean(TOKEN) > graph - 0.02 and mean(DENSE) > graph - 0.05


class _Backwards(SerialExecutor):
    def run(self, function, calls):
        for number, call in reversed(list(enumerate(calls))):
            yield number, function(*call)


def test_the_order_of_the_calls_does_not_change_the_figures(tiny_study, tmp_path, rows):
    bench = Workbench(_open(tiny_study, tmp_path), _Backwards())
    table = measure(bench)["references"]
    again = {(row["start"], row["layer"], row["reference"]): row for row in table.to_pylist()}
    assert again == rows


def test_without_pictures_the_rows_on_tokens_are_left_out(tiny_study, tmp_path, monkeypatch, rows):
    def gone(*args):
        raise ImageError("The pictures are gone.")

    monkeypatch.setattr(workbench, "picture", gone)
    study = _open(tiny_study, tmp_path)
    found = measure(Workbench(study, SerialExecutor()))["references"].to_pylist()
    assert {row["reference"] for row in found} == set(REFERENCES) - {TOKEN}
    for row in found:
        key = row["start"], row["layer"], row["reference"]
        if row["reference"] == NEAREST:
            assert row["auc"] == pytest.approx(rows[key]["auc"], abs=1e-4) and np.isnan(row["ap"])
        else:
            assert row == rows[key]


def test_many_images_are_sampled_by_seed(study, monkeypatch):
    monkeypatch.setattr(readout, "MAX_IMAGES", dict.fromkeys(readout.MAX_IMAGES, 50))
    one, same, other = (rows_of(study, seed) for seed in (1, 1, 2))
    for part, rows in one.items():
        assert len(rows) == 50 and set(rows) <= set(study.rows(part))
        assert np.array_equal(rows, same[part]) and not np.array_equal(rows, other[part])
    table = measure(Workbench(study, SerialExecutor(), seed=1))["references"]
    assert np.isfinite(table["auc"].to_numpy()).any()


@pytest.mark.parametrize("n_train", [8, 45])
def test_concepts_too_rare_in_the_sample_are_left_out(tiny_study, tmp_path, monkeypatch, n_train):
    monkeypatch.setitem(readout.MAX_IMAGES, TRAIN, n_train)
    study = _open(tiny_study, tmp_path)
    seed, least = study.config.seed, study.config.predictor.min_positives
    table = measure(Workbench(study, SerialExecutor()))["references"]
    for layer in range(2, study.n_layers + 1):
        counts = study.codes(layer).take(rows_of(study, seed)[TRAIN]).counts()
        wanted = study.graph.column(layer, "scored") & (counts >= least)
        assert scored_concepts(study, layer, seed).tolist() == np.flatnonzero(wanted).tolist()
        own = [row for row in table.to_pylist() if row["layer"] == layer]
        assert {row["n_scored"] for row in own} == {wanted.sum()}
        assert all(np.isfinite(row["auc"]) == wanted.any() for row in own)


def test_the_tables_are_stored_with_the_study(tiny_study, tmp_path):
    folder = _open(tiny_study, tmp_path).path
    done = measure_study(folder, ["references", "factors"], workers=1)
    assert set(done.seconds) == {"references", "factors"}
    for table in ("references", "factors", "factor-layers"):
        assert done.study.measured(table).num_rows
