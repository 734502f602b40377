"""Evidence of edges, in networks that were written by hand, and in a real one."""

from __future__ import annotations

import shutil

import numpy as np
import planted_blocks
import pytest
from planted_blocks import D_MODEL, N_PARENTS, PlantedBlocks

from cgraph.measurements import measure_study
from cgraph.study import Study

RNG = np.random.default_rng(1)
BASIS = np.linalg.qr(RNG.standard_normal((D_MODEL, D_MODEL)))[0]
ATOMS, FREE = BASIS[:N_PARENTS], BASIS[N_PARENTS:]


def blurred(rows: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Return rows with a little of every atom, so that nothing is exactly without effect."""
    return rows + share * RNG.standard_normal((len(rows), N_PARENTS)) @ ATOMS / np.sqrt(N_PARENTS)


@pytest.fixture(scope="module")
def planted():
    """Children 0 to 5 are special; 6 to 29 have an edge that the residual stream carries."""
    encoders = np.stack([ATOMS[0], FREE[1], ATOMS[2], FREE[3], ATOMS[4], ATOMS[5] + FREE[5]])
    encoders = blurred(np.concatenate([encoders, ATOMS[6:30]]))

    def block(tokens: np.ndarray) -> np.ndarray:
        out = tokens.copy()
        out += np.maximum(tokens @ ATOMS[1], 0)[:, None] * FREE[1]  # computed out of nothing
        out -= 2 * (tokens @ ATOMS[2])[:, None] * ATOMS[2]  # turned round
        out += (tokens @ ATOMS[5])[:, None] * FREE[5]  # carried, and added to
        return out.astype(np.float32)

    edges = {(number, number): 1.0 for number in range(30)} | {(4, 4): -1.0}
    with pytest.MonkeyPatch.context() as patch:
        tables = planted_blocks.measure(patch, PlantedBlocks(ATOMS, encoders, edges, block))
    rows = {(row["parent"], row["child"]): row for row in tables["evidence"]}
    return rows, tables["evidence-pairs"][0]


def test_a_carried_edge_is_supported_and_no_more(planted) -> None:
    row = planted[0][0, 0]
    assert (row["verdict"], row["origin"]) == ("supported", "carried")
    assert row["carried"] == pytest.approx(row["effect"], rel=1e-4)
    assert row["computed"] == pytest.approx(0, abs=1e-4)
    assert row["effect_low"] < row["effect"] < row["effect_high"]


def test_what_the_block_computes_is_specific(planted) -> None:
    row = planted[0][1, 1]
    assert (row["verdict"], row["origin"]) == ("specific", "computed")
    assert row["beyond"] == pytest.approx(row["computed"], rel=0.05)


def test_what_goes_against_its_weight_is_contradicted(planted) -> None:
    turned, wrong_sign = planted[0][2, 2], planted[0][4, 4]
    assert turned["verdict"] == wrong_sign["verdict"] == "contradicted"
    # The residual stream carries it the right way; the block turns it round.
    assert turned["carried"] > 0 > turned["effect"] and turned["origin"] == "computed"
    assert wrong_sign["origin"] == "carried"


def test_what_is_not_there_has_no_effect(planted) -> None:
    row = planted[0][3, 3]
    assert (row["verdict"], row["origin"]) == ("no effect", "")
    # In units of a child that hardly moves at all.
    assert abs(row["effect"]) < 0.3 and planted[0][0, 0]["effect"] > 2


def test_both_parts_are_told(planted) -> None:
    row = planted[0][5, 5]
    assert row["origin"] == "both" and row["verdict"] in ("supported", "specific")
    assert row["carried"] == pytest.approx(row["computed"], rel=0.2)


def test_the_effect_is_the_coefficient_times_the_overlap_over_the_deviation(planted) -> None:
    """A uniform coefficient from 1 to 2 and an encoder that is the atom: by hand about 1.5 / sd.

    The child is active at 8 of 32 atoms: its pre-activation has mean 1.5 / 4 and mean square
    (7 / 3) / 4.
    """
    deviation = np.sqrt(7 / 3 / 4 - (1.5 / 4) ** 2)
    effects = [planted[0][n, n]["effect"] for n in range(6, 30)]
    assert np.mean(effects) == pytest.approx(1.5 / deviation, rel=0.05)


def test_the_pair_adds_up(planted) -> None:
    rows, pair = planted
    verdicts = [row["verdict"] for row in rows.values()]
    assert pair["n_edges"] == pair["n_measured"] == len(rows) == 30
    assert pair["n_specific"] + pair["n_supported"] == 27 == pair["n_positive"] - 2
    assert pair["n_contradicted"] == verdicts.count("contradicted") == 2
    assert pair["n_positive_contradicted"] == 1
    # With its only parent taken out, an active child's label goes; with others it does not.
    assert pair["joint_lost"] > 0.8 and pair["joint_control_lost"] < 0.2 and pair["n_joint"] > 500
    assert pair["n_controls"] == 465 and pair["n_controls_supported"] <= 0.1 * 465
    assert pair["max_error"] == 0


def test_flips_are_those_foretold(planted) -> None:
    row = planted[0][0, 0]
    assert row["flips"] > 0.5 > 0.1 > row["flips_control"]


@pytest.mark.parametrize("seed", range(3))
def test_where_there_is_nothing_but_geometry_edges_fare_as_controls(monkeypatch, seed) -> None:
    """Edges drawn without regard to the network: hardly any may be supported, none is specific."""
    rng = np.random.default_rng(seed)
    children = rng.standard_normal((40, D_MODEL))
    drawn = rng.choice(N_PARENTS * 40, 400, replace=False)
    edges = {(int(n) // 40, int(n) % 40): float(rng.choice([-1, 1])) for n in drawn}
    study = PlantedBlocks(ATOMS, children, edges, lambda tokens: tokens)
    tables = planted_blocks.measure(monkeypatch, study, seed)
    pair = tables["evidence-pairs"][0]
    assert pair["n_measured"] == 400
    assert pair["n_specific"] == 0
    assert pair["n_supported"] + pair["n_contradicted"] <= 20
    assert pair["n_controls_supported"] <= 0.05 * pair["n_controls"]
    assert abs(pair["weight_effect"]) < 0.15 and pair["weight_effect_shuffled_high"] < 0.15


def test_too_few_images_are_not_measured(monkeypatch) -> None:
    """A parent that hardly any held-out image has, however many others do."""
    encoders = blurred(ATOMS)
    edges = {(n, n): 1.0 for n in range(N_PARENTS)}
    study = PlantedBlocks(ATOMS, encoders, edges, lambda tokens: tokens)
    tokens = study.tokens[0].copy()
    tokens[7:300] -= (tokens[7:300] @ ATOMS[9])[:, None] * ATOMS[9] * 2
    study.tokens = tokens, tokens
    rows = planted_blocks.measure(monkeypatch, study)["evidence"]
    verdicts = {row["parent"]: row["verdict"] for row in rows}
    assert verdicts.pop(9) == "not measured"
    assert set(verdicts.values()) == {"supported"}
    row = next(row for row in rows if row["parent"] == 9)
    assert row["n_images"] == 0 and np.isnan(row["effect"])


def test_a_study_is_measured_alike_by_any_number_of_workers(tiny_study, tmp_path) -> None:
    folders = [shutil.copytree(tiny_study.path, tmp_path / name) for name in ("one", "two")]
    for workers, folder in enumerate(folders, start=1):
        measure_study(folder, ["evidence"], workers=workers)
    one, two = ((folder / "truth" / "evidence.arrow").read_bytes() for folder in folders)
    assert one == two
    study = Study.open(folders[0])
    table = study.measured("evidence")
    assert table.num_rows == study.graph.n_edges > 0
    keys = table.select(["child_layer", "child", "parent"]).to_pylist()
    assert keys == sorted(keys, key=lambda row: tuple(row.values()))
    pairs = study.measured("evidence-pairs").to_pylist()
    assert [pair["right"] for pair in pairs] == [2, 3, 4]
    assert all(0 < pair["max_error"] < 1e-4 for pair in pairs)
    assert "controls_supported_share" in study.truth


def test_edges_of_a_real_model_are_in_the_network(real_study, tmp_path) -> None:
    folder = shutil.copytree(real_study.path, tmp_path / "photographs")
    pairs = measure_study(folder, ["evidence"]).study.measured("evidence-pairs").to_pylist()
    for pair in pairs[2:]:
        positive = pair["n_positive_specific"] + pair["n_positive_supported"]
        assert positive / pair["n_positive"] > 3 * pair["n_controls_supported"] / pair["n_controls"]
        assert pair["n_positive_contradicted"] <= 0.02 * pair["n_positive"]
        assert pair["weight_effect"] > 0.3 > pair["weight_effect_shuffled_high"]
        assert pair["joint_lost"] > 2 * pair["joint_control_lost"]
        assert 0 < pair["max_error"] < 1e-3
