"""Which idea moves which, in networks of two blocks that are made for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT, TUNE
from cgraph.dictionary import Dictionary, Preparation
from cgraph.direction import LEAST, judge, measure
from cgraph.direction_drawn import broken, meaning, unrelated
from cgraph.direction_runs import Pair
from cgraph.measurements import measure_study
from cgraph.model_structure import Structure
from cgraph.scenes import Scene, SceneObject
from cgraph.truth_tables import A_TO_B, B_TO_A, BOTH_WAYS, NEITHER
from cgraph.vit import VisionModel

WIDTH, N_IMAGES = 10, 800
CAUSE = WIDTH - 1
"""Number of the class token that makes both ideas; no concept reads it."""


DRIVE, LIMIT = 0.4, 0.5
"""How much one idea adds to the other; how much of an idea makes it active. One alone does not make
the other active, so that each stays the best match of itself."""


class Keeps(torch.nn.Module):
    """A block that passes tokens on."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens * 1.0


class Drives(torch.nn.Module):
    """A block that adds to some numbers of the class token what others say."""

    def __init__(self, drives: dict[tuple[int, int], float]) -> None:
        super().__init__()
        matrix = torch.eye(WIDTH)
        for (source, target), weight in drives.items():
            matrix[source, target] += weight
        self.matrix = torch.nn.Parameter(matrix)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([tokens[:, :1] @ self.matrix, tokens[:, 1:]], dim=1)


class Network(torch.nn.Module):
    """Takes its tokens as pixels."""

    def __init__(self, drives: dict[tuple[int, int], float]) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Keeps(), Drives(drives)])

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens = pixel_values[:, 0]
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class Bench:
    """The part of a workbench that the measurement needs; ideas 0 and 1 go together."""

    seed = 0

    def __init__(self, drives: dict[tuple[int, int], float], folder: Path) -> None:
        rng = np.random.default_rng(4)
        tokens = np.zeros((N_IMAGES, 1, 3, WIDTH), np.float32)
        cause = rng.random(N_IMAGES) < 0.4
        for place in range(WIDTH - 1):
            on = rng.random(N_IMAGES) < 0.5
            if place < 2:
                on = np.where(rng.random(N_IMAGES) < 0.8, cause, on)
            tokens[:, 0, 0, place] = on * rng.uniform(0.6, 1.4, N_IMAGES)
        tokens[:, 0, 0, CAUSE] = cause
        self._tokens = np.repeat(tokens, 3, axis=1)
        network = Network(drives)
        preparing = SimpleNamespace(pixel_shape=(3, 3, WIDTH), fingerprint=lambda: "none")
        self.model = VisionModel(
            folder, {"model_type": "planted"}, network,
            Structure(network.blocks, slice(1, None), (0,), None), "class", WIDTH, preparing,
            "none", torch.device("cpu"), "float32",
        )  # fmt: skip
        zeros = np.zeros(WIDTH - 1, np.float32)
        eye = np.eye(WIDTH, dtype=np.float32)[:-1]
        self.dictionary = Dictionary.from_autoencoder(
            Preparation(np.zeros(WIDTH, np.float32)), eye, eye, zeros - LIMIT, zeros, WIDTH - 1
        )
        layers = self.model.class_tokens(self._tokens)
        codes = [self.dictionary.encode(layer) for layer in layers]
        half = np.arange(N_IMAGES) < N_IMAGES // 2
        self.study = SimpleNamespace(
            path=folder,
            n_layers=2,
            names={},
            codes=lambda layer: codes[layer - 1],
            rows=lambda part: np.flatnonzero(half == (part == TUNE)),
            dictionary=lambda layer: self.dictionary,
        )
        self.source = SimpleNamespace(
            study=self.study, model=self.model, pixels=lambda rows: self._tokens[list(rows)]
        )
        self.tokens = lambda part, layer: layers[layer - 1][self.study.rows(part)]

    def need_pictures(self) -> None:
        assert HELD_OUT != TUNE

    def run(self, name, function, calls):
        return [function(self.source, *call) for call in calls]


@pytest.mark.parametrize(
    ("drives", "verdict"),
    [
        ({(0, 1): DRIVE}, A_TO_B),
        ({(1, 0): DRIVE}, B_TO_A),
        ({(0, 1): DRIVE, (1, 0): DRIVE}, BOTH_WAYS),
        ({(CAUSE, 0): DRIVE, (CAUSE, 1): DRIVE}, NEITHER),
    ],
)
def test_planted_directions_are_found(
    tmp_path: Path, drives: dict[tuple[int, int], float], verdict: str
) -> None:
    bench = Bench(drives, tmp_path)
    table = measure(bench)["direction"].to_pylist()
    (row,) = (row for row in table if (row["a_lower"], row["b_lower"]) == (0, 1))
    assert (row["lower"], row["upper"], row["a_upper"], row["b_upper"]) == (1, 2, 0, 1)
    assert row["verdict"] == verdict
    assert row["drawn"] == ""
    assert row["n_images"] == 24
    assert row["association"] > 0.3
    values = bench.tokens(HELD_OUT, 2)
    for name, way, at in (("a_to_b", (0, 1), 1), ("b_to_a", (1, 0), 0)):
        # Taken out below is what its code holds; above the planted weight of it is missing.
        if way in drives:
            usual = (0.6 + 1.4) / 2 - LIMIT
            assert row[name] == pytest.approx(DRIVE * usual / values[:, at].std(), rel=0.15)
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        else:
            assert row[name] == pytest.approx(0, abs=1e-6)


def test_what_is_judged_by_hand() -> None:
    rng = np.random.default_rng(0)
    clear = np.array([rng.normal(1, 0.1, 12), rng.normal(0, 0.1, 12)])
    slight = np.array([rng.normal(LEAST / 2, 1e-3, 12), rng.normal(-1, 0.1, 12)])
    still = np.zeros((2, 12))
    assert [ways.verdict for ways in judge([clear, clear[::-1], slight, still], 0)] == [
        A_TO_B, B_TO_A, NEITHER, NEITHER,
    ]  # fmt: skip
    first = judge([clear], 0)[0]
    assert first.fall == pytest.approx(clear.mean(axis=1))
    spread = 1.96 * clear.std(axis=1) / np.sqrt(12)
    assert np.subtract(first.high, first.low) / 2 == pytest.approx(spread, rel=0.25)
    assert judge([], 0) == []


def test_chance_finds_few_directions() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((2, 10)) for _ in range(400)]
    assert sum(ways.verdict != NEITHER for ways in judge(noise, 0)) <= 4


RED_STAR = SceneObject("star", "red", "plain", "small", "top left")
BLUE_STAR = SceneObject("star", "blue", "striped", "large", "top right")
SCENE = Scene("sky", (RED_STAR, BLUE_STAR), 0.5)


def after(changes) -> Scene:
    scene = SCENE
    for change in changes:
        scene = change.apply(scene)
    return scene


def test_an_idea_is_broken_and_the_other_stays() -> None:
    rng = np.random.default_rng(0)
    red, star, red_star = ("colour", "red"), ("shape", "star"), ("object", "red star")
    for _ in range(20):
        first, second = after(broken(SCENE, star, red, rng)).objects
        assert "star" not in (first.shape, second.shape)
        assert (first.colour, second.colour) == ("red", "blue")
        first, second = after(broken(SCENE, red_star, star, rng)).objects
        assert (first.shape, second) == ("star", BLUE_STAR)
        assert first.colour != "red"
        first, second = after(broken(SCENE, red_star, red, rng)).objects
        assert (first.colour, second) == ("red", BLUE_STAR)
        assert first.shape != "star"
        assert after(broken(SCENE, ("background", "sky"), red, rng)).background != "sky"
        changes = broken(SCENE, red, star, rng)
        first, second = after(unrelated(SCENE, changes, [red, star], rng)).objects
        assert (first.colour, first.shape, second) == ("red", "star", BLUE_STAR)
        assert first != RED_STAR
    assert broken(SCENE, ("texture", "dotted"), red, rng) == []


def test_names_must_agree_at_both_layers() -> None:
    def named(attribute: str, value: str) -> SimpleNamespace:
        return SimpleNamespace(attribute=attribute, value=value)

    names = {
        ConceptId(3, 0): named("colour", "red"),
        ConceptId(6, 5): named("colour", "red"),
        ConceptId(3, 1): named("count", "one object"),
        ConceptId(6, 6): named("count", "one object"),
    }
    pair = Pair(3, 6, (0, 1), (5, 6), 0.2, (), np.empty((2, 0, 2), int))
    assert meaning(SimpleNamespace(names=names), pair, 0) == ("colour", "red")
    assert meaning(SimpleNamespace(names=names), pair, 1) is None, "it cannot be redrawn"
    names[ConceptId(6, 5)] = named("colour", "pink")
    assert meaning(SimpleNamespace(names=names), pair, 0) is None


def test_a_study_is_measured_whatever_the_workers(tiny_study, tmp_path: Path) -> None:
    tables = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        shutil.copytree(tiny_study.path, folder)
        study = measure_study(folder, ["direction"], workers=workers).study
        tables.append(study.measured("direction"))
    assert tables[0].equals(tables[1])
    for row in tables[0].to_pylist():
        assert row["a_to_b_low"] <= row["a_to_b"] <= row["a_to_b_high"]
        assert (row["lower"], row["upper"]) in [(1, 2), (2, 3), (3, 4)]
    assert tables[0].num_rows
