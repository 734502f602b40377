"""Two layers of planted labels at any size: codes on the left, targets with known parents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit


@dataclass(frozen=True)
class PlantedPair:
    """Inputs and targets.

    Attributes
    ----------
    codes : csr_array of float64, shape (n_samples, n_features)
        Left layer: a fixed number of nonzeros in each row, of both signs.
    labels : csr_array of float64, shape (n_samples, n_features)
        The same with every coefficient 1.
    targets : ndarray of bool, shape (n_samples, n_targets)
    """

    codes: sparse.csr_array
    labels: sparse.csr_array
    targets: np.ndarray


def _power_law(n: int, offset: float) -> np.ndarray:
    """Return shares that fall with their rank, and more slowly at first."""
    shares = (np.arange(n) + offset) ** -0.9
    return shares / shares.sum()


def plant_pair(
    *,
    n_samples: int,
    n_features: int,
    n_targets: int,
    n_active: int = 10,
    n_parents: tuple[int, int] = (4, 30),
    prevalence: tuple[float, float] | None = None,
    seed: int = 0,
) -> PlantedPair:
    """Plant one pair of layers.

    Images have topics, and most of their active features are from the topic's own pool, so that
    features go together as concepts do. A target is drawn from a logistic model of some features of
    one pool and a few others; its intercept is set so that it is as frequent as wanted.

    Parameters
    ----------
    n_samples, n_features, n_targets : int
    n_active : int
        Nonzeros in each row.
    n_parents, prevalence : tuple
        Range of a target's parents, and of its frequency; both are drawn evenly on a log scale.
        Without a range of frequencies they follow a power law whose mean is that of the inputs, as
        those of a layer's concepts do.
    seed : int
    """
    rng = np.random.default_rng(seed)
    n_topics, pool_size = 300, min(60, n_features)
    frequency = rng.permutation(_power_law(n_features, 30))
    rates = n_active * _power_law(n_features, 300)
    pools = np.stack(
        [rng.choice(n_features, pool_size, replace=False, p=frequency) for _ in range(n_topics)]
    )
    topic = rng.integers(n_topics, size=n_samples)
    # The n_active largest of random keys: distinct features, those of the pool preferred.
    indices = np.empty((n_samples, n_active), dtype=np.int32)
    wide = 4 * n_active
    for start in range(0, n_samples, 4096):
        rows = slice(start, min(start + 4096, n_samples))
        n = rows.stop - rows.start
        own = pools[topic[rows], :][np.arange(n)[:, None], rng.integers(pool_size, size=(n, wide))]
        other = rng.choice(n_features, (n, wide), p=frequency)
        drawn = np.where(rng.random((n, wide)) < 0.6, own, other)
        for place, row in enumerate(drawn):
            first = np.sort(np.unique(row, return_index=True)[1])[:n_active]
            indices[start + place] = np.sort(row[first])
    values = rng.lognormal(0, 0.5, indices.shape) * rng.choice([-1, 1], indices.shape, p=[0.2, 0.8])
    offsets = np.arange(0, indices.size + 1, n_active, dtype=np.int32)
    shape = (n_samples, n_features)
    codes = sparse.csr_array((values.ravel(), indices.ravel(), offsets), shape=shape)
    labels = sparse.csr_array((np.ones(indices.size), indices.ravel(), offsets), shape=shape)

    by_feature = labels.tocsc()
    targets = np.empty((n_samples, n_targets), dtype=bool)
    for column in range(n_targets):
        size = int(np.exp(rng.uniform(*np.log(n_parents))))
        own = rng.choice(pools[rng.integers(n_topics)], min(size, pool_size), replace=False)
        parents = np.union1d(own, rng.choice(n_features, size // 4, p=frequency))
        weights = rng.uniform(2, 5, len(parents)) * rng.choice([-1, 1], len(parents), p=[0.1, 0.9])
        score = by_feature[:, parents] @ weights
        wanted = (
            rng.choice(rates) if prevalence is None else np.exp(rng.uniform(*np.log(prevalence)))
        )
        low, high = -40.0, 10.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if expit(score + middle).mean() < wanted else (low, middle)
        targets[:, column] = rng.random(n_samples) < expit(score + low)
    return PlantedPair(codes, labels, targets)
