"""Whether two solvers give the same answer on the bags of one concept.

Equal means: every objective is within 1e-5 of the reference's, and the features kept over the bags
are the same, those aside whose gradient lies within 0.01 μ of the threshold in a bag in which the
two disagree about them; how many these are is counted.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

KEEP_SHARE = 0.8
OBJECTIVE_TOLERANCE = 1e-5
BORDER = 0.01

Fit = tuple[np.ndarray, float]  # weights and intercept


def liblinear_model(penalty: float) -> LogisticRegression:
    """Return scikit-learn's liblinear, its penalty on the intercept made negligible."""
    return LogisticRegression(
        l1_ratio=1, solver="liblinear", C=1 / penalty, tol=1e-6, intercept_scaling=100,
        max_iter=5000, random_state=0,
    )  # fmt: skip


def liblinear(X: sparse.csr_array, y: np.ndarray, penalty: float) -> Fit:
    """Fit with liblinear, which takes no wider indices than of 32 bits."""
    narrow = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    X = sparse.csr_array((X.data, *narrow), X.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = liblinear_model(penalty).fit(X, y)
    return model.coef_[0], float(model.intercept_[0])


def objective(X: sparse.csr_array, y: np.ndarray, fit: Fit, penalty: float) -> float:
    """Return the minimised sum, penalty included."""
    score = X @ fit[0] + fit[1]
    loss = np.logaddexp(0, np.where(y, -score, score)).sum()
    return float(loss + penalty * np.abs(fit[0]).sum())


def at_the_border(X: sparse.csr_array, y: np.ndarray, fit: Fit, penalty: float) -> np.ndarray:
    """Return the features that are as good as undecided between zero and a small weight."""
    gradient = X.T @ (expit(X @ fit[0] + fit[1]) - y)
    return np.abs(np.abs(gradient) - penalty) <= BORDER * penalty


@dataclass(frozen=True)
class Gate:
    """What comes out of a comparison over all bags of a concept."""

    gap: float
    """Largest relative excess of an objective over the reference's."""

    kept: int
    """Features that the reference keeps."""

    differ: int
    """Features that only one keeps."""

    border: int
    """The same, at the border."""

    nonzeros: float
    """Mean of the reference's fits."""

    @property
    def equal(self) -> bool:
        """Whether the answers are the same."""
        return self.gap <= OBJECTIVE_TOLERANCE and self.differ == 0


class Comparison:
    """Takes the answers bag by bag."""

    def __init__(self, n_features: int, penalty: float) -> None:
        self._penalty = penalty
        self._own, self._reference = (np.zeros(n_features, dtype=int) for _ in range(2))
        self._border = np.zeros(n_features, dtype=bool)
        self._gap, self._n_bags = -np.inf, 0

    def add(self, X: sparse.csr_array, y: np.ndarray, own: Fit, reference: Fit) -> None:
        """Compare the answers for one bag, given by its rows and labels."""
        least = objective(X, y, reference, self._penalty)
        self._gap = max(self._gap, objective(X, y, own, self._penalty) / least - 1)
        self._own += own[0] != 0
        self._reference += reference[0] != 0
        disputed = (own[0] != 0) != (reference[0] != 0)
        self._border |= disputed & at_the_border(X, y, reference, self._penalty)
        self._n_bags += 1

    def result(self) -> Gate:
        """Sum up."""
        least = KEEP_SHARE * self._n_bags + 1e-9
        kept, differ = self._reference > least, (self._own > least) != (self._reference > least)
        return Gate(
            gap=self._gap,
            kept=int(kept.sum()),
            differ=int((differ & ~self._border).sum()),
            border=int((differ & self._border).sum()),
            nonzeros=float(self._reference.sum() / self._n_bags),
        )


def compare_bags(
    X: sparse.csr_array,
    bags: np.ndarray,
    n_positive: int,
    penalty: float,
    fits: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Gate:
    """Compare what `cgraph.bag_fits.fit_bags` returned with liblinear."""
    y = np.arange(bags.shape[1]) < n_positive
    comparison = Comparison(X.shape[1], penalty)
    for bag, weights, intercept in zip(bags, *fits[:2], strict=True):
        rows = X[bag]
        comparison.add(rows, y, (weights, float(intercept)), liblinear(rows, y, penalty))
    return comparison.result()
