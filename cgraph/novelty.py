"""Whether an image is like those that a study was built from.

The score of an image is how far its tokens lie from those of the training images: at each layer
the Mahalanobis distance, with a variance of its own for each leading direction and one for all
that is left, as in probabilistic principal component analysis (Tipping and Bishop 1999). Distances
are scaled by those of tune images and the largest over the layers counts, because what is strange
to one layer may be lost in the next. The limit is passed by one in two hundred of the tune images;
how many of the held-out images pass it is measured and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.errors import DataError

N_DIRECTIONS = 64
"""Most directions of a layer that have a variance of their own."""

_IMAGES_FOR_A_DIRECTION = 10
_FLAGGED_SHARE = 0.005
_LOW, _HIGH = 0.05, 0.95
# Of the length of a token: differences as small as this are rounding, not another kind of image.
_LEAST_DEVIATION = 1e-3
_TINY = 1e-30
_LEAST_STEP = 0.1  # of a standard deviation


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
class Cloud:
    """Where the training tokens of one layer lie.

    Attributes
    ----------
    mean : ndarray of float32, shape (d_model,)
    directions : ndarray of float32, shape (k, d_model)
        Orthonormal rows, largest variance first.
    deviations : ndarray of float32, shape (k + 1,)
        Standard deviation along each direction, and of every direction that is left.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    deviations: NDArray[np.float32]

    @classmethod
    def fit(cls, tokens: NDArray[Any]) -> Cloud:
        """Learn it from training tokens, shape ``(n_samples, d_model)``."""
        n, width = tokens.shape
        mean = tokens.mean(axis=0, dtype=np.float64)
        centred = tokens - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / n)
        variances, directions = variances[::-1], directions[:, ::-1]
        k = max(0, min(N_DIRECTIONS, width - 1, n // _IMAGES_FOR_A_DIRECTION))
        kept = np.array([*variances[:k], variances[k:].mean()])
        least = _LEAST_DEVIATION**2 * np.mean(tokens.astype(np.float64) ** 2)
        deviations = np.sqrt(np.maximum(kept, max(float(least), _TINY)))
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(directions[:, :k].T, dtype=np.float32),
            deviations.astype(np.float32),
        )

    def distance(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far tokens lie from the mean, in standard deviations.

        Parameters
        ----------
        tokens : ndarray of float, shape (n_samples, d_model)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        centred = tokens.astype(np.float64) - self.mean
        along = centred @ self.directions.T
        rest = centred - along @ self.directions
        own = ((along / self.deviations[:-1]) ** 2).sum(axis=1)
        return np.sqrt(own + (rest**2).sum(axis=1) / np.float64(self.deviations[-1]) ** 2)


@dataclass(frozen=True)
class Usual:
    """What is usual in a study.

    Attributes
    ----------
    clouds : tuple of Cloud
        Where the training tokens of each layer lie.
    median, high : tuple of float
        Of the distances of tune images at each layer: the median, and what 95 % lie below.
    explained_low, explained_high : tuple of float
        What 5 % and 95 % of the explained shares of tune images lie below, at each layer.
    limit : float
        Scores above it are unusual.
    false_alarms : float
        Share of the held-out images with such a score.
    """

    clouds: tuple[Cloud, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    explained_low: tuple[float, ...]
    explained_high: tuple[float, ...]
    limit: float
    false_alarms: float

    @classmethod
    def measure(
        cls,
        clouds: Sequence[Cloud],
        tune: NDArray[Any],
        held_out: NDArray[Any],
        explained: NDArray[Any],
    ) -> Usual:
        """Learn what is usual.

        Parameters
        ----------
        clouds : sequence of Cloud
            Of layers 1..L.
        tune, held_out : ndarray of float, shape (n_layers, n_images)
            Distances from the clouds.
        explained : ndarray of float, shape (n_layers, n_images)
            Explained shares of the tune images.

        Raises
        ------
        DataError
            If there are no tune images.
        """
        if tune.shape[1] == 0:
            raise DataError("There are no tune images. Give at least a few hundred images.")
        median, high = np.quantile(tune, [0.5, _HIGH], axis=1)
        # Where all images lie equally far, a hair's breadth is no difference.
        high = np.maximum(high, median + _LEAST_STEP)
        limit = max(1.0, float(np.quantile(_scaled(tune, median, high), 1 - _FLAGGED_SHARE)))
        alarms = _scaled(held_out, median, high) > limit
        low_share, high_share = np.quantile(explained, [_LOW, _HIGH], axis=1)
        return cls(
            clouds=tuple(clouds),
            median=tuple(median.tolist()),
            high=tuple(high.tolist()),
            explained_low=tuple(low_share.tolist()),
            explained_high=tuple(high_share.tolist()),
            limit=limit,
            false_alarms=float(alarms.mean()) if len(alarms) else 0.0,
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """Layers, and numbers of a token."""
        return len(self.clouds), len(self.clouds[0].mean)

    def score(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """Return how unusual images are.

        Parameters
        ----------
        tokens : ndarray of float, shape (n_layers, n_images, d_model)

        Returns
        -------
        ndarray of float64, shape (n_images,)
            Largest scaled distance over the layers: 0 at the median of tune images, 1 where 95 %
            of them lie below.

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
        return _scaled(distances, np.array(self.median), np.array(self.high))

    def is_unusual(self, tokens: NDArray[Any]) -> bool:
        """Return whether an image is unlike the study's, by its tokens ``(n_layers, d_model)``."""
        return bool(self.score(tokens[:, None])[0] > self.limit)

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
        if n == 0 or tensors["deviations"].min() <= 0:
            raise ValueError("a deviation is not above 0, or there is no layer")
        if not (tensors["high"] > tensors["median"]).all():
            raise ValueError("a high distance is not above the median")
        clouds = zip(*(tensors[name] for name in _OF_CLOUDS), strict=True)
        return cls(
            clouds=tuple(Cloud(*arrays) for arrays in clouds),
            median=tuple(tensors["median"].tolist()),
            high=tuple(tensors["high"].tolist()),
            explained_low=tuple(tensors["explained_low"].tolist()),
            explained_high=tuple(tensors["explained_high"].tolist()),
            limit=float(tensors["limit"][0]),
            false_alarms=float(tensors["false_alarms"][0]),
        )


_OF_CLOUDS = ("mean", "directions", "deviations")
_OF_LAYERS = ("median", "high", "explained_low", "explained_high")
_NUMBERS = ("limit", "false_alarms")


def _scaled(
    distances: NDArray[Any], median: NDArray[Any], high: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the largest distance of each image over the layers, once they are comparable."""
    return ((distances - median[:, None]) / (high - median)[:, None]).max(axis=0)
