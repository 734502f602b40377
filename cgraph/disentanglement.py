"""How far each known factor of the images has a code of its own: measures from the literature.

Let factors v_k be yes or no (a value of an attribute: "the background is sky"), and codes z_j the
coefficients of the concepts of a layer.

- Mutual information gap, MIG (Chen et al. 2018, "Isolating sources of disentanglement in VAEs"):
  ``(I(z_a; v_k) − I(z_b; v_k)) / H(v_k)`` for the two codes a, b that know most of v_k, averaged
  over the factors. 1: one code knows all of a factor, and no other anything.
- DCI (Eastwood and Williams 2018, "A framework for the quantitative evaluation of disentangled
  representations"), from the importance R_jk of code j for predicting factor k. *Disentanglement*
  of code j is 1 less the entropy of R_j· / Σ_k R_jk to the base of the number of factors, weighted
  by the code's share of R: does a code serve one factor? *Completeness* of factor k is 1 less the
  entropy of R_·k / Σ_j R_jk to the base of the number of codes: does one code serve a factor?
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy
from scipy.stats import rankdata

from cgraph.errors import DataError


def areas(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every code as a score for every factor.

    Parameters
    ----------
    values : ndarray of float, shape (n_samples, n_codes)
    truth : ndarray of bool, shape (n_samples, n_factors)

    Returns
    -------
    ndarray of float64, shape (n_factors, n_codes)
        In [0, 1], ties counted half; .5 says nothing. NaN where a factor is the same everywhere.
    """
    ranks = rankdata(values, axis=0)
    n_with = np.count_nonzero(truth, axis=0)[:, None].astype(np.float64)
    won = truth.T.astype(np.float64) @ ranks - n_with * (n_with + 1) / 2
    pairs = n_with * (len(truth) - n_with)
    return np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)


def correlations(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of every factor with every code, 0 where one does not vary.

    Parameters
    ----------
    values : ndarray of float, shape (n_samples, n_codes)
    truth : ndarray of bool, shape (n_samples, n_factors)

    Returns
    -------
    ndarray of float64, shape (n_factors, n_codes)
    """
    centred = values - values.mean(axis=0, dtype=np.float64)
    factors = truth - truth.mean(axis=0)
    lengths = np.sqrt((factors**2).sum(axis=0))[:, None] * np.sqrt((centred**2).sum(axis=0))
    return np.divide(factors.T @ centred, lengths, out=np.zeros(lengths.shape), where=lengths > 0)


def binned(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the bin of every value: as equally filled as equal values allow.

    Parameters
    ----------
    values : ndarray of float, shape (n_samples, n_codes)
    n_bins : int
        Most bins of a code. A code that is 0 in most samples has one for them, and the others in
        proportion to the rest.

    Returns
    -------
    ndarray of int64, shape (n_samples, n_codes)
        From 0; bins may be empty.
    """
    # Equal values share their lowest rank, and so their bin.
    ranks = rankdata(values, method="min", axis=0) - 1
    return (ranks * n_bins // len(values)).astype(np.int64)


def information(bins: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the mutual information of every factor with every code, in nats.

    Parameters
    ----------
    bins : ndarray of int, shape (n_samples, n_codes)
        Of `binned`.
    truth : ndarray of bool, shape (n_samples, n_factors)

    Returns
    -------
    ndarray of float64, shape (n_factors, n_codes)
        The plug-in estimate, at least 0. It is too large by about
        ``(bins − 1) / (2 · n_samples)``.
    """
    n, n_codes = bins.shape
    n_bins = int(bins.max(initial=0)) + 1
    with_factor, everywhere = np.zeros((2, n_bins, truth.shape[1], n_codes))
    factors = truth.T.astype(np.float64)
    for place in range(n_bins):
        inside = (bins == place).astype(np.float64)
        with_factor[place] = factors @ inside
        everywhere[place] = inside.sum(axis=0)
    n_with = factors.sum(axis=1)
    joint = xlogy(with_factor, with_factor) + xlogy(
        everywhere - with_factor, everywhere - with_factor
    )
    own = (xlogy(n_with, n_with) + xlogy(n - n_with, n - n_with))[:, None]
    total = joint.sum(axis=0) - xlogy(everywhere, everywhere).sum(axis=0) - own + xlogy(n, n)
    return np.maximum(total / n, 0.0)


def entropies(truth: np.ndarray) -> np.ndarray:
    """Return the entropy of each factor in nats, shape ``(n_factors,)``."""
    share = truth.mean(axis=0)
    return -(xlogy(share, share) + xlogy(1 - share, 1 - share))


def two_best(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the second-best code of each factor; ties go to the lower index.

    Parameters
    ----------
    scores : ndarray of float, shape (n_factors, n_codes)

    Raises
    ------
    DataError
        If there are fewer than two codes.
    """
    if scores.shape[1] < 2:
        raise DataError(f"There are {scores.shape[1]} codes: a best and a second need two.")
    order = np.argsort(-scores, axis=1, kind="stable")
    return order[:, 0], order[:, 1]


def information_gaps(
    chosen_on: np.ndarray, measured: np.ndarray, entropy: np.ndarray
) -> np.ndarray:
    """Return how much more of each factor the best code knows than the second.

    Parameters
    ----------
    chosen_on : ndarray of float, shape (n_factors, n_codes)
        Mutual information by which the two are chosen.
    measured : ndarray of float, shape (n_factors, n_codes)
        Mutual information that is compared; of other images, so that luck in choosing does not
        count. The same array gives the published measure.
    entropy : ndarray of float, shape (n_factors,)
        Of the factors, where it is measured.

    Returns
    -------
    ndarray of float64, shape (n_factors,)
        At most 1; NaN where a factor does not vary. Their mean is the MIG.
    """
    best, second = two_best(chosen_on)
    every = np.arange(len(measured))
    gap = measured[every, best] - measured[every, second]
    return np.divide(gap, entropy, out=np.full(len(gap), np.nan), where=entropy > 0)


def dci(importance: np.ndarray) -> tuple[float, float]:
    """Return disentanglement and completeness.

    Parameters
    ----------
    importance : ndarray of float, shape (n_factors, n_codes)
        At least 0.

    Returns
    -------
    disentanglement : float
        In [0, 1]; weighted over the codes that are of any importance.
    completeness : float
        In [0, 1]; mean over the factors for which any code is. Both are NaN if none is.

    Raises
    ------
    DataError
        If there are fewer than two factors or codes, or an importance is negative.
    """
    if min(importance.shape) < 2 or not (importance >= 0).all():
        raise DataError(
            f"Importances of shape {importance.shape}: two factors and two codes are the least, "
            "and none may be negative."
        )
    total = importance.sum()
    if not total > 0:
        return float("nan"), float("nan")
    of_code = importance.sum(axis=0)
    used = of_code > 0
    single = 1 - _entropy(importance[:, used] / of_code[used], axis=0)
    known = importance.sum(axis=1) > 0
    complete = 1 - _entropy(importance[known] / importance[known].sum(axis=1)[:, None], axis=1)
    return float((single * of_code[used]).sum() / total), float(complete.mean())


def _entropy(shares: np.ndarray, axis: int) -> np.ndarray:
    """Return the entropy along an axis, to the base of its length."""
    return -xlogy(shares, shares).sum(axis=axis) / np.log(shares.shape[axis])
