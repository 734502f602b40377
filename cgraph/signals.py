"""What gives an image away that is unlike those of a study: its tokens, and how concepts fit it.

`cgraph.novelty` makes one judgement of these signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cgraph.codes import Codes
    from cgraph.predictor import InputRows, Predictors

Chunks: TypeAlias = "Callable[[], Iterable[NDArray[Any]]]"

N_DIRECTIONS = 64
"""Most directions of a layer that have a variance of their own."""

_IMAGES_FOR_A_DIRECTION = 10
# Of the length of a token: differences as small as this are rounding, not another kind of image.
_LEAST_DEVIATION = 1e-3
_TINY = 1e-30
_LEAST_PROBABILITY = 1e-4
_ROWS = 1024  # images whose probabilities are held at a time


def mean_of(chunks: Chunks) -> tuple[int, NDArray[np.float64]]:
    """Return how many tokens chunks have together, and their mean, shape ``(d_model,)``."""
    n, total = 0, np.zeros(1)
    for tokens in chunks():
        n += len(tokens)
        total = total + tokens.sum(axis=0, dtype=np.float64)
    return n, total / n


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


def surprise(probabilities: NDArray[Any]) -> float:
    """Return the surprise of one image's active concepts at one layer.

    Parameters
    ----------
    probabilities : ndarray of float, shape (n_active,)
        What their parents give them; NaN without a predictor, which does not count.

    Returns
    -------
    float
        ``mean(-log p)``, with p at least 1e-4; 0 if no concept has a predictor.
    """
    known = probabilities[~np.isnan(probabilities)]
    return float(-np.log(np.maximum(known, _LEAST_PROBABILITY)).mean()) if len(known) else 0.0


def surprise_of_rows(
    predictors: Predictors, inputs: InputRows, codes: Codes
) -> NDArray[np.float64]:
    """Return the surprise of the active concepts of many images at one layer; see `surprise`.

    Parameters
    ----------
    predictors : Predictors
        Of all concepts of the layer, calibrated.
    inputs : InputRows
        The layer before.
    codes : Codes
        The layer, the same images.

    Returns
    -------
    ndarray of float64, shape (n_images,)
    """
    found = np.zeros(codes.n_samples)
    for start in range(0, codes.n_samples, _ROWS):
        rows = np.arange(start, min(start + _ROWS, codes.n_samples))
        probabilities = predictors.probabilities(_Some(inputs, rows), "calibrated")
        probabilities[:, ~predictors.fitted] = np.nan
        for place, row in enumerate(rows):
            active = codes.row(int(row))[0].astype(np.int64)
            found[row] = surprise(probabilities[place][active])
    return found


class _Some:
    """Some rows of inputs as inputs of their own."""

    def __init__(self, inputs: InputRows, rows: NDArray[np.intp]) -> None:
        self._inputs, self._rows = inputs, rows
        self.n_samples, self.n_features = len(rows), inputs.n_features

    def rows(self, rows: NDArray[Any]) -> Any:
        """Return the inputs of some of these samples."""
        return self._inputs.rows(self._rows[rows])


@dataclass(frozen=True)
class Signals:
    """What gives some images away.

    Attributes
    ----------
    distance, explained, surprise : ndarray of float64, shape (n_layers, n_images)
        Distance from the cloud of each layer; explained share of its token; surprise of its
        active concepts, 0 in layer 1.
    """

    distance: NDArray[Any]
    explained: NDArray[Any]
    surprise: NDArray[Any]


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
        return cls.fit_chunks(lambda: [tokens])

    @classmethod
    def fit_chunks(cls, chunks: Chunks) -> Cloud:
        """Learn it from training tokens of which only one chunk is held at a time.

        Parameters
        ----------
        chunks : callable
            Returns the chunks, each of shape ``(n_samples, d_model)``; called twice.
        """
        n, mean = mean_of(chunks)
        width = len(mean)
        products, squares = np.zeros((width, width)), 0.0
        for tokens in chunks():
            centred = tokens - mean
            products += centred.T @ centred
            squares += float((tokens.astype(np.float64) ** 2).sum())
        variances, directions = np.linalg.eigh(products / n)
        variances, directions = variances[::-1], directions[:, ::-1]
        k = max(0, min(N_DIRECTIONS, width - 1, n // _IMAGES_FOR_A_DIRECTION))
        kept = np.array([*variances[:k], variances[k:].mean()])
        least = _LEAST_DEVIATION**2 * (squares / (n * width))
        deviations = np.sqrt(np.maximum(kept, max(least, _TINY)))
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
