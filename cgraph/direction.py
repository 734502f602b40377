"""Which of two ideas that go together moves the other.

A at a lower layer and B at an upper one, and the same two ideas the other way round: each is taken
out below, and the other is watched above (`cgraph.direction_runs`). Where the images are drawn
scenes, the drawing answers too: what one idea stands for is changed in the picture
(`cgraph.direction_drawn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cgraph.config import HELD_OUT, TUNE
from cgraph.followed import follow, layer_pairs
from cgraph.redrawing import is_drawn
from cgraph.truth_tables import A_TO_B, B_TO_A, BOTH_WAYS, DIRECTION_SCHEMA, NEITHER
from cgraph.workbench import Workbench

LEAST = 0.1
"""Least fall that counts, in standard deviations of the pre-activation that is watched."""

RATE = 0.05
"""False discovery rate over both ways of all pairs of two layers."""

_DRAWS = 1000  # of the bootstrap


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Return the table ``direction``.

    Raises
    ------
    ImageError, ModelError
        If pictures or model cannot be had, or blocks cannot be run one by one.
    """
    from cgraph.block_inputs import check_blocks
    from cgraph.direction_drawn import redrawn_moves
    from cgraph.direction_runs import choose_pairs, moves_of

    bench.need_pictures()
    check_blocks(bench.model, bench.source.pixels([0]))
    study, tables = bench.study, []
    tune, held_out = study.rows(TUNE), study.rows(HELD_OUT)
    for lower, upper in layer_pairs(study.n_layers):
        followed = follow(study.codes(lower).take(tune), study.codes(upper).take(tune))
        pairs = choose_pairs(followed, (lower, upper), study.codes(lower), held_out, bench.seed)
        if not pairs:
            continue
        values = study.dictionary(upper).pre_activations(bench.tokens(HELD_OUT, upper))
        scale = values.std(axis=0, dtype=np.float64)
        scales = [scale[list(pair.at_upper[::-1])][:, None] for pair in pairs]
        moves = [move / by for move, by in zip(moves_of(bench, pairs), scales, strict=True)]
        ways = judge(moves, bench.seed)
        drawn = [""] * len(pairs)
        if is_drawn(study):
            redrawn = redrawn_moves(bench, pairs)
            there = [place for place, found in enumerate(redrawn) if found is not None]
            of_drawing = judge(
                [np.asarray(redrawn[place]) / scales[place] for place in there], bench.seed
            )
            for place, found in zip(there, of_drawing, strict=True):
                drawn[place] = found.verdict
        for pair, way, truth in zip(pairs, ways, drawn, strict=True):
            tables.append(
                {
                    "lower": lower,
                    "upper": upper,
                    **dict(zip(("a_lower", "b_lower"), pair.at_lower, strict=True)),
                    **dict(zip(("a_upper", "b_upper"), pair.at_upper, strict=True)),
                    "association": pair.association,
                    **dict(zip(("a_to_b", "b_to_a"), way.fall, strict=True)),
                    **dict(zip(("a_to_b_low", "b_to_a_low"), way.low, strict=True)),
                    **dict(zip(("a_to_b_high", "b_to_a_high"), way.high, strict=True)),
                    "n_images": len(pair.rows),
                    "verdict": way.verdict,
                    "drawn": truth,
                }
            )
    return {"direction": pa.Table.from_pylist(tables, schema=DIRECTION_SCHEMA)}


@dataclass(frozen=True)
class Ways:
    """Both ways of one pair: A out and B watched, B out and A watched.

    Attributes
    ----------
    fall, low, high : tuple of float
        Mean fall in standard deviations, beyond controls, and its 95 % interval.
    verdict : str
        Of `cgraph.truth_tables.DIRECTIONS`.
    """

    fall: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    verdict: str


def judge(moves: Sequence[np.ndarray], seed: int) -> list[Ways]:
    """Say of every pair which idea moves which.

    One moves the other if the other falls, on the mean over images, by at least `LEAST`, and by
    a t test more than by chance, at the false discovery rate `RATE` (Benjamini and Hochberg 1995)
    over both ways of all pairs.

    Parameters
    ----------
    moves : sequence of ndarray, shape (2, n_images)
        Falls in standard deviations, beyond controls, of each image.
    seed : int
        Of the bootstrap over images.
    """
    from scipy.stats import false_discovery_control, ttest_1samp

    if not moves:
        return []
    falls = np.array([move.mean(axis=1) for move in moves])
    chances = np.array([ttest_1samp(move, 0, axis=1, alternative="greater")[1] for move in moves])
    # Falls that are all 0 have no t; they are no effect.
    controlled = false_discovery_control(np.nan_to_num(chances, nan=1.0).ravel())
    moving = (controlled.reshape(falls.shape) <= RATE) & (falls >= LEAST)
    verdicts = {
        (True, True): BOTH_WAYS,
        (True, False): A_TO_B,
        (False, True): B_TO_A,
        (False, False): NEITHER,
    }
    found = []
    for move, fall, (a_moves, b_moves) in zip(moves, falls, moving.tolist(), strict=True):
        rng = np.random.default_rng((seed, move.shape[1]))
        drawn = rng.integers(0, move.shape[1], (_DRAWS, move.shape[1]))
        means = move[:, drawn].mean(axis=2)
        (a_low, b_low), (a_high, b_high) = np.percentile(means, [2.5, 97.5], axis=1).tolist()
        a_fall, b_fall = fall.tolist()
        found.append(
            Ways((a_fall, b_fall), (a_low, b_low), (a_high, b_high), verdicts[a_moves, b_moves])
        )
    return found
