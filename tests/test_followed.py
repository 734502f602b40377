"""The same idea at two layers, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cgraph.codes import Codes
from cgraph.followed import MIN_LABELS, follow, layer_pairs


def codes_of(labels: np.ndarray) -> Codes:
    index = np.where(labels, np.arange(labels.shape[1]), -1)
    return Codes.from_padded(index, labels.astype(np.float32), labels.shape[1])


def test_mutual_best_matches_that_are_strong_enough() -> None:
    rng = np.random.default_rng(0)
    lower = rng.random((2000, 4)) < 0.3
    upper = np.zeros((2000, 5), bool)
    upper[:, 3] = lower[:, 0]
    upper[:, 1] = lower[:, 1] ^ (rng.random(2000) < 0.1)
    upper[:, 2] = lower[:, 1] ^ (rng.random(2000) < 0.2)  # a worse match of the same
    upper[:, 0] = lower[:, 2] ^ (rng.random(2000) < 0.47)  # too weak
    upper[: MIN_LABELS - 1, 4] = True  # too rare
    lower[:, 3] = upper[:, 4]
    found = follow(codes_of(lower), codes_of(upper))
    assert list(zip(found.at_lower, found.at_upper, strict=True)) == [(0, 3), (1, 1)]
    wanted = np.corrcoef(lower[:, 1], upper[:, 2])[0, 1]
    assert found.across[1, 2] == pytest.approx(wanted)


def test_pairs_go_together_both_ways() -> None:
    """The weaker of both correlations counts; the closest pair comes first."""
    rng = np.random.default_rng(1)
    lower = rng.random((4000, 3)) < 0.3
    lower[:, 1] = np.where(rng.random(4000) < 0.5, lower[:, 0], lower[:, 1])
    upper = lower ^ (rng.random((4000, 3)) < 0.05)
    found = follow(codes_of(lower), codes_of(upper))
    places, association = found.pairs()
    assert places.tolist() == [[0, 1]]
    both = [np.corrcoef(lower[:, a], upper[:, 1 - a])[0, 1] for a in (0, 1)]
    assert association == pytest.approx([min(both)])


@pytest.mark.parametrize(
    ("n_layers", "wanted"),
    [
        (12, [(3, 6), (6, 9), (9, 12)]),
        (24, [(6, 12), (12, 18), (18, 24)]),
        (3, [(1, 2), (2, 3)]),
        (1, []),
    ],
)
def test_layers_a_quarter_apart(n_layers: int, wanted: list[tuple[int, int]]) -> None:
    assert layer_pairs(n_layers) == wanted
