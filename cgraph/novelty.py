"""Whether an image is like those that a study was built from.

Two things give an image away, and each alone misses what the other finds.

*Distance*: how far its tokens lie from those of the training images, at each layer the Mahalanobis
distance with a variance of its own for each leading direction and one for all that is left, as in
probabilistic principal component analysis (Tipping and Bishop 1999). Distances are scaled by those
of tune images and the largest over the layers counts, because what is strange to one layer may be
lost in the next.

*Misfit*: how badly the concepts fit it. At each layer the share of the token that its code fails
to explain, and the surprise of its active concepts, ``mean(-log p)`` of the probability that their
parents give them; both in standard deviations of tune images above their median, squared and
averaged over the layers.

Each is divided by what one in two hundred of the tune images pass, and the larger of the two
counts. The limit is again passed by one in two hundred of the tune images; how many of the held-out
images pass it is measured and kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.errors import DataError
from cgraph.signals import Cloud, Signals

_FLAGGED_SHARE = 0.005
_LOW, _HIGH = 0.05, 0.95
_LEAST_STEP = 0.1  # of a standard deviation
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Usual:
    """What is usual in a study.

    Attributes
    ----------
    clouds : tuple of Cloud
        Where the training tokens of each layer lie.
    median, high : tuple of float
        Of the distances of tune images at each layer: the median, and what 95 % lie below.
    explained_low, explained_median, explained_high : tuple of float
        What 5, 50 and 95 % of the explained shares of tune images lie below, at each layer.
    explained_spread : tuple of float
        Standard deviation of these shares.
    surprise_median, surprise_spread : tuple of float
        Median and standard deviation of the surprise of tune images, at each layer.
    distance_limit, misfit_limit : float
        What one in two hundred of the tune images pass.
    limit : float
        Scores above it are unusual.
    false_alarms : float
        Share of the held-out images with such a score.
    """

    clouds: tuple[Cloud, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    explained_low: tuple[float, ...]
    explained_median: tuple[float, ...]
    explained_high: tuple[float, ...]
    explained_spread: tuple[float, ...]
    surprise_median: tuple[float, ...]
    surprise_spread: tuple[float, ...]
    distance_limit: float
    misfit_limit: float
    limit: float
    false_alarms: float

    @classmethod
    def measure(cls, clouds: Sequence[Cloud], tune: Signals, held_out: Signals) -> Usual:
        """Learn what is usual.

        Parameters
        ----------
        clouds : sequence of Cloud
            Of layers 1..L.
        tune, held_out : Signals
            Of the images that set the limits, and of those on which false alarms are counted.

        Raises
        ------
        DataError
            If there are no tune images.
        """
        if tune.distance.shape[1] == 0:
            raise DataError("There are no tune images. Give at least a few hundred images.")
        median, high = np.quantile(tune.distance, [0.5, _HIGH], axis=1)
        # Where all images lie equally far, a hair's breadth is no difference.
        high = np.maximum(high, median + _LEAST_STEP)
        low_share, middle, high_share = np.quantile(tune.explained, [_LOW, 0.5, _HIGH], axis=1)
        known = cls(
            clouds=tuple(clouds),
            median=tuple(median.tolist()),
            high=tuple(high.tolist()),
            explained_low=tuple(low_share.tolist()),
            explained_median=tuple(middle.tolist()),
            explained_high=tuple(high_share.tolist()),
            explained_spread=_spread(tune.explained),
            surprise_median=tuple(np.median(tune.surprise, axis=1).tolist()),
            surprise_spread=_spread(tune.surprise),
            distance_limit=1.0,
            misfit_limit=1.0,
            limit=1.0,
            false_alarms=0.0,
        )
        known = dataclasses.replace(
            known,
            distance_limit=_limit(known.distance_score(tune)),
            misfit_limit=_limit(known.misfit_score(tune)),
        )
        known = dataclasses.replace(known, limit=_limit(known.score(tune)))
        alarms = known.score(held_out) > known.limit
        return dataclasses.replace(known, false_alarms=float(alarms.mean()) if len(alarms) else 0.0)

    @property
    def sizes(self) -> tuple[int, int]:
        """Layers, and numbers of a token."""
        return len(self.clouds), len(self.clouds[0].mean)

    def signals(
        self, tokens: NDArray[Any], explained: NDArray[Any], surprises: NDArray[Any]
    ) -> Signals:
        """Return what gives images away.

        Parameters
        ----------
        tokens : ndarray of float, shape (n_layers, n_images, d_model)
        explained, surprises : ndarray of float, shape (n_layers, n_images)

        Raises
        ------
        DataError
            If the tokens are of another model.
        """
        wanted = self.sizes
        if tokens.ndim != 3 or (tokens.shape[0], tokens.shape[2]) != wanted:
            raise DataError(
                f"Tokens have shape {tokens.shape}; this study needs {wanted[0]} layers of tokens "
                f"with {wanted[1]} numbers, (layers, images, numbers). Take them from the model "
                "that the study was built with."
            )
        pairs = zip(self.clouds, tokens, strict=True)
        distances = np.stack([cloud.distance(of_layer) for cloud, of_layer in pairs])
        return Signals(distances, np.asarray(explained), np.asarray(surprises))

    def distance_score(self, signals: Signals) -> NDArray[np.float64]:
        """Return the largest scaled distance of each image: 0 at the median, 1 at 95 %."""
        median, high = np.array(self.median)[:, None], np.array(self.high)[:, None]
        return ((signals.distance - median) / (high - median)).max(axis=0)

    def misfit_score(self, signals: Signals) -> NDArray[np.float64]:
        """Return how badly the concepts fit each image: mean squares of standard deviations."""
        parts = (
            (np.array(self.explained_median)[:, None] - signals.explained, self.explained_spread),
            (signals.surprise - np.array(self.surprise_median)[:, None], self.surprise_spread),
        )
        scaled = [np.maximum(over / np.array(spread)[:, None], 0) for over, spread in parts]
        return sum((part**2).mean(axis=0) for part in scaled)

    def score(self, signals: Signals) -> NDArray[np.float64]:
        """Return how unusual images are: the larger of both scores, each over its limit.

        Parameters
        ----------
        signals : Signals

        Returns
        -------
        ndarray of float64, shape (n_images,)
        """
        return np.maximum(
            self.distance_score(signals) / self.distance_limit,
            self.misfit_score(signals) / self.misfit_limit,
        )

    def is_unusual(
        self, tokens: NDArray[Any], explained: Sequence[float], surprises: Sequence[float]
    ) -> bool:
        """Return whether an image is unlike the study's.

        Parameters
        ----------
        tokens : ndarray of float, shape (n_layers, d_model)
        explained, surprises : sequence of float, length n_layers
        """
        columns = (np.asarray(values, float)[:, None] for values in (explained, surprises))
        return bool(self.score(self.signals(tokens[:, None], *columns))[0] > self.limit)

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return every array under a fixed name; the inverse of `from_tensors`."""
        tensors: dict[str, NDArray[Any]] = {
            name: np.array(getattr(self, name), dtype=np.float64) for name in _OF_LAYERS
        }
        tensors |= {name: np.array([getattr(self, name)], dtype=np.float64) for name in _NUMBERS}
        for name in _OF_CLOUDS:
            tensors[name] = np.stack([getattr(cloud, name) for cloud in self.clouds])
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Usual:
        """Read what `to_tensors` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or not finite, or the shapes do not fit together.
        """
        n, k, width = tensors["directions"].shape
        shapes = {"mean": (n, width), "directions": (n, k, width), "deviations": (n, k + 1)}
        shapes |= dict.fromkeys(_OF_LAYERS, (n,)) | dict.fromkeys(_NUMBERS, (1,))
        for name, shape in shapes.items():
            array = tensors[name]
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name} has shape {array.shape}, not {shape}, or is not finite")
        if n == 0:
            raise ValueError("there is no layer")
        for name in ("deviations", "explained_spread", "surprise_spread", *_NUMBERS[:-1]):
            if tensors[name].min() <= 0:
                raise ValueError(f"a number of {name} is not above 0")
        if not (tensors["high"] > tensors["median"]).all():
            raise ValueError("a high distance is not above the median")
        values: dict[str, Any] = {name: tuple(tensors[name].tolist()) for name in _OF_LAYERS}
        values |= {name: float(tensors[name][0]) for name in _NUMBERS}
        clouds = zip(*(tensors[name] for name in _OF_CLOUDS), strict=True)
        return cls(clouds=tuple(Cloud(*arrays) for arrays in clouds), **values)


_OF_CLOUDS = ("mean", "directions", "deviations")
_OF_LAYERS = (
    *("median", "high", "explained_low", "explained_median", "explained_high"),
    *("explained_spread", "surprise_median", "surprise_spread"),
)
_NUMBERS = ("distance_limit", "misfit_limit", "limit", "false_alarms")


def _spread(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(np.maximum(values.std(axis=1), _LEAST_SPREAD).tolist())


def _limit(scores: NDArray[np.float64]) -> float:
    """Return what one in two hundred pass, and at least what is no difference."""
    return max(1.0, float(np.quantile(scores, 1 - _FLAGGED_SHARE)))
