"""Which images a study shows first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cgraph.codes import Codes

N_EXAMPLES = 10
"""Examples of a study."""


def choose_examples(
    labels: Codes, rows: NDArray[np.intp], worth: NDArray[np.float64], n: int = N_EXAMPLES
) -> list[int]:
    """Choose images that show many different concepts, the most telling one first.

    Parameters
    ----------
    labels : Codes
        Of all images at the last layer.
    rows : ndarray of int
        Images to choose from.
    worth : ndarray of float, shape (n_concepts,)
        How much it is worth to show a concept, at least 0: how well it is predicted and named.
    n : int
        Most images to choose.

    Returns
    -------
    list of int
        Rows. The first has the largest sum of worth over its active concepts; each next one adds
        the most worth that the former do not show yet. Once all is shown, it begins anew with the
        images that are left. Ties go to the earlier row.
    """
    active = labels.take(rows).dense_labels()
    chosen: list[int] = []
    left = np.ones(len(rows), dtype=bool)
    unseen = np.array(worth, dtype=np.float64)
    while len(chosen) < min(n, len(rows)):
        gains = np.where(left, active @ unseen, -1.0)
        best = int(gains.argmax())
        if gains[best] <= 0 and unseen.sum() < np.sum(worth):
            unseen = np.array(worth, dtype=np.float64)
            continue
        chosen.append(int(rows[best]))
        left[best] = False
        unseen[active[best]] = 0
    return chosen
