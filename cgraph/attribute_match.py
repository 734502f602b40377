"""How well one concept stands for each attribute of the images.

Two figures for each attribute value, both over the same images: the Matthews correlation of "the
concept is active" with "the image has the value", and the area under the ROC curve of the
concept's coefficient, 0 where it is silent, as a score for the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.attributes import AttributeTable
from cgraph.codes import Codes


@dataclass(frozen=True)
class AttributeMatch:
    """One attribute value and how it goes with a concept.

    Attributes
    ----------
    attribute, value : str
    n_images : int
        Images that have the value.
    auc : float
        Chance that the coefficient is larger in a random image with the value than in one
        without, ties counted half; NaN if no image, or every image, has it.
    correlation : float
        Matthews correlation, in [-1, 1]; 0 where one of the two is the same in all images.
    share : float
        Of the images with the value, the part in which the concept is active; NaN without any.
    """

    attribute: str
    value: str
    n_images: int
    auc: float
    correlation: float
    share: float


def attribute_matches(
    codes: Codes, atom: int, table: AttributeTable, rows: NDArray[np.intp]
) -> list[AttributeMatch]:
    """Measure a concept against every attribute value.

    Parameters
    ----------
    codes : Codes
        Of all images at the concept's layer.
    atom : int
    table : AttributeTable
        Of the same images.
    rows : ndarray of int
        The images to measure on, such as the held-out ones.

    Returns
    -------
    list of AttributeMatch
        By falling absolute correlation, then in the table's order.
    """
    if not table.columns:
        return []
    coefficients = np.zeros(codes.n_samples)
    positives, values = codes.exemplars(atom, codes.n_samples)
    coefficients[positives] = np.abs(values)
    scores = coefficients[rows]
    truth = table.take(rows).astype(np.int64)
    n = len(rows)
    n_with = np.asarray(truth.sum(axis=0)).ravel()
    active = (scores > 0).astype(np.int64)
    both = truth.T @ active
    n_active = int(active.sum())
    # Whole numbers up to the division, so nothing is rounded before: twice the mid-ranks.
    below = 2 * n_with * (n - n_with)
    won = truth.T @ _twice_ranks(scores) - n_with * (n_with + 1)
    area = np.divide(won, below, out=np.full(len(below), np.nan), where=below > 0)
    spread = n_with.astype(float) * (n - n_with) * n_active * (n - n_active)
    covariance = (n * both - n_with * n_active).astype(float)
    phi = np.divide(covariance, np.sqrt(spread), out=np.zeros(len(spread)), where=spread > 0)
    share = np.divide(both, n_with, out=np.full(len(both), np.nan), where=n_with > 0)
    order = np.argsort(-np.abs(phi), kind="stable")
    return [
        AttributeMatch(
            attribute=table.columns[column][0],
            value=table.columns[column][1],
            n_images=int(n_with[column]),
            auc=float(area[column]),
            correlation=float(phi[column]),
            share=float(share[column]),
        )
        for column in order.tolist()
    ]


def _twice_ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the rank of each score from 1, equal scores sharing their mean rank."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (2 * ends - counts + 1)[places].astype(np.int64)
