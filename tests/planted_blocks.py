"""A study of two layers whose second block is written by hand, so that every effect is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from cgraph import evidence, evidence_runs
from cgraph.class_row import NextBlock
from cgraph.codes import Codes
from cgraph.config import HELD_OUT
from cgraph.dictionary import Dictionary
from cgraph.edge_index import LayerEdges
from cgraph.preparation import Preparation

D_MODEL, N_PARENTS, N_ACTIVE, N_IMAGES = 48, 32, 8, 500
N_HELD_OUT = 300

Block = Callable[[np.ndarray], np.ndarray]


def dictionary_of(rows: np.ndarray) -> Dictionary:
    """Return a dictionary whose encoder is its atoms."""
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    zeros = np.zeros(len(rows), np.float32)
    preparation = Preparation(np.zeros(D_MODEL, np.float32))
    return Dictionary.from_autoencoder(preparation, rows, rows, zeros, zeros, N_ACTIVE)


class PlantedBlocks:
    """The parts of a study that evidence needs.

    Parameters
    ----------
    atoms, children : ndarray, shape (n, D_MODEL)
        Rows of the encoders of layers 1 and 2.
    edges : dict
        Weight of each edge by (parent, child).
    block : callable
        What the second block makes of tokens, ``(n, D_MODEL)``.
    """

    n_layers = 2

    def __init__(
        self,
        atoms: np.ndarray,
        children: np.ndarray,
        edges: dict[tuple[int, int], float],
        block: Block,
    ) -> None:
        rng = np.random.default_rng(5)
        self.block = block
        self.dictionaries = dictionary_of(atoms), dictionary_of(children)
        codes = np.zeros((N_IMAGES, len(atoms)))
        for code in codes:
            code[rng.permutation(len(atoms))[:N_ACTIVE]] = rng.uniform(1, 2, N_ACTIVE)
        noise = rng.normal(0, 0.02, (N_IMAGES, D_MODEL))
        first = (codes @ self.dictionaries[0].atoms + noise).astype(np.float32)
        self.tokens = first, block(first)
        self.image_ids = [str(row) for row in range(N_IMAGES)]
        order = sorted(edges, key=lambda edge: edge[::-1])
        columns = {
            "parent": np.array([parent for parent, _ in order], np.int32),
            "weight": np.array([edges[edge] for edge in order], np.float32),
            "selection_rate": np.ones(len(order), np.float32),
        }
        starts = np.searchsorted([child for _, child in order], np.arange(len(children) + 1))
        self.graph = SimpleNamespace(
            layer_edges=lambda layer: LayerEdges.index(columns, starts, len(atoms)),
            n_concepts=lambda layer: len((atoms, children)[layer - 1]),
        )

    def dictionary(self, layer: int) -> Dictionary:
        return self.dictionaries[layer - 1]

    def codes(self, layer: int) -> Codes:
        return self.dictionary(layer).encode(self.tokens[layer - 1])

    def training_codes(self, layer: int) -> Codes:
        return self.codes(layer).take(np.arange(N_HELD_OUT, N_IMAGES))

    def rows(self, part: str) -> np.ndarray:
        assert part == HELD_OUT  # nothing else may be looked at
        return np.arange(N_HELD_OUT)


def measure(monkeypatch: pytest.MonkeyPatch, study: PlantedBlocks, seed: int = 0) -> dict:
    """Measure the evidence of a planted study: the tables, by name, as lists of rows."""

    def run_again(model, pixels, visit) -> None:
        rows = pixels[:, 0].astype(int)
        first = study.tokens[0][rows]

        def rerun(place: int, added: np.ndarray) -> np.ndarray:
            return study.block(first[place] + added)

        visit(NextBlock(2, first, study.block(first), True, rerun, rerun))

    for module in (evidence, evidence_runs):
        monkeypatch.setattr(module, "run_again", run_again)
    source = SimpleNamespace(
        study=study, model=None, pixels=lambda rows: np.asarray(rows, float)[:, None]
    )
    bench = SimpleNamespace(
        study=study,
        seed=seed,
        model=None,
        source=source,
        need_pictures=lambda: None,
        tokens=lambda part, layer: study.tokens[layer - 1][study.rows(part)],
        run=lambda name, function, calls: [function(source, *call) for call in calls],
    )
    return {name: table.to_pylist() for name, table in evidence.measure(bench).items()}
