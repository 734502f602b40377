"""Whether an image is like those that a study was built from.

A dictionary explains the tokens of its own kind of images and little of others. The score of an
image is how far the explained shares of its tokens lie below the usual, in standard deviations,
averaged over the layers. The limit is passed by one in two hundred of the tune images; how many of
the held-out images pass it is measured and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cgraph.errors import DataError

_FLAGGED_SHARE = 0.005
_LOW, _HIGH = 0.05, 0.95
_LEAST_SPREAD = 1e-3  # where all tokens are explained alike, a hair's breadth is no difference


def explained_share(
    tokens: NDArray[Any], decoded: NDArray[Any], mean: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the share of each token that its code explains.

    Parameters
    ----------
    tokens, decoded : ndarray of float, shape (n_samples, d_model)
        Tokens, and what their codes make of them.
    mean : ndarray of float, shape (d_model,)
        What the dictionary subtracts.

    Returns
    -------
    ndarray of float64, shape (n_samples,)
        ``1 - ‖z - ẑ‖² / ‖z - mean‖²``: at most 1, 0 for a token that is the mean itself.
    """
    residual = ((tokens - decoded).astype(np.float64) ** 2).sum(axis=1)
    total = ((tokens - mean).astype(np.float64) ** 2).sum(axis=1)
    return 1 - np.divide(residual, total, out=np.ones_like(total), where=total > 0)


@dataclass(frozen=True)
class Usual:
    """What is usual in a study.

    Attributes
    ----------
    median, spread, low, high : tuple of float
        Of the explained shares of each layer on tune images: median, standard deviation, and the
        values that 5 % and 95 % lie below.
    limit : float
        Scores above it are unusual.
    false_alarms : float
        Share of the held-out images with such a score.
    """

    median: tuple[float, ...]
    spread: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    limit: float
    false_alarms: float

    @classmethod
    def measure(cls, tune: NDArray[Any], held_out: NDArray[Any]) -> Usual:
        """Learn what is usual.

        Parameters
        ----------
        tune, held_out : ndarray of float, shape (n_layers, n_images)
            Explained shares.

        Raises
        ------
        DataError
            If there are no tune images.
        """
        if tune.shape[1] == 0:
            raise DataError("There are no tune images. Give at least a few hundred images.")
        low, median, high = np.quantile(tune, [_LOW, 0.5, _HIGH], axis=1)
        spread = np.maximum(tune.std(axis=1), _LEAST_SPREAD)
        known = cls(
            median=tuple(median.tolist()),
            spread=tuple(spread.tolist()),
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            limit=0.0,
            false_alarms=0.0,
        )
        limit = float(np.quantile(known.score(tune), 1 - _FLAGGED_SHARE))
        alarms = known.score(held_out) > limit
        share = float(alarms.mean()) if len(alarms) else 0.0
        return replace(known, limit=limit, false_alarms=share)

    def score(self, explained: ArrayLike) -> NDArray[np.float64]:
        """Return how unusual images are.

        Parameters
        ----------
        explained : array of float, shape (n_layers,) or (n_layers, n_images)

        Returns
        -------
        ndarray of float64, shape () or (n_images,)
            Mean over the layers of standard deviations below the median.
        """
        shares = np.asarray(explained, dtype=np.float64)
        shape = (-1,) + (1,) * (shares.ndim - 1)
        median, spread = np.reshape(self.median, shape), np.reshape(self.spread, shape)
        return ((median - shares) / spread).mean(axis=0)

    def is_unusual(self, explained: Sequence[float]) -> bool:
        """Return whether the explained shares of an image's tokens are unlike the study's."""
        return bool(self.score(explained) > self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Usual:
        """Read what `to_dict` wrote.

        Raises
        ------
        ValueError, TypeError
            If it is something else.
        """
        of_layers = {n: tuple(values[n]) for n in ("median", "spread", "low", "high")}
        return cls(
            **of_layers, limit=float(values["limit"]), false_alarms=float(values["false_alarms"])
        )
