"""The paper's question about the number of parents: what goes with having many of them.

The paper finds two peaks in its histogram (section 4.2) and offers two explanations: (I) there are
simple and complex concepts; (II) there are well and poorly disentangled ones, the latter being
represented badly and relying on many parents for a good prediction. Under (II) concepts with many
parents should match what is known of the images worse. Three figures are held against the number
of parents: prevalence, held-out AUC, and the match with the best attribute. Neither a correlation
nor a difference between peaks says what causes what; the number of parents also depends on how
much data a fit had, so each relation is given once more for equal prevalence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.errors import DataError
from cgraph.peaks import Peaks, find_peaks
from cgraph.rank_correlation import (
    GroupComparison,
    RankCorrelation,
    compare_groups,
    rank_correlation,
)

PREVALENCE = "prevalence"


@dataclass(frozen=True)
class Relation:
    """How one figure of the concepts goes with their number of parents.

    Attributes
    ----------
    name : str
        Which figure.
    whole : RankCorrelation or None
        Over all concepts; ``None`` if too few are known or nothing varies.
    given_prevalence : RankCorrelation or None
        The same with the prevalence held fixed; ``None`` for the prevalence itself, too.
    groups : GroupComparison or None
        Concepts of the lowest peak against those of the highest; ``None`` if there is one peak.
    why_not : str
        Why there is no correlation; empty if there is one.
    """

    name: str
    whole: RankCorrelation | None
    given_prevalence: RankCorrelation | None
    groups: GroupComparison | None
    why_not: str = ""


@dataclass(frozen=True)
class ParentAnswer:
    """What a pair of layers answers.

    Attributes
    ----------
    peaks : Peaks
        Of the numbers of parents.
    relations : tuple of Relation
        In the order of the figures.
    """

    peaks: Peaks
    relations: tuple[Relation, ...]


def ask_about_parents(
    n_parents: NDArray[np.integer], figures: Mapping[str, NDArray[np.float64]]
) -> ParentAnswer:
    """Hold figures of some concepts against their numbers of parents.

    Parameters
    ----------
    n_parents : ndarray of int, shape (n_concepts,)
    figures : mapping of str to ndarray of float, shape (n_concepts,)
        Values of each figure, NaN where it is unknown; `PREVALENCE` must be among them.

    Returns
    -------
    ParentAnswer

    Raises
    ------
    DataError
        If there are no concepts.
    """
    peaks = find_peaks(n_parents)
    group = peaks.group(n_parents)
    last = len(peaks.at) - 1
    relations = []
    for name, values in figures.items():
        whole, why_not = _told(n_parents, values)
        given = None
        if name != PREVALENCE and whole is not None:
            given, _ = _told(n_parents, values, figures[PREVALENCE])
        groups = None
        if last > 0 and whole is not None:
            groups = compare_groups(values[group == 0], values[group == last])
        relations.append(Relation(name, whole, given, groups, why_not))
    return ParentAnswer(peaks, tuple(relations))


def _told(
    n_parents: NDArray[np.integer],
    values: NDArray[np.float64],
    given: NDArray[np.float64] | None = None,
) -> tuple[RankCorrelation | None, str]:
    try:
        return rank_correlation(n_parents, values, given), ""
    except DataError as error:
        return None, str(error)
